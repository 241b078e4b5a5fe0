/* Goal: bytes and operations of a step agree with numbers worked out by hand, for Llama-3.2-1B's
 * shape in Q4_0 (head in Q6_K), for windows, for experts, and for a file that is read. */
#include <stdio.h>
#include <unistd.h>

#include "../test.h"
#include "cost/floor.h"
#include "cost/measure.h"
#include "cost/profile.h"
#include "model/model.h"
#include "os/cpu.h"

/* 16 layers, width 2048, 32/8 heads of 64, feed-forward 8192, vocabulary 128,256.
 * A layer: q and o 2048 x 2048, k and v 512 x 2048, three of 8192 x 2048 = 60,817,408. */
#define B_LAYERS (16.0 * (2 * 2048 * 2048 + 2 * 512 * 2048 + 3.0 * 8192 * 2048))
#define B_HEAD (128256.0 * 2048)

static struct cost_model shape_b(double kv_row_bytes)
{
    struct cost_model m = { .n_attention = 1 };
    m.dense = (struct cost_matrices){ .bytes = B_LAYERS * 18 / 32, .int_params = B_LAYERS };
    m.head = (struct cost_matrices){ .bytes = B_HEAD * 210 / 256, .int_params = B_HEAD };
    /* a stream of keys and one of values in each of 16 layers: 8 heads, each row of 64 values */
    m.attention[0] = (struct cost_attention){ .n_layers = 32,
                                              .bytes_per_token = 8 * kv_row_bytes,
                                              .ops_per_position = 2 * 32 * 64 };
    return m;
}

/* The ceilings of the machine that issue 3 was written on, as far as they count here. */
static struct cost_profile machine(void)
{
    struct cost_profile p = { .n_cores = 2, .l2_bytes = 1u << 20, .l3_bytes = 32u << 20,
                              .n_points = 1 };
    p.points[0] = (struct cost_ceilings){ 2, 200e9, 190e9, 38.8e9, 233e9, 465e9, 918e9 };
    return p;
}

static void decode_of_b(void **state)
{
    (void)state;
    struct cost_model m = shape_b(64 * 2);
    struct cost_step s = { .n_seqs = 1, .n_rows = 1, .depth = 4096, .n_want = 1 };
    struct cost_work w = cost_step_work(&m, &s);
    assert_float_equal(w.weight_bytes, 973078528.0 * 18 / 32 + 262668288.0 * 210 / 256, 1);
    assert_float_equal(w.kv_bytes, 2.0 * 16 * 8 * 64 * 2 * 4097, 1); /* and its own row */
    assert_float_equal(w.int8_ops, 2 * (973078528.0 + 262668288.0), 1);
    assert_float_equal(w.attn_ops, 4.0 * 32 * 64 * 16 * 4097, 1);
    struct cost_profile p = machine();
    struct cost_floor f = cost_floor_of(&p, 2, &w, 0);
    assert_true(f.memory_bound);
    assert_float_equal(1 / f.seconds, 43.25, 0.01);
    s.depth = 0;
    w = cost_step_work(&m, &s);
    assert_float_equal(1 / cost_floor_of(&p, 2, &w, 0).seconds, 50.9, 0.05);
    m = shape_b(68); /* q8_0: 34 bytes for 32 values */
    s.depth = 4096;
    w = cost_step_work(&m, &s);
    assert_float_equal(1 / cost_floor_of(&p, 2, &w, 0).seconds, 46.5, 0.05);
    m = shape_b(128);
    s = (struct cost_step){ .n_seqs = 8, .n_rows = 1, .n_want = 8 };
    w = cost_step_work(&m, &s);
    struct cost_floor eight = cost_floor_of(&p, 2, &w, 0);
    assert_false(eight.memory_bound);
    assert_float_equal(8 / eight.seconds, 371, 0.5);
}

static void prefill_of_b(void **state)
{
    (void)state;
    struct cost_model m = shape_b(128);
    struct cost_profile p = machine();
    struct cost_work w = cost_prefill_work(&m, 512, 0, 512);
    assert_float_equal(w.int8_ops, 2 * 512 * 973078528.0 + 2 * 262668288.0, 1);
    assert_float_equal(w.attn_ops, 4.0 * 32 * 64 * 16 * (512.0 * 513 / 2), 1);
    assert_float_equal(512 / (w.int8_ops / 918e9), 471.5, 0.5); /* issue 3 leaves attention out */
    assert_float_equal(512 / cost_floor_of(&p, 2, &w, 0).seconds, 455.9, 0.5);
    /* In pieces: the same operations, weights once a piece, earlier rows again. */
    struct cost_work pieces = cost_prefill_work(&m, 512, 0, 200);
    assert_float_equal(pieces.attn_ops, w.attn_ops, 1);
    assert_float_equal(pieces.int8_ops, w.int8_ops, 1);
    assert_float_equal(pieces.weight_bytes, 3 * m.dense.bytes + m.head.bytes, 1);
    assert_float_equal(pieces.kv_bytes, 32768.0 * (512 + 200 + 400), 1);
}

