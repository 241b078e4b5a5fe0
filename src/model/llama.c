/* Llama 2 and 3, Mistral, SmolLM and everything else that calls itself "llama" (architectures 1.1):
 * RMSNorm, grouped queries, RoPE, SwiGLU; no biases unless the file has them. GGUF stores the rows
 * of Q and K so that neighbouring channels form a rotary pair, safetensors so that halves do. A
 * window, where there is one (Mistral 7B v0.1), holds for all layers. */
#include "model/bind.h"
#include "model/block.h"

static int bind(struct bind *b)
{
    TRY(bind_shape(b));
    TRY(bind_rope(b, !model_file_conv(b->file).rope_split_half));
    uint32_t window = 0;
    TRY(bind_u32(b, ".attention.sliding_window", 0, MODEL_CTX_MAX, &window));
    for (uint32_t l = 0; l < b->m->shape.n_layers; l++) {
        bool windowed = false;
        TRY(bind_norms(b, l, false));
        TRY(bind_attn(b, l, false));
        TRY(bind_ffn(b, l, false));
        TRY(bind_windowed(b, l, 0, &windowed));
        b->m->layers[l].attn.window = windowed ? window : 0;
    }
    return 0;
}

const struct model_family model_llama = {
    .arch = "llama",
    .label = "Llama, Mistral, SmolLM (llama.c)",
    .bind = bind,
    .layer = block_layer,
};
