/* Statements. Text goes straight to the output; what must be a value (macros, block sets, filter
 * blocks) is cut off the output's end afterwards, so that there is one buffer and one limit. */
#include <string.h>

#include "text/template_eval.h"
#include "text/template_print.h"

/* --- scopes and output ------------------------------------------------------------------------ */

int tpl_scope_new(struct tpl *r, struct tpl_scope *parent, struct tpl_scope **out)
{
    struct tpl_scope *s = tpl_alloc(r, 1, sizeof *s);
    if (s == NULL)
        return tpl_nomem(r);
    s->parent = parent;
    *out = s;
    return 0;
}

int tpl_scope_set(struct tpl *r, struct tpl_scope *scope, uint32_t name, struct tpl_val v)
{
    for (struct tpl_bind *b = scope->binds; b != NULL; b = b->next) {
        if (b->name == name) {
            b->val = v;
            return 0;
        }
    }
    struct tpl_bind *b = tpl_alloc(r, 1, sizeof *b);
    if (b == NULL)
        return tpl_nomem(r);
    *b = (struct tpl_bind){ .next = scope->binds, .name = name, .val = v };
    scope->binds = b;
    return 0;
}

static void put_origin(struct buf *b, uint8_t origin, size_t len)
{
    static const uint8_t zeros[256] = { 0 };
    static const uint8_t ones[256] = {
#define ONES_16 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1
        ONES_16, ONES_16, ONES_16, ONES_16, ONES_16, ONES_16, ONES_16, ONES_16,
        ONES_16, ONES_16, ONES_16, ONES_16, ONES_16, ONES_16, ONES_16, ONES_16,
#undef ONES_16
    };
    for (; len > 0; len -= len < 256 ? len : 256)
        buf_put(b, origin != 0 ? ones : zeros, len < 256 ? len : 256);
}

static int emit(struct tpl *r, const struct tpl_str *s)
{
    TRY(tpl_burn(r, s->len / 64));
    if (s->len > r->limits.output_max - r->out.len)
        return tpl_limit(r, "the text is longer than allowed");
    buf_put(&r->out, s->data, s->len);
    if (s->origin != NULL)
        buf_put(&r->origin, s->origin, s->len);
    else
        put_origin(&r->origin, s->uniform, s->len);
    TRY(buf_status(&r->out));
    return buf_status(&r->origin);
}

/* The output from `start` on becomes a string and leaves the output. */
static int take_output(struct tpl *r, size_t start, struct tpl_val *out)
{
    size_t len = r->out.len - start;
    const char *text = buf_str(&r->out) + (len > 0 ? start : 0);
    const char *origin = buf_str(&r->origin) + (len > 0 ? start : 0);
    TRY(tpl_burn(r, len / 64));
    char *copy = tpl_bytes(r, len);
    if (copy == NULL)
        return tpl_nomem(r);
    memcpy(copy, text, len);
    TRY(tpl_str_new(r, copy, len, len > 0 ? (uint8_t)origin[0] : 0, out));
    if (len > 0 && memchr(origin, origin[0] == 0, len) != NULL) {
        uint8_t *mixed = tpl_bytes(r, len);
        if (mixed == NULL)
            return tpl_nomem(r);
        memcpy(mixed, origin, len);
        out->s->origin = mixed;
    }
    r->out.len = start;
    r->origin.len = start;
    return 0;
}

int tpl_exec_captured(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *body,
                      struct tpl_val *out)
{
    size_t start = r->out.len;
    int rc = tpl_exec(r, scope, body);
    if (rc != 0) { /* an error, or a jump out of the block: its text is dropped */
        r->out.len = r->origin.len = start;
        return rc;
    }
    return take_output(r, start, out);
}

/* --- assignments ------------------------------------------------------------------------------ */

static int assign(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *target,
                  struct tpl_val v);

