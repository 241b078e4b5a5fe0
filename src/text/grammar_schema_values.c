/* const and enum: the values are spelt out, those that the rest of the conjunction forbids left
 * out. What the rest may say beside them is checked here directly. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "text/grammar_schema.h"

/* --- spelling --------------------------------------------------------------------------------- */

struct spell {
    struct schema *s;
    const char *keys[1024];
    const json_value *members[1024];
    uint32_t n;
};

static int list_member(void *ctx, const char *key, json_value *member)
{
    struct spell *x = ctx;
    if (x->n == COUNT_OF(x->keys))
        return E_LIMIT;
    x->keys[x->n] = key;
    x->members[x->n++] = member;
    return 0;
}

static uint32_t spell_text(struct gram *g, const char *s, size_t len, uint32_t next)
{
    return gram_byte(g, '"', gram_text(g, s, len, GRAM_JSON, gram_byte(g, '"', next)));
}

static uint32_t spell_object(struct schema *s, const json_value *v, uint32_t next)
{
    struct spell *x = arena_alloc(s->arena, 1, sizeof *x);
    next = gram_byte(s->g, '}', next);
    if (x == NULL || json_each(v, list_member, x) < 0)
        return gram_fail(s->g, E_LIMIT, "schema: an object in const or enum is too large");
    if (x->n > 0)
        next = schema_ws(s, next);
    for (uint32_t i = x->n; i-- > 0;) {
        next = schema_literal(s, x->members[i], next);
        next = gram_byte(s->g, ':', schema_ws(s, next));
        next = spell_text(s->g, x->keys[i], strlen(x->keys[i]), next);
        if (i > 0)
            next = gram_byte(s->g, ',', schema_ws(s, next));
    }
    return gram_byte(s->g, '{', schema_ws(s, next));
}

static uint32_t spell_array(struct schema *s, const json_value *v, uint32_t next)
{
    next = gram_byte(s->g, ']', next);
    if (json_len(v) > 0)
        next = schema_ws(s, next);
    for (size_t i = json_len(v); i-- > 0;) {
        next = schema_literal(s, json_at(v, i), next);
        if (i > 0)
            next = gram_byte(s->g, ',', schema_ws(s, next));
    }
    return gram_byte(s->g, '[', schema_ws(s, next));
}

/* 1.0 is spelt 1. */
static uint32_t spell_number(struct gram *g, const json_value *v, uint32_t next)
{
    char text[64];
    double x = json_as_double(v);
    if (json_kind_of(v) == JSON_INT) {
        snprintf(text, sizeof text, "%" PRId64, json_as_int(v));
    } else if (x == floor(x) && fabs(x) < 1e15) {
        snprintf(text, sizeof text, "%.0f", x == 0 ? 0.0 : x);
    } else {
        struct json_writer w;
        struct buf b;
        buf_init(&b, sizeof text);
        json_writer_init(&w, &b);
        json_write_double(&w, x);
        snprintf(text, sizeof text, "%s", buf_str(&b));
        buf_fini(&b);
    }
    return gram_bytes(g, text, strlen(text), next);
}

/* Recurses by the depth of the schema, which is bounded. */
uint32_t schema_literal(struct schema *s, const json_value *v, uint32_t next)
{
    size_t len = 0;
    const char *text;
    if (!gram_work(s->g, 1))
        return GRAM_NONE;
    switch (json_kind_of(v)) {
    case JSON_NULL: return gram_bytes(s->g, "null", 4, next);
    case JSON_BOOL:
        return json_as_bool(v) ? gram_bytes(s->g, "true", 4, next)
                               : gram_bytes(s->g, "false", 5, next);
    case JSON_STRING: text = json_text(v, &len); return spell_text(s->g, text, len, next);
    case JSON_ARRAY: return spell_array(s, v, next);
    case JSON_OBJECT: return spell_object(s, v, next);
    default: return spell_number(s->g, v, next);
    }
}

/* --- which values are left -------------------------------------------------------------------- */

