/* One value in one format, for % and for str.format(); and strftime. */
#include "text/template_format.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/utf8.h"
#include "text/template_filter.h"
#include "text/template_print.h"

#define PRECISION_MAX 500 /* longest float: 309 digits, the point, 500 digits */

/* --- one value -------------------------------------------------------------------------------- */

static int put_padded(struct tpl_sb *b, struct tpl_val text, const struct tpl_spec *f, char align)
{
    struct tpl_val padded;
    int left = align == '<' ? 0 : align == '>' ? 2 : 1;
    if (align == '^') { /* unlike center(): the odd blank goes to the right */
        int64_t n = tpl_str_chars(text.s);
        int64_t room = f->width > n ? f->width - n : 0;
        TRY(tpl_str_pad(b->r, text.s, n + room / 2, f->fill, 2, &text));
        left = 0;
    }
    TRY(tpl_str_pad(b->r, text.s, f->width, f->fill, left, &padded));
    tpl_sb_str(b, padded.s);
    return b->status;
}

int tpl_put_padded(struct tpl_sb *b, struct tpl_val v, const struct tpl_spec *f, char align)
{
    TRY(tpl_to_str(b->r, v, &v));
    if (f->precision >= 0 && (uint32_t)f->precision < tpl_str_chars(v.s))
        TRY(tpl_str_cut(b->r, v.s, 0, tpl_str_at(v.s, (uint32_t)f->precision), &v));
    return put_padded(b, v, f, f->align != '\0' ? f->align : align);
}

/* Puts sign, prefix and digits together, with zeros or blanks to the width. */
static int put_number(struct tpl_sb *b, bool negative, const char *prefix, const char *digits,
                      const struct tpl_spec *f)
{
    struct tpl_sb head, all;
    struct tpl_val text, rest;
    char sign[2] = { negative ? '-' : f->sign == '-' ? '\0' : f->sign, '\0' };
    tpl_sb_init(&head, b->r);
    tpl_sb_lit(&head, sign);
    tpl_sb_lit(&head, prefix);
    size_t len = head.len;
    tpl_sb_init(&all, b->r);
    tpl_sb_lit(&all, digits);
    TRY(tpl_sb_done(&all, &text));
    bool inner = f->align == '=' || (f->zero && f->align == '\0');
    if (inner)
        TRY(tpl_str_pad(b->r, text.s, f->width - (int64_t)len, f->zero ? '0' : f->fill, 2, &text));
    tpl_sb_str(&head, text.s);
    TRY(tpl_sb_done(&head, &rest));
    return put_padded(b, rest, f, f->align == '\0' || f->align == '=' ? '>' : f->align);
}

/* Groups the whole digits of text by threes (fours for hexadecimal and the like). */
static void put_commas(char *text, size_t cap, char comma, int group)
{
    size_t whole = strspn(text, "0123456789abcdefABCDEF"), len = strlen(text);
    for (size_t at = whole; at > (size_t)group && len + 1 < cap; len++) {
        at -= (size_t)group;
        memmove(text + at + 1, text + at, len - at + 1);
        text[at] = comma;
    }
}

/* Bases by type; decimal is what is not here. */
static const struct base {
    char type;
    unsigned base;
    const char *prefix, *digits;
} bases[] = {
    { 'x', 16, "0x", "0123456789abcdef" },
    { 'X', 16, "0X", "0123456789ABCDEF" },
    { 'o', 8, "0o", "01234567" },
    { 'b', 2, "0b", "01" },
};

static int put_int(struct tpl_sb *b, int64_t x, const struct tpl_spec *f)
{
    struct base base = { 'd', 10, "", "0123456789" };
    for (size_t i = 0; i < COUNT_OF(bases); i++)
        if (bases[i].type == f->type)
            base = bases[i];
    char digits[160], text[160];
    size_t n = sizeof digits - 1;
    uint64_t u = x < 0 ? 0 - (uint64_t)x : (uint64_t)x;
    digits[n] = '\0';
    do {
        digits[--n] = base.digits[u % base.base];
        u /= base.base;
    } while (u != 0);
    int have = (int)(sizeof digits - 1 - n), want = f->precision > 60 ? 60 : f->precision;
    snprintf(text, sizeof text, "%.*s%s", want > have ? want - have : 0, /* "%.5d" */
             "000000000000000000000000000000000000000000000000000000000000", digits + n);
    if (f->comma != '\0')
        put_commas(text, sizeof text, f->comma, base.base == 10 ? 3 : 4);
    return put_number(b, x < 0, f->alt ? base.prefix : "", text, f);
}

/* The digits of a value that is not negative, in the style of `type`. */
static void float_text(double value, const struct tpl_spec *f, char *text, size_t cap)
{
    char fmt[8];
    if (!isfinite(value)) {
        bool upper = f->type != '\0' && isupper((unsigned char)f->type);
        snprintf(text, cap, "%s", isnan(value) ? (upper ? "NAN" : "nan") : upper ? "INF" : "inf");
        return;
    }
    if (f->type == '\0' && f->precision < 0) {
        tpl_float_text(value, text);
        return;
    }
    char c = f->type == '\0' || f->type == 'n' ? 'g' : f->type == '%' ? 'f' : f->type;
    snprintf(fmt, sizeof fmt, "%%%s.*%c", f->alt ? "#" : "", c);
    snprintf(text, cap, fmt, f->precision < 0 ? 6 : f->precision, value);
}

