/* kernel/pack_formats.h - the table of packed formats, where it must be a constant.
 *
 * Idea: tiles are compiled for each format with its offsets known; pack.c walks the same table. */
#ifndef KERNEL_PACK_FORMATS_H
#define KERNEL_PACK_FORMATS_H

#include "kernel/pack.h"

/* Fields of the 32-value blocks: four blocks a record. */
#define F16_D { 0, 2, 1, 0 }
#define F16_M { 2, 2, 1, 128 }

static const struct pack_format pack_formats[KERNEL_TYPE_COUNT] = {
    [KERNEL_Q4_0] = { 128, 1152, { F16_D }, PACK_NIBBLES, -8, NULL, 128, 0 },
    [KERNEL_Q4_1] = { 128, 1280, { F16_D, F16_M }, PACK_NIBBLES, 0, NULL, 256, 0 },
    [KERNEL_Q5_0] = { 128, 1408, { F16_D }, PACK_NIBBLES_BITS, -16, NULL, 128, 1152 },
    [KERNEL_Q5_1] = { 128, 1536, { F16_D, F16_M }, PACK_NIBBLES_BITS, 0, NULL, 256, 1280 },
    [KERNEL_Q8_0] = { 128, 2176, { F16_D }, PACK_BYTES, -128, NULL, 128, 0 },
    [KERNEL_IQ4_NL] = { 128, 1152, { F16_D }, PACK_NIBBLES, 0, kernel_iq4_values, 128, 0 },
    [KERNEL_MXFP4] = { 128, 1088, { { 0, 1, 1, 0 } }, PACK_NIBBLES, 0, kernel_fp4_values, 64, 0 },
    [KERNEL_NVFP4] = { 128, 1152, { { 0, 1, 4, 0 } }, PACK_NIBBLES, 0, kernel_fp4_values, 128, 0 },
    [KERNEL_Q2_K] = { 256, 1344, { { 80, 2, 2, 0 }, { 0, 1, 16, 64 } }, PACK_TWOS, 0, NULL, 320,
                      0 },
    [KERNEL_Q3_K] = { 256, 1792, { { 108, 2, 1, 0 }, { 96, 1, 12, 64 } }, PACK_TWOS_BITS, -4, NULL,
                      256, 1280 },
    [KERNEL_Q4_K] = { 256, 2304, { { 0, 2, 2, 0 }, { 4, 1, 12, 64 } }, PACK_NIBBLES, 0, NULL, 256,
                      0 },
    [KERNEL_Q5_K] = { 256, 2816, { { 0, 2, 2, 0 }, { 4, 1, 12, 64 } }, PACK_NIBBLES_BITS, 0, NULL,
                      256, 2304 },
    [KERNEL_Q6_K] = { 256, 3392, { { 208, 2, 1, 0 }, { 192, 1, 16, 64 } }, PACK_NIBBLES_TWOS, -32,
                      NULL, 320, 2368 },
    [KERNEL_IQ4_XS] = { 256, 2176, { { 0, 2, 2, 0 }, { 4, 1, 4, 64 } }, PACK_NIBBLES, 0,
                        kernel_iq4_values, 128, 0 },
};

#endif
