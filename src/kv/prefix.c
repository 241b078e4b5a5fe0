/* A chained hash and not a radix tree: blocks are the unit of sharing anyway, so a node per block
 * and one table find the same prefixes with O(1) work a block and no node splits (serving spec,
 * sections 2, 3). Nodes lie in an array beside the blocks: node i describes block i, so links are
 * block numbers and a published block costs no allocation.
 *
 * Why idle blocks keep the index's reference instead of going to the pool's free stack: the pool
 * stays a plain counter of owners, and "cached" is an owner like any other. */
#include "kv/prefix.h"

#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/mem.h"

struct node {
    struct kv_key key;    /* of this block */
    struct kv_key above;  /* parent's key, or the root */
    kv_block parent;      /* KV_BLOCK_NONE: first block */
    uint32_t n_children;  /* published blocks whose parent this is */
    kv_block hash_next;
    uint32_t depth;        /* blocks above */
    bool published, idle, offered;
};

struct kv_prefix {
    struct kv_pool *pool;
    uint32_t block_len;
    uint64_t seed;
    bool off;
    void (*on_unpublish)(void *ctx, kv_block b);
    void *ctx;
    uint32_t n_blocks;
    struct node *nodes;     /* (n_blocks) */
    int32_t *ids;           /* (n_blocks, block_len) */
    kv_block *buckets;      /* (n_buckets) first of chain */
    uint32_t bucket_mask;
    struct kv_policy *policy; /* NULL: off */
    const struct clock *clock;
    uint64_t *prompt_keys;  /* (n_blocks) of the prompt that is matched */
    uint32_t n_idle, n_published;
    uint64_t n_evicted;
};

static int create_policy(struct kv_prefix *p, const char *name)
{
    struct kv_policy_params pp = { .name = name, .n_slots = p->n_blocks };
    if (p->off)
        return 0;
    TRY(kv_policy_create(&p->policy, &pp));
    return name == NULL || kv_policy_leaves(name) ? 0 : E_UNSUPPORTED;
}

static void release(struct kv_prefix *p)
{
    kv_policy_destroy(p->policy);
    mem_free(p->nodes);
    mem_free(p->ids);
    mem_free(p->buckets);
    mem_free(p->prompt_keys);
    mem_free(p);
}

int kv_prefix_create(struct kv_prefix **out, const struct kv_prefix_params *params)
{
    uint32_t n = kv_pool_count(params->pool), n_buckets = 1;
    if (params->block_len == 0)
        return E_RANGE;
    while (n_buckets < n && n_buckets < 1u << 30)
        n_buckets *= 2;
    struct kv_prefix *p = mem_alloc(1, sizeof *p);
    if (p == NULL)
        return E_NOMEM;
    *p = (struct kv_prefix){ .pool = params->pool, .block_len = params->block_len,
                             .seed = params->seed, .off = params->off, .n_blocks = n,
                             .on_unpublish = params->on_unpublish, .ctx = params->ctx,
                             .bucket_mask = n_buckets - 1, .clock = params->clock };
    p->nodes = mem_alloc(n, sizeof *p->nodes);
    p->ids = mem_alloc(n, params->block_len * sizeof *p->ids);
    p->buckets = mem_alloc(n_buckets, sizeof *p->buckets);
    p->prompt_keys = mem_alloc(n, sizeof *p->prompt_keys);
    bool enough = p->nodes != NULL && p->ids != NULL && p->buckets != NULL;
    int rc = enough && p->prompt_keys != NULL ? create_policy(p, params->policy) : E_NOMEM;
    if (rc < 0) {
        release(p);
        return rc;
    }
    for (uint32_t i = 0; i < n_buckets; i++)
        p->buckets[i] = KV_BLOCK_NONE;
    *out = p;
    return 0;
}

void kv_prefix_destroy(struct kv_prefix *p)
{
    if (p == NULL)
        return;
    kv_prefix_forget(p);
    ASSERT(p->n_published == 0);
    release(p);
}

