/* Filters over numbers, after jinja2's filters.py and Python's int(), float() and round(). */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/template_eval.h"
#include "text/template_filter.h"

#define FILTER(name) \
    static int name(struct tpl *r, struct tpl_val *v, const struct tpl_args *raw, \
                    struct tpl_val *out)

/* --- numbers ---------------------------------------------------------------------------------- */

FILTER(f_abs)
{
    (void)raw;
    TRY(tpl_need_defined(r, v[0]));
    if (!tpl_is_number(v[0]))
        return tpl_fail(r, "bad operand type for abs(): '%s'", tpl_type_name(v[0]));
    if (v[0].kind == TPL_FLOAT) {
        *out = tpl_float(fabs(v[0].f));
        return 0;
    }
    *out = tpl_int(tpl_as_int(v[0]));
    return out->i < 0 ? tpl_negate(r, *out, out) : 0;
}

/* The text of a number without underscores and outer blanks; false if it is too long or empty. */
static bool number_text(struct tpl *r, struct tpl_val v, char *text, size_t cap)
{
    struct tpl_val s;
    if (tpl_str_strip(r, v.s, NULL, 3, &s) < 0 || s.s->len == 0 || s.s->len >= cap)
        return false;
    size_t n = 0;
    for (uint32_t i = 0; i < s.s->len; i++) {
        char c = s.s->data[i];
        if (c == '\0' || (unsigned char)c >= 0x80)
            return false;
        if (c == '_' && i > 0 && i + 1 < s.s->len && isalnum((unsigned char)s.s->data[i - 1]) &&
            isalnum((unsigned char)s.s->data[i + 1]))
            continue;
        text[n++] = c;
    }
    text[n] = '\0';
    return true;
}

static bool parse_float(struct tpl *r, struct tpl_val v, double *out)
{
    char text[512], *end;
    if (!number_text(r, v, text, sizeof text) || strpbrk(text, "xX(") != NULL)
        return false; /* C reads hexadecimal floats and nan(...), Python does not */
    *out = strtod(text, &end);
    return *end == '\0' && end != text;
}

/* Behind the "0x" that a base may have. */
static const char *skip_prefix(const char *p, int base)
{
    char c = p[0] == '0' ? (char)(p[1] | 0x20) : '\0';
    if ((base == 16 && c == 'x') || (base == 8 && c == 'o') || (base == 2 && c == 'b'))
        return p + 2;
    return p;
}

static bool parse_int(struct tpl *r, struct tpl_val v, int base, int64_t *out)
{
    char text[512], *end;
    if (!number_text(r, v, text, sizeof text))
        return false;
    const char *p = skip_prefix(text + (text[0] == '-' || text[0] == '+'), base);
    if (!isalnum((unsigned char)*p)) /* C takes blanks and a second sign */
        return false;
    errno = 0;
    long long x = strtoll(p, &end, base);
    if (errno != 0 || *end != '\0')
        return false;
    *out = text[0] == '-' ? -x : x;
    return true;
}

/* int(value, default=0, base=10) */
FILTER(f_int)
{
    (void)raw;
    int64_t base, x;
    double f = 0.0;
    TRY(tpl_want_int(r, v[2], "int's base", 10, &base));
    TRY(tpl_need_defined(r, v[0]));
    if (base < 2 || base > 36)
        return tpl_fail(r, "int's base must be from 2 to 36");
    bool number = tpl_is_number(v[0]);
    if (tpl_is_int(v[0])) {
        *out = tpl_int(tpl_as_int(v[0]));
        return 0;
    }
    if (v[0].kind == TPL_STR && parse_int(r, v[0], (int)base, &x)) {
        *out = tpl_int(x);
        return 0;
    }
    if (v[0].kind == TPL_FLOAT)
        f = v[0].f;
    else if (v[0].kind == TPL_STR)
        number = parse_float(r, v[0], &f);
    if (number && isfinite(f)) {
        if (fabs(f) >= 9223372036854775808.0)
            return tpl_fail(r, "an integer does not fit 64 bits");
        *out = tpl_int((int64_t)f);
        return 0;
    }
    *out = v[1].kind == TPL_MISSING ? tpl_int(0) : v[1];
    return 0;
}

