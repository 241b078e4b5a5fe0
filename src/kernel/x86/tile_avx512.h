/* kernel/x86/tile_avx512.h - the vectors of kernel/tile.h at 16 lanes, but for the byte products.
 *
 * Include from files compiled for AVX-512 (F, BW, DQ, VL) only. */
#ifndef KERNEL_X86_TILE_AVX512_H
#define KERNEL_X86_TILE_AVX512_H

#include <immintrin.h>
#include <string.h>

#include "base/attr.h"

#define V_LANES 16
typedef __m512i VI;
typedef __m512 VF;

static ALWAYS_INLINE VI v_load(const void *p) { return _mm512_loadu_si512(p); }
static ALWAYS_INLINE VI v_int(int x) { return _mm512_set1_epi32(x); }
static ALWAYS_INLINE VI v_byte(int x) { return _mm512_set1_epi8((char)x); }
static ALWAYS_INLINE VI v_and(VI a, VI b) { return _mm512_and_si512(a, b); }
static ALWAYS_INLINE VI v_or(VI a, VI b) { return _mm512_or_si512(a, b); }
static ALWAYS_INLINE VI v_xor(VI a, VI b) { return _mm512_xor_si512(a, b); }
static ALWAYS_INLINE VI v_add(VI a, VI b) { return _mm512_add_epi32(a, b); }
static ALWAYS_INLINE VI v_sub(VI a, VI b) { return _mm512_sub_epi32(a, b); }
static ALWAYS_INLINE VI v_shl(VI a, int n) { return _mm512_slli_epi32(a, (unsigned)n); }
static ALWAYS_INLINE VI v_shr(VI a, int n) { return _mm512_srli_epi32(a, (unsigned)n); }
static ALWAYS_INLINE __m128i load16(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}
static ALWAYS_INLINE __m256i load32(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}
static ALWAYS_INLINE VI v_u8(const uint8_t *p) { return _mm512_cvtepu8_epi32(load16(p)); }
static ALWAYS_INLINE VI v_s8(const uint8_t *p) { return _mm512_cvtepi8_epi32(load16(p)); }
static ALWAYS_INLINE VI v_u16(const uint8_t *p) { return _mm512_cvtepu16_epi32(load32(p)); }
static ALWAYS_INLINE VF v_halves(const uint8_t *p) { return _mm512_cvtph_ps(load32(p)); }
static ALWAYS_INLINE VF v_float(VI a) { return _mm512_cvtepi32_ps(a); }
static ALWAYS_INLINE VF v_bits(VI a) { return _mm512_castsi512_ps(a); }
static ALWAYS_INLINE VF v_fmul(VF a, VF b) { return _mm512_mul_ps(a, b); }
static ALWAYS_INLINE VF v_fma(VF a, VF b, VF c) { return _mm512_fmadd_ps(a, b, c); }
static ALWAYS_INLINE VF v_fload(const float *p) { return _mm512_loadu_ps(p); }
static ALWAYS_INLINE VF v_fsplat(float x) { return _mm512_set1_ps(x); }
static ALWAYS_INLINE VF v_fzero(void) { return _mm512_setzero_ps(); }
static ALWAYS_INLINE void v_fstore(float *p, VF x) { _mm512_storeu_ps(p, x); }
static ALWAYS_INLINE VI v_splat4(const void *p)
{
    int32_t x;
    memcpy(&x, p, sizeof x);
    return _mm512_set1_epi32(x);
}
static ALWAYS_INLINE VI v_minus(const int32_t *p, int shift)
{
    return _mm512_slli_epi32(v_splat4(p), (unsigned)shift);
}
static ALWAYS_INLINE VI v_table(const int8_t *table, int bias, VI codes)
{
    __m128i t = _mm_add_epi8(load16((const uint8_t *)table), _mm_set1_epi8((char)bias));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(t), codes);
}

#endif
