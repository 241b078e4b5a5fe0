/* kernel/levels.h - how the SIMD levels announce themselves to kernel_init.
 *
 * Idea: one function a level overwrites the entries that the level improves and sets the level's
 * name. They are called in ascending order, each only if its flag is set and the build is for its
 * processor. */
#ifndef KERNEL_LEVELS_H
#define KERNEL_LEVELS_H

#include "kernel/kernel.h"

#if defined(__x86_64__)
void kernel_init_avx2(struct kernel_table *k);
/* Products, attention and row operations; they ask for VNNI and BF16 themselves. */
void kernel_init_matmul_avx512(struct kernel_table *k, unsigned flags);
void kernel_init_attn_avx512(struct kernel_table *k, unsigned flags);
void kernel_init_delta_avx512(struct kernel_table *k);
void kernel_init_vector_avx512(struct kernel_table *k);
#elif defined(__aarch64__)
void kernel_init_neon(struct kernel_table *k);
void kernel_init_dotprod(struct kernel_table *k);
#endif

#endif
