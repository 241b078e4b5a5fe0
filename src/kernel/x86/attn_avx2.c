/* Attention over a paged cache: tiles and online softmax as in the reference (kernel/attn.c).
 * Scores take two positions by four heads at a time, values four heads by sixteen columns, so that
 * a K or V row is converted once for the heads that share it. Floor: the cache must be read once;
 * with g heads a group each value read costs g multiply-adds, so up to g = 4 (f16) the memory is
 * the limit. */
#include <math.h>

#include "kernel/attn.h"
#include "kernel/reference.h"
#include "kernel/x86/avx2.h"

#define HEADS 4

struct tile_rows {
    const uint8_t *k[KERNEL_ATTN_TILE];
    const uint8_t *v[KERNEL_ATTN_TILE];
    uint32_t n;
};

static float half_at(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return _cvtsh_ss(h);
}

/* The scale of the Q8_0 block that holds position i; other types have none. */
static ALWAYS_INLINE __m256 scale_at(uint32_t type, const uint8_t *row, size_t i)
{
    return type == KERNEL_Q8_0 ? _mm256_set1_ps(half_at(row + i / 32 * 34)) : _mm256_setzero_ps();
}

/* Eight values of a cache row from position i, a multiple of 8; scale: of its block. */
static ALWAYS_INLINE __m256 load_kv(uint32_t type, const uint8_t *row, size_t i, __m256 scale)
{
    if (type != KERNEL_Q8_0)
        return load8(type, row, i);
    const uint8_t *q = row + i / 32 * 34 + 2 + i % 32;
    __m128i v = _mm_loadl_epi64((const __m128i *)(const void *)q);
    return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(v)), scale);
}

/* Dot products of two K rows with n heads: scores[h * TILE], scores[h * TILE + 1]. */
static ALWAYS_INLINE void score_pair(uint32_t type, const uint8_t *const *rows, const float *q,
                                     uint32_t k_dim, uint32_t n, float *scores)
{
    __m256 a[HEADS];
    __m256 b[HEADS];
    for (uint32_t h = 0; h < n; h++)
        a[h] = b[h] = _mm256_setzero_ps();
    for (uint32_t from = 0; from < k_dim; from += 32) {
        uint32_t to = k_dim - from < 32 ? k_dim : from + 32;
        __m256 s0 = scale_at(type, rows[0], from);
        __m256 s1 = scale_at(type, rows[1], from);
        for (uint32_t i = from; i < to; i += 8) {
            __m256 k0 = load_kv(type, rows[0], i, s0);
            __m256 k1 = load_kv(type, rows[1], i, s1);
            for (uint32_t h = 0; h < n; h++) {
                __m256 v = _mm256_loadu_ps(q + (size_t)h * k_dim + i);
                a[h] = _mm256_fmadd_ps(v, k0, a[h]);
                b[h] = _mm256_fmadd_ps(v, k1, b[h]);
            }
        }
    }
    for (uint32_t h = 0; h < n; h++) {
        scores[h * KERNEL_ATTN_TILE] = sum8(a[h]);
        scores[h * KERNEL_ATTN_TILE + 1] = sum8(b[h]);
    }
}

struct values_job {
    const struct tile_rows *t;
    const float *weights; /* of the first head */
    float *out;           /* of the first head */
    size_t v_dim;
};

/* Weighted sums of V rows into 8 * n_vec columns of n heads. */
static ALWAYS_INLINE void add_values(uint32_t type, uint32_t n, uint32_t n_vec,
                                     const struct values_job *j, uint32_t column)
{
    const struct tile_rows *t = j->t;
    const float *weights = j->weights;
    float *out = j->out;
    size_t v_dim = j->v_dim;
    __m256 acc[HEADS][2];
    for (uint32_t h = 0; h < n; h++)
        for (uint32_t c = 0; c < n_vec; c++)
            acc[h][c] = _mm256_loadu_ps(out + h * v_dim + column + 8 * c);
    for (uint32_t p = 0; p < t->n; p++) {
        __m256 v[2];
        __m256 scale = scale_at(type, t->v[p], column); /* 16 columns lie in one block */
        for (uint32_t c = 0; c < n_vec; c++)
            v[c] = load_kv(type, t->v[p], column + 8 * c, scale);
        for (uint32_t h = 0; h < n; h++) {
            __m256 w = _mm256_broadcast_ss(weights + h * KERNEL_ATTN_TILE + p);
            for (uint32_t c = 0; c < n_vec; c++)
                acc[h][c] = _mm256_fmadd_ps(w, v[c], acc[h][c]);
        }
    }
    for (uint32_t h = 0; h < n; h++)
        for (uint32_t c = 0; c < n_vec; c++)
            _mm256_storeu_ps(out + h * v_dim + column + 8 * c, acc[h][c]);
}

