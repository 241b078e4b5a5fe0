/* model/impl.h - the inside of struct model and struct model_work, for the families of this folder.
 *
 * Idea: all decoders here are the same few parts in different order. A family's bind function fills
 * the parts from a file (bind.h), its layer function calls the blocks (block.h) that compute with
 * them.
 *
 *     struct model        shape | ropes | layers[] { norms, attention, feed-forward } | layout
 *     struct model_work   rows of x, h, y, q, k, v ...: a slice a buffer, of one allocation
 *
 * A width below is the number of floats a row takes in a buffer; families ask for what they need
 * while binding (bind_width), so the workspace is as large as the widest layer and no larger.
 *
 * Ownership: layers, vectors that had to be converted, the layout and RoPE tables lie in the
 * model's arena; matrices stay in the file's mapping. Threads: the model is immutable after
 * model_create. */
#ifndef MODEL_IMPL_H
#define MODEL_IMPL_H

#include "base/mem.h"
#include "model/model.h"
#include "model/rope.h"

/* Limits of what a file may claim; the largest known models stay a factor of four below. */
#define MODEL_LAYERS_MAX 4096u
#define MODEL_WIDTH_MAX (1u << 20) /* values a row: embedding, heads together, feed-forward */
#define MODEL_VOCAB_MAX (1u << 24)
#define MODEL_CTX_MAX (1u << 30)
#define MODEL_ROWS_MAX 16384u /* of one forward */

/* y = scale * (W x) + bias. A matrix with a scale of its own has no bias. */
struct block_linear {
    struct device_mat mat; /* mat.mat.n_out == 0: the part is absent */
    float scale;           /* 1: none */
};

/* RMSNorm with weight w + plus. */
struct block_norm {
    const float *w; /* (n) or NULL: the part is absent */
    float plus;
    uint32_t n;
};

struct block_attn {
    struct block_linear q, k, v, o;
    struct block_norm q_norm, k_norm; /* per head, before RoPE */
    struct block_norm sub_norm;       /* of all heads, before o */
    uint32_t n_heads, n_kv_heads, k_dim, v_dim;
    float scale, softcap;
    uint32_t window;             /* 0: none */
    uint32_t rope;               /* which of the model's */
    uint32_t k_stream, v_stream; /* in the layout */
};

/* Latent attention: one row [latent | rotated key] a token stands for all heads. */
struct block_mla {
    struct block_linear q_a; /* absent: q_b takes the layer's input */
    struct block_norm q_a_norm;
    struct block_linear q_b;      /* (H * (nope + rope), ...) */
    struct block_linear kv_a;     /* (r + rope, D) */
    struct block_norm kv_a_norm;  /* (r) */
    struct block_linear o;        /* (D, H * v) */
    const struct kernel_mat *k_b; /* (H) of (r, nope) */
    const struct kernel_mat *v_b; /* (H) of (v, r) */
    uint32_t n_heads, rank, nope, rope_dims, v_dim;
    float scale;
    uint32_t stream;
};

struct block_ffn {
    struct block_linear gate, up, down;
    struct block_norm sub_norm; /* of the product, before down */
    bool gelu;                  /* tanh form; else SiLU */
};

struct block_mixture; /* mixture.h */
struct block_kda;     /* kda.h */

struct block_layer {
    struct block_norm attn_norm, post_attn_norm, ffn_norm, post_ffn_norm;
    struct block_attn attn;
    struct block_mla *mla; /* NULL: attn counts, or kda */
    const struct block_kda *kda;
    struct block_ffn ffn;
    const struct block_mixture *mixture; /* NULL: ffn counts */
};

/* Buffers of a workspace, each with room for (n_rows, width). Rows are packed: a matrix with fewer
 * outputs than the width writes rows of its own length. X, H and Y have the embedding's length,
 * always. */
