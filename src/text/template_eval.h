/* text/template_eval.h - runs a syntax tree.
 *
 * Files: expressions (template_eval.c), operators (template_op.c), calls (template_call.c),
 * statements (template_exec.c).
 *
 * Idea: a tree walk with scopes as linked lists. Assignments bind in the innermost scope; a
 * scope is made for each turn of a loop, each macro call, each captured block, so what is set in
 * a loop is gone after the turn, as in Jinja. Names not found in a scope are the caller's
 * variables, then the global functions, then undefined.
 *
 *     turn of a loop -> macro call -> top level -> vars (by index) -> global functions
 *
 * Invariant: r->level counts every C recursion (expressions, bodies, calls, nested values).
 * Cost: one unit of fuel a node visited. */
#ifndef TEXT_TEMPLATE_EVAL_H
#define TEXT_TEMPLATE_EVAL_H

#include "text/template_ast.h"

struct tpl_bind {
    struct tpl_bind *next;
    uint32_t name;
    struct tpl_val val;
};

struct tpl_scope {
    struct tpl_scope *parent; /* NULL: the top level */
    struct tpl_bind *binds;
};

struct tpl_macro {
    const struct tpl_node *n; /* MACRO or CALLBLOCK */
    struct tpl_scope *scope;  /* where it was defined */
};

/* A running for loop. Items are pulled one by one, since a filter may look at what the body
 * changed. */
struct tpl_loop {
    const struct tpl_node *n;
    struct tpl_scope *scope; /* around the loop */
    struct tpl_val *items;
    uint32_t n_items, pos;
    bool filtered;
    bool has_after;
    int64_t index0; /* -1 before the first turn */
    int64_t length; /* -1: not known yet */
    uint32_t depth0;
    struct tpl_val before, current, after;
    struct tpl_val changed; /* what loop.changed() saw last */
};

/* --- expressions ------------------------------------------------------------------------------ */
NODISCARD int tpl_eval(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *n,
                       struct tpl_val *out);
/* value|filter|filter of a block: the POSTFIX node has no base. */
NODISCARD int tpl_eval_filters(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *n,
                               struct tpl_val *value);
/* obj.name and obj[key] as the sandbox allows them; what is not there is an undefined value. */
NODISCARD int tpl_getattr(struct tpl *r, struct tpl_val obj, const struct tpl_str *name,
                          struct tpl_val *out);
NODISCARD int tpl_getitem(struct tpl *r, struct tpl_val obj, struct tpl_val key,
                          struct tpl_val *out);

/* --- operators -------------------------------------------------------------------------------- */
NODISCARD int tpl_binary(struct tpl *r, uint32_t op, struct tpl_val a, struct tpl_val b,
                         struct tpl_val *out);
NODISCARD int tpl_compare(struct tpl *r, enum tpl_compare op, struct tpl_val a, struct tpl_val b,
                          bool *out);
NODISCARD int tpl_negate(struct tpl *r, struct tpl_val v, struct tpl_val *out);
/* v[from:to:step]; MISSING or None parts as Python. */
NODISCARD int tpl_slice(struct tpl *r, struct tpl_val v, const struct tpl_val part[3],
                        struct tpl_val *out);

/* --- calls ------------------------------------------------------------------------------------ */
NODISCARD int tpl_eval_args(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *args,
                            struct tpl_args *out);
NODISCARD int tpl_args_kw(struct tpl *r, struct tpl_args *a, const struct tpl_str *name,
                          struct tpl_val v);
NODISCARD int tpl_call(struct tpl *r, struct tpl_val callee, const struct tpl_args *args,
                       struct tpl_val *out);
/* A built-in with its parameters sorted out. self: MISSING for global functions. */
NODISCARD int tpl_invoke(struct tpl *r, const struct tpl_fn *fn, struct tpl_val self,
                         const struct tpl_args *args, struct tpl_val *out);
extern const struct tpl_fn TPL_FUNCTIONS[]; /* global functions; ends with a NULL name */

/* --- statements ------------------------------------------------------------------------------- */
/* 0, TPL_BREAK, TPL_CONTINUE, or an error. */
enum { TPL_BREAK = 1, TPL_CONTINUE = 2 };
NODISCARD int tpl_exec(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *body);
/* Runs a body and keeps its text as a value. */
NODISCARD int tpl_exec_captured(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *body,
                                struct tpl_val *out);
NODISCARD int tpl_scope_new(struct tpl *r, struct tpl_scope *parent, struct tpl_scope **out);
NODISCARD int tpl_scope_set(struct tpl *r, struct tpl_scope *scope, uint32_t name,
                            struct tpl_val v);
/* loop(items) of a recursive loop. */
NODISCARD int tpl_loop_again(struct tpl *r, const struct tpl_loop *outer, struct tpl_val items,
                             struct tpl_val *out);
NODISCARD int tpl_loop_attr(struct tpl *r, struct tpl_loop *l, const struct tpl_str *name,
                            struct tpl_val *out, bool *found);

#endif
