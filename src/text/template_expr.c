/* Expressions, with Jinja's precedences from loose to tight: if/else, or, and, not, comparisons,
 * + -, ~, * / // %, **, unary, postfix. Two of Jinja's own ways are kept: ** binds to the left,
 * and filters and tests bind tighter than any operator (-1|abs is (-1)|abs). */
#include <string.h>

#include "text/template_filter.h"
#include "text/template_parse.h"

/* --- primaries -------------------------------------------------------------------------------- */

static int parse_items(struct tpl_parser *p, uint32_t close, struct tpl_node *into)
{
    struct tpl_list l;
    tpl_list_init(&l);
    bool dict = into->op == TPL_N_DICT;
    TRY(tpl_p_next(p));
    while (!tpl_p_is_op(p, close)) {
        if (l.first != NULL)
            TRY(tpl_p_expect_op(p, ',', "','"));
        if (tpl_p_is_op(p, close))
            break;
        struct tpl_node *item;
        TRY(tpl_p_expr(p, &item));
        tpl_list_add(&l, item);
        if (dict) {
            TRY(tpl_p_expect_op(p, ':', "':'"));
            TRY(tpl_p_expr(p, &item));
            tpl_list_add(&l, item);
        }
    }
    into->a = l.first;
    return tpl_p_next(p);
}

static int parse_name(struct tpl_parser *p, struct tpl_node **out)
{
    static const struct {
        const char *name;
        struct tpl_val val;
    } words[] = {
        { "true", { .kind = TPL_BOOL, .b = true } },   { "True", { .kind = TPL_BOOL, .b = true } },
        { "false", { .kind = TPL_BOOL, .b = false } },
            { "False", { .kind = TPL_BOOL, .b = false } },
        { "none", { .kind = TPL_NONE } },              { "None", { .kind = TPL_NONE } },
    };
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        if (!tpl_p_is_name(p, words[i].name))
            continue;
        TRY(tpl_p_node(p, TPL_N_CONST, out));
        (*out)->val = words[i].val;
        return tpl_p_next(p);
    }
    TRY(tpl_p_node(p, TPL_N_NAME, out));
    TRY(tpl_p_expect_name(p, &(*out)->name));
    uint32_t id = (*out)->name;
    p->uses |= id == TPL_NAME_CALLER ? TPL_USES_CALLER : id == TPL_NAME_VARARGS ? TPL_USES_VARARGS
             : id == TPL_NAME_KWARGS ? TPL_USES_KWARGS : 0;
    return 0;
}

static int parse_primary(struct tpl_parser *p, struct tpl_node **out)
{
    switch (p->cur.type) {
    case TPL_T_NAME: return parse_name(p, out);
    case TPL_T_STRING: return tpl_p_string(p, out);
    case TPL_T_INT:
    case TPL_T_FLOAT: return tpl_p_number(p, out);
    default: break;
    }
    if (tpl_p_is_op(p, '(')) {
        TRY(tpl_p_next(p));
        TRY(tpl_p_tuple(p, TPL_PARENS, NULL, out));
        return tpl_p_expect_op(p, ')', "')'");
    }
    if (tpl_p_is_op(p, '[')) {
        TRY(tpl_p_node(p, TPL_N_LIST, out));
        return parse_items(p, ']', *out);
    }
    if (tpl_p_is_op(p, '{')) {
        TRY(tpl_p_node(p, TPL_N_DICT, out));
        return parse_items(p, '}', *out);
    }
    return tpl_p_fail(p, "an expression");
}

/* --- postfix: attributes, items, calls, filters, tests ---------------------------------------- */

static int parse_arg(struct tpl_parser *p, struct tpl_node *arg)
{
    bool star, starstar = false;
    TRY(tpl_p_skip_op(p, '*', &star));
    if (!star)
        TRY(tpl_p_skip_op(p, TPL_OP2('*', '*'), &starstar));
    if (star || starstar) {
        arg->sub = star ? TPL_ARG_STAR : TPL_ARG_STARSTAR;
    } else if (p->cur.type == TPL_T_NAME && p->peek.type == TPL_T_OP && p->peek.op == '=') {
        arg->sub = TPL_ARG_KW;
        TRY(tpl_p_expect_name(p, &arg->name));
        TRY(tpl_p_next(p));
    }
    return tpl_p_expr(p, &arg->a);
}

