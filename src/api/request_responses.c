/* The Responses dialect: input is a text or a list of items. Messages stay messages,
 * function_call becomes a tool call of the assistant (several in a row are one message),
 * function_call_output a message of the role tool, reasoning the assistant's reasoning.
 *
 * What only a provider's own service can do (background, conversations, prompts by id, its tools)
 * is refused by name. */
#include <string.h>

#include "api/request_impl.h"

#define AT(member) offsetof(struct api_request, member)
static const char NEVER[] = "is not something this server can do";

static int parse_truncation(UNUSED void *target, const json_value *v, const char *path,
                            struct err *err)
{
    if (api_is_word(v, "disabled"))
        return 0;
    return api_field_wrong(err, api_is_word(v, "auto") ? E_UNSUPPORTED : E_RANGE, path,
                           "must be disabled: nothing is cut silently");
}

static int parse_include(void *target, const json_value *v, const char *path, struct err *err)
{
    struct api_request *r = target;
    if (json_kind_of(v) != JSON_ARRAY)
        return api_field_wrong(err, E_FORMAT, path, "must be an array of strings");
    for (size_t i = 0; i < json_len(v); i++) {
        if (json_kind_of(json_at(v, i)) != JSON_STRING)
            return api_field_wrong(err, E_FORMAT, path, "must be an array of strings");
        r->logprobs = r->logprobs || api_is_word(json_at(v, i), "message.output_text.logprobs");
    }
    return 0;
}

static const struct api_field rows[] = {
    { "model", API_TEXT, AT(model), 1, 256, NULL, NULL },
    { "max_output_tokens", API_U32, AT(max_tokens), 1, API_TOKENS_MAX, NULL, NULL },
    { "temperature", API_NUMBER, AT(temperature), 0, 2, NULL, NULL },
    { "top_p", API_NUMBER, AT(top_p), 0, 1, NULL, NULL },
    { "top_k", API_CUSTOM, 0, 0, 0, api_parse_top_k, NULL },
    { "top_logprobs", API_U32, AT(n_top), 0, ENGINE_TOP_MAX, NULL, NULL },
    { "seed", API_CUSTOM, 0, 0, 0, api_parse_seed, NULL },
    { "stream", API_BOOL, AT(stream), 0, 0, NULL, NULL },
    { "store", API_BOOL, AT(store), 0, 0, NULL, NULL },
    { "previous_response_id", API_TEXT, AT(previous), 1, 64, NULL, NULL },
    { "include", API_CUSTOM, 0, 0, 0, parse_include, NULL },
    { "truncation", API_CUSTOM, 0, 0, 0, parse_truncation, NULL },
    { "cache_salt", API_TEXT, AT(salt), 0, API_SALT_BYTES_MAX, NULL, NULL },
    { "background", API_REFUSED, 0, 0, 0, NULL, NEVER },
    { "conversation", API_REFUSED, 0, 0, 0, NULL, NEVER },
    { "prompt", API_REFUSED, 0, 0, 0, NULL, NEVER },
    { "moderation", API_REFUSED, 0, 0, 0, NULL, NEVER },
    { "stream_options", API_NO_EFFECT, 0, 0, 0, NULL, NULL },
    { "metadata", API_NO_EFFECT, 0, 0, 0, NULL, NULL },
    { "user", API_NO_EFFECT, 0, 0, 0, NULL, NULL },
    { "service_tier", API_NO_EFFECT, 0, 0, 0, NULL, NULL },
    { "safety_identifier", API_NO_EFFECT, 0, 0, 0, NULL, NULL },
    { "prompt_cache_key", API_NO_EFFECT, 0, 0, 0, NULL, NULL },
    { "max_tool_calls", API_NO_EFFECT, 0, 0, 0, NULL, NULL },
};

static int wrong(struct err *err, int code, size_t i, int part, const char *name, const char *text)
{
    return api_item_wrong(err, code, (struct api_place){ "input", i, part }, name, text);
}

static void put_pair(struct json_writer *w, const char *key, const char *text, size_t len)
{
    json_key(w, key);
    json_write_text(w, text, len);
}

/* --- items ------------------------------------------------------------------------------------ */

