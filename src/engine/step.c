/* One step: sweep (cancelled, impatient, slow readers), let the scheduler decide, run the batch,
 * commit. Sampling is done here one sequence after the other; a decision of the model takes longer
 * by far. */
#include <string.h>

#include "base/num.h"
#include "engine/impl.h"

#define ROWS_EVERY_NS 20000000

void engine_take(struct engine *e, struct engine_stream *s)
{
    int rc = sched_add(e->sched, s->r.n_prompt, &s->sched_id);
    CHECK(rc == 0); /* submit counts: never more than n_requests_max are alive */
    ASSERT(e->by_sched[s->sched_id] == NULL);
    ASSERT(s->place == ENGINE_NO_PLACE);
    engine_spec_begin(s);
    e->by_sched[s->sched_id] = s;
    s->prev = NULL;
    s->next = e->live;
    if (e->live != NULL)
        e->live->prev = s;
    e->live = s;
}

bool engine_has_timers(const struct engine *e)
{
    for (const struct engine_stream *s = e->live; s != NULL; s = s->next)
        if (s->fetching || e->params.queue_s_max > 0.0 ||
            atomic_load_explicit(&s->paused, memory_order_relaxed))
            return true;
    return false;
}

void engine_note(struct engine *e, const struct engine_stream *s, enum engine_decision_kind kind)
{
    uint64_t now = engine_now(e);
    struct engine_decision d = { .at_ns = now,
                                 .kind = kind,
                                 .request = s->number,
                                 .n_prompt = s->r.n_prompt,
                                 .n_cached = s->done.usage.cached_tokens,
                                 .waited_ns = now - s->submit_ns,
                                 .n_blocks_free = kv_prefix_available(e->prefix) };
    engine_meter_decide(&e->meter, &d);
}

/* --- sweeping --- */

static bool later_than(uint64_t now, uint64_t since, double seconds)
{
    return now > since && (double)(now - since) > seconds * 1e9;
}

/* Pauses a request whose reader left no room for an event, wakes it at half a ring (L10). False if
 * the reader did not read anything for stall_s_max. */
static bool mind_reader(struct engine *e, struct engine_stream *s, uint64_t now)
{
    size_t room = engine_ring_room(&s->ring);
    bool paused = atomic_load_explicit(&s->paused, memory_order_relaxed);
    bool pause = paused ? room < s->ring.cap / 2 : room < engine_ring_cost(s->event_max);
    if (pause && (!paused || room != s->room))
        s->stall_ns = now;
    s->room = room;
    if (pause != paused) {
        atomic_store_explicit(&s->paused, pause, memory_order_relaxed);
        sched_pause(e->sched, s->sched_id, pause || s->fetching);
        engine_note(e, s, pause ? ENGINE_D_PAUSE : ENGINE_D_RESUME);
    }
    return !pause || !later_than(now, s->stall_ns, e->params.stall_s_max);
}

static void give_up(struct engine *e, struct engine_stream *s, enum engine_decision_kind why,
                    const char *message)
{
    engine_note(e, s, why);
    engine_end(e, s, ENGINE_ERROR, E_TIMEOUT, message);
}

static void sweep(struct engine *e, bool cancel_all)
{
    uint64_t now = engine_now(e);
    struct engine_stream *next;
    for (struct engine_stream *s = e->live; s != NULL; s = next) {
        next = s->next;
        double patience = e->params.queue_s_max;
        if (cancel_all || atomic_load_explicit(&s->cancelled, memory_order_relaxed))
            engine_end(e, s, ENGINE_CANCELLED, 0, "");
        else if (patience > 0.0 && s->admit_ns == 0 && later_than(now, s->submit_ns, patience))
            give_up(e, s, ENGINE_D_QUEUE_TIMEOUT, "the request waited too long for a place");
        else if (!mind_reader(e, s, now))
            give_up(e, s, ENGINE_D_STALLED, "the reader of the answer has stalled");
    }
}

/* --- what the scheduler asks for --- */

static uint32_t cached_rows(void *ctx, uint32_t id, uint32_t *n_idle)
{
    const struct engine *e = ctx;
    const struct engine_stream *s = e->by_sched[id];
    uint32_t len = e->info.block_len;
    return len * kv_prefix_peek(e->prefix, s->root, s->ids, (s->n_ids - 1) / len, n_idle);
}

