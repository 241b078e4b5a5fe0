/* cmd/bench.h - what the two halves of `naru bench` share: bench.c (machine, report) and
 * bench_model.c (prefill and decode). */
#ifndef CMD_BENCH_H
#define CMD_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "cmd/cmd.h"
#include "kernel/probe.h"

struct bench_args {
    struct cmd_common common;
    const char *pp, *depth, *batch, *kv;
    uint32_t n_decode, n_reps, n_rows;
    bool machine_only;
};

struct bench_result {
    const char *name;
    const char *unit;
    double min, median, max;
    double floor;             /* the rate the ceilings allow; 0: none */
    uint32_t n_tokens, depth, batch;
    bool of_model;
};

#define BENCH_LIST_MAX 16
struct bench_list {
    uint32_t items[BENCH_LIST_MAX];
    uint32_t n;
};

struct os_team;
struct bench {
    const struct bench_args *args;
    struct cmd_model model;
    struct bench_list pp, depth, batch;
    struct device *device;    /* model.device */
    struct os_team *team;
    struct kernel_probe probe;
    double fp32_peak, int8_peak; /* operations a second, all threads */
};

double bench_now(void);       /* seconds, monotonic */
/* Bytes a second that all threads together read from a buffer of this size. */
double bench_read_rate(struct bench *b, size_t bytes);
/* Sorts the samples; fills min, median, max. */
void bench_summarise(struct bench_result *r, double *samples, uint32_t n);
void bench_report(struct bench *b, const struct bench_result *r);

NODISCARD int bench_prefill(struct bench *b, uint32_t n_tokens, struct err *err);
NODISCARD int bench_decode(struct bench *b, uint32_t depth, uint32_t batch, struct err *err);

#endif
