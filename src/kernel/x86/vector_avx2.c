/* Operations on one row. Element-wise ones run eight at a time with a masked tail; sums of squares
 * are kept in double, which costs nothing beside the matrix products and lets no magnitude
 * overflow. */
#include <math.h>

#include "kernel/x86/avx2.h"

static ALWAYS_INLINE double sum4(__m256d v)
{
    __m128d s = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}

static ALWAYS_INLINE __m256d low4(__m256 v) { return _mm256_cvtps_pd(_mm256_castps256_ps128(v)); }
static ALWAYS_INLINE __m256d high4(__m256 v)
{
    return _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
}

/* Eight values at i, zeros past n. */
static ALWAYS_INLINE __m256 load_at(const float *x, size_t i, size_t n)
{
    return n - i >= 8 ? _mm256_loadu_ps(x + i) : load_tail(x + i, n - i);
}

static ALWAYS_INLINE void store_at(float *y, size_t i, size_t n, __m256 v)
{
    if (n - i >= 8)
        _mm256_storeu_ps(y + i, v);
    else
        store_tail(y + i, n - i, v);
}

static void rmsnorm(const float *x, const float *w, float w_plus, float eps, float *y, size_t n)
{
    __m256d a = _mm256_setzero_pd();
    __m256d b = _mm256_setzero_pd();
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = load_at(x, i, n);
        a = _mm256_fmadd_pd(low4(v), low4(v), a);
        b = _mm256_fmadd_pd(high4(v), high4(v), b);
    }
    double mean = sum4(_mm256_add_pd(a, b)) / (double)n;
    __m256 inv = _mm256_set1_ps((float)(1 / sqrt(mean + (double)eps)));
    __m256 plus = _mm256_set1_ps(w_plus);
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = _mm256_mul_ps(load_at(x, i, n), inv);
        if (w != NULL)
            v = _mm256_mul_ps(v, _mm256_add_ps(load_at(w, i, n), plus));
        store_at(y, i, n, v);
    }
}

static void layernorm(const float *x, const float *w, const float *b, float eps, float *y,
                      size_t n)
{
    __m256d s = _mm256_setzero_pd();
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = load_at(x, i, n);
        s = _mm256_add_pd(s, _mm256_add_pd(low4(v), high4(v)));
    }
    double mean = sum4(s) / (double)n;
    __m256d m = _mm256_set1_pd(mean);
    __m256d square = _mm256_setzero_pd();
    size_t whole = n / 8 * 8;
    for (size_t i = 0; i < whole; i += 8) {
        __m256 v = _mm256_loadu_ps(x + i);
        __m256d lo = _mm256_sub_pd(low4(v), m);
        __m256d hi = _mm256_sub_pd(high4(v), m);
        square = _mm256_fmadd_pd(lo, lo, _mm256_fmadd_pd(hi, hi, square));
    }
    double rest = 0; /* masked lanes would count as (0 - mean)^2 */
    for (size_t i = whole; i < n; i++)
        rest += ((double)x[i] - mean) * ((double)x[i] - mean);
    double inv = 1 / sqrt((sum4(square) + rest) / (double)n + (double)eps);
    __m256 scale = _mm256_set1_ps((float)inv);
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = load_at(x, i, n);
        __m128 lo = _mm256_cvtpd_ps(_mm256_sub_pd(low4(v), m));
        __m128 hi = _mm256_cvtpd_ps(_mm256_sub_pd(high4(v), m));
        v = _mm256_mul_ps(_mm256_set_m128(hi, lo), scale);
        if (w != NULL)
            v = _mm256_mul_ps(v, load_at(w, i, n));
        if (b != NULL)
            v = _mm256_add_ps(v, load_at(b, i, n));
        store_at(y, i, n, v);
    }
}

/* Cosines and sines of eight pairs, in order. */
static ALWAYS_INLINE void split_pairs(const float *cs, __m256 *c, __m256 *s)
{
    __m256 a = _mm256_loadu_ps(cs);
    __m256 b = _mm256_loadu_ps(cs + 8);
    __m256 even = _mm256_shuffle_ps(a, b, 0x88);
    __m256 odd = _mm256_shuffle_ps(a, b, 0xdd);
    *c = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(even), 0xd8));
    *s = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(odd), 0xd8));
}

static void rope_pair(float *a, float *b, const float *cs)
{
    float x0 = *a;
    float x1 = *b;
    *a = x0 * cs[0] - x1 * cs[1];
    *b = x0 * cs[1] + x1 * cs[0];
}

