/* The sampler against a naive reference that sorts: exact supports, chi-square of 4,000 draws a case with
 * fixed seeds, ties, infinities, NaN, penalties, log probabilities, determinism. */
#include "unit/test.h"

#include <math.h>
#include <stdbool.h>

#include "base/rng.h"
#include "engine/sampler.h"
#include "os/cpu.h"

enum { V = 50, DRAWS = 4000, BIG = 40000 };

static unsigned level_flags; /* of the kernels: none, then all of this machine */

static struct engine_sampler *sampler_of(uint32_t n)
{
    static struct kernel_table k;
    struct engine_sampler *s = NULL;
    kernel_init(&k, level_flags);
    assert_int_equal(engine_sampler_create(&s, n, &k), 0);
    return s;
}

static void fill(float *logits, uint32_t n, uint64_t seed, bool ties)
{
    struct rng rng;
    rng_seed(&rng, seed);
    for (uint32_t i = 0; i < n; i++) {
        double x = (rng_unit(&rng) + rng_unit(&rng) + rng_unit(&rng) - 1.5) * 5.0;
        logits[i] = ties ? (float)floor(x) : (float)x;
    }
}

/* --- the reference: everything by sorting, in double --- */

struct ref {
    double key, p;
    float logit;
    int32_t id;
};

static int by_key(const void *a, const void *b)
{
    const struct ref *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static uint32_t ref_normalise(struct ref *r, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += r[i].p;
    for (uint32_t i = 0; i < n; i++)
        r[i].p /= sum;
    return n;
}

static uint32_t ref_until(struct ref *r, uint32_t n, double mass)
{
    double sum = 0;
    uint32_t kept = 0;
    ref_normalise(r, n);
    qsort(r, n, sizeof *r, by_key);
    while (kept < n && sum < mass)
        sum += r[kept++].p;
    return ref_normalise(r, kept);
}

/* The distribution after the whole chain; r holds n entries. */
static uint32_t reference(const float *logits, uint32_t n_vocab,
                          const struct engine_sampler_params *p, struct ref *r)
{
    uint32_t n = n_vocab;
    for (uint32_t i = 0; i < n; i++)
        r[i] = (struct ref){ .key = -(double)logits[i], .p = 1, .logit = logits[i], .id = (int32_t)i };
    qsort(r, n, sizeof *r, by_key);
    if (p->top_k > 0 && p->top_k < n)
        n = p->top_k;
    for (uint32_t i = 0; i < n; i++)
        r[i].p = exp(((double)r[i].logit - (double)r[0].logit) / (double)p->temperature);
    ref_normalise(r, n);
    if (p->typical_p < 1.0f) {
        double entropy = 0;
        for (uint32_t i = 0; i < n; i++)
            entropy -= r[i].p * log(r[i].p);
        for (uint32_t i = 0; i < n; i++)
            r[i].key = fabs(-log(r[i].p) - entropy);
        n = ref_until(r, n, (double)p->typical_p);
    }
    for (uint32_t i = 0; i < n; i++)
        r[i].key = -(double)r[i].logit;
    n = p->top_p < 1.0f ? ref_until(r, n, (double)p->top_p) : n;
    qsort(r, n, sizeof *r, by_key);
    uint32_t kept = 0;
    while (kept < n && r[kept].p >= (double)p->min_p * r[0].p)
        kept++;
    return ref_normalise(r, kept);
}

static int32_t pick(struct engine_sampler *s, const struct engine_sampler_params *p,
                    const float *logits, const int32_t *ids, uint32_t position)
{
    struct engine_sampler_input in = { .logits = logits, .ids = ids, .n_ids = position,
                                       .n_prompt = position };
    struct engine_sampled out = { .id = -7 };
    assert_int_equal(engine_sampler_pick(s, p, &in, &out), 0);
    return out.id;
}

/* Draws and compares: nothing outside the support, frequencies within six sigma of chi-square. */
static void agrees(const float *logits, struct engine_sampler_params p)
{
    struct engine_sampler *s = sampler_of(V);
    struct ref r[V];
    uint32_t n = reference(logits, V, &p, r), count[V] = { 0 };
    for (uint32_t i = 0; i < DRAWS; i++)
        count[pick(s, &p, logits, NULL, i)]++;
    double chi2 = 0, df = -1, rare = 0, rare_seen = 0;
    uint32_t inside = 0;
    for (uint32_t i = 0; i < n; i++) {
        double want = r[i].p * DRAWS, seen = count[r[i].id];
        inside += count[r[i].id];
        if (want < 5) { /* too few for the statistic alone: pooled */
            rare += want;
            rare_seen += seen;
            continue;
        }
        chi2 += (seen - want) * (seen - want) / want;
        df++;
    }
    if (rare > 5) {
        chi2 += (rare_seen - rare) * (rare_seen - rare) / rare;
        df++;
    }
    assert_int_equal(inside, DRAWS);
    if (chi2 > df + 6 * sqrt(2 * df + 1))
        fail_msg("chi-square %g with %g degrees of freedom", chi2, df);
    engine_sampler_destroy(s);
}

static void draws_the_distribution(void **state)
{
    (void)state;
    float logits[V];
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct engine_sampler_params p = engine_sampler_defaults();
        fill(logits, V, seed, seed == 3);
        p.seed = seed * 77;
        agrees(logits, p);
        p.temperature = 0.5f;
        agrees(logits, p);
        p.temperature = 2.5f;
        agrees(logits, p);
    }
}

