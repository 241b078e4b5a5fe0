/* Encoders that make embeddings: BERT (Devlin 2018: learned positions, GELU, norms behind the sums)
 * and Nomic's variant (RoPE, SwiGLU, no biases). A row sees every row of its own span, before and
 * behind it, so there is no state to keep and no text to generate; model_hidden gives the rows of
 * the last layer. The stream lives in BUF_H: each block reads it, and its norm writes it.
 *
 * Token types: all tokens are of type 0, as in a text that is not a pair. */
#include <math.h>
#include <string.h>

#include "model/bind.h"
#include "model/block.h"

struct bert_norm {
    const float *w, *b;
};

struct bert_layer {
    struct block_linear q, k, v, o, gate, up, down; /* gate absent: GELU of up */
    struct bert_norm attn_norm, out_norm;
};

struct bert {
    struct block_linear positions; /* (n_ctx, D); absent: RoPE */
    const float *type;             /* (D) of token type 0, or NULL */
    struct bert_norm embd_norm;
    struct bert_layer *layers;
};

/* --- binding ---------------------------------------------------------------------------------- */

static int bind_bert_norm(struct bind *b, struct bert_norm *out, uint32_t l, const char *stem)
{
    char name[BIND_NAME_MAX];
    uint32_t n = b->m->shape.n_embd;
    static const char *const endings[] = { ".weight", ".bias" };
    const float **to[] = { &out->w, &out->b };
    for (int i = 0; i < 2; i++) {
        bind_name(name, l, stem, endings[i]);
        int rc = bind_vector(b, to[i], name, n);
        if (rc == E_NOT_FOUND)
            return err_set_field(b->err, E_FORMAT, name, "tensor %s (%u) is missing", name, n);
        TRY(rc);
    }
    return 0;
}

static int bind_keys(struct bind *b, struct model_shape *s)
{
    TRY(bind_u32(b, ".block_count", 1, MODEL_LAYERS_MAX, &s->n_layers));
    TRY(bind_u32(b, ".embedding_length", 1, MODEL_WIDTH_MAX / 3, &s->n_embd));
    TRY(bind_u32(b, ".feed_forward_length", 1, MODEL_WIDTH_MAX, &s->n_ff));
    TRY(bind_u32(b, ".context_length", 1, MODEL_ROWS_MAX, &s->n_ctx));
    TRY(bind_u32(b, ".attention.head_count", 1, s->n_embd, &s->n_heads));
    s->eps = 1e-12f;
    TRY(bind_f32(b, ".attention.layer_norm_epsilon", &s->eps));
    if (s->n_embd % s->n_heads != 0 || !(s->eps > 0 && s->eps < 1))
        return err_set_field(b->err, E_FORMAT, "attention.head_count",
                             "%u heads do not divide %u values, or the epsilon of the norms is "
                             "not between 0 and 1; convert the model again from its source",
                             s->n_heads, s->n_embd);
    s->n_kv_heads = s->n_heads;
    s->k_dim = s->v_dim = s->n_embd / s->n_heads;
    s->attn_scale = (float)(1 / sqrt((double)s->k_dim));
    s->embd_scale = 1;
    return 0;
}

static int bind_embeddings(struct bind *b, struct bert *t)
{
    struct model *m = b->m;
    struct model_shape *s = &m->shape;
    const struct model_tensor *e = model_file_tensor(b->file, "token_embd.weight");
    if (e != NULL && (e->ne[1] < 1 || e->ne[1] > MODEL_VOCAB_MAX))
        return err_set_field(b->err, E_LIMIT, "token_embd.weight",
                             "tensor token_embd.weight has %llu rows, at most %u are computed with",
                             (unsigned long long)e->ne[1], MODEL_VOCAB_MAX);
    s->n_vocab = e != NULL ? (uint32_t)e->ne[1] : 1;
    TRY(bind_linear(b, &m->embd, BIND_GLOBAL, "token_embd", s->n_vocab, s->n_embd));
    TRY(bind_bert_norm(b, &t->embd_norm, BIND_GLOBAL, "token_embd_norm"));
    if (bind_has(b, BIND_GLOBAL, "position_embd"))
        TRY(bind_linear(b, &t->positions, BIND_GLOBAL, "position_embd", s->n_ctx, s->n_embd));
    else
        TRY(bind_rope(b, false));
    const struct model_tensor *types = model_file_tensor(b->file, "token_types.weight");
    if (types == NULL)
        return 0;
    const uint64_t ne[2] = { s->n_embd, types->ne[1] };
    TRY(bind_tensor(b, &types, "token_types.weight", ne, types->n_dims < 2 ? 1 : 2));
    float *row = arena_alloc(&m->arena, s->n_embd, sizeof *row);
    if (row == NULL)
        return err_set(b->err, E_NOMEM, "no memory for token types");
    if (b->touch)
        kernel_type_info(types->type)->dequantize(types->data, row, s->n_embd);
    t->type = row;
    return 0;
}

