/* device/device.h - where tensors are computed: the CPU today, accelerators behind the same calls.
 *
 * Idea: a device pairs the kernel table of one ISA level with a team of threads, and splits rows,
 * columns and heads over them. Weights are handed over once (device_mat_init) and are opaque from
 * then on: quantised ones are packed into the layout the register tiles want (kernel/pack.h), into
 * a store that one model's weights share, and the file's bytes are not needed any more.
 *
 *     file rows --device_mat_init--> store [ q | k | v | ... ]     float weights stay in the file
 *
 * Ownership: a store owns what is packed; a device_mat is a view that may be copied freely. Float
 * matrices borrow the file's bytes.
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

/* Where packed weights lie; on huge pages where the system allows. Destroying it ends the use of
 * every matrix made in it. E_NOMEM. */
struct device_store;
NODISCARD int device_store_create(struct device_store **out, struct device *d);
void device_store_destroy(struct device_store *s); /* NULL is fine */
size_t device_store_bytes(const struct device_store *s);

/* A weight matrix (n_out, n_in) on the device. */
struct device_mat {
    struct kernel_mat mat;
    size_t file_row_bytes; /* of a row in the file */
    const float *bias;     /* (n_out) or NULL */
    bool ready;            /* may be computed with */
};
/* Takes over rows as stored in a file; packs them if they are quantised. Without a store nothing is
 * read and the matrix only describes the file's rows, to be cut by device_mat_rows. E_RANGE,
 * E_UNSUPPORTED, E_NOMEM. */
NODISCARD int device_mat_init(struct device_store *s, struct device_mat *m, uint32_t type,
                              uint32_t n_out, uint32_t n_in, const void *data);
/* Rows [from, from + n) of a matrix made without a store, and their bias, as one of their own. */
NODISCARD int device_mat_rows(struct device_store *s, struct device_mat *m,
                              const struct device_mat *whole, uint32_t from, uint32_t n);
/* Row o as f32 (n_in values): embedding look-up. */
void device_mat_row(const struct device *d, const struct device_mat *m, uint32_t o, float *dst);

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
