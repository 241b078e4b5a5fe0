/* Two regions of the team for all experts of a layer (mixture.h). The first version ran a whole
 * feed-forward for each expert in turn: seven regions an expert, some four hundred a layer, each
 * too small for many threads. Activations are prepared once for each row of the batch and copied to
 * each of its pairs; with one row all experts share them. */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "model/block.h"
#include "model/mixture.h"

#define STRETCH 64u /* outputs a task: cut at the same places whatever the batch */
#define TILE 64u    /* rows a product: their activations stay in the second-level cache */

struct job {
    struct model_work *w;
    const struct block_mixture *m;
    uint32_t *picks;     /* (n_rows, n_used) experts */
    float *weights;      /* (n_rows, n_used) */
    uint32_t *pair_row;  /* (n_pairs) */
    uint32_t *pick_pair; /* (n_rows, n_used) the pair of each pick */
    uint32_t first[MIXTURE_EXPERTS_MAX + 1]; /* pair at which each expert begins */
    uint32_t active[MIXTURE_EXPERTS_MAX];    /* experts that somebody picked */
    uint32_t n_active, n_pairs;
    struct kernel_act gate, up, down; /* of pairs; n_rows == 1 and `shared`: one row for all */
    bool shared;
    uint32_t n_parts; /* stretches an expert in this region */
    /* being prepared */
    const float *x;
    uint32_t type;
    uint8_t *prepared;
    size_t row_bytes;
    uint32_t n_in;
    uint8_t *gathered;
};

/* --- who goes where --- */

static void route_task(void *ctx, uint32_t r, UNUSED uint32_t thread)
{
    const struct job *t = ctx;
    const struct mixture_rule *rule = &t->m->rule;
    size_t at = (size_t)r * rule->n_used;
    mixture_route(rule, t->w->buf[BUF_ROUTER] + (size_t)r * rule->n_experts, t->m->bias,
                  t->picks + at, t->weights + at);
}

/* Sorts the picks by expert, rows ascending within one. */
static void sort_pairs(struct job *t)
{
    uint32_t n_experts = t->m->rule.n_experts, at[MIXTURE_EXPERTS_MAX + 1];
    memset(t->first, 0, (n_experts + 1) * sizeof *t->first);
    for (uint32_t i = 0; i < t->n_pairs; i++)
        t->first[t->picks[i] + 1]++;
    t->n_active = 0;
    for (uint32_t e = 0; e < n_experts; e++) {
        if (t->first[e + 1] > 0)
            t->active[t->n_active++] = e;
        t->first[e + 1] += t->first[e];
    }
    memcpy(at, t->first, sizeof at);
    for (uint32_t i = 0; i < t->n_pairs; i++) {
        uint32_t p = at[t->picks[i]]++;
        t->pair_row[p] = i / t->m->rule.n_used;
        t->pick_pair[i] = p;
    }
    ASSERT(t->first[n_experts] == t->n_pairs);
}

/* --- activations --- */

static void prepare_task(void *ctx, uint32_t r, UNUSED uint32_t thread)
{
    const struct job *t = ctx;
    t->w->k->act_prepare(t->type, t->x + (size_t)r * t->n_in, 1, t->n_in,
                         t->prepared + r * t->row_bytes);
}

static void gather_task(void *ctx, uint32_t p, UNUSED uint32_t thread)
{
    const struct job *t = ctx;
    memcpy(t->gathered + p * t->row_bytes, t->prepared + t->pair_row[p] * t->row_bytes,
           t->row_bytes);
}

/* Rows of x (n_rows, n_in) in the form matrices of `type` want, at `to` unless they are used as
 * they are. */
