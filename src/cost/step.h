/* cost/step.h - how long a step will take, learned from the steps that ran.
 *
 * Idea: the time of a step is close to a sum of few parts, each with a rate of this machine, this
 * model and this moment's neighbours:
 *
 *     seconds = a                      to begin: weights read once, regions opened
 *             + b min(rows, 16)        rows that ride along while memory is the bound
 *             + c max(rows - 16, 0)    rows that arithmetic pays for
 *             + d context              positions of state read, over all sequences
 *             + e pairs                (row, position looked at): attention's arithmetic
 *
 * The five rates are fitted by least squares on relative errors, none below zero; older steps fade
 * (half in 140 steps), and rates that nothing exercises for a night keep their value. A step that
 * stalled, since somebody else had the core, weighs little.
 *
 * Invariants (cost_steps_check): rates are finite and not negative, so the prediction never falls
 * with more rows or context.
 * Ownership: plain data of the caller. Threads: one. Cost: some 300 operations a step. */
#ifndef COST_STEP_H
#define COST_STEP_H

#include <stdbool.h>
#include <stdint.h>

#define COST_RATES 5
#define COST_RIDE 16u /* rows */

/* What a step does. */
struct cost_load {
    uint32_t n_rows;
    uint64_t context; /* positions of state read: of each sequence, its last row's + 1 */
    uint64_t pairs;   /* sum over rows of position + 1 */
};

struct cost_steps {
    double rate[COST_RATES];
    double info[COST_RATES][COST_RATES]; /* normal equations of the relative error */
    double moment[COST_RATES];
    uint64_t n;                            /* steps learned from */
    double error;                          /* mean of |predicted - taken| / taken, recent steps */
    uint64_t n_near;                       /* predictions off by at most 15 % */
};

void cost_steps_init(struct cost_steps *c);
/* Rows [pos, pos + n_rows) of one sequence join a step. */
void cost_load_add(struct cost_load *l, uint32_t pos, uint32_t n_rows);
/* Seconds; 0 until COST_STEPS_TRUST steps were seen. */
#define COST_STEPS_TRUST 16
double cost_steps_predict(const struct cost_steps *c, const struct cost_load *l);
/* A step of this load took so many seconds (> 0). */
void cost_steps_learn(struct cost_steps *c, const struct cost_load *l, double seconds);
/* The most rows of a prompt, from position pos on and at most n_max, with which a step that does
 * `base` already is predicted to take no longer than `seconds`; at least n_min. n_max while nothing
 * is predicted. */
uint32_t cost_steps_rows(const struct cost_steps *c, const struct cost_load *base, uint32_t pos,
                         uint32_t n_min, uint32_t n_max, double seconds);
void cost_steps_check(const struct cost_steps *c);

#endif
