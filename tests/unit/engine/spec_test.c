/* Goal: guesses change how many tokens a step gives, never which: lookup and draft, greedy and
 * sampled, alone and in company, with little memory, with stops and penalties. The choice of how
 * many follows measured odds and costs, and text that does not repeat is left alone. */
#include <math.h>
#include <stdatomic.h>

#include "base/json.h"
#include "base/mem.h"
#include "os/file.h"
#include "unit/engine/fixture.h"

/* --- pure parts --- */

static void lookup(void **state)
{
    (void)state;
    int32_t out[16];
    uint32_t match;
    const int32_t a[] = { 1, 2, 3, 4, 9, 2, 3 };
    assert_int_equal(engine_lookup(a, 7, out, 3, &match), 3);
    assert_int_equal(match, 2);
    assert_true(out[0] == 4 && out[1] == 9 && out[2] == 2);
    const int32_t b[] = { 5, 1, 2, 7, 1, 2, 8, 5, 1, 2 }; /* the longer run wins over the later */
    assert_int_equal(engine_lookup(b, 10, out, 2, &match), 2);
    assert_true(match == 3 && out[0] == 7 && out[1] == 1);
    const int32_t c[] = { 1, 2, 7, 1, 2, 8, 1, 2 }; /* of equal runs the later */
    assert_int_equal(engine_lookup(c, 8, out, 1, &match), 1);
    assert_int_equal(out[0], 8);
    const int32_t d[] = { 3, 4, 3, 4, 3, 4 }; /* a period goes on through its own copy */
    assert_int_equal(engine_lookup(d, 6, out, 5, &match), 5);
    assert_true(match == 4 && out[0] == 3 && out[1] == 4 && out[2] == 3 && out[4] == 3);
    const int32_t f[] = { 1, 2, 3, 9, 3 }; /* one token is no run */
    assert_int_equal(engine_lookup(f, 5, out, 4, &match), 0);
    assert_int_equal(engine_lookup(f, 1, out, 4, &match), 0);
    assert_int_equal(engine_lookup(f, 0, out, 4, &match), 0);
    assert_int_equal(engine_lookup(d, 6, out, 0, &match), 0);
    int32_t same[64];
    for (int i = 0; i < 64; i++)
        same[i] = 7;
    assert_int_equal(engine_lookup(same, 64, out, 4, &match), 4);
    assert_int_equal(match, LOOKUP_LONG);
}

static void odds_and_costs(void **state)
{
    (void)state;
    static struct engine_spec_costs c;
    memset(&c, 0, sizeof c);
    struct engine_spec_odds o = { { 0 }, { 0 } };
    double prior = engine_spec_chance(&o, SPEC_RUN_2);
    for (int i = 0; i < 200; i++)
        engine_spec_learn(&o, SPEC_RUN_2, 1, 1);
    assert_true(engine_spec_chance(&o, SPEC_RUN_2) > 0.9 && prior < 0.3);
    for (int i = 0; i < 100; i++)
        engine_spec_learn(&o, SPEC_RUN_2, 0, 1);
    assert_true(engine_spec_chance(&o, SPEC_RUN_2) < 0.3); /* what was long ago fades */
    engine_spec_timed(&c, 1, 0.010);
    assert_true(engine_spec_choose(&c, 0.9, 1, 1, 16, 0).n == 3); /* 2 x largest seen + 1 */
    engine_spec_timed(&c, 4, 0.040); /* each row costs a step: nothing to gain */
    assert_true(engine_spec_choose(&c, 0.99, 1, 1, 16, 0).n == 0 ||
                engine_spec_choose(&c, 0.99, 1, 1, 16, 0).n > 3);
    engine_spec_timed(&c, 9, 0.090);
    engine_spec_timed(&c, 17, 0.170);
    assert_int_equal(engine_spec_choose(&c, 0.99, 1, 1, 16, 0).n, 0);
    memset(&c, 0, sizeof c);
    engine_spec_timed(&c, 1, 0.010); /* rows are free */
    engine_spec_timed(&c, 17, 0.0101);
    assert_int_equal(engine_spec_choose(&c, 0.99, 1, 1, 16, 0).n, 16);
    assert_true(engine_spec_choose(&c, 0.99, 1, 1, 16, 0).gain > 10);
    assert_int_equal(engine_spec_choose(&c, 0.02, 1, 1, 16, 0).n, 0);
    assert_int_equal(engine_spec_choose(&c, 0.9, 1, 1, 16, 0.010).n, 0); /* guesses as dear */
    assert_int_equal(engine_spec_choose(&c, 0.9, 1, 1, 0, 0).n, 0);
    engine_spec_timed(&c, 17, 10.0); /* somebody took the processor: believed in part */
    assert_true(engine_spec_cost(&c, 17) < 0.0130);
    assert_true(engine_spec_cost(&c, 9) > 0.010 && engine_spec_cost(&c, 9) < 0.0130);
}

