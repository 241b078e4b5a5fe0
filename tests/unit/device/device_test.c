/* Goal: products over mixed weight types, with biases and many rows, equal the kernel's own row by
 * row, bit for bit, for every number of threads; levels and thread counts are checked. */
#include "device/device.h"

#include "base/mem.h"
#include "unit/test.h"

#define N_IN 256
#define N_ROWS 301 /* several tiles of f32 activations, and a rest */
#define N_MATS 4

static struct device *open_device(uint32_t n_threads, const char *level)
{
    struct device *d;
    struct err err;
    struct device_params p = { n_threads, level };
    assert_int_equal(0, device_create(&d, &p, &err));
    return d;
}

static float next_float(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (float)(*seed >> 8) / (float)(1 << 24) * 2 - 1;
}

struct weights {
    struct device_store *store;
    struct device_mat mats[N_MATS];
    void *data[N_MATS];
    float *bias;
};

static void make_weights(struct device *d, struct weights *w)
{
    static const uint32_t TYPES[N_MATS] = { KERNEL_Q4_K, KERNEL_F32, KERNEL_Q8_0, KERNEL_Q6_K };
    static const uint32_t ROWS[N_MATS] = { 70, 33, 1, 130 };
    uint32_t seed = 7;
    float row[N_IN];
    w->bias = mem_alloc(33, sizeof *w->bias);
    assert_non_null(w->bias);
    assert_int_equal(0, device_store_create(&w->store, d));
    for (int i = 0; i < 33; i++)
        w->bias[i] = next_float(&seed);
    for (int j = 0; j < N_MATS; j++) {
        size_t bytes;
        assert_int_equal(0, kernel_row_bytes(&bytes, TYPES[j], N_IN));
        uint8_t *p = mem_alloc(ROWS[j], bytes);
        assert_non_null(p);
        for (uint32_t r = 0; r < ROWS[j]; r++) {
            for (int i = 0; i < N_IN; i++)
                row[i] = next_float(&seed);
            kernel_type_info(TYPES[j])->quantize(row, p + r * bytes, N_IN);
        }
        w->data[j] = p;
        assert_int_equal(0, device_mat_init(w->store, &w->mats[j], TYPES[j], ROWS[j], N_IN, p));
    }
    w->mats[1].bias = w->bias;
}

static void free_weights(struct weights *w)
{
    for (int j = 0; j < N_MATS; j++)
        mem_free(w->data[j]);
    device_store_destroy(w->store);
    mem_free(w->bias);
}

/* The product of one matrix and one row, by the kernel alone. */
static void one_row(const struct device *d, const struct device_mat *m, const float *x, float *y)
{
    const struct kernel_table *k = device_kernels(d);
    _Alignas(64) uint8_t act[4 * N_IN + 128];
    k->act_prepare(m->mat.type, x, 1, N_IN, act);
    struct kernel_act a = { act, k->act_row_bytes(m->mat.type, N_IN), 1, N_IN };
    k->matmul(&m->mat, 0, m->mat.n_out, &a, y, m->mat.n_out);
    for (uint32_t o = 0; o < m->mat.n_out && m->bias != NULL; o++)
        y[o] += m->bias[o];
}

static void check_linear(uint32_t n_threads, const char *level, uint32_t n_rows)
{
    struct device *d = open_device(n_threads, level);
    struct weights w;
    make_weights(d, &w);
    uint32_t seed = n_rows;
    float *x = mem_alloc((size_t)n_rows * N_IN, sizeof *x), *ys[N_MATS], want[256];
    void *scratch = mem_alloc(1, device_act_bytes(d, n_rows, N_IN));
    assert_non_null(x);
    assert_non_null(scratch);
    for (uint32_t i = 0; i < n_rows * N_IN; i++)
        x[i] = next_float(&seed);
    const struct device_mat *mats[N_MATS];
    for (int j = 0; j < N_MATS; j++) {
        mats[j] = &w.mats[j];
        ys[j] = mem_alloc((size_t)n_rows * mats[j]->mat.n_out, sizeof(float));
        assert_non_null(ys[j]);
    }
    const struct device_product p = { mats, ys, N_MATS, x, n_rows, scratch };
    device_linear(d, &p);
    for (int j = 0; j < N_MATS; j++)
        for (uint32_t r = 0; r < n_rows; r++) {
            size_t n = mats[j]->mat.n_out;
            one_row(d, mats[j], x + (size_t)r * N_IN, want);
            assert_memory_equal(want, ys[j] + r * n, n * sizeof *want);
        }
    for (int j = 0; j < N_MATS; j++)
        mem_free(ys[j]);
    mem_free(scratch);
    mem_free(x);
    free_weights(&w);
    device_destroy(d);
}

