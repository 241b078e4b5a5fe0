/* Goal: streams of a layout lie apart, aligned, rows in the block and all else in the slot, and
 * layouts that cannot be are refused. */
#include "model/state.h"

#include "kernel/kernel.h"
#include "unit/test.h"

static void places(void **state)
{
    (void)state;
    struct model_stream s[] = {
        { .kind = MODEL_ROWS,
          .name = "k",
          .n_heads = 2,
          .row_values = 8,
          .stride = 1,
          .type = KERNEL_F16 },
        { .kind = MODEL_ROWS,
          .name = "v",
          .n_heads = 2,
          .row_values = 8,
          .stride = 1,
          .type = KERNEL_Q8_0 },
        { .kind = MODEL_RECURRENT, .name = "s", .row_values = 10, .type = KERNEL_F32 },
        { .kind = MODEL_ROWS,
          .name = "c",
          .n_heads = 1,
          .row_values = 3,
          .stride = 4,
          .type = KERNEL_F32 },
        { .kind = MODEL_WINDOW, .name = "w", .row_values = 64, .type = KERNEL_F16 },
    };
    struct model_layout l = { .streams = s, .n_streams = 5, .block_len = 16 };
    struct err err;
    assert_int_equal(0, model_layout_finish(&l, &err));
    assert_int_equal(s[0].row_bytes, 16);
    assert_int_equal(s[0].bytes, 2 * 16 * 16);
    assert_int_equal(s[1].row_bytes, 34); /* 8 values fill a block of 32 */
    assert_int_equal(s[1].offset, 512);
    assert_int_equal(s[1].bytes, 2 * 16 * 34);
    assert_int_equal(s[3].offset, 512 + 1088);
    assert_int_equal(s[3].bytes, 4 * 12);
    assert_int_equal(l.block_bytes, 512 + 1088 + 64);
    assert_int_equal(s[2].offset, 0);
    assert_int_equal(s[2].bytes, 40);
    assert_int_equal(s[4].offset, 64);
    assert_int_equal(l.slot_bytes, 64 + 128);
    assert_int_equal(model_layout_bytes_per_token(&l), (512 + 1088 + 48) / 16);
}

static void refused(void **state)
{
    (void)state;
    const struct model_stream good = { .kind = MODEL_ROWS,
                                       .name = "k",
                                       .n_heads = 1,
                                       .row_values = 8,
                                       .stride = 1,
                                       .type = KERNEL_F16 };
    struct model_stream bad[6] = { good, good, good, good, good, good };
    bad[0].stride = 3; /* does not divide the block */
    bad[1].stride = 0;
    bad[2].row_values = 0;
    bad[3].n_heads = 0;
    bad[4].type = KERNEL_Q4_0; /* nothing is cached in it */
    bad[5].type = 12345;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct model_layout l = { .streams = &bad[i], .n_streams = 1, .block_len = 16 };
        struct err err = { 0 };
        assert_int_equal(E_RANGE, model_layout_finish(&l, &err));
        assert_string_equal("state", err.field);
    }
    const uint32_t lengths[] = { 0, 3, 24, 131072 };
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        struct model_stream s = good;
        struct model_layout l = { .streams = &s, .n_streams = 1, .block_len = lengths[i] };
        struct err err = { 0 };
        assert_int_equal(E_RANGE, model_layout_finish(&l, &err));
        assert_string_equal("block_len", err.field);
    }
}

static void overflow(void **state)
{
    (void)state;
    struct model_stream s[2];
    for (int i = 0; i < 2; i++)
        s[i] = (struct model_stream){ .kind = MODEL_ROWS,
                                      .name = "k",
                                      .n_heads = UINT32_MAX,
                                      .row_values = UINT32_MAX,
                                      .stride = 1,
                                      .type = KERNEL_F32 };
    struct model_layout l = { .streams = s, .n_streams = 2, .block_len = 16 };
    struct err err;
    assert_int_equal(E_RANGE, model_layout_finish(&l, &err));
}

int state_test(void);
int state_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places),
        cmocka_unit_test(refused),
        cmocka_unit_test(overflow),
    };
    return cmocka_run_group_tests_name("model/state", tests, NULL, NULL);
}
