/* The caller's end: checking and copying a request, reading its events, letting go. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "base/num.h"
#include "base/utf8.h"
#include "engine/impl.h"

/* What a TOKEN event is in the ring: this, the alternatives, the text. */
struct wire {
    int32_t id;
    float logprob;
    uint32_t n_top, text_len;
};
_Static_assert(sizeof(struct wire) == 16, "no padding: it is copied as bytes");

/* --- checking --- */

static int check_ids(const struct engine *e, const int32_t *ids, uint32_t n, const char *field,
                     struct err *err)
{
    for (uint32_t i = 0; i < n; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= e->n_vocab)
            return err_set_field(err, E_RANGE, field, "%s[%u] is %d; the vocabulary has %u tokens",
                                 field, i, ids[i], e->n_vocab);
    return 0;
}

static int check_prompt(const struct engine *e, const struct engine_request *r, struct err *err)
{
    if (r->n_prompt == 0)
        return err_set_field(err, E_RANGE, "prompt", "the prompt is empty; give at least 1 token");
    if (r->n_prompt >= e->info.n_ctx)
        return err_set_field(err, E_LIMIT, "prompt",
                             "the prompt has %u tokens, the context holds %u and needs one for the "
                             "answer; shorten the prompt or raise the context",
                             r->n_prompt, e->info.n_ctx);
    return check_ids(e, r->prompt, r->n_prompt, "prompt", err);
}

static int check_bias(const struct engine *e, const struct engine_request *r, struct err *err)
{
    if (r->n_bias > ENGINE_BIAS_MAX)
        return err_set_field(err, E_LIMIT, "logit_bias", "%u entries; at most %d", r->n_bias,
                             ENGINE_BIAS_MAX);
    for (uint32_t i = 0; i < r->n_bias; i++) {
        TRY(check_ids(e, &r->bias[i].id, 1, "logit_bias", err));
        if (!(r->bias[i].bias >= -100.0f && r->bias[i].bias <= 100.0f))
            return err_set_field(err, E_RANGE, "logit_bias", "bias of token %d is %g, must be from "
                                 "-100 to 100", r->bias[i].id, (double)r->bias[i].bias);
    }
    return 0;
}

static int check_stops(const struct engine_request *r, struct err *err)
{
    if (r->n_stops > ENGINE_STOPS_MAX)
        return err_set_field(err, E_LIMIT, "stop", "%u stop strings; at most %d", r->n_stops,
                             ENGINE_STOPS_MAX);
    for (uint32_t i = 0; i < r->n_stops; i++) {
        size_t len = r->stops[i].len;
        if (len == 0 || len > ENGINE_STOP_BYTES_MAX)
            return err_set_field(err, E_LIMIT, "stop", "stop string %u has %zu bytes, must have 1 "
                                 "to %d", i, len, ENGINE_STOP_BYTES_MAX);
        if (!utf8_valid(r->stops[i].data, len))
            return err_set_field(err, E_FORMAT, "stop", "stop string %u is not UTF-8", i);
    }
    return 0;
}

static int check(const struct engine *e, const struct engine_request *r, struct err *err)
{
    TRY(check_prompt(e, r, err));
    TRY(engine_sampler_check(&r->sampler, err));
    TRY(check_bias(e, r, err));
    TRY(check_stops(r, err));
    if (r->n_stop_ids > ENGINE_STOP_IDS_MAX)
        return err_set_field(err, E_LIMIT, "stop_token_ids", "%u ids; at most %d", r->n_stop_ids,
                             ENGINE_STOP_IDS_MAX);
    TRY(check_ids(e, r->stop_ids, r->n_stop_ids, "stop_token_ids", err));
    if (r->n_top > ENGINE_TOP_MAX)
        return err_set_field(err, E_RANGE, "top_logprobs", "%u alternatives; at most %d", r->n_top,
                             ENGINE_TOP_MAX);
    if (r->max_tokens > 0 && r->min_tokens > r->max_tokens)
        return err_set_field(err, E_RANGE, "min_tokens", "min_tokens is %u, max_tokens only %u",
                             r->min_tokens, r->max_tokens);
    return 0;
}

/* --- copying --- */

static void *copy(struct arena *a, const void *from, size_t n, size_t size)
{
    void *to = arena_alloc(a, n + 1, size); /* one more: nothing is still a pointer */
    if (to != NULL && n > 0)
        memcpy(to, from, n * size);
    return to;
}

static int copy_stops(struct engine_stream *s, const struct engine_request *r)
{
    struct engine_stop_string *strings = arena_alloc(&s->arena, r->n_stops + 1, sizeof *strings);
    size_t longest = 0;
    if (strings == NULL)
        return E_NOMEM;
    for (uint32_t i = 0; i < r->n_stops; i++) {
        size_t len = r->stops[i].len;
        char *text = copy(&s->arena, r->stops[i].data, len, 1);
        uint16_t *fall = arena_alloc(&s->arena, len, sizeof *fall);
        if (text == NULL || fall == NULL)
            return E_NOMEM;
        engine_stop_prepare(text, (uint16_t)len, fall);
        strings[i] = (struct engine_stop_string){ .text = text, .len = (uint16_t)len,
                                                  .fall = fall };
        longest = num_max(longest, len);
    }
    s->stop = (struct engine_stop){ .strings = strings, .n = r->n_stops };
    s->stop.held = arena_alloc(&s->arena, longest + 1, 1);
    s->event_max = sizeof(struct wire) + r->n_top * sizeof(struct engine_top) + longest +
                   s->engine->piece_max + 64;
    return s->stop.held == NULL ? E_NOMEM : 0;
}

