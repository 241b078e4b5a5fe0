/* What the engine answers: greedy text as an independent implementation computed it, and the same ids
 * alone, batched, shared, preempted; stops, limits, penalties of the request; scoring. */
#include "unit/engine/fixture.h"

#include <math.h>

#include "base/json.h"
#include "base/rng.h"
#include "engine/score.h"

enum { N_REQUESTS = 14, N_NEW = 40 };

/* --- against expected.json --- */

static json_value *load_expected(void)
{
    char path[4096];
    json_value *v = NULL;
    struct err err = { 0 };
    FILE *f = fopen(small_path(path, sizeof path, "expected.json"), "rb");
    assert_non_null(f);
    char *text = test_malloc(1 << 20);
    size_t len = fread(text, 1, 1 << 20, f);
    fclose(f);
    assert_int_equal(json_parse(&v, text, len, &JSON_LIMITS_FILE, &err), 0);
    test_free(text);
    return v;
}

static uint32_t ids_of(const json_value *list, int32_t *ids)
{
    for (size_t i = 0; i < json_len(list); i++)
        ids[i] = (int32_t)json_as_int(json_at(list, i));
    return (uint32_t)json_len(list);
}

static void greedy_text_as_expected(void **state)
{
    struct small *s = small_of(state);
    struct engine_params p = small_params(s);
    struct engine *e = engine_with(&p);
    json_value *v = load_expected(), *runs = json_get(json_get(v, "stories260k"), "runs");
    assert_int_equal(json_len(runs), 4);
    for (size_t i = 0; i < json_len(runs); i++) {
        json_value *run = json_at(runs, i);
        int32_t prompt[PROMPT_MAX], greedy[ANSWER_MAX];
        size_t text_len = 0, prompt_len = 0;
        const char *text = json_text(json_get(run, "text"), &text_len);
        json_text(json_get(run, "prompt"), &prompt_len);
        uint32_t n_prompt = ids_of(json_get(run, "ids"), prompt);
        uint32_t n_greedy = ids_of(json_get(run, "greedy"), greedy);
        assert_true(json_as_double(json_get(run, "min_gap")) > 1e-3);
        struct engine_request r = engine_request_defaults(prompt, n_prompt);
        r.sampler.temperature = 0;
        r.max_tokens = n_greedy;
        struct answer a;
        ask(e, &r, &a);
        assert_int_equal(a.n, n_greedy);
        assert_memory_equal(a.ids, greedy, n_greedy * sizeof *greedy);
        size_t skip_len = prompt_len > 0 ? prompt_len + 1 : 0; /* " " before the prompt's text */
        assert_string_equal(a.text, text + skip_len);
        assert_int_equal(a.done.finish, ENGINE_LENGTH);
        assert_int_equal(a.done.usage.prompt_tokens, n_prompt);
    }
    json_free(v);
    close_engine(e);
}

/* --- the same ids however they are computed --- */

struct bunch {
    int32_t prompts[N_REQUESTS][PROMPT_MAX];
    struct engine_request r[N_REQUESTS];
    struct answer want[N_REQUESTS];
};

static void make_bunch(const struct small *s, struct bunch *b)
{
    const char *park = "Once upon a time there was a little dog who liked to run in "
                       "the big green park near the house of Tom and Lily. ";
    const char *begins[] = { park, "Lily", "The sun was warm and ", "" };
    struct rng rng;
    rng_seed(&rng, 5);
    memset(b, 0, sizeof *b);
    for (uint32_t i = 0; i < N_REQUESTS; i++) {
        uint32_t n = encode(s, begins[i % 4], b->prompts[i]);
        for (uint32_t more = rng_below(&rng, 60); more > 0; more--)
            b->prompts[i][n++] = 300 + (int32_t)rng_below(&rng, 200);
        b->r[i] = engine_request_defaults(b->prompts[i], n);
        b->r[i].max_tokens = N_NEW;
        b->r[i].ignore_eos = true;
        b->r[i].sampler.seed = i;
        b->r[i].sampler.temperature = i % 3 == 0 ? 0.0f : 0.9f;
        b->r[i].sampler.top_p = i % 2 == 0 ? 1.0f : 0.9f;
        b->r[i].sampler.repetition_penalty = i % 5 == 0 ? 1.2f : 1.0f;
        b->r[i].logprobs = true;
        b->r[i].n_top = i % 4;
    }
}

