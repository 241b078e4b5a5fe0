/* How Python writes values. Floats: the fewest digits that read back as the same double, with an
 * exponent below 1e-4 and from 1e16 on (Python's float_repr_style "short"). */
#include "text/template_print.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <utf8proc.h>

#include "base/utf8.h"

/* Lays out decimal digits d1d2d3... x 10^exp10 (d1 before the point). */
static void layout_float(const char *digits, int n, int exp10, char *out)
{
    enum { ROOM = TPL_FLOAT_TEXT - 1 }; /* the sign is written already */
    if (exp10 < -4 || exp10 >= 16) {
        snprintf(out, ROOM, "%c%s%.*se%c%02d", digits[0], n > 1 ? "." : "", n - 1,
                 digits + 1, exp10 < 0 ? '-' : '+', exp10 < 0 ? -exp10 : exp10);
    } else if (exp10 < 0) {
        snprintf(out, ROOM, "0.%.*s%.*s", -exp10 - 1, "0000", n, digits);
    } else if (n <= exp10 + 1) {
        snprintf(out, ROOM, "%.*s%.*s.0", n, digits, exp10 + 1 - n, "0000000000000000");
    } else {
        snprintf(out, ROOM, "%.*s.%.*s", exp10 + 1, digits, n - exp10 - 1,
                 digits + exp10 + 1);
    }
}

void tpl_float_text(double f, char out[TPL_FLOAT_TEXT])
{
    if (!isfinite(f)) {
        snprintf(out, TPL_FLOAT_TEXT, "%s", isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return;
    }
    char sci[TPL_FLOAT_TEXT];
    for (int precision = 0; precision <= 16; precision++) {
        snprintf(sci, sizeof sci, "%.*e", precision, fabs(f));
        if (strtod(sci, NULL) == fabs(f))
            break;
    }
    char digits[TPL_FLOAT_TEXT];
    int n = 0;
    const char *p = sci;
    for (; *p != 'e'; p++)
        if (*p != '.')
            digits[n++] = *p;
    int exp10 = (int)strtol(p + 1, NULL, 10);
    while (n > 1 && digits[n - 1] == '0')
        n--;
    digits[n] = '\0';
    bool negative = signbit(f) != 0;
    out[0] = '-';
    layout_float(digits, n, exp10, out + (negative ? 1 : 0));
}

static void put_int(struct tpl_sb *b, int64_t i)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)i);
    tpl_sb_lit(b, text);
}

static void put_float(struct tpl_sb *b, double f)
{
    char text[TPL_FLOAT_TEXT];
    tpl_float_text(f, text);
    tpl_sb_lit(b, text);
}

/* Python's str.isprintable, which repr goes by. */
static bool printable(uint32_t cp)
{
    if (cp < 0x7f)
        return cp >= 0x20;
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS: return false;
    default: return true;
    }
}

static void put_escape(struct tpl_sb *b, uint32_t cp, char quote, uint8_t origin)
{
    char text[16];
    if (cp == (uint32_t)quote || cp == '\\')
        snprintf(text, sizeof text, "\\%c", (char)cp);
    else if (cp == '\n' || cp == '\r' || cp == '\t')
        snprintf(text, sizeof text, "\\%c", cp == '\n' ? 'n' : cp == '\r' ? 'r' : 't');
    else if (cp < 0x100)
        snprintf(text, sizeof text, "\\x%02x", cp);
    else if (cp < 0x10000)
        snprintf(text, sizeof text, "\\u%04x", cp);
    else
        snprintf(text, sizeof text, "\\U%08x", cp);
    tpl_sb_put(b, text, strlen(text), origin);
}

static void put_str_repr(struct tpl_sb *b, const struct tpl_str *s)
{
    bool single = memchr(s->data, '\'', s->len) != NULL,
        twice = memchr(s->data, '"', s->len) != NULL;
    char quote = single && !twice ? '"' : '\'';
    if (s->safe)
        tpl_sb_lit(b, "Markup(");
    tpl_sb_put(b, &quote, 1, 0);
    size_t done = 0;
    for (size_t at = 0; at < s->len;) {
        uint32_t cp;
        size_t len = utf8_next(s->data + at, s->len - at, &cp);
        if (cp == (uint32_t)quote || cp == '\\' || !printable(cp)) {
            tpl_sb_cut(b, s, done, at);
            put_escape(b, cp, quote, tpl_origin_at(s, at));
            done = at + len;
        }
        at += len;
    }
    tpl_sb_cut(b, s, done, s->len);
    tpl_sb_put(b, &quote, 1, 0);
    if (s->safe)
        tpl_sb_lit(b, ")");
}