/* (a, b, name=c, *d, **e), in that order. */
static int parse_args(struct tpl_parser *p, struct tpl_node **out)
{
    static const uint8_t after[] = { /* which kinds may stand before each kind */
        [TPL_ARG_POS] = 1 << TPL_ARG_POS,
        [TPL_ARG_KW] = 1 << TPL_ARG_POS | 1 << TPL_ARG_KW | 1 << TPL_ARG_STAR,
        [TPL_ARG_STAR] = 1 << TPL_ARG_POS | 1 << TPL_ARG_KW,
        [TPL_ARG_STARSTAR] = 1 << TPL_ARG_POS | 1 << TPL_ARG_KW | 1 << TPL_ARG_STAR,
    };
    struct tpl_list l;
    tpl_list_init(&l);
    unsigned seen = 0;
    TRY(tpl_p_expect_op(p, '(', "'('"));
    while (!tpl_p_is_op(p, ')')) {
        if (l.first != NULL) {
            TRY(tpl_p_expect_op(p, ',', "',' or ')'"));
            if (tpl_p_is_op(p, ')'))
                break;
        }
        struct tpl_node *arg;
        TRY(tpl_p_node(p, TPL_N_ARG, &arg));
        TRY(parse_arg(p, arg));
        if ((seen & ~(unsigned)after[arg->sub]) != 0)
            return tpl_p_fail(p, "arguments in the order: values, names, *list, **dict");
        seen |= 1u << arg->sub;
        tpl_list_add(&l, arg);
    }
    *out = l.first;
    return tpl_p_next(p);
}

static int slice_part(struct tpl_parser *p, struct tpl_node **out)
{
    if (tpl_p_is_op(p, ':') || tpl_p_is_op(p, ']') || tpl_p_is_op(p, ','))
        return 0;
    return tpl_p_expr(p, out);
}

/* [i], [a:b], [a:b:c]; [i, j] is an item with a tuple as index. */
static int parse_subscript(struct tpl_parser *p, struct tpl_node **out)
{
    struct tpl_node *n;
    TRY(tpl_p_node(p, TPL_N_SLICE, &n));
    TRY(tpl_p_next(p));
    TRY(slice_part(p, &n->a));
    bool colon;
    TRY(tpl_p_skip_op(p, ':', &colon));
    if (colon) {
        TRY(slice_part(p, &n->b));
        TRY(tpl_p_skip_op(p, ':', &colon));
        if (colon)
            TRY(slice_part(p, &n->c));
    } else {
        n->op = TPL_N_ITEM;
        if (n->a == NULL)
            return tpl_p_fail(p, "an index");
        if (tpl_p_is_op(p, ',')) {
            struct tpl_node *tuple;
            TRY(tpl_p_node(p, TPL_N_TUPLE, &tuple));
            tuple->a = n->a;
            struct tpl_node **end = &n->a->next;
            n->a = tuple;
            while (tpl_p_is_op(p, ',')) {
                TRY(tpl_p_next(p));
                TRY(tpl_p_expr(p, end));
                end = &(*end)->next;
            }
        }
    }
    *out = n;
    return tpl_p_expect_op(p, ']', "']'");
}

static int parse_attr(struct tpl_parser *p, struct tpl_node **out)
{
    TRY(tpl_p_next(p));
    TRY(tpl_p_node(p, TPL_N_ATTR, out));
    if (p->cur.type == TPL_T_INT) {
        (*out)->op = TPL_N_ITEM;
        return tpl_p_number(p, &(*out)->a);
    }
    return tpl_p_expect_name(p, &(*out)->name);
}

/* A filter's or test's name, which may have dots in it. */
static int parse_fn_name(struct tpl_parser *p, struct tpl_node *n)
{
    char text[128];
    size_t len = 0;
    p->r->line = n->line = p->cur.line;
    for (bool more = true; more;) {
        if (p->cur.type != TPL_T_NAME)
            return tpl_p_fail(p, "a name");
        if (len + p->cur.len + 1 >= sizeof text)
            return tpl_fail(p->r, "the name of a filter or test is too long");
        memcpy(text + len, p->cur.text, p->cur.len);
        len += p->cur.len;
        TRY(tpl_p_next(p));
        TRY(tpl_p_skip_op(p, '.', &more));
        if (more)
            text[len++] = '.';
    }
    n->fn = n->op == TPL_N_FILTER ? tpl_filter_find(text, len) : tpl_test_find(text, len);
    TRY(tpl_p_intern(p->t, text, len, &n->name));
    if (n->fn == NULL && !p->soft) {
        p->n_unknown++;
        p->unknown_line = n->line;
        p->unknown_name = n->name;
    }
    return 0;
}

