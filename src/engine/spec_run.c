/* What the step does with guesses: makes them for the coming step once a sequence's tokens are
 * known, and learns from what was drawn. Draft lanes are few and made with the engine: sequences
 * beyond them look up only. */
#include <string.h>

#include "base/num.h"
#include "engine/impl.h"

#define CHUNK 128u        /* rows of a draft lane's forward */
#define CHUNKS_A_STEP 2u  /* what others wait for while a draft lane reads a prompt */
#define ASK_AGAIN 48u     /* tokens after which a draft model that did not pay is tried again */

/* --- create and destroy --- */

int engine_spec_settle(struct engine *e, struct err *err)
{
    struct engine_params *p = &e->params;
    const struct model *d = p->draft;
    if (p->n_spec > ENGINE_SPEC_MAX)
        return err_set_field(err, E_RANGE, "n_spec", "n_spec is %u, at most %d guesses are run",
                             p->n_spec, ENGINE_SPEC_MAX);
    p->n_spec = p->n_spec == 0 ? ENGINE_SPEC_DEFAULT : p->n_spec;
    if (p->spec == ENGINE_SPEC_DRAFT && d == NULL)
        return err_set_field(err, E_RANGE, "draft", "no draft model is given");
    if (p->spec == ENGINE_SPEC_DRAFT &&
        (model_info(d)->n_vocab != e->n_vocab || model_layout(d)->slot_bytes > 0))
        return err_set_field(err, E_RANGE, "draft",
                             "the draft model has %u tokens, the model %u: it must have the same "
                             "vocabulary, and no recurrent state",
                             model_info(d)->n_vocab, e->n_vocab);
    if (model_layout(p->model)->slot_bytes > 0)
        p->spec = ENGINE_SPEC_OFF; /* state that cannot be taken back */
    e->info.spec = p->spec;
    size_t rows = p->spec == ENGINE_SPEC_OFF ? 0 : num_min(ENGINE_SPEC_ROWS,
                                                           p->n_rows_step - p->n_seqs_max);
    e->n_want_max = p->n_seqs_max + (uint32_t)rows;
    return 0;
}

int engine_spec_create(struct engine *e)
{
    const struct engine_params *p = &e->params;
    if (p->spec != ENGINE_SPEC_DRAFT)
        return 0;
    for (; e->n_lanes < ENGINE_LANES && e->n_lanes < p->n_seqs_max; e->n_lanes++) {
        TRY(engine_lane_init(&e->lanes[e->n_lanes], p->draft, p->n_ctx, CHUNK, 1));
        e->lane_free[e->n_lanes] = true;
    }
    return 0;
}

void engine_spec_destroy(struct engine *e)
{
    for (uint32_t i = 0; i < e->n_lanes; i++)
        engine_lane_fini(&e->lanes[i]);
}

void engine_spec_begin(struct engine_stream *s)
{
    s->spec.lane = ENGINE_NO_LANE;
    s->spec.on = s->engine->params.spec != ENGINE_SPEC_OFF && !s->r.no_spec;
}

void engine_spec_end(struct engine *e, struct engine_stream *s)
{
    if (s->spec.lane != ENGINE_NO_LANE) {
        ASSERT(!e->lane_free[s->spec.lane]);
        e->lane_free[s->spec.lane] = true;
    }
    s->spec.lane = ENGINE_NO_LANE;
    s->spec.n_guess = s->spec.n_run = 0;
}

/* --- the draft model --- */

static bool take_lane(struct engine *e, struct engine_spec *p)
{
    for (uint32_t i = 0; i < e->n_lanes && p->lane == ENGINE_NO_LANE; i++)
        if (e->lane_free[i]) {
            e->lane_free[i] = false;
            engine_lane_restart(&e->lanes[i]);
            p->lane = i;
            p->lane_rows = 0;
        }
    return p->lane != ENGINE_NO_LANE;
}

/* Feeds what the lane has not seen, all but the last token whose logits are wanted; false: more
 * next time, or the draft failed (which is no failure of the request). */
static bool catch_up(struct engine_lane *l, const struct engine_stream *s)
{
    const float *logits;
    for (uint32_t i = 0; i < CHUNKS_A_STEP && l->pos + 1 < s->n_ids; i++) {
        uint32_t n = (uint32_t)num_min(CHUNK, s->n_ids - 1 - l->pos);
        memcpy(l->ids, s->ids + l->pos, n * sizeof *l->ids);
        if (engine_lane_feed(l, n, n, &logits) < 0)
            return false;
    }
    return l->pos + 1 == s->n_ids;
}

