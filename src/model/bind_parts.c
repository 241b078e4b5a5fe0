/* The parts that families share, put together from keys and tensors. */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "model/bind.h"
#include "model/block.h"

void bind_width(struct bind *b, enum model_buf buf, size_t n)
{
    ASSERT(n <= (size_t)2 * MODEL_WIDTH_MAX);
    if (b->m->width[buf] < n)
        b->m->width[buf] = (uint32_t)n;
}

uint32_t bind_stream(struct bind *b, const struct model_stream *s)
{
    struct model_layout *l = &b->m->layout;
    ASSERT(l->n_streams < 2 * b->m->shape.n_layers);
    l->streams[l->n_streams] = *s;
    return l->n_streams++;
}

/* --- shape --- */

/* A product of two numbers of the file that becomes the width of a buffer. */
static int check_width(struct bind *b, const char *what, uint32_t n, uint32_t size)
{
    if ((uint64_t)n * size <= MODEL_WIDTH_MAX)
        return 0;
    return err_set_field(b->err, E_LIMIT, what, "%s: %u x %u values, at most %u are computed with",
                         what, n, size, MODEL_WIDTH_MAX);
}

/* A head count; the largest of all layers where the family takes one for each. */
static int read_head_count(struct bind *b, const char *key, uint32_t max, uint32_t *out)
{
    uint32_t most = *out, x;
    if (!b->heads_by_layer)
        return bind_u32(b, key, 1, max, out);
    for (uint32_t l = 0; l < b->m->shape.n_layers; l++) {
        x = *out;
        TRY(model_file_item_u32(b->file, key, l, &x, b->err));
        most = l == 0 || x > most ? x : most;
    }
    if (most < 1 || most > max)
        return err_set_field(b->err, E_FORMAT, key, "key %s: no layer has from 1 to %u heads",
                             key, max);
    *out = most;
    return 0;
}

static int read_heads(struct bind *b, struct model_shape *s)
{
    TRY(read_head_count(b, ".attention.head_count", 65536, &s->n_heads));
    s->n_kv_heads = s->n_heads;
    TRY(read_head_count(b, ".attention.head_count_kv", s->n_heads, &s->n_kv_heads));
    if (s->n_heads % s->n_kv_heads != 0)
        return err_set_field(b->err, E_FORMAT, "attention.head_count_kv",
                             "attention.head_count_kv: %u does not divide the %u heads",
                             s->n_kv_heads, s->n_heads);
    s->k_dim = s->v_dim = s->n_embd / s->n_heads;
    TRY(bind_u32(b, ".attention.key_length", 1, MODEL_WIDTH_MAX, &s->k_dim));
    TRY(bind_u32(b, ".attention.value_length", 1, MODEL_WIDTH_MAX, &s->v_dim));
    float scale = 0;
    TRY(bind_f32(b, ".attention.scale", &scale));
    s->attn_scale = scale > 0 ? scale : (float)(1 / sqrt((double)s->k_dim)); /* 0 stands for none */
    TRY(check_width(b, "attention.key_length", s->n_heads, s->k_dim));
    return check_width(b, "attention.value_length", s->n_heads, s->v_dim);
}

/* Embedding, output norm and head. */
static int bind_ends(struct bind *b, struct model_shape *s)
{
    struct model *m = b->m;
    const struct model_tensor *t = model_file_tensor(b->file, "token_embd.weight");
    if (t != NULL && t->ne[1] >= 1 && t->ne[1] <= MODEL_VOCAB_MAX)
        s->n_vocab = (uint32_t)t->ne[1];
    else if (t != NULL)
        return err_set_field(b->err, E_LIMIT, "token_embd.weight",
                             "tensor token_embd.weight has %llu rows, from 1 to %u are computed "
                             "with",
                             (unsigned long long)t->ne[1], MODEL_VOCAB_MAX);
    TRY(bind_linear(b, &m->embd, BIND_GLOBAL, "token_embd", s->n_vocab, s->n_embd));
    if (m->embd.mat.bias != NULL || m->embd.scale != 1)
        return err_set_field(b->err, E_UNSUPPORTED, "token_embd",
                             "a bias or scale of token_embd is "
                             "not computed with");
    TRY(bind_norm(b, &m->output_norm, BIND_GLOBAL, "output_norm", s->n_embd));
    m->head = m->embd;
    if (!bind_has(b, BIND_GLOBAL, "output"))
        return 0;
    TRY(bind_linear(b, &m->head, BIND_GLOBAL, "output", s->n_vocab, s->n_embd));
    m->info.weight_bytes -= t->bytes; /* one row of it is read a token */
    return 0;
}

