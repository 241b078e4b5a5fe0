/* Products of the AVX-512 levels: packed weights here, float ones as the AVX2 level has them. */
#include "kernel/levels.h"
#include "kernel/pack.h"
#include "kernel/x86/avx2.h"
#include "kernel/x86/avx512.h"

static void matmul_avx512f(const struct kernel_mat *w, uint32_t o0, uint32_t o1,
                           const struct kernel_act *x, float *y, size_t ldy)
{
    if (kernel_pack_format(w->type) != NULL)
        kernel_matmul_block_avx512f(w, o0, o1, x, y, ldy);
    else
        kernel_matmul_float_avx2(w, o0, o1, x, y, ldy);
}

static void matmul_vnni(const struct kernel_mat *w, uint32_t o0, uint32_t o1,
                        const struct kernel_act *x, float *y, size_t ldy)
{
    if (kernel_pack_format(w->type) != NULL)
        kernel_matmul_block_avx512(w, o0, o1, x, y, ldy);
    else
        kernel_matmul_float_avx2(w, o0, o1, x, y, ldy);
}

void kernel_init_matmul_avx512(struct kernel_table *k, unsigned flags)
{
    k->matmul = (flags & KERNEL_AVX512_VNNI) != 0 ? matmul_vnni : matmul_avx512f;
}
