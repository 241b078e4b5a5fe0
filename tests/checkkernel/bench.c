/* Benchmarks: ns a value, GB/s of what must be read, and per cent of the ceilings measured first.
 * */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/num.h"
#include "checkkernel/check.h"
#include "kernel/pack.h"
#include "kernel/probe.h"

#define N_IN 2048
#define ROWS 512
#define DEPTH 4096 /* positions of the attention benchmark */
#define ATTN_SCRATCH (2u << 20)
#define WEIGHTS ((size_t)8192 * 2048 * 4) /* bytes: the largest matrix or cache */

struct ceilings {
    double fma, dot, read; /* per ns: operations, operations, bytes */
};

struct bench {
    struct check *t;
    struct ceilings top;
    bool once;
    const char *filter;
    uint8_t *weights;
    uint8_t *act;
    float *x, *y, *z;
};

static double now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

struct heads;
struct body {
    const struct bench *b;
    uint32_t type, n_out, n_rows, n_in;
    const struct heads *heads; /* attention only */
};

/* Least time of one call in ns: the minimum over about 60 ms is the machine without its neighbours.
 * */
static double time_of(const struct bench *b, void (*fn)(const struct body *),
                      const struct body *body)
{
    fn(body);
    if (b->once)
        return 1;
    double best = INFINITY;
    double end = now_ns() + 6e7;
    while (now_ns() < end) {
        double start = now_ns();
        fn(body);
        double took = now_ns() - start;
        best = took < best ? took : best;
    }
    return best;
}

static bool wanted(const struct bench *b, const char *name)
{
    return b->once || b->filter == NULL || strstr(name, b->filter) != NULL;
}

static void run_matmul(const struct body *m)
{
    const struct bench *b = m->b;
    struct kernel_mat w = { b->weights, m->type, m->n_out, m->n_in, 0 };
    struct kernel_act x = { b->act, b->t->k.act_row_bytes(m->type, m->n_in), m->n_rows, m->n_in };
    if (kernel_pack_format(m->type) != NULL)
        w.row_bytes = kernel_pack_panel_bytes(m->type, m->n_in);
    else if (kernel_row_bytes(&w.row_bytes, m->type, m->n_in) < 0)
        abort();
    b->t->k.matmul(&w, 0, m->n_out, &x, b->y, m->n_out);
}

/* Equal rows: what is in them does not change the time. */
static size_t make_weights(struct bench *b, const struct body *m)
{
    size_t row_bytes;
    if (kernel_row_bytes(&row_bytes, m->type, m->n_in) < 0)
        abort();
    uint8_t *rows = malloc(PACK_ROWS * row_bytes);
    for (uint32_t o = 0; o < PACK_ROWS; o++)
        kernel_type_info(m->type)->quantize(b->x + o, rows + o * row_bytes, m->n_in);
    size_t bytes = kernel_pack_format(m->type) != NULL ? kernel_pack_panel_bytes(m->type, m->n_in)
                                                       : PACK_ROWS * row_bytes;
    for (uint32_t o = 0; o < m->n_out; o += PACK_ROWS) {
        uint8_t *to = b->weights + o / PACK_ROWS * bytes;
        if (kernel_pack_format(m->type) != NULL)
            kernel_pack_panel(m->type, rows, row_bytes, PACK_ROWS, m->n_in, to);
        else
            memcpy(to, rows, bytes);
    }
    free(rows);
    return bytes * num_ceil_div(m->n_out, PACK_ROWS);
}

