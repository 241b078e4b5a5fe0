/* config.json -> GGUF keys. One table of families, one of plain values, and a few rules that take
 * more than a table: which layers have a window, the attention scale, MLA's lengths, experts. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "model/hf.h"

/* Gemma models with images leave out of text_config what equals the first release's values; the
 * numbers behind the flags are those (heads, KV heads, head size, vocabulary, context, layers a
 * window period). */
static const struct hf_family FAMILIES[] = {
    { "llama", "llama", HF_SPLIT_HALF, 0, 0, 0, 0, 0, 0, 10000, 1e-6f },
    { "mistral", "llama", HF_SPLIT_HALF, 0, 8, 0, 0, 0, 0, 10000, 1e-6f },
    { "mixtral", "llama", HF_SPLIT_HALF, 0, 8, 0, 0, 0, 0, 1e6f, 1e-5f },
    { "qwen2", "qwen2", HF_WINDOW_OPT, 0, 0, 0, 0, 0, 0, 10000, 1e-6f },
    { "qwen2_moe", "qwen2moe", HF_WINDOW_OPT, 0, 0, 0, 0, 0, 0, 10000, 1e-6f },
    { "qwen3", "qwen3", HF_WINDOW_OPT, 0, 0, 128, 0, 0, 0, 10000, 1e-6f },
    { "qwen3_moe", "qwen3moe", HF_WINDOW_OPT, 0, 0, 0, 0, 0, 0, 10000, 1e-6f },
    { "gemma", "gemma", HF_GEMMA_NORM | HF_GELU_TANH | HF_TIED, 16, 16, 256, 256000, 8192, 0, 10000,
      1e-6f },
    { "gemma2", "gemma2",
      HF_GEMMA_NORM | HF_GELU_TANH | HF_TIED | HF_SANDWICH | HF_ALTERNATES | HF_SCALE_QPAS, 8, 4,
      256, 256000, 8192, 0, 10000, 1e-6f },
    { "gemma3_text", "gemma3",
      HF_GEMMA_NORM | HF_GELU_TANH | HF_TIED | HF_SANDWICH | HF_LOCAL_ROPE | HF_SCALE_QPAS, 8, 4,
      256, 262208, 131072, 6, 1e6f, 1e-6f },
    { "phi3", "phi3", 0, 0, 0, 0, 0, 0, 0, 10000, 1e-5f },
    { "deepseek_v2", "deepseek2", HF_MLA, 0, 0, 0, 0, 0, 0, 10000, 1e-6f },
    { "deepseek_v3", "deepseek2", HF_MLA | HF_SIGMOID_GATE, 0, 0, 0, 0, 0, 0, 10000, 1e-6f },
    { "kimi_linear", "kimi-linear", HF_MLA | HF_SIGMOID_GATE | HF_KDA, 0, 0, 0, 0, 0, 0, 10000,
      1e-5f },
};

const struct hf_family *hf_family_find(const char *model_type)
{
    for (size_t i = 0; i < COUNT_OF(FAMILIES); i++)
        if (strcmp(FAMILIES[i].model_type, model_type) == 0)
            return &FAMILIES[i];
    return NULL;
}

/* --- members --- */

static int wrong(struct hf *h, const char *key, const char *want)
{
    return err_set_field(h->err, E_FORMAT, key,
                         "config.json: %s: %s is wanted; take config.json as the "
                         "model's author published it",
                         key, want);
}

int hf_get_u32(struct hf *h, const json_value *o, const char *key, uint32_t *out)
{
    const json_value *v = json_get(o, key);
    if (v == NULL)
        return 0;
    int64_t x = json_kind_of(v) == JSON_INT ? json_as_int(v) : -1;
    if (x < 0 || x > UINT32_MAX)
        return wrong(h, key, "a whole number from 0 to 4294967295");
    *out = (uint32_t)x;
    return 0;
}

int hf_get_double(struct hf *h, const json_value *o, const char *key, double *out)
{
    const json_value *v = json_get(o, key);
    if (v == NULL)
        return 0;
    enum json_kind kind = json_kind_of(v);
    if ((kind != JSON_INT && kind != JSON_DOUBLE) || !isfinite((float)json_as_double(v)))
        return wrong(h, key, "a finite number");
    *out = json_as_double(v);
    return 0;
}

int hf_get_bool(struct hf *h, const json_value *o, const char *key, bool *out)
{
    const json_value *v = json_get(o, key);
    if (v == NULL)
        return 0;
    if (json_kind_of(v) != JSON_BOOL)
        return wrong(h, key, "true or false");
    *out = json_as_bool(v);
    return 0;
}

const char *hf_get_text(const json_value *o, const char *key)
{
    return json_text(json_get(o, key), NULL);
}

