/* Calls: arguments, built-ins, macros, and the global functions. */
#include <string.h>

#include "text/template_eval.h"
#include "text/template_filter.h"
#include "text/template_print.h"

/* --- arguments -------------------------------------------------------------------------------- */

int tpl_args_kw(struct tpl *r, struct tpl_args *a, const struct tpl_str *name, struct tpl_val v)
{
    TRY(tpl_burn(r, 1 + a->n_kw / 16));
    for (uint32_t i = 0; i < a->n_kw; i++)
        if (tpl_str_cmp(a->kw[i].name, name) == 0)
            return tpl_fail(r, "the argument '%.*s' is given twice",
                            (int)(name->len < 80 ? name->len : 80), name->data);
    /* full at 0, 4, 8, 16 ... */
    if ((a->n_kw & (a->n_kw - 1)) == 0 && (a->n_kw == 0 || a->n_kw >= 4)) {
        struct tpl_kw *kw = tpl_alloc(r, a->n_kw == 0 ? 4 : a->n_kw * 2, sizeof *kw);
        if (kw == NULL)
            return tpl_nomem(r);
        if (a->n_kw > 0)
            memcpy(kw, a->kw, a->n_kw * sizeof *kw);
        a->kw = kw;
    }
    a->kw[a->n_kw++] = (struct tpl_kw){ .name = name, .val = v };
    return 0;
}

static int star_arg(struct tpl *r, struct tpl_val v, struct tpl_grow *pos)
{
    TRY(tpl_need_defined(r, v));
    struct tpl_val *items;
    uint32_t n;
    TRY(tpl_items(r, v, &items, &n));
    for (uint32_t i = 0; i < n; i++)
        TRY(tpl_grow_put(r, pos, items[i]));
    return 0;
}

static int starstar_arg(struct tpl *r, struct tpl_val v, struct tpl_args *out)
{
    TRY(tpl_need_defined(r, v));
    if (v.kind != TPL_DICT)
        return tpl_fail(r, "what follows ** must be a dict, not %s", tpl_type_name(v));
    for (uint32_t i = 0; i < v.d->n; i++) {
        struct tpl_str *name;
        TRY(tpl_want_str(r, v.d->e[i].key, "the name of an argument", &name));
        TRY(tpl_args_kw(r, out, name, v.d->e[i].val));
    }
    return 0;
}

int tpl_eval_args(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *args,
                  struct tpl_args *out)
{
    struct tpl_grow pos = { 0 };
    *out = (struct tpl_args){ 0 };
    for (const struct tpl_node *a = args; a != NULL; a = a->next) {
        struct tpl_val v;
        TRY(tpl_eval(r, scope, a->a, &v));
        switch ((enum tpl_arg)a->sub) {
        case TPL_ARG_POS: TRY(tpl_grow_put(r, &pos, v)); break;
        case TPL_ARG_KW: TRY(tpl_args_kw(r, out, r->t->names[a->name], v)); break;
        case TPL_ARG_STAR: TRY(star_arg(r, v, &pos)); break;
        case TPL_ARG_STARSTAR: TRY(starstar_arg(r, v, out)); break;
        }
    }
    out->pos = pos.items;
    out->n_pos = pos.n;
    return 0;
}

/* Which parameter of "a b c" is called `name`? -1 if none. "/" has no name. */
static int param_index(const char *params, const struct tpl_str *name)
{
    int i = 0;
    for (const char *p = params; *p != '\0'; i++) {
        size_t len = strcspn(p, " ");
        if (len == name->len && memcmp(p, name->data, len) == 0 && *p != '/')
            return i;
        p += len + strspn(p + len, " ");
    }
    return -1;
}

static uint32_t param_count(const char *params)
{
    uint32_t n = 0;
    for (const char *p = params; *p != '\0'; n++) {
        p += strcspn(p, " ");
        p += strspn(p, " ");
    }
    return n;
}

