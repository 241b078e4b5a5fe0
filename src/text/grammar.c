#include "text/grammar.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "text/grammar_compile.h"
#include "text/grammar_run.h"

#define COMPILE_BYTES ((size_t)32 << 20) /* L7 */

/* --- compiling -------------------------------------------------------------------------------- */

int gram_from_choices(struct gram_source *s)
{
    const json_value *list = s->p->json;
    const size_t n = json_len(list);
    uint32_t root = gram_rule(s->g), all = GRAM_NONE;
    if (json_kind_of(list) != JSON_ARRAY || n == 0)
        return err_set(s->err, E_FORMAT, "choices must be an array of at least one string");
    if (n > TEXT_CHOICES_MAX)
        return err_set(s->err, E_LIMIT, "%zu choices; at most %d are possible", n,
                       TEXT_CHOICES_MAX);
    for (size_t i = n; i-- > 0;) {
        size_t len = 0;
        const char *text = json_text(json_at(list, i), &len);
        if (text == NULL)
            return err_set(s->err, E_FORMAT, "choice %zu is not a string", i);
        all = gram_split(s->g, gram_bytes(s->g, text, len, GRAM_END), all);
    }
    gram_rule_body(s->g, root, all);
    return s->g->status;
}

/* A failure in the schema of a call, its place told from the list of calls on. */
static int call_failure(struct gram_source *s, const json_value *call, int rc)
{
    size_t len = 0;
    const char *path = json_text(json_get(call, "path"), &len);
    char field[2 * sizeof s->err->field];
    const char *dot = s->err->field[0] != '\0' ? "." : "";
    const struct err inner = *s->err;
    snprintf(field, sizeof field, "%s%s%s", path != NULL ? path : "", dot, inner.field);
    return err_set_field(s->err, rc, field, "%s", inner.text);
}

static int gram_from_calls(struct gram_source *s)
{
    const json_value *list = s->p->json;
    uint32_t root = gram_rule(s->g), all = GRAM_NONE;
    if (json_kind_of(list) != JSON_ARRAY || json_len(list) == 0)
        return err_set(s->err, E_FORMAT, "calls must be an array of at least one");
    for (size_t i = json_len(list); i-- > 0;) {
        const json_value *call = json_at(list, i);
        size_t n_begin = 0, n_end = 0;
        const char *begin = json_text(json_get(call, "begin"), &n_begin);
        const char *end = json_text(json_get(call, "end"), &n_end);
        if (begin == NULL || end == NULL)
            return err_set(s->err, E_FORMAT, "call %zu needs begin and end", i);
        uint32_t rule = gram_rule(s->g);
        int rc = gram_schema_rule(s, json_get(call, "schema"), rule);
        if (rc < 0)
            return call_failure(s, call, rc);
        uint32_t next = gram_call(s->g, rule, gram_bytes(s->g, end, n_end, GRAM_END));
        next = gram_bytes(s->g, begin, n_begin, next);
        all = all == GRAM_NONE ? next : gram_split(s->g, next, all);
    }
    gram_rule_body(s->g, root, all);
    return s->g->status;
}

static int compile(struct gram_source *s)
{
    switch (s->p->kind) {
    case TEXT_GRAMMAR_GBNF: return gram_from_gbnf(s);
    case TEXT_GRAMMAR_REGEX: return gram_from_regex(s);
    case TEXT_GRAMMAR_CHOICE: return gram_from_choices(s);
    case TEXT_GRAMMAR_SCHEMA:
    case TEXT_GRAMMAR_OBJECT: return gram_from_schema(s);
    case TEXT_GRAMMAR_CALLS: return gram_from_calls(s);
    }
    return E_USAGE;
}

static int build(struct text_grammar *g, const struct text_grammar_params *params, struct err *err)
{
    struct gram b;
    struct arena arena;
    if (params->source_len > TEXT_GRAMMAR_BYTES_MAX)
        return err_set(err, E_LIMIT, "the constraint has %zu bytes; at most %d are possible",
                       params->source_len, TEXT_GRAMMAR_BYTES_MAX);
    TRY(gram_init(&b, err));
    arena_init(&arena, COMPILE_BYTES);
    struct gram_source s = { .p = params, .g = &b, .arena = &arena, .err = err };
    int rc = compile(&s);
    if (rc == 0)
        rc = gram_finish(&b, s.names, &g->ir);
    gram_fini(&b);
    arena_fini(&arena);
    return rc;
}

