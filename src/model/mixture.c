#include "model/mixture.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "model/block.h"

/* --- routing --- */

/* s = softmax or sigmoid of z. */
static void scores(const struct mixture_rule *rule, const float *z, float *s)
{
    float top = z[0], sum = 0;
    for (uint32_t e = 0; e < rule->n_experts; e++)
        top = z[e] > top ? z[e] : top;
    for (uint32_t e = 0; e < rule->n_experts; e++) {
        s[e] = rule->sigmoid ? 1 / (1 + expf(-z[e])) : expf(z[e] - top);
        sum += s[e];
    }
    for (uint32_t e = 0; e < rule->n_experts && !rule->sigmoid; e++)
        s[e] /= sum;
}

/* What a group is worth: its best c, or the sum of its two best (DeepSeek-V3). */
static float group_worth(const float *c, uint32_t n, bool two)
{
    float first = -INFINITY, second = -INFINITY;
    for (uint32_t i = 0; i < n; i++) {
        if (c[i] > first) {
            second = first;
            first = c[i];
        } else if (c[i] > second) {
            second = c[i];
        }
    }
    return two && n > 1 ? first + second : first;
}

/* The largest of c that is not -inf, lowest index first; it becomes -inf. */
static uint32_t take_best(float *c, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (c[i] > c[best])
            best = i;
    c[best] = -INFINITY;
    return best;
}

/* c = -inf in all groups but the best. Not 0: all of c may be negative (architectures 2.1). */
static void keep_groups(const struct mixture_rule *rule, float *c)
{
    float worth[MIXTURE_EXPERTS_MAX];
    bool kept[MIXTURE_EXPERTS_MAX] = { false };
    uint32_t n = rule->n_experts / rule->n_groups;
    for (uint32_t g = 0; g < rule->n_groups; g++)
        worth[g] = group_worth(c + (size_t)g * n, n, rule->sigmoid);
    for (uint32_t i = 0; i < rule->n_groups_used; i++)
        kept[take_best(worth, rule->n_groups)] = true;
    for (uint32_t e = 0; e < rule->n_experts; e++)
        c[e] = kept[e / n] ? c[e] : -INFINITY;
}

void mixture_route(const struct mixture_rule *rule, const float *z, const float *bias,
                   uint32_t *experts, float *weights)
{
    float s[MIXTURE_EXPERTS_MAX], c[MIXTURE_EXPERTS_MAX], sum = 0;
    ASSERT(rule->n_experts <= MIXTURE_EXPERTS_MAX);
    ASSERT(rule->n_used <= rule->n_experts);
    scores(rule, z, s);
    for (uint32_t e = 0; e < rule->n_experts; e++)
        c[e] = bias != NULL ? s[e] + bias[e] : s[e];
    if (rule->n_groups > 1)
        keep_groups(rule, c);
    for (uint32_t i = 0; i < rule->n_used; i++) {
        experts[i] = take_best(c, rule->n_experts);
        weights[i] = s[experts[i]];
        sum += weights[i];
    }
    for (uint32_t i = 0; i < rule->n_used; i++)
        weights[i] = (rule->normalise ? weights[i] / (sum + 1e-20f) : weights[i]) * rule->scale;
}

/* --- binding --- */

