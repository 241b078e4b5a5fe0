/* The subset construction (Rabin, Scott 1959) over several automata at once. A state is a sorted
 * list of (part, node); what is reached by splits alone is in it already. States become nodes when
 * all are known: a loop node each, closed with its edges. */
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "text/grammar_ir.h"

#define STATES_MAX 20000u
#define SET_MAX 16384u
#define ARENA_BYTES ((size_t)32 << 20) /* L7 */

struct state {
    uint64_t *items; /* part << 32 | node */
    uint32_t n, edge0, n_edges, head;
};
struct edge {
    uint32_t to;
    uint8_t lo, hi;
};
struct product {
    struct gram *g;
    const struct gram_product *p;
    struct arena arena;
    struct map by_items;
    struct state states[STATES_MAX];
    uint32_t n_states;
    struct edge *edges;
    uint32_t n_edges, cap_edges;
    uint64_t set[SET_MAX]; /* being built */
    uint32_t seen[GRAM_NODES_MAX], round; /* nodes put into this set */
    uint32_t n_set;
};

/* Adds a node to the set, with all that splits lead to: the list is its own worklist. */
static bool put(struct product *x, uint64_t item)
{
    uint32_t *seen = &x->seen[(uint32_t)item]; /* a node belongs to one part only */
    if (*seen == x->round)
        return true;
    *seen = x->round;
    if (x->n_set == SET_MAX || !gram_work(x->g, 1)) {
        gram_fail(x->g, E_LIMIT, "a pattern is too ambiguous; make it simpler");
        return false;
    }
    x->set[x->n_set++] = item;
    return true;
}

static bool close_set(struct product *x)
{
    const struct gram_node *nodes = x->g->ir.nodes;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < x->n_set; i++) {
        const struct gram_node *n = &nodes[(uint32_t)x->set[i]];
        uint64_t part = x->set[i] >> 32 << 32;
        if (n->kind == GRAM_SPLIT && (!put(x, part | n->next) || !put(x, part | n->arg)))
            return false;
    }
    for (uint32_t i = 0; i < x->n_set; i++) {
        uint8_t kind = nodes[(uint32_t)x->set[i]].kind;
        if (kind == GRAM_RANGE || kind == GRAM_MARK)
            x->set[kept++] = x->set[i];
    }
    x->n_set = kept;
    return true;
}