/* A number that must be there, or have a default, and lie in 1..max; put as `to` unless to is NULL.
 */
static int need(struct hf *h, const char *key, uint32_t preset, uint32_t max, const char *to,
                uint32_t *out)
{
    uint32_t x = preset;
    TRY(hf_get_u32(h, h->config, key, &x));
    if (x == 0 || x > max)
        return err_set_field(h->err, E_FORMAT, key,
                             "config.json: %s is %s; take config.json as the model's "
                             "author published it",
                             key, x == 0 ? "missing or 0" : "too large");
    if (out != NULL)
        *out = x;
    return to == NULL ? 0 : model_file_put_u32(h->f, to, x, h->err);
}

/* A number that is passed on if it is there. */
static int pass_u32(struct hf *h, const char *key, const char *to)
{
    uint32_t x = 0;
    TRY(hf_get_u32(h, h->config, key, &x));
    return json_get(h->config, key) == NULL ? 0 : model_file_put_u32(h->f, to, x, h->err);
}

static int pass_f32(struct hf *h, const char *key, const char *to)
{
    double x = 0;
    TRY(hf_get_double(h, h->config, key, &x));
    return json_get(h->config, key) == NULL ? 0 : model_file_put_f32(h->f, to, (float)x, h->err);
}

/* --- rules --- */

static int check_activation(struct hf *h)
{
    const char *act = hf_get_text(h->config, "hidden_activation");
    act = act != NULL ? act : hf_get_text(h->config, "hidden_act");
    bool gelu = h->family->flags & HF_GELU_TANH;
    /* The first Gemma configs say "gelu" and mean the tanh form. */
    bool fits = act == NULL || (gelu ? strncmp(act, "gelu", 4) == 0
                                     : strcmp(act, "silu") == 0 || strcmp(act, "swish") == 0);
    if (!fits)
        return err_set_field(h->err, E_UNSUPPORTED, "hidden_act",
                             "config.json: hidden_act \"%.40s\" is not "
                             "computed for %s, only %s",
                             act, h->family->model_type, gelu ? "gelu_pytorch_tanh" : "silu");
    return 0;
}

/* A bool per layer: does it have the window? layer_types says it, else the family's rule. */
static int put_pattern(struct hf *h, const json_value *types)
{
    uint32_t pattern = h->family->pattern, from = 0, windowed[HF_LAYERS_MAX];
    bool alternates = h->family->flags & HF_ALTERNATES;
    TRY(hf_get_u32(h, h->config, "sliding_window_pattern", &pattern));
    TRY(hf_get_u32(h, h->config, "_sliding_window_pattern", &pattern));
    if (h->family->flags & HF_WINDOW_OPT)
        TRY(hf_get_u32(h, h->config, "max_window_layers", &from));
    if (types != NULL && (json_kind_of(types) != JSON_ARRAY || json_len(types) != h->n_layers))
        return wrong(h, "layer_types", "one name for each layer");
    for (uint32_t i = 0; i < h->n_layers; i++) {
        const char *type = types != NULL ? json_text(json_at(types, i), NULL) : "";
        if (type == NULL || (types != NULL && strcmp(type, "sliding_attention") != 0 &&
                             strcmp(type, "full_attention") != 0))
            return wrong(h, "layer_types", "sliding_attention or full_attention");
        if (types != NULL)
            windowed[i] = type[0] == 's';
        else if (alternates)
            windowed[i] = i % 2 == 0;
        else
            windowed[i] = i >= from && (pattern == 0 || (i + 1) % pattern != 0);
    }
    return model_file_put_array(h->f, ".attention.sliding_window_pattern", MODEL_BOOL, windowed,
                                h->n_layers, h->err);
}

static int put_window(struct hf *h)
{
    uint32_t window = 0;
    bool use = !(h->family->flags & HF_WINDOW_OPT);
    TRY(hf_get_u32(h, h->config, "sliding_window", &window));
    if (h->family->flags & HF_WINDOW_OPT)
        TRY(hf_get_bool(h, h->config, "use_sliding_window", &use));
    if (!use || window == 0)
        return 0;
    TRY(model_file_put_u32(h->f, ".attention.sliding_window", window, h->err));
    const json_value *types = json_get(h->config, "layer_types");
    bool all =
        types == NULL && !(h->family->flags & (HF_ALTERNATES | HF_LOCAL_ROPE | HF_WINDOW_OPT));
    return all ? 0 : put_pattern(h, types);
}

static int put_scale(struct hf *h)
{
    double scalar = 256; /* what both families' first releases have */
    if (!(h->family->flags & HF_SCALE_QPAS))
        return 0;
    TRY(hf_get_double(h, h->config, "query_pre_attn_scalar", &scalar));
    if (!(scalar > 0))
        return wrong(h, "query_pre_attn_scalar", "a number above 0");
    return model_file_put_f32(h->f, ".attention.scale", (float)(1 / sqrt(scalar)), h->err);
}

