/* Values of templates. Dicts are arrays searched by hash: tool schemas have tens of members, and
 * order must be kept; a search burns fuel by the length, so a huge dict cannot be used to stall. */
#include "text/template_value.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "base/utf8.h"

/* --- bounds and errors ------------------------------------------------------------------------ */

int tpl_fail(struct tpl *r, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_set_field(r->err, E_FORMAT, "chat template", "chat template line %u: %s", r->line,
                         text);
}

int tpl_limit(struct tpl *r, const char *what)
{
    return err_set_field(r->err, E_LIMIT, "chat template", "chat template line %u: %s", r->line,
                         what);
}

int tpl_say_nomem(struct tpl *r)
{
    /* The arena does not say why it refused; it rounds up to 16 bytes. */
    if (r->wanted + 16 > r->arena.max_bytes - r->arena.used_bytes)
        return tpl_limit(r, "the template's values need more memory than allowed");
    return err_set(r->err, E_NOMEM, "out of memory for the chat template");
}

int tpl_burn(struct tpl *r, uint64_t steps)
{
    if (steps > r->fuel) {
        r->fuel = 0;
        return tpl_limit(r, "the template takes more steps than allowed");
    }
    r->fuel -= steps;
    return 0;
}

int tpl_enter(struct tpl *r)
{
    if (r->level >= r->level_max)
        return tpl_limit(r, "blocks, calls or values are nested deeper than allowed");
    r->level++;
    return 0;
}

void *tpl_alloc(struct tpl *r, size_t n, size_t size)
{
    if (num_mul(&r->wanted, n, size) < 0 || r->wanted > SIZE_MAX / 2)
        r->wanted = SIZE_MAX / 2;
    return arena_alloc(&r->arena, n, size);
}

void *tpl_bytes(struct tpl *r, size_t bytes)
{
    r->wanted = bytes;
    return arena_bytes(&r->arena, bytes);
}

/* --- making values ---------------------------------------------------------------------------- */

struct tpl_val tpl_undef_f(struct tpl *r, const char *fmt, ...)
{
    char text[192];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return tpl_undef(arena_strndup(&r->arena, text, strlen(text)));
}

int tpl_str_new(struct tpl *r, const char *data, size_t len, uint8_t origin, struct tpl_val *out)
{
    struct tpl_str *s = tpl_alloc(r, 1, sizeof *s);
    if (s == NULL || len > INT32_MAX)
        return tpl_nomem(r);
    *s = (struct tpl_str){ .data = data != NULL ? data : "", .len = (uint32_t)len,
                           .n_chars = UINT32_MAX,
                           .uniform = origin };
    *out = (struct tpl_val){ .kind = TPL_STR, .s = s };
    return 0;
}

int tpl_str_lit(struct tpl *r, const char *text, struct tpl_val *out)
{
    return tpl_str_new(r, text, strlen(text), 0, out);
}

int tpl_str_cut(struct tpl *r, const struct tpl_str *s, size_t from, size_t to, struct tpl_val *out)
{
    ASSERT(from <= to && to <= s->len);
    TRY(tpl_str_new(r, s->data + from, to - from, s->uniform, out));
    if (s->origin != NULL)
        out->s->origin = s->origin + from;
    out->s->safe = s->safe;
    return 0;
}

int tpl_seq_wrap(struct tpl *r, enum tpl_kind kind, struct tpl_val *items, size_t n,
                 struct tpl_val *out)
{
    struct tpl_seq *q = tpl_alloc(r, 1, sizeof *q);
    if (q == NULL || n > INT32_MAX)
        return tpl_nomem(r);
    *q = (struct tpl_seq){ .items = items, .n = (uint32_t)n };
    *out = (struct tpl_val){ .kind = kind, .seq = q };
    return 0;
}

