/* Methods of strings, dicts, lists, ranges, floats, loops and cyclers. What would change a list
 * or a dict is refused, as in the immutable sandbox that templates are written for. */
#include <math.h>
#include <string.h>

#include <utf8proc.h>

#include "base/utf8.h"
#include "text/template_eval.h"
#include "text/template_filter.h"
#include "text/template_print.h"

#define METHOD(name) \
    static int name(struct tpl *r, struct tpl_val *v, const struct tpl_args *raw, \
                    struct tpl_val *out)

static bool given(struct tpl_val v) { return v.kind != TPL_MISSING && v.kind != TPL_NONE; }

/* --- case and shape --------------------------------------------------------------------------- */

METHOD(m_upper) { (void)raw; return tpl_str_case(r, v[0].s, TPL_UPPER, out); }
METHOD(m_lower) { (void)raw; return tpl_str_case(r, v[0].s, TPL_LOWER, out); }
METHOD(m_capitalize) { (void)raw; return tpl_str_case(r, v[0].s, TPL_CAPITALIZE, out); }
METHOD(m_title) { (void)raw; return tpl_str_case(r, v[0].s, TPL_TITLE, out); }
METHOD(m_swapcase) { (void)raw; return tpl_str_case(r, v[0].s, TPL_SWAPCASE, out); }
METHOD(m_casefold) { (void)raw; return tpl_str_case(r, v[0].s, TPL_CASEFOLD, out); }

static int strip(struct tpl *r, struct tpl_val *v, int sides, struct tpl_val *out)
{
    struct tpl_str *chars = NULL;
    if (given(v[1]))
        TRY(tpl_want_str(r, v[1], "the characters to strip", &chars));
    return tpl_str_strip(r, v[0].s, chars, sides, out);
}

METHOD(m_strip) { (void)raw; return strip(r, v, 3, out); }
METHOD(m_lstrip) { (void)raw; return strip(r, v, 1, out); }
METHOD(m_rstrip) { (void)raw; return strip(r, v, 2, out); }

static int pad(struct tpl *r, struct tpl_val *v, int left, struct tpl_val *out)
{
    int64_t width;
    struct tpl_str *fill;
    uint32_t cp = ' ';
    TRY(tpl_want_int(r, v[1], "a width", 0, &width));
    if (v[2].kind != TPL_MISSING) {
        TRY(tpl_want_str(r, v[2], "the fill", &fill));
        if (tpl_str_chars(fill) != 1)
            return tpl_fail(r, "the fill must be exactly one character");
        utf8_next(fill->data, fill->len, &cp);
    }
    return tpl_str_pad(r, v[0].s, width, cp, left, out);
}

METHOD(m_center) { (void)raw; return pad(r, v, 1, out); }
METHOD(m_ljust) { (void)raw; return pad(r, v, 0, out); }
METHOD(m_rjust) { (void)raw; return pad(r, v, 2, out); }

METHOD(m_zfill)
{
    (void)raw;
    int64_t width;
    struct tpl_val rest, zeros;
    struct tpl_str *s = v[0].s;
    size_t sign = s->len > 0 && (s->data[0] == '-' || s->data[0] == '+');
    TRY(tpl_want_int(r, v[1], "a width", 0, &width));
    TRY(tpl_str_cut(r, s, sign, s->len, &rest));
    TRY(tpl_str_pad(r, rest.s, width - (int64_t)sign, '0', 2, &zeros));
    struct tpl_sb b;
    tpl_sb_init(&b, r);
    tpl_sb_cut(&b, s, 0, sign);
    tpl_sb_str(&b, zeros.s);
    return tpl_sb_done(&b, out);
}

/* --- what a string is made of ----------------------------------------------------------------- */

enum char_class { ALPHA, DECIMAL, DIGIT, NUMERIC, ALNUM, SPACE, ASCII, PRINTABLE, IDENT };

/* Digits that are not decimal: superscripts, subscripts, circled ones. */
static bool is_odd_digit(uint32_t cp)
{
    return cp == 0xb2 || cp == 0xb3 || cp == 0xb9 || (cp >= 0x2070 && cp <= 0x2089) ||
           (cp >= 0x2460 && cp <= 0x2468);
}

