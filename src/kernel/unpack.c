/* The blocks of the file, bit by bit: 32-value blocks first, then the super-blocks of 256, then the
 * code-book and float4 formats. Layouts are facts of the GGUF format; the oracle in the tests is
 * the reference implementation of the format's Python package. E2M1 and E8M0: OCP Microscaling
 * Formats 1.0, section 5.3 and 5.4.1. */
#include "kernel/unpack.h"

#include <string.h>

#include "base/num.h"

const int8_t kernel_iq4_values[16] = { -127, -104, -83, -65, -49, -35, -22, -10,
                                       1,    13,   25,  38,  53,  69,  89,  113 };
const int8_t kernel_fp4_values[16] = { 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 };

static float load_f16(const uint8_t *p) { return kernel_f16_to_f32(load_le16(p)); }

static float from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

float kernel_e8m0_half(uint8_t e)
{
    return from_bits(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

float kernel_ue4m3_half(uint8_t x)
{
    if (x == 0x7f)
        return 0;
    uint32_t exponent = x >> 3 & 15;
    float mantissa = (float)(x & 7);
    if (exponent == 0)
        return mantissa * 0x1p-10f;
    return (1 + mantissa / 8) * from_bits((exponent + 127 - 7 - 1) << 23);
}

/* 16 bytes: value i in the low nibble of byte i, value i + 16 in the high one; `offset` is taken
 * off. */
static void nibbles(const uint8_t *qs, int offset, int8_t *q)
{
    for (int i = 0; i < 16; i++) {
        q[i] = (int8_t)((qs[i] & 15) - offset);
        q[i + 16] = (int8_t)((qs[i] >> 4) - offset);
    }
}

/* The same with a fifth bit: bit i of `high` belongs to value i. */
static void nibbles5(const uint8_t *qs, uint32_t high, int offset, int8_t *q)
{
    for (int i = 0; i < 16; i++) {
        q[i] = (int8_t)((qs[i] & 15) + (int)((high >> i & 1) << 4) - offset);
        q[i + 16] = (int8_t)((qs[i] >> 4) + (int)((high >> (i + 16) & 1) << 4) - offset);
    }
}

/* 16 bytes of code-book indices in the order of `nibbles`. */
static void look_up(const uint8_t *qs, const int8_t *values, int8_t *q)
{
    for (int i = 0; i < 16; i++) {
        q[i] = values[qs[i] & 15];
        q[i + 16] = values[qs[i] >> 4];
    }
}

/* [ d: f16 | qs: 16 ] */
void kernel_unpack_q4_0(const uint8_t *block, struct kernel_unpacked *out)
{
    out->scale[0] = load_f16(block);
    nibbles(block + 2, 8, out->q);
}

/* [ d: f16 | m: f16 | qs: 16 ] */
void kernel_unpack_q4_1(const uint8_t *block, struct kernel_unpacked *out)
{
    out->scale[0] = load_f16(block);
    out->min[0] = load_f16(block + 2);
    nibbles(block + 4, 0, out->q);
}

/* [ d: f16 | qh: u32, the fifth bits | qs: 16 ] */
void kernel_unpack_q5_0(const uint8_t *block, struct kernel_unpacked *out)
{
    out->scale[0] = load_f16(block);
    nibbles5(block + 6, load_le32(block + 2), 16, out->q);
}

/* [ d: f16 | m: f16 | qh: u32 | qs: 16 ] */
void kernel_unpack_q5_1(const uint8_t *block, struct kernel_unpacked *out)
{
    out->scale[0] = load_f16(block);
    out->min[0] = load_f16(block + 2);
    nibbles5(block + 8, load_le32(block + 4), 0, out->q);
}

/* [ d: f16 | qs: 32 int8 ] */
void kernel_unpack_q8_0(const uint8_t *block, struct kernel_unpacked *out)
{
    out->scale[0] = load_f16(block);
    memcpy(out->q, block + 2, 32);
}

/* [ scales: 16, scale low nibble, min high | qs: 64, 2 bits | d: f16 | dmin: f16 ]
 * 128 values share 32 bytes: value 32 k + i in bits 2k of byte i. */
void kernel_unpack_q2_k(const uint8_t *block, struct kernel_unpacked *out)
{
    float d = load_f16(block + 80);
    float dmin = load_f16(block + 82);
    for (int j = 0; j < 16; j++) {
        out->scale[j] = d * (float)(block[j] & 15);
        out->min[j] = -(dmin * (float)(block[j] >> 4));
    }
    const uint8_t *qs = block + 16;
    for (int half = 0; half < 2; half++, qs += 32)
        for (int k = 0; k < 4; k++)
            for (int i = 0; i < 32; i++)
                out->q[128 * half + 32 * k + i] = (int8_t)(qs[i] >> 2 * k & 3);
}

void kernel_scales_q3_k(const uint8_t *packed, uint8_t scales[16])
{
    for (int j = 0; j < 16; j++) {
        int low = j < 8 ? packed[j] & 15 : packed[j - 8] >> 4;
        int high = packed[8 + j % 4] >> 2 * (j / 4) & 3;
        scales[j] = (uint8_t)(low | high << 4);
    }
}

/* [ hmask: 32 | qs: 64 | scales: 12 | d: f16 ]: the third bit (of group g in bit g of byte i) set
 * means that nothing is taken off, clear that 4 is. */
void kernel_unpack_q3_k(const uint8_t *block, struct kernel_unpacked *out)
{
    float d = load_f16(block + 108);
    uint8_t scales[16];
    kernel_scales_q3_k(block + 96, scales);
    for (int j = 0; j < 16; j++)
        out->scale[j] = d * (float)((int)scales[j] - 32);
    for (int g = 0; g < 8; g++) {
        const uint8_t *qs = block + 32 + 32 * (g / 4);
        for (int i = 0; i < 32; i++) {
            int low = qs[i] >> 2 * (g % 4) & 3;
            out->q[32 * g + i] = (int8_t)(low - ((block[i] >> g & 1) != 0 ? 0 : 4));
        }
    }
}

void kernel_scale_min_k4(const uint8_t *scales, uint32_t j, uint8_t *scale, uint8_t *min)
{
    if (j < 4) {
        *scale = scales[j] & 63;
        *min = scales[j + 4] & 63;
    } else {
        *scale = (uint8_t)((scales[j + 4] & 15) | (scales[j - 4] >> 6) << 4);
        *min = (uint8_t)((scales[j + 4] >> 4) | (scales[j] >> 6) << 4);
    }
}

/* The scales of Q4_K and Q5_K: [ d: f16 | dmin: f16 | scales: 12 ] */
static void scales_k4(const uint8_t *block, struct kernel_unpacked *out)
{
    float d = load_f16(block);
    float dmin = load_f16(block + 2);
    for (uint32_t j = 0; j < 8; j++) {
        uint8_t scale;
        uint8_t min;
        kernel_scale_min_k4(block + 4, j, &scale, &min);
        out->scale[j] = d * (float)scale;
        out->min[j] = -(dmin * (float)min);
    }
}

/* [ d, dmin, scales: 16 | qs: 128 ]: 32 bytes hold sub-block 2 k (low nibbles) and 2 k + 1 (high).
 * */
void kernel_unpack_q4_k(const uint8_t *block, struct kernel_unpacked *out)
{
    scales_k4(block, out);
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < 32; i++) {
            uint8_t byte = block[16 + 32 * k + i];
            out->q[64 * k + i] = (int8_t)(byte & 15);
            out->q[64 * k + 32 + i] = (int8_t)(byte >> 4);
        }
}

/* [ d, dmin, scales: 16 | qh: 32 | qs: 128 ]: bit j of qh[i] is the fifth bit of value i, sub-block
 * j. */
void kernel_unpack_q5_k(const uint8_t *block, struct kernel_unpacked *out)
{
    scales_k4(block, out);
    const uint8_t *qh = block + 16;
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < 32; i++) {
            uint8_t byte = block[48 + 32 * k + i];
            out->q[64 * k + i] = (int8_t)((byte & 15) | (qh[i] >> 2 * k & 1) << 4);
            out->q[64 * k + 32 + i] = (int8_t)((byte >> 4) | (qh[i] >> (2 * k + 1) & 1) << 4);
        }
}

