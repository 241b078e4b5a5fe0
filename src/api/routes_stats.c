/* GET /stats: the state of the server as one JSON object, for the operations page and for scripts.
 * Numbers and names of the server only; nothing of any prompt or answer. */
#include <string.h>

#include "api/call.h"
#include "base/mem.h"

#define STATS_BYTES_MAX (1u << 20)
#define SAFE_INT 9007199254740991u /* 2^53 - 1: what JavaScript holds exactly */

static void put_u(struct json_writer *w, const char *key, uint64_t x)
{
    json_key(w, key);
    json_write_uint(w, x < SAFE_INT ? x : SAFE_INT);
}

static void put_s(struct json_writer *w, const char *key, double seconds)
{
    json_key(w, key);
    json_write_double(w, seconds);
}

static void put_text(struct json_writer *w, const char *key, const char *text)
{
    json_key(w, key);
    json_write_str(w, text);
}

static void begin(struct json_writer *w, const char *key)
{
    json_key(w, key);
    json_begin_object(w);
}

static void put_server(struct json_writer *w, const struct api_server *s)
{
    put_text(w, "version", s->p.version);
    put_text(w, "model", s->p.model_id);
    put_u(w, "max_model_len", s->info.n_ctx);
    put_s(w, "uptime_s", (double)(clock_now_ns(&s->p.clock) - s->started_ns) * 1e-9);
    json_key(w, "draining");
    json_write_bool(w, atomic_load(&s->draining));
    put_u(w, "connections", net_http_connections(s->net));
}

static void put_requests(struct json_writer *w, const struct engine_stats *st,
                         const struct engine_report *r, const struct engine_info *info)
{
    begin(w, "requests");
    put_u(w, "running", st->n_running);
    put_u(w, "running_max", info->n_seqs_max);
    put_u(w, "waiting", st->n_waiting);
    for (int f = ENGINE_STOP; f <= ENGINE_ERROR; f++)
        put_u(w, engine_finish_name((enum engine_finish)f), r->finished[f]);
    put_u(w, "preemptions", st->preemptions);
    json_end_object(w);
    begin(w, "tokens");
    put_u(w, "prompt", st->prompt_tokens);
    put_u(w, "cached", st->cached_tokens);
    put_u(w, "completion", st->completion_tokens);
    json_end_object(w);
}

static void put_kv(struct json_writer *w, const struct engine_stats *st,
                   const struct engine_info *info)
{
    begin(w, "kv");
    put_u(w, "block_tokens", info->block_len);
    put_u(w, "evictions", st->evictions);
    put_u(w, "drafted_tokens", st->drafted_tokens);
    put_u(w, "accepted_tokens", st->accepted_tokens);
    json_key(w, "sharing");
    json_write_bool(w, info->sharing);
    json_key(w, "tiers");
    json_begin_array(w);
    json_begin_object(w);
    put_text(w, "tier", "ram");
    put_u(w, "bytes", info->kv_bytes);
    put_u(w, "blocks", st->blocks);
    put_u(w, "used", st->blocks_used);
    put_u(w, "cached", st->blocks_cached);
    put_u(w, "hit_tokens", st->cached_tokens);
    json_end_object(w);
    if (st->store.store.max_bytes > 0) {
        const struct kv_store_stats *ssd = &st->store.store;
        json_begin_object(w);
        put_text(w, "tier", "ssd");
        put_text(w, "state", kv_store_state_name(ssd->state));
        put_u(w, "bytes", ssd->disk_bytes);
        put_u(w, "bytes_max", ssd->max_bytes);
        put_u(w, "blocks", ssd->n_blocks);
        put_u(w, "written", ssd->written);
        put_u(w, "read", ssd->read);
        put_u(w, "verified", ssd->verified);
        put_u(w, "failed", ssd->failed);
        put_u(w, "hit_tokens", st->store_loaded * info->block_len);
        json_end_object(w);
    }
    json_end_array(w);
    json_end_object(w);
}

/* Mean of all, quantiles of the last ones. */
static void put_quantiles(struct json_writer *w, const char *key, struct engine_report *r,
                          enum engine_hist_kind kind)
{
    const struct engine_hist *h = &r->hists[kind];
    begin(w, key);
    put_u(w, "n", h->n);
    put_s(w, "mean_s", h->n > 0 ? h->sum / (double)h->n : 0);
    put_s(w, "p50_s", engine_report_quantile(r, kind, 0.5));
    put_s(w, "p95_s", engine_report_quantile(r, kind, 0.95));
    put_s(w, "p99_s", engine_report_quantile(r, kind, 0.99));
    json_end_object(w);
}

static void put_latency(struct json_writer *w, struct engine_report *r)
{
    begin(w, "latency");
    put_quantiles(w, "ttft", r, ENGINE_H_TTFT);
    put_quantiles(w, "itl", r, ENGINE_H_ITL);
    put_quantiles(w, "e2e", r, ENGINE_H_E2E);
    put_quantiles(w, "queue", r, ENGINE_H_QUEUE);
    put_quantiles(w, "step", r, ENGINE_H_STEP);
    json_end_object(w);
}

