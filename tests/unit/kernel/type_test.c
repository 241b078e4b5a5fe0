/* Every format against the format's own Python package (quant_fixtures.bin, see make_quant_fixtures.py),
 * and every quantiser against the error its format allows. */
#include "unit/test.h"

#include <math.h>
#include <stdio.h>

#include "base/num.h"
#include "base/rng.h"
#include "kernel/type.h"

#define FIXTURES "tests/unit/kernel/quant_fixtures.bin"
#define SEED 11

/* Equal bits, or both NaN: payloads are not part of the format. */
static void assert_same(float got, float want, uint32_t type, size_t i)
{
    uint32_t a;
    uint32_t b;
    memcpy(&a, &got, sizeof a);
    memcpy(&b, &want, sizeof b);
    if (a == b || (isnan(got) && isnan(want)))
        return;
    fail_msg("%s, value %zu: %a, wanted %a", kernel_type_info(type)->name, i, (double)got,
             (double)want);
}

static uint8_t *read_fixtures(size_t *n)
{
    FILE *f = fopen(FIXTURES, "rb");
    if (f == NULL)
        fail_msg("%s: run from the top of the tree", FIXTURES);
    uint8_t *data = malloc(1 << 19);
    *n = fread(data, 1, 1 << 19, f);
    fclose(f);
    assert_true(*n > 4 && *n < 1 << 19 && memcmp(data, "NQF1", 4) == 0);
    return data;
}

static void check_dequantise(uint32_t type, const uint8_t *bytes, const uint8_t *values, size_t n)
{
    const struct kernel_type_info *info = kernel_type_info(type);
    float *got = malloc(n * sizeof *got);
    info->dequantize(bytes, got, n);
    for (size_t i = 0; i < n; i++)
        assert_same(got[i], load_lef32(values + 4 * i), type, i);
    free(got);
}

static void check_quantise(uint32_t type, const uint8_t *bytes, const uint8_t *values, size_t n)
{
    const struct kernel_type_info *info = kernel_type_info(type);
    size_t size;
    assert_int_equal(kernel_row_bytes(&size, type, n), 0);
    float *x = malloc(n * sizeof *x);
    uint8_t *got = malloc(size);
    for (size_t i = 0; i < n; i++)
        x[i] = load_lef32(values + 4 * i);
    info->quantize(x, got, n);
    for (size_t i = 0; i < size; i++)
        if (got[i] != bytes[i])
            fail_msg("%s: byte %zu of block %zu is %02x, wanted %02x", info->name,
                     i % info->block_bytes, i / info->block_bytes, got[i], bytes[i]);
    free(x);
    free(got);
}

static void formats_equal_their_definition(void **state)
{
    (void)state;
    size_t size;
    uint8_t *data = read_fixtures(&size);
    unsigned seen[2] = { 0, 0 };
    for (size_t at = 4; at < size;) {
        uint32_t kind = load_le32(data + at);
        uint32_t type = load_le32(data + at + 4);
        size_t n = load_le32(data + at + 8);
        size_t n_bytes = load_le32(data + at + 12);
        const uint8_t *bytes = data + at + 16;
        size_t want;
        assert_int_equal(kernel_row_bytes(&want, type, n), 0);
        assert_int_equal(want, n_bytes);
        if (kind == 0)
            check_dequantise(type, bytes, bytes + n_bytes, n);
        else
            check_quantise(type, bytes, bytes + n_bytes, n);
        seen[kind]++;
        at += 16 + n_bytes + 4 * n;
    }
    assert_int_equal(seen[0], 17);
    assert_int_equal(seen[1], 8);
    free(data);
}

static void every_half_survives(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = kernel_f16_to_f32((uint16_t)h);
        if (isnan(f))
            assert_true(isnan(kernel_f16_to_f32(kernel_f32_to_f16(f))));
        else
            assert_int_equal(kernel_f32_to_f16(f), h);
        float b = kernel_bf16_to_f32((uint16_t)h);
        if (isnan(b))
            assert_true(isnan(kernel_bf16_to_f32(kernel_f32_to_bf16(b))));
        else
            assert_int_equal(kernel_f32_to_bf16(b), h);
    }
}

static void sizes_refuse_what_is_no_block(void **state)
{
    (void)state;
    size_t n = 1;
    assert_int_equal(kernel_row_bytes(&n, KERNEL_Q4_K, 255), E_RANGE);
    assert_int_equal(kernel_row_bytes(&n, KERNEL_F32, SIZE_MAX / 2), E_RANGE);
    assert_int_equal(kernel_row_bytes(&n, KERNEL_TYPE_COUNT, 256), E_RANGE);
    assert_int_equal(kernel_row_bytes(&n, 4, 256), E_RANGE);
    assert_int_equal(n, 1);
    assert_int_equal(kernel_row_bytes(&n, KERNEL_Q4_K, 512), 0);
    assert_int_equal(n, 288);
    assert_null(kernel_type_info(5));
    assert_null(kernel_type_info(UINT32_MAX));
    assert_null(kernel_type_info(KERNEL_IQ2_XXS)->dequantize);
    assert_string_equal(kernel_type_info(KERNEL_TQ2_0)->name, "TQ2_0");
}