int bind_shape_moe(struct bind *b)
{
    struct model *m = b->m;
    struct model_shape *s = &m->shape;
    TRY(bind_u32(b, ".block_count", 1, MODEL_LAYERS_MAX, &s->n_layers));
    TRY(bind_u32(b, ".embedding_length", 1, MODEL_WIDTH_MAX, &s->n_embd));
    TRY(bind_u32(b, ".feed_forward_length", 1, MODEL_WIDTH_MAX, &s->n_ff));
    TRY(bind_u32(b, ".context_length", 1, MODEL_CTX_MAX, &s->n_ctx));
    TRY(read_heads(b, s));
    TRY(bind_f32(b, ".attention.layer_norm_rms_epsilon", &s->eps));
    if (!(s->eps > 0 && s->eps < 1))
        return err_set_field(b->err, E_FORMAT, "attention.layer_norm_rms_epsilon",
                             "key %s.attention.layer_norm_rms_epsilon is missing or not between 0 "
                             "and "
                             "1; convert the model again from its source",
                             model_file_arch(b->file));
    s->embd_scale = 1;
    m->layers = arena_alloc(&m->arena, s->n_layers, sizeof *m->layers);
    m->layout.streams = arena_alloc(&m->arena, (size_t)2 * s->n_layers, sizeof *m->layout.streams);
    if (m->layers == NULL || m->layout.streams == NULL)
        return err_set(b->err, E_NOMEM, "no memory for %u layers", s->n_layers);
    bind_width(b, BUF_X, s->n_embd);
    bind_width(b, BUF_H, s->n_embd);
    bind_width(b, BUF_Y, s->n_embd);
    return bind_ends(b, s);
}

int bind_shape(struct bind *b)
{
    uint32_t n_experts = 0;
    TRY(bind_u32(b, ".expert_count", 0, UINT32_MAX, &n_experts));
    if (n_experts > 0)
        return err_set_field(b->err, E_UNSUPPORTED, "expert_count",
                             "%s.expert_count is %u: a mixture of experts is not computed in this "
                             "family yet; take a dense model",
                             model_file_arch(b->file), n_experts);
    return bind_shape_moe(b);
}

/* --- RoPE --- */

/* Fills ropes[i]; the name of a factor tensor, or NULL. */
static int make_rope(struct bind *b, uint32_t i, struct rope_params *p, const char *factors)
{
    struct model *m = b->m;
    if (factors != NULL) {
        int rc = bind_vector(b, &p->factors, factors, p->n_dims / 2);
        if (rc == E_NOT_FOUND)
            return err_set_field(b->err, E_FORMAT, factors, "tensor %s (%u) is missing", factors,
                                 p->n_dims / 2);
        TRY(rc);
    }
    if (!b->touch)
        p->factors = NULL;
    double *inv = arena_alloc(&m->arena, p->n_dims / 2, sizeof *inv);
    if (inv == NULL)
        return err_set(b->err, E_NOMEM, "no memory for RoPE");
    bind_width(b, i == 0 ? BUF_CS0 : BUF_CS1, p->n_dims);
    if (rope_init(&m->ropes[i], p, inv) < 0)
        return err_set_field(b->err, E_FORMAT, "rope",
                             "the rope keys or factors make no sense (%u dimensions, base %g, "
                             "factor "
                             "%g, original context %u); convert the model again from its source",
                             p->n_dims, p->base, p->factor, p->n_ctx_orig);
    return 0;
}

/* "none", "linear", "dynamic", "yarn", "longrope" -> kind; dynamic counts only beyond the trained
 * context, which is never left (engine_params.n_ctx), so it is plain here. */
static int read_scaling(struct bind *b, struct rope_params *p, bool *longrope)
{
    struct text_str type = { NULL, 0 };
    float factor = 1, linear = 1;
    TRY(model_file_str(b->file, ".rope.scaling.type", &type, b->err));
    TRY(bind_f32(b, ".rope.scale_linear", &linear)); /* old files */
    factor = linear;
    TRY(bind_f32(b, ".rope.scaling.factor", &factor));
    p->factor = factor > 0 ? (double)factor : 1; /* 0 in files stands for none */
    static const struct {
        const char *name;
        enum rope_kind kind;
    } KINDS[] = { { "none", ROPE_PLAIN },
                  { "linear", ROPE_LINEAR },
                  { "dynamic", ROPE_PLAIN },
                  { "yarn", ROPE_YARN },
                  { "longrope", ROPE_PLAIN } };
    p->kind = linear > 0 && linear != 1 ? ROPE_LINEAR : ROPE_PLAIN;
    if (type.data == NULL)
        return 0;
    for (size_t i = 0; i < COUNT_OF(KINDS); i++)
        if (strlen(KINDS[i].name) == type.len && memcmp(KINDS[i].name, type.data, type.len) == 0) {
            p->kind = KINDS[i].kind;
            *longrope = type.len == 8;
            return 0;
        }
    return err_set_field(b->err, E_UNSUPPORTED, "rope.scaling.type",
                         "rope.scaling.type \"%.*s\" is not computed; none, linear, dynamic, yarn "
                         "and "
                         "longrope are",
                         (int)num_min(type.len, 40), type.data);
}