/* The matrices of a model of 1 to 2 thousand values, and the numbers of rows around the tiles'. */
static void bench_matmul(struct bench *b, uint32_t type)
{
    static const uint32_t shapes[][2] = { { 2048, 2048 }, { 8192, 2048 }, { 2048, 8192 },
                                          { 1024, 3072 } }; /* n_out, n_in */
    static const uint32_t rows[] = { 1, 4, 8, 9, 16, 33, 128, 512 };
    double top = kernel_act_kind(type) == KERNEL_ACT_F32 ? b->top.fma : b->top.dot;
    for (unsigned s = 0; s < 4; s++) {
        struct body m = { .b = b, .type = type, .n_in = shapes[s][1] };
        m.n_out = b->once ? 20 : shapes[s][0];
        double bytes = (double)make_weights(b, &m);
        b->t->k.act_prepare(type, b->x, b->once ? 4 : ROWS, m.n_in, b->act);
        for (unsigned i = 0; i < (b->once ? 2 : 8); i++) {
            m.n_rows = rows[i];
            double ns = time_of(b, run_matmul, &m);
            double ops = 2.0 * m.n_out * m.n_in * m.n_rows / ns;
            if (!b->once)
                printf("%-11s matmul %-6s %4u x %4u rows %3u %9.1f us %7.1f GOP/s (%3.0f %% of "
                       "peak) %6.1f GB/s (%3.0f %% of read)\n", b->t->k.level,
                       kernel_type_info(type)->name, m.n_out, m.n_in, m.n_rows, ns / 1e3, ops,
                       100 * ops / top, bytes / ns, 100 * bytes / ns / b->top.read);
        }
    }
}

static void run_rmsnorm(const struct body *m)
{
    m->b->t->k.rmsnorm(m->b->x, m->b->z, 0, 1e-6f, m->b->y, N_IN);
}
static void run_layernorm(const struct body *m)
{
    m->b->t->k.layernorm(m->b->x, m->b->z, m->b->z, 1e-6f, m->b->y, N_IN);
}
static void run_rope(const struct body *m)
{
    m->b->t->k.rope(m->b->y, m->b->z, 128, 0);
}
static void run_rope_adjacent(const struct body *m)
{
    m->b->t->k.rope(m->b->y, m->b->z, 128, 1);
}
static void run_softmax(const struct body *m)
{
    memcpy(m->b->y, m->b->x, N_IN * sizeof(float));
    m->b->t->k.softmax(m->b->y, N_IN);
}
static void run_add(const struct body *m)
{
    m->b->t->k.add(m->b->y, m->b->x, N_IN);
    m->b->t->k.scale(m->b->y, 0.5f, N_IN);
}
static void run_silu(const struct body *m)
{
    memcpy(m->b->y, m->b->x, N_IN * sizeof(float));
    m->b->t->k.silu_mul(m->b->y, m->b->x, N_IN);
}
static void run_gelu(const struct body *m)
{
    memcpy(m->b->y, m->b->x, N_IN * sizeof(float));
    m->b->t->k.gelu_mul(m->b->y, m->b->x, N_IN);
}
static void run_softcap(const struct body *m)
{
    memcpy(m->b->y, m->b->x, N_IN * sizeof(float));
    m->b->t->k.softcap(m->b->y, 30, N_IN);
}
static void run_dot(const struct body *m) { m->b->y[0] = m->b->t->k.dot(m->b->x, m->b->z, N_IN); }
static void run_argmax(const struct body *m)
{
    m->b->y[0] = (float)m->b->t->k.argmax(m->b->x, N_IN);
}
static void run_act(const struct body *m)
{
    m->b->t->k.act_prepare(KERNEL_Q4_0, m->b->x, 1, N_IN, m->b->act);
}
static void run_dequantize(const struct body *m)
{
    m->b->t->k.dequantize_row(KERNEL_Q4_K, m->b->weights, m->b->y, N_IN);
}
static void run_kv_f16(const struct body *m)
{
    m->b->t->k.kv_store(KERNEL_F16, m->b->x, m->b->act, N_IN);
}
static void run_kv_q8(const struct body *m)
{
    m->b->t->k.kv_store(KERNEL_Q8_0, m->b->x, m->b->act, N_IN);
}

static const struct {
    const char *name;
    void (*fn)(const struct body *);
    uint32_t n;
} rows_of[] = {
    { "rmsnorm", run_rmsnorm, N_IN },      { "layernorm", run_layernorm, N_IN },
    { "rope halves", run_rope, 128 },      { "rope adjacent", run_rope_adjacent, 128 },
    { "softmax", run_softmax, N_IN },      { "add and scale", run_add, N_IN },
    { "silu_mul", run_silu, N_IN },        { "gelu_mul", run_gelu, N_IN },
    { "softcap", run_softcap, N_IN },      { "dot", run_dot, N_IN },
    { "argmax", run_argmax, N_IN },        { "act_prepare", run_act, N_IN },
    { "dequantize Q4_K", run_dequantize, N_IN }, { "kv_store F16", run_kv_f16, N_IN },
    { "kv_store Q8_0", run_kv_q8, N_IN },
};