static double ago_s(const struct engine_report *r, uint64_t at)
{
    return r->now_ns > at ? (double)(r->now_ns - at) * 1e-9 : 0;
}

/* The last steps, oldest first, as rows of numbers: seconds ago, seconds, prompt tokens, single
 * tokens, sequences, predicted seconds (0: nothing was known yet). */
static void put_steps(struct json_writer *w, const struct engine_report *r,
                      const struct engine_stats *st, const struct engine_info *info)
{
    begin(w, "steps");
    put_u(w, "count", st->steps);
    put_s(w, "busy_s", (double)st->busy_ns * 1e-9);
    put_u(w, "rows_max", info->n_rows_step);
    put_u(w, "prefill_rows", st->prefill_rows);
    put_u(w, "decode_rows", st->decode_rows);
    put_u(w, "predicted", st->steps_predicted);
    put_u(w, "predicted_within_15_percent", st->steps_near);
    json_key(w, "prediction_error");
    json_write_double(w, st->step_error);
    json_key(w, "last");
    json_begin_array(w);
    uint64_t from = r->n_steps > ENGINE_STEPS_KEPT ? r->n_steps - ENGINE_STEPS_KEPT : 0;
    for (uint64_t i = from; i < r->n_steps; i++) {
        const struct engine_step_record *step = &r->steps[i % ENGINE_STEPS_KEPT];
        json_begin_array(w);
        json_write_double(w, ago_s(r, step->end_ns));
        json_write_double(w, (double)step->ns * 1e-9);
        json_write_uint(w, step->prefill_rows);
        json_write_uint(w, step->decode_rows);
        json_write_uint(w, step->n_seqs);
        json_write_double(w, (double)step->predicted_ns * 1e-9);
        json_end_array(w);
    }
    json_end_array(w);
    json_end_object(w);
}

static void put_rows(struct json_writer *w, const struct engine_report *r)
{
    static const char *const phases[] = { "queued", "fetch", "prefill", "decode",
                                         "ended" };
    json_key(w, "at_work");
    json_begin_array(w);
    for (uint32_t i = 0; i < r->n_rows; i++) {
        const struct engine_row *row = &r->rows[i];
        json_begin_object(w);
        put_u(w, "request", row->request);
        put_text(w, "phase", phases[row->phase < COUNT_OF(phases) ? row->phase : 4]);
        json_key(w, "paused");
        json_write_bool(w, row->paused);
        put_u(w, "prompt", row->n_prompt);
        put_u(w, "cached", row->n_cached);
        put_u(w, "prefilled", row->prefill_done);
        put_u(w, "generated", row->generated);
        put_u(w, "blocks", row->n_blocks);
        put_u(w, "preemptions", row->preemptions);
        put_s(w, "age_s", (double)row->age_ns * 1e-9);
        json_end_object(w);
    }
    json_end_array(w);
    put_u(w, "at_work_total", r->n_live);
}

static void put_decisions(struct json_writer *w, const struct engine_report *r)
{
    json_key(w, "decisions");
    json_begin_array(w);
    for (uint64_t i = 0; i < r->n_decisions && i < ENGINE_DECISIONS_KEPT; i++) {
        const struct engine_decision *d =
            &r->decisions[(r->n_decisions - 1 - i) % ENGINE_DECISIONS_KEPT];
        json_begin_object(w);
        put_s(w, "ago_s", ago_s(r, d->at_ns));
        put_text(w, "kind", engine_decision_name(d->kind));
        put_text(w, "reason", engine_decision_reason(d->kind));
        put_u(w, "request", d->request);
        put_u(w, "prompt", d->n_prompt);
        put_u(w, "cached", d->n_cached);
        put_u(w, "blocks_free", d->n_blocks_free);
        put_s(w, "waited_s", (double)d->waited_ns * 1e-9);
        json_end_object(w);
    }
    json_end_array(w);
}

void api_route_stats(struct api_call *c)
{
    struct engine_report *r = mem_alloc(1, sizeof *r);
    if (r == NULL) {
        struct api_error e = api_error_status(503, "overloaded", "out of memory");
        api_call_fail(c, &e);
        return;
    }
    struct engine_stats st;
    struct buf body;
    struct json_writer w;
    engine_stats(c->s->p.engine, &st);
    engine_report(c->s->p.engine, r);
    buf_init(&body, STATS_BYTES_MAX);
    json_writer_init(&w, &body);
    json_begin_object(&w);
    put_server(&w, c->s);
    put_requests(&w, &st, r, &c->s->info);
    put_kv(&w, &st, &c->s->info);
    put_latency(&w, r);
    put_steps(&w, r, &st, &c->s->info);
    put_rows(&w, r);
    put_decisions(&w, r);
    json_end_object(&w);
    net_call_put_header(c->net, "cache-control", "no-store");
    api_call_reply(c, 200, &body);
    mem_free(r);
}