static bool is_class(uint32_t cp, enum char_class k)
{
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    bool alpha = c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
    bool decimal = c == UTF8PROC_CATEGORY_ND;
    bool numeric = c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO;
    const bool is[] = {
        [ALPHA] = alpha,
        [DECIMAL] = decimal,
        [DIGIT] = decimal || is_odd_digit(cp),
        [NUMERIC] = numeric,
        [ALNUM] = alpha || numeric,
        [SPACE] = tpl_is_space(cp),
        [ASCII] = cp < 0x80,
        [PRINTABLE] = cp == ' ' || (c < UTF8PROC_CATEGORY_ZS && c != UTF8PROC_CATEGORY_CN),
        [IDENT] = cp == '_' || alpha || decimal,
    };
    return is[k];
}

static int all_of(struct tpl *r, const struct tpl_str *s, enum char_class k, bool empty,
                  struct tpl_val *out)
{
    bool all = s->len > 0 || empty;
    TRY(tpl_burn(r, s->len / 16));
    for (size_t at = 0; at < s->len && all;) {
        uint32_t cp;
        at += utf8_next(s->data + at, s->len - at, &cp);
        all = is_class(cp, k);
    }
    *out = tpl_bool(all);
    return 0;
}

METHOD(m_isalpha) { (void)raw; return all_of(r, v[0].s, ALPHA, false, out); }
METHOD(m_isalnum) { (void)raw; return all_of(r, v[0].s, ALNUM, false, out); }
METHOD(m_isdecimal) { (void)raw; return all_of(r, v[0].s, DECIMAL, false, out); }
METHOD(m_isdigit) { (void)raw; return all_of(r, v[0].s, DIGIT, false, out); }
METHOD(m_isnumeric) { (void)raw; return all_of(r, v[0].s, NUMERIC, false, out); }
METHOD(m_isspace) { (void)raw; return all_of(r, v[0].s, SPACE, false, out); }
METHOD(m_isascii) { (void)raw; return all_of(r, v[0].s, ASCII, true, out); }
METHOD(m_isprintable) { (void)raw; return all_of(r, v[0].s, PRINTABLE, true, out); }

METHOD(m_isidentifier)
{
    (void)raw;
    TRY(all_of(r, v[0].s, IDENT, false, out));
    if (out->b && v[0].s->data[0] >= '0' && v[0].s->data[0] <= '9')
        *out = tpl_bool(false);
    return 0;
}

static int has_case(struct tpl *r, const struct tpl_str *s, bool upper, struct tpl_val *out)
{
    TRY(tpl_burn(r, s->len / 16));
    *out = tpl_bool(tpl_str_has_case(s, upper));
    return 0;
}

METHOD(m_islower) { (void)raw; return has_case(r, v[0].s, false, out); }
METHOD(m_isupper) { (void)raw; return has_case(r, v[0].s, true, out); }

METHOD(m_istitle)
{
    (void)raw;
    struct tpl_val title, upper;
    bool same;
    TRY(tpl_str_case(r, v[0].s, TPL_TITLE, &title));
    TRY(tpl_str_case(r, v[0].s, TPL_SWAPCASE, &upper)); /* nothing to swap: no cased letters */
    TRY(tpl_eq(r, upper, v[0], &same));
    if (!same)
        TRY(tpl_eq(r, title, v[0], &same));
    else
        same = false;
    *out = tpl_bool(same);
    return 0;
}

/* --- searching -------------------------------------------------------------------------------- */

/* v[0][start:end] as str.find and its kin take it; *from is where that begins, in bytes. *empty:
 * the start lies behind the end, where not even "" is found. */
static int window(struct tpl *r, struct tpl_val *v, struct tpl_val *out, size_t *from, bool *empty)
{
    int64_t n = tpl_str_chars(v[0].s), start, end;
    TRY(tpl_want_int(r, given(v[2]) ? v[2] : tpl_missing(), "a start", 0, &start));
    TRY(tpl_want_int(r, given(v[3]) ? v[3] : tpl_missing(), "an end", n, &end));
    start = start < 0 ? (start + n < 0 ? 0 : start + n) : start;
    end = end < 0 ? (end + n < 0 ? 0 : end + n) : end > n ? n : end;
    *empty = start > end;
    if (*empty)
        start = end;
    *from = tpl_str_at(v[0].s, (uint32_t)start);
    return tpl_str_cut(r, v[0].s, *from, tpl_str_at(v[0].s, (uint32_t)end), out);
}

