/* Multi-head latent attention in its absorbed form (DeepSeek-V2, arXiv 2405.04434;
 * architectures 3).
 *
 *     q (H, nope | rope) --k_b per head--> (H, rank | rope)     one query of cache width a head
 *     kv_a h = [ latent | key ]  norm     rotate  -> cache row  shared by all heads
 *     softmax(q row) . latents = (H, rank) --v_b per head--> (H, v) --o--> y
 *
 * So keys and values are never expanded: attention reads rank + rope numbers a token for all heads.
 * The expanded form costs fewer operations for prompts of more than about 170 queries a key; it is
 * not here. */
#include <string.h>

#include "base/num.h"
#include "model/block.h"

struct mla_job {
    struct model_work *w;
    const struct block_mla *a;
};

static void store_task(void *ctx, uint32_t r, uint32_t thread)
{
    (void)thread;
    const struct mla_job *t = ctx;
    const struct block_mla *a = t->a;
    struct model_work *w = t->w;
    const struct rope *rope = &w->m->ropes[0];
    const float *cs = block_cs(w, 0, r);
    uint32_t row = a->rank + a->rope_dims, head = a->nope + a->rope_dims;
    float *kv = w->buf[BUF_K] + (size_t)r * row;
    w->k->rmsnorm(kv, a->kv_a_norm.w, a->kv_a_norm.plus, w->m->shape.eps, kv, a->rank);
    w->k->rope(kv + a->rank, cs, rope->n_dims, rope->adjacent);
    w->k->kv_store(w->m->kv_type, kv, block_kv_row(w, r, a->stream, 0), row);
    float *q = w->buf[BUF_Q] + (size_t)r * a->n_heads * head;
    for (uint32_t h = 0; h < a->n_heads; h++)
        w->k->rope(q + (size_t)h * head + a->nope, cs, rope->n_dims, rope->adjacent);
}

/* The part of one head in the rows of a buffer. */
struct head_rows {
    float *at;
    size_t ld; /* from row to row */
};

/* One head's matrix for all rows: n_in values of each row of x to n_out of y. */
static void multiply_head(struct model_work *w, const struct kernel_mat *mat, struct head_rows x,
                          struct head_rows y, uint32_t thread)
{
    float *rows = (float *)(void *)work_thread(w, thread);
    size_t room = device_act_bytes(w->m->dev, w->n_rows, mat->n_in);
    uint8_t *prepared = work_thread(w, thread) + ((room + 63) & ~(size_t)63);
    for (uint32_t r = 0; r < w->n_rows; r++)
        memcpy(rows + (size_t)r * mat->n_in, x.at + r * x.ld, mat->n_in * sizeof *rows);
    w->k->act_prepare(mat->type, rows, w->n_rows, mat->n_in, prepared);
    struct kernel_act act = { .data = prepared,
                              .row_bytes = w->k->act_row_bytes(mat->type, mat->n_in),
                              .n_rows = w->n_rows,
                              .n_in = mat->n_in };
    w->k->matmul(mat, 0, mat->n_out, &act, y.at, y.ld);
}

static void absorb_task(void *ctx, uint32_t h, uint32_t thread)
{
    const struct mla_job *t = ctx;
    const struct block_mla *a = t->a;
    struct model_work *w = t->w;
    size_t head = a->nope + a->rope_dims, wide = a->rank + a->rope_dims;
    struct head_rows q = { w->buf[BUF_Q] + h * head, a->n_heads * head };
    struct head_rows latent = { w->buf[BUF_LATENT] + h * wide, a->n_heads * wide };
    multiply_head(w, &a->k_b[h], q, latent, thread);
    for (uint32_t r = 0; r < w->n_rows; r++)
        memcpy(latent.at + r * latent.ld + a->rank, q.at + r * q.ld + a->nope,
               a->rope_dims * sizeof *q.at);
}

static void expand_task(void *ctx, uint32_t h, uint32_t thread)
{
    const struct mla_job *t = ctx;
    const struct block_mla *a = t->a;
    struct model_work *w = t->w;
    struct head_rows sums = { w->buf[BUF_LATENT_OUT] + (size_t)h * a->rank,
                              (size_t)a->n_heads * a->rank };
    struct head_rows out = { w->buf[BUF_A] + (size_t)h * a->v_dim, (size_t)a->n_heads * a->v_dim };
    multiply_head(w, &a->v_b[h], sums, out, thread);
}

void block_mla(struct model_work *w, const struct block_mla *a)
{
    const struct block_linear *mats[2] = { &a->q_b, &a->kv_a };
    enum model_buf ys[2] = { BUF_Q, BUF_K };
    bool low_rank = a->q_a_norm.w != NULL;
    if (low_rank) {
        mats[0] = &a->q_a;
        ys[0] = BUF_V;
    }
    block_linear_rows(w, mats, ys, 2, BUF_H);
    if (low_rank) {
        block_norm_rows(w, &a->q_a_norm, BUF_V);
        block_linear_one(w, &a->q_b, BUF_Q, BUF_V);
    }
    struct mla_job t = { w, a };
    uint32_t wide = a->rank + a->rope_dims;
    struct block_attend attend = { .w = w,
                                   .q = w->buf[BUF_LATENT],
                                   .out = w->buf[BUF_LATENT_OUT],
                                   .n_heads = a->n_heads,
                                   .n_group = a->n_heads,
                                   .k_dim = wide,
                                   .v_dim = a->rank,
                                   .scale = a->scale,
                                   .k_stream = a->stream,
                                   .v_stream = a->stream,
                                   .narrow = true };
    device_for(w->m->dev, w->n_rows, 4 * (size_t)wide, store_task, &t);
    device_for(w->m->dev, a->n_heads, (size_t)w->n_rows * a->rank * a->nope, absorb_task, &t);
    block_attend(&attend);
    device_for(w->m->dev, a->n_heads, (size_t)w->n_rows * a->rank * a->v_dim, expand_task, &t);
    block_linear_one(w, &a->o, BUF_Y, BUF_A);
}
