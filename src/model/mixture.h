/* model/mixture.h - a mixture of experts: which experts see a row, and with what weight.
 *
 * Idea: a router scores all experts for each row; the best few compute, weighted (architectures 2).
 *
 *     logits z (E) --softmax | sigmoid--> s;   c = s + bias     selection looks at c, weights at s
 *     groups of E / n_groups: keep the n_groups_used best       (best: largest c; sigmoid: two
 * largest) top n_used of c;   weight = s [/ sum of the chosen] * scale
 *
 * Ties go to the lower index. Then all experts of a layer are computed in two regions of the team:
 *
 *     pairs (row, pick), sorted by expert      [ e2: r0 r3 | e5: r0 | e9: r1 r2 r3 ]
 *     region 1   experts x stretches of the hidden row:  silu(gate) * up
 *     region 2   experts x stretches of the output;      then each row adds its weighted picks
 *
 * so the weights of an expert that somebody picked are read once for all its rows, those of the
 * others not at all, and one row (decode) is spread over all threads as well as a thousand. A row
 * adds its experts in the order of their index, whatever else is in the batch; stretches are cut at
 * fixed places.
 *
 * Threads: routing is pure; block_mixture as all blocks. Cost: n_experts + rows x picks steps a
 * layer besides the products. */
#ifndef MODEL_MIXTURE_H
#define MODEL_MIXTURE_H

#include "model/bind.h"

#define MIXTURE_EXPERTS_MAX 1024u
#define MIXTURE_USED_MAX 64u

struct mixture_rule {
    uint32_t n_experts, n_used;
    uint32_t n_ff;                    /* values of an expert's hidden row */
    uint32_t n_groups, n_groups_used; /* 1, 1: no groups */
    bool sigmoid;                     /* else softmax */
    bool normalise;
    float scale;
};

/* Experts and weights of one row, best first. z (n_experts): the router's logits; bias or NULL. */
void mixture_route(const struct mixture_rule *rule, const float *z, const float *bias,
                   uint32_t *experts, float *weights);

struct block_mixture {
    struct mixture_rule rule;
    struct block_linear router;      /* (n_experts, D) */
    const float *bias;               /* (n_experts) on the selection, or NULL */
    const struct block_ffn *experts; /* (n_experts) */
    struct block_ffn shared;         /* sees every row; absent if down.mat.mat.n_out == 0 */
    const float *shared_gate;        /* (D) its output times sigmoid(gate . h), or NULL: 1 */
};

/* Reads the rule from the expert_* keys; normalise and n_ff hold what absent keys stand for, all
 * else is overwritten. E_FORMAT, E_LIMIT. */
NODISCARD int bind_mixture_rule(struct bind *b, struct mixture_rule *rule);
/* Experts of layer l: stacked (ffn_gate_exps ...), gate and up in one (ffn_gate_up_exps), or apart
 * (ffn_gate.E). */
NODISCARD int bind_mixture(struct bind *b, uint32_t l, const struct mixture_rule *rule);
/* The common decoder (bind_decoder) with experts in those layers that have a router. rule: presets
 * of bind_mixture_rule. */
NODISCARD int bind_decoder_moe(struct bind *b, bool adjacent, bool qk_norm,
                               struct mixture_rule *rule);
/* Leaves the factors of NVFP4 matrices only. */
void bind_drop_factors(struct block_ffn *f);

#endif
