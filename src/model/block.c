/* Embedding, norms, linear layers, feed-forward and head. Attention is in block_attn.c,
 * block_mla.c. */
#include "model/block.h"

#include "base/num.h"

#define COLUMNS 2048 /* of a row, a task: cut at the same places whatever the batch */

static uint32_t column_tasks(uint32_t width) { return (uint32_t)num_ceil_div(width, COLUMNS); }

/* --- linear --- */

static void scale_rows(struct model_work *w, const struct block_linear *mat, enum model_buf y)
{
    uint32_t n = mat->mat.mat.n_out;
    for (uint32_t r = 0; r < w->n_rows; r++)
        w->k->scale(w->buf[y] + (size_t)r * n, mat->scale, n);
}

void block_linear_rows(struct model_work *w, const struct block_linear *const *mats,
                       const enum model_buf *ys, uint32_t n_mats, enum model_buf x)
{
    const struct device_mat *m[4] = { NULL };
    float *y[4] = { NULL };
    ASSERT(n_mats <= COUNT_OF(m));
    for (uint32_t j = 0; j < n_mats; j++) {
        m[j] = &mats[j]->mat;
        y[j] = w->buf[ys[j]];
        ASSERT(m[j]->mat.n_out <= w->m->width[ys[j]]);
    }
    const struct device_product p = { m, y, n_mats, w->buf[x], w->n_rows, w->act };
    device_linear(w->m->dev, &p);
    for (uint32_t j = 0; j < n_mats; j++)
        if (mats[j]->scale != 1)
            scale_rows(w, mats[j], ys[j]);
}

/* --- rows --- */

static void norm_row(const struct model_work *w, const struct block_norm *n, const float *x,
                     float *y)
{
    w->k->rmsnorm(x, n->w, n->plus, w->m->shape.eps, y, n->n);
}

struct residual {
    struct model_work *w;
    const struct block_norm *post, *next;
};

static void residual_task(void *ctx, uint32_t r, uint32_t thread)
{
    (void)thread;
    const struct residual *t = ctx;
    struct model_work *w = t->w;
    float *x = work_row(w, BUF_X, r), *y = work_row(w, BUF_Y, r);
    if (t->post != NULL && t->post->w != NULL)
        norm_row(w, t->post, y, y);
    w->k->add(x, y, w->m->shape.n_embd);
    if (t->next != NULL && t->next->w != NULL)
        norm_row(w, t->next, x, work_row(w, BUF_H, r));
}

void block_residual(struct model_work *w, const struct block_norm *post,
                    const struct block_norm *next)
{
    struct residual t = { w, post, next };
    device_for(w->m->dev, w->n_rows, 8 * (size_t)w->m->shape.n_embd, residual_task, &t);
}

static void embed_task(void *ctx, uint32_t r, uint32_t thread)
{
    (void)thread;
    const struct residual *t = ctx;
    struct model_work *w = t->w;
    const struct model *m = w->m;
    float *x = work_row(w, BUF_X, r);
    device_mat_row(m->dev, &m->embd.mat, (uint32_t)w->batch->ids[r], x);
    if (m->shape.embd_scale != 1)
        w->k->scale(x, m->shape.embd_scale, m->shape.n_embd);
    for (uint32_t i = 0; i < MODEL_ROPES; i++)
        if (m->ropes[i].n_dims != 0)
            rope_row(&m->ropes[i], w->pos[r], work_row(w, BUF_CS0 + i, r));
    norm_row(w, t->next, x, work_row(w, BUF_H, r));
}

void block_embed(struct model_work *w, const struct block_norm *norm)
{
    struct residual t = { w, NULL, norm };
    device_for(w->m->dev, w->n_rows, 8 * (size_t)w->m->shape.n_embd, embed_task, &t);
}

struct norm_rows {
    struct model_work *w;
    const struct block_norm *norm;
    enum model_buf buf;
};

