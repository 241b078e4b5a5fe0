/* Expressions. eval_postfix walks a chain of attributes, calls and filters without recursion. */
#include "text/template_eval.h"

#include <string.h>

#include "text/template_filter.h"
#include "text/template_print.h"

static int lookup(struct tpl *r, struct tpl_scope *scope, uint32_t name, struct tpl_val *out)
{
    for (; scope != NULL; scope = scope->parent) {
        for (const struct tpl_bind *b = scope->binds; b != NULL; b = b->next) {
            if (b->name == name) {
                *out = b->val;
                return 0;
            }
        }
    }
    *out = r->vars[name];
    if (out->kind != TPL_MISSING)
        return 0;
    uint32_t i = 0;
    while (TPL_FUNCTIONS[i].name != NULL && name != TPL_NAME_FUNCS + i)
        i++;
    if (TPL_FUNCTIONS[i].name != NULL)
        *out = (struct tpl_val){ .kind = TPL_FUNC, .fn = &TPL_FUNCTIONS[i] };
    else
        *out = tpl_undef_f(r, "'%.80s' is undefined", r->t->names[name]->data);
    return 0;
}

/* --- attributes and items --------------------------------------------------------------------- */

static int no_attr(struct tpl *r, struct tpl_val obj, const struct tpl_str *name,
                   struct tpl_val *out)
{
    *out = tpl_undef_f(r, "'%s object' has no attribute '%.*s'", tpl_type_name(obj),
                       (int)(name->len < 80 ? name->len : 80), name->data);
    return tpl_burn(r, 1);
}

/* The attributes of values that are ours, not Python's. */
static int special_attr(struct tpl *r, struct tpl_val obj, const struct tpl_str *name,
                        struct tpl_val *out, bool *found)
{
    struct tpl_val *v;
    *found = false;
    switch (obj.kind) {
    case TPL_NS:
        v = tpl_dict_get(obj.d, name->data, name->len);
        *found = v != NULL;
        if (v != NULL)
            *out = *v;
        return 0;
    case TPL_LOOP: return tpl_loop_attr(r, obj.loop, name, out, found);
    case TPL_CYCLER:
        *found = tpl_str_is(name, "current");
        if (*found)
            *out = obj.cycler->items[obj.cycler->pos];
        return 0;
    case TPL_MACRO:
        *found = obj.macro->n->op == TPL_N_MACRO && tpl_str_is(name, "name");
        return *found ? tpl_str_new(r, r->t->names[obj.macro->n->name]->data,
                                    r->t->names[obj.macro->n->name]->len, 0, out) : 0;
    case TPL_TUPLE: { /* groupby's (grouper, list) */
        bool first = tpl_str_is(name, "grouper");
        *found = obj.seq->view != NULL && (first || tpl_str_is(name, "list"));
        if (*found)
            *out = obj.seq->items[first ? 0 : 1];
        return 0;
    }
    default: return 0;
    }
}

/* What Python's getattr would find: methods, attributes of namespaces, loops and cyclers. */
static int own_attr(struct tpl *r, struct tpl_val obj, const struct tpl_str *name,
                    struct tpl_val *out, bool *found)
{
    TRY(special_attr(r, obj, name, out, found));
    if (*found)
        return 0;
    const struct tpl_fn *fn = tpl_method_find(obj, name, found);
    if (fn != NULL) {
        struct tpl_method *m = tpl_alloc(r, 1, sizeof *m);
        if (m == NULL)
            return tpl_nomem(r);
        *m = (struct tpl_method){ .fn = fn, .name = fn->name, .self = obj };
        *out = (struct tpl_val){ .kind = TPL_METHOD, .method = m };
    } else if (*found) {
        *out = tpl_undef_f(r, "access to attribute '%.*s' of '%s' object is not allowed",
                           (int)(name->len < 80 ? name->len : 80), name->data, tpl_type_name(obj));
    }
    return 0;
}

int tpl_getattr(struct tpl *r, struct tpl_val obj, const struct tpl_str *name, struct tpl_val *out)
{
    TRY(tpl_need_defined(r, obj));
    bool found;
    TRY(own_attr(r, obj, name, out, &found));
    if (found)
        return 0;
    if (obj.kind == TPL_DICT) {
        struct tpl_val *v = tpl_dict_get(obj.d, name->data, name->len);
        if (v != NULL) {
            *out = *v;
            return tpl_burn(r, obj.d->n / 16);
        }
    }
    return no_attr(r, obj, name, out);
}