/* All scores of a tile for n heads. rows[n] may repeat the last row: a pair's second score is then
 * lost. */
static ALWAYS_INLINE void scores_of(uint32_t type, uint32_t n, const struct tile_rows *t,
                                    const float *q, uint32_t k_dim, float *scores)
{
    for (uint32_t p = 0; p < t->n; p += 2) {
        const uint8_t *rows[2] = { t->k[p], t->k[p + 1 < t->n ? p + 1 : p] };
        score_pair(type, rows, q, k_dim, n, scores + p);
    }
}

static ALWAYS_INLINE void values_of(uint32_t type, uint32_t n, const struct tile_rows *t,
                                    const float *weights, float *out, uint32_t v_dim)
{
    const struct values_job j = { t, weights, out, v_dim };
    uint32_t column = 0;
    for (; column + 16 <= v_dim; column += 16)
        add_values(type, n, 2, &j, column);
    if (column < v_dim)
        add_values(type, n, 1, &j, column);
}

/* The number of heads is a constant in each call, so that accumulators live in registers. */
#define PER_TYPE(name, type)                                                                     \
    static void scores_##name(uint32_t n, const struct tile_rows *t, const float *q,             \
                              uint32_t k_dim, float *scores)                                     \
    {                                                                                            \
        switch (n) {                                                                             \
        case 1: scores_of(type, 1, t, q, k_dim, scores); break;                                  \
        case 2: scores_of(type, 2, t, q, k_dim, scores); break;                                  \
        case 3: scores_of(type, 3, t, q, k_dim, scores); break;                                  \
        default: scores_of(type, 4, t, q, k_dim, scores);                                        \
        }                                                                                        \
    }                                                                                            \
    static void values_##name(uint32_t n, const struct tile_rows *t, const float *weights,       \
                              float *out, uint32_t v_dim)                                        \
    {                                                                                            \
        switch (n) {                                                                             \
        case 1: values_of(type, 1, t, weights, out, v_dim); break;                               \
        case 2: values_of(type, 2, t, weights, out, v_dim); break;                               \
        case 3: values_of(type, 3, t, weights, out, v_dim); break;                               \
        default: values_of(type, 4, t, weights, out, v_dim);                                     \
        }                                                                                        \
    }
PER_TYPE(f32, KERNEL_F32)
PER_TYPE(f16, KERNEL_F16)
PER_TYPE(bf16, KERNEL_BF16)
PER_TYPE(q8, KERNEL_Q8_0)

struct kv_fns {
    void (*scores)(uint32_t, const struct tile_rows *, const float *, uint32_t, float *);
    void (*values)(uint32_t, const struct tile_rows *, const float *, float *, uint32_t);
};

static struct kv_fns fns_of(uint32_t type)
{
    switch (type) {
    case KERNEL_F32:
        return (struct kv_fns){ scores_f32, values_f32 };
    case KERNEL_F16:
        return (struct kv_fns){ scores_f16, values_f16 };
    case KERNEL_BF16:
        return (struct kv_fns){ scores_bf16, values_bf16 };
    default:
        return (struct kv_fns){ scores_q8, values_q8 };
    }
}

