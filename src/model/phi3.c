/* Phi-3 and Phi-4-mini (architectures 1.1, 1.3): the common decoder with Q, K, V in one matrix and
 * gate and up in another, whose rows are used apart. Only the first rope.dimension_count channels
 * of a head may rotate. Long-context files carry two sets of RoPE factors: a workspace for more
 * than the original context uses the long ones for every position, so that the same text gives the
 * same numbers however far it has grown. A window (Phi-3-mini-4k: 2,047) holds for all layers. */
#include "model/bind.h"
#include "model/block.h"

static int bind(struct bind *b)
{
    return bind_decoder(b, false, false);
}

const struct model_family model_phi3 = {
    .arch = "phi3",
    .label = "Phi-3, Phi-4-mini (phi3.c)",
    .bind = bind,
    .layer = block_layer,
};
