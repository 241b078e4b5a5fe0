/* kernel/arm/tile_neon.h - the vectors of kernel/tile.h at four lanes, but for byte products. */
#ifndef KERNEL_ARM_TILE_NEON_H
#define KERNEL_ARM_TILE_NEON_H

#include "kernel/arm/neon.h"

#define V_LANES 4
#define TILE_ROWS 8
#define TILE_SIGNED 1
typedef int32x4_t VI;
typedef float32x4_t VF;

static ALWAYS_INLINE int8x16_t bytes_of(VI a) { return vreinterpretq_s8_s32(a); }
static ALWAYS_INLINE VI of_bytes(uint8x16_t a) { return vreinterpretq_s32_u8(a); }
static ALWAYS_INLINE VI v_load(const void *p) { return of_bytes(vld1q_u8(p)); }
static ALWAYS_INLINE VI v_int(int x) { return vdupq_n_s32(x); }
static ALWAYS_INLINE VI v_byte(int x) { return of_bytes(vdupq_n_u8((uint8_t)x)); }
static ALWAYS_INLINE VI v_and(VI a, VI b) { return vandq_s32(a, b); }
static ALWAYS_INLINE VI v_or(VI a, VI b) { return vorrq_s32(a, b); }
static ALWAYS_INLINE VI v_xor(VI a, VI b) { return veorq_s32(a, b); }
static ALWAYS_INLINE VI v_add(VI a, VI b) { return vaddq_s32(a, b); }
static ALWAYS_INLINE VI v_sub(VI a, VI b) { return vsubq_s32(a, b); }
static ALWAYS_INLINE VI v_shl(VI a, int n) { return vshlq_s32(a, vdupq_n_s32(n)); }
static ALWAYS_INLINE VI v_shr(VI a, int n)
{
    return vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(a), vdupq_n_s32(-n)));
}
static ALWAYS_INLINE uint8x8_t load4(const uint8_t *p)
{
    uint32_t x;
    memcpy(&x, p, sizeof x);
    return vcreate_u8(x);
}
static ALWAYS_INLINE VI v_u8(const uint8_t *p)
{
    return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(load4(p)))));
}
static ALWAYS_INLINE VI v_s8(const uint8_t *p)
{
    return vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(load4(p)))));
}
static ALWAYS_INLINE uint16x4_t load4_words(const uint8_t *p)
{
    return vreinterpret_u16_u8(vld1_u8(p));
}
static ALWAYS_INLINE VI v_u16(const uint8_t *p)
{
    return vreinterpretq_s32_u32(vmovl_u16(load4_words(p)));
}
static ALWAYS_INLINE VF v_halves(const uint8_t *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(load4_words(p)));
}
static ALWAYS_INLINE VF v_float(VI a) { return vcvtq_f32_s32(a); }
static ALWAYS_INLINE VF v_bits(VI a) { return vreinterpretq_f32_s32(a); }
static ALWAYS_INLINE VF v_fmul(VF a, VF b) { return vmulq_f32(a, b); }
static ALWAYS_INLINE VF v_fma(VF a, VF b, VF c) { return vfmaq_f32(c, a, b); }
static ALWAYS_INLINE VF v_fload(const float *p) { return vld1q_f32(p); }
static ALWAYS_INLINE VF v_fsplat(float x) { return vdupq_n_f32(x); }
static ALWAYS_INLINE VF v_fzero(void) { return vdupq_n_f32(0); }
static ALWAYS_INLINE void v_fstore(float *p, VF x) { vst1q_f32(p, x); }
static ALWAYS_INLINE VI v_splat4(const void *p)
{
    int32_t x;
    memcpy(&x, p, sizeof x);
    return vdupq_n_s32(x);
}
static ALWAYS_INLINE VI v_minus(const int32_t *p, int shift)
{
    return vshlq_s32(v_splat4(p), vdupq_n_s32(shift));
}
static ALWAYS_INLINE VI v_table(const int8_t *table, int bias, VI codes)
{
    uint8x16_t t = vaddq_u8(vld1q_u8((const uint8_t *)table), vdupq_n_u8((uint8_t)bias));
    return of_bytes(vqtbl1q_u8(t, vreinterpretq_u8_s32(codes)));
}
static ALWAYS_INLINE VI v_pair(VI sum, VI w, const int16_t *x)
{
    int16x8_t pairs = vreinterpretq_s16_s32(w), four = vreinterpretq_s16_s32(v_splat4(x));
    int32x4_t low = vmull_s16(vget_low_s16(pairs), vget_low_s16(four));
    int32x4_t high = vmull_s16(vget_high_s16(pairs), vget_high_s16(four));
    return vaddq_s32(sum, vpaddq_s32(low, high));
}

#endif
