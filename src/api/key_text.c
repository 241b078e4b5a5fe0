#include "api/key_text.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include <openssl/crypto.h>
#include <openssl/sha.h>

#define PREFIX "naru_"
#define PREFIX_LEN 5
#define SECRET_BYTES 32
#define CHECK_LEN 8
#define BODY_LEN (API_KEY_LEN - CHECK_LEN)

static void put_hex(char *out, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static void put_check(const char *body, char check[CHECK_LEN + 1])
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256((const uint8_t *)body, BODY_LEN, digest);
    put_hex(check, digest, CHECK_LEN / 2);
}

static void hash_of(const char *text, size_t len, const uint8_t *salt, uint8_t *out)
{
    uint8_t salted[API_KEY_SALT_BYTES + API_KEY_LEN];
    ASSERT(len == API_KEY_LEN);
    memcpy(salted, salt, API_KEY_SALT_BYTES);
    memcpy(salted + API_KEY_SALT_BYTES, text, len);
    SHA256(salted, sizeof salted, out);
    OPENSSL_cleanse(salted, sizeof salted);
}

int api_key_make(char text[API_KEY_LEN + 1], char id[API_KEY_ID_LEN + 1],
                 struct api_key_hash *hash, struct err *err)
{
    struct {
        uint8_t id[API_KEY_ID_LEN / 2], secret[SECRET_BYTES], salt[API_KEY_SALT_BYTES];
    } r;
    if (getrandom(&r, sizeof r, 0) != (ssize_t)sizeof r)
        return err_set(err, E_IO, "no random numbers from the system");
    char secret[2 * SECRET_BYTES + 1];
    put_hex(id, r.id, sizeof r.id);
    put_hex(secret, r.secret, sizeof r.secret);
    snprintf(text, API_KEY_LEN + 1, PREFIX "%s_%s", id, secret);
    put_check(text, text + BODY_LEN);
    memcpy(hash->salt, r.salt, sizeof r.salt);
    hash_of(text, API_KEY_LEN, hash->salt, hash->hash);
    OPENSSL_cleanse(&r, sizeof r);
    OPENSSL_cleanse(secret, sizeof secret);
    return 0;
}

bool api_key_parse(const char *text, size_t len, char id[API_KEY_ID_LEN + 1])
{
    char check[CHECK_LEN + 1];
    if (len != API_KEY_LEN || memcmp(text, PREFIX, PREFIX_LEN) != 0 ||
        text[PREFIX_LEN + API_KEY_ID_LEN] != '_')
        return false;
    put_check(text, check);
    if (memcmp(check, text + BODY_LEN, CHECK_LEN) != 0)
        return false;
    memcpy(id, text + PREFIX_LEN, API_KEY_ID_LEN);
    id[API_KEY_ID_LEN] = '\0';
    return true;
}

bool api_key_matches(const char *text, size_t len, const struct api_key_hash *hash)
{
    uint8_t own[API_KEY_HASH_BYTES];
    if (len != API_KEY_LEN)
        return false;
    hash_of(text, len, hash->salt, own);
    return CRYPTO_memcmp(own, hash->hash, sizeof own) == 0;
}
