/* Attention over a paged cache, in plain C, and what all levels share: borders of parts, folding of
 * states. The softmax is kept online (Milakov, Gimelshein 2018, arXiv 1805.02867): with m the
 * largest score so far, l the sum of exp(s - m) and acc the weighted sum of V rows, a new maximum
 * rescales l and acc. Parts of the positions by themselves, then folded: Dao et al. 2023,
 * Flash-Decoding; here the borders are fixed, since a fold is not associative in its last bit. A
 * tile is at most KERNEL_ATTN_TILE positions and ends at a multiple of it, hence the order of sums
 * depends on the positions alone, not on the block size. */
#include "kernel/attn.h"

#include <math.h>
#include <string.h>

#include "base/num.h"
#include "kernel/reference.h"
#include "kernel/unpack.h"

#define PART 512
#define PARTS_FIRST 64 /* of PART positions each; from there on 32 an octave */
#define PARTS_OCTAVE 32

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

/* --- parts and states --- */

uint32_t kernel_attn_part_of(uint32_t pos)
{
    uint32_t linear = pos / PART, octave = 0;
    while (linear >> octave >= PARTS_FIRST)
        octave++;
    if (octave == 0)
        return linear;
    return PARTS_FIRST + (octave - 1) * PARTS_OCTAVE + (linear >> octave) - PARTS_OCTAVE;
}

uint32_t kernel_attn_border(uint32_t part)
{
    if (part < PARTS_FIRST)
        return part * PART;
    uint32_t octave = (part - PARTS_FIRST) / PARTS_OCTAVE;
    uint32_t in = (part - PARTS_FIRST) % PARTS_OCTAVE;
    uint64_t border = (uint64_t)(PARTS_FIRST + 2 * in) * PART << octave;
    return border < UINT32_MAX ? (uint32_t)border : UINT32_MAX;
}

size_t kernel_attn_scratch(const struct kernel_attn *a, uint32_t n_rows)
{
    size_t queries = (size_t)n_rows * a->n_group;
    size_t k = (a->k_dim + 63u) & ~(size_t)63, v = (a->v_dim + 63u) & ~(size_t)63;
    size_t own = queries * (k + 16) + (KERNEL_ATTN_TILE + 16) * (k + v) +
                 queries * (KERNEL_ATTN_TILE + 32);
    size_t states = 2 * queries * kernel_attn_state_len(a);
    return ((own + states) * sizeof(float) + 127) & ~(size_t)63;
}

void kernel_attn_begin(const struct kernel_attn *a, uint32_t n_rows, float *states)
{
    size_t len = kernel_attn_state_len(a), n = (size_t)n_rows * a->n_group;
    memset(states, 0, n * len * sizeof *states);
    for (size_t i = 0; i < n; i++) {
        float *m = kernel_attn_max(a, states + i * len);
        m[0] = a->sinks != NULL ? a->sinks[i % a->n_group] * KERNEL_LOG2E : -INFINITY;
        m[1] = a->sinks != NULL ? 1 : 0;
    }
}

void kernel_attn_fold(const struct kernel_attn *a, uint32_t n_queries, float *into,
                      const float *from)
{
    size_t len = kernel_attn_state_len(a);
    for (uint32_t i = 0; i < n_queries; i++, into += len, from += len) {
        float *m = into + len - 16;
        const float *p = from + len - 16;
        if (p[0] == -INFINITY && p[1] == 0)
            continue; /* a row that sees nothing of the part */
        float top = p[0] > m[0] ? p[0] : m[0];
        float old = m[0] == -INFINITY ? 0 : exp2f(m[0] - top), new = exp2f(p[0] - top);
        for (uint32_t j = 0; j < a->v_dim; j++)
            into[j] = into[j] * old + from[j] * new;
        m[0] = top;
        m[1] = m[1] * old + p[1] * new;
    }
}

void kernel_attn_finish(const struct kernel_attn *a, const struct kernel_attn_rows *r,
                        const float *states)
{
    size_t len = kernel_attn_state_len(a);
    for (uint32_t i = 0; i < r->n_rows; i++)
        for (uint32_t g = 0; g < a->n_group; g++, states += len) {
            float inv = 1 / states[len - 15];
            float *o = r->out + i * r->out_stride + (size_t)g * a->v_dim;
            for (uint32_t j = 0; j < a->v_dim; j++)
                o[j] = states[j] * inv;
        }
}

