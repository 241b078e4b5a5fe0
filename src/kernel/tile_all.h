/* kernel/tile_all.h - the tiles of all formats, and the loop over panels and rows.
 *
 * Idea: rows are cut into tiles of nearly equal size, so that one row more than a tile holds does
 * not cost a whole tile: 17 rows are 9 and 8. Rows outside, panels inside: a tile of activations
 * stays in the nearest caches while the weights of the call pass by. */
#ifndef KERNEL_TILE_ALL_H
#define KERNEL_TILE_ALL_H

#include "kernel/tile.h"

typedef void (*tile_fn)(const struct tile_job *);

#define TILE(name, rows, ...)                                                                    \
    static void name##_##rows(const struct tile_job *j)                                          \
    {                                                                                            \
        const struct tile_shape s = { __VA_ARGS__ };                                             \
        tile(s, &pack_formats[s.type], rows, j);                                                 \
    }
#define TILES_4(name, ...)                                                                       \
    TILE(name, 1, __VA_ARGS__) TILE(name, 2, __VA_ARGS__)                                        \
    TILE(name, 3, __VA_ARGS__) TILE(name, 4, __VA_ARGS__)
#define TILES_8(name, ...)                                                                       \
    TILES_4(name, __VA_ARGS__)                                                                   \
    TILE(name, 5, __VA_ARGS__) TILE(name, 6, __VA_ARGS__)                                        \
    TILE(name, 7, __VA_ARGS__) TILE(name, 8, __VA_ARGS__)
#define TILES_12(name, ...)                                                                      \
    TILES_8(name, __VA_ARGS__)                                                                   \
    TILE(name, 9, __VA_ARGS__) TILE(name, 10, __VA_ARGS__)                                       \
    TILE(name, 11, __VA_ARGS__) TILE(name, 12, __VA_ARGS__)
#define NAMES_4(name) name##_1, name##_2, name##_3, name##_4
#define NAMES_8(name) NAMES_4(name), name##_5, name##_6, name##_7, name##_8
#define NAMES_12(name) NAMES_8(name), name##_9, name##_10, name##_11, name##_12
#if TILE_ROWS == 12
#define TILES(name, ...) TILES_12(name, __VA_ARGS__)
#define NAMES(name) { NAMES_12(name) }
#elif TILE_ROWS == 8
#define TILES(name, ...) TILES_8(name, __VA_ARGS__)
#define NAMES(name) { NAMES_8(name) }
#else
#define TILES(name, ...) TILES_4(name, __VA_ARGS__)
#define NAMES(name) { NAMES_4(name) }
#endif

/* Offsets of 8-bit codes are gone where they are made signed. */
#define SHIFT_WIDE (TILE_SIGNED ? -1 : 7)
#define BIAS_WIDE (TILE_SIGNED ? 0 : 128)

/* type, columns a scale, log2 of the codes' offset, minima in pairs, what the table lacks, run */
TILES(q4_0, KERNEL_Q4_0, 32, 3, 0, 0, 8)
TILES(q4_1, KERNEL_Q4_1, 32, -1, 0, 0, 8)
TILES(q5_0, KERNEL_Q5_0, 32, 4, 0, 0, 4)
TILES(q5_1, KERNEL_Q5_1, 32, -1, 0, 0, 4)
TILES(q8_0, KERNEL_Q8_0, 32, SHIFT_WIDE, 0, 0, 1)
TILES(q2_k, KERNEL_Q2_K, 16, -1, 1, 0, 4)
TILES(q3_k, KERNEL_Q3_K, 16, 2, 0, 0, 4)
TILES(q4_k, KERNEL_Q4_K, 32, -1, 1, 0, 8)
TILES(q5_k, KERNEL_Q5_K, 32, -1, 1, 0, 4)
TILES(q6_k, KERNEL_Q6_K, 16, 5, 0, 0, 2)
TILES(iq4_nl, KERNEL_IQ4_NL, 32, SHIFT_WIDE, 0, BIAS_WIDE, 1)
TILES(iq4_xs, KERNEL_IQ4_XS, 32, SHIFT_WIDE, 0, BIAS_WIDE, 1)
TILES(mxfp4, KERNEL_MXFP4, 32, 4, 0, 16, 4)
TILES(nvfp4, KERNEL_NVFP4, 16, 4, 0, 16, 4)

static const tile_fn tiles[KERNEL_TYPE_COUNT][TILE_ROWS] = {
    [KERNEL_Q4_0] = NAMES(q4_0),     [KERNEL_Q4_1] = NAMES(q4_1),
    [KERNEL_Q5_0] = NAMES(q5_0),     [KERNEL_Q5_1] = NAMES(q5_1),
    [KERNEL_Q8_0] = NAMES(q8_0),     [KERNEL_Q2_K] = NAMES(q2_k),
    [KERNEL_Q3_K] = NAMES(q3_k),     [KERNEL_Q4_K] = NAMES(q4_k),
    [KERNEL_Q5_K] = NAMES(q5_k),     [KERNEL_Q6_K] = NAMES(q6_k),
    [KERNEL_IQ4_NL] = NAMES(iq4_nl), [KERNEL_IQ4_XS] = NAMES(iq4_xs),
    [KERNEL_MXFP4] = NAMES(mxfp4),   [KERNEL_NVFP4] = NAMES(nvfp4),
};

static void tile_matmul(const struct kernel_mat *w, uint32_t o0, uint32_t o1,
                        const struct kernel_act *x, float *y, size_t ldy)
{
    const struct pack_format *f = &pack_formats[w->type];
    struct tile_job j = { .n_records = (uint32_t)num_ceil_div(w->n_in, f->cols),
                          .x_bytes = x->row_bytes,
                          .ldy = ldy };
    uint32_t n_tiles = (uint32_t)num_ceil_div(x->n_rows, TILE_ROWS), row = 0;
    ASSERT(o0 % PACK_ROWS == 0 && (o1 % PACK_ROWS == 0 || o1 == w->n_out));
    for (uint32_t t = 0; t < n_tiles; t++) {
        uint32_t n = (x->n_rows - row) / (n_tiles - t);
        n += (x->n_rows - row) % (n_tiles - t) != 0;
        j.x = (const uint8_t *)x->data + row * x->row_bytes;
        j.ahead = t == 0;
        for (uint32_t o = o0; o < o1; o += PACK_ROWS) {
            j.panel = (const uint8_t *)w->data + o / PACK_ROWS * w->row_bytes;
            j.n_out = o1 - o < PACK_ROWS ? o1 - o : PACK_ROWS;
            j.y = y + row * ldy + o;
            tiles[w->type][n - 1](&j);
        }
        row += n;
    }
}

#endif
