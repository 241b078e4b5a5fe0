/* Kimi Linear (arXiv 2510.26692; architectures 5): three layers of Kimi Delta Attention to one of
 * latent attention without positions, experts after the first layers. A layer whose entry of
 * attention.head_count_kv is 0 is a delta layer. A_log comes as ssm_a = -exp(A_log) from GGUF files
 * and as it is from safetensors. */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "model/block.h"
#include "model/kda.h"
#include "model/mixture.h"
#include "model/mla.h"

/* --- tensors of odd shapes --- */

/* n numbers, whatever dimensions of one the file puts around them. E_NOT_FOUND without a word. */
static int bind_numbers(struct bind *b, const struct model_tensor **out, const char *name,
                        uint64_t n)
{
    const struct model_tensor *t = model_file_tensor(b->file, name);
    uint64_t have = 1;
    if (t == NULL)
        return E_NOT_FOUND;
    for (uint32_t i = 0; i < MODEL_DIMS_MAX; i++)
        have *= t->ne[i];
    if (have != n)
        return err_set_field(b->err, E_FORMAT, name,
                             "tensor %s has %llu values, the keys ask for %llu; convert the model "
                             "again from its source",
                             name, (unsigned long long)have, (unsigned long long)n);
    return bind_tensor(b, out, name, t->ne, MODEL_DIMS_MAX);
}

/* The same as floats of the model's own. NULL if weights may not be touched. */
static int copy_numbers(struct bind *b, float **out, const char *name, uint64_t n)
{
    const struct model_tensor *t;
    TRY(bind_numbers(b, &t, name, n));
    *out = NULL;
    if (!b->touch)
        return 0;
    float *x = arena_alloc(&b->m->arena, n, sizeof *x);
    if (x == NULL)
        return err_set(b->err, E_NOMEM, "no memory for tensor %s", name);
    kernel_type_info(t->type)->dequantize(t->data, x, n);
    *out = x;
    return 0;
}

static int missing(struct bind *b, const char *name, int rc)
{
    return rc != E_NOT_FOUND
               ? rc
               : err_set_field(b->err, E_FORMAT, name,
                               "tensor %s is missing; convert the model again from its source",
                               name);
}

/* The convolution of one input: (H D, 1, n_taps) in the file, turned to (n_taps, H D). */
static int bind_conv(struct bind *b, const float **out, uint32_t l, const char *stem,
                     const struct block_kda *a)
{
    char name[BIND_NAME_MAX];
    float *x;
    size_t n = (size_t)a->n_heads * a->dim;
    bind_name(name, l, stem, ".weight");
    const struct model_tensor *t = model_file_tensor(b->file, name);
    if (t != NULL && t->ne[0] != a->n_taps)
        return err_set_field(b->err, E_FORMAT, name,
                             "tensor %s has %llu taps, ssm.conv_kernel says %u", name,
                             (unsigned long long)t->ne[0], a->n_taps);
    int rc = copy_numbers(b, &x, name, n * a->n_taps);
    if (rc < 0)
        return missing(b, name, rc);
    if (x == NULL)
        return 0;
    float *turned = arena_alloc(&b->m->arena, n * a->n_taps, sizeof *turned);
    if (turned == NULL)
        return err_set(b->err, E_NOMEM, "no memory for tensor %s", name);
    for (size_t c = 0; c < n; c++)
        for (uint32_t j = 0; j < a->n_taps; j++)
            turned[j * n + c] = x[c * a->n_taps + j];
    *out = turned;
    return 0;
}

static int bind_a(struct bind *b, struct block_kda *a, uint32_t l)
{
    char name[BIND_NAME_MAX], log_name[BIND_NAME_MAX];
    float *x;
    bind_name(name, l, "ssm_a", "");
    bind_name(log_name, l, "ssm_a_log", "");
    int rc = copy_numbers(b, &x, name, a->n_heads);
    if (rc == E_NOT_FOUND) {
        rc = copy_numbers(b, &x, log_name, a->n_heads);
        for (uint32_t h = 0; rc == 0 && x != NULL && h < a->n_heads; h++)
            x[h] = -expf(x[h]);
    }
    if (rc < 0)
        return missing(b, name, rc);
    for (uint32_t h = 0; x != NULL && h < a->n_heads; h++)
        if (!(x[h] <= 0))
            return err_set_field(b->err, E_FORMAT, name,
                                 "tensor %s: value %u is not below 0: the state would grow", name,
                                 h);
    a->a = x;
    return 0;
}

/* --- a delta layer --- */

static int read_kda_shape(struct bind *b, struct block_kda *a, uint32_t l)
{
    char name[BIND_NAME_MAX];
    const struct model_tensor *q;
    a->dim = 128;
    a->n_taps = 4;
    TRY(bind_u32(b, ".kda.head_dim", 1, KDA_DIM_MAX, &a->dim));
    TRY(bind_u32(b, ".ssm.conv_kernel", 2, KDA_TAPS_MAX, &a->n_taps));
    bind_name(name, l, "attn_q", ".weight");
    q = model_file_tensor(b->file, name);
    if (q == NULL)
        return missing(b, name, E_NOT_FOUND);
    if (q->ne[1] % a->dim != 0 || q->ne[1] == 0 || q->ne[1] > MODEL_WIDTH_MAX)
        return err_set_field(b->err, E_FORMAT, name, "tensor %s has %llu rows, not heads of %u",
                             name, (unsigned long long)q->ne[1], a->dim);
    a->n_heads = (uint32_t)(q->ne[1] / a->dim);
    return 0;
}

