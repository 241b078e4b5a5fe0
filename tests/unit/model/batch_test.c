/* Goal: what else is in a batch, how many threads compute and where blocks lie never shows in the
 * logits: same level, same bits. Also what a forward refuses, and that it writes its own rows only.
 */
#include <math.h>
#include <stdio.h>

#include "unit/model/run.h"

#define N_A 21 /* tokens of the two sequences; they end inside blocks */
#define N_B 9
#define CTX 64

static void golden_path(char *out, size_t size, const char *name)
{
    const char *dir = getenv("NARU_GOLDEN");
    snprintf(out, size, "%s/%s", dir != NULL ? dir : "tests/golden", name);
}

static void fill_ids(int32_t *ids, uint32_t n, uint32_t seed)
{
    for (uint32_t i = 0; i < n; i++)
        ids[i] = (int32_t)((seed + 7 * i * i + 3 * i) % 90);
}

/* The two sequences alone: logits of the last row of each. */
static void alone(const struct run_params *p, const int32_t *a, const int32_t *b, float *last_a,
                  float *last_b)
{
    struct run t;
    run_open(&t, p);
    float *x = run_all(&t, a, N_A, N_A);
    memcpy(last_a, x + (size_t)(N_A - 1) * t.n_vocab, t.n_vocab * sizeof *x);
    mem_free(x);
    x = run_all(&t, b, N_B, N_B);
    memcpy(last_b, x + (size_t)(N_B - 1) * t.n_vocab, t.n_vocab * sizeof *x);
    mem_free(x);
    run_close(&t);
}

/* Both in one batch of two steps: first pieces of both, then the rest of b and a, the other way
 * round. */
static void together(const struct run_params *p, const int32_t *a, const int32_t *b, float *last_a,
                     float *last_b)
{
    struct run t;
    run_open(&t, p);
    uint32_t blocks_b[CTX], half = CTX / p->block_len / 2;
    for (uint32_t i = 0; i < half; i++)
        blocks_b[i] = t.blocks[half + i];
    int32_t ids[N_A + N_B];
    const float *logits;
    uint8_t *slot_b = mem_alloc(1, model_layout(t.m)->slot_bytes + 1);
    assert_non_null(slot_b);
    struct model_span spans[2] = {
        { .n_rows = 5, .blocks = t.blocks, .slot = t.slot },
        { .row0 = 5, .n_rows = N_B - 1, .blocks = blocks_b, .slot = slot_b }
    };
    struct model_batch batch = {
        .ids = ids, .n_rows = 5 + N_B - 1, .spans = spans, .n_spans = 2, .slab = t.slab
    };
    memcpy(ids, a, 5 * sizeof *a);
    memcpy(ids + 5, b, (N_B - 1) * sizeof *b);
    assert_int_equal(0, model_forward(t.m, t.w, &batch, &logits));
    spans[0] = (struct model_span){ .n_rows = 1, .pos0 = N_B - 1, .blocks = blocks_b,
                                    .slot = slot_b };
    spans[1] = (struct model_span){ .row0 = 1, .n_rows = N_A - 5, .pos0 = 5, .blocks = t.blocks,
                                    .slot = t.slot };
    ids[0] = b[N_B - 1];
    memcpy(ids + 1, a + 5, (N_A - 5) * sizeof *a);
    const uint32_t want[2] = { 0, N_A - 5 };
    batch.n_rows = N_A - 4;
    batch.want = want;
    batch.n_want = 2;
    assert_int_equal(0, model_forward(t.m, t.w, &batch, &logits));
    memcpy(last_b, logits, t.n_vocab * sizeof *logits);
    memcpy(last_a, logits + t.n_vocab, t.n_vocab * sizeof *logits);
    mem_free(slot_b);
    run_close(&t);
}

static void check(const char *name, const char *level, uint32_t kv_type)
{
    char path[512];
    int32_t a[N_A], b[N_B];
    float out[4][512] = { { 0 } };
    golden_path(path, sizeof path, name);
    fill_ids(a, N_A, 5);
    fill_ids(b, N_B, 40);
    struct run_params one = { path, level, 1, kv_type, 16, CTX };
    struct run_params two = { path, level, 3, kv_type, 8, CTX };
    alone(&one, a, b, out[0], out[1]);
    together(&two, a, b, out[2], out[3]);
    for (int i = 0; i < 2; i++)
        if (memcmp(out[i], out[2 + i], sizeof out[i]) != 0)
            fail_msg("%s, %s, type %u: sequence %d depends on its company", name, level, kv_type,
                     i);
    assert_true(out[0][3] != out[1][3]);
}

static void company(void **state)
{
    (void)state;
    static const char *const NAMES[] = { "llama3",    "qwen2",     "gemma3", "phi3",
                                         "deepseek2", "deepseek3", "kimi" };
    static const char *const LEVELS[] = { "generic", "auto" };
    for (size_t i = 0; i < COUNT_OF(NAMES); i++)
        for (size_t j = 0; j < COUNT_OF(LEVELS); j++)
            check(NAMES[i], LEVELS[j], KERNEL_F16);
}

