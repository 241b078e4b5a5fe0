/* Which keywords there are, where references lead, which branches exclude each other. */
#include <stdio.h>
#include <string.h>

#include "text/grammar_schema.h"

/* Keywords of the draft and its forerunners that would have to be held and cannot be. What is
 * neither here nor handled (title, default, unknown words ...) says nothing about values. */
static const char *const refused[] = {
    "not", "if", "then", "else", "contains", "minContains", "maxContains", "dependentRequired",
    "dependentSchemas", "dependencies", "unevaluatedItems", "unevaluatedProperties",
    "$dynamicRef", "$recursiveRef",
};

static const char *const object_words[] = { "properties", "required", "additionalProperties",
                                            "patternProperties", "propertyNames",
                                            "minProperties", "maxProperties", NULL };
static const char *const array_words[] = { "items", "prefixItems", "minItems", "maxItems", NULL };
static const char *const string_words[] = { "pattern", "format", "minLength", "maxLength", NULL };
static const char *const number_words[] = { "minimum", "maximum", "exclusiveMinimum",
                                            "exclusiveMaximum", "multipleOf", NULL };

static bool has_any(const json_value *v, const char *const *words)
{
    for (; *words != NULL; words++)
        if (json_has(v, *words))
            return true;
    return false;
}

unsigned schema_implied_types(const json_value *v)
{
    unsigned types = 0;
    if (has_any(v, object_words))
        types |= TYPE_OBJECT;
    if (has_any(v, array_words))
        types |= TYPE_ARRAY;
    if (has_any(v, string_words))
        types |= TYPE_STRING;
    if (has_any(v, number_words))
        types |= TYPE_NUMBER;
    return types;
}

static bool is_text(const json_value *v, const char *word)
{
    size_t len = 0;
    const char *s = json_text(v, &len);
    return s != NULL && len == strlen(word) && memcmp(s, word, len) == 0;
}

static int check_identity(struct schema *s, const struct schema_item *item)
{
    if (item->v != s->root && json_kind_of(json_get(item->v, "$id")) == JSON_STRING)
        return schema_wrong(s, E_UNSUPPORTED, item->path, "$id",
                            "inside a schema is not supported");
    const char *dialect = json_text(json_get(item->v, "$schema"), &(size_t){ 0 });
    if (dialect != NULL && strstr(dialect, "//json-schema.org/") == NULL)
        return schema_wrong(s, E_UNSUPPORTED, item->path, "$schema",
                            "names a dialect that is not known");
    return 0;
}

static int check_unique(struct schema *s, const struct schema_item *item)
{
    const json_value *unique = json_get(item->v, "uniqueItems");
    const json_value *max = json_get(item->v, "maxItems");
    bool one = json_kind_of(max) == JSON_INT && json_as_int(max) <= 1;
    if (json_as_bool(unique) && json_kind_of(unique) == JSON_BOOL && !one)
        return schema_wrong(s, E_UNSUPPORTED, item->path, "uniqueItems", "is not supported");
    return 0;
}

