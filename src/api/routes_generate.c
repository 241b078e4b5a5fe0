/* POST /v1/chat/completions and /v1/completions. */
#include <stdio.h>
#include <string.h>

#include "api/call.h"
#include "base/mem.h"

static void wake(void *ctx) { net_call_wake(ctx); }

/* Another model than the one served: 404, with the name that would do. */
static int check_model(const struct api_call *c, const struct api_request *r, struct err *err)
{
    const char *mine = c->s->p.model_id;
    if (r->model.data == NULL ||
        (strlen(mine) == r->model.len && memcmp(mine, r->model.data, r->model.len) == 0))
        return 0;
    return err_set_field(err, E_NOT_FOUND, "model",
                         "the model `%.*s` does not exist here; this server has `%s`",
                         (int)r->model.len, r->model.data, mine);
}

static int read_request(struct api_call *c, enum api_dialect dialect, struct api_request **out,
                        struct err *err)
{
    struct api_request *r = mem_alloc(1, sizeof *r);
    if (r == NULL)
        return err_set(err, E_NOMEM, "out of memory");
    size_t len;
    const char *body = net_call_body(c->net, &len);
    api_request_init(r, dialect, &c->s->p.sampler);
    int rc = api_request_read(r, body, len, text_vocab_size(c->s->p.tokenizer), err);
    if (rc == 0)
        rc = check_model(c, r, err);
    if (rc < 0) {
        api_request_fini(r);
        mem_free(r);
        return rc;
    }
    *out = r;
    return 0;
}

static int start(struct api_call *c, enum api_dialect dialect, struct err *err)
{
    struct api_server *s = c->s;
    struct api_request *r = NULL;
    TRY(read_request(c, dialect, &r, err));
    struct api_job_params p = { .engine = s->p.engine,
                                .tokenizer = s->p.tokenizer,
                                .chat = s->chat,
                                .model = s->p.model_id,
                                .fingerprint = s->fingerprint,
                                .created = clock_wall_s(&s->p.clock),
                                .seed = s->p.seed + c->number * 0x9e3779b97f4a7c15u,
                                .id = s->p.seed ^ c->number,
                                .notify = wake,
                                .notify_ctx = c->net };
    return api_job_start(&c->job, &p, r, err);
}

static void generate(struct api_call *c, enum api_dialect dialect)
{
    struct err err = { 0 };
    if (start(c, dialect, &err) < 0) {
        struct api_error e = api_error_of(&err);
        if (e.status == 404)
            e.code = "model_not_found";
        if (e.status == 404)
            api_call_fail(c, &e);
        else
            api_call_fail_err(c, &err);
        return;
    }
    if (c->s->p.model_digest != NULL)
        net_call_put_header(c->net, "naru-model-digest", c->s->p.model_digest);
    c->streaming = api_job_streams(c->job);
    if (!c->streaming)
        return; /* waits: the engine wakes it */
    c->status = 200;
    net_call_put_header(c->net, "cache-control", "no-cache");
    net_call_stream(c->net, 200, "text/event-stream; charset=utf-8");
}

void api_route_chat(struct api_call *c) { generate(c, API_CHAT); }
void api_route_completions(struct api_call *c) { generate(c, API_COMPLETION); }