/* Guesses one after the other, drawn as the model's tokens will be. Returns how many. */
static uint32_t ask_model(struct engine *e, struct engine_stream *s, uint32_t n, int32_t *out)
{
    struct engine_lane *l = &e->lanes[s->spec.lane];
    l->pos = (uint32_t)num_min(l->pos, s->spec.lane_rows);
    if (!catch_up(l, s)) {
        s->spec.lane_rows = l->pos;
        return 0;
    }
    uint32_t done = 0;
    for (; done < n; done++) {
        const float *logits;
        struct engine_sampled token;
        uint32_t at = s->n_ids + done;
        l->ids[0] = s->ids[at - 1];
        struct engine_sampler_input in = { .ids = s->ids, .n_ids = at, .n_prompt = s->r.n_prompt,
                                           .bias = s->r.bias, .n_bias = s->r.n_bias };
        if (engine_lane_feed(l, 1, 0, &logits) < 0)
            break;
        in.logits = logits;
        if (engine_sampler_pick(e->sampler, &s->r.sampler, &in, &token) < 0)
            break;
        out[done] = s->ids[at] = token.id; /* the room behind n_ids is the guesses' anyway */
    }
    return done;
}

/* --- making guesses --- */

/* Guesses that still leave a token to draw, and an event each to put. */
static uint32_t room_for(const struct engine *e, const struct engine_stream *s)
{
    size_t events = engine_ring_room(&s->ring) / engine_ring_cost(s->event_max);
    size_t n = num_min(e->params.n_spec, s->n_limit - s->n_ids - 1);
    return (uint32_t)num_min(n, events > 2 ? events - 2 : 0);
}

static void guess_by_model(struct engine *e, struct engine_stream *s, uint32_t n_max, double gain)
{
    struct engine_spec *p = &s->spec;
    p->since++;
    if (e->params.spec != ENGINE_SPEC_DRAFT || !take_lane(e, p))
        return;
    struct engine_spec_choice c =
        engine_spec_choose(&e->costs, engine_spec_chance(&p->odds, SPEC_MODEL), e->step_seqs,
                           e->step_rows, n_max, (double)e->costs.draft_s);
    uint32_t n = c.gain > gain ? c.n : 0;
    if (n == 0 && p->since >= ASK_AGAIN && gain == 1)
        n = (uint32_t)num_min(2, n_max);
    if (n == 0)
        return;
    p->since = 0;
    uint64_t begin = engine_now(e);
    bool steady = e->lanes[p->lane].pos + 8 >= s->n_ids;
    n = ask_model(e, s, n, p->guess);
    float x = n > 0 ? (float)(engine_now(e) - begin) * 1e-9f / (float)n : 0;
    if (steady && x > 0) /* not while it reads a prompt */
        e->costs.draft_s += (x - e->costs.draft_s) / (e->costs.draft_s == 0 ? 1 : 4);
    p->n_guess = p->n_run = n;
    p->class = SPEC_MODEL;
}

void engine_spec_propose(struct engine *e, struct engine_stream *s)
{
    struct engine_spec *p = &s->spec;
    uint32_t n_max = p->on ? room_for(e, s) : 0, match;
    p->n_guess = p->n_run = 0;
    if (n_max == 0)
        return;
    struct engine_spec_choice c = { .n = 0, .gain = 1 };
    p->n_guess = engine_lookup(s->ids, s->n_ids, p->guess, n_max, &match);
    if (p->n_guess > 0) {
        p->class = engine_spec_class_of(match);
        c = engine_spec_choose(&e->costs, engine_spec_chance(&p->odds, p->class), e->step_seqs,
                               e->step_rows, n_max, 0);
        p->n_run = c.n;
    }
    guess_by_model(e, s, n_max, c.gain);
    memcpy(s->ids + s->n_ids, p->guess, p->n_run * sizeof *s->ids);
    e->step_rows += p->n_run;
    sched_guess(e->sched, s->sched_id, p->n_run);
}

/* --- learning --- */

void engine_spec_drawn(struct engine *e, struct engine_stream *s, uint32_t i, int32_t id)
{
    struct engine_spec *p = &s->spec;
    if (i >= p->n_guess)
        return;
    bool hit = p->guess[i] == id;
    engine_spec_learn(&p->odds, p->class, hit, 1);
    if (p->class == SPEC_MODEL)
        p->lane_rows = s->n_ids + hit; /* the guess's own row in the lane is good if it held */
    else
        p->lane_rows = (uint32_t)num_min(p->lane_rows, s->n_ids);
    if (hit && i < p->n_run) {
        s->done.usage.accepted_tokens++;
        e->stats.accepted_tokens++;
    }
}
