/* Filters over sequences, after jinja2's filters.py. Filters that are lazy there (map, select,
 * ...) give a TPL_ITER here: computed at once, but walked once and without a length, so that
 * templates meet the same errors. */
#include "text/template_filter.h"

#include <string.h>

#include "text/template_eval.h"
#include "text/template_print.h"

#define FILTER(name) \
    static int name(struct tpl *r, struct tpl_val *v, const struct tpl_args *raw, \
                    struct tpl_val *out)

/* --- attributes by path ----------------------------------------------------------------------- */

static bool all_digits(const struct tpl_str *s, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        if (s->data[i] < '0' || s->data[i] > '9')
            return false;
    return to > from && to - from < 18;
}

int tpl_follow(struct tpl *r, struct tpl_val item, struct tpl_val path, struct tpl_val otherwise,
               struct tpl_val *out)
{
    *out = item;
    if (path.kind == TPL_MISSING || path.kind == TPL_NONE)
        return 0;
    if (path.kind != TPL_STR)
        return tpl_getitem(r, item, path, out);
    const struct tpl_str *s = path.s;
    for (size_t from = 0; from <= s->len;) {
        const char *dot = memchr(s->data + from, '.', s->len - from);
        size_t to = dot != NULL ? (size_t)(dot - s->data) : s->len;
        struct tpl_val key;
        if (all_digits(s, from, to)) {
            int64_t x = 0;
            for (size_t i = from; i < to; i++)
                x = x * 10 + (s->data[i] - '0');
            key = tpl_int(x);
        } else {
            TRY(tpl_str_cut(r, s, from, to, &key));
        }
        TRY(tpl_getitem(r, *out, key, out));
        if (out->kind == TPL_UNDEF && otherwise.kind != TPL_MISSING && otherwise.kind != TPL_NONE)
            *out = otherwise;
        from = to + 1;
    }
    return 0;
}

static int fold_case(struct tpl *r, struct tpl_val case_sensitive, struct tpl_val *v)
{
    if (v->kind == TPL_STR && !tpl_truth(case_sensitive))
        return tpl_str_case(r, v->s, TPL_LOWER, v);
    return 0;
}

/* Keys of all items, by attribute path, case folded unless case_sensitive. */
static int keys_of(struct tpl *r, const struct tpl_seq *list, struct tpl_val path,
                   struct tpl_val case_sensitive, struct tpl_val **out)
{
    struct tpl_val keys;
    TRY(tpl_seq_new(r, TPL_LIST, list->n, &keys));
    for (uint32_t i = 0; i < list->n; i++) {
        TRY(tpl_follow(r, list->items[i], path, tpl_missing(), &keys.seq->items[i]));
        TRY(fold_case(r, case_sensitive, &keys.seq->items[i]));
    }
    *out = keys.seq->items;
    return 0;
}

/* A sequence of our own, to sort or to turn round. */
static int copy_items(struct tpl *r, struct tpl_val v, enum tpl_kind kind, struct tpl_val *out)
{
    struct tpl_val *items, list;
    uint32_t n;
    TRY(tpl_items(r, v, &items, &n));
    TRY(tpl_seq_new(r, kind, n, &list));
    if (n > 0)
        memcpy(list.seq->items, items, n * sizeof *items);
    *out = list;
    return 0;
}

/* --- order ------------------------------------------------------------------------------------ */

/* [item.a, item.b] for the paths "a,b" of sort's attribute. */
static int multi_key(struct tpl *r, struct tpl_val item, const struct tpl_str *paths,
                     struct tpl_val sensitive, struct tpl_val *out)
{
    struct tpl_grow parts = { 0 };
    for (size_t from = 0; from <= paths->len;) {
        const char *comma = memchr(paths->data + from, ',', paths->len - from);
        size_t to = comma != NULL ? (size_t)(comma - paths->data) : paths->len;
        struct tpl_val part;
        TRY(tpl_str_cut(r, paths, from, to, &part));
        TRY(tpl_follow(r, item, part, tpl_missing(), &part));
        TRY(fold_case(r, sensitive, &part));
        TRY(tpl_grow_put(r, &parts, part));
        from = to + 1;
    }
    return tpl_seq_wrap(r, TPL_LIST, parts.items, parts.n, out);
}

FILTER(f_sort)
{
    (void)raw;
    struct tpl_val list, *keys;
    TRY(copy_items(r, v[0], TPL_LIST, &list));
    if (v[3].kind == TPL_STR && memchr(v[3].s->data, ',', v[3].s->len) != NULL) {
        struct tpl_val all;
        TRY(tpl_seq_new(r, TPL_LIST, list.seq->n, &all));
        for (uint32_t i = 0; i < list.seq->n; i++)
            TRY(multi_key(r, list.seq->items[i], v[3].s, v[2], &all.seq->items[i]));
        keys = all.seq->items;
    } else {
        TRY(keys_of(r, list.seq, v[3], v[2], &keys));
    }
    TRY(tpl_sort(r, keys, list.seq->items, list.seq->n, tpl_truth(v[1])));
    *out = list;
    return 0;
}

