/* Statements, and the token stream they share with expressions. */
#include "text/template_parse.h"

#include <string.h>

/* --- the token stream ------------------------------------------------------------------------- */

int tpl_p_next(struct tpl_parser *p)
{
    p->cur = p->peek;
    p->r->line = p->cur.line;
    return tpl_lex_next(&p->x, &p->peek);
}

int tpl_p_fail(struct tpl_parser *p, const char *what)
{
    p->r->line = p->cur.line;
    switch (p->cur.type) {
    case TPL_T_EOF: return tpl_fail(p->r, "expected %s, but the template ends", what);
    case TPL_T_VAR_END: return tpl_fail(p->r, "expected %s, found '}}'", what);
    case TPL_T_BLOCK_END: return tpl_fail(p->r, "expected %s, found '%%}'", what);
    default:
        return tpl_fail(p->r, "expected %s, found '%.*s'", what,
                        (int)(p->cur.len < 40 ? p->cur.len : 40),
                            p->cur.len > 0 ? p->cur.text : "");
    }
}

bool tpl_p_is_op(const struct tpl_parser *p, uint32_t op)
{
    return p->cur.type == TPL_T_OP && p->cur.op == op;
}

bool tpl_p_is_name(const struct tpl_parser *p, const char *name)
{
    return p->cur.type == TPL_T_NAME && p->cur.len == strlen(name) &&
           memcmp(p->cur.text, name, p->cur.len) == 0;
}

int tpl_p_skip_op(struct tpl_parser *p, uint32_t op, bool *skipped)
{
    *skipped = tpl_p_is_op(p, op);
    return *skipped ? tpl_p_next(p) : 0;
}

int tpl_p_skip_name(struct tpl_parser *p, const char *name, bool *skipped)
{
    *skipped = tpl_p_is_name(p, name);
    return *skipped ? tpl_p_next(p) : 0;
}

int tpl_p_expect_op(struct tpl_parser *p, uint32_t op, const char *what)
{
    return tpl_p_is_op(p, op) ? tpl_p_next(p) : tpl_p_fail(p, what);
}

int tpl_p_intern(struct text_template *t, const char *name, size_t len, uint32_t *id)
{
    if (map_get(&t->ids, name, len, id))
        return 0;
    if (t->n_names == t->cap_names) {
        uint32_t cap = t->cap_names < 32 ? 32 : t->cap_names * 2;
        const struct tpl_str **names = tpl_alloc(&t->c, cap, sizeof *names);
        if (names == NULL)
            return tpl_nomem(&t->c);
        if (t->n_names > 0)
            memcpy(names, t->names, t->n_names * sizeof *names);
        t->names = names;
        t->cap_names = cap;
    }
    char *copy = arena_strndup(&t->c.arena, name, len);
    if (copy == NULL)
        return tpl_nomem(&t->c);
    struct tpl_val v;
    TRY(tpl_str_new(&t->c, copy, len, 0, &v));
    tpl_str_chars(v.s); /* counted now: renders share the names and must not write to them */
    TRY(map_put(&t->ids, copy, len, t->n_names, NULL));
    t->names[t->n_names] = v.s;
    *id = t->n_names++;
    return 0;
}

int tpl_p_expect_name(struct tpl_parser *p, uint32_t *id)
{
    if (p->cur.type != TPL_T_NAME)
        return tpl_p_fail(p, "a name");
    TRY(tpl_p_intern(p->t, p->cur.text, p->cur.len, id));
    return tpl_p_next(p);
}

int tpl_p_node(struct tpl_parser *p, enum tpl_op op, struct tpl_node **out)
{
    struct tpl_node *n = tpl_alloc(p->r, 1, sizeof *n);
    if (n == NULL)
        return tpl_nomem(p->r);
    n->op = op;
    n->line = p->cur.line;
    *out = n;
    return 0;
}

/* --- bodies ----------------------------------------------------------------------------------- */

static int parse_statement(struct tpl_parser *p, struct tpl_node **out);

static int expect_end(struct tpl_parser *p)
{
    return p->cur.type == TPL_T_BLOCK_END ? tpl_p_next(p) : tpl_p_fail(p, "'%}'");
}

/* Is the current token one of the names in `ends`, a list like "elif else endif"? */
static bool at_end(const struct tpl_parser *p, const char *ends)
{
    for (const char *e = ends; e != NULL && *e != '\0';) {
        size_t len = strcspn(e, " ");
        if (p->cur.type == TPL_T_NAME && p->cur.len == len && memcmp(e, p->cur.text, len) == 0)
            return true;
        e += len + strspn(e + len, " ");
    }
    return false;
}

