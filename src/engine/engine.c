/* The thread, its mailbox and its memory. Everything a step needs is allocated in engine_create;
 * the mailbox is a list through the streams themselves, so handing in a request cannot fail half
 * way. */
#include "engine/engine.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/num.h"
#include "engine/impl.h"

#define WAIT_SLICE_NS 50000000 /* how often timers are looked at while nothing runs */

uint64_t engine_now(const struct engine *e) { return clock_now_ns(&e->params.clock); }

/* --- the thread --- */

void engine_poke(struct engine *e)
{
    pthread_mutex_lock(&e->lock);
    e->poked = true;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
}

static struct timespec deadline_in(uint64_t ns)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t); /* the condition's own clock; decisions use params.clock */
    ns += (uint64_t)t.tv_nsec;
    t.tv_sec += (time_t)(ns / 1000000000u);
    t.tv_nsec = (long)(ns % 1000000000u);
    return t;
}

/* Sleeps until poked, or for a slice where somebody's time may run out. Called with the lock. */
static void wait_for_work(struct engine *e)
{
    if (!engine_has_timers(e)) {
        while (!e->poked)
            pthread_cond_wait(&e->wake, &e->lock);
        return;
    }
    struct timespec until = deadline_in(WAIT_SLICE_NS);
    while (!e->poked && pthread_cond_timedwait(&e->wake, &e->lock, &until) != ETIMEDOUT)
        continue;
}

static void *run_engine(void *ctx)
{
    struct engine *e = ctx;
    bool busy = false;
    for (;;) {
        pthread_mutex_lock(&e->lock);
        e->shown = e->stats;
        if (!busy)
            wait_for_work(e);
        struct engine_stream *news = e->inbox_first;
        bool cancel_all = e->cancel_all, forget = e->forget, quit = e->quit;
        e->inbox_first = e->inbox_last = NULL;
        e->n_inbox = 0;
        e->poked = e->forget = false;
        pthread_mutex_unlock(&e->lock);
        while (news != NULL) {
            struct engine_stream *next = news->next;
            engine_take(e, news);
            news = next;
        }
        if (forget)
            kv_prefix_forget(e->prefix);
        if (quit)
            break;
        busy = engine_step(e, cancel_all);
        busy = engine_embed_step(e, cancel_all) || busy;
    }
    ASSERT(e->live == NULL);
    return NULL;
}

/* --- create and destroy --- */

static int find_ends(struct engine *e)
{
    const struct text_tokenizer *t = e->params.tokenizer;
    uint32_t n = 0;
    for (uint32_t i = 0; i < e->n_text; i++) {
        n += text_is_end(t, (int32_t)i);
        e->piece_max = num_max(e->piece_max, text_token_stored(t, (int32_t)i).len);
    }
    e->end_ids = mem_alloc(n + 1, sizeof *e->end_ids);
    if (e->end_ids == NULL)
        return E_NOMEM;
    for (uint32_t i = 0; i < e->n_text; i++)
        if (text_is_end(t, (int32_t)i))
            e->end_ids[e->n_end_ids++] = (int32_t)i;
    return 0;
}

/* The context asked for, or that of the model. An encoder has no positions beyond its own. */
static uint32_t context_of(uint32_t n_ctx, const struct model_info *mi)
{
    uint32_t most = mi->n_ctx_train == 0 ? ENGINE_CTX_DEFAULT : mi->n_ctx_train;
    if (n_ctx == 0 || (mi->encoder && n_ctx > most))
        n_ctx = (uint32_t)num_min(most, ENGINE_CTX_DEFAULT);
    return n_ctx;
}

static uint32_t pooling_of(uint32_t asked, const struct model_info *mi)
{
    if (asked != MODEL_POOL_NONE)
        return asked;
    return mi->pooling != MODEL_POOL_NONE ? mi->pooling : MODEL_POOL_MEAN;
}

