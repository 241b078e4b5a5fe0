/* text/trie.h - byte strings that may begin here.
 *
 * Idea: which tokens are a prefix of the text at this place? A trie answers for all lengths in one
 * walk. The root is an array; every other edge is a slot of one hash table, since most nodes have
 * one child.
 *
 *     root[ 'a' ] -> node 1      slot { node 1, 'b' } -> node 2      value[2] = id of "ab"
 *
 * Ownership: the trie owns its tables; strings are not kept. Threads: readers share a finished
 * trie. Cost: a step is one probe (expected); memory about 16 bytes a byte of distinct prefix. */
#ifndef TEXT_TRIE_H
#define TEXT_TRIE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct trie_edge {
    uint32_t from_byte; /* node << 8 | byte; 0: empty (the root's edges lie in root[]) */
    uint32_t to;
};
struct trie {
    uint32_t root[256]; /* 0: no child */
    struct trie_edge *edges;
    uint32_t n_edges, n_slots;
    int32_t *values; /* by node; -1: no string ends here */
    uint32_t n_nodes, cap_nodes;
};

NODISCARD int trie_init(struct trie *t);
void trie_fini(struct trie *t);
/* Adds a string (len > 0); one that is there already keeps its value. E_NOMEM, E_LIMIT (2^24
 * nodes). */
NODISCARD int trie_put(struct trie *t, const char *s, size_t len, int32_t value);

/* The child of node (0: the root) by a byte; 0: none. */
static inline uint32_t trie_step(const struct trie *t, uint32_t node, uint8_t byte)
{
    if (node == 0)
        return t->root[byte];
    uint32_t key = node << 8 | byte;
    for (uint32_t at = (key * 0x9e3779b1u) >> 7;; at++) {
        const struct trie_edge *e = &t->edges[at & (t->n_slots - 1)];
        if (e->from_byte == key)
            return e->to;
        if (e->from_byte == 0)
            return 0;
    }
}

#endif
