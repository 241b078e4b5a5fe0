/* Goal: vectors are those of an independent implementation (tests/golden/make_encoders.py), for encoders and
 * every way of pooling; a decoder's do not depend on what runs beside; every job ends, also when it is left. */
#include "unit/test.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>

#include "base/json.h"
#include "base/mem.h"
#include "engine/embed.h"
#include "engine/engine.h"
#include "model/model.h"
#include "os/file.h"
#include "text/tokenizer.h"

struct world {
    struct model_file *file;
    struct device *device;
    struct model *model;
    struct text_tokenizer *tokenizer;
    struct engine *engine;
};

static void open_world(struct world *w, const char *path, uint32_t n_threads)
{
    struct err err = { 0 };
    struct device_params dp = { .n_threads = n_threads };
    struct model_params mp = { .kv_type = KERNEL_F32 };
    *w = (struct world){ 0 };
    if (model_file_open(&w->file, path, &err) < 0 || model_check(w->file, &err) < 0 ||
        device_create(&w->device, &dp, &err) < 0 ||
        model_create(&w->model, w->file, w->device, &mp, &err) < 0 ||
        model_file_tokenizer(w->file, &w->tokenizer, &err) < 0)
        fail_msg("%s: %s", path, err.text);
    struct engine_params ep = { .model = w->model, .tokenizer = w->tokenizer,
                                .clock = clock_system(), .n_seqs_max = 2, .n_waiting_max = 4,
                                .check = true };
    if (engine_create(&w->engine, &ep, &err) < 0)
        fail_msg("%s: %s", path, err.text);
}

static void close_world(struct world *w)
{
    engine_destroy(w->engine);
    text_tokenizer_destroy(w->tokenizer);
    model_destroy(w->model);
    device_destroy(w->device);
    model_file_close(w->file);
}

static struct {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    int n;
} told = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 };

static void notify(UNUSED void *ctx)
{
    pthread_mutex_lock(&told.lock);
    told.n++;
    pthread_cond_broadcast(&told.cond);
    pthread_mutex_unlock(&told.lock);
}

static struct engine_embedding *submit(struct world *w, const int32_t *ids, const uint32_t *lens,
                                       uint32_t n, uint32_t pooling)
{
    struct engine_embedding *j = NULL;
    struct err err = { 0 };
    struct engine_embed_request r = { .ids = ids, .lens = lens, .n = n, .pooling = pooling,
                                      .notify = notify };
    told.n = 0;
    if (engine_embed_submit(w->engine, &r, &j, &err) < 0)
        fail_msg("%s", err.text);
    return j;
}

static const float *await(struct engine_embedding *j)
{
    const float *rows = NULL;
    pthread_mutex_lock(&told.lock);
    while (told.n == 0)
        pthread_cond_wait(&told.cond, &told.lock);
    pthread_mutex_unlock(&told.lock);
    assert_int_equal(engine_embed_poll(j, &rows), 1);
    return rows;
}

static double far(const float *have, const json_value *want)
{
    double worst = 0;
    for (size_t i = 0; i < json_len(want); i++)
        worst = fmax(worst, fabs((double)have[i] - json_as_double(json_at(want, i))));
    return worst;
}

static uint32_t read_ids(const json_value *v, int32_t *out)
{
    for (size_t i = 0; i < json_len(v); i++)
        out[i] = (int32_t)json_as_int(json_at(v, i));
    return (uint32_t)json_len(v);
}

/* All texts of the fixture in one job, once for each way of pooling. */
static void encoder(void **state)
{
    static const char *const ways[] = { NULL, "mean", "cls", "last" };
    char path[512], *text;
    size_t len;
    struct err err = { 0 };
    struct world w;
    json_value *v = NULL;
    snprintf(path, sizeof path, "tests/golden/%s/expected.json", (const char *)*state);
    if (os_read_file(path, (size_t)16 << 20, &text, &len, &err) < 0 ||
        json_parse(&v, text, len, &JSON_LIMITS_FILE, &err) < 0)
        fail_msg("%s: %s", path, err.text);
    mem_free(text);
    snprintf(path, sizeof path, "tests/golden/%s/model.gguf", (const char *)*state);
    open_world(&w, path, 2);
    struct engine_info info;
    engine_info(w.engine, &info);
    assert_true(info.encoder && info.pooling != MODEL_POOL_NONE);
    const json_value *texts = json_get(v, "texts");
    uint32_t n = (uint32_t)json_len(texts), lens[8], at = 0;
    int32_t ids[512];
    for (uint32_t i = 0; i < n; i++) {
        lens[i] = read_ids(json_get(json_at(texts, i), "ids"), ids + at);
        at += lens[i];
    }
    for (uint32_t pooling = MODEL_POOL_MEAN; pooling <= MODEL_POOL_LAST; pooling++) {
        struct engine_embedding *j = submit(&w, ids, lens, n, pooling);
        const float *rows = await(j);
        for (uint32_t i = 0; i < n; i++) {
            double d = far(rows + (size_t)i * info.n_embd,
                           json_get(json_at(texts, i), ways[pooling]));
            if (d > 2e-5)
                fail_msg("%s, text %u, %s: off by %g", path, i, ways[pooling], d);
        }
        engine_embed_close(j);
    }
    struct engine_request r = engine_request_defaults(ids, 2);
    struct engine_stream *s;
    assert_int_equal(engine_submit(w.engine, &r, &s, &err), E_UNSUPPORTED);
    close_world(&w);
    json_free(v);
}