/* --- keys --- */

static struct kv_key hash_parts(uint64_t seed, struct kv_key above, const void *data, size_t bytes)
{
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_128bits_reset_withSeed(&state, seed);
    XXH3_128bits_update(&state, &above, sizeof above);
    if (bytes > 0)
        XXH3_128bits_update(&state, data, bytes);
    XXH128_hash_t h = XXH3_128bits_digest(&state);
    return (struct kv_key){ .lo = h.low64, .hi = h.high64 };
}

static bool key_equal(struct kv_key a, struct kv_key b) { return a.lo == b.lo && a.hi == b.hi; }

struct kv_key kv_prefix_root(const struct kv_prefix *p, const void *salt, size_t bytes)
{
    struct kv_key domain = { .lo = 0x746f6f72, .hi = bytes }; /* "root": above no block */
    return hash_parts(p->seed, domain, salt, bytes);
}

static size_t ids_bytes(const struct kv_prefix *p) { return p->block_len * sizeof *p->ids; }

static int32_t *ids_of(const struct kv_prefix *p, kv_block b)
{
    return p->ids + (size_t)b * p->block_len;
}

/* The published block under `parent` that holds these ids, or KV_BLOCK_NONE. */
static kv_block find(const struct kv_prefix *p, struct kv_key key, struct kv_key above,
                     kv_block parent, const int32_t *ids)
{
    for (kv_block b = p->buckets[key.lo & p->bucket_mask]; b != KV_BLOCK_NONE;
         b = p->nodes[b].hash_next) {
        const struct node *n = &p->nodes[b];
        ASSERT(n->published);
        if (key_equal(n->key, key) && n->parent == parent && key_equal(n->above, above) &&
            memcmp(ids_of(p, b), ids, ids_bytes(p)) == 0)
            return b;
    }
    return KV_BLOCK_NONE;
}

/* --- idle blocks, and which of them are offered --- */

static void offer_leaf(struct kv_prefix *p, kv_block b)
{
    struct node *n = &p->nodes[b];
    ASSERT(!n->offered);
    if (!n->idle || n->n_children > 0)
        return;
    n->offered = true;
    kv_policy_offer(p->policy, b);
}

static void idle_join(struct kv_prefix *p, kv_block b)
{
    struct node *n = &p->nodes[b];
    ASSERT(n->published);
    ASSERT(!n->idle);
    n->idle = true;
    p->n_idle++;
    offer_leaf(p, b);
}

static void idle_leave(struct kv_prefix *p, kv_block b)
{
    struct node *n = &p->nodes[b];
    ASSERT(n->idle);
    ASSERT(p->n_idle > 0);
    kv_policy_retract(p->policy, b);
    n->idle = n->offered = false;
    p->n_idle--;
}

static void touch(struct kv_prefix *p, kv_block b, const struct kv_visit *visit)
{
    ASSERT(!p->nodes[b].idle);
    kv_policy_touch(p->policy, b, p->nodes[b].key.lo, p->nodes[b].depth, visit);
}

static uint64_t now_ms(const struct kv_prefix *p)
{
    return p->clock != NULL ? clock_now_ns(p->clock) / 1000000 : 0;
}

/* One more owner of a published block. */
static void hold(struct kv_prefix *p, kv_block b)
{
    if (p->nodes[b].idle)
        idle_leave(p, b);
    kv_pool_ref(p->pool, b);
}

/* --- publishing and forgetting --- */

static void unpublish(struct kv_prefix *p, kv_block b)
{
    struct node *n = &p->nodes[b];
    ASSERT(n->published);
    ASSERT(n->n_children == 0); /* header, invariant 3 */
    kv_block *link = &p->buckets[n->key.lo & p->bucket_mask];
    while (*link != b) {
        ASSERT(*link != KV_BLOCK_NONE);
        link = &p->nodes[*link].hash_next;
    }
    *link = n->hash_next;
    if (n->parent != KV_BLOCK_NONE) {
        ASSERT(p->nodes[n->parent].n_children > 0);
        p->nodes[n->parent].n_children--;
    }
    n->published = false;
    p->n_published--;
    kv_policy_evict(p->policy, b);
    if (n->parent != KV_BLOCK_NONE)
        offer_leaf(p, n->parent);
    if (p->on_unpublish != NULL)
        p->on_unpublish(p->ctx, b);
}

