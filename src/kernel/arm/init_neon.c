/* The NEON level: which entries it improves. */
#include "kernel/arm/neon.h"
#include "kernel/levels.h"
#include "kernel/pack.h"

static void matmul(const struct kernel_mat *w, uint32_t o0, uint32_t o1, const struct kernel_act *x,
                   float *y, size_t ldy)
{
    if (kernel_pack_format(w->type) != NULL)
        kernel_matmul_block_neon(w, o0, o1, x, y, ldy);
    else
        kernel_matmul_float_neon(w, o0, o1, x, y, ldy);
}

void kernel_init_neon(struct kernel_table *k)
{
    k->level = "neon";
    k->matmul = matmul;
    kernel_init_vector_neon(k);
    kernel_init_delta_neon(k);
}

static void matmul_dotprod(const struct kernel_mat *w, uint32_t o0, uint32_t o1,
                           const struct kernel_act *x, float *y, size_t ldy)
{
    if (kernel_pack_format(w->type) != NULL)
        kernel_matmul_block_dotprod(w, o0, o1, x, y, ldy);
    else
        kernel_matmul_float_neon(w, o0, o1, x, y, ldy);
}

void kernel_init_dotprod(struct kernel_table *k)
{
    k->level = "dotprod";
    k->matmul = matmul_dotprod;
}
