/* The Responses dialect. Every event has a name, a rising sequence_number, and the items of
 * the output are opened and closed one after the other: reasoning first, where the model writes it,
 * then the message.
 *
 *     response.created  response.in_progress
 *     (output_item.added  content_part.added  output_text.delta*  output_text.done
 *      content_part.done  output_item.done)*
 *     response.completed | response.incomplete | response.failed, and nothing after it */
#include <stdio.h>
#include <string.h>

#include "api/answer.h"
#include "net/sse.h"

/* --- the response object ---------------------------------------------------------------------- */

/* A member of the request, told back; `otherwise` is JSON. */
static void put_back(struct json_writer *w, const struct api_answer *a, const char *key,
                     const char *otherwise)
{
    const json_value *v = json_get(a->request->tree, key);
    json_key(w, key);
    if (v != NULL) {
        json_write_value(w, v);
        return;
    }
    buf_puts(w->out, otherwise);
    w->need_comma = true;
}

static void put_usage(struct json_writer *w, const struct engine_usage *u)
{
    json_begin_object(w);
    api_put_uint(w, "input_tokens", u->prompt_tokens);
    json_key(w, "input_tokens_details");
    json_begin_object(w);
    api_put_uint(w, "cached_tokens", u->cached_tokens);
    api_put_uint(w, "cache_write_tokens", 0);
    json_end_object(w);
    api_put_uint(w, "output_tokens", u->completion_tokens);
    json_key(w, "output_tokens_details");
    json_begin_object(w);
    api_put_uint(w, "reasoning_tokens", 0);
    json_end_object(w);
    api_put_uint(w, "total_tokens", (uint64_t)u->prompt_tokens + u->completion_tokens);
    json_end_object(w);
}

/* "msg_..." or "rs_..." of the answer's own number. */
static void put_item_id(struct json_writer *w, const char *key, const struct api_answer *a,
                        bool reasoning)
{
    char id[48];
    snprintf(id, sizeof id, "%s%s", reasoning ? "rs_" : "msg_", strchr(a->id, '_') + 1);
    api_put_str(w, key, id);
}

static void put_part(struct json_writer *w, const struct api_answer *a, bool reasoning,
                     const struct api_choice *c, const struct buf *text)
{
    json_begin_object(w);
    api_put_str(w, "type", reasoning ? "reasoning_text" : "output_text");
    api_put_text(w, "text", buf_str(text), text->len);
    if (!reasoning) {
        json_key(w, "annotations");
        json_begin_array(w);
        json_end_array(w);
        json_key(w, "logprobs");
        if (c != NULL && a->request->logprobs) {
            api_put_logprobs(w, a, c);
        } else {
            json_begin_array(w);
            json_end_array(w);
        }
    }
    json_end_object(w);
}

/* status: of the item; "in_progress" has no content yet. */
static void put_item(struct json_writer *w, const struct api_answer *a, bool reasoning,
                     const struct api_choice *c, const char *status)
{
    bool empty = strcmp(status, "in_progress") == 0;
    json_begin_object(w);
    put_item_id(w, "id", a, reasoning);
    api_put_str(w, "type", reasoning ? "reasoning" : "message");
    api_put_str(w, "status", status);
    if (reasoning) {
        json_key(w, "summary");
        json_begin_array(w);
        json_end_array(w);
    } else {
        api_put_str(w, "role", "assistant");
    }
    json_key(w, "content");
    json_begin_array(w);
    if (!empty)
        put_part(w, a, reasoning, c, reasoning ? &a->reasoning : &a->text);
    json_end_array(w);
    json_end_object(w);
}

static const char *status_of(const struct api_answer *a)
{
    if (a->finish == NULL)
        return "in_progress";
    return strcmp(a->finish, "length") == 0 ? "incomplete" : "completed";
}

static void put_output(struct json_writer *w, const struct api_answer *a,
                       const struct api_choice *c)
{
    json_key(w, "output");
    json_begin_array(w);
    if (a->finish != NULL && a->reasoning.len > 0)
        put_item(w, a, true, c, "completed");
    if (a->finish != NULL && (a->text.len > 0 || a->reasoning.len == 0))
        put_item(w, a, false, c, status_of(a));
    json_end_array(w);
}