/* The factor on cos and sin (architectures 1.3). Without yarn_log_multiplier YaRN lengthens by
 * 0.1 ln s + 1; DeepSeek's files have it and scale the softmax instead. */
static int read_magnitude(struct bind *b, struct rope_params *p, bool longrope)
{
    float attn = 0, log_mul = 0;
    TRY(bind_f32(b, ".rope.scaling.attn_factor", &attn));
    TRY(bind_f32(b, ".rope.scaling.yarn_log_multiplier", &log_mul));
    p->magnitude = attn > 0 ? (double)attn : 1;
    if (p->kind == ROPE_YARN && log_mul == 0 && p->factor > 1)
        p->magnitude *= 0.1 * log(p->factor) + 1;
    double n = b->m->shape.n_ctx, orig = p->n_ctx_orig;
    if (longrope && attn <= 0 && n > orig && orig > 1)
        p->magnitude = sqrt(1 + log(n / orig) / log(orig));
    return 0;
}

int bind_rope(struct bind *b, bool adjacent)
{
    struct model *m = b->m;
    float base = 10000, fast = 32, slow = 1;
    bool longrope = false;
    struct rope_params p = { .n_dims = m->shape.k_dim, .adjacent = adjacent };
    TRY(bind_u32(b, ".rope.dimension_count", 2, m->shape.k_dim, &p.n_dims));
    TRY(bind_f32(b, ".rope.freq_base", &base));
    TRY(bind_f32(b, ".rope.scaling.yarn_beta_fast", &fast));
    TRY(bind_f32(b, ".rope.scaling.yarn_beta_slow", &slow));
    p.base = (double)base;
    p.beta_fast = (double)fast;
    p.beta_slow = (double)slow;
    p.n_ctx_orig = m->shape.n_ctx;
    TRY(bind_u32(b, ".rope.scaling.original_context_length", 1, MODEL_CTX_MAX, &p.n_ctx_orig));
    TRY(read_scaling(b, &p, &longrope));
    TRY(read_magnitude(b, &p, longrope));
    if (bind_has(b, BIND_GLOBAL, "rope_factors_short")) {
        TRY(make_rope(b, 0, &p, "rope_factors_short.weight"));
        m->long_rope_from = p.n_ctx_orig;
        return make_rope(b, 1, &p, "rope_factors_long.weight");
    }
    bool factors = bind_has(b, BIND_GLOBAL, "rope_freqs");
    return make_rope(b, 0, &p, factors ? "rope_freqs.weight" : NULL);
}

int bind_rope_local(struct bind *b, bool adjacent, float base)
{
    struct rope_params p = { .kind = ROPE_PLAIN,
                             .n_dims = b->m->ropes[0].n_dims,
                             .adjacent = adjacent,
                             .factor = 1,
                             .magnitude = 1 };
    TRY(bind_f32(b, ".rope.freq_base_swa", &base));
    p.base = (double)base;
    return make_rope(b, 1, &p, NULL);
}

/* --- layers --- */

int bind_norms(struct bind *b, uint32_t l, bool post)
{
    struct block_layer *layer = &b->m->layers[l];
    uint32_t n = b->m->shape.n_embd;
    TRY(bind_norm(b, &layer->attn_norm, l, "attn_norm", n));
    TRY(bind_norm(b, &layer->ffn_norm, l, "ffn_norm", n));
    if (!post)
        return 0;
    TRY(bind_norm(b, &layer->post_attn_norm, l, "post_attention_norm", n));
    return bind_norm(b, &layer->post_ffn_norm, l, "post_ffw_norm", n);
}

