/* Llama 2 and 3, Mistral, SmolLM and everything else that calls itself "llama" (architectures 1.1):
 * RMSNorm, grouped queries, RoPE, SwiGLU; no biases unless the file has them. GGUF stores the rows
 * of Q and K so that neighbouring channels form a rotary pair, safetensors so that halves do. A
 * window, where there is one (Mistral 7B v0.1), holds for all layers. */
#include "model/bind.h"
#include "model/block.h"

static int bind(struct bind *b)
{
    return bind_decoder(b, !model_file_conv(b->file).rope_split_half, false);
}

const struct model_family model_llama = {
    .arch = "llama",
    .label = "Llama, Mistral, SmolLM (llama.c)",
    .bind = bind,
    .layer = block_layer,
};