/* The exact rule on its vectors: what is emitted has the model's distribution, whatever the draft's
 * is (chi-square, 4 degrees of freedom: 18.47 at 0.001); seeds 1701000 .. 1720999. */
static void keeps_the_distribution(void **state)
{
    (void)state;
    const char *dir = test_shared_dir();
    if (dir == NULL)
        skip();
    char path[1024], *text;
    size_t len;
    json_value *v;
    struct err err = { 0 };
    snprintf(path, sizeof path, "%s/vectors/arch/mtp_spec.json", dir);
    assert_int_equal(os_read_file(path, 16u << 20, &text, &len, &err), 0);
    assert_int_equal(json_parse(&v, text, len, &JSON_LIMITS_FILE, &err), 0);
    const json_value *x = json_get(v, "exactness");
    float p[5], q[5];
    for (size_t i = 0; i < 5; i++) {
        p[i] = logf((float)json_as_double(json_at(json_get(json_get(x, "p"), "data"), i)));
        q[i] = logf((float)json_as_double(json_at(json_get(json_get(x, "q"), "data"), i)));
    }
    struct engine_sampler *sampler;
    struct kernel_table k;
    kernel_init(&k, 0);
    assert_int_equal(engine_sampler_create(&sampler, 5, &k), 0);
    struct engine_sampler_params sp = engine_sampler_defaults();
    struct engine_sampled draft, drawn;
    int32_t ids[1] = { 0 };
    double n = 20000, count[5] = { 0 }, accepted = 0, chi = 0;
    for (uint64_t seed = 1701000; seed < 1721000; seed++) {
        struct engine_sampler_input in = { .logits = q, .ids = ids, .n_ids = 1, .n_prompt = 1 };
        sp.seed = seed;
        assert_int_equal(engine_sampler_pick(sampler, &sp, &in, &draft), 0);
        in.logits = p;
        assert_int_equal(engine_sampler_pick(sampler, &sp, &in, &drawn), 0);
        accepted += drawn.id == draft.id;
        count[drawn.id]++; /* accepted or not, this is what is emitted */
    }
    for (size_t i = 0; i < 5; i++) {
        double want = n * exp((double)p[i]);
        chi += (count[i] - want) * (count[i] - want) / want;
    }
    double best = json_as_double(json_get(x, "accept_prob_alpha"));
    assert_true(chi < 18.47);
    print_message("accepted %.3f of at most %.3f\n", accepted / n, best);
    assert_true(accepted / n > 0.1 && accepted / n < best + 0.02); /* no rule accepts more */
    engine_sampler_destroy(sampler);
    json_free(v);
    mem_free(text);
}

/* --- the engine, under a clock by which a step takes the same time for any number of rows --- */

static atomic_ullong fake_ns;
static uint64_t fake_now(void *ctx) { return (void)ctx, atomic_load(&fake_ns); }

