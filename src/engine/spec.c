/* Odds and costs: pure arithmetic. The estimate beyond what was measured is hopeful on purpose (a
 * row more for a thirtieth): a number of rows that was never tried would never be. Trying one that
 * turns out dear costs one step; the next size tried is at most twice the largest seen. */
#include "engine/spec.h"

#include <math.h>

#include "base/err.h"
#include "base/num.h"

#define GAIN_MIN 1.04     /* a promise below is not worth the risk */
#define TRIES_MAX 48.0f   /* counts are halved here: the text may change its ways */
#define PRIOR_WEIGHT 2.0
#define HOPE 0.03         /* of a step, for a row more */
#define STALE 256u        /* steps until a measurement is forgotten, for each time it was seen */

enum engine_spec_class engine_spec_class_of(uint32_t match)
{
    return match >= 16 ? SPEC_RUN_16 : match >= 8 ? SPEC_RUN_8 : match >= 4 ? SPEC_RUN_4
                                                                            : SPEC_RUN_2;
}

double engine_spec_chance(const struct engine_spec_odds *o, enum engine_spec_class c)
{
    static const double prior[SPEC_CLASSES] = { 0.15, 0.3, 0.6, 0.85, 0.6 };
    return ((double)o->hits[c] + PRIOR_WEIGHT * prior[c]) / ((double)o->tries[c] + PRIOR_WEIGHT);
}

void engine_spec_learn(struct engine_spec_odds *o, enum engine_spec_class c, uint32_t hits,
                       uint32_t tries)
{
    ASSERT(hits <= tries);
    o->hits[c] += (float)hits;
    o->tries[c] += (float)tries;
    while (o->tries[c] > TRIES_MAX) {
        o->hits[c] /= 2;
        o->tries[c] /= 2;
    }
}

/* --- seconds --- */

static bool known(const struct engine_spec_costs *c, uint32_t rows)
{
    return c->s[rows - 1] > 0 && c->count - c->seen[rows - 1] < STALE * c->times[rows - 1];
}

void engine_spec_timed(struct engine_spec_costs *c, uint32_t rows, double seconds)
{
    if (rows == 0 || rows > SPEC_ROWS_SEEN || !(seconds > 0))
        return;
    float x = (float)seconds, *s = &c->s[rows - 1];
    bool was = known(c, rows);
    c->count++;
    c->seen[rows - 1] = c->count;
    c->times[rows - 1] = (uint8_t)(was ? num_min(c->times[rows - 1] + 1u, 8) : 1);
    c->largest = rows > c->largest ? rows : c->largest;
    if (!was)
        *s = x;
    else /* a step that another process interrupted says little */
        *s += ((x > 2 * *s ? 2 * *s : x) - *s) / 4;
}

double engine_spec_cost(const struct engine_spec_costs *c, uint32_t rows)
{
    uint32_t n = (uint32_t)num_min(rows, SPEC_ROWS_SEEN), low = n, high = n;
    ASSERT(n > 0);
    while (low > 0 && !known(c, low))
        low--;
    while (high <= SPEC_ROWS_SEEN && !known(c, high))
        high++;
    double a = low > 0 ? (double)c->s[low - 1] : 0;
    if (low == n)
        return a;
    if (low > 0 && high <= SPEC_ROWS_SEEN)
        return a + ((double)c->s[high - 1] - a) * (n - low) / (high - low);
    if (low > 0)
        return a * (1 + HOPE * (n - low));
    if (high <= SPEC_ROWS_SEEN)
        return (double)c->s[high - 1] * (0.5 + 0.5 * n / high);
    return 1 + HOPE * (n - 1);
}

/* --- how many --- */

struct engine_spec_choice engine_spec_choose(const struct engine_spec_costs *c, double chance,
                                             uint32_t n_seqs, uint32_t n_rows, uint32_t n_max,
                                             double a_guess_s)
{
    struct engine_spec_choice best = { .n = 0, .gain = 1 };
    double none = engine_spec_cost(c, n_rows), tokens = 0, power = 1;
    uint32_t most = (uint32_t)num_min(n_max, 2 * (size_t)c->largest + 1);
    ASSERT(n_seqs > 0);
    for (uint32_t n = 1; n <= most; n++) {
        power *= chance;
        tokens += power; /* chance + chance^2 + ... + chance^n */
        double cost = engine_spec_cost(c, n_rows + n) + n * a_guess_s;
        double gain = (n_seqs + tokens) / n_seqs * none / cost;
        if (gain > best.gain * (best.n == 0 ? GAIN_MIN : 1.0))
            best = (struct engine_spec_choice){ .n = n, .gain = gain };
    }
    return best;
}
