/* text/template_ast.h - the syntax tree of a template.
 *
 * Idea: one node type with a few slots; the table below says what each kind keeps where. Chains
 * that people write long (a + b + c + ..., a.b.c|f|g, if/elif/...) are lists, not nests, so that
 * depth in the tree is depth in the source.
 *
 *     kind        a                b               c            d       name          sub
 *     CONST                                                             -             - (val)
 *     NAME                                                              variable
 *     TUPLE LIST  items
 *     DICT        key, value, key, value ...
 *     CHAIN       first operand    list of PART (a: operand, sub: operator)
 *     COMPARE     first operand    list of PART (sub: enum tpl_compare)
 *     AND OR      operands
 *     NOT NEG POS operand
 *     COND        condition        value           else or NULL
 *     POSTFIX     base             list of ATTR ITEM SLICE CALL FILTER TEST, applied in turn
 *       ATTR                                                            attribute
 *       ITEM      index
 *       SLICE     from             to              step (each may be NULL)
 *       CALL      list of ARG (a: value, sub: enum tpl_arg, name of a keyword)
 *       FILTER    list of ARG                                           filter        (fn)
 *       TEST      list of ARG                                           test          negated (fn)
 *     TEXT                                                                            - (val)
 *     OUTPUT      expression
 *     IF          list of BRANCH (a: condition or NULL for else, b: body)
 *     FOR         target           iterable        body         else    (e: filter)   recursive
 *     SET         target           value
 *     SETBLOCK    target           POSTFIX or NULL  body
 *     MACRO       list of PARAM (a: default or NULL)  body               macro         TPL_USES_*
 *     CALLBLOCK   list of PARAM    call (POSTFIX)   body                            TPL_USES_*
 *     FILTERBLOCK                  POSTFIX (no base) body
 *     WITH        target, value, ...                body
 *     SCOPE                                         body: a generation or block tag
 *     BREAK CONTINUE
 *     NSREF       (a target)       attribute in a (CONST)               namespace variable
 *
 * Ownership: nodes live in the compiled template's arena and do not change after parsing. */
#ifndef TEXT_TEMPLATE_AST_H
#define TEXT_TEMPLATE_AST_H

#include "base/map.h"
#include "text/template_value.h"

enum tpl_op {
    TPL_N_CONST, TPL_N_NAME, TPL_N_TUPLE, TPL_N_LIST, TPL_N_DICT, TPL_N_CHAIN, TPL_N_COMPARE,
    TPL_N_AND, TPL_N_OR, TPL_N_NOT, TPL_N_NEG, TPL_N_POS, TPL_N_COND, TPL_N_POSTFIX, TPL_N_ATTR,
    TPL_N_ITEM, TPL_N_SLICE, TPL_N_CALL, TPL_N_FILTER, TPL_N_TEST, TPL_N_PART, TPL_N_ARG,
    TPL_N_TEXT, TPL_N_OUTPUT, TPL_N_IF, TPL_N_BRANCH, TPL_N_FOR, TPL_N_SET, TPL_N_SETBLOCK,
    TPL_N_MACRO, TPL_N_PARAM, TPL_N_CALLBLOCK, TPL_N_FILTERBLOCK, TPL_N_WITH, TPL_N_SCOPE,
    TPL_N_BREAK, TPL_N_CONTINUE, TPL_N_NSREF,
};

enum tpl_arg { TPL_ARG_POS, TPL_ARG_KW, TPL_ARG_STAR, TPL_ARG_STARSTAR };
enum tpl_compare { TPL_EQ, TPL_NE, TPL_LT, TPL_LE, TPL_GT, TPL_GE, TPL_IN, TPL_NOT_IN };
enum { TPL_USES_CALLER = 1, TPL_USES_VARARGS = 2, TPL_USES_KWARGS = 4 };

struct tpl_node {
    enum tpl_op op;
    uint32_t line;
    uint32_t name; /* index into the template's names */
    uint32_t sub;
    struct tpl_node *next;
    struct tpl_node *a, *b, *c, *d, *e;
    struct tpl_val val;
    /* FILTER, TEST: NULL if there is none of that name (an error when run) */
    const struct tpl_fn *fn;
};

/* Names every template knows, in this order. */
enum tpl_known_name {
    TPL_NAME_LOOP, TPL_NAME_CALLER, TPL_NAME_VARARGS, TPL_NAME_KWARGS, TPL_NAME_FUNCS
};

struct text_template {
    struct tpl c; /* the arena of the tree; the rest serves while parsing */
    struct tpl_node *body;
    struct map ids;              /* name -> index */
    const struct tpl_str **names;
    uint32_t n_names, cap_names;
    struct text_template_limits limits;
};

#endif
