/* Gemma 1, 2 and 3 (architectures 1.1). All scale the embedding by sqrt(n_embd), use GELU in its
 * tanh form and tie the head; norm weights are w + 1, which GGUF stores as such and
 * safetensors as w.
 *
 *             norms behind blocks   q, k norm   soft-caps       windows            RoPE base
 *   gemma     no                    no          no              none               one
 *   gemma2    yes                   no          50 and 30       every second       one
 *   gemma3    yes                   yes         no              five of six        local: 10,000
 *
 * The scale of queries is not in GGUF files; it follows from the size, except for the two largest
 * models (query_pre_attn_scalar 144 and 168 = n_embd / n_heads). The key attention.scale overrides.
 */
#include <math.h>

#include "model/bind.h"
#include "model/block.h"

#define GEMMA2_27B_LAYERS 46
#define GEMMA3_27B_LAYERS 62

static int bind_common(struct bind *b)
{
    TRY(bind_shape(b));
    b->m->shape.embd_scale = sqrtf((float)b->m->shape.n_embd);
    return bind_rope(b, false);
}

/* Where no key gives it and the model is the one that departs from 1 / sqrt(k_dim). */
static void scale_by_width(struct bind *b, uint32_t n_layers)
{
    struct model_shape *s = &b->m->shape;
    float given = 0;
    if (s->n_layers != n_layers || bind_f32(b, ".attention.scale", &given) < 0 || given > 0)
        return;
    s->attn_scale = (float)(1 / sqrt((double)s->n_embd / s->n_heads));
}

static int bind_gemma(struct bind *b)
{
    TRY(bind_common(b));
    for (uint32_t l = 0; l < b->m->shape.n_layers; l++) {
        TRY(bind_norms(b, l, false));
        TRY(bind_attn(b, l, false));
        TRY(bind_ffn(b, l, true));
    }
    return 0;
}

/* Layers with norms on both sides; those that have the window get it, and RoPE number local_rope.
 */
static int bind_sandwich(struct bind *b, bool qk_norm, uint32_t period, uint32_t local_rope)
{
    struct model *m = b->m;
    uint32_t window = 4096;
    float softcap = 0;
    TRY(bind_u32(b, ".attention.sliding_window", 0, MODEL_CTX_MAX, &window));
    TRY(bind_f32(b, ".attn_logit_softcapping", &softcap));
    TRY(bind_f32(b, ".final_logit_softcapping", &m->shape.final_softcap));
    for (uint32_t l = 0; l < m->shape.n_layers; l++) {
        struct block_attn *a = &m->layers[l].attn;
        bool windowed = false;
        TRY(bind_norms(b, l, true));
        TRY(bind_attn(b, l, qk_norm));
        TRY(bind_ffn(b, l, true));
        TRY(bind_windowed(b, l, period, &windowed));
        a->softcap = softcap;
        a->window = windowed ? window : 0;
        a->rope = windowed ? local_rope : 0;
    }
    return 0;
}

static int bind_gemma2(struct bind *b)
{
    TRY(bind_common(b));
    scale_by_width(b, GEMMA2_27B_LAYERS);
    return bind_sandwich(b, false, 2, 0);
}

static int bind_gemma3(struct bind *b)
{
    TRY(bind_common(b));
    TRY(bind_rope_local(b, false, 10000));
    scale_by_width(b, GEMMA3_27B_LAYERS);
    return bind_sandwich(b, true, 6, 1);
}

const struct model_family model_gemma = {
    .arch = "gemma",
    .label = "Gemma (gemma.c)",
    .bind = bind_gemma,
    .layer = block_layer,
};

const struct model_family model_gemma2 = {
    .arch = "gemma2",
    .label = "Gemma 2 (gemma.c)",
    .bind = bind_gemma2,
    .layer = block_layer,
};

const struct model_family model_gemma3 = {
    .arch = "gemma3",
    .label = "Gemma 3, text (gemma.c)",
    .bind = bind_gemma3,
    .layer = block_layer,
};
