#include "text/trie.h"

#include <string.h>

#include "base/mem.h"

#define NODES_MAX (1u << 24) /* a node and a byte share 32 bits */

int trie_init(struct trie *t)
{
    *t = (struct trie){ .n_slots = 64, .cap_nodes = 64, .n_nodes = 1 };
    t->edges = mem_alloc(t->n_slots, sizeof *t->edges);
    t->values = mem_alloc(t->cap_nodes, sizeof *t->values);
    if (t->edges == NULL || t->values == NULL) {
        trie_fini(t);
        return E_NOMEM;
    }
    t->values[0] = -1;
    return 0;
}

void trie_fini(struct trie *t)
{
    mem_free(t->edges);
    mem_free(t->values);
    *t = (struct trie){ 0 };
}

static void put_edge(struct trie_edge *edges, uint32_t n_slots, struct trie_edge e)
{
    uint32_t at = (e.from_byte * 0x9e3779b1u) >> 7;
    while (edges[at & (n_slots - 1)].from_byte != 0)
        at++;
    edges[at & (n_slots - 1)] = e;
}

static int grow_edges(struct trie *t)
{
    uint32_t n_slots = t->n_slots * 2;
    struct trie_edge *edges = mem_alloc(n_slots, sizeof *edges);
    if (edges == NULL)
        return E_NOMEM;
    for (uint32_t i = 0; i < t->n_slots; i++)
        if (t->edges[i].from_byte != 0)
            put_edge(edges, n_slots, t->edges[i]);
    mem_free(t->edges);
    t->edges = edges;
    t->n_slots = n_slots;
    return 0;
}

static int add_child(struct trie *t, uint32_t node, uint8_t byte, uint32_t *child)
{
    if (t->n_nodes >= NODES_MAX)
        return E_LIMIT;
    if (t->n_nodes == t->cap_nodes) {
        int32_t *values = mem_realloc(t->values, (size_t)t->cap_nodes * 2, sizeof *values);
        if (values == NULL)
            return E_NOMEM;
        t->values = values;
        t->cap_nodes *= 2;
    }
    if (node != 0 && t->n_edges * 2 >= t->n_slots)
        TRY(grow_edges(t));
    *child = t->n_nodes++;
    t->values[*child] = -1;
    if (node == 0) {
        t->root[byte] = *child;
    } else {
        put_edge(t->edges, t->n_slots, (struct trie_edge){ node << 8 | byte, *child });
        t->n_edges++;
    }
    return 0;
}

int trie_put(struct trie *t, const char *s, size_t len, int32_t value)
{
    ASSERT(len > 0);
    uint32_t node = 0;
    for (size_t i = 0; i < len; i++) {
        uint32_t child = trie_step(t, node, (uint8_t)s[i]);
        if (child == 0)
            TRY(add_child(t, node, (uint8_t)s[i], &child));
        node = child;
    }
    if (t->values[node] < 0)
        t->values[node] = value;
    return 0;
}