static void evict_one(struct kv_prefix *p)
{
    kv_block b = kv_policy_victim(p->policy);
    ASSERT(b < p->n_blocks); /* idle blocks have idle children, so one of them is a leaf */
    idle_leave(p, b);
    unpublish(p, b);
    ASSERT(kv_pool_refs(p->pool, b) == 1);
    kv_pool_unref(p->pool, b);
}

static void publish_new(struct kv_prefix *p, kv_block b, const struct node *filled,
                        const int32_t *ids)
{
    struct node *n = &p->nodes[b];
    ASSERT(!n->published);
    *n = *filled;
    n->published = true;
    memcpy(ids_of(p, b), ids, ids_bytes(p));
    kv_block *bucket = &p->buckets[n->key.lo & p->bucket_mask];
    n->hash_next = *bucket;
    *bucket = b;
    if (n->parent != KV_BLOCK_NONE) {
        ASSERT(!p->nodes[n->parent].offered);
        n->depth = p->nodes[n->parent].depth + 1;
        p->nodes[n->parent].n_children++;
    }
    p->n_published++;
    kv_pool_ref(p->pool, b); /* the index's own */
}

kv_block kv_prefix_publish(struct kv_prefix *p, struct kv_key root, kv_block parent, kv_block b,
                           const int32_t *ids, struct kv_visit *visit)
{
    if (p->off)
        return KV_BLOCK_NONE;
    if (!visit->set)
        kv_policy_visit(p->policy, now_ms(p), NULL, 0, visit);
    ASSERT(b < p->n_blocks);
    ASSERT(parent == KV_BLOCK_NONE || p->nodes[parent].published);
    ASSERT(parent == KV_BLOCK_NONE || !p->nodes[parent].idle); /* the caller holds it */
    if (p->nodes[b].published)
        return b; /* a fork got there first */
    struct kv_key above = parent == KV_BLOCK_NONE ? root : p->nodes[parent].key;
    struct kv_key key = hash_parts(p->seed, above, ids, ids_bytes(p));
    kv_block known = find(p, key, above, parent, ids);
    if (known != KV_BLOCK_NONE) {
        hold(p, known);
        touch(p, known, visit);
        kv_pool_unref(p->pool, b);
        return known;
    }
    publish_new(p, b, &(struct node){ .key = key, .above = above, .parent = parent }, ids);
    touch(p, b, visit);
    return b;
}

/* --- finding --- */

/* The whole prompt is hashed, beyond the hit too: the policy remembers blocks that left. */
uint32_t kv_prefix_match(struct kv_prefix *p, struct kv_key root, const int32_t *ids, uint32_t max,
                         kv_block *blocks, struct kv_visit *visit)
{
    kv_block parent = KV_BLOCK_NONE;
    struct kv_key above = root;
    uint32_t n = 0, i = 0;
    if (p->off)
        return 0;
    for (bool known = true; i < max && i < p->n_blocks; i++) {
        const int32_t *at = ids + (size_t)i * p->block_len;
        struct kv_key key = hash_parts(p->seed, above, at, ids_bytes(p));
        kv_block b = known ? find(p, key, above, parent, at) : KV_BLOCK_NONE;
        known = b != KV_BLOCK_NONE;
        if (known) {
            hold(p, b);
            blocks[n++] = parent = b;
        }
        p->prompt_keys[i] = key.lo;
        above = key;
    }
    kv_policy_visit(p->policy, now_ms(p), p->prompt_keys, i, visit);
    for (uint32_t k = n; k-- > 0;)
        touch(p, blocks[k], visit);
    return n;
}

