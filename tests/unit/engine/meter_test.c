/* Goal: the meter counts what happened, once, in the right bucket, and its rings turn over. */
#include "unit/engine/fixture.h"

#include <math.h>

#include "base/mem.h"

static void values_fall_into_their_buckets(UNUSED void **state)
{
    struct engine_meter *m = mem_alloc(1, sizeof *m);
    engine_meter_init(m);
    for (int k = 0; k < ENGINE_HISTS; k++) {
        enum engine_hist_kind kind = (enum engine_hist_kind)k;
        struct engine_bounds b = engine_hist_bounds(kind);
        assert_true(b.n > 0 && b.n <= ENGINE_BOUNDS_MAX);
        for (uint32_t i = 0; i < b.n; i++) {
            assert_true(i == 0 || b.values[i] > b.values[i - 1]);
            engine_meter_observe(m, kind, b.values[i]);                   /* the bound itself */
            engine_meter_observe(m, kind, nextafter(b.values[i], 1e30)); /* just above */
        }
        const struct engine_hist *h = &m->r.hists[k];
        assert_int_equal(h->n, 2 * b.n);
        assert_int_equal(h->counts[0], 1);
        for (uint32_t i = 1; i < b.n; i++)
            assert_int_equal(h->counts[i], 2);
        assert_int_equal(h->counts[b.n], 1);
    }
    engine_meter_fini(m);
    mem_free(m);
}

static void quantiles_are_nearest_ranks_of_the_last(UNUSED void **state)
{
    struct engine_meter *m = mem_alloc(1, sizeof *m);
    engine_meter_init(m);
    assert_true(engine_report_quantile(&m->r, ENGINE_H_TTFT, 0.5) == 0);
    for (int i = 0; i < ENGINE_RECENT_KEPT; i++)
        engine_meter_observe(m, ENGINE_H_TTFT, 1000); /* will all be overwritten */
    for (int i = ENGINE_RECENT_KEPT; i > 0; i--)
        engine_meter_observe(m, ENGINE_H_TTFT, i);
    assert_true(engine_report_quantile(&m->r, ENGINE_H_TTFT, 0) == 1);
    assert_true(engine_report_quantile(&m->r, ENGINE_H_TTFT, 0.5) == 128);
    assert_true(engine_report_quantile(&m->r, ENGINE_H_TTFT, 0.95) == 244);
    assert_true(engine_report_quantile(&m->r, ENGINE_H_TTFT, 1) == 256);
    engine_meter_fini(m);
    mem_free(m);
}

/* Every request leaves one value in each of its histograms, whatever else ran beside it. */
static void an_engine_meters_its_requests(void **state)
{
    struct small *s = small_of(state);
    struct engine_params p = small_params(s);
    struct engine *e = engine_with(&p);
    struct engine_report *r = mem_alloc(1, sizeof *r);
    int32_t ids[PROMPT_MAX];
    struct engine_request q = engine_request_defaults(ids, encode(s, "Once upon a time", ids));
    q.ignore_eos = true;
    q.max_tokens = 5;
    enum { N = 7 };
    struct engine_stream *streams[N];
    struct answer a;
    for (int i = 0; i < N; i++)
        streams[i] = submit(e, &q);
    for (int i = 0; i < N; i++)
        finish(streams[i], &a);
    engine_report(e, r);
    struct engine_stats st;
    engine_stats(e, &st);
    const struct { enum engine_hist_kind kind; uint64_t n; } want[] = {
        { ENGINE_H_TTFT, N }, { ENGINE_H_ITL, 4 * N }, { ENGINE_H_TPOT, N }, { ENGINE_H_E2E, N },
        { ENGINE_H_QUEUE, N }, { ENGINE_H_PREFILL, N }, { ENGINE_H_DECODE, N },
        { ENGINE_H_INFERENCE, N }, { ENGINE_H_GENERATION, N }, { ENGINE_H_PROMPT, N },
    };
    for (size_t i = 0; i < COUNT_OF(want); i++)
        assert_int_equal(r->hists[want[i].kind].n, want[i].n);
    assert_true(r->hists[ENGINE_H_GENERATION].sum == 5 * N);
    assert_true(r->hists[ENGINE_H_PROMPT].sum == (double)q.n_prompt * N);
    assert_int_equal(r->finished[ENGINE_LENGTH], N);
    assert_int_equal(r->decided[ENGINE_D_ADMIT], N);
    assert_int_equal(r->decisions[0].request, 1);
    assert_int_equal(r->decisions[0].n_prompt, q.n_prompt);
    close_engine(e);
    mem_free(r);
}

static void refusals_are_noted(void **state)
{
    struct small *s = small_of(state);
    struct engine_params p = small_params(s);
    p.n_ctx = 64;
    struct engine *e = engine_with(&p);
    struct engine_report *r = mem_alloc(1, sizeof *r);
    static int32_t ids[PROMPT_MAX];
    for (int i = 0; i < 100; i++)
        ids[i] = 300;
    struct engine_request q = engine_request_defaults(ids, 100);
    struct engine_stream *stream = NULL;
    struct err err = { 0 };
    assert_int_equal(engine_submit(e, &q, &stream, &err), E_LIMIT);
    (void)engine_drain(e, 0);
    q.n_prompt = 4;
    assert_int_equal(engine_submit(e, &q, &stream, &err), E_CLOSED);
    engine_report(e, r);
    assert_int_equal(r->decided[ENGINE_D_REFUSE_LONG], 1);
    assert_int_equal(r->decided[ENGINE_D_REFUSE_CLOSING], 1);
    assert_int_equal(r->n_decisions, 2);
    close_engine(e);
    mem_free(r);
}

int meter_test(void);
int meter_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_fall_into_their_buckets),
        cmocka_unit_test(quantiles_are_nearest_ranks_of_the_last),
        cmocka_unit_test(an_engine_meters_its_requests),
        cmocka_unit_test(refusals_are_noted),
    };
    return cmocka_run_group_tests_name("engine/meter", tests, small_load, small_unload);
}
