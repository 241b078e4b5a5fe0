/* Qwen3, dense: the common decoder with a norm on each head of Q and K before RoPE, no biases, and
 * a head size that need not be embedding / heads (architectures 1.1). Halves form rotary pairs. */
#include "model/bind.h"
#include "model/block.h"

static int bind(struct bind *b)
{
    TRY(bind_shape(b));
    TRY(bind_rope(b, false));
    uint32_t window = 0;
    TRY(bind_u32(b, ".attention.sliding_window", 0, MODEL_CTX_MAX, &window));
    for (uint32_t l = 0; l < b->m->shape.n_layers; l++) {
        bool windowed = false;
        TRY(bind_norms(b, l, false));
        TRY(bind_attn(b, l, true));
        TRY(bind_ffn(b, l, false));
        TRY(bind_windowed(b, l, 0, &windowed));
        b->m->layers[l].attn.window = windowed ? window : 0;
    }
    return 0;
}

const struct model_family model_qwen3 = {
    .arch = "qwen3",
    .label = "Qwen3, dense (qwen3.c)",
    .bind = bind,
    .layer = block_layer,
};
