/* tinylfu: W-TinyLFU (Einziger, Friedman and Manes, ACM TOS 2017). A window of 1 % takes new
 * blocks, least recently used first out; the main part is a segmented LRU, 80 % protected. The
 * window's oldest meets the main part's oldest unprotected: the one that was asked for less often
 * leaves. "How often" is a count-min sketch of four rows, four bits in the paper, bytes capped at
 * 15 here, halved every ten times the room. */
#include <string.h>

#include "base/mem.h"
#include "kv/policy_impl.h"

enum { WINDOW = 1, PROBATION = 2, PROTECTED = 3, ROWS = 4, COUNT_MAX = 15 };

struct slot {
    uint64_t key;
    uint8_t segment;
};

struct tinylfu {
    struct kv_policy base;
    uint32_t window_max, main_max, protected_max, sample_max, n_sampled;
    struct slot *slots;
    struct kv_link *links;
    struct kv_list lists[PROTECTED + 1];
    uint8_t *sketch;      /* (ROWS, row_mask + 1) */
    uint32_t row_mask;
};

static uint8_t *counter(const struct tinylfu *p, uint64_t key, uint32_t row)
{
    static const uint64_t mix[ROWS] = { 0x9e3779b97f4a7c15u, 0xc2b2ae3d27d4eb4fu,
                                        0x165667b19e3779f9u, 0xff51afd7ed558ccdu };
    uint64_t h = (key ^ key >> 33) * mix[row];
    return &p->sketch[(size_t)row * (p->row_mask + 1) + ((h >> 32) & p->row_mask)];
}

static uint32_t estimate(const struct tinylfu *p, uint64_t key)
{
    uint32_t least = COUNT_MAX;
    for (uint32_t r = 0; r < ROWS; r++)
        if (*counter(p, key, r) < least)
            least = *counter(p, key, r);
    return least;
}

static void count(struct tinylfu *p, uint64_t key)
{
    for (uint32_t r = 0; r < ROWS; r++)
        *counter(p, key, r) += *counter(p, key, r) < COUNT_MAX;
    if (++p->n_sampled < p->sample_max)
        return;
    for (size_t i = 0; i < (size_t)ROWS * (p->row_mask + 1); i++)
        p->sketch[i] /= 2;
    p->n_sampled /= 2;
}

static void move(struct tinylfu *p, uint32_t slot, uint8_t segment)
{
    if (p->slots[slot].segment != 0)
        kv_list_remove(&p->lists[p->slots[slot].segment], p->links, slot);
    p->slots[slot].segment = segment;
    kv_list_append(&p->lists[segment], p->links, slot);
}

static void touch(struct kv_policy *base, uint32_t slot, uint64_t key, uint32_t depth,
                  const struct kv_visit *v)
{
    (void)depth;
    (void)v;
    struct tinylfu *p = (struct tinylfu *)base;
    struct slot *s = &p->slots[slot];
    count(p, key);
    if (s->segment == 0 || s->key != key) {
        s->key = key;
        move(p, slot, WINDOW);
        if (p->lists[WINDOW].n > p->window_max &&
            p->lists[PROBATION].n + p->lists[PROTECTED].n < p->main_max)
            move(p, p->lists[WINDOW].head, PROBATION); /* the main part is not full yet */
        return;
    }
    move(p, slot, s->segment == WINDOW ? WINDOW : PROTECTED);
    if (p->lists[PROTECTED].n > p->protected_max)
        move(p, p->lists[PROTECTED].head, PROBATION);
}

static void nothing(struct kv_policy *base, uint32_t slot)
{
    (void)base;
    (void)slot;
}

static uint32_t victim(struct kv_policy *base)
{
    struct tinylfu *p = (struct tinylfu *)base;
    struct kv_list *window = &p->lists[WINDOW];
    uint32_t main = p->lists[PROBATION].n > 0 ? p->lists[PROBATION].head : p->lists[PROTECTED].head;
    if (window->n <= p->window_max && main != KV_SLOT_NONE)
        return main;
    if (window->n == 0 || main == KV_SLOT_NONE)
        return window->head;
    uint32_t young = window->head;
    if (estimate(p, p->slots[young].key) <= estimate(p, p->slots[main].key))
        return young;
    move(p, young, PROBATION);
    return main;
}

static void evict(struct kv_policy *base, uint32_t slot)
{
    struct tinylfu *p = (struct tinylfu *)base;
    kv_list_remove(&p->lists[p->slots[slot].segment], p->links, slot);
    p->slots[slot] = (struct slot){ 0 };
}

static void destroy(struct kv_policy *base)
{
    struct tinylfu *p = (struct tinylfu *)base;
    mem_free(p->slots);
    mem_free(p->links);
    mem_free(p->sketch);
    mem_free(p);
}

static int create(struct kv_policy **out, const struct kv_policy_params *params)
{
    struct tinylfu *p = mem_alloc(1, sizeof *p);
    if (p == NULL)
        return E_NOMEM;
    uint32_t n = params->n_keep, row = 16;
    while (row < n)
        row *= 2;
    p->base.ops = &KV_POLICY_TINYLFU;
    p->row_mask = row - 1;
    p->window_max = n / 100 + 1;
    p->main_max = n > p->window_max ? n - p->window_max : 1;
    p->protected_max = p->main_max / 5 * 4;
    p->sample_max = n < UINT32_MAX / 10 ? 10 * n : UINT32_MAX;
    p->slots = mem_alloc(params->n_slots, sizeof *p->slots);
    p->links = mem_alloc(params->n_slots, sizeof *p->links);
    p->sketch = mem_alloc(ROWS, row);
    for (int i = 0; i <= PROTECTED; i++)
        kv_list_init(&p->lists[i]);
    if (p->slots == NULL || p->links == NULL || p->sketch == NULL) {
        destroy(&p->base);
        return E_NOMEM;
    }
    *out = &p->base;
    return 0;
}

const struct kv_policy_ops KV_POLICY_TINYLFU = {
    .name = "tinylfu", .create = create, .destroy = destroy, .touch = touch, .offer = nothing,
    .retract = nothing, .victim = victim, .evict = evict,
};
