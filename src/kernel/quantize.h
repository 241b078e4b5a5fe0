/* kernel/quantize.h - f32 rows to blocks, one function a format.
 *
 * Idea: the formats with a defined quantiser (Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, MXFP4, F16, BF16)
 * follow it bit for bit; for the others the format only says what a block is worth, and we choose
 * the scale that makes the squared error smallest among a few candidates, least squares for the
 * chosen integers.
 *
 * Input that is not finite gives a valid block of unspecified value, never undefined behaviour.
 * n is a multiple of the format's block. Cost: K types about 20 passes over the block; tools only.
 * */
#ifndef KERNEL_QUANTIZE_H
#define KERNEL_QUANTIZE_H

#include <stddef.h>

void kernel_quantize_f32(const float *src, void *dst, size_t n);
void kernel_quantize_f16(const float *src, void *dst, size_t n);
void kernel_quantize_bf16(const float *src, void *dst, size_t n);
void kernel_quantize_q4_0(const float *src, void *dst, size_t n);
void kernel_quantize_q4_1(const float *src, void *dst, size_t n);
void kernel_quantize_q5_0(const float *src, void *dst, size_t n);
void kernel_quantize_q5_1(const float *src, void *dst, size_t n);
void kernel_quantize_q8_0(const float *src, void *dst, size_t n);
void kernel_quantize_q2_k(const float *src, void *dst, size_t n);
void kernel_quantize_q3_k(const float *src, void *dst, size_t n);
void kernel_quantize_q4_k(const float *src, void *dst, size_t n);
void kernel_quantize_q5_k(const float *src, void *dst, size_t n);
void kernel_quantize_q6_k(const float *src, void *dst, size_t n);
void kernel_quantize_iq4_nl(const float *src, void *dst, size_t n);
void kernel_quantize_iq4_xs(const float *src, void *dst, size_t n);
void kernel_quantize_mxfp4(const float *src, void *dst, size_t n);
void kernel_quantize_nvfp4(const float *src, void *dst, size_t n);

/* Nearest integer in [lo, hi], halves away from zero; NaN gives lo. The fraction is compared, not x
 * + 0.5 truncated, since that sum would round up the float just below a half. */
static inline int kernel_clamp_round(float x, int lo, int hi)
{
    if (!(x > (float)lo))
        return lo;
    if (x >= (float)hi)
        return hi;
    int whole = (int)x;
    float rest = x - (float)whole;
    return whole + (rest >= 0.5f) - (rest <= -0.5f);
}

#endif
