/* Operators with Python's meaning: // and % round down, / is always a float, True is 1. Integers
 * are 64 bits; where Python would grow beyond that, it is an error. */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "text/template_eval.h"
#include "text/template_filter.h"
#include "text/template_lex.h"
#include "text/template_print.h"

#define OP_FLOORDIV TPL_OP2('/', '/')
#define OP_POW TPL_OP2('*', '*')

static int bad_types(struct tpl *r, uint32_t op, struct tpl_val a, struct tpl_val b)
{
    char name[3] = { (char)(op >> 8 != 0 ? op >> 8 : op), (char)(op >> 8 != 0 ? op & 0xff : 0), 0 };
    return tpl_fail(r, "unsupported operand types for %s: '%s' and '%s'", name, tpl_type_name(a),
                    tpl_type_name(b));
}

static int64_t floor_div(int64_t a, int64_t b)
{
    int64_t q = a / b;
    return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

static int int_pow(struct tpl *r, int64_t base, int64_t exp, struct tpl_val *out)
{
    int64_t x = 1;
    bool over = false;
    while (exp > 0 && !over) {
        if ((exp & 1) != 0)
            over = __builtin_mul_overflow(x, base, &x);
        exp >>= 1;
        if (exp > 0 && !over)
            over = __builtin_mul_overflow(base, base, &base);
    }
    if (over)
        return tpl_fail(r, "an integer does not fit 64 bits");
    *out = tpl_int(x);
    return 0;
}

static int int_op(struct tpl *r, uint32_t op, int64_t a, int64_t b, struct tpl_val *out)
{
    int64_t x = 0;
    bool over = false;
    switch (op) {
    case '+': over = __builtin_add_overflow(a, b, &x); break;
    case '-': over = __builtin_sub_overflow(a, b, &x); break;
    case '*': over = __builtin_mul_overflow(a, b, &x); break;
    case OP_FLOORDIV:
    case '%':
        if (b == 0)
            return tpl_fail(r, "integer division or modulo by zero");
        if (b == -1) /* INT64_MIN / -1 traps */
            over = op == OP_FLOORDIV && __builtin_sub_overflow((int64_t)0, a, &x);
        else
            x = op == OP_FLOORDIV ? floor_div(a, b) : a - floor_div(a, b) * b;
        break;
    default: return int_pow(r, a, b, out);
    }
    if (over)
        return tpl_fail(r, "an integer does not fit 64 bits");
    *out = tpl_int(x);
    return 0;
}

/* // and % as CPython's float_divmod: the rest has the sign of b. */
static double float_divmod(double a, double b, bool want_mod)
{
    double mod = fmod(a, b), div = (a - mod) / b;
    if (mod != 0.0 && (b < 0) != (mod < 0)) {
        mod += b;
        div -= 1.0;
    }
    if (want_mod)
        return mod == 0.0 ? copysign(0.0, b) : mod;
    double whole = floor(div);
    return div - whole > 0.5 ? whole + 1.0 : whole;
}

static int float_pow(struct tpl *r, double a, double b, struct tpl_val *out)
{
    if (a == 0.0 && b < 0.0)
        return tpl_fail(r, "0.0 cannot be raised to a negative power");
    double x = pow(a, b);
    if (isfinite(a) && isfinite(b) && !isfinite(x))
        return tpl_fail(r, isnan(x) ? "a power is not a real number" : "a power is too large");
    *out = tpl_float(x);
    return 0;
}

static int float_op(struct tpl *r, uint32_t op, double a, double b, struct tpl_val *out)
{
    if (b == 0.0 && (op == '/' || op == OP_FLOORDIV || op == '%'))
        return tpl_fail(r, "division by zero");
    switch (op) {
    case '+': *out = tpl_float(a + b); return 0;
    case '-': *out = tpl_float(a - b); return 0;
    case '*': *out = tpl_float(a * b); return 0;
    case '/': *out = tpl_float(a / b); return 0;
    case OP_FLOORDIV:
    case '%': *out = tpl_float(float_divmod(a, b, op == '%')); return 0;
    default: return float_pow(r, a, b, out);
    }
}

static int number_op(struct tpl *r, uint32_t op, struct tpl_val a, struct tpl_val b,
                     struct tpl_val *out)
{
    bool ints = tpl_is_int(a) && tpl_is_int(b);
    if (ints && op != '/' && !(op == OP_POW && tpl_as_int(b) < 0))
        return int_op(r, op, tpl_as_int(a), tpl_as_int(b), out);
    return float_op(r, op, tpl_as_float(a), tpl_as_float(b), out);
}

static int repeat_str(struct tpl *r, const struct tpl_str *s, int64_t times, struct tpl_val *out)
{
    size_t total;
    if (times <= 0 || s->len == 0)
        return tpl_str_lit(r, "", out);
    if (num_mul(&total, s->len, (size_t)times) < 0 || total > r->limits.memory_max)
        return tpl_limit(r, "a repeated string is longer than allowed");
    struct tpl_sb b;
    tpl_sb_init(&b, r);
    TRY(tpl_burn(r, (uint64_t)times / 16));
    for (int64_t i = 0; i < times && b.status == 0; i++)
        tpl_sb_str(&b, s);
    return tpl_sb_done(&b, out);
}

static int repeat_seq(struct tpl *r, struct tpl_val v, int64_t times, struct tpl_val *out)
{
    size_t total;
    if (times < 0)
        times = 0;
    if (num_mul(&total, v.seq->n, (size_t)times) < 0 || total > r->limits.memory_max / sizeof v)
        return tpl_limit(r, "a repeated list is longer than allowed");
    struct tpl_val list;
    TRY(tpl_seq_new(r, v.kind, total, &list));
    for (size_t i = 0; i < total; i++)
        list.seq->items[i] = v.seq->items[i % v.seq->n];
    *out = list;
    return 0;
}

static int multiply(struct tpl *r, struct tpl_val a, struct tpl_val b, struct tpl_val *out)
{
    struct tpl_val what = tpl_is_int(a) ? b : a, times = tpl_is_int(a) ? a : b;
    if (!tpl_is_int(times))
        return bad_types(r, '*', a, b);
    if (what.kind == TPL_STR)
        return repeat_str(r, what.s, tpl_as_int(times), out);
    if (what.kind == TPL_LIST || what.kind == TPL_TUPLE)
        return repeat_seq(r, what, tpl_as_int(times), out);
    return bad_types(r, '*', a, b);
}

static void put_joined(struct tpl_sb *b, const struct tpl_str *s, bool safe)
{
    if (safe && !s->safe)
        tpl_put_escaped(b, s);
    else
        tpl_sb_str(b, s);
}

static int add(struct tpl *r, struct tpl_val a, struct tpl_val b, struct tpl_val *out)
{
    if (a.kind == TPL_STR && b.kind == TPL_STR) {
        struct tpl_sb sb;
        tpl_sb_init(&sb, r);
        bool safe = a.s->safe || b.s->safe;
        put_joined(&sb, a.s, safe);
        put_joined(&sb, b.s, safe);
        TRY(tpl_sb_done(&sb, out));
        out->s->safe = safe;
        return 0;
    }
    if (a.kind != b.kind || (a.kind != TPL_LIST && a.kind != TPL_TUPLE)) {
        if (a.kind == TPL_STR || b.kind == TPL_STR)
            return tpl_fail(r, "can only concatenate str to str, not '%s' and '%s'",
                            tpl_type_name(a), tpl_type_name(b));
        return bad_types(r, '+', a, b);
    }
    struct tpl_val list;
    TRY(tpl_seq_new(r, a.kind, (size_t)a.seq->n + b.seq->n, &list));
    if (a.seq->n > 0)
        memcpy(list.seq->items, a.seq->items, a.seq->n * sizeof a);
    if (b.seq->n > 0)
        memcpy(list.seq->items + a.seq->n, b.seq->items, b.seq->n * sizeof a);
    *out = list;
    return 0;
}

int tpl_binary(struct tpl *r, uint32_t op, struct tpl_val a, struct tpl_val b, struct tpl_val *out)
{
    TRY(tpl_need_defined(r, a));
    if (op == '%' && a.kind == TPL_STR)
        return tpl_format_percent(r, a.s, b, out);
    TRY(tpl_need_defined(r, b));
    if (tpl_is_number(a) && tpl_is_number(b))
        return number_op(r, op, a, b, out);
    if (op == '*')
        return multiply(r, a, b, out);
    if (op == '+')
        return add(r, a, b, out);
    return bad_types(r, op, a, b);
}

int tpl_compare(struct tpl *r, enum tpl_compare op, struct tpl_val a, struct tpl_val b, bool *out)
{
    switch (op) {
    case TPL_EQ: return tpl_eq(r, a, b, out);
    case TPL_LT: return tpl_less(r, a, b, out);
    case TPL_GT: return tpl_less(r, b, a, out);
    case TPL_IN: return tpl_contains(r, b, a, out);
    case TPL_NE: TRY(tpl_eq(r, a, b, out)); break;
    case TPL_LE:
    case TPL_GE: TRY(op == TPL_LE ? tpl_less(r, b, a, out) : tpl_less(r, a, b, out)); break;
    case TPL_NOT_IN: TRY(tpl_contains(r, b, a, out)); break;
    }
    *out = !*out;
    return 0;
}

int tpl_negate(struct tpl *r, struct tpl_val v, struct tpl_val *out)
{
    TRY(tpl_need_defined(r, v));
    if (!tpl_is_number(v))
        return tpl_fail(r, "bad operand type for unary -: '%s'", tpl_type_name(v));
    if (v.kind == TPL_FLOAT) {
        *out = tpl_float(-v.f);
        return 0;
    }
    return int_op(r, '-', 0, tpl_as_int(v), out);
}

/* --- slices ----------------------------------------------------------------------------------- */

static int slice_bound(struct tpl *r, struct tpl_val v, int64_t otherwise, int64_t *out)
{
    if (v.kind == TPL_NONE)
        v = tpl_missing();
    return tpl_want_int(r, v, "a slice index", otherwise, out);
}

/* Python's clamping of a bound to 0..n (or -1..n-1 when going backwards). */
static int64_t clamp(int64_t i, int64_t n, bool backwards)
{
    if (i < 0)
        i += n;
    int64_t low = backwards ? -1 : 0, high = backwards ? n - 1 : n;
    return i < low ? low : i > high ? high : i;
}

static int slice_str(struct tpl *r, struct tpl_str *s, int64_t from, int64_t step, uint32_t count,
                     struct tpl_val *out)
{
    if (step == 1)
        return tpl_str_cut(r, s, tpl_str_at(s, (uint32_t)from),
                           tpl_str_at(s, (uint32_t)from + count),
                           out);
    if (step == -1 && count == tpl_str_chars(s))
        return tpl_str_reverse(r, s, out);
    struct tpl_sb b;
    tpl_sb_init(&b, r);
    TRY(tpl_burn(r, tpl_str_chars(s) == s->len ? count : (uint64_t)count * (s->len / 64 + 1)));
    for (uint32_t k = 0; k < count; k++, from += step)
        tpl_sb_cut(&b, s, tpl_str_at(s, (uint32_t)from), tpl_str_at(s, (uint32_t)from + 1));
    return tpl_sb_done(&b, out);
}

/* What v[a:b:c] takes of n items: from, from + step, ...: count of them. */
static int slice_range(struct tpl *r, const struct tpl_val part[3], int64_t n, int64_t *from,
                       int64_t *step, uint32_t *count)
{
    int64_t to;
    TRY(slice_bound(r, part[2], 1, step));
    if (*step == 0)
        return tpl_fail(r, "slice step cannot be zero");
    bool back = *step < 0;
    TRY(slice_bound(r, part[0], back ? INT64_MAX : 0, from));
    TRY(slice_bound(r, part[1], INT64_MAX, &to));
    *from = clamp(*from, n, back);
    to = part[1].kind == TPL_NONE && back ? -1 : clamp(to, n, back);
    int64_t room = back ? *from - to : to - *from;
    uint64_t stride = back ? 0 - (uint64_t)*step : (uint64_t)*step;
    *count = room <= 0 ? 0 : (uint32_t)(((uint64_t)room - 1) / stride + 1);
    if (*count <= 1) /* the step may be huge */
        *step = 1;
    if (*count == 0)
        *from = 0;
    return 0;
}

int tpl_slice(struct tpl *r, struct tpl_val v, const struct tpl_val part[3], struct tpl_val *out)
{
    int64_t n, step = 1, from = 0;
    uint32_t count = 0;
    TRY(tpl_need_defined(r, v));
    if (v.kind != TPL_STR && v.kind != TPL_LIST && v.kind != TPL_TUPLE && v.kind != TPL_RANGE)
        return tpl_fail(r, "'%s' object cannot be sliced", tpl_type_name(v));
    TRY(tpl_len(r, v, &n));
    TRY(slice_range(r, part, n, &from, &step, &count));
    if (v.kind == TPL_STR)
        return slice_str(r, v.s, from, step, count, out);
    struct tpl_val list;
    TRY(tpl_seq_new(r, v.kind == TPL_RANGE ? TPL_LIST : v.kind, count, &list));
    for (uint32_t k = 0; k < count; k++)
        list.seq->items[k] = v.seq->items[from + (int64_t)k * step];
    *out = list;
    return 0;
}
