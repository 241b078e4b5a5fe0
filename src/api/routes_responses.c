/* GET and DELETE /v1/responses/{id}, GET /v1/responses/{id}/input_items: answers that are kept. */
#include <stdio.h>
#include <string.h>

#include "api/call.h"

#define PREFIX "/v1/responses/"
#define ITEMS "/input_items"

/* The id in the path; *items: its input is asked for. False: there is no such path. */
static bool path_id(const struct api_call *c, char *id, size_t max, bool *items)
{
    const char *rest = net_call_path(c->net) + sizeof PREFIX - 1;
    const char *slash = strchr(rest, '/');
    size_t n = slash != NULL ? (size_t)(slash - rest) : strlen(rest);
    *items = slash != NULL;
    if (n == 0 || n >= max || (slash != NULL && strcmp(slash, ITEMS) != 0))
        return false;
    memcpy(id, rest, n);
    id[n] = '\0';
    return true;
}

static void not_found(struct api_call *c)
{
    api_call_fail_status(c, 404, "not_found", "no answer of that id is kept here");
}

void api_route_response_get(struct api_call *c)
{
    char id[65];
    bool items;
    struct buf body;
    buf_init(&body, SIZE_MAX / 4);
    int rc = !path_id(c, id, sizeof id, &items)
                 ? E_NOT_FOUND
                 : api_store_get(c->s->store, id, c->tenant,
                                 items ? API_STORED_INPUT : API_STORED_RESPONSE, &body);
    if (rc == E_NOT_FOUND)
        not_found(c);
    else
        api_call_reply(c, 200, &body);
    buf_fini(&body);
}

void api_route_response_delete(struct api_call *c)
{
    char id[65];
    bool items;
    if (!path_id(c, id, sizeof id, &items) || items ||
        api_store_delete(c->s->store, id, c->tenant) < 0) {
        not_found(c);
        return;
    }
    struct buf body;
    struct json_writer w;
    buf_init(&body, 1u << 16);
    json_writer_init(&w, &body);
    json_begin_object(&w);
    api_put_str(&w, "id", id);
    api_put_str(&w, "object", "response");
    json_key(&w, "deleted");
    json_write_bool(&w, true);
    json_end_object(&w);
    api_call_reply(c, 200, &body);
}

/* The request's messages without its instructions, and the answer: what a next one goes on from. */
static void write_conversation(const struct api_call *c, struct buf *out)
{
    const struct api_request *r = api_job_request(c->job);
    const struct api_answer *a = api_job_answer(c->job);
    struct json_writer w;
    json_writer_init(&w, out);
    json_begin_array(&w);
    for (size_t i = r->has_instructions ? 1 : 0; i < json_len(r->messages); i++)
        json_write_value(&w, json_at(r->messages, i));
    json_begin_object(&w);
    api_put_str(&w, "role", "assistant");
    api_put_text(&w, "content", buf_str(&a->text), a->text.len);
    if (a->reasoning.len > 0)
        api_put_text(&w, "reasoning_content", buf_str(&a->reasoning), a->reasoning.len);
    json_end_object(&w);
    json_end_array(&w);
}

static void write_text_item(struct json_writer *w, const char *id, const json_value *text)
{
    json_begin_object(w);
    api_put_str(w, "type", "message");
    api_put_str(w, "id", id);
    api_put_str(w, "role", "user");
    json_key(w, "content");
    json_begin_array(w);
    json_begin_object(w);
    api_put_str(w, "type", "input_text");
    json_key(w, "text");
    json_write_value(w, text);
    json_end_object(w);
    json_end_array(w);
    json_end_object(w);
}

static int copy_member(void *ctx, const char *key, json_value *member)
{
    struct json_writer *w = ctx;
    if (strcmp(key, "id") == 0 || strcmp(key, "type") == 0)
        return 0;
    json_key(w, key);
    json_write_value(w, member);
    return 0;
}

/* An item as the client sent it, with an id and a type where it had none. */
static void write_item(struct json_writer *w, const char *id, const json_value *item)
{
    size_t len;
    const char *type = json_text(json_get(item, "type"), &len);
    const char *own = json_text(json_get(item, "id"), &len);
    json_begin_object(w);
    api_put_str(w, "type", type != NULL ? type : "message");
    api_put_str(w, "id", own != NULL ? own : id);
    (void)json_each(item, copy_member, w);
    json_end_object(w);
}

static void write_input(const struct api_call *c, struct buf *out)
{
    const json_value *input = json_get(api_job_request(c->job)->tree, "input");
    bool text = json_kind_of(input) == JSON_STRING;
    size_t n = text ? 1 : json_len(input);
    const char *number = strchr(api_job_answer(c->job)->id, '_') + 1;
    char id[64], last[64];
    struct json_writer w;
    json_writer_init(&w, out);
    json_begin_object(&w);
    api_put_str(&w, "object", "list");
    json_key(&w, "data");
    json_begin_array(&w);
    for (size_t i = n; i-- > 0;) { /* the latest first, as there */
        snprintf(id, sizeof id, "in_%s_%zu", number, i);
        if (text)
            write_text_item(&w, id, input);
        else
            write_item(&w, id, json_at(input, i));
    }
    json_end_array(&w);
    snprintf(id, sizeof id, "in_%s_%zu", number, n > 0 ? n - 1 : 0);
    snprintf(last, sizeof last, "in_%s_0", number);
    api_put_str(&w, "first_id", id);
    api_put_str(&w, "last_id", last);
    json_key(&w, "has_more");
    json_write_bool(&w, false);
    json_end_object(&w);
}

void api_call_keep(const struct api_call *c)
{
    const struct api_request *r = api_job_request(c->job);
    const struct api_answer *a = api_job_answer(c->job);
    if (r->dialect != API_RESPONSES || !r->store)
        return;
    struct buf conversation, input;
    buf_init(&conversation, SIZE_MAX / 4);
    buf_init(&input, SIZE_MAX / 4);
    write_conversation(c, &conversation);
    write_input(c, &input);
    struct api_store_entry e = { .id = a->id,
                                 .tenant = c->tenant,
                                 .texts = { { buf_str(&a->kept), a->kept.len },
                                            { buf_str(&conversation), conversation.len },
                                            { buf_str(&input), input.len } } };
    if (buf_status(&conversation) == 0 && buf_status(&input) == 0 && buf_status(&a->kept) == 0)
        (void)api_store_put(c->s->store, &e);
    buf_fini(&conversation);
    buf_fini(&input);
}
