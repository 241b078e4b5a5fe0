/* kernel/act.h - activations quantised to int8, and the one order in which they are summed.
 *
 * Idea: a row of activations is quantised once a layer: 32 values share a scale d = max|x| / 127,
 * which costs about as little quality as weights of 8 bits. A dot product with a weight block is
 * then exact in integers; only one multiply-add a sub-block is rounded. Beside q and d stand the
 * sums that weights with an offset or a minimum need, repeated for each sub-block so that a kernel
 * walks all arrays in step.
 *
 *     row    [ q: n int8 | d: n/sub f32 | xs: n/sub f32 | sum: n/sub i32 | up to 64 ]
 *     sub    16 (Q8_16, weights with a scale for 16 values) or 32 (Q8_32); d is always that of 32
 *     sum    q[0] + ... + q[sub - 1] of the sub-block; xs = d * sum
 *
 * The order, for every level, so that quantised matmuls give the same bits everywhere: an output
 * starts at 0; for each sub-block s in turn, with v the exact integer sum of w.q * x.q,
 *     y = fma(v, w.scale * d, y);     and, where the format has minima,    y = fma(w.min, xs, y)
 *
 * Not finite: if one of 32 values is infinite or NaN, the block has d = xs = NaN and q = 0. A block
 * whose largest value is below 1e-30 counts as zero. Alignment: rows start on 64 bytes. */
#ifndef KERNEL_ACT_H
#define KERNEL_ACT_H

#include <stddef.h>
#include <stdint.h>

#include "kernel/kernel.h"

#define KERNEL_ACT_LEN 32
#define KERNEL_ACT_TINY 1e-30f

/* Where the arrays of a row begin. */
struct kernel_act_row {
    const int8_t *q;
    const float *d;
    const float *xs;
    const int32_t *sum;
};

static inline struct kernel_act_row kernel_act_row(const struct kernel_act *x, uint32_t r,
                                                   uint32_t sub)
{
    const uint8_t *p = (const uint8_t *)x->data + r * x->row_bytes;
    const uint8_t *d = p + x->n_in;
    size_t n_sub = x->n_in / sub;
    return (struct kernel_act_row){ (const int8_t *)p, (const float *)(const void *)d,
                                    (const float *)(const void *)(d + 4 * n_sub),
                                    (const int32_t *)(const void *)(d + 8 * n_sub) };
}

#endif
