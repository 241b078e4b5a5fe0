/* Goal: with a pace to keep, prompts join the steps of those who answer only as far as the predicted
 * step allows, the prediction comes true on a machine whose time is known, and the answers are those
 * of an engine without a pace. Time is virtual: the forward pass moves the clock. */
#include "unit/engine/fixture.h"

#include <math.h>
#include <semaphore.h>
#include <stdatomic.h>

#define STEP_NS 2000000 /* a step ... */
#define ROW_NS 1000000  /* ... and each of its rows */
#define TPOT_S 0.040
#define LONG 400

static _Atomic uint64_t now;
/* The step of this number waits for `go`: so the long prompt comes while the other one answers,
 * however the threads of the test are scheduled. */
static _Atomic uint64_t n_steps, hold_at;
static sem_t go;

static uint64_t virtual_now(void *ctx)
{
    (void)ctx;
    return atomic_load(&now);
}

static int64_t virtual_wall(void *ctx)
{
    (void)ctx;
    return 0;
}

static int slow_forward(const struct model *m, struct model_work *w, const struct model_batch *b,
                        const float **logits)
{
    if (atomic_fetch_add(&n_steps, 1) == atomic_load(&hold_at))
        sem_wait(&go);
    atomic_fetch_add(&now, STEP_NS + (uint64_t)ROW_NS * b->n_rows);
    return model_forward(m, w, b, logits);
}

/* The rest of a stream whose beginning was read. */
static void drain(struct engine_stream *s, struct answer *a)
{
    struct engine_event ev = { .kind = ENGINE_TOKEN };
    memset(a, 0, sizeof *a);
    while (ev.kind != ENGINE_DONE) {
        assert_int_equal(engine_stream_next(s, -1, &ev), 1);
        add_event(a, &ev);
    }
    engine_stream_close(s);
}

static void long_prompt(const struct small *s, int32_t *ids, uint32_t seed)
{
    int32_t word[PROMPT_MAX];
    uint32_t n = encode(s, "Once upon a time there was a little girl who had a dog.", word);
    for (uint32_t i = 0; i < LONG; i++)
        ids[i] = word[(i * (seed + 1) + seed) % n];
}

/* One answer under way while a long prompt comes; the most prompt rows beside a decode. a: the first
 * tokens of the one, b: the other. */
static uint32_t most_beside(const struct small *s, double tpot_s, struct answer *a,
                            struct answer *b, struct engine_stats *stats)
{
    struct engine_params p = small_params(s);
    int32_t ids[LONG];
    assert_int_equal(0, sem_init(&go, 0, 0));
    atomic_store(&hold_at, UINT64_MAX);
    p.forward = slow_forward;
    p.clock = (struct clock){ virtual_now, virtual_wall, NULL };
    p.n_rows_step = 128;
    p.tpot_s = tpot_s;
    p.no_sharing = true;
    struct engine *e = engine_with(&p);
    for (uint32_t i = 0; i < 12; i++) { /* what prompts and tokens cost becomes known */
        long_prompt(s, ids, 5 + i);
        struct engine_request r = engine_request_defaults(ids, LONG - 30 * i);
        r.max_tokens = 4;
        r.sampler.temperature = 0;
        ask(e, &r, a);
    }
    int32_t start[4] = { 1, 403, 407, 261 };
    struct engine_request ra = engine_request_defaults(start, 4);
    ra.max_tokens = 100;
    ra.ignore_eos = true;
    ra.sampler.temperature = 0;
    atomic_store(&hold_at, atomic_load(&n_steps) + 20); /* nothing runs now */
    struct engine_stream *sa = submit(e, &ra);
    struct engine_event ev;
    memset(a, 0, sizeof *a);
    while (a->n < 20) {
        assert_int_equal(engine_stream_next(sa, -1, &ev), 1);
        add_event(a, &ev);
    }
    long_prompt(s, ids, 77);
    struct engine_request rb = engine_request_defaults(ids, LONG);
    rb.max_tokens = 8;
    rb.sampler.temperature = 0;
    struct engine_stream *sb = submit(e, &rb);
    sem_post(&go);
    finish(sb, b);
    static struct answer rest;
    drain(sa, &rest);
    static struct engine_report report;
    engine_report(e, &report);
    uint32_t most = 0;
    for (uint64_t i = 0; i < report.n_steps && i < ENGINE_STEPS_KEPT; i++)
        if (report.steps[i].decode_rows > 0 && report.steps[i].prefill_rows > most)
            most = report.steps[i].prefill_rows;
    engine_stats(e, stats);
    close_engine(e);
    sem_destroy(&go);
    return most;
}

static void keeps_the_pace(void **state)
{
    const struct small *s = small_of(state);
    static struct answer a[2], b[2];
    struct engine_stats with, without;
    uint32_t free_rows = most_beside(s, 0, &a[0], &b[0], &without);
    uint32_t paced = most_beside(s, TPOT_S, &a[1], &b[1], &with);
    if (free_rows < 100)
        fail_msg("without a pace at most %u rows of the prompt joined", free_rows);
    /* 2 ms + 1 ms a row: 40 ms are 38 rows, one of them the decode's. */
    if (paced < 30 || paced > 40)
        fail_msg("with a pace of 40 ms at most %u rows joined, 37 were right", paced);
    assert_int_equal(b[0].n, b[1].n);
    assert_memory_equal(b[0].ids, b[1].ids, b[0].n * sizeof b[0].ids[0]);
    assert_true(with.steps_predicted > 50);
    assert_true(with.steps_near * 10 > with.steps_predicted * 8);
    assert_true(with.step_error < 0.15);
}

int pace_test(void);
int pace_test(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(keeps_the_pace) };
    return cmocka_run_group_tests_name("engine/pace", tests, small_load, small_unload);
}