static int bind_kda_streams(struct bind *b, struct block_kda *a, uint32_t l)
{
    size_t panels = num_ceil_div(a->dim, KERNEL_DELTA_PANEL);
    uint64_t values = (uint64_t)a->n_heads * panels * a->dim * KERNEL_DELTA_PANEL;
    uint32_t width = a->n_heads * a->dim;
    if (values > UINT32_MAX)
        return err_set_field(b->err, E_LIMIT, "kda.head_dim",
                             "layer %u: a state of %llu values is too large", l,
                             (unsigned long long)values);
    const struct model_stream state = { .kind = MODEL_RECURRENT,
                                        .name = "kda",
                                        .layer = l,
                                        .n_heads = a->n_heads,
                                        .row_values = (uint32_t)values,
                                        .type = KERNEL_F32 };
    const struct model_stream conv = { .kind = MODEL_RECURRENT,
                                       .name = "conv",
                                       .layer = l,
                                       .n_heads = 3,
                                       .row_values = 3 * (a->n_taps - 1) * width,
                                       .type = KERNEL_F32 };
    a->state_stream = bind_stream(b, &state);
    a->conv_stream = bind_stream(b, &conv);
    bind_width(b, BUF_Q, width);
    bind_width(b, BUF_K, width);
    bind_width(b, BUF_V, width);
    bind_width(b, BUF_A, width);
    bind_width(b, BUF_GATE, width);
    bind_width(b, BUF_UP, width);
    bind_width(b, BUF_LATENT, a->dim);
    bind_width(b, BUF_LATENT_OUT, a->dim);
    bind_width(b, BUF_ROUTER, a->n_heads);
    return 0;
}

static int bind_kda_vectors(struct bind *b, struct block_kda *a, uint32_t l)
{
    char name[BIND_NAME_MAX];
    float *dt;
    TRY(bind_conv(b, &a->conv[0], l, "ssm_conv1d_q", a));
    TRY(bind_conv(b, &a->conv[1], l, "ssm_conv1d_k", a));
    TRY(bind_conv(b, &a->conv[2], l, "ssm_conv1d_v", a));
    bind_name(name, l, "ssm_dt", ".bias");
    int rc = copy_numbers(b, &dt, name, (uint64_t)a->n_heads * a->dim);
    if (rc < 0)
        return missing(b, name, rc);
    a->dt = dt;
    TRY(bind_a(b, a, l));
    return bind_norm(b, &a->norm, l, "ssm_norm", a->dim);
}

int bind_kda(struct bind *b, uint32_t l)
{
    struct block_kda *a = arena_alloc(&b->m->arena, 1, sizeof *a);
    if (a == NULL)
        return err_set(b->err, E_NOMEM, "no memory for layer %u", l);
    TRY(read_kda_shape(b, a, l));
    uint32_t n_embd = b->m->shape.n_embd, width = a->n_heads * a->dim;
    /* The layer has no biases and no factors (architectures 5.2); some writers put such tensors
     * beside the matrices all the same, and no engine computes with them. */
    TRY(bind_matrix(b, &a->q, l, "attn_q", width, n_embd));
    TRY(bind_matrix(b, &a->k, l, "attn_k", width, n_embd));
    TRY(bind_matrix(b, &a->v, l, "attn_v", width, n_embd));
    TRY(bind_matrix(b, &a->f_a, l, "ssm_f_a", a->dim, n_embd));
    TRY(bind_matrix(b, &a->f_b, l, "ssm_f_b", width, a->dim));
    TRY(bind_matrix(b, &a->g_a, l, "ssm_g_a", a->dim, n_embd));
    TRY(bind_matrix(b, &a->g_b, l, "ssm_g_b", width, a->dim));
    TRY(bind_matrix(b, &a->beta, l, "ssm_beta", a->n_heads, n_embd));
    TRY(bind_matrix(b, &a->o, l, "attn_output", n_embd, width));
    TRY(bind_kda_vectors(b, a, l));
    TRY(bind_kda_streams(b, a, l));
    b->m->layers[l].kda = a;
    return 0;
}

/* --- the model --- */

static int bind(struct bind *b)
{
    struct model_shape *s = &b->m->shape;
    struct mla_lengths n;
    b->heads_by_layer = true;
    TRY(bind_shape_moe(b));
    /* rope.dimension_count of some files is another length; a cache row is rank + rope values. */
    uint32_t rank = 0, row = 0;
    TRY(bind_u32(b, ".attention.kv_lora_rank", 1, MODEL_WIDTH_MAX / 2, &rank));
    TRY(bind_u32(b, ".attention.key_length", rank, MODEL_WIDTH_MAX, &row));
    TRY(bind_mla_lengths(b, row - rank, &n));
    for (uint32_t l = 0; l < s->n_layers; l++) {
        uint32_t n_kv = 1;
        TRY(bind_norms(b, l, false));
        TRY(model_file_item_u32(b->file, ".attention.head_count_kv", l, &n_kv, b->err));
        if (n_kv == 0) {
            TRY(bind_kda(b, l));
            continue;
        }
        TRY(bind_mla(b, l, &n));
        b->m->layers[l].mla->q_b.scale = 1; /* as above */
    }
    return bind_mla_feed_forward(b, true);
}

static void layer(struct model_work *w, uint32_t l, const struct block_norm *next)
{
    const struct block_layer *layer = &w->m->layers[l];
    if (layer->kda != NULL)
        block_kda(w, layer->kda);
    else
        block_mla(w, layer->mla);
    block_residual(w, NULL, &layer->ffn_norm);
    if (layer->mixture != NULL)
        block_mixture(w, layer->mixture);
    else
        block_ffn(w, &layer->ffn);
    block_residual(w, NULL, next);
}

const struct model_family model_kimi = {
    .arch = "kimi-linear",
    .label = "Kimi Linear: delta attention, latent attention, experts (kimi.c)",
    .bind = bind,
    .layer = layer,
};