FILTER(f_float)
{
    (void)raw;
    double f;
    TRY(tpl_need_defined(r, v[0]));
    if (tpl_is_number(v[0]))
        *out = tpl_float(tpl_as_float(v[0]));
    else if (v[0].kind == TPL_STR && parse_float(r, v[0], &f))
        *out = tpl_float(f);
    else
        *out = v[1].kind == TPL_MISSING ? tpl_float(0.0) : v[1];
    return 0;
}

/* Python's round(): to the nearest, ties by the exact binary value to even. */
static double round_float(double f, int64_t digits)
{
    char text[400];
    if (!isfinite(f) || digits > 22)
        return f;
    if (digits >= 0) {
        snprintf(text, sizeof text, "%.*f", (int)digits, f);
        return strtod(text, NULL);
    }
    double unit = digits < -308 ? INFINITY : pow(10.0, (double)-digits);
    return isinf(unit) ? copysign(0.0, f) : rint(f / unit) * unit;
}

static bool is_word(struct tpl_val v, const char *word)
{
    return v.kind == TPL_STR && tpl_str_is(v.s, word);
}

/* round(value, precision=0, method='common') */
FILTER(f_round)
{
    (void)raw;
    int64_t digits;
    TRY(tpl_need_defined(r, v[0]));
    TRY(tpl_want_int(r, v[1], "round's precision", 0, &digits));
    bool common = v[2].kind == TPL_MISSING || is_word(v[2], "common"), up = is_word(v[2], "ceil");
    if (!common && !up && !is_word(v[2], "floor"))
        return tpl_fail(r, "round's method must be common, ceil or floor");
    if (!tpl_is_number(v[0]))
        return tpl_fail(r, "round needs a number, not %s", tpl_type_name(v[0]));
    double f = tpl_as_float(v[0]);
    if (!common) {
        double unit = pow(10.0, (double)digits);
        *out = tpl_float((up ? ceil(f * unit) : floor(f * unit)) / unit);
    } else if (!tpl_is_int(v[0])) {
        *out = tpl_float(round_float(f, digits));
    } else {
        *out = tpl_int(digits >= 0 ? tpl_as_int(v[0]) : (int64_t)round_float(f, digits));
    }
    return 0;
}

FILTER(f_filesizeformat)
{
    (void)raw;
    static const char units[] = "kMGTPEZY";
    struct tpl_sb b;
    struct tpl_val number;
    char text[64];
    struct tpl_val args[2] = { v[0], tpl_none() }; /* None is what is no number */
    TRY(f_float(r, args, raw, &number));
    if (number.kind != TPL_FLOAT)
        return tpl_fail(r, "filesizeformat needs a number, not %s", tpl_type_name(v[0]));
    double base = tpl_truth(v[1]) ? 1024 : 1000, bytes = number.f;
    if (bytes == 1) {
        snprintf(text, sizeof text, "1 Byte");
    } else if (bytes < base) {
        snprintf(text, sizeof text, "%.0f Bytes", trunc(bytes));
    } else {
        int i = 0;
        double unit = base * base;
        for (; i < 7 && bytes >= unit; i++)
            unit *= base;
        snprintf(text, sizeof text, "%.1f %c%s", base * bytes / unit,
                 base > 1000 && i == 0 ? 'K' : units[i], base > 1000 ? "iB" : "B");
    }
    tpl_sb_init(&b, r);
    tpl_sb_lit(&b, text);
    return tpl_sb_done(&b, out);
}

const struct tpl_fn TPL_FILTERS_NUM[] = {
    { "abs", f_abs, "", 0 },
    { "filesizeformat", f_filesizeformat, "binary", 0 },
    { "float", f_float, "default", 0 },
    { "int", f_int, "default base", 0 },
    { "round", f_round, "precision method", 0 },
    { NULL, NULL, NULL, 0 },
};
