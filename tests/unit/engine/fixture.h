/* tests/unit/engine/fixture.h - a small real model, an engine over it, and ways to run requests.
 *
 * The model is stories260k of the shared folder (or naru-chat of the repository); tests skip by name where
 * it is absent. */
#ifndef TESTS_UNIT_ENGINE_FIXTURE_H
#define TESTS_UNIT_ENGINE_FIXTURE_H

#include "unit/test.h"

#include <stdbool.h>
#include <stdio.h>

#include "device/device.h"
#include "engine/engine.h"
#include "model/model.h"

enum { ANSWER_MAX = 512, PROMPT_MAX = 512 };

struct small {
    struct model_file *file;
    struct device *device;
    struct model *model;
    struct text_tokenizer *tokenizer;
};

/* What a request gave. */
struct answer {
    int32_t ids[ANSWER_MAX];
    uint32_t n;
    char text[8192];
    size_t len;
    struct engine_event done; /* message and text pointers are not kept */
    char message[ERR_TEXT_MAX];
    double logprob_sum;
};

static inline const char *small_path(char *path, size_t size, const char *name)
{
    const char *dir = test_shared_dir();
    if (dir == NULL) {
        print_message("NARU_SHARED is not set\n");
        skip();
    }
    snprintf(path, size, "%s/models/%s", dir != NULL ? dir : "", name);
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        print_message("%s is absent\n", path);
        skip();
        return path;
    }
    fclose(f);
    return path;
}

static inline int small_load(void **state)
{
    static struct small s;
    char path[4096];
    struct err err = { 0 };
    const char *dir = test_shared_dir();
    *state = NULL;
    memset(&s, 0, sizeof s);
    snprintf(path, sizeof path, "%s/models/stories260k-f32.gguf", dir != NULL ? dir : "");
    if (dir == NULL || model_file_open(&s.file, path, &err) == E_NOT_FOUND)
        return 0; /* each test skips */
    struct device_params dp = { .n_threads = 1 };
    struct model_params mp = { .kv_type = KERNEL_F32, .block_len = 8 };
    if (s.file == NULL || device_create(&s.device, &dp, &err) < 0 ||
        model_create(&s.model, s.file, s.device, &mp, &err) < 0 ||
        model_file_tokenizer(s.file, &s.tokenizer, &err) < 0) {
        print_error("%s\n", err.text);
        return -1;
    }
    *state = &s;
    return 0;
}

static inline int small_unload(void **state)
{
    struct small *s = *state;
    if (s == NULL)
        return 0;
    model_destroy(s->model);
    text_tokenizer_destroy(s->tokenizer);
    device_destroy(s->device);
    model_file_close(s->file);
    return 0;
}

/* The model, or the test is skipped. */
static inline struct small *small_of(void **state)
{
    if (*state == NULL) {
        print_message("no NARU_SHARED with models/stories260k-f32.gguf\n");
        skip();
    }
    return *state;
}

static inline struct engine_params small_params(const struct small *s)
{
    return (struct engine_params){ .model = s->model, .tokenizer = s->tokenizer,
                                   .clock = clock_system(), .n_seqs_max = 8, .n_rows_step = 32,
                                   .check = true };
}

static inline struct engine *engine_with(const struct engine_params *p)
{
    struct engine *e = NULL;
    struct err err = { 0 };
    if (engine_create(&e, p, &err) != 0)
        fail_msg("%s", err.text);
    return e;
}

static inline struct engine_stream *submit(struct engine *e, const struct engine_request *r)
{
    struct engine_stream *s = NULL;
    struct err err = { 0 };
    if (engine_submit(e, r, &s, &err) != 0)
        fail_msg("%s: %s", err.field, err.text);
    return s;
}

static inline void add_event(struct answer *a, const struct engine_event *ev)
{
    assert_true(a->len + ev->text_len < sizeof a->text);
    if (ev->text_len > 0)
        memcpy(a->text + a->len, ev->text, ev->text_len);
    a->len += ev->text_len;
    a->text[a->len] = '\0';
    if (ev->kind == ENGINE_TOKEN) {
        assert_true(a->n < ANSWER_MAX);
        a->ids[a->n++] = ev->id;
        a->logprob_sum += (double)ev->logprob;
    } else {
        a->done = *ev;
        snprintf(a->message, sizeof a->message, "%s", ev->message);
    }
}

/* Reads a stream to its end and closes it. */
static inline void finish(struct engine_stream *s, struct answer *a)
{
    struct engine_event ev = { .kind = ENGINE_TOKEN };
    memset(a, 0, sizeof *a);
    while (ev.kind != ENGINE_DONE) {
        assert_int_equal(engine_stream_next(s, -1, &ev), 1);
        add_event(a, &ev);
    }
    assert_int_equal(engine_stream_next(s, -1, &ev), E_CLOSED);
    assert_int_equal(a->done.usage.completion_tokens, a->n);
    engine_stream_close(s);
}

static inline void ask(struct engine *e, const struct engine_request *r, struct answer *a)
{
    finish(submit(e, r), a);
}

/* Nothing is held once nobody runs, whatever happened before. */
static inline void close_engine(struct engine *e)
{
    struct engine_stats st;
    (void)engine_drain(e, 0);
    engine_stats(e, &st);
    assert_int_equal(st.blocks_used, 0);
    assert_int_equal(st.n_running + st.n_waiting, 0);
    engine_destroy(e);
}

static inline uint32_t encode(const struct small *s, const char *text, int32_t *ids)
{
    struct text_ids l;
    text_ids_init(&l, PROMPT_MAX);
    assert_int_equal(text_encode(s->tokenizer, text, strlen(text), NULL, TEXT_ADD_SPECIAL, &l), 0);
    uint32_t n = l.n;
    memcpy(ids, l.ids, n * sizeof *ids);
    text_ids_fini(&l);
    return n;
}

#endif
