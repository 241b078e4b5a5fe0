/* Qwen2 and 2.5: the common decoder with biases on Q, K and V, and halves as rotary pairs in both
 * containers (architectures 1.1). Small ones tie the head to the embedding. Long-context files have
 * YaRN keys, and a window in the upper layers where the source switched it on. */
#include "model/bind.h"
#include "model/block.h"

static int need_biases(struct bind *b, uint32_t l)
{
    static const char *const STEMS[] = { "attn_q", "attn_k", "attn_v" };
    char name[BIND_NAME_MAX];
    if (bind_has(b, l, "attn_qkv"))
        return 0;
    for (size_t i = 0; i < COUNT_OF(STEMS); i++) {
        bind_name(name, l, STEMS[i], ".bias");
        if (model_file_tensor(b->file, name) == NULL)
            return err_set_field(b->err, E_FORMAT, name,
                                 "tensor %s is missing: Qwen2 has biases on Q, K and V; convert "
                                 "the model again from its source", name);
    }
    return 0;
}

static int bind(struct bind *b)
{
    TRY(bind_decoder(b, false, false));
    for (uint32_t l = 0; l < b->m->shape.n_layers; l++)
        TRY(need_biases(b, l));
    return 0;
}

const struct model_family model_qwen2 = {
    .arch = "qwen2",
    .label = "Qwen2, Qwen2.5 (qwen2.c)",
    .bind = bind,
    .layer = block_layer,
};