static int put_items(struct tpl_sb *b, const struct tpl_seq *q, const char *open, const char *close)
{
    tpl_sb_lit(b, open);
    for (uint32_t i = 0; i < q->n; i++) {
        if (i > 0)
            tpl_sb_lit(b, ", ");
        TRY(tpl_put_repr(b, q->items[i]));
    }
    tpl_sb_lit(b, close);
    return b->status;
}

static int put_dict(struct tpl_sb *b, const struct tpl_dict *d)
{
    tpl_sb_lit(b, "{");
    for (uint32_t i = 0; i < d->n; i++) {
        if (i > 0)
            tpl_sb_lit(b, ", ");
        TRY(tpl_put_repr(b, d->e[i].key));
        tpl_sb_lit(b, ": ");
        TRY(tpl_put_repr(b, d->e[i].val));
    }
    tpl_sb_lit(b, "}");
    return b->status;
}

static int put_seq(struct tpl_sb *b, struct tpl_val v)
{
    switch (v.kind) {
    case TPL_LIST: return put_items(b, v.seq, "[", "]");
    case TPL_TUPLE: return put_items(b, v.seq, "(", v.seq->n == 1 ? ",)" : ")");
    case TPL_VIEW:
        tpl_sb_lit(b, v.seq->view);
        return put_items(b, v.seq, "([", "])");
    case TPL_RANGE:
        tpl_sb_lit(b, "range(");
        put_int(b, v.seq->lo);
        tpl_sb_lit(b, ", ");
        put_int(b, v.seq->hi);
        if (v.seq->step != 1) {
            tpl_sb_lit(b, ", ");
            put_int(b, v.seq->step);
        }
        tpl_sb_lit(b, ")");
        return b->status;
    default:
        tpl_sb_lit(b, "<generator object>"); /* Python adds an address */
        return b->status;
    }
}

static int put_nested(struct tpl_sb *b, struct tpl_val v)
{
    TRY(tpl_enter(b->r));
    if (v.kind == TPL_NS)
        tpl_sb_lit(b, "<Namespace ");
    TRY(tpl_is_seq(v) ? put_seq(b, v) : put_dict(b, v.d));
    if (v.kind == TPL_NS)
        tpl_sb_lit(b, ">");
    tpl_leave(b->r);
    return b->status;
}

int tpl_put_repr(struct tpl_sb *b, struct tpl_val v)
{
    TRY(tpl_burn(b->r, 1));
    switch (v.kind) {
    case TPL_UNDEF: tpl_sb_lit(b, "Undefined"); break;
    case TPL_NONE: tpl_sb_lit(b, "None"); break;
    case TPL_BOOL: tpl_sb_lit(b, v.b ? "True" : "False"); break;
    case TPL_INT: put_int(b, v.i); break;
    case TPL_FLOAT: put_float(b, v.f); break;
    case TPL_STR: put_str_repr(b, v.s); break;
    default:
        if (tpl_is_seq(v) || v.kind == TPL_DICT || v.kind == TPL_NS)
            return put_nested(b, v);
        /* Python prints an address here; ours has none to show */
        tpl_sb_lit(b, "<");
        tpl_sb_lit(b, tpl_type_name(v));
        tpl_sb_lit(b, ">");
    }
    return b->status;
}

int tpl_put_str(struct tpl_sb *b, struct tpl_val v)
{
    if (v.kind == TPL_UNDEF)
        return b->status;
    if (v.kind != TPL_STR)
        return tpl_put_repr(b, v);
    tpl_sb_str(b, v.s);
    return b->status;
}

int tpl_to_str(struct tpl *r, struct tpl_val v, struct tpl_val *out)
{
    if (v.kind == TPL_STR) {
        *out = v;
        return 0;
    }
    struct tpl_sb b;
    tpl_sb_init(&b, r);
    TRY(tpl_put_str(&b, v));
    return tpl_sb_done(&b, out);
}

void tpl_put_escaped(struct tpl_sb *b, const struct tpl_str *s)
{
    size_t done = 0;
    for (size_t i = 0; i < s->len; i++) {
        const char *to = s->data[i] == '&' ? "&amp;" : s->data[i] == '<' ? "&lt;"
                       : s->data[i] == '>' ? "&gt;" : s->data[i] == '\'' ? "&#39;"
                       : s->data[i] == '"' ? "&#34;" : NULL;
        if (to == NULL)
            continue;
        tpl_sb_cut(b, s, done, i);
        tpl_sb_put(b, to, strlen(to), tpl_origin_at(s, i));
        done = i + 1;
    }
    tpl_sb_cut(b, s, done, s->len);
}

