/* One table of functions a policy, chosen by name at create: the calls are a few a block, next to
 * hashing thousands of tokens, so an indirect call costs nothing that could be measured. */
#include "kv/policy.h"

#include <string.h>

#include "base/mem.h"
#include "kv/policy_impl.h"

static const struct kv_policy_ops *const policies[] = {
    &KV_POLICY_LRU,    &KV_POLICY_LFU,     &KV_POLICY_GDSF,
    &KV_POLICY_S3FIFO, &KV_POLICY_TINYLFU, &KV_POLICY_NARU,
};
enum { N_POLICIES = sizeof policies / sizeof policies[0] };

const char *kv_policy_name(uint32_t i) { return i < N_POLICIES ? policies[i]->name : NULL; }

static const struct kv_policy_ops *find(const char *name)
{
    for (uint32_t i = 0; i < N_POLICIES; i++)
        if (strcmp(policies[i]->name, name) == 0)
            return policies[i];
    return NULL;
}

bool kv_policy_leaves(const char *name)
{
    const struct kv_policy_ops *ops = find(name);
    return ops != NULL && ops->leaves;
}

int kv_policy_create(struct kv_policy **out, const struct kv_policy_params *params)
{
    struct kv_policy_params full = *params;
    const struct kv_policy_ops *ops = find(full.name != NULL ? full.name : KV_POLICY_DEFAULT);
    if (ops == NULL)
        return E_NOT_FOUND;
    if (full.n_slots == 0 || full.n_slots > 1u << 30 || full.n_keep > full.n_slots)
        return E_RANGE;
    if (full.n_keep == 0)
        full.n_keep = full.n_slots;
    full.name = ops->name;
    return ops->create(out, &full);
}

void kv_policy_destroy(struct kv_policy *p)
{
    if (p != NULL)
        p->ops->destroy(p);
}

void kv_policy_visit(struct kv_policy *p, uint64_t now_ms, const uint64_t *keys, uint32_t n,
                     struct kv_visit *v)
{
    *v = (struct kv_visit){ .set = true };
    if (p->ops->visit != NULL)
        p->ops->visit(p, now_ms, keys, n, v);
}

void kv_policy_touch(struct kv_policy *p, uint32_t slot, uint64_t key, uint32_t depth,
                     const struct kv_visit *v)
{
    ASSERT(v->set);
    p->ops->retract(p, slot);
    p->ops->touch(p, slot, key, depth, v);
}

void kv_policy_offer(struct kv_policy *p, uint32_t slot) { p->ops->offer(p, slot); }
void kv_policy_retract(struct kv_policy *p, uint32_t slot) { p->ops->retract(p, slot); }
uint32_t kv_policy_victim(struct kv_policy *p) { return p->ops->victim(p); }

void kv_policy_evict(struct kv_policy *p, uint32_t slot)
{
    p->ops->retract(p, slot);
    p->ops->evict(p, slot);
}

void kv_policy_check(const struct kv_policy *p)
{
    if (p->ops->check != NULL)
        p->ops->check(p);
}

/* --- lists --- */

static void join(struct kv_list *l, struct kv_link *links, uint32_t i, uint32_t prev, uint32_t next)
{
    links[i] = (struct kv_link){ .prev = prev, .next = next };
    *(prev != KV_SLOT_NONE ? &links[prev].next : &l->head) = i;
    *(next != KV_SLOT_NONE ? &links[next].prev : &l->tail) = i;
    l->n++;
}

void kv_list_append(struct kv_list *l, struct kv_link *links, uint32_t i)
{
    join(l, links, i, l->tail, KV_SLOT_NONE);
}

void kv_list_prepend(struct kv_list *l, struct kv_link *links, uint32_t i)
{
    join(l, links, i, KV_SLOT_NONE, l->head);
}

void kv_list_remove(struct kv_list *l, struct kv_link *links, uint32_t i)
{
    uint32_t prev = links[i].prev, next = links[i].next;
    ASSERT(l->n > 0);
    *(prev != KV_SLOT_NONE ? &links[prev].next : &l->head) = next;
    *(next != KV_SLOT_NONE ? &links[next].prev : &l->tail) = prev;
    l->n--;
}

/* --- the heap --- */

int kv_heap_init(struct kv_heap *h, uint32_t cap)
{
    *h = (struct kv_heap){ .items = mem_alloc(cap, sizeof *h->items),
                           .place = mem_alloc(cap, sizeof *h->place),
                           .rank = mem_alloc(cap, sizeof *h->rank),
                           .cap = cap };
    if (h->items == NULL || h->place == NULL || h->rank == NULL) {
        kv_heap_fini(h);
        return E_NOMEM;
    }
    memset(h->place, 0xff, cap * sizeof *h->place);
    return 0;
}

void kv_heap_fini(struct kv_heap *h)
{
    mem_free(h->items);
    mem_free(h->place);
    mem_free(h->rank);
    *h = (struct kv_heap){ 0 };
}

static void set(struct kv_heap *h, uint32_t at, uint32_t i)
{
    h->items[at] = i;
    h->place[i] = at;
}

static void sift(struct kv_heap *h, uint32_t at)
{
    uint32_t i = h->items[at];
    for (; at > 0 && h->rank[h->items[(at - 1) / 2]] > h->rank[i]; at = (at - 1) / 2)
        set(h, at, h->items[(at - 1) / 2]);
    for (uint32_t child = 2 * at + 1; child < h->n; child = 2 * at + 1) {
        if (child + 1 < h->n && h->rank[h->items[child + 1]] < h->rank[h->items[child]])
            child++;
        if (h->rank[h->items[child]] >= h->rank[i])
            break;
        set(h, at, h->items[child]);
        at = child;
    }
    set(h, at, i);
}

void kv_heap_rank(struct kv_heap *h, uint32_t i, double rank)
{
    h->rank[i] = rank;
    if (kv_heap_has(h, i))
        sift(h, h->place[i]);
}

void kv_heap_put(struct kv_heap *h, uint32_t i)
{
    ASSERT(!kv_heap_has(h, i));
    ASSERT(h->n < h->cap);
    set(h, h->n++, i);
    sift(h, h->n - 1);
}

void kv_heap_take(struct kv_heap *h, uint32_t i)
{
    ASSERT(kv_heap_has(h, i));
    uint32_t at = h->place[i], last = h->items[--h->n];
    h->place[i] = UINT32_MAX;
    if (last == i)
        return;
    set(h, at, last);
    sift(h, at);
}

void kv_heap_check(const struct kv_heap *h)
{
    for (uint32_t at = 0; at < h->n; at++) {
        CHECK(h->place[h->items[at]] == at);
        CHECK(at == 0 || h->rank[h->items[(at - 1) / 2]] <= h->rank[h->items[at]]);
    }
}
