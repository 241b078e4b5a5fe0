/* The generic level against independent arithmetic in double: products of all types, attention over
 * a shuffled block table, the row operations. The referee then holds the other levels to the
 * generic one. */
#include "unit/test.h"

#include <math.h>

#include "base/num.h"
#include "base/rng.h"
#include "kernel/kernel.h"
#include "kernel/pack.h"

static struct rng rng;

/* Rows of a file as a product takes them, in memory that is kept. */
static void take_rows(struct kernel_mat *m)
{
    static _Alignas(64) uint8_t panel[1 << 17];
    if (kernel_pack_format(m->type) == NULL)
        return;
    assert_true(m->n_out <= PACK_ROWS && kernel_pack_bytes(m->type, 1, m->n_in) <= sizeof panel);
    kernel_pack_panel(m->type, m->data, m->row_bytes, m->n_out, m->n_in, panel);
    m->data = panel;
    m->row_bytes = kernel_pack_panel_bytes(m->type, m->n_in);
}

static void fill(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(rng_unit(&rng) * 2 - 1);
}

/* y = W x for the dequantised W, in double. Activations in int8 cost at most half a step, max|x| /
 * 254, on each of the products. */
static void products_are_sums_of_products(void **state)
{
    (void)state;
    struct kernel_table k;
    kernel_init(&k, 0);
    rng_seed(&rng, 3);
    enum { N_IN = 512, N_OUT = 5, N_ROWS = 3, LDY = 7 };
    static float w[N_OUT * N_IN];
    static float x[N_ROWS * N_IN];
    static _Alignas(64) uint8_t bytes[4 * N_OUT * N_IN];
    static _Alignas(64) uint8_t act[4 * N_ROWS * N_IN + 256];
    for (uint32_t type = 0; type < KERNEL_TYPE_COUNT; type++) {
        const struct kernel_type_info *info = kernel_type_info(type);
        if (info == NULL || info->dequantize == NULL)
            continue;
        struct kernel_mat m = { .data = bytes, .type = type, .n_out = N_OUT, .n_in = N_IN };
        assert_int_equal(kernel_row_bytes(&m.row_bytes, type, N_IN), 0);
        fill(w, COUNT_OF(w));
        fill(x, COUNT_OF(x));
        info->quantize(w, bytes, COUNT_OF(w));
        info->dequantize(bytes, w, COUNT_OF(w));
        take_rows(&m);
        struct kernel_act a = { act, k.act_row_bytes(type, N_IN), N_ROWS, N_IN };
        assert_true(a.row_bytes <= 4 * N_IN + 128);
        k.act_prepare(type, x, N_ROWS, N_IN, act);
        float y[N_ROWS * LDY];
        for (size_t i = 0; i < COUNT_OF(y); i++)
            y[i] = 77;
        k.matmul(&m, 0, N_OUT, &a, y + 1, LDY);
        double step = kernel_act_kind(type) == KERNEL_ACT_F32 ? 1e-5 : 1.0 / 254;
        for (uint32_t r = 0; r < N_ROWS; r++)
            for (uint32_t o = 0; o < N_OUT; o++) {
                double sum = 0;
                double bound = 0;
                for (uint32_t i = 0; i < N_IN; i++) {
                    sum += (double)w[o * N_IN + i] * (double)x[r * N_IN + i];
                    bound += fabs((double)w[o * N_IN + i]) * step;
                }
                assert_true(fabs((double)y[r * LDY + 1 + o] - sum) <= bound);
                assert_true(y[r * LDY] == 77 && y[r * LDY + 1 + N_OUT] == 77);
            }
    }
}

enum { DIM = 40, GROUP = 3, BLOCK = 4, POS = 150, N_BLOCKS = POS / BLOCK + 1 };

