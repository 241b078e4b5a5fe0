/* text/unicode.h - what kind of character is it?
 *
 * Idea: pre-tokenisers ask a handful of questions about a character (\p{L}, \p{N}, \s ...). They
 * are answered by one word of flags: a table for ASCII, libutf8proc's category for the rest.
 *
 * A byte that is no UTF-8 counts as a symbol, as U+FFFD would, and is one byte long.
 * Threads: pure functions.   Cost: ASCII one load; else a decode and two look-ups. */
#ifndef TEXT_UNICODE_H
#define TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    UNI_L = 1,       /* \p{L} */
    UNI_N = 2,       /* \p{N} */
    UNI_P = 4,       /* \p{P} */
    UNI_S = 8,       /* \p{S} */
    UNI_M = 16,      /* \p{M} */
    UNI_SPACE = 32,  /* \s: White_Space */
    UNI_UP = 64,     /* [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}] */
    UNI_LOW = 128,   /* [\p{Ll}\p{Lm}\p{Lo}\p{M}] */
    UNI_NL = 256,    /* [\r\n] */
    UNI_CTRL = 512,  /* \p{Cc} \p{Cf} \p{Cs} \p{Co} */
    UNI_MN = 1024,   /* \p{Mn} */
    UNI_CONN = 2048, /* \p{Pc}: part of \w */
};

extern const uint16_t UNI_ASCII[128];

unsigned uni_flags(uint32_t cp);
unsigned uni_flags_multi(const uint8_t *s, size_t n, uint32_t *len);

/* Flags of the character at s (n > 0 bytes left) and its length. */
static inline unsigned uni_class(const uint8_t *s, size_t n, uint32_t *len)
{
    if (s[0] < 0x80) {
        *len = 1;
        return UNI_ASCII[s[0]];
    }
    return uni_flags_multi(s, n, len);
}

bool uni_is_han(uint32_t cp);           /* Script=Han (Scripts.txt of Unicode 15) */
bool uni_is_cjk_ideograph(uint32_t cp); /* the blocks BERT's normaliser puts spaces around */

/* Sorted, disjoint ranges. */
struct uni_range {
    uint32_t first, last;
};
bool uni_in_ranges(const struct uni_range *ranges, size_t n, uint32_t cp);

#endif
