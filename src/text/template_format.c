/* Formatting in Python's two ways, "%5.1f" % x and "{:>5}".format(x), over one routine; and
 * strftime. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/utf8.h"
#include "text/template_eval.h"
#include "text/template_filter.h"
#include "text/template_print.h"

#define PRECISION_MAX 500 /* longest float: 309 digits, the point, 500 digits */

struct spec {
    uint32_t fill;
    char align; /* '<' '>' '^' '=' or '\0' */
    char sign;  /* '+' ' ' or '-' */
    bool alt;
    bool zero;
    char comma; /* ',' '_' or '\0' */
    int64_t width;
    int precision; /* -1: none */
    char type;     /* '\0': by the value */
};

/* --- one value -------------------------------------------------------------------------------- */

static int put_padded(struct tpl_sb *b, struct tpl_val text, const struct spec *f, char align)
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

static int put_text(struct tpl_sb *b, struct tpl_val v, const struct spec *f, char align)
{
    TRY(tpl_to_str(b->r, v, &v));
    if (f->precision >= 0 && (uint32_t)f->precision < tpl_str_chars(v.s))
        TRY(tpl_str_cut(b->r, v.s, 0, tpl_str_at(v.s, (uint32_t)f->precision), &v));
    return put_padded(b, v, f, f->align != '\0' ? f->align : align);
}

/* Puts sign, prefix and digits together, with zeros or blanks to the width. */
static int put_number(struct tpl_sb *b, bool negative, const char *prefix, const char *digits,
                      const struct spec *f)
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

static int put_int(struct tpl_sb *b, int64_t x, const struct spec *f)
{
    char digits[160];
    size_t n = sizeof digits - 1;
    char type = f->type == '\0' ? 'd' : f->type;
    unsigned base = type == 'x' || type == 'X' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
    const char *set = type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    const char *prefix = !f->alt || base == 10 ? "" : type == 'x' ? "0x" : type == 'X' ? "0X"
                       : type == 'o' ? "0o" : "0b";
    uint64_t u = x < 0 ? 0 - (uint64_t)x : (uint64_t)x;
    digits[n] = '\0';
    do {
        digits[--n] = set[u % base];
        u /= base;
    } while (u != 0);
    char text[160];
    int zeros = f->precision > 60 ? 60 : f->precision; /* "%.5d" */
    int have = (int)(sizeof digits - 1 - n);
    snprintf(text, sizeof text, "%.*s%s", zeros > have ? zeros - have : 0,
             "000000000000000000000000000000000000000000000000000000000000", digits + n);
    if (f->comma != '\0')
        put_commas(text, sizeof text, f->comma, base == 10 ? 3 : 4);
    return put_number(b, x < 0, prefix, text, f);
}

static int put_float(struct tpl_sb *b, double x, const struct spec *f)
{
    char text[1200], fmt[8] = "%.*";
    char type = f->type;
    bool percent = type == '%';
    double value = fabs(percent ? x * 100.0 : x);
    if (f->precision > PRECISION_MAX)
        return tpl_limit(b->r, "a number's precision is larger than allowed");
    if (type == '\0' && f->precision < 0) {
        tpl_float_text(value, text);
    } else {
        char c = type == '\0' || type == 'n' ? 'g' : percent ? 'f' : type;
        snprintf(fmt, sizeof fmt, "%%%s.*%c", f->alt ? "#" : "", c);
        int precision = f->precision < 0 ? 6 : f->precision;
        snprintf(text, sizeof text - 64, fmt, precision, value);
    }
    if (isnan(x) || isinf(x))
        snprintf(text, sizeof text, "%s", type != '\0' && isupper((unsigned char)type)
                                              ? (isnan(x) ? "NAN" : "INF")
                                                  : (isnan(x) ? "nan" : "inf"));
    if (f->comma != '\0')
        put_commas(text, sizeof text, f->comma, 3);
    if (percent)
        strncat(text, "%", 2);
    return put_number(b, signbit(x) != 0 && !isnan(x), "", text, f);
}

