/* Filters over strings, after jinja2's filters.py; tojson as Hugging Face redefines
 * it. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include <utf8proc.h>

#include "base/utf8.h"
#include "text/template_eval.h"
#include "text/template_filter.h"
#include "text/template_print.h"

#define FILTER(name) \
    static int name(struct tpl *r, struct tpl_val *v, const struct tpl_args *raw, \
                    struct tpl_val *out)

static bool given(struct tpl_val v) { return v.kind != TPL_MISSING && v.kind != TPL_NONE; }

static int case_filter(struct tpl *r, struct tpl_val v, enum tpl_case how, struct tpl_val *out)
{
    TRY(tpl_to_str(r, v, &v));
    return tpl_str_case(r, v.s, how, out);
}

FILTER(f_upper) { (void)raw; return case_filter(r, v[0], TPL_UPPER, out); }
FILTER(f_lower) { (void)raw; return case_filter(r, v[0], TPL_LOWER, out); }
FILTER(f_capitalize) { (void)raw; return case_filter(r, v[0], TPL_CAPITALIZE, out); }

/* Jinja's title: a word begins behind white space or one of -({[<. */
FILTER(f_title)
{
    (void)raw;
    struct tpl_val text, part;
    struct tpl_sb b;
    tpl_sb_init(&b, r);
    TRY(tpl_to_str(r, v[0], &text));
    bool start = true;
    for (size_t at = 0; at < text.s->len;) {
        uint32_t cp;
        size_t len = utf8_next(text.s->data + at, text.s->len - at, &cp);
        TRY(tpl_str_cut(r, text.s, at, at + len, &part));
        TRY(tpl_str_case(r, part.s, start ? TPL_UPPER : TPL_LOWER, &part));
        tpl_sb_str(&b, part.s);
        start = tpl_is_space(cp) || (cp < 0x80 && cp != 0 && strchr("-({[<", (int)cp) != NULL);
        at += len;
    }
    return tpl_sb_done(&b, out);
}

FILTER(f_trim)
{
    (void)raw;
    struct tpl_val text;
    struct tpl_str *chars = NULL;
    if (given(v[1]))
        TRY(tpl_want_str(r, v[1], "trim's characters", &chars));
    TRY(tpl_to_str(r, v[0], &text));
    return tpl_str_strip(r, text.s, chars, 3, out);
}

FILTER(f_string) { (void)raw; return tpl_to_str(r, v[0], out); }

FILTER(f_safe)
{
    (void)raw;
    struct tpl_val text;
    TRY(tpl_to_str(r, v[0], &text));
    TRY(tpl_str_cut(r, text.s, 0, text.s->len, out));
    out->s->safe = true;
    return 0;
}

static int escape_str(struct tpl *r, struct tpl_val v, bool again, struct tpl_val *out)
{
    struct tpl_sb b;
    TRY(tpl_to_str(r, v, &v));
    if (v.s->safe && !again) {
        *out = v;
        return 0;
    }
    tpl_sb_init(&b, r);
    tpl_put_escaped(&b, v.s);
    TRY(tpl_sb_done(&b, out));
    out->s->safe = true;
    return 0;
}

FILTER(f_escape) { (void)raw; return escape_str(r, v[0], false, out); }
FILTER(f_forceescape) { (void)raw; return escape_str(r, v[0], true, out); }

FILTER(f_replace)
{
    (void)raw;
    struct tpl_val s, from, to;
    int64_t max;
    TRY(tpl_to_str(r, v[0], &s));
    TRY(tpl_to_str(r, v[1], &from));
    TRY(tpl_to_str(r, v[2], &to));
    TRY(tpl_want_int(r, given(v[3]) ? v[3] : tpl_missing(), "replace's count", -1, &max));
    return tpl_str_replace(r, s.s, from.s, to.s, max, out);
}

FILTER(f_center)
{
    (void)raw;
    struct tpl_val s;
    int64_t width;
    TRY(tpl_to_str(r, v[0], &s));
    TRY(tpl_want_int(r, v[1], "center's width", 80, &width));
    return tpl_str_pad(r, s.s, width, ' ', 1, out);
}

static int blanks(struct tpl *r, int64_t n, struct tpl_val *out)
{
    struct tpl_val empty;
    TRY(tpl_str_lit(r, "", &empty));
    return tpl_str_pad(r, empty.s, n, ' ', 0, out);
}

/* indent(width=4, first=False, blank=False): all lines but the first; empty ones only with
 * blank. */
