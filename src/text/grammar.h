/* text/grammar.h - constrained output: which tokens may come next.
 *
 * Idea: a constraint (JSON schema, regular expression, list of choices, GBNF grammar) is compiled
 * once to a context-free grammar over bytes (text/grammar_ir.h). A matcher runs it beside one
 * answer: before each token it forbids what cannot go on, after it, it steps.
 *
 *     schema | regex | choices | GBNF --compile--> grammar --+-- matcher of answer 1
 *                                                   |        +-- matcher of answer 2
 *                        states and masks, made when first met, shared by all matchers
 *
 * A state is a set of places in the grammar, each with the stack of rules it is in; states are
 * made when first met and stepped by table from then on (lazy determinisation). The mask of a state
 * is found by walking the vocabulary as a trie. Most of it depends on the innermost rules alone
 * and is shared by all states that agree on these; tokens that reach over the end of a rule are
 * looked at once a state (the idea of XGrammar, Dong et al. 2024).
 *
 * Invariants: the answer so far can always be completed; an end token may come exactly where the
 *     constraint is satisfied; bytes are followed, so characters may be cut by tokens anywhere.
 * Ownership: a grammar is counted (ref, unref) and borrows the vocabulary; a matcher holds a
 *     reference.
 * Threads: a grammar may be shared freely (one lock inside, rank 60); a matcher belongs to one
 *     thread at a time.
 * Cost: compiling is bounded (L7: 50,000 nodes, counted work for 200 ms, 32 MiB). A mask met
 *     before: one pass over the logits. A new one: the trie, milliseconds at 150,000 tokens. The
 *     memory of states is bounded too: when 32 MiB are full, they are forgotten and made anew. */
#ifndef TEXT_GRAMMAR_H
#define TEXT_GRAMMAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "text/grammar_vocab.h"

struct text_grammar;
struct text_matcher;

#define TEXT_GRAMMAR_BYTES_MAX 65536 /* of source: L4 */
#define TEXT_CHOICES_MAX 4096

enum text_grammar_kind {
    TEXT_GRAMMAR_GBNF,    /* source; the root rule is "root" */
    TEXT_GRAMMAR_REGEX,   /* source, which the whole answer matches */
    TEXT_GRAMMAR_CHOICE,  /* json: an array of strings */
    TEXT_GRAMMAR_SCHEMA,  /* json: a JSON schema (grammar_schema.h says which keywords) */
    TEXT_GRAMMAR_OBJECT,  /* any JSON object */
    TEXT_GRAMMAR_CALLS,   /* json: an array of {"begin","schema","end","path"}: one of them, what
                           * the schema describes between two texts; path: of it, for errors */
};

struct text_grammar_params {
    enum text_grammar_kind kind;
    const char *source;
    size_t source_len;
    const json_value *json;
    /* For JSON: */
    bool compact;        /* no white space between tokens of JSON */
    bool open;           /* as the standard has it: undeclared properties may come, a keyword of one
                          * type does not ask for that type, numbers have any length */
    bool one_of_as_any;  /* oneOf whose branches are not seen to exclude each other is taken as
                          * anyOf; else refused */
};

/* E_FORMAT, E_UNSUPPORTED, E_LIMIT with err->field the place in a schema
 * ("properties.a.uniqueItems") and a text that says what and where, E_NOMEM. */
NODISCARD int text_grammar_create(struct text_grammar **out, const struct text_grammar_vocab *vocab,
                                  const struct text_grammar_params *params, struct err *err);
struct text_grammar *text_grammar_ref(struct text_grammar *g);
void text_grammar_unref(struct text_grammar *g); /* NULL is fine */

struct text_grammar_stats {
    uint32_t n_nodes, n_rules;  /* of the compiled form */
    uint32_t n_states, n_masks; /* made so far; masks: walks of the whole trie */
    uint32_t n_resolved;        /* states whose reaching-over tokens were looked at */
    uint32_t n_flushes;         /* times the memory of states was full */
    size_t bytes;               /* of states */
};
void text_grammar_stats(struct text_grammar *g, struct text_grammar_stats *out);

/* E_NOMEM. */
NODISCARD int text_matcher_create(struct text_matcher **out, struct text_grammar *g);
void text_matcher_destroy(struct text_matcher *m); /* NULL is fine */

/* Sets the logits (n) of all tokens that cannot come to -INFINITY. If those that can were all
 * forbidden before, they get 0: a constraint is stronger than a bias. */
void text_matcher_mask(struct text_matcher *m, float *logits, uint32_t n);
/* The same as a list of bits (n bits, in words of 64). */
void text_matcher_bits(struct text_matcher *m, uint64_t *bits, uint32_t n);
/* Steps over a token. False: it could not come; the matcher stays where it was. */
bool text_matcher_accept(struct text_matcher *m, int32_t id);
/* Steps over bytes; how many could come. */
size_t text_matcher_bytes(struct text_matcher *m, const char *bytes, size_t len);
bool text_matcher_may_end(struct text_matcher *m);  /* the text so far satisfies the constraint */
bool text_matcher_must_end(struct text_matcher *m); /* ... and nothing may follow */
/* Appends the bytes that must come next, at most max: nothing where there is a choice. */
void text_matcher_forced(struct text_matcher *m, size_t max, struct buf *out);

#endif
