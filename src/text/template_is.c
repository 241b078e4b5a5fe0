/* Tests: what stands behind `is`, after jinja2's tests.py. */
#include <math.h>
#include <string.h>

#include "text/template_eval.h"
#include "text/template_filter.h"
#include "text/template_lex.h"
#include "text/template_print.h"

#define TEST(name) \
    static int name(struct tpl *r, struct tpl_val *v, const struct tpl_args *raw, \
                    struct tpl_val *out)

/* Tests that only look at the value. */
#define KIND_TEST(name, cond)  \
    TEST(name)                 \
    {                          \
        (void)r;               \
        (void)raw;             \
        *out = tpl_bool(cond); \
        return 0;              \
    }

KIND_TEST(t_defined, v[0].kind != TPL_UNDEF)
KIND_TEST(t_undefined, v[0].kind == TPL_UNDEF)
KIND_TEST(t_none, v[0].kind == TPL_NONE)
KIND_TEST(t_boolean, v[0].kind == TPL_BOOL)
KIND_TEST(t_true, v[0].kind == TPL_BOOL && v[0].b)
KIND_TEST(t_false, v[0].kind == TPL_BOOL && !v[0].b)
KIND_TEST(t_integer, v[0].kind == TPL_INT)
KIND_TEST(t_float, v[0].kind == TPL_FLOAT)
KIND_TEST(t_number, tpl_is_number(v[0]))
KIND_TEST(t_string, v[0].kind == TPL_STR)
KIND_TEST(t_mapping, v[0].kind == TPL_DICT)
KIND_TEST(t_iterable, tpl_iterable(v[0]) || v[0].kind == TPL_LOOP)
/* len() and [] exist; an undefined value answers both. */
KIND_TEST(t_sequence, v[0].kind == TPL_UNDEF || v[0].kind == TPL_STR || v[0].kind == TPL_DICT ||
                          v[0].kind == TPL_LIST || v[0].kind == TPL_TUPLE || v[0].kind == TPL_RANGE)
KIND_TEST(t_callable, v[0].kind == TPL_UNDEF || v[0].kind == TPL_FUNC || v[0].kind == TPL_METHOD ||
                          v[0].kind == TPL_MACRO || v[0].kind == TPL_JOINER ||
                              v[0].kind == TPL_LOOP)
KIND_TEST(t_escaped, v[0].kind == TPL_STR && v[0].s->safe)
KIND_TEST(t_filter, v[0].kind == TPL_STR && tpl_filter_find(v[0].s->data, v[0].s->len) != NULL)
KIND_TEST(t_test, v[0].kind == TPL_STR && tpl_test_find(v[0].s->data, v[0].s->len) != NULL)

static int modulo_is(struct tpl *r, struct tpl_val a, struct tpl_val b, int64_t what,
                     struct tpl_val *out)
{
    struct tpl_val rest;
    bool same;
    TRY(tpl_binary(r, '%', a, b, &rest));
    TRY(tpl_eq(r, rest, tpl_int(what), &same));
    *out = tpl_bool(same);
    return 0;
}

TEST(t_odd)
{
    (void)raw;
    return modulo_is(r, v[0], tpl_int(2), 1, out);
}

TEST(t_even)
{
    (void)raw;
    return modulo_is(r, v[0], tpl_int(2), 0, out);
}

TEST(t_divisibleby)
{
    (void)raw;
    return modulo_is(r, v[0], v[1], 0, out);
}

static int case_is(struct tpl *r, struct tpl_val v, bool upper, struct tpl_val *out)
{
    struct tpl_val text;
    TRY(tpl_to_str(r, v, &text));
    TRY(tpl_burn(r, text.s->len / 16));
    *out = tpl_bool(tpl_str_has_case(text.s, upper));
    return 0;
}

TEST(t_lower)
{
    (void)raw;
    return case_is(r, v[0], false, out);
}

TEST(t_upper)
{
    (void)raw;
    return case_is(r, v[0], true, out);
}

static bool same_object(struct tpl_val a, struct tpl_val b)
{
    if (a.kind != b.kind)
        return false;
    switch (a.kind) {
    case TPL_NONE: return true;
    case TPL_BOOL: return a.b == b.b;
    case TPL_INT: return a.i == b.i; /* CPython shares small integers and equal constants */
    case TPL_FLOAT: return false;
    case TPL_STR: return a.s == b.s || (a.s->data == b.s->data && a.s->len == b.s->len);
    default: return a.seq == b.seq;
    }
}

KIND_TEST(t_sameas, same_object(v[0], v[1]))

#define COMPARE_TEST(name, op)                       \
    TEST(name)                                       \
    {                                                \
        (void)raw;                                   \
        bool holds;                                  \
        TRY(tpl_compare(r, op, v[0], v[1], &holds)); \
        *out = tpl_bool(holds);                      \
        return 0;                                    \
    }

COMPARE_TEST(t_eq, TPL_EQ)
COMPARE_TEST(t_ne, TPL_NE)
COMPARE_TEST(t_lt, TPL_LT)
COMPARE_TEST(t_le, TPL_LE)
COMPARE_TEST(t_gt, TPL_GT)
COMPARE_TEST(t_ge, TPL_GE)
COMPARE_TEST(t_in, TPL_IN)

const struct tpl_fn TPL_TESTS[] = {
    { "odd", t_odd, "", 0 },
    { "even", t_even, "", 0 },
    { "divisibleby", t_divisibleby, "num", 1 },
    { "defined", t_defined, "", 0 },
    { "undefined", t_undefined, "", 0 },
    { "filter", t_filter, "", 0 },
    { "test", t_test, "", 0 },
    { "none", t_none, "", 0 },
    { "boolean", t_boolean, "", 0 },
    { "false", t_false, "", 0 },
    { "true", t_true, "", 0 },
    { "integer", t_integer, "", 0 },
    { "float", t_float, "", 0 },
    { "lower", t_lower, "", 0 },
    { "upper", t_upper, "", 0 },
    { "string", t_string, "", 0 },
    { "mapping", t_mapping, "", 0 },
    { "number", t_number, "", 0 },
    { "sequence", t_sequence, "", 0 },
    { "iterable", t_iterable, "", 0 },
    { "callable", t_callable, "", 0 },
    { "sameas", t_sameas, "other", 1 },
    { "escaped", t_escaped, "", 0 },
    { "in", t_in, "seq", 1 },
    { "==", t_eq, "/", 1 },
    { "eq", t_eq, "/", 1 },
    { "equalto", t_eq, "/", 1 },
    { "!=", t_ne, "/", 1 },
    { "ne", t_ne, "/", 1 },
    { ">", t_gt, "/", 1 },
    { "gt", t_gt, "/", 1 },
    { "greaterthan", t_gt, "/", 1 },
    { ">=", t_ge, "/", 1 },
    { "ge", t_ge, "/", 1 },
    { "<", t_lt, "/", 1 },
    { "lt", t_lt, "/", 1 },
    { "lessthan", t_lt, "/", 1 },
    { "<=", t_le, "/", 1 },
    { "le", t_le, "/", 1 },
    { NULL, NULL, NULL, 0 },
};