FILTER(f_indent)
{
    (void)raw;
    struct tpl_val pad, lines;
    int64_t width = 4;
    struct tpl_str *s;
    struct tpl_sb b;
    TRY(tpl_want_str(r, v[0], "what indent indents", &s));
    if (v[1].kind == TPL_STR) {
        pad = v[1];
    } else {
        TRY(tpl_want_int(r, v[1], "indent's width", 4, &width));
        TRY(blanks(r, width, &pad));
    }
    tpl_sb_init(&b, r);
    tpl_sb_str(&b, s);
    tpl_sb_lit(&b, "\n"); /* so that a last line end makes one more, empty line */
    TRY(tpl_sb_done(&b, &lines));
    TRY(tpl_str_lines(r, lines.s, false, &lines));
    tpl_sb_init(&b, r);
    for (uint32_t i = 0; i < lines.seq->n; i++) {
        const struct tpl_str *line = lines.seq->items[i].s;
        if (i > 0)
            tpl_sb_lit(&b, "\n");
        if (i == 0 ? tpl_truth(v[2]) : line->len > 0 || tpl_truth(v[3]))
            tpl_sb_str(&b, pad.s);
        tpl_sb_str(&b, line);
    }
    return tpl_sb_done(&b, out);
}

/* truncate(length=255, killwords=False, end='...', leeway=5) */
FILTER(f_truncate)
{
    (void)raw;
    struct tpl_str *s;
    struct tpl_val end;
    int64_t length, leeway;
    TRY(tpl_want_str(r, v[0], "what truncate cuts", &s));
    TRY(tpl_want_int(r, v[1], "truncate's length", 255, &length));
    TRY(tpl_want_int(r, given(v[4]) ? v[4] : tpl_missing(), "truncate's leeway", 5, &leeway));
    if (v[3].kind == TPL_MISSING)
        TRY(tpl_str_lit(r, "...", &end));
    else
        TRY(tpl_to_str(r, v[3], &end));
    int64_t keep = length - (int64_t)tpl_str_chars(end.s);
    if (keep < 0 || leeway < 0)
        return tpl_fail(r,
                        "truncate: the length is less than the end's, or the leeway is negative");
    if (tpl_str_chars(s) <= length + leeway)
        return tpl_str_cut(r, s, 0, s->len, out);
    size_t to = tpl_str_at(s, (uint32_t)keep);
    for (size_t at = to; !tpl_truth(v[2]) && at > 0; at--) {
        if (s->data[at - 1] == ' ') {
            to = at - 1;
            break;
        }
    }
    struct tpl_sb b;
    tpl_sb_init(&b, r);
    tpl_sb_cut(&b, s, 0, to);
    tpl_sb_str(&b, end.s);
    return tpl_sb_done(&b, out);
}

FILTER(f_wordcount)
{
    (void)raw;
    struct tpl_val text;
    TRY(tpl_to_str(r, v[0], &text));
    TRY(tpl_burn(r, text.s->len / 16));
    int64_t n = 0;
    bool inside = false;
    for (size_t at = 0; at < text.s->len;) {
        uint32_t cp;
        at += utf8_next(text.s->data + at, text.s->len - at, &cp);
        utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
        bool word = cp == '_' || (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO) ||
                    (c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO);
        n += word && !inside;
        inside = word;
    }
    *out = tpl_int(n);
    return 0;
}

/* --- markup and URLs -------------------------------------------------------------------------- */

static void put_url(struct tpl_sb *b, const struct tpl_str *s, bool query)
{
    for (size_t i = 0; i < s->len; i++) {
        unsigned char c = (unsigned char)s->data[i];
        char text[4];
        uint8_t origin = tpl_origin_at(s, i);
        if ((c < 0x80 && isalnum(c)) || (c != 0 && strchr("_.-~", c) != NULL) ||
            (c == '/' && !query)) {
            tpl_sb_cut(b, s, i, i + 1);
        } else if (c == ' ' && query) {
            tpl_sb_put(b, "+", 1, origin);
        } else {
            snprintf(text, sizeof text, "%%%02X", c);
            tpl_sb_put(b, text, 3, origin);
        }
    }
}

static int put_query(struct tpl_sb *b, struct tpl_val key, struct tpl_val val)
{
    if (b->len > 0)
        tpl_sb_lit(b, "&");
    TRY(tpl_to_str(b->r, key, &key));
    TRY(tpl_to_str(b->r, val, &val));
    put_url(b, key.s, true);
    tpl_sb_lit(b, "=");
    put_url(b, val.s, true);
    return tpl_burn(b->r, (key.s->len + val.s->len) / 4);
}

