/* One walk over the trie answers for all tokens. st[d] is the state after d bytes of the current
 * path; what is dead is stepped over with its whole subtree. */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "text/grammar_run.h"

#define LIST_SHARE 32 /* up to one token in so many: a list instead of bits */

struct walk {
    struct text_grammar *g;
    uint32_t st[GRAM_FAR + 1];
    bool escaped[GRAM_FAR + 1]; /* a caller that is not known could have gone on from here */
    uint64_t *bits;
    uint32_t n_set;
    uint32_t *unsure;
    uint32_t n_unsure, cap_unsure;
    bool failed;
};

static void put_unsure(struct walk *w, uint32_t node)
{
    if (w->n_unsure == w->cap_unsure) {
        uint32_t cap = w->cap_unsure == 0 ? 256 : 2 * w->cap_unsure;
        uint32_t *more = mem_realloc(w->unsure, cap, sizeof *more);
        if (more == NULL) {
            w->failed = true;
            return;
        }
        w->unsure = more;
        w->cap_unsure = cap;
    }
    w->unsure[w->n_unsure++] = node;
}

static void allow(struct walk *w, uint32_t node)
{
    const struct text_grammar_vocab *v = w->g->vocab;
    for (uint32_t i = v->first[node]; i < v->first[node + 1]; i++) {
        w->bits[v->ids[i] / 64] |= (uint64_t)1 << (v->ids[i] % 64);
        w->n_set++;
    }
}

/* Nodes begin..end of the trie; st and escaped hold for the parent of the first. */
static void walk(struct walk *w, uint32_t begin, uint32_t end)
{
    const struct text_grammar_vocab *v = w->g->vocab;
    for (uint32_t i = begin; i < end;) {
        uint32_t d = v->depth[i];
        uint32_t to = gstate_step(w->g, w->st[d - 1], v->byte[i]);
        if (to == GSTATE_DEAD) {
            if (w->escaped[d - 1])
                put_unsure(w, i);
            i = v->skip[i];
            continue;
        }
        const struct gstate *s = w->g->cache.states[to];
        w->st[d] = to;
        w->escaped[d] = w->escaped[d - 1] || s->escapes;
        allow(w, i); /* alive, at the end, or back in a caller, who always can go on */
        i++;
    }
}

/* --- masks of states without callers ---------------------------------------------------------- */

static bool keep_unsure(struct walk *w, struct gmask *m)
{
    if (w->n_unsure == 0)
        return !w->failed;
    m->unsure = arena_bytes(&w->g->cache.arena, w->n_unsure * sizeof *m->unsure);
    if (m->unsure == NULL || w->failed)
        return false;
    memcpy(m->unsure, w->unsure, w->n_unsure * sizeof *m->unsure);
    m->n_unsure = w->n_unsure;
    return true;
}

static uint32_t n_words(const struct text_grammar *g) { return g->vocab->n_tokens / 64 + 1; }

static uint32_t list_bits(const struct text_grammar *g, const uint64_t *bits, int32_t *ids)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_words(g); i++)
        for (uint64_t word = bits[i]; word != 0; word &= word - 1)
            ids[n++] = (int32_t)(64 * i + num_lowest_bit(word));
    return n;
}

static bool keep_bits(struct walk *w, struct gmask *m)
{
    struct arena *arena = &w->g->cache.arena;
    if (w->n_set <= w->g->vocab->n_tokens / LIST_SHARE) {
        m->ids = arena_bytes(arena, (w->n_set + 1) * sizeof *m->ids);
        if (m->ids == NULL)
            return false;
        m->n_ids = list_bits(w->g, w->bits, m->ids);
        return true;
    }
    m->bits = arena_bytes(arena, n_words(w->g) * sizeof *m->bits);
    if (m->bits == NULL)
        return false;
    memcpy(m->bits, w->bits, n_words(w->g) * sizeof *m->bits);
    return true;
}

static struct gmask *make_mask(struct text_grammar *g, struct walk *w, uint32_t state)
{
    struct gmask *m = arena_alloc(&g->cache.arena, 1, sizeof *m);
    if (m == NULL)
        return NULL;
    w->st[0] = state;
    walk(w, 0, g->vocab->n_nodes);
    if (!keep_unsure(w, m) || !keep_bits(w, m))
        return NULL;
    g->n_masks++;
    g->cache.states[state]->mask = m;
    return m;
}

/* --- what reaches over the end of a rule ------------------------------------------------------ */

/* The state of w->st[0] after the bytes that lead to a node of the trie. */
static uint32_t state_at(struct walk *w, uint32_t node)
{
    const struct text_grammar_vocab *v = w->g->vocab;
    uint8_t path[GRAM_FAR];
    uint32_t n = 0, state = w->st[0];
    for (; node != UINT32_MAX; node = v->parent[node])
        path[n++] = v->byte[node];
    while (n > 0 && state != GSTATE_DEAD)
        state = gstate_step(w->g, state, path[--n]);
    return state;
}

static bool resolve(struct text_grammar *g, struct walk *w, uint32_t state)
{
    const struct text_grammar_vocab *v = g->vocab;
    const struct gmask *m = g->cache.states[state]->mask;
    uint32_t last = UINT32_MAX - 1;
    memset(w->bits, 0, n_words(g) * sizeof *w->bits);
    w->n_set = 0;
    w->st[0] = state;
    memset(w->escaped, 0, sizeof w->escaped);
    for (uint32_t i = 0; i < m->n_unsure; i++) {
        uint32_t node = m->unsure[i], d = v->depth[node];
        if (v->parent[node] != last)
            w->st[d - 1] = state_at(w, v->parent[node]);
        last = v->parent[node];
        walk(w, node, v->skip[node]);
    }
    struct gstate *s = g->cache.states[state];
    s->extra = arena_bytes(&g->cache.arena, (w->n_set + 1) * sizeof *s->extra);
    if (s->extra == NULL)
        return false;
    s->n_extra = list_bits(g, w->bits, s->extra);
    s->resolved = true;
    g->n_resolved++;
    return true;
}

static const struct gmask *find_mask(struct text_grammar *g, struct walk *w, uint32_t state)
{
    struct gstate *s = g->cache.states[state];
    if (s->mask == NULL) {
        uint32_t local = gstate_local(g, state);
        struct gmask *m = g->cache.states[local]->mask;
        s->mask = m != NULL ? m : make_mask(g, w, local);
        if (s->mask == NULL)
            return NULL;
    }
    if (!s->resolved && s->mask->n_unsure > 0 && !resolve(g, w, state))
        return NULL;
    s->resolved = true;
    return s->mask;
}

const struct gmask *gstate_mask(struct text_grammar *g, uint32_t state)
{
    const struct gstate *s = g->cache.states[state];
    if (s->mask != NULL && s->resolved)
        return s->mask;
    struct walk *w = mem_alloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    w->g = g;
    w->bits = mem_alloc(n_words(g), sizeof *w->bits);
    const struct gmask *m = w->bits != NULL ? find_mask(g, w, state) : NULL;
    mem_free(w->bits);
    mem_free(w->unsure);
    mem_free(w);
    return m;
}
