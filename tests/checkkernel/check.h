/* checkkernel/check.h - the referee: every table entry, every level of this machine, against C.
 *
 * Idea: a check calls one entry of the level under test and the same entry of the generic level on
 * the same data and compares. Inputs end at an unreadable page, so that reading past them dies (and
 * says where it was); outputs lie between canaries. All data comes from one seed, printed on
 * failure.
 *
 *     input   [ unused | x x x x ]<PROT_NONE page>      its start takes every alignment as n varies
 *     output  [ canary | y y y y | canary ]
 *
 * Threads: one.   Cost: a few seconds for all. */
#ifndef CHECKKERNEL_CHECK_H
#define CHECKKERNEL_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"
#include "kernel/kernel.h"

struct check {
    struct kernel_table c;    /* the reference */
    struct kernel_table k;    /* the level under test */
    struct rng rng;
    uint64_t seed;
    bool failed;              /* the check running now */
    char where[160];          /* its parameters, for messages */
};

/* Kinds of data. */
enum fill { FILL_NORMAL, FILL_ZERO, FILL_LARGE, FILL_DENORMAL, FILL_KINDS };
void fill(struct check *t, float *x, size_t n, enum fill kind);
void fill_bytes(struct check *t, uint8_t *p, size_t n);
/* A valid row of n values: quantised from data of that kind. */
void fill_row(struct check *t, uint32_t type, uint8_t *row, size_t n, enum fill kind);

/* At most 16 buffers at a time; all are put back by buffers_reset. */
float *input_floats(size_t n);            /* ends at an unreadable page */
uint8_t *input_bytes(size_t n);
float *output_floats(size_t n);           /* filled with canaries, and so is what surrounds it */
uint8_t *output_bytes(size_t n);
void *scratch_bytes(size_t n);            /* 64-byte aligned, canaries around */
bool buffers_intact(void);                /* no canary was touched */
void buffers_reset(void);

/* Sets `where`. */
void at(struct check *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void fail(struct check *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* got within |want| * relative + absolute, or both NaN, or equal. */
void expect_close(struct check *t, const float *got, const float *want, size_t n, double relative,
                  double absolute);
/* Equal bits; NaN equals NaN. */
void expect_same(struct check *t, const float *got, const float *want, size_t n);
void expect_bytes(struct check *t, const uint8_t *got, const uint8_t *want, size_t n);

struct check_entry {
    const char *name;
    void (*run)(struct check *t);
};
extern const struct check_entry checks_vector[];
extern const struct check_entry checks_matmul[];
extern const struct check_entry checks_attn[];
extern const struct check_entry checks_delta[];

/* Benchmarks of the level in t->k. `once`: each body runs one time, nothing is printed. */
void bench_run(struct check *t, unsigned flags, bool once, const char *filter);

#endif
