/* api/keys.h - the keys of a running server: who calls, what they may, what they used.
 *
 * Idea: all keys lie in memory; a request looks its key up there and nowhere else. A thread of its
 * own watches the file (a change counts within half a second) and writes what was used, in batches.
 *
 *     request --find--> [ keys in memory ] --limits, counters--> answer
 *     thread  <--read all when the file changed-- file --add up usage, once a second--> file
 *
 * Limits (G-08): requests and tokens of any sixty seconds, requests at a time. A request takes its
 * prompt and the most it may generate from the tokens when it begins, and what it did not use is
 * given back when it ends; where the request sets no bound, what it generates counts at its end.
 *
 * Invariants: a key that was read is never freed before destroy, so a call may keep it; a file that
 * cannot be read leaves the keys as they are.
 * Threads: any; one lock, held for copying and comparing only.
 * Cost: a look-up and one hash a request. */
#ifndef API_KEYS_H
#define API_KEYS_H

#include "api/key_db.h"
#include "base/clock.h"

struct api_keys;
struct api_key;

struct api_keys_params {
    const char *path;
    struct clock clock;
    void (*log)(void *ctx, const char *line); /* NULL: none */
    void *log_ctx;
};

NODISCARD int api_keys_create(struct api_keys **out, const struct api_keys_params *p,
                              struct err *err);
/* Writes what is not written yet. NULL is fine. */
void api_keys_destroy(struct api_keys *k);
uint32_t api_keys_count(struct api_keys *k); /* that are valid now */
const char *api_keys_path(const struct api_keys *k);

/* The key a client sent, or NULL: unknown, revoked or expired. */
struct api_key *api_keys_find(struct api_keys *k, const char *text, size_t len);
enum api_key_role api_key_role(const struct api_key *key);
const char *api_key_tenant(const struct api_key *key);
const char *api_key_id(const struct api_key *key);

/* What a client is told of its limits. */
struct api_key_rate {
    uint32_t limit_requests, limit_tokens; /* 0: no limit */
    uint64_t left_requests, left_tokens;
    uint32_t reset_requests_s, reset_tokens_s;
    uint32_t retry_s; /* after a refusal; 0: trying again does not help */
};

/* A request begins. E_BUSY with err and rate->retry_s: one of its limits is reached; then end must
 * not be called. */
NODISCARD int api_key_begin(struct api_keys *k, struct api_key *key, struct api_key_rate *rate,
                            struct err *err);
/* It will take up to so many tokens. E_BUSY as above. At most once between begin and end. */
NODISCARD int api_key_reserve(struct api_keys *k, struct api_key *key, uint64_t tokens,
                              struct api_key_rate *rate, struct err *err);
/* It is over: what it reserved, and what it used. */
void api_key_end(struct api_keys *k, struct api_key *key, uint64_t reserved,
                 const struct api_key_usage *used);

#endif