static void linear(void **state)
{
    (void)state;
    static const char *const LEVELS[] = { "generic", "auto" };
    for (size_t i = 0; i < COUNT_OF(LEVELS); i++)
        for (uint32_t n_threads = 1; n_threads <= 3; n_threads++) {
            check_linear(n_threads, LEVELS[i], 1);
            check_linear(n_threads, LEVELS[i], 5);
        }
    check_linear(2, "auto", N_ROWS);
}

/* A slice is packed by itself, so it may begin anywhere; a row is what the file says. */
static void rows_of_a_matrix(void **state)
{
    (void)state;
    enum { ROWS = 50, FROM = 7, N = 37 };
    struct device *d = open_device(2, NULL);
    struct device_store *store;
    struct device_mat whole, part;
    uint32_t seed = 3;
    size_t bytes;
    float rows[ROWS][N_IN], got[N_IN], want[N_IN];
    assert_int_equal(0, device_store_create(&store, d));
    assert_int_equal(0, kernel_row_bytes(&bytes, KERNEL_Q5_K, N_IN));
    uint8_t *p = mem_alloc(ROWS, bytes);
    assert_non_null(p);
    for (int r = 0; r < ROWS; r++) {
        for (int i = 0; i < N_IN; i++)
            rows[r][i] = next_float(&seed);
        kernel_type_info(KERNEL_Q5_K)->quantize(rows[r], p + (size_t)r * bytes, N_IN);
    }
    assert_int_equal(0, device_mat_init(NULL, &whole, KERNEL_Q5_K, ROWS, N_IN, p));
    assert_false(whole.ready);
    assert_int_equal(0, device_store_bytes(store));
    assert_int_equal(0, device_mat_rows(store, &part, &whole, FROM, N));
    assert_true(part.ready);
    assert_true(device_store_bytes(store) >= N * bytes);
    for (uint32_t o = 0; o < N; o++) {
        kernel_type_info(KERNEL_Q5_K)->dequantize(p + (FROM + o) * bytes, want, N_IN);
        device_mat_row(d, &part, o, got);
        assert_memory_equal(want, got, sizeof want);
    }
    mem_free(p);
    device_store_destroy(store);
    device_destroy(d);
}

struct counted {
    uint32_t n[1000];
};

static void count(void *ctx, uint32_t i, uint32_t thread)
{
    struct counted *c = ctx;
    assert_true(thread < 3);
    c->n[i]++;
}

static void every_index_once(void **state)
{
    (void)state;
    struct device *d = open_device(3, NULL);
    assert_int_equal(3, device_threads(d));
    for (uint32_t n = 0; n <= 1000; n += 250)
        for (size_t work = 0; work <= 1u << 20; work = 16 * work + 1) { /* alone, and on the team */
            struct counted c = { { 0 } };
            device_for(d, n, work, count, &c);
            for (uint32_t i = 0; i < 1000; i++)
                assert_int_equal(i < n, c.n[i]);
        }
    device_destroy(d);
}

static void refused(void **state)
{
    (void)state;
    struct device *d = NULL;
    struct err err = { 0 };
    struct device_params p = { 257, NULL };
    assert_int_equal(E_RANGE, device_create(&d, &p, &err));
    assert_string_equal("threads", err.field);
    p = (struct device_params){ 1, "pentium" };
    assert_int_equal(E_USAGE, device_create(&d, &p, &err));
    assert_null(d);
    d = open_device(0, "generic");
    assert_true(device_threads(d) >= 1);
    assert_string_equal("generic", device_kernels(d)->level);
    assert_non_null(strstr(device_name(d), "generic"));
    struct device_mat m;
    assert_int_equal(E_UNSUPPORTED, device_mat_init(NULL, &m, KERNEL_IQ1_S, 1, 256, "x"));
    assert_int_equal(E_UNSUPPORTED, device_mat_init(NULL, &m, 999, 1, 256, "x"));
    assert_int_equal(E_RANGE, device_mat_init(NULL, &m, KERNEL_Q4_K, 1, 255, "x"));
    assert_int_equal(E_RANGE, device_mat_init(NULL, &m, KERNEL_F32, 0, 256, "x"));
    device_destroy(d);
}

int device_test(void);
int device_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear),
        cmocka_unit_test(rows_of_a_matrix),
        cmocka_unit_test(every_index_once),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests_name("device/device", tests, NULL, NULL);
}
