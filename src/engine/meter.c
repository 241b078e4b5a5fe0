#include "engine/meter.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"

static const double ttft_bounds[] = { .001, .005, .01, .02, .04, .06, .08, .1,  .25, .5,  .75,
                                      1,    2.5,  5,   7.5, 10,  20,  40,  80,  160, 640, 2560 };
static const double itl_bounds[] = { .01, .025, .05, .075, .1, .15, .2, .3, .4, .5,
                                     .75, 1,    2.5, 5,    7.5, 10, 20, 40, 80 };
static const double e2e_bounds[] = { .3, .5, .8, 1,  1.5, 2,   2.5, 5,   10,  15,
                                     20, 30, 40, 50, 60,  120, 240, 480, 960, 1920, 7680 };
/* A step of a small model takes less than the shortest interval clients see. */
static const double step_bounds[] = { .0001, .0002, .0005, .001, .002, .005, .01, .02, .05,
                                      .1,    .2,    .5,    1,    2,    5,    10 };
static const double token_bounds[] = { 1,    2,    5,     10,    20,    50,     100,
                                       200,  500,  1000,  2000,  5000,  10000,  20000,
                                       50000, 100000, 200000, 500000, 1000000 };

_Static_assert(COUNT_OF(ttft_bounds) <= ENGINE_BOUNDS_MAX, "bounds fit");

#define BOUNDS(a) { a, COUNT_OF(a) }
static const struct engine_bounds bounds[ENGINE_HISTS] = {
    [ENGINE_H_TTFT] = BOUNDS(ttft_bounds),
    [ENGINE_H_ITL] = BOUNDS(itl_bounds),
    [ENGINE_H_TPOT] = BOUNDS(itl_bounds),
    [ENGINE_H_E2E] = BOUNDS(e2e_bounds),
    [ENGINE_H_QUEUE] = BOUNDS(e2e_bounds),
    [ENGINE_H_PREFILL] = BOUNDS(e2e_bounds),
    [ENGINE_H_DECODE] = BOUNDS(e2e_bounds),
    [ENGINE_H_INFERENCE] = BOUNDS(e2e_bounds),
    [ENGINE_H_STEP] = BOUNDS(step_bounds),
    [ENGINE_H_ROWS] = BOUNDS(token_bounds),
    [ENGINE_H_PROMPT] = BOUNDS(token_bounds),
    [ENGINE_H_GENERATION] = BOUNDS(token_bounds),
    [ENGINE_H_MAX_TOKENS] = BOUNDS(token_bounds),
};

static const struct {
    const char *name, *reason;
} decisions[ENGINE_DECISIONS] = {
    [ENGINE_D_ADMIT] = { "admit", "a place and the blocks of its prompt are free" },
    [ENGINE_D_PREEMPT] = { "preempt", "an older request needed a block and none was left" },
    [ENGINE_D_PAUSE] = { "pause", "its reader is slow and its buffer full" },
    [ENGINE_D_RESUME] = { "resume", "its reader caught up" },
    [ENGINE_D_QUEUE_TIMEOUT] = { "queue_timeout", "it waited too long for a place" },
    [ENGINE_D_STALLED] = { "stalled", "its reader took nothing for too long" },
    [ENGINE_D_REFUSE_FULL] = { "refuse_full", "the queue was full" },
    [ENGINE_D_REFUSE_LONG] = { "refuse_long", "the prompt does not fit the context" },
    [ENGINE_D_REFUSE_CLOSING] = { "refuse_closing", "the server is shutting down" },
};

struct engine_bounds engine_hist_bounds(enum engine_hist_kind kind)
{
    ASSERT(kind < ENGINE_HISTS);
    return bounds[kind];
}

const char *engine_decision_name(enum engine_decision_kind kind)
{
    ASSERT(kind < ENGINE_DECISIONS);
    return decisions[kind].name;
}

const char *engine_decision_reason(enum engine_decision_kind kind)
{
    ASSERT(kind < ENGINE_DECISIONS);
    return decisions[kind].reason;
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

double engine_report_quantile(struct engine_report *r, enum engine_hist_kind kind, double q)
{
    ASSERT(kind < ENGINE_HISTS);
    ASSERT(q >= 0 && q <= 1);
    size_t n = (size_t)num_min(r->hists[kind].n, ENGINE_RECENT_KEPT);
    if (n == 0)
        return 0;
    qsort(r->recent[kind], n, sizeof(float), by_value);
    size_t rank = (size_t)(q * (double)n); /* nearest rank: ceil(q n) - 1, but for whole numbers */
    if ((double)rank == q * (double)n && rank > 0)
        rank--;
    return (double)r->recent[kind][num_min(rank, n - 1)];
}

void engine_meter_init(struct engine_meter *m)
{
    memset(&m->r, 0, sizeof m->r);
    pthread_mutex_init(&m->lock, NULL);
}

void engine_meter_fini(struct engine_meter *m) { pthread_mutex_destroy(&m->lock); }

/* Called with the lock. */
static void observe(struct engine_meter *m, enum engine_hist_kind kind, double value)
{
    struct engine_bounds b = engine_hist_bounds(kind);
    struct engine_hist *h = &m->r.hists[kind];
    uint32_t i = 0;
    while (i < b.n && value > b.values[i])
        i++;
    h->counts[i]++;
    m->r.recent[kind][h->n % ENGINE_RECENT_KEPT] = (float)value;
    h->n++;
    h->sum += value;
}

void engine_meter_observe(struct engine_meter *m, enum engine_hist_kind kind, double value)
{
    ASSERT(value >= 0);
    pthread_mutex_lock(&m->lock);
    observe(m, kind, value);
    pthread_mutex_unlock(&m->lock);
}

void engine_meter_step(struct engine_meter *m, const struct engine_step_record *step)
{
    ASSERT(step->prefill_rows + step->decode_rows > 0);
    pthread_mutex_lock(&m->lock);
    m->r.steps[m->r.n_steps++ % ENGINE_STEPS_KEPT] = *step;
    observe(m, ENGINE_H_STEP, (double)step->ns * 1e-9);
    observe(m, ENGINE_H_ROWS, step->prefill_rows + step->decode_rows);
    pthread_mutex_unlock(&m->lock);
}

void engine_meter_decide(struct engine_meter *m, const struct engine_decision *d)
{
    ASSERT(d->kind < ENGINE_DECISIONS);
    pthread_mutex_lock(&m->lock);
    m->r.decisions[m->r.n_decisions++ % ENGINE_DECISIONS_KEPT] = *d;
    m->r.decided[d->kind]++;
    pthread_mutex_unlock(&m->lock);
}

void engine_meter_finish(struct engine_meter *m, uint32_t finish)
{
    ASSERT(finish < COUNT_OF(m->r.finished));
    pthread_mutex_lock(&m->lock);
    m->r.finished[finish]++;
    pthread_mutex_unlock(&m->lock);
}

void engine_meter_rows(struct engine_meter *m, const struct engine_row *rows, uint32_t n,
                       uint32_t n_live)
{
    ASSERT(n <= ENGINE_ROWS_KEPT);
    ASSERT(n <= n_live);
    pthread_mutex_lock(&m->lock);
    memcpy(m->r.rows, rows, n * sizeof *rows);
    m->r.n_rows = n;
    m->r.n_live = n_live;
    pthread_mutex_unlock(&m->lock);
}

void engine_meter_read(struct engine_meter *m, struct engine_report *out)
{
    pthread_mutex_lock(&m->lock);
    *out = m->r;
    pthread_mutex_unlock(&m->lock);
}
