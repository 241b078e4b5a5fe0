/* device/device.h - where tensors are computed: the CPU today, accelerators behind the same calls.
 *
 * Idea: a device pairs the kernel table of one ISA level with a team of threads, and splits rows,
 * columns and heads over them. Weights are handed over once (device_mat_init) and are opaque from
 * then on: a device may repack them into the layout its register tiles like.
 *
 * Ownership: a device_mat borrows the file's bytes unless it repacked them (then it owns the copy).
 * Threads: calls come from one thread, which takes part as thread 0 of the team.
 * Cost: device_linear reads the weights once for all rows; nothing is allocated after init. */
#ifndef DEVICE_DEVICE_H
#define DEVICE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "kernel/kernel.h"

struct device;

struct device_params {
    uint32_t n_threads;    /* 0: all cores this process may use */
    const char *cpu_level; /* NULL or "auto": the best; see os/cpu.h */
};

NODISCARD int device_create(struct device **out, const struct device_params *params,
                            struct err *err);
void device_destroy(struct device *d);
const struct kernel_table *device_kernels(const struct device *d);
uint32_t device_threads(const struct device *d);
const char *device_name(const struct device *d); /* "AMD EPYC, avx2, 2 threads" */

/* A weight matrix (n_out, n_in) on the device. */
struct device_mat {
    struct kernel_mat mat;
    void *owned;       /* repacked copy, or NULL */
    const float *bias; /* (n_out) or NULL */
};
/* Takes over rows as stored in a file. E_RANGE, E_UNSUPPORTED, E_NOMEM. */
NODISCARD int device_mat_init(struct device *d, struct device_mat *m, uint32_t type, uint32_t n_out,
                              uint32_t n_in, const void *data);
void device_mat_fini(struct device *d, struct device_mat *m);

/* Scratch that device_linear needs for n_rows rows of up to n_in values, any type (bytes). */
size_t device_act_bytes(const struct device *d, uint32_t n_rows, uint32_t n_in);

/* y_j (n_rows, n_out_j) = x (n_rows, n_in) W_j^T + bias_j for matrices that share the input x: Q,
 * K, V in one pass; gate and up in one pass. */
struct device_product {
    const struct device_mat *const *mats;
    float *const *ys; /* rows are packed: n_out_j apart */
    uint32_t n_mats;
    const float *x;
    uint32_t n_rows;
    void *scratch; /* device_act_bytes */
};
void device_linear(struct device *d, const struct device_product *p);

/* Runs fn for every index in [0, n): rows of a norm, heads of an attention. work: roughly how many
 * multiply-adds one index takes. Regions too small to be worth waking anybody run on the caller. */
typedef void (*device_fn)(void *ctx, uint32_t i, uint32_t thread);
void device_for(struct device *d, uint32_t n, size_t work, device_fn fn, void *ctx);

#endif
