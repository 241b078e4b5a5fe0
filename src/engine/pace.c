/* How long steps take, and how much of a prompt fits into one: rows of prompts ride along with the
 * sequences that already answer only as far as the predicted step keeps their pace (tpot_s). Where
 * nobody decodes there is no pace to keep. The prediction is learned from every step
 * (cost/step.h), so it is right for this model, these kernels and this machine, and follows when
 * neighbours come. */
#include "base/num.h"
#include "engine/impl.h"

#define ROWS_MIN 16 /* of prompts, in every step that has some: a long prompt must get on */

uint32_t engine_pace_rows(const struct engine *e)
{
    struct cost_load decodes = { 0 };
    uint32_t pos = 0;
    bool prompts = false;
    if (!(e->params.tpot_s > 0))
        return e->info.n_rows_step;
    for (const struct engine_stream *s = e->live; s != NULL; s = s->next) {
        if (s->place == ENGINE_NO_PLACE || atomic_load_explicit(&s->paused, memory_order_relaxed))
            continue;
        if (s->seq.n_rows + 1 == s->n_ids) {
            cost_load_add(&decodes, s->seq.n_rows, 1 + s->spec.n_run);
            continue;
        }
        prompts = true;
        pos = (uint32_t)num_max(pos, s->seq.n_rows); /* the dearest of them */
    }
    if (decodes.n_rows == 0 || !prompts)
        return e->info.n_rows_step;
    return cost_steps_rows(&e->steps, &decodes, pos, ROWS_MIN, e->info.n_rows_step,
                           e->params.tpot_s);
}

void engine_pace_begin(struct engine *e, const struct sched_act *act)
{
    e->load = (struct cost_load){ 0 };
    for (uint32_t i = 0; i < act->n_items; i++)
        cost_load_add(&e->load, e->by_sched[act->items[i].id]->seq.n_rows, act->items[i].n_rows);
    e->predicted_s = cost_steps_predict(&e->steps, &e->load);
}

void engine_pace_end(struct engine *e, uint64_t ns)
{
    cost_steps_learn(&e->steps, &e->load, (double)ns * 1e-9);
    e->stats.steps_predicted += e->predicted_s > 0;
    e->stats.steps_near = e->steps.n_near;
    e->stats.step_error = e->steps.error;
}
