/* Reads off a file what its model moves and multiplies. Tensor names are GGUF's in both containers;
 * a tensor of the layers with two or more dimensions is a matrix that every row meets, one with
 * three and "_exps" in its name (or "ffn_gate.7", safetensors) belongs to the experts. Of MLA the
 * per-head matrices attn_k_b and attn_v_b are matrices like any other. */
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "cost/floor.h"
#include "kernel/type.h"
#include "model/model.h"

static void count(struct cost_matrices *m, const struct model_tensor *t)
{
    double n = (double)t->ne[0] * (double)t->ne[1] * (double)t->ne[2] * (double)t->ne[3];
    bool floats = t->type == KERNEL_F32 || t->type == KERNEL_F16 || t->type == KERNEL_BF16;
    m->bytes += (double)t->bytes;
    *(floats ? &m->float_params : &m->int_params) += n;
}

static bool contains(struct text_str s, const char *part)
{
    return memmem(s.data, s.len, part, strlen(part)) != NULL;
}

/* "blk.3.ffn_up_exps.weight", "blk.3.ffn_up.7.weight" */
static bool is_expert(struct text_str name)
{
    unsigned layer, expert;
    char text[128], stem[32];
    if (contains(name, "_exps."))
        return true;
    snprintf(text, sizeof text, "%.*s", (int)num_min(name.len, sizeof text - 1), name.data);
    return sscanf(text, "blk.%u.ffn_%31[a-z].%u.", &layer, stem, &expert) == 3;
}

static void count_tensors(struct cost_model *c, const struct model_file *f, uint32_t n_layers)
{
    bool tied = model_file_tensor(f, "output.weight") == NULL;
    for (uint32_t i = 0; i < model_file_n_tensors(f); i++) {
        const struct model_tensor *t = model_file_tensor_at(f, i);
        unsigned layer = 0;
        char head[24];
        snprintf(head, sizeof head, "%.*s", (int)num_min(t->name.len, sizeof head - 1),
                 t->name.data);
        const char *last = tied ? "token_embd.weight" : "output.weight";
        if (t->name.len == strlen(last) && memcmp(t->name.data, last, t->name.len) == 0)
            count(&c->head, t);
        if (sscanf(head, "blk.%u.", &layer) != 1 || layer >= n_layers || t->n_dims < 2)
            continue;
        count(is_expert(t->name) ? &c->experts : &c->dense, t);
    }
}

/* Operations of one row and one position in a stream's layer: query times key and weight times
 * value, for all heads that share the row. */
static double stream_ops(const struct model_stream *s, const struct model_info *info,
                         uint32_t latent_rank)
{
    if (strcmp(s->name, "latent") == 0)
        return 2.0 * info->n_heads * (s->row_values + latent_rank);
    return 2.0 * info->n_heads * s->row_values;
}

static struct cost_attention *group(struct cost_model *c, const struct cost_attention *like)
{
    for (uint32_t i = 0; i < c->n_attention; i++) {
        struct cost_attention *a = &c->attention[i];
        if (a->window == like->window && a->bytes_per_token == like->bytes_per_token &&
            a->ops_per_position == like->ops_per_position)
            return a;
    }
    if (c->n_attention == COST_ATTENTION_MAX)
        return NULL;
    c->attention[c->n_attention] = *like;
    c->attention[c->n_attention].n_layers = 0;
    return &c->attention[c->n_attention++];
}

static int count_streams(struct cost_model *c, const struct model_file *f, const struct model *m,
                         struct err *err)
{
    const struct model_layout *l = model_layout(m);
    uint32_t rank = 0;
    TRY(model_file_u32(f, ".attention.kv_lora_rank", &rank, err));
    for (uint32_t i = 0; i < l->n_streams; i++) {
        const struct model_stream *s = &l->streams[i];
        if (s->kind != MODEL_ROWS)
            continue;
        struct cost_attention one = {
            .window = s->window,
            .bytes_per_token = (double)s->row_bytes * s->n_heads / s->stride,
            .ops_per_position = stream_ops(s, model_info(m), rank) / s->stride,
        };
        struct cost_attention *g = group(c, &one);
        if (g == NULL)
            return err_set(err, E_LIMIT, "layers of more than %d kinds of state",
                           COST_ATTENTION_MAX);
        g->n_layers++; /* a layer of keys and one of values, each with its own bytes */
    }
    return 0;
}

int cost_model_of(struct cost_model *out, const struct model_file *f, const struct model *m,
                  struct err *err)
{
    struct cost_model c = { 0 };
    TRY(model_file_u32(f, ".expert_count", &c.n_experts, err));
    TRY(model_file_u32(f, ".expert_used_count", &c.n_used, err));
    count_tensors(&c, f, model_info(m)->n_layers);
    if (c.experts.bytes == 0 || c.n_used == 0 || c.n_used > c.n_experts)
        c.n_experts = c.n_used = 0;
    TRY(count_streams(&c, f, m, err));
    *out = c;
    return 0;
}