static int find(struct tpl *r, struct tpl_val *v, bool last, bool must, struct tpl_val *out)
{
    struct tpl_str *needle;
    struct tpl_val part, before;
    size_t from, found = SIZE_MAX;
    bool empty;
    TRY(tpl_want_str(r, v[1], "what to find", &needle));
    TRY(window(r, v, &part, &from, &empty));
    TRY(tpl_burn(r, part.s->len / 16));
    if (!empty && !last) {
        found = tpl_str_find(part.s, needle, 0);
    } else if (!empty && needle->len <= part.s->len) {
        size_t at = part.s->len - needle->len;
        while (at > 0 && memcmp(part.s->data + at, needle->data, needle->len) != 0)
            at--;
        found = memcmp(part.s->data + at, needle->data, needle->len) == 0 ? at : SIZE_MAX;
    }
    if (found == SIZE_MAX && must)
        return tpl_fail(r, "substring not found");
    *out = tpl_int(-1);
    if (found == SIZE_MAX)
        return 0;
    TRY(tpl_str_cut(r, v[0].s, 0, from + found, &before));
    *out = tpl_int(tpl_str_chars(before.s));
    return 0;
}

METHOD(m_find) { (void)raw; return find(r, v, false, false, out); }
METHOD(m_rfind) { (void)raw; return find(r, v, true, false, out); }
METHOD(m_index) { (void)raw; return find(r, v, false, true, out); }
METHOD(m_rindex) { (void)raw; return find(r, v, true, true, out); }

METHOD(m_count)
{
    (void)raw;
    struct tpl_str *needle;
    struct tpl_val part;
    size_t from;
    bool empty;
    int64_t n = 0;
    TRY(tpl_want_str(r, v[1], "what to count", &needle));
    TRY(window(r, v, &part, &from, &empty));
    TRY(tpl_burn(r, part.s->len / 16));
    if (needle->len == 0)
        n = empty ? 0 : (int64_t)tpl_str_chars(part.s) + 1;
    else
        for (size_t at = 0; (at = tpl_str_find(part.s, needle, at)) != SIZE_MAX; at += needle->len)
            n++;
    *out = tpl_int(n);
    return 0;
}

static bool begins(const struct tpl_str *s, const struct tpl_str *with, bool at_end)
{
    return with->len <= s->len &&
           memcmp(s->data + (at_end ? s->len - with->len : 0), with->data, with->len) == 0;
}

/* startswith and endswith take one string or a tuple of them. */
static int affix(struct tpl *r, struct tpl_val *v, bool at_end, struct tpl_val *out)
{
    struct tpl_val part, *list = &v[1];
    uint32_t n = 1;
    size_t from;
    bool empty, holds = false;
    TRY(window(r, v, &part, &from, &empty));
    if (v[1].kind == TPL_TUPLE)
        TRY(tpl_items(r, v[1], &list, &n));
    for (uint32_t i = 0; i < n && !holds; i++) {
        struct tpl_str *with;
        TRY(tpl_want_str(r, list[i], at_end ? "endswith's argument" : "startswith's argument",
                         &with));
        TRY(tpl_burn(r, 1 + with->len / 64));
        holds = !empty && begins(part.s, with, at_end);
    }
    *out = tpl_bool(holds);
    return 0;
}

METHOD(m_startswith) { (void)raw; return affix(r, v, false, out); }
METHOD(m_endswith) { (void)raw; return affix(r, v, true, out); }

static int remove_affix(struct tpl *r, struct tpl_val *v, bool at_end, struct tpl_val *out)
{
    struct tpl_str *s = v[0].s, *with;
    TRY(tpl_want_str(r, v[1], "what to remove", &with));
    size_t cut = begins(s, with, at_end) ? with->len : 0;
    return tpl_str_cut(r, s, at_end ? 0 : cut, at_end ? s->len - cut : s->len, out);
}

