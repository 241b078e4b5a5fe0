/* Goal: a quantised file holds the same keys and tensors in the types that were asked for, its numbers
 * are those of the format's quantiser, it computes what the original does within what the type
 * costs, and what cannot be done is refused by name without leaving a file. */
#include "model/quantize.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/num.h"
#include "os/file.h"
#include "unit/model/run.h"

#define SOURCE "tests/golden/llama2/model.gguf" /* F32; rows of 64 and 96 values */
#define CHAT "models/naru-chat.gguf"            /* F16; rows of 192 and 512 */

static char dir[] = "/tmp/naru-quantize-XXXXXX";
static struct device *dev;

static int setup(void **state)
{
    (void)state;
    struct device_params p = { .n_threads = 2 };
    struct err err;
    return mkdtemp(dir) != NULL && device_create(&dev, &p, &err) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    device_destroy(dev);
    return rmdir(dir); /* fails if anything was left behind */
}

static const char *out_path(void)
{
    static char path[64];
    snprintf(path, sizeof path, "%s/out.gguf", dir);
    return path;
}

static int quantize(const char *in, const struct quantize_params *p, struct quantize_report *report,
                    struct err *err)
{
    struct model_file *file;
    assert_int_equal(0, model_file_open(&file, in, err));
    int rc = model_quantize(file, dev, out_path(), p, report, err);
    model_file_close(file);
    return rc;
}

static uint32_t type_of(const struct model_file *f, const char *name)
{
    const struct model_tensor *t = model_file_tensor(f, name);
    if (t == NULL)
        fail_msg("tensor %s is missing", name);
    return t->type;
}

static struct model_file *open_out(void)
{
    struct model_file *f;
    struct err err = { 0 };
    if (model_file_open(&f, out_path(), &err) < 0)
        fail_msg("%s", err.text);
    return f;
}

/* Every row of the output is what the format's quantiser makes of the input's. */
static void expect_numbers(const struct model_file *in, const struct model_file *out)
{
    assert_int_equal(model_file_n_tensors(in), model_file_n_tensors(out));
    for (uint32_t i = 0; i < model_file_n_tensors(in); i++) {
        const struct model_tensor *a = model_file_tensor_at(in, i);
        const struct model_tensor *b = model_file_tensor_at(out, i);
        size_t n = a->ne[0], rows = a->ne[1] * a->ne[2] * a->ne[3], from, to;
        assert_int_equal(a->name.len, b->name.len);
        assert_memory_equal(a->name.data, b->name.data, a->name.len);
        assert_memory_equal(a->ne, b->ne, sizeof a->ne);
        assert_int_equal(0, kernel_row_bytes(&from, a->type, n));
        assert_int_equal(0, kernel_row_bytes(&to, b->type, n));
        float *x = mem_alloc(n, sizeof *x);
        uint8_t *want = mem_alloc(1, to);
        for (size_t r = 0; r < rows; r++) {
            kernel_type_info(a->type)->dequantize(a->data + r * from, x, n);
            kernel_type_info(b->type)->quantize(x, want, n);
            assert_memory_equal(want, b->data + r * to, to);
        }
        mem_free(x);
        mem_free(want);
    }
}

static void numbers(void **state)
{
    (void)state;
    static const char *const TYPES[] = { "Q4_0", "q8_0", "Q5_1", "IQ4_NL", "MXFP4", "F16", "BF16" };
    for (size_t i = 0; i < COUNT_OF(TYPES); i++) {
        struct quantize_params p = { .type = TYPES[i], .pure = true };
        struct quantize_report report;
        struct err err = { 0 };
        struct model_file *in;
        if (quantize(SOURCE, &p, &report, &err) < 0)
            fail_msg("%s: %s", TYPES[i], err.text);
        struct model_file *out = open_out();
        assert_int_equal(0, model_file_open(&in, SOURCE, &err));
        expect_numbers(in, out);
        assert_true(report.n_quantized > 0 && report.n_fallback == 0);
        assert_true(report.out_bytes < report.in_bytes);
        model_file_close(in);
        model_file_close(out);
        unlink(out_path());
    }
}

static void mix(void **state)
{
    (void)state;
    /* naru-chat: 6 layers, so no eighth; favoured are layers 2 and 5. 192 columns fit no block of
     * 256. */
    static const char *const PATTERNS[] = { "blk.0.*=Q8_0", "blk.?.attn_q.*=F16" };
    struct quantize_params p = { .type = "Q4_K_M", .patterns = PATTERNS, .n_patterns = 2 };
    struct quantize_report report;
    struct err err = { 0 };
    uint32_t file_type = 0, n_layers = 0;
    if (quantize(CHAT, &p, &report, &err) < 0)
        fail_msg("%s", err.text);
    struct model_file *out = open_out();
    assert_int_equal(0, model_file_u32(out, "general.file_type", &file_type, &err));
    assert_int_equal(15, file_type);
    assert_int_equal(0, model_file_u32(out, ".block_count", &n_layers, &err));
    assert_true(n_layers >= 3);
    assert_int_equal(KERNEL_Q8_0, type_of(out, "blk.0.ffn_down.weight"));
    assert_int_equal(KERNEL_Q8_0, type_of(out, "blk.0.attn_q.weight"));
    assert_int_equal(KERNEL_F16, type_of(out, "blk.1.attn_q.weight"));
    assert_int_equal(KERNEL_Q4_K, type_of(out, "blk.1.ffn_down.weight"));
    assert_int_equal(KERNEL_Q6_K, type_of(out, "blk.2.ffn_down.weight"));
    assert_int_equal(KERNEL_Q5_0, type_of(out, "blk.1.ffn_gate.weight"));
    assert_int_equal(KERNEL_F32, type_of(out, "blk.1.attn_norm.weight"));
    assert_true(report.n_fallback > 0);
    model_file_close(out);
    unlink(out_path());
}