static void cache_types(void **state)
{
    (void)state;
    static const uint32_t TYPES[] = { KERNEL_F32, KERNEL_BF16, KERNEL_Q8_0 };
    for (size_t i = 0; i < COUNT_OF(TYPES); i++) {
        check("llama2", "auto", TYPES[i]);
        check("deepseek2", "auto", TYPES[i]);
    }
}

/* A context of several parts: the last rows of a prompt in one piece on one thread, against single
 * rows on so many threads that the positions are spread over them. */
static void long_context(void **state)
{
    (void)state;
    enum { N = 1300, CHECKED = 3 };
    static const char *const NAMES[] = { "llama3", "deepseek2", "gemma3" };
    static int32_t ids[N];
    char path[512];
    fill_ids(ids, N, 11);
    for (size_t i = 0; i < COUNT_OF(NAMES); i++) {
        golden_path(path, sizeof path, NAMES[i]);
        struct run t, u;
        struct run_params p = { path, "auto", 1, KERNEL_F16, 16, N };
        struct run_params q = { path, "auto", 8, KERNEL_F16, 32, N };
        run_open(&t, &p);
        run_open(&u, &q);
        const float *x = run_rows(&t, ids, 0, N);
        run_rows(&u, ids, 0, N - CHECKED);
        for (uint32_t r = N - CHECKED; r < N; r++) {
            const float *y = run_rows(&u, ids + r, r, 1);
            if (memcmp(x + (size_t)r * t.n_vocab, y, t.n_vocab * sizeof *y) != 0)
                fail_msg("%s: row %u depends on threads or rows", NAMES[i], r);
        }
        run_close(&t);
        run_close(&u);
    }
}

/* Q8_0 rows of heads of 16 values: filled up, and close to what F32 gives. */
static void short_rows_in_q8(void **state)
{
    (void)state;
    char path[512];
    int32_t a[N_A], b[N_B];
    float exact[512], rounded[512], other[512];
    golden_path(path, sizeof path, "llama2");
    fill_ids(a, N_A, 5);
    fill_ids(b, N_B, 40);
    struct run_params p = { path, "auto", 1, KERNEL_F32, 16, CTX };
    alone(&p, a, b, exact, other);
    p.kv_type = KERNEL_Q8_0;
    alone(&p, a, b, rounded, other);
    for (int i = 0; i < 160; i++)
        assert_true(fabs((double)exact[i] - (double)rounded[i]) < 0.2);
}

/* Blocks that belong to nobody in the batch keep every byte. */
static void writes_own_rows_only(void **state)
{
    (void)state;
    char path[512];
    int32_t ids[N_A];
    struct run t;
    golden_path(path, sizeof path, "llama2");
    fill_ids(ids, N_A, 5);
    struct run_params p = { path, "auto", 2, KERNEL_F16, 8, CTX };
    run_open(&t, &p);
    const struct model_layout *l = model_layout(t.m);
    mem_free(run_all(&t, ids, N_A, N_A));
    for (uint32_t i = 0; i <= CTX / 8; i++)
        for (size_t at = 0; at < l->block_bytes && i > (N_A - 1) / 8; at++)
            assert_int_equal(0xff, t.slab[t.blocks[i] * l->block_bytes + at]);
    /* In the last block of the sequence, rows behind its end too: head 0 of stream 0. */
    const uint8_t *rows = t.slab + t.blocks[(N_A - 1) / 8] * l->block_bytes + l->streams[0].offset;
    for (size_t at = (N_A % 8) * l->streams[0].row_bytes; at < 8 * l->streams[0].row_bytes; at++)
        assert_int_equal(0xff, rows[at]);
    run_close(&t);
}

static void refused(void **state)
{
    (void)state;
    char path[512];
    struct run t;
    golden_path(path, sizeof path, "llama2");
    struct run_params p = { path, "auto", 1, KERNEL_F16, 16, CTX };
    run_open(&t, &p);
    const int32_t bad[] = { -1, 160, INT32_MAX, INT32_MIN };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        int32_t ids[2] = { 3, bad[i] };
        const float *logits;
        struct model_span span = { .n_rows = 2, .blocks = t.blocks };
        struct model_batch b = {
            .ids = ids, .n_rows = 2, .spans = &span, .n_spans = 1, .slab = t.slab
        };
        assert_int_equal(E_RANGE, model_forward(t.m, t.w, &b, &logits));
    }
    struct model_work *w;
    assert_int_equal(E_RANGE, model_work_create(&w, t.m, 0, 0, 64));
    assert_int_equal(E_RANGE, model_work_create(&w, t.m, 8, 9, 64));
    assert_int_equal(E_RANGE, model_work_create(&w, t.m, 1u << 30, 1, 64));
    assert_int_equal(E_RANGE, model_work_create(&w, t.m, 8, 1, 0));
    assert_int_equal(0, model_work_create(&w, t.m, 8, 0, 64));
    assert_true(model_work_bytes(w) > 0);
    model_work_destroy(w);
    run_close(&t);
}

int batch_test(void);
int batch_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(company),          cmocka_unit_test(cache_types),
        cmocka_unit_test(short_rows_in_q8), cmocka_unit_test(writes_own_rows_only),
        cmocka_unit_test(long_context),     cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests_name("model/batch", tests, NULL, NULL);
}
