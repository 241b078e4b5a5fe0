/* Operations on one row, sixteen at a time with a masked tail. Sums of squares are kept in double,
 * as at the other levels. They take from the cache what they work on, so loads and stores are the
 * floor: half a cycle a value. */
#include <math.h>

#include "kernel/levels.h"
#include "kernel/reference.h"
#include "kernel/x86/avx2.h"
#include "kernel/x86/math_avx512.h"

static ALWAYS_INLINE __m512d low8(__m512 v)
{
    return _mm512_cvtps_pd(_mm512_castps512_ps256(v));
}
static ALWAYS_INLINE __m512d high8(__m512 v)
{
    return _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
}

/* Sixteen values at i, zeros past n. */
static ALWAYS_INLINE __m512 load_at(const float *x, size_t i, size_t n)
{
    return n - i >= 16 ? _mm512_loadu_ps(x + i) : _mm512_maskz_loadu_ps(lanes16(n - i), x + i);
}

static ALWAYS_INLINE void store_at(float *y, size_t i, size_t n, __m512 v)
{
    if (n - i >= 16)
        _mm512_storeu_ps(y + i, v);
    else
        _mm512_mask_storeu_ps(y + i, lanes16(n - i), v);
}

static void rmsnorm(const float *x, const float *w, float w_plus, float eps, float *y, size_t n)
{
    __m512d a = _mm512_setzero_pd(), b = a;
    for (size_t i = 0; i < n; i += 16) {
        __m512 v = load_at(x, i, n);
        a = _mm512_fmadd_pd(low8(v), low8(v), a);
        b = _mm512_fmadd_pd(high8(v), high8(v), b);
    }
    double mean = _mm512_reduce_add_pd(_mm512_add_pd(a, b)) / (double)n;
    __m512 inv = _mm512_set1_ps((float)(1 / sqrt(mean + (double)eps)));
    __m512 plus = _mm512_set1_ps(w_plus);
    for (size_t i = 0; i < n; i += 16) {
        __m512 v = _mm512_mul_ps(load_at(x, i, n), inv);
        if (w != NULL)
            v = _mm512_mul_ps(v, _mm512_add_ps(load_at(w, i, n), plus));
        store_at(y, i, n, v);
    }
}

static void layernorm(const float *x, const float *w, const float *b, float eps, float *y,
                      size_t n)
{
    __m512d s = _mm512_setzero_pd(), square = s;
    for (size_t i = 0; i < n; i += 16) {
        __m512 v = load_at(x, i, n);
        s = _mm512_add_pd(s, _mm512_add_pd(low8(v), high8(v)));
    }
    __m512d m = _mm512_set1_pd(_mm512_reduce_add_pd(s) / (double)n);
    for (size_t i = 0; i < n; i += 16) {
        __m512 v = load_at(x, i, n);
        __mmask16 in = lanes16(n - i);
        __m512d lo = _mm512_maskz_sub_pd((__mmask8)in, low8(v), m);
        __m512d hi = _mm512_maskz_sub_pd((__mmask8)(in >> 8), high8(v), m);
        square = _mm512_fmadd_pd(lo, lo, _mm512_fmadd_pd(hi, hi, square));
    }
    double inv = 1 / sqrt(_mm512_reduce_add_pd(square) / (double)n + (double)eps);
    __m512 scale = _mm512_set1_ps((float)inv);
    for (size_t i = 0; i < n; i += 16) {
        __m512 v = load_at(x, i, n);
        __m256 lo = _mm512_cvtpd_ps(_mm512_sub_pd(low8(v), m));
        __m256 hi = _mm512_cvtpd_ps(_mm512_sub_pd(high8(v), m));
        v = _mm512_mul_ps(_mm512_insertf32x8(_mm512_castps256_ps512(lo), hi, 1), scale);
        if (w != NULL)
            v = _mm512_mul_ps(v, load_at(w, i, n));
        if (b != NULL)
            v = _mm512_add_ps(v, load_at(b, i, n));
        store_at(y, i, n, v);
    }
}

/* Pairs from i on, up to sixteen: first halves at x0, second ones at x1. */
static ALWAYS_INLINE void turn_halves(float *x, const float *cs, size_t half, size_t i)
{
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28,
                                           30);
    __mmask16 in = lanes16(half - i);
    __m512 a = load_at(cs, 2 * i, 2 * half), b = _mm512_setzero_ps();
    if (2 * i + 16 < 2 * half)
        b = load_at(cs, 2 * i + 16, 2 * half);
    __m512 c = _mm512_permutex2var_ps(a, even, b);
    __m512 s = _mm512_permutex2var_ps(a, _mm512_add_epi32(even, _mm512_set1_epi32(1)), b);
    __m512 x0 = _mm512_maskz_loadu_ps(in, x + i), x1 = _mm512_maskz_loadu_ps(in, x + half + i);
    _mm512_mask_storeu_ps(x + i, in, _mm512_fmsub_ps(x0, c, _mm512_mul_ps(x1, s)));
    _mm512_mask_storeu_ps(x + half + i, in, _mm512_fmadd_ps(x0, s, _mm512_mul_ps(x1, c)));
}

