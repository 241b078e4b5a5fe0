/* Attention with sixteen lanes, in f32 whatever the cache holds. Floor: with g heads a group each
 * cached value costs g multiply-adds of 16 a cycle and its share of turning K (4 shuffles for 16
 * values); from memory a core gets about 5 bytes a cycle, so up to g = 4 (f16) the memory is the
 * limit. */
#include "kernel/x86/attn_avx512.h"

#include "kernel/attn_simd.h"
#include "kernel/levels.h"

ATTN_FLOAT_OPS(f32, KERNEL_F32)
ATTN_FLOAT_OPS(f16, KERNEL_F16)
ATTN_FLOAT_OPS(bf16, KERNEL_BF16)
ATTN_FLOAT_OPS(q8, KERNEL_Q8_0)

static void part_avx512(const struct kernel_attn *a, const struct kernel_kv *kv,
                             const struct kernel_attn_rows *r, uint32_t part, float *states,
                             void *scratch)
{
    struct part w = { .a = a, .r = r, .states = states };
    const struct attn_ops *ops = kv->kv_type == KERNEL_F16    ? &ops_f16
                                 : kv->kv_type == KERNEL_BF16 ? &ops_bf16
                                 : kv->kv_type == KERNEL_Q8_0 ? &ops_q8
                                                              : &ops_f32;
    attn_part(ops, &w, kv, part, scratch);
}

void kernel_init_attn_avx512(struct kernel_table *k, unsigned flags)
{
    (void)flags;
    k->attn_part = part_avx512;
}