static int unpack(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *target,
                  struct tpl_val v)
{
    struct tpl_val *items;
    uint32_t n, i = 0;
    TRY(tpl_items(r, v, &items, &n));
    for (const struct tpl_node *t = target->a; t != NULL; t = t->next, i++) {
        if (i >= n)
            return tpl_fail(r, "not enough values to unpack (got %u)", n);
        TRY(assign(r, scope, t, items[i]));
    }
    return i == n ? 0 : tpl_fail(r, "too many values to unpack (expected %u)", i);
}

static int assign(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *target,
                  struct tpl_val v)
{
    if (target->op == TPL_N_NAME)
        return tpl_scope_set(r, scope, target->name, v);
    if (target->op == TPL_N_TUPLE) {
        TRY(tpl_enter(r));
        TRY(unpack(r, scope, target, v));
        tpl_leave(r);
        return 0;
    }
    ASSERT(target->op == TPL_N_NSREF);
    struct tpl_node name = *target;
    struct tpl_val ns;
    name.op = TPL_N_NAME;
    TRY(tpl_eval(r, scope, &name, &ns));
    if (ns.kind != TPL_NS)
        return tpl_fail(r, "cannot assign an attribute of '%s', which is no namespace",
                        r->t->names[target->name]->data);
    return tpl_dict_put(r, ns.d, target->a->val, v);
}

/* --- loops ------------------------------------------------------------------------------------ */

static int pull(struct tpl *r, struct tpl_loop *l, bool *got, struct tpl_val *out)
{
    *got = false;
    while (l->pos < l->n_items && !*got) {
        *out = l->items[l->pos++];
        TRY(tpl_burn(r, 1));
        if (!l->filtered) {
            *got = true;
            break;
        }
        struct tpl_scope *scope;
        struct tpl_val keep;
        TRY(tpl_scope_new(r, l->scope, &scope));
        TRY(assign(r, scope, l->n->a, *out));
        TRY(tpl_eval(r, scope, l->n->e, &keep));
        *got = tpl_truth(keep);
    }
    return 0;
}

static int loop_peek(struct tpl *r, struct tpl_loop *l)
{
    return l->has_after ? 0 : pull(r, l, &l->has_after, &l->after);
}

static int loop_next(struct tpl *r, struct tpl_loop *l, bool *got)
{
    struct tpl_val v = l->after;
    *got = l->has_after;
    if (!l->has_after)
        TRY(pull(r, l, got, &v));
    l->has_after = false;
    if (!*got)
        return 0;
    l->index0++;
    l->before = l->current;
    l->current = v;
    return 0;
}

/* How many items there are; a filtered loop has to look at all of them first. */
static int loop_length(struct tpl *r, struct tpl_loop *l, int64_t *out)
{
    if (l->length < 0) {
        struct tpl_grow rest = { 0 };
        for (;;) {
            bool got;
            struct tpl_val v;
            TRY(pull(r, l, &got, &v));
            if (!got)
                break;
            TRY(tpl_grow_put(r, &rest, v));
        }
        l->items = rest.items;
        l->n_items = rest.n;
        l->pos = 0;
        l->filtered = false;
        l->length = (int64_t)rest.n + l->index0 + 1 + l->has_after;
    }
    *out = l->length;
    return 0;
}

static int loop_neighbour(struct tpl *r, struct tpl_loop *l, bool next, struct tpl_val *out)
{
    if (!next) {
        *out = l->index0 == 0 ? tpl_undef("there is no previous item") : l->before;
        return 0;
    }
    TRY(loop_peek(r, l));
    *out = l->has_after ? l->after : tpl_undef("there is no next item");
    return 0;
}