enum model_buf {
    BUF_X, /* residual stream */
    BUF_H, /* input of a block: the norm of x */
    BUF_Y, /* output of a block, to be added to x */
    BUF_Q,
    BUF_K,
    BUF_V,
    BUF_A, /* output of attention, all heads */
    BUF_GATE,
    BUF_UP,
    BUF_LATENT,     /* MLA: queries in latent space, all heads */
    BUF_LATENT_OUT, /* MLA: sums of latents, all heads */
    BUF_ROUTER,     /* experts: logits of the router */
    BUF_PICKS,      /* experts chosen, as uint32_t */
    BUF_WEIGHTS,    /* their weights */
    BUF_ROWS,       /* experts: the row of each pair, then the pair of each pick (uint32_t) */
    BUF_EXPERT_IN,  /* activations of pairs, as matmul wants them */
    BUF_EXPERT_UP,  /* of pairs, as BUF_GATE */
    BUF_EXPERT_OUT, /* of pairs */
    BUF_CS0,
    BUF_CS1, /* cos and sin of the two ropes */
    BUF_COUNT
};

/* What every family has; read by bind_shape. */
struct model_shape {
    uint32_t n_layers, n_embd, n_heads, n_kv_heads, k_dim, v_dim, n_ff, n_vocab, n_ctx;
    float eps;
    float attn_scale;    /* of queries times keys */
    float embd_scale;    /* 1: none */
    float final_softcap; /* 0: none */
};

struct model;
struct bert;
struct bind;
struct model_family {
    const char *arch;  /* general.architecture */
    const char *label; /* "Llama-style decoder (llama.c)" */
    int (*bind)(struct bind *b);
    void (*embed)(struct model_work *w); /* NULL: block_embed */
    /* Reads h = norm of x, leaves x advanced by one layer and h = norm of x by `next` (NULL: any).
     */
    void (*layer)(struct model_work *w, uint32_t layer, const struct block_norm *next);
    bool encoder; /* every row sees its whole span; no state, no logits (bert.c) */
};

/* One a file; NULL-terminated list in model.c. */
extern const struct model_family model_llama, model_qwen2, model_qwen3, model_gemma, model_gemma2,
    model_gemma3, model_phi3, model_bitnet, model_deepseek2, model_kimi, model_bert,
    model_nomic_bert, model_qwen2moe, model_qwen3moe;

#define MODEL_ROPES 2
struct model {
    const struct model_family *family;
    struct device *dev;
    struct device_store *store; /* packed weights */
    struct arena arena;
    struct model_info info;
    struct model_layout layout;
    struct model_shape shape;
    uint32_t kv_type;
    struct rope ropes[MODEL_ROPES];
    uint32_t long_rope_from;  /* contexts beyond use ropes[1] for all layers; 0: never */
    struct block_linear embd; /* (n_vocab, D) */
    struct block_linear head; /* (n_vocab, D); the embedding itself where tied */
    struct block_norm output_norm;
    struct block_layer *layers; /* (n_layers); NULL in encoders */
    struct bert *bert;          /* encoders only */
    uint32_t width[BUF_COUNT];
    size_t attn_scratch;   /* bytes a thread needs for the attention kernel */
    uint32_t attn_rows;    /* query rows a call of it takes at most */
    uint32_t attn_state;   /* floats of one query's state */
    uint32_t gather_width; /* floats a row that MLA takes out of a buffer; 0: none */
};

/* Rows of one span at neighbouring positions that attention takes together. */
struct model_tile {
    uint32_t row0, n_rows;
};

struct model_work {
    const struct model *m;
    const struct kernel_table *k;
    const struct model_batch *batch; /* during a forward */
    uint32_t n_rows;                 /* of this forward */
    uint32_t n_rows_max, n_want_max, n_ctx_max;
    float *buf[BUF_COUNT];
    uint32_t *pos;    /* (n_rows) position of each row */
    uint32_t *span;   /* (n_rows) which span it belongs to */
    struct model_tile *tiles; /* (n_tiles, at most n_rows) all rows, in order */
    uint32_t n_tiles;
    float *states;    /* (states_len) of attention that is cut into parts of the positions */
    size_t states_len;
    float *logits;    /* (n_want, n_vocab) */
    uint8_t *act;     /* scratch of device_linear */
    uint8_t *threads; /* (threads, thread_bytes) */
    size_t thread_bytes;
    uint8_t *memory; /* what all of these are cut from */
    size_t bytes;
};

/* Row r of a buffer. */
static inline float *work_row(const struct model_work *w, enum model_buf b, uint32_t r)
{
    return w->buf[b] + (size_t)r * w->m->width[b];
}

static inline uint8_t *work_thread(const struct model_work *w, uint32_t thread)
{
    return w->threads + thread * w->thread_bytes;
}

#endif