static void put_settings(struct json_writer *w, const struct api_answer *a)
{
    const struct api_request *r = a->request;
    put_back(w, a, "instructions", "null");
    put_back(w, a, "max_output_tokens", "null");
    put_back(w, a, "metadata", "{}");
    put_back(w, a, "parallel_tool_calls", "true");
    put_back(w, a, "previous_response_id", "null");
    put_back(w, a, "reasoning", "{\"effort\":null,\"summary\":null}");
    put_back(w, a, "text", "{\"format\":{\"type\":\"text\"}}");
    put_back(w, a, "tool_choice", "\"auto\"");
    put_back(w, a, "tools", "[]");
    put_back(w, a, "truncation", "\"disabled\"");
    if (json_get(r->tree, "user") != NULL)
        put_back(w, a, "user", "null");
    json_key(w, "background");
    json_write_bool(w, false);
    json_key(w, "store");
    json_write_bool(w, r->store);
    json_key(w, "temperature");
    json_write_double(w, r->temperature);
    json_key(w, "top_p");
    json_write_double(w, r->top_p);
    json_key(w, "top_logprobs");
    json_write_uint(w, r->n_top);
}

/* u NULL: not over yet. */
static void put_response(struct json_writer *w, const struct api_answer *a,
                         const struct api_choice *c, const struct api_error *e,
                         const struct engine_usage *u)
{
    json_begin_object(w);
    api_put_str(w, "id", a->id);
    api_put_str(w, "object", "response");
    json_key(w, "created_at");
    json_write_int(w, a->created);
    api_put_str(w, "status", e != NULL ? "failed" : status_of(a));
    api_put_str(w, "model", a->model);
    put_output(w, a, c);
    json_key(w, "error");
    if (e != NULL) {
        json_begin_object(w);
        api_put_str(w, "code", e->code != NULL ? e->code : "server_error");
        api_put_str(w, "message", e->message);
        json_end_object(w);
    } else {
        json_write_null(w);
    }
    json_key(w, "incomplete_details");
    if (e == NULL && strcmp(status_of(a), "incomplete") == 0) {
        json_begin_object(w);
        api_put_str(w, "reason", "max_output_tokens");
        json_end_object(w);
    } else {
        json_write_null(w);
    }
    put_settings(w, a);
    if (u != NULL) {
        json_key(w, "usage");
        put_usage(w, u);
    }
    json_end_object(w);
}

/* --- events ----------------------------------------------------------------------------------- */

static struct json_writer open_event(struct api_answer *a, const char *type)
{
    struct json_writer w;
    buf_clear(&a->line);
    json_writer_init(&w, &a->line);
    json_begin_object(&w);
    api_put_str(&w, "type", type);
    api_put_uint(&w, "sequence_number", a->sequence++);
    return w;
}

static void close_event(struct api_answer *a, struct json_writer *w, const char *type,
                        struct buf *out)
{
    json_end_object(w);
    net_sse_event(out, type, buf_str(&a->line), a->line.len);
}

static void response_event(struct api_answer *a, const char *type, const struct api_choice *c,
                           const struct api_error *e, const struct engine_usage *u,
                           struct buf *out)
{
    struct json_writer w = open_event(a, type);
    json_key(&w, "response");
    put_response(&w, a, c, e, u);
    close_event(a, &w, type, out);
}

static void item_event(struct api_answer *a, const char *type, bool reasoning,
                       const struct api_choice *c, const char *status, struct buf *out)
{
    struct json_writer w = open_event(a, type);
    api_put_uint(&w, "output_index", a->block);
    json_key(&w, "item");
    put_item(&w, a, reasoning, c, status);
    close_event(a, &w, type, out);
}

/* Where an event of a part belongs. */
static struct json_writer open_part_event(struct api_answer *a, const char *type, bool reasoning)
{
    struct json_writer w = open_event(a, type);
    put_item_id(&w, "item_id", a, reasoning);
    api_put_uint(&w, "output_index", a->block);
    api_put_uint(&w, "content_index", 0);
    return w;
}

static void part_event(struct api_answer *a, const char *type, bool reasoning,
                       const struct api_choice *c, struct buf *out)
{
    struct buf none = { 0 };
    struct json_writer w = open_part_event(a, type, reasoning);
    json_key(&w, "part");
    put_part(&w, a, reasoning, c, c == NULL ? &none : reasoning ? &a->reasoning : &a->text);
    close_event(a, &w, type, out);
}

static void put_no_logprobs(struct json_writer *w)
{
    json_key(w, "logprobs");
    json_begin_array(w);
    json_end_array(w);
}