/* [ ql: 128 | qh: 64 | scales: 16 int8 | d: f16 ]: for each half of 128 values, group g of 32 has
 * its low nibbles in ql[32 (g & 1) ...] (high half of the byte from g = 2 on), bits 4-5 in qh bits
 * 2g. */
void kernel_unpack_q6_k(const uint8_t *block, struct kernel_unpacked *out)
{
    float d = load_f16(block + 208);
    for (int j = 0; j < 16; j++)
        out->scale[j] = d * (float)(int8_t)block[192 + j];
    for (int half = 0; half < 2; half++) {
        const uint8_t *ql = block + 64 * half;
        const uint8_t *qh = block + 128 + 32 * half;
        for (int g = 0; g < 4; g++)
            for (int i = 0; i < 32; i++) {
                int low = ql[32 * (g & 1) + i] >> 4 * (g >> 1) & 15;
                int high = qh[i] >> 2 * g & 3;
                out->q[128 * half + 32 * g + i] = (int8_t)((low | high << 4) - 32);
            }
    }
}

/* [ d: f16 | qs: 16 ] */
void kernel_unpack_iq4_nl(const uint8_t *block, struct kernel_unpacked *out)
{
    out->scale[0] = load_f16(block);
    look_up(block + 2, kernel_iq4_values, out->q);
}