/* Fills in what the caller left open: context, blocks, rows. */
static int settle(struct engine *e, struct err *err)
{
    struct engine_params *p = &e->params;
    const struct model_info *mi = model_info(p->model);
    const struct model_layout *l = model_layout(p->model);
    p->n_seqs_max = p->n_seqs_max == 0 ? 32 : p->n_seqs_max;
    p->n_waiting_max = p->n_waiting_max == 0 ? 1024 : p->n_waiting_max;
    p->n_rows_step = (uint32_t)num_max(p->n_rows_step == 0 ? 256 : p->n_rows_step, p->n_seqs_max);
    p->stall_s_max = p->stall_s_max <= 0.0 ? 60.0 : p->stall_s_max;
    p->forward = p->forward == NULL ? model_forward : p->forward;
    if (p->n_seqs_max > ENGINE_SEQS_LIMIT)
        return err_set_field(err, E_RANGE, "n_seqs_max", "at most %u sequences can run at a time",
                             ENGINE_SEQS_LIMIT);
    if (p->n_rows_step > ENGINE_ROWS_LIMIT || p->n_waiting_max > UINT32_MAX / 2)
        return err_set_field(err, E_RANGE, "n_rows_step", "a step has at most %u rows",
                             ENGINE_ROWS_LIMIT);
    p->n_ctx = context_of(p->n_ctx, mi);
    size_t block_bytes = num_max(l->block_bytes, 1), per_ctx, all;
    TRY(num_mul(&per_ctx, num_ceil_div(p->n_ctx, l->block_len), block_bytes));
    TRY(num_mul(&all, per_ctx, p->n_seqs_max));
    if (p->kv_bytes == 0)
        p->kv_bytes = num_max(num_min(all, ENGINE_KV_DEFAULT), per_ctx);
    size_t n_blocks = num_min(p->kv_bytes / block_bytes, UINT32_MAX / l->block_len - 1);
    if (n_blocks == 0)
        return err_set_field(err, E_RANGE, "kv_bytes", "KV memory of %zu bytes does not hold one "
                             "block of %zu bytes; give more", p->kv_bytes, block_bytes);
    p->n_ctx = (uint32_t)num_min(p->n_ctx, n_blocks * l->block_len);
    e->n_vocab = mi->n_vocab;
    e->n_text = text_vocab_size(p->tokenizer);
    e->n_requests_max = p->n_seqs_max + p->n_waiting_max;
    e->table_cap = (uint32_t)num_ceil_div(p->n_ctx, l->block_len);
    e->info = (struct engine_info){ .n_ctx = p->n_ctx, .n_seqs_max = p->n_seqs_max,
                                    .n_rows_step = p->n_rows_step, .n_blocks = (uint32_t)n_blocks,
                                    .block_len = l->block_len, .kv_bytes = n_blocks * block_bytes,
                                    .sharing = !p->no_sharing && l->slot_bytes == 0,
                                    .n_embd = mi->n_embd, .encoder = mi->encoder,
                                    .pooling = pooling_of(p->pooling, mi) };
    TRY(engine_spec_settle(e, err));
    ASSERT(p->n_ctx > 0);
    ASSERT(p->n_rows_step >= p->n_seqs_max);
    ASSERT(e->table_cap <= n_blocks); /* one sequence of full length fits: sched's condition */
    return 0;
}

/* The parts with a create of their own. */
static int make_parts(struct engine *e)
{
    const struct engine_params *p = &e->params;
    const struct model_layout *l = model_layout(p->model);
    TRY(kv_pool_create(&e->pool, e->info.n_blocks, num_max(l->block_bytes, 1)));
    struct kv_prefix_params pp = { .pool = e->pool, .block_len = l->block_len,
                                   .seed = p->hash_seed, .off = !e->info.sharing,
                                   .policy = p->kv_policy, .clock = &p->clock };
    engine_tier_watch(e, &pp);
    TRY(kv_prefix_create(&e->prefix, &pp));
    struct sched_params sp = { .n_seqs_max = p->n_seqs_max, .n_requests_max = e->n_requests_max,
                               .n_rows_max = p->n_rows_step, .block_len = l->block_len,
                               .n_guess_max = e->n_want_max - p->n_seqs_max };
    TRY(sched_create(&e->sched, &sp));
    TRY(model_work_create(&e->work, p->model, p->n_rows_step, e->n_want_max, p->n_ctx));
    return engine_sampler_create(&e->sampler, e->n_vocab, model_kernels(p->model));
}

/* buf grows by doubling: one large append now, and a step never makes it grow again. */
static int reserve(struct buf *b, size_t bytes)
{
    buf_init(b, 2 * bytes);
    for (size_t i = 0; i < bytes; i++)
        buf_putc(b, ' ');
    int rc = buf_status(b);
    buf_clear(b);
    return rc;
}

