/* kernel/arm/neon.h - what the NEON files share: exp, and rows read eight at a time.
 *
 * Idea: baseline ARMv8.0, so it runs on every 64-bit arm processor; the dot-product instructions of
 * later ones are levels of their own. What plain C with -O3 turns into the same instructions (add,
 * scale, the attention loops) is left to it. Include from *_neon.c only. */
#ifndef KERNEL_ARM_NEON_H
#define KERNEL_ARM_NEON_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/attr.h"
#include "kernel/kernel.h"

void kernel_matmul_float_neon(const struct kernel_mat *w, uint32_t o0, uint32_t o1,
                              const struct kernel_act *x, float *y, size_t ldy);
void kernel_matmul_block_neon(const struct kernel_mat *w, uint32_t o0, uint32_t o1,
                              const struct kernel_act *x, float *y, size_t ldy);
void kernel_matmul_block_dotprod(const struct kernel_mat *w, uint32_t o0, uint32_t o1,
                                 const struct kernel_act *x, float *y, size_t ldy);
void kernel_init_vector_neon(struct kernel_table *k);
void kernel_init_delta_neon(struct kernel_table *k);

/* Eight values of a row of F32, F16 or BF16 from position i. `type` is a constant where it is
 * called. */
static ALWAYS_INLINE float32x4x2_t load8(uint32_t type, const uint8_t *row, size_t i)
{
    float32x4x2_t v;
    if (type == KERNEL_F32) {
        v.val[0] = vreinterpretq_f32_u8(vld1q_u8(row + 4 * i));
        v.val[1] = vreinterpretq_f32_u8(vld1q_u8(row + 4 * i + 16));
        return v;
    }
    uint16x8_t h = vreinterpretq_u16_u8(vld1q_u8(row + 2 * i));
    if (type == KERNEL_F16) {
        v.val[0] = vcvt_f32_f16(vreinterpret_f16_u16(vget_low_u16(h)));
        v.val[1] = vcvt_f32_f16(vreinterpret_f16_u16(vget_high_u16(h)));
    } else {
        v.val[0] = vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(h), 16));
        v.val[1] = vreinterpretq_f32_u32(vshll_n_u16(vget_high_u16(h), 16));
    }
    return v;
}

/* The last n < 8 values, zeros after them; nothing past them is read. */
static ALWAYS_INLINE float32x4x2_t load8_tail(uint32_t type, const uint8_t *row, size_t i, size_t n)
{
    size_t size = type == KERNEL_F32 ? 4 : 2;
    uint8_t b[32] = { 0 };
    memcpy(b, row + size * i, size * n);
    return load8(type, b, 0);
}

/* e^x for x <= 88.3, 0 below -87.3, NaN kept: 2^n times a polynomial on [-ln2/2, ln2/2] (the Taylor
 * coefficients fitted by Cephes expf), error below 2 units in the last place. */
static ALWAYS_INLINE float32x4_t exp4(float32x4_t x)
{
    const float32x4_t low = vdupq_n_f32(-87.33654f);
    uint32x4_t tiny = vcltq_f32(x, low);
    float32x4_t c = vmaxq_f32(low, vminq_f32(vdupq_n_f32(88.37f), x));
    float32x4_t n = vrndnq_f32(vmulq_n_f32(c, 1.44269504f));
    float32x4_t r = vfmsq_f32(c, n, vdupq_n_f32(0.693359375f));
    r = vfmsq_f32(r, n, vdupq_n_f32(-2.12194440e-4f));
    float32x4_t p = vdupq_n_f32(1.9875691500e-4f);
    p = vfmaq_f32(vdupq_n_f32(1.3981999507e-3f), p, r);
    p = vfmaq_f32(vdupq_n_f32(8.3334519073e-3f), p, r);
    p = vfmaq_f32(vdupq_n_f32(4.1665795894e-2f), p, r);
    p = vfmaq_f32(vdupq_n_f32(1.6666665459e-1f), p, r);
    p = vfmaq_f32(vdupq_n_f32(5.0000001201e-1f), p, r);
    p = vfmaq_f32(vaddq_f32(r, vdupq_n_f32(1)), p, vmulq_f32(r, r));
    int32x4_t e = vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23);
    float32x4_t y = vmulq_f32(p, vreinterpretq_f32_s32(e));
    y = vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(y), tiny));
    return vbslq_f32(vceqq_f32(x, x), y, x);
}

#endif