int tpl_seq_new(struct tpl *r, enum tpl_kind kind, size_t n, struct tpl_val *out)
{
    TRY(tpl_burn(r, n / 8 + 1));
    struct tpl_val *items = tpl_alloc(r, n, sizeof *items);
    if (items == NULL)
        return tpl_nomem(r);
    return tpl_seq_wrap(r, kind, items, n, out);
}

int tpl_grow_put(struct tpl *r, struct tpl_grow *g, struct tpl_val v)
{
    if (g->n == g->cap) {
        uint32_t cap = g->cap < 8 ? 8 : g->cap * 2;
        struct tpl_val *items = tpl_alloc(r, cap, sizeof *items);
        if (items == NULL)
            return tpl_nomem(r);
        if (g->n > 0)
            memcpy(items, g->items, g->n * sizeof *items);
        g->items = items;
        g->cap = cap;
    }
    g->items[g->n++] = v;
    return tpl_burn(r, 1);
}

int tpl_dict_new(struct tpl *r, enum tpl_kind kind, struct tpl_val *out)
{
    struct tpl_dict *d = tpl_alloc(r, 1, sizeof *d);
    if (d == NULL)
        return tpl_nomem(r);
    *out = (struct tpl_val){ .kind = kind, .d = d };
    return 0;
}

static uint32_t hash_bytes(const void *data, size_t len)
{
    const uint8_t *p = data; /* FNV-1a */
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ p[i]) * 16777619u;
    return h;
}

/* Equal values hash equally: 1, 1.0 and True are one key in Python. */
static int hash_val(struct tpl *r, struct tpl_val v, uint32_t *out)
{
    uint32_t h = (uint32_t)v.kind;
    if (v.kind == TPL_STR) {
        h = hash_bytes(v.s->data, v.s->len);
    } else if (tpl_is_number(v)) {
        double f = tpl_as_float(v);
        h = hash_bytes(&f, sizeof f);
    } else if (v.kind == TPL_TUPLE) {
        TRY(tpl_enter(r));
        for (uint32_t i = 0; i < v.seq->n; i++) {
            uint32_t part;
            TRY(hash_val(r, v.seq->items[i], &part));
            h = h * 31 + part;
        }
        tpl_leave(r);
    } else if (v.kind == TPL_LIST || v.kind == TPL_DICT || v.kind == TPL_VIEW) {
        return tpl_fail(r, "unhashable type: '%s'", tpl_type_name(v));
    }
    *out = h;
    return 0;
}

static int find_entry(struct tpl *r, const struct tpl_dict *d, struct tpl_val key, uint32_t hash,
                      struct tpl_entry **found)
{
    *found = NULL;
    TRY(tpl_burn(r, d->n / 16));
    for (uint32_t i = 0; i < d->n; i++) {
        if (d->e[i].hash != hash)
            continue;
        bool same;
        TRY(tpl_eq(r, d->e[i].key, key, &same));
        if (same) {
            *found = &d->e[i];
            return 0;
        }
    }
    return 0;
}

int tpl_dict_find(struct tpl *r, const struct tpl_dict *d, struct tpl_val key,
                  struct tpl_val **found)
{
    uint32_t hash;
    TRY(hash_val(r, key, &hash));
    struct tpl_entry *e;
    TRY(find_entry(r, d, key, hash, &e));
    *found = e != NULL ? &e->val : NULL;
    return 0;
}

struct tpl_val *tpl_dict_get(const struct tpl_dict *d, const char *key, size_t len)
{
    uint32_t hash = hash_bytes(key, len);
    for (uint32_t i = 0; i < d->n; i++) {
        const struct tpl_entry *e = &d->e[i];
        if (e->hash == hash && e->key.kind == TPL_STR && e->key.s->len == len &&
            memcmp(e->key.s->data, key, len) == 0)
            return &d->e[i].val;
    }
    return NULL;
}

