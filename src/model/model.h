/* model/model.h - a model ready to run: weights, shape, state layout and forward pass.
 *
 * Idea: a family (llama.c, qwen2.c, ...) binds the tensors of a model_file to a struct it
 * understands and computes one ragged batch at a time: rows of several sequences, prefill chunks
 * and single decode tokens alike. Linear layers see all rows at once; attention goes sequence by
 * sequence over its block table. The model keeps no state of any sequence: that lies in the blocks
 * the caller names.
 *
 *     batch rows   [ seq A: t7 t8 t9 | seq B: t31 | seq C: t4 t5 ]
 *     spans          A: row 0, n 3, pos 7   B: row 3, n 1, pos 31   C: row 4, n 2, pos 4
 *
 * Invariants: a forward writes exactly the state rows of its tokens and reads only earlier ones of
 * the same span's table. Results do not depend on what else is in the batch, on thread count, or on
 * where prefill was cut (same ISA level).
 * Quantised weights are packed for the device when a model is made, and the file's pages dropped.
 *
 * Ownership: the model borrows the file and device, which must outlive it. Threads: forward runs on
 * the caller and the device's team; one forward at a time per workspace. A step allocates nothing.
 * */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "device/device.h"
#include "model/file.h"
#include "model/state.h"

struct model;

struct model_params {
    uint32_t kv_type;   /* enum kernel_type of K/V rows: F16 (default), F32, BF16, Q8_0 */
    uint32_t block_len; /* tokens a block; 0: 16 */
    /* Called while weights are made ready: bytes of the file done, of all. May be NULL. */
    void (*progress)(void *ctx, uint64_t done, uint64_t total);
    void *progress_ctx;
};

/* How the rows of a text become one: GGUF's numbers of PREFIX.pooling_type. */
enum model_pooling { MODEL_POOL_NONE, MODEL_POOL_MEAN, MODEL_POOL_CLS, MODEL_POOL_LAST };

/* What a person wants to know of a model. */
struct model_info {
    const char *arch;   /* "llama" */
    const char *family; /* "Llama-style decoder (llama.c)" */
    uint32_t n_layers, n_embd, n_heads, n_kv_heads, head_dim, n_ff, n_vocab;
    uint32_t n_ctx_train; /* context the model was trained for */
    bool encoder;         /* makes embeddings only: no logits (model_hidden) */
    uint32_t pooling;     /* enum model_pooling the file asks for; NONE: it does not say */
    uint64_t n_params;
    uint64_t weight_bytes; /* read once by a decode step of a dense model */
    uint64_t packed_bytes; /* of quantised weights, as they lie in memory */
};

/* Can Naru run this file? 0, or the reason why not (E_UNSUPPORTED, E_FORMAT ...) in err. Binds and
 * checks every tensor and key that a load would, without touching the weights. */
NODISCARD int model_check(const struct model_file *f, struct err *err);

NODISCARD int model_create(struct model **out, const struct model_file *f, struct device *dev,
                           const struct model_params *params, struct err *err);
void model_destroy(struct model *m);
const struct model_info *model_info(const struct model *m);
const struct model_layout *model_layout(const struct model *m);
const struct kernel_table *model_kernels(const struct model *m);

/* Rows of one sequence in a batch. */
struct model_span {
    uint32_t row0, n_rows;  /* rows [row0, row0 + n_rows) of the batch */
    uint32_t pos0;          /* position of the first of them */
    const uint32_t *blocks; /* block table: entry pos / block_len, up to the last row's */
    uint8_t *slot;          /* window and recurrent state, layout.slot_bytes; NULL if none */
};

struct model_batch {
    const int32_t *ids; /* (n_rows) */
    uint32_t n_rows;
    const struct model_span *spans;
    uint32_t n_spans;
    uint8_t *slab;        /* block b begins at slab + b * layout.block_bytes */
    const uint32_t *want; /* rows whose logits are wanted, ascending */
    uint32_t n_want;
};

/* Buffers for batches of up to n_rows_max rows and n_want_max wanted rows. */
struct model_work;
NODISCARD int model_work_create(struct model_work **out, const struct model *m, uint32_t n_rows_max,
                                uint32_t n_want_max, uint32_t n_ctx_max);
void model_work_destroy(struct model_work *w);
size_t model_work_bytes(const struct model_work *w);

/* Computes the batch; logits (n_want, n_vocab) lie in the workspace until the next forward,
 * returned in *logits. E_RANGE for an id outside the vocabulary, E_NONFINITE if a wanted row holds
 * no finite logit, E_UNSUPPORTED for an encoder. */
NODISCARD int model_forward(const struct model *m, struct model_work *w,
                            const struct model_batch *b, const float **logits);
/* The rows of the last layer instead, behind the last norm: (n_rows, n_embd) in the workspace until
 * the next forward. `want` is not looked at. Spans of an encoder are whole texts: pos0 is 0, and
 * blocks and slab are not used. E_RANGE. */
NODISCARD int model_hidden(const struct model *m, struct model_work *w,
                           const struct model_batch *b, const float **rows);

#endif