/* Softmax attention of one head in double over positions [lo, POS]. */
static void attend(const struct kernel_attn *a, const float *q, float k[][DIM], float v[][DIM],
                   uint32_t lo, float sink, double *out)
{
    double score[POS + 1];
    double top = a->sinks != NULL ? (double)sink : -INFINITY;
    for (uint32_t p = lo; p <= POS; p++) {
        score[p] = 0;
        for (uint32_t i = 0; i < DIM; i++)
            score[p] += (double)q[i] * (double)k[p][i];
        score[p] *= (double)a->scale;
        if (a->softcap != 0)
            score[p] = (double)a->softcap * tanh(score[p] / (double)a->softcap);
        top = fmax(top, score[p]);
    }
    double sum = a->sinks != NULL ? exp((double)sink - top) : 0;
    for (uint32_t i = 0; i < DIM; i++)
        out[i] = 0;
    for (uint32_t p = lo; p <= POS; p++) {
        sum += exp(score[p] - top);
        for (uint32_t i = 0; i < DIM; i++)
            out[i] += exp(score[p] - top) * (double)v[p][i];
    }
    for (uint32_t i = 0; i < DIM; i++)
        out[i] /= sum;
}

static float keys[POS + 1][DIM];
static float values[POS + 1][DIM];

static void check_attention(const struct kernel_table *k, const struct kernel_attn *a,
                            uint32_t type, double tolerance)
{
    size_t row = kernel_kv_row_bytes(type, DIM);
    uint32_t table[N_BLOCKS];
    for (uint32_t i = 0; i < N_BLOCKS; i++)
        table[i] = (i * 5 + 2) % N_BLOCKS; /* 38 blocks, 5 is prime to it */
    struct kernel_kv kv = { .table = table, .block_bytes = 2 * BLOCK * row + 32, .block_len = BLOCK,
                            .k_offset = 16, .v_offset = 16 + BLOCK * row, .k_stride = row,
                            .v_stride = row, .kv_type = type };
    uint8_t *slab = malloc(N_BLOCKS * kv.block_bytes);
    kv.slab = slab;
    for (uint32_t p = 0; p <= POS; p++) {
        uint8_t *b = slab + table[p / BLOCK] * kv.block_bytes;
        k->kv_store(type, keys[p], b + kv.k_offset + p % BLOCK * row, DIM);
        k->kv_store(type, values[p], b + kv.v_offset + p % BLOCK * row, DIM);
    }
    float q[GROUP * DIM];
    float out[GROUP * DIM];
    fill(q, COUNT_OF(q));
    struct kernel_attn_rows rows = { .q = q, .out = out, .pos0 = POS, .n_rows = 1 };
    void *scratch = aligned_alloc(64, (kernel_attn_scratch(a, 1) + 63) / 64 * 64);
    kernel_attn(k, a, &kv, &rows, scratch);
    uint32_t lo = a->window != 0 ? POS + 1 - a->window : 0;
    for (uint32_t g = 0; g < GROUP; g++) {
        double want[DIM];
        attend(a, q + g * DIM, keys, values, lo, a->sinks != NULL ? a->sinks[g] : 0, want);
        for (uint32_t i = 0; i < DIM; i++)
            assert_true(fabs((double)out[g * DIM + i] - want[i]) < tolerance);
    }
    free(scratch);
    free(slab);
}

static void attention_is_a_weighted_mean(void **state)
{
    (void)state;
    struct kernel_table k;
    kernel_init(&k, 0);
    rng_seed(&rng, 4);
    fill(keys[0], COUNT_OF(keys) * DIM);
    fill(values[0], COUNT_OF(values) * DIM);
    static const float sinks[GROUP] = { 1, -2, 3 };
    struct kernel_attn a = { .k_dim = DIM, .v_dim = DIM, .n_group = GROUP, .scale = 2 };
    check_attention(&k, &a, KERNEL_F32, 1e-5);
    check_attention(&k, &a, KERNEL_F16, 5e-3);
    check_attention(&k, &a, KERNEL_BF16, 4e-2);
    check_attention(&k, &a, KERNEL_Q8_0, 4e-2);
    a.window = 67;
    a.softcap = 3;
    a.sinks = sinks;
    check_attention(&k, &a, KERNEL_F32, 1e-5);
    a.window = 1; /* only itself: the value as it is, but for the sink */
    a.sinks = NULL;
    check_attention(&k, &a, KERNEL_F32, 1e-6);
}

