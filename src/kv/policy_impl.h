/* kv/policy_impl.h - what a policy implements.
 *
 * Idea: each policy is a struct that begins with struct kv_policy and one table of functions.
 * Missing functions do nothing. Heaps are shared: an indexed binary heap, least first. */
#ifndef KV_POLICY_IMPL_H
#define KV_POLICY_IMPL_H

#include "kv/policy.h"

struct kv_policy_ops {
    const char *name;
    bool leaves;
    int (*create)(struct kv_policy **out, const struct kv_policy_params *params);
    void (*destroy)(struct kv_policy *p);
    void (*visit)(struct kv_policy *p, uint64_t now_ms, const uint64_t *keys, uint32_t n,
                  struct kv_visit *v);
    void (*touch)(struct kv_policy *p, uint32_t slot, uint64_t key, uint32_t depth,
                  const struct kv_visit *v);
    void (*offer)(struct kv_policy *p, uint32_t slot);
    void (*retract)(struct kv_policy *p, uint32_t slot);
    uint32_t (*victim)(struct kv_policy *p);
    void (*evict)(struct kv_policy *p, uint32_t slot);
    void (*check)(const struct kv_policy *p);
};

struct kv_policy {
    const struct kv_policy_ops *ops;
};

extern const struct kv_policy_ops KV_POLICY_LRU, KV_POLICY_LFU, KV_POLICY_GDSF, KV_POLICY_S3FIFO,
    KV_POLICY_TINYLFU, KV_POLICY_NARU;

/* An indexed binary heap over items 0 .. cap - 1; rank[i] orders them, the least on top. */
struct kv_heap {
    uint32_t *items, *place; /* place[i] == UINT32_MAX: i is not in the heap */
    double *rank;
    uint32_t n, cap;
};
NODISCARD int kv_heap_init(struct kv_heap *h, uint32_t cap);
void kv_heap_fini(struct kv_heap *h);
/* Sets the rank of item i, whether it is in the heap or not. */
void kv_heap_rank(struct kv_heap *h, uint32_t i, double rank);
void kv_heap_put(struct kv_heap *h, uint32_t i);
void kv_heap_take(struct kv_heap *h, uint32_t i);
static inline bool kv_heap_has(const struct kv_heap *h, uint32_t i)
{
    return h->place[i] != UINT32_MAX;
}
void kv_heap_check(const struct kv_heap *h);

/* A doubly linked list over shared link arrays, oldest at head. */
struct kv_list {
    uint32_t head, tail, n;
};
struct kv_link {
    uint32_t prev, next;
};
static inline void kv_list_init(struct kv_list *l)
{
    *l = (struct kv_list){ .head = KV_SLOT_NONE, .tail = KV_SLOT_NONE };
}
void kv_list_append(struct kv_list *l, struct kv_link *links, uint32_t i);
void kv_list_prepend(struct kv_list *l, struct kv_link *links, uint32_t i);
void kv_list_remove(struct kv_list *l, struct kv_link *links, uint32_t i);

#endif
