/* Qwen3, dense: the common decoder with a norm on each head of Q and K before RoPE, no biases, and
 * a head size that need not be embedding / heads (architectures 1.1). Halves form rotary pairs. */
#include "model/bind.h"
#include "model/block.h"

static int bind(struct bind *b)
{
    return bind_decoder(b, false, true);
}

const struct model_family model_qwen3 = {
    .arch = "qwen3",
    .label = "Qwen3, dense (qwen3.c)",
    .bind = bind,
    .layer = block_layer,
};
