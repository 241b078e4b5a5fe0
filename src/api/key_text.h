/* api/key_text.h - what an access key looks like, and what is kept of it.
 *
 * Idea: a key is 256 random bits a client sends with each request. The server keeps a salted hash
 * only: who reads its file cannot call it. The id in front finds the row, the digits behind tell a
 * typing error from a wrong key without a look at any file (G-07, R19).
 *
 *     naru_ 1a2b3c4d _ 64 hexadecimal digits 8 digits
 *           id         secret                check: SHA-256 of all before it, first 4 bytes
 *
 * A secret has full entropy, so one round of SHA-256 is enough: there is nothing to guess.
 * Cost: one hash of 86 bytes a look-up, about half a microsecond. */
#ifndef API_KEY_TEXT_H
#define API_KEY_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define API_KEY_ID_LEN 8
#define API_KEY_LEN 86
#define API_KEY_SALT_BYTES 16
#define API_KEY_HASH_BYTES 32

struct api_key_hash {
    uint8_t salt[API_KEY_SALT_BYTES];
    uint8_t hash[API_KEY_HASH_BYTES];
};

/* A new key and its hash. E_IO: no random numbers. */
NODISCARD int api_key_make(char text[API_KEY_LEN + 1], char id[API_KEY_ID_LEN + 1],
                           struct api_key_hash *hash, struct err *err);
/* Is it a key by its form and check digits? Then its id. */
bool api_key_parse(const char *text, size_t len, char id[API_KEY_ID_LEN + 1]);
/* Is it the key of that hash? Takes the same time whatever differs. */
bool api_key_matches(const char *text, size_t len, const struct api_key_hash *hash);

#endif
