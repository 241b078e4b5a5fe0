/* POST /v1/chat/completions, /v1/completions, /v1/responses, /v1/messages, and how many tokens the
 * last two would read. */
#include <stdio.h>
#include <string.h>

#include "api/call.h"
#include "base/mem.h"

static void wake(void *ctx) { net_call_wake(ctx); }

/* Another model than the one served: 404, with the name that would do. */
int api_check_model(const struct api_call *c, const struct engine_str *model, struct err *err)
{
    const char *mine = c->s->p.model_id;
    if (model->data == NULL ||
        (strlen(mine) == model->len && memcmp(mine, model->data, model->len) == 0))
        return 0;
    return err_set_field(err, E_NOT_FOUND, "model",
                         "the model `%.*s` does not exist here; this server has `%s`",
                         (int)model->len, model->data, mine);
}

/* The conversation of an earlier answer comes before this one. */
static int load_previous(struct api_call *c, struct api_request *r, struct err *err)
{
    if (r->previous.data == NULL)
        return 0;
    char id[65];
    snprintf(id, sizeof id, "%.*s", (int)r->previous.len, r->previous.data);
    struct buf before;
    buf_init(&before, SIZE_MAX / 4);
    int rc = api_store_get(c->s->store, id, c->tenant, API_STORED_CONVERSATION, &before);
    if (rc == 0)
        rc = api_request_continue(r, buf_str(&before), before.len, err);
    else if (c->s->p.n_responses == 0)
        rc = err_set_field(err, E_UNSUPPORTED, "previous_response_id",
                           "previous_response_id: this server keeps no answers (--responses 0)");
    else
        rc = err_set_field(err, rc, "previous_response_id",
                           "previous_response_id: `%s` is not kept here", id);
    buf_fini(&before);
    return rc;
}

int api_call_request(struct api_call *c, enum api_dialect dialect, bool counts,
                     struct api_request **out, struct err *err)
{
    struct api_request *r = mem_alloc(1, sizeof *r);
    if (r == NULL)
        return err_set(err, E_NOMEM, "out of memory");
    size_t len;
    const char *body = net_call_body(c->net, &len);
    api_request_init(r, dialect, &c->s->p.sampler);
    r->counts_only = counts;
    int rc = api_request_read(r, body, len, text_vocab_size(c->s->p.tokenizer), err);
    if (rc == 0)
        rc = api_check_model(c, &r->model, err);
    if (rc == 0)
        rc = load_previous(c, r, err);
    if (rc < 0) {
        api_request_fini(r);
        mem_free(r);
        return rc;
    }
    r->store = r->store && c->s->p.n_responses > 0;
    *out = r;
    return 0;
}

static int start(struct api_call *c, enum api_dialect dialect, struct err *err)
{
    struct api_server *s = c->s;
    struct api_request *r = NULL;
    TRY(api_call_request(c, dialect, false, &r, err));
    struct api_job_params p = { .engine = s->p.engine,
                                .tokenizer = s->p.tokenizer,
                                .chat = s->chat,
                                .constraints = s->constraints,
                                .model = s->p.model_id,
                                .fingerprint = s->fingerprint,
                                .request_id = c->request_id,
                                .tenant = c->tenant,
                                .admit = api_call_admit,
                                .admit_ctx = c,
                                .created = clock_wall_s(&s->p.clock),
                                .seed = s->p.seed + c->number * 0x9e3779b97f4a7c15u,
                                .id = s->p.seed ^ c->number,
                                .notify = wake,
                                .notify_ctx = c->net };
    return api_job_start(&c->job, &p, r, err);
}

void api_call_begin(struct api_call *c)
{
    api_call_model_headers(c);
    c->streaming = api_job_streams(c->job);
    if (!c->streaming)
        return; /* waits: the engine wakes it */
    c->status = 200;
    net_call_put_header(c->net, "cache-control", "no-cache");
    api_call_rate_headers(c);
    net_call_stream(c->net, 200, "text/event-stream; charset=utf-8");
}

static void generate(struct api_call *c, enum api_dialect dialect)
{
    struct err err = { 0 };
    if (start(c, dialect, &err) < 0)
        api_call_fail_err(c, &err);
    else if (!api_job_waits(c->job))
        api_call_begin(c);
}

void api_route_chat(struct api_call *c) { generate(c, API_CHAT); }
void api_route_completions(struct api_call *c) { generate(c, API_COMPLETION); }
void api_route_responses(struct api_call *c) { generate(c, API_RESPONSES); }
void api_route_messages(struct api_call *c) { generate(c, API_MESSAGES); }

/* --- how many tokens -------------------------------------------------------------------------- */

static void count(struct api_call *c, enum api_dialect dialect)
{
    struct err err = { 0 };
    struct api_request *r = NULL;
    struct text_ids ids;
    text_ids_init(&ids, UINT32_MAX);
    int rc = api_call_request(c, dialect, true, &r, &err);
    if (rc == 0)
        rc = api_job_prompt(c->s->chat, r, &ids, NULL, &err);
    if (rc == 0) {
        struct buf body;
        struct json_writer w;
        buf_init(&body, 1u << 16);
        json_writer_init(&w, &body);
        json_begin_object(&w);
        if (dialect == API_RESPONSES)
            api_put_str(&w, "object", "response.input_tokens");
        api_put_uint(&w, "input_tokens", ids.n);
        json_end_object(&w);
        api_call_reply(c, 200, &body);
    } else {
        api_call_fail_err(c, &err);
    }
    text_ids_fini(&ids);
    if (r != NULL)
        api_request_fini(r);
    mem_free(r);
}

void api_route_count_input(struct api_call *c) { count(c, API_RESPONSES); }
void api_route_count_messages(struct api_call *c) { count(c, API_MESSAGES); }