static int put_char(struct tpl_sb *b, struct tpl_val v, const struct spec *f)
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

static int bad_type(struct tpl_sb *b, const struct spec *f, struct tpl_val v)
{
    return tpl_fail(b->r, "format code '%c' does not fit a %s",
                    f->type > ' ' && f->type < 0x7f ? f->type : '?', tpl_type_name(v));
}

static int put_value(struct tpl_sb *b, struct tpl_val v, const struct spec *f)
{
    TRY(tpl_need_defined(b->r, v));
    if (f->type == 'c')
        return put_char(b, v, f);
    bool as_int = f->type != '\0' && strchr("dxXobn", f->type) != NULL;
    bool as_float = f->type != '\0' && strchr("eEfFgG%", f->type) != NULL;
    if (as_float && tpl_is_number(v))
        return put_float(b, tpl_as_float(v), f);
    if (v.kind == TPL_FLOAT && (f->type == '\0' || f->type == 'n'))
        return put_float(b, v.f, f);
    if (as_int && tpl_is_int(v))
        return put_int(b, tpl_as_int(v), f);
    if (v.kind == TPL_INT && f->type == '\0')
        return put_int(b, v.i, f);
    if (as_int || as_float)
        return bad_type(b, f, v);
    if (v.kind == TPL_STR && (f->type == 's' || f->type == '\0'))
        return put_text(b, v, f, '<');
    if (v.kind == TPL_BOOL && f->type == '\0' && f->width == 0)
        return put_text(b, v, f, '<');
    if (v.kind == TPL_BOOL && f->type == '\0')
        return put_int(b, v.b, f);
    return f->type == '\0' && f->width == 0 ? put_text(b, v, f, '<') : bad_type(b, f, v);
}

/* --- % ---------------------------------------------------------------------------------------- */

struct percent {
    struct tpl *r;
    const struct tpl_str *fmt;
    size_t at;
    struct tpl_val args; /* a tuple, or one value */
    uint32_t used;
};

static int next_arg(struct percent *p, struct tpl_val *out)
{
    uint32_t n = p->args.kind == TPL_TUPLE ? p->args.seq->n : 1;
    if (p->used >= n)
        return tpl_fail(p->r, "not enough arguments for the format string");
    *out = p->args.kind == TPL_TUPLE ? p->args.seq->items[p->used] : p->args;
    p->used++;
    return 0;
}

static char peek(const struct percent *p)
{
    return p->at < p->fmt->len ? p->fmt->data[p->at] : '\0';
}

static int read_number(struct percent *p, int64_t *out)
{
    struct tpl_val v;
    if (peek(p) == '*') {
        p->at++;
        TRY(next_arg(p, &v));
        return tpl_want_int(p->r, v, "a width given by *", 0, out);
    }
    for (*out = 0; peek(p) >= '0' && peek(p) <= '9'; p->at++) {
        *out = *out * 10 + (peek(p) - '0');
        if (*out > INT32_MAX)
            return tpl_limit(p->r, "a format's width is larger than allowed");
    }
    return 0;
}

/* (name): the member of the dict on the right. */
static int read_key(struct percent *p, struct tpl_val *out)
{
    const struct tpl_str *s = p->fmt;
    size_t from = ++p->at;
    for (int depth = 1; p->at < s->len; p->at++) {
        depth += s->data[p->at] == '(' ? 1 : s->data[p->at] == ')' ? -1 : 0;
        if (depth == 0)
            break;
    }
    if (p->at >= s->len)
        return tpl_fail(p->r, "incomplete format key");
    if (p->args.kind != TPL_DICT)
        return tpl_fail(p->r, "a format with names needs a dict");
    struct tpl_val *found = tpl_dict_get(p->args.d, s->data + from, p->at - from);
    if (found == NULL)
        return tpl_fail(p->r, "the format names '%.*s', which is not there",
                        (int)(p->at - from < 80 ? p->at - from : 80), s->data + from);
    p->at++;
    *out = *found;
    return 0;
}

