/* Threads and their ends: cancelling anywhere, many at once, slow and stalled readers, full queue, drain,
 * faults of the model: every stream ends exactly once, others do not notice, no block stays behind. */
#include "unit/engine/fixture.h"

#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

enum { MANY = 32 };

static struct engine_request story(const struct small *s, int32_t *ids, const char *text)
{
    struct engine_request r = engine_request_defaults(ids, encode(s, text, ids));
    r.sampler.temperature = 0;
    r.ignore_eos = true;
    return r;
}

static struct engine_request long_prompt(int32_t *ids, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        ids[i] = 260 + (int32_t)(i * 7 % 250);
    struct engine_request r = engine_request_defaults(ids, n);
    r.ignore_eos = true;
    return r;
}

/* --- cancel --- */

static void wait_for(struct engine_stream *s, enum engine_phase phase, uint32_t rows)
{
    struct engine_progress p = { 0 };
    struct engine_event ev;
    while (p.phase < phase || p.prefill_done < rows) {
        assert_true(engine_stream_next(s, 0.001, &ev) >= 0);
        engine_stream_progress(s, &p);
    }
}

static void cancel_gives_everything_back(void **state)
{
    struct small *s = small_of(state);
    struct engine_params p = small_params(s);
    p.n_rows_step = 8; /* 500 rows of prompt: 63 steps */
    struct engine *e = engine_with(&p);
    int32_t ids[PROMPT_MAX];
    struct engine_request r = long_prompt(ids, 500);
    struct answer a;
    struct engine_stats st;
    const struct { enum engine_phase phase; uint32_t rows; } at[] = {
        { ENGINE_QUEUED, 0 }, { ENGINE_PREFILL, 0 }, { ENGINE_PREFILL, 100 }, { ENGINE_DECODE, 0 },
    };
    for (size_t i = 0; i < COUNT_OF(at); i++) {
        struct engine_progress progress;
        engine_forget(e);
        struct engine_stream *stream = submit(e, &r);
        wait_for(stream, at[i].phase, at[i].rows);
        engine_stream_cancel(stream);
        struct engine_event ev = { .kind = ENGINE_TOKEN };
        while (ev.kind != ENGINE_DONE)
            assert_int_equal(engine_stream_next(stream, -1, &ev), 1);
        assert_true(ev.finish == ENGINE_CANCELLED || ev.finish == ENGINE_LENGTH);
        engine_stats(e, &st);
        assert_int_equal(st.blocks_used, 0);
        engine_stream_progress(stream, &progress);
        assert_int_equal(progress.phase, ENGINE_ENDED);
        assert_int_equal(progress.prefill_total, 500);
        engine_stream_close(stream);
    }
    struct engine_stream *stream = submit(e, &r); /* gone without a word */
    engine_stream_close(stream);
    stream = submit(e, &r);
    wait_for(stream, ENGINE_PREFILL, 16);
    engine_stream_close(stream);
    ask(e, &r, &a); /* and the engine goes on */
    assert_int_equal(a.n, 12);
    engine_stats(e, &st);
    assert_true(st.requests_cancelled >= 3);
    close_engine(e);
}

/* --- many --- */

struct client {
    struct engine *e;
    const struct small *s;
    uint32_t number;
    struct answer *a;
};

static void client_request(const struct client *c, int32_t *ids, struct engine_request *r)
{
    char text[80];
    snprintf(text, sizeof text, "%s and number %u went to the", c->number % 2 ? "Tom" : "Lily",
             c->number);
    *r = story(c->s, ids, text);
    r->max_tokens = 10 + c->number;
    r->sampler.temperature = 0.8f;
    r->sampler.seed = c->number;
}

static void *run_client(void *ctx)
{
    struct client *c = ctx;
    int32_t ids[PROMPT_MAX];
    struct engine_request r;
    struct engine_stream *stream = NULL;
    struct engine_event ev = { .kind = ENGINE_TOKEN };
    client_request(c, ids, &r);
    memset(c->a, 0, sizeof *c->a);
    if (engine_submit(c->e, &r, &stream, NULL) != 0)
        return NULL;
    while (ev.kind != ENGINE_DONE) {
        if (engine_stream_next(stream, -1, &ev) != 1)
            break;
        if (ev.kind == ENGINE_TOKEN)
            c->a->ids[c->a->n++] = ev.id;
        if (c->number % 7 == 3 && c->a->n == 5)
            engine_stream_cancel(stream);
        c->a->done = ev;
    }
    engine_stream_close(stream);
    return NULL;
}

