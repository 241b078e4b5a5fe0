/* kernel/x86/avx512.h - what the AVX-512 levels offer the table.
 *
 * Idea: F, BW, DQ and VL are one level (files *_avx512f.c), VNNI beside them another. */
#ifndef KERNEL_X86_AVX512_H
#define KERNEL_X86_AVX512_H

#include "kernel/kernel.h"

void kernel_matmul_block_avx512(const struct kernel_mat *w, uint32_t o0, uint32_t o1,
                                const struct kernel_act *x, float *y, size_t ldy);
void kernel_matmul_block_avx512f(const struct kernel_mat *w, uint32_t o0, uint32_t o1,
                                 const struct kernel_act *x, float *y, size_t ldy);

#endif