static int read_spec(struct percent *p, struct spec *f)
{
    int64_t precision;
    for (;; p->at++) {
        char c = peek(p);
        if (c == '-')
            f->align = '<';
        else if (c == '+' || (c == ' ' && f->sign != '+'))
            f->sign = c;
        else if (c == '0')
            f->zero = true;
        else if (c == '#')
            f->alt = true;
        else if (c != ' ')
            break;
    }
    TRY(read_number(p, &f->width));
    if (f->width < 0) { /* "%*d" with a negative width */
        f->align = '<';
        f->width = f->width < -INT32_MAX ? INT32_MAX : -f->width;
    }
    if (peek(p) == '.') {
        p->at++;
        TRY(read_number(p, &precision));
        f->precision = precision > INT32_MAX ? INT32_MAX : precision < 0 ? 0 : (int)precision;
    }
    while (peek(p) != '\0' && strchr("hlL", peek(p)) != NULL)
        p->at++;
    f->type = peek(p);
    p->at++;
    return 0;
}

static int put_conversion(struct percent *p, struct tpl_sb *b)
{
    struct spec f = { .fill = ' ', .sign = '-', .precision = -1 };
    struct tpl_val v = tpl_missing();
    if (peek(p) == '(')
        TRY(read_key(p, &v));
    TRY(read_spec(p, &f));
    if (f.type == '%') {
        tpl_sb_lit(b, "%");
        return 0;
    }
    if (v.kind == TPL_MISSING)
        TRY(next_arg(p, &v));
    if (f.type == 's' || f.type == 'r' || f.type == 'a') {
        struct tpl_sb text;
        tpl_sb_init(&text, p->r);
        TRY(f.type == 's' ? tpl_put_str(&text, v) : tpl_put_repr(&text, v));
        TRY(tpl_sb_done(&text, &v));
        return put_text(b, v, &f, '>');
    }
    if (f.type == 'i' || f.type == 'u' || f.type == 'd') {
        f.type = 'd';
        TRY(tpl_need_defined(p->r, v));
        if (v.kind == TPL_FLOAT && fabs(v.f) < 9e18)
            v = tpl_int((int64_t)v.f);
    }
    if (f.type == '\0' || strchr("dxXoeEfFgGc", f.type) == NULL)
        return tpl_fail(p->r, "unsupported format character");
    if (f.align == '<')
        f.zero = false;
    if (f.type == 'c')
        f.align = f.align != '\0' ? f.align : '>';
    return put_value(b, v, &f);
}

int tpl_format_percent(struct tpl *r, const struct tpl_str *fmt, struct tpl_val args,
                       struct tpl_val *out)
{
    struct percent p = { .r = r, .fmt = fmt, .args = args };
    struct tpl_sb b;
    tpl_sb_init(&b, r);
    while (p.at < fmt->len) {
        const char *percent = memchr(fmt->data + p.at, '%', fmt->len - p.at);
        size_t to = percent != NULL ? (size_t)(percent - fmt->data) : fmt->len;
        tpl_sb_cut(&b, fmt, p.at, to);
        p.at = to;
        if (percent == NULL)
            break;
        p.at++;
        TRY(tpl_burn(r, 1));
        TRY(put_conversion(&p, &b));
    }
    bool all = args.kind == TPL_DICT || p.used >= (args.kind == TPL_TUPLE ? args.seq->n : 1);
    if (!all)
        return tpl_fail(r, "not all arguments were used by the format string");
    return tpl_sb_done(&b, out);
}

/* --- {} --------------------------------------------------------------------------------------- */

struct braces {
    struct tpl *r;
    const struct tpl_args *args;
    int64_t next;   /* number of the next {} */
    bool automatic, manual;
};

