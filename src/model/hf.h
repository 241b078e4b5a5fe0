/* model/hf.h - a Hugging Face model directory, translated to GGUF's words.
 *
 * Idea: config.json says what GGUF metadata says, in other words; tensors have other names. Both
 * translations are tables (hf_config.c, hf_names.c), so that a family is a few rows. What GGUF
 * stores and Hugging Face computes (RoPE factors) is computed here, in double (hf_rope.c).
 *
 *     config.json ------- hf_config.c, hf_rope.c --> keys            docs/formats/safetensors.md
 * lists
 *     *.safetensors ----- safetensors.c, hf_names.c --> tensors      every key that comes out
 *
 * Ownership: struct hf lives during the open only. */
#ifndef MODEL_HF_H
#define MODEL_HF_H

#include "base/json.h"
#include "model/file_impl.h"

#define HF_LAYERS_MAX 4096u
#define HF_HEAD_DIM_MAX 65536u

/* How a family departs from the common form. */
enum {
    HF_GEMMA_NORM = 1, /* norm weights are w, not w + 1 */
    HF_SPLIT_HALF = 2, /* GGUF permutes Q and K rows, this container does not */
    HF_SANDWICH = 4,   /* post_attention_layernorm is a norm behind attention */
    HF_GELU_TANH = 8,  /* else SiLU */
    HF_TIED = 16,      /* tie_word_embeddings when config.json does not say */
    HF_MLA = 32,
    HF_ALTERNATES = 64,     /* even layers have the window (gemma2) */
    HF_LOCAL_ROPE = 128,    /* windowed layers have a RoPE base of their own (gemma3) */
    HF_WINDOW_OPT = 256,    /* the window counts only with use_sliding_window (qwen2, qwen3) */
    HF_SCALE_QPAS = 512,    /* query_pre_attn_scalar sets the attention scale */
    HF_SIGMOID_GATE = 1024, /* experts are chosen by sigmoid, else softmax */
    HF_KDA = 2048,          /* linear_attn_config says which layers are delta layers */
};

struct hf_family {
    const char *model_type; /* config.json */
    const char *arch;       /* general.architecture */
    unsigned flags;
    /* what config.json may leave out; 0: must be given, or follows from other values */
    uint32_t n_heads, n_kv_heads, head_dim, n_vocab, n_ctx, pattern;
    float rope_theta, rms_eps;
};

struct hf {
    struct model_file *f;
    const json_value *config;       /* the object that describes the text model */
    const json_value *root;         /* config.json */
    const struct hf_family *family; /* NULL: not known; keys and tensors keep their own names */
    uint32_t n_layers, n_embd, n_heads, head_dim, rot_dim, n_ctx;
    bool tied;
    struct err *err;
};

const struct hf_family *hf_family_find(const char *model_type);

/* Members of an object; absent or null: 0 and *out untouched. E_FORMAT names the member. */
NODISCARD int hf_get_u32(struct hf *h, const json_value *o, const char *key, uint32_t *out);
NODISCARD int hf_get_double(struct hf *h, const json_value *o, const char *key, double *out);
NODISCARD int hf_get_bool(struct hf *h, const json_value *o, const char *key, bool *out);
const char *hf_get_text(const json_value *o, const char *key); /* NULL if absent or no string */

/* config.json -> keys. */
NODISCARD int hf_config_translate(struct hf *h);
/* rope_theta, rope_scaling, rope_parameters -> keys and factor tensors. */
NODISCARD int hf_rope_translate(struct hf *h);

enum hf_name { HF_NAME_OK, HF_NAME_SKIP, HF_NAME_UNKNOWN };
/* model.layers.3.self_attn.q_proj.weight -> blk.3.attn_q.weight, into out (MODEL_NAME_MAX + 1). */
enum hf_name hf_name_translate(const struct hf *h, struct text_str name, char *out);

#endif
