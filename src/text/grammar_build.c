/* Nodes are made in a table of the largest size, so that their places never move; the system gives
 * memory only for what is touched. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/grammar_ir.h"

#define SLOTS (1u << 17) /* > 2 x GRAM_NODES_MAX */

int gram_init(struct gram *g, struct err *err)
{
    *g = (struct gram){ .err = err };
    g->ir.nodes = mem_alloc(GRAM_NODES_MAX, sizeof *g->ir.nodes);
    g->ir.rules = mem_alloc(GRAM_RULES_MAX, sizeof *g->ir.rules);
    g->slots = mem_alloc(SLOTS, sizeof *g->slots);
    if (g->ir.nodes == NULL || g->ir.rules == NULL || g->slots == NULL) {
        gram_fini(g);
        return err_set(err, E_NOMEM, "out of memory");
    }
    g->ir.nodes[GRAM_END] = (struct gram_node){ .kind = GRAM_RETURN };
    g->ir.n_nodes = 1;
    return 0;
}

void gram_ir_fini(struct gram_ir *ir)
{
    mem_free(ir->nodes);
    mem_free(ir->rules);
    *ir = (struct gram_ir){ 0 };
}

void gram_fini(struct gram *g)
{
    gram_ir_fini(&g->ir);
    mem_free(g->slots);
    g->slots = NULL;
}