static int item_at(struct tpl *r, struct tpl_val obj, int64_t i, struct tpl_val *out)
{
    int64_t n;
    TRY(tpl_len(r, obj, &n));
    if (i < 0)
        i += n;
    if (i < 0 || i >= n) {
        *out = tpl_undef_f(r, "%s object has no element %lld", tpl_type_name(obj), (long long)i);
        return 0;
    }
    if (obj.kind != TPL_STR) {
        *out = obj.seq->items[i];
        return 0;
    }
    TRY(tpl_burn(r, obj.s->len / 256));
    return tpl_str_cut(r, obj.s, tpl_str_at(obj.s, (uint32_t)i), tpl_str_at(obj.s, (uint32_t)i + 1),
                       out);
}

int tpl_getitem(struct tpl *r, struct tpl_val obj, struct tpl_val key, struct tpl_val *out)
{
    TRY(tpl_need_defined(r, obj));
    bool indexed = obj.kind == TPL_STR || obj.kind == TPL_LIST || obj.kind == TPL_TUPLE ||
                   obj.kind == TPL_RANGE;
    if (indexed && tpl_is_int(key))
        return item_at(r, obj, tpl_as_int(key), out);
    if (obj.kind == TPL_DICT && key.kind != TPL_LIST && key.kind != TPL_DICT) {
        struct tpl_val *v;
        TRY(tpl_dict_find(r, obj.d, key, &v));
        if (v != NULL) {
            *out = *v;
            return 0;
        }
    }
    if (key.kind == TPL_STR) {
        bool found;
        TRY(own_attr(r, obj, key.s, out, &found));
        return found ? 0 : no_attr(r, obj, key.s, out);
    }
    *out = tpl_undef_f(r, "'%s object' has no such item", tpl_type_name(obj));
    return 0;
}

/* --- nodes ------------------------------------------------------------------------------------ */

static int eval_list(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *n,
                     struct tpl_val *out)
{
    uint32_t count = 0;
    for (const struct tpl_node *item = n->a; item != NULL; item = item->next)
        count++;
    struct tpl_val list;
    TRY(tpl_seq_new(r, n->op == TPL_N_TUPLE ? TPL_TUPLE : TPL_LIST, count, &list));
    count = 0;
    for (const struct tpl_node *item = n->a; item != NULL; item = item->next)
        TRY(tpl_eval(r, scope, item, &list.seq->items[count++]));
    *out = list;
    return 0;
}

static int eval_dict(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *n,
                     struct tpl_val *out)
{
    struct tpl_val dict, key, val;
    TRY(tpl_dict_new(r, TPL_DICT, &dict));
    for (const struct tpl_node *k = n->a; k != NULL; k = k->next->next) {
        TRY(tpl_eval(r, scope, k, &key));
        TRY(tpl_eval(r, scope, k->next, &val));
        TRY(tpl_dict_put(r, dict.d, key, val));
    }
    *out = dict;
    return 0;
}

/* a ~ b ~ c: one string, built once. */
static int eval_concat(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *n,
                       struct tpl_val *out)
{
    struct tpl_sb b;
    struct tpl_val v;
    tpl_sb_init(&b, r);
    TRY(tpl_eval(r, scope, n->a, &v));
    TRY(tpl_put_str(&b, v));
    for (const struct tpl_node *part = n->b; part != NULL; part = part->next) {
        TRY(tpl_eval(r, scope, part->a, &v));
        TRY(tpl_put_str(&b, v));
    }
    return tpl_sb_done(&b, out);
}

static int eval_chain(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *n,
                      struct tpl_val *out)
{
    if (n->b->sub == '~')
        return eval_concat(r, scope, n, out);
    struct tpl_val left, right;
    TRY(tpl_eval(r, scope, n->a, &left));
    for (const struct tpl_node *part = n->b; part != NULL; part = part->next) {
        TRY(tpl_eval(r, scope, part->a, &right));
        r->line = part->line;
        TRY(tpl_binary(r, part->sub, left, right, &left));
    }
    *out = left;
    return 0;
}

/* a < b < c means a < b and b < c. */
static int eval_compare(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *n,
                        struct tpl_val *out)
{
    struct tpl_val left, right;
    bool holds = true;
    TRY(tpl_eval(r, scope, n->a, &left));
    for (const struct tpl_node *part = n->b; part != NULL && holds; part = part->next) {
        TRY(tpl_eval(r, scope, part->a, &right));
        r->line = part->line;
        TRY(tpl_compare(r, (enum tpl_compare)part->sub, left, right, &holds));
        left = right;
    }
    *out = tpl_bool(holds);
    return 0;
}

