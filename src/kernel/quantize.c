/* The formats whose quantiser is defined: a scale from the largest magnitude (or the range),
 * integers by rounding. The largest magnitude itself falls on the end of the range that reaches
 * further (-8 of
 * -8..7), which is why the scale is that value over a negative number. */
#include "kernel/quantize.h"

#include <math.h>
#include <string.h>

#include "base/num.h"
#include "kernel/type.h"
#include "kernel/unpack.h"

static float inverse(float d) { return d != 0 ? 1 / d : 0; }

static void store_f16(uint8_t *p, float f) { store_le16(p, kernel_f32_to_f16(f)); }

/* The value of largest magnitude, its sign kept; the first of equals. */
static float extreme(const float *x, int n)
{
    float best = x[0];
    for (int i = 1; i < n; i++)
        if (fabsf(x[i]) > fabsf(best))
            best = x[i];
    return best;
}

static void range(const float *x, int n, float *lo, float *hi)
{
    *lo = *hi = x[0];
    for (int i = 1; i < n; i++) {
        *lo = x[i] < *lo ? x[i] : *lo;
        *hi = x[i] > *hi ? x[i] : *hi;
    }
}

static uint8_t truncated(float x, int hi)
{
    if (!(x > 0))
        return 0;
    return (uint8_t)(x >= (float)hi ? hi : (int)x);
}

void kernel_quantize_f32(const float *src, void *dst, size_t n) { memcpy(dst, src, 4 * n); }

void kernel_quantize_f16(const float *src, void *dst, size_t n)
{
    uint8_t *p = dst;
    for (size_t i = 0; i < n; i++)
        store_f16(p + 2 * i, src[i]);
}

void kernel_quantize_bf16(const float *src, void *dst, size_t n)
{
    uint8_t *p = dst;
    for (size_t i = 0; i < n; i++)
        store_le16(p + 2 * i, kernel_f32_to_bf16(src[i]));
}

/* q[i] in 0..31 to 16 bytes of nibbles; returns the fifth bits. */
static uint32_t pack_nibbles(const uint8_t q[32], uint8_t *qs)
{
    uint32_t high = 0;
    for (int i = 0; i < 16; i++)
        qs[i] = (uint8_t)((q[i] & 15) | (q[i + 16] & 15) << 4);
    for (int i = 0; i < 32; i++)
        high |= (uint32_t)(q[i] >> 4) << i;
    return high;
}

static float quantize_signed(const float *x, int half, uint8_t q[32])
{
    float d = extreme(x, 32) / (float)-half;
    float id = inverse(d);
    for (int i = 0; i < 32; i++)
        q[i] = truncated(x[i] * id + ((float)half + 0.5f), 2 * half - 1);
    return d;
}

static float quantize_range(const float *x, int levels, uint8_t q[32], float *lo)
{
    float hi;
    range(x, 32, lo, &hi);
    float d = (hi - *lo) / (float)levels;
    float id = inverse(d);
    for (int i = 0; i < 32; i++)
        q[i] = truncated((x[i] - *lo) * id + 0.5f, levels);
    return d;
}

void kernel_quantize_q4_0(const float *src, void *dst, size_t n)
{
    uint8_t *block = dst;
    uint8_t q[32];
    for (; n >= 32; n -= 32, src += 32, block += 18) {
        store_f16(block, quantize_signed(src, 8, q));
        pack_nibbles(q, block + 2);
    }
}

void kernel_quantize_q4_1(const float *src, void *dst, size_t n)
{
    uint8_t *block = dst;
    uint8_t q[32];
    for (; n >= 32; n -= 32, src += 32, block += 20) {
        float lo;
        store_f16(block, quantize_range(src, 15, q, &lo));
        store_f16(block + 2, lo);
        pack_nibbles(q, block + 4);
    }
}

void kernel_quantize_q5_0(const float *src, void *dst, size_t n)
{
    uint8_t *block = dst;
    uint8_t q[32];
    for (; n >= 32; n -= 32, src += 32, block += 22) {
        store_f16(block, quantize_signed(src, 16, q));
        store_le32(block + 2, pack_nibbles(q, block + 6));
    }
}