static int by_value(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static uint32_t out_of_memory(struct product *x)
{
    return gram_fail(x->g, E_LIMIT, "patterns need too much memory to compile");
}

/* The state of the set that was built; GRAM_NONE if a part that must hold has died in it. */
static uint32_t intern(struct product *x)
{
    uint32_t alive = 0, id = 0;
    for (uint32_t i = 0; i < x->n_set; i++)
        alive |= 1u << (x->set[i] >> 32);
    if (x->n_set == 0 || (x->p->must & ~alive) != 0)
        return GRAM_NONE;
    qsort(x->set, x->n_set, sizeof *x->set, by_value);
    if (map_get(&x->by_items, x->set, x->n_set * sizeof *x->set, &id))
        return id;
    if (x->n_states == STATES_MAX)
        return gram_fail(x->g, E_LIMIT, "patterns need more than %u states together", STATES_MAX);
    struct state *s = &x->states[x->n_states];
    s->items = arena_bytes(&x->arena, x->n_set * sizeof *s->items);
    if (s->items == NULL)
        return out_of_memory(x);
    memcpy(s->items, x->set, x->n_set * sizeof *s->items);
    s->n = x->n_set;
    if (map_put(&x->by_items, s->items, s->n * sizeof *s->items, x->n_states, NULL) < 0)
        return out_of_memory(x);
    return x->n_states++;
}

static bool add_edge(struct product *x, uint8_t lo, uint8_t hi, uint32_t to)
{
    if (x->n_edges == x->cap_edges) {
        uint32_t cap = x->cap_edges == 0 ? 1024 : 2 * x->cap_edges;
        struct edge *more = mem_realloc(x->edges, cap, sizeof *more);
        if (more == NULL) {
            out_of_memory(x);
            return false;
        }
        x->edges = more;
        x->cap_edges = cap;
    }
    x->edges[x->n_edges++] = (struct edge){ .to = to, .lo = lo, .hi = hi };
    return true;
}

/* All edges of a state: between two borders all bytes lead to the same set. */
static bool expand(struct product *x, uint32_t id)
{
    const struct gram_node *nodes = x->g->ir.nodes;
    uint8_t border[257] = { 0 };
    for (uint32_t i = 0; i < x->states[id].n; i++) {
        const struct gram_node *n = &nodes[(uint32_t)x->states[id].items[i]];
        if (n->kind == GRAM_RANGE)
            border[n->lo] = border[n->hi + 1] = 1;
    }
    x->states[id].edge0 = x->n_edges;
    for (uint32_t lo = 0; lo < 256; lo++) {
        uint32_t hi = lo;
        while (hi < 255 && !border[hi + 1])
            hi++;
        x->n_set = 0;
        x->round++;
        if (!gram_work(x->g, x->states[id].n))
            return false;
        for (uint32_t i = 0; i < x->states[id].n; i++) {
            uint64_t item = x->states[id].items[i];
            const struct gram_node *n = &nodes[(uint32_t)item];
            if (n->kind == GRAM_RANGE && n->lo <= lo && lo <= n->hi &&
                !put(x, (item >> 32 << 32) | n->next))
                return false;
        }
        if (!close_set(x))
            return false;
        uint32_t to = intern(x);
        if (to != GRAM_NONE && !add_edge(x, (uint8_t)lo, (uint8_t)hi, to))
            return false;
        lo = hi;
    }
    x->states[id].n_edges = x->n_edges - x->states[id].edge0;
    return x->g->status == 0;
}

static uint32_t satisfied(const struct product *x, const struct state *s)
{
    uint32_t marks = 0;
    for (uint32_t i = 0; i < s->n; i++)
        if (x->g->ir.nodes[(uint32_t)s->items[i]].kind == GRAM_MARK)
            marks |= 1u << (s->items[i] >> 32);
    return marks;
}

/* Nodes for all states. */
static void build(struct product *x)
{
    struct gram *g = x->g;
    for (uint32_t i = 0; i < x->n_states; i++)
        x->states[i].head = gram_loop_open(g);
    for (uint32_t i = 0; i < x->n_states && g->status == 0; i++) {
        const struct state *s = &x->states[i];
        uint32_t all = GRAM_NONE, marks = satisfied(x, s);
        for (uint32_t k = 0; k < s->n_edges; k++) {
            const struct edge *e = &x->edges[s->edge0 + k];
            all = gram_split(g, gram_range(g, e->lo, e->hi, x->states[e->to].head), all);
        }
        bool ends = (x->p->must & ~marks) == 0;
        gram_loop_close(g, s->head, all, ends ? x->p->exit(x->p->ctx, marks) : GRAM_NONE);
    }
}

static uint32_t run(struct product *x)
{
    struct gram *g = x->g;
    x->round = 1;
    for (uint32_t i = 0; i < x->p->n_parts; i++) {
        if (x->p->starts[i] == GRAM_NONE && (x->p->must >> i & 1) != 0)
            return GRAM_NONE;
        if (x->p->starts[i] != GRAM_NONE && !put(x, (uint64_t)i << 32 | x->p->starts[i]))
            return GRAM_NONE;
    }
    if (!close_set(x) || intern(x) == GRAM_NONE)
        return GRAM_NONE;
    for (uint32_t i = 0; i < x->n_states; i++)
        if (!expand(x, i))
            return GRAM_NONE;
    build(x);
    return g->status == 0 ? x->states[0].head : GRAM_NONE;
}

uint32_t gram_product(struct gram *g, const struct gram_product *p)
{
    ASSERT(p->n_parts <= 32);
    if (g->status != 0)
        return GRAM_NONE;
    struct product *x = mem_alloc(1, sizeof *x);
    if (x == NULL || map_init(&x->by_items, 256) < 0) {
        mem_free(x);
        return gram_fail(g, E_NOMEM, "out of memory");
    }
    x->g = g;
    x->p = p;
    arena_init(&x->arena, ARENA_BYTES);
    uint32_t start = run(x);
    map_fini(&x->by_items);
    arena_fini(&x->arena);
    mem_free(x->edges);
    mem_free(x);
    return start;
}
