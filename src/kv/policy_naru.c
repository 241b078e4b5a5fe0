/* naru: keep what is most likely asked for soon, by what the stream itself taught.
 *
 * The rule, whole:
 *   1. A block's class is: how often it was used; how many blocks its last prompt had that nobody
 *      had sent before; and, if never used again, how often its chain was continued, else the mean
 *      gap between its uses. (A chat that goes on adds little; a new document adds much.)
 *   2. For each class and age the hazard of the next use is counted, over cached blocks and over
 *      those that left lately (ghosts): kv/policy_hazard.h.
 *   3. The victim is the offered block with the least index, that is hits per second of stay.
 *   4. Only leaves are offered, so a parent outlives its children; blocks of a prompt just done
 *      compete like all others, which is how a prompt of no promise passes the cache by.
 *
 *     by age    oldest [ n7 | n2 | .. ^ .. | n9 | .. ^ .. | n1 ] youngest    ^ borders of intervals
 *     cells     (class, age) -> list of offered slots;   heap of cells by index -> victim
 *
 * A block crosses each border once, when its time comes; then it changes cell. So an operation is
 * O(ages + log cells) with small constants, whatever the number of blocks, and nothing is sampled.
 * Compared on traces in docs/kv-policy.md. */
#include <string.h>

#include "base/mem.h"
#include "kv/policy_hazard.h"
#include "kv/policy_impl.h"

enum {
    N_CELLS = HAZARD_CLASSES * HAZARD_AGES,
    GHOSTS_A_SLOT = 8, GHOSTS_MIN = 1 << 16,
    REFRESH_A_VISIT = 8, /* classes whose index is computed again */
    NONE = -1
};

struct node {
    uint64_t key, last_ms;
    uint32_t hash_next;
    float gap_ms;         /* mean between uses, each as heavy as all before it; < 0: none */
    uint16_t n_hits, class;
    uint8_t age;
    bool live, offered;
};

struct naru {
    struct kv_policy base;
    struct kv_hazard hazard;
    uint32_t n_slots, n_nodes;      /* slots first, then ghosts */
    struct node *nodes;             /* (n_nodes) */
    uint32_t *buckets, bucket_mask; /* key -> node */
    struct kv_link *by_age, *in_cell;
    struct kv_list ages;            /* all live nodes, oldest first */
    uint32_t border[HAZARD_AGES];   /* the oldest node younger than the interval */
    struct kv_list cells[N_CELLS];
    struct kv_heap heap;            /* of cells that are not empty */
    uint64_t now_ms;
    uint32_t next_ghost, next_class;
};

/* --- classes --- */

static uint32_t hits_bucket(uint32_t n) { return n <= 3 ? n : n <= 5 ? 4 : n <= 9 ? 5 : 6; }

static uint32_t gap_bucket(double ms)
{
    static const double edge_ms[] = { 24e3, 64e3, 160e3, 400e3 };
    uint32_t i = 0;
    while (i < COUNT_OF(edge_ms) && ms >= edge_ms[i])
        i++;
    return i + 1;
}

/* ceil(log2(n + 1)), at most HAZARD_FRESH - 1. */
static uint8_t fresh_bucket(uint32_t n)
{
    uint8_t r = 0;
    while (r < HAZARD_FRESH - 1 && (1u << r) < n + 1)
        r++;
    return r;
}

/* --- the hash table --- */

static uint32_t *bucket_of(const struct naru *p, uint64_t key)
{
    return &p->buckets[(key * 0x9e3779b97f4a7c15u >> 32) & p->bucket_mask];
}

static uint32_t find(const struct naru *p, uint64_t key)
{
    uint32_t i = *bucket_of(p, key);
    while (i != KV_SLOT_NONE && p->nodes[i].key != key)
        i = p->nodes[i].hash_next;
    return i;
}

static void hash_join(struct naru *p, uint32_t i)
{
    uint32_t *first = bucket_of(p, p->nodes[i].key);
    p->nodes[i].hash_next = *first;
    *first = i;
}

