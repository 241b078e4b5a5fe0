/* Goal: Kimi Delta Attention gives the numbers of the shared float64 vectors (the recurrence, strong
 * decay, a whole small layer with its convolution states, cut after any row), and a whole model of
 * delta and latent attention with experts gives another engine's logits: in one piece, in pieces of
 * every size, token by token; the trained test model in company of others, bit for bit. */
#include <math.h>
#include <stdio.h>

#include "base/json.h"
#include "model/kda.h"
#include "os/file.h"
#include "unit/model/run.h"

static json_value *read_shared(const char *file)
{
    const char *dir = test_shared_dir();
    if (dir == NULL)
        skip();
    char path[1024], *text = NULL;
    size_t len = 0;
    json_value *v = NULL;
    struct err err = { 0 };
    snprintf(path, sizeof path, "%s/%s", dir, file);
    if (os_read_file(path, (size_t)16 << 20, &text, &len, &err) < 0 ||
        json_parse(&v, text, len, &JSON_LIMITS_FILE, &err) < 0)
        fail_msg("%s: %s", path, err.text);
    mem_free(text);
    return v;
}

/* The numbers of {"shape", "data"}; mem_free them. */
static float *numbers(const json_value *array, size_t *n)
{
    const json_value *data = json_get(array, "data");
    *n = json_len(data);
    float *x = mem_alloc(*n, sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < *n; i++)
        x[i] = (float)json_as_double(json_at(data, i));
    return x;
}

/* --- the recurrence alone --- */

enum { T = 21, H = 2, D = 8 }; /* the vectors' core problem */

static float *take(const json_value *core, const char *key, size_t n)
{
    size_t have;
    float *x = numbers(json_get(core, key), &have);
    assert_int_equal(n, have);
    return x;
}

/* S of one head, (D, D) row-major, to and from the kernel's panels. */
static void to_panels(const float *s, float *panels)
{
    memset(panels, 0, D * KERNEL_DELTA_PANEL * sizeof *panels);
    for (int i = 0; i < D; i++)
        for (int c = 0; c < D; c++)
            panels[i * (int)KERNEL_DELTA_PANEL + c] = s[i * D + c];
}

static void core_case(const struct kernel_table *k, const json_value *v, bool strong)
{
    const json_value *core = json_get(v, "core");
    const json_value *wanted = strong ? json_get(v, "core_strong_decay") : core;
    float *q = take(core, "q", T * H * D), *key = take(core, "k", T * H * D);
    float *val = take(core, "v", T * H * D), *g = take(core, "g", T * H * D);
    float *beta = take(core, "beta", T * H), *s0 = take(core, "S0", H * D * D);
    float *o = take(wanted, "o", T * H * D), *s1 = take(wanted, "S_final", H * D * D);
    float out[T * H * D], state[D * KERNEL_DELTA_PANEL], last[D * KERNEL_DELTA_PANEL];
    for (int d = 0; strong && d < D; d++)
        g[5 * H * D + d] = -40; /* row 5, head 0 */
    for (int i = 0; i < T * H * D; i++) {
        q[i] *= (float)(1 / sqrt((double)D));
        g[i] = expf(g[i]);
    }
    for (int h = 0; h < H; h++) {
        struct kernel_delta d = { .n_rows = T, .k_dim = D, .v_dim = D,
                                  .q = q + h * D, .k = key + h * D, .decay = g + h * D,
                                  .ld_k = H * D, .v = val + h * D, .out = out + h * D,
                                  .ld_v = H * D, .beta = beta + h, .ld_beta = H, .state = state };
        to_panels(s0 + h * D * D, state);
        to_panels(s1 + h * D * D, last);
        k->delta(&d, 0, 1);
        for (int i = 0; i < D; i++)
            for (int c = 0; c < D; c++) {
                int at = i * (int)KERNEL_DELTA_PANEL + c;
                assert_true(fabs((double)state[at] - (double)last[at]) < 2e-6);
            }
    }
    for (int i = 0; i < T * H * D; i++)
        assert_true(fabs((double)out[i] - (double)o[i]) < 2e-6);
    float *all[] = { q, key, val, g, beta, s0, o, s1 };
    for (size_t i = 0; i < COUNT_OF(all); i++)
        mem_free(all[i]);
}

static void recurrence(void **state)
{
    (void)state;
    json_value *v = read_shared("vectors/arch/kda.json");
    static const char *const LEVELS[] = { "generic", "auto" };
    for (size_t i = 0; i < COUNT_OF(LEVELS); i++) {
        struct device *dev;
        struct err err = { 0 };
        struct device_params p = { .n_threads = 1, .cpu_level = LEVELS[i] };
        assert_int_equal(0, device_create(&dev, &p, &err));
        core_case(device_kernels(dev), v, false);
        core_case(device_kernels(dev), v, true);
        device_destroy(dev);
    }
    json_free(v);
}

