/* text/pretok.h - cutting text into the pieces that are tokenised on their own.
 *
 * Idea: byte-level BPE vocabularies come with a regular expression that says where words end. The
 * expressions in use are few, so each is a matcher written by hand (the rule), named by the family
 * in GGUF's tokenizer.ggml.pre and recognised by its published text in tokenizer.json. An
 * expression nobody knows runs on PCRE2.
 *
 *     family "deepseek-v3" = pass \p{N}{1,3}  ->  pass [CJK]+  ->  pass words|punctuation|space
 *     each pass cuts every piece of the pass before; text between two matches is a piece as well
 *
 * Invariants: pieces are in order, do not overlap and, unless a pass removes (spaces), cover the
 * text. Ownership: families and rules are constant data; a regex owns its compiled code. Threads:
 * all of it may be shared.   Cost: linear, no matcher looks at a character more than a fixed number
 * of times; a foreign regex is bounded by a match limit a piece (E_LIMIT). */
#ifndef TEXT_PRETOK_H
#define TEXT_PRETOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct text_span {
    uint32_t begin, end; /* bytes */
};
struct text_spans {
    struct text_span *v;
    size_t n, cap;
};
void text_spans_fini(struct text_spans *l);
NODISCARD int text_spans_put(struct text_spans *l, uint32_t begin, uint32_t end); /* E_NOMEM */

/* How a rule's words look; the numbers in pretok_rule say which alternatives it has. */
enum pretok_kind {
    PRETOK_WORDS,    /* contraction | word | digits | punctuation | space: struct pretok_rule */
    PRETOK_RUN,      /* runs of a class, at most max long, perhaps with one space before */
    PRETOK_TRAILING, /* \s+$ */
    PRETOK_ASCII3,   /* [0-9][0-9][0-9] */
};
enum pretok_prefix { PREFIX_SPACE, PREFIX_ANY, PREFIX_NO_PUNCT };
enum pretok_letters { LETTERS_L, LETTERS_LM, LETTERS_CASE, LETTERS_CASE_NO_HAN };
enum pretok_contraction {
    CONTRACTION_NONE,
    CONTRACTION_LOWER,
    CONTRACTION_ANY,
    CONTRACTION_SUFFIX
};
enum pretok_class {
    CLASS_N,
    CLASS_L,
    CLASS_P,
    CLASS_NL,
    CLASS_CJK,
    CLASS_CJK_KANA,
    CLASS_DS_LETTER,
    CLASS_DS_PUNCT,
    CLASS_FALCON,
    CLASS_DEFAULT,
    CLASS_NOT_PORO
};

struct pretok_rule {
    enum pretok_kind kind;
    const char *regex; /* as published, in PCRE2's syntax */
    /* PRETOK_WORDS */
    enum pretok_contraction contraction;
    enum pretok_prefix prefix;
    enum pretok_letters letters;
    bool ascii_words; /* [ASCII punctuation][A-Za-z]+ comes first */
    bool han_runs;    /* [\p{Han}]+ comes first */
    uint8_t digits;   /* 0: none; 1, 3: at most so many; 255: ` ?\p{N}+` */
    bool punct_only;  /* [\p{P}\p{S}]+ instead of [^\s\p{L}\p{N}]+ */
    const char *tail; /* characters that may follow punctuation */
    bool newlines;    /* \s*[\r\n]+ */
    /* PRETOK_RUN */
    enum pretok_class cls;
    uint32_t max; /* characters a match; 0: any number */
    char lead;    /* 0; 's' one \s before; ' ' one space before */
};

#define PRETOK_PASSES_MAX 6
struct pretok_family {
    const char *names; /* separated by spaces; the first is printed */
    const struct pretok_rule *passes[PRETOK_PASSES_MAX]; /* ends at NULL */
    bool ignore_merges; /* models of these names take whole words from the vocabulary first */
};
extern const struct pretok_family PRETOK_FAMILIES[];
extern const size_t PRETOK_N_FAMILIES;

/* The family of a name (NULL or "": "default"); NULL if unknown. */
const struct pretok_family *pretok_family_find(const char *name, bool *ignore_merges);
/* The rule whose published text this is; NULL if none. */
const struct pretok_rule *pretok_rule_find(const char *regex, size_t len);

/* The next match of a rule at or after `at`; false: none up to end. */
bool pretok_match(const struct pretok_rule *rule, const uint8_t *s, uint32_t at, uint32_t end,
                  struct text_span *m);

struct pretok_regex;
NODISCARD int pretok_regex_compile(struct pretok_regex **out, const char *pattern, size_t len,
                                   struct err *err);
void pretok_regex_destroy(struct pretok_regex *r);

/* One cut, as tokenizer.json describes it: what becomes of matches. */
enum pretok_behavior {
    SPLIT_ISOLATED,
    SPLIT_REMOVED,
    SPLIT_MERGE_PREVIOUS,
    SPLIT_MERGE_NEXT,
    SPLIT_CONTIGUOUS
};
enum pretok_finder { FIND_RULE, FIND_REGEX, FIND_TEXT, FIND_PUNCT, FIND_SPACE };
struct pretok_step {
    enum pretok_finder finder;
    const struct pretok_rule *rule;
    struct pretok_regex *regex;
    const char *text;
    size_t text_len;
    enum pretok_behavior behavior;
    bool invert;
};

/* Cuts each of `in` into `out` (emptied first). E_NOMEM, E_LIMIT (a regex took too long). */
NODISCARD int pretok_split(const struct pretok_step *step, const uint8_t *s,
                           const struct text_spans *in, struct text_spans *out);

#endif