int bind_mixture_rule(struct bind *b, struct mixture_rule *rule)
{
    uint32_t gate = 1, n_groups = 0, used = 0;
    float scale = 0;
    bool normalise = rule->normalise;
    *rule = (struct mixture_rule){ .n_groups = 1, .n_groups_used = 1, .n_ff = rule->n_ff };
    TRY(bind_u32(b, ".expert_count", 1, MIXTURE_EXPERTS_MAX, &rule->n_experts));
    uint32_t most = (uint32_t)num_min(rule->n_experts, MIXTURE_USED_MAX);
    TRY(bind_u32(b, ".expert_used_count", 1, most, &rule->n_used));
    TRY(bind_u32(b, ".expert_feed_forward_length", 1, MODEL_WIDTH_MAX, &rule->n_ff));
    TRY(bind_u32(b, ".expert_gating_func", 1, 2, &gate));
    TRY(bind_u32(b, ".expert_group_count", 0, rule->n_experts, &n_groups));
    TRY(bind_u32(b, ".expert_group_used_count", 0, rule->n_experts, &used));
    TRY(bind_f32(b, ".expert_weights_scale", &scale));
    TRY(model_file_bool(b->file, ".expert_weights_norm", &normalise, b->err));
    rule->sigmoid = gate == 2;
    rule->normalise = normalise;
    rule->scale = scale != 0 ? scale : 1; /* 0 stands for none */
    if (n_groups <= 1)
        return 0;
    rule->n_groups = n_groups;
    rule->n_groups_used = used;
    uint32_t n = rule->n_experts / n_groups;
    if (rule->n_experts % n_groups != 0 || used == 0 || used > n_groups || used * n < rule->n_used)
        return err_set_field(b->err, E_FORMAT, "expert_group_count",
                             "%u experts in %u groups, %u of them used, for %u experts a token: "
                             "that cannot be; convert the model again from its source",
                             rule->n_experts, n_groups, used, rule->n_used);
    return 0;
}

/* Factors on feed-forward matrices belong to NVFP4 weights; where a file has them beside others
 * they do not count (the oracle of tests/unit/model/mixture_test.c is such a file). */
void bind_drop_factors(struct block_ffn *f)
{
    struct block_linear *const parts[] = { &f->gate, &f->up, &f->down };
    for (size_t i = 0; i < COUNT_OF(parts); i++)
        if (parts[i]->mat.mat.type != KERNEL_NVFP4)
            parts[i]->scale = 1;
}

/* dims[0] matrices (dims[1], dims[2]), one behind the other in one tensor, and their factors, if
 * any (stem.scale). */
static int bind_stacked(struct bind *b, struct block_linear *out, uint32_t l, const char *stem,
                        const uint32_t dims[3])
{
    char name[BIND_NAME_MAX];
    const uint64_t ne[3] = { dims[2], dims[1], dims[0] };
    const struct model_tensor *t;
    const float *scales = NULL;
    bind_name(name, l, stem, ".weight");
    TRY(bind_tensor(b, &t, name, ne, 3));
    bind_name(name, l, stem, ".scale");
    int rc = bind_vector(b, &scales, name, dims[0]);
    if (rc < 0 && rc != E_NOT_FOUND)
        return rc;
    for (uint32_t e = 0; e < dims[0]; e++) {
        out[e] = (struct block_linear){ .scale = 1 };
        TRY(bind_mat(b, &out[e].mat, t, dims + 1, t->bytes / dims[0] * e));
        if (scales != NULL && b->touch)
            out[e].scale = scales[e];
    }
    bind_done(b, t);
    return 0;
}

/* One tensor an expert, as safetensors have them: "ffn_gate.7". */
static int bind_apart(struct bind *b, struct block_linear *out, uint32_t l, const char *stem,
                      const uint32_t dims[3])
{
    for (uint32_t e = 0; e < dims[0]; e++) {
        char one[32];
        snprintf(one, sizeof one, "%s.%u", stem, e);
        TRY(bind_linear(b, &out[e], l, one, dims[1], dims[2]));
    }
    return 0;
}

/* Matrices of all experts, in whichever form; stem "ffn_gate". */
static int bind_experts(struct bind *b, struct block_linear *out, uint32_t l, const char *stem,
                        const uint32_t dims[3])
{
    char stacked[32];
    snprintf(stacked, sizeof stacked, "%s_exps", stem);
    return bind_has(b, l, stacked) ? bind_stacked(b, out, l, stacked, dims)
                                   : bind_apart(b, out, l, stem, dims);
}

/* Gate and up of all experts in one tensor: rows of gate, then rows of up. Seen as twice as many
 * matrices. */