static int bind_qkv(struct bind *b, uint32_t l, struct block_attn *a)
{
    uint32_t n_embd = b->m->shape.n_embd;
    uint32_t n_q = a->n_heads * a->k_dim, n_k = a->n_kv_heads * a->k_dim;
    uint32_t n_v = a->n_kv_heads * a->v_dim;
    if (!bind_has(b, l, "attn_qkv")) {
        TRY(bind_linear(b, &a->q, l, "attn_q", n_q, n_embd));
        TRY(bind_linear(b, &a->k, l, "attn_k", n_k, n_embd));
        return bind_linear(b, &a->v, l, "attn_v", n_v, n_embd);
    }
    struct block_linear all = { .scale = 1 };
    TRY(bind_whole(b, &all, l, "attn_qkv", n_q + n_k + n_v, n_embd));
    TRY(bind_rows(b, &a->q, &all, 0, n_q));
    TRY(bind_rows(b, &a->k, &all, n_q, n_k));
    return bind_rows(b, &a->v, &all, n_q + n_k, n_v);
}

int bind_attn(struct bind *b, uint32_t l, bool qk_norm)
{
    const struct model_shape *s = &b->m->shape;
    struct block_attn *a = &b->m->layers[l].attn;
    a->n_heads = s->n_heads;
    a->n_kv_heads = s->n_kv_heads;
    a->k_dim = s->k_dim;
    a->v_dim = s->v_dim;
    a->scale = s->attn_scale;
    TRY(bind_qkv(b, l, a));
    TRY(bind_linear(b, &a->o, l, "attn_output", s->n_embd, s->n_heads * s->v_dim));
    if (qk_norm) {
        TRY(bind_norm(b, &a->q_norm, l, "attn_q_norm", s->k_dim));
        TRY(bind_norm(b, &a->k_norm, l, "attn_k_norm", s->k_dim));
    }
    struct model_stream rows = {
        .kind = MODEL_ROWS, .layer = l, .n_heads = s->n_kv_heads, .stride = 1, .type = b->m->kv_type
    };
    rows.name = "k";
    rows.row_values = s->k_dim;
    a->k_stream = bind_stream(b, &rows);
    rows.name = "v";
    rows.row_values = s->v_dim;
    a->v_stream = bind_stream(b, &rows);
    block_attn_plan(b->m, s->n_heads / s->n_kv_heads, s->k_dim, s->v_dim);
    bind_width(b, BUF_Q, (size_t)s->n_heads * s->k_dim);
    bind_width(b, BUF_K, (size_t)s->n_kv_heads * s->k_dim);
    bind_width(b, BUF_V, (size_t)s->n_kv_heads * s->v_dim);
    bind_width(b, BUF_A, (size_t)s->n_heads * s->v_dim);
    return 0;
}

int bind_ffn(struct bind *b, uint32_t l, bool gelu)
{
    const struct model_shape *s = &b->m->shape;
    struct block_ffn *f = &b->m->layers[l].ffn;
    f->gelu = gelu;
    if (bind_has(b, l, "ffn_gate")) {
        TRY(bind_linear(b, &f->gate, l, "ffn_gate", s->n_ff, s->n_embd));
        TRY(bind_linear(b, &f->up, l, "ffn_up", s->n_ff, s->n_embd));
    } else {
        struct block_linear both = { .scale = 1 };
        TRY(bind_whole(b, &both, l, "ffn_up", 2 * s->n_ff, s->n_embd));
        TRY(bind_rows(b, &f->gate, &both, 0, s->n_ff));
        TRY(bind_rows(b, &f->up, &both, s->n_ff, s->n_ff));
    }
    bind_width(b, BUF_GATE, s->n_ff);
    bind_width(b, BUF_UP, s->n_ff);
    return bind_linear(b, &f->down, l, "ffn_down", s->n_embd, s->n_ff);
}

int bind_trunk(struct bind *b, bool adjacent, bool qk_norm)
{
    TRY(bind_rope(b, adjacent));
    uint32_t window = 0;
    TRY(bind_u32(b, ".attention.sliding_window", 0, MODEL_CTX_MAX, &window));
    for (uint32_t l = 0; l < b->m->shape.n_layers; l++) {
        bool windowed = false;
        TRY(bind_norms(b, l, false));
        TRY(bind_attn(b, l, qk_norm));
        TRY(bind_windowed(b, l, 0, &windowed));
        b->m->layers[l].attn.window = windowed ? window : 0;
    }
    return 0;
}

int bind_decoder(struct bind *b, bool adjacent, bool qk_norm)
{
    TRY(bind_shape(b));
    TRY(bind_trunk(b, adjacent, qk_norm));
    for (uint32_t l = 0; l < b->m->shape.n_layers; l++)
        TRY(bind_ffn(b, l, false));
    return 0;
}
