/* Products with float weights. An output is one chain of eight-lane fused multiply-adds over its
 * row, folded at the end, in every tile shape: so the number of rows does not change a bit of it. A
 * tile of 4 weight rows by 3 activation rows has 12 chains, enough to hide the latency of 4 cycles
 * at two a cycle, and 7 loads for 12 multiply-adds. */
#include "kernel/x86/avx2.h"

#define W_TILE 4
#define X_TILE 3

struct job {
    const uint8_t *w[W_TILE];
    const float *x[X_TILE];
    float *y;        /* of the first weight row and the first activation row */
    size_t ldy;
    uint32_t n_in;
    uint32_t n_w;    /* weight rows that count; the others repeat the last one */
};

/* n_x activation rows; type and n_x are constants where this is inlined. */
static ALWAYS_INLINE void tile(uint32_t type, uint32_t n_x, const struct job *j)
{
    __m256 acc[W_TILE][X_TILE];
    for (uint32_t o = 0; o < W_TILE; o++)
        for (uint32_t r = 0; r < n_x; r++)
            acc[o][r] = _mm256_setzero_ps();
    uint32_t i = 0;
    for (; i + 8 <= j->n_in; i += 8) {
        __m256 x[X_TILE];
        for (uint32_t r = 0; r < n_x; r++)
            x[r] = _mm256_loadu_ps(j->x[r] + i);
        for (uint32_t o = 0; o < W_TILE; o++) {
            __m256 w = load8(type, j->w[o], i);
            for (uint32_t r = 0; r < n_x; r++)
                acc[o][r] = _mm256_fmadd_ps(w, x[r], acc[o][r]);
        }
    }
    uint32_t rest = j->n_in - i;
    for (uint32_t o = 0; rest != 0 && o < W_TILE; o++)
        for (uint32_t r = 0; r < n_x; r++)
            acc[o][r] = _mm256_fmadd_ps(load8_tail(type, j->w[o], i, rest),
                                        load_tail(j->x[r] + i, rest), acc[o][r]);
    for (uint32_t o = 0; o < j->n_w; o++)
        for (uint32_t r = 0; r < n_x; r++)
            j->y[r * j->ldy + o] = sum8(acc[o][r]);
}

#define TILES(name, type)                                                                        \
    static void name##_1(const struct job *j) { tile(type, 1, j); }                              \
    static void name##_2(const struct job *j) { tile(type, 2, j); }                              \
    static void name##_3(const struct job *j) { tile(type, 3, j); }
TILES(tile_f32, KERNEL_F32)
TILES(tile_f16, KERNEL_F16)
TILES(tile_bf16, KERNEL_BF16)

typedef void (*tile_fn)(const struct job *);
static const tile_fn tiles[3][X_TILE] = {
    { tile_f32_1, tile_f32_2, tile_f32_3 },
    { tile_f16_1, tile_f16_2, tile_f16_3 },
    { tile_bf16_1, tile_bf16_2, tile_bf16_3 },
};

void kernel_matmul_float_avx2(const struct kernel_mat *w, uint32_t o0, uint32_t o1,
                              const struct kernel_act *x, float *y, size_t ldy)
{
    const tile_fn *fns = tiles[w->type == KERNEL_F32 ? 0 : w->type == KERNEL_F16 ? 1 : 2];
    struct job j = { .ldy = ldy, .n_in = w->n_in };
    for (uint32_t o = o0; o < o1; o += W_TILE) {
        j.n_w = o1 - o < W_TILE ? o1 - o : W_TILE;
        for (uint32_t k = 0; k < W_TILE; k++)
            j.w[k] = (const uint8_t *)w->data + (o + (k < j.n_w ? k : j.n_w - 1)) * w->row_bytes;
        for (uint32_t r = 0; r < x->n_rows; r += X_TILE) {
            uint32_t n_x = x->n_rows - r < X_TILE ? x->n_rows - r : X_TILE;
            for (uint32_t k = 0; k < n_x; k++)
                j.x[k] = (const float *)(const void *)((const uint8_t *)x->data +
                                                       (r + k) * x->row_bytes);
            j.y = y + r * ldy + o;
            fns[n_x - 1](&j);
        }
    }
}
