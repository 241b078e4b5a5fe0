/* The Messages dialect: a conversation of content blocks. Text blocks become text, tool_use
 * becomes a tool call of the assistant, tool_result a message of the role tool, thinking the
 * assistant's reasoning. A last message of the assistant is gone on with, as there.
 *
 * Images and documents, and tools that run at a provider, are refused by name. */
#include <string.h>

#include "api/request_impl.h"

#define AT(member) offsetof(struct api_request, member)
static const char NEVER[] = "is not something this server can do";

static int parse_stop_sequences(void *target, const json_value *v, const char *path,
                                struct err *err)
{
    if (json_kind_of(v) != JSON_ARRAY)
        return api_field_wrong(err, E_FORMAT, path, "must be an array of strings");
    return api_parse_stop(target, v, path, err);
}

static const struct api_field rows[] = {
    { "model", API_TEXT, AT(model), 1, 256, NULL, NULL },
    { "max_tokens", API_U32, AT(max_tokens), 1, API_TOKENS_MAX, NULL, NULL },
    { "temperature", API_NUMBER, AT(temperature), 0, 1, NULL, NULL },
    { "top_p", API_NUMBER, AT(top_p), 0, 1, NULL, NULL },
    { "top_k", API_CUSTOM, 0, 0, 0, api_parse_top_k, NULL },
    { "stop_sequences", API_CUSTOM, 0, 0, 0, parse_stop_sequences, NULL },
    { "stream", API_BOOL, AT(stream), 0, 0, NULL, NULL },
    { "seed", API_CUSTOM, 0, 0, 0, api_parse_seed, NULL },
    { "cache_salt", API_TEXT, AT(salt), 0, API_SALT_BYTES_MAX, NULL, NULL },
    { "metadata", API_NO_EFFECT, 0, 0, 0, NULL, NULL },
    { "service_tier", API_NO_EFFECT, 0, 0, 0, NULL, NULL },
    { "cache_control", API_NO_EFFECT, 0, 0, 0, NULL, NULL },
    { "container", API_REFUSED, 0, 0, 0, NULL, NEVER },
    { "mcp_servers", API_REFUSED, 0, 0, 0, NULL, NEVER },
};

static int wrong(struct err *err, int code, size_t i, int part, const char *name, const char *text)
{
    return api_item_wrong(err, code, (struct api_place){ "messages", i, part }, name, text);
}

/* --- blocks ----------------------------------------------------------------------------------- */

/* Text of a string or of text blocks, joined by newlines; where names it in an error. */
static int flat_text(const json_value *v, const char *where, struct buf *out, struct err *err)
{
    size_t len = 0;
    const char *s = json_text(v, &len);
    if (s != NULL) {
        buf_put(out, s, len);
        return buf_status(out);
    }
    if (v != NULL && json_kind_of(v) != JSON_ARRAY)
        return api_field_wrong(err, E_FORMAT, where, "must be a string or an array of text blocks");
    for (size_t i = 0; i < json_len(v); i++) {
        const json_value *block = json_at(v, i);
        s = api_member_text(block, "text", &len);
        if (!api_is_word(json_get(block, "type"), "text") || s == NULL)
            return api_field_wrong(err, E_UNSUPPORTED, where,
                                   "may hold blocks {\"type\":\"text\",\"text\":...} only");
        if (i > 0)
            buf_putc(out, '\n');
        buf_put(out, s, len);
    }
    return buf_status(out);
}

/* What the blocks of one message become, gathered before it is written. */
struct gather {
    struct buf text, thinking, calls;
    struct json_writer call; /* into calls */
    struct json_writer *w;   /* where messages go */
    bool has_calls, assistant;
};

static void gather_init(struct gather *g, struct json_writer *w, bool assistant)
{
    *g = (struct gather){ .w = w, .assistant = assistant };
    buf_init(&g->text, SIZE_MAX / 4);
    buf_init(&g->thinking, SIZE_MAX / 4);
    buf_init(&g->calls, SIZE_MAX / 4);
    json_writer_init(&g->call, &g->calls);
}

static void gather_fini(struct gather *g)
{
    buf_fini(&g->text);
    buf_fini(&g->thinking);
    buf_fini(&g->calls);
}