/* Heads on one KV head at depth DEPTH, dim values each, or 576 of which 512 are the value (MLA).
 * What must be read is the cache. */
struct heads {
    uint32_t type, dim, n_group, n_rows;
};

static void run_attn(const struct body *m)
{
    const struct bench *b = m->b;
    const struct heads *h = m->heads;
    uint32_t depth = b->once ? 100 : DEPTH, v_dim = h->dim == 576 ? 512 : h->dim;
    uint32_t table[DEPTH / 32];
    for (uint32_t i = 0; i < DEPTH / 32; i++)
        table[i] = i;
    size_t row = kernel_kv_row_bytes(h->type, h->dim);
    struct kernel_kv kv = { .slab = b->weights, .table = table, .block_bytes = (h->dim == 576 ? 32 : 64) * row,
                            .block_len = 32, .v_offset = h->dim == 576 ? 0 : 32 * row,
                            .k_stride = row, .v_stride = row, .kv_type = h->type };
    struct kernel_attn a = { .k_dim = h->dim, .v_dim = v_dim, .n_group = h->n_group,
                             .scale = 0.088f, .narrow = h->dim == 576 };
    struct kernel_attn_rows r = { b->x, b->y, (size_t)a.n_group * h->dim,
                                  (size_t)a.n_group * v_dim, depth - h->n_rows, h->n_rows };
    kernel_attn(&b->t->k, &a, &kv, &r, b->act);
}

static void bench_attn(struct bench *b, const struct heads *h)
{
    size_t row = kernel_kv_row_bytes(h->type, h->dim);
    uint32_t n_rows = h->dim == 576 ? 1 : 2, v_dim = h->dim == 576 ? 512 : h->dim;
    for (uint32_t p = 0; p < n_rows * DEPTH; p++)
        b->t->c.kv_store(h->type, b->x + p % 64, b->weights + p * row, h->dim);
    struct body m = { .b = b, .heads = h };
    double ns = time_of(b, run_attn, &m);
    double bytes = (double)n_rows * DEPTH * (double)row / ns;
    if (!b->once)
        printf("%-8s attn %-5s dim %3u group %2u rows %2u %8.1f us %6.2f GB/s (%3.0f %% of read) "
               "%6.1f GFLOP/s\n", b->t->k.level, kernel_type_info(h->type)->name, h->dim,
               h->n_group, h->n_rows, ns / 1e3, bytes, 100 * bytes / b->top.read,
               2.0 * DEPTH * (h->dim + v_dim) * h->n_group * h->n_rows / ns);
}

static void bench_attns(struct bench *b)
{
    static const uint32_t types[] = { KERNEL_F32, KERNEL_F16, KERNEL_BF16, KERNEL_Q8_0 };
    static const uint32_t shapes[][3] = { { 128, 1, 1 }, { 128, 2, 1 }, { 64, 4, 1 }, { 64, 4, 16 },
                                          { 128, 2, 32 }, { 576, 16, 1 }, { 576, 16, 4 } };
    for (unsigned i = 0; i < 4; i++)
        for (unsigned j = 0; j < sizeof shapes / sizeof *shapes; j++) {
            struct heads h = { types[i], shapes[j][0], shapes[j][1], shapes[j][2] };
            bench_attn(b, &h);
        }
}

/* One head of 128 x 128 and a prompt of rows; decays that keep every number normal. */
static void run_delta(const struct body *m)
{
    const struct bench *b = m->b;
    size_t rows = (size_t)m->n_rows * 128;
    struct kernel_delta d = { .n_rows = m->n_rows, .k_dim = 128, .v_dim = 128,
                              .q = b->x, .k = b->x + rows, .decay = b->z, .ld_k = 128,
                              .v = b->x + 2 * rows, .out = b->y, .ld_v = 128,
                              .beta = b->z, .ld_beta = 1,
                              .state = (float *)(void *)b->weights };
    b->t->k.delta(&d, 0, 8);
}