static int parse_filter(struct tpl_parser *p, struct tpl_node **out)
{
    TRY(tpl_p_node(p, TPL_N_FILTER, out));
    TRY(parse_fn_name(p, *out));
    return tpl_p_is_op(p, '(') ? parse_args(p, &(*out)->a) : 0;
}

static int parse_unary(struct tpl_parser *p, bool with_filter, struct tpl_node **out);
static int parse_postfix(struct tpl_parser *p, bool with_filter, struct tpl_node **node);

/* `x is test arg` takes one argument without brackets: a primary with its postfixes. */
static int test_arg(struct tpl_parser *p, struct tpl_node *test)
{
    bool starts = p->cur.type == TPL_T_NAME || p->cur.type == TPL_T_STRING ||
                  p->cur.type == TPL_T_INT || p->cur.type == TPL_T_FLOAT || tpl_p_is_op(p, '[') ||
                  tpl_p_is_op(p, '{');
    if (!starts || tpl_p_is_name(p, "else") || tpl_p_is_name(p, "or") || tpl_p_is_name(p, "and"))
        return 0;
    if (tpl_p_is_name(p, "is"))
        return tpl_p_fail(p, "no second test: tests cannot be chained");
    TRY(tpl_p_node(p, TPL_N_ARG, &test->a));
    TRY(parse_primary(p, &test->a->a));
    return parse_postfix(p, false, &test->a->a);
}

static int parse_test(struct tpl_parser *p, struct tpl_node **out)
{
    TRY(tpl_p_next(p));
    TRY(tpl_p_node(p, TPL_N_TEST, out));
    bool negated;
    TRY(tpl_p_skip_name(p, "not", &negated));
    (*out)->sub = negated;
    TRY(parse_fn_name(p, *out));
    if (tpl_p_is_op(p, '('))
        return parse_args(p, &(*out)->a);
    return test_arg(p, *out);
}

static int postfix_part(struct tpl_parser *p, bool filters, struct tpl_node **part)
{
    *part = NULL;
    if (!filters && tpl_p_is_op(p, '.'))
        return parse_attr(p, part);
    if (!filters && tpl_p_is_op(p, '['))
        return parse_subscript(p, part);
    if (tpl_p_is_op(p, '(')) {
        TRY(tpl_p_node(p, TPL_N_CALL, part));
        return parse_args(p, &(*part)->a);
    }
    if (filters && tpl_p_is_op(p, '|')) {
        TRY(tpl_p_next(p));
        return parse_filter(p, part);
    }
    if (filters && tpl_p_is_name(p, "is"))
        return parse_test(p, part);
    return 0;
}

/* Gathers .a [b] (c) and then, behind those, |f, is t and calls. */
static int parse_postfix(struct tpl_parser *p, bool with_filter, struct tpl_node **node)
{
    struct tpl_list l;
    tpl_list_init(&l);
    for (bool filters = false;;) {
        struct tpl_node *part;
        TRY(postfix_part(p, filters, &part));
        if (part != NULL)
            tpl_list_add(&l, part);
        else if (filters || !with_filter)
            break;
        else
            filters = true;
    }
    if (l.first == NULL)
        return 0;
    struct tpl_node *n;
    TRY(tpl_p_node(p, TPL_N_POSTFIX, &n));
    n->line = l.first->line;
    n->a = *node;
    n->b = l.first;
    *node = n;
    return 0;
}

int tpl_p_filters(struct tpl_parser *p, struct tpl_node **out)
{
    struct tpl_list l;
    tpl_list_init(&l);
    TRY(tpl_p_node(p, TPL_N_POSTFIX, out));
    for (bool more = true; more;) {
        struct tpl_node *f;
        TRY(parse_filter(p, &f));
        tpl_list_add(&l, f);
        TRY(tpl_p_skip_op(p, '|', &more));
    }
    (*out)->b = l.first;
    return 0;
}

/* --- operators -------------------------------------------------------------------------------- */