static int parse_text(struct tpl_parser *p, struct tpl_list *body)
{
    if (p->cur.len > 0) {
        struct tpl_node *n;
        TRY(tpl_p_node(p, TPL_N_TEXT, &n));
        TRY(tpl_str_new(p->r, p->cur.text, p->cur.len, 0, &n->val));
        tpl_str_chars(n->val.s);
        tpl_list_add(body, n);
    }
    return tpl_p_next(p);
}

/* Data, outputs and statements up to a tag in `ends` (its name is then the current token), or to
 * the end of the template if ends is NULL. */
static int parse_until(struct tpl_parser *p, const char *ends, struct tpl_node **out)
{
    struct tpl_list body;
    tpl_list_init(&body);
    for (;;) {
        struct tpl_node *n = NULL;
        switch (p->cur.type) {
        case TPL_T_DATA: TRY(parse_text(p, &body)); continue;
        case TPL_T_VAR_BEGIN:
            TRY(tpl_p_node(p, TPL_N_OUTPUT, &n));
            TRY(tpl_p_next(p));
            TRY(tpl_p_tuple(p, 0, NULL, &n->a));
            if (p->cur.type != TPL_T_VAR_END)
                return tpl_p_fail(p, "'}}'");
            TRY(tpl_p_next(p));
            break;
        case TPL_T_BLOCK_BEGIN:
            TRY(tpl_p_next(p));
            if (at_end(p, ends)) {
                *out = body.first;
                return 0;
            }
            TRY(parse_statement(p, &n));
            TRY(expect_end(p));
            break;
        default:
            if (ends != NULL)
                return tpl_fail(p->r, "the template ends where {%% %.60s %%} is missing", ends);
            *out = body.first;
            return 0;
        }
        if (n != NULL)
            *body.end = n;
        while (*body.end != NULL)
            body.end = &(*body.end)->next;
    }
}

/* ... %} body {% one of ends; the current token is then that name. */
static int parse_body(struct tpl_parser *p, const char *ends, struct tpl_node **out)
{
    bool colon;
    TRY(tpl_p_skip_op(p, ':', &colon));
    TRY(expect_end(p));
    TRY(tpl_enter(p->r));
    TRY(parse_until(p, ends, out));
    tpl_leave(p->r);
    return 0;
}

/* A body in a scope of its own: what it holds is checked as if it always ran. */
static int parse_hard_body(struct tpl_parser *p, const char *ends, struct tpl_node **out)
{
    bool soft = p->soft;
    p->soft = false;
    TRY(parse_body(p, ends, out));
    p->soft = soft;
    return 0;
}

/* --- statements ------------------------------------------------------------------------------- */

static int parse_if(struct tpl_parser *p, struct tpl_node **out)
{
    struct tpl_list branches;
    tpl_list_init(&branches);
    TRY(tpl_p_node(p, TPL_N_IF, out));
    bool soft = p->soft, more = true;
    p->soft = true;
    while (more) {
        struct tpl_node *branch;
        TRY(tpl_p_node(p, TPL_N_BRANCH, &branch));
        tpl_list_add(&branches, branch);
        bool is_else = tpl_p_is_name(p, "else");
        TRY(tpl_p_next(p));
        if (!is_else)
            TRY(tpl_p_tuple(p, TPL_NO_COND, NULL, &branch->a));
        TRY(parse_body(p, is_else ? "endif" : "elif else endif", &branch->b));
        more = !tpl_p_is_name(p, "endif");
    }
    p->soft = soft;
    (*out)->a = branches.first;
    return tpl_p_next(p);
}

static int parse_for(struct tpl_parser *p, struct tpl_node **out)
{
    TRY(tpl_p_node(p, TPL_N_FOR, out));
    struct tpl_node *n = *out;
    TRY(tpl_p_next(p));
    TRY(tpl_p_target(p, false, "in", &n->a));
    bool found;
    TRY(tpl_p_skip_name(p, "in", &found));
    if (!found)
        return tpl_p_fail(p, "'in'");
    TRY(tpl_p_tuple(p, TPL_NO_COND, "recursive", &n->b));
    TRY(tpl_p_skip_name(p, "if", &found));
    if (found)
        TRY(tpl_p_expr(p, &n->e));
    TRY(tpl_p_skip_name(p, "recursive", &found));
    n->sub = found;
    p->in_loop++;
    TRY(parse_hard_body(p, "endfor else", &n->c));
    p->in_loop--;
    bool has_else = tpl_p_is_name(p, "else");
    TRY(tpl_p_next(p));
    if (!has_else)
        return 0;
    TRY(parse_hard_body(p, "endfor", &n->d));
    return tpl_p_next(p);
}

