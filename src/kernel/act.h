/* kernel/act.h - activations quantised to int8, and the one order in which they are summed.
 *
 * Idea: a row of activations is quantised once a layer: KERNEL_ACT_LEN = 128 values share a scale
 * d = max|x| / 127. A dot product with a sub-block of weights is then exact in integers; the scales
 * of weights are multiplied in once a sub-block, those of activations once for 128 columns, so that
 * byte products are all but a seventh of the work. Beside the values stand the sums that weights
 * with an offset or a minimum need.
 *
 *     row    [ group | group | ... ]                    n_in filled up to whole groups with zeros
 *     group  [ sub 0 | sub 1 | sub 2 | sub 3 | sums of the subs | d ]         204 bytes
 *     sub    [ q: 32 int8 | -sum | -sum of each half | sums of the halves, int16 ]
 *
 * The order, for every level, so that quantised products give the same bits everywhere: an output
 * starts at 0; for each group of 128 columns, with v the exact integer sum of w.q * x.q and S that
 * of x.q over a sub-block,
 *     p = 0, in super-blocks with minima p = the exact sum of w.min * S, rounded once;
 *     for each sub-block (16 or 32 columns) in turn:
 *         in 32-value blocks with minima p = fma(w.min, S, p);     p = fma(v, w.scale, p)
 *     y = fma(p, d, y)
 *
 * Why 128 and not 32: a scale for 32 activations costs a multiplication more for every 8 dot
 * products; docs/performance.md has what either costs in speed and in quality.
 *
 * Not finite: if one of 128 values is infinite or NaN, the group has d = NaN and q = 0. A group
 * whose largest value is below 1e-30 counts as zero. Alignment: rows start on 64 bytes. */
#ifndef KERNEL_ACT_H
#define KERNEL_ACT_H

#include <stddef.h>
#include <stdint.h>

#include "base/num.h"
#include "kernel/kernel.h"

#define KERNEL_ACT_LEN 128u
#define KERNEL_ACT_SUB 32u
#define KERNEL_ACT_TINY 1e-30f

struct kernel_act_sub {
    int8_t q[KERNEL_ACT_SUB];
    int32_t minus;         /* - sum of q */
    int32_t minus_half[2]; /* of q[0..15], q[16..31] */
    int16_t half[2];       /* the sums themselves, for products of pairs */
};
struct kernel_act_group {
    struct kernel_act_sub sub[4];
    int16_t sum[4];
    float d;
};
_Static_assert(sizeof(struct kernel_act_sub) == 48, "no gaps");
_Static_assert(sizeof(struct kernel_act_group) == 204, "no gaps");

static inline size_t kernel_act_groups(uint32_t n_in)
{
    return num_ceil_div(n_in, KERNEL_ACT_LEN);
}

static inline const struct kernel_act_group *kernel_act_row(const struct kernel_act *x, uint32_t r)
{
    const void *p = (const uint8_t *)x->data + r * x->row_bytes;
    return p;
}

/* The sums of a group whose q are set. */
static inline void kernel_act_sums(struct kernel_act_group *g)
{
    for (int s = 0; s < 4; s++) {
        struct kernel_act_sub *sub = &g->sub[s];
        for (int h = 0; h < 2; h++) {
            int32_t sum = 0;
            for (int i = 0; i < 16; i++)
                sum += sub->q[16 * h + i];
            sub->minus_half[h] = -sum;
            sub->half[h] = (int16_t)sum;
        }
        sub->minus = sub->minus_half[0] + sub->minus_half[1];
        g->sum[s] = (int16_t)-sub->minus;
    }
}

#endif