static void filters_like_the_reference(void **state)
{
    (void)state;
    float logits[V];
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct rng rng;
        rng_seed(&rng, seed);
        struct engine_sampler_params p = engine_sampler_defaults();
        fill(logits, V, seed + 100, seed % 4 == 0);
        p.seed = seed;
        p.temperature = 0.3f + (float)rng_unit(&rng);
        unsigned which = (unsigned)seed; /* 1, 2, 4, 8 alone; the others mix */
        p.top_k = which & 1 ? 1 + rng_below(&rng, V - 5) : 0;
        p.top_p = which & 2 ? 0.3f + 0.69f * (float)rng_unit(&rng) : 1.0f;
        p.min_p = which & 4 ? 0.01f + 0.2f * (float)rng_unit(&rng) : 0.0f;
        p.typical_p = which & 8 ? 0.3f + 0.6f * (float)rng_unit(&rng) : 1.0f;
        agrees(logits, p);
    }
}

/* The set that a filter leaves is exactly the reference's: every id of it is drawn sooner or later at a
 * high temperature, none outside ever. Ties at the border stay by id. */
static void keeps_exact_supports(void **state)
{
    (void)state;
    float logits[V];
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct engine_sampler *s = sampler_of(V);
        struct engine_sampler_params p = engine_sampler_defaults();
        struct ref r[V];
        bool seen[V] = { false };
        fill(logits, V, seed, seed % 2 == 0);
        p.temperature = 8.0f;
        p.seed = seed;
        p.top_k = 1 + (uint32_t)seed % 20;
        uint32_t n = reference(logits, V, &p, r), n_seen = 0;
        assert_int_equal(n, p.top_k);
        for (uint32_t i = 0; i < 1000; i++)
            seen[pick(s, &p, logits, NULL, i)] = true;
        for (uint32_t i = 0; i < n; i++)
            assert_true(seen[r[i].id]);
        for (uint32_t i = 0; i < V; i++)
            n_seen += seen[i];
        assert_int_equal(n_seen, n);
        engine_sampler_destroy(s);
    }
}

static void big_vocabulary_stays_in_the_support(void **state)
{
    (void)state;
    float *logits = calloc(BIG, sizeof *logits);
    struct ref *r = calloc(BIG, sizeof *r);
    bool *inside = calloc(BIG, sizeof *inside);
    struct engine_sampler *s = sampler_of(BIG);
    for (uint64_t seed = 1; seed <= 7; seed++) {
        struct engine_sampler_params p = engine_sampler_defaults();
        fill(logits, BIG, seed, false);
        p.top_p = 0.9f;
        p.top_k = seed == 5 ? 500 : seed == 6 ? 20000 : 0;
        p.min_p = seed == 7 ? 0.05f : 0;
        p.top_p = seed == 7 ? 1 : 0.9f;
        p.temperature = seed == 4 ? 50 : 1; /* flat: most of them are kept */
        p.seed = seed;
        uint32_t n = reference(logits, BIG, &p, r);
        assert_true(n > 100 && n < BIG);
        memset(inside, 0, BIG);
        for (uint32_t i = 0; i < n; i++)
            inside[r[i].id] = true;
        for (uint32_t i = 0; i < 300; i++)
            assert_true(inside[pick(s, &p, logits, NULL, i)]);
    }
    engine_sampler_destroy(s);
    free(inside);
    free(r);
    free(logits);
}