static int parse_unary(struct tpl_parser *p, bool with_filter, struct tpl_node **out)
{
    if (tpl_p_is_op(p, '-') || tpl_p_is_op(p, '+')) {
        TRY(tpl_enter(p->r));
        TRY(tpl_p_node(p, p->cur.op == '-' ? TPL_N_NEG : TPL_N_POS, out));
        TRY(tpl_p_next(p));
        TRY(parse_unary(p, false, &(*out)->a));
        tpl_leave(p->r);
    } else {
        TRY(parse_primary(p, out));
    }
    return parse_postfix(p, with_filter, out);
}

#define N_LEVELS 4
static const uint32_t chain_ops[N_LEVELS][4] = { /* loose to tight */
    { '+', '-' }, { '~' }, { '*', '/', TPL_OP2('/', '/'), '%' }, { TPL_OP2('*', '*') },
};

static bool op_of_level(const struct tpl_parser *p, int level)
{
    for (int i = 0; i < 4; i++)
        if (chain_ops[level][i] != 0 && tpl_p_is_op(p, chain_ops[level][i]))
            return true;
    return false;
}

static int parse_chain(struct tpl_parser *p, int level, struct tpl_node **out)
{
    if (level == N_LEVELS)
        return parse_unary(p, true, out);
    TRY(parse_chain(p, level + 1, out));
    if (!op_of_level(p, level))
        return 0;
    struct tpl_node *chain;
    struct tpl_list l;
    tpl_list_init(&l);
    TRY(tpl_p_node(p, TPL_N_CHAIN, &chain));
    while (op_of_level(p, level)) {
        struct tpl_node *part;
        TRY(tpl_p_node(p, TPL_N_PART, &part));
        part->sub = p->cur.op;
        TRY(tpl_p_next(p));
        TRY(parse_chain(p, level + 1, &part->a));
        tpl_list_add(&l, part);
    }
    chain->a = *out;
    chain->b = l.first;
    *out = chain;
    return 0;
}

/* The comparison at the current token, or -1. `not in` is two tokens. */
static int compare_op(const struct tpl_parser *p)
{
    static const uint32_t ops[] = { [TPL_EQ] = TPL_OP2('=', '='), [TPL_NE] = TPL_OP2('!', '='),
                                    [TPL_LT] = '<', [TPL_LE] = TPL_OP2('<', '='),
                                    [TPL_GT] = '>', [TPL_GE] = TPL_OP2('>', '=') };
    for (size_t i = 0; i < COUNT_OF(ops); i++)
        if (tpl_p_is_op(p, ops[i]))
            return (int)i;
    if (tpl_p_is_name(p, "in"))
        return TPL_IN;
    if (tpl_p_is_name(p, "not") && p->peek.type == TPL_T_NAME && p->peek.len == 2 &&
        memcmp(p->peek.text, "in", 2) == 0)
        return TPL_NOT_IN;
    return -1;
}

static int parse_compare(struct tpl_parser *p, struct tpl_node **out)
{
    TRY(parse_chain(p, 0, out));
    struct tpl_list l;
    tpl_list_init(&l);
    for (int op = compare_op(p); op >= 0; op = compare_op(p)) {
        struct tpl_node *part;
        TRY(tpl_p_node(p, TPL_N_PART, &part));
        part->sub = (uint32_t)op;
        TRY(tpl_p_next(p));
        if (op == TPL_NOT_IN)
            TRY(tpl_p_next(p));
        TRY(parse_chain(p, 0, &part->a));
        tpl_list_add(&l, part);
    }
    if (l.first == NULL)
        return 0;
    struct tpl_node *n;
    TRY(tpl_p_node(p, TPL_N_COMPARE, &n));
    n->a = *out;
    n->b = l.first;
    *out = n;
    return 0;
}

static int parse_not(struct tpl_parser *p, struct tpl_node **out)
{
    if (!tpl_p_is_name(p, "not"))
        return parse_compare(p, out);
    TRY(tpl_enter(p->r));
    TRY(tpl_p_node(p, TPL_N_NOT, out));
    TRY(tpl_p_next(p));
    TRY(parse_not(p, &(*out)->a));
    tpl_leave(p->r);
    return 0;
}

static int parse_and_or(struct tpl_parser *p, bool is_or, struct tpl_node **out)
{
    const char *word = is_or ? "or" : "and";
    TRY(is_or ? parse_and_or(p, false, out) : parse_not(p, out));
    if (!tpl_p_is_name(p, word))
        return 0;
    struct tpl_node *n;
    TRY(tpl_p_node(p, is_or ? TPL_N_OR : TPL_N_AND, &n));
    n->a = *out;
    *out = n;
    for (struct tpl_node **end = &n->a->next; tpl_p_is_name(p, word); end = &(*end)->next) {
        TRY(tpl_p_next(p));
        TRY(is_or ? parse_and_or(p, false, end) : parse_not(p, end));
    }
    return 0;
}