METHOD(m_removeprefix) { (void)raw; return remove_affix(r, v, false, out); }
METHOD(m_removesuffix) { (void)raw; return remove_affix(r, v, true, out); }

METHOD(m_replace)
{
    (void)raw;
    struct tpl_str *from, *to;
    int64_t max;
    TRY(tpl_want_str(r, v[1], "what to replace", &from));
    TRY(tpl_want_str(r, v[2], "the replacement", &to));
    TRY(tpl_want_int(r, v[3], "replace's count", -1, &max));
    return tpl_str_replace(r, v[0].s, from, to, max, out);
}

/* --- cutting and joining ---------------------------------------------------------------------- */

static int put_part(struct tpl *r, struct tpl_grow *g, const struct tpl_str *s, size_t from,
                    size_t to)
{
    struct tpl_val part;
    TRY(tpl_str_cut(r, s, from, to, &part));
    return tpl_grow_put(r, g, part);
}

/* split() at runs of white space, none at the ends. */
static int split_space(struct tpl *r, const struct tpl_str *s, int64_t max, struct tpl_grow *g)
{
    size_t at = 0;
    TRY(tpl_burn(r, s->len / 16));
    while (at < s->len) {
        uint32_t cp = 0;
        size_t len = utf8_next(s->data + at, s->len - at, &cp);
        if (tpl_is_space(cp)) {
            at += len;
            continue;
        }
        size_t from = at;
        if (max == 0) /* the rest, blanks at its end and all */
            return put_part(r, g, s, from, s->len);
        while (at < s->len && !tpl_is_space(cp)) {
            at += len;
            if (at < s->len)
                len = utf8_next(s->data + at, s->len - at, &cp);
        }
        TRY(put_part(r, g, s, from, at));
        max--;
    }
    return 0;
}

static int split_at(struct tpl *r, const struct tpl_str *s, const struct tpl_str *sep, int64_t max,
                    struct tpl_grow *g)
{
    size_t from = 0;
    TRY(tpl_burn(r, s->len / 64));
    for (; max != 0; max--) {
        size_t found = tpl_str_find(s, sep, from);
        if (found == SIZE_MAX)
            break;
        TRY(put_part(r, g, s, from, found));
        from = found + sep->len;
    }
    return put_part(r, g, s, from, s->len);
}

/* The last `max` cuts of a full split are kept: what comes before them is one part again. */
static int keep_last(struct tpl *r, const struct tpl_str *s, int64_t max, struct tpl_grow *g)
{
    if (max < 0 || g->n == 0 || g->n - 1 <= max)
        return 0;
    uint32_t joined = g->n - 1 - (uint32_t)max;
    const struct tpl_str *last = g->items[joined].s;
    struct tpl_val head;
    TRY(tpl_str_cut(r, s, 0, (size_t)(last->data - s->data) + last->len, &head));
    g->items += joined;
    g->n -= joined;
    g->items[0] = head;
    return 0;
}

static int split(struct tpl *r, struct tpl_val *v, bool right, struct tpl_val *out)
{
    struct tpl_grow g = { 0 };
    struct tpl_str *sep = NULL;
    int64_t max;
    if (given(v[1]))
        TRY(tpl_want_str(r, v[1], "a separator", &sep));
    TRY(tpl_want_int(r, v[2], "maxsplit", -1, &max));
    if (sep != NULL && sep->len == 0)
        return tpl_fail(r, "empty separator");
    if (sep == NULL)
        TRY(split_space(r, v[0].s, right ? -1 : max, &g));
    else
        TRY(split_at(r, v[0].s, sep, right ? -1 : max, &g));
    if (right)
        TRY(keep_last(r, v[0].s, max, &g));
    return tpl_seq_wrap(r, TPL_LIST, g.items, g.n, out);
}

METHOD(m_split) { (void)raw; return split(r, v, false, out); }
METHOD(m_rsplit) { (void)raw; return split(r, v, true, out); }

METHOD(m_splitlines)
{
    (void)raw;
    return tpl_str_lines(r, v[0].s, tpl_truth(v[1]), out);
}