static void rope_halves(float *x, const float *cs, uint32_t half)
{
    uint32_t i = 0;
    for (; i + 8 <= half; i += 8) {
        __m256 c;
        __m256 s;
        split_pairs(cs + 2 * i, &c, &s);
        __m256 x0 = _mm256_loadu_ps(x + i);
        __m256 x1 = _mm256_loadu_ps(x + half + i);
        _mm256_storeu_ps(x + i, _mm256_fmsub_ps(x0, c, _mm256_mul_ps(x1, s)));
        _mm256_storeu_ps(x + half + i, _mm256_fmadd_ps(x0, s, _mm256_mul_ps(x1, c)));
    }
    for (; i < half; i++)
        rope_pair(x + i, x + half + i, cs + 2 * i);
}

static void rope(float *x, const float *cs, uint32_t n_dims, int adjacent)
{
    if (!adjacent) {
        rope_halves(x, cs, n_dims / 2);
        return;
    }
    uint32_t i = 0;
    for (; i + 8 <= n_dims; i += 8) { /* four pairs: even lanes x0 c - x1 s, odd ones x1 c + x0 s */
        __m256 v = _mm256_loadu_ps(x + i);
        __m256 t = _mm256_loadu_ps(cs + i);
        __m256 swapped = _mm256_permute_ps(v, 0xb1);
        __m256 s = _mm256_movehdup_ps(t);
        __m256 c = _mm256_moveldup_ps(t);
        _mm256_storeu_ps(x + i, _mm256_fmaddsub_ps(v, c, _mm256_mul_ps(swapped, s)));
    }
    for (; i + 2 <= n_dims; i += 2)
        rope_pair(x + i, x + i + 1, cs + i);
}

static float max_of(const float *x, size_t n)
{
    __m256 top = _mm256_set1_ps(-INFINITY);
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        top = _mm256_max_ps(_mm256_loadu_ps(x + i), top); /* a NaN in x leaves top */
    float best = max8(top);
    for (; i < n; i++)
        best = x[i] > best ? x[i] : best;
    return best;
}

static void softmax(float *x, size_t n)
{
    const __m256 none = _mm256_set1_ps(-INFINITY);
    __m256 top = _mm256_set1_ps(max_of(x, n));
    __m256d sum = _mm256_setzero_pd();
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = n - i >= 8 ? _mm256_loadu_ps(x + i) : load_tail(x + i, n - i);
        __m256 out = _mm256_cmp_ps(v, none, _CMP_EQ_OQ);
        __m256 e = _mm256_andnot_ps(out, exp8(_mm256_sub_ps(v, top)));
        if (n - i < 8)
            e = _mm256_and_ps(e, _mm256_castsi256_ps(mask8(n - i)));
        sum = _mm256_add_pd(sum, _mm256_add_pd(low4(e), high4(e)));
        store_at(x, i, n, e);
    }
    double total = sum4(sum);
    __m256 inv = _mm256_set1_ps(total != 0 ? (float)(1 / total) : 0);
    for (size_t i = 0; i < n; i += 8)
        store_at(x, i, n, _mm256_mul_ps(load_at(x, i, n), inv));
}

static void add(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i += 8)
        store_at(y, i, n, _mm256_add_ps(load_at(y, i, n), load_at(x, i, n)));
}

static void scale(float *y, float s, size_t n)
{
    for (size_t i = 0; i < n; i += 8)
        store_at(y, i, n, _mm256_mul_ps(load_at(y, i, n), _mm256_set1_ps(s)));
}

static void silu_mul(float *gate, const float *up, size_t n)
{
    const __m256 one = _mm256_set1_ps(1);
    for (size_t i = 0; i < n; i += 8) {
        __m256 x = load_at(gate, i, n);
        __m256 e = exp8(_mm256_sub_ps(_mm256_setzero_ps(), x));
        __m256 y = _mm256_div_ps(x, _mm256_add_ps(one, e));
        store_at(gate, i, n, _mm256_mul_ps(y, load_at(up, i, n)));
    }
}

