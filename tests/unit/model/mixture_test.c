/* Goal: routing chooses the experts of the shared float64 vectors with their weights, and a whole
 * model of latent attention, shared and routed experts gives another engine's logits: in one piece,
 * in pieces of seven, token by token, alone and in company. */
#include "model/mixture.h"

#include <math.h>
#include <stdio.h>

#include "base/json.h"
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

static double at(const json_value *array, size_t i)
{
    return json_as_double(json_at(json_get(array, "data"), i));
}

static size_t dim(const json_value *array, size_t i)
{
    return (size_t)json_as_int(json_at(json_get(array, "shape"), i));
}

static void check_case(const json_value *c, const json_value *z, const json_value *bias,
                       struct mixture_rule rule)
{
    json_value *idx = json_get(c, "idx"), *weight = json_get(c, "weight");
    size_t n = dim(z, 0);
    float logits[64], b[64], weights[16];
    uint32_t experts[16];
    rule.n_experts = (uint32_t)dim(z, 1);
    rule.n_used = (uint32_t)dim(weight, 1);
    assert_int_equal(n, dim(weight, 0));
    for (uint32_t e = 0; e < rule.n_experts; e++)
        b[e] = bias != NULL ? (float)at(bias, e) : 0;
    for (size_t t = 0; t < n; t++) {
        for (uint32_t e = 0; e < rule.n_experts; e++)
            logits[e] = (float)at(z, t * rule.n_experts + e);
        mixture_route(&rule, logits, bias != NULL ? b : NULL, experts, weights);
        for (uint32_t i = 0; i < rule.n_used; i++) {
            json_value *row = json_at(idx, t);
            int64_t want =
                row != NULL ? json_as_int(json_at(row, i)) : (int64_t)at(idx, t * rule.n_used + i);
            assert_int_equal(want, experts[i]);
            assert_true(fabs(at(weight, t * rule.n_used + i) - (double)weights[i]) < 1e-5);
        }
    }
}

static double number(const json_value *o, const char *key, double preset)
{
    json_value *v = json_get(o, key);
    return v != NULL ? json_as_double(v) : preset;
}

static void routing(void **state)
{
    (void)state;
    json_value *v = read_shared("vectors/arch/moe_routing.json"), *cases = json_get(v, "cases");
    json_value *v3_logits = NULL, *v3_bias = NULL; /* kimi: the same */
    int n_checked = 0;
    for (size_t i = 0; i < json_len(cases); i++) {
        json_value *c = json_at(cases, i), *own = json_get(c, "logits");
        const char *name = json_text(json_get(c, "name"), NULL);
        struct mixture_rule rule = { .n_groups = 1, .n_groups_used = 1, .scale = 1 };
        if (strstr(name, "qwen3") != NULL) {
            rule.normalise = json_as_bool(json_get(c, "norm_topk_prob"));
        } else if (strstr(name, "mixtral") != NULL) {
            rule.normalise = true; /* softmax over the chosen is the same */
        } else if (strstr(name, "v3") != NULL || strstr(name, "kimi") != NULL) {
            rule.sigmoid = rule.normalise = true;
            rule.scale = (float)number(c, "routed_scaling_factor", 1);
            rule.n_groups = (uint32_t)number(c, "n_group", 1);
            rule.n_groups_used = (uint32_t)number(c, "topk_group", 1);
        } else {
            continue; /* schemes of other families */
        }
        if (strcmp(name, "deepseek_v3") == 0) {
            v3_logits = own;
            v3_bias = json_get(c, "e_score_correction_bias");
        }
        check_case(c, own == NULL ? json_get(v, "logits") : v3_logits, own != NULL ? v3_bias : NULL,
                   rule);
        n_checked++;
    }
    assert_true(n_checked >= 5);
    json_free(v);
}

/* All biased scores negative: a discarded group must still not be picked. */
static void negative_scores(void **state)
{
    (void)state;
    struct mixture_rule rule = {
        .n_experts = 4, .n_used = 2, .n_groups = 2, .n_groups_used = 1, .sigmoid = true, .scale = 1
    };
    const float z[4] = { -1, -2, 3, 4 }, bias[4] = { -2, -2, -9, -9 };
    uint32_t experts[2];
    float weights[2];
    mixture_route(&rule, z, bias, experts, weights);
    assert_int_equal(0, experts[0]);
    assert_int_equal(1, experts[1]);
}

/* Equal scores: lower index first. */
static void ties(void **state)
{
    (void)state;
    struct mixture_rule rule = {
        .n_experts = 8, .n_used = 3, .n_groups = 4, .n_groups_used = 2, .scale = 1
    };
    const float z[8] = { 0 };
    uint32_t experts[3];
    float weights[3];
    mixture_route(&rule, z, NULL, experts, weights);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(i, experts[i]);
        assert_true(fabs((double)weights[i] - 0.125) < 1e-6);
    }
}

static void check_level(const json_value *v, const char *path, const char *level)
{
    static const uint32_t CHUNKS[] = { 48, 7, 1 };
    json_value *ids = json_get(v, "ids"), *logits = json_get(v, "logits");
    int32_t list[64];
    uint32_t n = (uint32_t)json_len(ids);
    assert_true(n <= 48);
    for (uint32_t i = 0; i < n; i++)
        list[i] = (int32_t)json_as_int(json_at(ids, i));
    struct run t;
    struct run_params p = { path, level, 2, KERNEL_F32, 16, 64 };
    float *whole = NULL;
    run_open(&t, &p);
    for (size_t c = 0; c < COUNT_OF(CHUNKS); c++) {
        float *have = run_all(&t, list, n, CHUNKS[c]);
        for (uint32_t i = 0; i < n * t.n_vocab; i++) {
            double want = json_as_double(json_at(json_at(logits, i / t.n_vocab), i % t.n_vocab));
            assert_true(fabs(want - (double)have[i]) <= 2e-3 * fmax(1, fabs(want)));
        }
        if (whole != NULL)
            assert_memory_equal(whole, have, n * t.n_vocab * sizeof *have);
        if (whole == NULL)
            whole = have;
        else
            mem_free(have);
    }
    mem_free(whole);
    run_close(&t);
}

static void another_engine(void **state)
{
    (void)state;
    json_value *v = read_shared("oracles/architectures/deepseek2-moe.json");
    char path[1024];
    snprintf(path, sizeof path, "%s/oracles/architectures/deepseek2-moe.gguf", test_shared_dir());
    check_level(v, path, "generic");
    check_level(v, path, "auto");
    json_free(v);
}

int mixture_test(void);
int mixture_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(routing),
        cmocka_unit_test(negative_scores),
        cmocka_unit_test(ties),
        cmocka_unit_test(another_engine),
    };
    return cmocka_run_group_tests_name("model/mixture", tests, NULL, NULL);
}
