/* kv/pool.h - counted KV blocks of one tier.
 *
 * Idea: a tier is one slab cut into equal blocks. A block is free or has owners: the sequences
 * whose tables list it, and the prefix index. Nothing is copied until someone writes.
 *
 *     slab   [ b0 | b1 | b2 | b3 | ... ]       refs  1    3    0    1
 *     free stack   2 -> 7 -> 9                  a freed block is reused first: it is still in cache
 *
 * Invariants (kv_pool_check): refs == 0 <=> the block is on the free stack, exactly once;
 *     n_free + n_used == n_blocks. A block with more than one reference is never written.
 * Owns: the slab and the counts.   Threads: owned by the engine thread; no locks.
 * Cost: every call O(1), no allocation after create. Slab pages are touched when first written. */
#ifndef KV_POOL_H
#define KV_POOL_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct kv_pool;
typedef uint32_t kv_block; /* index into the slab */
#define KV_BLOCK_NONE UINT32_MAX

/* Makes a pool of n_blocks blocks of block_bytes each, both at least 1; blocks begin at multiples
 * of block_bytes in a slab aligned to 64. E_NOMEM, E_RANGE. */
NODISCARD int kv_pool_create(struct kv_pool **out, uint32_t n_blocks, size_t block_bytes);
void kv_pool_destroy(struct kv_pool *pool); /* NULL is fine; asserts that nothing is in use */

/* Takes a free block with one reference. E_FULL when none is left: the caller evicts and retries.
 * */
NODISCARD int kv_pool_take(struct kv_pool *pool, kv_block *out);
void kv_pool_ref(struct kv_pool *pool, kv_block b);
void kv_pool_unref(struct kv_pool *pool, kv_block b); /* frees at zero */

uint32_t kv_pool_refs(const struct kv_pool *pool, kv_block b);
uint32_t kv_pool_count(const struct kv_pool *pool);
uint32_t kv_pool_free_count(const struct kv_pool *pool);
size_t kv_pool_block_bytes(const struct kv_pool *pool);
uint8_t *kv_pool_slab(const struct kv_pool *pool); /* block b: slab + b * block_bytes */
void kv_pool_check(const struct kv_pool *pool); /* walks all invariants; tests, debug */

#endif
