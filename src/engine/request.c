/* One request's life on the engine thread: what a token means for it, and how it ends. */
#include <string.h>

#include "base/num.h"
#include "engine/impl.h"

/* The text is over without a stop string: incomplete characters and held text come out now. */
static void free_tail(struct engine *e, struct engine_stream *s)
{
    buf_clear(&e->piece);
    text_detok_end(&s->detok, &e->piece);
    s->done.stop_index = engine_stop_put(&s->stop, buf_str(&e->piece), e->piece.len,
                                         s->r.include_stop, &s->done.text);
    if (s->done.stop_index < 0)
        engine_stop_end(&s->stop, &s->done.text);
    ASSERT(buf_status(&s->done.text) == 0);
}

/* Takes it out of schedule, KV memory and the list of the living. */
static void give_back(struct engine *e, struct engine_stream *s)
{
    ASSERT(e->by_sched[s->sched_id] == s);
    if (s->place != ENGINE_NO_PLACE) {
        ASSERT(e->n_places < e->info.n_seqs_max);
        kv_seq_release(&s->seq);
        e->places[e->n_places++] = s->place;
        s->place = ENGINE_NO_PLACE;
    }
    engine_spec_end(e, s);
    sched_remove(e->sched, s->sched_id);
    e->by_sched[s->sched_id] = NULL;
    if (s->prev != NULL)
        s->prev->next = s->next;
    else
        e->live = s->next;
    if (s->next != NULL)
        s->next->prev = s->prev;
}

/* Intervals of what never got that far are not observed. */
static void meter_end(struct engine *e, const struct engine_stream *s, enum engine_finish finish,
                      uint64_t now)
{
    struct engine_meter *m = &e->meter;
    uint32_t n_out = s->n_ids - s->r.n_prompt;
    double decode = (double)(now - s->first_ns) * 1e-9;
    engine_meter_finish(m, finish);
    engine_meter_observe(m, ENGINE_H_E2E, (double)(now - s->submit_ns) * 1e-9);
    engine_meter_observe(m, ENGINE_H_PROMPT, s->r.n_prompt);
    engine_meter_observe(m, ENGINE_H_GENERATION, n_out);
    engine_meter_observe(m, ENGINE_H_MAX_TOKENS, s->n_limit - s->r.n_prompt);
    if (s->admit_ns != 0)
        engine_meter_observe(m, ENGINE_H_INFERENCE, (double)(now - s->admit_ns) * 1e-9);
    if (s->first_ns == 0)
        return;
    engine_meter_observe(m, ENGINE_H_PREFILL, (double)(s->first_ns - s->admit_ns) * 1e-9);
    engine_meter_observe(m, ENGINE_H_DECODE, decode);
    if (n_out > 1)
        engine_meter_observe(m, ENGINE_H_TPOT, decode / (n_out - 1));
}

static void account(struct engine *e, struct engine_stream *s, enum engine_finish finish)
{
    struct engine_usage *u = &s->done.usage;
    uint64_t now = engine_now(e), admitted = s->admit_ns != 0 ? s->admit_ns : now;
    uint64_t first = s->first_ns != 0 ? s->first_ns : now;
    u->prompt_tokens = s->r.n_prompt;
    u->completion_tokens = s->n_ids - s->r.n_prompt;
    u->queue_ns = admitted - s->submit_ns;
    u->prefill_ns = first - admitted;
    u->decode_ns = now - first;
    meter_end(e, s, finish, now);
    e->stats.requests++;
    e->stats.requests_failed += finish == ENGINE_ERROR;
    e->stats.requests_cancelled += finish == ENGINE_CANCELLED;
    engine_count(e);
}

