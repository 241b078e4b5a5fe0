/* The Messages dialect. A stream opens and closes content blocks: thinking first, where the
 * model writes it, then the text, then calls of tools.
 *
 *     message_start  (content_block_start  content_block_delta*  content_block_stop)*
 *     message_delta  message_stop                            | error, and nothing after it
 *
 * Cached tokens are told apart from the others here: input_tokens are those that were computed. At
 * message_start it is not known yet what is cached; message_delta has the true numbers. */
#include <string.h>

#include "api/answer.h"
#include "net/sse.h"

static const char *stop_reason(const struct api_choice *c)
{
    if (strcmp(c->finish, "length") == 0)
        return "max_tokens";
    if (strcmp(c->finish, "tool_calls") == 0)
        return "tool_use";
    return c->stop.data != NULL ? "stop_sequence" : "end_turn";
}

static void put_stop(struct json_writer *w, const struct api_choice *c)
{
    if (c == NULL) {
        api_put_null(w, "stop_reason");
        api_put_null(w, "stop_sequence");
        return;
    }
    api_put_str(w, "stop_reason", stop_reason(c));
    if (c->stop.data != NULL)
        api_put_text(w, "stop_sequence", c->stop.data, c->stop.len);
    else
        api_put_null(w, "stop_sequence");
}

static void put_usage(struct json_writer *w, const struct engine_usage *u)
{
    json_key(w, "usage");
    json_begin_object(w);
    api_put_uint(w, "input_tokens", u->prompt_tokens - u->cached_tokens);
    api_put_uint(w, "cache_creation_input_tokens", 0);
    api_put_uint(w, "cache_read_input_tokens", u->cached_tokens);
    api_put_uint(w, "output_tokens", u->completion_tokens);
    json_end_object(w);
}

/* A block of content: its text, or empty where the stream brings it. */
static void put_block(struct json_writer *w, bool thinking, const char *text, size_t len)
{
    json_begin_object(w);
    api_put_str(w, "type", thinking ? "thinking" : "text");
    api_put_text(w, thinking ? "thinking" : "text", text, len);
    if (thinking)
        api_put_str(w, "signature", "");
    json_end_object(w);
}

/* A call; whole: with its input, which is {} if the model wrote no object, as a client expects one;
 * else as its stream begins. */
static void put_call(struct json_writer *w, const struct api_call_part *part, bool whole)
{
    json_value *input = NULL;
    struct err err;
    json_begin_object(w);
    api_put_str(w, "type", "tool_use");
    api_put_str(w, "id", part->id);
    api_put_text(w, "name", part->name.data, part->name.len);
    json_key(w, "input");
    bool given = whole && json_parse(&input, part->args.data, part->args.len,
                                     &JSON_LIMITS_REQUEST, &err) == 0;
    if (given && json_kind_of(input) == JSON_OBJECT) {
        json_write_value(w, input);
    } else {
        json_begin_object(w);
        json_end_object(w);
    }
    json_free(input);
    json_end_object(w);
}

/* The message; whole: with its content (c), else as it begins. */
static void put_message(struct json_writer *w, const struct api_answer *a,
                        const struct api_choice *c, const struct engine_usage *u)
{
    json_begin_object(w);
    api_put_str(w, "id", a->id);
    api_put_str(w, "type", "message");
    api_put_str(w, "role", "assistant");
    api_put_str(w, "model", a->model);
    json_key(w, "content");
    json_begin_array(w);
    if (c != NULL && c->reasoning_len > 0)
        put_block(w, true, c->reasoning, c->reasoning_len);
    if (c != NULL && c->len > 0)
        put_block(w, false, c->text, c->len);
    for (uint32_t i = 0; c != NULL && i < c->n_calls; i++)
        put_call(w, &c->calls[i], true);
    json_end_array(w);
    put_stop(w, c);
    put_usage(w, u);
    json_end_object(w);
}

static struct json_writer open_event(struct api_answer *a, const char *type)
{
    struct json_writer w;
    buf_clear(&a->line);
    json_writer_init(&w, &a->line);
    json_begin_object(&w);
    api_put_str(&w, "type", type);
    return w;
}

