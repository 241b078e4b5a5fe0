/* Goal: the trained models of the shared folder give the logits, the greedy text and the mean nll
 * that an independent float32 implementation gives, at every level of this machine, from prompts in
 * one piece. */
#include <math.h>
#include <stdio.h>

#include "base/json.h"
#include "os/cpu.h"
#include "os/file.h"
#include "unit/model/run.h"

#define IDS_MAX 512

static const char *const LEVELS[] = { "generic", "auto" };

static json_value *read_json(const char *path)
{
    char *text;
    size_t len;
    json_value *v = NULL;
    struct err err = { 0 };
    if (os_read_file(path, (size_t)16 << 20, &text, &len, &err) < 0 ||
        json_parse(&v, text, len, &JSON_LIMITS_FILE, &err) < 0)
        fail_msg("%s: %s", path, err.text);
    mem_free(text);
    return v;
}

static uint32_t read_ids(const json_value *list, int32_t *out)
{
    uint32_t n = (uint32_t)json_len(list);
    assert_true(n <= IDS_MAX);
    for (uint32_t i = 0; i < n; i++)
        out[i] = (int32_t)json_as_int(json_at(list, i));
    return n;
}

/* One prompt of expected.json. tolerance: of logits; n_max: greedy tokens to compare. */
static void check_prompt(struct run *t, const json_value *r, double tolerance, uint32_t n_max)
{
    int32_t ids[2 * IDS_MAX], greedy[IDS_MAX];
    uint32_t n = read_ids(json_get(r, "ids"), ids),
             n_greedy = read_ids(json_get(r, "greedy"), greedy);
    float *logits = run_all(t, ids, n, n);
    const float *last = logits + (size_t)(n - 1) * t->n_vocab;
    json_value *head = json_get(r, "logits_head"), *top = json_get(r, "top5");
    for (size_t i = 0; i < json_len(head); i++)
        assert_true(fabs(json_as_double(json_at(head, i)) - (double)last[i]) <= tolerance);
    for (size_t i = 0; i < json_len(top); i++) {
        json_value *pair = json_at(top, i);
        double want = json_as_double(json_at(pair, 1));
        assert_true(fabs(want - (double)last[json_as_int(json_at(pair, 0))]) <= tolerance);
    }
    uint32_t next = run_argmax(last, t->n_vocab);
    mem_free(logits);
    if (json_as_double(json_get(r, "min_gap")) <= 1e-3)
        return;
    for (uint32_t i = 0; i < n_greedy && i < n_max; i++) {
        assert_int_equal(greedy[i], (int)next);
        ids[n + i] = (int32_t)next;
        next = run_argmax(run_rows(t, ids + n + i, n + i, 1), t->n_vocab);
    }
}

/* from: the reference values; NULL: those of the shared folder. */
static void check_model(const char *name, const char *file, uint32_t kv_type, double tolerance,
                        const char *from)
{
    const char *dir = test_shared_dir();
    if (dir == NULL)
        skip();
    char path[1024];
    snprintf(path, sizeof path, "%s/models/expected.json", dir);
    if (from != NULL)
        snprintf(path, sizeof path, "%s", from);
    json_value *all = read_json(path), *runs = json_get(json_get(all, name), "runs");
    assert_true(json_len(runs) > 0);
    snprintf(path, sizeof path, "%s/models/%s", dir, file);
    for (size_t level = 0; level < COUNT_OF(LEVELS); level++) {
        struct run t;
        struct run_params p = { path, LEVELS[level], 1, kv_type, 16, 256 };
        run_open(&t, &p);
        for (size_t i = 0; i < json_len(runs); i++)
            check_prompt(&t, json_at(runs, i), tolerance, level == 0 ? 8 : IDS_MAX);
        run_close(&t);
    }
    json_free(all);
}

static void stories260k(void **state)
{
    (void)state;
    check_model("stories260k", "stories260k-f32.gguf", KERNEL_F32, 1e-3, NULL);
}

/* What a cache of halves costs: K and V are rounded to 11 bits. */
static void stories260k_f16_cache(void **state)
{
    (void)state;
    check_model("stories260k", "stories260k-f32.gguf", KERNEL_F16, 2e-2, NULL);
}

static void llama2xs(void **state)
{
    (void)state;
    check_model("llama2xs-stories", "llama2xs-stories-f32.gguf", KERNEL_F32, 1e-3, NULL);
}