void engine_end(struct engine *e, struct engine_stream *s, enum engine_finish finish, int code,
                const char *message)
{
    ASSERT(!atomic_load_explicit(&s->ended, memory_order_relaxed)); /* one DONE a stream */
    ASSERT((finish == ENGINE_ERROR) == (code < 0));
    if (s->done.stop_index < 0)
        free_tail(e, s);
    if (finish == ENGINE_LENGTH && s->done.stop_index >= 0)
        finish = ENGINE_STOP; /* the last bytes completed a stop string */
    engine_tier_leave(e, s);
    give_back(e, s);
    account(e, s, finish);
    s->done.finish = finish;
    s->done.code = code;
    memcpy(s->done.message, message, num_min(strlen(message), sizeof s->done.message - 1));
    pthread_mutex_lock(&e->lock);
    e->shown = e->stats; /* who has read DONE finds the request counted and its blocks given back */
    pthread_mutex_unlock(&e->lock);
    atomic_store_explicit(&s->phase, ENGINE_ENDED, memory_order_relaxed);
    atomic_store_explicit(&s->ended, true, memory_order_release); /* with take's acquire */
    engine_stream_wake(s);
    engine_stream_unref(s);
    pthread_mutex_lock(&e->lock);
    ASSERT(e->n_live > 0);
    if (--e->n_live == 0)
        pthread_cond_broadcast(&e->idle);
    pthread_mutex_unlock(&e->lock);
}

/* Is the id one that ends this request? */
static bool is_end(const struct engine *e, const struct engine_stream *s, int32_t id)
{
    for (uint32_t i = 0; i < s->r.n_stop_ids; i++)
        if (s->r.stop_ids[i] == id)
            return true;
    for (uint32_t i = 0; i < e->n_end_ids && !s->r.ignore_eos; i++)
        if (e->end_ids[i] == id)
            return true;
    return false;
}

/* Through detokeniser and stop strings to free text in e->text. The index of the stop string or
 * -1. */
static int free_text(struct engine *e, struct engine_stream *s, int32_t id)
{
    buf_clear(&e->piece);
    buf_clear(&e->text);
    if ((uint32_t)id < e->n_text) /* a model's vocabulary may be padded beyond the tokenizer's */
        text_detok_put(&s->detok, id, &e->piece);
    int which = engine_stop_put(&s->stop, buf_str(&e->piece), e->piece.len, s->r.include_stop,
                                &e->text);
    ASSERT(buf_status(&e->piece) == 0);
    ASSERT(buf_status(&e->text) == 0);
    return which;
}

bool engine_token(struct engine *e, struct engine_stream *s, const struct engine_sampled *token)
{
    ASSERT(token->id >= 0 && (uint32_t)token->id < e->n_vocab);
    uint64_t now = engine_now(e);
    if (s->first_ns == 0) {
        s->first_ns = now;
        engine_meter_observe(&e->meter, ENGINE_H_TTFT, (double)(now - s->submit_ns) * 1e-9);
    } else {
        engine_meter_observe(&e->meter, ENGINE_H_ITL, (double)(now - s->last_ns) * 1e-9);
    }
    s->last_ns = now;
    if (is_end(e, s, token->id)) {
        s->done.stop_id = token->id;
        engine_end(e, s, ENGINE_STOP, 0, "");
        return false;
    }
    ASSERT(s->n_ids < s->n_limit);
    s->ids[s->n_ids++] = token->id;
    e->stats.completion_tokens++;
    int which = free_text(e, s, token->id);
    engine_stream_put(s, token, &e->text);
    atomic_store_explicit(&s->phase, ENGINE_DECODE, memory_order_relaxed);
    atomic_store_explicit(&s->generated, s->n_ids - s->r.n_prompt, memory_order_relaxed);
    if (which >= 0) {
        s->done.stop_index = which;
        engine_end(e, s, ENGINE_STOP, 0, "");
    } else if (s->n_ids == s->n_limit) {
        engine_end(e, s, ENGINE_LENGTH, 0, "");
    } else {
        engine_stream_wake(s);
        return true;
    }
    return false;
}
