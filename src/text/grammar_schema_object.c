/* Objects: declared members in their order, each optional or not, then others. Built from the end:
 * T[i] is what may follow once a member was written and members i.. are left, F[i] the same before
 * the first one (no comma yet). With minProperties or maxProperties T has a column for each number
 * of members so far.
 *
 * Names of other members are told apart from declared ones, and sorted by the patterns they match,
 * by a product of automata: one for "any name", one for the declared names, one a pattern. */
#include <string.h>

#include "text/grammar_schema.h"

#define MEMBERS_MAX 2048
#define PATTERNS_MAX 24
#define COUNT_MAX 64 /* columns for minProperties and maxProperties */

struct member {
    const char *key;
    bool required;
    uint32_t rule;          /* of `"key": value`; GRAM_NONE: it cannot be there */
};

struct pattern {
    const json_value *schema, *owner;
    const char *source, *path;
    uint32_t raw;           /* matches names */
};

struct object {
    struct schema *s;
    const struct conj *c;
    struct member members[MEMBERS_MAX];
    struct map by_key;
    uint32_t n;
    struct pattern patterns[PATTERNS_MAX];
    uint32_t n_patterns;
    uint32_t declared_bit;  /* of the product; 32: there is none */
    uint32_t least, most;   /* numbers of members */
    uint32_t other;         /* rule of any other member; GRAM_NONE: none may come */
    uint32_t close, empty;  /* nodes */
    int rc;                 /* of the product's exits */
};

static int no_memory(struct schema *s)
{
    return err_set(s->err, E_LIMIT, "schema: it needs too much memory to compile");
}

/* --- what is declared ------------------------------------------------------------------------- */

static int declare(struct object *o, const char *key, bool required)
{
    uint32_t at = 0;
    if (!map_get(&o->by_key, key, strlen(key), &at)) {
        if (o->n == MEMBERS_MAX)
            return err_set(o->s->err, E_LIMIT, "schema: an object declares more than %d members",
                           MEMBERS_MAX);
        if (map_put(&o->by_key, key, strlen(key), o->n, NULL) < 0)
            return no_memory(o->s);
        at = o->n++;
        o->members[at] = (struct member){ .key = key, .rule = GRAM_NONE };
    }
    o->members[at].required |= required;
    return 0;
}

static int declare_property(void *ctx, const char *key, json_value *member)
{
    (void)member;
    return declare(ctx, key, false);
}

struct pattern_reader {
    struct object *o;
    const struct schema_item *item;
};

static int read_pattern(void *ctx, const char *key, json_value *member)
{
    const struct pattern_reader *r = ctx;
    struct object *o = r->o;
    struct schema *s = o->s;
    if (o->n_patterns == PATTERNS_MAX)
        return schema_wrong(s, E_LIMIT, r->item->path, "patternProperties",
                            "holds too many patterns (24 are possible)");
    struct pattern *p = &o->patterns[o->n_patterns++];
    *p = (struct pattern){ .schema = member, .owner = r->item->v, .source = key };
    p->path = schema_path(s, schema_path(s, r->item->path, "patternProperties"), key);
    struct gast *a = NULL;
    TRY(gast_regex(&a, s->arena, key, strlen(key), true, s->err));
    s->g->flat = true;
    p->raw = gast_emit(s->g, a, GRAM_RAW, gram_mark(s->g, 0));
    s->g->flat = false;
    return s->g->status;
}

static int read_declared(struct object *o)
{
    struct schema *s = o->s;
    for (uint32_t i = 0; i < o->c->n; i++) {
        struct pattern_reader r = { o, &o->c->items[i] };
        TRY(json_each(json_get(o->c->items[i].v, "properties"), declare_property, o));
        TRY(json_each(json_get(o->c->items[i].v, "patternProperties"), read_pattern, &r));
    }
    for (uint32_t i = 0; i < o->c->n; i++) {
        const json_value *list = json_get(o->c->items[i].v, "required");
        for (size_t k = 0; k < json_len(list); k++) {
            const char *key = json_text(json_at(list, k), &(size_t){ 0 });
            if (key == NULL)
                return schema_wrong(s, E_FORMAT, o->c->items[i].path, "required",
                                    "must be an array of strings");
            TRY(declare(o, key, true));
        }
    }
    uint32_t range[2] = { 0, GRAM_NONE };
    TRY(conj_counts(s, o->c, "minProperties", "maxProperties", range));
    o->least = range[0];
    o->most = range[1];
    return 0;
}

/* --- values ----------------------------------------------------------------------------------- */