/* A string, or parts of text, joined by newlines. */
static int part_texts(const json_value *v, size_t i, const char *name, struct buf *out,
                      struct err *err)
{
    static const char *const kinds[] = { "input_text", "output_text", "text", "reasoning_text",
                                         "summary_text" };
    size_t len = 0;
    const char *s = json_text(v, &len);
    if (s != NULL) {
        buf_put(out, s, len);
        return buf_status(out);
    }
    if (json_kind_of(v) != JSON_ARRAY)
        return wrong(err, E_FORMAT, i, -1, name, "must be a string or an array of parts");
    for (size_t k = 0; k < json_len(v); k++) {
        const json_value *part = json_at(v, k), *type = json_get(part, "type");
        bool refusal = api_is_word(type, "refusal"), known = refusal;
        for (size_t n = 0; n < COUNT_OF(kinds); n++)
            known = known || api_is_word(type, kinds[n]);
        if (!known)
            return wrong(err, E_UNSUPPORTED, i, (int)k, "type",
                         "must be input_text or output_text: this model reads text only");
        s = api_member_text(part, refusal ? "refusal" : "text", &len);
        if (s == NULL)
            return wrong(err, E_FORMAT, i, (int)k, "text", "must be a string");
        if (k > 0)
            buf_putc(out, '\n');
        buf_put(out, s, len);
    }
    return buf_status(out);
}

/* The assistant's message that is being gathered: reasoning, text, calls. */
struct turn {
    struct json_writer *w;
    struct buf text, reasoning, calls;
    struct json_writer call;
    bool open, has_text;
};

static void end_turn(struct turn *t)
{
    if (!t->open)
        return;
    json_begin_object(t->w);
    json_key(t->w, "role");
    json_write_str(t->w, "assistant");
    put_pair(t->w, "content", buf_str(&t->text), t->text.len);
    if (t->reasoning.len > 0)
        put_pair(t->w, "reasoning_content", buf_str(&t->reasoning), t->reasoning.len);
    if (t->calls.len > 0) {
        json_key(t->w, "tool_calls");
        buf_putc(t->w->out, '[');
        buf_put(t->w->out, buf_str(&t->calls), t->calls.len);
        buf_putc(t->w->out, ']');
        t->w->need_comma = true;
    }
    json_end_object(t->w);
    buf_clear(&t->text);
    buf_clear(&t->reasoning);
    buf_clear(&t->calls);
    json_writer_init(&t->call, &t->calls);
    t->open = t->has_text = false;
}

static int put_said(struct turn *t, const json_value *item, size_t i, struct err *err)
{
    static const char *const roles[] = { "user", "system", "developer" };
    const json_value *role = json_get(item, "role"), *content = json_get(item, "content");
    if (api_is_word(role, "assistant")) {
        if (t->has_text || t->calls.len > 0)
            end_turn(t);
        t->open = t->has_text = true;
        return part_texts(content, i, "content", &t->text, err);
    }
    end_turn(t);
    for (size_t k = 0; k < COUNT_OF(roles); k++) {
        if (!api_is_word(role, roles[k]))
            continue;
        struct buf text;
        buf_init(&text, SIZE_MAX / 4);
        int rc = part_texts(content, i, "content", &text, err);
        json_begin_object(t->w);
        json_key(t->w, "role");
        json_write_str(t->w, roles[k]);
        put_pair(t->w, "content", buf_str(&text), text.len);
        json_end_object(t->w);
        buf_fini(&text);
        return rc;
    }
    return wrong(err, E_RANGE, i, -1, "role", "must be user, assistant, system or developer");
}

static int put_call(struct turn *t, const json_value *item, size_t i, struct err *err)
{
    size_t id_len, name_len, arguments_len;
    const char *id = api_member_text(item, "call_id", &id_len);
    const char *name = api_member_text(item, "name", &name_len);
    const char *arguments = api_member_text(item, "arguments", &arguments_len);
    if (id == NULL || name == NULL || arguments == NULL)
        return wrong(err, E_FORMAT, i, -1, "", "must have call_id, name and arguments");
    t->open = true;
    json_begin_object(&t->call);
    put_pair(&t->call, "id", id, id_len);
    put_pair(&t->call, "type", "function", 8);
    json_key(&t->call, "function");
    json_begin_object(&t->call);
    put_pair(&t->call, "name", name, name_len);
    put_pair(&t->call, "arguments", arguments, arguments_len);
    json_end_object(&t->call);
    json_end_object(&t->call);
    return 0;
}