static void normal_values(float *x, size_t n, double scale)
{
    struct rng r;
    rng_seed(&r, SEED);
    for (size_t i = 0; i < n; i++) {
        double u = sqrt(-2 * log(1 - rng_unit(&r)));
        x[i] = (float)(scale * u * cos(6.283185307179586 * rng_unit(&r)));
    }
}

static double relative_error(uint32_t type, const float *x, size_t n)
{
    const struct kernel_type_info *info = kernel_type_info(type);
    size_t size;
    assert_int_equal(kernel_row_bytes(&size, type, n), 0);
    uint8_t *bytes = malloc(size);
    float *y = malloc(n * sizeof *y);
    info->quantize(x, bytes, n);
    info->dequantize(bytes, y, n);
    double error = 0;
    double norm = 0;
    for (size_t i = 0; i < n; i++) {
        error += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
        norm += (double)x[i] * (double)x[i];
    }
    free(bytes);
    free(y);
    return error / norm;
}

/* Mean square error over power of normal data. The bounds are a tenth above what a correct quantiser of
 * the format reaches; a wrong nibble order or a lost scale misses them by orders of magnitude. */
static void quantisers_keep_their_error(void **state)
{
    (void)state;
    static const struct {
        uint32_t type;
        double bound;
    } want[] = {
        { KERNEL_F16, 6e-8 },    { KERNEL_BF16, 3.5e-6 },   { KERNEL_Q8_0, 3.2e-5 },
        { KERNEL_Q4_0, 8.5e-3 }, { KERNEL_Q4_1, 8e-3 },   { KERNEL_Q5_0, 2.2e-3 },
        { KERNEL_Q5_1, 2e-3 },   { KERNEL_Q2_K, 0.09 },   { KERNEL_Q3_K, 0.03 },
        { KERNEL_Q4_K, 5.7e-3 }, { KERNEL_Q5_K, 1.5e-3 }, { KERNEL_Q6_K, 3.4e-4 },
        { KERNEL_IQ4_NL, 6e-3 }, { KERNEL_IQ4_XS, 6e-3 }, { KERNEL_MXFP4, 0.016 },
        { KERNEL_NVFP4, 7.5e-3 },
    };
    float x[8192];
    normal_values(x, COUNT_OF(x), 0.7);
    for (size_t i = 0; i < COUNT_OF(want); i++) {
        double e = relative_error(want[i].type, x, COUNT_OF(x));
        if (getenv("NARU_VERBOSE") != NULL)
            printf("# %s %.4g\n", kernel_type_info(want[i].type)->name, e);
        if (!(e < want[i].bound))
            fail_msg("%s: error %g, at most %g (seed %d)", kernel_type_info(want[i].type)->name,
                     e, want[i].bound, SEED);
    }
}

/* Zeros stay zeros, one value alone is kept, and rubbish gives a block and no crash. */
static void quantisers_take_odd_rows(void **state)
{
    (void)state;
    float x[256];
    float y[256];
    uint8_t bytes[1024];
    for (uint32_t type = 0; type < KERNEL_TYPE_COUNT; type++) {
        const struct kernel_type_info *info = kernel_type_info(type);
        if (info == NULL || info->quantize == NULL)
            continue;
        memset(x, 0, sizeof x);
        info->quantize(x, bytes, 256);
        info->dequantize(bytes, y, 256);
        for (int i = 0; i < 256; i++)
            assert_true(y[i] == 0);
        x[100] = -3;
        info->quantize(x, bytes, 256);
        info->dequantize(bytes, y, 256);
        assert_true(fabsf(y[100] + 3) < 0.2f && y[3] == 0);
        static const float odd[] = { NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 1e-45f };
        for (int i = 0; i < 256; i++)
            x[i] = odd[(i % 6 * (i / 64 % 2) + i / 128) % 6];
        info->quantize(x, bytes, 256);
        info->dequantize(bytes, y, 256);
    }
}

int type_test(void);
int type_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_equal_their_definition),
        cmocka_unit_test(every_half_survives),
        cmocka_unit_test(sizes_refuse_what_is_no_block),
        cmocka_unit_test(quantisers_keep_their_error),
        cmocka_unit_test(quantisers_take_odd_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