int tpl_dict_add(struct tpl *r, struct tpl_dict *d, struct tpl_val key, struct tpl_val val)
{
    uint32_t hash;
    TRY(hash_val(r, key, &hash));
    if (d->n == d->cap) {
        uint32_t cap = d->cap < 8 ? 8 : d->cap * 2;
        struct tpl_entry *bigger = tpl_alloc(r, cap, sizeof *bigger);
        if (bigger == NULL)
            return tpl_nomem(r);
        if (d->n > 0)
            memcpy(bigger, d->e, d->n * sizeof *bigger);
        d->e = bigger;
        d->cap = cap;
    }
    d->e[d->n++] = (struct tpl_entry){ .key = key, .val = val, .hash = hash };
    return tpl_burn(r, 1);
}

int tpl_dict_put(struct tpl *r, struct tpl_dict *d, struct tpl_val key, struct tpl_val val)
{
    struct tpl_val *found;
    TRY(tpl_dict_find(r, d, key, &found));
    if (found == NULL)
        return tpl_dict_add(r, d, key, val);
    *found = val;
    return 0;
}

/* --- asking values ---------------------------------------------------------------------------- */

const char *tpl_type_name(struct tpl_val v)
{
    static const char *const names[] = {
        [TPL_MISSING] = "missing", [TPL_UNDEF] = "Undefined", [TPL_NONE] = "NoneType",
        [TPL_BOOL] = "bool",       [TPL_INT] = "int",         [TPL_FLOAT] = "float",
        [TPL_STR] = "str",         [TPL_LIST] = "list",       [TPL_TUPLE] = "tuple",
        [TPL_RANGE] = "range",     [TPL_VIEW] = "dict view",  [TPL_ITER] = "generator",
        [TPL_DICT] = "dict",       [TPL_NS] = "Namespace",    [TPL_FUNC] = "function",
        [TPL_METHOD] = "method",   [TPL_MACRO] = "Macro",     [TPL_LOOP] = "LoopContext",
        [TPL_CYCLER] = "Cycler",   [TPL_JOINER] = "Joiner",
    };
    return names[v.kind];
}

bool tpl_is_number(struct tpl_val v)
{
    return v.kind == TPL_BOOL || v.kind == TPL_INT || v.kind == TPL_FLOAT;
}

double tpl_as_float(struct tpl_val v)
{
    if (v.kind == TPL_FLOAT)
        return v.f + 0.0; /* -0.0 hashes as 0.0 */
    return (double)tpl_as_int(v);
}

bool tpl_is_seq(struct tpl_val v) { return v.kind >= TPL_LIST && v.kind <= TPL_ITER; }

bool tpl_truth(struct tpl_val v)
{
    switch (v.kind) {
    case TPL_MISSING:
    case TPL_UNDEF:
    case TPL_NONE: return false;
    case TPL_BOOL: return v.b;
    case TPL_INT: return v.i != 0;
    case TPL_FLOAT: return v.f != 0.0;
    case TPL_STR: return v.s->len != 0;
    case TPL_LIST:
    case TPL_TUPLE:
    case TPL_RANGE:
    case TPL_VIEW: return v.seq->n != 0;
    case TPL_DICT: return v.d->n != 0;
    default: return true; /* generators, namespaces, functions */
    }
}

static int eq_items(struct tpl *r, const struct tpl_seq *a, const struct tpl_seq *b, bool *out)
{
    *out = a->n == b->n;
    TRY(tpl_burn(r, a->n / 4));
    for (uint32_t i = 0; *out && i < a->n; i++)
        TRY(tpl_eq(r, a->items[i], b->items[i], out));
    return 0;
}

static int eq_dicts(struct tpl *r, const struct tpl_dict *a, const struct tpl_dict *b, bool *out)
{
    *out = a->n == b->n;
    for (uint32_t i = 0; *out && i < a->n; i++) {
        struct tpl_entry *e;
        TRY(find_entry(r, b, a->e[i].key, a->e[i].hash, &e));
        *out = e != NULL;
        if (e != NULL)
            TRY(tpl_eq(r, a->e[i].val, e->val, out));
    }
    return 0;
}

