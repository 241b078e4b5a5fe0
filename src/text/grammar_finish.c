/* What a graph is checked for before it runs. Fixpoints are computed by passes over the nodes in
 * the order they were made: pieces are built backwards, so mostly one pass tells it all. */
#include <string.h>

#include "text/grammar_ir.h"

#define LARGE_RULE 200 /* nodes */
#define LARGE_LOOP 12

struct edge {
    uint32_t from, to;
};

struct finish {
    struct gram *g;
    uint8_t *flags;      /* by node */
    struct edge *edges;  /* between rules */
    uint32_t n_edges, cap_edges;
    uint32_t *degree, *queue;
};

enum { ALIVE = 1, NULLABLE = 2, SEEN = 4 };

/* --- what can reach the end, what can be empty ----------------------------------------------- */

static bool through(const struct finish *f, uint32_t start, uint8_t flag)
{
    return start != GRAM_NONE && (f->flags[start] & flag) != 0;
}

static bool holds(const struct finish *f, const struct gram_node *n, uint8_t flag)
{
    switch (n->kind) {
    case GRAM_RETURN: return true;
    case GRAM_RANGE: return flag == ALIVE && through(f, n->next, flag);
    case GRAM_SPLIT: return through(f, n->next, flag) || through(f, n->arg, flag);
    case GRAM_CALL:
        return through(f, f->g->ir.rules[n->arg].start, flag) && through(f, n->next, flag);
    default: return false;
    }
}

static void fixpoint(struct finish *f, uint8_t flag)
{
    for (bool changed = true; changed && gram_work(f->g, f->g->ir.n_nodes);) {
        changed = false;
        for (uint32_t i = 0; i < f->g->ir.n_nodes; i++)
            if ((f->flags[i] & flag) == 0 && holds(f, &f->g->ir.nodes[i], flag)) {
                f->flags[i] |= flag;
                changed = true;
            }
    }
}

/* --- which rules call which ------------------------------------------------------------------ */

static int add_edge(struct finish *f, uint32_t from, uint32_t to)
{
    if (f->n_edges == f->cap_edges) {
        uint32_t cap = f->cap_edges == 0 ? 256 : 2 * f->cap_edges;
        struct edge *more = mem_realloc(f->edges, cap, sizeof *more);
        if (more == NULL)
            return E_NOMEM;
        f->edges = more;
        f->cap_edges = cap;
    }
    f->edges[f->n_edges++] = (struct edge){ from, to };
    return 0;
}

static void visit(struct finish *f, uint32_t node, uint32_t *n_queue)
{
    if (node == GRAM_NONE || (f->flags[node] & (SEEN | ALIVE)) != ALIVE)
        return;
    f->flags[node] |= SEEN;
    f->queue[(*n_queue)++] = node;
}

/* The calls of one rule; only_first: those before any byte. Also tells whether it is large: many
 * nodes, or some and a loop (an edge to a node made later). */
static int collect(struct finish *f, uint32_t rule, bool only_first, bool *large)
{
    const struct gram_ir *ir = &f->g->ir;
    uint32_t n = 0, edge0 = f->n_edges;
    bool loops = false;
    visit(f, ir->rules[rule].start, &n);
    for (uint32_t i = 0; i < n; i++) {
        const struct gram_node *node = &ir->nodes[f->queue[i]];
        if (node->kind == GRAM_CALL)
            TRY(add_edge(f, rule, node->arg));
        bool on = !only_first || node->kind == GRAM_SPLIT ||
                  (node->kind == GRAM_CALL && ir->rules[node->arg].nullable);
        if (on && node->kind != GRAM_RETURN)
            visit(f, node->next, &n);
        if (on && node->kind == GRAM_SPLIT)
            visit(f, node->arg, &n);
        loops |= node->kind == GRAM_SPLIT &&
                 (node->next > f->queue[i] || node->arg > f->queue[i]);
    }
    for (uint32_t i = 0; i < n; i++)
        f->flags[f->queue[i]] &= (uint8_t)~SEEN;
    *large = n > LARGE_RULE || (loops && n > LARGE_LOOP);
    (void)gram_work(f->g, n + f->n_edges - edge0);
    return f->g->status;
}

/* Leaves degree > 0 in exactly the rules that lead into a cycle of the edges: the others are taken
 * away one by one, callees first (Kahn 1962). */