static int bind_gate_up(struct bind *b, struct block_ffn *experts, uint32_t l,
                        const uint32_t dims[3])
{
    const uint64_t ne[3] = { dims[2], 2 * dims[1], dims[0] };
    char name[BIND_NAME_MAX];
    const struct model_tensor *t;
    const float *scales = NULL;
    bind_name(name, l, "ffn_gate_up_exps", ".weight");
    TRY(bind_tensor(b, &t, name, ne, 3));
    bind_name(name, l, "ffn_gate_up_exps", ".scale");
    int rc = bind_vector(b, &scales, name, dims[0]);
    if (rc < 0 && rc != E_NOT_FOUND)
        return rc;
    for (uint32_t e = 0; e < dims[0]; e++) {
        size_t bytes = t->bytes / dims[0];
        TRY(bind_mat(b, &experts[e].gate.mat, t, dims + 1, bytes * e));
        TRY(bind_mat(b, &experts[e].up.mat, t, dims + 1, bytes * e + bytes / 2));
        experts[e].gate.scale = experts[e].up.scale = scales != NULL && b->touch ? scales[e] : 1;
    }
    bind_done(b, t);
    return 0;
}

static int bind_all_experts(struct bind *b, struct block_mixture *m, uint32_t l, uint32_t n_ff)
{
    uint32_t n = m->rule.n_experts, n_embd = b->m->shape.n_embd;
    const uint32_t in[3] = { n, n_ff, n_embd }, out[3] = { n, n_embd, n_ff };
    struct block_ffn *experts = arena_alloc(&b->m->arena, n, sizeof *experts);
    struct block_linear *part = mem_alloc(n, sizeof *part);
    int rc = experts != NULL && part != NULL
                 ? 0
                 : err_set(b->err, E_NOMEM, "no memory for %u experts", n);
    if (rc == 0 && bind_has(b, l, "ffn_gate_up_exps")) {
        rc = bind_gate_up(b, experts, l, in);
    } else if (rc == 0) {
        rc = bind_experts(b, part, l, "ffn_gate", in);
        for (uint32_t e = 0; rc == 0 && e < n; e++)
            experts[e].gate = part[e];
        rc = rc < 0 ? rc : bind_experts(b, part, l, "ffn_up", in);
        for (uint32_t e = 0; rc == 0 && e < n; e++)
            experts[e].up = part[e];
    }
    rc = rc < 0 ? rc : bind_experts(b, part, l, "ffn_down", out);
    for (uint32_t e = 0; rc == 0 && e < n; e++) {
        experts[e].down = part[e];
        bind_drop_factors(&experts[e]);
    }
    mem_free(part);
    m->experts = experts;
    return rc;
}

static int bind_shared(struct bind *b, struct block_mixture *m, uint32_t l, uint32_t n_ff)
{
    char name[BIND_NAME_MAX];
    uint32_t n_shared = 0, n_embd = b->m->shape.n_embd, n = 0;
    TRY(bind_u32(b, ".expert_shared_count", 0, 1024, &n_shared));
    TRY(bind_u32(b, ".expert_shared_feed_forward_length", 0, MODEL_WIDTH_MAX, &n));
    n = n != 0 ? n : (uint32_t)num_min((uint64_t)n_shared * n_ff, MODEL_WIDTH_MAX);
    n = n != 0 ? n : b->m->shape.n_ff; /* Qwen2 does not count its one */
    if (n_shared == 0 && !bind_has(b, l, "ffn_up_shexp"))
        return 0;
    bind_name(name, l, "ffn_gate_inp_shexp", ".weight");
    int rc = bind_vector(b, &m->shared_gate, name, n_embd);
    if (rc != E_NOT_FOUND)
        TRY(rc);
    bind_width(b, BUF_GATE, n);
    bind_width(b, BUF_UP, n);
    TRY(bind_linear(b, &m->shared.gate, l, "ffn_gate_shexp", n, n_embd));
    TRY(bind_linear(b, &m->shared.up, l, "ffn_up_shexp", n, n_embd));
    TRY(bind_linear(b, &m->shared.down, l, "ffn_down_shexp", n_embd, n));
    bind_drop_factors(&m->shared);
    return 0;
}