static int eq_deep(struct tpl *r, struct tpl_val a, struct tpl_val b, bool *out)
{
    TRY(tpl_enter(r));
    if (a.kind == TPL_DICT)
        TRY(eq_dicts(r, a.d, b.d, out));
    else
        TRY(eq_items(r, a.seq, b.seq, out));
    tpl_leave(r);
    return 0;
}

int tpl_eq(struct tpl *r, struct tpl_val a, struct tpl_val b, bool *out)
{
    TRY(tpl_burn(r, 1));
    if (tpl_is_number(a) && tpl_is_number(b)) {
        *out = tpl_is_int(a) && tpl_is_int(b) ? tpl_as_int(a) == tpl_as_int(b)
                                              : tpl_as_float(a) == tpl_as_float(b);
        return 0;
    }
    *out = false;
    if (a.kind != b.kind)
        return 0;
    switch (a.kind) {
    case TPL_UNDEF:
    case TPL_NONE: *out = true; return 0;
    case TPL_STR:
        TRY(tpl_burn(r, a.s->len == b.s->len ? a.s->len / 64 : 0));
        *out = a.s->len == b.s->len && memcmp(a.s->data, b.s->data, a.s->len) == 0;
        return 0;
    case TPL_LIST:
    case TPL_TUPLE:
    case TPL_RANGE:
    case TPL_DICT: return eq_deep(r, a, b, out);
    default: *out = a.seq == b.seq; return 0; /* the same object */
    }
}

static int less_items(struct tpl *r, const struct tpl_seq *a, const struct tpl_seq *b, bool *out)
{
    TRY(tpl_enter(r));
    uint32_t n = a->n < b->n ? a->n : b->n, i = 0;
    bool same = true;
    for (; i < n && same; i++)
        TRY(tpl_eq(r, a->items[i], b->items[i], &same));
    if (same)
        *out = a->n < b->n;
    else
        TRY(tpl_less(r, a->items[i - 1], b->items[i - 1], out));
    tpl_leave(r);
    return 0;
}

int tpl_less(struct tpl *r, struct tpl_val a, struct tpl_val b, bool *out)
{
    TRY(tpl_burn(r, 1));
    TRY(tpl_need_defined(r, a));
    TRY(tpl_need_defined(r, b));
    if (tpl_is_int(a) && tpl_is_int(b)) {
        *out = tpl_as_int(a) < tpl_as_int(b);
        return 0;
    }
    if (tpl_is_number(a) && tpl_is_number(b)) {
        *out = tpl_as_float(a) < tpl_as_float(b);
        return 0;
    }
    if (a.kind == TPL_STR && b.kind == TPL_STR) {
        TRY(tpl_burn(r, num_min(a.s->len, b.s->len) / 64));
        *out = tpl_str_cmp(a.s, b.s) < 0;
        return 0;
    }
    if (a.kind == b.kind && (a.kind == TPL_LIST || a.kind == TPL_TUPLE))
        return less_items(r, a.seq, b.seq, out);
    return tpl_fail(r, "'<' not supported between instances of '%s' and '%s'", tpl_type_name(a),
                    tpl_type_name(b));
}

int tpl_contains(struct tpl *r, struct tpl_val container, struct tpl_val item, bool *out)
{
    *out = false;
    if (container.kind == TPL_STR) {
        if (item.kind != TPL_STR)
            return tpl_fail(r, "'in <string>' requires string as left operand, not %s",
                            tpl_type_name(item));
        TRY(tpl_burn(r, container.s->len / 64));
        *out = item.s->len == 0 || memmem(container.s->data, container.s->len, item.s->data,
                                          item.s->len) != NULL;
        return 0;
    }
    if (container.kind == TPL_DICT) {
        struct tpl_val *found;
        TRY(tpl_dict_find(r, container.d, item, &found));
        *out = found != NULL;
        return 0;
    }
    if (!tpl_iterable(container))
        return tpl_fail(r, "argument of type '%s' is not iterable", tpl_type_name(container));
    struct tpl_val *items;
    uint32_t n;
    TRY(tpl_items(r, container, &items, &n));
    for (uint32_t i = 0; i < n && !*out; i++)
        TRY(tpl_eq(r, items[i], item, out));
    return 0;
}

