/* DeepSeek V2, V3 and what shares their form: latent attention (block_mla.c) around a plain
 * feed-forward (architectures 3). The up-projections of the latent come split for absorption
 * (attn_k_b, attn_v_b) or as one matrix (attn_kv_b: older GGUF files, safetensors); of the latter
 * the key half is transposed once, in its own type where that has 16 or 32 bits, else in F32.
 * Queries may go through a low rank or not. Blocks that predict further tokens (nextn) are left
 * out: they do not change what the model says. */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "model/bind.h"
#include "model/block.h"
#include "model/mixture.h"
#include "model/mla.h"

static int read_lengths(struct bind *b, uint32_t rope, struct mla_lengths *n)
{
    const struct model_shape *s = &b->m->shape;
    uint32_t head = s->k_dim; /* older files: of a head; newer ones: of a cache row */
    *n = (struct mla_lengths){ .v = s->v_dim, .rope = rope };
    TRY(bind_u32(b, ".attention.q_lora_rank", 0, MODEL_WIDTH_MAX, &n->q_rank));
    TRY(bind_u32(b, ".attention.kv_lora_rank", 1, MODEL_WIDTH_MAX / 2, &n->rank));
    TRY(bind_u32(b, ".attention.key_length_mla", 1, MODEL_WIDTH_MAX / s->n_heads, &head));
    TRY(bind_u32(b, ".attention.value_length_mla", 1, MODEL_WIDTH_MAX / s->n_heads, &n->v));
    if (n->rope >= head)
        return err_set_field(b->err, E_FORMAT, "rope.dimension_count",
                             "rope.dimension_count is %u, a head's query has %u values; convert "
                             "the "
                             "model again from its source",
                             n->rope, head);
    n->nope = head - n->rope;
    if ((uint64_t)s->n_heads * (n->rank + n->rope) > MODEL_WIDTH_MAX)
        return err_set_field(b->err, E_LIMIT, "attention.kv_lora_rank",
                             "%u heads of %u latent values, at most %u together are computed with",
                             s->n_heads, n->rank + n->rope, MODEL_WIDTH_MAX);
    return 0;
}

/* 1 / sqrt(nope + rope), and the square of YaRN's magnitude, which these models do not put on cos
 * and sin (yarn_log_multiplier = 0.1 mscale_all_dim). */
static int read_scale(struct bind *b, struct mla_lengths *n)
{
    float log_mul = 0, factor = 1, given = 0;
    TRY(bind_f32(b, ".rope.scaling.yarn_log_multiplier", &log_mul));
    TRY(bind_f32(b, ".rope.scaling.factor", &factor));
    TRY(bind_f32(b, ".attention.scale", &given));
    double m = factor > 1 ? 1 + (double)log_mul * log((double)factor) : 1;
    n->scale = given > 0 ? given : (float)(m * m / sqrt((double)(n->nope + n->rope)));
    return 0;
}

int bind_mla_lengths(struct bind *b, uint32_t rope, struct mla_lengths *n)
{
    TRY(read_lengths(b, rope, n));
    return read_scale(b, n);
}

/* Matrix h of a stack of n matrices that lie one behind the other. */
static int bind_stack(struct bind *b, const struct kernel_mat **out, uint32_t l, const char *stem,
                      uint32_t n_out, uint32_t n_in)
{
    char name[BIND_NAME_MAX];
    uint32_t n = b->m->shape.n_heads;
    const uint64_t ne[3] = { n_in, n_out, n };
    const struct model_tensor *t;
    bind_name(name, l, stem, ".weight");
    TRY(bind_tensor(b, &t, name, ne, 3));
    struct kernel_mat *mats = arena_alloc(&b->m->arena, n, sizeof *mats);
    if (mats == NULL)
        return err_set(b->err, E_NOMEM, "no memory for tensor %s", name);
    for (uint32_t h = 0; h < n; h++) {
        struct device_mat one;
        TRY(bind_mat(b, &one, t, (const uint32_t[2]){ n_out, n_in }, t->bytes / n * h));
        mats[h] = one.mat;
    }
    bind_done(b, t);
    *out = mats;
    return 0;
}

/* (n_out, n_in) numbers of `size` bytes each, transposed. */
static void transpose(const uint8_t *src, uint8_t *dst, uint32_t n_out, uint32_t n_in, size_t size)
{
    for (size_t o = 0; o < n_out; o++)
        for (size_t i = 0; i < n_in; i++)
            memcpy(dst + (i * n_out + o) * size, src + (o * n_in + i) * size, size);
}