static void destroy(struct text_grammar *g)
{
    ASSERT(g->matchers == NULL);
    gcache_fini(&g->cache);
    gram_ir_fini(&g->ir);
    mem_free(g->seen.items);
    mem_free(g->seen.slots);
    mem_free(g->made);
    pthread_mutex_destroy(&g->lock);
    mem_free(g);
}

int text_grammar_create(struct text_grammar **out, const struct text_grammar_vocab *vocab,
                        const struct text_grammar_params *params, struct err *err)
{
    struct text_grammar *g = mem_alloc(1, sizeof *g);
    if (g == NULL || pthread_mutex_init(&g->lock, NULL) != 0) {
        mem_free(g);
        return err_set(err, E_NOMEM, "out of memory");
    }
    atomic_init(&g->refs, 1);
    g->vocab = vocab;
    int rc = build(g, params, err);
    if (rc == 0 && gcache_init(g) < 0)
        rc = err_set(err, E_NOMEM, "out of memory");
    if (rc < 0) {
        destroy(g);
        return rc;
    }
    *out = g;
    return 0;
}

struct text_grammar *text_grammar_ref(struct text_grammar *g)
{
    atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
    return g;
}

void text_grammar_unref(struct text_grammar *g)
{
    if (g != NULL && atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) == 1)
        destroy(g);
}

void text_grammar_stats(struct text_grammar *g, struct text_grammar_stats *out)
{
    pthread_mutex_lock(&g->lock);
    *out = (struct text_grammar_stats){ .n_nodes = g->ir.n_nodes,
                                        .n_rules = g->ir.n_rules,
                                        .n_states = g->cache.n_states,
                                        .n_masks = g->n_masks,
                                        .n_resolved = g->n_resolved,
                                        .n_flushes = g->n_flushes,
                                        .bytes = g->cache.arena.used_bytes };
    pthread_mutex_unlock(&g->lock);
}

/* --- matchers --------------------------------------------------------------------------------- */

int text_matcher_create(struct text_matcher **out, struct text_grammar *g)
{
    struct text_matcher *m = mem_alloc(1, sizeof *m);
    if (m == NULL)
        return E_NOMEM;
    m->grammar = text_grammar_ref(g);
    pthread_mutex_lock(&g->lock);
    m->state = g->cache.start;
    m->next = g->matchers;
    if (m->next != NULL)
        m->next->prev = m;
    g->matchers = m;
    pthread_mutex_unlock(&g->lock);
    *out = m;
    return 0;
}

void text_matcher_destroy(struct text_matcher *m)
{
    if (m == NULL)
        return;
    struct text_grammar *g = m->grammar;
    pthread_mutex_lock(&g->lock);
    if (m->next != NULL)
        m->next->prev = m->prev;
    if (m->prev != NULL)
        m->prev->next = m->next;
    else
        g->matchers = m->next;
    pthread_mutex_unlock(&g->lock);
    text_grammar_unref(g);
    mem_free(m->saved);
    mem_free(m);
}

/* The mask and the state it belongs to; a new cache is tried when memory is out. */
static const struct gmask *mask_of(struct text_matcher *m, const struct gstate **state)
{
    struct text_grammar *g = m->grammar;
    gstate_flush(g, false);
    const struct gmask *mask = gstate_mask(g, m->state);
    if (mask == NULL) {
        gstate_flush(g, true);
        mask = gstate_mask(g, m->state);
    }
    *state = g->cache.states[m->state];
    return mask;
}

/* --- logits ----------------------------------------------------------------------------------- */

/* Tokens that stay although their block is wiped: up to three lists. */
struct kept {
    const int32_t *ids[3];
    uint32_t n[3];
};

/* Their values, in order, to or from saved. */
static void move_kept(const struct kept *k, float *logits, float *saved, bool back, uint32_t n)
{
    for (uint32_t l = 0; l < COUNT_OF(k->ids); l++)
        for (uint32_t i = 0; i < k->n[l]; i++, saved++) {
            if ((uint32_t)k->ids[l][i] >= n)
                continue;
            if (back)
                logits[k->ids[l][i]] = *saved;
            else
                *saved = logits[k->ids[l][i]];
        }
}

static void wipe(float *logits, uint32_t n)
{
    float none[64]; /* copied in blocks: the system's copy is as fast as memory */
    for (uint32_t i = 0; i < COUNT_OF(none); i++)
        none[i] = -INFINITY;
    for (uint32_t i = 0; i < n; i += COUNT_OF(none))
        memcpy(logits + i, none, num_min(n - i, COUNT_OF(none)) * sizeof *none);
}