int tpl_len(struct tpl *r, struct tpl_val v, int64_t *out)
{
    switch (v.kind) {
    case TPL_UNDEF: *out = 0; return 0;
    case TPL_STR:
        TRY(tpl_burn(r, v.s->n_chars == UINT32_MAX ? v.s->len / 64 : 0));
        *out = tpl_str_chars(v.s);
        return 0;
    case TPL_LIST:
    case TPL_TUPLE:
    case TPL_RANGE:
    case TPL_VIEW: *out = v.seq->n; return 0;
    case TPL_DICT: *out = v.d->n; return 0;
    default: return tpl_fail(r, "object of type '%s' has no len()", tpl_type_name(v));
    }
}

int tpl_need_defined(struct tpl *r, struct tpl_val v)
{
    if (v.kind != TPL_UNDEF)
        return 0;
    return tpl_fail(r, "%s", v.why != NULL ? v.why : "a value is undefined");
}

int tpl_want_int(struct tpl *r, struct tpl_val v, const char *what, int64_t otherwise, int64_t *out)
{
    if (v.kind != TPL_MISSING && !tpl_is_int(v)) {
        TRY(tpl_need_defined(r, v));
        return tpl_fail(r, "%s must be an integer, not %s", what, tpl_type_name(v));
    }
    *out = v.kind == TPL_MISSING ? otherwise : tpl_as_int(v);
    return 0;
}

int tpl_want_str(struct tpl *r, struct tpl_val v, const char *what, struct tpl_str **out)
{
    TRY(tpl_need_defined(r, v));
    if (v.kind != TPL_STR)
        return tpl_fail(r, "%s must be a string, not %s", what, tpl_type_name(v));
    *out = v.s;
    return 0;
}

bool tpl_iterable(struct tpl_val v)
{
    return v.kind == TPL_UNDEF || v.kind == TPL_STR || v.kind == TPL_DICT || tpl_is_seq(v);
}

static int chars_of(struct tpl *r, struct tpl_str *s, struct tpl_val **items, uint32_t *n)
{
    uint32_t count = tpl_str_chars(s);
    struct tpl_val list;
    TRY(tpl_burn(r, count));
    TRY(tpl_seq_new(r, TPL_LIST, count, &list));
    size_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t cp;
        size_t len = utf8_next(s->data + at, s->len - at, &cp);
        TRY(tpl_str_cut(r, s, at, at + len, &list.seq->items[i]));
        list.seq->items[i].s->safe = false; /* characters of marked text are plain, as in Python */
        at += len;
    }
    *items = list.seq->items;
    *n = count;
    return 0;
}

int tpl_items(struct tpl *r, struct tpl_val v, struct tpl_val **items, uint32_t *n)
{
    *items = NULL;
    *n = 0;
    if (v.kind == TPL_UNDEF)
        return 0;
    if (v.kind == TPL_STR)
        return chars_of(r, v.s, items, n);
    if (v.kind == TPL_DICT) {
        struct tpl_val keys;
        TRY(tpl_seq_new(r, TPL_LIST, v.d->n, &keys));
        for (uint32_t i = 0; i < v.d->n; i++)
            keys.seq->items[i] = v.d->e[i].key;
        *items = keys.seq->items;
        *n = v.d->n;
        return 0;
    }
    if (!tpl_is_seq(v))
        return tpl_fail(r, "'%s' object is not iterable", tpl_type_name(v));
    if (v.seq->n == v.seq->pos)
        return 0;
    *items = v.seq->items + v.seq->pos;
    *n = v.seq->n - v.seq->pos;
    if (v.kind == TPL_ITER)
        v.seq->pos = v.seq->n;
    return 0;
}
