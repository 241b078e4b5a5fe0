/* Normaliser steps. Decomposition and composition are libutf8proc's, character by character; its
 * whole- string call is not used because it sorts combining marks by insertion (quadratic for a
 * hostile run) and refuses invalid bytes. */
#include "text/normal.h"

#include <string.h>
#include <utf8proc.h>

#include "base/attr.h"
#include "base/utf8.h"
#include "text/unicode.h"

static void put_cp(struct buf *out, uint32_t cp)
{
    char bytes[4];
    buf_put(out, bytes, utf8_put(bytes, cp));
}

/* --- Unicode forms ------------------------------------------------------------------------------
 */

struct cps {
    int32_t *v;
    size_t n, cap;
};

static int cps_room(struct cps *l, size_t more)
{
    if (l->n + more <= l->cap)
        return 0;
    size_t cap = l->cap * 2 + more + 64;
    int32_t *v = mem_realloc(l->v, cap, sizeof *v);
    if (v == NULL)
        return E_NOMEM;
    l->v = v;
    l->cap = cap;
    return 0;
}

static uint8_t combining(int32_t cp) { return (uint8_t)utf8proc_get_property(cp)->combining_class; }

/* Sorts v[0..n) stably by combining class: by counting when there are many. */
static int sort_marks(int32_t *v, size_t n)
{
    if (n <= 16) {
        for (size_t i = 1; i < n; i++)
            for (size_t k = i; k > 0 && combining(v[k - 1]) > combining(v[k]); k--) {
                int32_t swap = v[k];
                v[k] = v[k - 1];
                v[k - 1] = swap;
            }
        return 0;
    }
    size_t start[257] = { 0 };
    int32_t *sorted = mem_alloc(n, sizeof *sorted);
    if (sorted == NULL)
        return E_NOMEM;
    for (size_t i = 0; i < n; i++)
        start[combining(v[i]) + 1]++;
    for (size_t c = 1; c < 257; c++)
        start[c] += start[c - 1];
    for (size_t i = 0; i < n; i++)
        sorted[start[combining(v[i])]++] = v[i];
    memcpy(v, sorted, n * sizeof *v);
    mem_free(sorted);
    return 0;
}

static int order_marks(struct cps *l)
{
    for (size_t i = 0; i < l->n;) {
        size_t end = i;
        while (end < l->n && combining(l->v[end]) != 0)
            end++;
        if (end > i + 1)
            TRY(sort_marks(l->v + i, end - i));
        i = end > i ? end : i + 1;
    }
    return 0;
}

/* Normalises the decomposed characters collected so far and writes them out. */
static int flush_cps(struct cps *l, bool compose, struct buf *out)
{
    TRY(order_marks(l));
    utf8proc_ssize_t n = (utf8proc_ssize_t)l->n;
    if (compose && n > 1)
        n = utf8proc_normalize_utf32(l->v, n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    for (utf8proc_ssize_t i = 0; i < n; i++)
        put_cp(out, (uint32_t)l->v[i]);
    l->n = 0;
    return 0;
}

static int decompose(struct cps *l, uint32_t cp, bool compat)
{
    utf8proc_option_t options =
        UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compat ? UTF8PROC_COMPAT : (utf8proc_option_t)0);
    int boundary = 0;
    TRY(cps_room(l, 32));
    utf8proc_ssize_t n =
        utf8proc_decompose_char((utf8proc_int32_t)cp, l->v + l->n, 32, options, &boundary);
    if (n > 32) { /* no character decomposes that far today; a later table may */
        TRY(cps_room(l, (size_t)n));
        n = utf8proc_decompose_char((utf8proc_int32_t)cp, l->v + l->n, n, options, &boundary);
    }
    if (n > 0)
        l->n += (size_t)n;
    return 0;
}

/* Collects the character at s (an ASCII one or not) and the non-ASCII ones behind it, decomposed;
 * up to an invalid byte. Returns how many bytes that was, or E_NOMEM. */
static int64_t collect(struct cps *l, const char *s, size_t len, bool compat)
{
    size_t i = 0;
    while (i < len && (i == 0 || (uint8_t)s[i] >= 0x80)) {
        uint32_t cp;
        size_t n = utf8_next(s + i, len - i, &cp);
        if (cp == UTF8_INVALID)
            break;
        TRY(decompose(l, cp, compat));
        i += n;
    }
    return (int64_t)i;
}