static void add_line(struct buf *out, const char *s, size_t len)
{
    if (out->len > 0)
        buf_putc(out, '\n');
    buf_put(out, s, len);
}

static int add_call(struct gather *g, const json_value *block, size_t i, int part, struct err *err)
{
    size_t id_len, name_len;
    const char *id = api_member_text(block, "id", &id_len);
    const char *name = api_member_text(block, "name", &name_len);
    const json_value *input = json_get(block, "input");
    if (id == NULL || name == NULL || (input != NULL && json_kind_of(input) != JSON_OBJECT))
        return wrong(err, E_FORMAT, i, part, "", "must have id, name and an object input");
    struct buf text;
    struct json_writer in;
    buf_init(&text, SIZE_MAX / 4);
    json_writer_init(&in, &text);
    if (input != NULL)
        json_write_value(&in, input);
    else
        buf_puts(&text, "{}");
    struct json_writer *w = &g->call;
    json_begin_object(w);
    json_key(w, "id");
    json_write_text(w, id, id_len);
    json_key(w, "type");
    json_write_str(w, "function");
    json_key(w, "function");
    json_begin_object(w);
    json_key(w, "name");
    json_write_text(w, name, name_len);
    json_key(w, "arguments");
    json_write_text(w, buf_str(&text), text.len);
    json_end_object(w);
    json_end_object(w);
    g->has_calls = true;
    int rc = buf_status(&text);
    buf_fini(&text);
    return rc;
}

static int put_result(struct json_writer *w, const json_value *block, size_t i, int part,
                      struct err *err)
{
    size_t id_len;
    const char *id = api_member_text(block, "tool_use_id", &id_len);
    if (id == NULL)
        return wrong(err, E_FORMAT, i, part, "tool_use_id", "must be a string");
    struct err where;
    struct buf text;
    err_set(&where, 0, "messages[%zu].content[%d].content", i, part);
    buf_init(&text, SIZE_MAX / 4);
    int rc = flat_text(json_get(block, "content"), where.text, &text, err);
    if (rc == 0) {
        json_begin_object(w);
        json_key(w, "role");
        json_write_str(w, "tool");
        json_key(w, "tool_call_id");
        json_write_text(w, id, id_len);
        json_key(w, "content");
        json_write_text(w, buf_str(&text), text.len);
        json_end_object(w);
    }
    buf_fini(&text);
    return rc;
}

/* --- messages --------------------------------------------------------------------------------- */

static void put_message(struct gather *g)
{
    struct json_writer *w = g->w;
    json_begin_object(w);
    json_key(w, "role");
    json_write_str(w, g->assistant ? "assistant" : "user");
    json_key(w, "content");
    json_write_text(w, buf_str(&g->text), g->text.len);
    if (g->thinking.len > 0) {
        json_key(w, "reasoning_content");
        json_write_text(w, buf_str(&g->thinking), g->thinking.len);
    }
    if (g->has_calls) {
        json_key(w, "tool_calls");
        buf_putc(w->out, '[');
        buf_put(w->out, buf_str(&g->calls), g->calls.len);
        buf_putc(w->out, ']');
        w->need_comma = true;
    }
    json_end_object(w);
    buf_clear(&g->text);
}

static int add_block(struct gather *g, const json_value *block, size_t i, int part,
                     struct err *err)
{
    bool assistant = g->assistant;
    const json_value *type = json_get(block, "type");
    size_t len;
    const char *s;
    if (api_is_word(type, "text")) {
        s = api_member_text(block, "text", &len);
        if (s == NULL)
            return wrong(err, E_FORMAT, i, part, "text", "must be a string");
        add_line(&g->text, s, len);
        return 0;
    }
    if (assistant && api_is_word(type, "thinking")) {
        s = api_member_text(block, "thinking", &len);
        if (s == NULL)
            return wrong(err, E_FORMAT, i, part, "thinking", "must be a string");
        add_line(&g->thinking, s, len);
        return 0;
    }
    if (assistant && api_is_word(type, "redacted_thinking"))
        return 0;
    if (assistant && api_is_word(type, "tool_use"))
        return add_call(g, block, i, part, err);
    if (!assistant && api_is_word(type, "tool_result")) {
        if (g->text.len > 0) /* what was said before the result comes before it */
            put_message(g);
        return put_result(g->w, block, i, part, err);
    }
    return wrong(err, json_kind_of(type) == JSON_STRING ? E_UNSUPPORTED : E_FORMAT, i, part,
                 "type", "must be a text, tool_use, tool_result or thinking block: this model "
                 "reads text only");
}