static void rows_are_normalised(void **state)
{
    (void)state;
    struct kernel_table k;
    kernel_init(&k, 0);
    float x[3] = { 3, 0, 4 };
    float y[3];
    static const float w[3] = { 1, 2, 3 };
    k.rmsnorm(x, w, 1, 0, y, 3);
    double inv = 1 / sqrt(25.0 / 3);
    assert_true(fabs((double)y[0] - 3 * inv * 2) < 1e-6 && fabs((double)y[2] - 4 * inv * 4) < 1e-6);
    k.layernorm(x, NULL, w, 0, y, 3);
    double mean = 7.0 / 3;
    double sd = sqrt(((3 - mean) * (3 - mean) + mean * mean + (4 - mean) * (4 - mean)) / 3);
    assert_true(fabs((double)y[1] - (-mean / sd + 2)) < 1e-6);
    float s[4] = { 1, -INFINITY, 2, 1 };
    k.softmax(s, 4);
    assert_true(s[1] == 0 && fabs((double)s[2] - exp(1) / (exp(1) + 2)) < 1e-6 && s[0] == s[3]);
    float none[2] = { -INFINITY, -INFINITY };
    k.softmax(none, 2);
    assert_true(none[0] == 0 && none[1] == 0);
    k.softmax(none, 0);
}

static void rope_turns_pairs(void **state)
{
    (void)state;
    struct kernel_table k;
    kernel_init(&k, 0);
    static const float cs[4] = { 0, 1, -1, 0 }; /* a quarter turn, a half turn */
    float near[4] = { 1, 2, 3, 4 };
    float far[4] = { 1, 2, 3, 4 };
    k.rope(near, cs, 4, 1);
    assert_true(near[0] == -2 && near[1] == 1 && near[2] == -3 && near[3] == -4);
    k.rope(far, cs, 4, 0);
    assert_true(far[0] == -3 && far[2] == 1 && far[1] == -2 && far[3] == -4);
}

static void argmax_prefers_the_first_number(void **state)
{
    (void)state;
    struct kernel_table k;
    kernel_init(&k, 0);
    assert_int_equal(k.argmax((float[]){ 1, 3, 3, 2 }, 4), 1);
    assert_int_equal(k.argmax((float[]){ NAN, -INFINITY, NAN, -5, NAN }, 5), 3);
    assert_int_equal(k.argmax((float[]){ NAN, -INFINITY, -INFINITY }, 3), 1);
    assert_int_equal(k.argmax((float[]){ NAN, NAN }, 2), 0);
}

/* A row that is not finite must never come out as numbers. */
static void bad_activations_give_nan(void **state)
{
    (void)state;
    struct kernel_table k;
    kernel_init(&k, 0);
    static float x[64];
    static _Alignas(64) uint8_t act[512];
    uint8_t w[2 * 18];
    fill(x, 64);
    kernel_type_info(KERNEL_Q4_0)->quantize(x, w, 64);
    x[40] = INFINITY;
    k.act_prepare(KERNEL_Q4_0, x, 1, 64, act);
    struct kernel_mat m = { w, KERNEL_Q4_0, 1, 64, 36 };
    take_rows(&m);
    struct kernel_act a = { act, k.act_row_bytes(KERNEL_Q4_0, 64), 1, 64 };
    float y = 0;
    k.matmul(&m, 0, 1, &a, &y, 1);
    assert_true(isnan(y));
}

int kernel_test(void);
int kernel_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_sums_of_products),
        cmocka_unit_test(attention_is_a_weighted_mean),
        cmocka_unit_test(rows_are_normalised),
        cmocka_unit_test(rope_turns_pairs),
        cmocka_unit_test(argmax_prefers_the_first_number),
        cmocka_unit_test(bad_activations_give_nan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
