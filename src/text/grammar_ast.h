/* text/grammar_ast.h - expressions as read, before they become a graph (for grammar_*.c only).
 *
 * Idea: regular expressions and GBNF have the same shape: characters, sequences, alternatives,
 * repeats; GBNF adds names of rules, expressions add the anchors ^ and $. Trees of at most
 * GAST_DEPTH_MAX levels (L7), so that walking them may recurse.
 * Ownership: all in the arena.   Cost: linear, but repeats are written out. */
#ifndef TEXT_GRAMMAR_AST_H
#define TEXT_GRAMMAR_AST_H

#include "text/grammar_ir.h"

#define GAST_DEPTH_MAX 160
#define GAST_GROUPS_MAX 32 /* L7: groups in groups */

enum gast_kind {
    GAST_SET,    /* one character of the set */
    GAST_TEXT,   /* bytes */
    GAST_CAT,    /* kids one after the other; none: the empty text */
    GAST_ALT,    /* one of the kids */
    GAST_REPEAT, /* kids[0] min..max times */
    GAST_RULE,   /* rule */
    GAST_START, GAST_STOP, /* ^ $ */
};

struct gast {
    enum gast_kind kind;
    uint32_t depth;
    struct gram_set set;
    const char *text;
    size_t len;
    struct gast **kids;
    uint32_t n_kids, cap_kids;
    uint32_t min, max; /* max GRAM_NONE: any number */
    uint32_t rule;
};

/* NULL when the arena is full. */
struct gast *gast_new(struct arena *arena, enum gast_kind kind);
/* E_LIMIT: too deep, or the arena is full. */
NODISCARD int gast_add(struct arena *arena, struct gast *parent, struct gast *kid);
/* The graph of a tree without anchors. */
uint32_t gast_emit(struct gram *g, const struct gast *a, enum gram_form form, uint32_t next);
bool gast_has_anchor(const struct gast *a);

/* Reads a regular expression (grammar_regex.c has the dialect). any_end: parts without an anchor
 * match anywhere, as in a schema's `pattern`; else the whole text must match. The tree has no
 * anchors left. E_FORMAT, E_UNSUPPORTED, E_LIMIT. */
NODISCARD int gast_regex(struct gast **out, struct arena *arena, const char *s, size_t len,
                         bool any_end, struct err *err);

#endif