/* Scores of one head to weights; what was summed before shrinks if a larger score came. */
static void softmax_tile(const struct kernel_attn *a, const struct kernel_attn_state *s, uint32_t g,
                         uint32_t n, float *out)
{
    float *score = s->scores + (size_t)g * KERNEL_ATTN_TILE;
    __m256 scale = _mm256_set1_ps(a->scale);
    __m256 top = _mm256_set1_ps(s->max[g]);
    for (uint32_t i = n; i < ((n + 7) & ~7u); i++)
        score[i] = -INFINITY;
    for (uint32_t i = 0; i < n; i += 8) {
        __m256 v = _mm256_mul_ps(_mm256_loadu_ps(score + i), scale);
        if (a->softcap != 0) {
            __m256 c = _mm256_set1_ps(a->softcap);
            v = _mm256_mul_ps(c, tanh8(_mm256_div_ps(v, c)));
            if (n - i < 8) /* the padding must stay -inf */
                v = _mm256_blendv_ps(_mm256_set1_ps(-INFINITY), v,
                                     _mm256_castsi256_ps(mask8(n - i)));
        }
        _mm256_storeu_ps(score + i, v);
        top = _mm256_max_ps(v, top); /* a NaN score shows in the sum */
    }
    float best = max8(top);
    if (best != s->max[g]) {
        float shrink = expf(s->max[g] - best);
        s->max[g] = best;
        s->sum[g] *= shrink;
        __m256 by = _mm256_set1_ps(shrink);
        for (uint32_t i = 0; i < a->v_dim; i += 8)
            _mm256_storeu_ps(out + i, _mm256_mul_ps(_mm256_loadu_ps(out + i), by));
    }
    __m256 sum = _mm256_setzero_ps();
    for (uint32_t i = 0; i < n; i += 8) {
        __m256 e = exp8(_mm256_sub_ps(_mm256_loadu_ps(score + i), _mm256_set1_ps(best)));
        _mm256_storeu_ps(score + i, e);
        sum = _mm256_add_ps(sum, e);
    }
    s->sum[g] += sum8(sum);
}

static void attn_tile(const struct kernel_attn *a, const struct kernel_attn_state *s,
                      const struct tile_rows *t, const struct kv_fns *f, const float *q, float *out)
{
    for (size_t g = 0; g < a->n_group; g += HEADS) {
        uint32_t n = a->n_group - g < HEADS ? (uint32_t)(a->n_group - g) : HEADS;
        f->scores(n, t, q + g * a->k_dim, a->k_dim, s->scores + g * KERNEL_ATTN_TILE);
    }
    for (uint32_t g = 0; g < a->n_group; g++)
        softmax_tile(a, s, g, t->n, out + (size_t)g * a->v_dim);
    for (size_t g = 0; g < a->n_group; g += HEADS) {
        uint32_t n = a->n_group - g < HEADS ? (uint32_t)(a->n_group - g) : HEADS;
        f->values(n, t, s->scores + g * KERNEL_ATTN_TILE, out + g * a->v_dim, a->v_dim);
    }
}

void kernel_attn_avx2(const struct kernel_attn *a, const struct kernel_kv *kv, uint32_t pos,
                      const float *q, float *out, void *scratch)
{
    if (a->k_dim % 8 != 0 || a->v_dim % 8 != 0) { /* no model has such heads; still right */
        kernel_attn_c(a, kv, pos, q, out, scratch);
        return;
    }
    struct kernel_attn_state s = kernel_attn_begin(a, out, scratch);
    struct kv_fns f = fns_of(kv->kv_type);
    struct tile_rows t;
    uint32_t from = kernel_attn_first(a, pos);
    while (from <= pos) {
        uint32_t to = kernel_attn_tile_end(from, pos);
        t.n = to - from;
        for (uint32_t p = from; p < to; p++) {
            t.k[p - from] = kernel_kv_row(kv, kv->k_offset, kv->k_stride, p);
            t.v[p - from] = kernel_kv_row(kv, kv->v_offset, kv->v_stride, p);
        }
        attn_tile(a, &s, &t, &f, q, out);
        from = to;
    }
    for (uint32_t g = 0; g < a->n_group; g++) {
        __m256 inv = _mm256_set1_ps(1 / s.sum[g]);
        for (uint32_t i = 0; i < a->v_dim; i += 8) {
            float *o = out + (size_t)g * a->v_dim + i;
            _mm256_storeu_ps(o, _mm256_mul_ps(_mm256_loadu_ps(o), inv));
        }
    }
}
