/* Requests come from net, are looked up in the table, and run. */
#include "api/server.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "api/call.h"
#include "base/mem.h"

#define FLUSH_S 5.0
#define STORE_BYTES_MAX ((size_t)64 << 20)

/* --- one call --------------------------------------------------------------------------------- */

static bool is_json(const char *type)
{
    static const char json[] = "application/json";
    size_t n = sizeof json - 1;
    return type == NULL || (strncasecmp(type, json, n) == 0 &&
                            (type[n] == '\0' || type[n] == ';' || type[n] == ' '));
}

/* The path is there; the method is another one, or asks what there is. */
static void refuse_method(struct api_call *c)
{
    char allow[API_ALLOW_MAX];
    api_route_allow(c->route, allow);
    net_call_put_header(c->net, "allow", allow);
    if (strcmp(net_call_method(c->net), "OPTIONS") == 0) {
        struct buf none;
        buf_init(&none, 1);
        c->status = 204;
        net_call_reply(c->net, 204, "", &none);
        return;
    }
    api_call_fail_status(c, 405, "method_not_allowed",
                         "this path does not take that method; see allow");
}

static void count_retry(struct api_call *c)
{
    const char *count = net_call_header(c->net, "x-stainless-retry-count");
    if (count != NULL && strcmp(count, "0") != 0)
        atomic_fetch_add_explicit(&c->s->meter.retries, 1, memory_order_relaxed);
}

static void on_request(void *ctx, struct net_call *net)
{
    const struct api_front *front = ctx;
    struct api_call *c = api_call_create(front->s, net, front->admin);
    if (c == NULL) {
        api_call_no_memory(net);
        return;
    }
    if (atomic_load(&c->s->draining))
        net_call_close(net);
    count_retry(c);
    c->route = api_route_find(net_call_path(net), c->admin);
    api_route_fn run = c->route != NULL ? api_route_method(c->route, net_call_method(net)) : NULL;
    if (c->route == NULL)
        api_call_fail_status(c, 404, "not_found", "there is nothing at this path");
    else if (run == NULL)
        refuse_method(c);
    else if (run == c->route->post && !is_json(net_call_header(net, "content-type")))
        api_call_fail_status(c, 415, "not_json", "content-type must be application/json");
    else if (api_call_authorize(c))
        run(c);
}

static void on_ready(UNUSED void *ctx, struct net_call *net) { api_call_pump(net_call_user(net)); }

static void on_done(UNUSED void *ctx, struct net_call *net, bool complete)
{
    struct api_call *c = net_call_user(net);
    if (c == NULL)
        return;
    struct api_server *s = c->s;
    if (!complete)
        atomic_fetch_add_explicit(&s->meter.disconnects, 1, memory_order_relaxed);
    api_meter_count(&s->meter, api_route_index(c->route), complete ? c->status : 499,
                    clock_now_ns(&s->p.clock) - net_call_began_ns(net));
    api_call_account(c, complete);
    api_call_log(c, complete);
    api_call_destroy(c);
}

static void on_fault(void *ctx, struct net_call *net, int status, const char *text)
{
    const struct api_front *front = ctx;
    struct api_call *c = api_call_create(front->s, net, front->admin);
    if (c == NULL) {
        api_call_no_memory(net);
        return;
    }
    const char *code = status == 413   ? "too_large"
                       : status == 431 ? "headers_too_large"
                       : status == 503 ? "overloaded"
                                       : "malformed";
    api_call_fail_status(c, status, code, text);
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

static int set_tool_parser(struct api_server *s, struct err *err)
{
    enum text_tool_format format = TEXT_TOOL_NONE;
    if (s->p.tool_parser == NULL)
        return 0;
    if (text_tool_format_named(s->p.tool_parser, &format) < 0)
        return err_set_field(err, E_USAGE, "tool-parser",
                             "--tool-parser %s: must be json, llama, mistral, deepseek, kimi, "
                             "harmony or none", s->p.tool_parser);
    api_chat_set_tools(s->chat, format);
    return 0;
}

int api_server_create(struct api_server **out, const struct api_params *p, struct err *err)
{
    struct api_server *s = mem_alloc(1, sizeof *s);
    if (s == NULL)
        return err_set(err, E_NOMEM, "out of memory");
    s->p = *p;
    fill_defaults(&s->p);
    s->front = (struct api_front){ s, false };
    s->admin_front = (struct api_front){ s, true };
    s->started_ns = clock_now_ns(&s->p.clock);
    engine_info(p->engine, &s->info);
    make_fingerprint(s);
    int rc = api_chat_create(&s->chat, p->tokenizer, p->template_source, p->template_len,
                             &s->p.clock, err);
    if (rc == 0)
        rc = set_tool_parser(s, err);
    struct net_http_params np = {
        .host = p->host,
        .port = p->port,
        .handler = { on_request, on_ready, on_done, on_fault, &s->front },
        .clock = p->clock,
        .n_threads = p->n_threads,
        .late_body = "{\"error\":{\"message\":\"the request came too slowly\",\"type\":"
                     "\"invalid_request_error\",\"param\":null,\"code\":\"request_timeout\"}}\n",
    };
    if (rc == 0 && api_store_create(&s->store, s->p.n_responses, STORE_BYTES_MAX) < 0)
        rc = err_set(err, E_NOMEM, "out of memory");
    if (rc == 0 && api_constraints_create(&s->constraints, p->tokenizer) < 0)
        rc = err_set(err, E_NOMEM, "no memory or thread for compiling constraints");
    if (rc == 0)
        rc = net_http_create(&s->net, &np, err);
    if (rc == 0 && s->p.admin_path != NULL) {
        np.unix_path = s->p.admin_path;
        np.handler.ctx = &s->admin_front;
        np.n_threads = 1;
        rc = net_http_create(&s->admin, &np, err);
    }
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
    net_http_destroy(s->admin);
    net_http_destroy(s->net);
    api_chat_destroy(s->chat);
    api_store_destroy(s->store);
    api_constraints_destroy(s->constraints);
    mem_free(s);
}
