/* Goal: every RoPE variant gives the frequencies and rotated vectors of the shared float64 vectors,
 * at small and large positions; numbers that make no sense are refused. */
#include "model/rope.h"

#include <math.h>
#include <stdio.h>

#include "base/json.h"
#include "base/mem.h"
#include "kernel/kernel.h"
#include "os/file.h"
#include "unit/test.h"

#define DIM_MAX 512

static json_value *read_vectors(void)
{
    const char *dir = test_shared_dir();
    if (dir == NULL)
        skip();
    char path[1024], *text = NULL;
    size_t len;
    json_value *v = NULL;
    struct err err = { 0 };
    snprintf(path, sizeof path, "%s/vectors/arch/rope.json", dir);
    if (os_read_file(path, (size_t)16 << 20, &text, &len, &err) < 0 ||
        json_parse(&v, text, len, &JSON_LIMITS_FILE, &err) < 0)
        fail_msg("%s: %s", path, err.text);
    mem_free(text);
    return v;
}

static uint32_t read_array(const json_value *a, double *out)
{
    json_value *data = json_get(a, "data");
    uint32_t n = (uint32_t)json_len(data);
    assert_true(n > 0 && n <= DIM_MAX);
    for (uint32_t i = 0; i < n; i++)
        out[i] = json_as_double(json_at(data, i));
    return n;
}

static double number(const json_value *o, const char *key)
{
    json_value *v = json_get(o, key);
    return v != NULL ? json_as_double(v) : 0;
}

static struct rope_params read_params(const json_value *o)
{
    static const struct {
        const char *name;
        enum rope_kind kind;
    } KINDS[] = { { "default", ROPE_PLAIN },  { "linear", ROPE_LINEAR },
                  { "ntk_static", ROPE_NTK }, { "ntk_dynamic", ROPE_DYNAMIC },
                  { "llama3", ROPE_LLAMA3 },  { "yarn", ROPE_YARN } };
    struct rope_params p = { .n_dims = (uint32_t)number(o, "dim"),
                             .base = number(o, "base"),
                             .factor = number(o, "factor"),
                             .length = (uint32_t)number(o, "seq_len"),
                             .low_freq = number(o, "low"),
                             .high_freq = number(o, "high"),
                             .beta_fast = number(o, "beta_fast"),
                             .beta_slow = number(o, "beta_slow"),
                             .magnitude = 1 };
    p.n_ctx_orig = (uint32_t)(number(o, "orig") + number(o, "max_pos"));
    const char *kind = json_text(json_get(o, "kind"), NULL);
    size_t i = 0;
    while (i < COUNT_OF(KINDS) && strcmp(KINDS[i].name, kind) != 0)
        i++;
    assert_true(i < COUNT_OF(KINDS));
    p.kind = KINDS[i].kind;
    return p;
}

static void close_to(const float *have, const double *want, uint32_t n)
{
    double top = 1;
    for (uint32_t i = 0; i < n; i++)
        top = fmax(top, fabs(want[i]));
    for (uint32_t i = 0; i < n; i++)
        assert_true(fabs((double)have[i] - want[i]) <= 1e-6 * top);
}

static void check_apply(const struct rope *r, const json_value *a, const double *x, int adjacent)
{
    double want[DIM_MAX];
    float y[DIM_MAX], cs[DIM_MAX];
    struct kernel_table k;
    uint32_t n = read_array(json_get(a, adjacent ? "adjacent" : "split_half"), want);
    assert_int_equal(n, r->n_dims);
    for (uint32_t i = 0; i < n; i++)
        y[i] = (float)x[i];
    kernel_init(&k, 0);
    rope_row(r, (uint32_t)number(a, "pos"), cs);
    k.rope(y, cs, n, adjacent);
    close_to(y, want, n);
}