void kernel_attn(const struct kernel_table *k, const struct kernel_attn *a,
                 const struct kernel_kv *kv, const struct kernel_attn_rows *r, void *scratch)
{
    uint32_t n = r->n_rows * a->n_group;
    size_t floats = n * kernel_attn_state_len(a);
    float *states = scratch, *one = states + floats;
    void *rest = one + floats;
    uint32_t part = kernel_attn_part_of(kernel_attn_first(a, r->pos0));
    uint32_t last = kernel_attn_part_of(r->pos0 + r->n_rows - 1);
    if (a->sinks != NULL)
        kernel_attn_begin(a, r->n_rows, states);
    else /* to fold into an empty state is to copy */
        k->attn_part(a, kv, r, part++, states, rest);
    for (; part <= last; part++) {
        k->attn_part(a, kv, r, part, one, rest);
        kernel_attn_fold(a, n, states, one);
    }
    kernel_attn_finish(a, r, states);
}

/* --- the reference --- */

/* The first n values of a cache row; dst has room for whole blocks of 32. */
static void load_row(uint32_t kv_type, const uint8_t *row, float *dst, size_t n)
{
    size_t len = kv_type == KERNEL_Q8_0 ? num_ceil_div(n, 32) * 32 : n;
    kernel_type_info(kv_type)->dequantize(row, dst, len);
}

/* One query over positions [from, to) of a tile; row: room for a K or V row. */
static void attend_tile(const struct kernel_attn *a, const struct kernel_kv *kv, const float *q,
                        struct kernel_attn_span t, float *state, float *row)
{
    float score[KERNEL_ATTN_TILE], *m = kernel_attn_max(a, state);
    float top = m[0];
    for (uint32_t p = t.from; p < t.to; p++) {
        load_row(kv->kv_type, kernel_kv_row(kv, kv->k_offset, kv->k_stride, p), row, a->k_dim);
        float s = kernel_dot_c(q, row, a->k_dim) * a->scale;
        if (a->softcap != 0)
            s = a->softcap * tanhf(s / a->softcap);
        score[p - t.from] = s * KERNEL_LOG2E;
        top = score[p - t.from] > top ? score[p - t.from] : top;
    }
    if (top > m[0]) {
        float shrink = exp2f(m[0] - top);
        m[0] = top;
        m[1] *= shrink;
        for (uint32_t i = 0; i < a->v_dim; i++)
            state[i] *= shrink;
    }
    for (uint32_t p = t.from; p < t.to; p++) {
        float weight = exp2f(score[p - t.from] - top);
        m[1] += weight;
        load_row(kv->kv_type, kernel_kv_row(kv, kv->v_offset, kv->v_stride, p), row, a->v_dim);
        for (uint32_t i = 0; i < a->v_dim; i++)
            state[i] += weight * row[i];
    }
}

void kernel_attn_part_c(const struct kernel_attn *a, const struct kernel_kv *kv,
                        const struct kernel_attn_rows *r, uint32_t part, float *states,
                        void *scratch)
{
    struct kernel_attn no_sinks = *a;
    no_sinks.sinks = NULL;
    kernel_attn_begin(&no_sinks, r->n_rows, states);
    for (uint32_t i = 0; i < r->n_rows * a->n_group; i++) {
        uint32_t row = i / a->n_group, g = i % a->n_group;
        const float *q = r->q + row * r->q_stride + (size_t)g * a->k_dim;
        struct kernel_attn_span all = kernel_attn_span(a, r->pos0 + row, 1, part), t = all;
        for (; t.from < all.to; t.from = t.to) {
            t.to = (t.from / KERNEL_ATTN_TILE + 1) * KERNEL_ATTN_TILE;
            t.to = t.to < all.to ? t.to : all.to;
            attend_tile(a, kv, q, t, states + i * kernel_attn_state_len(a), scratch);
        }
    }
}
