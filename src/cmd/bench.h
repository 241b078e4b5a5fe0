/* cmd/bench.h - what the parts of `naru bench` share.
 *
 * Idea: bench.c reads the options and the machine's profile, bench_model.c runs the model at each
 * point of the plan, bench_report.c says what came out (a table, or JSON lines), bench_svg.c draws
 * it under the machine's roofs.
 *
 *     profile --+
 *               +--> floor of the point --+
 *     model ----+--> samples (reps) ------+--> bench_result --> table | JSON line | chart */
#ifndef CMD_BENCH_H
#define CMD_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "cmd/cmd.h"
#include "cost/floor.h"
#include "cost/profile.h"

struct bench_args {
    struct cmd_common common;
    const char *pp, *depth, *batch, *kv, *profile, *svg;
    uint32_t n_decode, n_reps, n_rows;
    bool machine_only, remeasure, no_disk;
};

struct bench_result {
    const char *name; /* "prefill", "decode" */
    const char *kv;   /* "f16"; of struct bench */
    uint32_t n_tokens, depth, batch;
    double min, median, max; /* tokens a second, all sequences together */
    double floor;            /* tokens a second that the ceilings allow */
    bool memory_bound;
    double bytes, ops;       /* of the whole measurement, as the floor counts them */
};

#define BENCH_LIST_MAX 16
#define BENCH_RESULTS_MAX 1024
struct bench_list {
    uint32_t items[BENCH_LIST_MAX];
    uint32_t n;
};

struct bench {
    const struct bench_args *args;
    struct cmd_model model;
    struct bench_list pp, depth, batch;
    char kv_names[BENCH_LIST_MAX][8]; /* "f16" */
    uint32_t kv_types[BENCH_LIST_MAX];
    uint32_t n_kv;
    uint32_t n_threads;
    struct cost_profile profile;
    struct cost_model cost; /* of the model with the state it has now */
    struct bench_result *results;
    uint32_t n_results;
};

/* --- bench_model.c --- */

/* All points of the plan for one form of state: a prefill of each length and a decode of each
 * batch, at each depth. Results go to bench_report as they come. */
NODISCARD int bench_model_run(struct bench *b, const char *kv, struct err *err);

/* --- bench_report.c --- */

/* Sorts the samples; fills min, median, max. */
void bench_summarise(struct bench_result *r, double *samples, uint32_t n);
void bench_report_machine(const struct bench *b);
/* The table's head; nothing with --json. */
void bench_report_begin(const struct bench *b);
void bench_report(struct bench *b, const struct bench_result *r);

/* --- bench_svg.c --- */

struct buf;
/* The machine's roofs (bandwidths, peaks) over operations per byte, and a dot for each result. */
void bench_svg_write(const struct bench *b, struct buf *out);

#endif
