/* engine/sampler.h - from logits to one token.
 *
 * Idea: a chain of edits of the distribution, each with a neutral value that switches it off, then
 * one draw. The order is fixed and part of the interface:
 *
 *     logits -> bias -> forbid -> mask hook -> penalties
 *            -> temperature 0: argmax, lowest id on ties
 *            -> else: temperature -> top-k -> typical -> top-p -> min-p -> draw
 *
 *   bias         logit += bias for the ids listed (OpenAI logit_bias; -100 and below forbids)
 *   penalties    over the last `penalty_window` tokens (0: all): a token seen in prompt or output
 *                has a positive logit divided, a negative one multiplied by `repetition` (Keskar
 *                2019); a token generated n > 0 times loses presence + n x frequency (OpenAI)
 *   top-k        the k best; of equal logits at the border the lower ids stay
 *   typical      smallest set of tokens whose surprise is nearest the entropy, mass >= p
 *                (Meister 2022)
 *   top-p        shortest run of best tokens with mass >= p of what the former filters left
 *   min-p        tokens with at least min_p x the best one's probability (Nguyen 2024)
 *
 * The draw is a function of (seed, position, distribution) only: batching, threads and preemption
 * do not change it. Log probabilities reported are those of the model: before bias,
 * penalties and temperature.
 *
 * Invariants: a filter never empties the set; the input logits are not written.
 * Ownership: the sampler owns scratch for one vocabulary; all inputs are borrowed for the call.
 * Threads: one at a time per sampler.
 * Cost: vectorised passes over V, then radix selection among what may be kept, linear too; never
 * a full sort. Nothing is allocated after create. */
#ifndef ENGINE_SAMPLER_H
#define ENGINE_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "kernel/kernel.h"

#define ENGINE_TOP_MAX 20   /* alternatives reported a token */
#define ENGINE_BIAS_MAX 1024 /* L5 */

struct engine_sampler_params {
    float temperature;        /* 0: greedy; up to 100 */
    uint32_t top_k;           /* 0: off */
    float top_p;              /* (0, 1]; 1: off */
    float min_p;              /* [0, 1]; 0: off */
    float typical_p;          /* (0, 1]; 1: off */
    float repetition_penalty; /* (0, 100]; 1: off */
    float presence_penalty;   /* [-100, 100]; 0: off */
    float frequency_penalty;  /* [-100, 100]; 0: off */
    uint32_t penalty_window;  /* tokens the penalties look back; 0: all */
    uint64_t seed;            /* the caller draws one where the user gave none */
};

/* Temperature 1, everything else off, seed 0: the model's own distribution. */
struct engine_sampler_params engine_sampler_defaults(void);
/* E_RANGE with err->field one of the names above. NaN and infinities are refused. */
NODISCARD int engine_sampler_check(const struct engine_sampler_params *p, struct err *err);

struct engine_bias {
    int32_t id;
    float bias;               /* [-100, 100] as OpenAI has it; -100 forbids the token */
};

/* Constrained output: edits the logits (n_vocab, -INFINITY forbids) before penalties and sampling,
 * and is told every token chosen. Called on the engine thread; must not block. */
struct engine_mask {
    void (*apply)(void *ctx, float *logits, uint32_t n_vocab);
    void (*accept)(void *ctx, int32_t id); /* may be NULL */
    void *ctx;
};

struct engine_top {
    int32_t id;
    float logprob;
};

struct engine_sampled {
    int32_t id;
    float logprob;            /* of id; 0 if not asked for */
    uint32_t n_top;
    struct engine_top top[ENGINE_TOP_MAX]; /* best first, ties by id */
};

struct engine_sampler_input {
    const float *logits;      /* (n_vocab) */
    const int32_t *ids;       /* (n_ids) prompt and output so far; n_ids: position drawn for */
    uint32_t n_ids, n_prompt;
    const struct engine_bias *bias;
    uint32_t n_bias;
    const int32_t *forbid;    /* ids that may not come (end tokens before min_tokens) */
    uint32_t n_forbid;
    const struct engine_mask *mask; /* NULL: none */
    bool logprobs;
    uint32_t n_top;           /* at most ENGINE_TOP_MAX */
};

struct engine_sampler;
/* Borrows the kernels. E_RANGE, E_NOMEM. */
NODISCARD int engine_sampler_create(struct engine_sampler **out, uint32_t n_vocab,
                                    const struct kernel_table *k);
void engine_sampler_destroy(struct engine_sampler *s);

/* E_NONFINITE if the logits hold NaN or +infinity, or if no token is left that may come. */
NODISCARD int engine_sampler_pick(struct engine_sampler *s, const struct engine_sampler_params *p,
                                  const struct engine_sampler_input *in,
                                  struct engine_sampled *out);

#endif
