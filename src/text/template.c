/* The public face: compiles a source into a tree, and renders a tree with variables. */
#include "text/template.h"

#include <string.h>

#include "text/template_eval.h"
#include "text/template_parse.h"
#include "text/template_print.h"

/* The fuel, depth and output of L8. A render may run RENDER_LEVELS times the depth of the
 * source: macros that call each other nest at run time. Both together keep the C stack under 256
 * KiB (F-22). */
const struct text_template_limits TEXT_TEMPLATE_LIMITS = {
    .source_max = 1u << 20,
    .fuel = 1000000,
    .depth = 64,
    .output_max = 4u << 20,
    .memory_max = 128u << 20,
};
#define RENDER_LEVELS 4
/* a node is about 100 bytes, a token of the source at least one */
#define TREE_BYTES_MAX (256u << 20)

static int intern_known(struct text_template *t)
{
    static const char *const known[] = { "loop", "caller", "varargs", "kwargs" };
    uint32_t id;
    for (size_t i = 0; i < COUNT_OF(known); i++)
        TRY(tpl_p_intern(t, known[i], strlen(known[i]), &id));
    for (size_t i = 0; TPL_FUNCTIONS[i].name != NULL; i++)
        TRY(tpl_p_intern(t, TPL_FUNCTIONS[i].name, strlen(TPL_FUNCTIONS[i].name), &id));
    return 0;
}

static int compile(struct text_template *t, const char *source, size_t len, struct err *err)
{
    arena_init(&t->c.arena, TREE_BYTES_MAX);
    t->c.limits = t->limits;
    t->c.err = err;
    t->c.fuel = UINT64_MAX;
    t->c.level_max = t->limits.depth;
    t->c.line = 1;
    TRY(map_init(&t->ids, 64));
    TRY(intern_known(t));
    return tpl_parse(t, source, len);
}

int text_template_compile(struct text_template **out, const char *source, size_t len,
                          const struct text_template_limits *limits, struct err *err)
{
    if (len > limits->source_max)
        return err_set_field(err, E_LIMIT, "chat template",
                             "the chat template has %zu bytes, more than the %u allowed", len,
                             limits->source_max);
    struct text_template *t = mem_alloc(1, sizeof *t);
    if (t == NULL)
        return err_set(err, E_NOMEM, "out of memory for the chat template");
    t->limits = *limits;
    int rc = compile(t, source, len, err);
    t->c.err = NULL;
    if (rc < 0) {
        text_template_destroy(t);
        return rc;
    }
    *out = t;
    return 0;
}

void text_template_destroy(struct text_template *t)
{
    if (t == NULL)
        return;
    map_fini(&t->ids);
    arena_fini(&t->c.arena);
    mem_free(t);
}

/* --- rendering -------------------------------------------------------------------------------- */

struct binding {
    struct tpl *r;
    struct tpl_val *vars;
    const char *const *trusted;
};

/* A member of the variables that the template speaks of becomes a value. */
static int bind_var(void *ctx, const char *key, json_value *member)
{
    struct binding *b = ctx;
    uint32_t id;
    uint8_t origin = 1;
    if (!map_get(&b->r->t->ids, key, strlen(key), &id))
        return 0;
    for (const char *const *name = b->trusted; name != NULL && *name != NULL; name++)
        if (strcmp(*name, key) == 0)
            origin = 0;
    return tpl_from_json(b->r, member, origin, &b->vars[id]);
}

static int render(struct tpl *r, const json_value *vars, const char *const *trusted)
{
    struct tpl_val *values = tpl_alloc(r, r->t->n_names, sizeof *values);
    struct tpl_scope *top;
    if (values == NULL)
        return tpl_nomem(r);
    struct binding b = { .r = r, .vars = values, .trusted = trusted };
    if (json_kind_of(vars) != JSON_OBJECT)
        return err_set_field(r->err, E_FORMAT, "variables",
                             "the variables of a chat template must be an object");
    TRY(json_each(vars, bind_var, &b));
    r->vars = values;
    TRY(tpl_scope_new(r, NULL, &top));
    return tpl_exec(r, top, r->t->body);
}

int text_template_render(const struct text_template *t, const json_value *vars,
                         const char *const *trusted, int64_t now, struct text_rendered *out,
                         struct err *err)
{
    struct tpl r = { .limits = t->limits, .err = err, .fuel = t->limits.fuel, .now = now, .t = t,
                     .level_max = t->limits.depth * RENDER_LEVELS, .line = 1 };
    arena_init(&r.arena, t->limits.memory_max);
    buf_init(&r.out, t->limits.output_max);
    buf_init(&r.origin, t->limits.output_max);
    int rc = render(&r, vars, trusted);
    arena_fini(&r.arena);
    buf_init(&out->text, t->limits.output_max);
    buf_init(&out->origin, t->limits.output_max);
    if (rc < 0) {
        buf_fini(&r.out);
        buf_fini(&r.origin);
        return rc;
    }
    out->text = r.out;
    out->origin = r.origin;
    return 0;
}

void text_rendered_fini(struct text_rendered *r)
{
    buf_fini(&r->text);
    buf_fini(&r->origin);
}