static void greedy_is_argmax_with_ties_to_the_lowest(void **state)
{
    (void)state;
    float logits[V];
    struct engine_sampler *s = sampler_of(V);
    struct engine_sampler_params p = engine_sampler_defaults();
    p.temperature = 0.0f;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        fill(logits, V, seed, true);
        int32_t best = 0;
        for (int32_t i = 1; i < V; i++)
            best = logits[i] > logits[best] ? i : best;
        p.seed = seed;
        assert_int_equal(pick(s, &p, logits, NULL, (uint32_t)seed), best);
    }
    p.temperature = 1.0f;
    p.top_k = 1;
    for (int i = 0; i < V; i++)
        logits[i] = 3.0f;
    assert_int_equal(pick(s, &p, logits, NULL, 5), 0);
    engine_sampler_destroy(s);
}

static void refuses_numbers_that_are_not(void **state)
{
    (void)state;
    float logits[V];
    struct engine_sampler *s = sampler_of(V);
    struct engine_sampled out = { .id = -7 };
    struct engine_sampler_input in = { .logits = logits };
    struct engine_sampler_params p = engine_sampler_defaults();
    for (int greedy = 0; greedy < 2; greedy++) {
        p.temperature = greedy ? 0.0f : 1.0f;
        out.id = -7;
        fill(logits, V, 1, false);
        logits[7] = NAN;
        assert_int_equal(engine_sampler_pick(s, &p, &in, &out), E_NONFINITE);
        logits[7] = INFINITY;
        assert_int_equal(engine_sampler_pick(s, &p, &in, &out), E_NONFINITE);
        logits[7] = 0.0f;
        logits[0] = NAN; /* also where argmax begins */
        assert_int_equal(engine_sampler_pick(s, &p, &in, &out), E_NONFINITE);
        for (int i = 0; i < V; i++)
            logits[i] = -INFINITY;
        assert_int_equal(engine_sampler_pick(s, &p, &in, &out), E_NONFINITE);
        assert_int_equal(out.id, -7);
        logits[31] = -1e30f; /* one token is left: it comes */
        assert_int_equal(engine_sampler_pick(s, &p, &in, &out), 0);
        assert_int_equal(out.id, 31);
        int32_t no[] = { 31 };
        in.forbid = no;
        in.n_forbid = 1;
        assert_int_equal(engine_sampler_pick(s, &p, &in, &out), E_NONFINITE);
        in.n_forbid = 0;
    }
    engine_sampler_destroy(s);
}

static void huge_and_tiny_values_work(void **state)
{
    (void)state;
    float logits[V];
    struct engine_sampler *s = sampler_of(V);
    struct engine_sampler_params p = engine_sampler_defaults();
    for (int i = 0; i < V; i++)
        logits[i] = i == 9 ? 3e38f : -3e38f;
    p.typical_p = 0.9f;
    p.top_p = 0.5f;
    p.min_p = 0.1f;
    p.temperature = 1e-6f;
    assert_int_equal(pick(s, &p, logits, NULL, 1), 9);
    p.temperature = 100.0f;
    assert_int_equal(pick(s, &p, logits, NULL, 1), 9);
    for (int i = 0; i < V; i++)
        logits[i] = i % 2 ? -0.0f : 0.0f; /* one value, two patterns: the lower id wins */
    p = engine_sampler_defaults();
    p.top_k = 3;
    for (uint32_t i = 0; i < 50; i++)
        assert_in_range(pick(s, &p, logits, NULL, i), 0, 2);
    engine_sampler_destroy(s);
}