int tpl_loop_attr(struct tpl *r, struct tpl_loop *l, const struct tpl_str *name,
                  struct tpl_val *out, bool *found)
{
    enum { LENGTH = 2, REVINDEX0 = 4, FIRST = 7, LAST, PREVITEM, NEXTITEM, N };
    static const char *const names[N] = { "index", "index0", "length", "revindex", "revindex0",
                                          "depth", "depth0", "first", "last", "previtem",
                                          "nextitem" };
    size_t i = 0;
    int64_t n = 0;
    while (i < N && !tpl_str_is(name, names[i]))
        i++;
    *found = i < N;
    if (i >= LENGTH && i <= REVINDEX0)
        TRY(loop_length(r, l, &n));
    const int64_t numbers[] = { l->index0 + 1, l->index0, n, n - l->index0, n - l->index0 - 1,
                                (int64_t)l->depth0 + 1, l->depth0 };
    if (i < FIRST) {
        *out = tpl_int(numbers[i]);
    } else if (i == FIRST) {
        *out = tpl_bool(l->index0 == 0);
    } else if (i == LAST) {
        TRY(loop_peek(r, l));
        *out = tpl_bool(!l->has_after);
    } else if (*found) {
        return loop_neighbour(r, l, i == NEXTITEM, out);
    }
    return 0;
}

static int run_turns(struct tpl *r, struct tpl_loop *l)
{
    struct tpl_val self = { .kind = TPL_LOOP, .loop = l };
    for (;;) {
        bool got;
        struct tpl_scope *scope;
        TRY(loop_next(r, l, &got));
        if (!got)
            return 0;
        TRY(tpl_scope_new(r, l->scope, &scope));
        TRY(assign(r, scope, l->n->a, l->current));
        TRY(tpl_scope_set(r, scope, TPL_NAME_LOOP, self));
        int rc = tpl_exec(r, scope, l->n->c);
        if (rc < 0 || rc == TPL_BREAK)
            return rc;
    }
}

static int run_loop(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *n,
                    struct tpl_val from,
                    uint32_t depth0)
{
    struct tpl_loop *l = tpl_alloc(r, 1, sizeof *l);
    if (l == NULL)
        return tpl_nomem(r);
    *l = (struct tpl_loop){ .n = n, .scope = scope, .filtered = n->e != NULL, .index0 = -1,
                            .length = -1, .depth0 = depth0, .changed = tpl_missing() };
    TRY(tpl_items(r, from, &l->items, &l->n_items));
    if (!l->filtered && from.kind != TPL_ITER)
        l->length = l->n_items;
    int rc = run_turns(r, l);
    if (rc < 0 || l->index0 >= 0 || n->d == NULL)
        return rc == TPL_BREAK ? 0 : rc;
    struct tpl_scope *inner;
    TRY(tpl_scope_new(r, scope, &inner));
    return tpl_exec(r, inner, n->d);
}

static int exec_for(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *n)
{
    struct tpl_val from;
    TRY(tpl_eval(r, scope, n->b, &from));
    return run_loop(r, scope, n, from, 0);
}

int tpl_loop_again(struct tpl *r, const struct tpl_loop *outer, struct tpl_val items,
                   struct tpl_val *out)
{
    if (outer->n->sub == 0)
        return tpl_fail(r, "only a loop marked 'recursive' can be called");
    size_t start = r->out.len;
    TRY(tpl_enter(r));
    TRY(run_loop(r, outer->scope, outer->n, items, outer->depth0 + 1));
    tpl_leave(r);
    return take_output(r, start, out);
}

/* --- the other statements --------------------------------------------------------------------- */

static int exec_output(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *n)
{
    struct tpl_val v;
    TRY(tpl_eval(r, scope, n->a, &v));
    TRY(tpl_to_str(r, v, &v));
    return emit(r, v.s);
}

static int exec_if(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *n)
{
    for (const struct tpl_node *branch = n->a; branch != NULL; branch = branch->next) {
        struct tpl_val test = tpl_bool(true);
        if (branch->a != NULL)
            TRY(tpl_eval(r, scope, branch->a, &test));
        if (tpl_truth(test))
            return tpl_exec(r, scope, branch->b);
    }
    return 0;
}

static int exec_set(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *n)
{
    struct tpl_val v;
    TRY(tpl_eval(r, scope, n->b, &v));
    return assign(r, scope, n->a, v);
}