static void windows(void **state)
{
    (void)state;
    struct cost_model m = { .n_attention = 1 };
    m.attention[0] = (struct cost_attention){ 1, 4, 10, 1 };
    struct cost_step s = { .n_seqs = 1, .n_rows = 6 };
    struct cost_work w = cost_step_work(&m, &s);
    assert_float_equal(w.attn_ops, 1 + 2 + 3 + 4 + 4 + 4, 1e-9);
    s.depth = 2;
    w = cost_step_work(&m, &s);
    assert_float_equal(w.attn_ops, 3 + 4 + 4 + 4 + 4 + 4, 1e-9);
    assert_float_equal(w.kv_bytes, 10 * (2 + 6), 1e-9);
    s.depth = 100;
    w = cost_step_work(&m, &s);
    assert_float_equal(w.attn_ops, 6 * 4, 1e-9);
    assert_float_equal(w.kv_bytes, 10 * (3 + 6), 1e-9);
}

/* 4 experts, 2 a row: one row reads half of them, two rows on average 1 - 1/4. */
static void experts(void **state)
{
    (void)state;
    struct cost_model m = { .experts = { .bytes = 4000, .int_params = 400 },
                            .n_experts = 4,
                            .n_used = 2 };
    struct cost_step s = { .n_seqs = 1, .n_rows = 1 };
    struct cost_work w = cost_step_work(&m, &s);
    assert_float_equal(w.weight_bytes, 2000, 1e-6);
    assert_float_equal(w.int8_ops, 2 * 200, 1e-6);
    s.n_seqs = 2;
    w = cost_step_work(&m, &s);
    assert_float_equal(w.weight_bytes, 3000, 1e-6);
    assert_float_equal(w.int8_ops, 2 * 400, 1e-6);
    s.n_seqs = 0;
    assert_float_equal(cost_step_work(&m, &s).weight_bytes, 0, 1e-9);
}

static struct cost_model model_of(const char *path, struct model_info *info, size_t *row_bytes)
{
    struct err err = { 0 };
    struct model_file *f;
    struct device *dev;
    struct model *m;
    struct cost_model c;
    struct device_params dp = { .n_threads = 1 };
    struct model_params mp = { .kv_type = KERNEL_F16 };
    assert_int_equal(model_file_open(&f, path, &err), 0);
    assert_int_equal(device_create(&dev, &dp, &err), 0);
    assert_int_equal(model_create(&m, f, dev, &mp, &err), 0);
    assert_int_equal(cost_model_of(&c, f, m, &err), 0);
    *info = *model_info(m);
    *row_bytes = model_layout_bytes_per_token(model_layout(m));
    model_destroy(m);
    device_destroy(dev);
    model_file_close(f);
    return c;
}

/* What a file says of itself, counted by other code. */
static void reads_files(void **state)
{
    (void)state;
    struct model_info info;
    size_t row_bytes;
    struct cost_model c = model_of("models/naru-chat.gguf", &info, &row_bytes);
    struct cost_step s = { .n_seqs = 1, .n_rows = 1, .depth = 9, .n_want = 1 };
    struct cost_work w = cost_step_work(&c, &s);
    assert_float_equal(w.kv_bytes, 10.0 * (double)row_bytes, 1e-6);
    assert_float_equal(w.attn_ops, 10.0 * 4 * info.n_heads * info.head_dim * info.n_layers, 1e-6);
    assert_true(c.n_experts == 0 && c.dense.bytes > 0 && c.head.bytes > 0);
    /* weight_bytes counts vectors too: a little more */
    assert_true(w.weight_bytes <= (double)info.weight_bytes &&
                w.weight_bytes > 0.95 * (double)info.weight_bytes);
    c = model_of("tests/models/naru-mla-moe-mtp.gguf", &info, &row_bytes);
    assert_true(c.n_experts > 0 && c.experts.bytes > 0);
    w = cost_step_work(&c, &s);
    assert_float_equal(w.kv_bytes, 10.0 * (double)row_bytes, 1e-6);
    assert_true(w.weight_bytes <= 1.001 * (double)info.weight_bytes &&
                w.weight_bytes > 0.9 * (double)info.weight_bytes);
}

static void count_progress(void *ctx, uint32_t done, uint32_t total)
{
    uint32_t *seen = ctx;
    assert_true(done == *seen && done < total);
    ++*seen;
}

/* The probes run and give a profile that holds; how fast this machine is, no test says. */
static void measures(void **state)
{
    (void)state;
    struct os_cpu cpu;
    os_cpu_detect(&cpu);
    cpu.n_cores = 1;
    uint32_t seen = 0;
    struct cost_measure how = { .cpu = &cpu, .progress = count_progress, .ctx = &seen };
    struct cost_profile p;
    struct err err = { 0 };
    assert_int_equal(cost_measure_run(&p, &how, &err), 0);
    assert_int_equal(cost_profile_check(&p, &err), 0);
    assert_true(p.n_points == 1 && p.points[0].threads == 1 && seen == 7);
    assert_true(p.disk_read == 0 && p.disk_iops == 0);
}

int floor_test(void);
int floor_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decode_of_b), cmocka_unit_test(prefill_of_b),
        cmocka_unit_test(windows),     cmocka_unit_test(experts),
        cmocka_unit_test(reads_files), cmocka_unit_test(measures),
    };
    return cmocka_run_group_tests_name("floor", tests, NULL, NULL);
}