void kernel_quantize_q5_1(const float *src, void *dst, size_t n)
{
    uint8_t *block = dst;
    uint8_t q[32];
    for (; n >= 32; n -= 32, src += 32, block += 24) {
        float lo;
        store_f16(block, quantize_range(src, 31, q, &lo));
        store_f16(block + 2, lo);
        store_le32(block + 4, pack_nibbles(q, block + 8));
    }
}

void kernel_quantize_q8_0(const float *src, void *dst, size_t n)
{
    uint8_t *block = dst;
    for (; n >= 32; n -= 32, src += 32, block += 34) {
        float d = fabsf(extreme(src, 32)) / 127;
        float id = inverse(d);
        store_f16(block, d);
        for (int i = 0; i < 32; i++)
            block[2 + i] = (uint8_t)(int8_t)kernel_clamp_round(src[i] * id, -127, 127);
    }
}

/* Nearest of 16 values times d; the lowest index of equals. */
static uint8_t nearest(const int8_t *values, float d, float x)
{
    uint8_t best = 0;
    float error = fabsf(d * (float)values[0] - x);
    for (uint8_t i = 1; i < 16; i++) {
        float e = fabsf(d * (float)values[i] - x);
        if (e < error) {
            error = e;
            best = i;
        }
    }
    return best;
}

/* Exponent: floor(log2(largest)) - 2, so that the largest falls on 4..8 before saturation at 6. */
void kernel_quantize_mxfp4(const float *src, void *dst, size_t n)
{
    uint8_t *block = dst;
    uint8_t q[32];
    for (; n >= 32; n -= 32, src += 32, block += 17) {
        float top = fabsf(extreme(src, 32));
        int e = 0;
        if (top > 0 && isfinite(top))
            e = ilogbf(top) - 2 + 127;
        block[0] = (uint8_t)(e < 0 ? 0 : e);
        float d = kernel_e8m0_half(block[0]);
        for (int i = 0; i < 32; i++)
            q[i] = nearest(kernel_fp4_values, d, src[i]);
        pack_nibbles(q, block + 1);
    }
}

/* The E4M3 code whose value is nearest below or at x; 0x7e (448) at most, never the NaN code. */
static uint8_t ue4m3_floor(float x)
{
    uint8_t lo = 0;
    uint8_t hi = 0x7e;
    while (lo < hi) {
        uint8_t mid = (uint8_t)((lo + hi + 1) / 2);
        if (2 * kernel_ue4m3_half(mid) <= x)
            lo = mid;
        else
            hi = (uint8_t)(mid - 1);
    }
    return lo;
}

/* Quantises 16 values with scale code `code`; returns the squared error. */
static float nvfp4_try(const float *x, uint8_t code, uint8_t q[16])
{
    float d = kernel_ue4m3_half(code);
    float error = 0;
    for (int i = 0; i < 16; i++) {
        q[i] = nearest(kernel_fp4_values, d, x[i]);
        float e = d * (float)kernel_fp4_values[q[i]] - x[i];
        error += e * e;
    }
    return error;
}

/* The scale that maps the largest value on 6 (or on 4, where steps are finer) and its neighbours.
 * */
void kernel_quantize_nvfp4(const float *src, void *dst, size_t n)
{
    uint8_t *block = dst;
    for (; n >= 64; n -= 64, src += 64, block += 36)
        for (int k = 0; k < 4; k++) {
            const float *x = src + 16 * k;
            float top = fabsf(extreme(x, 16));
            int first = ue4m3_floor(top / 6);
            int last = ue4m3_floor(top / 4) + 1;
            float best = INFINITY;
            uint8_t q[16];
            block[k] = 0;
            memset(block + 4 + 8 * k, 0, 8);
            for (int code = first; code <= last && code <= 0x7e; code++) {
                float error = nvfp4_try(x, (uint8_t)code, q);
                if (!(error < best))
                    continue;
                best = error;
                block[k] = (uint8_t)code;
                for (int j = 0; j < 8; j++)
                    block[4 + 8 * k + j] = (uint8_t)(q[j] | q[j + 8] << 4);
            }
        }
}