/* Logits stay near the original's: the distance shrinks with the bits. */
static void computes_the_same(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        double far;
    } CASES[] = { { "Q8_0", 0.04 }, { "Q6_K", 0.04 }, { "Q5_0", 0.25 }, { "Q4_0", 0.6 } };
    const int32_t ids[] = { 3, 41, 8, 77, 20, 5, 90, 11 };
    struct run t;
    struct run_params p = { SOURCE, "auto", 1, KERNEL_F32, 16, 32 };
    run_open(&t, &p);
    uint32_t n_vocab = t.n_vocab;
    float *want = run_all(&t, ids, COUNT_OF(ids), COUNT_OF(ids));
    run_close(&t);
    for (size_t i = 0; i < COUNT_OF(CASES); i++) {
        struct quantize_params q = { .type = CASES[i].type };
        struct quantize_report report;
        struct err err = { 0 };
        double square = 0, norm = 0;
        assert_int_equal(0, quantize(SOURCE, &q, &report, &err));
        p.path = out_path();
        run_open(&t, &p);
        float *have = run_all(&t, ids, COUNT_OF(ids), COUNT_OF(ids));
        for (size_t k = 0; k < COUNT_OF(ids) * n_vocab; k++) {
            square += ((double)have[k] - (double)want[k]) * ((double)have[k] - (double)want[k]);
            norm += (double)want[k] * (double)want[k];
        }
        if (sqrt(square / norm) > CASES[i].far)
            fail_msg("%s: logits are off by %g of their size", CASES[i].type, sqrt(square / norm));
        mem_free(have);
        run_close(&t);
        unlink(out_path());
    }
    mem_free(want);
}

static void refused(void **state)
{
    (void)state;
    static const char *const BAD_PATTERN[] = { "blk.*" }, *const BAD_TYPE[] = { "blk.*=Q9_9" };
    static const struct {
        const char *in, *field;
        struct quantize_params p;
        int code;
    } CASES[] = {
        { SOURCE, "type", { .type = "Q4_K_XL" }, E_USAGE },
        { SOURCE, "type", { .type = NULL }, E_USAGE },
        { SOURCE, "tensor", { .type = "Q8_0", .patterns = BAD_PATTERN, .n_patterns = 1 }, E_USAGE },
        { SOURCE, "type", { .type = "Q8_0", .patterns = BAD_TYPE, .n_patterns = 1 }, E_USAGE },
        { "tests/golden/llama2", "model", { .type = "Q8_0" }, E_UNSUPPORTED },
    };
    struct quantize_report report;
    for (size_t i = 0; i < COUNT_OF(CASES); i++) {
        struct err err = { 0 };
        assert_int_equal(CASES[i].code, quantize(CASES[i].in, &CASES[i].p, &report, &err));
        assert_string_equal(CASES[i].field, err.field);
        assert_false(os_exists(out_path()));
    }
}

static void quantized_already(void **state)
{
    (void)state;
    struct quantize_params p = { .type = "Q8_0" };
    struct quantize_report report;
    struct err err = { 0 };
    char first[64];
    assert_int_equal(0, quantize(SOURCE, &p, &report, &err));
    snprintf(first, sizeof first, "%s/first.gguf", dir);
    assert_int_equal(0, rename(out_path(), first));
    p.type = "Q4_0";
    assert_int_equal(E_USAGE, quantize(first, &p, &report, &err));
    assert_string_equal("requantize", err.field);
    assert_false(os_exists(out_path()));
    p.requantize = true;
    assert_int_equal(0, quantize(first, &p, &report, &err));
    p.type = "Q8_0"; /* nothing to do: copied */
    p.requantize = false;
    assert_int_equal(0, quantize(first, &p, &report, &err));
    assert_int_equal(0, report.n_quantized);
    unlink(first);
    unlink(out_path());
}

/* One weight that is no number: named, and no file. */
static void not_finite(void **state)
{
    (void)state;
    char *bytes;
    size_t len;
    struct err err = { 0 };
    struct model_file *f;
    struct quantize_params p = { .type = "Q4_0" };
    struct quantize_report report;
    assert_int_equal(0, os_read_file(SOURCE, (size_t)1 << 20, &bytes, &len, &err));
    assert_int_equal(0, model_file_open_bytes(&f, bytes, len, &err));
    const struct model_tensor *t = model_file_tensor(f, "blk.1.ffn_up.weight");
    uint8_t *weight = (uint8_t *)bytes + (t->data - (const uint8_t *)bytes) + 4 * 77;
    store_le32(weight, 0x7fc00000);
    assert_int_equal(E_RANGE, model_quantize(f, dev, out_path(), &p, &report, &err));
    assert_non_null(strstr(err.text, "blk.1.ffn_up.weight"));
    assert_false(os_exists(out_path()));
    model_file_close(f);
    mem_free(bytes);
}

int quantize_test(void);
int quantize_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),  cmocka_unit_test(mix),
        cmocka_unit_test(refused),  cmocka_unit_test(computes_the_same),
        cmocka_unit_test(not_finite), cmocka_unit_test(quantized_already),
    };
    return cmocka_run_group_tests_name("model/quantize", tests, setup, teardown);
}