static int flat_forward(const struct model *m, struct model_work *w, const struct model_batch *b,
                        const float **logits)
{
    atomic_fetch_add(&fake_ns, 1000000);
    return model_forward(m, w, b, logits);
}

/* A step takes as long as it has rows: nothing can be gained. */
static int steep_forward(const struct model *m, struct model_work *w, const struct model_batch *b,
                         const float **logits)
{
    atomic_fetch_add(&fake_ns, 1000000ull * b->n_rows);
    return model_forward(m, w, b, logits);
}

static struct engine_params with_spec(const struct small *s, enum engine_spec_mode mode)
{
    struct engine_params p = small_params(s);
    p.clock.now_ns = fake_now;
    p.forward = flat_forward;
    p.spec = mode;
    p.draft = mode == ENGINE_SPEC_DRAFT ? s->model : NULL;
    return p;
}

static void same_ids(const struct answer *a, const struct answer *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->ids, b->ids, a->n * sizeof *a->ids);
    assert_string_equal(a->text, b->text);
    assert_int_equal(a->done.finish, b->done.finish);
}

/* A request that repeats its prompt's phrases is answered alike by all engines. */
static void ids_stay(void **state)
{
    struct small *s = small_of(state);
    static int32_t ids[PROMPT_MAX];
    uint32_t n = encode(s, "Once upon a time there was a cat. Once upon a time there was a dog. "
                           "Once upon a time", ids);
    static struct answer plain, other;
    for (int i = 0; i < 6; i++) {
        struct engine_request r = engine_request_defaults(ids, n);
        r.max_tokens = 120;
        r.ignore_eos = true;
        r.sampler.temperature = i == 0 ? 0 : i == 1 ? 0.3f : 0.9f;
        r.sampler.seed = 42 + (uint64_t)i;
        r.logprobs = i == 3;
        r.sampler.repetition_penalty = i == 4 ? 1.2f : 1;
        struct engine_str stop = { "little", 6 };
        r.stops = &stop;
        r.n_stops = i == 5;
        for (int mode = ENGINE_SPEC_OFF; mode <= ENGINE_SPEC_DRAFT; mode++) {
            struct engine_params p = with_spec(s, (enum engine_spec_mode)mode);
            struct engine *e = engine_with(&p);
            struct engine_info info;
            engine_info(e, &info);
            assert_int_equal(info.spec, mode);
            ask(e, &r, mode == ENGINE_SPEC_OFF ? &plain : &other);
            if (mode != ENGINE_SPEC_OFF) {
                same_ids(&plain, &other);
                assert_true(plain.logprob_sum == other.logprob_sum);
                if (mode == ENGINE_SPEC_DRAFT) { /* the model itself guesses: most hold */
                    const struct engine_usage *u = &other.done.usage;
                    print_message("%d: %u of %u\n", i, u->accepted_tokens, u->drafted_tokens);
                    assert_true(u->drafted_tokens > 0);
                    assert_true(i == 5 || u->accepted_tokens * 2 > u->drafted_tokens); /* 5 ends early */
                }
                r.no_spec = true;
                ask(e, &r, &other);
                same_ids(&plain, &other);
                assert_int_equal(other.done.usage.drafted_tokens, 0);
                r.no_spec = false;
            }
            close_engine(e);
        }
    }
}

