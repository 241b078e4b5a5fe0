/* The AVX2 level: which entries it improves. */
#include "kernel/levels.h"
#include "kernel/reference.h"
#include "kernel/pack.h"
#include "kernel/x86/avx2.h"

void kernel_matmul_avx2(const struct kernel_mat *w, uint32_t o0, uint32_t o1,
                        const struct kernel_act *x, float *y, size_t ldy)
{
    if (kernel_pack_format(w->type) != NULL)
        kernel_matmul_block_avx2(w, o0, o1, x, y, ldy);
    else
        kernel_matmul_float_avx2(w, o0, o1, x, y, ldy);
}

/* Embedding rows: the halves by instruction; blocks once a token are no burden in plain C. */
void kernel_dequantize_row_avx2(uint32_t type, const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    size_t i = 0;
    for (; type == KERNEL_F16 && i + 8 <= n; i += 8)
        _mm256_storeu_ps(dst + i, load8(KERNEL_F16, p, i));
    if (type == KERNEL_F16)
        p += 2 * i;
    kernel_dequantize_row_c(type, p, dst + i, n - i);
}

void kernel_init_avx2(struct kernel_table *k)
{
    k->level = "avx2";
    k->act_prepare = kernel_act_prepare_avx2;
    k->matmul = kernel_matmul_avx2;
    k->dequantize_row = kernel_dequantize_row_avx2;
    k->kv_store = kernel_kv_store_avx2;
    k->attn_part = kernel_attn_part_avx2;
    kernel_init_vector_avx2(k);
    kernel_init_delta_avx2(k);
}
