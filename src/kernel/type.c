/* Halves are converted by integer arithmetic on the bits, so that every compiler and rounding mode
 * agrees; SIMD levels use the processor's instruction and are checked against this. */
#include "kernel/type.h"

#include <string.h>

#include "base/num.h"
#include "kernel/quantize.h"
#include "kernel/unpack.h"

static float from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint32_t to_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

float kernel_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t exponent = h >> 10 & 31;
    uint32_t mantissa = h & 0x3ff;
    if (exponent == 31)
        return from_bits(sign | 0x7f800000u | mantissa << 13);
    if (exponent != 0)
        return from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
    float magnitude = (float)mantissa * 0x1p-24f; /* exact: 10 bits */
    return from_bits(sign | to_bits(magnitude));
}

/* x >> shift, to nearest, ties to even; 1 <= shift <= 31. */
static uint32_t shift_even(uint32_t x, uint32_t shift)
{
    uint32_t half = 1u << (shift - 1);
    return (x + half - 1 + (x >> shift & 1)) >> shift;
}

uint16_t kernel_f32_to_f16(float f)
{
    uint32_t bits = to_bits(f);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    bits &= 0x7fffffff;
    if (bits > 0x7f800000) /* NaN: quiet, the payload's upper bits kept */
        return (uint16_t)(sign | 0x7e00 | (bits >> 13 & 0x1ff));
    if (bits >= 0x47800000) /* 2^16 and more, infinity */
        return sign | 0x7c00;
    if (bits >= 0x38800000) /* normal; rounding up may carry into infinity, as it should */
        return (uint16_t)(sign | (shift_even(bits, 13) - (112u << 10)));
    if (bits < 0x33000000) /* below half of the smallest subnormal */
        return sign;
    uint32_t mantissa = (bits & 0x7fffff) | 0x800000;
    return (uint16_t)(sign | shift_even(mantissa, 126 - (bits >> 23)));
}

float kernel_bf16_to_f32(uint16_t h) { return from_bits((uint32_t)h << 16); }

uint16_t kernel_f32_to_bf16(float f)
{
    uint32_t bits = to_bits(f);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)shift_even(bits, 16);
}

static void dequantize_f32(const void *src, float *dst, size_t n) { memcpy(dst, src, 4 * n); }

static void dequantize_f16(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    for (size_t i = 0; i < n; i++)
        dst[i] = kernel_f16_to_f32(load_le16(p + 2 * i));
}

static void dequantize_bf16(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    for (size_t i = 0; i < n; i++)
        dst[i] = kernel_bf16_to_f32(load_le16(p + 2 * i));
}

/* Adding a zero minimum would turn -0 into +0, so formats without minima take a loop of their own.
 * */
static void dequantize_blocks(uint32_t type, const void *src, float *dst, size_t n)
{
    const struct kernel_format *f = kernel_format(type);
    const uint8_t *block = src;
    struct kernel_unpacked u;
    for (; n >= f->block_len; n -= f->block_len) {
        f->unpack(block, &u);
        for (uint32_t i = 0; i < f->block_len; i++)
            dst[i] = u.scale[i / f->sub] * (float)u.q[i];
        for (uint32_t i = 0; f->has_min && i < f->block_len; i++)
            dst[i] += u.min[i / f->sub];
        block += f->block_bytes;
        dst += f->block_len;
    }
}

#define DEQUANTIZE(name, type)                                                                   \
    static void dequantize_##name(const void *src, float *dst, size_t n)                         \
    {                                                                                            \
        dequantize_blocks(type, src, dst, n);                                                    \
    }
DEQUANTIZE(q4_0, KERNEL_Q4_0)
DEQUANTIZE(q4_1, KERNEL_Q4_1)
DEQUANTIZE(q5_0, KERNEL_Q5_0)
DEQUANTIZE(q5_1, KERNEL_Q5_1)
DEQUANTIZE(q8_0, KERNEL_Q8_0)
DEQUANTIZE(q2_k, KERNEL_Q2_K)
DEQUANTIZE(q3_k, KERNEL_Q3_K)
DEQUANTIZE(q4_k, KERNEL_Q4_K)
DEQUANTIZE(q5_k, KERNEL_Q5_K)
DEQUANTIZE(q6_k, KERNEL_Q6_K)
DEQUANTIZE(iq4_nl, KERNEL_IQ4_NL)
DEQUANTIZE(iq4_xs, KERNEL_IQ4_XS)
DEQUANTIZE(mxfp4, KERNEL_MXFP4)
DEQUANTIZE(nvfp4, KERNEL_NVFP4)

#define COMPUTED(id, label, len, bytes, name)                                                    \
    [KERNEL_##id] = { label, len, bytes, dequantize_##name, kernel_quantize_##name }
#define LISTED(id, len, bytes) [KERNEL_##id] = { #id, len, bytes, NULL, NULL }

static const struct kernel_type_info types[KERNEL_TYPE_COUNT] = {
    COMPUTED(F32, "F32", 1, 4, f32),
    COMPUTED(F16, "F16", 1, 2, f16),
    COMPUTED(BF16, "BF16", 1, 2, bf16),
    COMPUTED(Q4_0, "Q4_0", 32, 18, q4_0),
    COMPUTED(Q4_1, "Q4_1", 32, 20, q4_1),
    COMPUTED(Q5_0, "Q5_0", 32, 22, q5_0),
    COMPUTED(Q5_1, "Q5_1", 32, 24, q5_1),
    COMPUTED(Q8_0, "Q8_0", 32, 34, q8_0),
    COMPUTED(Q2_K, "Q2_K", 256, 84, q2_k),
    COMPUTED(Q3_K, "Q3_K", 256, 110, q3_k),
    COMPUTED(Q4_K, "Q4_K", 256, 144, q4_k),
    COMPUTED(Q5_K, "Q5_K", 256, 176, q5_k),
    COMPUTED(Q6_K, "Q6_K", 256, 210, q6_k),
    COMPUTED(IQ4_NL, "IQ4_NL", 32, 18, iq4_nl),
    COMPUTED(IQ4_XS, "IQ4_XS", 256, 136, iq4_xs),
    COMPUTED(MXFP4, "MXFP4", 32, 17, mxfp4),
    COMPUTED(NVFP4, "NVFP4", 64, 36, nvfp4),
    LISTED(Q8_1, 32, 40),
    LISTED(Q8_K, 256, 292),
    LISTED(IQ2_XXS, 256, 66),
    LISTED(IQ2_XS, 256, 74),
    LISTED(IQ3_XXS, 256, 98),
    LISTED(IQ1_S, 256, 50),
    LISTED(IQ3_S, 256, 110),
    LISTED(IQ2_S, 256, 82),
    LISTED(IQ1_M, 256, 56),
    LISTED(TQ1_0, 256, 54),
    LISTED(TQ2_0, 256, 66),
    LISTED(Q1_0, 128, 18),
    LISTED(I8, 1, 1),
    LISTED(I16, 1, 2),
    LISTED(I32, 1, 4),
    LISTED(I64, 1, 8),
    LISTED(F64, 1, 8),
};

const struct kernel_type_info *kernel_type_info(uint32_t type)
{
    if (type >= KERNEL_TYPE_COUNT || types[type].name == NULL)
        return NULL;
    return &types[type];
}

int kernel_row_bytes(size_t *out, uint32_t type, size_t n)
{
    const struct kernel_type_info *info = kernel_type_info(type);
    if (info == NULL || n % info->block_len != 0)
        return E_RANGE;
    return num_mul(out, n / info->block_len, info->block_bytes);
}
