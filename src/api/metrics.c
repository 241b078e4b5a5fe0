/* GET /metrics. Families are tables; a family is written as a head and its samples. */
#include "api/metrics.h"

#include <string.h>

#include "api/call.h"
#include "base/mem.h"
#include "os/process.h"

#define TEXT_BYTES_MAX (4u << 20)

static const double seconds_bounds[API_METER_BOUNDS] = { .3, .5, .8, 1,  1.5, 2,   2.5,
                                                         5,  10, 15, 20, 30,  40,  50,
                                                         60, 120, 240, 480, 960, 1920, 7680 };

void api_meter_count(struct api_meter *m, int route, int status, uint64_t ns)
{
    bool known = route >= 0 && route < API_METER_ROUTES;
    struct api_meter_route *r = &m->routes[known ? route : API_METER_ROUTES];
    int class = status / 100;
    double s = (double)ns * 1e-9;
    uint32_t i = 0;
    while (i < API_METER_BOUNDS && s > seconds_bounds[i])
        i++;
    atomic_fetch_add_explicit(&r->status[class >= 0 && class < API_METER_CLASSES ? class : 0], 1,
                              memory_order_relaxed);
    atomic_fetch_add_explicit(&r->buckets[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&r->sum_us, ns / 1000, memory_order_relaxed);
}

struct page {
    struct buf *out;
    bool open; /* OpenMetrics */
    struct buf model; /* model_name="...",engine="0" */
};

enum kind { GAUGE, COUNTER, HISTOGRAM };

/* OpenMetrics names a counter's family without the _total of its samples. */
static void head(struct page *p, const char *name, enum kind kind, const char *help)
{
    static const char *const kinds[] = { "gauge", "counter", "histogram" };
    size_t len = strlen(name);
    if (p->open && kind == COUNTER && len > 6 && strcmp(name + len - 6, "_total") == 0)
        len -= 6;
    buf_printf(p->out, "# HELP %.*s %s\n# TYPE %.*s %s\n", (int)len, name, help, (int)len, name,
               kinds[kind]);
}

static void sample(struct page *p, const char *name, const char *labels, double value)
{
    buf_printf(p->out, "%s%s%s%s %.15g\n", name, labels[0] != '\0' ? "{" : "", labels,
               labels[0] != '\0' ? "}" : "", value);
}

struct simple {
    const char *name;
    enum kind kind;
    const char *help;
    double value;
};

static void put_simple(struct page *p, const struct simple *rows, size_t n, const char *labels)
{
    for (size_t i = 0; i < n; i++) {
        head(p, rows[i].name, rows[i].kind, rows[i].help);
        sample(p, rows[i].name, labels, rows[i].value);
    }
}

/* Cumulative buckets, as the format wants them. */
static void put_hist(struct page *p, const char *name, const char *help,
                     const struct engine_hist *h, enum engine_hist_kind kind)
{
    struct engine_bounds b = engine_hist_bounds(kind);
    const char *labels = buf_str(&p->model);
    uint64_t n = 0;
    head(p, name, HISTOGRAM, help);
    for (uint32_t i = 0; i < b.n; i++) {
        n += h->counts[i];
        buf_printf(p->out, "%s_bucket{%s,le=\"%.10g\"} %llu\n", name, labels, b.values[i],
                   (unsigned long long)n);
    }
    buf_printf(p->out, "%s_bucket{%s,le=\"+Inf\"} %llu\n%s_sum{%s} %.15g\n%s_count{%s} %llu\n",
               name, labels, (unsigned long long)h->n, name, labels, h->sum, name, labels,
               (unsigned long long)h->n);
}

/* A label value: backslash, quote and newline are escaped. */
static void put_label(struct buf *out, const char *s)
{
    for (; *s != '\0'; s++) {
        if (*s == '\\' || *s == '"')
            buf_putc(out, '\\');
        if (*s == '\n')
            buf_puts(out, "\\n");
        else
            buf_putc(out, *s);
    }
}

/* --- the families whose names come from vLLM, with its meaning -------------------------------- */

static void put_engine(struct page *p, const struct engine_stats *st,
                       const struct engine_report *r, const struct engine_info *info)
{
    double used = st->blocks > 0 ? (double)st->blocks_used / st->blocks : 0;
    const struct simple rows[] = {
        { "vllm:num_requests_running", GAUGE, "Requests in the running batch.", st->n_running },
        { "vllm:num_requests_waiting", GAUGE, "Requests that wait for a place.", st->n_waiting },
        { "vllm:num_requests_swapped", GAUGE, "Always 0: preempted requests are recomputed.", 0 },
        { "vllm:kv_cache_usage_perc", GAUGE, "Share of KV blocks in use, 0 to 1.", used },
        { "vllm:gpu_cache_usage_perc", GAUGE, "Old name of vllm:kv_cache_usage_perc.", used },
        { "vllm:prefix_cache_queries_total", COUNTER, "Prompt tokens looked up in the cache.",
          (double)st->prompt_tokens },
        { "vllm:prefix_cache_hits_total", COUNTER, "Prompt tokens found in the prefix cache.",
          (double)st->cached_tokens },
        { "vllm:num_preemptions_total", COUNTER, "Requests that gave their blocks back.",
          (double)st->preemptions },
        { "vllm:prompt_tokens_total", COUNTER, "Prompt tokens of admitted requests.",
          (double)st->prompt_tokens },
        { "vllm:generation_tokens_total", COUNTER, "Tokens generated.",
          (double)st->completion_tokens },
    };
    put_simple(p, rows, COUNT_OF(rows), buf_str(&p->model));
    head(p, "vllm:request_success_total", COUNTER, "Requests that ended, by how.");
    for (int f = ENGINE_STOP; f <= ENGINE_LENGTH; f++)
        buf_printf(p->out, "vllm:request_success_total{%s,finished_reason=\"%s\"} %llu\n",
                   buf_str(&p->model), engine_finish_name((enum engine_finish)f),
                   (unsigned long long)r->finished[f]);
    head(p, "vllm:cache_config_info", GAUGE, "How the KV memory is laid out.");
    buf_printf(p->out, "vllm:cache_config_info{%s,block_size=\"%u\",num_gpu_blocks=\"%u\","
               "enable_prefix_caching=\"%s\"} 1\n", buf_str(&p->model), info->block_len,
               info->n_blocks, info->sharing ? "True" : "False");
    head(p, "vllm:admission_rejections_total", COUNTER, "Requests that were refused, by reason.");
    for (int k = ENGINE_D_REFUSE_FULL; k <= ENGINE_D_REFUSE_CLOSING; k++)
        buf_printf(p->out, "vllm:admission_rejections_total{%s,reason=\"%s\"} %llu\n",
                   buf_str(&p->model),
                   engine_decision_name((enum engine_decision_kind)k) + strlen("refuse_"),
                   (unsigned long long)r->decided[k]);
}

static void put_hists(struct page *p, const struct engine_report *r)
{
    static const struct {
        const char *name;
        enum engine_hist_kind kind;
        const char *help;
    } rows[] = {
        { "vllm:time_to_first_token_seconds", ENGINE_H_TTFT, "Submit to first token." },
        { "vllm:inter_token_latency_seconds", ENGINE_H_ITL, "Between two tokens of a request." },
        { "vllm:time_per_output_token_seconds", ENGINE_H_ITL, "Old name of the former." },
        { "vllm:request_time_per_output_token_seconds", ENGINE_H_TPOT,
          "Mean time a token after the first, one value a request." },
        { "vllm:e2e_request_latency_seconds", ENGINE_H_E2E, "Submit to end." },
        { "vllm:request_queue_time_seconds", ENGINE_H_QUEUE, "Submit to admission." },
        { "vllm:request_prefill_time_seconds", ENGINE_H_PREFILL, "Admission to first token." },
        { "vllm:request_decode_time_seconds", ENGINE_H_DECODE, "First token to end." },
        { "vllm:request_inference_time_seconds", ENGINE_H_INFERENCE, "Admission to end." },
        { "vllm:iteration_tokens_total", ENGINE_H_ROWS, "Tokens computed in one step." },
        { "vllm:request_prompt_tokens", ENGINE_H_PROMPT, "Prompt tokens of a request." },
        { "vllm:request_generation_tokens", ENGINE_H_GENERATION, "Tokens generated a request." },
        { "vllm:request_params_max_tokens", ENGINE_H_MAX_TOKENS, "Most tokens it asked for." },
        { "naru_step_seconds", ENGINE_H_STEP, "One step of the engine." },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        put_hist(p, rows[i].name, rows[i].help, &r->hists[rows[i].kind], rows[i].kind);
}

/* --- Naru's own ------------------------------------------------------------------------------ */

static void put_kv(struct page *p, const struct engine_stats *st, const struct engine_info *info)
{
    double block = info->n_blocks > 0 ? (double)info->kv_bytes / info->n_blocks : 0;
    const struct kv_store_stats *ssd = &st->store.store;
    const double counts[] = { st->blocks_used, st->blocks_cached,
                              (double)st->blocks - st->blocks_used - st->blocks_cached };
    static const char *const states[] = { "used", "cached", "free" };
    head(p, "naru_kv_blocks", GAUGE, "Blocks by what holds them.");
    for (size_t i = 0; i < COUNT_OF(counts); i++)
        buf_printf(p->out, "naru_kv_blocks{tier=\"ram\",class=\"%s\"} %.15g\n", states[i],
                   counts[i]);
    if (ssd->max_bytes > 0)
        buf_printf(p->out, "naru_kv_blocks{tier=\"ssd\",class=\"cached\"} %u\n", ssd->n_blocks);
    head(p, "naru_kv_bytes", GAUGE, "The same in bytes.");
    for (size_t i = 0; i < COUNT_OF(counts); i++)
        buf_printf(p->out, "naru_kv_bytes{tier=\"ram\",class=\"%s\"} %.15g\n", states[i],
                   counts[i] * block);
    if (ssd->max_bytes > 0)
        buf_printf(p->out, "naru_kv_bytes{tier=\"ssd\",class=\"cached\"} %llu\n",
                   (unsigned long long)ssd->disk_bytes);
    head(p, "naru_kv_hits_total", COUNTER, "Prompt tokens found in a tier instead of computed.");
    buf_printf(p->out, "naru_kv_hits_total{tier=\"ram\"} %llu\n",
               (unsigned long long)st->cached_tokens);
    if (ssd->max_bytes > 0)
        buf_printf(p->out, "naru_kv_hits_total{tier=\"ssd\"} %llu\n",
                   (unsigned long long)(st->store_loaded * info->block_len));
    const struct simple rows[] = {
        { "naru_spec_drafted_tokens_total", COUNTER, "Guessed tokens that were verified.",
          (double)st->drafted_tokens },
        { "naru_spec_accepted_tokens_total", COUNTER, "Guessed tokens that held.",
          (double)st->accepted_tokens },
        { "naru_kv_evictions_total", COUNTER, "Idle blocks given up for others.",
          (double)st->evictions },
    };
    put_simple(p, rows, COUNT_OF(rows), "tier=\"ram\"");
}

/* The store on a disk; nothing without one. */
static void put_kv_disk(struct page *p, const struct engine_stats *st)
{
    const struct kv_store_stats *ssd = &st->store.store;
    if (ssd->max_bytes == 0)
        return;
    const struct simple rows[] = {
        { "naru_kv_tier_state", GAUGE, "0 off, 1 read only, 2 on.", (double)ssd->state },
        { "naru_kv_written_blocks_total", COUNTER, "Blocks written.", (double)ssd->written },
        { "naru_kv_read_blocks_total", COUNTER, "Blocks read back.", (double)ssd->read },
        { "naru_kv_verified_blocks_total", COUNTER, "Of these, right.", (double)ssd->verified },
        { "naru_kv_dropped_blocks_total", COUNTER, "Evicted before they were written.",
          (double)st->store.dropped },
        { "naru_kv_bypassed_blocks_total", COUNTER, "Stored, but computing was quicker.",
          (double)st->store_bypassed },
        { "naru_kv_io_errors_total", COUNTER, "Failed reads, writes, syncs.",
          (double)ssd->io_errors },
    };
    put_simple(p, rows, COUNT_OF(rows), "tier=\"ssd\"");
    head(p, "naru_kv_verify_failures_total", COUNTER, "Blocks that failed, by reason.");
    for (int f = 0; f < KV_FAULT_KINDS; f++)
        buf_printf(p->out, "naru_kv_verify_failures_total{tier=\"ssd\",reason=\"%s\"} %llu\n",
                   kv_store_fault_name((enum kv_store_fault)f),
                   (unsigned long long)ssd->faults[f]);
}

static void put_decisions(struct page *p, const struct engine_report *r,
                          const struct engine_stats *st)
{
    head(p, "naru_decisions_total", COUNTER, "What the scheduler decided, by kind.");
    for (int k = 0; k < ENGINE_DECISIONS; k++)
        buf_printf(p->out, "naru_decisions_total{kind=\"%s\"} %llu\n",
                   engine_decision_name((enum engine_decision_kind)k),
                   (unsigned long long)r->decided[k]);
    const struct simple rows[] = {
        { "naru_steps_total", COUNTER, "Steps of the engine.", (double)st->steps },
        { "naru_busy_seconds_total", COUNTER, "Time inside steps.", (double)st->busy_ns * 1e-9 },
        { "naru_steps_predicted_total", COUNTER, "Steps whose time was predicted.",
          (double)st->steps_predicted },
        { "naru_steps_predicted_near_total", COUNTER, "Of them, within 15 % of what they took.",
          (double)st->steps_near },
        { "naru_step_prediction_error", GAUGE,
          "Mean of |predicted - taken| / taken of recent steps.", st->step_error },
        { "naru_prefill_rows_total", COUNTER, "Prompt tokens computed.",
          (double)st->prefill_rows },
        { "naru_decode_rows_total", COUNTER, "Single tokens computed.", (double)st->decode_rows },
        { "naru_requests_failed_total", COUNTER, "Requests that ended with an error.",
          (double)st->requests_failed },
        { "naru_requests_cancelled_total", COUNTER, "Requests that were cancelled.",
          (double)st->requests_cancelled },
    };
    put_simple(p, rows, COUNT_OF(rows), "");
}

static uint64_t load(const _Atomic uint64_t *x)
{
    return atomic_load_explicit(x, memory_order_relaxed);
}

static const char *route_name(uint32_t i)
{
    const char *path = i < API_METER_ROUTES ? api_route_path(i) : NULL;
    return i == API_METER_ROUTES ? "other" : path;
}

static void put_durations(struct page *p, const char *route, const struct api_meter_route *r)
{
    static const char name[] = "naru_http_request_duration_seconds";
    uint64_t n = 0;
    for (uint32_t b = 0; b < API_METER_BOUNDS; b++) {
        n += load(&r->buckets[b]);
        buf_printf(p->out, "%s_bucket{route=\"%s\",le=\"%.10g\"} %llu\n", name, route,
                   seconds_bounds[b], (unsigned long long)n);
    }
    n += load(&r->buckets[API_METER_BOUNDS]);
    buf_printf(p->out, "%s_bucket{route=\"%s\",le=\"+Inf\"} %llu\n"
               "%s_sum{route=\"%s\"} %.15g\n%s_count{route=\"%s\"} %llu\n",
               name, route, (unsigned long long)n, name, route, (double)load(&r->sum_us) * 1e-6,
               name, route, (unsigned long long)n);
}

static void put_http(struct page *p, struct api_server *s)
{
    const struct api_meter *m = &s->meter;
    head(p, "naru_http_requests_total", COUNTER, "Requests answered, by route and status.");
    for (uint32_t i = 0; i <= API_METER_ROUTES; i++)
        for (int c = 1; route_name(i) != NULL && c < API_METER_CLASSES; c++)
            if (load(&m->routes[i].status[c]) > 0)
                buf_printf(p->out, "naru_http_requests_total{route=\"%s\",status_class=\"%dxx\"} "
                           "%llu\n", route_name(i), c,
                           (unsigned long long)load(&m->routes[i].status[c]));
    head(p, "naru_http_request_duration_seconds", HISTOGRAM, "Request read to answer sent.");
    for (uint32_t i = 0; i <= API_METER_ROUTES; i++)
        if (route_name(i) != NULL)
            put_durations(p, route_name(i), &m->routes[i]);
    const struct simple rows[] = {
        { "naru_http_connections", GAUGE, "Open connections.", net_http_connections(s->net) },
        { "naru_client_disconnects_total", COUNTER, "Clients that left before the end.",
          (double)load(&m->disconnects) },
        { "naru_client_retries_total", COUNTER, "Requests that say they are repeated.",
          (double)load(&m->retries) },
    };
    put_simple(p, rows, COUNT_OF(rows), "");
}

static void put_process(struct page *p, const struct api_server *s)
{
    struct os_process u;
    os_process_read(&u);
    head(p, "naru_build_info", GAUGE, "What runs.");
    buf_puts(p->out, "naru_build_info{version=\"");
    put_label(p->out, s->p.version);
    buf_puts(p->out, "\",commit=\"");
    put_label(p->out, s->p.commit);
    buf_puts(p->out, "\"} 1\n");
    const struct simple rows[] = {
        { "process_resident_memory_bytes", GAUGE, "Resident memory.", (double)u.resident_bytes },
        { "process_virtual_memory_bytes", GAUGE, "Address space.", (double)u.virtual_bytes },
        { "process_open_fds", GAUGE, "Open files.", u.open_files },
        { "process_max_fds", GAUGE, "Most files it may open.", u.files_max },
        { "process_cpu_seconds_total", COUNTER, "Processor time of all threads.", u.cpu_s },
        { "process_start_time_seconds", GAUGE, "Start in Unix time.", u.started_unix_s },
    };
    put_simple(p, rows, COUNT_OF(rows), "");
}

void api_metrics_write(struct api_server *s, bool open_metrics, struct buf *out)
{
    struct engine_report *r = mem_alloc(1, sizeof *r);
    struct engine_stats st;
    struct page p = { .out = out, .open = open_metrics };
    if (r == NULL) {
        out->status = E_NOMEM;
        return;
    }
    buf_init(&p.model, 4096);
    buf_puts(&p.model, "model_name=\"");
    put_label(&p.model, s->p.model_id);
    buf_puts(&p.model, "\",engine=\"0\"");
    engine_stats(s->p.engine, &st);
    engine_report(s->p.engine, r);
    put_engine(&p, &st, r, &s->info);
    put_hists(&p, r);
    put_kv(&p, &st, &s->info);
    put_kv_disk(&p, &st);
    put_decisions(&p, r, &st);
    put_http(&p, s);
    put_process(&p, s);
    if (open_metrics)
        buf_puts(out, "# EOF\n");
    buf_fini(&p.model);
    mem_free(r);
}

void api_route_metrics(struct api_call *c)
{
    const char *accept = net_call_header(c->net, "accept");
    bool open = accept != NULL && strstr(accept, "application/openmetrics-text") != NULL;
    struct buf body;
    buf_init(&body, TEXT_BYTES_MAX);
    api_metrics_write(c->s, open, &body);
    if (buf_status(&body) != 0) {
        buf_fini(&body);
        struct api_error e = api_error_status(503, "overloaded", "out of memory");
        api_call_fail(c, &e);
        return;
    }
    c->status = 200;
    net_call_reply(c->net, 200, open ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                     : "text/plain; version=0.0.4; charset=utf-8", &body);
}