static int pair(struct tpl *r, struct tpl_val a, struct tpl_val b, struct tpl_val *out)
{
    TRY(tpl_seq_new(r, TPL_TUPLE, 2, out));
    out->seq->items[0] = a;
    out->seq->items[1] = b;
    return 0;
}

static int pairs_of(struct tpl *r, const struct tpl_dict *d, enum tpl_kind kind,
                    struct tpl_val *out)
{
    struct tpl_val list;
    TRY(tpl_seq_new(r, kind, d->n, &list));
    for (uint32_t i = 0; i < d->n; i++)
        TRY(pair(r, d->e[i].key, d->e[i].val, &list.seq->items[i]));
    *out = list;
    return 0;
}

FILTER(f_dictsort)
{
    (void)raw;
    bool by_value = v[2].kind == TPL_STR && tpl_str_is(v[2].s, "value");
    if (v[0].kind != TPL_DICT)
        return tpl_fail(r, "dictsort needs a dict, not %s", tpl_type_name(v[0]));
    if (v[2].kind != TPL_MISSING && !by_value &&
        !(v[2].kind == TPL_STR && tpl_str_is(v[2].s, "key")))
        return tpl_fail(r, "dictsort can sort by \"key\" or \"value\" only");
    struct tpl_val list, *keys;
    TRY(pairs_of(r, v[0].d, TPL_LIST, &list));
    TRY(keys_of(r, list.seq, tpl_int(by_value), v[1], &keys));
    TRY(tpl_sort(r, keys, list.seq->items, list.seq->n, tpl_truth(v[3])));
    *out = list;
    return 0;
}

FILTER(f_items)
{
    (void)raw;
    if (v[0].kind == TPL_UNDEF)
        return tpl_seq_new(r, TPL_ITER, 0, out);
    if (v[0].kind != TPL_DICT)
        return tpl_fail(r, "can only get item pairs from a mapping, not %s", tpl_type_name(v[0]));
    return pairs_of(r, v[0].d, TPL_ITER, out);
}

static int extreme(struct tpl *r, struct tpl_val *v, bool max, struct tpl_val *out)
{
    struct tpl_val *keys;
    struct tpl_seq list = { 0 };
    uint32_t best = 0;
    TRY(tpl_items(r, v[0], &list.items, &list.n));
    if (list.n == 0) {
        *out = tpl_undef("no aggregated item, the sequence was empty");
        return 0;
    }
    TRY(keys_of(r, &list, v[2], v[1], &keys));
    for (uint32_t i = 1; i < list.n; i++) {
        bool better;
        TRY(max ? tpl_less(r, keys[best], keys[i], &better)
            : tpl_less(r, keys[i], keys[best], &better));
        best = better ? i : best;
    }
    *out = list.items[best];
    return 0;
}

FILTER(f_min)
{
    (void)raw;
    return extreme(r, v, false, out);
}

FILTER(f_max)
{
    (void)raw;
    return extreme(r, v, true, out);
}

FILTER(f_unique)
{
    (void)raw;
    struct tpl_val *keys, seen, *found;
    struct tpl_grow kept = { 0 };
    struct tpl_seq list = { 0 };
    TRY(tpl_items(r, v[0], &list.items, &list.n));
    TRY(keys_of(r, &list, v[2], v[1], &keys));
    TRY(tpl_dict_new(r, TPL_DICT, &seen));
    for (uint32_t i = 0; i < list.n; i++) {
        TRY(tpl_dict_find(r, seen.d, keys[i], &found));
        if (found != NULL)
            continue;
        TRY(tpl_dict_add(r, seen.d, keys[i], tpl_none()));
        TRY(tpl_grow_put(r, &kept, list.items[i]));
    }
    return tpl_seq_wrap(r, TPL_ITER, kept.items, kept.n, out);
}

static int add_group(struct tpl *r, struct tpl_grow *groups, struct tpl_val key,
                     struct tpl_val *items,
                     uint32_t n)
{
    struct tpl_val list, group;
    TRY(tpl_seq_wrap(r, TPL_LIST, items, n, &list));
    TRY(pair(r, key, list, &group));
    group.seq->view = "group";
    return tpl_grow_put(r, groups, group);
}