/* Words with this shape, or absent. */
static int check_kinds(struct schema *s, const struct schema_item *item)
{
    static const struct {
        const char *word;
        enum json_kind kind;
        const char *must;
    } rows[] = {
        { "properties", JSON_OBJECT, "must be an object of schemas" },
        { "patternProperties", JSON_OBJECT, "must be an object of schemas" },
        { "required", JSON_ARRAY, "must be an array of strings" },
        { "prefixItems", JSON_ARRAY, "must be an array of schemas" },
        { "enum", JSON_ARRAY, "must be an array" },
        { "allOf", JSON_ARRAY, "must be an array of schemas" },
        { "anyOf", JSON_ARRAY, "must be an array of schemas" },
        { "oneOf", JSON_ARRAY, "must be an array of schemas" },
        { "pattern", JSON_STRING, "must be a string" },
        { "$ref", JSON_STRING, "must be a string" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (json_has(item->v, rows[i].word) &&
            json_kind_of(json_get(item->v, rows[i].word)) != rows[i].kind)
            return schema_wrong(s, E_FORMAT, item->path, rows[i].word, rows[i].must);
    return 0;
}

int schema_check_words(struct schema *s, const struct schema_item *item)
{
    for (size_t i = 0; i < COUNT_OF(refused); i++)
        if (json_has(item->v, refused[i]))
            return schema_wrong(s, E_UNSUPPORTED, item->path, refused[i], "is not supported");
    TRY(check_identity(s, item));
    TRY(check_unique(s, item));
    return check_kinds(s, item);
}

/* --- types ------------------------------------------------------------------------------------ */

static unsigned type_bit(const json_value *name, bool *integer)
{
    static const struct {
        const char *name;
        unsigned bit;
    } rows[] = { { "null", TYPE_NULL },     { "boolean", TYPE_BOOL }, { "number", TYPE_NUMBER },
                 { "string", TYPE_STRING }, { "array", TYPE_ARRAY },  { "object", TYPE_OBJECT } };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (is_text(name, rows[i].name))
            return rows[i].bit;
    *integer = is_text(name, "integer");
    return *integer ? TYPE_NUMBER : 0;
}

int schema_types(struct schema *s, const struct schema_item *item, unsigned *types, bool *integer)
{
    const json_value *type = json_get(item->v, "type");
    const bool many = json_kind_of(type) == JSON_ARRAY;
    bool whole = false, any_number = false;
    unsigned mask = 0;
    if (!json_has(item->v, "type"))
        return 0;
    for (size_t i = 0; i < (many ? json_len(type) : 1); i++) {
        bool is_whole = false;
        unsigned bit = type_bit(many ? json_at(type, i) : type, &is_whole);
        if (bit == 0)
            return schema_wrong(s, E_FORMAT, item->path, "type", "is not a type of JSON");
        whole |= is_whole;
        any_number |= bit == TYPE_NUMBER && !is_whole;
        mask |= bit;
    }
    *types &= mask;
    *integer |= whole && !any_number;
    return 0;
}

/* --- references ------------------------------------------------------------------------------- */

static int not_found(struct schema *s, const struct schema_item *item)
{
    return schema_wrong(s, E_FORMAT, item->path, "$ref", "leads nowhere");
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One step of a JSON pointer (RFC 6901) in a URI fragment: up to the next /, decoded. */
static bool read_step(const char **at, const char *end, char *out, size_t room)
{
    size_t n = 0;
    const char *p = *at;
    for (; p < end && *p != '/'; p++) {
        char c = *p;
        if (c == '%' && end - p > 2 && hex_value(p[1]) >= 0 && hex_value(p[2]) >= 0) {
            c = (char)(hex_value(p[1]) << 4 | hex_value(p[2]));
            p += 2;
        }
        if (c == '~' && end - p > 1 && (p[1] == '0' || p[1] == '1'))
            c = *++p == '0' ? '~' : '/';
        if (n + 1 >= room)
            return false;
        out[n++] = c;
    }
    out[n] = '\0';
    *at = p;
    return true;
}

static const json_value *step_into(const json_value *v, const char *step)
{
    if (json_kind_of(v) == JSON_OBJECT)
        return json_get(v, step);
    size_t i = 0;
    for (const char *p = step; *p != '\0'; p++) {
        if (*p < '0' || *p > '9' || i > UINT32_MAX)
            return NULL;
        i = i * 10 + (size_t)(*p - '0');
    }
    return json_kind_of(v) == JSON_ARRAY && *step != '\0' && i < json_len(v) ? json_at(v, i) : NULL;
}

static int follow_pointer(struct schema *s, const struct schema_item *item, const char *at,
                          const char *end, struct schema_item *out)
{
    char step[256];
    *out = (struct schema_item){ s->root, "" };
    while (at < end) {
        at++; /* the slash */
        if (!read_step(&at, end, step, sizeof step))
            return not_found(s, item);
        out->v = step_into(out->v, step);
        out->path = schema_path(s, out->path, step);
        if (out->v == NULL)
            return not_found(s, item);
        if (json_kind_of(json_get(out->v, "$id")) == JSON_STRING)
            return schema_wrong(s, E_UNSUPPORTED, item->path, "$ref",
                                "leads through a schema with an $id of its own");
    }
    return 0;
}

struct anchor {
    struct schema *s;
    const char *name, *path;
    size_t len;
    struct schema_item found;
};

/* Looks for the $anchor in all of the document. Depth is bounded by that of JSON. */
static int find_anchor(void *ctx, const char *key, json_value *v)
{
    struct anchor *a = ctx;
    const char *outer = a->path;
    size_t len = 0;
    const char *word = json_has(v, "$anchor") ? "$anchor" : "$dynamicAnchor";
    const char *name = json_text(json_get(v, word), &len);
    if (strcmp(key, "enum") == 0 || strcmp(key, "const") == 0)
        return 0;
    a->path = schema_path(a->s, outer, key);
    if (name != NULL && len == a->len && memcmp(name, a->name, len) == 0 && a->found.v == NULL)
        a->found = (struct schema_item){ v, a->path };
    if (json_kind_of(v) == JSON_OBJECT)
        (void)json_each(v, find_anchor, a);
    for (size_t i = 0; json_kind_of(v) == JSON_ARRAY && i < json_len(v); i++)
        (void)find_anchor(a, "", json_at(v, i));
    a->path = outer;
    return 0;
}

int schema_resolve(struct schema *s, const struct schema_item *item, struct schema_item *out)
{
    size_t len = 0, id_len = 0;
    const char *ref = json_text(json_get(item->v, "$ref"), &len);
    const char *id = json_text(json_get(s->root, "$id"), &id_len);
    ASSERT(ref != NULL);
    if (id != NULL && len >= id_len && memcmp(ref, id, id_len) == 0 &&
        (len == id_len || ref[id_len] == '#')) {
        ref += id_len;
        len -= id_len;
    }
    if (len == 0 || (len == 1 && ref[0] == '#')) {
        *out = (struct schema_item){ s->root, "" };
        return 0;
    }
    if (ref[0] != '#')
        return schema_wrong(s, E_UNSUPPORTED, item->path, "$ref",
                            "may only point into the same schema (#...)");
    if (ref[1] == '/')
        return follow_pointer(s, item, ref + 1, ref + len, out);
    struct anchor a = { .s = s, .name = ref + 1, .len = len - 1, .path = "" };
    (void)json_each(s->root, find_anchor, &a);
    *out = a.found;
    return a.found.v != NULL ? 0 : not_found(s, item);
}

/* --- branches that exclude each other --------------------------------------------------------- */

static bool each_member_equal(const json_value *a, const json_value *b);

bool schema_equal(const json_value *a, const json_value *b)
{
    enum json_kind x = json_kind_of(a), y = json_kind_of(b);
    bool numbers = (x == JSON_INT || x == JSON_DOUBLE) && (y == JSON_INT || y == JSON_DOUBLE);
    if (numbers)
        return x == JSON_INT && y == JSON_INT ? json_as_int(a) == json_as_int(b)
                                              : json_as_double(a) == json_as_double(b);
    if (x != y)
        return false;
    if (x == JSON_BOOL)
        return json_as_bool(a) == json_as_bool(b);
    if (x == JSON_STRING) {
        size_t n = 0, m = 0;
        const char *s = json_text(a, &n), *t = json_text(b, &m);
        return n == m && memcmp(s, t, n) == 0;
    }
    if (x == JSON_OBJECT)
        return each_member_equal(a, b);
    bool equal = json_len(a) == json_len(b);
    for (size_t i = 0; x == JSON_ARRAY && equal && i < json_len(a); i++)
        equal = schema_equal(json_at(a, i), json_at(b, i));
    return equal;
}

static int compare_member(void *ctx, const char *key, json_value *member)
{
    const json_value *other = ctx;
    return json_has(other, key) && schema_equal(member, json_get(other, key)) ? 0 : -1;
}

static bool each_member_equal(const json_value *a, const json_value *b)
{
    return json_len(a) == json_len(b) && json_each(a, compare_member, (void *)(uintptr_t)b) == 0;
}

/* The i-th value a schema spells out, of *n; n is 0 if it spells out none. */
static const json_value *spelt(const json_value *v, size_t i, size_t *n)
{
    *n = 1;
    if (json_has(v, "const"))
        return json_get(v, "const");
    *n = json_len(json_get(v, "enum"));
    return json_at(json_get(v, "enum"), i);
}

static bool values_disjoint(const json_value *a, const json_value *b)
{
    size_t n = 0, m = 0;
    (void)spelt(a, 0, &n);
    (void)spelt(b, 0, &m);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < m; k++)
            if (schema_equal(spelt(a, i, &n), spelt(b, k, &m)))
                return false;
    return n > 0 && m > 0;
}

static bool is_required(const json_value *v, const char *key)
{
    const json_value *list = json_get(v, "required");
    for (size_t i = 0; i < json_len(list); i++)
        if (is_text(json_at(list, i), key))
            return true;
    return false;
}

/* Both are objects for sure, and a member that both must have spells out different values. */
struct tags {
    struct schema *s;
    const json_value *a, *b;
};

static const json_value *through_refs(struct schema *s, const json_value *v)
{
    struct err ignored;
    struct err *kept = s->err;
    s->err = &ignored;
    for (int i = 0; i < 8 && json_kind_of(json_get(v, "$ref")) == JSON_STRING; i++) {
        struct schema_item item = { v, "" }, to;
        if (schema_resolve(s, &item, &to) < 0)
            break;
        v = to.v;
    }
    s->err = kept;
    return v;
}

static int find_tag(void *ctx, const char *key, json_value *member)
{
    const struct tags *t = ctx;
    const json_value *other = json_get(json_get(t->b, "properties"), key);
    if (other == NULL || !is_required(t->a, key) || !is_required(t->b, key))
        return 0;
    return values_disjoint(through_refs(t->s, member), through_refs(t->s, other)) ? -1 : 0;
}

static unsigned types_of(struct schema *s, const json_value *v, bool *integer)
{
    struct err ignored;
    struct err *kept = s->err;
    struct schema_item item = { v, "" };
    unsigned types = TYPE_ANY;
    s->err = &ignored;
    if (schema_types(s, &item, &types, integer) < 0)
        types = TYPE_ANY;
    s->err = kept;
    if (!s->open && !json_has(v, "type") && schema_implied_types(v) != 0)
        types = schema_implied_types(v);
    return types;
}

bool schema_disjoint(struct schema *s, const struct schema_item *a, const struct schema_item *b)
{
    const json_value *x = through_refs(s, a->v), *y = through_refs(s, b->v);
    bool ignored = false;
    if (json_kind_of(x) != JSON_OBJECT || json_kind_of(y) != JSON_OBJECT)
        return (json_kind_of(x) == JSON_BOOL && !json_as_bool(x)) ||
               (json_kind_of(y) == JSON_BOOL && !json_as_bool(y));
    unsigned p = types_of(s, x, &ignored), q = types_of(s, y, &ignored);
    if ((p & q) == 0 || values_disjoint(x, y))
        return true;
    struct tags t = { .s = s, .a = x, .b = y };
    return (p & q) == TYPE_OBJECT && json_each(json_get(x, "properties"), find_tag, &t) < 0;
}