/* All experts of a layer are computed in one region: the parts must be of one type each. */
static int check_alike(struct bind *b, const struct block_mixture *m, uint32_t l)
{
    for (uint32_t e = 1; e < m->rule.n_experts; e++) {
        const struct block_ffn *f = &m->experts[e], *first = m->experts;
        if (f->gate.mat.mat.type != first->gate.mat.mat.type ||
            f->up.mat.mat.type != first->up.mat.mat.type ||
            f->down.mat.mat.type != first->down.mat.mat.type)
            return err_set_field(b->err, E_UNSUPPORTED, "ffn_down",
                                 "layer %u: expert %u has matrices of other types than expert 0, "
                                 "which is not computed; quantise the experts alike", l, e);
    }
    return 0;
}

int bind_mixture(struct bind *b, uint32_t l, const struct mixture_rule *rule)
{
    char name[BIND_NAME_MAX];
    uint32_t n_ff = rule->n_ff, n_embd = b->m->shape.n_embd, used = rule->n_used;
    struct block_mixture *m = arena_alloc(&b->m->arena, 1, sizeof *m);
    if (m == NULL)
        return err_set(b->err, E_NOMEM, "no memory for layer %u", l);
    m->rule = *rule;
    TRY(bind_linear(b, &m->router, l, "ffn_gate_inp", rule->n_experts, n_embd));
    bind_name(name, l, "exp_probs_b", ".bias");
    int rc = bind_vector(b, &m->bias, name, rule->n_experts);
    if (rc != E_NOT_FOUND)
        TRY(rc);
    uint64_t before = b->m->info.weight_bytes;
    TRY(bind_all_experts(b, m, l, n_ff));
    uint64_t bytes = b->m->info.weight_bytes - before; /* a token reads its own experts only */
    b->m->info.weight_bytes = before + bytes / rule->n_experts * rule->n_used;
    TRY(bind_shared(b, m, l, n_ff));
    TRY(check_alike(b, m, l));
    /* Two forms of activations where gate and up want different ones; 64 bytes of alignment. */
    size_t forms = 1 + (kernel_act_kind(m->experts->gate.mat.mat.type) !=
                        kernel_act_kind(m->experts->up.mat.mat.type));
    bind_width(b, BUF_GATE, (size_t)used * n_ff);
    bind_width(b, BUF_EXPERT_UP, (size_t)used * n_ff);
    bind_width(b, BUF_ROUTER, rule->n_experts);
    bind_width(b, BUF_PICKS, used);
    bind_width(b, BUF_WEIGHTS, used);
    bind_width(b, BUF_ROWS, 2 * (size_t)used);
    bind_width(b, BUF_EXPERT_IN, (forms * (num_max(n_embd, n_ff) + 32) + 16) * used);
    bind_width(b, BUF_EXPERT_OUT, (size_t)used * n_embd);
    b->m->layers[l].mixture = m;
    return 0;
}

int bind_decoder_moe(struct bind *b, bool adjacent, bool qk_norm, struct mixture_rule *rule)
{
    TRY(bind_shape_moe(b));
    rule->n_ff = rule->n_ff != 0 ? rule->n_ff : b->m->shape.n_ff;
    TRY(bind_mixture_rule(b, rule));
    TRY(bind_trunk(b, adjacent, qk_norm));
    for (uint32_t l = 0; l < b->m->shape.n_layers; l++) {
        TRY(bind_has(b, l, "ffn_gate_inp") ? bind_mixture(b, l, rule) : bind_ffn(b, l, false));
        bind_drop_factors(&b->m->layers[l].ffn);
    }
    return 0;
}
