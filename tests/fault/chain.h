/* tests/fault/chain.h - blocks whose right contents anybody can tell: block `depth` of chain `chain` holds
 * tokens and bytes that are a function of (chain, depth), so a wrong answer of a store is found at once. */
#ifndef TESTS_FAULT_CHAIN_H
#define TESTS_FAULT_CHAIN_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "kv/digest.h"
#include "kv/store.h"

enum { CHAIN_TOKENS = 4, CHAIN_DEPTH_MAX = 64 };

struct chain {
    struct kv_digest keys[CHAIN_DEPTH_MAX], root;
    int32_t ids[CHAIN_DEPTH_MAX][CHAIN_TOKENS];
    uint32_t number, n;
};

static inline void chain_make(struct chain *c, struct kv_store *s, uint32_t number, uint32_t n)
{
    struct kv_hasher *h = NULL;
    struct kv_digest model = { { 1 } };
    c->number = number;
    c->n = n;
    if (kv_hasher_create(&h, kv_store_secret(s)) < 0 || kv_hash_root(h, &model, NULL, 0, &c->root) < 0)
        abort();
    for (uint32_t d = 0; d < n; d++) {
        for (uint32_t i = 0; i < CHAIN_TOKENS; i++)
            c->ids[d][i] = (int32_t)(number * 1000003u + d * 977u + i);
        if (kv_hash_block(h, d == 0 ? &c->root : &c->keys[d - 1], c->ids[d], CHAIN_TOKENS, &c->keys[d]) < 0)
            abort();
    }
    kv_hasher_destroy(h);
}

static inline void chain_fill(uint32_t number, uint32_t depth, uint8_t *to, size_t bytes)
{
    struct rng rng;
    rng_seed(&rng, (uint64_t)number << 32 | depth);
    for (size_t i = 0; i < bytes; i += 64) {
        uint64_t word = rng_u64(&rng);
        size_t n = bytes - i < 64 ? bytes - i : 64;
        memset(to + i, (int)(word & 255), n);
        memcpy(to + i, &word, n < 8 ? n : 8);
    }
}

static inline struct kv_record chain_record(const struct chain *c, uint32_t depth, uint8_t *data, size_t bytes)
{
    return (struct kv_record){ .key = c->keys[depth], .parent = depth == 0 ? c->root : c->keys[depth - 1],
                               .depth = depth, .n_tokens = CHAIN_TOKENS, .ids = c->ids[depth], .codec = 1,
                               .model = 0xabcd, .data = data, .bytes = bytes };
}

/* Stages blocks [from, to) of the chain; commits and collects when the store wants it. The first error. */
static inline int chain_write(struct kv_store *s, const struct chain *c, uint32_t from, uint32_t to, size_t bytes)
{
    uint8_t *data = malloc(bytes);
    int rc = 0;
    for (uint32_t d = from; d < to && rc >= 0; d++) {
        chain_fill(c->number, d, data, bytes);
        struct kv_record r = chain_record(c, d, data, bytes);
        for (int tries = 0; tries < 1000; tries++) {
            rc = kv_store_stage(s, &r);
            if (rc == E_BUSY)
                rc = 0;
            if (rc == E_FULL) {
                if ((rc = kv_store_commit(s)) < 0)
                    break;
            } else if (rc == E_LIMIT) {
                if ((rc = kv_store_collect(s)) <= 0) {
                    rc = rc == 0 ? E_LIMIT : rc;
                    break;
                }
            } else {
                break;
            }
        }
    }
    free(data);
    return rc;
}

/* Reads what the store says it has of the chain, at most max blocks. The number of right ones; a wrong one
 * ends the program: it is what must never happen. */
static inline uint32_t chain_read(struct kv_store *s, const struct chain *c, uint32_t max, size_t bytes)
{
    static uint8_t right[1 << 20];
    uint32_t n = kv_store_find(s, c->keys, max < c->n ? max : c->n), good = 0;
    struct kv_record r[CHAIN_DEPTH_MAX];
    uint8_t *data = malloc(bytes * (n + 1));
    memset(data, 0xee, bytes * (n + 1));
    for (uint32_t d = 0; d < n; d++)
        r[d] = chain_record(c, d, data + d * bytes, bytes);
    good = kv_store_get(s, r, n);
    for (uint32_t d = 0; d < good; d++) {
        chain_fill(c->number, d, right, bytes);
        if (memcmp(right, data + d * bytes, bytes) != 0) {
            fprintf(stderr, "WRONG BLOCK SERVED: chain %u depth %u\n", c->number, d);
            abort();
        }
    }
    free(data);
    return good;
}

#endif
