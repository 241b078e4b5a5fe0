#include "text/grammar_ast.h"

#include <string.h>

struct gast *gast_new(struct arena *arena, enum gast_kind kind)
{
    struct gast *a = arena_alloc(arena, 1, sizeof *a);
    if (a != NULL) {
        a->kind = kind;
        a->depth = 1;
        gram_set_init(&a->set, arena);
    }
    return a;
}

int gast_add(struct arena *arena, struct gast *parent, struct gast *kid)
{
    if (kid == NULL || kid->depth + 1 > GAST_DEPTH_MAX)
        return E_LIMIT;
    if (parent->n_kids == parent->cap_kids) {
        uint32_t cap = parent->cap_kids == 0 ? 4 : 2 * parent->cap_kids;
        struct gast **more = arena_alloc(arena, cap, sizeof(struct gast *));
        if (more == NULL)
            return E_LIMIT;
        if (parent->n_kids > 0)
            memcpy(more, parent->kids, parent->n_kids * sizeof(struct gast *));
        parent->kids = more;
        parent->cap_kids = cap;
    }
    parent->kids[parent->n_kids++] = kid;
    if (kid->depth >= parent->depth)
        parent->depth = kid->depth + 1;
    return 0;
}

bool gast_has_anchor(const struct gast *a)
{
    if (a->kind == GAST_START || a->kind == GAST_STOP)
        return true;
    for (uint32_t i = 0; i < a->n_kids; i++)
        if (gast_has_anchor(a->kids[i]))
            return true;
    return false;
}

struct body {
    struct gram *g;
    const struct gast *a;
    enum gram_form form;
};

static uint32_t emit_body(void *ctx, uint32_t next)
{
    const struct body *b = ctx;
    return gast_emit(b->g, b->a, b->form, next);
}

static bool is_heavy(const struct gast *a)
{
    if (a->kind == GAST_TEXT)
        return a->len > 8;
    return a->kind != GAST_RULE && (a->kind != GAST_SET || a->set.n > 1 ||
                                    (a->set.n == 1 && a->set.spans[0].hi > 0x7f));
}

static uint32_t emit_repeat(struct gram *g, const struct gast *a, enum gram_form form,
                            uint32_t next)
{
    struct body body = { .g = g, .a = a->kids[0], .form = form };
    struct gram_repeat r = { .emit = emit_body, .ctx = &body, .min = a->min, .max = a->max,
                             .heavy = is_heavy(a->kids[0]) };
    return gram_repeat(g, &r, next);
}

uint32_t gast_emit(struct gram *g, const struct gast *a, enum gram_form form, uint32_t next)
{
    uint32_t all = GRAM_NONE;
    if (!gram_work(g, 1))
        return GRAM_NONE;
    switch (a->kind) {
    case GAST_SET: return gram_class(g, &a->set, form, next);
    case GAST_TEXT: return gram_text(g, a->text, a->len, form, next);
    case GAST_CAT:
        for (uint32_t i = a->n_kids; i > 0; i--)
            next = gast_emit(g, a->kids[i - 1], form, next);
        return next;
    case GAST_ALT:
        for (uint32_t i = a->n_kids; i > 0; i--)
            all = gram_split(g, gast_emit(g, a->kids[i - 1], form, next), all);
        return all;
    case GAST_REPEAT: return emit_repeat(g, a, form, next);
    case GAST_RULE: return gram_call(g, a->rule, next);
    default: return gram_fail(g, E_UNSUPPORTED, "an anchor (^ or $) is in an unusual place");
    }
}