static int partition(struct tpl *r, struct tpl_val *v, bool right, struct tpl_val *out)
{
    struct tpl_str *s = v[0].s, *sep;
    TRY(tpl_want_str(r, v[1], "a separator", &sep));
    if (sep->len == 0)
        return tpl_fail(r, "empty separator");
    size_t found = SIZE_MAX;
    TRY(tpl_burn(r, s->len / 64));
    for (size_t at = 0; (at = tpl_str_find(s, sep, at)) != SIZE_MAX; at++) {
        found = at;
        if (!right)
            break;
        TRY(tpl_burn(r, 1));
    }
    struct tpl_val t;
    TRY(tpl_seq_new(r, TPL_TUPLE, 3, &t));
    bool none = found == SIZE_MAX;
    size_t from = none ? (right ? 0 : s->len) : found, to = none ? from : found + sep->len;
    TRY(tpl_str_cut(r, s, 0, from, &t.seq->items[0]));
    TRY(tpl_str_cut(r, s, from, to, &t.seq->items[1]));
    TRY(tpl_str_cut(r, s, to, s->len, &t.seq->items[2]));
    *out = t;
    return 0;
}

METHOD(m_partition) { (void)raw; return partition(r, v, false, out); }
METHOD(m_rpartition) { (void)raw; return partition(r, v, true, out); }

METHOD(m_join)
{
    (void)raw;
    struct tpl_val *items;
    uint32_t n;
    TRY(tpl_items(r, v[1], &items, &n));
    return tpl_join(r, v[0].s, items, n, true, out);
}

METHOD(m_format) { return tpl_format_braces(r, v[0].s, raw, out); }

METHOD(m_expandtabs)
{
    (void)raw;
    int64_t size, column = 0;
    struct tpl_sb b;
    struct tpl_str *s = v[0].s;
    TRY(tpl_want_int(r, v[1], "a tab's width", 8, &size));
    TRY(tpl_burn(r, s->len));
    tpl_sb_init(&b, r);
    for (size_t at = 0; at < s->len && b.status == 0;) {
        uint32_t cp;
        size_t len = utf8_next(s->data + at, s->len - at, &cp);
        if (cp != '\t')
            tpl_sb_cut(&b, s, at, at + len);
        for (int64_t n = cp == '\t' && size > 0 ? size - column % size : 0; n > 0 &&
             b.status == 0; n--)
            tpl_sb_put(&b, " ", 1, tpl_origin_at(s, at));
        column = cp == '\n' || cp == '\r' ? 0
               : cp == '\t' ? (size > 0 ? column + size - column % size : column) : column + 1;
        at += len;
    }
    return tpl_sb_done(&b, out);
}

/* --- dicts and lists -------------------------------------------------------------------------- */

METHOD(m_get)
{
    (void)raw;
    struct tpl_val *found;
    TRY(tpl_dict_find(r, v[0].d, v[1], &found));
    *out = found != NULL ? *found : v[2].kind == TPL_MISSING ? tpl_none() : v[2];
    return 0;
}

static int view(struct tpl *r, const struct tpl_dict *d, int what, struct tpl_val *out)
{
    static const char *const names[] = { "dict_keys", "dict_values", "dict_items" };
    struct tpl_val list;
    TRY(tpl_seq_new(r, TPL_VIEW, d->n, &list));
    list.seq->view = names[what];
    for (uint32_t i = 0; i < d->n; i++) {
        struct tpl_val *item = &list.seq->items[i];
        *item = what == 0 ? d->e[i].key : d->e[i].val;
        if (what != 2)
            continue;
        TRY(tpl_seq_new(r, TPL_TUPLE, 2, item));
        item->seq->items[0] = d->e[i].key;
        item->seq->items[1] = d->e[i].val;
    }
    *out = list;
    return 0;
}

METHOD(m_keys) { (void)raw; return view(r, v[0].d, 0, out); }
METHOD(m_values) { (void)raw; return view(r, v[0].d, 1, out); }
METHOD(m_items) { (void)raw; return view(r, v[0].d, 2, out); }