static void admit(struct engine *e, struct engine_stream *s)
{
    size_t slot_bytes = model_layout(e->params.model)->slot_bytes;
    ASSERT(s->place == ENGINE_NO_PLACE);
    ASSERT(e->n_places > 0);
    s->place = e->places[--e->n_places];
    kv_seq_init(&s->seq, e->prefix, s->root, e->tables + (size_t)s->place * e->table_cap,
                e->table_cap);
    uint32_t n = kv_seq_match(&s->seq, s->ids, s->n_ids);
    ASSERT(n < s->n_ids); /* the last token is always computed: its logits are wanted */
    if (slot_bytes > 0)
        memset(e->slots + s->place * slot_bytes, 0, slot_bytes);
    if (s->admit_ns == 0) {
        s->admit_ns = engine_now(e);
        s->done.usage.cached_tokens = n;
        s->done.usage.loaded_tokens = (uint32_t)num_min(s->n_loaded * e->info.block_len, n);
        e->stats.prompt_tokens += s->r.n_prompt;
        e->stats.cached_tokens += n;
        atomic_store_explicit(&s->phase, ENGINE_PREFILL, memory_order_relaxed);
        engine_meter_observe(&e->meter, ENGINE_H_QUEUE,
                             (double)(s->admit_ns - s->submit_ns) * 1e-9);
    }
    engine_note(e, s, ENGINE_D_ADMIT);
    atomic_store_explicit(&s->prefill_done, (uint32_t)num_min(n, s->r.n_prompt),
                          memory_order_relaxed);
    sched_admitted(e->sched, s->sched_id, n);
}

static void preempt(struct engine *e, struct engine_stream *s)
{
    ASSERT(s->place != ENGINE_NO_PLACE);
    ASSERT(e->n_places < e->info.n_seqs_max);
    kv_seq_release(&s->seq);
    e->places[e->n_places++] = s->place;
    s->place = ENGINE_NO_PLACE;
    engine_spec_end(e, s);
    s->done.usage.preemptions++;
    s->asked_store = false; /* what it gives back now may have to come from there */
    e->stats.preemptions++;
    engine_note(e, s, ENGINE_D_PREEMPT);
}

/* Asks until the answer is a step or nothing. */
static void decide(struct engine *e, struct sched_act *act)
{
    for (;;) {
        struct sched_facts facts = { .n_blocks_available = kv_prefix_available(e->prefix),
                                     .n_prompt_rows = engine_pace_rows(e),
                                     .cached = cached_rows, .ctx = e };
        sched_decide(e->sched, &facts, act);
        if (act->kind == SCHED_ACT_ADMIT && !engine_tier_fetch(e, e->by_sched[act->id]))
            admit(e, e->by_sched[act->id]);
        else if (act->kind == SCHED_ACT_PREEMPT)
            preempt(e, e->by_sched[act->id]);
        else
            return;
    }
}

/* --- running a batch --- */

/* Of the next n rows of s, the last so many have logits to draw from: that of its last token, and
 * those of guesses. */
static uint32_t wanted_rows(const struct engine_stream *s, uint32_t n)
{
    uint32_t end = s->seq.n_rows + n;
    return end >= s->n_ids ? end - s->n_ids + 1 : 0;
}

/* Lays out the rows; the number of rows whose logits are wanted. */
static uint32_t compose(struct engine *e, const struct sched_act *act)
{
    size_t slot_bytes = model_layout(e->params.model)->slot_bytes;
    uint32_t row = 0, n_want = 0;
    for (uint32_t i = 0; i < act->n_items; i++) {
        struct engine_stream *s = e->by_sched[act->items[i].id];
        uint32_t n = act->items[i].n_rows;
        CHECK(kv_seq_reserve(&s->seq, n) == 0); /* the scheduler counted the blocks */
        ASSERT(s->seq.n_rows + n <= s->n_ids + s->spec.n_run);
        ASSERT(s->seq.n_rows + n <= s->n_limit);
        memcpy(e->batch_ids + row, s->ids + s->seq.n_rows, n * sizeof *s->ids);
        e->spans[i] = (struct model_span){ .row0 = row, .n_rows = n, .pos0 = s->seq.n_rows,
                                           .blocks = s->seq.blocks };
        if (slot_bytes > 0)
            e->spans[i].slot = e->slots + s->place * slot_bytes;
        row += n;
        for (uint32_t w = wanted_rows(s, n); w > 0; w--)
            e->want[n_want++] = row - w;
    }
    ASSERT(row == act->n_rows);
    ASSERT(row <= e->info.n_rows_step);
    ASSERT(n_want <= e->n_want_max);
    return n_want;
}