static void hash_leave(struct naru *p, uint32_t i)
{
    uint32_t *link = bucket_of(p, p->nodes[i].key);
    while (*link != i) {
        ASSERT(*link != KV_SLOT_NONE);
        link = &p->nodes[*link].hash_next;
    }
    *link = p->nodes[i].hash_next;
}

/* --- cells: where the offered slots wait --- */

static uint32_t cell_of(const struct node *n) { return n->class * HAZARD_AGES + n->age; }

static void cell_join(struct naru *p, uint32_t i)
{
    uint32_t c = cell_of(&p->nodes[i]);
    struct kv_list *l = &p->cells[c];
    if (l->n == 0)
        kv_heap_put(&p->heap, c);
    /* The parent of a victim goes first: one chain whole rather than the ends of many. */
    if (l->n > 0 && p->nodes[i].last_ms < p->nodes[l->tail].last_ms)
        kv_list_prepend(l, p->in_cell, i);
    else
        kv_list_append(l, p->in_cell, i);
}

static void cell_leave(struct naru *p, uint32_t i)
{
    uint32_t c = cell_of(&p->nodes[i]);
    kv_list_remove(&p->cells[c], p->in_cell, i);
    if (p->cells[c].n == 0)
        kv_heap_take(&p->heap, c);
}

static void refresh(struct naru *p, uint32_t class)
{
    double index[HAZARD_AGES];
    kv_hazard_index(&p->hazard, class, index);
    for (uint32_t a = 0; a < HAZARD_AGES; a++)
        kv_heap_rank(&p->heap, class * HAZARD_AGES + a, index[a]);
}

/* --- the list by age --- */

static void age_join(struct naru *p, uint32_t i)
{
    p->nodes[i].age = 0;
    kv_list_append(&p->ages, p->by_age, i);
    for (int a = 1; a < HAZARD_AGES; a++)
        if (p->border[a] == KV_SLOT_NONE)
            p->border[a] = i;
    kv_hazard_enter(&p->hazard, p->nodes[i].class, 0);
}

static void move_borders(struct naru *p, uint32_t from, uint32_t to)
{
    for (int a = 1; a < HAZARD_AGES; a++)
        if (p->border[a] == from)
            p->border[a] = to;
}

static void age_leave(struct naru *p, uint32_t i)
{
    move_borders(p, i, p->by_age[i].next);
    kv_list_remove(&p->ages, p->by_age, i);
}

/* Lets every block cross the borders its age has reached. */
static void grow_older(struct naru *p)
{
    for (uint32_t a = 1; a < HAZARD_AGES; a++)
        while (p->border[a] != KV_SLOT_NONE) {
            uint32_t i = p->border[a];
            struct node *n = &p->nodes[i];
            if (p->now_ms - n->last_ms < p->hazard.edge_ms[a])
                break;
            ASSERT(n->age == a - 1);
            if (n->offered)
                cell_leave(p, i);
            n->age = (uint8_t)a;
            if (n->offered)
                cell_join(p, i);
            kv_hazard_enter(&p->hazard, n->class, a);
            p->border[a] = p->by_age[i].next;
        }
}

static void drop(struct naru *p, uint32_t i)
{
    age_leave(p, i);
    hash_leave(p, i);
    p->nodes[i].live = false;
}

/* --- operations --- */

static void visit(struct kv_policy *base, uint64_t now_ms, const uint64_t *keys, uint32_t n,
                  struct kv_visit *v)
{
    struct naru *p = (struct naru *)base;
    uint32_t known = 0, last = KV_SLOT_NONE;
    if (now_ms > p->now_ms)
        p->now_ms = now_ms;
    kv_hazard_time(&p->hazard, p->now_ms);
    grow_older(p);
    for (; known < n; known++) {
        uint32_t i = find(p, keys[known]);
        if (i == KV_SLOT_NONE)
            break;
        last = i;
    }
    v->fresh = fresh_bucket(n - known);
    /* The first block alone says little: everybody may begin alike. */
    uint32_t turn = known > 1 ? p->nodes[last].n_hits + 1u : 0;
    v->turn = turn < HAZARD_THIRD ? (uint16_t)turn : HAZARD_THIRD - 1;
    for (int i = 0; i < REFRESH_A_VISIT; i++) {
        refresh(p, p->next_class);
        p->next_class = (p->next_class + 1) % HAZARD_CLASSES;
    }
}