static int put_softcaps(struct hf *h)
{
    if (strcmp(h->family->arch, "gemma2") == 0 && !json_has(h->config, "attn_logit_softcapping"))
        TRY(model_file_put_f32(h->f, ".attn_logit_softcapping", 50, h->err));
    if (strcmp(h->family->arch, "gemma2") == 0 && !json_has(h->config, "final_logit_softcapping"))
        TRY(model_file_put_f32(h->f, ".final_logit_softcapping", 30, h->err));
    TRY(pass_f32(h, "attn_logit_softcapping", ".attn_logit_softcapping"));
    return pass_f32(h, "final_logit_softcapping", ".final_logit_softcapping");
}

/* linear_attn_config: full_attn_layers counts from 1; the other layers are delta layers, which GGUF
 * marks by 0 KV heads. */
static int put_kda(struct hf *h)
{
    const json_value *c = json_get(h->config, "linear_attn_config");
    const json_value *full = json_get(c, "full_attn_layers");
    uint32_t dim = 128, taps = 4, n_kv[HF_LAYERS_MAX] = { 0 };
    bool nope = true;
    if (json_kind_of(full) != JSON_ARRAY)
        return wrong(h, "linear_attn_config.full_attn_layers", "a list of layers");
    for (size_t i = 0; i < json_len(full); i++) {
        const json_value *v = json_at(full, i);
        int64_t l = json_kind_of(v) == JSON_INT ? json_as_int(v) : 0;
        if (l < 1 || l > h->n_layers)
            return wrong(h, "linear_attn_config.full_attn_layers", "layers counted from 1");
        n_kv[l - 1] = 1;
    }
    TRY(hf_get_bool(h, h->config, "mla_use_nope", &nope));
    if (!nope)
        return err_set_field(h->err, E_UNSUPPORTED, "mla_use_nope",
                             "config.json: mla_use_nope is false: latent attention with positions "
                             "is not computed in this family");
    TRY(hf_get_u32(h, c, "head_dim", &dim));
    TRY(hf_get_u32(h, c, "short_conv_kernel_size", &taps));
    TRY(model_file_put_u32(h->f, ".kda.head_dim", dim, h->err));
    TRY(model_file_put_u32(h->f, ".ssm.conv_kernel", taps, h->err));
    return model_file_put_array(h->f, ".attention.head_count_kv", MODEL_U32, n_kv, h->n_layers,
                                h->err);
}

/* Keys as of current GGUF files with split attn_k_b and attn_v_b, though attn_kv_b is stored here.
 */
static int put_mla(struct hf *h)
{
    uint32_t rank, nope, rope, v;
    bool interleave = true;
    TRY(need(h, "kv_lora_rank", 0, HF_HEAD_DIM_MAX, ".attention.kv_lora_rank", &rank));
    TRY(need(h, "qk_nope_head_dim", 0, HF_HEAD_DIM_MAX, NULL, &nope));
    TRY(need(h, "qk_rope_head_dim", 0, HF_HEAD_DIM_MAX, NULL, &rope));
    TRY(need(h, "v_head_dim", 0, HF_HEAD_DIM_MAX, NULL, &v));
    TRY(pass_u32(h, "q_lora_rank", ".attention.q_lora_rank"));
    TRY(model_file_put_u32(h->f, ".attention.key_length", rank + rope, h->err));
    TRY(model_file_put_u32(h->f, ".attention.value_length", rank, h->err));
    TRY(model_file_put_u32(h->f, ".attention.key_length_mla", nope + rope, h->err));
    TRY(model_file_put_u32(h->f, ".attention.value_length_mla", v, h->err));
    if (h->family->flags & HF_KDA)
        TRY(put_kda(h));
    else
        TRY(model_file_put_u32(h->f, ".attention.head_count_kv", 1, h->err));
    TRY(hf_get_bool(h, h->config, "rope_interleave", &interleave));
    h->f->conv.rope_split_half = !interleave;
    h->head_dim = nope + rope;
    h->rot_dim = rope;
    return 0;
}