static int put_output(struct turn *t, const json_value *item, size_t i, struct err *err)
{
    size_t id_len;
    const char *id = api_member_text(item, "call_id", &id_len);
    if (id == NULL)
        return wrong(err, E_FORMAT, i, -1, "call_id", "must be a string");
    end_turn(t);
    struct buf text;
    buf_init(&text, SIZE_MAX / 4);
    int rc = part_texts(json_get(item, "output"), i, "output", &text, err);
    json_begin_object(t->w);
    put_pair(t->w, "role", "tool", 4);
    put_pair(t->w, "tool_call_id", id, id_len);
    put_pair(t->w, "content", buf_str(&text), text.len);
    json_end_object(t->w);
    buf_fini(&text);
    return rc;
}

static int put_item(struct turn *t, const json_value *item, size_t i, struct err *err)
{
    const json_value *type = json_get(item, "type");
    if (json_kind_of(item) != JSON_OBJECT)
        return wrong(err, E_FORMAT, i, -1, "", "must be an object");
    if (type == NULL || api_is_word(type, "message"))
        return put_said(t, item, i, err);
    if (api_is_word(type, "function_call"))
        return put_call(t, item, i, err);
    if (api_is_word(type, "function_call_output"))
        return put_output(t, item, i, err);
    if (api_is_word(type, "reasoning")) {
        if (t->open)
            end_turn(t);
        t->open = true;
        const json_value *content = json_get(item, "content");
        return json_len(content) > 0 ? part_texts(content, i, "content", &t->reasoning, err) : 0;
    }
    return wrong(err, E_UNSUPPORTED, i, -1, "type",
                 "must be message, function_call, function_call_output or reasoning");
}

static int put_items(struct json_writer *w, const json_value *input, struct err *err)
{
    struct turn t = { .w = w };
    if (json_len(input) == 0)
        return api_field_wrong(err, E_RANGE, "input", "must hold at least one item");
    buf_init(&t.text, SIZE_MAX / 4);
    buf_init(&t.reasoning, SIZE_MAX / 4);
    buf_init(&t.calls, SIZE_MAX / 4);
    json_writer_init(&t.call, &t.calls);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < json_len(input); i++)
        rc = put_item(&t, json_at(input, i), i, err);
    if (rc == 0)
        end_turn(&t);
    buf_fini(&t.text);
    buf_fini(&t.reasoning);
    buf_fini(&t.calls);
    return rc;
}

static int put_messages(struct api_request *r, struct json_writer *w, struct err *err)
{
    const json_value *input = json_get(r->tree, "input");
    const json_value *instructions = json_get(r->tree, "instructions");
    size_t len = 0;
    if (instructions != NULL && json_kind_of(instructions) != JSON_STRING)
        return api_field_wrong(err, E_FORMAT, "instructions", "must be a string");
    json_key(w, "messages");
    json_begin_array(w);
    if (instructions != NULL) {
        const char *s = json_text(instructions, &len);
        json_begin_object(w);
        put_pair(w, "role", "system", 6);
        put_pair(w, "content", s, len);
        json_end_object(w);
        r->has_instructions = true;
    }
    if (json_kind_of(input) == JSON_STRING) {
        const char *s = json_text(input, &len);
        json_begin_object(w);
        put_pair(w, "role", "user", 4);
        put_pair(w, "content", s, len);
        json_end_object(w);
    } else if (json_kind_of(input) == JSON_ARRAY) {
        TRY(put_items(w, input, err));
    } else {
        return api_field_wrong(err, E_FORMAT, "input", "must be a string or an array of items");
    }
    json_end_array(w);
    return 0;
}

/* --- tools and the form of the answer --------------------------------------------------------- */

static int copy_member(void *ctx, const char *key, json_value *member)
{
    struct json_writer *w = ctx;
    if (strcmp(key, "type") == 0)
        return 0;
    json_key(w, key);
    json_write_value(w, member);
    return 0;
}

static int put_tools(struct json_writer *w, const json_value *tools, struct err *err)
{
    if (tools == NULL)
        return 0;
    if (json_kind_of(tools) != JSON_ARRAY)
        return api_field_wrong(err, E_FORMAT, "tools", "must be an array");
    json_key(w, "tools");
    json_begin_array(w);
    for (size_t i = 0; i < json_len(tools); i++) {
        const json_value *tool = json_at(tools, i);
        if (!api_is_word(json_get(tool, "type"), "function"))
            return api_item_wrong(err, E_UNSUPPORTED, (struct api_place){ "tools", i, -1 }, "type",
                                  "must be function: no tool runs at this server");
        json_begin_object(w);
        put_pair(w, "type", "function", 8);
        json_key(w, "function");
        json_begin_object(w);
        TRY(json_each(tool, copy_member, w));
        json_end_object(w);
        json_end_object(w);
    }
    json_end_array(w);
    return 0;
}