FILTER(f_urlencode)
{
    (void)raw;
    struct tpl_sb b;
    struct tpl_val *items, *pair, text;
    uint32_t n, two;
    tpl_sb_init(&b, r);
    if (v[0].kind == TPL_DICT) {
        for (uint32_t i = 0; i < v[0].d->n; i++)
            TRY(put_query(&b, v[0].d->e[i].key, v[0].d->e[i].val));
    } else if (v[0].kind != TPL_STR && tpl_iterable(v[0])) {
        TRY(tpl_items(r, v[0], &items, &n));
        for (uint32_t i = 0; i < n; i++) {
            TRY(tpl_items(r, items[i], &pair, &two));
            if (two != 2)
                return tpl_fail(r, "urlencode needs pairs");
            TRY(put_query(&b, pair[0], pair[1]));
        }
    } else {
        TRY(tpl_to_str(r, v[0], &text));
        TRY(tpl_burn(r, text.s->len / 4));
        put_url(&b, text.s, false);
    }
    return tpl_sb_done(&b, out);
}

FILTER(f_xmlattr)
{
    (void)raw;
    struct tpl_sb b;
    tpl_sb_init(&b, r);
    if (v[0].kind != TPL_DICT)
        return tpl_fail(r, "xmlattr needs a dict, not %s", tpl_type_name(v[0]));
    bool space = v[1].kind == TPL_MISSING || tpl_truth(v[1]);
    for (uint32_t i = 0; i < v[0].d->n; i++) {
        struct tpl_str *key;
        struct tpl_val val = v[0].d->e[i].val;
        if (val.kind == TPL_NONE || val.kind == TPL_UNDEF)
            continue;
        TRY(tpl_want_str(r, v[0].d->e[i].key, "the name of an attribute", &key));
        for (uint32_t k = 0; k < key->len; k++)
            if (isspace((unsigned char)key->data[k]) || strchr("/>=", key->data[k]) != NULL)
                return tpl_fail(r, "xmlattr: invalid character in the name of an attribute");
        if (space || b.len > 0)
            tpl_sb_lit(&b, " ");
        TRY(tpl_to_str(r, val, &val));
        tpl_put_escaped(&b, key);
        tpl_sb_lit(&b, "=\"");
        tpl_put_escaped(&b, val.s);
        tpl_sb_lit(&b, "\"");
    }
    return tpl_sb_done(&b, out);
}

/* "&#65;" and "&#x41;" at s[0]: the character and how long that is, or 0. */
static size_t numeric_entity(const char *s, size_t n, uint32_t *cp)
{
    if (n < 4 || memcmp(s, "&#", 2) != 0)
        return 0;
    bool hex = (s[2] | 0x20) == 'x';
    const char *digits = hex ? "0123456789abcdefABCDEF" : "0123456789";
    size_t at = 2 + hex;
    uint32_t x = 0;
    for (; at < n && s[at] != '\0' && strchr(digits, s[at]) != NULL && x < 0x110000; at++)
        x = x * (hex ? 16 : 10) +
            (uint32_t)(s[at] <= '9' ? s[at] - '0' : (s[at] | 0x20) - 'a' + 10);
    char probe[4];
    if (at >= n || s[at] != ';' || x < 32 || utf8_put(probe, x) == 0)
        return 0;
    *cp = x;
    return at + 1;
}

/* The five entities that text needs, and numbers. */
static size_t entity(const char *s, size_t n, uint32_t *cp)
{
    static const struct {
        const char *name;
        char c;
    } names[] = {
        { "&amp;", '&' }, { "&lt;", '<' }, { "&gt;", '>' }, { "&quot;", '"' }, { "&apos;", '\'' },
    };
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        size_t len = strlen(names[i].name);
        if (n >= len && memcmp(s, names[i].name, len) == 0) {
            *cp = (uint32_t)names[i].c;
            return len;
        }
    }
    return numeric_entity(s, n, cp);
}

/* Appends s with its entities read. */
static void put_unescaped(struct tpl_sb *b, const struct tpl_str *s)
{
    for (size_t at = 0; at < s->len;) {
        uint32_t cp = 0;
        size_t len = entity(s->data + at, s->len - at, &cp);
        if (len > 0)
            tpl_sb_char(b, cp, tpl_origin_at(s, at));
        else
            tpl_sb_cut(b, s, at, at + 1);
        at += len > 0 ? len : 1;
    }
}

