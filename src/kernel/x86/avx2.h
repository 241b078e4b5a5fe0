/* kernel/x86/avx2.h - what the AVX2 files share.
 *
 * Idea: tails of a row are read and written through masks, so that nothing outside is touched and
 * every length takes the same arithmetic; a sum over eight lanes is folded in one fixed order.
 * Include from *_avx2.c only: the intrinsics need the flags that the suffix brings. */
#ifndef KERNEL_X86_AVX2_H
#define KERNEL_X86_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/attr.h"
#include "kernel/kernel.h"

void kernel_act_prepare_avx2(uint32_t type, const float *x, uint32_t n_rows, uint32_t n_in,
                             void *act);
void kernel_matmul_avx2(const struct kernel_mat *w, uint32_t o0, uint32_t o1,
                        const struct kernel_act *x, float *y, size_t ldy);
/* The float types (F32, F16, BF16) and the quantised ones. */
void kernel_matmul_float_avx2(const struct kernel_mat *w, uint32_t o0, uint32_t o1,
                              const struct kernel_act *x, float *y, size_t ldy);
void kernel_matmul_block_avx2(const struct kernel_mat *w, uint32_t o0, uint32_t o1,
                              const struct kernel_act *x, float *y, size_t ldy);
void kernel_dequantize_row_avx2(uint32_t type, const void *src, float *dst, size_t n);
void kernel_init_vector_avx2(struct kernel_table *k);
void kernel_init_delta_avx2(struct kernel_table *k);
void kernel_kv_store_avx2(uint32_t kv_type, const float *x, void *dst, size_t n);
void kernel_attn_part_avx2(const struct kernel_attn *a, const struct kernel_kv *kv,
                           const struct kernel_attn_rows *r, uint32_t part, float *states,
                           void *scratch);

/* All ones in the first n lanes, n in 0..8. */
static ALWAYS_INLINE __m256i mask8(size_t n)
{
    static const int32_t ones[16] = { -1, -1, -1, -1, -1, -1, -1, -1 };
    return _mm256_loadu_si256((const __m256i *)(const void *)(ones + 8 - n));
}

static ALWAYS_INLINE __m256 load_tail(const float *x, size_t n)
{
    return _mm256_maskload_ps(x, mask8(n));
}

static ALWAYS_INLINE void store_tail(float *x, size_t n, __m256 v)
{
    _mm256_maskstore_ps(x, mask8(n), v);
}

/* ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7)) */
static ALWAYS_INLINE float sum8(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    s = _mm_add_ss(s, _mm_movehdup_ps(s));
    return _mm_cvtss_f32(s);
}

static ALWAYS_INLINE float max8(__m256 v)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    s = _mm_max_ss(s, _mm_movehdup_ps(s));
    return _mm_cvtss_f32(s);
}

/* Eight values of a row of F32, F16 or BF16 from position i. `type` is a constant where it is
 * called. */
static ALWAYS_INLINE __m256 load8(uint32_t type, const uint8_t *row, size_t i)
{
    if (type == KERNEL_F32)
        return _mm256_loadu_ps((const float *)(const void *)(row + 4 * i));
    __m128i h = _mm_loadu_si128((const __m128i *)(const void *)(row + 2 * i));
    if (type == KERNEL_F16)
        return _mm256_cvtph_ps(h);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

/* The last n < 8 values, zeros after them; nothing past them is read. */
static ALWAYS_INLINE __m256 load8_tail(uint32_t type, const uint8_t *row, size_t i, size_t n)
{
    if (type == KERNEL_F32)
        return load_tail((const float *)(const void *)(row + 4 * i), n);
    uint16_t h[8] = { 0 };
    memcpy(h, row + 2 * i, 2 * n);
    return load8(type, (const uint8_t *)h, 0);
}

/* e^x for x <= 88.3, 0 below -87.3, NaN kept: 2^n times a polynomial on [-ln2/2, ln2/2] (the Taylor
 * coefficients fitted by Cephes expf), error below 2 units in the last place. */
static ALWAYS_INLINE __m256 exp8(__m256 x)
{
    const __m256 low = _mm256_set1_ps(-87.33654f);
    __m256 tiny = _mm256_cmp_ps(x, low, _CMP_LT_OQ);
    __m256 c = _mm256_max_ps(low, _mm256_min_ps(_mm256_set1_ps(88.37f), x)); /* NaN stays x */
    __m256 n = _mm256_round_ps(_mm256_mul_ps(c, _mm256_set1_ps(1.44269504f)),
                               _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), c);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
    __m256 p = _mm256_set1_ps(1.9875691500e-4f);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.3981999507e-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(8.3334519073e-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(4.1665795894e-2f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.6666665459e-1f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(5.0000001201e-1f));
    p = _mm256_fmadd_ps(p, _mm256_mul_ps(r, r), _mm256_add_ps(r, _mm256_set1_ps(1)));
    __m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    __m256 y = _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(e, 23)));
    y = _mm256_andnot_ps(tiny, y);
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}

/* tanh: an odd polynomial (Cephes tanhf) below 0.625, where 1 - 2 / (e^2x + 1) would cancel. */
static ALWAYS_INLINE __m256 tanh8(__m256 x)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 a = _mm256_andnot_ps(sign, x);
    __m256 e = exp8(_mm256_add_ps(_mm256_min_ps(_mm256_set1_ps(20), a),
                                  _mm256_min_ps(_mm256_set1_ps(20), a)));
    __m256 one = _mm256_set1_ps(1);
    __m256 large = _mm256_sub_ps(one, _mm256_div_ps(_mm256_set1_ps(2), _mm256_add_ps(e, one)));
    large = _mm256_or_ps(large, _mm256_and_ps(sign, x));
    __m256 z = _mm256_mul_ps(x, x);
    __m256 p = _mm256_set1_ps(-5.70498872745e-3f);
    p = _mm256_fmadd_ps(p, z, _mm256_set1_ps(2.06390887954e-2f));
    p = _mm256_fmadd_ps(p, z, _mm256_set1_ps(-5.37397155531e-2f));
    p = _mm256_fmadd_ps(p, z, _mm256_set1_ps(1.33314422036e-1f));
    p = _mm256_fmadd_ps(p, z, _mm256_set1_ps(-3.33332819422e-1f));
    __m256 small = _mm256_fmadd_ps(_mm256_mul_ps(p, z), x, x);
    return _mm256_blendv_ps(large, small, _mm256_cmp_ps(a, _mm256_set1_ps(0.625f), _CMP_LT_OQ));
}

#endif