FILTER(f_groupby)
{
    (void)raw;
    struct tpl_val list, keys, key;
    struct tpl_grow groups = { 0 };
    TRY(copy_items(r, v[0], TPL_LIST, &list));
    uint32_t n = list.seq->n;
    TRY(tpl_seq_new(r, TPL_LIST, n, &keys));
    for (uint32_t i = 0; i < n; i++) {
        TRY(tpl_follow(r, list.seq->items[i], v[1], v[2], &keys.seq->items[i]));
        TRY(fold_case(r, v[3], &keys.seq->items[i]));
    }
    TRY(tpl_sort(r, keys.seq->items, list.seq->items, n, false));
    for (uint32_t from = 0; from < n;) {
        uint32_t to = from + 1;
        bool same = true;
        for (; to < n; to++) {
            TRY(tpl_eq(r, keys.seq->items[from], keys.seq->items[to], &same));
            if (!same)
                break;
        }
        /* as written, not case folded */
        TRY(tpl_follow(r, list.seq->items[from], v[1], v[2], &key));
        TRY(add_group(r, &groups, key, list.seq->items + from, to - from));
        from = to;
    }
    return tpl_seq_wrap(r, TPL_LIST, groups.items, groups.n, out);
}

/* --- ends and shapes -------------------------------------------------------------------------- */

FILTER(f_first)
{
    (void)raw;
    struct tpl_val *items;
    uint32_t n;
    if (v[0].kind == TPL_ITER && v[0].seq->pos < v[0].seq->n) {
        *out = v[0].seq->items[v[0].seq->pos++];
        return 0;
    }
    if (v[0].kind == TPL_STR && v[0].s->len > 0)
        return tpl_getitem(r, v[0], tpl_int(0), out);
    TRY(tpl_items(r, v[0], &items, &n));
    *out = n > 0 ? items[0] : tpl_undef("no first item, the sequence was empty");
    return 0;
}

FILTER(f_last)
{
    (void)raw;
    struct tpl_val *items;
    uint32_t n;
    if (v[0].kind == TPL_ITER)
        return tpl_fail(r, "'generator' object is not reversible");
    if (v[0].kind == TPL_STR && v[0].s->len > 0)
        return tpl_getitem(r, v[0], tpl_int(-1), out);
    TRY(tpl_items(r, v[0], &items, &n));
    *out = n > 0 ? items[n - 1] : tpl_undef("no last item, the sequence was empty");
    return 0;
}

FILTER(f_length)
{
    (void)raw;
    int64_t n;
    TRY(tpl_len(r, v[0], &n));
    *out = tpl_int(n);
    return 0;
}

FILTER(f_list)
{
    (void)raw;
    struct tpl_val *items;
    uint32_t n;
    TRY(tpl_items(r, v[0], &items, &n));
    return tpl_seq_wrap(r, TPL_LIST, items, n, out);
}

FILTER(f_reverse)
{
    (void)raw;
    if (v[0].kind == TPL_STR)
        return tpl_str_reverse(r, v[0].s, out);
    struct tpl_val list;
    TRY(copy_items(r, v[0], v[0].kind == TPL_ITER ? TPL_LIST : TPL_ITER, &list));
    for (uint32_t i = 0, j = list.seq->n; i + 1 < j; i++) {
        j--;
        struct tpl_val swap = list.seq->items[i];
        list.seq->items[i] = list.seq->items[j];
        list.seq->items[j] = swap;
    }
    *out = list;
    return 0;
}

FILTER(f_join)
{
    (void)raw;
    struct tpl_val *items, sep, list;
    uint32_t n;
    TRY(tpl_items(r, v[0], &items, &n));
    if (v[2].kind != TPL_MISSING && v[2].kind != TPL_NONE) {
        TRY(tpl_seq_new(r, TPL_LIST, n, &list));
        for (uint32_t i = 0; i < n; i++)
            TRY(tpl_follow(r, items[i], v[2], tpl_missing(), &list.seq->items[i]));
        items = list.seq->items;
    }
    if (v[1].kind == TPL_MISSING)
        TRY(tpl_str_lit(r, "", &sep));
    else
        TRY(tpl_to_str(r, v[1], &sep));
    return tpl_join(r, sep.s, items, n, false, out);
}

FILTER(f_sum)
{
    (void)raw;
    struct tpl_val *items, sum = v[2].kind == TPL_MISSING ? tpl_int(0) : v[2], item;
    uint32_t n;
    if (sum.kind == TPL_STR)
        return tpl_fail(r, "sum() cannot sum strings: use join");
    TRY(tpl_items(r, v[0], &items, &n));
    for (uint32_t i = 0; i < n; i++) {
        TRY(tpl_follow(r, items[i], v[1], tpl_missing(), &item));
        TRY(tpl_binary(r, '+', sum, item, &sum));
    }
    *out = sum;
    return 0;
}