static int put_choice(struct json_writer *w, const json_value *choice, struct err *err)
{
    size_t len;
    if (choice == NULL)
        return 0;
    if (json_kind_of(choice) == JSON_STRING) {
        json_key(w, "tool_choice");
        json_write_value(w, choice);
        return 0;
    }
    const char *name = api_member_text(choice, "name", &len);
    if (!api_is_word(json_get(choice, "type"), "function") || name == NULL)
        return api_field_wrong(err, E_UNSUPPORTED, "tool_choice",
                               "must be none, auto, required or {\"type\":\"function\",\"name\"}");
    json_key(w, "tool_choice");
    json_begin_object(w);
    put_pair(w, "type", "function", 8);
    json_key(w, "function");
    json_begin_object(w);
    put_pair(w, "name", name, len);
    json_end_object(w);
    json_end_object(w);
    return 0;
}

/* text.format lies one level deeper in a chat. */
static int put_format(struct json_writer *w, const json_value *text, struct err *err)
{
    const json_value *format = json_get(text, "format");
    if (text != NULL && json_kind_of(text) != JSON_OBJECT)
        return api_field_wrong(err, E_FORMAT, "text", "must be an object");
    if (format == NULL)
        return 0;
    const json_value *type = json_get(format, "type");
    if (json_kind_of(type) != JSON_STRING)
        return api_field_wrong(err, E_FORMAT, "text.format.type", "must be a string");
    json_key(w, "response_format");
    json_begin_object(w);
    json_key(w, "type");
    json_write_value(w, type);
    if (api_is_word(type, "json_schema")) {
        json_key(w, "json_schema");
        json_begin_object(w);
        TRY(json_each(format, copy_member, w));
        json_end_object(w);
    }
    json_end_object(w);
    return 0;
}

static void put_if(struct json_writer *w, const char *key, const json_value *v)
{
    if (v == NULL)
        return;
    json_key(w, key);
    json_write_value(w, v);
}

int api_read_responses(struct api_request *r, struct json_writer *w, struct err *err)
{
    r->store = true;
    TRY(api_read_rows(rows, COUNT_OF(rows), r->tree, r, err));
    r->logprobs = r->logprobs || r->n_top > 0;
    TRY(put_messages(r, w, err));
    TRY(put_tools(w, json_get(r->tree, "tools"), err));
    TRY(put_choice(w, json_get(r->tree, "tool_choice"), err));
    TRY(put_format(w, json_get(r->tree, "text"), err));
    const json_value *reasoning = json_get(r->tree, "reasoning");
    if (reasoning != NULL && json_kind_of(reasoning) != JSON_OBJECT)
        return api_field_wrong(err, E_FORMAT, "reasoning", "must be an object");
    put_if(w, "reasoning_effort", json_get(reasoning, "effort"));
    put_if(w, "parallel_tool_calls", json_get(r->tree, "parallel_tool_calls"));
    put_if(w, "chat_template_kwargs", json_get(r->tree, "chat_template_kwargs"));
    return 0;
}

int api_request_continue(struct api_request *r, const char *messages, size_t len, struct err *err)
{
    json_value *before = NULL, *whole = NULL;
    struct buf text;
    struct json_writer w;
    TRY(json_parse(&before, messages, len, &JSON_LIMITS_FILE, err));
    size_t own = r->has_instructions ? 1 : 0;
    buf_init(&text, SIZE_MAX / 4);
    json_writer_init(&w, &text);
    json_begin_array(&w);
    if (own > 0)
        json_write_value(&w, json_at(r->messages, 0));
    for (size_t i = 0; i < json_len(before); i++)
        json_write_value(&w, json_at(before, i));
    for (size_t i = own; i < json_len(r->messages); i++)
        json_write_value(&w, json_at(r->messages, i));
    json_end_array(&w);
    int rc = buf_status(&text) != 0
                 ? err_set(err, buf_status(&text), "out of memory")
                 : json_parse(&whole, buf_str(&text), text.len, &JSON_LIMITS_FILE, err);
    buf_fini(&text);
    json_free(before);
    TRY(rc);
    json_free(r->earlier);
    r->earlier = whole;
    r->messages = whole;
    return 0;
}
