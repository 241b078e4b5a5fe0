#include "api/server.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "api/call.h"
#include "base/mem.h"
#include "net/sse.h"

#define OUTBOX_BYTES (64u << 10) /* a stream stops taking events when so much is unsent (L10) */
#define ANSWER_BYTES_MAX ((size_t)1 << 30)
#define FLUSH_S 5.0
#define RETRY_MS 1000

/* --- routes ----------------------------------------------------------------------------------- */

enum role { ROLE_OPEN, ROLE_USER, ROLE_METRICS }; /* all are open until keys exist */

struct route {
    const char *method, *path; /* a path that ends in "/" has one more segment */
    enum role role;
    bool json;                 /* the body must be JSON */
    void (*run)(struct api_call *c);
};

static const struct route routes[] = {
    { "POST", "/v1/chat/completions", ROLE_USER, true, api_route_chat },
    { "POST", "/v1/completions", ROLE_USER, true, api_route_completions },
    { "GET", "/v1/models", ROLE_USER, false, api_route_models },
    { "GET", "/v1/models/", ROLE_USER, false, api_route_model },
    { "POST", "/tokenize", ROLE_USER, true, api_route_tokenize },
    { "POST", "/detokenize", ROLE_USER, true, api_route_detokenize },
    { "POST", "/apply-template", ROLE_USER, true, api_route_apply_template },
    { "GET", "/health", ROLE_OPEN, false, api_route_health },
    { "GET", "/ready", ROLE_OPEN, false, api_route_ready },
    { "GET", "/version", ROLE_METRICS, false, api_route_version },
    { "GET", "/stats", ROLE_METRICS, false, api_route_stats },
    { "GET", "/metrics", ROLE_METRICS, false, api_route_metrics },
};

static const struct route *find_route(const char *path)
{
    for (size_t i = 0; i < COUNT_OF(routes); i++) {
        size_t n = strlen(routes[i].path);
        bool family = routes[i].path[n - 1] == '/';
        if (family ? strncmp(path, routes[i].path, n) == 0 && path[n] != '\0'
                   : strcmp(path, routes[i].path) == 0)
            return &routes[i];
    }
    return NULL;
}

const char *api_route_path(uint32_t i) { return i < COUNT_OF(routes) ? routes[i].path : NULL; }

static bool allows(const struct route *r, const char *method)
{
    bool get = strcmp(r->method, "GET") == 0;
    return strcmp(method, r->method) == 0 || (get && strcmp(method, "HEAD") == 0);
}

/* --- answers ---------------------------------------------------------------------------------- */

void api_call_reply(struct api_call *c, int status, struct buf *body)
{
    c->status = status;
    buf_putc(body, '\n');
    if (buf_status(body) != 0) {
        /* The answer did not fit into memory; what is said instead is short. */
        struct api_error e = api_error_status(503, "overloaded", "out of memory");
        buf_clear(body);
        c->status = e.status;
        api_error_write(body, &e);
    }
    net_call_reply(c->net, c->status, "application/json", body);
}

void api_call_fail(struct api_call *c, const struct api_error *e)
{
    struct buf body;
    buf_init(&body, 1u << 16);
    api_error_write(&body, e);
    if (e->status == 429 || e->status == 503) {
        char text[16];
        snprintf(text, sizeof text, "%d", RETRY_MS);
        net_call_put_header(c->net, "retry-after", "1");
        net_call_put_header(c->net, "retry-after-ms", text);
    }
    c->error = e->code != NULL ? e->code : "error";
    api_call_reply(c, e->status, &body);
}

void api_call_fail_err(struct api_call *c, const struct err *err)
{
    struct api_error e = api_error_of(err);
    if (e.status >= 500 && c->s->p.log != NULL) {
        struct err line;
        err_set(&line, 0, "%s failed: %s", c->request_id, err->text);
        c->s->p.log(c->s->p.log_ctx, line.text);
    }
    api_call_fail(c, &e);
}

json_value *api_call_json(struct api_call *c)
{
    size_t len;
    const char *body = net_call_body(c->net, &len);
    struct err err = { 0 };
    json_value *v = NULL;
    int rc = json_parse(&v, body, len, &JSON_LIMITS_REQUEST, &err);
    if (rc == 0 && json_kind_of(v) != JSON_OBJECT) {
        json_free(v);
        rc = err_set(&err, E_FORMAT, "the body must be a JSON object");
    }
    if (rc == 0)
        return v;
    api_call_fail_err(c, &err);
    return NULL;
}

/* --- one call --------------------------------------------------------------------------------- */

static bool is_request_id(const char *s)
{
    size_t n = s != NULL ? strlen(s) : 0;
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                  "0123456789._-";
    return n >= 1 && n <= 64 && strspn(s, allowed) == n;
}

