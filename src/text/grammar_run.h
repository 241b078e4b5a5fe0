/* text/grammar_run.h - the states of a grammar, made when first met (for grammar_*.c only).
 *
 * Idea: a place is a node that reads a byte and the stack of calls it stands in. Stacks are lists
 * that share their tails, each list once (hash-consing), so that a place is two numbers and a
 * state, a sorted set of places, is found again by its numbers.
 *
 *     state 7   { (node 12, frame 3), (node 40, frame 3) }   frame 3: back to node 17, then frame 1
 *                  byte class -> state, filled in when first asked for
 *
 * Frame 0 is the end of the whole text. A bottom frame stands for a caller that is not known: to
 * return to it is to `escape`. States over bottom frames serve the masks only.
 * Threads: all under text_grammar.lock.   Cost: a step that was taken before is one look-up. */
#ifndef TEXT_GRAMMAR_RUN_H
#define TEXT_GRAMMAR_RUN_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/map.h"
#include "text/grammar.h"
#include "text/grammar_ir.h"

#define GSTATE_NONE 0u       /* in a table: not asked for yet */
#define GSTATE_DEAD 1u       /* no text goes on */
#define GFRAME_END 0u

struct gframe {
    uint32_t ret, parent;
    uint32_t is_cut;         /* pushed by the call of a cut rule */
};

/* The tokens that may come in a state, as far as the callers do not matter. */
struct gmask {
    uint64_t *bits;          /* NULL: few are allowed, listed in ids */
    int32_t *ids;
    uint32_t n_ids;
    uint32_t *unsure;        /* subtrees of the trie that depend on the caller */
    uint32_t n_unsure;
};

struct gstate {
    uint64_t *items;         /* node << 32 | frame, sorted; node reads a byte */
    uint32_t n;
    bool accepts, escapes;
    uint32_t *next;          /* (n_classes) */
    struct gmask *mask;      /* NULL: not asked for */
    int32_t *extra;          /* tokens of the unsure subtrees that may come */
    uint32_t n_extra;
    bool resolved;
};

struct gcache {
    struct arena arena;
    struct gframe **frames;
    struct gstate **states;
    uint32_t n_frames, cap_frames, n_states, cap_states;
    struct map by_frame, by_items;
    uint32_t start;
};

struct gseen {               /* places met while a state is made; also the list of work */
    uint64_t *items, *slots; /* slots: item + 1 */
    uint32_t n, cap, n_slots;
};

struct text_matcher {
    struct text_grammar *grammar;
    struct text_matcher *prev, *next;
    uint32_t state;
    bool ended;              /* an end token was taken */
    float *saved;            /* logits of listed tokens while the rest is wiped */
    size_t cap_saved;
};

struct text_grammar {
    _Atomic uint32_t refs;
    pthread_mutex_t lock;
    struct gram_ir ir;
    const struct text_grammar_vocab *vocab;
    struct gcache cache;
    struct gseen seen;
    uint64_t *made;          /* places of the state being made */
    uint32_t n_made, cap_made;
    struct text_matcher *matchers;
    uint32_t n_masks, n_resolved, n_flushes;
};

NODISCARD int gcache_init(struct text_grammar *g);
void gcache_fini(struct gcache *c);
/* The state after a byte; makes it if need be. GSTATE_DEAD also when memory is out. */
uint32_t gstate_make(struct text_grammar *g, uint32_t state, uint8_t byte);
static inline uint32_t gstate_step(struct text_grammar *g, uint32_t state, uint8_t byte)
{
    uint32_t to = g->cache.states[state]->next[g->ir.class_of[byte]];
    return to != GSTATE_NONE ? to : gstate_make(g, state, byte);
}
/* The same state with callers beyond the innermost cut rules unknown. */
uint32_t gstate_local(struct text_grammar *g, uint32_t state);
/* Forgets all states if their memory is nearly full; matchers go on in new ones. */
void gstate_flush(struct text_grammar *g, bool force);

/* grammar_mask.c: the mask of a state with everything resolved. NULL: out of memory. */
const struct gmask *gstate_mask(struct text_grammar *g, uint32_t state);

#endif
