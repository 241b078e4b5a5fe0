/* Phi-3 and Phi-4-mini (architectures 1.1, 1.3): the common decoder with Q, K, V in one matrix and
 * gate and up in another, whose rows are used apart. Only the first rope.dimension_count channels
 * of a head may rotate. Long-context files carry two sets of RoPE factors: a workspace for more
 * than the original context uses the long ones for every position, so that the same text gives the
 * same numbers however far it has grown. A window (Phi-3-mini-4k: 2,047) holds for all layers. */
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
        TRY(bind_attn(b, l, false));
        TRY(bind_ffn(b, l, false));
        TRY(bind_windowed(b, l, 0, &windowed));
        b->m->layers[l].attn.window = windowed ? window : 0;
    }
    return 0;
}

const struct model_family model_phi3 = {
    .arch = "phi3",
    .label = "Phi-3, Phi-4-mini (phi3.c)",
    .bind = bind,
    .layer = block_layer,
};
