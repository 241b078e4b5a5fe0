/* RoPE settings of config.json as GGUF keys and factor tensors (architectures 1.3).
 *
 * A factor tensor divides the angle of each pair. llama3 scaling has one (rope_freqs.weight),
 * longrope has two, for short and long contexts. Both are computed here in double and rounded once,
 * to float. */
#include <math.h>
#include <string.h>

#include "model/hf.h"

struct rope {
    const json_value *o; /* rope_scaling, or what takes its place; NULL if there is none */
    const char *type;
    double theta, factor;
    uint32_t n_orig; /* context before scaling */
};

static int wrong(struct hf *h, const char *key, const char *want)
{
    return err_set_field(h->err, E_FORMAT, key,
                         "config.json: rope scaling: %s: %s is wanted; take config.json "
                         "as the model's author published it",
                         key, want);
}

/* Old files: rope_theta and rope_scaling. New ones: rope_parameters, for Gemma 3 one a kind of
 * layer. */
static int read_rope(struct hf *h, struct rope *r, double *local)
{
    const json_value *all = json_get(h->config, "rope_parameters");
    const json_value *full = json_get(all, "full_attention");
    const json_value *near = json_get(all, "sliding_attention");
    *r = (struct rope){ .theta = h->family->rope_theta, .factor = 1 };
    r->o = full != NULL ? full : all != NULL ? all : json_get(h->config, "rope_scaling");
    if (r->o != NULL && json_kind_of(r->o) != JSON_OBJECT)
        return wrong(h, "rope_scaling", "an object");
    TRY(hf_get_double(h, h->config, "rope_theta", &r->theta));
    TRY(hf_get_double(h, r->o, "rope_theta", &r->theta));
    TRY(hf_get_double(h, h->config, "rope_local_base_freq", local));
    TRY(hf_get_double(h, near, "rope_theta", local));
    r->type = hf_get_text(r->o, "rope_type");
    r->type = r->type != NULL ? r->type : hf_get_text(r->o, "type");
    r->type = r->type != NULL ? r->type : "default";
    TRY(hf_get_u32(h, h->config, "original_max_position_embeddings", &r->n_orig));
    TRY(hf_get_u32(h, r->o, "original_max_position_embeddings", &r->n_orig));
    if (r->n_orig == 0)
        r->n_orig = h->n_ctx;
    else
        r->factor = (double)h->n_ctx / r->n_orig; /* unless the file says so itself */
    TRY(hf_get_double(h, r->o, "factor", &r->factor));
    if (!(r->theta > 1))
        return wrong(h, "rope_theta", "a number above 1");
    return r->factor > 0 ? 0 : wrong(h, "factor", "a number above 0");
}

/* Llama 3.1: long waves are slowed by the factor, short ones kept, those between blended. */
static int put_llama3(struct hf *h, const struct rope *r)
{
    double low = 1, high = 4;
    TRY(hf_get_double(h, r->o, "low_freq_factor", &low));
    TRY(hf_get_double(h, r->o, "high_freq_factor", &high));
    if (!(high > low && low > 0))
        return wrong(h, "high_freq_factor", "a number above low_freq_factor, which is above 0,");
    uint32_t n = h->rot_dim / 2;
    float *factors = mem_alloc((size_t)n + 1, sizeof *factors);
    if (factors == NULL)
        return err_set(h->err, E_NOMEM, "no memory for RoPE factors");
    for (uint32_t i = 0; i < n; i++) {
        double inv = pow(r->theta, -2.0 * i / h->rot_dim), wave = 2 * acos(-1.0) / inv;
        double s = (r->n_orig / wave - low) / (high - low);
        s = s < 0 ? 0 : s > 1 ? 1 : s;
        factors[i] = (float)(1 / ((1 - s) / r->factor + s));
    }
    int rc = n == 0 ? wrong(h, "head_dim", "at least 2")
                    : model_file_put_vector(h->f, "rope_freqs.weight", factors, n, h->err);
    mem_free(factors);
    return rc;
}