/* Slot becomes the live node of key, with what is remembered of it. */
static void adopt(struct naru *p, uint32_t slot, uint64_t key)
{
    struct node *n = &p->nodes[slot];
    uint32_t i = find(p, key);
    while (i != slot && i < p->n_slots) /* another slot's key: 64 bits collided */
        i = find(p, ++key);
    if (i != slot && n->live)
        drop(p, slot);
    if (i == KV_SLOT_NONE) {
        *n = (struct node){ .key = key, .gap_ms = NONE, .live = true };
        hash_join(p, slot);
        return;
    }
    struct node old = p->nodes[i];
    ASSERT(!old.offered);
    kv_hazard_use(&p->hazard, old.class, old.age);
    drop(p, i);
    float gap = (float)(p->now_ms - old.last_ms);
    old.gap_ms = old.gap_ms < 0 ? gap : (old.gap_ms + gap) / 2;
    old.n_hits += old.n_hits < UINT16_MAX;
    old.live = true;
    *n = old;
    hash_join(p, slot);
}

static void touch(struct kv_policy *base, uint32_t slot, uint64_t key, uint32_t depth,
                  const struct kv_visit *v)
{
    (void)depth;
    struct naru *p = (struct naru *)base;
    ASSERT(slot < p->n_slots);
    adopt(p, slot, key);
    struct node *n = &p->nodes[slot];
    n->last_ms = p->now_ms;
    n->class = kv_hazard_class(hits_bucket(n->n_hits), v->fresh,
                               n->n_hits == 0 ? v->turn : gap_bucket(n->gap_ms));
    age_join(p, slot);
}

static void offer(struct kv_policy *base, uint32_t slot)
{
    struct naru *p = (struct naru *)base;
    ASSERT(p->nodes[slot].live);
    ASSERT(!p->nodes[slot].offered);
    p->nodes[slot].offered = true;
    cell_join(p, slot);
}

static void retract(struct kv_policy *base, uint32_t slot)
{
    struct naru *p = (struct naru *)base;
    if (!p->nodes[slot].offered)
        return;
    cell_leave(p, slot);
    p->nodes[slot].offered = false;
}

static uint32_t victim(struct kv_policy *base)
{
    struct naru *p = (struct naru *)base;
    return p->heap.n > 0 ? p->cells[p->heap.items[0]].head : KV_SLOT_NONE;
}

/* The node moves to a ghost's place, as young as it was; the ghost there, evicted longest ago, is
 * forgotten. */
static void evict(struct kv_policy *base, uint32_t slot)
{
    struct naru *p = (struct naru *)base;
    uint32_t ghost = p->n_slots + p->next_ghost;
    p->next_ghost = (p->next_ghost + 1) % (p->n_nodes - p->n_slots);
    ASSERT(p->nodes[slot].live);
    if (p->nodes[ghost].live)
        drop(p, ghost);
    hash_leave(p, slot);
    p->nodes[ghost] = p->nodes[slot];
    p->nodes[slot].live = false;
    hash_join(p, ghost);
    struct kv_link at = p->by_age[slot];
    p->by_age[ghost] = at;
    *(at.prev != KV_SLOT_NONE ? &p->by_age[at.prev].next : &p->ages.head) = ghost;
    *(at.next != KV_SLOT_NONE ? &p->by_age[at.next].prev : &p->ages.tail) = ghost;
    move_borders(p, slot, ghost);
}

/* --- life --- */

