/* The table is the caller's array and not a growing list: the longest sequence is known when the
 * engine starts, so growing is an append and can never fail for want of memory in a step. */
#include "kv/seq.h"

#include <string.h>

#include "base/num.h"

static uint32_t blocks_for(const struct kv_seq *s, uint64_t n_rows)
{
    uint32_t len = kv_prefix_block_len(s->prefix);
    return (uint32_t)((n_rows + len - 1) / len);
}

/* The block that row n_rows falls into is half full and somebody else holds it too. */
static bool must_copy(const struct kv_seq *s)
{
    uint32_t len = kv_prefix_block_len(s->prefix);
    if (s->n_rows % len == 0)
        return false;
    return kv_pool_refs(kv_prefix_pool(s->prefix), s->blocks[s->n_rows / len]) > 1;
}

void kv_seq_init(struct kv_seq *s, struct kv_prefix *prefix, struct kv_key root, kv_block *table,
                 uint32_t cap_blocks)
{
    *s = (struct kv_seq){ .prefix = prefix, .root = root, .blocks = table,
                          .cap_blocks = cap_blocks };
}

uint32_t kv_seq_match(struct kv_seq *s, const int32_t *ids, uint32_t n)
{
    ASSERT(s->n_blocks == 0);
    if (n == 0)
        return 0;
    uint32_t len = kv_prefix_block_len(s->prefix);
    uint32_t max = (uint32_t)num_min((n - 1) / len, s->cap_blocks);
    s->n_blocks = kv_prefix_match(s->prefix, s->root, ids, max, s->blocks, &s->visit);
    s->n_published = s->n_blocks;
    s->n_rows = s->n_blocks * len;
    ASSERT(s->n_rows < n);
    return s->n_rows;
}

uint32_t kv_seq_blocks_needed(const struct kv_seq *s, uint32_t n)
{
    if (n == 0)
        return 0;
    uint32_t want = blocks_for(s, (uint64_t)s->n_rows + n);
    return (want > s->n_blocks ? want - s->n_blocks : 0) + must_copy(s);
}

/* Our own copy of the half-full block. The old one goes back after the copy: it may become idle. */
static void copy_partial(struct kv_seq *s)
{
    struct kv_pool *pool = kv_prefix_pool(s->prefix);
    size_t bytes = kv_pool_block_bytes(pool);
    uint32_t at = s->n_rows / kv_prefix_block_len(s->prefix);
    kv_block from = s->blocks[at], to = KV_BLOCK_NONE;
    CHECK(kv_prefix_take(s->prefix, &to) == 0); /* the caller counted it */
    memcpy(kv_pool_slab(pool) + to * bytes, kv_pool_slab(pool) + from * bytes, bytes);
    s->blocks[at] = to;
    kv_prefix_put(s->prefix, from);
    ASSERT(s->n_published <= at);
}

int kv_seq_reserve(struct kv_seq *s, uint32_t n)
{
    uint64_t rows = (uint64_t)s->n_rows + n;
    if (rows > UINT32_MAX || blocks_for(s, rows) > s->cap_blocks)
        return E_RANGE;
    if (kv_seq_blocks_needed(s, n) > kv_prefix_available(s->prefix))
        return E_FULL;
    if (n > 0 && must_copy(s))
        copy_partial(s);
    uint32_t want = blocks_for(s, rows);
    while (s->n_blocks < want) {
        CHECK(kv_prefix_take(s->prefix, &s->blocks[s->n_blocks]) == 0);
        s->n_blocks++;
    }
    return 0;
}

void kv_seq_advance(struct kv_seq *s, const int32_t *ids, uint32_t n)
{
    uint32_t len = kv_prefix_block_len(s->prefix);
    ASSERT(blocks_for(s, (uint64_t)s->n_rows + n) <= s->n_blocks);
    s->n_rows += n;
    while (s->n_published < s->n_rows / len) {
        uint32_t at = s->n_published;
        kv_block parent = at == 0 ? KV_BLOCK_NONE : s->blocks[at - 1];
        kv_block b = kv_prefix_publish(s->prefix, s->root, parent, s->blocks[at],
                                       ids + (size_t)at * len, &s->visit);
        if (b == KV_BLOCK_NONE)
            return;
        s->blocks[at] = b;
        s->n_published++;
    }
}

void kv_seq_truncate(struct kv_seq *s, uint32_t n_rows)
{
    ASSERT(n_rows <= s->n_rows);
    uint32_t keep = blocks_for(s, n_rows);
    while (s->n_blocks > keep)
        kv_prefix_put(s->prefix, s->blocks[--s->n_blocks]);
    s->n_rows = n_rows;
    s->n_published = (uint32_t)num_min(s->n_published, n_rows / kv_prefix_block_len(s->prefix));
}

void kv_seq_fork(struct kv_seq *dst, const struct kv_seq *src)
{
    ASSERT(dst->n_blocks == 0);
    ASSERT(dst->prefix == src->prefix);
    uint32_t n = blocks_for(src, src->n_rows); /* rooms reserved but not written stay behind */
    ASSERT(n <= dst->cap_blocks);
    for (uint32_t i = 0; i < n; i++) {
        kv_prefix_ref(src->prefix, src->blocks[i]);
        dst->blocks[i] = src->blocks[i];
    }
    dst->root = src->root;
    dst->n_blocks = n;
    dst->n_rows = src->n_rows;
    dst->n_published = src->n_published;
}

void kv_seq_release(struct kv_seq *s) { kv_seq_truncate(s, 0); }

void kv_seq_check(const struct kv_seq *s)
{
    uint32_t len = kv_prefix_block_len(s->prefix);
    CHECK(s->n_blocks <= s->cap_blocks);
    CHECK(s->n_blocks >= blocks_for(s, s->n_rows));
    CHECK(s->n_published <= s->n_rows / len);
    for (uint32_t i = 0; i < s->n_blocks; i++) {
        uint32_t refs = kv_pool_refs(kv_prefix_pool(s->prefix), s->blocks[i]);
        CHECK(refs >= 1);
        if (i < s->n_published) {
            CHECK(kv_prefix_is_published(s->prefix, s->blocks[i]));
            CHECK(refs >= 2);
        }
    }
}