static int put_yarn(struct hf *h, const struct rope *r)
{
    double mscale = 0, all = 0, ln = r->factor > 1 ? log(r->factor) : 0;
    double base = 0.1 * ln + 1, magnitude = base;
    TRY(model_file_put_u32(h->f, ".rope.scaling.original_context_length", r->n_orig, h->err));
    TRY(hf_get_double(h, r->o, "mscale", &mscale));
    TRY(hf_get_double(h, r->o, "mscale_all_dim", &all));
    double fast = 32, slow = 1;
    TRY(hf_get_double(h, r->o, "beta_fast", &fast));
    TRY(hf_get_double(h, r->o, "beta_slow", &slow));
    TRY(model_file_put_f32(h->f, ".rope.scaling.yarn_beta_fast", (float)fast, h->err));
    TRY(model_file_put_f32(h->f, ".rope.scaling.yarn_beta_slow", (float)slow, h->err));
    if (all != 0)
        TRY(model_file_put_f32(h->f, ".rope.scaling.yarn_log_multiplier", (float)(0.1 * all),
                               h->err));
    if (mscale != 0 && all != 0)
        magnitude = (0.1 * mscale * ln + 1) / (0.1 * all * ln + 1);
    TRY(hf_get_double(h, r->o, "attention_factor", &magnitude));
    /* With yarn_log_multiplier the magnitude is attn_factor, without it attn_factor x base. */
    return model_file_put_f32(h->f, ".rope.scaling.attn_factor",
                              (float)(all != 0 ? magnitude : magnitude / base), h->err);
}

static int put_factors(struct hf *h, const struct rope *r, const char *key, const char *name)
{
    const json_value *list = json_get(r->o, key);
    uint32_t n = h->rot_dim / 2;
    if (json_kind_of(list) != JSON_ARRAY || json_len(list) != n || n == 0)
        return wrong(h, key, "one number for each rotated pair");
    float *factors = mem_alloc(n, sizeof *factors);
    if (factors == NULL)
        return err_set(h->err, E_NOMEM, "no memory for RoPE factors");
    int rc = 0;
    for (uint32_t i = 0; i < n && rc >= 0; i++) {
        enum json_kind kind = json_kind_of(json_at(list, i));
        factors[i] = (float)json_as_double(json_at(list, i));
        if ((kind != JSON_INT && kind != JSON_DOUBLE) || !(factors[i] > 0) || !isfinite(factors[i]))
            rc = wrong(h, key, "numbers above 0");
    }
    if (rc >= 0)
        rc = model_file_put_vector(h->f, name, factors, n, h->err);
    mem_free(factors);
    return rc;
}

static int put_longrope(struct hf *h, const struct rope *r)
{
    double magnitude = 1;
    if (r->n_orig < 2)
        return wrong(h, "original_max_position_embeddings", "a number above 1");
    if (r->factor > 1)
        magnitude = sqrt(1 + log(r->factor) / log(r->n_orig));
    TRY(hf_get_double(h, r->o, "attention_factor", &magnitude));
    TRY(model_file_put_u32(h->f, ".rope.scaling.original_context_length", r->n_orig, h->err));
    TRY(model_file_put_f32(h->f, ".rope.scaling.attn_factor", (float)magnitude, h->err));
    TRY(put_factors(h, r, "short_factor", "rope_factors_short.weight"));
    return put_factors(h, r, "long_factor", "rope_factors_long.weight");
}

static int put_scaling(struct hf *h, const struct rope *r)
{
    static const struct {
        const char *hf, *gguf; /* gguf NULL: says it by a tensor alone */
        int (*put)(struct hf *h, const struct rope *r);
    } TYPES[] = {
        { "default", NULL, NULL },          { "llama3", NULL, put_llama3 },
        { "linear", "linear", NULL },       { "dynamic", "dynamic", NULL },
        { "yarn", "yarn", put_yarn },       { "longrope", "longrope", put_longrope },
        { "su", "longrope", put_longrope },
    };
    for (size_t i = 0; i < COUNT_OF(TYPES); i++) {
        if (strcmp(TYPES[i].hf, r->type) != 0)
            continue;
        if (TYPES[i].gguf != NULL) {
            TRY(model_file_put_str(h->f, ".rope.scaling.type", TYPES[i].gguf, strlen(TYPES[i].gguf),
                                   h->err));
            TRY(model_file_put_f32(h->f, ".rope.scaling.factor", (float)r->factor, h->err));
        }
        return TYPES[i].put == NULL ? 0 : TYPES[i].put(h, r);
    }
    return err_set_field(h->err, E_UNSUPPORTED, "rope_scaling",
                         "config.json: rope scaling \"%.40s\" is not "
                         "computed; default, linear, dynamic, llama3, yarn and longrope are",
                         r->type);
}

int hf_rope_translate(struct hf *h)
{
    struct rope r;
    double local = 10000;
    TRY(read_rope(h, &r, &local));
    TRY(model_file_put_u32(h->f, ".rope.dimension_count", h->rot_dim, h->err));
    TRY(model_file_put_f32(h->f, ".rope.freq_base", (float)r.theta, h->err));
    if (h->family->flags & HF_LOCAL_ROPE)
        TRY(model_file_put_f32(h->f, ".rope.freq_base_swa", (float)local, h->err));
    return put_scaling(h, &r);
}