static int bind_layer(struct bind *b, struct bert_layer *y, uint32_t l)
{
    uint32_t n = b->m->shape.n_embd, n_ff = b->m->shape.n_ff;
    if (bind_has(b, l, "attn_qkv")) {
        struct block_linear all = { .scale = 1 };
        TRY(bind_whole(b, &all, l, "attn_qkv", 3 * n, n));
        TRY(bind_rows(b, &y->q, &all, 0, n));
        TRY(bind_rows(b, &y->k, &all, n, n));
        TRY(bind_rows(b, &y->v, &all, 2 * n, n));
    } else {
        TRY(bind_linear(b, &y->q, l, "attn_q", n, n));
        TRY(bind_linear(b, &y->k, l, "attn_k", n, n));
        TRY(bind_linear(b, &y->v, l, "attn_v", n, n));
    }
    TRY(bind_linear(b, &y->o, l, "attn_output", n, n));
    TRY(bind_bert_norm(b, &y->attn_norm, l, "attn_output_norm"));
    if (bind_has(b, l, "ffn_gate"))
        TRY(bind_linear(b, &y->gate, l, "ffn_gate", n_ff, n));
    TRY(bind_linear(b, &y->up, l, "ffn_up", n_ff, n));
    TRY(bind_linear(b, &y->down, l, "ffn_down", n, n_ff));
    return bind_bert_norm(b, &y->out_norm, l, "layer_output_norm");
}

static int bind(struct bind *b)
{
    struct model *m = b->m;
    struct model_shape *s = &m->shape;
    TRY(bind_keys(b, s));
    struct bert *t = arena_alloc(&m->arena, 1, sizeof *t);
    struct bert_layer *layers = arena_alloc(&m->arena, s->n_layers, sizeof *layers);
    if (t == NULL || layers == NULL)
        return err_set(b->err, E_NOMEM, "no memory for %u layers", s->n_layers);
    t->layers = layers;
    m->bert = t;
    TRY(bind_embeddings(b, t));
    for (uint32_t l = 0; l < s->n_layers; l++)
        TRY(bind_layer(b, &layers[l], l));
    static const enum model_buf narrow[] = { BUF_X, BUF_H, BUF_Y, BUF_Q, BUF_K, BUF_V, BUF_A };
    for (size_t i = 0; i < COUNT_OF(narrow); i++)
        bind_width(b, narrow[i], s->n_embd);
    bind_width(b, BUF_UP, s->n_ff);
    bind_width(b, BUF_GATE, s->n_ff);
    m->attn_rows = s->n_ctx; /* the shared tiles are not used */
    m->attn_scratch = (size_t)s->n_ctx * sizeof(float); /* scores of one row and head */
    return 0;
}

/* --- computing -------------------------------------------------------------------------------- */

struct bert_task {
    struct model_work *w;
    const struct bert_layer *l;
    const struct bert_norm *norm;
};

static void norm_row(const struct bert_task *t, float *x)
{
    const struct model_work *w = t->w;
    w->k->layernorm(x, t->norm->w, t->norm->b, w->m->shape.eps, x, w->m->shape.n_embd);
}

static void embed_task(void *ctx, uint32_t r, uint32_t thread)
{
    (void)thread;
    const struct bert_task *t = ctx;
    struct model_work *w = t->w;
    const struct model *m = w->m;
    const struct device_mat *p = &m->bert->positions.mat;
    float *h = work_row(w, BUF_H, r), *x = work_row(w, BUF_X, r);
    device_mat_row(m->dev, &m->embd.mat, (uint32_t)w->batch->ids[r], h);
    if (p->mat.n_out != 0) {
        device_mat_row(m->dev, p, w->pos[r], x);
        w->k->add(h, x, p->mat.n_in);
    } else {
        rope_row(&m->ropes[0], w->pos[r], work_row(w, BUF_CS0, r));
    }
    if (m->bert->type != NULL)
        w->k->add(h, m->bert->type, m->shape.n_embd);
    norm_row(t, h);
}

static void bert_embed(struct model_work *w)
{
    struct bert_task t = { w, NULL, &w->m->bert->embd_norm };
    device_for(w->m->dev, w->n_rows, 8 * (size_t)w->m->shape.n_embd, embed_task, &t);
}

static void turn_task(void *ctx, uint32_t r, uint32_t thread)
{
    (void)thread;
    const struct bert_task *t = ctx;
    struct model_work *w = t->w;
    const struct model_shape *s = &w->m->shape;
    const struct rope *rope = &w->m->ropes[0];
    for (uint32_t h = 0; h < s->n_heads; h++) {
        size_t at = (size_t)r * s->n_embd + (size_t)h * s->k_dim;
        w->k->rope(w->buf[BUF_Q] + at, work_row(w, BUF_CS0, r), rope->n_dims, rope->adjacent);
        w->k->rope(w->buf[BUF_K] + at, work_row(w, BUF_CS0, r), rope->n_dims, rope->adjacent);
    }
}

