/* kernel/unpack.h - one picture of every quantised block: integers, scales, minima.
 *
 * Idea: all block formats say the same thing in different bits: value i is scale * q, or scale * q
 * + min, with one scale (and min) for each `sub` values. Unpacking a block into that form is the
 * only place that knows its bits; dequantising, the matmul reference and the panel builders of the
 * SIMD levels stand on it.
 *
 *     q      [ q0 q1 ... q31 | q32 ...      | ... ]     int8, exact
 *     scale  [ s0            | s1           | ... ]     f32, d times the sub-block's own
 *     min    [ m0            | m1           | ... ]     f32, only where the format has minima
 *
 * x[i] = scale[i / sub] * q[i] (+ min[i / sub]), each operation rounded to f32: bit for bit the
 * format.
 * Cost: one pass; nothing is allocated. Threads: pure. */
#ifndef KERNEL_UNPACK_H
#define KERNEL_UNPACK_H

#include <stdbool.h>
#include <stdint.h>

#include "kernel/type.h"

#define KERNEL_UNPACK_MAX 256 /* values of the longest block */

struct kernel_unpacked {
    int8_t q[KERNEL_UNPACK_MAX];
    float scale[KERNEL_UNPACK_MAX / 16];
    float min[KERNEL_UNPACK_MAX / 16]; /* set only if has_min */
};

struct kernel_format {
    uint32_t block_len;  /* values; a multiple of 32 */
    uint32_t block_bytes;
    uint32_t sub;        /* values a scale covers: 16 or 32 */
    int32_t q_min;       /* q lies in [q_min, q_max] */
    int32_t q_max;
    bool has_min;
    void (*unpack)(const uint8_t *block, struct kernel_unpacked *out);
};

/* NULL for types that are not quantised or not computed with. */
const struct kernel_format *kernel_format(uint32_t type);

/* One block each. The layouts stand beside the functions. */
void kernel_unpack_q4_0(const uint8_t *block, struct kernel_unpacked *out);
void kernel_unpack_q4_1(const uint8_t *block, struct kernel_unpacked *out);
void kernel_unpack_q5_0(const uint8_t *block, struct kernel_unpacked *out);
void kernel_unpack_q5_1(const uint8_t *block, struct kernel_unpacked *out);
void kernel_unpack_q8_0(const uint8_t *block, struct kernel_unpacked *out);
void kernel_unpack_q2_k(const uint8_t *block, struct kernel_unpacked *out);
void kernel_unpack_q3_k(const uint8_t *block, struct kernel_unpacked *out);
void kernel_unpack_q4_k(const uint8_t *block, struct kernel_unpacked *out);
void kernel_unpack_q5_k(const uint8_t *block, struct kernel_unpacked *out);
void kernel_unpack_q6_k(const uint8_t *block, struct kernel_unpacked *out);
void kernel_unpack_iq4_nl(const uint8_t *block, struct kernel_unpacked *out);
void kernel_unpack_iq4_xs(const uint8_t *block, struct kernel_unpacked *out);
void kernel_unpack_mxfp4(const uint8_t *block, struct kernel_unpacked *out);
void kernel_unpack_nvfp4(const uint8_t *block, struct kernel_unpacked *out);

/* The 6-bit scale and minimum of sub-block j (0..7) of a Q4_K or Q5_K block's 12 scale bytes. */
void kernel_scale_min_k4(const uint8_t *scales, uint32_t j, uint8_t *scale, uint8_t *min);
/* The sixteen 6-bit scales (0..63; the value is that minus 32) of a Q3_K block's 12 scale bytes. */
void kernel_scales_q3_k(const uint8_t *packed, uint8_t scales[16]);

/* Values of the 4-bit code books. */
extern const int8_t kernel_iq4_values[16];
extern const int8_t kernel_fp4_values[16]; /* E2M1, doubled */
float kernel_e8m0_half(uint8_t e);         /* 2^(e - 128): half, since the values are doubled */
float kernel_ue4m3_half(uint8_t x);        /* half an unsigned E4M3; 0x7f (NaN) decodes to 0 */

#endif
