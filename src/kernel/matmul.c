/* Matrix products in plain C. Quantised weights are packed (kernel/pack.h): a lane of a record is
 * read back once and multiplied with all rows, sums in the order that kernel/act.h fixes. Float
 * weights: eight partial sums, which compilers turn into vector lanes and which halve the rounding
 * error twice over against one long sum. */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "kernel/act.h"
#include "kernel/pack.h"
#include "kernel/reference.h"

#define LANES 8
#define CHUNK 256 /* float weights converted at a time */

enum kernel_act_kind kernel_act_kind(uint32_t type)
{
    return kernel_pack_format(type) != NULL ? KERNEL_ACT_Q8 : KERNEL_ACT_F32;
}

size_t kernel_act_row_bytes_c(uint32_t type, uint32_t n_in)
{
    if (kernel_pack_format(type) == NULL)
        return (size_t)n_in * sizeof(float);
    return (kernel_act_groups(n_in) * sizeof(struct kernel_act_group) + 63) & ~(size_t)63;
}

/* The largest magnitude as bits, which order like the values and put NaN on top. */
static uint32_t largest_bits(const float *x, uint32_t n)
{
    uint32_t top = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bits &= 0x7fffffff;
        top = bits > top ? bits : top;
    }
    return top;
}

/* Quantises n values, at most 128; the rest of the group is zeros. */
static void quantize_group(const float *x, uint32_t n, struct kernel_act_group *g)
{
    uint32_t bits = largest_bits(x, n);
    float top;
    memset(g, 0, sizeof *g);
    memcpy(&top, &bits, sizeof top);
    if (!(top >= KERNEL_ACT_TINY && top <= 3.4028235e38f)) {
        g->d = bits >= 0x7f800000 ? NAN : 0;
        return;
    }
    float id = 127.0f / top;
    for (uint32_t i = 0; i < n; i++)
        g->sub[i / KERNEL_ACT_SUB].q[i % KERNEL_ACT_SUB] = (int8_t)lrintf(x[i] * id);
    g->d = top / 127.0f;
    kernel_act_sums(g);
}

void kernel_act_prepare_c(uint32_t type, const float *x, uint32_t n_rows, uint32_t n_in, void *act)
{
    size_t row_bytes = kernel_act_row_bytes_c(type, n_in);
    if (kernel_pack_format(type) == NULL) {
        memcpy(act, x, n_rows * row_bytes);
        return;
    }
    for (uint32_t r = 0; r < n_rows; r++, x += n_in) {
        uint8_t *row = (uint8_t *)act + r * row_bytes;
        struct kernel_act_group *g = (void *)row;
        for (uint32_t i = 0; i < n_in; i += KERNEL_ACT_LEN)
            quantize_group(x + i, (uint32_t)num_min(KERNEL_ACT_LEN, n_in - i), g++);
        memset(g, 0, (size_t)(row + row_bytes - (uint8_t *)g));
    }
}

static int32_t dot_i8(const int8_t *a, const int8_t *b, uint32_t n)
{
    int32_t sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static float sub_sum(const struct kernel_act_group *x, uint32_t sub, uint32_t s)
{
    return sub == 32 ? (float)x->sum[s] : (float)x->sub[s / 2].half[s % 2];
}

/* 128 columns, from column `at` of an unpacked lane, times a group. */
static float multiply_group(const struct kernel_format *f, const struct kernel_unpacked *u,
                            uint32_t at, const struct kernel_act_group *x)
{
    uint32_t n_sub = KERNEL_ACT_LEN / f->sub, first = at / f->sub;
    bool super = f->block_len > KERNEL_ACT_LEN;
    double minima = 0; /* exact: products of 17 by 13 bits */
    for (uint32_t s = 0; s < n_sub && f->has_min && super; s++)
        minima += (double)u->min[first + s] * (double)sub_sum(x, f->sub, s);
    float p = (float)minima;
    for (uint32_t s = 0; s < n_sub; s++) {
        const int8_t *q = x->sub[s * f->sub / KERNEL_ACT_SUB].q + s * f->sub % KERNEL_ACT_SUB;
        int32_t v = dot_i8(u->q + at + s * f->sub, q, f->sub);
        if (f->has_min && !super)
            p = fmaf(u->min[first + s], sub_sum(x, f->sub, s), p);
        p = fmaf((float)v, u->scale[first + s], p);
    }
    return p;
}

static void matmul_blocks(const struct kernel_mat *w, uint32_t o, const struct kernel_act *x,
                          float *y, size_t ldy)
{
    const struct kernel_format *f = kernel_format(w->type);
    const struct pack_format *p = kernel_pack_format(w->type);
    const uint8_t *record = (const uint8_t *)w->data + o / PACK_ROWS * w->row_bytes;
    struct kernel_unpacked u;
    for (uint32_t r = 0; r < x->n_rows; r++)
        y[r * ldy] = 0;
    for (uint32_t at = 0; at < w->n_in; at += p->cols, record += p->bytes) {
        kernel_pack_lane(w->type, record, o % PACK_ROWS, &u);
        for (uint32_t r = 0; r < x->n_rows; r++) {
            const struct kernel_act_group *g = kernel_act_row(x, r) + at / KERNEL_ACT_LEN;
            for (uint32_t i = 0; i < p->cols; i += KERNEL_ACT_LEN, g++)
                y[r * ldy] = fmaf(multiply_group(f, &u, i, g), g->d, y[r * ldy]);
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
        if (kernel_pack_format(w->type) != NULL)
            matmul_blocks(w, o, x, y + o, ldy);
        else
            matmul_floats(w, o, x, y + o, ldy);
    }
}

void kernel_dequantize_row_c(uint32_t type, const void *src, float *dst, size_t n)
{
    kernel_type_info(type)->dequantize(src, dst, n);
}

void kernel_mat_row(const struct kernel_table *k, const struct kernel_mat *w, uint32_t o,
                    float *dst)
{
    if (kernel_pack_format(w->type) != NULL)
        kernel_pack_row(w, o, dst);
    else
        k->dequantize_row(w->type, (const uint8_t *)w->data + o * w->row_bytes, dst, w->n_in);
}
