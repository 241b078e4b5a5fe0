/* model/bind.h - from a model file to the parts of a model, every key and tensor checked.
 *
 * Idea: families say what they need by name and shape; what is missing, misshapen or of a type
 * nobody computes with is refused here, in one line that names it. What a file has beyond that is
 * refused too (bind_finish): a weight that is silently left out gives wrong answers, not errors.
 *
 * With touch off (model_check) no byte of any weight is read, and vectors that would have to be
 * converted are only checked.
 *
 * Ownership: everything made lies in the model's arena. Threads: one. Cost: linear in the tensors.
 */
#ifndef MODEL_BIND_H
#define MODEL_BIND_H

#include "model/impl.h"

struct bind {
    const struct model_file *file;
    struct model *m;
    bool touch;    /* weights may be read */
    uint8_t *used; /* (n_tensors) 1: some part has it */
    bool heads_by_layer; /* the family takes head counts that differ from layer to layer, 0 too */
    const struct model_params *params; /* or NULL */
    uint64_t done_bytes;               /* of the file, for params->progress */
    struct err *err;
};

/* --- keys; "." in front stands for the architecture --- */

/* A whole number in [min, max]; absent: *out stays, and must lie there itself. E_FORMAT names the
 * key. */
NODISCARD int bind_u32(struct bind *b, const char *key, uint32_t min, uint32_t max, uint32_t *out);
/* A finite number; absent: *out stays. */
NODISCARD int bind_f32(struct bind *b, const char *key, float *out);
/* The shape every family has, and the token embedding, output norm and head that follow from it.
 * n_kv_heads defaults to n_heads, k_dim and v_dim to n_embd / n_heads, attn_scale to 1 /
 * sqrt(k_dim). Refuses experts. */
NODISCARD int bind_shape(struct bind *b);
/* The same for families that have experts. */
NODISCARD int bind_shape_moe(struct bind *b);
/* ropes[0] from the rope keys and factor tensors; ropes[1] too where there are long factors. */
NODISCARD int bind_rope(struct bind *b, bool adjacent);
/* ropes[1]: the rotation of layers with a window (Gemma 3). */
NODISCARD int bind_rope_local(struct bind *b, bool adjacent, float base);
/* Does layer l have the window? By the pattern key, an array or a period (every period-th layer has
 * not); period if it is absent (0: all have it). */
NODISCARD int bind_windowed(struct bind *b, uint32_t l, uint32_t period, bool *out);

/* --- tensors; stem "attn_q" of layer l is "blk.l.attn_q.weight" --- */

#define BIND_GLOBAL UINT32_MAX /* l: the stem is the whole name before ".weight" */
bool bind_has(const struct bind *b, uint32_t l, const char *stem);
/* A matrix with its bias and scale, if the file has those. */
NODISCARD int bind_linear(struct bind *b, struct block_linear *out, uint32_t l, const char *stem,
                          uint32_t n_out, uint32_t n_in);
/* A matrix alone: bias and scale of that stem, if there are any, are not part of the layer. */
NODISCARD int bind_matrix(struct bind *b, struct block_linear *out, uint32_t l, const char *stem,
                          uint32_t n_out, uint32_t n_in);
/* The same for a matrix that is only cut: it cannot be computed with. */
NODISCARD int bind_whole(struct bind *b, struct block_linear *out, uint32_t l, const char *stem,
                         uint32_t n_out, uint32_t n_in);
/* Rows [from, from + n) of such a matrix as a matrix of its own. */
NODISCARD int bind_rows(struct bind *b, struct block_linear *out, const struct block_linear *whole,
                        uint32_t from, uint32_t n);
/* Hands rows of a tensor to the device. */
NODISCARD int bind_mat(struct bind *b, struct device_mat *out, const struct model_tensor *t,
                       const uint32_t dims[2], size_t offset);
/* The tensor is done with: its pages are dropped, progress is told. */
void bind_done(struct bind *b, const struct model_tensor *t);
NODISCARD int bind_norm(struct bind *b, struct block_norm *out, uint32_t l, const char *stem,
                        uint32_t n);
/* n floats, borrowed where the file has them as aligned F32, else converted. E_NOT_FOUND without
 * touching err if there is no such tensor. *out stays NULL if weights may not be touched and would
 * have to be. */
NODISCARD int bind_vector(struct bind *b, const float **out, const char *name, uint32_t n);
/* The tensor with its shape checked (n_dims dimensions of ne, fastest first; trailing ones may be
 * left out), counted as used. E_FORMAT, E_UNSUPPORTED. */
NODISCARD int bind_tensor(struct bind *b, const struct model_tensor **out, const char *name,
                          const uint64_t *ne, uint32_t n_dims);
/* Writes "blk.l.STEM" and the ending into name. */
#define BIND_NAME_MAX 96
void bind_name(char name[BIND_NAME_MAX], uint32_t l, const char *stem, const char *ending);

/* --- parts --- */

/* The four norms there may be around a layer's blocks: attn_norm and ffn_norm always. */
NODISCARD int bind_norms(struct bind *b, uint32_t l, bool post);
/* Attention with q, k, v apart or fused (attn_qkv), of the model's shape; q and k norms if
 * `qk_norm`. Declares the state streams. */
NODISCARD int bind_attn(struct bind *b, uint32_t l, bool qk_norm);
/* Gated feed-forward; gate absent: up holds the rows of gate and up. */
NODISCARD int bind_ffn(struct bind *b, uint32_t l, bool gelu);
/* What the common decoder has besides shape and feed-forward: RoPE, and for every layer norms and
 * attention with the file's window. */
NODISCARD int bind_trunk(struct bind *b, bool adjacent, bool qk_norm);
/* The common decoder whole (architectures 1.1): shape, RoPE over adjacent pairs or halves, and for
 * every layer two norms, attention with the file's window, SwiGLU. */
NODISCARD int bind_decoder(struct bind *b, bool adjacent, bool qk_norm);

/* At least n floats a row in this buffer. */
void bind_width(struct bind *b, enum model_buf buf, size_t n);
/* A stream of the state; returns its index. */
uint32_t bind_stream(struct bind *b, const struct model_stream *s);
/* Counts the tensors of layers from l on as taken: blocks that predict further tokens. */
void bind_skip_layers(struct bind *b, uint32_t l);
/* After all parts: refuses tensors nobody took. */
NODISCARD int bind_finish(struct bind *b);

#endif
