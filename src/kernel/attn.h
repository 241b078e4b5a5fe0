/* kernel/attn.h - attention over a paged cache: parts of the positions, tiles of a part.
 *
 * Idea: a call takes some query rows of one sequence at neighbouring positions, with the n_group
 * heads that share a KV head: up to KERNEL_ATTN_QUERIES queries that use each K and V row
 * together. The positions are cut at borders that depend on nothing but the position. A part gives
 * a state (maximum, sum, weighted sum of V) of its own; states are folded from left to right. So a
 * long sequence can be spread over threads by parts, and a row's numbers do not depend on how many
 * rows or threads there were:
 *
 *     positions  0 ........ 512 ....... 1024 ........ 1536 .. pos
 *     parts      [ part 0  |  part 1    |  part 2     | part 3 ]   each: tiles of 64 positions
 *     states        s0     +    s1      +    s2       +   s3       always in this order
 *
 *     state of one query   [ acc: v_dim, filled up to 16 | max | sum | ... ]  all in f32
 *
 * Scores are kept as powers of two: s = q k scale log2(e), so exp is exp2.
 *
 * Threads: pure; scratch and states are the caller's. */
#ifndef KERNEL_ATTN_H
#define KERNEL_ATTN_H

#include <math.h>
#include <stdint.h>

#include "base/num.h"
#include "kernel/kernel.h"

#define KERNEL_ATTN_TILE 64
#define KERNEL_LOG2E 1.44269504f

/* The part that holds a position, and the first position of a part: 64 parts of 512 positions, then
 * 32 parts an octave, so that their number grows with the logarithm of the context. */
uint32_t kernel_attn_part_of(uint32_t pos);
uint32_t kernel_attn_border(uint32_t part);

/* Floats of the state of one query. */
static inline size_t kernel_attn_state_len(const struct kernel_attn *a)
{
    return (a->v_dim + 15u) / 16 * 16 + 16;
}
static inline float *kernel_attn_max(const struct kernel_attn *a, float *state)
{
    return state + kernel_attn_state_len(a) - 16;
}

/* states (n_queries, state_len): nothing seen, or the sinks of the heads. */
void kernel_attn_begin(const struct kernel_attn *a, uint32_t n_rows, float *states);
/* into = into and then `from`: n_queries states each. */
void kernel_attn_fold(const struct kernel_attn *a, uint32_t n_queries, float *into,
                      const float *from);
/* r->out from the states of all its queries. */
void kernel_attn_finish(const struct kernel_attn *a, const struct kernel_attn_rows *r,
                        const float *states);

/* First position that a query at pos sees. */
static inline uint32_t kernel_attn_first(const struct kernel_attn *a, uint32_t pos)
{
    return a->window != 0 && pos >= a->window ? pos + 1 - a->window : 0;
}

/* What of a part rows [pos0, pos0 + n_rows) see together: [from, to), possibly empty. */
struct kernel_attn_span {
    uint32_t from, to;
};
static inline struct kernel_attn_span kernel_attn_span(const struct kernel_attn *a, uint32_t pos0,
                                                       uint32_t n_rows, uint32_t part)
{
    uint32_t lo = kernel_attn_first(a, pos0), hi = pos0 + n_rows;
    uint32_t from = kernel_attn_border(part), to = kernel_attn_border(part + 1);
    return (struct kernel_attn_span){ from > lo ? from : lo, to < hi ? to : hi };
}

/* Bytes from the start of a cache row to its value i. */
static inline size_t kernel_kv_at(uint32_t kv_type, size_t i)
{
    if (kv_type == KERNEL_Q8_0)
        return i / 32 * 34 + 2 + i % 32;
    return i * (kv_type == KERNEL_F32 ? 4 : 2);
}

static inline const uint8_t *kernel_kv_row(const struct kernel_kv *kv, size_t offset, size_t stride,
                                           uint32_t p)
{
    /* block_len is a power of two: one division serves shift and mask. */
    uint32_t block = kv->table[p / kv->block_len];
    return kv->slab + block * kv->block_bytes + offset + (p & (kv->block_len - 1)) * stride;
}

#endif