static void variants(void **state)
{
    (void)state;
    json_value *v = read_vectors(), *cases = json_get(v, "cases");
    double x[DIM_MAX], want[DIM_MAX], inv[DIM_MAX];
    read_array(json_get(v, "x"), x);
    assert_true(json_len(cases) >= 10);
    for (size_t i = 0; i < json_len(cases); i++) {
        json_value *c = json_at(cases, i), *apply = json_get(c, "apply");
        struct rope_params p = read_params(json_get(c, "params"));
        struct rope r;
        assert_int_equal(0, rope_init(&r, &p, inv));
        uint32_t n = read_array(json_get(c, "inv_freq"), want);
        assert_int_equal(n, p.n_dims / 2);
        for (uint32_t j = 0; j < n; j++)
            assert_true(fabs(inv[j] - want[j]) <= 1e-10 * want[j]);
        for (size_t j = 0; j < json_len(apply); j++) {
            check_apply(&r, json_at(apply, j), x, 0);
            check_apply(&r, json_at(apply, j), x, 1);
        }
    }
    json_free(v);
}

/* Only the first channels of a head rotate; the rest stays as it is. */
static void partial(void **state)
{
    (void)state;
    json_value *v = read_vectors(), *c = json_get(v, "partial_split_half");
    double x[DIM_MAX], want[DIM_MAX], inv[DIM_MAX];
    float y[DIM_MAX], cs[DIM_MAX];
    struct rope_params p = { .n_dims = (uint32_t)number(c, "rotary_dim"),
                             .base = 10000,
                             .magnitude = 1 };
    struct rope r;
    struct kernel_table k;
    uint32_t n = read_array(json_get(v, "x"), x);
    assert_int_equal(n, read_array(json_get(c, "y"), want));
    assert_int_equal(0, rope_init(&r, &p, inv));
    for (uint32_t i = 0; i < n; i++)
        y[i] = (float)x[i];
    kernel_init(&k, 0);
    rope_row(&r, (uint32_t)number(c, "pos"), cs);
    k.rope(y, cs, p.n_dims, 0);
    close_to(y, want, n);
    json_free(v);
}

static void factors_divide(void **state)
{
    (void)state;
    const float factors[2] = { 1, 4 };
    struct rope_params p = { .n_dims = 4, .base = 100, .magnitude = 2, .factors = factors };
    double inv[2];
    float cs[4];
    struct rope r;
    assert_int_equal(0, rope_init(&r, &p, inv));
    rope_row(&r, 3, cs);
    assert_true(fabs((double)cs[0] - 2 * cos(3.0)) < 1e-6);
    assert_true(fabs((double)cs[3] - 2 * sin(3.0 / 10 / 4)) < 1e-6);
}

static void refused(void **state)
{
    (void)state;
    const float zero[2] = { 1, 0 };
    const struct rope_params bad[] = {
        { .n_dims = 0, .base = 10000, .magnitude = 1 },
        { .n_dims = 3, .base = 10000, .magnitude = 1 },
        { .n_dims = 4, .base = 1, .magnitude = 1 },
        { .n_dims = 4, .base = (double)NAN, .magnitude = 1 },
        { .n_dims = 4, .base = 10000, .magnitude = (double)INFINITY },
        { .kind = ROPE_LINEAR, .n_dims = 4, .base = 10000, .magnitude = 1, .factor = 0 },
        { .kind = ROPE_YARN, .n_dims = 4, .base = 10000, .magnitude = 1, .factor = 2 },
        { .kind = ROPE_LLAMA3, .n_dims = 4, .base = 10000, .magnitude = 1, .factor = 2 },
        { .n_dims = 4, .base = 10000, .magnitude = 1, .factors = zero },
    };
    double inv[2];
    struct rope r;
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_int_equal(E_RANGE, rope_init(&r, &bad[i], inv));
}

int rope_test(void);
int rope_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(variants),
        cmocka_unit_test(partial),
        cmocka_unit_test(factors_divide),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests_name("model/rope", tests, NULL, NULL);
}
