/* What the server is and has: models, health, readiness, version. */
#include <string.h>

#include "api/call.h"

#define SMALL_BYTES_MAX (64u << 10)

static void put_str(struct json_writer *w, const char *key, const char *text)
{
    json_key(w, key);
    json_write_str(w, text);
}

static void put_model(struct json_writer *w, const struct api_server *s)
{
    json_begin_object(w);
    put_str(w, "id", s->p.model_id);
    put_str(w, "object", "model");
    json_key(w, "created");
    json_write_int(w, s->p.created);
    put_str(w, "owned_by", "naru");
    json_key(w, "max_model_len");
    json_write_uint(w, s->info.n_ctx);
    if (s->p.model_digest != NULL)
        put_str(w, "digest", s->p.model_digest);
    json_end_object(w);
}

void api_route_models(struct api_call *c)
{
    struct buf body;
    struct json_writer w;
    buf_init(&body, SMALL_BYTES_MAX);
    json_writer_init(&w, &body);
    json_begin_object(&w);
    put_str(&w, "object", "list");
    json_key(&w, "data");
    json_begin_array(&w);
    put_model(&w, c->s);
    json_end_array(&w);
    json_end_object(&w);
    api_call_reply(c, 200, &body);
}

void api_route_model(struct api_call *c)
{
    const char *id = net_call_path(c->net) + strlen("/v1/models/");
    if (strcmp(id, c->s->p.model_id) != 0) {
        struct api_error e = api_error_status(404, "model_not_found",
                                              "there is no model of that name; see /v1/models");
        api_call_fail(c, &e);
        return;
    }
    struct buf body;
    struct json_writer w;
    buf_init(&body, SMALL_BYTES_MAX);
    json_writer_init(&w, &body);
    put_model(&w, c->s);
    api_call_reply(c, 200, &body);
}

static void reply_status(struct api_call *c, const char *text)
{
    struct buf body;
    struct json_writer w;
    buf_init(&body, SMALL_BYTES_MAX);
    json_writer_init(&w, &body);
    json_begin_object(&w);
    put_str(&w, "status", text);
    json_end_object(&w);
    api_call_reply(c, 200, &body);
}

void api_route_health(struct api_call *c) { reply_status(c, "ok"); }

void api_route_ready(struct api_call *c)
{
    if (!atomic_load(&c->s->draining)) {
        reply_status(c, "ready");
        return;
    }
    struct api_error e = api_error_status(503, "shutting_down", "the server is shutting down");
    api_call_fail(c, &e);
}

void api_route_version(struct api_call *c)
{
    struct buf body;
    struct json_writer w;
    buf_init(&body, SMALL_BYTES_MAX);
    json_writer_init(&w, &body);
    json_begin_object(&w);
    put_str(&w, "version", c->s->p.version);
    put_str(&w, "commit", c->s->p.commit);
    json_end_object(&w);
    api_call_reply(c, 200, &body);
}
