/* s3fifo: three FIFO queues (Yang, Zhang, Qiu, Yue and Rashmi, SOSP 2023). New blocks enter a small
 * queue, a tenth of the room; what is not used there leaves and only its key stays a while (ghost);
 * what was used, or comes back while it is a ghost, enters the main queue, which gives a second
 * round for each of up to three uses. */
#include <string.h>

#include "base/mem.h"
#include "kv/policy_impl.h"

enum { SMALL = 1, MAIN = 2, USES_MAX = 3 };

struct slot {
    uint64_t key;
    uint8_t n_uses, queue;
};

struct s3fifo {
    struct kv_policy base;
    uint32_t n_slots, small_max;
    struct slot *slots;
    struct kv_link *links;
    struct kv_list small, main;
    uint64_t *ghosts;         /* (n_ghosts) ring of keys, 0: empty */
    uint32_t *ghost_next, *buckets, bucket_mask;
    uint32_t n_ghosts, next_ghost;
};

static uint32_t *bucket_of(struct s3fifo *p, uint64_t key)
{
    return &p->buckets[(key * 0x9e3779b97f4a7c15u >> 32) & p->bucket_mask];
}

/* Forgets the key if it is a ghost; true if it was. */
static bool forget(struct s3fifo *p, uint64_t key)
{
    for (uint32_t *at = bucket_of(p, key); *at != KV_SLOT_NONE; at = &p->ghost_next[*at])
        if (p->ghosts[*at] == key) {
            p->ghosts[*at] = 0;
            *at = p->ghost_next[*at];
            return true;
        }
    return false;
}

static void remember(struct s3fifo *p, uint64_t key)
{
    uint32_t i = p->next_ghost;
    p->next_ghost = (i + 1) % p->n_ghosts;
    if (p->ghosts[i] != 0)
        forget(p, p->ghosts[i]);
    uint32_t *first = bucket_of(p, key);
    p->ghosts[i] = key;
    p->ghost_next[i] = *first;
    *first = i;
}

static void enter(struct s3fifo *p, uint32_t slot, uint8_t queue)
{
    p->slots[slot].queue = queue;
    kv_list_append(queue == SMALL ? &p->small : &p->main, p->links, slot);
}

static void leave(struct s3fifo *p, uint32_t slot)
{
    kv_list_remove(p->slots[slot].queue == SMALL ? &p->small : &p->main, p->links, slot);
}

static void touch(struct kv_policy *base, uint32_t slot, uint64_t key, uint32_t depth,
                  const struct kv_visit *v)
{
    (void)depth;
    (void)v;
    struct s3fifo *p = (struct s3fifo *)base;
    struct slot *s = &p->slots[slot];
    if (s->queue != 0 && s->key == key) {
        s->n_uses += s->n_uses < USES_MAX;
        return;
    }
    if (s->queue != 0)
        leave(p, slot);
    *s = (struct slot){ .key = key };
    enter(p, slot, forget(p, key) ? MAIN : SMALL);
}

/* Every slot that is touched waits in a queue: there is nothing to do (kv_policy_leaves). */
static void nothing(struct kv_policy *base, uint32_t slot)
{
    (void)base;
    (void)slot;
}

static uint32_t victim(struct kv_policy *base)
{
    struct s3fifo *p = (struct s3fifo *)base;
    while (p->small.n + p->main.n > 0) {
        bool small = p->small.n > p->small_max || p->main.n == 0;
        uint32_t i = small ? p->small.head : p->main.head;
        struct slot *s = &p->slots[i];
        if (small ? s->n_uses <= 1 : s->n_uses == 0)
            return i;
        leave(p, i);
        s->n_uses = small ? 0 : s->n_uses - 1;
        enter(p, i, MAIN);
    }
    return KV_SLOT_NONE;
}

static void evict(struct kv_policy *base, uint32_t slot)
{
    struct s3fifo *p = (struct s3fifo *)base;
    leave(p, slot);
    if (p->slots[slot].queue == SMALL)
        remember(p, p->slots[slot].key);
    p->slots[slot] = (struct slot){ 0 };
}

static void destroy(struct kv_policy *base)
{
    struct s3fifo *p = (struct s3fifo *)base;
    mem_free(p->slots);
    mem_free(p->links);
    mem_free(p->ghosts);
    mem_free(p->ghost_next);
    mem_free(p->buckets);
    mem_free(p);
}

static int create(struct kv_policy **out, const struct kv_policy_params *params)
{
    struct s3fifo *p = mem_alloc(1, sizeof *p);
    if (p == NULL)
        return E_NOMEM;
    p->base.ops = &KV_POLICY_S3FIFO;
    p->n_slots = params->n_slots;
    p->small_max = params->n_keep / 10;
    p->n_ghosts = params->n_keep;
    uint32_t n_buckets = 1;
    while (n_buckets < p->n_ghosts)
        n_buckets *= 2;
    p->bucket_mask = n_buckets - 1;
    kv_list_init(&p->small);
    kv_list_init(&p->main);
    p->slots = mem_alloc(p->n_slots, sizeof *p->slots);
    p->links = mem_alloc(p->n_slots, sizeof *p->links);
    p->ghosts = mem_alloc(p->n_ghosts, sizeof *p->ghosts);
    p->ghost_next = mem_alloc(p->n_ghosts, sizeof *p->ghost_next);
    p->buckets = mem_alloc(n_buckets, sizeof *p->buckets);
    if (p->slots == NULL || p->links == NULL || p->ghosts == NULL || p->ghost_next == NULL ||
        p->buckets == NULL) {
        destroy(&p->base);
        return E_NOMEM;
    }
    memset(p->buckets, 0xff, n_buckets * sizeof *p->buckets);
    *out = &p->base;
    return 0;
}

const struct kv_policy_ops KV_POLICY_S3FIFO = {
    .name = "s3fifo", .create = create, .destroy = destroy, .touch = touch, .offer = nothing,
    .retract = nothing, .victim = victim, .evict = evict,
};