static int put_float(struct tpl_sb *b, double x, const struct tpl_spec *f)
{
    char text[1200];
    bool percent = f->type == '%';
    if (f->precision > PRECISION_MAX)
        return tpl_limit(b->r, "a number's precision is larger than allowed");
    float_text(fabs(percent ? x * 100.0 : x), f, text, sizeof text - 2);
    if (f->comma != '\0')
        put_commas(text, sizeof text - 2, f->comma, 3);
    if (percent)
        memcpy(text + strlen(text), "%", 2);
    return put_number(b, signbit(x) != 0 && !isnan(x), "", text, f);
}

static int put_char(struct tpl_sb *b, struct tpl_val v, const struct tpl_spec *f)
{
    struct tpl_sb one;
    tpl_sb_init(&one, b->r);
    if (v.kind == TPL_STR && tpl_str_chars(v.s) == 1) {
        tpl_sb_str(&one, v.s);
    } else {
        char probe[4];
        if (!tpl_is_int(v) || tpl_as_int(v) < 0 || tpl_as_int(v) > 0x10ffff ||
            utf8_put(probe, (uint32_t)tpl_as_int(v)) == 0)
            return tpl_fail(b->r, "%%c needs a character or its number");
        tpl_sb_char(&one, (uint32_t)tpl_as_int(v), 1); /* a number may come from a stranger */
    }
    TRY(tpl_sb_done(&one, &v));
    return put_padded(b, v, f, f->align != '\0' ? f->align : '<');
}

static int bad_type(struct tpl_sb *b, const struct tpl_spec *f, struct tpl_val v)
{
    return tpl_fail(b->r, "format code '%c' does not fit a %s",
                    f->type > ' ' && f->type < 0x7f ? f->type : '?', tpl_type_name(v));
}

static bool type_is(const struct tpl_spec *f, const char *types)
{
    return f->type != '\0' && strchr(types, f->type) != NULL;
}

static int put_numeric(struct tpl_sb *b, struct tpl_val v, const struct tpl_spec *f)
{
    if (type_is(f, "eEfFgG%"))
        return put_float(b, tpl_as_float(v), f);
    if (v.kind == TPL_FLOAT)
        return f->type == '\0' || f->type == 'n' ? put_float(b, v.f, f) : bad_type(b, f, v);
    return f->type == '\0' || type_is(f, "dxXobn") ? put_int(b, tpl_as_int(v), f)
                                                   : bad_type(b, f, v);
}

int tpl_put_formatted(struct tpl_sb *b, struct tpl_val v, const struct tpl_spec *f)
{
    TRY(tpl_need_defined(b->r, v));
    if (f->type == 'c')
        return put_char(b, v, f);
    bool plain = f->type == '\0' && f->width == 0;
    if (tpl_is_number(v) && !(v.kind == TPL_BOOL && plain))
        return put_numeric(b, v, f);
    if (v.kind == TPL_STR ? f->type == 's' || f->type == '\0' : plain)
        return tpl_put_padded(b, v, f, '<');
    return bad_type(b, f, v);
}

/* --- time ------------------------------------------------------------------------------------- */

#define STRFTIME_MAX 256

/* As Python does, %f is microseconds (we have none), and the zone of a naive time is empty. */
int tpl_strftime(struct tpl *r, const struct tpl_str *fmt, struct tpl_val *out)
{
    char clean[STRFTIME_MAX * 6 + 2], text[STRFTIME_MAX * 64];
    size_t n = 0;
    if (fmt->len > STRFTIME_MAX || memchr(fmt->data, '\0', fmt->len) != NULL)
        return tpl_limit(r, "the format of strftime_now is longer than 256 bytes or holds a NUL");
    for (size_t i = 0; i < fmt->len; i++) {
        char c = fmt->data[i], next = i + 1 < fmt->len ? fmt->data[i + 1] : '\0';
        if (c != '%' || next == '\0') {
            clean[n++] = c;
            if (c == '%')
                clean[n++] = c;
            continue;
        }
        i++;
        if (next == 'f') {
            memcpy(clean + n, "000000", 6);
            n += 6;
        } else if (next != 'z' && next != 'Z') {
            clean[n++] = '%';
            clean[n++] = next;
        }
    }
    clean[n++] = '.'; /* an empty result and a failure look alike without it */
    clean[n] = '\0';
    time_t now = (time_t)r->now;
    struct tm tm;
    if (gmtime_r(&now, &tm) == NULL)
        return tpl_fail(r, "strftime_now: the time is out of range");
    size_t len = strftime(text, sizeof text, clean, &tm);
    if (len == 0)
        return tpl_limit(r, "strftime_now makes too long a text");
    struct tpl_sb b;
    tpl_sb_init(&b, r);
    tpl_sb_put(&b, text, len - 1, fmt->origin != NULL ? 1 : fmt->uniform);
    return tpl_sb_done(&b, out);
}
