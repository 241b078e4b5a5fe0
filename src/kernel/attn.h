/* kernel/attn.h - what the attention kernels of all levels share: the walk over a paged cache.
 *
 * Idea: scratch is cut into scores (n_group, TILE), the running maximum and sum of each head, and
 * one row as f32. Positions go in tiles that end at multiples of TILE.
 *
 *     positions   lo ....|........|....pos        window: lo = pos + 1 - window
 *                 tile 0   tile 1   tile 2
 *
 * Threads: pure; the scratch is the caller's. */
#ifndef KERNEL_ATTN_H
#define KERNEL_ATTN_H

#include <math.h>
#include <stdint.h>

#include "base/num.h"
#include "kernel/kernel.h"

#define KERNEL_ATTN_TILE 64

struct kernel_attn_state {
    float *scores; /* (n_group, TILE) */
    float *max;    /* (n_group) largest score so far */
    float *sum;    /* (n_group) of exp(score - max) */
    float *row;    /* one K or V row, blocks of 32 filled up */
};

static inline struct kernel_attn_state kernel_attn_begin(const struct kernel_attn *a, float *out,
                                                         void *scratch)
{
    struct kernel_attn_state s;
    s.scores = scratch;
    s.max = s.scores + (size_t)a->n_group * KERNEL_ATTN_TILE;
    s.sum = s.max + a->n_group;
    s.row = s.sum + a->n_group;
    for (uint32_t g = 0; g < a->n_group; g++) {
        s.max[g] = a->sinks != NULL ? a->sinks[g] : -INFINITY;
        s.sum[g] = a->sinks != NULL ? 1 : 0;
    }
    for (size_t i = 0; i < (size_t)a->n_group * a->v_dim; i++)
        out[i] = 0;
    return s;
}

static inline uint32_t kernel_attn_first(const struct kernel_attn *a, uint32_t pos)
{
    return a->window != 0 && pos >= a->window ? pos + 1 - a->window : 0;
}

static inline uint32_t kernel_attn_tile_end(uint32_t from, uint32_t pos)
{
    uint32_t end = (from / KERNEL_ATTN_TILE + 1) * KERNEL_ATTN_TILE;
    return end <= pos ? end : pos + 1;
}

static inline const uint8_t *kernel_kv_row(const struct kernel_kv *kv, size_t offset, size_t stride,
                                           uint32_t p)
{
    /* block_len is a power of two: one division serves shift and mask. */
    uint32_t block = kv->table[p / kv->block_len];
    return kv->slab + block * kv->block_bytes + offset + (p & (kv->block_len - 1)) * stride;
}

#endif
