/* Filters and tests by name, and the filters that take such names: map, select, reject and
 * theirs. */
#include <string.h>

#include "text/template_eval.h"
#include "text/template_filter.h"

#define FILTER(name) \
    static int name(struct tpl *r, struct tpl_val *v, const struct tpl_args *raw, \
                    struct tpl_val *out)

/* --- by name ---------------------------------------------------------------------------------- */

static const struct tpl_fn *find_in(const struct tpl_fn *table, const char *name, size_t len)
{
    for (; table->name != NULL; table++)
        if (strlen(table->name) == len && memcmp(table->name, name, len) == 0)
            return table;
    return NULL;
}

const struct tpl_fn *tpl_filter_find(const char *name, size_t len)
{
    const struct tpl_fn *const tables[] = { TPL_FILTERS_SEQ, TPL_FILTERS_TEXT, TPL_FILTERS_NUM,
                                            TPL_FILTERS_MAP };
    const struct tpl_fn *fn = NULL;
    for (size_t i = 0; i < COUNT_OF(tables) && fn == NULL; i++)
        fn = find_in(tables[i], name, len);
    return fn;
}

const struct tpl_fn *tpl_test_find(const char *name, size_t len)
{
    return find_in(TPL_TESTS, name, len);
}

int tpl_filter_apply(struct tpl *r, struct tpl_val name, struct tpl_val v,
                     const struct tpl_args *args,
                     struct tpl_val *out)
{
    struct tpl_str *s;
    TRY(tpl_want_str(r, name, "the name of a filter", &s));
    const struct tpl_fn *fn = tpl_filter_find(s->data, s->len);
    if (fn == NULL)
        return tpl_fail(r, "no filter named '%.*s'", (int)(s->len < 80 ? s->len : 80), s->data);
    TRY(tpl_enter(r));
    TRY(tpl_invoke(r, fn, v, args, out));
    tpl_leave(r);
    return 0;
}

int tpl_test_apply(struct tpl *r, struct tpl_val name, struct tpl_val v,
                   const struct tpl_args *args,
                   bool *out)
{
    struct tpl_str *s;
    struct tpl_val result;
    TRY(tpl_want_str(r, name, "the name of a test", &s));
    const struct tpl_fn *fn = tpl_test_find(s->data, s->len);
    if (fn == NULL)
        return tpl_fail(r, "no test named '%.*s'", (int)(s->len < 80 ? s->len : 80), s->data);
    TRY(tpl_invoke(r, fn, v, args, &result));
    *out = tpl_truth(result);
    return 0;
}

/* --- map, select and their kin ---------------------------------------------------------------- */

static const struct tpl_val *kw_get(const struct tpl_args *raw, const char *name)
{
    for (uint32_t i = 0; i < raw->n_kw; i++)
        if (tpl_str_is(raw->kw[i].name, name))
            return &raw->kw[i].val;
    return NULL;
}

/* The arguments but for the first n without names. */
static struct tpl_args without(const struct tpl_args *raw, uint32_t n)
{
    struct tpl_args rest = *raw;
    rest.pos = rest.n_pos > n ? raw->pos + n : NULL;
    rest.n_pos -= n;
    return rest;
}

FILTER(f_map)
{
    struct tpl_val *items, list;
    uint32_t n = 0;
    const struct tpl_val *attribute = kw_get(raw, "attribute"), *otherwise = kw_get(raw, "default");
    bool by_path = raw->n_pos == 0 && attribute != NULL;
    if (!tpl_truth(v[0]))
        return tpl_seq_new(r, TPL_ITER, 0, out);
    if (raw->n_pos == 0 && !by_path)
        return tpl_fail(r, "map requires a filter or an attribute");
    if (by_path && raw->n_kw > 1u + (otherwise != NULL))
        return tpl_fail(r, "map has arguments it does not know");
    TRY(tpl_items(r, v[0], &items, &n));
    TRY(tpl_seq_new(r, TPL_ITER, n, &list));
    struct tpl_args rest = by_path ? (struct tpl_args){ 0 } : without(raw, 1);
    for (uint32_t i = 0; i < n; i++) {
        if (by_path)
            TRY(tpl_follow(r, items[i], *attribute, otherwise != NULL ? *otherwise : tpl_missing(),
                       &list.seq->items[i]));
        else
            TRY(tpl_filter_apply(r, raw->pos[0], items[i], &rest, &list.seq->items[i]));
    }
    *out = list;
    return 0;
}

static int select_items(struct tpl *r, struct tpl_val from, const struct tpl_args *raw, bool attr,
                        bool want, struct tpl_val *out)
{
    struct tpl_val *items, tested;
    struct tpl_grow kept = { 0 };
    uint32_t n, off = attr;
    if (!tpl_truth(from))
        return tpl_seq_new(r, TPL_ITER, 0, out);
    if (attr && raw->n_pos == 0)
        return tpl_fail(r, "selectattr and rejectattr need the name of an attribute");
    TRY(tpl_items(r, from, &items, &n));
    struct tpl_args rest = raw->n_pos > off ? without(raw, off + 1) : (struct tpl_args){ 0 };
    for (uint32_t i = 0; i < n; i++) {
        bool holds;
        tested = items[i];
        if (attr)
            TRY(tpl_follow(r, items[i], raw->pos[0], tpl_missing(), &tested));
        if (raw->n_pos > off)
            TRY(tpl_test_apply(r, raw->pos[off], tested, &rest, &holds));
        else
            holds = tpl_truth(tested);
        if (holds == want)
            TRY(tpl_grow_put(r, &kept, items[i]));
        TRY(tpl_burn(r, 1));
    }
    return tpl_seq_wrap(r, TPL_ITER, kept.items, kept.n, out);
}

FILTER(f_select) { return select_items(r, v[0], raw, false, true, out); }
FILTER(f_reject) { return select_items(r, v[0], raw, false, false, out); }
FILTER(f_selectattr) { return select_items(r, v[0], raw, true, true, out); }
FILTER(f_rejectattr) { return select_items(r, v[0], raw, true, false, out); }

const struct tpl_fn TPL_FILTERS_MAP[] = {
    { "map", f_map, NULL, 0 },
    { "reject", f_reject, NULL, 0 },
    { "rejectattr", f_rejectattr, NULL, 0 },
    { "select", f_select, NULL, 0 },
    { "selectattr", f_selectattr, NULL, 0 },
    { NULL, NULL, NULL, 0 },
};