static void run_bunch(struct engine *e, const struct bunch *b, uint32_t *n_cached)
{
    struct engine_stream *streams[N_REQUESTS];
    struct answer a;
    *n_cached = 0;
    for (uint32_t i = 0; i < N_REQUESTS; i++)
        streams[i] = submit(e, &b->r[i]);
    for (uint32_t i = 0; i < N_REQUESTS; i++) {
        finish(streams[i], &a);
        assert_int_equal(a.n, N_NEW);
        assert_memory_equal(a.ids, b->want[i].ids, N_NEW * sizeof *a.ids);
        assert_string_equal(a.text, b->want[i].text);
        assert_true(a.logprob_sum == b->want[i].logprob_sum); /* bit by bit */
        *n_cached += a.done.usage.cached_tokens;
    }
}

static void same_ids_however_computed(void **state)
{
    struct small *s = small_of(state);
    struct bunch *b = test_malloc(sizeof *b);
    struct engine_params alone = small_params(s), many = small_params(s), tiny = small_params(s);
    struct engine_stats st;
    uint32_t n_cached = 0;
    make_bunch(s, b);
    alone.no_sharing = true;
    alone.n_rows_step = 512;
    struct engine *e = engine_with(&alone);
    for (uint32_t i = 0; i < N_REQUESTS; i++) {
        ask(e, &b->r[i], &b->want[i]);
        assert_int_equal(b->want[i].n, N_NEW);
        assert_true(b->want[i].logprob_sum < 0);
    }
    run_bunch(e, b, &n_cached); /* batched, nothing shared */
    assert_int_equal(n_cached, 0);
    close_engine(e);

    e = engine_with(&many);
    run_bunch(e, b, &n_cached);
    run_bunch(e, b, &n_cached); /* now the prefixes are known */
    assert_true(n_cached > 0);
    engine_forget(e);
    run_bunch(e, b, &n_cached);
    close_engine(e);

    size_t block_bytes = model_layout(s->model)->block_bytes;
    tiny.n_ctx = 160;
    tiny.kv_bytes = 25 * block_bytes; /* 200 tokens for eight sequences of up to 140 */
    tiny.n_rows_step = 11;            /* ragged chunks */
    e = engine_with(&tiny);
    run_bunch(e, b, &n_cached);
    run_bunch(e, b, &n_cached);
    engine_stats(e, &st);
    assert_true(st.preemptions > 0);
    assert_true(st.evictions > 0);
    close_engine(e);
    test_free(b);
}

static void second_turn_computes_only_what_is_new(void **state)
{
    struct small *s = small_of(state);
    struct engine_params p = small_params(s);
    struct engine *e = engine_with(&p);
    int32_t ids[PROMPT_MAX];
    struct answer a;
    uint32_t n = encode(s, "Once upon a time there was a boy named Tim. ", ids);
    struct engine_request r = engine_request_defaults(ids, n);
    r.max_tokens = 30;
    r.sampler.temperature = 0;
    ask(e, &r, &a);
    assert_int_equal(a.done.usage.cached_tokens, 0);
    uint32_t known = n + a.n - 1; /* the last token was never fed */
    memcpy(ids + n, a.ids, a.n * sizeof *ids);
    n += a.n;
    n += encode(s, "He went home.", ids + n);
    r = engine_request_defaults(ids, n);
    r.max_tokens = 1;
    ask(e, &r, &a);
    assert_int_equal(a.done.usage.cached_tokens, known / 8 * 8);
    r.salt = (struct engine_str){ "somebody else", 13 };
    ask(e, &r, &a);
    assert_int_equal(a.done.usage.cached_tokens, 0);
    ask(e, &r, &a);
    assert_int_equal(a.done.usage.cached_tokens, (n - 1) / 8 * 8);
    close_engine(e);
}