uint32_t gram_fail(struct gram *g, int code, const char *fmt, ...)
{
    if (g->status != 0)
        return GRAM_NONE;
    g->status = code;
    char text[ERR_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    (void)err_set(g->err, code, "%s", text);
    return GRAM_NONE;
}

bool gram_work(struct gram *g, uint32_t steps)
{
    if (g->status == 0 && GRAM_WORK_MAX - g->work < steps)
        gram_fail(g, E_LIMIT, "the constraint takes too long to compile; make it simpler");
    if (g->status != 0)
        return false;
    g->work += steps;
    return true;
}

/* --- nodes ------------------------------------------------------------------------------------ */

static uint32_t hash_node(const struct gram_node *n)
{
    uint64_t h = ((uint64_t)n->next << 32 | n->arg) * 0x9e3779b97f4a7c15u;
    h ^= ((uint64_t)n->kind << 16 | (uint64_t)n->lo << 8 | n->hi) * 0xbf58476d1ce4e5b9u;
    h *= 0x94d049bb133111ebu;
    return (uint32_t)(h >> 40);
}

static uint32_t add_node(struct gram *g, const struct gram_node *n)
{
    if (g->ir.n_nodes >= GRAM_NODES_MAX)
        return gram_fail(g, E_LIMIT, "the constraint needs more than %u states; make its repeats, "
                                     "lists or alternatives smaller", GRAM_NODES_MAX);
    uint32_t id = g->ir.n_nodes++;
    g->ir.nodes[id] = *n;
    g->ir.nodes[id].alias = id;
    return id;
}

static uint32_t make(struct gram *g, struct gram_node n)
{
    if (n.next == GRAM_NONE || !gram_work(g, 1))
        return GRAM_NONE;
    for (uint32_t at = hash_node(&n) & (SLOTS - 1);; at = (at + 1) & (SLOTS - 1)) {
        if (g->slots[at] == 0) {
            uint32_t id = add_node(g, &n);
            if (id != GRAM_NONE)
                g->slots[at] = id + 1;
            return id;
        }
        const struct gram_node *old = &g->ir.nodes[g->slots[at] - 1];
        if (old->next == n.next && old->arg == n.arg && old->kind == n.kind && old->lo == n.lo &&
            old->hi == n.hi)
            return g->slots[at] - 1;
    }
}

uint32_t gram_range(struct gram *g, uint8_t lo, uint8_t hi, uint32_t next)
{
    return make(g, (struct gram_node){ .kind = GRAM_RANGE, .lo = lo, .hi = hi, .next = next });
}

uint32_t gram_split(struct gram *g, uint32_t a, uint32_t b)
{
    if (a == GRAM_NONE || a == b)
        return b;
    if (b == GRAM_NONE)
        return a;
    return make(g, (struct gram_node){ .kind = GRAM_SPLIT, .next = a, .arg = b });
}

uint32_t gram_call(struct gram *g, uint32_t rule, uint32_t next)
{
    ASSERT(!g->flat);
    if (rule == GRAM_NONE)
        return GRAM_NONE;
    return make(g, (struct gram_node){ .kind = GRAM_CALL, .next = next, .arg = rule });
}

uint32_t gram_mark(struct gram *g, uint32_t part)
{
    return make(g, (struct gram_node){ .kind = GRAM_MARK, .next = GRAM_END, .arg = part });
}

uint32_t gram_bytes(struct gram *g, const char *s, size_t len, uint32_t next)
{
    while (len > 0 && next != GRAM_NONE)
        next = gram_byte(g, s[--len], next);
    return next;
}

/* Until it is closed a loop looks like the end; no equal node is looked up before. */
uint32_t gram_loop_open(struct gram *g)
{
    struct gram_node n = { .kind = GRAM_SPLIT, .next = GRAM_END, .arg = GRAM_END };
    return gram_work(g, 1) ? add_node(g, &n) : GRAM_NONE;
}

void gram_loop_close(struct gram *g, uint32_t loop, uint32_t body, uint32_t next)
{
    if (loop == GRAM_NONE || g->status != 0)
        return;
    struct gram_node *n = &g->ir.nodes[loop];
    n->next = body != GRAM_NONE ? body : next;
    n->arg = next != GRAM_NONE ? next : body;
    if (body == GRAM_NONE && next == GRAM_NONE)
        n->kind = GRAM_DEAD;
}

uint32_t gram_rule(struct gram *g)
{
    if (g->ir.n_rules >= GRAM_RULES_MAX)
        return gram_fail(g, E_LIMIT, "the constraint needs more than %u rules", GRAM_RULES_MAX);
    g->ir.rules[g->ir.n_rules] = (struct gram_rule){ .start = GRAM_NONE };
    return g->ir.n_rules++;
}

void gram_rule_body(struct gram *g, uint32_t rule, uint32_t start)
{
    if (rule != GRAM_NONE)
        g->ir.rules[rule].start = start;
}

/* --- repeats ---------------------------------------------------------------------------------- */

static uint32_t emit_rule(void *ctx, uint32_t next)
{
    void **both = ctx;
    return gram_call(both[0], *(uint32_t *)both[1], next);
}

/* A chain of n bodies before next, each optional if skip is a node. Where more optional bodies
 * follow than a token has bytes, all places in the chain look alike to one. */
static uint32_t chain(struct gram *g, const struct gram_repeat *r, uint32_t n, uint32_t next,
                      uint32_t skip)
{
    uint32_t far = GRAM_NONE;
    for (uint32_t i = 1; i <= n && g->status == 0 && next != GRAM_NONE; i++) {
        next = r->emit(r->ctx, next);
        if (skip != GRAM_NONE)
            next = gram_split(g, next, skip);
        if (i == GRAM_FAR && skip != GRAM_NONE)
            far = next;
        if (far != GRAM_NONE && next != GRAM_NONE)
            g->ir.nodes[next].alias = far;
    }
    return next;
}

uint32_t gram_repeat(struct gram *g, const struct gram_repeat *r, uint32_t next)
{
    struct gram_repeat part = *r;
    uint32_t rule = GRAM_NONE, copies = r->max == GRAM_NONE ? r->min : r->max;
    void *both[] = { g, &rule };
    ASSERT(r->min <= r->max);
    if (next == GRAM_NONE || g->status != 0)
        return GRAM_NONE;
    if (!g->flat && ((r->heavy && copies > 1) || copies > GRAM_FAR)) {
        rule = gram_rule(g);
        gram_rule_body(g, rule, r->emit(r->ctx, GRAM_END));
        part.emit = emit_rule;
        part.ctx = both;
    }
    if (r->max != GRAM_NONE) {
        next = chain(g, &part, r->max - r->min, next, next);
        return chain(g, &part, r->min, next, GRAM_NONE);
    }
    uint32_t loop = gram_loop_open(g);
    uint32_t body = part.emit(part.ctx, loop);
    gram_loop_close(g, loop, body, next);
    if (r->min == 0)
        return loop;
    return chain(g, &part, r->min - 1, body, GRAM_NONE);
}

/* --- sets of characters ----------------------------------------------------------------------- */

void gram_set_init(struct gram_set *s, struct arena *arena)
{
    *s = (struct gram_set){ .arena = arena };
}

int gram_set_add(struct gram_set *s, uint32_t lo, uint32_t hi)
{
    if (s->n == s->cap) {
        uint32_t cap = s->cap == 0 ? 8 : 2 * s->cap;
        struct gram_span *more = arena_alloc(s->arena, cap, sizeof *more);
        if (more == NULL)
            return E_LIMIT;
        if (s->n > 0)
            memcpy(more, s->spans, s->n * sizeof *more);
        s->spans = more;
        s->cap = cap;
    }
    s->spans[s->n++] = (struct gram_span){ lo, hi };
    return 0;
}

static int by_start(const void *a, const void *b)
{
    const struct gram_span *x = a, *y = b;
    return x->lo < y->lo ? -1 : x->lo > y->lo;
}

void gram_set_tidy(struct gram_set *s)
{
    uint32_t n = 0;
    if (s->n == 0)
        return;
    qsort(s->spans, s->n, sizeof *s->spans, by_start);
    for (uint32_t i = 1; i < s->n; i++) {
        if (s->spans[i].lo > s->spans[n].hi && s->spans[i].lo - s->spans[n].hi > 1)
            s->spans[++n] = s->spans[i];
        else if (s->spans[i].hi > s->spans[n].hi)
            s->spans[n].hi = s->spans[i].hi;
    }
    s->n = n + 1;
}

int gram_set_invert(struct gram_set *s)
{
    struct gram_set out;
    uint32_t at = 0;
    gram_set_init(&out, s->arena);
    gram_set_tidy(s);
    for (uint32_t i = 0; i < s->n; i++) {
        if (s->spans[i].lo > at)
            TRY(gram_set_add(&out, at, s->spans[i].lo - 1));
        at = s->spans[i].hi + 1;
    }
    if (at <= GRAM_CHAR_MAX)
        TRY(gram_set_add(&out, at, GRAM_CHAR_MAX));
    *s = out;
    return 0;
}

/* --- characters to bytes ---------------------------------------------------------------------- */

/* Characters lo..hi whose encodings differ as byte ranges only: one range a byte. */
static uint32_t encode_block(struct gram *g, uint32_t lo, uint32_t hi, uint32_t next)
{
    char a[4], b[4];
    size_t len = utf8_put(a, lo), len_b = utf8_put(b, hi);
    ASSERT(len > 0);
    ASSERT(len == len_b);
    while (len > 0 && next != GRAM_NONE) {
        len--;
        next = gram_range(g, (uint8_t)a[len], (uint8_t)b[len], next);
    }
    return next;
}

/* The last character up to hi that is in one block with lo. */
static uint32_t block_end(uint32_t lo, uint32_t hi)
{
    static const uint32_t borders[] = { 0x7f, 0x7ff, 0xd7ff, 0xffff };
    for (size_t i = 0; i < COUNT_OF(borders); i++)
        if (lo <= borders[i] && hi > borders[i])
            hi = borders[i];
    if (lo < 0x80)
        return hi;
    for (uint32_t bits = 6; bits <= 18; bits += 6) {
        uint32_t tail = (1u << bits) - 1;
        if ((lo & ~tail) == (hi & ~tail))
            break;
        if ((lo & tail) != 0)
            return lo | tail;
        if ((hi & tail) != tail)
            hi = (hi & ~tail) - 1;
    }
    return hi;
}

static uint32_t encode_span(struct gram *g, uint32_t lo, uint32_t hi, uint32_t next)
{
    uint32_t all = GRAM_NONE;
    while (lo <= hi && g->status == 0) {
        if (lo >= 0xd800 && lo <= 0xdfff) { /* surrogates are no characters */
            lo = 0xe000;
            continue;
        }
        uint32_t end = block_end(lo, hi);
        all = gram_split(g, encode_block(g, lo, end, next), all);
        lo = end + 1;
    }
    return all;
}

static uint32_t json_escape(struct gram *g, uint32_t cp, uint32_t next)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *at = cp != 0 && cp < 0x80 ? strchr(from, (int)cp) : NULL;
    uint32_t brief = at != NULL ? gram_byte(g, to[at - from], next) : GRAM_NONE;
    char hex[8];
    snprintf(hex, sizeof hex, "u%04x", cp & 0xffffu);
    if (cp < 0x20)
        brief = gram_split(g, brief, gram_bytes(g, hex, 5, next));
    return gram_byte(g, '\\', brief);
}