int tpl_invoke(struct tpl *r, const struct tpl_fn *fn, struct tpl_val self,
               const struct tpl_args *args, struct tpl_val *out)
{
    struct tpl_val v[TPL_PARAMS_MAX + 1];
    v[0] = self;
    if (fn->params == NULL)
        return fn->call(r, v, args, out);
    uint32_t n = param_count(fn->params);
    ASSERT(n <= TPL_PARAMS_MAX);
    if (args->n_pos > n)
        return tpl_fail(r, "%s() takes at most %u arguments, %u were given", fn->name, n,
                        args->n_pos);
    for (uint32_t i = 0; i < n; i++)
        v[i + 1] = i < args->n_pos ? args->pos[i] : tpl_missing();
    for (uint32_t i = 0; i < args->n_kw; i++) {
        const struct tpl_str *name = args->kw[i].name;
        int at = param_index(fn->params, name);
        if (at < 0 || v[at + 1].kind != TPL_MISSING)
            return tpl_fail(r, "%s() %s '%.*s'", fn->name,
                            at < 0 ? "has no argument" : "was given twice the argument",
                            (int)(name->len < 80 ? name->len : 80), name->data);
        v[at + 1] = args->kw[i].val;
    }
    for (uint32_t i = 0; i < fn->n_required; i++)
        if (v[i + 1].kind == TPL_MISSING)
            return tpl_fail(r, "%s() lacks argument %u", fn->name, i + 1);
    return fn->call(r, v, args, out);
}

/* --- macros ----------------------------------------------------------------------------------- */

static const char *macro_name(struct tpl *r, const struct tpl_macro *m)
{
    return m->n->op == TPL_N_MACRO ? r->t->names[m->n->name]->data : "caller";
}

/* Takes the keyword `name` out of args. */
static bool pop_kw(struct tpl_args *args, const struct tpl_str *name, struct tpl_val *out)
{
    for (uint32_t i = 0; i < args->n_kw; i++) {
        if (tpl_str_cmp(args->kw[i].name, name) != 0)
            continue;
        *out = args->kw[i].val;
        args->n_kw--;
        memmove(args->kw + i, args->kw + i + 1, (args->n_kw - i) * sizeof *args->kw);
        return true;
    }
    return false;
}

static int bind_param(struct tpl *r, struct tpl_scope *scope, const struct tpl_node *param,
                      struct tpl_val v)
{
    if (v.kind == TPL_MISSING && param->a != NULL)
        TRY(tpl_eval(r, scope, param->a, &v));
    else if (v.kind == TPL_MISSING)
        v = tpl_undef_f(r, "parameter '%.80s' was not provided", r->t->names[param->name]->data);
    return tpl_scope_set(r, scope, param->name, v);
}

/* caller, varargs and kwargs exist only in macros that speak of them. */
static int bind_rest(struct tpl *r, const struct tpl_macro *m, struct tpl_scope *scope,
                     struct tpl_args *args, uint32_t n_params)
{
    struct tpl_val v;
    if ((m->n->sub & TPL_USES_KWARGS) != 0) {
        TRY(tpl_dict_new(r, TPL_DICT, &v));
        for (uint32_t i = 0; i < args->n_kw; i++) {
            struct tpl_val key;
            TRY(tpl_str_cut(r, args->kw[i].name, 0, args->kw[i].name->len, &key));
            TRY(tpl_dict_put(r, v.d, key, args->kw[i].val));
        }
        TRY(tpl_scope_set(r, scope, TPL_NAME_KWARGS, v));
    } else if (args->n_kw > 0) {
        const struct tpl_str *name = args->kw[0].name;
        return tpl_fail(r, "macro '%s' takes no keyword argument '%.*s'", macro_name(r, m),
                        (int)(name->len < 80 ? name->len : 80), name->data);
    }
    bool more = args->n_pos > n_params;
    if ((m->n->sub & TPL_USES_VARARGS) != 0) {
        TRY(tpl_seq_wrap(r, TPL_TUPLE, more ? args->pos + n_params : NULL,
                         more ? args->n_pos - n_params : 0, &v));
        return tpl_scope_set(r, scope, TPL_NAME_VARARGS, v);
    }
    return more
        ? tpl_fail(r, "macro '%s' takes not more than %u arguments", macro_name(r, m), n_params)
                : 0;
}