/* 64 logits or fewer: hole by hole where there are few, else what stays is put back. */
static void wipe_block(float *logits, uint32_t len, uint64_t bits)
{
    const uint64_t all = len == 64 ? UINT64_MAX : ((uint64_t)1 << len) - 1;
    uint64_t holes = ~bits & all;
    float block[64];
    if ((holes & holes << 1 & holes << 2) == 0) { /* no three in a row: few, mostly */
        for (; holes != 0; holes &= holes - 1)
            logits[num_lowest_bit(holes)] = -INFINITY;
        return;
    }
    for (uint32_t i = 0; i < len; i++)
        block[i] = (bits >> i & 1) != 0 ? logits[i] : -INFINITY;
    memcpy(logits, block, len * sizeof *block);
}

static void wipe_by_bits(float *logits, uint32_t n, const uint64_t *bits)
{
    for (uint32_t base = 0; base < n; base += 64, bits++) {
        uint32_t len = n - base < 64 ? n - base : 64;
        if (*bits == 0)
            wipe(logits + base, len);
        else if (*bits != UINT64_MAX)
            wipe_block(logits + base, len, *bits);
    }
}

/* Whether any token that may come is left by what was edited before. */
static bool any_left(const float *logits, uint32_t n, const struct gmask *mask,
                     const struct kept *k)
{
    for (uint32_t l = 0; l < COUNT_OF(k->ids); l++)
        for (uint32_t i = 0; i < k->n[l]; i++)
            if ((uint32_t)k->ids[l][i] < n && logits[k->ids[l][i]] > -INFINITY)
                return true;
    for (uint32_t i = 0; mask->bits != NULL && i < n; i++)
        if (logits[i] > -INFINITY)
            return true;
    return false;
}

/* A bias had forbidden all that may come: among these, none is preferred. */
static void revive(float *logits, uint32_t n, const struct gmask *mask, const struct kept *k)
{
    for (uint32_t i = 0; mask->bits != NULL && i < n; i++)
        if ((mask->bits[i / 64] >> (i % 64) & 1) != 0)
            logits[i] = 0;
    for (uint32_t l = 0; l < COUNT_OF(k->ids); l++)
        for (uint32_t i = 0; i < k->n[l]; i++)
            if ((uint32_t)k->ids[l][i] < n)
                logits[k->ids[l][i]] = 0;
}

static struct kept kept_of(const struct text_matcher *m, const struct gmask *mask,
                           const struct gstate *s)
{
    const struct text_grammar_vocab *v = m->grammar->vocab;
    struct kept k = { 0 };
    if (s->accepts || m->ended) {
        k.ids[0] = v->ends;
        k.n[0] = v->n_ends;
    }
    if (!m->ended) {
        k.ids[1] = mask->ids;
        k.n[1] = mask->n_ids;
        k.ids[2] = s->extra;
        k.n[2] = s->n_extra;
    }
    return k;
}

/* NULL when memory is out: then all that may come is revived at one value. */
static float *saved_room(struct text_matcher *m, size_t n)
{
    if (n > m->cap_saved) {
        float *more = mem_realloc(m->saved, 2 * n, sizeof *more);
        if (more == NULL)
            return NULL;
        m->saved = more;
        m->cap_saved = 2 * n;
    }
    return m->saved;
}

void text_matcher_mask(struct text_matcher *m, float *logits, uint32_t n)
{
    static const struct gmask nothing = { 0 };
    struct text_grammar *g = m->grammar;
    const struct gstate *s = NULL;
    uint32_t n_known = (uint32_t)num_min(n, g->vocab->n_tokens);
    pthread_mutex_lock(&g->lock);
    const struct gmask *mask = mask_of(m, &s);
    if (mask == NULL || m->ended)
        mask = &nothing;
    struct kept k = kept_of(m, mask, s);
    float *saved = saved_room(m, (size_t)k.n[0] + k.n[1] + k.n[2] + 1);
    if (saved != NULL)
        move_kept(&k, logits, saved, false, n_known);
    if (mask->bits != NULL)
        wipe_by_bits(logits, n_known, mask->bits);
    else
        wipe(logits, n_known);
    wipe(logits + n_known, n - n_known);
    if (saved != NULL)
        move_kept(&k, logits, saved, true, n_known);
    if (!any_left(logits, n_known, mask, &k))
        revive(logits, n_known, mask, &k);
    pthread_mutex_unlock(&g->lock);
}