static void many_clients_at_once(void **state)
{
    struct small *s = small_of(state);
    struct engine_params p = small_params(s);
    p.n_ctx = 100;
    p.kv_bytes = 40 * model_layout(s->model)->block_bytes; /* eight want about 60 */
    struct engine *e = engine_with(&p);
    struct answer *answers = test_calloc(MANY, sizeof *answers), want;
    struct client clients[MANY];
    pthread_t threads[MANY];
    for (uint32_t i = 0; i < MANY; i++) {
        clients[i] = (struct client){ .e = e, .s = s, .number = i, .a = &answers[i] };
        assert_int_equal(pthread_create(&threads[i], NULL, run_client, &clients[i]), 0);
    }
    for (uint32_t i = 0; i < MANY; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (uint32_t i = 0; i < MANY; i++) { /* the same alone */
        int32_t ids[PROMPT_MAX];
        struct engine_request r;
        client_request(&clients[i], ids, &r);
        ask(e, &r, &want);
        assert_int_equal(answers[i].done.kind, ENGINE_DONE);
        if (i % 7 == 3)
            assert_true(answers[i].n >= 5 && answers[i].n <= want.n);
        else
            assert_int_equal(answers[i].n, want.n);
        assert_memory_equal(answers[i].ids, want.ids, answers[i].n * sizeof *want.ids);
    }
    test_free(answers);
    close_engine(e);
}

/* --- a server's way: notified, then reading without waiting --- */

static void on_events(void *ctx, struct engine_stream *s)
{
    (void)s;
    sem_post(ctx);
}

static void notifies_and_polls(void **state)
{
    struct small *s = small_of(state);
    struct engine_params p = small_params(s);
    struct engine *e = engine_with(&p);
    int32_t ids[PROMPT_MAX];
    sem_t news;
    struct answer a = { 0 }, want;
    struct engine_request r = story(s, ids, "Once upon");
    assert_int_equal(sem_init(&news, 0, 0), 0);
    r.max_tokens = 25;
    ask(e, &r, &want);
    r.notify = on_events;
    r.notify_ctx = &news;
    struct engine_stream *stream = submit(e, &r);
    struct engine_event ev = { .kind = ENGINE_TOKEN };
    int got = 0;
    while (got != E_CLOSED) { /* every event is announced, so this always wakes up again */
        while (sem_wait(&news) != 0)
            continue;
        for (got = engine_stream_next(stream, 0, &ev); got == 1;
             got = engine_stream_next(stream, 0, &ev))
            add_event(&a, &ev);
    }
    engine_stream_close(stream);
    assert_string_equal(a.text, want.text);
    assert_int_equal(a.done.finish, ENGINE_LENGTH);
    close_engine(e);
    sem_destroy(&news);
}

/* --- readers that do not read --- */

static _Atomic uint64_t fake_ns;
static uint64_t fake_now(void *ctx)
{
    (void)ctx;
    return atomic_load(&fake_ns);
}

static struct engine_params small_rings(const struct small *s)
{
    struct engine_params p = small_params(s);
    p.stream_bytes = 1; /* the least there is: some twenty events with their alternatives */
    p.clock.now_ns = fake_now;
    return p;
}

static void slow_reader_hurts_nobody(void **state)
{
    struct small *s = small_of(state);
    struct engine_params p = small_rings(s);
    struct engine *e = engine_with(&p);
    int32_t ids[PROMPT_MAX], other_ids[PROMPT_MAX];
    struct answer a, b, want;
    struct engine_progress progress;
    struct engine_request r = story(s, ids, "Once upon a time"), other = story(s, other_ids, "Tom");
    r.logprobs = other.logprobs = true;
    r.n_top = other.n_top = ENGINE_TOP_MAX;
    r.max_tokens = 100;
    other.max_tokens = 200;
    ask(e, &r, &want);
    struct engine_stream *slow = submit(e, &r);
    ask(e, &other, &b);
    assert_int_equal(b.n, 200);
    engine_stream_progress(slow, &progress);
    assert_in_range(progress.generated, 15, 30); /* paused; without rings it would be done */
    finish(slow, &a);
    assert_int_equal(a.n, 100);
    assert_memory_equal(a.ids, want.ids, sizeof a.ids);
    assert_string_equal(a.text, want.text);
    close_engine(e);
}

static void stalled_reader_is_let_go(void **state)
{
    struct small *s = small_of(state);
    struct engine_params p = small_rings(s);
    p.stall_s_max = 60;
    struct engine *e = engine_with(&p);
    int32_t ids[PROMPT_MAX];
    struct answer a;
    struct engine_progress progress = { 0 };
    struct engine_request r = story(s, ids, "Once upon a time");
    r.logprobs = true;
    r.n_top = ENGINE_TOP_MAX;
    r.max_tokens = 300;
    struct engine_stream *stream = submit(e, &r);
    while (progress.phase != ENGINE_ENDED) { /* time passes, nobody reads */
        atomic_fetch_add(&fake_ns, 10000000000u);
        struct timespec nap = { .tv_nsec = 5000000 };
        nanosleep(&nap, NULL);
        engine_stream_progress(stream, &progress);
    }
    finish(stream, &a);
    assert_true(a.n < 300);
    assert_int_equal(a.done.finish, ENGINE_ERROR);
    assert_int_equal(a.done.code, E_TIMEOUT);
    assert_non_null(strstr(a.message, "stalled"));
    close_engine(e);
}

/* --- the model's faults, and steps held up at a gate --- */

static sem_t gate, arrived;
static _Atomic int gated; /* forwards still to be held up */
static _Atomic int broken; /* what forward answers instead */
enum { POISON = 511 };

static int hooked_forward(const struct model *m, struct model_work *w, const struct model_batch *b,
                          const float **logits)
{
    if (atomic_load(&gated) > 0) {
        atomic_fetch_sub(&gated, 1);
        sem_post(&arrived);
        while (sem_wait(&gate) != 0)
            continue;
    }
    if (atomic_load(&broken) != 0)
        return atomic_load(&broken);
    int rc = model_forward(m, w, b, logits);
    for (uint32_t i = 0; i < b->n_want; i++)
        if (b->ids[b->want[i]] == POISON) {
            float *row = (float *)(uintptr_t)*logits + (size_t)i * model_info(m)->n_vocab;
            for (uint32_t v = 0; v < model_info(m)->n_vocab; v++)
                row[v] = NAN;
            rc = E_NONFINITE;
        }
    return rc;
}

static struct engine *gated_engine(struct engine_params *p, int n_gated)
{
    p->forward = hooked_forward;
    assert_int_equal(sem_init(&gate, 0, 0), 0);
    assert_int_equal(sem_init(&arrived, 0, 0), 0);
    atomic_store(&gated, n_gated);
    return engine_with(p);
}

static void wait_at_gate(void)
{
    while (sem_wait(&arrived) != 0)
        continue;
}

static void full_and_one_more_is_refused(void **state)
{
    struct small *s = small_of(state);
    struct engine_params p = small_params(s);
    p.n_seqs_max = 1;
    p.n_waiting_max = 2;
    struct engine *e = gated_engine(&p, 1);
    int32_t ids[PROMPT_MAX];
    struct engine_stream *streams[3], *more = NULL;
    struct answer a;
    struct err err = { 0 };
    struct engine_stats st;
    struct engine_request r = story(s, ids, "Tom");
    r.max_tokens = 3;
    for (int i = 0; i < 3; i++)
        streams[i] = submit(e, &r);
    wait_at_gate();
    assert_int_equal(engine_submit(e, &r, &more, &err), E_FULL);
    assert_true(err.text[0] != '\0');
    assert_null(more);
    engine_stream_cancel(streams[1]); /* while queued */
    sem_post(&gate);
    finish(streams[1], &a);
    assert_int_equal(a.done.finish, ENGINE_CANCELLED);
    assert_int_equal(a.n, 0);
    finish(streams[0], &a);
    assert_int_equal(a.n, 3);
    finish(streams[2], &a);
    assert_int_equal(a.n, 3);
    engine_stats(e, &st);
    assert_int_equal(st.requests, 3);
    assert_int_equal(st.requests_cancelled, 1);
    ask(e, &r, &a); /* there is room again */
    close_engine(e);
}

static void patience_in_the_queue_ends(void **state)
{
    struct small *s = small_of(state);
    struct engine_params p = small_params(s);
    p.n_seqs_max = 1;
    p.queue_s_max = 30;
    p.clock.now_ns = fake_now;
    struct engine *e = gated_engine(&p, 1);
    int32_t ids[PROMPT_MAX];
    struct answer a;
    struct engine_request r = story(s, ids, "Tom");
    r.max_tokens = 3;
    struct engine_stream *first = submit(e, &r);
    wait_at_gate();
    struct engine_stream *second = submit(e, &r);
    atomic_fetch_add(&fake_ns, 31000000000u);
    sem_post(&gate);
    finish(first, &a);
    assert_int_equal(a.n, 3);
    assert_int_equal(a.done.usage.prefill_ns, 31000000000u);
    finish(second, &a);
    assert_int_equal(a.done.finish, ENGINE_ERROR);
    assert_int_equal(a.done.code, E_TIMEOUT);
    assert_int_equal(a.done.usage.queue_ns, 31000000000u);
    close_engine(e);
}

static void cancel_takes_effect_within_a_step(void **state)
{
    struct small *s = small_of(state);
    struct engine_params p = small_params(s);
    struct engine *e = gated_engine(&p, 1);
    int32_t ids[PROMPT_MAX];
    struct answer a;
    struct engine_request r = story(s, ids, "Tom");
    struct engine_stream *stream = submit(e, &r);
    wait_at_gate(); /* the prefill's step is running */
    engine_stream_cancel(stream);
    sem_post(&gate);
    finish(stream, &a);
    assert_int_equal(a.done.finish, ENGINE_CANCELLED);
    assert_int_equal(a.n, 1); /* that step's token, and no other */
    close_engine(e);
}

static void non_finite_logits_end_one_request(void **state)
{
    struct small *s = small_of(state);
    struct engine_params p = small_params(s);
    struct engine *e = gated_engine(&p, 0);
    int32_t ids[3][PROMPT_MAX];
    struct engine_request r[3];
    struct engine_stream *streams[3];
    struct answer want[3], a;
    struct engine_stats st;
    for (int i = 0; i < 3; i++) {
        r[i] = story(s, ids[i], i == 0 ? "Tom" : i == 1 ? "Lily and the" : "Once upon a time");
        r[i].max_tokens = 20;
        r[i].sampler.seed = (uint64_t)i;
        ask(e, &r[i], &want[i]);
    }
    ids[1][r[1].n_prompt - 1] = POISON;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 3; i++)
            streams[i] = submit(e, &r[i]);
        for (int i = 0; i < 3; i++) {
            finish(streams[i], &a);
            assert_int_equal(a.done.finish, i == 1 ? ENGINE_ERROR : ENGINE_LENGTH);
            assert_int_equal(a.done.code, i == 1 ? E_NONFINITE : 0);
            if (i != 1)
                assert_memory_equal(a.ids, want[i].ids, sizeof a.ids);
        }
    }
    engine_stats(e, &st);
    assert_int_equal(st.requests_failed, 3);
    atomic_store(&broken, E_NOMEM); /* a whole step fails: its requests end, the engine lives */
    ask(e, &r[0], &a);
    assert_int_equal(a.done.code, E_NOMEM);
    atomic_store(&broken, 0);
    ask(e, &r[0], &a);
    assert_int_equal(a.n, 20);
    close_engine(e);
}