static int braces_arg(struct braces *p, const char *s, size_t n, struct tpl_val *out)
{
    int64_t index = 0;
    bool digits = n > 0 && n < 10;
    for (size_t i = 0; i < n && digits; i++) {
        digits = s[i] >= '0' && s[i] <= '9';
        index = index * 10 + (s[i] - '0');
    }
    if (n == 0 || digits) {
        p->automatic = p->automatic || n == 0;
        p->manual = p->manual || n > 0;
        if (p->automatic && p->manual)
            return tpl_fail(p->r, "format() cannot mix {} and {0}");
        index = n == 0 ? p->next++ : index;
        if (index >= p->args->n_pos)
            return tpl_fail(p->r, "format() lacks argument %lld", (long long)index);
        *out = p->args->pos[index];
        return 0;
    }
    for (uint32_t i = 0; i < p->args->n_kw; i++) {
        const struct tpl_str *name = p->args->kw[i].name;
        if (name->len == n && memcmp(name->data, s, n) == 0) {
            *out = p->args->kw[i].val;
            return 0;
        }
    }
    return tpl_fail(p->r, "format() lacks argument '%.*s'", (int)(n < 80 ? n : 80), s);
}

/* name.attr[key]: the field between { and ! : } */
static int braces_field(struct braces *p, const char *s, size_t n, struct tpl_val *out)
{
    size_t at = 0;
    while (at < n && s[at] != '.' && s[at] != '[')
        at++;
    TRY(braces_arg(p, s, at, out));
    while (at < n) {
        bool item = s[at] == '[';
        size_t from = ++at;
        while (at < n && (item ? s[at] != ']' : s[at] != '.' && s[at] != '['))
            at++;
        struct tpl_val key;
        TRY(tpl_str_new(p->r, s + from, at - from, 0, &key));
        bool number = item && at > from && at - from < 10 &&
            strspn(s + from, "0123456789") >= at - from;
        if (number) {
            int64_t x = 0;
            for (size_t i = from; i < at; i++)
                x = x * 10 + (s[i] - '0');
            key = tpl_int(x);
        }
        TRY(item ? tpl_getitem(p->r, *out, key, out) : tpl_getattr(p->r, *out, key.s, out));
        at += item && at < n;
    }
    return 0;
}

static const char *spec_number(const char *s, const char *end, int64_t *out)
{
    for (*out = 0; s < end && *s >= '0' && *s <= '9' && *out < INT32_MAX; s++)
        *out = *out * 10 + (*s - '0');
    return s;
}

/* [[fill]align][sign][#][0][width][,][.precision][type] */
static int parse_spec(struct tpl *r, const char *s, size_t n, struct spec *f)
{
    const char *end = s + n;
    uint32_t cp;
    size_t len = n > 0 ? utf8_next(s, n, &cp) : 0;
    *f = (struct spec){ .fill = ' ', .sign = '-', .precision = -1 };
    if (len > 0 && len < n && strchr("<>^=", s[len]) != NULL) {
        f->fill = cp;
        s += len;
    }
    if (s < end && *s != '\0' && strchr("<>^=", *s) != NULL)
        f->align = *s++;
    if (s < end && (*s == '+' || *s == '-' || *s == ' '))
        f->sign = *s++;
    if (s < end && *s == '#') {
        f->alt = true;
        s++;
    }
    if (s < end && *s == '0') {
        f->zero = f->align == '\0' || f->align == '=';
        if (!f->zero)
            f->fill = '0';
        s++;
    }
    s = spec_number(s, end, &f->width);
    if (s < end && (*s == ',' || *s == '_'))
        f->comma = *s++;
    if (s < end && *s == '.') {
        int64_t precision;
        s = spec_number(s + 1, end, &precision);
        f->precision = precision > INT32_MAX ? INT32_MAX : (int)precision;
    }
    if (s < end)
        f->type = *s++;
    return s == end ? 0 : tpl_fail(r, "a format specifier is malformed");
}