static bool json_escapes(uint32_t cp) { return cp < 0x20 || cp == '"' || cp == '\\'; }

uint32_t gram_char(struct gram *g, uint32_t cp, enum gram_form form, uint32_t next)
{
    if (form == GRAM_JSON && json_escapes(cp))
        return json_escape(g, cp, next);
    return encode_span(g, cp, cp, next);
}

uint32_t gram_class(struct gram *g, const struct gram_set *set, enum gram_form form, uint32_t next)
{
    uint32_t all = GRAM_NONE;
    for (uint32_t i = 0; i < set->n && g->status == 0; i++) {
        uint32_t lo = set->spans[i].lo, hi = set->spans[i].hi;
        for (uint32_t cp = lo; form == GRAM_JSON && cp <= hi && cp <= '\\'; cp++) {
            if (!json_escapes(cp))
                continue;
            if (cp > lo)
                all = gram_split(g, encode_span(g, lo, cp - 1, next), all);
            all = gram_split(g, json_escape(g, cp, next), all);
            lo = cp + 1;
        }
        if (lo <= hi)
            all = gram_split(g, encode_span(g, lo, hi, next), all);
    }
    return all;
}

uint32_t gram_text(struct gram *g, const char *s, size_t len, enum gram_form form, uint32_t next)
{
    while (len > 0 && next != GRAM_NONE) {
        size_t back = 1;
        uint32_t cp = UTF8_INVALID;
        while (back < 4 && back < len && ((uint8_t)s[len - back] & 0xc0) == 0x80)
            back++;
        if (utf8_next(s + len - back, back, &cp) != back || cp == UTF8_INVALID) {
            next = gram_byte(g, s[--len], next);
            continue;
        }
        next = gram_char(g, cp, form, next);
        len -= back;
    }
    return next;
}
