/* Super-blocks and code books: the format fixes what a block is worth, the choice is ours. For each
 * sub-block a scale is sought among a few candidates around the obvious one; given the integers of
 * a candidate, the best scale (and minimum) is the least-squares solution. The scales are then
 * quantised themselves, and the integers chosen again for the scales as stored. */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "kernel/quantize.h"
#include "kernel/type.h"
#include "kernel/unpack.h"

static float store_f16(uint8_t *p, float f)
{
    uint16_t h = kernel_f32_to_f16(f);
    store_le16(p, h);
    return kernel_f16_to_f32(h);
}

static float inverse(float d) { return d != 0 ? 1 / d : 0; }

/* Least squares for x ~ scale * q - min over the integers q; false where q is constant. */
static bool solve_line(const float *x, const uint8_t *q, int n, float *scale, float *min)
{
    float sum_q = 0;
    float sum_qq = 0;
    float sum_x = 0;
    float sum_xq = 0;
    for (int i = 0; i < n; i++) {
        sum_q += (float)q[i];
        sum_qq += (float)(q[i] * q[i]);
        sum_x += x[i];
        sum_xq += x[i] * (float)q[i];
    }
    float det = (float)n * sum_qq - sum_q * sum_q;
    if (!(det > 0))
        return false;
    *scale = ((float)n * sum_xq - sum_x * sum_q) / det;
    *min = (sum_q * sum_xq - sum_qq * sum_x) / det;
    if (*min < 0) { /* the format has no such minimum: the line through zero */
        *min = 0;
        *scale = sum_xq / sum_qq;
    }
    return true;
}

static void choose_line(const float *x, uint8_t *q, int n, int levels, const float line[2])
{
    float id = inverse(line[0]);
    for (int i = 0; i < n; i++)
        q[i] = (uint8_t)kernel_clamp_round((x[i] + line[1]) * id, 0, levels);
}

/* x ~ line[0] * q - line[1], q in 0..levels, both non-negative. */
static void fit_line(const float *x, int n, int levels, float line[2])
{
    float lo = 0;
    float hi = x[0];
    for (int i = 0; i < n; i++) {
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
    }
    line[0] = line[1] = 0;
    if (!(hi > lo) || !isfinite(hi - lo)) {
        line[1] = isfinite(lo) ? -lo : 0;
        return;
    }
    float best = INFINITY;
    uint8_t q[32];
    for (int c = -4; c <= 4; c++) {
        float span = (float)levels + 0.15f * (float)c;
        float t[2] = { (hi - lo) / span, -lo };
        choose_line(x, q, n, levels, t);
        if (!solve_line(x, q, n, &t[0], &t[1]) || !(t[0] > 0))
            continue;
        choose_line(x, q, n, levels, t);
        float error = 0;
        for (int i = 0; i < n; i++) {
            float e = t[0] * (float)q[i] - t[1] - x[i];
            error += e * e;
        }
        if (error < best) {
            best = error;
            memcpy(line, t, sizeof t);
        }
    }
}

/* x ~ scale * q, q in -half..half-1; the scale may be negative. */
static float fit_scale(const float *x, int n, int half)
{
    float top = 0;
    for (int i = 0; i < n; i++)
        top = fabsf(x[i]) > fabsf(top) ? x[i] : top;
    if (!(fabsf(top) > 1e-30f) || !isfinite(top))
        return 0;
    float best = -1;
    float scale = 0;
    for (int c = -6; c <= 6; c++) {
        float id = ((float)-half + 0.1f * (float)c * (half > 8 ? 1 : 0.7f)) / top;
        float sum_xq = 0;
        float sum_qq = 0;
        for (int i = 0; i < n; i++) {
            float q = (float)kernel_clamp_round(x[i] * id, -half, half - 1);
            sum_xq += x[i] * q;
            sum_qq += q * q;
        }
        /* The error is |x|^2 - xq^2 / qq: the largest gain is the smallest error. */
        if (sum_qq > 0 && sum_xq * sum_xq / sum_qq > best) {
            best = sum_xq * sum_xq / sum_qq;
            scale = sum_xq / sum_qq;
        }
    }
    return scale;
}

static float largest(const float *x, int n)
{
    float top = 0;
    for (int i = 0; i < n; i++)
        top = fabsf(x[i]) > fabsf(top) ? x[i] : top;
    return top;
}