static int parse_cond(struct tpl_parser *p, struct tpl_node **out)
{
    TRY(tpl_enter(p->r));
    uint32_t n_unknown = p->n_unknown;
    TRY(parse_and_or(p, true, out));
    for (bool more = true;;) {
        TRY(tpl_p_skip_name(p, "if", &more));
        if (!more)
            break;
        struct tpl_node *n;
        TRY(tpl_p_node(p, TPL_N_COND, &n));
        n->b = *out;
        *out = n;
        TRY(parse_and_or(p, true, &n->a));
        TRY(tpl_p_skip_name(p, "else", &more));
        if (more)
            TRY(parse_cond(p, &n->c));
        p->n_unknown = n_unknown; /* a branch may never run */
    }
    tpl_leave(p->r);
    return 0;
}

int tpl_p_expr(struct tpl_parser *p, struct tpl_node **out) { return parse_cond(p, out); }

static bool tuple_ends(const struct tpl_parser *p, const char *stop)
{
    return p->cur.type == TPL_T_VAR_END || p->cur.type == TPL_T_BLOCK_END || tpl_p_is_op(p, ')') ||
           (stop != NULL && tpl_p_is_name(p, stop));
}

int tpl_p_tuple(struct tpl_parser *p, unsigned flags, const char *stop, struct tpl_node **out)
{
    struct tpl_list l;
    tpl_list_init(&l);
    bool is_tuple = false;
    while (!tuple_ends(p, stop)) {
        struct tpl_node *item;
        TRY((flags & TPL_NO_COND) != 0 ? parse_and_or(p, true, &item) : parse_cond(p, &item));
        tpl_list_add(&l, item);
        if (!tpl_p_is_op(p, ','))
            break;
        is_tuple = true;
        TRY(tpl_p_next(p));
    }
    if (!is_tuple && l.first != NULL) {
        *out = l.first;
        return 0;
    }
    if (!is_tuple && (flags & TPL_PARENS) == 0)
        return tpl_p_fail(p, "an expression");
    TRY(tpl_p_node(p, TPL_N_TUPLE, out));
    (*out)->a = l.first;
    return 0;
}

static int one_target(struct tpl_parser *p, bool with_ns, struct tpl_node **out)
{
    if (tpl_p_is_op(p, '(')) {
        TRY(tpl_enter(p->r));
        TRY(tpl_p_next(p));
        TRY(tpl_p_target(p, with_ns, NULL, out));
        tpl_leave(p->r);
        return tpl_p_expect_op(p, ')', "')'");
    }
    if (p->cur.type != TPL_T_NAME)
        return tpl_p_fail(p, "a name to assign to");
    TRY(parse_name(p, out));
    if ((*out)->op != TPL_N_NAME)
        return tpl_p_fail(p, "a name to assign to, not a constant");
    bool dot = false;
    if (with_ns)
        TRY(tpl_p_skip_op(p, '.', &dot));
    if (dot) {
        (*out)->op = TPL_N_NSREF;
        if (p->cur.type != TPL_T_NAME)
            return tpl_p_fail(p, "an attribute of a namespace");
        TRY(tpl_p_node(p, TPL_N_CONST, &(*out)->a));
        TRY(tpl_str_new(p->r, p->cur.text, p->cur.len, 0, &(*out)->a->val));
        tpl_str_chars((*out)->a->val.s);
        return tpl_p_next(p);
    }
    return 0;
}

int tpl_p_target(struct tpl_parser *p, bool with_ns, const char *stop, struct tpl_node **out)
{
    struct tpl_list l;
    tpl_list_init(&l);
    bool is_tuple = false;
    while (l.first == NULL || !tuple_ends(p, stop)) {
        struct tpl_node *item;
        TRY(one_target(p, with_ns, &item));
        tpl_list_add(&l, item);
        if (!tpl_p_is_op(p, ','))
            break;
        is_tuple = true;
        TRY(tpl_p_next(p));
    }
    *out = l.first;
    if (!is_tuple)
        return 0;
    TRY(tpl_p_node(p, TPL_N_TUPLE, out));
    (*out)->a = l.first;
    return 0;
}
