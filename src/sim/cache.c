/* Block numbers are made dense once, so that a run needs no hash table of its own and a comparison
 * of ten policies expands the trace's runs once. */
#include "sim/cache.h"

#include <string.h>

#include "base/mem.h"
#include "kv/policy.h"
#include "kv/policy_impl.h"

enum { PROGRESS_EVERY = 64 };

/* --- dense numbers --- */

struct interner {
    struct sim_stream *s;
    uint32_t *table;      /* open addressing, index + 1 */
    uint64_t n_table;     /* a power of two, 0 at first */
    uint64_t cap;
};

static uint32_t *place_of(const struct interner *in, uint64_t key)
{
    uint64_t i = key & (in->n_table - 1);
    while (in->table[i] != 0 && in->s->keys[in->table[i] - 1] != key)
        i = (i + 1) & (in->n_table - 1);
    return &in->table[i];
}

static int make_room(struct interner *in)
{
    struct sim_stream *s = in->s;
    if (s->n_unique < in->cap)
        return 0;
    if (in->cap >= 1u << 30)
        return E_LIMIT;
    uint64_t cap = in->cap * 2 + 1024, n_table = 1;
    while (n_table < cap * 2)
        n_table *= 2;
    uint64_t *keys = mem_realloc(s->keys, cap, sizeof *keys);
    if (keys == NULL)
        return E_NOMEM;
    s->keys = keys;
    uint32_t *table = mem_alloc(n_table, sizeof *table);
    if (table == NULL)
        return E_NOMEM;
    mem_free(in->table);
    in->table = table;
    in->n_table = n_table;
    in->cap = cap;
    for (uint32_t i = 0; i < s->n_unique; i++)
        *place_of(in, s->keys[i]) = i + 1;
    return 0;
}

static int intern(struct interner *in, uint64_t key, uint32_t *id)
{
    TRY(make_room(in));
    uint32_t *at = place_of(in, key);
    if (*at == 0) {
        in->s->keys[in->s->n_unique++] = key;
        *at = in->s->n_unique;
    }
    *id = *at - 1;
    return 0;
}

static int number_all(struct interner *in, uint64_t *keys)
{
    const struct sim_trace *t = in->s->trace;
    uint32_t *id = in->s->ids;
    for (size_t i = 0; i < t->n_requests; i++) {
        sim_trace_keys(t, &t->requests[i], keys);
        for (uint32_t d = 0; d < t->requests[i].n_blocks; d++)
            TRY(intern(in, keys[d], id++));
    }
    return 0;
}

int sim_stream_create(struct sim_stream *s, const struct sim_trace *t, struct err *err)
{
    *s = (struct sim_stream){ .trace = t };
    if (t->n_blocks == 0)
        return 0;
    struct interner in = { .s = s };
    uint64_t *keys = mem_alloc(t->n_blocks_max, sizeof *keys);
    s->ids = mem_alloc(t->n_blocks, sizeof *s->ids);
    int rc = keys == NULL || s->ids == NULL ? E_NOMEM : number_all(&in, keys);
    mem_free(keys);
    mem_free(in.table);
    if (rc < 0) {
        sim_stream_free(s);
        return err_set(err, rc, "numbering %llu blocks: %s", (unsigned long long)t->n_blocks,
                       err_code_text(rc));
    }
    return 0;
}

void sim_stream_free(struct sim_stream *s)
{
    mem_free(s->ids);
    mem_free(s->keys);
    *s = (struct sim_stream){ 0 };
}

double sim_stream_infinite(const struct sim_stream *s)
{
    /* Chained keys: a block known is a prefix known, so every sight but the first is a hit. */
    uint64_t n = s->trace->n_blocks;
    return n > 0 ? (double)(n - s->n_unique) / (double)n : 0;
}

/* --- counting --- */

static void count(struct sim_cache_result *r, const struct sim_trace *t,
                  const struct sim_request *q, uint32_t n_hit)
{
    uint64_t tokens = (uint64_t)n_hit * t->block_len;
    r->hit_blocks += n_hit;
    r->hit_tokens += tokens < q->in_tokens ? tokens : q->in_tokens;
    r->n_blocks += q->n_blocks;
    r->n_tokens += q->in_tokens;
}

/* --- belady: what no policy can beat --- */

struct belady {
    uint32_t *next;       /* (n_blocks) place of the next sight of the same block */
    uint32_t *slot_of;    /* (n_unique) */
    uint32_t *held;       /* (blocks + 1) block in a slot */
    uint32_t *free_slots, n_free;
    struct kv_heap heap;  /* slots, the farthest next use on top */
};
#define NEVER UINT32_MAX