/* --- the end of the engine --- */

static void drains(void **state)
{
    struct small *s = small_of(state);
    struct engine_params p = small_params(s);
    struct engine *e = gated_engine(&p, 1);
    int32_t ids[PROMPT_MAX];
    struct answer a;
    struct err err = { 0 };
    struct engine_stream *more = NULL;
    struct engine_request r = story(s, ids, "Tom");
    r.max_tokens = 5;
    struct engine_stream *stream = submit(e, &r);
    wait_at_gate();
    sem_post(&gate);
    assert_int_equal(engine_drain(e, 60), 0); /* what runs may end */
    assert_int_equal(engine_submit(e, &r, &more, &err), E_CLOSED);
    finish(stream, &a);
    assert_int_equal(a.done.finish, ENGINE_LENGTH);
    close_engine(e);

    e = engine_with(&p);
    r.max_tokens = 0;
    struct engine_stream *streams[12];
    for (int i = 0; i < 12; i++) /* more than run at a time */
        streams[i] = submit(e, &r);
    (void)engine_drain(e, 0); /* E_TIMEOUT, unless they were that fast */
    for (int i = 0; i < 12; i++) {
        finish(streams[i], &a);
        assert_true(a.done.finish == ENGINE_CANCELLED || a.done.finish == ENGINE_LENGTH);
    }
    close_engine(e);
}