static struct kernel_act prepare(struct job *t, uint32_t type, const float *x, uint32_t n_rows,
                                 uint32_t n_in, uint8_t *to)
{
    t->x = x;
    t->type = type;
    t->n_in = n_in;
    t->row_bytes = t->w->k->act_row_bytes(type, n_in);
    t->prepared = to;
    struct kernel_act act = { .row_bytes = t->row_bytes, .n_rows = n_rows, .n_in = n_in };
    if (kernel_act_kind(type) != KERNEL_ACT_F32)
        device_for(t->w->m->dev, n_rows, 4 * (size_t)n_in, prepare_task, t);
    else
        t->prepared = (uint8_t *)(uintptr_t)x;
    act.data = t->prepared;
    return act;
}

/* The layer's input for every pair, at `to`. */
static struct kernel_act prepare_input(struct job *t, uint32_t type, uint8_t *to)
{
    struct model_work *w = t->w;
    uint32_t n_in = w->m->shape.n_embd;
    uint8_t *scratch = w->act + (-(uintptr_t)w->act & 63);
    struct kernel_act act =
        prepare(t, type, w->buf[BUF_H], w->n_rows, n_in, t->shared ? to : scratch);
    if (t->shared)
        return act;
    t->gathered = to;
    device_for(w->m->dev, t->n_pairs, t->row_bytes / 4, gather_task, t);
    act.data = to;
    act.n_rows = t->n_pairs;
    return act;
}

static void prepare_inputs(struct job *t)
{
    const struct block_ffn *f = t->m->experts;
    uint8_t *at = (uint8_t *)t->w->buf[BUF_EXPERT_IN];
    uint32_t gate = f->gate.mat.mat.type, up = f->up.mat.mat.type;
    t->gate = prepare_input(t, gate, at);
    t->up = t->gate;
    if (kernel_act_kind(up) == kernel_act_kind(gate))
        return;
    size_t used = t->gate.row_bytes * t->n_pairs;
    t->up = prepare_input(t, up, at + (used + 63) / 64 * 64);
}

/* --- products --- */

/* A task: outputs [o0, o1) of one expert for its pairs [from, from + n). */
struct part {
    const struct block_ffn *f;
    uint32_t from, n, o0, o1;
};

/* y: row `from` of the output. */
static void multiply(const struct job *t, const struct part *p, const struct block_linear *l,
                     const struct kernel_act *x, float *y)
{
    const struct kernel_table *k = t->w->k;
    const float *bias = l->mat.bias;
    size_t ldy = l->mat.mat.n_out;
    for (uint32_t at = 0; at < p->n; at += TILE) {
        struct kernel_act tile = *x;
        tile.n_rows = (uint32_t)num_min(TILE, p->n - at);
        if (x->n_rows > 1)
            tile.data = (const uint8_t *)x->data + (p->from + at) * x->row_bytes;
        k->matmul(&l->mat.mat, p->o0, p->o1, &tile, y + at * ldy, ldy);
    }
    for (uint32_t r = 0; r < p->n; r++) {
        float *row = y + r * ldy;
        for (uint32_t i = p->o0; bias != NULL && i < p->o1; i++)
            row[i] += bias[i];
        if (l->scale != 1)
            k->scale(row + p->o0, l->scale, p->o1 - p->o0);
    }
}

/* What task i is, of experts with n_out outputs. */
static struct part locate(const struct job *t, uint32_t i, uint32_t n_out)
{
    uint32_t e = t->active[i / t->n_parts], o0 = i % t->n_parts * STRETCH;
    return (struct part){ .f = &t->m->experts[e],
                          .from = t->first[e],
                          .n = t->first[e + 1] - t->first[e],
                          .o0 = o0,
                          .o1 = (uint32_t)num_min(o0 + STRETCH, n_out) };
}

static void hidden_task(void *ctx, uint32_t i, UNUSED uint32_t thread)
{
    const struct job *t = ctx;
    uint32_t n_ff = t->m->rule.n_ff;
    struct part p = locate(t, i, n_ff);
    float *gate = t->w->buf[BUF_GATE] + (size_t)p.from * n_ff;
    float *up = t->w->buf[BUF_EXPERT_UP] + (size_t)p.from * n_ff;
    multiply(t, &p, &p.f->gate, &t->gate, gate);
    multiply(t, &p, &p.f->up, &t->up, up);
    for (size_t at = p.o0; at < (size_t)p.n * n_ff; at += n_ff)
        t->w->k->silu_mul(gate + at, up + at, p.o1 - p.o0);
}