static int parse_set(struct tpl_parser *p, struct tpl_node **out)
{
    TRY(tpl_p_node(p, TPL_N_SET, out));
    struct tpl_node *n = *out;
    TRY(tpl_p_next(p));
    TRY(tpl_p_target(p, true, NULL, &n->a));
    bool found;
    TRY(tpl_p_skip_op(p, '=', &found));
    if (found)
        return tpl_p_tuple(p, 0, NULL, &n->b);
    n->op = TPL_N_SETBLOCK;
    TRY(tpl_p_skip_op(p, '|', &found));
    if (found)
        TRY(tpl_p_filters(p, &n->b));
    TRY(parse_hard_body(p, "endset", &n->c));
    return tpl_p_next(p);
}

/* (a, b=1): parameters of a macro or of a call block. */
static int parse_params(struct tpl_parser *p, struct tpl_node **out)
{
    struct tpl_list l;
    tpl_list_init(&l);
    bool defaults = false;
    TRY(tpl_p_expect_op(p, '(', "'('"));
    while (!tpl_p_is_op(p, ')')) {
        if (l.first != NULL)
            TRY(tpl_p_expect_op(p, ',', "','"));
        struct tpl_node *param;
        TRY(tpl_p_node(p, TPL_N_PARAM, &param));
        TRY(tpl_p_expect_name(p, &param->name));
        bool found;
        TRY(tpl_p_skip_op(p, '=', &found));
        if (found)
            TRY(tpl_p_expr(p, &param->a));
        else if (defaults)
            return tpl_p_fail(p, "a default: the parameter before has one");
        defaults = defaults || found;
        for (const struct tpl_node *q = l.first; q != NULL; q = q->next)
            if (q->name == param->name)
                return tpl_p_fail(p, "parameters with different names");
        tpl_list_add(&l, param);
    }
    *out = l.first;
    return tpl_p_next(p);
}

/* The body of a macro or call block: no loop of the outside reaches in, and what it uses is
 * noted. */
static int parse_function(struct tpl_parser *p, const char *end, struct tpl_node *n,
                          uint32_t outer_uses)
{
    uint32_t in_loop = p->in_loop;
    p->in_loop = 0;
    TRY(parse_hard_body(p, end, &n->c));
    p->in_loop = in_loop;
    n->sub = p->uses;
    p->uses |= outer_uses;
    return tpl_p_next(p);
}

static int parse_macro(struct tpl_parser *p, struct tpl_node **out)
{
    TRY(tpl_p_node(p, TPL_N_MACRO, out));
    uint32_t uses = p->uses;
    p->uses = 0;
    TRY(tpl_p_next(p));
    TRY(tpl_p_expect_name(p, &(*out)->name));
    TRY(parse_params(p, &(*out)->a));
    return parse_function(p, "endmacro", *out, uses);
}

static int parse_call_block(struct tpl_parser *p, struct tpl_node **out)
{
    TRY(tpl_p_node(p, TPL_N_CALLBLOCK, out));
    struct tpl_node *n = *out;
    TRY(tpl_p_next(p));
    if (tpl_p_is_op(p, '('))
        TRY(parse_params(p, &n->a));
    TRY(tpl_p_expr(p, &n->b));
    const struct tpl_node *last = n->b->op == TPL_N_POSTFIX ? n->b->b : NULL;
    while (last != NULL && last->next != NULL)
        last = last->next;
    if (last == NULL || last->op != TPL_N_CALL)
        return tpl_p_fail(p, "a call of a macro");
    uint32_t uses = p->uses;
    p->uses = 0;
    return parse_function(p, "endcall", n, uses);
}

static int parse_filter_block(struct tpl_parser *p, struct tpl_node **out)
{
    TRY(tpl_p_node(p, TPL_N_FILTERBLOCK, out));
    TRY(tpl_p_next(p));
    TRY(tpl_p_filters(p, &(*out)->b));
    TRY(parse_hard_body(p, "endfilter", &(*out)->c));
    return tpl_p_next(p);
}

static int parse_with(struct tpl_parser *p, struct tpl_node **out)
{
    struct tpl_list l;
    tpl_list_init(&l);
    TRY(tpl_p_node(p, TPL_N_WITH, out));
    TRY(tpl_p_next(p));
    while (p->cur.type != TPL_T_BLOCK_END) {
        if (l.first != NULL)
            TRY(tpl_p_expect_op(p, ',', "','"));
        struct tpl_node *target, *value;
        TRY(tpl_p_target(p, false, NULL, &target));
        TRY(tpl_p_expect_op(p, '=', "'='"));
        TRY(tpl_p_expr(p, &value));
        tpl_list_add(&l, target);
        tpl_list_add(&l, value);
    }
    (*out)->a = l.first;
    TRY(parse_hard_body(p, "endwith", &(*out)->c));
    return tpl_p_next(p);
}