static struct api_call *new_call(struct api_server *s, struct net_call *net)
{
    struct api_call *c = mem_alloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->s = s;
    c->net = net;
    c->route = -1;
    c->number = atomic_fetch_add(&s->n_requests, 1);
    const char *given = net_call_header(net, "x-request-id");
    if (is_request_id(given))
        snprintf(c->request_id, sizeof c->request_id, "%s", given);
    else
        snprintf(c->request_id, sizeof c->request_id, "req_%016llx%08llx",
                 (unsigned long long)s->p.seed, (unsigned long long)c->number);
    net_call_set_user(net, c);
    net_call_put_header(net, "x-request-id", c->request_id);
    return c;
}

/* Nothing but a plain text can be said when memory for a call is not to be had. */
static void no_memory(struct net_call *net)
{
    struct buf body;
    buf_init(&body, 1024);
    struct api_error e = api_error_status(503, "overloaded", "out of memory");
    api_error_write(&body, &e);
    net_call_reply(net, 503, "application/json", &body);
}

static bool is_json(const char *type)
{
    static const char json[] = "application/json";
    size_t n = sizeof json - 1;
    return type == NULL || (strncasecmp(type, json, n) == 0 &&
                            (type[n] == '\0' || type[n] == ';' || type[n] == ' '));
}

static void refuse_method(struct api_call *c, const struct route *r, bool options)
{
    char allow[64];
    bool get = strcmp(r->method, "GET") == 0;
    snprintf(allow, sizeof allow, "%s, OPTIONS", get ? "GET, HEAD" : r->method);
    net_call_put_header(c->net, "allow", allow);
    if (options) {
        struct buf none;
        buf_init(&none, 1);
        c->status = 204;
        net_call_reply(c->net, 204, "", &none);
        return;
    }
    struct api_error e = api_error_status(405, "method_not_allowed",
                                          "this path does not take that method; see allow");
    api_call_fail(c, &e);
}

static void on_request(void *ctx, struct net_call *net)
{
    struct api_call *c = new_call(ctx, net);
    if (c == NULL) {
        no_memory(net);
        return;
    }
    if (atomic_load(&c->s->draining))
        net_call_close(net);
    if (net_call_header(net, "x-stainless-retry-count") != NULL &&
        strcmp(net_call_header(net, "x-stainless-retry-count"), "0") != 0)
        atomic_fetch_add_explicit(&c->s->meter.retries, 1, memory_order_relaxed);
    const struct route *r = find_route(net_call_path(net));
    c->route = r != NULL ? (int)(r - routes) : -1;
    if (r == NULL) {
        struct api_error e = api_error_status(404, "not_found", "there is nothing at this path");
        api_call_fail(c, &e);
    } else if (!allows(r, net_call_method(net))) {
        refuse_method(c, r, strcmp(net_call_method(net), "OPTIONS") == 0);
    } else if (r->json && !is_json(net_call_header(net, "content-type"))) {
        struct api_error e = api_error_status(415, "not_json",
                                              "content-type must be application/json");
        api_call_fail(c, &e);
    } else {
        r->run(c);
    }
}

static void fail_stream(struct api_call *c, const struct err *err, struct buf *out)
{
    struct api_error e = api_error_of(err);
    struct buf line;
    buf_init(&line, 1u << 16);
    api_error_write(&line, &e);
    net_sse_event(out, NULL, buf_str(&line), line.len);
    buf_fini(&line);
    c->error = e.code;
}

static void pump_stream(struct api_call *c)
{
    struct err err = { 0 };
    struct buf *out = net_call_outbox(c->net);
    enum api_job_state state = api_job_pump(c->job, out, OUTBOX_BYTES, &err);
    if (state == API_JOB_FAILED)
        fail_stream(c, &err, out);
    if (state != API_JOB_RUNS)
        net_call_end(c->net);
}

static void on_ready(UNUSED void *ctx, struct net_call *net)
{
    struct api_call *c = net_call_user(net);
    if (c->streaming) {
        pump_stream(c);
        return;
    }
    struct err err = { 0 };
    struct buf body;
    buf_init(&body, ANSWER_BYTES_MAX);
    switch (api_job_pump(c->job, &body, SIZE_MAX, &err)) {
    case API_JOB_RUNS: break;
    case API_JOB_DONE: api_call_reply(c, 200, &body); break;
    case API_JOB_FAILED: api_call_fail_err(c, &err); break;
    }
    buf_fini(&body);
}

/* A stranger's text for the log: printable ASCII, the rest as '?' (F-40). */
static void copy_plain(char *out, size_t max, const char *s)
{
    size_t n = 0;
    for (; s[n] != '\0' && n + 1 < max; n++)
        out[n] = s[n] > 0x20 && s[n] < 0x7f ? s[n] : '?';
    out[n] = '\0';
}