static void pack_scales_k4(const uint8_t scale[8], const uint8_t min[8], uint8_t *packed)
{
    for (int j = 0; j < 4; j++) {
        packed[j] = (uint8_t)(scale[j] | (scale[j + 4] >> 4) << 6);
        packed[j + 4] = (uint8_t)(min[j] | (min[j + 4] >> 4) << 6);
        packed[j + 8] = (uint8_t)((scale[j + 4] & 15) | (min[j + 4] & 15) << 4);
    }
}

struct lines {
    uint8_t scale[16];
    uint8_t min[16];
    uint8_t q[KERNEL_UNPACK_MAX];
};

/* Scales and minima of `count` sub-blocks, quantised to 0..top; d and dmin to d_at[0..3]; the
 * integers for the scales as stored. */
static void fit_lines(const float *x, int count, int levels, int top, uint8_t *d_at,
                      struct lines *out)
{
    int n = KERNEL_UNPACK_MAX / count;
    float line[16][2];
    float scale_max = 0;
    float min_max = 0;
    for (int j = 0; j < count; j++) {
        fit_line(x + n * j, n, levels, line[j]);
        scale_max = line[j][0] > scale_max ? line[j][0] : scale_max;
        min_max = line[j][1] > min_max ? line[j][1] : min_max;
    }
    float d = store_f16(d_at, scale_max / (float)top);
    float dmin = store_f16(d_at + 2, min_max / (float)top);
    for (int j = 0; j < count; j++) {
        out->scale[j] = (uint8_t)kernel_clamp_round(line[j][0] * inverse(d), 0, top);
        out->min[j] = (uint8_t)kernel_clamp_round(line[j][1] * inverse(dmin), 0, top);
        float stored[2] = { d * (float)out->scale[j], dmin * (float)out->min[j] };
        choose_line(x + n * j, out->q + n * j, n, levels, stored);
    }
}

void kernel_quantize_q2_k(const float *src, void *dst, size_t n)
{
    uint8_t *block = dst;
    struct lines l;
    for (; n >= 256; n -= 256, src += 256, block += 84) {
        fit_lines(src, 16, 3, 15, block + 80, &l);
        for (int j = 0; j < 16; j++)
            block[j] = (uint8_t)(l.scale[j] | l.min[j] << 4);
        for (int half = 0; half < 2; half++)
            for (int i = 0; i < 32; i++) {
                const uint8_t *v = l.q + 128 * half + i;
                block[16 + 32 * half + i] =
                    (uint8_t)(v[0] | v[32] << 2 | v[64] << 4 | v[96] << 6);
            }
    }
}

void kernel_quantize_q4_k(const float *src, void *dst, size_t n)
{
    uint8_t *block = dst;
    struct lines l;
    for (; n >= 256; n -= 256, src += 256, block += 144) {
        fit_lines(src, 8, 15, 63, block, &l);
        pack_scales_k4(l.scale, l.min, block + 4);
        for (int i = 0; i < 128; i++) {
            const uint8_t *v = l.q + 64 * (i / 32) + i % 32;
            block[16 + i] = (uint8_t)(v[0] | v[32] << 4);
        }
    }
}

void kernel_quantize_q5_k(const float *src, void *dst, size_t n)
{
    uint8_t *block = dst;
    struct lines l;
    for (; n >= 256; n -= 256, src += 256, block += 176) {
        fit_lines(src, 8, 31, 63, block, &l);
        pack_scales_k4(l.scale, l.min, block + 4);
        memset(block + 16, 0, 32);
        for (int i = 0; i < 128; i++) {
            const uint8_t *v = l.q + 64 * (i / 32) + i % 32;
            block[48 + i] = (uint8_t)((v[0] & 15) | (v[32] & 15) << 4);
        }
        for (int i = 0; i < 256; i++)
            block[16 + i % 32] |= (uint8_t)((l.q[i] >> 4) << i / 32);
    }
}

/* Sixteen signed scales of 16 values each, the largest on -half_scale; q in 0..2*half-1. */
static void scales16(const float *x, int half, int half_scale, uint8_t *d_at, int8_t *scale,
                     uint8_t *q)
{
    float s[16];
    for (int j = 0; j < 16; j++)
        s[j] = fit_scale(x + 16 * j, 16, half);
    float d = store_f16(d_at, largest(s, 16) / (float)-half_scale);
    for (int j = 0; j < 16; j++) {
        scale[j] = (int8_t)kernel_clamp_round(s[j] * inverse(d), -half_scale, half_scale - 1);
        float id = inverse(d * (float)scale[j]);
        for (int i = 16 * j; i < 16 * j + 16; i++)
            q[i] = (uint8_t)(kernel_clamp_round(x[i] * id, -half, half - 1) + half);
    }
}

