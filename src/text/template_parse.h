/* text/template_parse.h - tokens to a syntax tree: statements (template_parse.c) and expressions
 * (template_expr.c, template_literal.c), by recursive descent.
 *
 * Invariant: nesting is at most limits.depth, so the C stack is bounded here and in the
 * interpreter. */
#ifndef TEXT_TEMPLATE_PARSE_H
#define TEXT_TEMPLATE_PARSE_H

#include "text/template_ast.h"
#include "text/template_lex.h"

struct tpl_parser {
    struct text_template *t;
    struct tpl *r; /* &t->c */
    struct tpl_lexer x;
    struct tpl_token cur, peek;
    bool soft;               /* inside {% if %}: an unknown filter is an error only when run */
    uint32_t n_unknown;      /* unknown filters met outside of that, so far */
    uint32_t unknown_line;   /* and the last of them */
    uint32_t unknown_name;
    uint32_t in_loop;        /* break and continue are allowed */
    uint32_t uses;           /* TPL_USES_* of the macro being parsed */
};

/* A list of nodes being built. */
struct tpl_list {
    struct tpl_node *first, **end;
};
static inline void tpl_list_init(struct tpl_list *l) { *l = (struct tpl_list){ .end = &l->first }; }
static inline void tpl_list_add(struct tpl_list *l, struct tpl_node *n)
{
    *l->end = n;
    l->end = &n->next;
}

/* --- the token stream ------------------------------------------------------------------------- */
NODISCARD int tpl_p_next(struct tpl_parser *p);
int tpl_p_fail(struct tpl_parser *p, const char *what);   /* names the token found */
bool tpl_p_is_op(const struct tpl_parser *p, uint32_t op);
bool tpl_p_is_name(const struct tpl_parser *p, const char *name);
NODISCARD int tpl_p_skip_op(struct tpl_parser *p, uint32_t op, bool *skipped);
NODISCARD int tpl_p_skip_name(struct tpl_parser *p, const char *name, bool *skipped);
NODISCARD int tpl_p_expect_op(struct tpl_parser *p, uint32_t op, const char *what);
NODISCARD int tpl_p_expect_name(struct tpl_parser *p, uint32_t *id); /* any name */
NODISCARD int tpl_p_node(struct tpl_parser *p, enum tpl_op op, struct tpl_node **out);
NODISCARD int tpl_p_intern(struct text_template *t, const char *name, size_t len, uint32_t *id);

/* --- literals: the current token is a string or a number -------------------------------------- */
NODISCARD int tpl_p_string(struct tpl_parser *p, struct tpl_node **out);
NODISCARD int tpl_p_number(struct tpl_parser *p, struct tpl_node **out);

/* --- expressions ------------------------------------------------------------------------------ */
enum { TPL_NO_COND = 1, TPL_PARENS = 2 };
NODISCARD int tpl_p_expr(struct tpl_parser *p, struct tpl_node **out);
/* One expression, or several with commas: a tuple. `stop`: a name that ends it, or NULL. */
NODISCARD int tpl_p_tuple(struct tpl_parser *p, unsigned flags, const char *stop,
                          struct tpl_node **out);
/* What `set` and `for` assign to: names, ns.attr (with_ns), tuples of them. */
NODISCARD int tpl_p_target(struct tpl_parser *p, bool with_ns, const char *stop,
                           struct tpl_node **out);
/* filter|filter(...) applied to nothing yet; the current token is the first filter's name. */
NODISCARD int tpl_p_filters(struct tpl_parser *p, struct tpl_node **out);

/* Parses all of the source. */
NODISCARD int tpl_parse(struct text_template *t, const char *source, size_t len);

#endif