/* [ d: f16 | scales_h: u16, 2 bits each | scales_l: 4, a nibble each | qs: 128 ] */
void kernel_unpack_iq4_xs(const uint8_t *block, struct kernel_unpacked *out)
{
    float d = load_f16(block);
    uint32_t high = load_le16(block + 2);
    for (int j = 0; j < 8; j++) {
        int low = block[4 + j / 2] >> 4 * (j & 1) & 15;
        out->scale[j] = d * (float)((low | (int)(high >> 2 * j & 3) << 4) - 32);
        look_up(block + 8 + 16 * j, kernel_iq4_values, out->q + 32 * j);
    }
}

/* [ e: E8M0 | qs: 16 ] */
void kernel_unpack_mxfp4(const uint8_t *block, struct kernel_unpacked *out)
{
    out->scale[0] = kernel_e8m0_half(block[0]);
    look_up(block + 1, kernel_fp4_values, out->q);
}

/* [ d: 4 unsigned E4M3 | qs: 32 ]: sub-block k in bytes 8 k.., value j low and j + 8 high in byte
 * j. */
void kernel_unpack_nvfp4(const uint8_t *block, struct kernel_unpacked *out)
{
    for (int k = 0; k < 4; k++) {
        out->scale[k] = kernel_ue4m3_half(block[k]);
        for (int j = 0; j < 8; j++) {
            uint8_t byte = block[4 + 8 * k + j];
            out->q[16 * k + j] = kernel_fp4_values[byte & 15];
            out->q[16 * k + 8 + j] = kernel_fp4_values[byte >> 4];
        }
    }
}

static const struct kernel_format formats[KERNEL_TYPE_COUNT] = {
    [KERNEL_Q4_0] = { 32, 18, 32, -8, 7, false, kernel_unpack_q4_0 },
    [KERNEL_Q4_1] = { 32, 20, 32, 0, 15, true, kernel_unpack_q4_1 },
    [KERNEL_Q5_0] = { 32, 22, 32, -16, 15, false, kernel_unpack_q5_0 },
    [KERNEL_Q5_1] = { 32, 24, 32, 0, 31, true, kernel_unpack_q5_1 },
    [KERNEL_Q8_0] = { 32, 34, 32, -128, 127, false, kernel_unpack_q8_0 },
    [KERNEL_Q2_K] = { 256, 84, 16, 0, 3, true, kernel_unpack_q2_k },
    [KERNEL_Q3_K] = { 256, 110, 16, -4, 3, false, kernel_unpack_q3_k },
    [KERNEL_Q4_K] = { 256, 144, 32, 0, 15, true, kernel_unpack_q4_k },
    [KERNEL_Q5_K] = { 256, 176, 32, 0, 31, true, kernel_unpack_q5_k },
    [KERNEL_Q6_K] = { 256, 210, 16, -32, 31, false, kernel_unpack_q6_k },
    [KERNEL_IQ4_NL] = { 32, 18, 32, -127, 113, false, kernel_unpack_iq4_nl },
    [KERNEL_IQ4_XS] = { 256, 136, 32, -127, 113, false, kernel_unpack_iq4_xs },
    [KERNEL_MXFP4] = { 32, 17, 32, -12, 12, false, kernel_unpack_mxfp4 },
    [KERNEL_NVFP4] = { 64, 36, 16, -12, 12, false, kernel_unpack_nvfp4 },
};

const struct kernel_format *kernel_format(uint32_t type)
{
    if (type >= KERNEL_TYPE_COUNT || formats[type].unpack == NULL)
        return NULL;
    return &formats[type];
}