/* The words of the fixture's vocabulary become the ids its texts have. */
static void encoder_words(UNUSED void **state)
{
    static const int32_t want[] = { 2, 13, 8, 10, 9, 12, 7, 14, 15, 3 };
    struct world w;
    struct text_ids ids;
    text_ids_init(&ids, 100);
    open_world(&w, "tests/golden/bert/model.gguf", 1);
    const char text[] = "The cats sat on a mat.";
    assert_int_equal(text_encode(w.tokenizer, text, sizeof text - 1, NULL, TEXT_ADD_SPECIAL, &ids),
                     0);
    assert_int_equal(ids.n, COUNT_OF(want));
    assert_memory_equal(ids.ids, want, sizeof want);
    text_ids_fini(&ids);
    close_world(&w);
}

static void limits_are_told(UNUSED void **state)
{
    struct world w;
    struct err err = { 0 };
    struct engine_embedding *j;
    int32_t ids[65] = { 0 };
    uint32_t lens[2] = { 65, 0 };
    struct engine_embed_request r = { .ids = ids, .lens = lens, .n = 1, .notify = notify };
    open_world(&w, "tests/golden/bert/model.gguf", 1);
    assert_int_equal(engine_embed_submit(w.engine, &r, &j, &err), E_LIMIT);
    assert_string_equal(err.field, "input");
    lens[0] = 64;
    r.n = 2;
    assert_int_equal(engine_embed_submit(w.engine, &r, &j, &err), E_RANGE);
    ids[3] = 4000;
    r.n = 1;
    assert_int_equal(engine_embed_submit(w.engine, &r, &j, &err), E_RANGE);
    assert_int_equal(engine_drain(w.engine, 0), 0);
    ids[3] = 4;
    assert_int_equal(engine_embed_submit(w.engine, &r, &j, &err), E_CLOSED);
    close_world(&w);
}

/* A decoder: the same bits alone and beside a running answer; long texts come in chunks. */
static void decoder(UNUSED void **state)
{
    struct world w;
    struct err err = { 0 };
    static int32_t ids[310];
    uint32_t lens[2] = { 300, 10 };
    float alone[1024];
    open_world(&w, "tests/models/naru-draft.gguf", 2);
    struct engine_info info;
    engine_info(w.engine, &info);
    assert_true(info.n_ctx > 300);
    for (uint32_t i = 0; i < lens[0] + lens[1]; i++)
        ids[i] = (int32_t)(3 + i * 7 % 90);
    assert_true(!info.encoder && 2 * info.n_embd <= COUNT_OF(alone));
    struct engine_embedding *j = submit(&w, ids, lens, 2, MODEL_POOL_LAST);
    memcpy(alone, await(j), 2 * info.n_embd * sizeof *alone);
    engine_embed_close(j);
    struct engine_request r = engine_request_defaults(ids, 4);
    struct engine_stream *s;
    r.max_tokens = 60;
    r.ignore_eos = true;
    assert_int_equal(engine_submit(w.engine, &r, &s, &err), 0);
    j = submit(&w, ids, lens, 2, MODEL_POOL_LAST);
    assert_memory_equal(await(j), alone, 2 * info.n_embd * sizeof *alone);
    engine_embed_close(j);
    j = submit(&w, ids, lens, 2, MODEL_POOL_MEAN); /* left before it is done */
    engine_embed_close(j);
    engine_stream_close(s);
    double sum = 0;
    for (uint32_t i = 0; i < info.n_embd; i++)
        sum += (double)alone[i] * (double)alone[i];
    assert_true(fabs(sum - 1) < 1e-5);
    close_world(&w);
}

#define ENCODER(dir)                                                                               \
    {                                                                                              \
        dir, encoder, NULL, NULL, (void *)(uintptr_t)(dir)                                         \
    }

int embed_test(void);
int embed_test(void)
{
    const struct CMUnitTest tests[] = {
        ENCODER("bert"),
        ENCODER("nomic-bert"),
        cmocka_unit_test(encoder_words),
        cmocka_unit_test(limits_are_told),
        cmocka_unit_test(decoder),
    };
    return cmocka_run_group_tests_name("embed", tests, NULL, NULL);
}
