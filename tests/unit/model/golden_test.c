/* Goal: tiny models of every family, written by an independent implementation (tests/golden), give
 * its logits within 2e-3: from both containers, at every level of this machine, with the prompt in
 * one piece, in pieces of seven and token by token. The pieces must not show at all: same level,
 * same bits. */
#include <math.h>
#include <stdio.h>

#include "base/json.h"
#include "os/file.h"
#include "unit/model/run.h"

#define IDS_MAX 256
#define TOLERANCE 2e-3

static const char *const LEVELS[] = { "generic", "auto" };

struct fixture {
    json_value *json;
    int32_t ids[IDS_MAX];
    uint32_t n_ids;
};

/* NARU_GOLDEN, or the folder as seen from the root of the repository. */
static void golden_path(char *out, size_t size, const char *name, const char *file)
{
    const char *dir = getenv("NARU_GOLDEN");
    snprintf(out, size, "%s/%s/%s", dir != NULL ? dir : "tests/golden", name, file);
}

static void read_fixture(struct fixture *f, const char *name)
{
    char path[512], *text;
    size_t len;
    struct err err = { 0 };
    golden_path(path, sizeof path, name, "expected.json");
    if (os_read_file(path, (size_t)16 << 20, &text, &len, &err) < 0 ||
        json_parse(&f->json, text, len, &JSON_LIMITS_FILE, &err) < 0)
        fail_msg("%s: %s (tests run from the root of the repository)", path, err.text);
    mem_free(text);
    json_value *ids = json_get(f->json, "ids");
    f->n_ids = (uint32_t)json_len(ids);
    assert_true(f->n_ids > 0 && f->n_ids <= IDS_MAX);
    for (uint32_t i = 0; i < f->n_ids; i++)
        f->ids[i] = (int32_t)json_as_int(json_at(ids, i));
}

/* Largest distance to the reference, relative to the largest logit of its row (at least 1). */
static double distance(const struct fixture *f, const float *logits, uint32_t n_vocab)
{
    json_value *where = json_get(f->json, "positions"), *rows = json_get(f->json, "logits");
    double worst = 0;
    assert_true(json_len(where) > 0);
    for (size_t i = 0; i < json_len(where); i++) {
        const float *have = logits + (size_t)json_as_int(json_at(where, i)) * n_vocab;
        json_value *want = json_at(rows, i);
        double top = 1, far = 0;
        assert_int_equal(json_len(want), n_vocab);
        for (uint32_t v = 0; v < n_vocab; v++) {
            double x = json_as_double(json_at(want, v));
            top = fmax(top, fabs(x));
            far = fmax(far, isfinite(have[v]) ? fabs(x - (double)have[v]) : 1e9);
        }
        worst = fmax(worst, far / top);
    }
    return worst;
}

static void check_open(const struct fixture *f, const char *path, const char *level, uint32_t n_ctx)
{
    static const uint32_t CHUNKS[] = { 7, 1 };
    struct run t;
    struct run_params p = { path, level, 1, KERNEL_F32, 16, n_ctx };
    run_open(&t, &p);
    float *whole = run_all(&t, f->ids, f->n_ids, f->n_ids);
    double far = distance(f, whole, t.n_vocab);
    if (far > TOLERANCE)
        fail_msg("%s, %s: logits are off by %g", path, level, far);
    for (size_t i = 0; i < COUNT_OF(CHUNKS); i++) {
        float *pieces = run_all(&t, f->ids, f->n_ids, CHUNKS[i]);
        size_t bytes = (size_t)f->n_ids * t.n_vocab * sizeof *whole;
        if (memcmp(whole, pieces, bytes) != 0)
            fail_msg("%s, %s: pieces of %u give other bits", path, level, CHUNKS[i]);
        mem_free(pieces);
    }
    mem_free(whole);
    run_close(&t);
}

/* n_ctx 0: 128. */
static void check(const char *name, uint32_t n_ctx)
{
    struct fixture f;
    char dir[512], gguf[512];
    read_fixture(&f, name);
    golden_path(dir, sizeof dir, name, "");
    dir[strlen(dir) - 1] = '\0';
    golden_path(gguf, sizeof gguf, name, "model.gguf");
    for (size_t i = 0; i < COUNT_OF(LEVELS); i++) {
        check_open(&f, dir, LEVELS[i], n_ctx != 0 ? n_ctx : 128);
        if (os_exists(gguf))
            check_open(&f, gguf, LEVELS[i], n_ctx != 0 ? n_ctx : 128);
    }
    json_free(f.json);
}

static void fixture_test(void **state) { check(*state, 0); }

/* Short RoPE factors count for contexts up to the original one (64 here). */
static void phi3_short(void **state)
{
    (void)state;
    check("phi3-short", 64);
}

#define FIXTURE(dir)                                                                               \
    {                                                                                              \
        dir, fixture_test, NULL, NULL, (void *)(uintptr_t)(dir)                                    \
    }

int golden_test(void);
int golden_test(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE("llama2"),       FIXTURE("llama3"),
        FIXTURE("mistral"),      FIXTURE("smollm"),
        FIXTURE("qwen2"),        FIXTURE("qwen3"),
        FIXTURE("gemma"),        FIXTURE("gemma2"),
        FIXTURE("gemma3"),       FIXTURE("phi3"),
        FIXTURE("phi3-window"),  FIXTURE("phi3-partial"),
        FIXTURE("phi3-long"),    cmocka_unit_test(phi3_short),
        FIXTURE("rope-linear"),  FIXTURE("rope-yarn"),
        FIXTURE("rope-dynamic"), FIXTURE("deepseek2"),
        FIXTURE("deepseek3"),    FIXTURE("mixtral"),
        FIXTURE("qwen2moe"),     FIXTURE("qwen3moe"),
        FIXTURE("qwen3moe-plain"),
        FIXTURE("kimi"),
    };
    return cmocka_run_group_tests_name("model/golden", tests, NULL, NULL);
}