/* Adds what one schema says of a member: its own entry, patterns (bits), or else the rest. */
static int add_saying(struct object *o, struct conj *v, uint32_t i, const char *key, uint32_t bits)
{
    struct schema *s = o->s;
    const struct schema_item *item = &o->c->items[i];
    const json_value *own = json_get(json_get(item->v, "properties"), key != NULL ? key : "");
    bool said = false;
    if (key != NULL && own != NULL) {
        TRY(conj_add(s, v, own, schema_path(s, schema_path(s, item->path, "properties"), key)));
        said = true;
    }
    for (uint32_t p = 0; p < o->n_patterns; p++)
        if (o->patterns[p].owner == item->v && (bits >> p & 1) != 0) {
            TRY(conj_add(s, v, o->patterns[p].schema, o->patterns[p].path));
            said = true;
        }
    const json_value *rest = json_get(item->v, "additionalProperties");
    if (!said && rest != NULL)
        TRY(conj_add(s, v, rest, schema_path(s, item->path, "additionalProperties")));
    return 0;
}

static int value_rule(struct object *o, const char *key, uint32_t bits, uint32_t *rule)
{
    struct conj *v = conj_new(o->s, o->c->depth + 1);
    if (v == NULL)
        return no_memory(o->s);
    for (uint32_t i = 0; i < o->c->n; i++)
        TRY(add_saying(o, v, i, key, bits));
    return conj_rule(o->s, v, rule);
}

/* ": value" as the end of a member. */
static uint32_t colon_value(struct schema *s, uint32_t rule)
{
    uint32_t call = rule != GRAM_NONE ? gram_call(s->g, rule, GRAM_END) : GRAM_NONE;
    return call != GRAM_NONE ? gram_byte(s->g, ':', schema_ws(s, call)) : GRAM_NONE;
}

/* Whether propertyNames lets a name be. */
static int name_fits(struct object *o, const char *key, bool *fits)
{
    struct schema *s = o->s;
    for (uint32_t i = 0; i < o->c->n; i++) {
        const json_value *names = json_get(o->c->items[i].v, "propertyNames");
        const char *word = schema_path(s, o->c->items[i].path, "propertyNames");
        if (names == NULL)
            continue;
        struct conj *c = conj_new(s, 0);
        struct schema_parts parts = { .n = 0, .end = GRAM_NONE };
        if (c == NULL)
            return no_memory(s);
        TRY(conj_add(s, c, names, word));
        *fits &= !c->never;
        if (c->never || c->n == 0)
            continue;
        s->g->flat = true;
        int rc = schema_string_parts(s, c, &parts);
        s->g->flat = false;
        TRY(rc);
        for (uint32_t k = 0; k < parts.n; k++)
            *fits &= schema_flat_match(s->g, parts.starts[k], key, strlen(key));
    }
    return 0;
}

static int make_members(struct object *o)
{
    struct schema *s = o->s;
    for (uint32_t i = 0; i < o->n; i++) {
        struct member *m = &o->members[i];
        uint32_t bits = 0, value = GRAM_NONE;
        bool fits = true;
        for (uint32_t p = 0; p < o->n_patterns; p++)
            if (schema_flat_match(s->g, o->patterns[p].raw, m->key, strlen(m->key)))
                bits |= 1u << p;
        TRY(name_fits(o, m->key, &fits));
        TRY(value_rule(o, m->key, bits, &value));
        if (!fits || value == GRAM_NONE)
            continue;
        uint32_t start = gram_byte(s->g, '"', colon_value(s, value));
        start = gram_text(s->g, m->key, strlen(m->key), GRAM_JSON, start);
        m->rule = gram_rule(s->g);
        gram_rule_body(s->g, m->rule, gram_byte(s->g, '"', start));
    }
    return s->g->status;
}

/* --- other members ---------------------------------------------------------------------------- */

/* Whether a name that nothing mentions may be there. */
static bool others_free(const struct object *o)
{
    bool said = false, mentions = false;
    for (uint32_t i = 0; i < o->c->n; i++) {
        const json_value *v = o->c->items[i].v;
        said |= json_get(v, "additionalProperties") != NULL;
        mentions |= json_len(json_get(v, "properties")) > 0 ||
                    json_len(json_get(v, "patternProperties")) > 0;
    }
    return o->s->open || said || !mentions;
}

static uint32_t end_name(void *ctx, uint32_t satisfied)
{
    struct object *o = ctx;
    uint32_t bits = satisfied & ((1u << o->n_patterns) - 1), rule = GRAM_NONE;
    if (o->declared_bit < 32 && (satisfied >> o->declared_bit & 1) != 0)
        return GRAM_NONE;
    if (bits == 0 && !others_free(o))
        return GRAM_NONE;
    if (o->rc == 0)
        o->rc = value_rule(o, NULL, bits, &rule);
    if (o->rc < 0 || rule == GRAM_NONE)
        return GRAM_NONE;
    return gram_byte(o->s->g, '"', colon_value(o->s, rule));
}