/* Penalties and bias by hand, under greedy and as edited logits of a draw. */
static void penalises_like_the_definition(void **state)
{
    (void)state;
    struct engine_sampler *s = sampler_of(V);
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct rng rng;
        float logits[V], edited[V];
        int32_t ids[30];
        rng_seed(&rng, seed);
        fill(logits, V, seed, false);
        memcpy(edited, logits, sizeof logits);
        for (int i = 0; i < 30; i++)
            ids[i] = (int32_t)rng_below(&rng, V);
        struct engine_sampler_params p = engine_sampler_defaults();
        p.temperature = 0.0f;
        p.repetition_penalty = 0.5f + 2.0f * (float)rng_unit(&rng);
        p.presence_penalty = 4.0f * (float)rng_unit(&rng) - 2.0f;
        p.frequency_penalty = 4.0f * (float)rng_unit(&rng) - 2.0f;
        p.penalty_window = rng_below(&rng, 35);
        struct engine_bias bias = { .id = (int32_t)rng_below(&rng, V), .bias = 1.5f };
        edited[bias.id] += bias.bias;
        uint32_t n_prompt = rng_below(&rng, 30), window = p.penalty_window;
        uint32_t from = window == 0 || window > 30 ? 0 : 30 - window;
        for (int32_t v = 0; v < V; v++) {
            uint32_t any = 0, generated = 0;
            for (uint32_t i = from; i < 30; i++) {
                any += ids[i] == v;
                generated += ids[i] == v && i >= n_prompt;
            }
            if (any > 0)
                edited[v] = edited[v] > 0 ? edited[v] / p.repetition_penalty
                                          : edited[v] * p.repetition_penalty;
            if (generated > 0)
                edited[v] -= p.presence_penalty + p.frequency_penalty * (float)generated;
        }
        int32_t best = 0;
        for (int32_t i = 1; i < V; i++)
            best = edited[i] > edited[best] ? i : best;
        struct engine_sampler_input in = { .logits = logits, .ids = ids, .n_ids = 30,
                                           .n_prompt = n_prompt, .bias = &bias, .n_bias = 1 };
        struct engine_sampled out;
        assert_int_equal(engine_sampler_pick(s, &p, &in, &out), 0);
        assert_int_equal(out.id, best);
    }
    engine_sampler_destroy(s);
}

static void bias_forbids_and_survives_bad_ids(void **state)
{
    (void)state;
    struct engine_sampler *s = sampler_of(V);
    float logits[V] = { 0 };
    logits[4] = 50.0f;
    logits[5] = 40.0f;
    const struct engine_bias bias[] = { { 4, -100.0f }, { -1, 9.0f }, { V, 9.0f }, { INT32_MAX, 9.0f } };
    const int32_t forbid[] = { 5, -3, V + 9 };
    struct engine_sampler_params p = engine_sampler_defaults();
    p.temperature = 0.0f;
    struct engine_sampler_input in = { .logits = logits, .bias = bias, .n_bias = 4,
                                       .forbid = forbid, .n_forbid = 3 };
    struct engine_sampled out;
    assert_int_equal(engine_sampler_pick(s, &p, &in, &out), 0);
    assert_int_equal(out.id, 0);
    engine_sampler_destroy(s);
}

static int32_t accepted;
static void only_odd(void *ctx, float *logits, uint32_t n)
{
    (void)ctx;
    for (uint32_t i = 0; i < n; i += 2)
        logits[i] = -INFINITY;
}
static void remember(void *ctx, int32_t id)
{
    (void)ctx;
    accepted = id;
}

static void mask_edits_and_is_told(void **state)
{
    (void)state;
    struct engine_sampler *s = sampler_of(V);
    float logits[V];
    fill(logits, V, 3, false);
    struct engine_mask mask = { .apply = only_odd, .accept = remember };
    struct engine_sampler_params p = engine_sampler_defaults();
    for (uint32_t i = 0; i < 200; i++) {
        struct engine_sampler_input in = { .logits = logits, .n_ids = 0, .mask = &mask };
        struct engine_sampled out;
        p.seed = i;
        accepted = -1;
        assert_int_equal(engine_sampler_pick(s, &p, &in, &out), 0);
        assert_int_equal(out.id % 2, 1);
        assert_int_equal(accepted, out.id);
    }
    engine_sampler_destroy(s);
}