/* --- one layer --- */

enum { L_T = 11, L_EMBD = 12, L_H = 2, L_D = 8, L_C = L_H * L_D, L_TAPS = 4 };

struct layer {
    struct model m;
    struct block_kda a;
    float *owned[16];
    size_t n_owned;
};

static float *layer_numbers(struct layer *t, const json_value *w, const char *key, size_t n)
{
    assert_true(t->n_owned < COUNT_OF(t->owned));
    return t->owned[t->n_owned++] = take(w, key, n);
}

static void layer_matrix(struct layer *t, struct block_linear *out, const json_value *w,
                         const char *key, uint32_t n_out, uint32_t n_in)
{
    float *x = layer_numbers(t, w, key, (size_t)n_out * n_in);
    out->scale = 1;
    assert_int_equal(0, device_mat_init(NULL, &out->mat, KERNEL_F32, n_out, n_in, x));
}

static const float *layer_conv(struct layer *t, const json_value *w, const char *key)
{
    float *x = layer_numbers(t, w, key, L_C * L_TAPS), turned[L_TAPS * L_C];
    for (int c = 0; c < L_C; c++)
        for (int j = 0; j < L_TAPS; j++)
            turned[j * L_C + c] = x[c * L_TAPS + j];
    memcpy(x, turned, sizeof turned);
    return x;
}

static void layer_open(struct layer *t, const json_value *w, struct model_stream streams[2])
{
    struct err err = { 0 };
    struct device_params dp = { .n_threads = 1 };
    struct block_kda *a = &t->a;
    *t = (struct layer){
        .m.shape = { .n_embd = L_EMBD, .n_heads = 1, .n_kv_heads = 1, .n_vocab = 1, .eps = 1e-5f }
    };
    assert_int_equal(0, device_create(&t->m.dev, &dp, &err));
    layer_matrix(t, &a->q, w, "wq", L_C, L_EMBD);
    layer_matrix(t, &a->k, w, "wk", L_C, L_EMBD);
    layer_matrix(t, &a->v, w, "wv", L_C, L_EMBD);
    layer_matrix(t, &a->f_a, w, "f_a", L_D, L_EMBD);
    layer_matrix(t, &a->f_b, w, "f_b", L_C, L_D);
    layer_matrix(t, &a->g_a, w, "g_a", L_D, L_EMBD);
    layer_matrix(t, &a->g_b, w, "g_b", L_C, L_D);
    layer_matrix(t, &a->beta, w, "b", L_H, L_EMBD);
    layer_matrix(t, &a->o, w, "wo", L_EMBD, L_C);
    a->conv[0] = layer_conv(t, w, "cq");
    a->conv[1] = layer_conv(t, w, "ck");
    a->conv[2] = layer_conv(t, w, "cv");
    a->dt = layer_numbers(t, w, "dt_bias", L_C);
    float *logs = layer_numbers(t, w, "A_log", L_H);
    for (int h = 0; h < L_H; h++)
        logs[h] = -expf(logs[h]);
    a->a = logs;
    a->norm = (struct block_norm){ .w = layer_numbers(t, w, "o_norm", L_D), .n = L_D };
    a->n_heads = L_H;
    a->dim = L_D;
    a->n_taps = L_TAPS;
    a->conv_stream = 1;
    streams[0] = (struct model_stream){ .kind = MODEL_RECURRENT, .name = "kda",
                                        .row_values = L_H * L_D * KERNEL_DELTA_PANEL,
                                        .type = KERNEL_F32 };
    streams[1] = (struct model_stream){ .kind = MODEL_RECURRENT, .name = "conv",
                                        .row_values = 3 * (L_TAPS - 1) * L_C, .type = KERNEL_F32 };
    t->m.layout = (struct model_layout){ .streams = streams, .n_streams = 2, .block_len = 16 };
    assert_int_equal(0, model_layout_finish(&t->m.layout, &err));
    for (int i = 0; i < BUF_COUNT; i++)
        t->m.width[i] = L_C;
}

static void layer_close(struct layer *t)
{
    device_destroy(t->m.dev);
    while (t->n_owned > 0)
        mem_free(t->owned[--t->n_owned]);
}

static void expect_near(const json_value *wanted, const float *have, size_t n)
{
    float *want = numbers(wanted, &(size_t){ 0 });
    for (size_t i = 0; i < n; i++)
        assert_true(fabs((double)want[i] - (double)have[i]) < 1e-5);
    mem_free(want);
}