/* Without comments and tags, white space squeezed, entities read. */
FILTER(f_striptags)
{
    (void)raw;
    struct tpl_val text;
    struct tpl_sb bare, squeezed, b;
    TRY(tpl_to_str(r, v[0], &text));
    const struct tpl_str *s = text.s;
    TRY(tpl_burn(r, s->len));
    tpl_sb_init(&bare, r);
    for (size_t at = 0; at < s->len;) {
        bool comment = s->len - at >= 4 && memcmp(s->data + at, "<!--", 4) == 0;
        const char *end = s->data[at] != '<' ? NULL
                        : comment ? memmem(s->data + at, s->len - at, "-->", 3)
                                  : memchr(s->data + at, '>', s->len - at);
        if (end == NULL)
            tpl_sb_cut(&bare, s, at, at + 1);
        at = end == NULL ? at + 1 : (size_t)(end - s->data) + (comment ? 3 : 1);
    }
    TRY(tpl_sb_done(&bare, &text));
    tpl_sb_init(&squeezed, r);
    bool gap = false;
    for (size_t at = 0; at < text.s->len;) {
        uint32_t cp;
        size_t len = utf8_next(text.s->data + at, text.s->len - at, &cp);
        if (!tpl_is_space(cp)) {
            if (gap && squeezed.len > 0)
                tpl_sb_lit(&squeezed, " ");
            tpl_sb_cut(&squeezed, text.s, at, at + len);
        }
        gap = tpl_is_space(cp);
        at += len;
    }
    TRY(tpl_sb_done(&squeezed, &text));
    tpl_sb_init(&b, r);
    put_unescaped(&b, text.s);
    return tpl_sb_done(&b, out);
}

/* --- formatting ------------------------------------------------------------------------------- */

FILTER(f_format)
{
    struct tpl_val text, args;
    TRY(tpl_to_str(r, v[0], &text));
    if (raw->n_pos > 0 && raw->n_kw > 0)
        return tpl_fail(r, "format takes values or names, not both");
    if (raw->n_kw > 0) {
        TRY(tpl_dict_new(r, TPL_DICT, &args));
        for (uint32_t i = 0; i < raw->n_kw; i++) {
            struct tpl_val key;
            TRY(tpl_str_cut(r, raw->kw[i].name, 0, raw->kw[i].name->len, &key));
            TRY(tpl_dict_put(r, args.d, key, raw->kw[i].val));
        }
    } else {
        TRY(tpl_seq_wrap(r, TPL_TUPLE, raw->pos, raw->n_pos, &args));
    }
    return tpl_format_percent(r, text.s, args, out);
}

static int json_separators(struct tpl *r, struct tpl_val v, struct tpl_json_style *style)
{
    struct tpl_val *items;
    struct tpl_str *item, *key;
    uint32_t n;
    TRY(tpl_items(r, v, &items, &n));
    if (n != 2)
        return tpl_fail(r, "tojson's separators must be two strings");
    TRY(tpl_want_str(r, items[0], "tojson's separator", &item));
    TRY(tpl_want_str(r, items[1], "tojson's separator", &key));
    style->item_sep = item;
    style->key_sep = key;
    return 0;
}

/* tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False), json.dumps
 * underneath. */
FILTER(f_tojson)
{
    (void)raw;
    struct tpl_json_style style = { .ascii = tpl_truth(v[1]), .sort_keys = tpl_truth(v[4]) };
    struct tpl_val indent = v[2];
    if (given(indent) && indent.kind != TPL_STR) {
        int64_t n;
        TRY(tpl_want_int(r, indent, "tojson's indent", 0, &n));
        TRY(blanks(r, n, &indent));
    }
    if (given(indent))
        style.indent = indent.s;
    if (given(v[3]))
        TRY(json_separators(r, v[3], &style));
    struct tpl_sb b;
    tpl_sb_init(&b, r);
    TRY(tpl_put_json(&b, v[0], &style));
    return tpl_sb_done(&b, out);
}

const struct tpl_fn TPL_FILTERS_TEXT[] = {
    { "capitalize", f_capitalize, "", 0 },
    { "center", f_center, "width", 0 },
    { "e", f_escape, "", 0 },
    { "escape", f_escape, "", 0 },
    { "forceescape", f_forceescape, "", 0 },
    { "format", f_format, NULL, 0 },
    { "indent", f_indent, "width first blank", 0 },
    { "lower", f_lower, "", 0 },
    { "replace", f_replace, "old new count", 2 },
    { "safe", f_safe, "", 0 },
    { "string", f_string, "", 0 },
    { "striptags", f_striptags, "", 0 },
    { "title", f_title, "", 0 },
    { "tojson", f_tojson, "ensure_ascii indent separators sort_keys", 0 },
    { "trim", f_trim, "chars", 0 },
    { "truncate", f_truncate, "length killwords end leeway", 0 },
    { "upper", f_upper, "", 0 },
    { "urlencode", f_urlencode, "", 0 },
    { "wordcount", f_wordcount, "", 0 },
    { "xmlattr", f_xmlattr, "autospace", 0 },
    { NULL, NULL, NULL, 0 },
};