static void output_task(void *ctx, uint32_t i, UNUSED uint32_t thread)
{
    const struct job *t = ctx;
    uint32_t n_embd = t->w->m->shape.n_embd;
    struct part p = locate(t, i, n_embd);
    multiply(t, &p, &p.f->down, &t->down,
             t->w->buf[BUF_EXPERT_OUT] + (size_t)p.from * n_embd);
}

/* y of row r = shared expert, then the picks by ascending expert: pairs are sorted that way. */
static void add_task(void *ctx, uint32_t r, UNUSED uint32_t thread)
{
    const struct job *t = ctx;
    const struct kernel_table *k = t->w->k;
    size_t n = t->w->m->shape.n_embd, used = t->m->rule.n_used;
    float *y = t->w->buf[BUF_Y] + r * n;
    if (t->m->shared_gate != NULL) {
        float z = k->dot(t->w->buf[BUF_H] + r * n, t->m->shared_gate, n);
        k->scale(y, 1 / (1 + expf(-z)), n);
    }
    const uint32_t *pairs = t->pick_pair + r * used;
    uint64_t after = 0; /* pairs below have been added */
    for (size_t done = 0; done < used; done++) {
        size_t best = used;
        for (size_t i = 0; i < used; i++)
            if (pairs[i] >= after && (best == used || pairs[i] < pairs[best]))
                best = i;
        ASSERT(best < used);
        float *out = t->w->buf[BUF_EXPERT_OUT] + pairs[best] * n;
        k->scale(out, t->weights[r * used + best], n);
        k->add(y, out, n);
        after = (uint64_t)pairs[best] + 1;
    }
}

static void run_experts(struct job *t)
{
    struct model_work *w = t->w;
    struct device *dev = w->m->dev;
    const struct mixture_rule *rule = &t->m->rule;
    uint32_t n_embd = w->m->shape.n_embd;
    size_t rows = num_ceil_div(t->n_pairs, t->n_active); /* an expert has on average */
    prepare_inputs(t);
    t->n_parts = (uint32_t)num_ceil_div(rule->n_ff, STRETCH);
    device_for(dev, t->n_active * t->n_parts, 2 * rows * STRETCH * n_embd, hidden_task, t);
    t->down = prepare(t, t->m->experts[0].down.mat.mat.type, w->buf[BUF_GATE], t->n_pairs,
                      rule->n_ff, (uint8_t *)w->buf[BUF_EXPERT_IN]);
    t->n_parts = (uint32_t)num_ceil_div(n_embd, STRETCH);
    device_for(dev, t->n_active * t->n_parts, rows * STRETCH * rule->n_ff, output_task, t);
    device_for(dev, w->n_rows, 2 * (size_t)n_embd * rule->n_used, add_task, t);
}

void block_mixture(struct model_work *w, const struct block_mixture *m)
{
    uint32_t *numbers = (uint32_t *)(void *)w->buf[BUF_ROWS];
    struct job t = { .w = w, .m = m, .n_pairs = w->n_rows * m->rule.n_used };
    t.picks = (uint32_t *)(void *)w->buf[BUF_PICKS];
    t.weights = w->buf[BUF_WEIGHTS];
    t.pair_row = numbers;
    t.pick_pair = numbers + t.n_pairs;
    t.shared = w->n_rows == 1;
    block_linear_one(w, &m->router, BUF_ROUTER, BUF_H);
    device_for(w->m->dev, w->n_rows, 16 * (size_t)m->rule.n_experts, route_task, &t);
    sort_pairs(&t);
    if (m->shared.down.mat.mat.n_out != 0)
        block_ffn(w, &m->shared);
    else
        memset(w->buf[BUF_Y], 0, (size_t)w->n_rows * w->m->shape.n_embd * sizeof(float));
    run_experts(&t);
}
