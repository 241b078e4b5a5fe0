/* kernel/kernel.h - the table of arithmetic: one C reference, one file per family and ISA.
 *
 * Idea: everything that touches numbers in bulk is an entry of struct kernel_table. kernel_init
 * fills it with C, then each level of the machine (masked by --cpu) overwrites what it improves,
 * ascending, so every level runs on one machine. Each entry is pinned by tests/checkkernel against
 * the reference.
 *
 * Rules every level obeys: an output element is summed in an order that depends on its own length
 * only, never on the number of rows or threads of the call, so that results are equal for every
 * batch size and thread count at one level (specs/operations.md H3). Operands do not overlap unless
 * said.
 *
 * Ownership: pure functions on plain pointers. Threads: the table is immutable after
 * kernel_init. */
#ifndef KERNEL_KERNEL_H
#define KERNEL_KERNEL_H

#include <stddef.h>
#include <stdint.h>

#include "kernel/type.h"

/* Activations as matmul wants them for one weight type: f32 rows as they are, or quantised once per
 * layer (int8 with scales; kernel/act.h). Made by act_prepare; the bytes per row come from
 * act_row_bytes. Float weights (F32, F16, BF16) take packed f32 rows: `data` may be the f32 rows
 * themselves then. */
struct kernel_act {
    const void *data;    /* (n_rows, row_bytes) */
    size_t row_bytes;
    uint32_t n_rows;
    uint32_t n_in;
};

/* One weight matrix (n_out, n_in). Float weights lie in rows as the file has them; quantised ones
 * are packed (kernel/pack.h), 16 rows to a panel. */
struct kernel_mat {
    const void *data;
    uint32_t type;       /* enum kernel_type */
    uint32_t n_out, n_in;
    size_t row_bytes;    /* of a row; packed: of a panel */
};

/* Attention of the query heads that share one KV head over a paged cache, for one sequence.
 * K row of position p: slab + table[p / block_len] * block_bytes + k_offset + (p % block_len) *
 * k_stride and V likewise. Rows are in `kv_type` (F32, F16, BF16, Q8_0). */
struct kernel_kv {
    const uint8_t *slab;
    const uint32_t *table;      /* block numbers of the sequence */
    size_t block_bytes;
    uint32_t block_len;         /* tokens a block, a power of two */
    size_t k_offset, v_offset;  /* of this layer (and KV head) inside a block */
    size_t k_stride, v_stride;  /* bytes from one token's row to the next */
    uint32_t kv_type;
};
struct kernel_attn {
    uint32_t k_dim, v_dim;      /* values a K row and a V row take part with */
    uint32_t n_group;           /* query heads that share this KV head */
    float scale;
    float softcap;              /* 0: none; else c * tanh(s / c) */
    uint32_t window;            /* 0: all; else the last `window` positions, the own one counted */
    const float *sinks;         /* (n_group) extra logits in the softmax, or NULL */
    int narrow;                 /* not 0: products of an F16 cache may be of bfloat16 */
};
/* Query rows at neighbouring positions; row r sees positions up to pos0 + r. */
struct kernel_attn_rows {
    const float *q;             /* row r: q + r * q_stride, (n_group, k_dim) */
    float *out;                 /* row r: out + r * out_stride, (n_group, v_dim) */
    size_t q_stride, out_stride;
    uint32_t pos0, n_rows;      /* n_rows * n_group at most KERNEL_ATTN_QUERIES */
};
#define KERNEL_ATTN_QUERIES 64u

/* The gated delta rule with a decay for each key channel, over the rows of one head in order (Kimi
 * Delta Attention, arXiv 2510.26692, section 3; equal decays: gated DeltaNet):
 *
 *     S <- diag(decay) S;   u = beta (v - S^T k);   S <- S + k u^T;   out = S^T q
 *
 * S (k_dim, v_dim) lies in panels of 16 columns, the last one filled up: S[i][c] is
 * state[((c / 16) * k_dim + i) * 16 + c % 16]. Columns do not see each other, so panels may be
 * computed by different threads; a value of S takes the same operations in the same order wherever
 * the rows are cut into calls. */
#define KERNEL_DELTA_PANEL 16u
struct kernel_delta {
    uint32_t n_rows, k_dim, v_dim;
    const float *q, *k, *decay; /* (n_rows, k_dim), rows ld_k apart; decay in [0, 1] */
    size_t ld_k;
    const float *v;             /* (n_rows, v_dim), rows ld_v apart, as those of out */
    float *out;
    size_t ld_v;
    const float *beta;          /* (n_rows), ld_beta apart */
    size_t ld_beta;
    float *state;
};

/* Which form of activations a weight type takes. Matrices whose kinds are equal share one
 * kernel_act: Q, K and V of types Q4_K, Q4_K, Q5_K are prepared for once. */
enum kernel_act_kind { KERNEL_ACT_F32, KERNEL_ACT_Q8 };
enum kernel_act_kind kernel_act_kind(uint32_t type);

/* Ranges of outputs handed to matmul begin at a multiple of this. */
#define KERNEL_OUT_ALIGN 16

struct kernel_table {
    const char *level;          /* "generic", "avx2", "avx512", ... the highest that contributed */