static void rope(float *x, const float *cs, uint32_t n_dims, int adjacent)
{
    if (!adjacent) {
        for (size_t i = 0; i < n_dims / 2; i += 16)
            turn_halves(x, cs, n_dims / 2, i);
        return;
    }
    for (size_t i = 0; i < n_dims / 2 * 2; i += 16) { /* even: x0 c - x1 s, odd: x1 c + x0 s */
        __m512 v = load_at(x, i, n_dims / 2 * 2), t = load_at(cs, i, n_dims / 2 * 2);
        __m512 swapped = _mm512_permute_ps(v, 0xb1);
        __m512 turned = _mm512_mul_ps(swapped, _mm512_movehdup_ps(t));
        store_at(x, i, n_dims / 2 * 2, _mm512_fmaddsub_ps(v, _mm512_moveldup_ps(t), turned));
    }
}

/* The largest value; -inf for none, NaN passed over. Four at once: a maximum takes four cycles. */
static float max_of(const float *x, size_t n)
{
    const __m512 none = _mm512_set1_ps(-INFINITY);
    __m512 top[4] = { none, none, none, none };
    size_t i = 0;
    for (; i + 64 <= n; i += 64)
        for (size_t j = 0; j < 4; j++)
            top[j] = _mm512_max_ps(_mm512_loadu_ps(x + i + 16 * j), top[j]);
    for (; i < n; i += 16) {
        __m512 v = _mm512_mask_loadu_ps(none, lanes16(n - i), x + i);
        top[0] = _mm512_max_ps(v, top[0]);
    }
    return _mm512_reduce_max_ps(
        _mm512_max_ps(_mm512_max_ps(top[0], top[1]), _mm512_max_ps(top[2], top[3])));
}

static void softmax(float *x, size_t n)
{
    const __m512 none = _mm512_set1_ps(-INFINITY);
    __m512 top = _mm512_set1_ps(max_of(x, n));
    __m512d sum = _mm512_setzero_pd();
    for (size_t i = 0; i < n; i += 16) {
        __m512 v = load_at(x, i, n);
        __mmask16 in = _mm512_mask_cmp_ps_mask(lanes16(n - i), v, none, _CMP_NEQ_UQ);
        __m512 e = _mm512_maskz_mov_ps(in, exp16(_mm512_sub_ps(v, top)));
        sum = _mm512_add_pd(sum, _mm512_add_pd(low8(e), high8(e)));
        store_at(x, i, n, e);
    }
    double total = _mm512_reduce_add_pd(sum);
    __m512 inv = _mm512_set1_ps(total != 0 ? (float)(1 / total) : 0);
    for (size_t i = 0; i < n; i += 16)
        store_at(x, i, n, _mm512_mul_ps(load_at(x, i, n), inv));
}

static void add(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i += 16)
        store_at(y, i, n, _mm512_add_ps(load_at(y, i, n), load_at(x, i, n)));
}

static void scale(float *y, float s, size_t n)
{
    for (size_t i = 0; i < n; i += 16)
        store_at(y, i, n, _mm512_mul_ps(load_at(y, i, n), _mm512_set1_ps(s)));
}

static void silu_mul(float *gate, const float *up, size_t n)
{
    const __m512 one = _mm512_set1_ps(1);
    for (size_t i = 0; i < n; i += 16) {
        __m512 x = load_at(gate, i, n);
        __m512 e = exp16(_mm512_sub_ps(_mm512_setzero_ps(), x));
        __m512 y = _mm512_div_ps(x, _mm512_add_ps(one, e));
        store_at(gate, i, n, _mm512_mul_ps(y, load_at(up, i, n)));
    }
}

static void gelu_mul(float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i += 16) {
        __m512 x = load_at(gate, i, n);
        __m512 square = _mm512_mul_ps(_mm512_mul_ps(_mm512_set1_ps(0.044715f), x), x);
        __m512 in = _mm512_fmadd_ps(square, x, x);
        __m512 t = tanh16(_mm512_mul_ps(_mm512_set1_ps(0.7978845608028654f), in));
        __m512 y = _mm512_mul_ps(_mm512_mul_ps(_mm512_set1_ps(0.5f), x),
                                 _mm512_add_ps(_mm512_set1_ps(1), t));
        store_at(gate, i, n, _mm512_mul_ps(y, load_at(up, i, n)));
    }
}

static void softcap(float *x, float cap, size_t n)
{
    __m512 c = _mm512_set1_ps(cap);
    for (size_t i = 0; i < n; i += 16)
        store_at(x, i, n, _mm512_mul_ps(c, tanh16(_mm512_div_ps(load_at(x, i, n), c))));
}

