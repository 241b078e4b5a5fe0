/* text/normal.h - what is done to text before it is cut: Unicode forms, case, accents,
 * replacements.
 *
 * Idea: a normaliser is a list of steps; each reads a text and appends its result to a buffer. The
 * steps are those of tokenizer.json, BERT's and SentencePiece's normalisers.
 *
 * Invalid UTF-8 passes through every step unchanged.
 * Ownership: steps borrow their strings (they lie in the tokenizer's arena) and own their regex.
 * Threads: may be shared.   Cost: linear, also for long runs of combining marks (they are sorted by
 * counting, not by insertion). */
#ifndef TEXT_NORMAL_H
#define TEXT_NORMAL_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/mem.h"
#include "text/pretok.h"

enum normal_kind {
    NORMAL_NFC, /* the four Unicode forms come first */
    NORMAL_NFD,
    NORMAL_NFKC,
    NORMAL_NFKD,
    NORMAL_LOWER,
    NORMAL_STRIP_MARKS, /* drops \p{M}, or \p{Mn} alone if mn_only */
    NORMAL_STRIP,       /* white space at the left, the right */
    NORMAL_PREPEND,     /* a before the text, unless it is empty */
    NORMAL_REPLACE,     /* each a by b, or each match of regex by b */
    NORMAL_CHARSMAP,    /* SentencePiece's precompiled table */
    NORMAL_CLEAN,       /* BERT: no control characters, white space is ' ' */
    NORMAL_CJK_SPACES,  /* BERT: a space around each ideograph */
    NORMAL_COLLAPSE,    /* SentencePiece: no space at either end, no two in a row */
    NORMAL_NMT,         /* SentencePiece's nmt rules for control characters and spaces */
};

struct normal_step {
    enum normal_kind kind;
    const char *a, *b;
    size_t a_len, b_len;
    struct pretok_regex *regex;
    bool left, right, mn_only;
    const uint8_t *charsmap; /* checked by normal_charsmap_check */
    size_t charsmap_bytes;
};

/* Appends the step's result. E_NOMEM, E_LIMIT. */
NODISCARD int normal_apply(const struct normal_step *step, const char *s, size_t len,
                           struct buf *out);
/* Is the table whole? E_FORMAT with the reason. */
NODISCARD int normal_charsmap_check(const uint8_t *map, size_t bytes, struct err *err);
/* The longest entry that is a prefix of s: its length (0: none) and its replacement. */
size_t normal_charsmap_find(const struct normal_step *step, const char *s, size_t len,
                            struct text_span *replacement);

#endif
