/* Weighted least squares without negative rates: the normal equations are kept, faded and added to,
 * and a few sweeps of coordinate descent (Hildreth 1957) go on from the last solution. Recursive
 * least squares with clamped rates was tried first and goes astray: a clamped rate no longer
 * belongs to the matrix kept beside it. Directions that nothing tells about any more keep their
 * rates, since descent does not move along them.
 *
 * Features are scaled to about one at usual loads and divided by the time taken: the squared error
 * is a relative one, a decode step of a millisecond counts as much as a prompt's of a second, and a
 * step that stalled (its features become small) moves the rates little. */
#include "cost/step.h"

#include <math.h>

#include "base/err.h"
#include "base/num.h"

#define FORGET 0.995
#define SWEEPS 8
#define SEEN_MIN 1e-9 /* less information than this says nothing */
#define NEAR 0.15

static void features(const struct cost_load *l, double f[COST_RATES])
{
    double rows = l->n_rows, ride = rows < COST_RIDE ? rows : COST_RIDE;
    f[0] = 1;
    f[1] = ride / COST_RIDE;
    f[2] = (rows - ride) / 256;
    f[3] = (double)l->context / 16384;
    f[4] = (double)l->pairs / (1 << 20);
}

void cost_steps_init(struct cost_steps *c) { *c = (struct cost_steps){ .n = 0 }; }

void cost_load_add(struct cost_load *l, uint32_t pos, uint32_t n_rows)
{
    uint64_t n = n_rows, first = (uint64_t)pos + 1;
    l->n_rows += n_rows;
    l->context += pos + n;
    l->pairs += n * first + n * (n - (n > 0)) / 2;
}

static double sum_of(const struct cost_steps *c, const struct cost_load *l)
{
    double f[COST_RATES], s = 0;
    features(l, f);
    for (int i = 0; i < COST_RATES; i++)
        s += c->rate[i] * f[i];
    return s;
}

double cost_steps_predict(const struct cost_steps *c, const struct cost_load *l)
{
    return c->n < COST_STEPS_TRUST ? 0 : sum_of(c, l);
}

static void fit(struct cost_steps *c)
{
    for (int sweep = 0; sweep < SWEEPS; sweep++)
        for (int i = 0; i < COST_RATES; i++) {
            double rest = c->moment[i];
            for (int j = 0; j < COST_RATES; j++)
                rest -= j != i ? c->info[i][j] * c->rate[j] : 0;
            if (c->info[i][i] > SEEN_MIN)
                c->rate[i] = fmax(0, rest / c->info[i][i]);
        }
}

void cost_steps_learn(struct cost_steps *c, const struct cost_load *l, double seconds)
{
    if (!(seconds > 0) || !isfinite(seconds))
        return;
    double f[COST_RATES], predicted = cost_steps_predict(c, l);
    if (predicted > 0) {
        double off = fabs(predicted - seconds) / seconds;
        c->error = c->error == 0 ? off : 0.98 * c->error + 0.02 * off;
        c->n_near += off <= NEAR;
    }
    features(l, f);
    for (int i = 0; i < COST_RATES; i++) {
        c->moment[i] = FORGET * c->moment[i] + f[i] / seconds;
        for (int j = 0; j < COST_RATES; j++)
            c->info[i][j] = FORGET * c->info[i][j] + f[i] / seconds * (f[j] / seconds);
    }
    fit(c);
    c->n++;
}

uint32_t cost_steps_rows(const struct cost_steps *c, const struct cost_load *base, uint32_t pos,
                         uint32_t n_min, uint32_t n_max, double seconds)
{
    uint32_t lo = (uint32_t)num_min(n_min, n_max), hi = n_max;
    if (c->n < COST_STEPS_TRUST)
        return n_max;
    while (lo < hi) { /* the prediction rises with rows: the largest that fits lies in [lo, hi] */
        uint32_t mid = lo + (hi - lo + 1) / 2;
        struct cost_load l = *base;
        cost_load_add(&l, pos, mid);
        if (cost_steps_predict(c, &l) <= seconds)
            lo = mid;
        else
            hi = mid - 1;
    }
    return lo;
}

void cost_steps_check(const struct cost_steps *c)
{
    for (int i = 0; i < COST_RATES; i++) {
        CHECK(isfinite(c->rate[i]) && c->rate[i] >= 0);
        for (int j = 0; j < COST_RATES; j++)
            CHECK(isfinite(c->info[i][j]));
    }
    CHECK(c->n_near <= c->n);
}