static void bench_delta(struct bench *b, uint32_t n_rows)
{
    struct body m = { .b = b, .n_rows = n_rows };
    for (size_t i = 0; i < (size_t)n_rows * 128; i++) {
        b->x[n_rows * 128 + i] *= 0.05f; /* keys of about unit length */
        b->z[i] = 0.9f;
    }
    memset(b->weights, 0, 128 * 128 * sizeof(float));
    double ns = time_of(b, run_delta, &m), flop = 2.0 * 4 * 128 * 128 * n_rows;
    if (!b->once)
        printf("%-8s delta 128 x 128, %3u rows %9.2f us %7.1f GFLOP/s (%.0f %% of fp32)\n",
               b->t->k.level, n_rows, ns / 1e3, flop / ns, 100 * flop / ns / b->top.fma);
    fill(b->t, b->x, (size_t)n_rows * 256, FILL_NORMAL);
    fill(b->t, b->z, (size_t)n_rows * 128, FILL_NORMAL);
}

static struct ceilings measure(unsigned flags)
{
    struct kernel_probe probe;
    kernel_probe_init(&probe, flags);
    struct ceilings c = { 0, 0, 0 };
    size_t bytes = (size_t)256 << 20;
    uint8_t *data = malloc(bytes);
    memset(data, 1, bytes);
    for (int i = 0; i < 5; i++) {
        double start = now_ns();
        double ops = (double)probe.fma_f32(2000000);
        c.fma = fmax(c.fma, ops / (now_ns() - start));
        start = now_ns();
        ops = (double)probe.dot_i8(2000000);
        c.dot = fmax(c.dot, ops / (now_ns() - start));
        start = now_ns();
        probe.read(data, bytes);
        c.read = fmax(c.read, (double)bytes / (now_ns() - start));
    }
    free(data);
    return c;
}

static void bench_rows(struct bench *b)
{
    for (size_t i = 0; i < sizeof rows_of / sizeof *rows_of; i++) {
        struct body m = { .b = b };
        if (!wanted(b, rows_of[i].name))
            continue;
        double ns = time_of(b, rows_of[i].fn, &m);
        if (!b->once)
            printf("%-8s %-16s %8.3f us %7.4f ns a value\n", b->t->k.level, rows_of[i].name,
                   ns / 1e3, ns / rows_of[i].n);
    }
}

void bench_run(struct check *t, unsigned flags, bool once, const char *filter)
{
    struct bench b = { .t = t, .top = { 1, 1, 1 }, .once = once, .filter = filter };
    size_t floats = (size_t)ROWS * 8192;
    b.weights = aligned_alloc(64, WEIGHTS);
    b.act = aligned_alloc(64, floats * 4 + 64 * ROWS + ATTN_SCRATCH);
    b.x = aligned_alloc(64, floats * 4);
    b.y = aligned_alloc(64, floats * 4);
    b.z = aligned_alloc(64, floats * 4);
    memset(b.weights, 0, WEIGHTS);
    size_t drawn = (size_t)4 * 8192; /* the rest repeats them */
    fill(t, b.x, drawn, FILL_NORMAL);
    for (size_t i = drawn; i < floats; i += drawn)
        memcpy(b.x + i, b.x, drawn * sizeof *b.x);
    memcpy(b.y, b.x, floats * sizeof *b.x);
    memcpy(b.z, b.x, floats * sizeof *b.x);
    if (!once) {
        b.top = measure(flags);
        printf("%-8s ceilings of one thread: fp32 %.1f GFLOP/s, int8 %.1f GOP/s, read %.1f GB/s\n",
               t->k.level, b.top.fma, b.top.dot, b.top.read);
    }
    bench_rows(&b);
    for (uint32_t type = 0; type < KERNEL_TYPE_COUNT; type++) {
        const struct kernel_type_info *info = kernel_type_info(type);
        bool computed = info != NULL && info->dequantize != NULL;
        if (computed && (wanted(&b, "matmul") || wanted(&b, info->name)))
            bench_matmul(&b, type);
    }
    if (wanted(&b, "attn"))
        bench_attns(&b);
    for (uint32_t n_rows = 1; n_rows <= 64 && wanted(&b, "delta"); n_rows *= 64)
        bench_delta(&b, n_rows);
    free(b.weights);
    free(b.act);
    free(b.x);
    free(b.y);
    free(b.z);
}