/* One row, one head, over all rows of the span. */
static void attend_task(void *ctx, uint32_t i, uint32_t thread)
{
    const struct bert_task *t = ctx;
    struct model_work *w = t->w;
    const struct model_shape *s = &w->m->shape;
    uint32_t head = i % s->n_heads, r = i / s->n_heads, dim = s->k_dim;
    const struct model_span *span = &w->batch->spans[w->span[r]];
    size_t from = (size_t)span->row0 * s->n_embd + (size_t)head * dim;
    size_t own = (size_t)r * s->n_embd + (size_t)head * dim;
    float *scores = (float *)(void *)work_thread(w, thread), *out = w->buf[BUF_A] + own;
    for (uint32_t j = 0; j < span->n_rows; j++)
        scores[j] = s->attn_scale * w->k->dot(w->buf[BUF_Q] + own,
                                              w->buf[BUF_K] + from + (size_t)j * s->n_embd, dim);
    w->k->softmax(scores, span->n_rows);
    memset(out, 0, dim * sizeof *out);
    for (uint32_t j = 0; j < span->n_rows; j++) {
        const float *v = w->buf[BUF_V] + from + (size_t)j * s->n_embd;
        for (uint32_t d = 0; d < dim; d++)
            out[d] += scores[j] * v[d];
    }
}

/* H = norm(H + Y). */
static void sum_task(void *ctx, uint32_t r, uint32_t thread)
{
    (void)thread;
    const struct bert_task *t = ctx;
    float *h = work_row(t->w, BUF_H, r);
    t->w->k->add(h, work_row(t->w, BUF_Y, r), t->w->m->shape.n_embd);
    norm_row(t, h);
}

static void gelu_task(void *ctx, uint32_t r, uint32_t thread)
{
    (void)thread;
    const struct bert_task *t = ctx;
    uint32_t n = t->w->m->shape.n_ff;
    float *up = t->w->buf[BUF_UP] + (size_t)r * n;
    for (uint32_t i = 0; i < n; i++) /* the exact form, which BERT was trained with */
        up[i] = 0.5f * up[i] * (1 + erff(up[i] * 0.70710678f));
}

static void gate_task(void *ctx, uint32_t r, uint32_t thread)
{
    (void)thread;
    const struct bert_task *t = ctx;
    uint32_t n = t->w->m->shape.n_ff;
    t->w->k->silu_mul(t->w->buf[BUF_GATE] + (size_t)r * n, t->w->buf[BUF_UP] + (size_t)r * n, n);
}

static void layer(struct model_work *w, uint32_t index, const struct block_norm *next)
{
    const struct model_shape *s = &w->m->shape;
    const struct bert_layer *l = &w->m->bert->layers[index];
    struct bert_task t = { w, l, &l->attn_norm };
    struct device *dev = w->m->dev;
    (void)next;
    const struct block_linear *qkv[3] = { &l->q, &l->k, &l->v };
    const enum model_buf to[3] = { BUF_Q, BUF_K, BUF_V };
    block_linear_rows(w, qkv, to, 3, BUF_H);
    if (w->m->bert->positions.mat.mat.n_out == 0)
        device_for(dev, w->n_rows, 4 * (size_t)s->n_embd, turn_task, &t);
    device_for(dev, w->n_rows * s->n_heads, 2 * (size_t)s->k_dim * block_context(w), attend_task,
               &t);
    block_linear_one(w, &l->o, BUF_Y, BUF_A);
    device_for(dev, w->n_rows, 8 * (size_t)s->n_embd, sum_task, &t);
    block_linear_one(w, &l->up, BUF_UP, BUF_H);
    bool gated = l->gate.mat.mat.n_out != 0;
    if (gated)
        block_linear_one(w, &l->gate, BUF_GATE, BUF_H);
    device_for(dev, w->n_rows, 16 * (size_t)s->n_ff, gated ? gate_task : gelu_task, &t);
    block_linear_one(w, &l->down, BUF_Y, gated ? BUF_GATE : BUF_UP);
    t.norm = &l->out_norm;
    device_for(dev, w->n_rows, 8 * (size_t)s->n_embd, sum_task, &t);
}

const struct model_family model_bert = {
    .arch = "bert",
    .label = "BERT encoder (bert.c)",
    .bind = bind,
    .embed = bert_embed,
    .layer = layer,
    .encoder = true,
};

const struct model_family model_nomic_bert = {
    .arch = "nomic-bert",
    .label = "Nomic BERT encoder (bert.c)",
    .bind = bind,
    .embed = bert_embed,
    .layer = layer,
    .encoder = true,
};