/* Greedy answers of a small model run in circles: lookup finds them, in far fewer steps. */
static void lookup_saves_steps(void **state)
{
    struct small *s = small_of(state);
    static int32_t ids[PROMPT_MAX];
    uint32_t n = encode(s, "The cat sat. The cat sat. The cat sat. The", ids);
    struct engine_request r = engine_request_defaults(ids, n);
    r.max_tokens = 300;
    r.ignore_eos = true;
    r.sampler.temperature = 0;
    static struct answer plain, fast, dear;
    struct engine_stats st[3];
    for (int i = 0; i < 3; i++) {
        struct engine_params p = with_spec(s, i == 0 ? ENGINE_SPEC_OFF : ENGINE_SPEC_LOOKUP);
        p.forward = i == 2 ? steep_forward : flat_forward;
        struct engine *e = engine_with(&p);
        ask(e, &r, i == 0 ? &plain : i == 1 ? &fast : &dear);
        engine_stats(e, &st[i]);
        close_engine(e);
    }
    same_ids(&plain, &fast);
    same_ids(&plain, &dear);
    assert_int_equal(st[0].steps, 300 + (n + 31) / 32 - 1);
    assert_int_equal(st[1].accepted_tokens, fast.done.usage.accepted_tokens);
    assert_int_equal(st[1].drafted_tokens, fast.done.usage.drafted_tokens);
    print_message("steps: plain %d, lookup %d; rows when each costs: %d\n", (int)st[0].steps,
                  (int)st[1].steps, (int)st[2].decode_rows);
    assert_true(st[1].steps + st[1].accepted_tokens == st[0].steps);
    assert_true(st[1].steps * 10 < st[0].steps * 8);
    assert_true(st[2].decode_rows < 300 * 1.03 + 20); /* a few tries of each size, then none */
}

/* Many at once, in memory for few: guesses take no block that another sequence needs. */
static void company_and_little_memory(void **state)
{
    struct small *s = small_of(state);
    enum { N = 6 };
    static int32_t ids[N][PROMPT_MAX];
    static struct answer plain[N], other;
    static const char *const texts[N] = {
        "Once upon a time", "The cat sat. The cat sat. The cat", "Tom and Lily and Tom and Lily",
        "A big red ball. A big red", "One day, a girl named Lily", "He said: no. He said: no. He"
    };
    for (int mode = ENGINE_SPEC_OFF; mode <= ENGINE_SPEC_DRAFT; mode++) {
        struct engine_params p = with_spec(s, (enum engine_spec_mode)mode);
        p.n_ctx = 128;
        p.kv_bytes = model_layout(s->model)->block_bytes * 30; /* of 8 tokens: less than two */
        struct engine *e = engine_with(&p);
        struct engine_stream *streams[N];
        for (int i = 0; i < N; i++) {
            uint32_t n = encode(s, texts[i], ids[i]);
            struct engine_request r = engine_request_defaults(ids[i], n);
            r.max_tokens = 90;
            r.ignore_eos = true;
            r.sampler.temperature = i % 2 == 0 ? 0 : 0.8f;
            r.sampler.seed = (uint64_t)i;
            streams[i] = submit(e, &r);
        }
        for (int i = 0; i < N; i++) {
            finish(streams[i], mode == ENGINE_SPEC_OFF ? &plain[i] : &other);
            if (mode != ENGINE_SPEC_OFF)
                same_ids(&plain[i], &other);
        }
        close_engine(e);
    }
}

static void refuses(void **state)
{
    struct small *s = small_of(state);
    struct err err = { 0 };
    struct engine *e = NULL;
    struct engine_params p = small_params(s);
    p.spec = ENGINE_SPEC_DRAFT;
    assert_int_equal(engine_create(&e, &p, &err), E_RANGE);
    assert_string_equal(err.field, "draft");
    p.spec = ENGINE_SPEC_LOOKUP;
    p.n_spec = ENGINE_SPEC_MAX + 1;
    assert_int_equal(engine_create(&e, &p, &err), E_RANGE);
    assert_string_equal(err.field, "n_spec");
}

int spec_test(void);
int spec_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lookup),
        cmocka_unit_test(odds_and_costs),
        cmocka_unit_test(keeps_the_distribution),
        cmocka_unit_test(ids_stay),
        cmocka_unit_test(lookup_saves_steps),
        cmocka_unit_test(company_and_little_memory),
        cmocka_unit_test(refuses),
    };
    return cmocka_run_group_tests_name("engine/spec", tests, small_load, small_unload);
}