/* The layer's rows in two calls, cut after `cut` rows: output and what the slot holds at the end. */
static void layer_case(const struct layer *t, const json_value *v, uint32_t cut)
{
    struct model_work *w;
    size_t n_x;
    float *x = numbers(json_get(v, "x"), &n_x), y[L_T * L_EMBD];
    uint8_t *slot = mem_alloc(1, t->m.layout.slot_bytes);
    const float *conv = (const float *)(const void *)(slot + t->m.layout.streams[1].offset);
    const float *s = (const float *)(const void *)slot;
    static const char *const TAILS[] = { "conv_state_q", "conv_state_k", "conv_state_v" };
    assert_non_null(slot);
    assert_int_equal(L_T * L_EMBD, n_x);
    assert_int_equal(0, model_work_create(&w, &t->m, L_T, 1, 64));
    for (uint32_t from = 0, n; from < L_T; from += n) {
        n = from == 0 && cut > 0 ? cut : L_T - from;
        struct model_span span = { .n_rows = n, .pos0 = from, .slot = slot };
        struct model_batch b = { .n_rows = n, .spans = &span, .n_spans = 1 };
        w->batch = &b;
        w->n_rows = n;
        memcpy(w->buf[BUF_H], x + from * L_EMBD, n * L_EMBD * sizeof *x);
        block_kda(w, &t->a);
        memcpy(y + from * L_EMBD, w->buf[BUF_Y], n * L_EMBD * sizeof *y);
    }
    expect_near(json_get(v, "y"), y, L_T * L_EMBD);
    for (int j = 0; j < 3; j++)
        expect_near(json_get(v, TAILS[j]), conv + j * (L_TAPS - 1) * L_C, (L_TAPS - 1) * L_C);
    float *last = take(v, "S_final", L_H * L_D * L_D);
    for (int h = 0; h < L_H; h++)
        for (int i = 0; i < L_D; i++)
            for (int c = 0; c < L_D; c++)
                assert_true(fabs((double)s[(h * L_D + i) * (int)KERNEL_DELTA_PANEL + c] -
                                 (double)last[(h * L_D + i) * L_D + c]) < 1e-5);
    mem_free(last);
    model_work_destroy(w);
    mem_free(slot);
    mem_free(x);
}

static void layer_vector(void **state)
{
    (void)state;
    json_value *v = read_shared("vectors/arch/kda.json");
    struct layer t;
    struct model_stream streams[2];
    layer_open(&t, json_get(json_get(v, "layer"), "weights"), streams);
    for (uint32_t cut = 0; cut < L_T; cut++)
        layer_case(&t, json_get(v, "layer"), cut);
    layer_close(&t);
    json_free(v);
}

/* --- whole models --- */

static void check_level(const json_value *v, const char *path, const char *level)
{
    json_value *ids = json_get(v, "ids"), *logits = json_get(v, "logits");
    int32_t list[64];
    uint32_t n = (uint32_t)json_len(ids);
    assert_true(n <= 48);
    for (uint32_t i = 0; i < n; i++)
        list[i] = (int32_t)json_as_int(json_at(ids, i));
    struct run t;
    struct run_params p = { path, level, 2, KERNEL_F32, 16, 64 };
    run_open(&t, &p);
    float *whole = run_all(&t, list, n, n);
    for (uint32_t i = 0; i < n * t.n_vocab; i++) {
        double want = json_as_double(json_at(json_at(logits, i / t.n_vocab), i % t.n_vocab));
        assert_true(fabs(want - (double)whole[i]) <= 2e-3 * fmax(1, fabs(want)));
    }
    for (uint32_t chunk = 1; chunk < n; chunk++) {
        float *have = run_all(&t, list, n, chunk);
        assert_memory_equal(whole, have, n * t.n_vocab * sizeof *have);
        mem_free(have);
    }
    mem_free(whole);
    run_close(&t);
}

static void another_engine(void **state)
{
    (void)state;
    json_value *v = read_shared("oracles/architectures/kimi-linear-moe.json");
    char path[1024];
    snprintf(path, sizeof path, "%s/oracles/architectures/kimi-linear-moe.gguf",
             test_shared_dir());
    check_level(v, path, "generic");
    check_level(v, path, "auto");
    json_free(v);
}

int kda_test(void);
int kda_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recurrence),
        cmocka_unit_test(layer_vector),
        cmocka_unit_test(another_engine),
    };
    return cmocka_run_group_tests_name("model/kda", tests, NULL, NULL);
}