static void close_event(struct api_answer *a, struct json_writer *w, const char *type,
                        struct buf *out)
{
    json_end_object(w);
    net_sse_event(out, type, buf_str(&a->line), a->line.len);
}

static void begin(struct api_answer *a, UNUSED const struct api_choice *c,
                  const struct engine_usage *u, struct buf *out)
{
    struct json_writer w = open_event(a, "message_start");
    json_key(&w, "message");
    put_message(&w, a, NULL, u);
    close_event(a, &w, "message_start", out);
}

static void close_block(struct api_answer *a, struct buf *out)
{
    if (a->open == API_OPEN_NONE)
        return;
    struct json_writer w = open_event(a, "content_block_stop");
    api_put_uint(&w, "index", a->block++);
    close_event(a, &w, "content_block_stop", out);
    a->open = API_OPEN_NONE;
}

static void block_delta(struct api_answer *a, bool thinking, const char *text, size_t len,
                        struct buf *out)
{
    if (len == 0)
        return;
    if (a->open != (thinking ? API_OPEN_REASONING : API_OPEN_TEXT)) {
        close_block(a, out);
        struct json_writer w = open_event(a, "content_block_start");
        api_put_uint(&w, "index", a->block);
        json_key(&w, "content_block");
        put_block(&w, thinking, "", 0);
        close_event(a, &w, "content_block_start", out);
        a->open = thinking ? API_OPEN_REASONING : API_OPEN_TEXT;
    }
    struct json_writer w = open_event(a, "content_block_delta");
    api_put_uint(&w, "index", a->block);
    json_key(&w, "delta");
    json_begin_object(&w);
    api_put_str(&w, "type", thinking ? "thinking_delta" : "text_delta");
    api_put_text(&w, thinking ? "thinking" : "text", text, len);
    json_end_object(&w);
    close_event(a, &w, "content_block_delta", out);
}

static void call_delta(struct api_answer *a, const struct api_call_part *part, struct buf *out)
{
    if (part->begins) {
        close_block(a, out);
        struct json_writer w = open_event(a, "content_block_start");
        api_put_uint(&w, "index", a->block);
        json_key(&w, "content_block");
        put_call(&w, part, false);
        close_event(a, &w, "content_block_start", out);
        a->open = API_OPEN_CALL;
        return;
    }
    struct json_writer w = open_event(a, "content_block_delta");
    api_put_uint(&w, "index", a->block);
    json_key(&w, "delta");
    json_begin_object(&w);
    api_put_str(&w, "type", "input_json_delta");
    api_put_text(&w, "partial_json", part->args.data, part->args.len);
    json_end_object(&w);
    close_event(a, &w, "content_block_delta", out);
}

static void delta(struct api_answer *a, const struct api_choice *c,
                  UNUSED const struct engine_usage *u, struct buf *out)
{
    block_delta(a, true, c->reasoning, c->reasoning_len, out);
    block_delta(a, false, c->text, c->len, out);
    for (uint32_t i = 0; i < c->n_calls; i++)
        call_delta(a, &c->calls[i], out);
}

static void finish(struct api_answer *a, const struct api_choice *c, UNUSED bool last,
                   const struct engine_usage *u, struct buf *out)
{
    close_block(a, out);
    struct json_writer w = open_event(a, "message_delta");
    json_key(&w, "delta");
    json_begin_object(&w);
    put_stop(&w, c);
    json_end_object(&w);
    put_usage(&w, u);
    close_event(a, &w, "message_delta", out);
}

static void end(struct api_answer *a, UNUSED const struct engine_usage *u, struct buf *out)
{
    struct json_writer w = open_event(a, "message_stop");
    close_event(a, &w, "message_stop", out);
}

static void fail(struct api_answer *a, const struct api_error *e, struct buf *out)
{
    buf_clear(&a->line);
    api_error_write_messages(&a->line, e, a->request_id);
    net_sse_event(out, "error", buf_str(&a->line), a->line.len);
}

static void whole(struct api_answer *a, const struct api_choice *c, UNUSED uint32_t n,
                  const struct engine_usage *u, struct buf *out)
{
    struct json_writer w;
    json_writer_init(&w, out);
    put_message(&w, a, c, u);
}

const struct api_writer api_writer_messages = { "msg_", begin, delta, finish, end, fail, whole };
