/* fmt % args, as Python reads it. */
#include "text/template_format.h"

#include <math.h>
#include <string.h>

#include "text/template_filter.h"
#include "text/template_print.h"

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

static void read_flags(struct percent *p, struct tpl_spec *f)
{
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
}

static int read_spec(struct percent *p, struct tpl_spec *f)
{
    int64_t precision;
    read_flags(p, f);
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
    if (f->align == '<')
        f->zero = false;
    return 0;
}

/* %s and %r take anything. */
static int put_any(struct percent *p, struct tpl_sb *b, struct tpl_val v, const struct tpl_spec *f)
{
    struct tpl_sb text;
    tpl_sb_init(&text, p->r);
    TRY(f->type == 's' ? tpl_put_str(&text, v) : tpl_put_repr(&text, v));
    TRY(tpl_sb_done(&text, &v));
    return tpl_put_padded(b, v, f, '>');
}

static int put_conversion(struct percent *p, struct tpl_sb *b)
{
    struct tpl_spec f = { .fill = ' ', .sign = '-', .precision = -1 };
    struct tpl_val v = tpl_missing();
    if (peek(p) == '(')
        TRY(read_key(p, &v));
    TRY(read_spec(p, &f));
    if (f.type == '%') {
        tpl_sb_lit(b, "%");
        return 0;
    }
    if (f.type == '\0' || strchr("srdiuxXoeEfFgGc", f.type) == NULL)
        return tpl_fail(p->r, "unsupported format character");
    if (v.kind == TPL_MISSING)
        TRY(next_arg(p, &v));
    if (f.type == 's' || f.type == 'r')
        return put_any(p, b, v, &f);
    if (f.type == 'i' || f.type == 'u')
        f.type = 'd';
    if (f.type == 'd' && v.kind == TPL_FLOAT && fabs(v.f) < 9e18)
        v = tpl_int((int64_t)v.f);
    if (f.type == 'c' && f.align == '\0')
        f.align = '>';
    return tpl_put_formatted(b, v, &f);
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
    /* Python forgives a container that is left over, but for a tuple. */
    bool container = args.kind == TPL_DICT || args.kind == TPL_LIST || args.kind == TPL_RANGE;
    bool all = container || p.used >= (args.kind == TPL_TUPLE ? args.seq->n : 1);
    if (!all)
        return tpl_fail(r, "not all arguments were used by the format string");
    return tpl_sb_done(&b, out);
}