/* ASCII never composes with what stands before it, and ASCII followed by ASCII stays as it is: so
 * the text falls into copied ASCII and pieces that begin with the ASCII character before a
 * non-ASCII one. */
static int unicode_form(enum normal_kind kind, const char *s, size_t len, struct buf *out)
{
    bool compose = kind == NORMAL_NFC || kind == NORMAL_NFKC;
    bool compat = kind == NORMAL_NFKC || kind == NORMAL_NFKD;
    struct cps l = { 0 };
    int64_t n = 0;
    for (size_t i = 0; i < len && n >= 0;) {
        size_t ascii = i;
        while (ascii < len && (uint8_t)s[ascii] < 0x80)
            ascii++;
        size_t copy = ascii > i && ascii < len ? ascii - 1 : ascii;
        buf_put(out, s + i, copy - i);
        i = copy;
        if (i == len)
            break;
        n = collect(&l, s + i, len - i, compat);
        if (n >= 0) {
            i += (size_t)n;
            n = flush_cps(&l, compose, out);
        }
        bool invalid = n >= 0 && i < len && (uint8_t)s[i] >= 0x80;
        buf_put(out, s + i, invalid);
        i += invalid;
    }
    mem_free(l.v);
    return n < 0 ? (int)n : 0;
}

/* --- one character at a time ---------------------------------------------------------------------
 */

static void put_lower(uint32_t cp, struct buf *out)
{
    if (cp == 0x130) { /* the one character whose lower case is two */
        put_cp(out, 'i');
        put_cp(out, 0x307);
        return;
    }
    put_cp(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp));
}

/* BERT: U+0000, U+FFFD and other characters (C*) go, except that tab, CR and LF count as spaces. */
static void put_clean(uint32_t cp, struct buf *out)
{
    unsigned f = uni_flags(cp);
    if (cp == '\t' || cp == '\n' || cp == '\r')
        buf_putc(out, ' ');
    else if (cp == 0 || cp == 0xfffd || (f & UNI_CTRL) != 0)
        return;
    else if ((f & UNI_SPACE) != 0)
        buf_putc(out, ' ');
    else
        put_cp(out, cp);
}

static void put_nmt(uint32_t cp, struct buf *out)
{
    static const struct uni_range drop[] = { { 1, 8 },       { 0xb, 0xb },   { 0xe, 0x1f },
                                             { 0x7f, 0x7f }, { 0x8f, 0x8f }, { 0x9f, 0x9f } };
    static const struct uni_range space[] = {
        { 9, 10 },          { 12, 13 },         { 0x1680, 0x1680 }, { 0x200b, 0x200f },
        { 0x2028, 0x2029 }, { 0x2581, 0x2581 }, { 0xfeff, 0xfeff }, { 0xfffd, 0xfffd },
    };
    if (uni_in_ranges(space, COUNT_OF(space), cp))
        buf_putc(out, ' ');
    else if (!uni_in_ranges(drop, COUNT_OF(drop), cp))
        put_cp(out, cp);
}

static void each_char(const struct normal_step *step, const char *s, size_t len, struct buf *out)
{
    for (size_t i = 0; i < len;) {
        uint32_t cp;
        size_t n = utf8_next(s + i, len - i, &cp);
        if (cp == UTF8_INVALID)
            buf_put(out, s + i, n);
        else if (step->kind == NORMAL_LOWER)
            put_lower(cp, out);
        else if (step->kind == NORMAL_CLEAN)
            put_clean(cp, out);
        else if (step->kind == NORMAL_NMT)
            put_nmt(cp, out);
        else if (step->kind == NORMAL_CJK_SPACES && uni_is_cjk_ideograph(cp)) {
            buf_putc(out, ' ');
            buf_put(out, s + i, n);
            buf_putc(out, ' ');
        } else if (step->kind != NORMAL_STRIP_MARKS ||
                   (uni_flags(cp) & (step->mn_only ? UNI_MN : UNI_M)) == 0)
            buf_put(out, s + i, n);
        i += n;
    }
}

