/* Characters of strings, and strings being built. Builders grow in the arena by doubling; what they
 * leave behind is at most as much again, and counts against the render's memory. */
#include <string.h>

#include "base/num.h"
#include "base/utf8.h"
#include "text/template_value.h"

/* --- characters ------------------------------------------------------------------------------- */

uint32_t tpl_str_chars(struct tpl_str *s)
{
    if (s->n_chars == UINT32_MAX) {
        uint32_t n = 0;
        for (uint32_t i = 0; i < s->len; i++)
            n += ((unsigned char)s->data[i] & 0xc0) != 0x80;
        s->n_chars = n;
    }
    return s->n_chars;
}

size_t tpl_str_at(struct tpl_str *s, uint32_t i)
{
    uint32_t n = tpl_str_chars(s);
    if (i >= n)
        return s->len;
    if (n == s->len)
        return i;
    size_t at = 0;
    for (uint32_t k = 0;; at++) {
        if (((unsigned char)s->data[at] & 0xc0) == 0x80)
            continue;
        if (k == i)
            return at;
        k++;
    }
}

bool tpl_str_is(const struct tpl_str *s, const char *text)
{
    return s->len == strlen(text) && memcmp(s->data, text, s->len) == 0;
}

/* UTF-8 sorts as its code points do. */
int tpl_str_cmp(const struct tpl_str *a, const struct tpl_str *b)
{
    int c = memcmp(a->data, b->data, num_min(a->len, b->len));
    return c != 0 ? c : (a->len > b->len) - (a->len < b->len);
}

bool tpl_is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

/* --- building strings ------------------------------------------------------------------------- */

void tpl_sb_init(struct tpl_sb *b, struct tpl *r) { *b = (struct tpl_sb){ .r = r }; }

static int sb_room(struct tpl_sb *b, size_t len)
{
    size_t need;
    if (num_add(&need, b->len, len) < 0 || need > INT32_MAX)
        return tpl_limit(b->r, "a string is longer than allowed");
    if (need <= b->cap)
        return 0;
    size_t cap = num_max(num_max(b->cap * 2, need), 64);
    char *data = tpl_bytes(b->r, cap);
    uint8_t *origin = b->origin != NULL ? tpl_bytes(b->r, cap) : NULL;
    if (data == NULL || (b->origin != NULL && origin == NULL))
        return tpl_nomem(b->r);
    if (b->len > 0) {
        memcpy(data, b->data, b->len);
        if (origin != NULL)
            memcpy(origin, b->origin, b->len);
    }
    b->data = data;
    b->origin = origin;
    b->cap = cap;
    return 0;
}

/* From now on each byte carries its own origin. */
static int sb_mix(struct tpl_sb *b)
{
    b->origin = tpl_bytes(b->r, b->cap);
    if (b->origin == NULL)
        return tpl_nomem(b->r);
    memset(b->origin, b->uniform, b->len);
    return 0;
}

static int sb_add(struct tpl_sb *b, const char *data, size_t len, const uint8_t *origin,
                  uint8_t uniform)
{
    TRY(tpl_burn(b->r, len / 64));
    TRY(sb_room(b, len));
    if (b->len == 0 && origin == NULL)
        b->uniform = uniform;
    if (b->origin == NULL && (origin != NULL || uniform != b->uniform))
        TRY(sb_mix(b));
    memcpy(b->data + b->len, data, len);
    if (origin != NULL)
        memcpy(b->origin + b->len, origin, len);
    else if (b->origin != NULL)
        memset(b->origin + b->len, uniform, len);
    b->len += len;
    return 0;
}

void tpl_sb_put(struct tpl_sb *b, const char *data, size_t len, uint8_t origin)
{
    if (b->status == 0 && len > 0)
        b->status = sb_add(b, data, len, NULL, origin);
}

void tpl_sb_cut(struct tpl_sb *b, const struct tpl_str *s, size_t from, size_t to)
{
    ASSERT(from <= to && to <= s->len);
    if (b->status == 0 && to > from)
        b->status = sb_add(b, s->data + from, to - from,
                           s->origin != NULL ? s->origin + from : NULL,
                           s->uniform);
}

void tpl_sb_str(struct tpl_sb *b, const struct tpl_str *s) { tpl_sb_cut(b, s, 0, s->len); }

void tpl_sb_lit(struct tpl_sb *b, const char *text) { tpl_sb_put(b, text, strlen(text), 0); }

void tpl_sb_char(struct tpl_sb *b, uint32_t cp, uint8_t origin)
{
    char c[4];
    tpl_sb_put(b, c, utf8_put(c, cp), origin);
}

int tpl_sb_done(struct tpl_sb *b, struct tpl_val *out)
{
    TRY(b->status);
    TRY(tpl_str_new(b->r, b->data, b->len, b->uniform, out));
    out->s->origin = b->origin;
    return 0;
}