static int bind_macro(struct tpl *r, const struct tpl_macro *m, const struct tpl_args *given,
                      struct tpl_scope *scope)
{
    struct tpl_args args = *given;
    uint32_t i = 0;
    bool has_caller = (m->n->sub & TPL_USES_CALLER) == 0;
    if (args.n_kw > 0) { /* keywords are taken out one by one: from a copy */
        args.kw = tpl_alloc(r, args.n_kw, sizeof *args.kw);
        if (args.kw == NULL)
            return tpl_nomem(r);
        memcpy(args.kw, given->kw, args.n_kw * sizeof *args.kw);
    }
    for (const struct tpl_node *p = m->n->a; p != NULL; p = p->next, i++) {
        struct tpl_val v = i < args.n_pos ? args.pos[i] : tpl_missing();
        if (i >= args.n_pos)
            pop_kw(&args, r->t->names[p->name], &v);
        has_caller = has_caller || p->name == TPL_NAME_CALLER;
        TRY(bind_param(r, scope, p, v));
    }
    if (!has_caller) {
        struct tpl_val caller = tpl_undef("no caller defined");
        pop_kw(&args, r->t->names[TPL_NAME_CALLER], &caller);
        TRY(tpl_scope_set(r, scope, TPL_NAME_CALLER, caller));
    }
    return bind_rest(r, m, scope, &args, i);
}

static int call_macro(struct tpl *r, const struct tpl_macro *m, const struct tpl_args *args,
                      struct tpl_val *out)
{
    struct tpl_scope *scope;
    TRY(tpl_enter(r));
    TRY(tpl_scope_new(r, m->scope, &scope));
    TRY(bind_macro(r, m, args, scope));
    TRY(tpl_exec_captured(r, scope, m->n->c, out));
    tpl_leave(r);
    return 0;
}

static int call_joiner(struct tpl *r, struct tpl_cycler *j, struct tpl_val *out)
{
    if (j->pos++ > 0)
        *out = j->items[0];
    else
        TRY(tpl_str_lit(r, "", out));
    return 0;
}

int tpl_call(struct tpl *r, struct tpl_val callee, const struct tpl_args *args, struct tpl_val *out)
{
    TRY(tpl_need_defined(r, callee));
    switch (callee.kind) {
    case TPL_FUNC: return tpl_invoke(r, callee.fn, tpl_missing(), args, out);
    case TPL_METHOD: return tpl_invoke(r, callee.method->fn, callee.method->self, args, out);
    case TPL_MACRO: return call_macro(r, callee.macro, args, out);
    case TPL_JOINER: return call_joiner(r, callee.cycler, out);
    case TPL_LOOP:
        if (args->n_pos != 1 || args->n_kw != 0)
            return tpl_fail(r, "loop() takes one argument: the items");
        return tpl_loop_again(r, callee.loop, args->pos[0], out);
    default: return tpl_fail(r, "'%s' object is not callable", tpl_type_name(callee));
    }
}

/* --- global functions ------------------------------------------------------------------------- */

#define RANGE_MAX 100000 /* jinja2's sandbox has the same */

static int fn_range(struct tpl *r, struct tpl_val *v, const struct tpl_args *raw,
                    struct tpl_val *out)
{
    (void)raw;
    int64_t lo, hi, step;
    TRY(tpl_want_int(r, v[1], "range()", 0, &lo));
    TRY(tpl_want_int(r, v[2], "range()", 0, &hi));
    TRY(tpl_want_int(r, v[3], "range()", 1, &step));
    if (v[2].kind == TPL_MISSING) {
        hi = lo;
        lo = 0;
    }
    if (step == 0)
        return tpl_fail(r, "range() needs a step that is not zero");
    uint64_t room = step > 0 ? (hi > lo ? (uint64_t)hi - (uint64_t)lo : 0)
                             : (lo > hi ? (uint64_t)lo - (uint64_t)hi : 0);
    uint64_t stride = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
    uint64_t n = room == 0 ? 0 : (room - 1) / stride + 1;
    if (n > RANGE_MAX)
        return tpl_fail(r, "range() is too big: the maximum is %d", RANGE_MAX);
    TRY(tpl_seq_new(r, TPL_RANGE, n, out));
    for (uint32_t i = 0; i < n; i++)
        out->seq->items[i] = tpl_int((int64_t)((uint64_t)lo + i * (uint64_t)step));
    out->seq->lo = lo;
    out->seq->hi = hi;
    out->seq->step = step;
    return 0;
}

