/* model/state.h - what a model remembers of a sequence: its state layout (design, section 4).
 *
 * Idea: each family declares its state as a list of streams. Rows streams grow by one row every
 * `stride` tokens and live in blocks; window and recurrent streams have a fixed size and live in
 * one slot a sequence. From the list follow the bytes of a block, of a slot and of a checkpoint, so
 * one KV manager serves attention, latent attention and recurrent state alike.
 *
 *     block (B tokens)   [ layer 0 K rows | layer 0 V rows | layer 1 K rows | ... ]
 *                          stream 0         stream 1         stream 2
 *     slot               [ recurrent stream a | window stream b | ... ]
 *
 * Invariants: offsets are multiples of 64; B is a multiple of every stride; K rows of a stream lie
 * head-major inside the stream: (kv_head, B / stride, row).
 * Ownership: the layout belongs to the model. Threads: immutable. */
#ifndef MODEL_STATE_H
#define MODEL_STATE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum model_stream_kind { MODEL_ROWS, MODEL_WINDOW, MODEL_RECURRENT };

struct model_stream {
    enum model_stream_kind kind;
    const char *name; /* "k", "v", "latent", "kda" ... */
    uint32_t layer;
    uint32_t n_heads;    /* rows of one token: one a KV head; 1 for latents */
    uint32_t row_values; /* values a row (rows), in total (window, recurrent) */
    uint32_t stride;     /* tokens a row; rows only */
    uint32_t window;     /* a row of queries looks at so many last positions; 0: all. Rows only */
    uint32_t type;       /* enum kernel_type of the stored values */
    size_t row_bytes;    /* of one row of one head */
    size_t offset;       /* in the block (rows) or in the slot (others) */
    size_t bytes;        /* in the block or in the slot */
};

struct model_layout {
    struct model_stream *streams;
    uint32_t n_streams;
    uint32_t block_len; /* B, tokens; a power of two */
    size_t block_bytes;
    size_t slot_bytes; /* 0 for models with rows only */
};

/* Computes row_bytes, bytes and offsets from the declared fields and block_len. E_RANGE. */
NODISCARD int model_layout_finish(struct model_layout *l, struct err *err);
/* Bytes of rows per token, all layers. */
size_t model_layout_bytes_per_token(const struct model_layout *l);

#endif
