/* engine/meter.h - what an engine tells about itself: how long things take, and what it does now.
 *
 * Idea: the counters of engine_stats say how much. A meter says how long (histograms with fixed
 * bounds), what the last steps were, what was decided lately and why, and which requests are at
 * work. All of it is numbers: no text of a request comes near it.
 *
 *     step, token, end --engine thread--> [ histograms | ring of steps | ring of decisions | rows ]
 *     refusal ----------any thread------>          one mutex, held for a few stores
 *     engine_report <------------------- a copy, for /metrics and the operations page
 *
 * Invariants: counts of a histogram sum up to its n; rings keep the last ENGINE_STEPS_KEPT and
 *     ENGINE_DECISIONS_KEPT entries, entry i at i % size.
 * Owns: itself; a part of struct engine.   Threads: any, by its mutex, which is a leaf.
 * Cost: a step takes the mutex a few times and stores some hundred bytes; nothing is allocated. */
#ifndef ENGINE_METER_H
#define ENGINE_METER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Histograms, in seconds or tokens. Bounds are those of the field's dashboards (spec M-3). */
enum engine_hist_kind {
    ENGINE_H_TTFT,       /* submit to first token */
    ENGINE_H_ITL,        /* between two tokens of a request */
    ENGINE_H_TPOT,       /* mean of these, one value a request */
    ENGINE_H_E2E,        /* submit to end */
    ENGINE_H_QUEUE,      /* submit to admission */
    ENGINE_H_PREFILL,    /* admission to first token */
    ENGINE_H_DECODE,     /* first token to end */
    ENGINE_H_INFERENCE,  /* admission to end */
    ENGINE_H_STEP,       /* one step of the engine */
    ENGINE_H_ROWS,       /* rows (tokens) of a step */
    ENGINE_H_PROMPT,     /* prompt tokens of a request */
    ENGINE_H_GENERATION, /* output tokens of a request */
    ENGINE_H_MAX_TOKENS, /* output tokens it asked for at most */
    ENGINE_HISTS
};

#define ENGINE_BOUNDS_MAX 24

struct engine_hist {
    uint64_t counts[ENGINE_BOUNDS_MAX + 1]; /* [i]: above bound i-1, at most bound i; last: above */
    uint64_t n;
    double sum;
};

struct engine_bounds {
    const double *values; /* ascending */
    uint32_t n;
};
struct engine_bounds engine_hist_bounds(enum engine_hist_kind kind);

/* The last observations themselves: buckets are too wide to tell a person "usually 12 ms". */
#define ENGINE_RECENT_KEPT 256

struct engine_step_record {
    uint64_t end_ns;      /* of the engine's clock */
    uint64_t ns;          /* it took */
    uint64_t predicted_ns; /* before it ran; 0: nothing was */
    uint32_t prefill_rows, decode_rows, n_seqs;
};

enum engine_decision_kind {
    ENGINE_D_ADMIT,       /* it runs: a place and the blocks of its prompt are free */
    ENGINE_D_PREEMPT,     /* it gave its blocks back: an older request needed one */
    ENGINE_D_PAUSE,       /* its reader is slow */
    ENGINE_D_RESUME,      /* its reader caught up */
    ENGINE_D_QUEUE_TIMEOUT, /* it waited too long for a place */
    ENGINE_D_STALLED,     /* its reader read nothing for too long */
    ENGINE_D_REFUSE_FULL, /* the queue was full */
    ENGINE_D_REFUSE_LONG, /* the prompt does not fit the context */
    ENGINE_D_REFUSE_CLOSING, /* the engine is shutting down */
    ENGINE_DECISIONS
};
/* "admit" and so on, and why in one sentence. For ever. */
const char *engine_decision_name(enum engine_decision_kind kind);
const char *engine_decision_reason(enum engine_decision_kind kind);

struct engine_decision {
    uint64_t at_ns;
    enum engine_decision_kind kind;
    uint64_t request;     /* its number; 0: refused before it got one */
    uint32_t n_prompt, n_cached;
    uint64_t waited_ns;   /* since submit */
    uint32_t n_blocks_free; /* at that time, evictable ones included */
};

/* A request at work. */
struct engine_row {
    uint64_t request;
    uint32_t phase;       /* enum engine_phase */
    bool paused;
    uint32_t n_prompt, n_cached, prefill_done, generated, preemptions, n_blocks;
    uint64_t age_ns;
};

#define ENGINE_STEPS_KEPT 128
#define ENGINE_DECISIONS_KEPT 64
#define ENGINE_ROWS_KEPT 64

/* What engine_report copies out; about 35 KB. */
struct engine_report {
    uint64_t now_ns;      /* of the engine's clock, to tell ages */
    struct engine_hist hists[ENGINE_HISTS];
    float recent[ENGINE_HISTS][ENGINE_RECENT_KEPT]; /* observation i at i % size */
    uint64_t finished[4]; /* by enum engine_finish */
    uint64_t decided[ENGINE_DECISIONS];
    uint64_t n_steps, n_decisions; /* ever; the rings hold the last of them */
    struct engine_step_record steps[ENGINE_STEPS_KEPT];
    struct engine_decision decisions[ENGINE_DECISIONS_KEPT];
    struct engine_row rows[ENGINE_ROWS_KEPT]; /* youngest first */
    uint32_t n_rows;      /* filled; n_live may be more */
    uint32_t n_live;
};

struct engine_meter {
    pthread_mutex_t lock;
    struct engine_report r; /* by lock */
};

void engine_meter_init(struct engine_meter *m);
void engine_meter_fini(struct engine_meter *m);
void engine_meter_observe(struct engine_meter *m, enum engine_hist_kind kind, double value);
void engine_meter_step(struct engine_meter *m, const struct engine_step_record *step);
void engine_meter_decide(struct engine_meter *m, const struct engine_decision *d);
void engine_meter_finish(struct engine_meter *m, uint32_t finish);
/* Takes over the list of requests at work; n_live of them in all, `n` given. */
void engine_meter_rows(struct engine_meter *m, const struct engine_row *rows, uint32_t n,
                       uint32_t n_live);
/* Value that the share q (0 to 1) of the recent observations does not exceed; 0 if there are none.
 * Reorders r->recent[kind]. */
double engine_report_quantile(struct engine_report *r, enum engine_hist_kind kind, double q);
void engine_meter_read(struct engine_meter *m, struct engine_report *out);

#endif