/* {% generation %} marks what a model said, for training; {% block %} names a part for templates
 * that extend this one. Neither changes the text. */
static int parse_generation(struct tpl_parser *p, struct tpl_node **out)
{
    TRY(tpl_p_node(p, TPL_N_SCOPE, out));
    uint32_t in_loop = p->in_loop;
    p->in_loop = 0;
    TRY(tpl_p_next(p));
    TRY(parse_hard_body(p, "endgeneration", &(*out)->c));
    p->in_loop = in_loop;
    return tpl_p_next(p);
}

static int parse_block(struct tpl_parser *p, struct tpl_node **out)
{
    TRY(tpl_p_node(p, TPL_N_SCOPE, out));
    struct tpl_node *n = *out;
    uint32_t in_loop = p->in_loop;
    p->in_loop = 0;
    TRY(tpl_p_next(p));
    struct tpl_token name = p->cur;
    TRY(tpl_p_expect_name(p, &n->name));
    bool scoped;
    TRY(tpl_p_skip_name(p, "scoped", &scoped));
    n->sub = scoped ? 2 : 1; /* without `scoped` a block sees only top-level variables */
    if (tpl_p_is_name(p, "required"))
        return tpl_p_fail(p, "no required block: nothing can extend a chat template");
    TRY(parse_hard_body(p, "endblock", &n->c));
    p->in_loop = in_loop;
    TRY(tpl_p_next(p));
    if (p->cur.type == TPL_T_NAME && p->cur.len == name.len &&
        memcmp(p->cur.text, name.text, name.len) == 0)
        return tpl_p_next(p);
    return 0;
}

/* {% print a, b %} */
static int parse_print(struct tpl_parser *p, struct tpl_node **out)
{
    struct tpl_list l;
    tpl_list_init(&l);
    TRY(tpl_p_next(p));
    while (p->cur.type != TPL_T_BLOCK_END) {
        if (l.first != NULL)
            TRY(tpl_p_expect_op(p, ',', "','"));
        struct tpl_node *n;
        TRY(tpl_p_node(p, TPL_N_OUTPUT, &n));
        TRY(tpl_p_expr(p, &n->a));
        tpl_list_add(&l, n);
    }
    *out = l.first;
    return 0;
}

static int parse_jump(struct tpl_parser *p, struct tpl_node **out)
{
    bool is_break = tpl_p_is_name(p, "break");
    if (p->in_loop == 0)
        return tpl_fail(p->r, "'%s' outside of a loop", is_break ? "break" : "continue");
    TRY(tpl_p_node(p, is_break ? TPL_N_BREAK : TPL_N_CONTINUE, out));
    return tpl_p_next(p);
}

static int parse_statement(struct tpl_parser *p, struct tpl_node **out)
{
    static const struct {
        const char *name;
        int (*parse)(struct tpl_parser *p, struct tpl_node **out);
    } tags[] = {
        { "if", parse_if },           { "for", parse_for },
        { "set", parse_set },         { "macro", parse_macro },
        { "call", parse_call_block }, { "filter", parse_filter_block },
        { "with", parse_with },       { "generation", parse_generation },
        { "block", parse_block },     { "print", parse_print },
        { "break", parse_jump },      { "continue", parse_jump },
    };
    static const char *const refused[] = { "include", "import", "from", "extends", "autoescape" };
    if (p->cur.type != TPL_T_NAME)
        return tpl_p_fail(p, "the name of a tag");
    for (size_t i = 0; i < COUNT_OF(tags); i++)
        if (tpl_p_is_name(p, tags[i].name))
            return tags[i].parse(p, out);
    for (size_t i = 0; i < COUNT_OF(refused); i++)
        if (tpl_p_is_name(p, refused[i]))
            return err_set_field(p->r->err, E_UNSUPPORTED, "chat template",
                                 "chat template line %u: {%% %s %%} is not supported: a chat "
                                 "template stands alone", p->cur.line, refused[i]);
    return tpl_fail(p->r, "unknown tag '%.*s'", (int)(p->cur.len < 40 ? p->cur.len : 40),
                    p->cur.text);
}

int tpl_parse(struct text_template *t, const char *source, size_t len)
{
    struct tpl_parser p = { .t = t, .r = &t->c };
    TRY(tpl_lex_init(&p.x, p.r, source, len));
    TRY(tpl_p_next(&p)); /* fills the token ahead */
    TRY(tpl_p_next(&p));
    TRY(parse_until(&p, NULL, &t->body));
    if (p.n_unknown == 0)
        return 0;
    p.r->line = p.unknown_line;
    return tpl_fail(p.r, "no filter or test named '%s'", t->names[p.unknown_name]->data);
}
