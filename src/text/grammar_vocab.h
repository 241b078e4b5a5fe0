/* text/grammar_vocab.h - a vocabulary laid out to be walked by an automaton.
 *
 * Idea: which tokens may come is asked for all tokens at once. Sorted by their bytes, the tokens
 * form a trie; written in preorder it is walked by one loop that steps over what is impossible.
 *
 *     tokens  a  ab  abc  b        node   0    1    2    3
 *                                  byte   a    b    c    b
 *                                  depth  1    2    3    1
 *                                  skip   3    3    3    4    <- the node after the subtree
 *
 * (text/trie.h answers another question, which tokens begin here, and cannot list children.)
 *
 * Control tokens are not in it; end tokens are listed apart. Tokens of more than GRAM_FAR bytes
 * are left out: constrained output never uses them.
 * Ownership: owns all tables; the tokenizer is not kept.   Threads: immutable, shared freely.
 * Cost: create O(bytes log tokens); about 20 bytes a node, one to three nodes a token. */
#ifndef TEXT_GRAMMAR_VOCAB_H
#define TEXT_GRAMMAR_VOCAB_H

#include <stdint.h>

#include "base/err.h"
#include "text/tokenizer.h"

struct text_grammar_vocab {
    uint32_t n_nodes, n_tokens; /* n_tokens: ids below it */
    uint8_t *byte;              /* (n_nodes) */
    uint16_t *depth;            /* (n_nodes) from 1 */
    uint32_t *skip, *parent;    /* (n_nodes); parent of depth 1: UINT32_MAX */
    uint32_t *first;            /* (n_nodes + 1) into ids: tokens that end at a node */
    int32_t *ids;
    uint32_t n_ids;
    int32_t *ends;              /* tokens that end an answer */
    uint32_t n_ends;
    uint32_t *start;            /* (n_tokens + 1) into text */
    char *text;                 /* bytes of all tokens, by id */
    uint32_t depth_max;
};

/* pieces: (n) bytes of each token; len 0: a token that is never used. ends are copied. E_NOMEM,
 * E_LIMIT (2 GiB of text). */
NODISCARD int text_grammar_vocab_create(struct text_grammar_vocab **out,
                                        const struct text_str *pieces, uint32_t n,
                                        const int32_t *ends, uint32_t n_ends);
/* The vocabulary of a tokenizer. */
NODISCARD int text_grammar_vocab_of(struct text_grammar_vocab **out,
                                    const struct text_tokenizer *tokenizer);
void text_grammar_vocab_destroy(struct text_grammar_vocab *v); /* NULL is fine */

static inline struct text_str text_grammar_token(const struct text_grammar_vocab *v, int32_t id)
{
    return (struct text_str){ v->text + v->start[id], v->start[id + 1] - v->start[id] };
}

#endif
