/* kernel/type.h - the number formats of model files: what a block looks like and what it is worth.
 *
 * Idea: a tensor row is cut into blocks of `block_len` values; a block is `block_bytes` long and
 * holds quantised values and their scales. The numbers are GGUF's type ids, so a file's id indexes
 * the table.
 * The functions here are the C reference: plain loops, bit for bit the format's definition; fast
 * paths live elsewhere and are checked against these.
 *
 *     Q4_0   [ d: f16 | 16 bytes: value i in the low nibble, i + 16 in the high ]   x = d * (q - 8)
 *
 * Types that files have but Naru does not compute with (IQ1..IQ3, TQ1_0, TQ2_0, Q1_0, Q8_1, Q8_K as
 * weights) have name and size, and dequantize == NULL: files are refused by name. I8..I64, F64
 * likewise.
 *
 * Cost: dequantising is one pass over the row; nothing is allocated. */
#ifndef KERNEL_TYPE_H
#define KERNEL_TYPE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum kernel_type {
    KERNEL_F32 = 0, KERNEL_F16 = 1, KERNEL_Q4_0 = 2, KERNEL_Q4_1 = 3, KERNEL_Q5_0 = 6,
    KERNEL_Q5_1 = 7, KERNEL_Q8_0 = 8, KERNEL_Q8_1 = 9, KERNEL_Q2_K = 10, KERNEL_Q3_K = 11,
    KERNEL_Q4_K = 12, KERNEL_Q5_K = 13, KERNEL_Q6_K = 14, KERNEL_Q8_K = 15, KERNEL_IQ2_XXS = 16,
    KERNEL_IQ2_XS = 17, KERNEL_IQ3_XXS = 18, KERNEL_IQ1_S = 19, KERNEL_IQ4_NL = 20,
    KERNEL_IQ3_S = 21, KERNEL_IQ2_S = 22, KERNEL_IQ4_XS = 23, KERNEL_I8 = 24, KERNEL_I16 = 25,
    KERNEL_I32 = 26, KERNEL_I64 = 27, KERNEL_F64 = 28, KERNEL_IQ1_M = 29, KERNEL_BF16 = 30,
    KERNEL_TQ1_0 = 34, KERNEL_TQ2_0 = 35, KERNEL_MXFP4 = 39, KERNEL_NVFP4 = 40,
    KERNEL_Q1_0 = 41, KERNEL_TYPE_COUNT = 42
};

struct kernel_type_info {
    const char *name;      /* "Q4_K"; NULL: no such type */
    uint32_t block_len;    /* values */
    uint32_t block_bytes;
    /* n values, a multiple of block_len. NULL where Naru does not compute with the type. */
    void (*dequantize)(const void *src, float *dst, size_t n);
    void (*quantize)(const float *src, void *dst, size_t n);
};

/* NULL for an id outside the table or without a name. */
const struct kernel_type_info *kernel_type_info(uint32_t type);
/* Bytes of a row of n values. E_RANGE if n is no multiple of the block or on overflow. */
NODISCARD int kernel_row_bytes(size_t *out, uint32_t type, size_t n);

/* IEEE 754 halves and bfloat16, exact (subnormals, infinities, NaN kept). To half: nearest even. */
float kernel_f16_to_f32(uint16_t h);
uint16_t kernel_f32_to_f16(float f);
float kernel_bf16_to_f32(uint16_t h);
uint16_t kernel_f32_to_bf16(float f);

#endif
