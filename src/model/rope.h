/* model/rope.h - rotary position embedding: which angle each pair of channels turns by.
 *
 * Idea: a head's channels form pairs; pair i of position p is rotated by p * inv[i], inv[i] =
 * base^(-2i/d). The variants that stretch the context only change inv, and sometimes lengthen the
 * rotated vector (architectures 1.3). Angles are formed in double: in float32 they are off by 1e-3
 * at position 12,345 already. The kernel gets cos and sin, rounded once.
 *
 *     inv      (n_dims / 2)         once a model
 *     cs       (n_dims / 2, 2)      cos, sin of one position, once a row of a batch
 *
 * Su et al. 2021 (arXiv 2104.09864); YaRN: Peng et al. 2023 (arXiv 2309.00071).
 * Ownership: the caller gives the memory of inv. Threads: immutable after rope_init.
 * Cost: rope_row takes n_dims / 2 sines and cosines. */
#ifndef MODEL_ROPE_H
#define MODEL_ROPE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum rope_kind {
    ROPE_PLAIN,
    ROPE_LINEAR,  /* angles / factor */
    ROPE_NTK,     /* a larger base */
    ROPE_DYNAMIC, /* a larger base beyond n_ctx_orig, for the length given */
    ROPE_LLAMA3,  /* long waves slowed, short ones kept */
    ROPE_YARN
};

struct rope_params {
    enum rope_kind kind;
    uint32_t n_dims; /* channels that rotate; even */
    bool adjacent;   /* pairs (2i, 2i + 1); else (i, i + n_dims / 2) */
    double base;
    double factor;
    uint32_t n_ctx_orig;         /* context before stretching: dynamic, llama3, yarn */
    uint32_t length;             /* dynamic: longest position + 1 */
    double low_freq, high_freq;  /* llama3 */
    double beta_fast, beta_slow; /* yarn */
    double magnitude;            /* factor on cos and sin; 1: none */
    const float *factors; /* (n_dims / 2) the angle of each pair is divided by these; or NULL */
};

struct rope {
    uint32_t n_dims; /* 0: this model has no such rotation */
    bool adjacent;
    double magnitude;
    const double *inv; /* (n_dims / 2) */
};

/* Computes inv, which has room for n_dims / 2. E_RANGE if a number makes no sense (a base not above
 * 1, a factor not above 0 ...). */
NODISCARD int rope_init(struct rope *r, const struct rope_params *p, double *inv);
/* cs (n_dims / 2, 2): cos and sin at position pos, times the magnitude. */
void rope_row(const struct rope *r, uint32_t pos, float *cs);

#endif