static unsigned type_of(const json_value *v, bool *whole)
{
    double x = json_as_double(v);
    *whole = false;
    switch (json_kind_of(v)) {
    case JSON_NULL: return TYPE_NULL;
    case JSON_BOOL: return TYPE_BOOL;
    case JSON_STRING: return TYPE_STRING;
    case JSON_ARRAY: return TYPE_ARRAY;
    case JSON_OBJECT: return TYPE_OBJECT;
    default: *whole = json_kind_of(v) == JSON_INT || x == floor(x); return TYPE_NUMBER;
    }
}

static bool is_listed(const json_value *list, const json_value *v)
{
    for (size_t i = 0; i < json_len(list); i++)
        if (schema_equal(json_at(list, i), v))
            return true;
    return false;
}

static int number_fits(struct schema *s, const struct schema_item *item, double x, bool *fits)
{
    static const char *const words[] = { "minimum", "maximum", "exclusiveMinimum",
                                         "exclusiveMaximum" };
    if (json_has(item->v, "multipleOf"))
        return schema_wrong(s, E_UNSUPPORTED, item->path, "multipleOf",
                            "beside const or enum is not supported");
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        double y = json_as_double(json_get(item->v, words[i]));
        if (json_has(item->v, words[i]))
            *fits &= i == 0 ? x >= y : i == 1 ? x <= y : i == 2 ? x > y : x < y;
    }
    return 0;
}

/* Patterns, formats and lengths of one schema. */
static int text_fits(struct schema *s, const struct schema_item *item, const json_value *v,
                     bool *fits)
{
    struct conj *one = conj_new(s, 0);
    struct schema_parts p = { .n = 0, .end = GRAM_NONE };
    size_t len = 0;
    const char *text = json_text(v, &len);
    struct json_writer w;
    struct buf b;
    if (one == NULL)
        return err_set(s->err, E_LIMIT, "schema: it needs too much memory to compile");
    one->items[one->n++] = *item;
    s->g->flat = true;
    int rc = schema_string_parts(s, one, &p);
    s->g->flat = false;
    TRY(rc);
    buf_init(&b, TEXT_GRAMMAR_BYTES_MAX * 8);
    json_writer_init(&w, &b);
    json_write_text(&w, text, len);
    for (uint32_t i = 0; i < p.n; i++)
        *fits &= b.len >= 2 && schema_flat_match(s->g, p.starts[i], b.data + 1, b.len - 2);
    buf_fini(&b);
    return 0;
}

static int value_fits(struct schema *s, const struct schema_item *item, const json_value *v,
                      bool *fits)
{
    bool whole = false;
    const unsigned type = type_of(v, &whole);
    if (json_has(item->v, "const"))
        *fits &= schema_equal(json_get(item->v, "const"), v);
    if (json_has(item->v, "enum"))
        *fits &= is_listed(json_get(item->v, "enum"), v);
    if ((schema_implied_types(item->v) & type) == 0)
        return 0;
    if (type == TYPE_NUMBER)
        return number_fits(s, item, json_as_double(v), fits);
    if (type == TYPE_STRING)
        return text_fits(s, item, v, fits);
    return schema_wrong(s, E_UNSUPPORTED, item->path, "",
                        "has const or enum beside keywords about members or elements");
}

int schema_emit_values(struct schema *s, const struct conj *c, unsigned types, bool integer,
                       uint32_t *out)
{
    uint32_t from = 0, all = GRAM_NONE;
    while (!json_has(c->items[from].v, "const") && !json_has(c->items[from].v, "enum"))
        from++;
    const json_value *schema = c->items[from].v, *list = json_get(schema, "enum");
    const bool one = json_has(schema, "const");
    for (size_t i = one ? 1 : json_len(list); i-- > 0;) {
        const json_value *v = one ? json_get(schema, "const") : json_at(list, i);
        bool whole = false, fits = (type_of(v, &whole) & types) != 0;
        fits &= !integer || type_of(v, &whole) != TYPE_NUMBER || whole;
        for (uint32_t k = 0; k < c->n; k++)
            TRY(value_fits(s, &c->items[k], v, &fits));
        if (fits)
            all = gram_split(s->g, schema_literal(s, v, GRAM_END), all);
    }
    *out = all;
    return s->g->status;
}
