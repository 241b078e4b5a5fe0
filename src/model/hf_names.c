/* Tensor names, Hugging Face to GGUF (architectures 1.2, 2.2, 3.3, 4.1). Experts keep their own
 * tensors here: expert E of a layer is "blk.N.ffn_gate.E.weight"; GGUF files usually stack them in
 * one. */
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "model/hf.h"

struct row {
    const char *hf, *gguf; /* without ".weight" or ".bias" */
};

static const struct row GLOBAL[] = {
    { "embed_tokens", "token_embd" },
    { "norm", "output_norm" },
    { "lm_head", "output" },
};

static const struct row LAYER[] = {
    { "input_layernorm", "attn_norm" },
    { "self_attn.q_proj", "attn_q" },
    { "self_attn.k_proj", "attn_k" },
    { "self_attn.v_proj", "attn_v" },
    { "self_attn.qkv_proj", "attn_qkv" },
    { "self_attn.o_proj", "attn_output" },
    { "self_attn.q_norm", "attn_q_norm" },
    { "self_attn.k_norm", "attn_k_norm" },
    { "post_attention_layernorm", "ffn_norm" }, /* HF_SANDWICH: see below */
    { "pre_feedforward_layernorm", "ffn_norm" },
    { "post_feedforward_layernorm", "post_ffw_norm" },
    { "mlp.gate_proj", "ffn_gate" },
    { "mlp.up_proj", "ffn_up" },
    { "mlp.down_proj", "ffn_down" },
    { "mlp.gate_up_proj", "ffn_up" }, /* phi3: gate rows, then up rows */
    /* MLA */
    { "self_attn.q_a_proj", "attn_q_a" },
    { "self_attn.q_a_layernorm", "attn_q_a_norm" },
    { "self_attn.q_b_proj", "attn_q_b" },
    { "self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa" },
    { "self_attn.kv_a_layernorm", "attn_kv_a_norm" },
    { "self_attn.kv_b_proj", "attn_kv_b" },
    /* mixture of experts */
    { "mlp.gate", "ffn_gate_inp" },
    { "mlp.shared_experts.gate_proj", "ffn_gate_shexp" },
    { "mlp.shared_experts.up_proj", "ffn_up_shexp" },
    { "mlp.shared_experts.down_proj", "ffn_down_shexp" },
    { "mlp.shared_expert.gate_proj", "ffn_gate_shexp" },
    { "mlp.shared_expert.up_proj", "ffn_up_shexp" },
    { "mlp.shared_expert.down_proj", "ffn_down_shexp" },
    { "mlp.shared_expert_gate", "ffn_gate_inp_shexp" },
    { "block_sparse_moe.gate", "ffn_gate_inp" },
    { "block_sparse_moe.shared_experts.gate_proj", "ffn_gate_shexp" },
    { "block_sparse_moe.shared_experts.up_proj", "ffn_up_shexp" },
    { "block_sparse_moe.shared_experts.down_proj", "ffn_down_shexp" },
    /* Kimi Delta Attention */
    { "self_attn.q_conv1d", "ssm_conv1d_q" },
    { "self_attn.k_conv1d", "ssm_conv1d_k" },
    { "self_attn.v_conv1d", "ssm_conv1d_v" },
    { "self_attn.f_a_proj", "ssm_f_a" },
    { "self_attn.f_b_proj", "ssm_f_b" },
    { "self_attn.g_a_proj", "ssm_g_a" },
    { "self_attn.g_b_proj", "ssm_g_b" },
    { "self_attn.b_proj", "ssm_beta" },
    { "self_attn.o_norm", "ssm_norm" },
    /* the block that predicts one token more */
    { "eh_proj", "nextn.eh_proj" },
    { "enorm", "nextn.enorm" },
    { "hnorm", "nextn.hnorm" },
    { "embed_tokens", "nextn.embed_tokens" },
    { "shared_head.norm", "nextn.shared_head_norm" },
    { "shared_head.head", "nextn.shared_head_head" },
};

static const struct row EXPERT[] = {
    { "gate_proj", "ffn_gate" }, { "up_proj", "ffn_up" }, { "down_proj", "ffn_down" },
    { "w1", "ffn_gate" },        { "w3", "ffn_up" },      { "w2", "ffn_down" },
};

/* Past `prefix` if s begins with it, else NULL. */
static const char *after(const char *s, const char *prefix)
{
    size_t n = strlen(prefix);
    return strncmp(s, prefix, n) == 0 ? s + n : NULL;
}

/* A decimal number below limit and the '.' behind it; NULL if there is none. */
static const char *take_index(const char *s, uint32_t limit, uint32_t *out)
{
    uint32_t x = 0;
    const char *p = s;
    for (; *p >= '0' && *p <= '9' && p - s < 8; p++)
        x = x * 10 + (uint32_t)(*p - '0');
    if (p == s || *p != '.' || x >= limit || (*s == '0' && p - s > 1))
        return NULL;
    *out = x;
    return p + 1;
}