static int find_cycles(struct finish *f)
{
    const uint32_t n = f->g->ir.n_rules;
    uint32_t n_queue = 0;
    uint32_t *first = mem_alloc(n + 2, sizeof *first);
    uint32_t *from = mem_alloc(f->n_edges + 1, sizeof *from);
    if (first == NULL || from == NULL) {
        mem_free(first);
        mem_free(from);
        return E_NOMEM;
    }
    memset(f->degree, 0, n * sizeof *f->degree);
    for (uint32_t i = 0; i < f->n_edges; i++) {
        f->degree[f->edges[i].from]++;
        first[f->edges[i].to + 2]++;
    }
    for (uint32_t i = 2; i < n + 2; i++)
        first[i] += first[i - 1];
    for (uint32_t i = 0; i < f->n_edges; i++)
        from[first[f->edges[i].to + 1]++] = f->edges[i].from;
    for (uint32_t i = 0; i < n; i++)
        if (f->degree[i] == 0)
            f->queue[n_queue++] = i;
    for (uint32_t i = 0; i < n_queue; i++)
        for (uint32_t k = first[f->queue[i]]; k < first[f->queue[i] + 1]; k++)
            if (--f->degree[from[k]] == 0)
                f->queue[n_queue++] = from[k];
    mem_free(first);
    mem_free(from);
    return 0;
}

static int check_left(struct finish *f, const char *const *names)
{
    bool large = false;
    for (uint32_t r = 0; r < f->g->ir.n_rules; r++)
        TRY(collect(f, r, true, &large));
    TRY(find_cycles(f));
    for (uint32_t r = 0; r < f->g->ir.n_rules; r++)
        if (f->degree[r] > 0) {
            gram_fail(f->g, E_UNSUPPORTED,
                      "rule \"%s\" is left-recursive: it can begin with itself; write the repeat "
                      "as ( ... )*",
                      names != NULL && names[r] != NULL ? names[r] : "(inner)");
            return E_UNSUPPORTED;
        }
    return 0;
}

/* A rule is cut where masks gain by it: when it recurs, or is large enough to be worth sharing. */
static int find_cuts(struct finish *f)
{
    f->n_edges = 0;
    for (uint32_t r = 0; r < f->g->ir.n_rules; r++) {
        TRY(collect(f, r, false, &f->g->ir.rules[r].is_cut));
    }
    TRY(find_cycles(f));
    for (uint32_t r = 0; r < f->g->ir.n_rules; r++)
        f->g->ir.rules[r].is_cut |= f->degree[r] > 0;
    return 0;
}

/* --- the end --------------------------------------------------------------------------------- */

static void find_classes(struct gram_ir *ir)
{
    uint8_t border[257] = { 0 };
    for (uint32_t i = 0; i < ir->n_nodes; i++)
        if (ir->nodes[i].kind == GRAM_RANGE)
            border[ir->nodes[i].lo] = border[ir->nodes[i].hi + 1] = 1;
    uint32_t n = 0;
    for (uint32_t b = 0; b < 256; b++) {
        n += b > 0 && border[b];
        ir->class_of[b] = (uint8_t)n;
    }
    ir->n_classes = n + 1;
}

static int finish(struct finish *f, const char *const *names)
{
    struct gram *g = f->g;
    fixpoint(f, ALIVE);
    fixpoint(f, NULLABLE);
    if (g->status != 0)
        return g->status;
    if (!through(f, g->ir.rules[0].start, ALIVE)) {
        gram_fail(g, E_FORMAT, "the constraint matches no text at all");
        return g->status;
    }
    for (uint32_t i = 0; i < g->ir.n_nodes; i++)
        if ((f->flags[i] & ALIVE) == 0)
            g->ir.nodes[i].kind = GRAM_DEAD;
    for (uint32_t r = 0; r < g->ir.n_rules; r++) {
        g->ir.rules[r].nullable = through(f, g->ir.rules[r].start, NULLABLE);
        if (!through(f, g->ir.rules[r].start, ALIVE))
            g->ir.rules[r].start = GRAM_NONE;
    }
    TRY(check_left(f, names));
    TRY(find_cuts(f));
    find_classes(&g->ir);
    return 0;
}

int gram_finish(struct gram *g, const char *const *names, struct gram_ir *out)
{
    struct finish f = { .g = g };
    if (g->status != 0)
        return g->status;
    ASSERT(g->ir.n_rules > 0);
    uint32_t n = g->ir.n_nodes > g->ir.n_rules ? g->ir.n_nodes : g->ir.n_rules;
    f.flags = mem_alloc(g->ir.n_nodes, 1);
    f.degree = mem_alloc(g->ir.n_rules, sizeof *f.degree);
    f.queue = mem_alloc(n, sizeof *f.queue);
    int rc = f.flags != NULL && f.degree != NULL && f.queue != NULL ? finish(&f, names) : E_NOMEM;
    if (rc == E_NOMEM)
        gram_fail(g, E_NOMEM, "out of memory");
    mem_free(f.flags);
    mem_free(f.degree);
    mem_free(f.queue);
    mem_free(f.edges);
    if (rc < 0)
        return rc;
    struct gram_node *nodes = mem_realloc(g->ir.nodes, g->ir.n_nodes, sizeof *nodes);
    struct gram_rule *rules = mem_realloc(g->ir.rules, g->ir.n_rules, sizeof *rules);
    g->ir.nodes = nodes != NULL ? nodes : g->ir.nodes;
    g->ir.rules = rules != NULL ? rules : g->ir.rules;
    *out = g->ir;
    g->ir = (struct gram_ir){ 0 };
    return 0;
}