/* The key half of one head, (nope, rank) at src, as (rank, nope) in the model's arena. */
static int turn_keys(struct bind *b, struct kernel_mat *out, const struct kernel_mat *whole,
                     const uint8_t *src, uint32_t nope)
{
    bool plain =
        whole->type == KERNEL_F32 || whole->type == KERNEL_F16 || whole->type == KERNEL_BF16;
    uint32_t rank = whole->n_in;
    size_t size = plain && whole->type != KERNEL_F32 ? 2 : 4, n = (size_t)nope * rank;
    *out = (struct kernel_mat){ .type = plain ? whole->type : (uint32_t)KERNEL_F32,
                                .n_out = rank,
                                .n_in = nope,
                                .row_bytes = nope * size };
    if (!b->touch)
        return 0;
    uint8_t *dst = arena_bytes(&b->m->arena, n * size);
    float *f = plain ? NULL : mem_alloc(n, sizeof *f);
    if (dst == NULL || (!plain && f == NULL)) {
        mem_free(f);
        return err_set(b->err, E_NOMEM, "no memory for the transposed keys of attn_kv_b");
    }
    for (uint32_t i = 0; f != NULL && i < nope; i++)
        kernel_type_info(whole->type)
            ->dequantize(src + i * whole->row_bytes, f + (size_t)i * rank, rank);
    transpose(f != NULL ? (const uint8_t *)f : src, dst, nope, rank, size);
    mem_free(f);
    out->data = dst;
    return 0;
}

/* k_b and v_b out of attn_kv_b: (H, nope + v) rows over the latent. */
static int split_kv_b(struct bind *b, struct block_mla *a, uint32_t l)
{
    struct block_linear all = { .scale = 1 };
    uint32_t rows = a->nope + a->v_dim;
    TRY(bind_whole(b, &all, l, "attn_kv_b", a->n_heads * rows, a->rank));
    if (all.mat.bias != NULL || all.scale != 1)
        return err_set_field(b->err, E_UNSUPPORTED, "attn_kv_b",
                             "a bias or scale of attn_kv_b is not computed with");
    struct kernel_mat *k_b = arena_alloc(&b->m->arena, a->n_heads, sizeof *k_b);
    struct kernel_mat *v_b = arena_alloc(&b->m->arena, a->n_heads, sizeof *v_b);
    if (k_b == NULL || v_b == NULL)
        return err_set(b->err, E_NOMEM, "no memory for %u heads", a->n_heads);
    for (uint32_t h = 0; h < a->n_heads; h++) {
        struct block_linear values;
        TRY(bind_rows(b, &values, &all, h * rows + a->nope, a->v_dim));
        const uint8_t *data = all.mat.mat.data;
        data += (size_t)h * rows * all.mat.mat.row_bytes;
        v_b[h] = values.mat.mat;
        TRY(turn_keys(b, &k_b[h], &all.mat.mat, data, a->nope));
    }
    a->k_b = k_b;
    a->v_b = v_b;
    return 0;
}

static int bind_queries(struct bind *b, struct block_mla *a, uint32_t l, uint32_t q_rank)
{
    uint32_t n_embd = b->m->shape.n_embd, n = a->n_heads * (a->nope + a->rope_dims);
    if (q_rank == 0)
        return bind_linear(b, &a->q_b, l, "attn_q", n, n_embd);
    TRY(bind_linear(b, &a->q_a, l, "attn_q_a", q_rank, n_embd));
    TRY(bind_norm(b, &a->q_a_norm, l, "attn_q_a_norm", q_rank));
    bind_width(b, BUF_V, q_rank);
    return bind_linear(b, &a->q_b, l, "attn_q_b", n, q_rank);
}

static void need_room(struct bind *b, const struct block_mla *a)
{
    struct model *m = b->m;
    size_t wide = a->rank + a->rope_dims;
    block_attn_plan(m, a->n_heads, (uint32_t)wide, a->rank);
    m->gather_width = (uint32_t)num_max(m->gather_width, num_max(a->nope, a->rank));
    bind_width(b, BUF_Q, (size_t)a->n_heads * (a->nope + a->rope_dims));
    bind_width(b, BUF_K, wide);
    bind_width(b, BUF_A, (size_t)a->n_heads * a->v_dim);
    bind_width(b, BUF_LATENT, a->n_heads * wide);
    bind_width(b, BUF_LATENT_OUT, (size_t)a->n_heads * a->rank);
}