/* "stem.weight" or "stem.bias" by a table; NULL if it is not there. *kind gets the ending. */
static const char *look_up(const struct row *rows, size_t n, const char *name, const char **kind)
{
    const char *dot = strrchr(name, '.');
    if (dot == NULL || (strcmp(dot, ".weight") != 0 && strcmp(dot, ".bias") != 0))
        return NULL;
    size_t len = (size_t)(dot - name);
    for (size_t i = 0; i < n; i++)
        if (strlen(rows[i].hf) == len && memcmp(rows[i].hf, name, len) == 0) {
            *kind = dot;
            return rows[i].gguf;
        }
    return NULL;
}

static enum hf_name layer_name(const struct hf *h, uint32_t layer, const char *rest, char *out)
{
    const char *kind, *e, *to;
    uint32_t expert;
    if (strcmp(rest, "mlp.gate.e_score_correction_bias") == 0 ||
        strcmp(rest, "block_sparse_moe.gate.e_score_correction_bias") == 0) {
        snprintf(out, MODEL_NAME_MAX + 1, "blk.%u.exp_probs_b.bias", layer);
        return HF_NAME_OK;
    }
    if (strcmp(rest, "self_attn.A_log") == 0) { /* -exp of it is GGUF's ssm_a */
        snprintf(out, MODEL_NAME_MAX + 1, "blk.%u.ssm_a_log", layer);
        return HF_NAME_OK;
    }
    if (strcmp(rest, "self_attn.dt_bias") == 0) {
        snprintf(out, MODEL_NAME_MAX + 1, "blk.%u.ssm_dt.bias", layer);
        return HF_NAME_OK;
    }
    if (strcmp(rest, "self_attn.rotary_emb.inv_freq") == 0)
        return HF_NAME_SKIP; /* old files: follows from the config */
    e = after(rest, "mlp.experts.");
    e = e != NULL ? e : after(rest, "block_sparse_moe.experts.");
    e = e != NULL ? take_index(e, MODEL_TENSORS_MAX, &expert) : NULL;
    if (e != NULL) {
        to = look_up(EXPERT, COUNT_OF(EXPERT), e, &kind);
        if (to == NULL)
            return HF_NAME_UNKNOWN;
        snprintf(out, MODEL_NAME_MAX + 1, "blk.%u.%s.%u%s", layer, to, expert, kind);
        return HF_NAME_OK;
    }
    to = look_up(LAYER, COUNT_OF(LAYER), rest, &kind);
    if (to == NULL)
        return HF_NAME_UNKNOWN;
    if ((h->family->flags & HF_SANDWICH) && after(rest, "post_attention_layernorm.") != NULL)
        to = "post_attention_norm";
    snprintf(out, MODEL_NAME_MAX + 1, "blk.%u.%s%s", layer, to, kind);
    return HF_NAME_OK;
}

enum hf_name hf_name_translate(const struct hf *h, struct text_str name, char *out)
{
    static const char *const PREFIXES[] = { "model.language_model.", "language_model.model.",
                                            "model.", "language_model." };
    static const char *const IMAGES[] = { "vision_tower.", "model.vision_tower.",
                                          "multi_modal_projector.",
                                          "model.multi_modal_projector." };
    char text[MODEL_NAME_MAX + 1];
    size_t len = num_min(name.len, MODEL_NAME_MAX);
    memcpy(text, name.data, len);
    text[len] = '\0';
    if (h->family == NULL) {
        memcpy(out, text, len + 1);
        return HF_NAME_OK;
    }
    /* The text half of a model that also sees: the other half is left alone. */
    for (size_t i = 0; h->root != h->config && i < COUNT_OF(IMAGES); i++)
        if (after(text, IMAGES[i]) != NULL)
            return HF_NAME_SKIP;
    const char *rest = text, *kind;
    for (size_t i = 0; i < COUNT_OF(PREFIXES) && rest == text; i++)
        if (after(text, PREFIXES[i]) != NULL)
            rest = after(text, PREFIXES[i]);
    const char *layers = after(rest, "layers."), *in_layer;
    uint32_t layer;
    in_layer = layers != NULL ? take_index(layers, HF_LAYERS_MAX, &layer) : NULL;
    if (in_layer != NULL)
        return layer_name(h, layer, in_layer, out);
    const char *to = look_up(GLOBAL, COUNT_OF(GLOBAL), rest, &kind);
    if (to == NULL)
        return HF_NAME_UNKNOWN;
    if (h->tied && strcmp(to, "output") == 0)
        return HF_NAME_SKIP; /* a copy of the embedding */
    snprintf(out, MODEL_NAME_MAX + 1, "%s%s", to, kind);
    return HF_NAME_OK;
}
