/* BitNet b1.58 (Ma et al. 2024, arXiv 2402.17764): a decoder of the common form with a norm before
 * the output projection and one before the down projection too (attn_sub_norm, ffn_sub_norm).
 * Ternary weights are computed with in the type the file stores them in; the 8-bit rounding of
 * activations that such models are trained with is left out. Halves form rotary pairs. */
#include "model/bind.h"
#include "model/block.h"

static int bind(struct bind *b)
{
    TRY(bind_shape(b));
    TRY(bind_rope(b, false));
    const struct model_shape *s = &b->m->shape;
    for (uint32_t l = 0; l < s->n_layers; l++) {
        struct block_layer *layer = &b->m->layers[l];
        TRY(bind_norms(b, l, false));
        TRY(bind_attn(b, l, false));
        TRY(bind_ffn(b, l, false));
        TRY(bind_norm(b, &layer->attn.sub_norm, l, "attn_sub_norm", s->n_heads * s->v_dim));
        TRY(bind_norm(b, &layer->ffn.sub_norm, l, "ffn_sub_norm", s->n_ff));
    }
    return 0;
}

const struct model_family model_bitnet = {
    .arch = "bitnet",
    .label = "BitNet b1.58 (bitnet.c)",
    .bind = bind,
    .layer = block_layer,
};