int bind_mla(struct bind *b, uint32_t l, const struct mla_lengths *n)
{
    const struct model_shape *s = &b->m->shape;
    struct block_mla *a = arena_alloc(&b->m->arena, 1, sizeof *a);
    if (a == NULL)
        return err_set(b->err, E_NOMEM, "no memory for layer %u", l);
    *a = (struct block_mla){ .n_heads = s->n_heads,
                             .rank = n->rank,
                             .nope = n->nope,
                             .rope_dims = n->rope,
                             .v_dim = n->v,
                             .scale = n->scale };
    TRY(bind_queries(b, a, l, n->q_rank));
    TRY(bind_linear(b, &a->kv_a, l, "attn_kv_a_mqa", n->rank + n->rope, s->n_embd));
    TRY(bind_norm(b, &a->kv_a_norm, l, "attn_kv_a_norm", n->rank));
    TRY(bind_linear(b, &a->o, l, "attn_output", s->n_embd, s->n_heads * n->v));
    if (bind_has(b, l, "attn_kv_b")) {
        TRY(split_kv_b(b, a, l));
    } else {
        TRY(bind_stack(b, &a->k_b, l, "attn_k_b", n->rank, n->nope));
        TRY(bind_stack(b, &a->v_b, l, "attn_v_b", n->v, n->rank));
    }
    const struct model_stream row = { .kind = MODEL_ROWS,
                                      .name = "latent",
                                      .layer = l,
                                      .n_heads = 1,
                                      .row_values = n->rank + n->rope,
                                      .stride = 1,
                                      .type = b->m->kv_type };
    a->stream = bind_stream(b, &row);
    need_room(b, a);
    b->m->layers[l].mla = a;
    return 0;
}

int bind_mla_feed_forward(struct bind *b, bool normalise)
{
    struct model_shape *s = &b->m->shape;
    struct mixture_rule rule = { 0 };
    uint32_t n_experts = 0, n_dense = 0;
    TRY(bind_u32(b, ".expert_count", 0, UINT32_MAX, &n_experts));
    TRY(bind_u32(b, ".leading_dense_block_count", 0, UINT32_MAX, &n_dense));
    if (n_experts == 0 || n_dense > s->n_layers)
        n_dense = s->n_layers;
    if (n_dense < s->n_layers)
        TRY(bind_mixture_rule(b, &rule));
    rule.normalise = rule.normalise || normalise;
    for (uint32_t l = 0; l < s->n_layers; l++) {
        TRY(l < n_dense ? bind_ffn(b, l, false) : bind_mixture(b, l, &rule));
        bind_drop_factors(&b->m->layers[l].ffn);
    }
    return 0;
}

static int bind(struct bind *b)
{
    struct model_shape *s = &b->m->shape;
    struct mla_lengths n;
    uint32_t nextn = 0;
    TRY(bind_shape_moe(b));
    TRY(bind_u32(b, ".nextn_predict_layers", 0, s->n_layers - 1, &nextn));
    s->n_layers -= nextn;
    bind_skip_layers(b, s->n_layers);
    TRY(bind_rope(b, !model_file_conv(b->file).rope_split_half));
    TRY(bind_mla_lengths(b, b->m->ropes[0].n_dims, &n));
    for (uint32_t l = 0; l < s->n_layers; l++) {
        TRY(bind_norms(b, l, false));
        TRY(bind_mla(b, l, &n));
    }
    return bind_mla_feed_forward(b, false);
}

static void layer(struct model_work *w, uint32_t l, const struct block_norm *next)
{
    const struct block_layer *layer = &w->m->layers[l];
    block_mla(w, layer->mla);
    block_residual(w, NULL, &layer->ffn_norm);
    if (layer->mixture != NULL)
        block_mixture(w, layer->mixture);
    else
        block_ffn(w, &layer->ffn);
    block_residual(w, NULL, next);
}

const struct model_family model_deepseek2 = {
    .arch = "deepseek2",
    .label = "DeepSeek V2, V3: latent attention, experts (deepseek2.c)",
    .bind = bind,
    .layer = layer,
};
