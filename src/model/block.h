/* model/block.h - the parts of a decoder layer, computed for all rows of a batch.
 *
 * Idea: every block reads h and writes y; block_residual adds y to the stream x and makes the next
 * h. So a layer of most families is four calls:
 *
 *     block_attn(w, &layer->attn)                        h -> y
 *     block_residual(w, post_attn_norm, ffn_norm)        x += y;  h = norm(x)
 *     block_ffn(w, &layer->ffn)                          h -> y
 *     block_residual(w, post_ffn_norm, next)             x += y;  h = norm(x) for the next layer
 *
 * A row never sees another row's numbers except through the state its own span names, and every
 * loop over columns is cut at fixed places: results do not depend on batch, threads or cuts of the
 * prompt.
 *
 * Ownership: blocks write into the workspace and into the state rows of the batch's own tokens.
 * Threads: one caller; work is spread over the device's team. Cost: nothing is allocated. */
#ifndef MODEL_BLOCK_H
#define MODEL_BLOCK_H

#include "model/impl.h"

/* y_j (n_rows, n_out_j) = W_j x for up to four matrices that share the input. */
void block_linear_rows(struct model_work *w, const struct block_linear *const *mats,
                       const enum model_buf *ys, uint32_t n_mats, enum model_buf x);
static inline void block_linear_one(struct model_work *w, const struct block_linear *mat,
                                    enum model_buf y, enum model_buf x)
{
    block_linear_rows(w, &mat, &y, 1, x);
}

/* x = embedding of the batch's ids, times embd_scale; cos and sin of the rows; h = norm(x). */
void block_embed(struct model_work *w, const struct block_norm *norm);
/* x += post(y), h = next(x). A norm that is absent (NULL, or w == NULL) is the identity for post,
 * and leaves h alone for next. */
void block_residual(struct model_work *w, const struct block_norm *post,
                    const struct block_norm *next);
/* Norm of each row of a buffer, in place. */
void block_norm_rows(struct model_work *w, const struct block_norm *norm, enum model_buf buf);

void block_attn(struct model_work *w, const struct block_attn *a);
void block_mla(struct model_work *w, const struct block_mla *a);
void block_ffn(struct model_work *w, const struct block_ffn *f);
void block_mixture(struct model_work *w, const struct block_mixture *m); /* mixture.h */

/* The layer of most families: attention, residual, feed-forward or experts, residual, norms where
 * they are. */
void block_layer(struct model_work *w, uint32_t layer, const struct block_norm *next);

/* Logits of the wanted rows into w->logits: last norm, head, soft-cap. */
void block_head(struct model_work *w);

/* --- for blocks of other files --- */

/* Where the cache rows of one stream lie for row r: table, strides and the offset of its head 0. */
struct kernel_kv block_kv(const struct model_work *w, uint32_t r, uint32_t k_stream,
                          uint32_t v_stream);
/* The cache row of row r's own position. */
uint8_t *block_kv_row(const struct model_work *w, uint32_t r, uint32_t stream, uint32_t head);
/* Positions that the longest span of the batch looks at: how much work a row's attention is. */
size_t block_context(const struct model_work *w);
/* cos and sin of row r under the given rope. */
const float *block_cs(const struct model_work *w, uint32_t rope, uint32_t r);
/* What the model needs for attention of that form: rows a tile, scratch, states. */
void block_attn_plan(struct model *m, uint32_t group, uint32_t k_dim, uint32_t v_dim);

/* Softmax attention of all rows over their spans' cache: out (n_rows, n_heads, v_dim) from q
 * (n_rows, n_heads, k_dim); n_group heads share a KV head. Rows must be stored before. */
struct block_attend {
    struct model_work *w;
    const float *q;
    float *out;
    uint32_t n_heads, n_group, k_dim, v_dim;
    float scale, softcap;
    uint32_t window, k_stream, v_stream;
    bool narrow; /* kernel.h */
    /* --- for block_attend itself --- */
    uint32_t n_calls; /* of the kernel for the heads of a group */
    uint32_t part0, n_parts;
    size_t unit_floats;
};
void block_attend(struct block_attend *t);

#endif