static int make_memory(struct engine *e)
{
    const struct engine_params *p = &e->params;
    size_t n = p->n_seqs_max, slot_bytes = model_layout(p->model)->slot_bytes, slots_bytes;
    TRY(num_mul(&slots_bytes, n, slot_bytes));
    e->by_sched = mem_alloc(e->n_requests_max, sizeof *e->by_sched);
    e->tables = mem_alloc(n, e->table_cap * sizeof *e->tables);
    e->slots = slot_bytes == 0 ? NULL : mem_alloc_aligned(slots_bytes, 64);
    e->places = mem_alloc(n, sizeof *e->places);
    e->batch_ids = mem_alloc(p->n_rows_step, sizeof *e->batch_ids);
    e->spans = mem_alloc(n, sizeof *e->spans);
    e->want = mem_alloc(e->n_want_max, sizeof *e->want);
    if (e->by_sched == NULL || e->tables == NULL || (slot_bytes > 0 && e->slots == NULL) ||
        e->places == NULL || e->batch_ids == NULL || e->spans == NULL || e->want == NULL)
        return E_NOMEM;
    for (uint32_t i = 0; i < p->n_seqs_max; i++)
        e->places[e->n_places++] = p->n_seqs_max - 1 - i;
    TRY(reserve(&e->piece, e->piece_max + 64));
    return reserve(&e->text, e->piece_max + ENGINE_STOP_BYTES_MAX + 64);
}

static void free_all(struct engine *e)
{
    engine_tier_close(e);
    kv_prefix_destroy(e->prefix);
    kv_pool_destroy(e->pool);
    sched_destroy(e->sched);
    model_work_destroy(e->work);
    engine_sampler_destroy(e->sampler);
    engine_spec_destroy(e);
    mem_free(e->end_ids);
    mem_free(e->by_sched);
    mem_free(e->tables);
    mem_free(e->slots);
    mem_free(e->places);
    mem_free(e->batch_ids);
    mem_free(e->spans);
    mem_free(e->want);
    buf_fini(&e->piece);
    buf_fini(&e->text);
    pthread_mutex_destroy(&e->lock);
    pthread_cond_destroy(&e->wake);
    pthread_cond_destroy(&e->idle);
    engine_meter_fini(&e->meter);
    mem_free(e);
}

static void init_locks(struct engine *e)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->wake, &attr);
    pthread_cond_init(&e->idle, &attr);
    pthread_condattr_destroy(&attr);
    engine_meter_init(&e->meter);
}

static int build(struct engine *e, struct err *err)
{
    int rc = settle(e, err);
    if (rc < 0)
        return rc == E_RANGE && err != NULL && err->code == rc
                   ? rc
                   : err_set_field(err, rc, "n_ctx", "context times block size overflows");
    rc = find_ends(e);
    if (rc == 0 && e->piece_max > ENGINE_PIECE_MAX)
        return err_set(err, E_UNSUPPORTED, "the tokenizer has a token of %zu bytes; at most %d",
                       e->piece_max, ENGINE_PIECE_MAX);
    rc = rc < 0 ? rc : make_parts(e);
    rc = rc < 0 ? rc : make_memory(e);
    rc = rc < 0 ? rc : engine_spec_create(e);
    if (rc < 0)
        return err_set(err, rc, "engine with %zu bytes of KV memory: %s", e->info.kv_bytes,
                       err_code_text(rc));
    TRY(engine_tier_open(e, err));
    if (pthread_create(&e->thread, NULL, run_engine, e) != 0)
        return err_set(err, E_NOMEM, "cannot start the engine's thread");
    return 0;
}

int engine_create(struct engine **out, const struct engine_params *params, struct err *err)
{
    ASSERT(params->model != NULL);
    ASSERT(params->tokenizer != NULL);
    ASSERT(params->clock.now_ns != NULL);
    struct engine *e = mem_alloc(1, sizeof *e);
    if (e == NULL)
        return err_set(err, E_NOMEM, "no memory for an engine");
    e->params = *params;
    init_locks(e);
    struct err local = { 0 };
    int rc = build(e, &local);
    if (rc < 0) {
        free_all(e);
        if (err != NULL)
            *err = local;
        return rc;
    }
    *out = e;
    return 0;
}

void engine_destroy(struct engine *e)
{
    if (e == NULL)
        return;
    (void)engine_drain(e, 0.0);
    pthread_mutex_lock(&e->lock);
    e->quit = e->poked = true;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->thread, NULL);
    ASSERT(e->live == NULL);
    ASSERT(e->inbox_first == NULL);
    ASSERT(e->n_places == e->info.n_seqs_max); /* every sequence gave its place back */
    free_all(e);
}