    /* x (n_rows, n_in) f32 -> the form matmul wants for weights of `type`. `act` is 64-byte aligned
     * and n_rows * act_row_bytes long, at most 4 * n_in + 128 bytes a row. A row with a value that
     * is not finite makes every output NaN: garbage never looks like a number. */
    size_t (*act_row_bytes)(uint32_t type, uint32_t n_in);
    void (*act_prepare)(uint32_t type, const float *x, uint32_t n_rows, uint32_t n_in, void *act);
    /* y[r * ldy + o] = sum_i w[o, i] * x[r, i] for o in [o0, o1), all rows r. o0, and o1 unless it
     * is n_out, are multiples of KERNEL_OUT_ALIGN. Quantised weights: the same bits at every level
     * (kernel/act.h says in which order). */
    void (*matmul)(const struct kernel_mat *w, uint32_t o0, uint32_t o1, const struct kernel_act *x,
                   float *y, size_t ldy);
    /* One row of a file, of any type, to f32. n a multiple of the block. */
    void (*dequantize_row)(uint32_t type, const void *src, float *dst, size_t n);

    /* y = x * rsqrt(mean(x^2) + eps) * (w + w_plus); w NULL: no weight. y may be x. */
    void (*rmsnorm)(const float *x, const float *w, float w_plus, float eps, float *y, size_t n);
    void (*layernorm)(const float *x, const float *w, const float *b, float eps, float *y,
                      size_t n);
    /* Rotates pairs in place. cs (n_dims / 2, 2): cos, sin of this position (magnitude included).
     * adjacent: pairs (2i, 2i+1), else (i, i + n_dims / 2). */
    void (*rope)(float *x, const float *cs, uint32_t n_dims, int adjacent);
    /* In place, max subtracted. Entries of -inf become 0 (all of them: zeros); n may be 0. */
    void (*softmax)(float *x, size_t n);
    void (*add)(float *y, const float *x, size_t n);     /* y += x */
    void (*scale)(float *y, float s, size_t n);
    void (*silu_mul)(float *gate, const float *up, size_t n);  /* gate = silu(gate) * up */
    void (*gelu_mul)(float *gate, const float *up, size_t n);  /* tanh form */
    void (*softcap)(float *x, float cap, size_t n);      /* cap * tanh(x / cap) */
    float (*dot)(const float *a, const float *b, size_t n);
    uint32_t (*argmax)(const float *x, size_t n);        /* ties: lowest index; NaN never wins */

    /* Panels [panel0, panel1) of one head's S. n_rows >= 1. */
    void (*delta)(const struct kernel_delta *d, uint32_t panel0, uint32_t panel1);
    /* y[c] = silu(sum_j w[j, c] * taps[j][c]): a short causal convolution, one tap a past row. y
     * may be the last tap. */
    void (*conv_silu)(const float *w, size_t ld_w, const float *const *taps, uint32_t n_taps,
                      float *y, size_t n);
    /* f = e^(a softplus(f + bias)), a <= 0 */
    void (*decay)(float *f, const float *bias, float a, size_t n);
    void (*sigmoid_mul)(float *x, const float *gate, size_t n); /* x *= sigmoid(gate) */

    /* --- over a vocabulary's logits --- */
    int (*any_nan)(const float *x, size_t n);
    /* y = exp((x - shift) * scale), for arguments up to 0; returns the sum of y. y may be x. */
    double (*exp_sum)(const float *x, float shift, float scale, float *y, size_t n);
    double (*sum_from)(const float *x, float from, size_t n); /* of those x >= from */
    /* Indices of the x >= from, ascending; returns how many. ids has room for n + 16. */
    size_t (*find_from)(const float *x, float from, size_t n, uint32_t *ids);

    /* Writes a row of n values into the cache in kv_type (F32, F16, BF16, Q8_0):
     * kernel_kv_row_bytes bytes. Q8_0 fills the last block up with zeros, so rows of heads whose
     * size is no multiple of 32 are stored head by head. */
    void (*kv_store)(uint32_t kv_type, const float *x, void *dst, size_t n);
    /* states (n_rows, n_group, state) = attention of the rows over one part of the positions
     * (kernel/attn.h). scratch: kernel_attn_scratch bytes, 64-byte aligned, and so are states. */
    void (*attn_part)(const struct kernel_attn *a, const struct kernel_kv *kv,
                      const struct kernel_attn_rows *r, uint32_t part, float *states,
                      void *scratch);
};

/* CPU levels. Flags come from os/cpu.h, masked by --cpu; kernel does not detect by itself. */
enum kernel_flag {
    KERNEL_AVX2 = 1 << 0,       /* with FMA, F16C, BMI2 */
    KERNEL_AVX512 = 1 << 1,     /* F, BW, DQ, VL */
    KERNEL_AVX512_VNNI = 1 << 2,
    KERNEL_AVX512_BF16 = 1 << 3,
    KERNEL_NEON = 1 << 4,
    KERNEL_DOTPROD = 1 << 5,
    KERNEL_I8MM = 1 << 6,
};

void kernel_init(struct kernel_table *k, unsigned flags);
/* Row o of a matrix as f32: embedding look-up. */
void kernel_mat_row(const struct kernel_table *k, const struct kernel_mat *w, uint32_t o,
                    float *dst);
/* Bytes of a cache row of n values: for Q8_0 whole blocks of 32, the last one filled up. 0 for
 * types that the cache does not take. */
size_t kernel_kv_row_bytes(uint32_t kv_type, size_t n);
/* r->out = softmax(scale * q k^T) v over positions [lo, pos] of each row, lo from the window;
 * scratch as in attn_part, which leaves r->out alone. */
void kernel_attn(const struct kernel_table *k, const struct kernel_attn *a,
                 const struct kernel_kv *kv, const struct kernel_attn_rows *r, void *scratch);
/* Scratch for kernel_attn and attn_part with n_rows rows (bytes). */
size_t kernel_attn_scratch(const struct kernel_attn *a, uint32_t n_rows);

#endif