void text_matcher_bits(struct text_matcher *m, uint64_t *bits, uint32_t n)
{
    struct text_grammar *g = m->grammar;
    const struct gstate *s = NULL;
    memset(bits, 0, (n + 63) / 64 * sizeof *bits);
    pthread_mutex_lock(&g->lock);
    const struct gmask *mask = mask_of(m, &s);
    if (mask != NULL) {
        struct kept k = kept_of(m, mask, s);
        for (uint32_t i = 0; mask->bits != NULL && !m->ended && i < n; i++)
            if (i < g->vocab->n_tokens && (mask->bits[i / 64] >> (i % 64) & 1) != 0)
                bits[i / 64] |= (uint64_t)1 << (i % 64);
        for (uint32_t l = 0; l < COUNT_OF(k.ids); l++)
            for (uint32_t i = 0; i < k.n[l]; i++)
                if ((uint32_t)k.ids[l][i] < n)
                    bits[k.ids[l][i] / 64] |= (uint64_t)1 << (k.ids[l][i] % 64);
    }
    pthread_mutex_unlock(&g->lock);
}

/* --- steps ------------------------------------------------------------------------------------ */

size_t text_matcher_bytes(struct text_matcher *m, const char *bytes, size_t len)
{
    struct text_grammar *g = m->grammar;
    size_t n = 0;
    pthread_mutex_lock(&g->lock);
    for (; n < len && !m->ended; n++) {
        uint32_t to = gstate_step(g, m->state, (uint8_t)bytes[n]);
        if (to == GSTATE_DEAD)
            break;
        m->state = to;
        if (n % 256 == 255)
            gstate_flush(g, false);
    }
    pthread_mutex_unlock(&g->lock);
    return n;
}

static bool is_end(const struct text_grammar_vocab *v, int32_t id)
{
    for (uint32_t i = 0; i < v->n_ends; i++)
        if (v->ends[i] == id)
            return true;
    return false;
}

bool text_matcher_accept(struct text_matcher *m, int32_t id)
{
    struct text_grammar *g = m->grammar;
    if (id < 0 || (uint32_t)id >= g->vocab->n_tokens)
        return false;
    if (is_end(g->vocab, id)) {
        m->ended = m->ended || text_matcher_may_end(m);
        return m->ended;
    }
    struct text_str t = text_grammar_token(g->vocab, id);
    if (m->ended || t.len == 0 || t.len > GRAM_FAR)
        return false;
    pthread_mutex_lock(&g->lock);
    gstate_flush(g, false);
    uint32_t state = m->state;
    for (size_t i = 0; i < t.len && state != GSTATE_DEAD; i++)
        state = gstate_step(g, state, (uint8_t)t.data[i]);
    if (state != GSTATE_DEAD)
        m->state = state;
    pthread_mutex_unlock(&g->lock);
    return state != GSTATE_DEAD;
}

bool text_matcher_may_end(struct text_matcher *m)
{
    pthread_mutex_lock(&m->grammar->lock);
    bool accepts = m->grammar->cache.states[m->state]->accepts;
    pthread_mutex_unlock(&m->grammar->lock);
    return accepts;
}

bool text_matcher_must_end(struct text_matcher *m)
{
    pthread_mutex_lock(&m->grammar->lock);
    const struct gstate *s = m->grammar->cache.states[m->state];
    bool must = m->ended || (s->accepts && s->n == 0);
    pthread_mutex_unlock(&m->grammar->lock);
    return must;
}

/* The one byte that may come in a state, or -1. */
static int only_byte(const struct text_grammar *g, const struct gstate *s)
{
    int byte = -1;
    if (s->accepts)
        return -1;
    for (uint32_t i = 0; i < s->n; i++) {
        const struct gram_node *n = &g->ir.nodes[s->items[i] >> 32];
        if (n->lo != n->hi || (byte >= 0 && byte != n->lo))
            return -1;
        byte = n->lo;
    }
    return byte;
}

void text_matcher_forced(struct text_matcher *m, size_t max, struct buf *out)
{
    struct text_grammar *g = m->grammar;
    pthread_mutex_lock(&g->lock);
    uint32_t state = m->state;
    for (size_t n = 0; n < max && !m->ended; n++) {
        int byte = only_byte(g, g->cache.states[state]);
        if (byte < 0)
            break;
        buf_putc(out, (char)byte);
        state = gstate_step(g, state, (uint8_t)byte);
    }
    pthread_mutex_unlock(&g->lock);
}
