#include "text/grammar_schema.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INDENT_MAX 20
#define CHOICES_AT_ONCE 1024 /* branches of one anyOf */

/* --- words about a place ---------------------------------------------------------------------- */

static const char *keep(struct schema *s, const char *text)
{
    const char *copy = arena_strndup(s->arena, text, strlen(text));
    return copy != NULL ? copy : "";
}

const char *schema_path(struct schema *s, const char *path, const char *key)
{
    char text[SCHEMA_PATH_MAX];
    snprintf(text, sizeof text, "%s%s%.48s", path, *path != '\0' ? "." : "", key);
    return keep(s, text);
}

const char *schema_path_at(struct schema *s, const char *path, size_t i)
{
    char text[SCHEMA_PATH_MAX];
    snprintf(text, sizeof text, "%s[%zu]", path, i);
    return keep(s, text);
}

int schema_wrong(struct schema *s, int code, const char *path, const char *key, const char *what)
{
    char at[SCHEMA_PATH_MAX + 32];
    snprintf(at, sizeof at, "%s%s%s", path, *path != '\0' && *key != '\0' ? "." : "", key);
    return err_set_field(s->err, code, at, "schema: %s %s", *at != '\0' ? at : "it", what);
}

int schema_count(struct schema *s, const struct schema_item *item, const char *key, uint32_t *out)
{
    const json_value *v = json_get(item->v, key);
    double x = json_as_double(v);
    if (!json_has(item->v, key))
        return 0;
    if ((json_kind_of(v) != JSON_INT && json_kind_of(v) != JSON_DOUBLE) || x < 0 || x != floor(x))
        return schema_wrong(s, E_FORMAT, item->path, key, "must be a whole number from 0");
    *out = x < GRAM_NONE ? (uint32_t)x : GRAM_NONE;
    return 0;
}

int conj_counts(struct schema *s, const struct conj *c, const char *least, const char *most,
                uint32_t range[2])
{
    for (uint32_t i = 0; i < c->n; i++) {
        uint32_t low = 0, high = GRAM_NONE;
        TRY(schema_count(s, &c->items[i], least, &low));
        TRY(schema_count(s, &c->items[i], most, &high));
        range[0] = low > range[0] ? low : range[0];
        range[1] = high < range[1] ? high : range[1];
    }
    return 0;
}

/* --- conjunctions ----------------------------------------------------------------------------- */

static int no_memory(struct schema *s)
{
    return err_set(s->err, E_LIMIT, "schema: it needs too much memory to compile");
}

struct conj *conj_new(struct schema *s, uint32_t depth)
{
    struct conj *c = arena_alloc(s->arena, 1, sizeof *c);
    if (c != NULL) {
        c->depth = depth;
        c->rule = GRAM_NONE;
    }
    return c;
}

int conj_add(struct schema *s, struct conj *c, const json_value *v, const char *path)
{
    if (json_kind_of(v) == JSON_BOOL) {
        c->never |= !json_as_bool(v);
        return 0;
    }
    if (json_kind_of(v) != JSON_OBJECT)
        return schema_wrong(s, E_FORMAT, path, "", "must be an object, true or false");
    for (uint32_t i = 0; i < c->n; i++)
        if (c->items[i].v == v)
            return 0;
    if (c->n == SCHEMA_ITEMS_MAX)
        return schema_wrong(s, E_LIMIT, path, "", "is one of more than 64 schemas for one value");
    c->items[c->n++] = (struct schema_item){ v, path };
    return 0;
}

/* Adds what the members refer to and all of their allOf. */
static int conj_close(struct schema *s, struct conj *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        const struct schema_item item = c->items[i];
        const json_value *all = json_get(item.v, "allOf");
        TRY(schema_check_words(s, &item));
        if (json_has(item.v, "$ref")) {
            struct schema_item to;
            TRY(schema_resolve(s, &item, &to));
            TRY(conj_add(s, c, to.v, to.path));
        }
        const char *path = all != NULL ? schema_path(s, item.path, "allOf") : NULL;
        for (size_t k = 0; k < json_len(all); k++)
            TRY(conj_add(s, c, json_at(all, k), schema_path_at(s, path, k)));
    }
    return 0;
}