static void reports_log_probabilities_of_the_model(void **state)
{
    (void)state;
    struct engine_sampler *s = sampler_of(V);
    float logits[V];
    fill(logits, V, 5, true); /* with ties: by id */
    struct ref r[V];
    struct engine_sampler_params plain = engine_sampler_defaults(), p = plain;
    (void)reference(logits, V, &plain, r);
    p.temperature = 3.0f;
    p.presence_penalty = 2.0f;
    for (uint32_t n_top = 0; n_top <= ENGINE_TOP_MAX; n_top++) {
        struct engine_sampler_input in = { .logits = logits, .logprobs = true, .n_top = n_top };
        struct engine_sampled out;
        double sum = 0;
        assert_int_equal(engine_sampler_pick(s, &p, &in, &out), 0);
        assert_int_equal(out.n_top, n_top);
        for (uint32_t i = 0; i < n_top; i++) {
            assert_int_equal(out.top[i].id, r[i].id);
            assert_true(fabs((double)out.top[i].logprob - log(r[i].p)) < 1e-5);
            sum += exp((double)out.top[i].logprob);
        }
        assert_true(sum <= 1 + 1e-3);
        for (uint32_t i = 0; i < V; i++)
            if (r[i].id == out.id)
                assert_true(fabs((double)out.logprob - log(r[i].p)) < 1e-5);
    }
    engine_sampler_destroy(s);
    struct engine_sampler *two = sampler_of(2); /* fewer tokens than asked for */
    struct engine_sampler_input in = { .logits = logits, .logprobs = true, .n_top = 20 };
    struct engine_sampled out;
    assert_int_equal(engine_sampler_pick(two, &plain, &in, &out), 0);
    assert_int_equal(out.n_top, 2);
    engine_sampler_destroy(two);
}

static void seed_and_position_decide(void **state)
{
    (void)state;
    float logits[V];
    int same_seed = 0, same_position = 0;
    struct engine_sampler *a = sampler_of(V), *b = sampler_of(V);
    struct engine_sampler_params p = engine_sampler_defaults(), q = p;
    q.seed = 1;
    for (uint32_t i = 0; i < 500; i++) {
        fill(logits, V, i, false);
        int32_t x = pick(a, &p, logits, NULL, i);
        (void)pick(b, &q, logits, NULL, i + 3); /* what else was drawn does not matter */
        assert_int_equal(pick(b, &p, logits, NULL, i), x);
        same_seed += pick(a, &q, logits, NULL, i) == x;
        same_position += pick(a, &p, logits, NULL, i + 1) == x;
    }
    assert_true(same_seed < 250 && same_position < 250); /* about one in ten by chance */
    engine_sampler_destroy(a);
    engine_sampler_destroy(b);
}

static void checks_parameters(void **state)
{
    (void)state;
    struct engine_sampler_params good = engine_sampler_defaults(), p;
    struct err err = { 0 };
    assert_int_equal(engine_sampler_check(&good, &err), 0);
#define BAD(member, value)                                                                       \
    p = good;                                                                                    \
    p.member = (value);                                                                          \
    assert_int_equal(engine_sampler_check(&p, &err), E_RANGE);                                   \
    assert_string_equal(err.field, #member)
    BAD(temperature, -0.1f);
    BAD(temperature, NAN);
    BAD(temperature, INFINITY);
    BAD(top_p, 0.0f);
    BAD(top_p, 1.01f);
    BAD(top_p, NAN);
    BAD(min_p, -0.1f);
    BAD(min_p, 1.1f);
    BAD(typical_p, 0.0f);
    BAD(repetition_penalty, 0.0f);
    BAD(presence_penalty, 101.0f);
    BAD(frequency_penalty, -INFINITY);
#undef BAD
    struct engine_sampler *s = NULL;
    struct kernel_table k;
    kernel_init(&k, 0);
    assert_int_equal(engine_sampler_create(&s, 0, &k), E_RANGE);
}

int sampler_test(void);
int sampler_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_the_distribution),
        cmocka_unit_test(filters_like_the_reference),
        cmocka_unit_test(keeps_exact_supports),
        cmocka_unit_test(big_vocabulary_stays_in_the_support),
        cmocka_unit_test(greedy_is_argmax_with_ties_to_the_lowest),
        cmocka_unit_test(refuses_numbers_that_are_not),
        cmocka_unit_test(huge_and_tiny_values_work),
        cmocka_unit_test(penalises_like_the_definition),
        cmocka_unit_test(bias_forbids_and_survives_bad_ids),
        cmocka_unit_test(mask_edits_and_is_told),
        cmocka_unit_test(reports_log_probabilities_of_the_model),
        cmocka_unit_test(seed_and_position_decide),
        cmocka_unit_test(checks_parameters),
    };
    struct os_cpu cpu;
    os_cpu_detect(&cpu);
    level_flags = 0;
    int n_failed = cmocka_run_group_tests_name("engine/sampler, generic", tests, NULL, NULL);
    level_flags = cpu.flags;
    return n_failed + cmocka_run_group_tests_name("engine/sampler", tests, NULL, NULL);
}