static int put_blocks(struct gather *g, const json_value *content, size_t i, struct err *err)
{
    size_t n = json_len(content);
    bool only_results = !g->assistant && n > 0;
    if (n == 0)
        return wrong(err, E_RANGE, i, -1, "content", "must hold at least one block");
    for (size_t k = 0; k < n; k++) {
        only_results = only_results && api_is_word(json_get(json_at(content, k), "type"),
                                                   "tool_result");
        TRY(add_block(g, json_at(content, k), i, (int)k, err));
    }
    if (!only_results)
        put_message(g);
    return 0;
}

static int put_one(struct json_writer *w, const json_value *message, size_t i, struct err *err)
{
    const json_value *role = json_get(message, "role"), *content = json_get(message, "content");
    bool assistant = api_is_word(role, "assistant");
    if (!assistant && !api_is_word(role, "user"))
        return wrong(err, E_RANGE, i, -1, "role", "must be user or assistant; instructions go "
                     "into system");
    if (json_kind_of(content) != JSON_STRING && json_kind_of(content) != JSON_ARRAY)
        return wrong(err, E_FORMAT, i, -1, "content", "must be a string or an array of blocks");
    struct gather g;
    gather_init(&g, w, assistant);
    int rc = 0;
    if (json_kind_of(content) == JSON_STRING) {
        size_t len = 0;
        const char *s = json_text(content, &len);
        buf_put(&g.text, s, len);
        put_message(&g);
    } else {
        rc = put_blocks(&g, content, i, err);
    }
    gather_fini(&g);
    return rc;
}

static int put_system(struct json_writer *w, const json_value *system, struct err *err)
{
    if (system == NULL)
        return 0;
    struct buf text;
    buf_init(&text, SIZE_MAX / 4);
    int rc = flat_text(system, "system", &text, err);
    if (rc == 0) {
        json_begin_object(w);
        json_key(w, "role");
        json_write_str(w, "system");
        json_key(w, "content");
        json_write_text(w, buf_str(&text), text.len);
        json_end_object(w);
    }
    buf_fini(&text);
    return rc;
}

static int put_messages(struct json_writer *w, const struct api_request *r, struct err *err)
{
    const json_value *messages = json_get(r->tree, "messages");
    size_t n = json_len(messages);
    if (json_kind_of(messages) != JSON_ARRAY)
        return api_field_wrong(err, E_FORMAT, "messages", "must be an array of messages");
    if (n == 0)
        return api_field_wrong(err, E_RANGE, "messages", "must hold at least one message");
    json_key(w, "messages");
    json_begin_array(w);
    TRY(put_system(w, json_get(r->tree, "system"), err));
    for (size_t i = 0; i < n; i++)
        TRY(put_one(w, json_at(messages, i), i, err));
    json_end_array(w);
    if (api_is_word(json_get(json_at(messages, n - 1), "role"), "assistant")) {
        json_key(w, "continue_final_message");
        json_write_bool(w, true);
    }
    return 0;
}

/* --- tools and the rest ----------------------------------------------------------------------- */

static int put_tool(struct json_writer *w, const json_value *tool, size_t i, struct err *err)
{
    const json_value *type = json_get(tool, "type");
    struct api_place at = { "tools", i, -1 };
    size_t len;
    const char *name = api_member_text(tool, "name", &len);
    if (type != NULL && !api_is_word(type, "custom"))
        return api_item_wrong(err, E_UNSUPPORTED, at, "type",
                              "must be custom: no tool runs at this server");
    if (name == NULL)
        return api_item_wrong(err, E_FORMAT, at, "name", "must be a string");
    json_begin_object(w);
    json_key(w, "type");
    json_write_str(w, "function");
    json_key(w, "function");
    json_begin_object(w);
    json_key(w, "name");
    json_write_text(w, name, len);
    if (json_get(tool, "description") != NULL) {
        json_key(w, "description");
        json_write_value(w, json_get(tool, "description"));
    }
    if (json_get(tool, "input_schema") != NULL) {
        json_key(w, "parameters");
        json_write_value(w, json_get(tool, "input_schema"));
    }
    json_end_object(w);
    json_end_object(w);
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
    for (size_t i = 0; i < json_len(tools); i++)
        TRY(put_tool(w, json_at(tools, i), i, err));
    json_end_array(w);
    return 0;
}