/* One sight of a block; true if it was there. */
static bool belady_see(struct belady *b, uint32_t id, uint32_t next, uint32_t blocks)
{
    bool hit = b->slot_of[id] != KV_SLOT_NONE;
    if (!hit && next == NEVER)
        return false;
    if (!hit) {
        b->slot_of[id] = b->free_slots[--b->n_free];
        b->held[b->slot_of[id]] = id;
        kv_heap_put(&b->heap, b->slot_of[id]);
    }
    kv_heap_rank(&b->heap, b->slot_of[id], -(double)next);
    if (b->heap.n > blocks) {
        uint32_t slot = b->heap.items[0];
        kv_heap_take(&b->heap, slot);
        b->slot_of[b->held[slot]] = KV_SLOT_NONE;
        b->free_slots[b->n_free++] = slot;
    }
    return hit;
}

static void belady_next(struct belady *b, const struct sim_stream *s)
{
    memset(b->slot_of, 0xff, s->n_unique * sizeof *b->slot_of); /* here: the last place seen */
    for (uint32_t i = (uint32_t)s->trace->n_blocks; i-- > 0;) {
        b->next[i] = b->slot_of[s->ids[i]];
        b->slot_of[s->ids[i]] = i;
    }
    memset(b->slot_of, 0xff, s->n_unique * sizeof *b->slot_of);
}

static int belady_init(struct belady *b, const struct sim_stream *s, uint32_t blocks)
{
    *b = (struct belady){ .next = mem_alloc(s->trace->n_blocks, sizeof *b->next),
                          .slot_of = mem_alloc(s->n_unique, sizeof *b->slot_of),
                          .held = mem_alloc((size_t)blocks + 1, sizeof *b->held),
                          .free_slots = mem_alloc((size_t)blocks + 1, sizeof *b->free_slots) };
    TRY(kv_heap_init(&b->heap, blocks + 1));
    if (b->next == NULL || b->slot_of == NULL || b->held == NULL || b->free_slots == NULL)
        return E_NOMEM;
    for (uint32_t i = 0; i <= blocks; i++)
        b->free_slots[b->n_free++] = blocks - i;
    belady_next(b, s);
    return 0;
}

static int run_belady(const struct sim_stream *s, uint32_t blocks, sim_progress_fn progress,
                      void *ctx, struct sim_cache_result *out)
{
    const struct sim_trace *t = s->trace;
    struct belady b;
    uint32_t at = 0;
    int rc = belady_init(&b, s, blocks);
    for (size_t i = 0; rc == 0 && i < t->n_requests; i++) {
        const struct sim_request *q = &t->requests[i];
        uint32_t n_hit = 0;
        for (uint32_t d = 0; d < q->n_blocks; d++, at++)
            n_hit += belady_see(&b, s->ids[at], b.next[at], blocks) && n_hit == d;
        count(out, t, q, n_hit);
        if (progress != NULL && i % PROGRESS_EVERY == 0 && !progress(ctx, i, t->n_requests))
            rc = E_CANCELLED;
    }
    mem_free(b.next);
    mem_free(b.slot_of);
    mem_free(b.held);
    mem_free(b.free_slots);
    kv_heap_fini(&b.heap);
    return rc;
}

/* --- the policies --- */

struct slot {
    uint32_t id, parent, n_children;
};

struct cache {
    const struct sim_stream *s;
    struct kv_policy *policy;
    bool leaves;
    uint32_t blocks, n_slots, n_free;
    struct slot *slots;
    uint32_t *free_slots, *slot_of;
    uint64_t *keys;       /* (n_blocks_max) of the request */
};

static int cache_init(struct cache *c, const struct sim_stream *s,
                      const struct sim_cache_params *params)
{
    uint64_t n_slots = (uint64_t)params->blocks + s->trace->n_blocks_max;
    *c = (struct cache){ .s = s, .blocks = params->blocks, .n_slots = (uint32_t)n_slots,
                         .leaves = kv_policy_leaves(params->policy) && !params->flat };
    if (n_slots > 1u << 30)
        return E_RANGE;
    struct kv_policy_params pp = { .name = params->policy, .n_slots = c->n_slots,
                                   .n_keep = params->blocks };
    TRY(kv_policy_create(&c->policy, &pp));
    c->slots = mem_alloc(n_slots, sizeof *c->slots);
    c->free_slots = mem_alloc(n_slots, sizeof *c->free_slots);
    c->slot_of = mem_alloc(s->n_unique, sizeof *c->slot_of);
    c->keys = mem_alloc(s->trace->n_blocks_max, sizeof *c->keys);
    if (c->slots == NULL || c->free_slots == NULL || c->slot_of == NULL || c->keys == NULL)
        return E_NOMEM;
    memset(c->slot_of, 0xff, s->n_unique * sizeof *c->slot_of);
    for (uint32_t i = c->n_slots; i-- > 0;)
        c->free_slots[c->n_free++] = i;
    return 0;
}

static void cache_fini(struct cache *c)
{
    kv_policy_destroy(c->policy);
    mem_free(c->slots);
    mem_free(c->free_slots);
    mem_free(c->slot_of);
    mem_free(c->keys);
}

