/* fmt.format(...), as Python reads it; fields reach attributes only as the sandbox allows. */
#include "text/template_format.h"

#include <string.h>

#include "base/utf8.h"
#include "text/template_eval.h"
#include "text/template_filter.h"
#include "text/template_print.h"

struct braces {
    struct tpl *r;
    const struct tpl_args *args;
    int64_t next;   /* number of the next {} */
    bool automatic, manual;
};

/* The number that s[0..n) spells, or -1. */
static int64_t spelt_number(const char *s, size_t n)
{
    int64_t x = 0;
    if (n == 0 || n > 9)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9')
            return -1;
        x = x * 10 + (s[i] - '0');
    }
    return x;
}

static int numbered_arg(struct braces *p, int64_t index, struct tpl_val *out)
{
    p->automatic = p->automatic || index < 0;
    p->manual = p->manual || index >= 0;
    if (p->automatic && p->manual)
        return tpl_fail(p->r, "format() cannot mix {} and {0}");
    index = index < 0 ? p->next++ : index;
    if (index >= p->args->n_pos)
        return tpl_fail(p->r, "format() lacks argument %lld", (long long)index);
    *out = p->args->pos[index];
    return 0;
}

static int braces_arg(struct braces *p, const char *s, size_t n, struct tpl_val *out)
{
    int64_t index = spelt_number(s, n);
    if (n == 0 || index >= 0)
        return numbered_arg(p, index, out);
    for (uint32_t i = 0; i < p->args->n_kw; i++) {
        const struct tpl_str *name = p->args->kw[i].name;
        if (name->len == n && memcmp(name->data, s, n) == 0) {
            *out = p->args->kw[i].val;
            return 0;
        }
    }
    return tpl_fail(p->r, "format() lacks argument '%.*s'", (int)(n < 80 ? n : 80), s);
}

/* One .attr or [key] of a field, from s[*at] on. */
static int braces_step(struct braces *p, const char *s, size_t n, size_t *at, struct tpl_val *v)
{
    bool item = s[*at] == '[';
    size_t from = *at + 1, to = from;
    while (to < n && (item ? s[to] != ']' : s[to] != '.' && s[to] != '['))
        to++;
    *at = to + (item && to < n);
    struct tpl_val key;
    int64_t index = item ? spelt_number(s + from, to - from) : -1;
    TRY(tpl_str_new(p->r, s + from, to - from, 0, &key));
    if (!item)
        return tpl_getattr(p->r, *v, key.s, v);
    return tpl_getitem(p->r, *v, index >= 0 ? tpl_int(index) : key, v);
}

/* name.attr[key]: the field between { and ! : } */
static int braces_field(struct braces *p, const char *s, size_t n, struct tpl_val *out)
{
    size_t at = 0;
    while (at < n && s[at] != '.' && s[at] != '[')
        at++;
    TRY(braces_arg(p, s, at, out));
    while (at < n)
        TRY(braces_step(p, s, n, &at, out));
    return 0;
}

static const char *spec_number(const char *s, const char *end, int64_t *out)
{
    for (*out = 0; s < end && *s >= '0' && *s <= '9' && *out < INT32_MAX; s++)
        *out = *out * 10 + (*s - '0');
    return s;
}

static bool is_one_of(const char *s, const char *end, const char *set)
{
    return s < end && *s != '\0' && strchr(set, *s) != NULL;
}

/* [[fill]align][sign][#][0]; returns what is behind. */
static const char *spec_flags(const char *s, const char *end, struct tpl_spec *f)
{
    uint32_t cp;
    size_t len = s < end ? utf8_next(s, (size_t)(end - s), &cp) : 0;
    if (len > 0 && is_one_of(s + len, end, "<>^=")) {
        f->fill = cp;
        s += len;
    }
    if (is_one_of(s, end, "<>^="))
        f->align = *s++;
    if (is_one_of(s, end, "+- "))
        f->sign = *s++;
    f->alt = is_one_of(s, end, "#");
    s += f->alt;
    if (is_one_of(s, end, "0")) {
        f->zero = f->align == '\0' || f->align == '=';
        if (!f->zero)
            f->fill = '0';
        s++;
    }
    return s;
}

/* flags, then [width][,][.precision][type] */
static int parse_spec(struct tpl *r, const char *s, size_t n, struct tpl_spec *f)
{
    const char *end = s + n;
    *f = (struct tpl_spec){ .fill = ' ', .sign = '-', .precision = -1 };
    s = spec_flags(s, end, f);
    s = spec_number(s, end, &f->width);
    if (is_one_of(s, end, ",_"))
        f->comma = *s++;
    if (is_one_of(s, end, ".")) {
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

/* Where the name of a field ends: at its ! or :, but for those in brackets. */
static size_t name_end(const struct tpl_str *s, size_t at, size_t to)
{
    bool inside = false;
    for (; at < to; at++) {
        char c = s->data[at];
        if (!inside && (c == '!' || c == ':'))
            break;
        inside = c == '[' || (inside && c != ']');
    }
    return at;
}

/* !r or !s: v becomes that text. */
static int convert(struct tpl *r, char how, struct tpl_val *v)
{
    struct tpl_sb text;
    if (how != 'r' && how != 's')
        return tpl_fail(r, "format() knows the conversions !r and !s");
    tpl_sb_init(&text, r);
    TRY(how == 's' ? tpl_put_str(&text, *v) : tpl_put_repr(&text, *v));
    return tpl_sb_done(&text, v);
}

/* A field: name!conversion:spec. */
static int put_field(struct braces *p, const struct tpl_str *field, int depth, struct tpl_sb *b)
{
    struct tpl_val v, spec_text;
    struct tpl_spec f;
    size_t to = field->len, at = name_end(field, 0, to);
    TRY(braces_field(p, field->data, at, &v));
    if (at < to && field->data[at] == '!') {
        TRY(convert(p->r, at + 1 < to ? field->data[at + 1] : '\0', &v));
        at += 2;
    }
    if (at < to && field->data[at] != ':')
        return tpl_fail(p->r, "format() expected ':' after the conversion");
    at += at < to;
    TRY(tpl_str_cut(p->r, field, at, to, &spec_text));
    if (memchr(spec_text.s->data, '{', spec_text.s->len) != NULL) { /* {:{width}} */
        struct tpl_sb inner;
        tpl_sb_init(&inner, p->r);
        TRY(put_braces(p, spec_text.s, depth + 1, &inner));
        TRY(tpl_sb_done(&inner, &spec_text));
    }
    if (spec_text.s->len == 0)
        return tpl_put_str(b, v);
    TRY(parse_spec(p->r, spec_text.s->data, spec_text.s->len, &f));
    return tpl_put_formatted(b, v, &f);
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
        struct tpl_val field;
        TRY(tpl_str_cut(p->r, fmt, at + 1, end, &field));
        TRY(put_field(p, field.s, depth, b));
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