/* The bundled model as it is run: half-precision rows, blocks of the default length, two threads. */
static void bundled_model_same_alone_and_batched(void **state)
{
    (void)state;
    static const char *const texts[] = { "Hello, how are you?", "Once upon a time there was a king who",
                                         "Once upon a time there was a king who had two sons", "The" };
    enum { N = COUNT_OF(texts) };
    struct small s = { 0 };
    struct err err = { 0 };
    struct device_params dp = { .n_threads = 2 };
    struct model_params mp = { .kv_type = KERNEL_F16 };
    if (model_file_open(&s.file, "models/naru-chat.gguf", &err) == E_NOT_FOUND) {
        print_message("models/naru-chat.gguf is absent\n");
        skip();
    }
    if (s.file == NULL || device_create(&s.device, &dp, &err) < 0 ||
        model_create(&s.model, s.file, s.device, &mp, &err) < 0 ||
        model_file_tokenizer(s.file, &s.tokenizer, &err) < 0)
        fail_msg("%s", err.text);
    struct engine_params p = small_params(&s);
    p.n_rows_step = 16;
    struct engine *e = engine_with(&p);
    struct engine_stream *streams[N];
    struct answer *want = test_calloc(N, sizeof *want), a;
    int32_t ids[N][PROMPT_MAX];
    struct engine_request r[N];
    for (uint32_t i = 0; i < N; i++) {
        r[i] = engine_request_defaults(ids[i], encode(&s, texts[i], ids[i]));
        r[i].max_tokens = 24;
        r[i].sampler.seed = i;
        r[i].sampler.temperature = i == 1 ? 0.0f : 0.8f;
        r[i].logprobs = true;
        ask(e, &r[i], &want[i]);
        engine_forget(e);
    }
    for (int round = 0; round < 2; round++) { /* computed, then shared */
        for (uint32_t i = 0; i < N; i++)
            streams[i] = submit(e, &r[i]);
        for (uint32_t i = 0; i < N; i++) {
            finish(streams[i], &a);
            assert_int_equal(a.n, want[i].n);
            assert_memory_equal(a.ids, want[i].ids, sizeof a.ids);
            assert_string_equal(a.text, want[i].text);
            assert_true(a.logprob_sum == want[i].logprob_sum);
        }
    }
    close_engine(e);
    test_free(want);
    void *loaded = &s;
    assert_int_equal(small_unload(&loaded), 0);
}

/* --- how an answer ends --- */

static void stops_at_strings(void **state)
{
    struct small *s = small_of(state);
    struct engine_params p = small_params(s);
    struct engine *e = engine_with(&p);
    int32_t ids[PROMPT_MAX];
    struct answer whole, a;
    struct engine_request r = engine_request_defaults(ids, encode(s, "Once upon a time", ids));
    r.max_tokens = 40;
    r.sampler.temperature = 0;
    ask(e, &r, &whole);
    assert_true(whole.len > 60);
    for (size_t at = 0; at + 12 < whole.len; at += 5) /* 12 bytes cross several tokens */
        for (size_t len = 1; len <= 12; len += 11) {
            char stop[16] = { 0 };
            memcpy(stop, whole.text + at, len);
            size_t first = (size_t)(strstr(whole.text, stop) - whole.text);
            struct engine_str stops[] = { { "never in it", 11 }, { stop, len } };
            r.stops = stops;
            r.n_stops = 2;
            for (int include = 0; include < 2; include++) {
                r.include_stop = include;
                ask(e, &r, &a);
                assert_int_equal(a.done.finish, ENGINE_STOP);
                assert_int_equal(a.done.stop_index, 1);
                assert_int_equal(a.len, first + (include ? len : 0));
                assert_memory_equal(a.text, whole.text, a.len);
            }
        }
    close_engine(e);
}

static void stops_at_ids(void **state)
{
    struct small *s = small_of(state);
    struct engine_params p = small_params(s);
    struct engine *e = engine_with(&p);
    int32_t ids[PROMPT_MAX];
    struct answer whole, a;
    struct engine_request r = engine_request_defaults(ids, encode(s, "Once upon a time", ids));
    r.max_tokens = 20;
    r.sampler.temperature = 0;
    ask(e, &r, &whole);
    int32_t stop = whole.ids[7];
    uint32_t first = 0;
    while (whole.ids[first] != stop)
        first++;
    r.stop_ids = &stop;
    r.n_stop_ids = 1;
    ask(e, &r, &a);
    assert_int_equal(a.done.finish, ENGINE_STOP);
    assert_int_equal(a.done.stop_id, stop);
    assert_int_equal(a.n, first); /* the stop id itself is no part of the answer */
    r.min_tokens = 12;
    ask(e, &r, &a);
    assert_true(a.n >= 12);
    for (uint32_t i = 0; i < 12; i++)
        assert_int_not_equal(a.ids[i], stop);
    struct engine_bias bias = { stop, -100.0f };
    r.min_tokens = 0;
    r.bias = &bias;
    r.n_bias = 1;
    ask(e, &r, &a);
    assert_int_equal(a.n, 20); /* forbidden: never comes */
    close_engine(e);
}

