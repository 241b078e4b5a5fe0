/* lru, lfu and gdsf: one number a block, the least leaves.
 *
 * lru: the time of the last touch. lfu: hits + age, where age is the number the last victim had
 * (dynamic aging: old fame fades). gdsf: age + hits x cost / size; blocks are of one size, and the
 * cost of a block is its seconds to recompute, which grow with depth since its tokens look back at
 * all before them. */
#include "base/mem.h"
#include "kv/policy_impl.h"

/* A token's attention costs as much as its linear layers at about this many blocks of depth: 32
 * blocks of 512 tokens are 16 k tokens, the order for 8 B class models. */
#define DEPTH_EVEN 32.0

enum rule { LRU, LFU, GDSF };

struct slot {
    uint64_t key;
    uint32_t n_uses;
};

struct heap_policy {
    struct kv_policy base;
    enum rule rule;
    struct slot *slots;
    struct kv_heap heap; /* holds what is offered */
    double age;
    uint64_t tick;
};

static void destroy(struct kv_policy *base)
{
    struct heap_policy *p = (struct heap_policy *)base;
    mem_free(p->slots);
    kv_heap_fini(&p->heap);
    mem_free(p);
}

static int create(struct kv_policy **out, const struct kv_policy_params *params,
                  const struct kv_policy_ops *ops, enum rule rule)
{
    struct heap_policy *p = mem_alloc(1, sizeof *p);
    if (p == NULL)
        return E_NOMEM;
    p->base.ops = ops;
    p->rule = rule;
    p->slots = mem_alloc(params->n_slots, sizeof *p->slots);
    int rc = kv_heap_init(&p->heap, params->n_slots);
    if (rc < 0 || p->slots == NULL) {
        destroy(&p->base);
        return E_NOMEM;
    }
    *out = &p->base;
    return 0;
}

static void touch(struct kv_policy *base, uint32_t slot, uint64_t key, uint32_t depth,
                  const struct kv_visit *v)
{
    (void)v;
    struct heap_policy *p = (struct heap_policy *)base;
    struct slot *s = &p->slots[slot];
    if (s->key != key)
        *s = (struct slot){ .key = key };
    s->n_uses++;
    double rank = (double)++p->tick;
    if (p->rule == LFU)
        rank = p->age + s->n_uses;
    if (p->rule == GDSF)
        rank = p->age + s->n_uses * (1.0 + depth / DEPTH_EVEN);
    kv_heap_rank(&p->heap, slot, rank);
}

static void offer(struct kv_policy *base, uint32_t slot)
{
    kv_heap_put(&((struct heap_policy *)base)->heap, slot);
}

static void retract(struct kv_policy *base, uint32_t slot)
{
    struct heap_policy *p = (struct heap_policy *)base;
    if (kv_heap_has(&p->heap, slot))
        kv_heap_take(&p->heap, slot);
}

static uint32_t victim(struct kv_policy *base)
{
    struct heap_policy *p = (struct heap_policy *)base;
    return p->heap.n > 0 ? p->heap.items[0] : KV_SLOT_NONE;
}

static void evict(struct kv_policy *base, uint32_t slot)
{
    struct heap_policy *p = (struct heap_policy *)base;
    if (p->heap.rank[slot] > p->age)
        p->age = p->heap.rank[slot];
    p->slots[slot] = (struct slot){ 0 };
}

static void check(const struct kv_policy *base)
{
    kv_heap_check(&((const struct heap_policy *)base)->heap);
}

static int create_lru(struct kv_policy **out, const struct kv_policy_params *params)
{
    return create(out, params, &KV_POLICY_LRU, LRU);
}

static int create_lfu(struct kv_policy **out, const struct kv_policy_params *params)
{
    return create(out, params, &KV_POLICY_LFU, LFU);
}

static int create_gdsf(struct kv_policy **out, const struct kv_policy_params *params)
{
    return create(out, params, &KV_POLICY_GDSF, GDSF);
}

#define HEAP_POLICY(NAME, CREATE)                                                                  \
    { .name = NAME, .leaves = true, .create = CREATE, .destroy = destroy, .touch = touch,          \
      .offer = offer, .retract = retract, .victim = victim, .evict = evict, .check = check }
const struct kv_policy_ops KV_POLICY_LRU = HEAP_POLICY("lru", create_lru);
const struct kv_policy_ops KV_POLICY_LFU = HEAP_POLICY("lfu", create_lfu);
const struct kv_policy_ops KV_POLICY_GDSF = HEAP_POLICY("gdsf", create_gdsf);
