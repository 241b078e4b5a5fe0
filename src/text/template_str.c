/* What filters and string methods share. Case mapping is Unicode's simple one (utf8proc) plus
 * the sharp s, whose capital is two letters; other letters that change their number are left as
 * they are. */
#include <string.h>

#include <utf8proc.h>

#include "base/num.h"
#include "base/utf8.h"
#include "text/template_filter.h"
#include "text/template_print.h"

static bool is_cased(uint32_t cp)
{
    if (cp < 0x80)
        return (cp | 0x20) >= 'a' && (cp | 0x20) <= 'z';
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LL || c == UTF8PROC_CATEGORY_LT;
}

static uint32_t to_lower(uint32_t cp)
{
    if (cp < 0x80)
        return cp >= 'A' && cp <= 'Z' ? cp | 0x20 : cp;
    return (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp);
}

static uint32_t to_upper(uint32_t cp)
{
    if (cp < 0x80)
        return cp >= 'a' && cp <= 'z' ? cp & ~0x20u : cp;
    return (uint32_t)utf8proc_toupper((utf8proc_int32_t)cp);
}

static void put_cased(struct tpl_sb *b, uint32_t cp, bool upper, bool word, uint8_t origin)
{
    if (upper && cp == 0xdf)
        tpl_sb_put(b, word ? "Ss" : "SS", 2, origin);
    else
        tpl_sb_char(b, upper ? to_upper(cp) : to_lower(cp), origin);
}

int tpl_str_case(struct tpl *r, const struct tpl_str *s, enum tpl_case how, struct tpl_val *out)
{
    struct tpl_sb b;
    tpl_sb_init(&b, r);
    TRY(tpl_burn(r, s->len / 16));
    bool inside = false; /* a word, for title() */
    for (size_t at = 0; at < s->len;) {
        uint32_t cp;
        size_t len = utf8_next(s->data + at, s->len - at, &cp);
        bool upper = how == TPL_UPPER || (how == TPL_CAPITALIZE && at == 0) ||
                     (how == TPL_TITLE && !inside) || (how == TPL_SWAPCASE && to_lower(cp) == cp);
        if (how == TPL_CASEFOLD && cp == 0xdf)
            tpl_sb_put(&b, "ss", 2, tpl_origin_at(s, at));
        else
            put_cased(&b, cp, upper, how == TPL_TITLE || how == TPL_CAPITALIZE,
                      tpl_origin_at(s, at));
        inside = is_cased(cp);
        at += len;
    }
    TRY(tpl_sb_done(&b, out));
    out->s->safe = s->safe;
    return 0;
}

bool tpl_str_has_case(const struct tpl_str *s, bool upper)
{
    bool any = false;
    for (size_t at = 0; at < s->len;) {
        uint32_t cp;
        at += utf8_next(s->data + at, s->len - at, &cp);
        if (!is_cased(cp))
            continue;
        any = true;
        if ((upper ? to_upper(cp) : to_lower(cp)) != cp)
            return false;
    }
    return any;
}

static bool strips(const struct tpl_str *chars, const char *c, size_t len, uint32_t cp)
{
    if (chars == NULL)
        return tpl_is_space(cp);
    return memmem(chars->data, chars->len, c, len) != NULL;
}

int tpl_str_strip(struct tpl *r, const struct tpl_str *s, const struct tpl_str *chars, int sides,
                  struct tpl_val *out)
{
    size_t from = 0, to = s->len;
    uint32_t cp;
    while ((sides & 1) != 0 && from < to) {
        size_t len = utf8_next(s->data + from, to - from, &cp);
        if (!strips(chars, s->data + from, len, cp))
            break;
        from += len;
    }
    while ((sides & 2) != 0 && to > from) {
        size_t at = to - 1;
        while (at > from && ((unsigned char)s->data[at] & 0xc0) == 0x80)
            at--;
        size_t len = utf8_next(s->data + at, to - at, &cp);
        if (!strips(chars, s->data + at, len, cp))
            break;
        to = at;
    }
    TRY(tpl_burn(r, (from + s->len - to) / 8 * (chars != NULL ? chars->len / 64 + 1 : 1)));
    return tpl_str_cut(r, s, from, to, out);
}

size_t tpl_str_find(const struct tpl_str *s, const struct tpl_str *needle, size_t from)
{
    if (from > s->len || needle->len > s->len - from)
        return SIZE_MAX;
    if (needle->len == 0)
        return from;
    const char *p = memmem(s->data + from, s->len - from, needle->data, needle->len);
    return p != NULL ? (size_t)(p - s->data) : SIZE_MAX;
}

int tpl_str_replace(struct tpl *r, const struct tpl_str *s, const struct tpl_str *from,
                    const struct tpl_str *to, int64_t max, struct tpl_val *out)
{
    struct tpl_sb b;
    tpl_sb_init(&b, r);
    size_t done = 0;
    for (size_t at = 0; max != 0; max--) {
        size_t found = tpl_str_find(s, from, at);
        if (found == SIZE_MAX)
            break;
        TRY(tpl_burn(r, 1));
        tpl_sb_cut(&b, s, done, found);
        tpl_sb_str(&b, to);
        done = found + from->len;
        at = done;
        if (from->len == 0) { /* between all characters */
            uint32_t cp;
            if (found == s->len)
                break;
            at = found + utf8_next(s->data + found, s->len - found, &cp);
        }
    }
    tpl_sb_cut(&b, s, done, s->len);
    TRY(tpl_sb_done(&b, out));
    out->s->safe = s->safe;
    return 0;
}

