/* Products with float weights: an output is two chains of four lanes over its row, in every tile
 * shape. A tile of 4 weight rows by 2 activation rows has 16 chains and 12 loads for 16
 * multiply-adds. */
#include "kernel/arm/neon.h"

#define W_TILE 4
#define X_TILE 2

struct job {
    const uint8_t *w[W_TILE];
    const uint8_t *x[X_TILE];
    float *y;     /* of the first weight row and the first activation row */
    size_t ldy;
    uint32_t n_in;
    uint32_t n_w; /* weight rows that count; the others repeat the last one */
};

static ALWAYS_INLINE void add8(float32x4x2_t *acc, float32x4x2_t a, float32x4x2_t b)
{
    acc->val[0] = vfmaq_f32(acc->val[0], a.val[0], b.val[0]);
    acc->val[1] = vfmaq_f32(acc->val[1], a.val[1], b.val[1]);
}

static ALWAYS_INLINE void tile(uint32_t type, uint32_t n_x, const struct job *j)
{
    float32x4x2_t acc[W_TILE][X_TILE];
    for (uint32_t o = 0; o < W_TILE; o++)
        for (uint32_t r = 0; r < n_x; r++)
            acc[o][r].val[0] = acc[o][r].val[1] = vdupq_n_f32(0);
    uint32_t i = 0;
    for (; i + 8 <= j->n_in; i += 8) {
        float32x4x2_t x[X_TILE];
        for (uint32_t r = 0; r < n_x; r++)
            x[r] = load8(KERNEL_F32, j->x[r], i);
        for (uint32_t o = 0; o < W_TILE; o++) {
            float32x4x2_t w = load8(type, j->w[o], i);
            for (uint32_t r = 0; r < n_x; r++)
                add8(&acc[o][r], w, x[r]);
        }
    }
    uint32_t rest = j->n_in - i;
    for (uint32_t o = 0; rest != 0 && o < W_TILE; o++)
        for (uint32_t r = 0; r < n_x; r++)
            add8(&acc[o][r], load8_tail(type, j->w[o], i, rest),
                 load8_tail(KERNEL_F32, j->x[r], i, rest));
    for (uint32_t o = 0; o < j->n_w; o++)
        for (uint32_t r = 0; r < n_x; r++)
            j->y[r * j->ldy + o] = vaddvq_f32(vaddq_f32(acc[o][r].val[0], acc[o][r].val[1]));
}

static void run(uint32_t type, uint32_t n_x, const struct job *j)
{
    switch (type) {
    case KERNEL_F32:
        if (n_x == 1)
            tile(KERNEL_F32, 1, j);
        else
            tile(KERNEL_F32, 2, j);
        break;
    case KERNEL_F16:
        if (n_x == 1)
            tile(KERNEL_F16, 1, j);
        else
            tile(KERNEL_F16, 2, j);
        break;
    default:
        if (n_x == 1)
            tile(KERNEL_BF16, 1, j);
        else
            tile(KERNEL_BF16, 2, j);
    }
}

void kernel_matmul_float_neon(const struct kernel_mat *w, uint32_t o0, uint32_t o1,
                              const struct kernel_act *x, float *y, size_t ldy)
{
    struct job j = { .ldy = ldy, .n_in = w->n_in };
    for (uint32_t o = o0; o < o1; o += W_TILE) {
        j.n_w = o1 - o < W_TILE ? o1 - o : W_TILE;
        for (uint32_t k = 0; k < W_TILE; k++)
            j.w[k] = (const uint8_t *)w->data + (o + (k < j.n_w ? k : j.n_w - 1)) * w->row_bytes;
        for (uint32_t r = 0; r < x->n_rows; r += X_TILE) {
            uint32_t n_x = x->n_rows - r < X_TILE ? x->n_rows - r : X_TILE;
            for (uint32_t k = 0; k < n_x; k++)
                j.x[k] = (const uint8_t *)x->data + (r + k) * x->row_bytes;
            j.y = y + r * ldy + o;
            run(w->type, n_x, &j);
        }
    }
}