/* --- JSON out --------------------------------------------------------------------------------- */

static void put_json_unit(struct tpl_sb *b, uint32_t unit, uint8_t origin)
{
    char text[8];
    snprintf(text, sizeof text, "\\u%04x", unit & 0xffffu);
    tpl_sb_put(b, text, 6, origin);
}

/* Writes cp as json.dumps would if it needs an escape; false if it may stand as it is. */
static bool put_json_escape(struct tpl_sb *b, uint32_t cp, bool ascii, uint8_t origin)
{
    static const char names[] = "\"\"\\\\\nn\rr\tt\bb\ff";
    for (size_t i = 0; i + 1 < sizeof names; i += 2) {
        if (cp == (uint32_t)names[i]) {
            char text[2] = { '\\', names[i + 1] };
            tpl_sb_put(b, text, 2, origin);
            return true;
        }
    }
    if (cp >= 0x20 && (!ascii || cp < 0x7f))
        return false;
    if (cp == 0x7f)
        return false;
    if (cp >= 0x10000) {
        put_json_unit(b, 0xd800 + ((cp - 0x10000) >> 10), origin);
        put_json_unit(b, 0xdc00 + ((cp - 0x10000) & 0x3ff), origin);
    } else {
        put_json_unit(b, cp, origin);
    }
    return true;
}

static void put_json_text(struct tpl_sb *b, const struct tpl_str *s, bool ascii)
{
    tpl_sb_lit(b, "\"");
    size_t done = 0;
    for (size_t at = 0; at < s->len;) {
        uint32_t cp;
        size_t len = utf8_next(s->data + at, s->len - at, &cp);
        bool plain = cp >= 0x20 && cp < 0x7f && cp != '"' && cp != '\\';
        if (!plain && (ascii || cp < 0x80)) {
            tpl_sb_cut(b, s, done, at);
            done = at;
            if (put_json_escape(b, cp, ascii, tpl_origin_at(s, at)))
                done = at + len;
        }
        at += len;
    }
    tpl_sb_cut(b, s, done, s->len);
    tpl_sb_lit(b, "\"");
}

static void put_json_float(struct tpl_sb *b, double f)
{
    if (isfinite(f))
        put_float(b, f);
    else
        tpl_sb_lit(b, isnan(f) ? "NaN" : f < 0 ? "-Infinity" : "Infinity");
}

static void put_break(struct tpl_sb *b, const struct tpl_json_style *style, uint32_t depth)
{
    if (style->indent == NULL)
        return;
    tpl_sb_lit(b, "\n");
    for (uint32_t i = 0; i < depth; i++)
        tpl_sb_str(b, style->indent);
}

static void put_sep(struct tpl_sb *b, const struct tpl_str *given, const char *otherwise)
{
    if (given != NULL)
        tpl_sb_str(b, given);
    else
        tpl_sb_lit(b, otherwise);
}

static int put_json_at(struct tpl_sb *b, struct tpl_val v, const struct tpl_json_style *style,
                       uint32_t depth);

static int put_json_list(struct tpl_sb *b, const struct tpl_seq *q,
                         const struct tpl_json_style *style,
                         uint32_t depth)
{
    tpl_sb_lit(b, "[");
    for (uint32_t i = 0; i < q->n; i++) {
        if (i > 0)
            put_sep(b, style->item_sep, style->indent != NULL ? "," : ", ");
        put_break(b, style, depth + 1);
        TRY(put_json_at(b, q->items[i], style, depth + 1));
    }
    if (q->n > 0)
        put_break(b, style, depth);
    tpl_sb_lit(b, "]");
    return b->status;
}

static int put_json_key(struct tpl_sb *b, struct tpl_val key, const struct tpl_json_style *style)
{
    if (key.kind == TPL_STR) {
        put_json_text(b, key.s, style->ascii);
        return b->status;
    }
    if (key.kind != TPL_NONE && !tpl_is_number(key))
        return tpl_fail(b->r, "keys must be str, int, float, bool or None, not %s",
                        tpl_type_name(key));
    tpl_sb_lit(b, "\"");
    TRY(put_json_at(b, key, style, 0));
    tpl_sb_lit(b, "\"");
    return b->status;
}

