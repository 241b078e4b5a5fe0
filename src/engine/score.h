/* engine/score.h - how likely is this text, and what comes next: the model without a schedule.
 *
 * Idea: `naru score` and `naru logits` need exact numbers of one sequence at a time. They use the
 * model directly with a small pool of their own; nothing is shared with a running engine.
 *
 *     ids     [ a b c d e f g h ]                    n_ctx 4, with bos
 *     fed     [ bos a b c ]    [ bos e f g ]         one window after the other, state forgotten
 *     scored    a b c d          e f g h             every token once
 *
 * With a bos every window begins with it. Without one a window begins with the last token of the
 * window before, so that every token but the first of the text is scored exactly once.
 *
 * Ownership: all borrowed for the call.   Threads: the caller's, plus the device's team.
 * Cost: one prefill of the text; memory: KV of n_ctx tokens and logits of one chunk. */
#ifndef ENGINE_SCORE_H
#define ENGINE_SCORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct model;

struct engine_score_params {
    uint32_t n_ctx;            /* window; 0: the trained context, at most ENGINE_CTX_DEFAULT */
    uint32_t n_rows_step;      /* 0: 128 */
    int32_t bos;               /* begins every window; TEXT_TOKEN_NONE: none. Not in ids then. */
    /* NULL: none; returning false stops: E_CANCELLED */
    bool (*progress)(void *ctx, uint32_t done, uint32_t total);
    void *progress_ctx;
};

struct engine_score {
    uint64_t n_scored;
    double nll_sum;            /* of -ln p */
};

/* Scores ids. E_RANGE (an id outside the vocabulary, nothing to score), E_NOMEM, E_NONFINITE. */
NODISCARD int engine_score(const struct model *m, const int32_t *ids, uint32_t n,
                           const struct engine_score_params *p, struct engine_score *out,
                           struct err *err);

/* Logits (n_vocab) of the last position after ids, which must fit into the context the model was
 * trained for (E_LIMIT with both numbers). */
NODISCARD int engine_score_logits(const struct model *m, const int32_t *ids, uint32_t n,
                                  float *logits, struct err *err);

#endif
