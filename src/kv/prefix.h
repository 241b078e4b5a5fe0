/* kv/prefix.h - finds the state of a prompt's beginning that somebody computed before.
 *
 * Idea (PagedAttention's block manager, Kwon 2023; radix view: SGLang, Zheng 2024): every full
 * block has a key, the hash of its parent's key and its own tokens, so one lookup per block walks
 * down the longest known prefix. The index holds a reference of its own on each block it knows; a
 * block that only the index holds is idle: it stays as long as nobody needs the room. Which idle
 * leaf goes first is the policy's word (kv/policy.h).
 *
 *     root(salt) -> [ "You are ..." ] -> [ "... helpful" ] -> [ " user A" ]
 *                                                        \-> [ " user B" ]
 *     offered to the policy: " user A", " user B" once idle; their parent when both are gone
 *
 * Invariants (kv_prefix_check):
 *     1. a key is published only after the rows of its block are written (the step is over);
 *     2. a published block is immutable, and its parent is published too: no unreachable hits;
 *     3. idle == published with exactly one reference; offered == idle without children. Sequences
 *        give their blocks back from the last to the first, so an idle block's children are idle;
 *     4. hash chains and child counts agree with the nodes.
 * On a hit the parent block and all token ids are compared, so a colliding hash is a miss, never a
 * wrong answer (R29). Keys are 128 bits, keyed by a secret seed, and their root covers the
 * caller's salt (model, kv type, tenant: R26, R27).
 *
 * Owns: nodes, hash table, policy.  Borrows: the pool, which it takes from and gives back to; all
 * users of the pool go through here.   Threads: the engine's.   Cost: O(1) a block (plus comparing
 * B ids and the policy's cost); nothing is allocated after create. */
#ifndef KV_PREFIX_H
#define KV_PREFIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/clock.h"
#include "kv/policy.h"
#include "kv/pool.h"

struct kv_prefix;

struct kv_key {
    uint64_t lo, hi;
};

struct kv_prefix_params {
    struct kv_pool *pool;
    uint32_t block_len;  /* tokens a block, at least 1 */
    uint64_t seed;       /* secret */
    bool off;            /* no sharing: publish and match do nothing, take and put go to the pool */
    const char *policy;  /* one that lives with leaves; NULL: KV_POLICY_DEFAULT */
    const struct clock *clock; /* ages of blocks; borrowed; NULL: time stands still */
    /* NULL: none. A published block is given up: its bytes may change from now on. */
    void (*on_unpublish)(void *ctx, kv_block b);
    void *ctx;
};

/* E_RANGE, E_NOMEM; E_NOT_FOUND, E_UNSUPPORTED for the policy. */
NODISCARD int kv_prefix_create(struct kv_prefix **out, const struct kv_prefix_params *params);
void kv_prefix_destroy(struct kv_prefix *p); /* forgets all; no published block may be in use */

/* The key above block 0: a hash of whatever must be equal for state to be shared. */
struct kv_key kv_prefix_root(const struct kv_prefix *p, const void *salt, size_t bytes);

/* Walks the full blocks of ids and takes a reference on each known one, in order, at most `max`.
 * Returns their number; blocks[0..] are filled. The caller computes at least one token itself, so
 * it passes max <= (n - 1) / B. *visit is what the policy remembers of this prompt, for publish. */
uint32_t kv_prefix_match(struct kv_prefix *p, struct kv_key root, const int32_t *ids, uint32_t max,
                         kv_block *blocks, struct kv_visit *visit);
/* The same walk without taking anything; *n_idle: how many of the blocks are idle now (taking them
 * makes kv_prefix_available smaller). */
uint32_t kv_prefix_peek(const struct kv_prefix *p, struct kv_key root, const int32_t *ids,
                        uint32_t max, uint32_t *n_idle);

/* Publishes block b, whose B rows are written: ids are its tokens, parent the block before it,
 * already published (KV_BLOCK_NONE: b is the first, under root). If an equal block is known
 * already, the reference on b is exchanged for one on that block, whose content is the same.
 * visit: of the match; zeroed if there was none.
 * Returns the block to go on with, published; or KV_BLOCK_NONE if sharing is off. */
kv_block kv_prefix_publish(struct kv_prefix *p, struct kv_key root, kv_block parent, kv_block b,
                           const int32_t *ids, struct kv_visit *visit);

/* A private block with one reference; evicts the policy's victim if none is free. E_FULL: every
 * block is in use. */
NODISCARD int kv_prefix_take(struct kv_prefix *p, kv_block *out);
/* Gives one reference back. Give the blocks of a sequence back from the last to the first. */
void kv_prefix_put(struct kv_prefix *p, kv_block b);
/* Takes another reference (fork). */
void kv_prefix_ref(struct kv_prefix *p, kv_block b);

void kv_prefix_forget(struct kv_prefix *p);                       /* drops all idle blocks */
bool kv_prefix_is_published(const struct kv_prefix *p, kv_block b);
uint32_t kv_prefix_available(const struct kv_prefix *p);          /* free + idle */
uint32_t kv_prefix_idle_count(const struct kv_prefix *p);
uint32_t kv_prefix_published_count(const struct kv_prefix *p);
uint64_t kv_prefix_evictions(const struct kv_prefix *p);
uint32_t kv_prefix_block_len(const struct kv_prefix *p);
struct kv_pool *kv_prefix_pool(const struct kv_prefix *p);
void kv_prefix_check(const struct kv_prefix *p);                  /* also the pool */

#endif