static int by_place(const void *a, const void *b)
{
    const uintptr_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* What a conjunction is found again by: its members and choices as numbers, in order of place. */
static uintptr_t *conj_key(struct schema *s, const struct conj *c, size_t *bytes)
{
    size_t n = (size_t)c->n + c->n_resolved + 1;
    uintptr_t *key = arena_alloc(s->arena, n, sizeof *key);
    if (key == NULL)
        return NULL;
    for (uint32_t i = 0; i < c->n; i++)
        key[i] = (uintptr_t)c->items[i].v;
    for (uint32_t i = 0; i < c->n_resolved; i++)
        key[c->n + 1 + i] = (uintptr_t)c->resolved[i];
    qsort(key, c->n, sizeof *key, by_place);
    qsort(key + c->n + 1, c->n_resolved, sizeof *key, by_place);
    *bytes = n * sizeof *key;
    return key;
}

static int put_todo(struct schema *s, struct conj *c)
{
    if (s->n_todo == s->cap_todo) {
        uint32_t cap = s->cap_todo == 0 ? 64 : 2 * s->cap_todo;
        struct conj **more = mem_realloc(s->todo, cap, sizeof *more);
        if (more == NULL)
            return no_memory(s);
        s->todo = more;
        s->cap_todo = cap;
    }
    s->todo[s->n_todo++] = c;
    return 0;
}

int conj_rule(struct schema *s, struct conj *c, uint32_t *rule)
{
    size_t bytes = 0;
    if (c == NULL)
        return no_memory(s);
    TRY(conj_close(s, c));
    *rule = GRAM_NONE;
    if (c->never)
        return 0;
    if (c->n == 0) {
        *rule = schema_value(s);
        return s->g->status;
    }
    uintptr_t *key = conj_key(s, c, &bytes);
    if (key == NULL)
        return no_memory(s);
    if (map_get(&s->rules, key, bytes, rule))
        return 0;
    if (c->depth > 4096)
        return schema_wrong(s, E_LIMIT, c->items[0].path, "", "is nested too deeply");
    c->rule = *rule = gram_rule(s->g);
    if (*rule == GRAM_NONE)
        return s->g->status;
    if (map_put(&s->rules, key, bytes, *rule, NULL) < 0)
        return no_memory(s);
    return put_todo(s, c);
}

/* --- branches --------------------------------------------------------------------------------- */

static bool is_resolved(const struct conj *c, const json_value *list)
{
    for (uint32_t i = 0; i < c->n_resolved; i++)
        if (c->resolved[i] == list)
            return true;
    return false;
}

/* The first anyOf or oneOf of which no branch was chosen. */
static const json_value *next_choice(const struct conj *c, const char **word, uint32_t *at)
{
    static const char *const words[] = { "anyOf", "oneOf" };
    for (uint32_t i = 0; i < c->n; i++)
        for (size_t w = 0; w < COUNT_OF(words); w++) {
            const json_value *list = json_get(c->items[i].v, words[w]);
            if (list != NULL && !is_resolved(c, list)) {
                *word = words[w];
                *at = i;
                return list;
            }
        }
    return NULL;
}

static int check_one_of(struct schema *s, const json_value *list, const char *path)
{
    for (size_t i = 0; i < json_len(list); i++)
        for (size_t k = i + 1; k < json_len(list); k++) {
            struct schema_item a = { json_at(list, i), path }, b = { json_at(list, k), path };
            if (!gram_work(s->g, 64))
                return s->g->status;
            if (!schema_disjoint(s, &a, &b))
                return schema_wrong(s, E_UNSUPPORTED, path, "",
                                    "has branches that are not seen to exclude each other (by "
                                    "type, const, enum, or a required member with different "
                                    "values); write anyOf");
        }
    return 0;
}

static int emit_branches(struct schema *s, const struct conj *c, uint32_t *out)
{
    const char *word = NULL;
    uint32_t at = 0, all = GRAM_NONE;
    const json_value *list = next_choice(c, &word, &at);
    const char *path = schema_path(s, c->items[at].path, word);
    if (json_len(list) == 0 || json_len(list) > CHOICES_AT_ONCE)
        return schema_wrong(s, E_FORMAT, path, "", "must hold 1 to 1024 schemas");
    if (strcmp(word, "oneOf") == 0 && !s->one_of_as_any)
        TRY(check_one_of(s, list, path));
    for (size_t i = json_len(list); i-- > 0;) {
        struct conj *branch = conj_new(s, c->depth);
        uint32_t rule = GRAM_NONE;
        if (branch == NULL || c->n_resolved == SCHEMA_ITEMS_MAX)
            return no_memory(s);
        *branch = *c;
        branch->resolved[branch->n_resolved++] = list;
        TRY(conj_add(s, branch, json_at(list, i), schema_path_at(s, path, i)));
        TRY(conj_rule(s, branch, &rule));
        if (rule != GRAM_NONE)
            all = gram_split(s->g, gram_call(s->g, rule, GRAM_END), all);
    }
    *out = all;
    return 0;
}

/* --- bodies ----------------------------------------------------------------------------------- */

static bool spells_out(const struct conj *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (json_has(c->items[i].v, "const") || json_has(c->items[i].v, "enum"))
            return true;
    return false;
}

static int find_types(struct schema *s, const struct conj *c, unsigned *types, bool *integer)
{
    unsigned implied = 0;
    bool told = spells_out(c);
    *types = TYPE_ANY;
    for (uint32_t i = 0; i < c->n; i++) {
        TRY(schema_types(s, &c->items[i], types, integer));
        told |= json_has(c->items[i].v, "type");
        implied |= schema_implied_types(c->items[i].v);
    }
    if (!s->open && !told && implied != 0)
        *types = implied;
    return 0;
}

static int emit_body(struct schema *s, const struct conj *c, uint32_t *out)
{
    struct gram *g = s->g;
    unsigned types = 0;
    bool integer = false;
    uint32_t all = GRAM_NONE, part = GRAM_NONE;
    const char *word = NULL;
    if (next_choice(c, &word, &part) != NULL)
        return emit_branches(s, c, out);
    TRY(find_types(s, c, &types, &integer));
    if (spells_out(c))
        return schema_emit_values(s, c, types, integer, out);
    if ((types & TYPE_NULL) != 0)
        all = gram_bytes(g, "null", 4, GRAM_END);
    if ((types & TYPE_BOOL) != 0)
        all = gram_split(g, gram_bytes(g, "true", 4, GRAM_END),
                         gram_split(g, gram_bytes(g, "false", 5, GRAM_END), all));
    static int (*const emits[])(struct schema *, const struct conj *, uint32_t *) = {
        schema_emit_string, schema_emit_array, schema_emit_object
    };
    for (uint32_t i = 0; i < COUNT_OF(emits); i++)
        if ((types & (unsigned)TYPE_STRING << i) != 0) {
            TRY(emits[i](s, c, &part));
            all = gram_split(g, part, all);
        }
    if ((types & TYPE_NUMBER) != 0) {
        TRY(schema_emit_number(s, c, integer, &part));
        all = gram_split(g, part, all);
    }
    *out = all;
    return g->status;
}

/* --- shared pieces ---------------------------------------------------------------------------- */

static uint32_t emit_blank(void *ctx, uint32_t next)
{
    struct gram *g = ctx;
    return gram_split(g, gram_byte(g, ' ', next), gram_byte(g, '\t', next));
}

/* Nothing, a blank, or a new line and up to 20 blanks: what serialisers write, and no more, so that
 * a model cannot go on with white space for ever. */
uint32_t schema_ws(struct schema *s, uint32_t next)
{
    struct gram *g = s->g;
    struct gram_repeat indent = { .emit = emit_blank, .ctx = g, .max = INDENT_MAX };
    if (s->compact || next == GRAM_NONE)
        return next;
    if (s->ws == GRAM_NONE) {
        s->ws = gram_rule(g);
        uint32_t line = gram_byte(g, '\n', gram_repeat(g, &indent, GRAM_END));
        gram_rule_body(g, s->ws, gram_split(g, gram_byte(g, ' ', GRAM_END), line));
    }
    return gram_split(g, next, gram_call(g, s->ws, next));
}

static uint32_t hex_digit(struct gram *g, uint32_t next)
{
    return gram_split(g, gram_range(g, '0', '9', next),
                      gram_split(g, gram_range(g, 'a', 'f', next), gram_range(g, 'A', 'F', next)));
}

/* \uXXXX: any character but half a surrogate pair, or a whole pair. */
static uint32_t unicode_escape(struct gram *g, uint32_t next)
{
    uint32_t two = hex_digit(g, hex_digit(g, next)), three = hex_digit(g, two);
    uint32_t tail = gram_split(g, gram_range(g, 'c', 'f', two), gram_range(g, 'C', 'F', two));
    uint32_t low = gram_split(g, gram_byte(g, 'd', tail), gram_byte(g, 'D', tail));
    low = gram_bytes(g, "\\u", 2, low);
    low = hex_digit(g, hex_digit(g, low));
    uint32_t high = gram_split(g, gram_range(g, '8', '9', low),
                               gram_split(g, gram_range(g, 'a', 'b', low),
                                          gram_range(g, 'A', 'B', low)));
    uint32_t d = gram_split(g, gram_range(g, '0', '7', two), high);
    uint32_t other = gram_split(g, gram_range(g, '0', '9', three),
                                gram_split(g, gram_range(g, 'a', 'c', three),
                                           gram_range(g, 'A', 'C', three)));
    other = gram_split(g, gram_range(g, 'e', 'f', three),
                       gram_split(g, gram_range(g, 'E', 'F', three), other));
    uint32_t any = gram_split(g, gram_byte(g, 'd', d), gram_split(g, gram_byte(g, 'D', d), other));
    return gram_byte(g, 'u', any);
}

/* A character of a string, in any of the ways it can be written. */
uint32_t schema_char(struct gram *g, uint32_t next)
{
    static struct gram_span plain[] = { { 0x20, 0x21 }, { 0x23, 0x5b }, { 0x5d, GRAM_CHAR_MAX } };
    struct gram_set set = { .spans = plain, .n = COUNT_OF(plain) };
    uint32_t escape = unicode_escape(g, next);
    for (const char *c = "\"\\/bfnrt"; *c != '\0'; c++)
        escape = gram_split(g, gram_byte(g, *c, next), escape);
    return gram_split(g, gram_class(g, &set, GRAM_RAW, next), gram_byte(g, '\\', escape));
}

static uint32_t emit_char(void *ctx, uint32_t next) { return schema_char(ctx, next); }

uint32_t schema_string(struct schema *s, uint32_t next)
{
    struct gram *g = s->g;
    struct gram_repeat chars = { .emit = emit_char, .ctx = g, .max = GRAM_NONE };
    if (s->string == GRAM_NONE) {
        s->string = gram_rule(g);
        uint32_t end = gram_byte(g, '"', GRAM_END);
        gram_rule_body(g, s->string, gram_byte(g, '"', gram_repeat(g, &chars, end)));
    }
    return gram_call(g, s->string, next);
}

/* Any value: the conjunction of a schema that says nothing. */
uint32_t schema_value(struct schema *s)
{
    if (s->value == GRAM_NONE) {
        struct conj *c = conj_new(s, 0);
        s->value = gram_rule(s->g);
        if (c == NULL || s->value == GRAM_NONE || put_todo(s, c) < 0)
            return GRAM_NONE;
        c->rule = s->value;
    }
    return s->value;
}

/* --- the whole -------------------------------------------------------------------------------- */

static int depth_of(const json_value *v, int depth);

struct depth {
    int outer, most;
};

static int member_depth(void *ctx, const char *key, json_value *member)
{
    struct depth *d = ctx;
    (void)key;
    int x = depth_of(member, d->outer);
    d->most = x > d->most ? x : d->most;
    return 0;
}

/* Levels of objects and arrays; JSON text is at most JSON_LIMITS deep, so that this may recurse. */
static int depth_of(const json_value *v, int depth)
{
    struct depth d = { .outer = depth + 1, .most = depth };
    if (json_kind_of(v) == JSON_OBJECT)
        (void)json_each(v, member_depth, &d);
    for (size_t i = 0; json_kind_of(v) == JSON_ARRAY && i < json_len(v); i++)
        (void)member_depth(&d, "", json_at(v, i));
    return d.most;
}

static int run(struct schema *s, uint32_t root)
{
    struct conj *c = conj_new(s, 0);
    uint32_t rule = GRAM_NONE;
    if (c == NULL)
        return no_memory(s);
    /* a schema takes two levels a level of what it describes: properties, then the schema */
    if (depth_of(s->root, 0) > 2 * SCHEMA_DEPTH_MAX)
        return err_set(s->err, E_LIMIT, "schema: nested deeper than %d levels", SCHEMA_DEPTH_MAX);
    if (s->src->p->kind == TEXT_GRAMMAR_OBJECT) {
        uint32_t start = GRAM_NONE;
        TRY(schema_emit_object(s, c, &start));
        gram_rule_body(s->g, root, start);
    } else {
        TRY(conj_add(s, c, s->root, ""));
        TRY(conj_rule(s, c, &rule));
        uint32_t start = rule != GRAM_NONE ? gram_call(s->g, rule, GRAM_END) : GRAM_NONE;
        gram_rule_body(s->g, root, start);
    }
    for (uint32_t i = 0; i < s->n_todo && s->g->status == 0; i++) {
        uint32_t start = GRAM_NONE;
        TRY(emit_body(s, s->todo[i], &start));
        gram_rule_body(s->g, s->todo[i]->rule, start);
    }
    return s->g->status;
}

int gram_schema_rule(struct gram_source *src, const json_value *schema, uint32_t rule)
{
    struct schema s = { .src = src, .g = src->g, .arena = src->arena, .err = src->err,
                        .root = schema, .open = src->p->open, .compact = src->p->compact,
                        .one_of_as_any = src->p->one_of_as_any };
    s.ws = s.string = s.chr = s.value = GRAM_NONE;
    if (map_init(&s.rules, 64) < 0)
        return err_set(src->err, E_NOMEM, "out of memory");
    int rc = run(&s, rule);
    map_fini(&s.rules);
    mem_free(s.todo);
    return rc;
}

int gram_from_schema(struct gram_source *src)
{
    uint32_t root = gram_rule(src->g);
    return gram_schema_rule(src, src->p->json, root);
}
