/* Attention with grouped queries over a paged cache: project, norm and rotate, store the new rows,
 * then every (tile of rows, KV head) by itself. All rows of the batch are stored before any is
 * read, and what is read is always the stored form, also for a token's own key: so a prompt gives
 * the same numbers whether it comes in one piece or in many. */
#include "model/block.h"

#include "base/num.h"
#include "kernel/attn.h"

/* Fewer units than this a thread are cut into parts: a long sequence by itself keeps all busy. */
#define UNITS_A_THREAD 4

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

void block_attn_plan(struct model *m, uint32_t group, uint32_t k_dim, uint32_t v_dim)
{
    struct kernel_attn a = { .k_dim = k_dim,
                             .v_dim = v_dim,
                             .n_group = (uint32_t)num_min(group, KERNEL_ATTN_QUERIES) };
    uint32_t rows = KERNEL_ATTN_QUERIES / a.n_group;
    m->attn_rows = m->attn_rows == 0 ? rows : (uint32_t)num_min(rows, m->attn_rows);
    m->attn_state = (uint32_t)num_max(m->attn_state, kernel_attn_state_len(&a));
    m->attn_scratch = num_max(m->attn_scratch, kernel_attn_scratch(&a, rows));
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

/* --- tiles of rows x KV heads, each whole or cut into parts of the positions --- */

/* One call of the kernel. */
struct unit {
    struct kernel_attn a;
    struct kernel_kv kv;
    struct kernel_attn_rows rows;
};

/* Units are ordered by KV head first: tiles of one sequence read the same K and V. */
static struct unit unit_at(const struct block_attend *t, uint32_t i)
{
    struct model_work *w = t->w;
    const struct model_tile *tile = &w->tiles[i % w->n_tiles];
    uint32_t heads = i / w->n_tiles, part = heads % t->n_calls, g = heads / t->n_calls;
    uint32_t first = part * KERNEL_ATTN_QUERIES; /* among the heads of the group */
    uint32_t head = g * t->n_group + first;
    struct unit u = { .a = { .k_dim = t->k_dim,
                             .v_dim = t->v_dim,
                             .n_group = (uint32_t)num_min(KERNEL_ATTN_QUERIES, t->n_group - first),
                             .scale = t->scale,
                             .softcap = t->softcap,
                             .window = t->window,
                             .narrow = t->narrow },
                      .kv = block_kv(w, tile->row0, t->k_stream, t->v_stream) };
    u.kv.k_offset += (size_t)g * u.kv.block_len * u.kv.k_stride;
    u.kv.v_offset += (size_t)g * u.kv.block_len * u.kv.v_stride;
    size_t at = (size_t)tile->row0 * t->n_heads + head;
    u.rows = (struct kernel_attn_rows){ .q = t->q + at * t->k_dim,
                                        .out = t->out + at * t->v_dim,
                                        .q_stride = (size_t)t->n_heads * t->k_dim,
                                        .out_stride = (size_t)t->n_heads * t->v_dim,
                                        .pos0 = w->pos[tile->row0],
                                        .n_rows = tile->n_rows };
    return u;
}

static void unit_task(void *ctx, uint32_t i, uint32_t thread)
{
    const struct block_attend *t = ctx;
    struct unit u = unit_at(t, i);
    kernel_attn(t->w->k, &u.a, &u.kv, &u.rows, work_thread(t->w, thread));
}

/* States of unit i, one behind the other by parts. */
static float *states_of(const struct block_attend *t, uint32_t i)
{
    return t->w->states + (size_t)i * t->n_parts * t->unit_floats;
}

static void part_task(void *ctx, uint32_t i, uint32_t thread)
{
    const struct block_attend *t = ctx;
    struct unit u = unit_at(t, i / t->n_parts);
    uint32_t part = i % t->n_parts;
    t->w->k->attn_part(&u.a, &u.kv, &u.rows, t->part0 + part,
                       states_of(t, i / t->n_parts) + part * t->unit_floats,
                       work_thread(t->w, thread));
}

static void fold_task(void *ctx, uint32_t i, uint32_t thread)
{
    (void)thread;
    const struct block_attend *t = ctx;
    struct unit u = unit_at(t, i);
    float *states = states_of(t, i);
    for (uint32_t p = 1; p < t->n_parts; p++)
        kernel_attn_fold(&u.a, u.rows.n_rows * u.a.n_group, states, states + p * t->unit_floats);
    kernel_attn_finish(&u.a, &u.rows, states);
}

/* Parts that any tile looks at, and whether the states of all units have room. */
static bool cut_into_parts(struct block_attend *t, uint32_t n_units)
{
    struct model_work *w = t->w;
    const struct kernel_attn a = { .v_dim = t->v_dim, .window = t->window };
    uint32_t first = UINT32_MAX, last = 0, rows = 0;
    for (uint32_t i = 0; i < w->n_tiles; i++) {
        const struct model_tile *tile = &w->tiles[i];
        uint32_t pos = w->pos[tile->row0];
        uint32_t from = kernel_attn_part_of(kernel_attn_first(&a, pos));
        uint32_t to = kernel_attn_part_of(pos + tile->n_rows - 1);
        first = from < first ? from : first;
        last = to > last ? to : last;
        rows = tile->n_rows > rows ? tile->n_rows : rows;
    }
    size_t queries = rows * num_min(t->n_group, KERNEL_ATTN_QUERIES);
    t->part0 = first;
    t->n_parts = last + 1 - first;
    t->unit_floats = queries * kernel_attn_state_len(&a);
    return t->n_parts > 1 && n_units * t->n_parts * t->unit_floats <= w->states_len;
}

void block_attend(struct block_attend *t)
{
    struct model_work *w = t->w;
    struct device *dev = w->m->dev;
    t->n_calls = (uint32_t)num_ceil_div(t->n_group, KERNEL_ATTN_QUERIES);
    uint32_t n_units = w->n_tiles * (t->n_heads / t->n_group) * t->n_calls;
    size_t queries = num_min(t->n_group, KERNEL_ATTN_QUERIES) * w->m->attn_rows;
    size_t each = queries * ((size_t)t->k_dim + t->v_dim);
    if (n_units < UNITS_A_THREAD * device_threads(dev) && cut_into_parts(t, n_units)) {
        device_for(dev, n_units * t->n_parts, each * 512, part_task, t);
        device_for(dev, n_units, t->n_parts * t->unit_floats, fold_task, t);
        return;
    }
    device_for(dev, n_units, each * block_context(w), unit_task, t);
}

void block_attn(struct model_work *w, const struct block_attn *a)
{
    const struct block_linear *mats[3] = { &a->q, &a->k, &a->v };
    const enum model_buf ys[3] = { BUF_Q, BUF_K, BUF_V };
    struct attn_job t = { w, a };
    block_linear_rows(w, mats, ys, 3, BUF_H);
    size_t width = (size_t)(a->n_heads + 2 * a->n_kv_heads) * a->k_dim;
    device_for(w->m->dev, w->n_rows, 4 * width, store_task, &t);
    struct block_attend attend = { .w = w,
                                   .q = w->buf[BUF_Q],
                                   .out = w->buf[BUF_A],
                                   .n_heads = a->n_heads,
                                   .n_group = a->n_heads / a->n_kv_heads,
                                   .k_dim = a->k_dim,
                                   .v_dim = a->v_dim,
                                   .scale = a->scale,
                                   .softcap = a->softcap,
                                   .window = a->window,
                                   .k_stream = a->k_stream,
                                   .v_stream = a->v_stream };
    block_attend(&attend);
    if (a->sub_norm.w != NULL)
        block_norm_rows(w, &a->sub_norm, BUF_A);
    block_linear_one(w, &a->o, BUF_Y, BUF_A);
}