/* The parts of propertyNames, all of which must hold. */
static int name_parts(struct object *o, struct schema_parts *p, bool *never)
{
    struct schema *s = o->s;
    struct conj *c = conj_new(s, 0);
    if (c == NULL)
        return no_memory(s);
    for (uint32_t i = 0; i < o->c->n; i++) {
        const json_value *names = json_get(o->c->items[i].v, "propertyNames");
        if (names != NULL)
            TRY(conj_add(s, c, names, schema_path(s, o->c->items[i].path, "propertyNames")));
    }
    for (uint32_t i = 0; i < c->n; i++) {
        static const char *const words[] = { "enum", "const", "$ref", "allOf", "anyOf", "oneOf" };
        TRY(schema_check_words(s, &c->items[i]));
        for (size_t w = 0; w < COUNT_OF(words); w++)
            if (json_has(c->items[i].v, words[w]))
                return schema_wrong(s, E_UNSUPPORTED, c->items[i].path, words[w],
                                    "is not supported for names");
    }
    *never = c->never;
    return schema_string_parts(s, c, p);
}

/* Marks carry the number of their part; the product goes by the position in starts. */
static int other_parts(struct object *o, struct schema_parts *p, uint32_t *must, bool *never)
{
    struct schema *s = o->s;
    struct gram *g = s->g;
    static struct gram_span all[] = { { 0, GRAM_CHAR_MAX } };
    struct gram_set any = { .spans = all, .n = 1 };
    for (; p->n < o->n_patterns; p->n++) {
        struct gast *a = NULL;
        const char *source = o->patterns[p->n].source;
        TRY(gast_regex(&a, s->arena, source, strlen(source), true, s->err));
        p->starts[p->n] = gast_emit(g, a, GRAM_JSON, gram_mark(g, p->n));
    }
    *must = 1u << p->n;
    uint32_t loop = gram_loop_open(g);
    gram_loop_close(g, loop, gram_class(g, &any, GRAM_JSON, loop), gram_mark(g, p->n));
    p->starts[p->n++] = loop;
    if (o->n > 0) {
        uint32_t mark = gram_mark(g, p->n), names = GRAM_NONE;
        for (uint32_t i = 0; i < o->n; i++)
            names = gram_split(g, gram_text(g, o->members[i].key, strlen(o->members[i].key),
                                            GRAM_JSON, mark), names);
        o->declared_bit = p->n;
        p->starts[p->n++] = names;
    }
    uint32_t named = p->n;
    TRY(name_parts(o, p, never));
    for (; named < p->n; named++)
        *must |= 1u << named;
    return g->status;
}

/* The rule of any other member, if there can be one. */
static int make_other(struct object *o)
{
    struct schema *s = o->s;
    struct schema_parts parts = { .n = 0, .end = GRAM_NONE };
    uint32_t must = 0, value = GRAM_NONE;
    bool names = false, never = false;
    o->other = GRAM_NONE;
    o->declared_bit = 32;
    for (uint32_t i = 0; i < o->c->n; i++)
        names |= json_has(o->c->items[i].v, "propertyNames");
    if (!others_free(o) && o->n_patterns == 0)
        return 0;
    if (o->n == 0 && o->n_patterns == 0 && !names) {
        TRY(value_rule(o, NULL, 0, &value));
        uint32_t start = schema_string(s, colon_value(s, value));
        if (value == GRAM_NONE || start == GRAM_NONE)
            return s->g->status;
        o->other = gram_rule(s->g);
        gram_rule_body(s->g, o->other, start);
        return 0;
    }
    s->g->flat = true;
    int rc = other_parts(o, &parts, &must, &never);
    s->g->flat = false;
    TRY(rc);
    struct gram_product p = { .starts = parts.starts, .n_parts = parts.n, .must = must,
                              .exit = end_name, .ctx = o };
    uint32_t start = never ? GRAM_NONE : gram_product(s->g, &p);
    TRY(o->rc);
    if (start != GRAM_NONE) {
        o->other = gram_rule(s->g);
        gram_rule_body(s->g, o->other, gram_byte(s->g, '"', start));
    }
    return s->g->status;
}

/* --- order and number ------------------------------------------------------------------------- */

static uint32_t after_comma(struct object *o, uint32_t rule, uint32_t next)
{
    uint32_t call = rule != GRAM_NONE ? gram_call(o->s->g, rule, next) : GRAM_NONE;
    return call != GRAM_NONE ? gram_byte(o->s->g, ',', schema_ws(o->s, call)) : GRAM_NONE;
}

/* What follows the first other member, `count` members being there. Others may repeat a name, so
 * only the first of them counts towards minProperties. */