/* --- from any thread --- */

void engine_info(const struct engine *e, struct engine_info *out) { *out = e->info; }

struct engine_request engine_request_defaults(const int32_t *prompt, uint32_t n_prompt)
{
    return (struct engine_request){ .prompt = prompt, .n_prompt = n_prompt,
                                    .sampler = engine_sampler_defaults() };
}

/* A request that never got in. */
static void note_refusal(struct engine *e, const struct engine_request *r, int rc)
{
    struct engine_decision d = { .at_ns = engine_now(e), .n_prompt = r->n_prompt };
    d.kind = rc == E_LIMIT  ? ENGINE_D_REFUSE_LONG
             : rc == E_FULL ? ENGINE_D_REFUSE_FULL
                            : ENGINE_D_REFUSE_CLOSING;
    if (rc == E_LIMIT || rc == E_FULL || rc == E_CLOSED)
        engine_meter_decide(&e->meter, &d);
}

int engine_submit(struct engine *e, const struct engine_request *r, struct engine_stream **out,
                  struct err *err)
{
    struct engine_stream *s = NULL;
    if (e->info.encoder)
        return err_set_field(err, E_UNSUPPORTED, "model",
                             "model: this one makes embeddings and no text");
    int rc = engine_stream_create(&s, e, r, err);
    if (rc < 0) {
        note_refusal(e, r, rc);
        return rc;
    }
    pthread_mutex_lock(&e->lock);
    if (e->closing)
        rc = err_set(err, E_CLOSED, "the engine takes no more requests: it is shutting down");
    else if (e->n_live >= e->n_requests_max)
        rc = err_set(err, E_FULL, "%u requests are waiting; try again later", e->n_live);
    if (rc == 0) {
        ASSERT(s->next == NULL);
        s->number = ++e->n_submitted;
        *out = s; /* before the engine can call notify */
        if (e->inbox_last != NULL)
            e->inbox_last->next = s;
        else
            e->inbox_first = s;
        e->inbox_last = s;
        e->n_live++;
        e->n_inbox++;
        e->poked = true;
        pthread_cond_signal(&e->wake);
    }
    pthread_mutex_unlock(&e->lock);
    if (rc < 0) {
        note_refusal(e, r, rc);
        engine_stream_unref(s); /* the caller's */
        engine_stream_unref(s); /* the engine's, which it never took */
    }
    return rc;
}

int engine_drain(struct engine *e, double timeout_s)
{
    int rc = 0;
    double ns = timeout_s > 0.0 ? timeout_s * 1e9 : 0.0;
    struct timespec until = deadline_in(ns < 1e18 ? (uint64_t)ns : (uint64_t)1e18);
    pthread_mutex_lock(&e->lock);
    e->closing = true;
    while (e->n_live > 0 && rc == 0)
        rc = pthread_cond_timedwait(&e->idle, &e->lock, &until);
    bool late = e->n_live > 0;
    e->cancel_all = e->cancel_all || late;
    while (e->n_live > 0) {
        e->poked = true;
        pthread_cond_signal(&e->wake);
        pthread_cond_wait(&e->idle, &e->lock);
    }
    pthread_mutex_unlock(&e->lock);
    return late ? E_TIMEOUT : 0;
}

void engine_forget(struct engine *e)
{
    pthread_mutex_lock(&e->lock);
    e->forget = e->poked = true;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
}

void engine_stats(const struct engine *e, struct engine_stats *out)
{
    struct engine *w = (struct engine *)(uintptr_t)e; /* the lock is not part of what is const */
    pthread_mutex_lock(&w->lock);
    *out = e->shown;
    out->n_waiting += e->n_inbox;
    out->blocks = e->info.n_blocks; /* also before the first step */
    pthread_mutex_unlock(&w->lock);
}

void engine_report(const struct engine *e, struct engine_report *out)
{
    struct engine *w = (struct engine *)(uintptr_t)e; /* nor is the meter's lock */
    engine_meter_read(&w->meter, out);
    out->now_ns = engine_now(e);
}

const char *engine_finish_name(enum engine_finish f)
{
    static const char *const names[] = { "stop", "length", "cancelled", "error" };
    return (unsigned)f < COUNT_OF(names) ? names[f] : "error";
}