static int make_ring(struct engine_stream *s)
{
    size_t want = s->engine->params.stream_bytes, cap = 4096;
    want = num_max(want == 0 ? 65536 : want, 4 * engine_ring_cost(s->event_max));
    while (cap < want)
        cap *= 2;
    uint8_t *bytes = arena_bytes(&s->arena, cap);
    s->event = arena_bytes(&s->arena, s->event_max);
    if (bytes == NULL || s->event == NULL)
        return E_NOMEM;
    engine_ring_init(&s->ring, bytes, cap);
    s->room = cap;
    return 0;
}

static int copy_request(struct engine_stream *s, const struct engine_request *r)
{
    const struct engine *e = s->engine;
    uint32_t n_left = e->info.n_ctx - r->n_prompt;
    s->r = *r;
    s->n_limit = r->n_prompt + (r->max_tokens == 0 ? n_left
                                                   : (uint32_t)num_min(r->max_tokens, n_left));
    ASSERT(s->n_limit > r->n_prompt);
    ASSERT(s->n_limit <= e->info.n_ctx);
    s->ids = arena_bytes(&s->arena, s->n_limit * sizeof *s->ids);
    s->r.bias = copy(&s->arena, r->bias, r->n_bias, sizeof *r->bias);
    s->r.stop_ids = copy(&s->arena, r->stop_ids, r->n_stop_ids, sizeof *r->stop_ids);
    if (s->ids == NULL || s->r.bias == NULL || s->r.stop_ids == NULL)
        return E_NOMEM;
    s->forbid = arena_alloc(&s->arena, e->n_end_ids + r->n_stop_ids + 1, sizeof *s->forbid);
    if (s->forbid == NULL)
        return E_NOMEM;
    for (uint32_t i = 0; i < e->n_end_ids && !r->ignore_eos; i++)
        s->forbid[s->n_forbid++] = e->end_ids[i];
    for (uint32_t i = 0; i < r->n_stop_ids; i++)
        s->forbid[s->n_forbid++] = r->stop_ids[i];
    memcpy(s->ids, r->prompt, r->n_prompt * sizeof *s->ids);
    s->n_ids = r->n_prompt;
    s->r.prompt = s->ids;
    s->r.stops = NULL; /* copied into s->stop */
    s->root = kv_prefix_root(e->prefix, r->salt.data, r->salt.len);
    s->r.salt = (struct engine_str){ NULL, 0 };
    if (e->mover != NULL) {
        s->salt = (struct engine_str){ copy(&s->arena, r->salt.data, r->salt.len, 1),
                                       r->salt.len };
        s->keys = arena_alloc(&s->arena, s->n_limit / e->info.block_len + 1, sizeof *s->keys);
        if (s->salt.data == NULL || s->keys == NULL)
            return E_NOMEM;
    }
    TRY(copy_stops(s, r));
    buf_init(&s->done.text, 4096);
    for (int i = 0; i < ENGINE_STOP_BYTES_MAX + 64; i++)
        buf_putc(&s->done.text, ' '); /* reserves: the end of a request allocates nothing */
    TRY(buf_status(&s->done.text));
    buf_clear(&s->done.text);
    return make_ring(s);
}

static void init_stream(struct engine_stream *s, struct engine *e)
{
    pthread_condattr_t attr;
    s->engine = e;
    s->place = ENGINE_NO_PLACE;
    s->submit_ns = engine_now(e);
    s->done.stop_index = -1;
    s->done.stop_id = -1;
    atomic_init(&s->refs, 2);
    arena_init(&s->arena, SIZE_MAX);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, &attr);
    pthread_condattr_destroy(&attr);
}

int engine_stream_create(struct engine_stream **out, struct engine *e,
                         const struct engine_request *r, struct err *err)
{
    TRY(check(e, r, err));
    struct engine_stream *s = mem_alloc(1, sizeof *s);
    if (s == NULL)
        return err_set(err, E_NOMEM, "no memory for the request");
    init_stream(s, e);
    if (copy_request(s, r) < 0) {
        engine_stream_unref(s);
        engine_stream_unref(s);
        return err_set(err, E_NOMEM, "no memory for a request of %u tokens", r->n_prompt);
    }
    text_detok_init(&s->detok, e->params.tokenizer, r->special, false);
    *out = s;
    return 0;
}

void engine_stream_unref(struct engine_stream *s)
{
    unsigned refs = atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel);
    ASSERT(refs >= 1);
    if (refs > 1)
        return;
    buf_fini(&s->done.text);
    arena_fini(&s->arena);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->wake);
    mem_free(s);
}

