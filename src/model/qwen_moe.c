/* Qwen with experts: Qwen1.5-MoE, Qwen2-57B-A14B (qwen2moe), Qwen3-30B-A3B and larger (qwen3moe).
 * Attention is that of the dense families; layers with a router have experts, others stay plain
 * (mlp_only_layers, decoder_sparse_step of config.json). Weights are those of the whole softmax: as
 * they are in Qwen2, renormalised over the chosen in Qwen3 where the file does not say
 * (architectures 2.1). Qwen2 has an expert that sees every row, behind a sigmoid gate. */
#include "model/bind.h"
#include "model/block.h"
#include "model/mixture.h"

static int bind2(struct bind *b)
{
    struct mixture_rule rule = { .normalise = false };
    return bind_decoder_moe(b, false, false, &rule);
}

static int bind3(struct bind *b)
{
    struct mixture_rule rule = { .normalise = true };
    return bind_decoder_moe(b, false, true, &rule);
}

const struct model_family model_qwen2moe = {
    .arch = "qwen2moe",
    .label = "Qwen1.5, Qwen2 with experts (qwen_moe.c)",
    .bind = bind2,
    .layer = block_layer,
};

const struct model_family model_qwen3moe = {
    .arch = "qwen3moe",
    .label = "Qwen3 with experts (qwen_moe.c)",
    .bind = bind3,
    .layer = block_layer,
};