static int pick(struct engine *e, struct engine_stream *s, const float *logits,
                struct engine_sampled *out)
{
    const struct engine_request *r = &s->r;
    bool early = s->n_ids - r->n_prompt < r->min_tokens, has_mask = r->mask.apply != NULL;
    struct engine_sampler_input in = {
        .logits = logits, .ids = s->ids, .n_ids = s->n_ids, .n_prompt = r->n_prompt,
        .bias = r->bias, .n_bias = r->n_bias, .mask = has_mask ? &r->mask : NULL,
        .logprobs = r->logprobs, .n_top = r->logprobs ? r->n_top : 0,
        .forbid = s->forbid, .n_forbid = early ? s->n_forbid : 0,
    };
    if (!has_mask)
        return engine_sampler_pick(e->sampler, &r->sampler, &in, out);
    pthread_mutex_lock(&s->lock); /* the hook is the caller's: gone once the stream is closed */
    int rc = s->closed ? E_CANCELLED : engine_sampler_pick(e->sampler, &r->sampler, &in, out);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static void fail(struct engine *e, struct engine_stream *s, int rc)
{
    if (rc == E_CANCELLED) {
        engine_end(e, s, ENGINE_CANCELLED, 0, "");
        return;
    }
    struct err err = { 0 };
    (void)err_set(&err, rc, "the model's computation failed: %s", err_code_text(rc));
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    engine_end(e, s, ENGINE_ERROR, rc, err.text);
    kv_prefix_forget(e->prefix); /* what it computed is suspect: nobody shall share it */
    engine_tier_distrust(e, s);
    engine_stream_unref(s);
}

/* n_rows more rows hold, and n_new tokens follow. */
static void advance(struct engine *e, struct engine_stream *s, uint32_t n_rows, uint32_t n_new)
{
    kv_seq_advance(&s->seq, s->ids, n_rows);
    engine_tier_offer(e, s);
    sched_ran(e->sched, s->sched_id, n_rows, n_new);
    atomic_store_explicit(&s->prefill_done, (uint32_t)num_min(s->seq.n_rows, s->r.n_prompt),
                          memory_order_relaxed);
}

/* The rows of one item are computed; logits (n_drawn, n_vocab): of its last known token and of the
 * guesses behind it, none if it has more of its prompt to go. Each token is drawn as if it were the
 * only one; the next guess counts if it is what was drawn. */
static void commit(struct engine *e, struct engine_stream *s, uint32_t n_rows, uint32_t n_drawn,
                   const float *logits)
{
    if (n_drawn == 0) {
        advance(e, s, n_rows, 0);
        return;
    }
    s->done.usage.drafted_tokens += n_drawn - 1;
    e->stats.drafted_tokens += n_drawn - 1;
    s->spec.n_run = n_drawn - 1; /* the schedule may have had room for fewer */
    for (uint32_t i = 0; i < n_drawn; i++) {
        struct engine_sampled token;
        int rc = pick(e, s, logits + (size_t)i * e->n_vocab, &token);
        if (rc < 0) {
            fail(e, s, rc);
            return;
        }
        bool holds = i + 1 < n_drawn && s->ids[s->n_ids] == token.id;
        engine_spec_drawn(e, s, i, token.id);
        advance(e, s, i == 0 ? n_rows - (n_drawn - 1) : 1, 1);
        if (!engine_token(e, s, &token))
            return;
        if (!holds)
            break;
    }
    kv_seq_truncate(&s->seq, s->seq.n_rows); /* blocks that rejected guesses had taken */
    engine_spec_propose(e, s);
}

/* What the step took, for the choice of guesses: only steps without prompts tell. */
static void note_cost(struct engine *e, const struct sched_act *act, uint64_t ns)
{
    e->step_seqs = e->step_rows = act->n_items;
    for (uint32_t i = 0; i < act->n_items; i++) {
        const struct engine_stream *s = e->by_sched[act->items[i].id];
        if (s->seq.n_rows + 1 != s->n_ids)
            return;
    }
    engine_spec_timed(&e->costs, act->n_rows, (double)ns * 1e-9);
}

static void run_batch(struct engine *e, const struct sched_act *act)
{
    uint32_t n_want = compose(e, act), at = 0;
    const float *logits = NULL;
    struct model_batch batch = { .ids = e->batch_ids, .n_rows = act->n_rows, .spans = e->spans,
                                 .n_spans = act->n_items, .slab = kv_pool_slab(e->pool),
                                 .want = e->want, .n_want = n_want };
    engine_pace_begin(e, act);
    uint64_t begin = engine_now(e);
    int rc = e->params.forward(e->params.model, e->work, &batch, &logits);
    e->stats.steps++;
    note_cost(e, act, engine_now(e) - begin);
    for (uint32_t i = 0; i < act->n_items; i++) {
        struct engine_stream *s = e->by_sched[act->items[i].id];
        const struct model_span *span = &e->spans[i];
        uint32_t wanted = wanted_rows(s, span->n_rows);
        const float *rows = logits != NULL ? logits + (size_t)at * e->n_vocab : NULL;
        bool decodes = s->n_ids > s->r.n_prompt && s->seq.n_rows + 1 == s->n_ids;
        at += wanted;
        *(decodes ? &e->stats.decode_rows : &e->stats.prefill_rows) += span->n_rows;
        if (rc < 0 && (rc != E_NONFINITE || (wanted > 0 && rows == NULL)))
            fail(e, s, rc);
        else
            commit(e, s, span->n_rows, wanted, rows); /* finds out whether its rows are finite */
    }
    ASSERT(at == n_want);
}

static void check_all(const struct engine *e)
{
    uint32_t n_held = 0;
    kv_prefix_check(e->prefix);
    sched_check(e->sched);
    engine_tier_check(e);
    for (const struct engine_stream *s = e->live; s != NULL; s = s->next) {
        CHECK((s->place != ENGINE_NO_PLACE) == sched_is_running(e->sched, s->sched_id));
        if (s->place == ENGINE_NO_PLACE)
            continue;
        kv_seq_check(&s->seq);
        n_held++;
    }
    CHECK(n_held + e->n_places == e->info.n_seqs_max);
}

void engine_count(struct engine *e)
{
    e->stats.n_running = sched_n_running(e->sched);
    e->stats.n_waiting = sched_n_waiting(e->sched);
    e->stats.blocks = e->info.n_blocks;
    e->stats.blocks_used = e->info.n_blocks - kv_prefix_available(e->prefix);
    e->stats.blocks_cached = kv_prefix_idle_count(e->prefix);
    e->stats.evictions = kv_prefix_evictions(e->prefix);
    engine_tier_count(e);
}

/* The requests at work, for whoever looks; at most every ROWS_EVERY_NS while there is work. */
static void show_rows(struct engine *e, uint64_t now)
{
    struct engine_row rows[ENGINE_ROWS_KEPT];
    uint32_t n = 0, n_live = 0;
    for (const struct engine_stream *s = e->live; s != NULL; s = s->next, n_live++) {
        if (n == COUNT_OF(rows))
            continue;
        rows[n++] = (struct engine_row){
            .request = s->number,
            .phase = atomic_load_explicit(&s->phase, memory_order_relaxed),
            .paused = atomic_load_explicit(&s->paused, memory_order_relaxed),
            .n_prompt = s->r.n_prompt,
            .n_cached = s->done.usage.cached_tokens,
            .prefill_done = atomic_load_explicit(&s->prefill_done, memory_order_relaxed),
            .generated = s->n_ids - s->r.n_prompt,
            .preemptions = s->done.usage.preemptions,
            .n_blocks = s->place == ENGINE_NO_PLACE
                            ? 0
                            : (uint32_t)num_ceil_div(s->seq.n_rows, e->info.block_len),
            .age_ns = now - s->submit_ns,
        };
    }
    engine_meter_rows(&e->meter, rows, n, n_live);
    e->rows_ns = now;
}

static void meter_step(struct engine *e, const struct engine_stats *before, uint32_t n_seqs,
                       uint64_t ns, uint64_t now)
{
    struct engine_step_record r = {
        .end_ns = now,
        .ns = ns,
        .predicted_ns = (uint64_t)(e->predicted_s * 1e9),
        .prefill_rows = (uint32_t)(e->stats.prefill_rows - before->prefill_rows),
        .decode_rows = (uint32_t)(e->stats.decode_rows - before->decode_rows),
        .n_seqs = n_seqs,
    };
    engine_meter_step(&e->meter, &r);
}

bool engine_step(struct engine *e, bool cancel_all)
{
    struct sched_act act;
    uint64_t begin = engine_now(e);
    struct engine_stats before = e->stats;
    engine_tier_poll(e);
    sweep(e, cancel_all);
    decide(e, &act);
    bool ran = act.kind == SCHED_ACT_RUN;
    uint32_t n_seqs = ran ? act.n_items : 0;
    if (ran)
        run_batch(e, &act);
    uint64_t ran_ns = engine_now(e);
    if (ran)
        engine_tier_note_prefill(e, (uint32_t)(e->stats.prefill_rows - before.prefill_rows),
                                 ran_ns - begin);
    if (e->params.check)
        check_all(e);
    engine_count(e);
    uint64_t now = engine_now(e);
    e->stats.busy_ns += ran ? now - begin : 0;
    if (ran) {
        engine_pace_end(e, now - begin);
        meter_step(e, &before, n_seqs, now - begin, now);
    }
    if (!ran || now - e->rows_ns > ROWS_EVERY_NS)
        show_rows(e, now);
    return ran;
}