/* items[0..n) and then `extra` copies of fill, as one list in rows. */
static int add_row(struct tpl *r, struct tpl_grow *rows, const struct tpl_seq *part, uint32_t extra,
                   struct tpl_val fill)
{
    struct tpl_val row;
    TRY(tpl_seq_new(r, TPL_LIST, (size_t)part->n + extra, &row));
    for (uint32_t i = 0; i < part->n + extra; i++)
        row.seq->items[i] = i < part->n ? part->items[i] : fill;
    return tpl_grow_put(r, rows, row);
}

#define ROWS_MAX 1000000

FILTER(f_batch)
{
    (void)raw;
    struct tpl_seq list = { 0 };
    struct tpl_grow rows = { 0 };
    int64_t width;
    TRY(tpl_want_int(r, v[1], "batch's linecount", 1, &width));
    TRY(tpl_items(r, v[0], &list.items, &list.n));
    if (width < 1 || width > ROWS_MAX)
        return tpl_fail(r, "batch needs a linecount from 1 to %d", ROWS_MAX);
    bool fill = v[2].kind != TPL_MISSING && v[2].kind != TPL_NONE;
    for (uint32_t from = 0; from < list.n; from += (uint32_t)width) {
        uint32_t n = list.n - from < width ? list.n - from : (uint32_t)width;
        struct tpl_seq part = { .items = list.items + from, .n = n };
        TRY(add_row(r, &rows, &part, fill ? (uint32_t)width - n : 0, v[2]));
    }
    return tpl_seq_wrap(r, TPL_ITER, rows.items, rows.n, out);
}

FILTER(f_slice)
{
    (void)raw;
    struct tpl_seq list = { 0 };
    struct tpl_grow rows = { 0 };
    uint32_t at = 0;
    int64_t slices;
    TRY(tpl_want_int(r, v[1], "slice's number", 1, &slices));
    TRY(tpl_items(r, v[0], &list.items, &list.n));
    if (slices < 1 || slices > ROWS_MAX)
        return tpl_fail(r, "slice needs a number of slices from 1 to %d", ROWS_MAX);
    bool fill = v[2].kind != TPL_MISSING && v[2].kind != TPL_NONE;
    for (uint32_t i = 0; i < slices; i++) {
        bool longer = i < list.n % (uint32_t)slices;
        struct tpl_seq part = { .n = list.n / (uint32_t)slices + longer };
        part.items = part.n > 0 ? list.items + at : NULL;
        TRY(add_row(r, &rows, &part, fill && !longer ? 1 : 0, v[2]));
        at += part.n;
    }
    return tpl_seq_wrap(r, TPL_ITER, rows.items, rows.n, out);
}

/* --- one value -------------------------------------------------------------------------------- */

FILTER(f_attr)
{
    (void)raw;
    struct tpl_str *name;
    TRY(tpl_want_str(r, v[1], "attr's name", &name));
    bool known;
    if (v[0].kind == TPL_DICT && tpl_method_find(v[0], name, &known) == NULL) {
        *out = tpl_undef("'dict object' has no such attribute"); /* members are none */
        return 0;
    }
    return tpl_getattr(r, v[0], name, out);
}

FILTER(f_default)
{
    (void)raw;
    bool use = v[0].kind == TPL_UNDEF || (tpl_truth(v[2]) && !tpl_truth(v[0]));
    if (use && v[1].kind == TPL_MISSING)
        return tpl_str_lit(r, "", out);
    *out = use ? v[1] : v[0];
    return 0;
}

const struct tpl_fn TPL_FILTERS_SEQ[] = {
    { "attr", f_attr, "name", 1 },
    { "batch", f_batch, "linecount fill_with", 1 },
    { "count", f_length, "", 0 },
    { "d", f_default, "default_value boolean", 0 },
    { "default", f_default, "default_value boolean", 0 },
    { "dictsort", f_dictsort, "case_sensitive by reverse", 0 },
    { "first", f_first, "", 0 },
    { "groupby", f_groupby, "attribute default case_sensitive", 1 },
    { "items", f_items, "", 0 },
    { "join", f_join, "d attribute", 0 },
    { "last", f_last, "", 0 },
    { "length", f_length, "", 0 },
    { "list", f_list, "", 0 },
    { "max", f_max, "case_sensitive attribute", 0 },
    { "min", f_min, "case_sensitive attribute", 0 },
    { "reverse", f_reverse, "", 0 },
    { "slice", f_slice, "slices fill_with", 1 },
    { "sort", f_sort, "reverse case_sensitive attribute", 0 },
    { "sum", f_sum, "attribute start", 0 },
    { "unique", f_unique, "case_sensitive attribute", 0 },
    { NULL, NULL, NULL, 0 },
};
