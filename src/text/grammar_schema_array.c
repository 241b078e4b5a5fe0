#include "text/grammar_schema.h"

/* What the conjunction says of element i; GRAM_NONE if there can be none. */
struct array {
    struct schema *s;
    const struct conj *c;
    uint32_t n_prefix, min, max;
    uint32_t rest;             /* rule of elements after the prefix; GRAM_NONE: none may come */
};

static const json_value *prefix_of(const json_value *v, const char **word)
{
    *word = "prefixItems";
    if (json_has(v, *word))
        return json_get(v, *word);
    *word = "items"; /* an array of schemas: what prefixItems was called before 2020 */
    return json_kind_of(json_get(v, *word)) == JSON_ARRAY ? json_get(v, *word) : NULL;
}

/* The schema of the elements after the prefix, or NULL. */
static const json_value *rest_of(const json_value *v, const char **word)
{
    const json_value *items = json_get(v, "items");
    *word = json_kind_of(items) == JSON_ARRAY ? "additionalItems" : "items";
    return json_get(v, *word);
}

static int element_rule(const struct array *a, uint32_t i, uint32_t *rule)
{
    struct schema *s = a->s;
    struct conj *e = conj_new(s, a->c->depth + 1);
    for (uint32_t k = 0; e != NULL && k < a->c->n; k++) {
        const struct schema_item *item = &a->c->items[k];
        const char *word = NULL, *rest_word = NULL;
        const json_value *prefix = prefix_of(item->v, &word), *rest = rest_of(item->v, &rest_word);
        if (i < json_len(prefix))
            TRY(conj_add(s, e, json_at(prefix, i),
                         schema_path_at(s, schema_path(s, item->path, word), i)));
        else if (rest != NULL)
            TRY(conj_add(s, e, rest, schema_path(s, item->path, rest_word)));
    }
    return conj_rule(s, e, rule);
}

/* Whether elements after the prefix may come although nothing says what they are. */
static bool may_go_on(const struct array *a)
{
    bool said = false;
    const char *word = NULL;
    for (uint32_t i = 0; i < a->c->n; i++)
        said |= rest_of(a->c->items[i].v, &word) != NULL;
    return a->s->open || said || a->n_prefix == 0;
}

static uint32_t next_element(struct schema *s, uint32_t rule, uint32_t next)
{
    uint32_t call = rule != GRAM_NONE ? gram_call(s->g, rule, next) : GRAM_NONE;
    return call != GRAM_NONE ? gram_byte(s->g, ',', schema_ws(s, call)) : GRAM_NONE;
}

static uint32_t emit_rest(void *ctx, uint32_t next)
{
    const struct array *a = ctx;
    return next_element(a->s, a->rest, next);
}

/* Elements from the n_prefix-th on (but the first), then the end. */
static uint32_t tail(struct array *a, uint32_t close)
{
    uint32_t done = a->n_prefix > 0 ? a->n_prefix : 1;
    struct gram_repeat r = { .emit = emit_rest, .ctx = a, .heavy = false };
    if (a->max < done)
        return GRAM_NONE;
    r.min = a->min > done ? a->min - done : 0;
    r.max = a->max == GRAM_NONE ? GRAM_NONE : a->max - done;
    if (a->rest == GRAM_NONE)
        return r.min > 0 ? GRAM_NONE : close;
    return gram_repeat(a->s->g, &r, close);
}

static int prepare(struct array *a)
{
    struct schema *s = a->s;
    uint32_t range[2] = { 0, GRAM_NONE };
    bool told = false;
    const char *word = NULL;
    TRY(conj_counts(s, a->c, "minItems", "maxItems", range));
    for (uint32_t i = 0; i < a->c->n; i++) {
        uint32_t n = (uint32_t)json_len(prefix_of(a->c->items[i].v, &word));
        a->n_prefix = n > a->n_prefix ? n : a->n_prefix;
        told |= json_has(a->c->items[i].v, "minItems");
    }
    a->min = range[0];
    a->max = range[1];
    if (!s->open && !told && a->n_prefix <= a->max) /* a tuple is written whole */
        a->min = a->n_prefix;
    a->rest = GRAM_NONE;
    return may_go_on(a) ? element_rule(a, a->n_prefix, &a->rest) : 0;
}

int schema_emit_array(struct schema *s, const struct conj *c, uint32_t *out)
{
    struct gram *g = s->g;
    struct array a = { .s = s, .c = c };
    TRY(prepare(&a));
    *out = GRAM_NONE;
    if (a.min > a.max)
        return 0;
    const uint32_t close = schema_ws(s, gram_byte(g, ']', GRAM_END));
    uint32_t rule = GRAM_NONE, next = tail(&a, close);
    for (uint32_t i = a.n_prefix; i-- > 1;) { /* next: what follows i + 1 elements */
        TRY(element_rule(&a, i, &rule));
        uint32_t more = i < a.max ? next_element(s, rule, next) : GRAM_NONE;
        next = gram_split(g, more, i >= a.min && i <= a.max ? close : GRAM_NONE);
    }
    rule = a.rest;
    if (a.n_prefix > 0)
        TRY(element_rule(&a, 0, &rule));
    uint32_t first = rule != GRAM_NONE && a.max > 0 ? gram_call(g, rule, next) : GRAM_NONE;
    uint32_t empty = a.min == 0 ? gram_byte(g, ']', GRAM_END) : GRAM_NONE;
    uint32_t inside = schema_ws(s, gram_split(g, first, empty));
    *out = inside != GRAM_NONE ? gram_byte(g, '[', inside) : GRAM_NONE;
    return g->status;
}