uint32_t kv_prefix_peek(const struct kv_prefix *p, struct kv_key root, const int32_t *ids,
                        uint32_t max, uint32_t *n_idle)
{
    kv_block parent = KV_BLOCK_NONE;
    struct kv_key above = root;
    uint32_t n = 0, idle = 0;
    for (; n < max && !p->off; n++) {
        const int32_t *at = ids + (size_t)n * p->block_len;
        struct kv_key key = hash_parts(p->seed, above, at, ids_bytes(p));
        parent = find(p, key, above, parent, at);
        if (parent == KV_BLOCK_NONE)
            break;
        idle += p->nodes[parent].idle;
        above = key;
    }
    *n_idle = idle;
    return n;
}

/* --- taking and giving back --- */

int kv_prefix_take(struct kv_prefix *p, kv_block *out)
{
    if (kv_pool_free_count(p->pool) == 0) {
        if (p->n_idle == 0)
            return E_FULL;
        evict_one(p);
        p->n_evicted++;
    }
    return kv_pool_take(p->pool, out);
}

void kv_prefix_put(struct kv_prefix *p, kv_block b)
{
    ASSERT(b < p->n_blocks);
    ASSERT(!p->nodes[b].idle);
    kv_pool_unref(p->pool, b);
    if (p->nodes[b].published && kv_pool_refs(p->pool, b) == 1)
        idle_join(p, b);
}

void kv_prefix_ref(struct kv_prefix *p, kv_block b)
{
    ASSERT(!p->nodes[b].idle);
    kv_pool_ref(p->pool, b);
}

void kv_prefix_forget(struct kv_prefix *p)
{
    while (p->n_idle > 0)
        evict_one(p);
}

bool kv_prefix_is_published(const struct kv_prefix *p, kv_block b) { return p->nodes[b].published; }
uint32_t kv_prefix_available(const struct kv_prefix *p)
{
    return kv_pool_free_count(p->pool) + p->n_idle;
}
uint32_t kv_prefix_idle_count(const struct kv_prefix *p) { return p->n_idle; }
uint32_t kv_prefix_published_count(const struct kv_prefix *p) { return p->n_published; }
uint64_t kv_prefix_evictions(const struct kv_prefix *p) { return p->n_evicted; }
uint32_t kv_prefix_block_len(const struct kv_prefix *p) { return p->block_len; }
struct kv_pool *kv_prefix_pool(const struct kv_prefix *p) { return p->pool; }

/* --- invariants --- */

static void check_node(const struct kv_prefix *p, kv_block b)
{
    const struct node *n = &p->nodes[b];
    uint32_t refs = kv_pool_refs(p->pool, b);
    CHECK(refs >= 1);
    CHECK(n->idle == (refs == 1));
    CHECK(n->offered == (n->idle && n->n_children == 0));
    CHECK(find(p, n->key, n->above, n->parent, ids_of(p, b)) == b);
    if (n->parent == KV_BLOCK_NONE)
        return;
    const struct node *up = &p->nodes[n->parent];
    CHECK(up->published);
    CHECK(up->n_children > 0);
    CHECK(key_equal(up->key, n->above));
    CHECK(!up->idle || n->idle);
    CHECK(n->depth == up->depth + 1);
}

void kv_prefix_check(const struct kv_prefix *p)
{
    uint32_t n_published = 0, n_idle = 0;
    uint64_t n_children = 0, n_parents = 0;
    kv_pool_check(p->pool);
    for (kv_block b = 0; b < p->n_blocks; b++) {
        if (!p->nodes[b].published)
            continue;
        check_node(p, b);
        n_published++;
        n_idle += p->nodes[b].idle;
        n_children += p->nodes[b].n_children;
        n_parents += p->nodes[b].parent != KV_BLOCK_NONE;
    }
    CHECK(n_published == p->n_published);
    CHECK(n_idle == p->n_idle);
    CHECK(n_children == n_parents);
}