static float dot(const float *a, const float *b, size_t n)
{
    __m512 s[4] = { _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                    _mm512_setzero_ps() };
    size_t i = 0;
    for (; i + 64 <= n; i += 64)
        for (size_t j = 0; j < 4; j++)
            s[j] = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 16 * j),
                                   _mm512_loadu_ps(b + i + 16 * j), s[j]);
    for (; i < n; i += 16)
        s[0] = _mm512_fmadd_ps(load_at(a, i, n), load_at(b, i, n), s[0]);
    return _mm512_reduce_add_ps(
        _mm512_add_ps(_mm512_add_ps(s[0], s[1]), _mm512_add_ps(s[2], s[3])));
}

/* The largest value first, then the first place that holds it. */
static uint32_t argmax(const float *x, size_t n)
{
    __m512 top = _mm512_set1_ps(max_of(x, n));
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 hit = _mm512_mask_cmp_ps_mask(lanes16(n - i), load_at(x, i, n), top, _CMP_EQ_OQ);
        if (hit != 0)
            return (uint32_t)(i + (size_t)__builtin_ctz(hit));
    }
    return 0; /* nothing but NaN */
}

/* --- over a vocabulary --- */

static int any_nan(const float *x, size_t n)
{
    __mmask16 bad = 0;
    for (size_t i = 0; i < n; i += 16) {
        __m512 v = load_at(x, i, n);
        bad |= _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    }
    return bad != 0;
}

static double exp_sum(const float *x, float shift, float scale, float *y, size_t n)
{
    const __m512 by = _mm512_set1_ps(scale), from = _mm512_set1_ps(shift);
    __m512d a = _mm512_setzero_pd(), b = a;
    for (size_t i = 0; i < n; i += 16) {
        __m512 e = exp16(_mm512_mul_ps(_mm512_sub_ps(load_at(x, i, n), from), by));
        e = _mm512_maskz_mov_ps(lanes16(n - i), e);
        a = _mm512_add_pd(a, low8(e));
        b = _mm512_add_pd(b, high8(e));
        store_at(y, i, n, e);
    }
    return _mm512_reduce_add_pd(_mm512_add_pd(a, b));
}

static double sum_from(const float *x, float from, size_t n)
{
    __m512d a = _mm512_setzero_pd(), b = a;
    for (size_t i = 0; i < n; i += 16) {
        __m512 v = load_at(x, i, n);
        v = _mm512_maskz_mov_ps(_mm512_mask_cmp_ps_mask(lanes16(n - i), v, _mm512_set1_ps(from),
                                                        _CMP_GE_OQ), v);
        a = _mm512_add_pd(a, low8(v));
        b = _mm512_add_pd(b, high8(v));
    }
    return _mm512_reduce_add_pd(_mm512_add_pd(a, b));
}

/* Packed in a register and written whole: to pack into memory is slow on some processors. */
static size_t find_from(const float *x, float from, size_t n, uint32_t *ids)
{
    __m512i at = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    size_t found = 0;
    for (size_t i = 0; i < n; i += 16, at = _mm512_add_epi32(at, _mm512_set1_epi32(16))) {
        __mmask16 hit = _mm512_mask_cmp_ps_mask(lanes16(n - i), load_at(x, i, n),
                                                _mm512_set1_ps(from), _CMP_GE_OQ);
        if (hit == 0)
            continue;
        _mm512_storeu_si512(ids + found, _mm512_maskz_compress_epi32(hit, at));
        found += (size_t)__builtin_popcount(hit);
    }
    return found;
}

/* --- the cache --- */

/* Round to nearest, ties to even; NaN keeps its sign and becomes quiet. */
static ALWAYS_INLINE __m256i narrow16(__m512 v)
{
    __m512i bits = _mm512_castps_si512(v);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    up = _mm512_mask_or_epi32(up, nan, bits, _mm512_set1_epi32(0x400000));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(up, 16));
}

static void kv_store(uint32_t kv_type, const float *x, void *dst, size_t n)
{
    uint16_t *h = dst;
    if (kv_type == KERNEL_F32) {
        memcpy(dst, x, n * sizeof *x);
    } else if (kv_type == KERNEL_F16) {
        for (size_t i = 0; i < n; i += 16)
            _mm256_mask_storeu_epi16(h + i, lanes16(n - i),
                                     _mm512_cvtps_ph(load_at(x, i, n), _MM_FROUND_TO_NEAREST_INT));
    } else if (kv_type == KERNEL_BF16) {
        for (size_t i = 0; i < n; i += 16)
            _mm256_mask_storeu_epi16(h + i, lanes16(n - i), narrow16(load_at(x, i, n)));
    } else {
        kernel_kv_store_avx2(kv_type, x, dst, n);
    }
}

void kernel_init_vector_avx512(struct kernel_table *k)
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
    k->kv_store = kv_store;
}
