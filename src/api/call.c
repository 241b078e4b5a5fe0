/* One call from its first byte to its line in the log. */
#include "api/call.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define OUTBOX_BYTES (64u << 10) /* a stream stops taking events when so much is unsent (L10) */
#define ANSWER_BYTES_MAX ((size_t)1 << 30)

/* --- answers ---------------------------------------------------------------------------------- */

static bool is_messages(const struct api_call *c)
{
    return api_route_is_messages(net_call_path(c->net));
}

static void write_error(const struct api_call *c, const struct api_error *e, struct buf *out)
{
    if (is_messages(c))
        api_error_write_messages(out, e, c->request_id);
    else
        api_error_write(out, e);
}

void api_call_reply(struct api_call *c, int status, struct buf *body)
{
    c->status = status;
    buf_putc(body, '\n');
    if (buf_status(body) != 0) {
        /* The answer did not fit into memory; what is said instead is short. */
        struct api_error e = api_error_status(503, "overloaded", "out of memory");
        buf_clear(body);
        c->status = e.status;
        write_error(c, &e, body);
    }
    api_call_rate_headers(c);
    net_call_reply(c->net, c->status, "application/json", body);
}

/* When to try again, or that it does not help. */
static void put_retry(struct api_call *c, int status)
{
    uint32_t s = status == 503 ? 1 : status == 429 ? c->rate.retry_s : 0;
    if (s > 0) {
        char text[16];
        snprintf(text, sizeof text, "%u", s);
        net_call_put_header(c->net, "retry-after", text);
        snprintf(text, sizeof text, "%u", s * 1000);
        net_call_put_header(c->net, "retry-after-ms", text);
    } else if (status == 429 || status == 403) {
        net_call_put_header(c->net, "x-should-retry", "false");
    }
}

void api_call_fail(struct api_call *c, const struct api_error *e)
{
    struct buf body;
    buf_init(&body, 1u << 16);
    write_error(c, e, &body);
    put_retry(c, e->status);
    c->error = e->code != NULL ? e->code : "error";
    api_call_reply(c, is_messages(c) ? api_error_status_messages(e) : e->status, &body);
}

void api_call_fail_status(struct api_call *c, int status, const char *code, const char *message)
{
    struct api_error e = api_error_status(status, code, message);
    api_call_fail(c, &e);
}

void api_call_fail_err(struct api_call *c, const struct err *err)
{
    struct api_error e = api_error_of(err);
    if (e.status >= 500 && c->s->p.log != NULL) {
        struct err line;
        err_set(&line, 0, "%s failed: %s", c->request_id, err->text);
        c->s->p.log(c->s->p.log_ctx, line.text);
    }
    if (e.status == 404 && strcmp(err->field, "model") == 0)
        e.code = "model_not_found";
    api_call_fail(c, &e);
}

void api_call_model_headers(struct api_call *c)
{
    if (c->s->p.model_digest != NULL)
        net_call_put_header(c->net, "naru-model-digest", c->s->p.model_digest);
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

/* --- from the engine -------------------------------------------------------------------------- */

static void pump_stream(struct api_call *c)
{
    struct err err = { 0 };
    struct buf *out = net_call_outbox(c->net);
    enum api_job_state state = api_job_pump(c->job, out, OUTBOX_BYTES, &err);
    if (state == API_JOB_FAILED) {
        struct api_error e = api_error_of(&err);
        api_job_fail_stream(c->job, &e, out);
        c->error = e.code;
    }
    if (state == API_JOB_DONE)
        api_call_keep(c);
    if (state != API_JOB_RUNS)
        net_call_end(c->net);
}

/* The constraint is compiled: the job goes on, or ends in what is wrong with it. */
static void resume(struct api_call *c)
{
    struct err err = { 0 };
    if (api_job_resume(c->job, &err) < 0)
        api_call_fail_err(c, &err);
    else if (!api_job_waits(c->job))
        api_call_begin(c);
}

void api_call_pump(struct api_call *c)
{
    if (c->embed != NULL) {
        api_embed_pump(c);
        return;
    }
    if (api_job_waits(c->job)) {
        resume(c);
        return;
    }
    if (c->streaming) {
        pump_stream(c);
        return;
    }
    struct err err = { 0 };
    struct buf body;
    buf_init(&body, ANSWER_BYTES_MAX);
    switch (api_job_pump(c->job, &body, SIZE_MAX, &err)) {
    case API_JOB_RUNS: break;
    case API_JOB_DONE:
        api_call_keep(c);
        api_call_reply(c, 200, &body);
        break;
    case API_JOB_FAILED: api_call_fail_err(c, &err); break;
    }
    buf_fini(&body);
}

/* --- begin and end ---------------------------------------------------------------------------- */

static bool is_request_id(const char *s)
{
    size_t n = s != NULL ? strlen(s) : 0;
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                  "0123456789._-";
    return n >= 1 && n <= 64 && strspn(s, allowed) == n;
}

struct api_call *api_call_create(struct api_server *s, struct net_call *net, bool admin)
{
    struct api_call *c = mem_alloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->s = s;
    c->net = net;
    c->admin = admin;
    c->number = atomic_fetch_add(&s->n_requests, 1);
    const char *given = net_call_header(net, "x-request-id");
    if (is_request_id(given))
        snprintf(c->request_id, sizeof c->request_id, "%s", given);
    else
        snprintf(c->request_id, sizeof c->request_id, "req_%016llx%08llx",
                 (unsigned long long)s->p.seed, (unsigned long long)c->number);
    net_call_set_user(net, c);
    net_call_put_header(net, "x-request-id", c->request_id);
    if (is_messages(c)) /* where clients of that dialect look */
        net_call_put_header(net, "request-id", c->request_id);
    return c;
}

void api_call_no_memory(struct net_call *net)
{
    struct buf body;
    buf_init(&body, 1024);
    struct api_error e = api_error_status(503, "overloaded", "out of memory");
    api_error_write(&body, &e);
    net_call_reply(net, 503, "application/json", &body);
}

void api_call_destroy(struct api_call *c)
{
    api_job_destroy(c->job);
    api_embed_destroy(c->embed);
    mem_free(c);
}

/* A stranger's text for the log: printable ASCII, the rest as '?' (F-40). */
static void copy_plain(char *out, size_t max, const char *s)
{
    size_t n = 0;
    for (; s[n] != '\0' && n + 1 < max; n++)
        out[n] = s[n] > 0x20 && s[n] < 0x7f ? s[n] : '?';
    out[n] = '\0';
}

struct engine_usage api_call_usage(const struct api_call *c)
{
    struct engine_usage u = { 0 };
    if (c->job != NULL)
        u = api_job_usage(c->job);
    else if (c->embed != NULL)
        u.prompt_tokens = api_embed_tokens(c->embed);
    return u;
}

void api_call_log(const struct api_call *c, bool complete)
{
    const struct api_params *p = &c->s->p;
    if (p->log == NULL)
        return;
    struct engine_usage u = api_call_usage(c);
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