static void norm_task(void *ctx, uint32_t r, uint32_t thread)
{
    (void)thread;
    const struct norm_rows *t = ctx;
    float *x = t->w->buf[t->buf] + (size_t)r * t->norm->n;
    norm_row(t->w, t->norm, x, x);
}

void block_norm_rows(struct model_work *w, const struct block_norm *norm, enum model_buf buf)
{
    struct norm_rows t = { w, norm, buf };
    device_for(w->m->dev, w->n_rows, 4 * (size_t)norm->n, norm_task, &t);
}

/* --- feed-forward --- */

struct gate {
    struct model_work *w;
    uint32_t n;
    bool gelu;
};

static void gate_task(void *ctx, uint32_t i, uint32_t thread)
{
    (void)thread;
    const struct gate *t = ctx;
    uint32_t parts = column_tasks(t->n), from = i % parts * COLUMNS;
    size_t at = (size_t)(i / parts) * t->n + from;
    size_t n = num_min(COLUMNS, t->n - from);
    float *gate = t->w->buf[BUF_GATE] + at, *up = t->w->buf[BUF_UP] + at;
    if (t->gelu)
        t->w->k->gelu_mul(gate, up, n);
    else
        t->w->k->silu_mul(gate, up, n);
}

void block_ffn(struct model_work *w, const struct block_ffn *f)
{
    const struct block_linear *mats[2] = { &f->gate, &f->up };
    const enum model_buf ys[2] = { BUF_GATE, BUF_UP };
    block_linear_rows(w, mats, ys, 2, BUF_H);
    struct gate t = { w, f->gate.mat.mat.n_out, f->gelu };
    device_for(w->m->dev, w->n_rows * column_tasks(t.n), 16 * num_min(COLUMNS, t.n), gate_task, &t);
    if (f->sub_norm.w != NULL)
        block_norm_rows(w, &f->sub_norm, BUF_GATE);
    block_linear_one(w, &f->down, BUF_Y, BUF_GATE);
}

void block_layer(struct model_work *w, uint32_t layer, const struct block_norm *next)
{
    const struct block_layer *l = &w->m->layers[layer];
    block_attn(w, &l->attn);
    block_residual(w, &l->post_attn_norm, &l->ffn_norm);
    if (l->mixture != NULL)
        block_mixture(w, l->mixture);
    else
        block_ffn(w, &l->ffn);
    block_residual(w, &l->post_ffn_norm, next);
}

/* --- head --- */

static void last_norm_task(void *ctx, uint32_t i, uint32_t thread)
{
    (void)thread;
    struct model_work *w = ctx;
    norm_row(w, &w->m->output_norm, work_row(w, BUF_X, w->batch->want[i]), work_row(w, BUF_H, i));
}

static void softcap_task(void *ctx, uint32_t i, uint32_t thread)
{
    (void)thread;
    struct model_work *w = ctx;
    uint32_t n = w->m->shape.n_vocab, parts = column_tasks(n), from = i % parts * COLUMNS;
    float *x = w->logits + (size_t)(i / parts) * n + from;
    if (w->m->head.scale != 1)
        w->k->scale(x, w->m->head.scale, num_min(COLUMNS, n - from));
    if (w->m->shape.final_softcap != 0)
        w->k->softcap(x, w->m->shape.final_softcap, num_min(COLUMNS, n - from));
}

void block_head(struct model_work *w)
{
    const struct model *m = w->m;
    const struct device_mat *head = &m->head.mat;
    uint32_t n_want = w->batch->n_want;
    device_for(m->dev, n_want, 4 * (size_t)m->shape.n_embd, last_norm_task, w);
    const struct device_product p = { &head, &w->logits, 1, w->buf[BUF_H], n_want, w->act };
    device_linear(m->dev, &p);
    if (m->head.scale != 1 || m->shape.final_softcap != 0)
        device_for(m->dev, n_want * column_tasks(m->shape.n_vocab), 16 * COLUMNS, softcap_task, w);
}