/* Members by key. An insertion sort: schemas are small, and each comparison burns fuel. */
static int sorted_members(struct tpl *r, const struct tpl_dict *d, struct tpl_entry **out)
{
    struct tpl_entry *e = tpl_alloc(r, d->n, sizeof *e);
    if (e == NULL)
        return tpl_nomem(r);
    for (uint32_t n = 0; n < d->n; n++) {
        uint32_t at = n;
        for (; at > 0; at--) {
            bool before;
            TRY(tpl_less(r, d->e[n].key, e[at - 1].key, &before));
            if (!before)
                break;
            e[at] = e[at - 1];
        }
        e[at] = d->e[n];
    }
    *out = e;
    return 0;
}

static int put_json_dict(struct tpl_sb *b, const struct tpl_dict *d,
                         const struct tpl_json_style *style,
                         uint32_t depth)
{
    struct tpl_entry *e = d->e;
    if (style->sort_keys)
        TRY(sorted_members(b->r, d, &e));
    tpl_sb_lit(b, "{");
    for (uint32_t i = 0; i < d->n; i++) {
        if (i > 0)
            put_sep(b, style->item_sep, style->indent != NULL ? "," : ", ");
        put_break(b, style, depth + 1);
        TRY(put_json_key(b, e[i].key, style));
        put_sep(b, style->key_sep, ": ");
        TRY(put_json_at(b, e[i].val, style, depth + 1));
    }
    if (d->n > 0)
        put_break(b, style, depth);
    tpl_sb_lit(b, "}");
    return b->status;
}

static int put_json_at(struct tpl_sb *b, struct tpl_val v, const struct tpl_json_style *style,
                       uint32_t depth)
{
    TRY(tpl_burn(b->r, 1));
    switch (v.kind) {
    case TPL_NONE: tpl_sb_lit(b, "null"); break;
    case TPL_BOOL: tpl_sb_lit(b, v.b ? "true" : "false"); break;
    case TPL_INT: put_int(b, v.i); break;
    case TPL_FLOAT: put_json_float(b, v.f); break;
    case TPL_STR: put_json_text(b, v.s, style->ascii); break;
    case TPL_LIST:
    case TPL_TUPLE:
    case TPL_DICT:
        TRY(tpl_enter(b->r));
        if (v.kind == TPL_DICT)
            TRY(put_json_dict(b, v.d, style, depth));
        else
            TRY(put_json_list(b, v.seq, style, depth));
        tpl_leave(b->r);
        break;
    default:
        return tpl_fail(b->r, "tojson: an object of type %s is not JSON serializable",
                        tpl_type_name(v));
    }
    return b->status;
}

int tpl_put_json(struct tpl_sb *b, struct tpl_val v, const struct tpl_json_style *style)
{
    return put_json_at(b, v, style, 0);
}

/* --- JSON in ---------------------------------------------------------------------------------- */

struct members {
    struct tpl *r;
    struct tpl_dict *d;
    uint8_t origin;
};

static int take_member(void *ctx, const char *key, json_value *member)
{
    struct members *m = ctx;
    struct tpl_val k, v;
    TRY(tpl_str_new(m->r, key, strlen(key), m->origin, &k));
    TRY(tpl_from_json(m->r, member, m->origin, &v));
    return tpl_dict_add(m->r, m->d, k, v);
}

static int from_nested(struct tpl *r, const json_value *j, uint8_t origin, struct tpl_val *out)
{
    TRY(tpl_enter(r));
    if (json_kind_of(j) == JSON_OBJECT) {
        TRY(tpl_dict_new(r, TPL_DICT, out));
        struct members m = { .r = r, .d = out->d, .origin = origin };
        TRY(json_each(j, take_member, &m));
    } else {
        TRY(tpl_seq_new(r, TPL_LIST, json_len(j), out));
        for (uint32_t i = 0; i < out->seq->n; i++)
            TRY(tpl_from_json(r, json_at(j, i), origin, &out->seq->items[i]));
    }
    tpl_leave(r);
    return 0;
}

int tpl_from_json(struct tpl *r, const json_value *j, uint8_t origin, struct tpl_val *out)
{
    size_t len;
    const char *text;
    switch (json_kind_of(j)) {
    case JSON_NULL: *out = tpl_none(); return 0;
    case JSON_BOOL: *out = tpl_bool(json_as_bool(j)); return 0;
    case JSON_INT: *out = tpl_int(json_as_int(j)); return 0;
    case JSON_DOUBLE: *out = tpl_float(json_as_double(j)); return 0;
    case JSON_STRING:
        text = json_text(j, &len);
        if (!utf8_valid(text, len))
            return tpl_fail(r, "a variable holds a string that is not UTF-8");
        return tpl_str_new(r, text, len, origin, out);
    default: return from_nested(r, j, origin, out);
    }
}