/* A story ends with the model's own end token, unless that is ignored. */
static void ends_with_the_models_token(void **state)
{
    struct small *s = small_of(state);
    struct engine_params p = small_params(s);
    struct engine *e = engine_with(&p);
    int32_t bos = text_bos(s->tokenizer), eos = text_eos(s->tokenizer);
    struct answer a;
    struct engine_bias bias = { eos, 100.0f };
    struct engine_request r = engine_request_defaults(&bos, 1);
    r.bias = &bias;
    r.n_bias = 1;
    r.max_tokens = 5;
    r.sampler.temperature = 0;
    ask(e, &r, &a);
    assert_int_equal(a.done.finish, ENGINE_STOP);
    assert_int_equal(a.done.stop_id, eos);
    assert_int_equal(a.n, 0);
    assert_int_equal(a.len, 0);
    r.ignore_eos = true;
    ask(e, &r, &a);
    assert_int_equal(a.done.finish, ENGINE_LENGTH);
    assert_int_equal(a.n, 5);
    assert_int_equal(a.ids[4], eos);
    close_engine(e);
}

static void generation_stops_at_the_context(void **state)
{
    struct small *s = small_of(state);
    struct engine_params p = small_params(s);
    p.n_ctx = 40;
    struct engine *e = engine_with(&p);
    int32_t ids[PROMPT_MAX];
    struct answer a;
    struct err err = { 0 };
    struct engine_stream *stream = NULL;
    for (int i = 0; i < 60; i++)
        ids[i] = 300 + i;
    struct engine_request r = engine_request_defaults(ids, 30);
    r.ignore_eos = true;
    ask(e, &r, &a);
    assert_int_equal(a.n, 10);
    assert_int_equal(a.done.finish, ENGINE_LENGTH);
    r.n_prompt = 39;
    ask(e, &r, &a);
    assert_int_equal(a.n, 1);
    r.n_prompt = 40;
    assert_int_equal(engine_submit(e, &r, &stream, &err), E_LIMIT);
    assert_string_equal(err.field, "prompt");
    assert_non_null(strstr(err.text, "the prompt has 40 tokens, the context holds 40"));
    assert_null(stream);
    close_engine(e);
}