/* Python's line ends: \n \r \r\n \v \f \x1c..\x1e \x85 U+2028 U+2029. */
static bool is_line_end(uint32_t cp)
{
    return (cp >= 10 && cp <= 13) || (cp >= 0x1c && cp <= 0x1e) || cp == 0x85 || cp == 0x2028 ||
           cp == 0x2029;
}

int tpl_str_lines(struct tpl *r, const struct tpl_str *s, bool keep_ends, struct tpl_val *out)
{
    struct tpl_grow lines = { 0 };
    size_t from = 0;
    TRY(tpl_burn(r, s->len / 16));
    for (size_t at = 0; at < s->len;) {
        uint32_t cp;
        size_t end = at;
        at += utf8_next(s->data + at, s->len - at, &cp);
        if (!is_line_end(cp) && at < s->len)
            continue;
        if (!is_line_end(cp))
            end = at;
        if (cp == '\r' && at < s->len && s->data[at] == '\n')
            at++;
        struct tpl_val line;
        TRY(tpl_str_cut(r, s, from, keep_ends ? at : end, &line));
        TRY(tpl_grow_put(r, &lines, line));
        from = at;
    }
    return tpl_seq_wrap(r, TPL_LIST, lines.items, lines.n, out);
}

int tpl_str_pad(struct tpl *r, struct tpl_str *s, int64_t width, uint32_t fill, int left,
                struct tpl_val *out)
{
    int64_t n = tpl_str_chars(s);
    if (width <= n)
        return tpl_str_cut(r, s, 0, s->len, out);
    if (width > INT32_MAX || (uint64_t)width > r->limits.memory_max)
        return tpl_limit(r, "a padded string is longer than allowed");
    int64_t room = width - n;
    /* Python's center puts the odd blank to the left where width is odd. */
    int64_t before = left == 0 ? 0 : left == 2 ? room : room / 2 + (room & width & 1);
    struct tpl_sb b;
    tpl_sb_init(&b, r);
    TRY(tpl_burn(r, (uint64_t)room / 8));
    for (int64_t i = 0; i < before; i++)
        tpl_sb_char(&b, fill, 0);
    tpl_sb_str(&b, s);
    for (int64_t i = before; i < room; i++)
        tpl_sb_char(&b, fill, 0);
    return tpl_sb_done(&b, out);
}

int tpl_str_reverse(struct tpl *r, const struct tpl_str *s, struct tpl_val *out)
{
    struct tpl_sb b;
    tpl_sb_init(&b, r);
    TRY(tpl_burn(r, s->len / 8));
    for (size_t to = s->len; to > 0;) {
        size_t at = to - 1;
        while (at > 0 && ((unsigned char)s->data[at] & 0xc0) == 0x80)
            at--;
        tpl_sb_cut(&b, s, at, to);
        to = at;
    }
    return tpl_sb_done(&b, out);
}

/* strict: only strings may be joined, as str.join has it. */
int tpl_join(struct tpl *r, const struct tpl_str *sep, struct tpl_val *items, uint32_t n,
             bool strict,
             struct tpl_val *out)
{
    struct tpl_sb b;
    tpl_sb_init(&b, r);
    for (uint32_t i = 0; i < n; i++) {
        TRY(tpl_burn(r, 1));
        if (i > 0)
            tpl_sb_str(&b, sep);
        if (strict && items[i].kind != TPL_STR)
            return tpl_fail(r, "sequence item %u: expected str instance, %s found", i,
                            tpl_type_name(items[i]));
        TRY(tpl_put_str(&b, items[i]));
    }
    return tpl_sb_done(&b, out);
}

/* One merge of [cut0, cut1) and [cut1, cut2) from (kv0, kv1) into (kv2, kv3). */
static int merge(struct tpl *r, struct tpl_val *const kv[4], const uint32_t cut[3], bool reverse)
{
    uint32_t i = cut[0], j = cut[1];
    for (uint32_t at = cut[0]; at < cut[2]; at++) {
        bool right = i >= cut[1];
        if (!right && j < cut[2])
            TRY(reverse ? tpl_less(r, kv[0][i], kv[0][j], &right)
                        : tpl_less(r, kv[0][j], kv[0][i], &right));
        uint32_t from = right ? j++ : i++;
        kv[2][at] = kv[0][from];
        kv[3][at] = kv[1][from];
    }
    return 0;
}

int tpl_sort(struct tpl *r, struct tpl_val *keys, struct tpl_val *items, uint32_t n, bool reverse)
{
    struct tpl_val *kv[4] = { keys, items, tpl_alloc(r, n, sizeof *keys),
                              tpl_alloc(r, n, sizeof *items) };
    if (kv[2] == NULL || kv[3] == NULL)
        return tpl_nomem(r);
    for (uint32_t width = 1; width < n; width *= 2) {
        for (uint32_t from = 0; from < n; from += 2 * width) {
            const uint32_t cut[3] = { from, (uint32_t)num_min(from + width, n),
                                      (uint32_t)num_min((size_t)from + 2 * (size_t)width, n) };
            TRY(merge(r, kv, cut, reverse));
        }
        memcpy(keys, kv[2], n * sizeof *keys);
        memcpy(items, kv[3], n * sizeof *items);
    }
    return 0;
}
