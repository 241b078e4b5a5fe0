/* text/grammar_ir.h - the one form all constraints are compiled to: a context-free grammar over
 * bytes, as a graph (for the files grammar_*.c only).
 *
 * Idea: a rule is a small automaton whose edges are byte ranges or calls of rules. It is built
 * backwards: each function takes the node that comes next and returns the node that begins, so
 * that a sequence a b is a(b(next)), a choice is a split, a loop a split made beforehand.
 *
 *     root ::= "a" num*        [call num]--.
 *                                  ^        v
 *              (61-61) ----> (split) <----- '          num ::= (30-39) -> (END)
 *                                  \-> (END)
 *
 * Equal nodes are made once (hash-consing), so tails are shared. GRAM_NONE means "no text at all";
 * it goes through every function, so that an impossible part makes what holds it impossible.
 *
 * Errors stick: after the first (memory, L7's limits on nodes or work) every function returns
 * GRAM_NONE, and gram_finish tells.
 * Ownership: the builder owns nodes and rules.   Threads: one at a time.
 * Cost: O(1) a node; gram_finish a few passes. */
#ifndef TEXT_GRAMMAR_IR_H
#define TEXT_GRAMMAR_IR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

#define GRAM_NONE UINT32_MAX
#define GRAM_END 0u             /* the node that returns to the caller: the same for all rules */
#define GRAM_NODES_MAX 50000u   /* L7 */
#define GRAM_RULES_MAX 20000u
#define GRAM_WORK_MAX 20000000u /* steps of compiling, in place of a clock: about 200 ms (L7) */
#define GRAM_FAR 256u           /* no token has more bytes: repeats further than this look alike */

enum gram_kind {
    GRAM_RANGE,  /* a byte lo..hi, then next */
    GRAM_SPLIT,  /* next or arg */
    GRAM_CALL,   /* rule arg, then next */
    GRAM_RETURN, /* GRAM_END */
    GRAM_MARK,   /* in the parts of a product only: part arg is satisfied here */
    GRAM_DEAD,   /* cannot reach the end (gram_finish) */
};

struct gram_node {
    uint32_t next, arg;
    uint32_t alias;  /* a node with the same future as far as one token reaches; itself mostly */
    uint8_t kind, lo, hi;
};

struct gram_rule {
    uint32_t start;
    bool is_cut;     /* masks are computed as if the caller were unknown, and shared */
    bool nullable;
};

/* A finished graph. */
struct gram_ir {
    struct gram_node *nodes;
    struct gram_rule *rules; /* rule 0 is the root */
    uint32_t n_nodes, n_rules, n_classes;
    uint8_t class_of[256];   /* bytes no edge tells apart have one class */
};
void gram_ir_fini(struct gram_ir *ir);

struct gram {
    struct gram_ir ir;
    uint32_t *slots;         /* hash of nodes: id + 1 */
    uint32_t work;
    int status;              /* sticky */
    bool flat;               /* calls are not allowed: parts of a product */
    struct err *err;         /* told once */
};

NODISCARD int gram_init(struct gram *g, struct err *err);
void gram_fini(struct gram *g);
/* Sets the sticky status (the first one stays); returns GRAM_NONE. */
uint32_t gram_fail(struct gram *g, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Counts work; false once too much was done or anything failed. */
bool gram_work(struct gram *g, uint32_t steps);

/* --- pieces: each returns the node that begins it -------------------------------------------- */
uint32_t gram_range(struct gram *g, uint8_t lo, uint8_t hi, uint32_t next);
uint32_t gram_split(struct gram *g, uint32_t a, uint32_t b);
uint32_t gram_call(struct gram *g, uint32_t rule, uint32_t next);
uint32_t gram_bytes(struct gram *g, const char *s, size_t len, uint32_t next);
static inline uint32_t gram_byte(struct gram *g, char c, uint32_t next)
{
    return gram_range(g, (uint8_t)c, (uint8_t)c, next);
}
/* A split that is not finished: body can lead back to it. */
uint32_t gram_loop_open(struct gram *g);
void gram_loop_close(struct gram *g, uint32_t loop, uint32_t body, uint32_t next);
uint32_t gram_mark(struct gram *g, uint32_t part);

uint32_t gram_rule(struct gram *g); /* a rule to be given a body later */
void gram_rule_body(struct gram *g, uint32_t rule, uint32_t start); /* NONE: matches nothing */

/* Body min..max times (GRAM_NONE: no upper bound). emit may be called any number of times. */
typedef uint32_t (*gram_emit_fn)(void *ctx, uint32_t next);
struct gram_repeat {
    gram_emit_fn emit;
    void *ctx;
    uint32_t min, max;
    bool heavy;              /* the body has many nodes: make a rule of it where allowed */
};
uint32_t gram_repeat(struct gram *g, const struct gram_repeat *r, uint32_t next);

/* --- sets of characters ---------------------------------------------------------------------- */
struct gram_span {
    uint32_t lo, hi;
};
struct gram_set {
    struct gram_span *spans; /* sorted and disjoint after gram_set_tidy */
    uint32_t n, cap;
    struct arena *arena;
};
#define GRAM_CHAR_MAX 0x10ffffu
void gram_set_init(struct gram_set *s, struct arena *arena);
NODISCARD int gram_set_add(struct gram_set *s, uint32_t lo, uint32_t hi);
void gram_set_tidy(struct gram_set *s);
NODISCARD int gram_set_invert(struct gram_set *s); /* tidy afterwards */

/* How characters are written. */
enum gram_form {
    GRAM_RAW,  /* UTF-8 */
    GRAM_JSON, /* inside a JSON string: short escapes, control characters also as \u00xx, everything
                * else as itself only */
};
uint32_t gram_class(struct gram *g, const struct gram_set *set, enum gram_form form,
                    uint32_t next);
uint32_t gram_char(struct gram *g, uint32_t cp, enum gram_form form, uint32_t next);
/* UTF-8 text, character by character; bytes that are no UTF-8 stay what they are. */
uint32_t gram_text(struct gram *g, const char *s, size_t len, enum gram_form form, uint32_t next);

/* --- products (grammar_product.c) ------------------------------------------------------------ */
/* Runs up to 32 regular parts side by side. exit(ctx, satisfied) returns where a text goes on of
 * which exactly the parts in the set are satisfied, GRAM_NONE where it may not end. */
struct gram_product {
    const uint32_t *starts;  /* built with g->flat, each ending in its gram_mark */
    uint32_t n_parts;
    uint32_t must;           /* parts without which a text cannot end: for pruning */
    uint32_t (*exit)(void *ctx, uint32_t satisfied);
    void *ctx;
};
uint32_t gram_product(struct gram *g, const struct gram_product *p);

/* Drops what cannot reach the end, refuses left recursion (names: of rules, or NULL; by id) and
 * grammars that match nothing, finds byte classes. Moves the graph to *out. E_FORMAT,
 * E_UNSUPPORTED, E_LIMIT, E_NOMEM. */
NODISCARD int gram_finish(struct gram *g, const char *const *names, struct gram_ir *out);

#endif