/* Nothing changes a list or a dict: its copy is itself. */
METHOD(m_copy)
{
    (void)r;
    (void)raw;
    *out = v[0];
    return 0;
}

METHOD(m_list_index)
{
    (void)raw;
    for (uint32_t i = 0; i < v[0].seq->n; i++) {
        bool same;
        TRY(tpl_eq(r, v[0].seq->items[i], v[1], &same));
        if (same) {
            *out = tpl_int(i);
            return 0;
        }
    }
    return tpl_fail(r, "the value is not in the list");
}

METHOD(m_list_count)
{
    (void)raw;
    int64_t n = 0;
    for (uint32_t i = 0; i < v[0].seq->n; i++) {
        bool same;
        TRY(tpl_eq(r, v[0].seq->items[i], v[1], &same));
        n += same;
    }
    *out = tpl_int(n);
    return 0;
}

METHOD(m_is_integer)
{
    (void)r;
    (void)raw;
    *out = tpl_bool(isfinite(v[0].f) && floor(v[0].f) == v[0].f);
    return 0;
}

METHOD(m_bit_length)
{
    (void)r;
    (void)raw;
    int64_t x = tpl_as_int(v[0]), n = 0;
    for (uint64_t u = x < 0 ? 0 - (uint64_t)x : (uint64_t)x; u != 0; u >>= 1)
        n++;
    *out = tpl_int(n);
    return 0;
}

/* --- loops and cyclers ------------------------------------------------------------------------ */

METHOD(m_cycle)
{
    if (raw->n_pos == 0 || raw->n_kw > 0)
        return tpl_fail(r, "no items for cycling given");
    *out = raw->pos[v[0].loop->index0 % raw->n_pos];
    return 0;
}

METHOD(m_changed)
{
    struct tpl_val now;
    bool same = false;
    TRY(tpl_seq_wrap(r, TPL_TUPLE, raw->pos, raw->n_pos, &now));
    if (v[0].loop->changed.kind == TPL_TUPLE)
        TRY(tpl_eq(r, v[0].loop->changed, now, &same));
    v[0].loop->changed = now;
    *out = tpl_bool(!same);
    return 0;
}

METHOD(m_next)
{
    (void)r;
    (void)raw;
    struct tpl_cycler *c = v[0].cycler;
    *out = c->items[c->pos];
    c->pos = (c->pos + 1) % c->n;
    return 0;
}

METHOD(m_reset)
{
    (void)r;
    (void)raw;
    v[0].cycler->pos = 0;
    *out = tpl_none();
    return 0;
}

/* --- tables ----------------------------------------------------------------------------------- */