static void text_without_bytes_cut(void **state)
{
    struct small *s = small_of(state);
    struct engine_params p = small_params(s);
    struct engine *e = engine_with(&p);
    struct answer a;
    int32_t bos = text_bos(s->tokenizer);
    int32_t lead = text_token_id(s->tokenizer, "<0xEA>", 6);
    assert_true(lead >= 0);
    struct engine_bias bias = { lead, 100.0f }; /* first bytes of characters, never completed */
    struct engine_request r = engine_request_defaults(&bos, 1);
    r.bias = &bias;
    r.n_bias = 1;
    r.max_tokens = 3;
    r.sampler.temperature = 0;
    ask(e, &r, &a);
    assert_int_equal(a.n, 3);
    assert_string_equal(a.text, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    close_engine(e);
}

static void refuses_bad_requests(void **state)
{
    struct small *s = small_of(state);
    struct engine_params p = small_params(s);
    struct engine *e = engine_with(&p);
    int32_t ids[4] = { 1, 2, 3, 4 };
    struct engine_request good = engine_request_defaults(ids, 4), r;
    struct engine_stream *stream = NULL;
    struct err err;
#define REFUSES(change, code, what)                                                              \
    r = good;                                                                                    \
    memset(&err, 0, sizeof err);                                                                 \
    change;                                                                                      \
    assert_int_equal(engine_submit(e, &r, &stream, &err), code);                                 \
    assert_string_equal(err.field, what);                                                        \
    assert_true(err.text[0] != '\0')
    struct engine_str empty = { "", 0 }, cut = { "\xea\xb0", 2 };
    struct engine_bias nan_bias = { 1, NAN }, far_bias = { 512, 0.0f };
    int32_t far_id = 512, bad_ids[2] = { 1, -1 };
    REFUSES(r.n_prompt = 0, E_RANGE, "prompt");
    REFUSES(r.prompt = bad_ids; r.n_prompt = 2, E_RANGE, "prompt");
    REFUSES(r.prompt = &far_id; r.n_prompt = 1, E_RANGE, "prompt");
    REFUSES(r.sampler.top_p = NAN, E_RANGE, "top_p");
    REFUSES(r.bias = &nan_bias; r.n_bias = 1, E_RANGE, "logit_bias");
    REFUSES(r.bias = &far_bias; r.n_bias = 1, E_RANGE, "logit_bias");
    REFUSES(r.n_bias = ENGINE_BIAS_MAX + 1, E_LIMIT, "logit_bias");
    REFUSES(r.stops = &empty; r.n_stops = 1, E_LIMIT, "stop");
    REFUSES(r.stops = &cut; r.n_stops = 1, E_FORMAT, "stop");
    REFUSES(r.n_stops = ENGINE_STOPS_MAX + 1, E_LIMIT, "stop");
    REFUSES(r.stop_ids = &far_id; r.n_stop_ids = 1, E_RANGE, "stop_token_ids");
    REFUSES(r.n_top = ENGINE_TOP_MAX + 1, E_RANGE, "top_logprobs");
    REFUSES(r.max_tokens = 3; r.min_tokens = 4, E_RANGE, "min_tokens");
#undef REFUSES
    assert_null(stream);
    close_engine(e);
}

/* --- scoring --- */

static void scores_every_token_once(void **state)
{
    struct small *s = small_of(state);
    int32_t ids[PROMPT_MAX];
    uint32_t n = encode(s, "Once upon a time, there was a little girl named Lily. She loved to play "
                           "outside in the park. One day, she saw a big, red ball.", ids);
    assert_true(n > 40 && ids[0] == text_bos(s->tokenizer));
    double want = 0;
    float *logits = test_malloc(512 * sizeof *logits);
    for (uint32_t i = 1; i < n; i++) { /* the slow way: the last position of every prefix */
        double sum = 0;
        assert_int_equal(engine_score_logits(s->model, ids, i, logits, NULL), 0);
        for (int v = 0; v < 512; v++)
            sum += exp((double)logits[v]);
        want += log(sum) - (double)logits[ids[i]];
    }
    struct engine_score_params sp = { .bos = TEXT_TOKEN_NONE };
    struct engine_score score = { 0 };
    for (sp.n_rows_step = 0; sp.n_rows_step < 20; sp.n_rows_step += 7) {
        assert_int_equal(engine_score(s->model, ids, n, &sp, &score, NULL), 0);
        assert_int_equal(score.n_scored, n - 1);
        assert_true(fabs(score.nll_sum - want) < 1e-3);
    }
    sp.bos = ids[0];
    assert_int_equal(engine_score(s->model, ids + 1, n - 1, &sp, &score, NULL), 0);
    assert_int_equal(score.n_scored, n - 1);
    assert_true(fabs(score.nll_sum - want) < 1e-3);
    double whole = score.nll_sum;
    sp.n_ctx = 16; /* windows: every token still once, with less to go by */
    assert_int_equal(engine_score(s->model, ids + 1, n - 1, &sp, &score, NULL), 0);
    assert_int_equal(score.n_scored, n - 1);
    assert_true(score.nll_sum > whole);
    struct err err = { 0 };
    int32_t bad = 512;
    assert_int_equal(engine_score(s->model, ids, 0, &sp, &score, &err), E_RANGE);
    assert_int_equal(engine_score(s->model, &bad, 1, &sp, &score, &err), E_RANGE);
    assert_int_equal(engine_score_logits(s->model, &bad, 1, logits, &err), E_RANGE);
    assert_int_equal(engine_score_logits(s->model, ids, 0, logits, &err), E_RANGE);
    test_free(logits);
}

int answer_test(void);
int answer_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_text_as_expected),
        cmocka_unit_test(same_ids_however_computed),
        cmocka_unit_test(second_turn_computes_only_what_is_new),
        cmocka_unit_test(bundled_model_same_alone_and_batched),
        cmocka_unit_test(stops_at_strings),
        cmocka_unit_test(stops_at_ids),
        cmocka_unit_test(ends_with_the_models_token),
        cmocka_unit_test(generation_stops_at_the_context),
        cmocka_unit_test(text_without_bytes_cut),
        cmocka_unit_test(refuses_bad_requests),
        cmocka_unit_test(scores_every_token_once),
    };
    return cmocka_run_group_tests_name("engine/answer", tests, small_load, small_unload);
}