/* --- strings -------------------------------------------------------------------------------------
 */

static void strip(const struct normal_step *step, const char *s, size_t len, struct buf *out)
{
    size_t begin = 0, end = len;
    uint32_t n;
    while (step->left && begin < end &&
           (uni_class((const uint8_t *)s + begin, end - begin, &n) & UNI_SPACE) != 0)
        begin += n;
    while (step->right && end > begin) {
        size_t back = end - 1;
        while (back > begin && end - back < 4 && ((uint8_t)s[back] & 0xc0) == 0x80)
            back--;
        if ((uni_class((const uint8_t *)s + back, end - back, &n) & UNI_SPACE) == 0)
            break;
        end = back;
    }
    buf_put(out, s + begin, end - begin);
}

static void collapse(const char *s, size_t len, struct buf *out)
{
    bool gap = false, any = false;
    for (size_t i = 0; i < len; i++) {
        if (s[i] == ' ') {
            gap = any;
            continue;
        }
        if (gap)
            buf_putc(out, ' ');
        buf_putc(out, s[i]);
        gap = false;
        any = true;
    }
}

static int replace_matches(const struct normal_step *step, const char *s, size_t len,
                           struct buf *out)
{
    struct pretok_step isolate = { .finder = FIND_REGEX, .regex = step->regex };
    struct pretok_step keep = isolate;
    keep.behavior = SPLIT_REMOVED;
    struct text_span whole = { 0, (uint32_t)len };
    struct text_spans in = { &whole, 1, 1 }, all = { 0 }, gaps = { 0 };
    int rc = pretok_split(&isolate, (const uint8_t *)s, &in, &all);
    if (rc >= 0)
        rc = pretok_split(&keep, (const uint8_t *)s, &in, &gaps);
    for (size_t i = 0, g = 0; i < all.n && rc >= 0; i++) {
        bool gap = g < gaps.n && gaps.v[g].begin == all.v[i].begin;
        if (gap)
            buf_put(out, s + all.v[i].begin, all.v[i].end - all.v[i].begin);
        else
            buf_put(out, step->b, step->b_len);
        g += gap;
    }
    text_spans_fini(&all);
    text_spans_fini(&gaps);
    return rc;
}

static int replace(const struct normal_step *step, const char *s, size_t len, struct buf *out)
{
    if (step->regex != NULL)
        return replace_matches(step, s, len, out);
    size_t at = 0;
    while (step->a_len > 0 && at < len) {
        const char *hit = memmem(s + at, len - at, step->a, step->a_len);
        if (hit == NULL)
            break;
        buf_put(out, s + at, (size_t)(hit - s) - at);
        buf_put(out, step->b, step->b_len);
        at = (size_t)(hit - s) + step->a_len;
    }
    buf_put(out, s + at, len - at);
    return 0;
}

static void charsmap(const struct normal_step *step, const char *s, size_t len, struct buf *out)
{
    for (size_t i = 0; i < len;) {
        struct text_span r;
        uint32_t cp;
        size_t n = normal_charsmap_find(step, s + i, len - i, &r);
        if (n > 0) {
            buf_put(out, step->charsmap + r.begin, r.end - r.begin);
        } else {
            n = utf8_next(s + i, len - i, &cp);
            buf_put(out, s + i, n);
        }
        i += n;
    }
}

int normal_apply(const struct normal_step *step, const char *s, size_t len, struct buf *out)
{
    int rc = 0;
    if (step->kind <= NORMAL_NFKD)
        return unicode_form(step->kind, s, len, out) < 0 ? E_NOMEM : buf_status(out);
    switch (step->kind) {
    case NORMAL_STRIP: strip(step, s, len, out); break;
    case NORMAL_PREPEND:
        buf_put(out, step->a, len > 0 ? step->a_len : 0);
        buf_put(out, s, len);
        break;
    case NORMAL_REPLACE: rc = replace(step, s, len, out); break;
    case NORMAL_CHARSMAP: charsmap(step, s, len, out); break;
    case NORMAL_COLLAPSE: collapse(s, len, out); break;
    default: each_char(step, s, len, out); break;
    }
    return rc < 0 ? rc : buf_status(out);
}