/* Gives blocks 0 .. n of the request slots, linked to their parents. */
static void put(struct cache *c, const uint32_t *ids, uint32_t n)
{
    uint32_t parent = KV_SLOT_NONE;
    for (uint32_t d = 0; d < n; d++) {
        uint32_t slot = c->slot_of[ids[d]];
        if (slot == KV_SLOT_NONE) {
            slot = c->slot_of[ids[d]] = c->free_slots[--c->n_free];
            c->slots[slot] = (struct slot){ .id = ids[d], .parent = parent };
            if (parent != KV_SLOT_NONE)
                c->slots[parent].n_children++;
        }
        parent = slot;
    }
}

static void evict(struct cache *c, uint32_t slot)
{
    uint32_t parent = c->slots[slot].parent;
    kv_policy_evict(c->policy, slot);
    c->slot_of[c->slots[slot].id] = KV_SLOT_NONE;
    c->free_slots[c->n_free++] = slot;
    /* A flat policy may have taken the parent before its child: nothing to tell then. */
    if (c->leaves && parent != KV_SLOT_NONE && --c->slots[parent].n_children == 0)
        kv_policy_offer(c->policy, parent);
}

/* One request; returns its unbroken hit. */
static uint32_t serve(struct cache *c, const struct sim_request *q, const uint32_t *ids,
                      uint64_t *n_evicted)
{
    uint32_t n_full = q->in_tokens / c->s->trace->block_len, n_hit = 0;
    if (n_full > q->n_blocks)
        n_full = q->n_blocks;
    uint32_t n = c->leaves ? n_full : q->n_blocks;
    struct kv_visit v;
    for (uint32_t d = 0; d < n; d++)
        c->keys[d] = c->s->keys[ids[d]];
    while (n_hit < n && c->slot_of[ids[n_hit]] != KV_SLOT_NONE)
        n_hit++;
    kv_policy_visit(c->policy, q->time_ms, c->keys, n_full, &v);
    put(c, ids, n);
    for (uint32_t d = n; d-- > 0;)
        kv_policy_touch(c->policy, c->slot_of[ids[d]], c->keys[d], d, &v);
    for (uint32_t d = n; d-- > 0;)
        if (!c->leaves || c->slots[c->slot_of[ids[d]]].n_children == 0)
            kv_policy_offer(c->policy, c->slot_of[ids[d]]);
    for (; c->n_slots - c->n_free > c->blocks; ++*n_evicted)
        evict(c, kv_policy_victim(c->policy));
    return n_hit;
}

static int run_policy(const struct sim_stream *s, const struct sim_cache_params *params,
                      sim_progress_fn progress, void *ctx, struct sim_cache_result *out)
{
    const struct sim_trace *t = s->trace;
    const uint32_t *ids = s->ids;
    struct cache c;
    int rc = cache_init(&c, s, params);
    for (size_t i = 0; rc == 0 && i < t->n_requests; i++) {
        const struct sim_request *q = &t->requests[i];
        count(out, t, q, serve(&c, q, ids, &out->n_evicted));
        ids += q->n_blocks;
        if (progress != NULL && i % PROGRESS_EVERY == 0 && !progress(ctx, i, t->n_requests))
            rc = E_CANCELLED;
    }
    cache_fini(&c);
    return rc;
}

int sim_cache_run(const struct sim_stream *s, const struct sim_cache_params *params,
                  sim_progress_fn progress, void *ctx, struct sim_cache_result *out,
                  struct err *err)
{
    struct sim_cache_result r = { 0 };
    if (params->blocks == 0 || params->blocks > 1u << 29)
        return err_set_field(err, E_RANGE, "blocks", "blocks: must be 1 to 536870912");
    if (s->trace->n_blocks >= UINT32_MAX)
        return err_set(err, E_LIMIT, "the trace has more than 4294967294 blocks");
    int rc = 0;
    if (s->trace->n_blocks == 0)
        for (size_t i = 0; i < s->trace->n_requests; i++)
            count(&r, s->trace, &s->trace->requests[i], 0);
    else if (strcmp(params->policy, SIM_BELADY) == 0)
        rc = run_belady(s, params->blocks, progress, ctx, &r);
    else
        rc = run_policy(s, params, progress, ctx, &r);
    if (rc == E_NOT_FOUND)
        return err_set_field(err, E_USAGE, "policy", "unknown policy: %.32s", params->policy);
    if (rc < 0)
        return err_set(err, rc, "%s", err_code_text(rc));
    r.block_hit = r.n_blocks > 0 ? (double)r.hit_blocks / (double)r.n_blocks : 0;
    r.token_hit = r.n_tokens > 0 ? (double)r.hit_tokens / (double)r.n_tokens : 0;
    *out = r;
    return 0;
}