static void log_call(const struct api_call *c, bool complete)
{
    const struct api_params *p = &c->s->p;
    if (p->log == NULL)
        return;
    struct engine_usage u = c->job != NULL ? api_job_usage(c->job) : (struct engine_usage){ 0 };
    double ms = (double)(clock_now_ns(&p->clock) - net_call_began_ns(c->net)) * 1e-6;
    struct err line;
    char path[100];
    copy_plain(path, sizeof path, net_call_path(c->net));
    err_set(&line, 0, "%s %s %s %d%s%s prompt %u cached %u completion %u %.1f ms",
            c->request_id, net_call_method(c->net), path, complete ? c->status : 499,
            c->error != NULL ? " " : "", c->error != NULL ? c->error : "", u.prompt_tokens,
            u.cached_tokens, u.completion_tokens, ms);
    p->log(p->log_ctx, line.text);
}

static void on_done(UNUSED void *ctx, struct net_call *net, bool complete)
{
    struct api_call *c = net_call_user(net);
    if (c == NULL)
        return;
    struct api_server *s = c->s;
    if (!complete)
        atomic_fetch_add_explicit(&s->meter.disconnects, 1, memory_order_relaxed);
    api_meter_count(&s->meter, c->route, complete ? c->status : 499,
                    clock_now_ns(&s->p.clock) - net_call_began_ns(net));
    log_call(c, complete);
    api_job_destroy(c->job);
    mem_free(c);
}

static void on_fault(void *ctx, struct net_call *net, int status, const char *text)
{
    struct api_call *c = new_call(ctx, net);
    if (c == NULL) {
        no_memory(net);
        return;
    }
    const char *code = status == 413   ? "too_large"
                       : status == 431 ? "headers_too_large"
                       : status == 503 ? "overloaded"
                                       : "malformed";
    struct api_error e = api_error_status(status, code, text);
    api_call_fail(c, &e);
}

/* --- the server ------------------------------------------------------------------------------- */

/* FNV-1a over what decides the answers. */
static void make_fingerprint(struct api_server *s)
{
    struct err parts;
    err_set(&parts, 0, "%s %s %s %s %u", s->p.version, s->p.commit, s->p.model_id,
            s->p.model_digest != NULL ? s->p.model_digest : "", s->info.n_ctx);
    uint64_t h = 14695981039346656037u;
    for (const char *t = parts.text; *t != '\0'; t++)
        h = (h ^ (unsigned char)*t) * 1099511628211u;
    snprintf(s->fingerprint, sizeof s->fingerprint, "%016llx", (unsigned long long)h);
}

static void fill_defaults(struct api_params *p)
{
    if (p->version == NULL)
        p->version = "unknown";
    if (p->commit == NULL)
        p->commit = "unknown";
    if (p->created == 0)
        p->created = clock_wall_s(&p->clock);
    if (p->seed == 0)
        p->seed = clock_now_ns(&p->clock) ^ (uint64_t)clock_wall_s(&p->clock) << 32;
    if (p->sampler.top_p == 0) /* no valid value: nothing was given */
        p->sampler = engine_sampler_defaults();
}

int api_server_create(struct api_server **out, const struct api_params *p, struct err *err)
{
    struct api_server *s = mem_alloc(1, sizeof *s);
    if (s == NULL)
        return err_set(err, E_NOMEM, "out of memory");
    s->p = *p;
    fill_defaults(&s->p);
    s->started_ns = clock_now_ns(&s->p.clock);
    engine_info(p->engine, &s->info);
    make_fingerprint(s);
    int rc = api_chat_create(&s->chat, p->tokenizer, p->template_source, p->template_len,
                             &s->p.clock, err);
    struct net_http_params np = {
        .host = p->host,
        .port = p->port,
        .handler = { on_request, on_ready, on_done, on_fault, s },
        .clock = p->clock,
        .n_threads = p->n_threads,
        .late_body = "{\"error\":{\"message\":\"the request came too slowly\",\"type\":"
                     "\"invalid_request_error\",\"param\":null,\"code\":\"request_timeout\"}}\n",
    };
    if (rc == 0)
        rc = net_http_create(&s->net, &np, err);
    if (rc < 0) {
        api_server_destroy(s);
        return rc;
    }
    *out = s;
    return 0;
}

uint16_t api_server_port(const struct api_server *s) { return net_http_port(s->net); }

int api_server_drain(struct api_server *s, double timeout_s)
{
    atomic_store(&s->draining, true);
    int rc = engine_drain(s->p.engine, timeout_s);
    net_http_wait_idle(s->net, FLUSH_S);
    return rc;
}

void api_server_destroy(struct api_server *s)
{
    if (s == NULL)
        return;
    net_http_destroy(s->net);
    api_chat_destroy(s->chat);
    mem_free(s);
}