/* The position of the } that closes the { before `at`. */
static size_t braces_end(const struct tpl_str *s, size_t at)
{
    for (int depth = 1; at < s->len; at++) {
        depth += s->data[at] == '{' ? 1 : s->data[at] == '}' ? -1 : 0;
        if (depth == 0)
            return at;
    }
    return SIZE_MAX;
}

static int put_braces(struct braces *p, const struct tpl_str *fmt, int depth, struct tpl_sb *b);

/* The text between { and }. */
static int put_field(struct braces *p, const struct tpl_str *fmt, size_t from, size_t to,
                     struct tpl_sb *b,
                     int depth)
{
    size_t name_end = from;
    while (name_end < to && fmt->data[name_end] != '!' && fmt->data[name_end] != ':') {
        if (fmt->data[name_end] == '[')
            while (name_end < to && fmt->data[name_end] != ']')
                name_end++;
        name_end += name_end < to;
    }
    struct tpl_val v, spec_text;
    TRY(braces_field(p, fmt->data + from, name_end - from, &v));
    size_t at = name_end;
    if (at < to && fmt->data[at] == '!') {
        char how = at + 1 < to ? fmt->data[at + 1] : '\0';
        at += 2;
        struct tpl_sb text;
        tpl_sb_init(&text, p->r);
        if (how != 'r' && how != 's' && how != 'a')
            return tpl_fail(p->r, "format() knows the conversions !r and !s");
        TRY(how == 's' ? tpl_put_str(&text, v) : tpl_put_repr(&text, v));
        TRY(tpl_sb_done(&text, &v));
    }
    if (at < to && fmt->data[at] != ':')
        return tpl_fail(p->r, "format() expected ':' after the conversion");
    at += at < to;
    TRY(tpl_str_cut(p->r, fmt, at < to ? at : to, to, &spec_text));
    if (memchr(spec_text.s->data, '{', spec_text.s->len) != NULL) { /* {:{width}} */
        struct tpl_sb inner;
        tpl_sb_init(&inner, p->r);
        TRY(put_braces(p, spec_text.s, depth + 1, &inner));
        TRY(tpl_sb_done(&inner, &spec_text));
    }
    struct spec f;
    TRY(parse_spec(p->r, spec_text.s->data, spec_text.s->len, &f));
    if (spec_text.s->len == 0) /* str(v) */
        return tpl_put_str(b, v);
    return put_value(b, v, &f);
}

static int put_braces(struct braces *p, const struct tpl_str *fmt, int depth, struct tpl_sb *b)
{
    if (depth > 1)
        return tpl_fail(p->r, "format() fields are nested too deep");
    for (size_t at = 0; at < fmt->len;) {
        char c = fmt->data[at];
        bool twice = at + 1 < fmt->len && fmt->data[at + 1] == c;
        if ((c != '{' && c != '}') || twice) {
            tpl_sb_cut(b, fmt, at, at + 1);
            at += (c == '{' || c == '}') ? 2 : 1;
            continue;
        }
        size_t end = c == '{' ? braces_end(fmt, at + 1) : SIZE_MAX;
        if (end == SIZE_MAX)
            return tpl_fail(p->r, "format() found a single '%c'", c);
        TRY(tpl_burn(p->r, 1));
        TRY(put_field(p, fmt, at + 1, end, b, depth));
        at = end + 1;
    }
    return b->status;
}

int tpl_format_braces(struct tpl *r, const struct tpl_str *fmt, const struct tpl_args *args,
                      struct tpl_val *out)
{
    struct braces p = { .r = r, .args = args };
    struct tpl_sb b;
    tpl_sb_init(&b, r);
    TRY(put_braces(&p, fmt, 0, &b));
    return tpl_sb_done(&b, out);
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