static void only_evens(void *ctx, float *logits, uint32_t n)
{
    for (uint32_t i = 1; i < n; i += 2)
        logits[i] = -INFINITY;
    (*(uint32_t *)ctx)++;
}

static void masks_are_silent_after_close(void **state)
{
    struct small *s = small_of(state);
    struct engine_params p = small_params(s);
    struct engine *e = engine_with(&p);
    int32_t ids[PROMPT_MAX];
    struct answer a;
    struct engine_event ev;
    uint32_t n_calls = 0;
    struct engine_request r = story(s, ids, "Tom");
    r.max_tokens = 20;
    r.mask = (struct engine_mask){ .apply = only_evens, .ctx = &n_calls };
    ask(e, &r, &a);
    assert_int_equal(a.n, 20);
    assert_int_equal(n_calls, 20);
    for (uint32_t i = 0; i < a.n; i++)
        assert_int_equal(a.ids[i] % 2, 0);
    for (int i = 0; i < 20; i++) { /* the hook's memory is gone right after close */
        uint32_t *count = test_calloc(1, sizeof *count);
        r.max_tokens = 0;
        r.mask.ctx = count;
        struct engine_stream *stream = submit(e, &r);
        assert_int_equal(engine_stream_next(stream, -1, &ev), 1);
        engine_stream_close(stream);
        test_free(count);
    }
    close_engine(e);
}