static uint32_t others(struct object *o, uint32_t count)
{
    struct gram *g = o->s->g;
    uint32_t close = count >= o->least ? o->close : GRAM_NONE;
    if (count > o->most || close == GRAM_NONE)
        return GRAM_NONE;
    if (o->most == GRAM_NONE) {
        uint32_t loop = gram_loop_open(g);
        gram_loop_close(g, loop, after_comma(o, o->other, loop), close);
        return loop;
    }
    uint32_t next = close;
    for (uint32_t i = count; i < o->most && g->status == 0; i++)
        next = gram_split(g, after_comma(o, o->other, next), close);
    return next;
}

/* Nodes by the number of members so far; columns beyond are like the last. */
struct column {
    uint32_t at[COUNT_MAX + 2];
};

static uint32_t n_columns(const struct object *o)
{
    uint32_t most = o->most == GRAM_NONE ? 0 : o->most + 1;
    return (o->least > most ? o->least : most) + 1;
}

/* What may follow once all declared members are behind. */
static void end_column(struct object *o, struct column *t, uint32_t n)
{
    for (uint32_t k = 0; k < n; k++) {
        uint32_t close = k >= o->least && k <= o->most ? o->close : GRAM_NONE;
        uint32_t more = k + 1 <= o->most ? others(o, k + 1) : GRAM_NONE;
        t->at[k] = gram_split(o->s->g, after_comma(o, o->other, more), close);
    }
}

/* The same before a member, from what follows it. */
static void member_column(struct object *o, const struct member *m, struct column *t, uint32_t n)
{
    const struct column u = *t;
    for (uint32_t k = 0; k < n; k++) {
        uint32_t to = k + 1 < n ? k + 1 : n - 1;
        uint32_t with = k + 1 <= o->most ? after_comma(o, m->rule, u.at[to]) : GRAM_NONE;
        t->at[k] = gram_split(o->s->g, with, m->required ? GRAM_NONE : u.at[k]);
    }
}

static uint32_t first_member(struct object *o, uint32_t rule, uint32_t next)
{
    bool can = rule != GRAM_NONE && o->most >= 1 && next != GRAM_NONE;
    return can ? gram_call(o->s->g, rule, next) : GRAM_NONE;
}

static int emit_order(struct object *o, uint32_t *out)
{
    struct gram *g = o->s->g;
    const uint32_t n = n_columns(o), one = n > 1 ? 1 : 0;
    struct column t;
    uint32_t f = o->least == 0 ? o->empty : GRAM_NONE;
    f = gram_split(g, first_member(o, o->other, o->most > 0 ? others(o, 1) : GRAM_NONE), f);
    end_column(o, &t, n);
    for (uint32_t i = o->n; i-- > 0 && g->status == 0;) {
        const struct member *m = &o->members[i];
        uint32_t start = first_member(o, m->rule, t.at[one]);
        f = gram_split(g, start, m->required ? GRAM_NONE : f);
        member_column(o, m, &t, n);
    }
    *out = f;
    return g->status;
}

static int check_counts(struct object *o)
{
    uint32_t possible = o->n + (o->other != GRAM_NONE);
    bool counts = o->least > 0 || o->most != GRAM_NONE;
    if (o->least > possible && o->other != GRAM_NONE)
        return schema_wrong(o->s, E_UNSUPPORTED, o->c->items[0].path, "minProperties",
                            "above the number of declared members plus one is not supported");
    if (counts && n_columns(o) > COUNT_MAX)
        return schema_wrong(o->s, E_UNSUPPORTED, o->c->items[0].path, "maxProperties",
                            "and minProperties above 62 are not supported");
    return 0;
}

static int emit_object(struct object *o, uint32_t *out)
{
    struct gram *g = o->s->g;
    uint32_t inside = GRAM_NONE;
    TRY(read_declared(o));
    TRY(make_members(o));
    TRY(make_other(o));
    *out = GRAM_NONE;
    if (o->least > o->most)
        return 0;
    TRY(check_counts(o));
    o->empty = gram_byte(g, '}', GRAM_END);
    o->close = schema_ws(o->s, o->empty);
    TRY(emit_order(o, &inside));
    inside = schema_ws(o->s, inside);
    *out = inside != GRAM_NONE ? gram_byte(g, '{', inside) : GRAM_NONE;
    return g->status;
}

int schema_emit_object(struct schema *s, const struct conj *c, uint32_t *out)
{
    struct object *o = mem_alloc(1, sizeof *o);
    if (o == NULL || map_init(&o->by_key, 16) < 0) {
        mem_free(o);
        return err_set(s->err, E_NOMEM, "out of memory");
    }
    o->s = s;
    o->c = c;
    int rc = emit_object(o, out);
    map_fini(&o->by_key);
    mem_free(o);
    return rc;
}