static const struct tpl_fn str_methods[] = {
    { "capitalize", m_capitalize, "", 0 }, { "casefold", m_casefold, "", 0 },
    { "center", m_center, "/ /", 1 },      { "count", m_count, "/ / /", 1 },
    { "endswith", m_endswith, "/ / /", 1 }, { "expandtabs", m_expandtabs, "tabsize", 0 },
    { "find", m_find, "/ / /", 1 },        { "format", m_format, NULL, 0 },
    { "index", m_index, "/ / /", 1 },      { "isalnum", m_isalnum, "", 0 },
    { "isalpha", m_isalpha, "", 0 },       { "isascii", m_isascii, "", 0 },
    { "isdecimal", m_isdecimal, "", 0 },   { "isdigit", m_isdigit, "", 0 },
    { "isidentifier", m_isidentifier, "", 0 }, { "islower", m_islower, "", 0 },
    { "isnumeric", m_isnumeric, "", 0 },   { "isprintable", m_isprintable, "", 0 },
    { "isspace", m_isspace, "", 0 },       { "istitle", m_istitle, "", 0 },
    { "isupper", m_isupper, "", 0 },       { "join", m_join, "/", 1 },
    { "ljust", m_ljust, "/ /", 1 },        { "lower", m_lower, "", 0 },
    { "lstrip", m_lstrip, "/", 0 },        { "partition", m_partition, "/", 1 },
    { "removeprefix", m_removeprefix, "/", 1 }, { "removesuffix", m_removesuffix, "/", 1 },
    { "replace", m_replace, "/ / /", 2 },  { "rfind", m_rfind, "/ / /", 1 },
    { "rindex", m_rindex, "/ / /", 1 },    { "rjust", m_rjust, "/ /", 1 },
    { "rpartition", m_rpartition, "/", 1 }, { "rsplit", m_rsplit, "sep maxsplit", 0 },
    { "rstrip", m_rstrip, "/", 0 },        { "split", m_split, "sep maxsplit", 0 },
    { "splitlines", m_splitlines, "keepends", 0 }, { "startswith", m_startswith, "/ / /", 1 },
    { "strip", m_strip, "/", 0 },          { "swapcase", m_swapcase, "", 0 },
    { "title", m_title, "", 0 },           { "upper", m_upper, "", 0 },
    { "zfill", m_zfill, "/", 1 },          { NULL, NULL, NULL, 0 },
};
static const struct tpl_fn dict_methods[] = {
    { "copy", m_copy, "", 0 },     { "get", m_get, "/ /", 1 },   { "items", m_items, "", 0 },
    { "keys", m_keys, "", 0 },     { "values", m_values, "", 0 }, { NULL, NULL, NULL, 0 },
};
static const struct tpl_fn list_methods[] = {
    { "copy", m_copy, "", 0 }, { "count", m_list_count, "/", 1 },
    { "index", m_list_index, "/", 1 }, { NULL, NULL, NULL, 0 },
};
static const struct tpl_fn tuple_methods[] = {
    { "count", m_list_count, "/", 1 }, { "index", m_list_index, "/", 1 }, { NULL, NULL, NULL, 0 },
};
static const struct tpl_fn float_methods[] = {
    { "is_integer", m_is_integer, "", 0 }, { NULL, NULL, NULL, 0 },
};
static const struct tpl_fn int_methods[] = {
    { "bit_length", m_bit_length, "", 0 }, { NULL, NULL, NULL, 0 },
};
static const struct tpl_fn loop_methods[] = {
    { "cycle", m_cycle, NULL, 0 }, { "changed", m_changed, NULL, 0 }, { NULL, NULL, NULL, 0 },
};
static const struct tpl_fn cycler_methods[] = {
    { "next", m_next, "", 0 }, { "reset", m_reset, "", 0 }, { NULL, NULL, NULL, 0 },
};

static const struct {
    enum tpl_kind kind;
    const struct tpl_fn *methods;
    const char *refused; /* other attributes of the type in Python, in blanks */
} types[] = {
    { TPL_STR, str_methods, " encode format_map maketrans translate " },
    { TPL_DICT, dict_methods, " clear fromkeys pop popitem setdefault update " },
    { TPL_LIST, list_methods, " append clear extend insert pop remove reverse sort " },
    { TPL_TUPLE, tuple_methods, " " },
    { TPL_RANGE, tuple_methods, " start stop step " },
    { TPL_FLOAT, float_methods, " as_integer_ratio conjugate fromhex hex imag real " },
    { TPL_INT, int_methods, " as_integer_ratio bit_count conjugate denominator from_bytes imag "
                            "numerator real to_bytes " },
    { TPL_BOOL, int_methods, " as_integer_ratio bit_count conjugate denominator from_bytes imag "
                             "numerator real to_bytes " },
    { TPL_LOOP, loop_methods, " " },
    { TPL_CYCLER, cycler_methods, " " },
};

static bool in_words(const char *words, const struct tpl_str *name)
{
    if (memchr(name->data, ' ', name->len) != NULL)
        return false;
    const char *p = words;
    while ((p = memmem(p, strlen(p), name->data, name->len)) != NULL) {
        if (p[-1] == ' ' && p[name->len] == ' ')
            return true;
        p++;
    }
    return false;
}

const struct tpl_fn *tpl_method_find(struct tpl_val v, const struct tpl_str *name, bool *known)
{
    *known = false;
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        if (types[i].kind != v.kind)
            continue;
        for (const struct tpl_fn *m = types[i].methods; m->name != NULL; m++) {
            if (tpl_str_is(name, m->name)) {
                *known = true;
                return m;
            }
        }
        *known = name->len > 1 && in_words(types[i].refused, name);
    }
    return NULL;
}