static int put_pairs(struct tpl *r, struct tpl_dict *d, struct tpl_val from)
{
    struct tpl_val *items, *pair;
    uint32_t n, two;
    if (from.kind == TPL_DICT) {
        for (uint32_t i = 0; i < from.d->n; i++)
            TRY(tpl_dict_put(r, d, from.d->e[i].key, from.d->e[i].val));
        return 0;
    }
    TRY(tpl_items(r, from, &items, &n));
    for (uint32_t i = 0; i < n; i++) {
        TRY(tpl_items(r, items[i], &pair, &two));
        if (two != 2)
            return tpl_fail(r, "dict() needs pairs; item %u has %u parts", i, two);
        TRY(tpl_dict_put(r, d, pair[0], pair[1]));
    }
    return 0;
}

static int make_dict(struct tpl *r, enum tpl_kind kind, const struct tpl_args *raw,
                     struct tpl_val *out)
{
    struct tpl_val d;
    TRY(tpl_dict_new(r, kind, &d));
    if (raw->n_pos > 1)
        return tpl_fail(r, "dict() and namespace() take at most one value without a name");
    if (raw->n_pos == 1)
        TRY(put_pairs(r, d.d, raw->pos[0]));
    for (uint32_t i = 0; i < raw->n_kw; i++) {
        struct tpl_val key;
        TRY(tpl_str_cut(r, raw->kw[i].name, 0, raw->kw[i].name->len, &key));
        TRY(tpl_dict_put(r, d.d, key, raw->kw[i].val));
    }
    *out = d;
    return 0;
}

static int fn_dict(struct tpl *r, struct tpl_val *v, const struct tpl_args *raw,
                   struct tpl_val *out)
{
    (void)v;
    return make_dict(r, TPL_DICT, raw, out);
}

static int fn_namespace(struct tpl *r, struct tpl_val *v, const struct tpl_args *raw,
                        struct tpl_val *out)
{
    (void)v;
    return make_dict(r, TPL_NS, raw, out);
}

static int make_cycler(struct tpl *r, enum tpl_kind kind, struct tpl_val *items, uint32_t n,
                       struct tpl_val *out)
{
    struct tpl_cycler *c = tpl_alloc(r, 1, sizeof *c);
    if (c == NULL)
        return tpl_nomem(r);
    *c = (struct tpl_cycler){ .items = items, .n = n };
    *out = (struct tpl_val){ .kind = kind, .cycler = c };
    return 0;
}

static int fn_cycler(struct tpl *r, struct tpl_val *v, const struct tpl_args *raw,
                     struct tpl_val *out)
{
    (void)v;
    if (raw->n_pos == 0 || raw->n_kw > 0)
        return tpl_fail(r, "cycler() needs at least one item, and no names");
    return make_cycler(r, TPL_CYCLER, raw->pos, raw->n_pos, out);
}

static int fn_joiner(struct tpl *r, struct tpl_val *v, const struct tpl_args *raw,
                     struct tpl_val *out)
{
    (void)raw;
    struct tpl_val *sep = tpl_alloc(r, 1, sizeof *sep);
    if (sep == NULL)
        return tpl_nomem(r);
    *sep = v[1];
    if (v[1].kind == TPL_MISSING)
        TRY(tpl_str_lit(r, ", ", sep));
    return make_cycler(r, TPL_JOINER, sep, 1, out);
}

static int fn_raise(struct tpl *r, struct tpl_val *v, const struct tpl_args *raw,
                    struct tpl_val *out)
{
    (void)raw;
    struct tpl_val text;
    TRY(tpl_to_str(r, v[1], &text));
    *out = text;
    return err_set_field(r->err, E_FORMAT, "chat template", "%.*s",
                         (int)(text.s->len < ERR_TEXT_MAX ? text.s->len : ERR_TEXT_MAX),
                             text.s->data);
}

static int fn_strftime(struct tpl *r, struct tpl_val *v, const struct tpl_args *raw,
                       struct tpl_val *out)
{
    (void)raw;
    struct tpl_str *fmt;
    TRY(tpl_want_str(r, v[1], "strftime_now()", &fmt));
    return tpl_strftime(r, fmt, out);
}

const struct tpl_fn TPL_FUNCTIONS[] = {
    { "range", fn_range, "/ / /", 1 },
    { "namespace", fn_namespace, NULL, 0 },
    { "dict", fn_dict, NULL, 0 },
    { "raise_exception", fn_raise, "message", 1 },
    { "strftime_now", fn_strftime, "format", 1 },
    { "cycler", fn_cycler, NULL, 0 },
    { "joiner", fn_joiner, "sep", 0 },
    { NULL, NULL, NULL, 0 },
};
