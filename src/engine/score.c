/* Scoring needs the logits of every row, so the chunk is what bounds memory: rows x vocabulary
 * floats. */
#include "engine/score.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "engine/engine.h"
#include "engine/lane.h"
#include "model/model.h"
#include "text/tokenizer.h"

#define LOGITS_BYTES_MAX ((size_t)32 << 20)

/* -ln p of id. Not finite if the logits are not. */
static double nll_of(const float *logits, uint32_t n_vocab, int32_t id)
{
    double best = -INFINITY, sum = 0.0;
    for (uint32_t i = 0; i < n_vocab; i++)
        best = (double)logits[i] > best ? (double)logits[i] : best;
    for (uint32_t i = 0; i < n_vocab; i++)
        sum += exp((double)logits[i] - best);
    return best + log(sum) - (double)logits[id];
}

struct job {
    const struct engine_score_params *p;
    const int32_t *ids;
    uint32_t n, n_vocab;
    struct engine_score score;
};

/* Scores targets [at, at + n) of one window; first is fed before them. */
static int score_window(struct engine_lane *l, struct job *job, int32_t first, uint32_t at,
                        uint32_t n)
{
    engine_lane_restart(l);
    for (uint32_t done = 0; done < n;) {
        uint32_t rows = (uint32_t)num_min(l->n_rows, n - done);
        const float *logits = NULL;
        for (uint32_t i = 0; i < rows; i++)
            l->ids[i] = done + i == 0 ? first : job->ids[at + done + i - 1];
        TRY(engine_lane_feed(l, rows, 0, &logits));
        for (uint32_t i = 0; i < rows; i++) {
            double nll = nll_of(logits + (size_t)i * job->n_vocab, job->n_vocab,
                                job->ids[at + done + i]);
            if (!isfinite(nll))
                return E_NONFINITE;
            job->score.nll_sum += nll;
        }
        done += rows;
        job->score.n_scored += rows;
        if (job->p->progress != NULL &&
            !job->p->progress(job->p->progress_ctx, at + done, job->n))
            return E_CANCELLED;
    }
    return 0;
}

static int check_ids(const struct model *m, const int32_t *ids, uint32_t n, struct err *err)
{
    uint32_t n_vocab = model_info(m)->n_vocab;
    for (uint32_t i = 0; i < n; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= n_vocab)
            return err_set_field(err, E_RANGE, "ids", "ids[%u] is %d; the vocabulary has %u tokens",
                                 i, ids[i], n_vocab);
    return 0;
}

static uint32_t context_of(const struct model *m, uint32_t n_ctx)
{
    uint32_t trained = model_info(m)->n_ctx_train;
    if (n_ctx > 0)
        return n_ctx;
    return trained > 0 ? (uint32_t)num_min(trained, ENGINE_CTX_DEFAULT) : ENGINE_CTX_DEFAULT;
}

int engine_score(const struct model *m, const int32_t *ids, uint32_t n,
                 const struct engine_score_params *p, struct engine_score *out, struct err *err)
{
    struct job job = { .p = p, .ids = ids, .n = n, .n_vocab = model_info(m)->n_vocab };
    bool has_bos = p->bos != TEXT_TOKEN_NONE;
    uint32_t at = has_bos ? 0 : 1, n_ctx = context_of(m, p->n_ctx);
    if (n <= at)
        return err_set_field(err, E_RANGE, "ids", "the text has %u tokens; nothing to score", n);
    TRY(check_ids(m, ids, n, err));
    if (has_bos)
        TRY(check_ids(m, &p->bos, 1, err));
    size_t fits = num_max(LOGITS_BYTES_MAX / sizeof(float) / job.n_vocab, 1);
    uint32_t n_rows = (uint32_t)num_min(p->n_rows_step == 0 ? 128 : p->n_rows_step, fits);
    n_rows = (uint32_t)num_min(n_rows, num_min(n_ctx, n));
    struct engine_lane lane;
    int rc = engine_lane_init(&lane, m, (uint32_t)num_min(n_ctx, (size_t)n + 1), n_rows, n_rows);
    if (rc < 0)
        return err_set(err, rc, "no memory to score with a context of %u tokens", n_ctx);
    while (rc == 0 && at < n) {
        uint32_t len = (uint32_t)num_min(n_ctx, n - at);
        rc = score_window(&lane, &job, has_bos ? p->bos : ids[at - 1], at, len);
        at += len;
    }
    engine_lane_fini(&lane);
    if (rc < 0)
        return err_set(err, rc, "scoring stopped at token %llu: %s",
                       (unsigned long long)job.score.n_scored, err_code_text(rc));
    *out = job.score;
    return 0;
}

int engine_score_logits(const struct model *m, const int32_t *ids, uint32_t n, float *logits,
                        struct err *err)
{
    uint32_t n_vocab = model_info(m)->n_vocab, n_ctx = context_of(m, model_info(m)->n_ctx_train);
    const float *row = NULL;
    if (n == 0)
        return err_set_field(err, E_RANGE, "ids", "no ids; give at least one token");
    if (n > n_ctx)
        return err_set_field(err, E_LIMIT, "ids", "%u tokens; the model's context holds %u", n,
                             n_ctx);
    TRY(check_ids(m, ids, n, err));
    struct engine_lane lane;
    int rc = engine_lane_init(&lane, m, n, (uint32_t)num_min(n, 128), 1);
    if (rc < 0)
        return err_set(err, rc, "no memory for a context of %u tokens", n);
    for (uint32_t done = 0; done < n && rc == 0;) {
        uint32_t rows = (uint32_t)num_min(lane.n_rows, n - done);
        memcpy(lane.ids, ids + done, rows * sizeof *ids);
        done += rows;
        rc = engine_lane_feed(&lane, rows, done == n ? rows - 1 : rows, &row);
    }
    if (rc == 0)
        memcpy(logits, row, n_vocab * sizeof *logits);
    engine_lane_fini(&lane);
    return rc < 0 ? err_set(err, rc, "the model's computation failed: %s", err_code_text(rc)) : 0;
}