static void gelu_mul(float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        __m256 x = load_at(gate, i, n);
        __m256 square = _mm256_mul_ps(_mm256_mul_ps(_mm256_set1_ps(0.044715f), x), x);
        __m256 in = _mm256_fmadd_ps(square, x, x);
        __m256 t = tanh8(_mm256_mul_ps(_mm256_set1_ps(0.7978845608028654f), in));
        __m256 y = _mm256_mul_ps(_mm256_mul_ps(_mm256_set1_ps(0.5f), x),
                                 _mm256_add_ps(_mm256_set1_ps(1), t));
        store_at(gate, i, n, _mm256_mul_ps(y, load_at(up, i, n)));
    }
}

static void softcap(float *x, float cap, size_t n)
{
    __m256 c = _mm256_set1_ps(cap);
    for (size_t i = 0; i < n; i += 8)
        store_at(x, i, n, _mm256_mul_ps(c, tanh8(_mm256_div_ps(load_at(x, i, n), c))));
}

static float dot(const float *a, const float *b, size_t n)
{
    __m256 s0 = _mm256_setzero_ps();
    __m256 s1 = s0;
    __m256 s2 = s0;
    __m256 s3 = s0;
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        s0 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), s0);
        s1 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8), s1);
        s2 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 16), _mm256_loadu_ps(b + i + 16), s2);
        s3 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 24), _mm256_loadu_ps(b + i + 24), s3);
    }
    for (; i < n; i += 8)
        s0 = _mm256_fmadd_ps(load_at(a, i, n), load_at(b, i, n), s0);
    return sum8(_mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3)));
}

/* The largest value first, then the first place that holds it. */
static uint32_t argmax(const float *x, size_t n)
{
    __m256 top = _mm256_set1_ps(max_of(x, n));
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        int hit = _mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(x + i), top, _CMP_EQ_OQ));
        if (hit != 0)
            break; /* among the next eight */
    }
    for (; i < n; i++)
        if (x[i] == _mm256_cvtss_f32(top))
            return (uint32_t)i;
    return 0; /* nothing but NaN */
}

/* --- over a vocabulary --- */

static int any_nan(const float *x, size_t n)
{
    __m256 bad = _mm256_setzero_ps();
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = load_at(x, i, n);
        bad = _mm256_or_ps(bad, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    }
    return _mm256_movemask_ps(bad) != 0;
}

static double exp_sum(const float *x, float shift, float scale, float *y, size_t n)
{
    const __m256 by = _mm256_set1_ps(scale), from = _mm256_set1_ps(shift);
    __m256d sum = _mm256_setzero_pd();
    for (size_t i = 0; i < n; i += 8) {
        __m256 e = exp8(_mm256_mul_ps(_mm256_sub_ps(load_at(x, i, n), from), by));
        if (n - i < 8)
            e = _mm256_and_ps(e, _mm256_castsi256_ps(mask8(n - i)));
        sum = _mm256_add_pd(sum, _mm256_add_pd(low4(e), high4(e)));
        store_at(y, i, n, e);
    }
    return sum4(sum);
}

/* Lanes of v >= from among the first n. */
static ALWAYS_INLINE __m256 lanes_from(__m256 v, float from, size_t n)
{
    __m256 hit = _mm256_cmp_ps(v, _mm256_set1_ps(from), _CMP_GE_OQ);
    return n >= 8 ? hit : _mm256_and_ps(hit, _mm256_castsi256_ps(mask8(n)));
}

static double sum_from(const float *x, float from, size_t n)
{
    __m256d sum = _mm256_setzero_pd();
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = load_at(x, i, n);
        v = _mm256_and_ps(v, lanes_from(v, from, n - i));
        sum = _mm256_add_pd(sum, _mm256_add_pd(low4(v), high4(v)));
    }
    return sum4(sum);
}

static size_t find_from(const float *x, float from, size_t n, uint32_t *ids)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i += 8) {
        int hit = _mm256_movemask_ps(lanes_from(load_at(x, i, n), from, n - i));
        for (; hit != 0; hit &= hit - 1)
            ids[found++] = (uint32_t)(i + (size_t)__builtin_ctz((unsigned)hit));
    }
    return found;
}

void kernel_init_vector_avx2(struct kernel_table *k)
{
    k->rmsnorm = rmsnorm;
    k->layernorm = layernorm;
    k->rope = rope;
    k->softmax = softmax;
    k->add = add;
    k->scale = scale;
    k->silu_mul = silu_mul;
    k->gelu_mul = gelu_mul;
    k->softcap = softcap;
    k->dot = dot;
    k->argmax = argmax;
    k->any_nan = any_nan;
    k->exp_sum = exp_sum;
    k->sum_from = sum_from;
    k->find_from = find_from;
}
