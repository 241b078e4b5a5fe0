/* Matrix products in plain C. Quantised weights: a block is unpacked once and multiplied with all
 * rows, sums in the order that kernel/act.h fixes. Float weights: eight partial sums, which
 * compilers turn into vector lanes and which halve the rounding error twice over against one long
 * sum. */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "kernel/act.h"
#include "kernel/reference.h"
#include "kernel/unpack.h"

#define LANES 8
#define CHUNK 256 /* float weights converted at a time */

enum kernel_act_kind kernel_act_kind(uint32_t type)
{
    const struct kernel_format *f = kernel_format(type);
    if (f == NULL)
        return KERNEL_ACT_F32;
    return f->sub == 16 ? KERNEL_ACT_Q8_16 : KERNEL_ACT_Q8_32;
}

size_t kernel_act_row_bytes_c(uint32_t type, uint32_t n_in)
{
    const struct kernel_format *f = kernel_format(type);
    if (f == NULL)
        return (size_t)n_in * sizeof(float);
    return ((size_t)n_in + 12 * (n_in / f->sub) + 63) & ~(size_t)63;
}

/* The largest magnitude of 32 values as bits, which order like the values and put NaN on top. */
static uint32_t largest_bits(const float *x)
{
    uint32_t top = 0;
    for (int i = 0; i < KERNEL_ACT_LEN; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bits &= 0x7fffffff;
        top = bits > top ? bits : top;
    }
    return top;
}

/* Quantises 32 values; returns the scale. */
static float quantize_block(const float *x, int8_t *q)
{
    uint32_t bits = largest_bits(x);
    float top;
    memcpy(&top, &bits, sizeof top);
    if (!(top >= KERNEL_ACT_TINY && top <= 3.4028235e38f)) {
        memset(q, 0, KERNEL_ACT_LEN);
        return bits >= 0x7f800000 ? NAN : 0;
    }
    float id = 127.0f / top;
    for (int i = 0; i < KERNEL_ACT_LEN; i++)
        q[i] = (int8_t)lrintf(x[i] * id);
    return top / 127.0f;
}

static void prepare_row(const float *x, uint32_t n, uint32_t sub, uint8_t *row)
{
    int8_t *q = (int8_t *)row;
    float *d = (float *)(void *)(row + n);
    float *xs = d + n / sub;
    int32_t *sum = (int32_t *)(void *)(xs + n / sub);
    for (uint32_t i = 0; i < n; i += KERNEL_ACT_LEN) {
        float scale = quantize_block(x + i, q + i);
        for (uint32_t s = i / sub; s < (i + KERNEL_ACT_LEN) / sub; s++) {
            int32_t total = 0;
            for (uint32_t j = s * sub; j < (s + 1) * sub; j++)
                total += q[j];
            d[s] = scale;
            sum[s] = total;
            xs[s] = scale * (float)total;
        }
    }
}

void kernel_act_prepare_c(uint32_t type, const float *x, uint32_t n_rows, uint32_t n_in, void *act)
{
    const struct kernel_format *f = kernel_format(type);
    size_t row_bytes = kernel_act_row_bytes_c(type, n_in);
    if (f == NULL) {
        memcpy(act, x, n_rows * row_bytes);
        return;
    }
    ASSERT(n_in % KERNEL_ACT_LEN == 0);
    for (uint32_t r = 0; r < n_rows; r++)
        prepare_row(x + (size_t)r * n_in, n_in, f->sub, (uint8_t *)act + r * row_bytes);
}

static int32_t dot_i8(const int8_t *a, const int8_t *b, uint32_t n)
{
    int32_t sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* One block of a weight row times the same columns of one activation row, added to y. `at`: first
 * column. */
static float add_block(const struct kernel_format *f, const struct kernel_unpacked *u,
                       const struct kernel_act_row *x, size_t at, float y)
{
    for (uint32_t s = 0; s < f->block_len / f->sub; s++) {
        size_t xs = at / f->sub + s;
        int32_t v = dot_i8(u->q + s * f->sub, x->q + at + s * f->sub, f->sub);
        y = fmaf((float)v, u->scale[s] * x->d[xs], y);
        if (f->has_min)
            y = fmaf(u->min[s], x->xs[xs], y);
    }
    return y;
}

static void matmul_blocks(const struct kernel_mat *w, uint32_t o, const struct kernel_act *x,
                          float *y, size_t ldy)
{
    const struct kernel_format *f = kernel_format(w->type);
    const uint8_t *block = (const uint8_t *)w->data + o * w->row_bytes;
    struct kernel_unpacked u;
    for (uint32_t r = 0; r < x->n_rows; r++)
        y[r * ldy] = 0;
    for (size_t at = 0; at < w->n_in; at += f->block_len, block += f->block_bytes) {
        f->unpack(block, &u);
        for (uint32_t r = 0; r < x->n_rows; r++) {
            struct kernel_act_row row = kernel_act_row(x, r, f->sub);
            y[r * ldy] = add_block(f, &u, &row, at, y[r * ldy]);
        }
    }
}

static float lanes_total(const float *lane)
{
    float even = (lane[0] + lane[4]) + (lane[2] + lane[6]);
    return even + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

static void add_products(float *lane, const float *a, const float *b, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            lane[j] += a[i + j] * b[i + j];
    for (size_t j = 0; i + j < n; j++)
        lane[j] += a[i + j] * b[i + j];
}

float kernel_dot_c(const float *a, const float *b, size_t n)
{
    float lane[LANES] = { 0 };
    add_products(lane, a, b, n);
    return lanes_total(lane);
}

/* n values from position i of a row of F32, F16 or BF16. */
static void load_floats(uint32_t type, const uint8_t *row, size_t i, float *dst, size_t n)
{
    const struct kernel_type_info *info = kernel_type_info(type);
    info->dequantize(row + i * info->block_bytes, dst, n);
}

static void matmul_floats(const struct kernel_mat *w, uint32_t o, const struct kernel_act *x,
                          float *y, size_t ldy)
{
    const uint8_t *w_row = (const uint8_t *)w->data + o * w->row_bytes;
    float chunk[CHUNK];
    for (uint32_t r = 0; r < x->n_rows; r++) {
        const void *x_row = (const uint8_t *)x->data + r * x->row_bytes;
        const float *row = x_row;
        float lane[LANES] = { 0 };
        for (size_t i = 0; i < w->n_in; i += CHUNK) {
            size_t n = num_min(CHUNK, w->n_in - i);
            load_floats(w->type, w_row, i, chunk, n);
            add_products(lane, chunk, row + i, n);
        }
        y[r * ldy] = lanes_total(lane);
    }
}

void kernel_matmul_c(const struct kernel_mat *w, uint32_t o0, uint32_t o1,
                     const struct kernel_act *x, float *y, size_t ldy)
{
    ASSERT(o0 <= o1 && o1 <= w->n_out && x->n_in == w->n_in);
    for (uint32_t o = o0; o < o1; o++) {
        if (kernel_format(w->type) != NULL)
            matmul_blocks(w, o, x, y + o, ldy);
        else
            matmul_floats(w, o, x, y + o, ldy);
    }
}

void kernel_dequantize_row_c(uint32_t type, const void *src, float *dst, size_t n)
{
    kernel_type_info(type)->dequantize(src, dst, n);
}