/* {% set x %}...{% endset %} and {% filter f %}...{% endfilter %} */
static int exec_capture(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *n)
{
    struct tpl_scope *inner;
    struct tpl_val v;
    TRY(tpl_scope_new(r, scope, &inner));
    int rc = tpl_exec_captured(r, inner, n->c, &v);
    if (rc != 0)
        return rc;
    if (n->b != NULL)
        TRY(tpl_eval_filters(r, n->op == TPL_N_SETBLOCK ? scope : inner, n->b, &v));
    if (n->op == TPL_N_SETBLOCK)
        return assign(r, scope, n->a, v);
    TRY(tpl_to_str(r, v, &v));
    return emit(r, v.s);
}

static int make_macro(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *n,
                      struct tpl_val *out)
{
    struct tpl_macro *m = tpl_alloc(r, 1, sizeof *m);
    if (m == NULL)
        return tpl_nomem(r);
    *m = (struct tpl_macro){ .n = n, .scope = scope };
    *out = (struct tpl_val){ .kind = TPL_MACRO, .macro = m };
    return 0;
}

static int exec_macro(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *n)
{
    struct tpl_val m;
    TRY(make_macro(r, scope, n, &m));
    return tpl_scope_set(r, scope, n->name, m);
}

/* {% call m(args) %}body{% endcall %}: m is called with the body as `caller`. */
static int exec_call(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *n)
{
    struct tpl_val v, caller;
    TRY(make_macro(r, scope, n, &caller));
    TRY(tpl_eval(r, scope, n->b->a, &v));
    const struct tpl_node *part = n->b->b;
    if (part->next != NULL) { /* a.b.c(args): up to the last call */
        struct tpl_node one = *n->b;
        for (; part->next != NULL; part = part->next) {
            struct tpl_node step = *part;
            step.next = NULL;
            one.b = &step;
            TRY(tpl_eval_filters(r, scope, &one, &v));
        }
    }
    struct tpl_args args;
    TRY(tpl_eval_args(r, scope, part->a, &args));
    TRY(tpl_args_kw(r, &args, r->t->names[TPL_NAME_CALLER], caller));
    r->line = n->line;
    TRY(tpl_call(r, v, &args, &v));
    TRY(tpl_to_str(r, v, &v));
    return emit(r, v.s);
}

static int exec_with(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *n)
{
    struct tpl_scope *inner;
    TRY(tpl_scope_new(r, scope, &inner));
    for (const struct tpl_node *t = n->a; t != NULL; t = t->next->next) {
        struct tpl_val v;
        TRY(tpl_eval(r, scope, t->next, &v));
        TRY(assign(r, inner, t, v));
    }
    return tpl_exec(r, inner, n->c);
}

static int exec_scope(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *n)
{
    struct tpl_scope *inner;
    while (n->sub == 1 && scope->parent != NULL) /* a block without `scoped` */
        scope = scope->parent;
    TRY(tpl_scope_new(r, scope, &inner));
    return tpl_exec(r, inner, n->c);
}

static int exec_node(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *n)
{
    switch (n->op) {
    case TPL_N_TEXT: return emit(r, n->val.s);
    case TPL_N_OUTPUT: return exec_output(r, scope, n);
    case TPL_N_IF: return exec_if(r, scope, n);
    case TPL_N_FOR: return exec_for(r, scope, n);
    case TPL_N_SET: return exec_set(r, scope, n);
    case TPL_N_SETBLOCK:
    case TPL_N_FILTERBLOCK: return exec_capture(r, scope, n);
    case TPL_N_MACRO: return exec_macro(r, scope, n);
    case TPL_N_CALLBLOCK: return exec_call(r, scope, n);
    case TPL_N_WITH: return exec_with(r, scope, n);
    case TPL_N_SCOPE: return exec_scope(r, scope, n);
    case TPL_N_BREAK: return TPL_BREAK;
    default:
        ASSERT(n->op == TPL_N_CONTINUE);
        return TPL_CONTINUE;
    }
}

int tpl_exec(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *body)
{
    TRY(tpl_enter(r));
    int rc = 0;
    for (const struct tpl_node *n = body; n != NULL && rc == 0; n = n->next) {
        rc = tpl_burn(r, 1);
        r->line = n->line;
        if (rc == 0)
            rc = exec_node(r, scope, n);
    }
    tpl_leave(r);
    return rc;
}
