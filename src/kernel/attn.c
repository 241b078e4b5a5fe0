/* Attention of one query position over a paged cache, in plain C: positions are taken in tiles, the
 * softmax is kept online (Milakov, Gimelshein 2018, arXiv 1805.02867): with m the largest score so
 * far, l the sum of exp(s - m) and out the weighted sum of V rows, a new maximum rescales l and
 * out. So the scratch does not grow with the context. A tile is at most ATTN_TILE positions and
 * ends at a multiple of it, hence the order of sums depends on the positions alone, not on the
 * block size. */
#include "kernel/attn.h"

#include <math.h>
#include <string.h>

#include "base/num.h"
#include "kernel/reference.h"
#include "kernel/unpack.h"

size_t kernel_kv_row_bytes(uint32_t kv_type, size_t n)
{
    switch (kv_type) {
    case KERNEL_F32:
        return 4 * n;
    case KERNEL_F16:
    case KERNEL_BF16:
        return 2 * n;
    case KERNEL_Q8_0:
        return num_ceil_div(n, 32) * 34;
    default:
        return 0;
    }
}

size_t kernel_attn_scratch(const struct kernel_attn *a, uint32_t pos)
{
    (void)pos; /* tiles keep it constant */
    size_t row = num_max(a->k_dim, a->v_dim) + 63;
    size_t floats = (size_t)a->n_group * (KERNEL_ATTN_TILE + 2) + 2 * row;
    return (floats * sizeof(float) + 127) & ~(size_t)63;
}

void kernel_kv_store_c(uint32_t kv_type, const float *x, void *dst, size_t n)
{
    if (kv_type != KERNEL_Q8_0) {
        kernel_type_info(kv_type)->quantize(x, dst, n);
        return;
    }
    const struct kernel_type_info *q8 = kernel_type_info(KERNEL_Q8_0);
    size_t whole = n / 32 * 32;
    q8->quantize(x, dst, whole);
    if (n > whole) {
        float last[32] = { 0 };
        memcpy(last, x + whole, (n - whole) * sizeof *x);
        q8->quantize(last, (uint8_t *)dst + whole / 32 * 34, 32);
    }
}

/* The first n values of a cache row; dst has room for whole blocks of 32. */
static void load_row(uint32_t kv_type, const uint8_t *row, float *dst, size_t n)
{
    size_t len = kv_type == KERNEL_Q8_0 ? num_ceil_div(n, 32) * 32 : n;
    kernel_type_info(kv_type)->dequantize(row, dst, len);
}

/* scores[g * TILE + t] for positions [from, to). */
static void tile_scores(const struct kernel_attn *a, const struct kernel_kv *kv, const float *q,
                        uint32_t from, uint32_t to, const struct kernel_attn_state *s)
{
    for (uint32_t p = from; p < to; p++) {
        load_row(kv->kv_type, kernel_kv_row(kv, kv->k_offset, kv->k_stride, p), s->row, a->k_dim);
        for (uint32_t g = 0; g < a->n_group; g++) {
            float dot = kernel_dot_c(q + g * a->k_dim, s->row, a->k_dim) * a->scale;
            if (a->softcap != 0)
                dot = a->softcap * tanhf(dot / a->softcap);
            s->scores[g * KERNEL_ATTN_TILE + (p - from)] = dot;
        }
    }
}

/* Scores to weights of one head; rescales what was summed before. */
static void tile_softmax(const struct kernel_attn_state *s, uint32_t g, uint32_t n, float *out,
                         uint32_t v_dim)
{
    float *score = s->scores + g * KERNEL_ATTN_TILE;
    float top = s->max[g];
    for (uint32_t t = 0; t < n; t++)
        top = score[t] > top ? score[t] : top;
    if (top > s->max[g]) {
        float shrink = expf(s->max[g] - top);
        s->max[g] = top;
        s->sum[g] *= shrink;
        for (uint32_t i = 0; i < v_dim; i++)
            out[i] *= shrink;
    }
    for (uint32_t t = 0; t < n; t++) {
        score[t] = expf(score[t] - top);
        s->sum[g] += score[t];
    }
}

static void tile_values(const struct kernel_attn *a, const struct kernel_kv *kv, uint32_t from,
                        uint32_t to, const struct kernel_attn_state *s, float *out)
{
    for (uint32_t p = from; p < to; p++) {
        load_row(kv->kv_type, kernel_kv_row(kv, kv->v_offset, kv->v_stride, p), s->row, a->v_dim);
        for (uint32_t g = 0; g < a->n_group; g++) {
            float weight = s->scores[g * KERNEL_ATTN_TILE + (p - from)];
            for (uint32_t i = 0; i < a->v_dim; i++)
                out[g * a->v_dim + i] += weight * s->row[i];
        }
    }
}

void kernel_attn_c(const struct kernel_attn *a, const struct kernel_kv *kv, uint32_t pos,
                   const float *q, float *out, void *scratch)
{
    struct kernel_attn_state s = kernel_attn_begin(a, out, scratch);
    uint32_t from = kernel_attn_first(a, pos);
    while (from <= pos) {
        uint32_t to = kernel_attn_tile_end(from, pos);
        tile_scores(a, kv, q, from, to, &s);
        for (uint32_t g = 0; g < a->n_group; g++)
            tile_softmax(&s, g, to - from, out + g * a->v_dim, a->v_dim);
        tile_values(a, kv, from, to, &s, out);
        from = to;
    }
    for (uint32_t g = 0; g < a->n_group; g++)
        for (uint32_t i = 0; i < a->v_dim; i++)
            out[g * a->v_dim + i] /= s.sum[g];
}