static void close_item(struct api_answer *a, const struct api_choice *c, struct buf *out)
{
    if (a->open == API_OPEN_NONE)
        return;
    bool reasoning = a->open == API_OPEN_REASONING;
    const struct buf *text = reasoning ? &a->reasoning : &a->text;
    const char *type = reasoning ? "response.reasoning_text.done" : "response.output_text.done";
    struct json_writer w = open_part_event(a, type, reasoning);
    api_put_text(&w, "text", buf_str(text), text->len);
    if (!reasoning)
        put_no_logprobs(&w);
    close_event(a, &w, type, out);
    part_event(a, "response.content_part.done", reasoning, c, out);
    item_event(a, "response.output_item.done", reasoning, c,
               reasoning ? "completed" : status_of(a), out);
    a->block++;
    a->open = API_OPEN_NONE;
}

static void open_item(struct api_answer *a, bool reasoning, const struct api_choice *c,
                      struct buf *out)
{
    if (a->open == (reasoning ? API_OPEN_REASONING : API_OPEN_TEXT))
        return;
    close_item(a, c, out);
    a->open = reasoning ? API_OPEN_REASONING : API_OPEN_TEXT;
    item_event(a, "response.output_item.added", reasoning, NULL, "in_progress", out);
    part_event(a, "response.content_part.added", reasoning, NULL, out);
}

static void item_delta(struct api_answer *a, bool reasoning, const struct api_choice *c,
                       struct buf *out)
{
    const char *text = reasoning ? c->reasoning : c->text;
    size_t len = reasoning ? c->reasoning_len : c->len;
    if (len == 0)
        return;
    open_item(a, reasoning, c, out);
    buf_put(reasoning ? &a->reasoning : &a->text, text, len);
    const char *type = reasoning ? "response.reasoning_text.delta" : "response.output_text.delta";
    struct json_writer w = open_part_event(a, type, reasoning);
    api_put_text(&w, "delta", text, len);
    if (!reasoning && a->request->logprobs) {
        json_key(&w, "logprobs");
        api_put_logprobs(&w, a, c);
    } else if (!reasoning) {
        put_no_logprobs(&w);
    }
    close_event(a, &w, type, out);
}

/* --- the writer ------------------------------------------------------------------------------- */

static void begin(struct api_answer *a, UNUSED const struct api_choice *c,
                  UNUSED const struct engine_usage *u, struct buf *out)
{
    response_event(a, "response.created", NULL, NULL, NULL, out);
    response_event(a, "response.in_progress", NULL, NULL, NULL, out);
}

static void delta(struct api_answer *a, const struct api_choice *c,
                  UNUSED const struct engine_usage *u, struct buf *out)
{
    item_delta(a, true, c, out);
    item_delta(a, false, c, out);
}

/* The finished object is kept aside: a server may store it. */
static void keep(struct api_answer *a, const struct api_choice *c, const struct engine_usage *u)
{
    struct json_writer w;
    buf_clear(&a->kept);
    json_writer_init(&w, &a->kept);
    put_response(&w, a, c, NULL, u);
}

static void finish(struct api_answer *a, const struct api_choice *c, UNUSED bool last,
                   const struct engine_usage *u, struct buf *out)
{
    if (a->text.len == 0 && a->reasoning.len == 0)
        open_item(a, false, c, out); /* an answer of nothing is an empty message */
    a->finish = c->finish;
    close_item(a, c, out);
    keep(a, c, u);
}

static void end(struct api_answer *a, const struct engine_usage *u, struct buf *out)
{
    const char *type = strcmp(status_of(a), "incomplete") == 0 ? "response.incomplete"
                                                               : "response.completed";
    response_event(a, type, NULL, NULL, u, out);
}

static void fail(struct api_answer *a, const struct api_error *e, struct buf *out)
{
    a->finish = NULL;
    response_event(a, "response.failed", NULL, e, NULL, out);
}

static void whole(struct api_answer *a, const struct api_choice *c, UNUSED uint32_t n,
                  const struct engine_usage *u, struct buf *out)
{
    a->finish = c->finish;
    buf_put(&a->text, c->text, c->len);
    buf_put(&a->reasoning, c->reasoning, c->reasoning_len);
    keep(a, c, u);
    buf_put(out, buf_str(&a->kept), a->kept.len);
}

const struct api_writer api_writer_responses = { "resp_", begin, delta, finish, end, fail, whole };