static int put_choice(struct json_writer *w, const json_value *choice, struct err *err)
{
    static const char *const words[][2] = { { "auto", "auto" },
                                            { "any", "required" },
                                            { "none", "none" } };
    const json_value *type = json_get(choice, "type");
    if (choice == NULL)
        return 0;
    if (json_as_bool(json_get(choice, "disable_parallel_tool_use"))) {
        json_key(w, "parallel_tool_calls");
        json_write_bool(w, false);
    }
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (api_is_word(type, words[i][0])) {
            json_key(w, "tool_choice");
            json_write_str(w, words[i][1]);
            return 0;
        }
    size_t len;
    const char *name = api_member_text(choice, "name", &len);
    if (!api_is_word(type, "tool") || name == NULL)
        return api_field_wrong(err, E_RANGE, "tool_choice.type",
                               "must be auto, any, none, or tool with a name");
    json_key(w, "tool_choice");
    json_begin_object(w);
    json_key(w, "type");
    json_write_str(w, "function");
    json_key(w, "function");
    json_begin_object(w);
    json_key(w, "name");
    json_write_text(w, name, len);
    json_end_object(w);
    json_end_object(w);
    return 0;
}

static int put_thinking(struct json_writer *w, const json_value *thinking, struct err *err)
{
    const json_value *type = json_get(thinking, "type");
    bool off = api_is_word(type, "disabled");
    if (thinking == NULL)
        return 0;
    if (!off && !api_is_word(type, "enabled") && !api_is_word(type, "adaptive"))
        return api_field_wrong(err, E_RANGE, "thinking.type",
                               "must be enabled, disabled or adaptive");
    json_key(w, "chat_template_kwargs");
    json_begin_object(w);
    json_key(w, "enable_thinking");
    json_write_bool(w, !off);
    json_end_object(w);
    return 0;
}

/* output_format, or output_config.format: the schema of the answer. */
static int put_format(struct json_writer *w, const json_value *tree, struct err *err)
{
    const json_value *format = json_get(tree, "output_format");
    if (format == NULL)
        format = json_get(json_get(tree, "output_config"), "format");
    if (format == NULL)
        return 0;
    if (!api_is_word(json_get(format, "type"), "json_schema") || json_get(format, "schema") == NULL)
        return api_field_wrong(err, E_RANGE, "output_format",
                               "must be {\"type\":\"json_schema\",\"schema\":...}");
    json_key(w, "response_format");
    json_begin_object(w);
    json_key(w, "type");
    json_write_str(w, "json_schema");
    json_key(w, "json_schema");
    json_begin_object(w);
    json_key(w, "name");
    json_write_str(w, "output");
    json_key(w, "strict");
    json_write_bool(w, true);
    json_key(w, "schema");
    json_write_value(w, json_get(format, "schema"));
    json_end_object(w);
    json_end_object(w);
    return 0;
}

int api_read_messages(struct api_request *r, struct json_writer *w, struct err *err)
{
    TRY(api_read_rows(rows, COUNT_OF(rows), r->tree, r, err));
    if (r->max_tokens == 0 && !r->counts_only)
        return api_field_wrong(err, E_FORMAT, "max_tokens", "is missing; say how many at most");
    TRY(put_messages(w, r, err));
    TRY(put_tools(w, json_get(r->tree, "tools"), err));
    TRY(put_choice(w, json_get(r->tree, "tool_choice"), err));
    TRY(put_thinking(w, json_get(r->tree, "thinking"), err));
    return put_format(w, r->tree, err);
}
