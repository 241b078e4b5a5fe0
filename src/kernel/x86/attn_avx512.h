/* kernel/x86/attn_avx512.h - vectors of sixteen floats for kernel/attn_simd.h, and who computes
 * what at the AVX-512 levels.
 *
 * Idea: 24 of the 32 registers hold sums: six queries by 64 positions (scores) or columns
 * (values); a step takes four vectors and six broadcasts for 24 operations. */
#ifndef KERNEL_X86_ATTN_AVX512_H
#define KERNEL_X86_ATTN_AVX512_H

#include <math.h>

#include "kernel/x86/math_avx512.h"

#define V __m512
#define LANES 16u
#define N_QUERIES 6u
#define N_VECTORS 4u
#define v_zero() _mm512_setzero_ps()
#define v_set1(x) _mm512_set1_ps(x)
#define v_load(p) _mm512_loadu_ps(p)
#define v_store(p, v) _mm512_storeu_ps(p, v)
#define v_fma(a, b, c) _mm512_fmadd_ps(a, b, c)
#define v_mul(a, b) _mm512_mul_ps(a, b)
#define v_add(a, b) _mm512_add_ps(a, b)
#define v_sub(a, b) _mm512_sub_ps(a, b)
#define v_max(a, b) _mm512_max_ps(a, b)
#define v_exp2(x) exp2_16(x)
#define v_tanh(x) tanh16(x)
#define v_hmax(v) _mm512_reduce_max_ps(v)
#define v_hsum(v) _mm512_reduce_add_ps(v)
#define v_first(v) _mm512_cvtss_f32(v)
#define turn(m) turn16(m)

/* Lanes i, i + 1 ...: those outside [from, to) become -inf. */
static ALWAYS_INLINE __m512 v_visible(__m512 v, uint32_t from, uint32_t to, uint32_t i)
{
    __mmask16 seen = (__mmask16)(lanes16(to > i ? to - i : 0) & ~lanes16(from > i ? from - i : 0));
    return _mm512_mask_blend_ps(seen, _mm512_set1_ps(-INFINITY), v);
}

static ALWAYS_INLINE __m512 kv_scale(uint32_t type, const uint8_t *row, size_t i)
{
    return type == KERNEL_Q8_0 ? _mm512_set1_ps(half_at(row + i / 32 * 34)) : _mm512_setzero_ps();
}

/* Values [i, i + n) of a cache row, n up to 16, zeros after them; i a multiple of 16. */
static ALWAYS_INLINE __m512 kv_load(uint32_t type, const uint8_t *row, size_t i, uint32_t n,
                                    __m512 scale)
{
    if (type == KERNEL_Q8_0) { /* rows are filled up to blocks of 32 */
        const uint8_t *q = row + i / 32 * 34 + 2 + i % 32;
        __m512i v = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)q));
        return _mm512_mul_ps(_mm512_cvtepi32_ps(v), scale);
    }
    if (type == KERNEL_F32)
        return n == 16 ? _mm512_loadu_ps(row + 4 * i)
                       : _mm512_maskz_loadu_ps(lanes16(n), row + 4 * i);
    __m256i h = n == 16 ? _mm256_loadu_si256((const __m256i *)(const void *)(row + 2 * i))
                        : _mm256_maskz_loadu_epi16(lanes16(n), row + 2 * i);
    if (type == KERNEL_F16)
        return _mm512_cvtph_ps(h);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

#endif