static int eval_and_or(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *n,
                       struct tpl_val *out)
{
    bool stop_at = n->op == TPL_N_OR;
    for (const struct tpl_node *x = n->a; x != NULL; x = x->next) {
        TRY(tpl_eval(r, scope, x, out));
        if (tpl_truth(*out) == stop_at)
            break;
    }
    return 0;
}

static int eval_cond(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *n,
                     struct tpl_val *out)
{
    TRY(tpl_eval(r, scope, n->a, out));
    if (tpl_truth(*out))
        return tpl_eval(r, scope, n->b, out);
    if (n->c != NULL)
        return tpl_eval(r, scope, n->c, out);
    *out = tpl_undef("the inline if-expression was false and has no else");
    return 0;
}

static int apply_slice(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *n,
                       struct tpl_val *v)
{
    struct tpl_val part[3] = { tpl_none(), tpl_none(), tpl_none() };
    const struct tpl_node *nodes[3] = { n->a, n->b, n->c };
    for (int i = 0; i < 3; i++)
        if (nodes[i] != NULL)
            TRY(tpl_eval(r, scope, nodes[i], &part[i]));
    return tpl_slice(r, *v, part, v);
}

static int apply_call(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *n,
                      struct tpl_val *v)
{
    struct tpl_args args;
    TRY(tpl_eval_args(r, scope, n->a, &args));
    r->line = n->line;
    if (n->op == TPL_N_CALL)
        return tpl_call(r, *v, &args, v);
    if (n->fn == NULL)
        return tpl_fail(r, "no %s named '%s'", n->op == TPL_N_TEST ? "test" : "filter",
                        r->t->names[n->name]->data);
    TRY(tpl_invoke(r, n->fn, *v, &args, v));
    if (n->op == TPL_N_TEST)
        *v = tpl_bool(tpl_truth(*v) != (n->sub != 0));
    return 0;
}

static int apply_part(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *n,
                      struct tpl_val *v)
{
    struct tpl_val key;
    TRY(tpl_burn(r, 1));
    r->line = n->line;
    switch (n->op) {
    case TPL_N_ATTR: return tpl_getattr(r, *v, r->t->names[n->name], v);
    case TPL_N_ITEM:
        TRY(tpl_eval(r, scope, n->a, &key));
        return tpl_getitem(r, *v, key, v);
    case TPL_N_SLICE: return apply_slice(r, scope, n, v);
    default: return apply_call(r, scope, n, v);
    }
}

int tpl_eval_filters(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *n,
                     struct tpl_val *value)
{
    for (const struct tpl_node *part = n->b; part != NULL; part = part->next)
        TRY(apply_part(r, scope, part, value));
    return 0;
}

static int eval_unary(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *n,
                      struct tpl_val *out)
{
    TRY(tpl_eval(r, scope, n->a, out));
    if (n->op == TPL_N_NOT) {
        *out = tpl_bool(!tpl_truth(*out));
        return 0;
    }
    if (n->op == TPL_N_NEG)
        return tpl_negate(r, *out, out);
    TRY(tpl_need_defined(r, *out));
    if (!tpl_is_number(*out))
        return tpl_fail(r, "bad operand type for unary +: '%s'", tpl_type_name(*out));
    if (out->kind == TPL_BOOL)
        *out = tpl_int(out->b);
    return 0;
}

static int eval_nested(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *n,
                       struct tpl_val *out)
{
    switch (n->op) {
    case TPL_N_TUPLE:
    case TPL_N_LIST: return eval_list(r, scope, n, out);
    case TPL_N_DICT: return eval_dict(r, scope, n, out);
    case TPL_N_CHAIN: return eval_chain(r, scope, n, out);
    case TPL_N_COMPARE: return eval_compare(r, scope, n, out);
    case TPL_N_AND:
    case TPL_N_OR: return eval_and_or(r, scope, n, out);
    case TPL_N_COND: return eval_cond(r, scope, n, out);
    case TPL_N_NOT:
    case TPL_N_NEG:
    case TPL_N_POS: return eval_unary(r, scope, n, out);
    default:
        ASSERT(n->op == TPL_N_POSTFIX);
        TRY(tpl_eval(r, scope, n->a, out));
        return tpl_eval_filters(r, scope, n, out);
    }
}

/* *out may be an operand's storage: results are written last. */
int tpl_eval(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *n, struct tpl_val *out)
{
    TRY(tpl_burn(r, 1));
    r->line = n->line;
    if (n->op == TPL_N_CONST) {
        *out = n->val;
        return 0;
    }
    if (n->op == TPL_N_NAME)
        return lookup(r, scope, n->name, out);
    TRY(tpl_enter(r));
    TRY(eval_nested(r, scope, n, out));
    tpl_leave(r);
    return 0;
}