static void babyllama(void **state)
{
    (void)state;
    check_model("babyllama-char105", "babyllama-char105-f32.gguf", KERNEL_F32, 1e-3, NULL);
}

static void bit_stories(void **state)
{
    (void)state;
    check_model("bit-stories-3m", "bit-stories-3m-f16.gguf", KERNEL_F32, 1e-3, NULL);
}

/* naru5m.json: tools/train/expect.py's Net on random ids. */
static void naru_gqa(void **state)
{
    (void)state;
    check_model("naru-gqa-5m", "naru-gqa-5m-f16.gguf", KERNEL_F32, 1e-3,
                "tests/unit/model/naru5m.json");
}

static void naru_mla(void **state)
{
    (void)state;
    check_model("naru-mla-5m", "naru-mla-5m-f16.gguf", KERNEL_F32, 1e-3,
                "tests/unit/model/naru5m.json");
}

/* Mean of -ln p(next id) over a piece, added to *sum. */
static uint32_t add_nll(struct run *t, const int32_t *ids, uint32_t n, double *sum)
{
    float *logits = run_all(t, ids, n, n);
    for (uint32_t i = 0; i + 1 < n; i++) {
        const float *row = logits + (size_t)i * t->n_vocab;
        double top = (double)row[run_argmax(row, t->n_vocab)], total = 0;
        for (uint32_t v = 0; v < t->n_vocab; v++)
            total += exp((double)row[v] - top);
        *sum += top + log(total) - (double)row[ids[i + 1]];
    }
    mem_free(logits);
    return n - 1;
}

struct nll {
    const char *name, *file, *ids;
};

/* nll_ids.json: the pieces of text that expected.json speaks of, as ids. */
static void nll(void **state)
{
    const struct nll *c = *state;
    const char *dir = test_shared_dir();
    if (dir == NULL)
        skip();
    char path[1024];
    snprintf(path, sizeof path, "%s/models/expected.json", dir);
    json_value *all = read_json(path), *one = json_get(all, c->name);
    json_value *texts = read_json("tests/unit/model/nll_ids.json"),
               *pieces = json_get(texts, c->ids);
    json_value *mean = json_get(one, "nll_mean");
    mean = mean != NULL ? mean : json_get(json_get(one, "nll"), "mean");
    snprintf(path, sizeof path, "%s/models/%s", dir, c->file);
    struct run t;
    struct run_params p = { path, "auto", 1, KERNEL_F32, 16, 128 };
    run_open(&t, &p);
    double sum = 0;
    uint32_t n = 0;
    assert_int_equal(12, json_len(pieces));
    for (size_t i = 0; i < json_len(pieces); i++) {
        int32_t ids[IDS_MAX];
        uint32_t n_ids = read_ids(json_at(pieces, i), ids);
        n += add_nll(&t, ids, n_ids, &sum);
    }
    if (fabs(sum / n - json_as_double(mean)) > 1e-4)
        fail_msg("%s: mean nll %.5f, %.5f is right", c->name, sum / n, json_as_double(mean));
    run_close(&t);
    json_free(texts);
    json_free(all);
}

static struct nll NLL[] = {
    { "stories260k", "stories260k-f32.gguf", "llama512" },
    { "llama2xs-stories", "llama2xs-stories-f32.gguf", "llama512" },
    { "babyllama-char105", "babyllama-char105-f32.gguf", "char105" },
    { "bit-stories-3m", "bit-stories-3m-f16.gguf", "llama512" },
};

int expected_test(void);
int expected_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stories260k),
        cmocka_unit_test(stories260k_f16_cache),
        cmocka_unit_test(llama2xs),
        cmocka_unit_test(babyllama),
        cmocka_unit_test(bit_stories),
        cmocka_unit_test(naru_gqa),
        cmocka_unit_test(naru_mla),
        { "nll_stories260k", nll, NULL, NULL, &NLL[0] },
        { "nll_llama2xs", nll, NULL, NULL, &NLL[1] },
        { "nll_babyllama", nll, NULL, NULL, &NLL[2] },
        { "nll_bit_stories", nll, NULL, NULL, &NLL[3] },
    };
    return cmocka_run_group_tests_name("model/expected", tests, NULL, NULL);
}