static int put_heads(struct hf *h)
{
    double partial = 1;
    uint32_t n_kv = h->family->n_kv_heads != 0 ? h->family->n_kv_heads : h->n_heads;
    uint32_t head_dim = h->family->head_dim != 0 ? h->family->head_dim : h->n_embd / h->n_heads;
    if (h->family->flags & HF_MLA)
        return put_mla(h);
    TRY(need(h, "num_key_value_heads", n_kv, h->n_heads, ".attention.head_count_kv", NULL));
    TRY(need(h, "head_dim", head_dim, HF_HEAD_DIM_MAX, NULL, &h->head_dim));
    TRY(model_file_put_u32(h->f, ".attention.key_length", h->head_dim, h->err));
    TRY(model_file_put_u32(h->f, ".attention.value_length", h->head_dim, h->err));
    TRY(hf_get_double(h, h->config, "partial_rotary_factor", &partial));
    TRY(hf_get_double(h, json_get(h->config, "rope_parameters"), "partial_rotary_factor",
                      &partial));
    if (!(partial > 0 && partial <= 1))
        return wrong(h, "partial_rotary_factor", "a number above 0, at most 1");
    h->rot_dim = (uint32_t)(h->head_dim * partial);
    return 0;
}

static int put_experts(struct hf *h)
{
    uint32_t n = 0;
    bool sigmoid = h->family->flags & HF_SIGMOID_GATE;
    /* What the families do that have no norm_topk_prob, or leave it out at its default. */
    bool norm = sigmoid || strcmp(h->family->model_type, "mixtral") == 0;
    const char *gate = hf_get_text(h->config, "scoring_func");
    TRY(hf_get_u32(h, h->config, "n_routed_experts", &n));
    TRY(hf_get_u32(h, h->config, "num_experts", &n));
    TRY(hf_get_u32(h, h->config, "num_local_experts", &n));
    if (n == 0)
        return 0;
    if (gate != NULL)
        sigmoid = strcmp(gate, "sigmoid") == 0;
    TRY(model_file_put_u32(h->f, ".expert_count", n, h->err));
    TRY(model_file_put_u32(h->f, ".expert_gating_func", sigmoid ? 2 : 1, h->err));
    TRY(pass_u32(h, "num_experts_per_tok", ".expert_used_count"));
    TRY(pass_u32(h, "n_shared_experts", ".expert_shared_count"));
    if (h->family->flags & HF_KDA) { /* the same in this family's words */
        TRY(pass_u32(h, "num_experts_per_token", ".expert_used_count"));
        TRY(pass_u32(h, "num_shared_experts", ".expert_shared_count"));
        TRY(pass_u32(h, "num_expert_group", ".expert_group_count"));
    }
    TRY(pass_u32(h, "moe_intermediate_size", ".expert_feed_forward_length"));
    TRY(pass_u32(h, "shared_expert_intermediate_size", ".expert_shared_feed_forward_length"));
    TRY(pass_u32(h, "first_k_dense_replace", ".leading_dense_block_count"));
    TRY(pass_u32(h, "n_group", ".expert_group_count"));
    TRY(pass_u32(h, "topk_group", ".expert_group_used_count"));
    TRY(pass_f32(h, "routed_scaling_factor", ".expert_weights_scale"));
    TRY(hf_get_bool(h, h->config, "norm_topk_prob", &norm));
    return model_file_put_bool(h->f, ".expert_weights_norm", norm, h->err);
}

int hf_config_translate(struct hf *h)
{
    const struct hf_family *fam = h->family;
    double eps = fam->rms_eps;
    h->f->conv = (struct model_conv){ .rope_split_half = fam->flags & HF_SPLIT_HALF,
                                      .norm_without_one = fam->flags & HF_GEMMA_NORM };
    h->tied = fam->flags & HF_TIED;
    TRY(hf_get_bool(h, h->root, "tie_word_embeddings", &h->tied));
    TRY(hf_get_bool(h, h->config, "tie_word_embeddings", &h->tied));
    TRY(check_activation(h));
    TRY(need(h, "num_hidden_layers", 0, HF_LAYERS_MAX, ".block_count", &h->n_layers));
    TRY(need(h, "hidden_size", 0, UINT32_MAX, ".embedding_length", &h->n_embd));
    TRY(need(h, "intermediate_size", 0, UINT32_MAX, ".feed_forward_length", NULL));
    TRY(need(h, "max_position_embeddings", fam->n_ctx, UINT32_MAX, ".context_length", &h->n_ctx));
    TRY(need(h, "vocab_size", fam->n_vocab, UINT32_MAX, ".vocab_size", NULL));
    TRY(need(h, "num_attention_heads", fam->n_heads, HF_HEAD_DIM_MAX, ".attention.head_count",
             &h->n_heads));
    TRY(hf_get_double(h, h->config, "rms_norm_eps", &eps));
    TRY(model_file_put_f32(h->f, ".attention.layer_norm_rms_epsilon", (float)eps, h->err));
    TRY(put_heads(h));
    TRY(put_window(h));
    TRY(put_scale(h));
    TRY(put_softcaps(h));
    TRY(put_experts(h));
    TRY(pass_u32(h, "num_nextn_predict_layers", ".nextn_predict_layers"));
    return hf_rope_translate(h);
}
