/* kernel/x86/math_avx512.h - what the AVX-512 files of attention and row operations share.
 *
 * Idea: tails are read and written through masks, so nothing outside is touched and every length
 * takes the same arithmetic. Include from *_avx512.c only. */
#ifndef KERNEL_X86_MATH_AVX512_H
#define KERNEL_X86_MATH_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/attr.h"
#include "kernel/kernel.h"

/* The first n lanes, n >= 0; all from 16 on. */
static ALWAYS_INLINE __mmask16 lanes16(size_t n)
{
    return (__mmask16)(n >= 16 ? 0xffffu : (1u << n) - 1);
}

/* 2^x for x <= 128; 0 from -150 down, NaN kept: a polynomial on [-1/2, 1/2] (Cephes exp2f, error
 * below 2 units in the last place). */
static ALWAYS_INLINE __m512 exp2_16(__m512 x)
{
    x = _mm512_max_ps(_mm512_set1_ps(-200), x); /* NaN stays x */
    __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 f = _mm512_sub_ps(x, n);
    __m512 p = _mm512_set1_ps(1.535336188319500e-4f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.339887440266574e-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.618437357674640e-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.550332471162809e-2f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.402264791363012e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.931472028550421e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1));
    return _mm512_scalef_ps(p, n);
}

/* e^x: n = round(x log2 e), and the rest in two steps (Cephes expf). Infinity above 88.7. */
static ALWAYS_INLINE __m512 exp16(__m512 x)
{
    __m512 c = _mm512_max_ps(_mm512_set1_ps(-110), _mm512_min_ps(_mm512_set1_ps(100), x));
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(c, _mm512_set1_ps(1.44269504f)),
                                    _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), c);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 p = _mm512_set1_ps(1.9875691500e-4f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
    p = _mm512_fmadd_ps(p, _mm512_mul_ps(r, r), _mm512_add_ps(r, _mm512_set1_ps(1)));
    return _mm512_scalef_ps(p, n);
}

/* tanh: an odd polynomial (Cephes tanhf) below 0.625, where 1 - 2 / (e^2x + 1) would cancel. */
static ALWAYS_INLINE __m512 tanh16(__m512 x)
{
    __m512 a = _mm512_abs_ps(x), one = _mm512_set1_ps(1);
    __m512 c = _mm512_min_ps(_mm512_set1_ps(20), a);
    __m512 e = exp16(_mm512_add_ps(c, c));
    __m512 large = _mm512_sub_ps(one, _mm512_div_ps(_mm512_set1_ps(2), _mm512_add_ps(e, one)));
    large = _mm512_or_ps(large, _mm512_and_ps(_mm512_set1_ps(-0.0f), x));
    __m512 z = _mm512_mul_ps(x, x);
    __m512 p = _mm512_set1_ps(-5.70498872745e-3f);
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(2.06390887954e-2f));
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(-5.37397155531e-2f));
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(1.33314422036e-1f));
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(-3.33332819422e-1f));
    __m512 small = _mm512_fmadd_ps(_mm512_mul_ps(p, z), x, x);
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, _mm512_set1_ps(0.625f), _CMP_LT_OQ), large,
                                small);
}

static ALWAYS_INLINE float half_at(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return _cvtsh_ss(h);
}

/* Rows and columns of a 16 x 16 matrix of 32-bit elements change places. */
static ALWAYS_INLINE void turn16(__m512 *m)
{
    __m512 t[16];
    UNROLL
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(m[i], m[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(m[i], m[i + 1]);
    }
    UNROLL
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; j++) { /* lanes of four: columns 2j and 2j + 1, rows i to i + 3 */
            __m512d a = _mm512_castps_pd(t[i + j]), b = _mm512_castps_pd(t[i + 2 + j]);
            m[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            m[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    UNROLL
    for (int j = 0; j < 4; j++) {
        __m512 a = _mm512_shuffle_f32x4(m[j], m[4 + j], 0x88);
        __m512 b = _mm512_shuffle_f32x4(m[j], m[4 + j], 0xdd);
        __m512 c = _mm512_shuffle_f32x4(m[8 + j], m[12 + j], 0x88);
        __m512 d = _mm512_shuffle_f32x4(m[8 + j], m[12 + j], 0xdd);
        t[j] = _mm512_shuffle_f32x4(a, c, 0x88);
        t[8 + j] = _mm512_shuffle_f32x4(a, c, 0xdd);
        t[4 + j] = _mm512_shuffle_f32x4(b, d, 0x88);
        t[12 + j] = _mm512_shuffle_f32x4(b, d, 0xdd);
    }
    UNROLL
    for (int i = 0; i < 16; i++)
        m[i] = t[i];
}

#endif