static void says_why_it_cannot_start(void **state)
{
    struct small *s = small_of(state);
    struct engine_params p = small_params(s);
    struct engine *e = NULL;
    struct engine_info info;
    struct err err = { 0 };
    p.kv_bytes = 1;
    assert_int_equal(engine_create(&e, &p, &err), E_RANGE);
    assert_string_equal(err.field, "kv_bytes");
    p.kv_bytes = 0;
    p.n_seqs_max = 100000;
    assert_int_equal(engine_create(&e, &p, &err), E_RANGE);
    assert_string_equal(err.field, "n_seqs_max");
    assert_null(e);
    p = small_params(s);
    p.kv_bytes = 5 * model_layout(s->model)->block_bytes + 1;
    e = engine_with(&p);
    engine_info(e, &info);
    assert_int_equal(info.n_blocks, 5);
    assert_int_equal(info.n_ctx, 5 * 8); /* what the memory holds */
    assert_true(info.sharing);
    close_engine(e);
    engine_destroy(NULL);
    engine_stream_close(NULL);
}

int stream_test(void);
int stream_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cancel_gives_everything_back),
        cmocka_unit_test(many_clients_at_once),
        cmocka_unit_test(notifies_and_polls),
        cmocka_unit_test(slow_reader_hurts_nobody),
        cmocka_unit_test(stalled_reader_is_let_go),
        cmocka_unit_test(full_and_one_more_is_refused),
        cmocka_unit_test(patience_in_the_queue_ends),
        cmocka_unit_test(cancel_takes_effect_within_a_step),
        cmocka_unit_test(non_finite_logits_end_one_request),
        cmocka_unit_test(drains),
        cmocka_unit_test(masks_are_silent_after_close),
        cmocka_unit_test(says_why_it_cannot_start),
    };
    return cmocka_run_group_tests_name("engine/stream", tests, small_load, small_unload);
}