static void destroy(struct kv_policy *base)
{
    struct naru *p = (struct naru *)base;
    mem_free(p->nodes);
    mem_free(p->buckets);
    mem_free(p->by_age);
    mem_free(p->in_cell);
    kv_heap_fini(&p->heap);
    mem_free(p);
}

static int allocate(struct naru *p)
{
    uint32_t n_buckets = 1;
    while (n_buckets < p->n_nodes)
        n_buckets *= 2;
    p->bucket_mask = n_buckets - 1;
    p->nodes = mem_alloc(p->n_nodes, sizeof *p->nodes);
    p->buckets = mem_alloc(n_buckets, sizeof *p->buckets);
    p->by_age = mem_alloc(p->n_nodes, sizeof *p->by_age);
    p->in_cell = mem_alloc(p->n_slots, sizeof *p->in_cell);
    TRY(kv_heap_init(&p->heap, N_CELLS));
    if (p->nodes == NULL || p->buckets == NULL || p->by_age == NULL || p->in_cell == NULL)
        return E_NOMEM;
    memset(p->buckets, 0xff, n_buckets * sizeof *p->buckets);
    memset(p->border, 0xff, sizeof p->border);
    return 0;
}

static int create(struct kv_policy **out, const struct kv_policy_params *params)
{
    uint64_t n_ghosts = (uint64_t)params->n_slots * GHOSTS_A_SLOT;
    struct naru *p = mem_alloc(1, sizeof *p);
    if (p == NULL)
        return E_NOMEM;
    n_ghosts = n_ghosts < GHOSTS_MIN ? GHOSTS_MIN : n_ghosts > 1u << 30 ? 1u << 30 : n_ghosts;
    p->base.ops = &KV_POLICY_NARU;
    p->n_slots = params->n_slots;
    p->n_nodes = params->n_slots + (uint32_t)n_ghosts;
    if (allocate(p) < 0) {
        destroy(&p->base);
        return E_NOMEM;
    }
    kv_hazard_init(&p->hazard);
    kv_list_init(&p->ages);
    for (uint32_t i = 0; i < N_CELLS; i++)
        kv_list_init(&p->cells[i]);
    for (uint32_t c = 0; c < HAZARD_CLASSES; c++)
        refresh(p, c);
    *out = &p->base;
    return 0;
}

static void check(const struct kv_policy *base)
{
    const struct naru *p = (const struct naru *)base;
    uint32_t n_live = 0, n_offered = 0, n_listed = 0, n_cells = 0;
    for (uint32_t i = 0; i < p->n_nodes; i++) {
        n_live += p->nodes[i].live;
        n_offered += p->nodes[i].offered;
        CHECK(!p->nodes[i].offered || (p->nodes[i].live && i < p->n_slots));
        CHECK(!p->nodes[i].live || find(p, p->nodes[i].key) == i);
    }
    uint64_t last_ms = 0;
    for (uint32_t i = p->ages.head, age = HAZARD_AGES; i != KV_SLOT_NONE; i = p->by_age[i].next) {
        const struct node *n = &p->nodes[i];
        CHECK(n->live);
        CHECK(n->last_ms >= last_ms);
        CHECK(n->age <= age);
        for (; age > n->age; age--)
            CHECK(age == HAZARD_AGES || p->border[age] == i);
        last_ms = n->last_ms;
        n_listed++;
    }
    for (uint32_t c = 0; c < N_CELLS; c++) {
        n_listed += p->cells[c].n;
        n_cells += p->cells[c].n > 0;
        CHECK(kv_heap_has(&p->heap, c) == (p->cells[c].n > 0));
    }
    CHECK(n_listed == n_live + n_offered);
    CHECK(p->ages.n == n_live);
    CHECK(n_cells == p->heap.n);
    kv_heap_check(&p->heap);
}

const struct kv_policy_ops KV_POLICY_NARU = {
    .name = "naru", .leaves = true, .create = create, .destroy = destroy, .visit = visit,
    .touch = touch, .offer = offer, .retract = retract, .victim = victim, .evict = evict,
    .check = check,
};
