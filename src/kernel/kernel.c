/* Fills the table: the C reference first, then each level overwrites what it improves. */
#include "kernel/kernel.h"

#include "kernel/levels.h"
#include "kernel/reference.h"

void kernel_init(struct kernel_table *k, unsigned flags)
{
    *k = (struct kernel_table){
        .level = "generic",
        .act_row_bytes = kernel_act_row_bytes_c,
        .act_prepare = kernel_act_prepare_c,
        .matmul = kernel_matmul_c,
        .dequantize_row = kernel_dequantize_row_c,
        .rmsnorm = kernel_rmsnorm_c,
        .layernorm = kernel_layernorm_c,
        .rope = kernel_rope_c,
        .softmax = kernel_softmax_c,
        .add = kernel_add_c,
        .scale = kernel_scale_c,
        .silu_mul = kernel_silu_mul_c,
        .gelu_mul = kernel_gelu_mul_c,
        .softcap = kernel_softcap_c,
        .dot = kernel_dot_c,
        .argmax = kernel_argmax_c,
        .any_nan = kernel_any_nan_c,
        .exp_sum = kernel_exp_sum_c,
        .sum_from = kernel_sum_from_c,
        .find_from = kernel_find_from_c,
        .delta = kernel_delta_c,
        .conv_silu = kernel_conv_silu_c,
        .decay = kernel_decay_c,
        .sigmoid_mul = kernel_sigmoid_mul_c,
        .kv_store = kernel_kv_store_c,
        .attn_part = kernel_attn_part_c,
    };
#if defined(__x86_64__)
    if ((flags & KERNEL_AVX2) != 0)
        kernel_init_avx2(k);
    if ((flags & KERNEL_AVX512) != 0) {
        k->level = (flags & KERNEL_AVX512_BF16) != 0   ? "avx512-bf16"
                   : (flags & KERNEL_AVX512_VNNI) != 0 ? "avx512-vnni"
                                                       : "avx512";
        kernel_init_matmul_avx512(k, flags);
        kernel_init_attn_avx512(k, flags);
        kernel_init_delta_avx512(k);
        kernel_init_vector_avx512(k);
    }
#elif defined(__aarch64__)
    if ((flags & KERNEL_NEON) != 0)
        kernel_init_neon(k);
    if ((flags & KERNEL_DOTPROD) != 0)
        kernel_init_dotprod(k);
#else
    (void)flags;
#endif
}
