/* Attention with grouped queries over a paged cache: project, norm and rotate, store the new rows,
 * then every (row, KV head) by itself. All rows of the batch are stored before any is read, and
 * what is read is always the stored form, also for a token's own key: so a prompt gives the same
 * numbers whether it comes in one piece or in many. */
#include "model/block.h"

#include "base/num.h"

const float *block_cs(const struct model_work *w, uint32_t rope, uint32_t r)
{
    const struct model *m = w->m;
    if (m->long_rope_from != 0)
        rope = w->n_ctx_max > m->long_rope_from;
    return work_row(w, rope == 0 ? BUF_CS0 : BUF_CS1, r);
}

struct kernel_kv block_kv(const struct model_work *w, uint32_t r, uint32_t k_stream,
                          uint32_t v_stream)
{
    const struct model_layout *l = &w->m->layout;
    const struct model_stream *k = &l->streams[k_stream], *v = &l->streams[v_stream];
    return (struct kernel_kv){ .slab = w->batch->slab,
                               .table = w->batch->spans[w->span[r]].blocks,
                               .block_bytes = l->block_bytes,
                               .block_len = l->block_len,
                               .k_offset = k->offset,
                               .v_offset = v->offset,
                               .k_stride = k->row_bytes,
                               .v_stride = v->row_bytes,
                               .kv_type = k->type };
}

uint8_t *block_kv_row(const struct model_work *w, uint32_t r, uint32_t stream, uint32_t head)
{
    const struct model_layout *l = &w->m->layout;
    const struct model_stream *s = &l->streams[stream];
    uint32_t pos = w->pos[r];
    uint32_t block = w->batch->spans[w->span[r]].blocks[pos / l->block_len];
    size_t row = (size_t)head * l->block_len + pos % l->block_len;
    return w->batch->slab + block * l->block_bytes + s->offset + row * s->row_bytes;
}

size_t block_attn_scratch(uint32_t k_dim, uint32_t v_dim)
{
    struct kernel_attn a = { .k_dim = k_dim, .v_dim = v_dim, .n_group = BLOCK_HEADS };
    return kernel_attn_scratch(&a, 0);
}

size_t block_context(const struct model_work *w)
{
    size_t longest = 0;
    for (uint32_t s = 0; s < w->batch->n_spans; s++)
        longest = num_max(longest, (size_t)w->batch->spans[s].pos0 + w->batch->spans[s].n_rows);
    return longest;
}

struct attn_job {
    struct model_work *w;
    const struct block_attn *a;
    uint32_t parts; /* calls of the kernel for one KV head */
};

/* Norms and rotates n heads of dim values that follow one another. */
static void turn_heads(const struct attn_job *t, uint32_t r, float *x, uint32_t n,
                       const struct block_norm *norm)
{
    const struct model_work *w = t->w;
    const struct rope *rope = &w->m->ropes[0]; /* all ropes of a model have one shape */
    const float *cs = block_cs(w, t->a->rope, r);
    for (uint32_t h = 0; h < n; h++, x += t->a->k_dim) {
        if (norm->w != NULL)
            w->k->rmsnorm(x, norm->w, norm->plus, w->m->shape.eps, x, norm->n);
        w->k->rope(x, cs, rope->n_dims, rope->adjacent);
    }
}

static void store_task(void *ctx, uint32_t r, uint32_t thread)
{
    (void)thread;
    const struct attn_job *t = ctx;
    const struct block_attn *a = t->a;
    struct model_work *w = t->w;
    uint32_t type = w->m->kv_type;
    float *q = w->buf[BUF_Q] + (size_t)r * a->n_heads * a->k_dim;
    float *k = w->buf[BUF_K] + (size_t)r * a->n_kv_heads * a->k_dim;
    float *v = w->buf[BUF_V] + (size_t)r * a->n_kv_heads * a->v_dim;
    turn_heads(t, r, q, a->n_heads, &a->q_norm);
    turn_heads(t, r, k, a->n_kv_heads, &a->k_norm);
    for (uint32_t g = 0; g < a->n_kv_heads; g++) {
        w->k->kv_store(type, k + (size_t)g * a->k_dim, block_kv_row(w, r, a->k_stream, g),
                       a->k_dim);
        w->k->kv_store(type, v + (size_t)g * a->v_dim, block_kv_row(w, r, a->v_stream, g),
                       a->v_dim);
    }
}

/* One row, one KV head, up to BLOCK_HEADS of the query heads that share it. */
static void attend_task(void *ctx, uint32_t i, uint32_t thread)
{
    const struct attn_job *t = ctx;
    const struct block_attn *a = t->a;
    struct model_work *w = t->w;
    uint32_t group = a->n_heads / a->n_kv_heads;
    uint32_t part = i % t->parts, g = i / t->parts % a->n_kv_heads;
    uint32_t r = i / t->parts / a->n_kv_heads;
    uint32_t head = g * group + part * BLOCK_HEADS;
    struct kernel_kv kv = block_kv(w, r, a->k_stream, a->v_stream);
    kv.k_offset += (size_t)g * kv.block_len * kv.k_stride;
    kv.v_offset += (size_t)g * kv.block_len * kv.v_stride;
    struct kernel_attn p = { .k_dim = a->k_dim,
                             .v_dim = a->v_dim,
                             .n_group = (uint32_t)num_min(BLOCK_HEADS, group - part * BLOCK_HEADS),
                             .scale = a->scale,
                             .softcap = a->softcap,
                             .window = a->window };
    const float *q = w->buf[BUF_Q] + ((size_t)r * a->n_heads + head) * a->k_dim;
    float *out = w->buf[BUF_A] + ((size_t)r * a->n_heads + head) * a->v_dim;
    w->k->attn(&p, &kv, w->pos[r], q, out, work_thread(w, thread));
}

void block_attn(struct model_work *w, const struct block_attn *a)
{
    const struct block_linear *mats[3] = { &a->q, &a->k, &a->v };
    const enum model_buf ys[3] = { BUF_Q, BUF_K, BUF_V };
    uint32_t group = a->n_heads / a->n_kv_heads;
    struct attn_job t = { w, a, (uint32_t)num_ceil_div(group, BLOCK_HEADS) };
    block_linear_rows(w, mats, ys, 3, BUF_H);
    size_t width = (size_t)(a->n_heads + 2 * a->n_kv_heads) * a->k_dim;
    size_t each = num_min(group, BLOCK_HEADS) * ((size_t)a->k_dim + a->v_dim);
    device_for(w->m->dev, w->n_rows, 4 * width, store_task, &t);
    device_for(w->m->dev, w->n_rows * a->n_kv_heads * t.parts, each * block_context(w),
               attend_task, &t);
    if (a->sub_norm.w != NULL)
        block_norm_rows(w, &a->sub_norm, BUF_A);
    block_linear_one(w, &a->o, BUF_Y, BUF_A);
}
