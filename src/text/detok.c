/* Ids to text. Bytes of a character may come in several tokens: what is not yet a whole character
 * waits; what cannot become one turns into U+FFFD, one for each maximal part (Unicode,
 * section 3.9). */
#include <string.h>

#include "base/utf8.h"
#include "text/tok.h"

void text_piece(const struct text_tokenizer *t, int32_t id, bool special, struct buf *out)
{
    if (id < 0 || (uint32_t)id >= t->n_tokens || (!special && text_is_control(t, id)))
        return;
    buf_put(out, t->piece[id].data, t->piece[id].len);
}

void text_detok_init(struct text_detok *d, const struct text_tokenizer *t, bool special,
                     bool at_start)
{
    *d = (struct text_detok){ .t = t,
                              .special = special,
                              .at_start = at_start && t->drop_lead_space };
}

/* Length of the character a lead byte begins; 1 for what is no lead byte. */
static size_t char_len(unsigned char lead)
{
    if (lead < 0xc2 || lead > 0xf4)
        return 1;
    return lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
}

/* Bytes from s on that begin a character but are not all of it: at least 1. Four lead bytes narrow
 * what may follow them (Unicode, table 3-7). */
static size_t broken_part(const unsigned char *s, size_t n)
{
    size_t want = char_len(s[0]), k = 1;
    unsigned char low = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80;
    unsigned char high = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
    while (k < want && k < n && s[k] >= low && s[k] <= high) {
        low = 0x80;
        high = 0xbf;
        k++;
    }
    return k;
}

/* May the n bytes at s, all that is left, still become a character? */
static bool incomplete(const unsigned char *s, size_t n)
{
    return n < char_len(s[0]) && broken_part(s, n) == n;
}

/* Writes whole characters of s; returns how many bytes at the end have to wait (none if `last`). */
static size_t put_whole(const char *s, size_t n, bool last, struct buf *out)
{
    size_t from = 0, i = 0;
    while (i < n) {
        uint32_t cp;
        size_t len = utf8_next(s + i, n - i, &cp);
        if (cp != UTF8_INVALID) {
            i += len;
            continue;
        }
        buf_put(out, s + from, i - from);
        if (!last && incomplete((const unsigned char *)s + i, n - i))
            return n - i;
        i += broken_part((const unsigned char *)s + i, n - i);
        from = i;
        buf_puts(out, "\xef\xbf\xbd");
    }
    buf_put(out, s + from, n - from);
    return 0;
}

void text_detok_put(struct text_detok *d, int32_t id, struct buf *out)
{
    const struct text_tokenizer *t = d->t;
    if (id < 0 || (uint32_t)id >= t->n_tokens || (!d->special && text_is_control(t, id)))
        return;
    struct text_str s = t->piece[id];
    if (d->at_start && s.len > 0 && !text_is_control(t, id)) {
        d->at_start = false;
        if (s.data[0] == ' ') {
            s.data++;
            s.len--;
        }
    }
    /* Held bytes first: complete that character byte by byte, then the rest in one go. */
    while (d->n_held > 0 && s.len > 0) {
        d->held[d->n_held++] = *s.data++;
        s.len--;
        size_t wait = put_whole(d->held, d->n_held, false, out);
        memmove(d->held, d->held + d->n_held - wait, wait);
        d->n_held = (uint8_t)wait;
    }
    size_t wait = put_whole(s.data, s.len, false, out);
    if (d->n_held == 0) {
        memcpy(d->held, s.data + s.len - wait, wait);
        d->n_held = (uint8_t)wait;
    }
}

void text_detok_end(struct text_detok *d, struct buf *out)
{
    put_whole(d->held, d->n_held, true, out);
    d->n_held = 0;
}

int text_decode(const struct text_tokenizer *t, const int32_t *ids, uint32_t n, bool special,
                struct buf *out)
{
    struct text_detok d;
    text_detok_init(&d, t, special, true);
    for (uint32_t i = 0; i < n; i++)
        text_detok_put(&d, ids[i], out);
    text_detok_end(&d, out);
    return buf_status(out);
}
