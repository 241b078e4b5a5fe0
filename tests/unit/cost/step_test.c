/* Goal: the step model finds the rates of a machine that follows it, within the noise; follows a machine
 * that changes; is not thrown off by a stalled step nor by a night of decodes alone; and turns a goal
 * in seconds into the number of rows that just meets it. */
#include "unit/test.h"

#include <math.h>

#include "base/rng.h"
#include "cost/step.h"

/* A machine: 20 ms to read the weights, then rows, context and attention. */
static const double TRUE_RATES[COST_RATES] = { 0.020, 0.002, 0.700, 0.030, 0.120 };

static double truth(const struct cost_load *l, double slower)
{
    double ride = l->n_rows < COST_RIDE ? l->n_rows : COST_RIDE;
    return slower * (TRUE_RATES[0] + TRUE_RATES[1] * ride / COST_RIDE +
                     TRUE_RATES[2] * (l->n_rows - ride) / 256 +
                     TRUE_RATES[3] * (double)l->context / 16384 +
                     TRUE_RATES[4] * (double)l->pairs / (1 << 20));
}

static double noise(struct rng *r, double by) { return 1 + by * (2 * rng_unit(r) - 1); }

static struct cost_load random_load(struct rng *r, bool prompts)
{
    struct cost_load l = { 0 };
    uint32_t n = 1 + (uint32_t)rng_below(r, 12);
    for (uint32_t i = 0; i < n; i++)
        cost_load_add(&l, (uint32_t)rng_below(r, 4000), 1);
    if (prompts && rng_below(r, 2) == 0)
        cost_load_add(&l, (uint32_t)rng_below(r, 4000), 1 + (uint32_t)rng_below(r, 400));
    return l;
}

static void run(struct cost_steps *c, struct rng *r, int n, bool prompts, double slower)
{
    for (int i = 0; i < n; i++) {
        struct cost_load l = random_load(r, prompts);
        cost_steps_learn(c, &l, truth(&l, slower) * noise(r, 0.05));
        cost_steps_check(c);
    }
}

/* The share of loads predicted within `far`. */
static double share_within(const struct cost_steps *c, struct rng *r, double slower, double far)
{
    int n = 0;
    for (int i = 0; i < 1000; i++) {
        struct cost_load l = random_load(r, true);
        double want = truth(&l, slower);
        n += fabs(cost_steps_predict(c, &l) - want) <= far * want;
    }
    return n / 1000.0;
}

static void loads(void **state)
{
    (void)state;
    struct cost_load l = { 0 };
    cost_load_add(&l, 9, 1);  /* one row looks at ten positions */
    cost_load_add(&l, 4, 3);  /* 5 + 6 + 7, reads 7 */
    assert_int_equal(4, l.n_rows);
    assert_int_equal(17, l.context);
    assert_int_equal(28, l.pairs);
    cost_load_add(&l, UINT32_MAX - 1, 0);
    assert_int_equal(28, l.pairs);
}

static void finds_the_rates(void **state)
{
    (void)state;
    struct rng r;
    struct cost_steps c;
    rng_seed(&r, 7);
    cost_steps_init(&c);
    struct cost_load l = random_load(&r, true);
    assert_true(cost_steps_predict(&c, &l) == 0);
    run(&c, &r, 400, true, 1);
    assert_true(share_within(&c, &r, 1, 0.05) > 0.9);
    assert_true(c.error < 0.06);
    assert_true(c.n_near > 330);
}

static void follows_a_change(void **state)
{
    (void)state;
    struct rng r;
    struct cost_steps c;
    rng_seed(&r, 8);
    cost_steps_init(&c);
    run(&c, &r, 2000, true, 1);
    run(&c, &r, 1000, true, 2.5); /* somebody took half of the machine */
    assert_true(share_within(&c, &r, 2.5, 0.10) > 0.9);
}

static void stalls_do_not_mislead(void **state)
{
    (void)state;
    struct rng r;
    struct cost_steps c;
    rng_seed(&r, 9);
    cost_steps_init(&c);
    for (int i = 0; i < 500; i++) {
        run(&c, &r, 1, true, 1);
        struct cost_load l = random_load(&r, true);
        if (i > 50 && i % 50 == 0)
            cost_steps_learn(&c, &l, truth(&l, 1) * 100);
        cost_steps_learn(&c, &l, 0);
        cost_steps_learn(&c, &l, NAN);
        cost_steps_learn(&c, &l, -1);
    }
    cost_steps_check(&c);
    assert_true(share_within(&c, &r, 1, 0.25) > 0.9);
}

/* A night of decodes: what a prompt costs is still known in the morning. */
static void remembers_what_rests(void **state)
{
    (void)state;
    struct rng r;
    struct cost_steps c;
    rng_seed(&r, 10);
    cost_steps_init(&c);
    run(&c, &r, 500, true, 1);
    run(&c, &r, 50000, false, 1);
    assert_true(share_within(&c, &r, 1, 0.15) > 0.9);
}

static void rows_for_a_goal(void **state)
{
    (void)state;
    struct rng r;
    struct cost_steps c;
    struct cost_load base = { 0 };
    rng_seed(&r, 11);
    cost_steps_init(&c);
    cost_load_add(&base, 100, 1);
    assert_int_equal(512, cost_steps_rows(&c, &base, 0, 16, 512, 0.1)); /* nothing is known */
    run(&c, &r, 500, true, 1);
    uint32_t n = cost_steps_rows(&c, &base, 0, 1, 512, 0.1);
    struct cost_load l = base, more = base;
    cost_load_add(&l, 0, n);
    cost_load_add(&more, 0, n + 1);
    assert_true(n > 16 && n < 512);
    assert_true(cost_steps_predict(&c, &l) <= 0.1);
    assert_true(cost_steps_predict(&c, &more) > 0.1);
    assert_true(fabs(truth(&l, 1) - 0.1) < 0.01);
    assert_int_equal(16, cost_steps_rows(&c, &base, 0, 16, 512, 1e-6)); /* goes on all the same */
    assert_int_equal(8, cost_steps_rows(&c, &base, 0, 16, 8, 1e-6));
    assert_int_equal(512, cost_steps_rows(&c, &base, 0, 16, 512, 100));
}

int step_test(void);
int step_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads),
        cmocka_unit_test(finds_the_rates),
        cmocka_unit_test(follows_a_change),
        cmocka_unit_test(stalls_do_not_mislead),
        cmocka_unit_test(remembers_what_rests),
        cmocka_unit_test(rows_for_a_goal),
    };
    return cmocka_run_group_tests_name("cost/step", tests, NULL, NULL);
}