/* --- events --- */

/* Tells the reader that there is something: whoever waits, and who asked to be notified. */
void engine_stream_wake(struct engine_stream *s)
{
    pthread_mutex_lock(&s->lock);
    pthread_cond_broadcast(&s->wake);
    if (!s->closed && s->r.notify != NULL)
        s->r.notify(s->r.notify_ctx, s);
    pthread_mutex_unlock(&s->lock);
}

void engine_stream_put(struct engine_stream *s, const struct engine_sampled *token,
                       const struct buf *text)
{
    struct wire wire = { .id = token->id, .logprob = token->logprob, .n_top = token->n_top,
                         .text_len = (uint32_t)text->len };
    const struct engine_part parts[] = { { &wire, sizeof wire },
                                         { token->top, token->n_top * sizeof *token->top },
                                         { buf_str(text), text->len } };
    ASSERT(token->n_top <= s->r.n_top);
    ASSERT(parts[0].len + parts[1].len + parts[2].len <= s->event_max);
    bool ok = engine_ring_put(&s->ring, parts, COUNT_OF(parts));
    ASSERT(ok); /* a request without room for one event is paused, not run */
    (void)ok;
}

static bool take_token(struct engine_stream *s, struct engine_event *ev)
{
    struct wire wire;
    size_t len = engine_ring_get(&s->ring, s->event, s->event_max);
    if (len == 0)
        return false;
    if (atomic_load_explicit(&s->paused, memory_order_relaxed) &&
        !atomic_load_explicit(&s->ended, memory_order_acquire))
        engine_poke(s->engine); /* it may have room enough again */
    ASSERT(len >= sizeof wire);
    memcpy(&wire, s->event, sizeof wire);
    ASSERT(len == sizeof wire + wire.n_top * sizeof *ev->top + wire.text_len);
    const uint8_t *top = s->event + sizeof wire;
    *ev = (struct engine_event){ .kind = ENGINE_TOKEN, .id = wire.id, .logprob = wire.logprob,
                                 .n_top = wire.n_top, .text_len = wire.text_len, .message = "",
                                 .top = (const struct engine_top *)(const void *)top,
                                 .text = (const char *)top + wire.n_top * sizeof *ev->top,
                                 .stop_index = -1, .stop_id = -1 };
    return true;
}

static int take(struct engine_stream *s, struct engine_event *ev)
{
    if (take_token(s, ev))
        return 1;
    if (!atomic_load_explicit(&s->ended, memory_order_acquire)) /* with engine_end's release */
        return 0;
    if (take_token(s, ev)) /* came between the two looks */
        return 1;
    if (s->done_read)
        return E_CLOSED;
    s->done_read = true;
    const struct engine_done *d = &s->done;
    *ev = (struct engine_event){ .kind = ENGINE_DONE, .finish = d->finish, .code = d->code,
                                 .message = d->message, .text = buf_str(&d->text),
                                 .text_len = d->text.len, .stop_index = d->stop_index,
                                 .stop_id = d->stop_id, .usage = d->usage };
    return 1;
}

static struct timespec deadline_in(double seconds)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    double ns = (double)t.tv_nsec + (seconds < 1e9 ? seconds : 1e9) * 1e9;
    t.tv_sec += (time_t)(ns / 1e9);
    t.tv_nsec = (long)fmod(ns, 1e9);
    return t;
}

int engine_stream_next(struct engine_stream *s, double timeout_s, struct engine_event *ev)
{
    int got = take(s, ev), rc = 0;
    if (got != 0 || timeout_s == 0.0)
        return got;
    struct timespec until = { 0 };
    if (timeout_s > 0.0)
        until = deadline_in(timeout_s);
    pthread_mutex_lock(&s->lock);
    for (got = take(s, ev); got == 0 && rc == 0; got = take(s, ev))
        rc = timeout_s > 0.0 ? pthread_cond_timedwait(&s->wake, &s->lock, &until)
                             : pthread_cond_wait(&s->wake, &s->lock);
    pthread_mutex_unlock(&s->lock);
    return got;
}

void engine_stream_cancel(struct engine_stream *s)
{
    atomic_store_explicit(&s->cancelled, true, memory_order_relaxed);
    if (!atomic_load_explicit(&s->ended, memory_order_acquire))
        engine_poke(s->engine);
}

void engine_stream_close(struct engine_stream *s)
{
    if (s == NULL)
        return;
    engine_stream_cancel(s);
    pthread_mutex_lock(&s->lock);
    ASSERT(!s->closed);
    s->closed = true;
    pthread_mutex_unlock(&s->lock);
    engine_stream_unref(s);
}

void engine_stream_progress(const struct engine_stream *s, struct engine_progress *out)
{
    *out = (struct engine_progress){
        .phase = (enum engine_phase)atomic_load_explicit(&s->phase, memory_order_relaxed),
        .prefill_done = atomic_load_explicit(&s->prefill_done, memory_order_relaxed),
        .prefill_total = s->r.n_prompt,
        .generated = atomic_load_explicit(&s->generated, memory_order_relaxed),
    };
}
