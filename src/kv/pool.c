/* A stack and not a queue: the block freed last is the one whose lines still lie in L2. The stack
 * is an array of block ids; n_free is its height, so take and free are one move each. */
#include "kv/pool.h"

#include "base/mem.h"
#include "base/num.h"

struct kv_pool {
    uint8_t *slab;
    size_t block_bytes;
    uint32_t n_blocks;
    uint32_t n_free;
    uint32_t *refs;   /* (n_blocks) */
    kv_block *free;   /* (n_blocks), the first n_free are free */
};

int kv_pool_create(struct kv_pool **out, uint32_t n_blocks, size_t block_bytes)
{
    size_t slab_bytes;
    if (n_blocks == 0 || n_blocks >= KV_BLOCK_NONE || block_bytes == 0)
        return E_RANGE;
    TRY(num_mul(&slab_bytes, n_blocks, block_bytes));
    struct kv_pool *pool = mem_alloc(1, sizeof *pool);
    if (pool == NULL)
        return E_NOMEM;
    pool->slab = mem_alloc_aligned(slab_bytes, 64);
    pool->refs = mem_alloc(n_blocks, sizeof *pool->refs);
    pool->free = mem_alloc(n_blocks, sizeof *pool->free);
    if (pool->slab == NULL || pool->refs == NULL || pool->free == NULL) {
        mem_free(pool->slab);
        mem_free(pool->refs);
        mem_free(pool->free);
        mem_free(pool);
        return E_NOMEM;
    }
    pool->block_bytes = block_bytes;
    pool->n_blocks = n_blocks;
    pool->n_free = n_blocks;
    for (uint32_t i = 0; i < n_blocks; i++)
        pool->free[i] = n_blocks - 1 - i; /* block 0 on top */
    *out = pool;
    return 0;
}

void kv_pool_destroy(struct kv_pool *pool)
{
    if (pool == NULL)
        return;
    ASSERT(pool->n_free == pool->n_blocks);
    mem_free(pool->slab);
    mem_free(pool->refs);
    mem_free(pool->free);
    mem_free(pool);
}

int kv_pool_take(struct kv_pool *pool, kv_block *out)
{
    if (pool->n_free == 0)
        return E_FULL;
    kv_block b = pool->free[--pool->n_free];
    ASSERT(b < pool->n_blocks);
    ASSERT(pool->refs[b] == 0);
    pool->refs[b] = 1;
    *out = b;
    return 0;
}

void kv_pool_ref(struct kv_pool *pool, kv_block b)
{
    ASSERT(b < pool->n_blocks);
    ASSERT(pool->refs[b] > 0);
    ASSERT(pool->refs[b] < UINT32_MAX);
    pool->refs[b]++;
}

void kv_pool_unref(struct kv_pool *pool, kv_block b)
{
    ASSERT(b < pool->n_blocks);
    ASSERT(pool->refs[b] > 0);
    if (--pool->refs[b] > 0)
        return;
    ASSERT(pool->n_free < pool->n_blocks);
    pool->free[pool->n_free++] = b;
}

uint32_t kv_pool_refs(const struct kv_pool *pool, kv_block b)
{
    ASSERT(b < pool->n_blocks);
    return pool->refs[b];
}

uint32_t kv_pool_count(const struct kv_pool *pool) { return pool->n_blocks; }
uint32_t kv_pool_free_count(const struct kv_pool *pool) { return pool->n_free; }
size_t kv_pool_block_bytes(const struct kv_pool *pool) { return pool->block_bytes; }
uint8_t *kv_pool_slab(const struct kv_pool *pool) { return pool->slab; }

void kv_pool_check(const struct kv_pool *pool)
{
    uint32_t n_zero = 0;
    uint64_t seen_sum = 0, zero_sum = 0; /* equal counts and sums: each free id once */
    CHECK(pool->n_free <= pool->n_blocks);
    for (uint32_t i = 0; i < pool->n_free; i++) {
        CHECK(pool->free[i] < pool->n_blocks);
        CHECK(pool->refs[pool->free[i]] == 0);
        seen_sum += (uint64_t)pool->free[i] * pool->free[i] + 1;
    }
    for (uint32_t b = 0; b < pool->n_blocks; b++) {
        if (pool->refs[b] != 0)
            continue;
        n_zero++;
        zero_sum += (uint64_t)b * b + 1;
    }
    CHECK(n_zero == pool->n_free);
    CHECK(seen_sum == zero_sum);
}