void kernel_quantize_q3_k(const float *src, void *dst, size_t n)
{
    uint8_t *block = dst;
    int8_t scale[16];
    uint8_t q[256];
    for (; n >= 256; n -= 256, src += 256, block += 110) {
        scales16(src, 4, 32, block + 108, scale, q);
        memset(block, 0, 108);
        for (int i = 0; i < 256; i++) {
            block[i % 32] |= (uint8_t)((q[i] >> 2) << i / 32);
            block[32 + 32 * (i / 128) + i % 32] |= (uint8_t)((q[i] & 3) << 2 * (i / 32 % 4));
        }
        for (int j = 0; j < 16; j++) {
            int s = scale[j] + 32;
            block[96 + j % 8] |= (uint8_t)((s & 15) << 4 * (j / 8));
            block[104 + j % 4] |= (uint8_t)((s >> 4) << 2 * (j / 4));
        }
    }
}

void kernel_quantize_q6_k(const float *src, void *dst, size_t n)
{
    uint8_t *block = dst;
    int8_t scale[16];
    uint8_t q[256];
    for (; n >= 256; n -= 256, src += 256, block += 210) {
        scales16(src, 32, 128, block + 208, scale, q);
        memset(block, 0, 192);
        memcpy(block + 192, scale, 16);
        for (int i = 0; i < 256; i++) {
            int half = i / 128;
            int group = i / 32 % 4;
            block[64 * half + 32 * (group & 1) + i % 32] |=
                (uint8_t)((q[i] & 15) << 4 * (group >> 1));
            block[128 + 32 * half + i % 32] |= (uint8_t)((q[i] >> 4) << 2 * group);
        }
    }
}

/* Index of the nearest code-book value to x (the book ascends); NaN gives 0. */
static uint8_t nearest_iq4(float x)
{
    uint8_t i = 0;
    while (i < 15 && x > 0.5f * (float)(kernel_iq4_values[i] + kernel_iq4_values[i + 1]))
        i++;
    return i;
}

/* x ~ scale * book[i]: the best of several scales around the one that maps the largest on -127. */
static float fit_iq4(const float *x)
{
    float top = largest(x, 32);
    if (!(fabsf(top) > 1e-30f) || !isfinite(top))
        return 0;
    float best = -1;
    float scale = 0;
    for (int c = -7; c <= 7; c++) {
        float id = (-127 + 2.5f * (float)c) / top;
        float sum_xq = 0;
        float sum_qq = 0;
        for (int i = 0; i < 32; i++) {
            float q = (float)kernel_iq4_values[nearest_iq4(x[i] * id)];
            sum_xq += x[i] * q;
            sum_qq += q * q;
        }
        if (sum_xq * sum_xq / sum_qq > best) {
            best = sum_xq * sum_xq / sum_qq;
            scale = sum_xq / sum_qq;
        }
    }
    return scale;
}

static void store_iq4(const float *x, float scale, uint8_t *qs)
{
    float id = inverse(scale);
    for (int i = 0; i < 16; i++)
        qs[i] = (uint8_t)(nearest_iq4(x[i] * id) | nearest_iq4(x[i + 16] * id) << 4);
}

void kernel_quantize_iq4_nl(const float *src, void *dst, size_t n)
{
    uint8_t *block = dst;
    for (; n >= 32; n -= 32, src += 32, block += 18)
        store_iq4(src, store_f16(block, fit_iq4(src)), block + 2);
}

void kernel_quantize_iq4_xs(const float *src, void *dst, size_t n)
{
    uint8_t *block = dst;
    for (; n >= 256; n -= 256, src += 256, block += 136) {
        float s[8];
        for (int j = 0; j < 8; j++)
            s[j] = fit_iq4(src + 32 * j);
        float d = store_f16(block, largest(s, 8) / -32);
        uint32_t high = 0;
        memset(block + 4, 0, 4);
        for (int j = 0; j < 8; j++) {
            int scale = kernel_clamp_round(s[j] * inverse(d), -32, 31);
            high |= (uint32_t)((scale + 32) >> 4) << 2 * j;
            block[4 + j / 2] |= (uint8_t)(((scale + 32) & 15) << 4 * (j & 1));
            store_iq4(src + 32 * j, d * (float)scale, block + 8 + 16 * j);
        }
        store_le16(block + 2, (uint16_t)high);
    }
}
