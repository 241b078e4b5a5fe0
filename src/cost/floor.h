/* cost/floor.h - the least time a step can take on a machine: what must move, what must be done.
 *
 * Idea: a step of a model reads the weights its rows need once, reads the state its rows look at,
 * and multiplies. Bytes divided by bandwidth, operations divided by peaks: the larger of the two is
 * the floor, and nothing that computes the same can be faster. "Per cent of the floor" is floor
 * divided by measured time.
 *
 *     struct cost_model (of a file)  +  struct cost_step (rows, context)  ->  struct cost_work
 *     struct cost_work  +  struct cost_profile at n threads               ->  struct cost_floor
 *
 * Counted: matrices of the layers (experts: those that the rows are expected to pick when picks are
 * even), the head for rows whose logits are wanted, state read and written, attention. Not counted:
 * norms, RoPE, sampling, embedding look-up; they are small beside those and cost no floor.
 * Ownership, threads: plain data, pure functions. Cost: O(groups). */
#ifndef COST_FLOOR_H
#define COST_FLOOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct cost_profile;

/* Matrices that are read together. */
struct cost_matrices {
    double bytes;
    double int_params;   /* of types that are multiplied as 8-bit integers */
    double float_params; /* F32, F16, BF16 */
};

/* Attention of layers that are alike. */
struct cost_attention {
    uint32_t n_layers;
    uint32_t window;          /* positions looked at; 0: all */
    double bytes_per_token;   /* of one layer's state rows */
    double ops_per_position;  /* of one layer, one row, one position looked at */
};

#define COST_ATTENTION_MAX 8
struct cost_model {
    struct cost_matrices dense;   /* every row, all layers */
    struct cost_matrices experts; /* all experts of all layers */
    uint32_t n_experts, n_used;   /* 0, 0: none */
    struct cost_matrices head;
    struct cost_attention attention[COST_ATTENTION_MAX];
    uint32_t n_attention;
};

struct model;
struct model_file;
/* What a model of this file moves and multiplies. E_LIMIT if its layers are of too many kinds. */
NODISCARD int cost_model_of(struct cost_model *out, const struct model_file *f,
                            const struct model *m, struct err *err);

/* One forward: n_seqs sequences of n_rows rows each, the first row at position depth. */
struct cost_step {
    uint32_t n_seqs, n_rows, depth;
    uint32_t n_want; /* rows whose logits are wanted */
};

struct cost_work {
    double weight_bytes, kv_bytes;
    double int8_ops, float_ops; /* linear layers */
    double attn_ops;
};

struct cost_work cost_step_work(const struct cost_model *m, const struct cost_step *s);
/* A prompt of n_rows rows in steps of at most `chunk` rows; logits of the last row wanted. */
struct cost_work cost_prefill_work(const struct cost_model *m, uint32_t n_rows, uint32_t depth,
                                   uint32_t chunk);
void cost_work_add(struct cost_work *sum, const struct cost_work *w);

struct cost_floor {
    double memory_s, compute_s;
    double seconds; /* the larger */
    bool memory_bound;
};
/* resident_bytes: what is read again every step, which decides the level of memory it comes from
 * (0: weight_bytes + kv_bytes). */
struct cost_floor cost_floor_of(const struct cost_profile *p, uint32_t n_threads,
                                const struct cost_work *w, double resident_bytes);

#endif
