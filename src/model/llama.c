/* Llama 2 and 3, Mistral, Mixtral, SmolLM and all else that says "llama" (architectures
 * 1.1): RMSNorm, grouped queries, RoPE, SwiGLU; no biases unless the file has them. GGUF stores
 * the rows of Q and K so that neighbouring channels form a rotary pair, safetensors so that halves
 * do. A window, where there is one (Mistral 7B v0.1), holds for all layers. Files with experts
 * (Mixtral) weigh the chosen ones by the softmax over them: the whole softmax renormalised. */
#include "model/bind.h"
#include "model/block.h"
#include "model/mixture.h"

static int bind(struct bind *b)
{
    bool adjacent = !model_file_conv(b->file).rope_split_half;
    struct mixture_rule rule = { .normalise = true };
    uint32_t n_experts = 0;
    TRY(bind_u32(b, ".expert_count", 0, UINT32_MAX, &n_experts));
    return n_experts > 0 ? bind_decoder_moe(b, adjacent, false, &rule)
                         : bind_decoder(b, adjacent, false);
}

const struct model_family model_llama = {
    .arch = "llama",
    .label = "Llama, Mistral, Mixtral, SmolLM (llama.c)",
    .bind = bind,
    .layer = block_layer,
};
