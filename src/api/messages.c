/* Paths in errors are built only when something is wrong. */
#include "api/messages.h"

#include <string.h>

#include "api/chat.h"

static const char *const roles[] = { "system",    "developer", "user",
                                     "assistant", "tool",      "function" };

/* E_* with the path messages[i].name, or messages[i].content[part].name for part >= 0. */
static int wrong(struct err *err, int code, size_t i, int part, const char *name, const char *text)
{
    struct err path;
    if (part >= 0)
        err_set(&path, 0, "messages[%zu].content[%d]%s%s", i, part, *name ? "." : "", name);
    else
        err_set(&path, 0, "messages[%zu]%s%s", i, *name ? "." : "", name);
    return err_set_field(err, code, path.text, "%s %s", path.text, text);
}

static const char *find_role(const json_value *message)
{
    size_t len = 0;
    const char *s = json_text(json_get(message, "role"), &len);
    for (size_t i = 0; s != NULL && i < COUNT_OF(roles); i++)
        if (strlen(roles[i]) == len && memcmp(roles[i], s, len) == 0)
            return roles[i];
    return NULL;
}

static bool is_text(const json_value *v, const char *word)
{
    size_t len = 0;
    const char *s = json_text(v, &len);
    return s != NULL && strlen(word) == len && memcmp(s, word, len) == 0;
}

/* The text of one part of a content array. */
static int part_text(const json_value *part, size_t i, int at, struct buf *out, struct err *err)
{
    if (json_kind_of(part) != JSON_OBJECT)
        return wrong(err, E_FORMAT, i, at, "", "must be an object with type and text");
    const json_value *type = json_get(part, "type");
    bool refusal = is_text(type, "refusal");
    if (json_kind_of(type) != JSON_STRING)
        return wrong(err, E_FORMAT, i, at, "type", "must be a string");
    if (!refusal && !is_text(type, "text"))
        return wrong(err, E_UNSUPPORTED, i, at, "type",
                     "must be \"text\": this model reads text only");
    const char *name = refusal ? "refusal" : "text";
    size_t len = 0;
    const char *s = json_text(json_get(part, name), &len);
    if (s == NULL)
        return wrong(err, E_FORMAT, i, at, name, "must be a string");
    if (at > 0)
        buf_putc(out, '\n');
    buf_put(out, s, len);
    return 0;
}

static int content_text(const json_value *message, size_t i, struct buf *out, struct err *err)
{
    const json_value *content = json_get(message, "content");
    size_t len = 0;
    switch (json_kind_of(content)) {
    case JSON_STRING: {
        const char *s = json_text(content, &len);
        buf_put(out, s, len);
        return buf_status(out);
    }
    case JSON_ARRAY:
        if (json_len(content) == 0)
            return wrong(err, E_RANGE, i, -1, "content", "must hold at least one part");
        for (size_t part = 0; part < json_len(content); part++)
            TRY(part_text(json_at(content, part), i, (int)part, out, err));
        return buf_status(out);
    case JSON_NULL:
        return wrong(err, E_FORMAT, i, -1, "content", "is missing; give a string");
    default:
        return wrong(err, E_FORMAT, i, -1, "content", "must be a string or an array of parts");
    }
}

static int write_optional(struct json_writer *w, const json_value *message, size_t i,
                          const char *name, struct err *err)
{
    const json_value *v = json_get(message, name);
    if (v == NULL)
        return 0;
    size_t len = 0;
    const char *s = json_text(v, &len);
    if (s == NULL)
        return wrong(err, E_FORMAT, i, -1, name, "must be a string");
    json_key(w, name);
    json_write_text(w, s, len);
    return 0;
}

/* --- calls ------------------------------------------------------------------------------------ */

static int call_wrong(struct err *err, int code, size_t i, size_t k, const char *name,
                      const char *must)
{
    struct err member;
    err_set(&member, 0, "tool_calls[%zu]%s%s", k, *name != '\0' ? "." : "", name);
    return wrong(err, code, i, -1, member.text, must);
}

struct call {
    const char *name, *args;
    size_t name_len, args_len;
    const json_value *args_value; /* arguments that came as an object; NULL: text */
};

static int read_call(const json_value *message, size_t i, size_t k, struct call *c,
                     struct err *err)
{
    const json_value *call = json_at(json_get(message, "tool_calls"), k);
    const json_value *function = json_get(call, "function"), *id = json_get(call, "id");
    const json_value *args = json_get(function, "arguments");
    if (json_kind_of(call) != JSON_OBJECT)
        return call_wrong(err, E_FORMAT, i, k, "", "must be an object with id and function");
    if (json_get(call, "type") != NULL && !is_text(json_get(call, "type"), "function"))
        return call_wrong(err, E_UNSUPPORTED, i, k, "type", "must be \"function\"");
    if (id != NULL && json_kind_of(id) != JSON_STRING)
        return call_wrong(err, E_FORMAT, i, k, "id", "must be a string");
    c->name = json_text(json_get(function, "name"), &c->name_len);
    if (c->name == NULL)
        return call_wrong(err, E_FORMAT, i, k, "function.name", "must be a string");
    c->args = json_text(args, &c->args_len);
    c->args_value = c->args == NULL ? args : NULL;
    if (c->args == NULL && json_kind_of(args) != JSON_OBJECT)
        return call_wrong(err, E_FORMAT, i, k, "function.arguments", "must be JSON in a string");
    return 0;
}

/* Text stays text where the template wants that, or where it is no JSON: the model wrote it so. */
static void write_args(struct json_writer *w, const struct call *c, bool as_text)
{
    json_value *v = NULL;
    struct err err;
    if (c->args_value != NULL)
        json_write_value(w, c->args_value);
    else if (!as_text && json_parse(&v, c->args, c->args_len, &JSON_LIMITS_REQUEST, &err) == 0)
        json_write_value(w, v);
    else
        json_write_text(w, c->args, c->args_len);
    json_free(v);
}

static int check_calls(const json_value *message, size_t i, const char *role, struct err *err)
{
    const json_value *calls = json_get(message, "tool_calls");
    if (calls != NULL && json_kind_of(calls) != JSON_ARRAY)
        return wrong(err, E_FORMAT, i, -1, "tool_calls", "must be an array");
    if (json_len(calls) > 0 && strcmp(role, "assistant") != 0)
        return wrong(err, E_RANGE, i, -1, "tool_calls", "belong to the assistant");
    return 0;
}

/* "tool_calls" as templates read them. */
static int write_calls(struct json_writer *w, const json_value *message, size_t i,
                       const struct api_messages_how *how, struct err *err)
{
    const json_value *calls = json_get(message, "tool_calls");
    if (json_len(calls) == 0)
        return 0;
    json_key(w, "tool_calls");
    json_begin_array(w);
    for (size_t k = 0; k < json_len(calls); k++) {
        struct call c = { .name = NULL };
        size_t len = 0;
        const char *id = json_text(json_get(json_at(calls, k), "id"), &len);
        TRY(read_call(message, i, k, &c, err));
        json_begin_object(w);
        if (id != NULL) {
            json_key(w, "id");
            json_write_text(w, id, len);
        }
        json_key(w, "type");
        json_write_str(w, "function");
        json_key(w, "function");
        json_begin_object(w);
        json_key(w, "name");
        json_write_text(w, c.name, c.name_len);
        json_key(w, "arguments");
        write_args(w, &c, how->args_as_text);
        json_end_object(w);
        json_end_object(w);
    }
    json_end_array(w);
    return 0;
}

/* The same as a part of the text, as the model wrote it. */
static int put_calls(struct buf *text, const json_value *message, size_t i, struct err *err)
{
    for (size_t k = 0; k < json_len(json_get(message, "tool_calls")); k++) {
        struct call c = { .name = NULL };
        TRY(read_call(message, i, k, &c, err));
        struct json_writer w;
        buf_puts(text, text->len > 0 ? "\n<tool_call>\n{\"name\": " : "<tool_call>\n{\"name\": ");
        json_writer_init(&w, text);
        json_write_text(&w, c.name, c.name_len);
        buf_puts(text, ", \"arguments\": ");
        json_writer_init(&w, text);
        if (c.args != NULL)
            buf_put(text, c.args, c.args_len);
        else
            json_write_value(&w, c.args_value);
        buf_puts(text, "}\n</tool_call>");
    }
    return buf_status(text);
}

/* --- tools for a template that knows none ----------------------------------------------------- */

static void put_tools(struct buf *text, const json_value *tools)
{
    if (json_len(tools) == 0)
        return;
    if (text->len > 0)
        buf_puts(text, "\n\n");
    buf_puts(text, "These functions can be called:\n<tools>\n");
    for (size_t i = 0; i < json_len(tools); i++) {
        struct json_writer w;
        json_writer_init(&w, text);
        json_write_value(&w, json_at(tools, i));
        buf_putc(text, '\n');
    }
    buf_puts(text, "</tools>\nA call is written as\n<tool_call>\n{\"name\": NAME, \"arguments\": "
                   "OBJECT}\n</tool_call>\nand answered in <tool_response></tool_response>.");
}

static bool is_result(const json_value *message)
{
    const char *role = find_role(message);
    return role != NULL && (strcmp(role, "tool") == 0 || strcmp(role, "function") == 0);
}

/* Results that follow each other are one message: many templates want roles to alternate. */
static int put_results(struct buf *text, const json_value *messages, size_t *i, struct err *err)
{
    for (bool first = true;; first = false) {
        buf_puts(text, first ? "<tool_response>\n" : "\n<tool_response>\n");
        TRY(content_text(json_at(messages, *i), *i, text, err));
        buf_puts(text, "\n</tool_response>");
        if (!is_result(json_at(messages, *i + 1)))
            return buf_status(text);
        ++*i;
    }
}

static void write_plain(struct json_writer *w, const char *role, const struct buf *text)
{
    json_begin_object(w);
    json_key(w, "role");
    json_write_str(w, role);
    json_key(w, "content");
    json_write_text(w, buf_str(text), text->len);
    json_end_object(w);
}

/* --- messages --------------------------------------------------------------------------------- */

/* Content may be missing beside calls. */
static int text_of(const json_value *message, size_t i, struct buf *text, struct err *err)
{
    bool calls = json_len(json_get(message, "tool_calls")) > 0;
    if (calls && json_get(message, "content") == NULL)
        return 0;
    return content_text(message, i, text, err);
}

static int write_members(struct json_writer *w, const json_value *message, size_t i,
                         const struct api_messages_how *how, struct err *err)
{
    static const char *const others[] = { "name", "tool_call_id", "reasoning_content" };
    for (size_t k = 0; k < COUNT_OF(others); k++)
        TRY(write_optional(w, message, i, others[k], err));
    return how->plain_tools ? 0 : write_calls(w, message, i, how, err);
}

/* Writes message *i; with plain tools also the results behind it, *i being the last of them. */
static int write_message(struct json_writer *w, const json_value *messages, size_t *i,
                         const struct api_messages_how *how, struct err *err)
{
    const json_value *message = json_at(messages, *i);
    if (json_kind_of(message) != JSON_OBJECT)
        return wrong(err, E_FORMAT, *i, -1, "", "must be an object with role and content");
    const char *role = find_role(message);
    if (role == NULL)
        return wrong(err, E_RANGE, *i, -1, "role",
                     "must be one of system, developer, user, assistant, tool, function");
    if (json_get(message, "function_call") != NULL)
        return wrong(err, E_UNSUPPORTED, *i, -1, "function_call",
                     "is not supported; use tool_calls");
    TRY(check_calls(message, *i, role, err));
    struct buf text;
    buf_init(&text, SIZE_MAX / 4);
    int rc = 0;
    if (how->plain_tools && is_result(message)) {
        rc = put_results(&text, messages, i, err);
        if (rc == 0)
            write_plain(w, "user", &text);
        buf_fini(&text);
        return rc;
    }
    bool system = strcmp(role, "system") == 0;
    if (how->developer_is_system && strcmp(role, "developer") == 0) {
        role = "system";
        system = true;
    }
    rc = text_of(message, *i, &text, err);
    if (rc == 0 && how->plain_tools)
        rc = put_calls(&text, message, *i, err);
    if (*i == 0 && how->plain_tools && system)
        put_tools(&text, how->tools);
    if (rc == 0) {
        json_begin_object(w);
        json_key(w, "role");
        json_write_str(w, role);
        json_key(w, "content");
        json_write_text(w, buf_str(&text), text.len);
        rc = write_members(w, message, *i, how, err);
        json_end_object(w);
    }
    buf_fini(&text);
    return rc;
}

/* The text that describes the tools, where no system message takes it. */
static void write_tools_first(struct json_writer *w, const json_value *messages,
                              const struct api_messages_how *how)
{
    const json_value *role = json_get(json_at(messages, 0), "role");
    bool system = is_text(role, "system") ||
                  (how->developer_is_system && is_text(role, "developer"));
    if (!how->plain_tools || json_len(how->tools) == 0 || system)
        return;
    struct buf text;
    buf_init(&text, SIZE_MAX / 4);
    put_tools(&text, how->tools);
    write_plain(w, "system", &text);
    buf_fini(&text);
}

bool api_messages_have_calls(const json_value *messages)
{
    for (size_t i = 0; i < json_len(messages); i++)
        if (json_len(json_get(json_at(messages, i), "tool_calls")) > 0)
            return true;
    return false;
}

int api_messages_write(struct json_writer *w, const json_value *messages,
                       const struct api_messages_how *how, struct err *err)
{
    if (json_kind_of(messages) != JSON_ARRAY)
        return err_set_field(err, E_FORMAT, "messages", "messages must be an array of messages");
    size_t n = json_len(messages);
    if (n == 0)
        return err_set_field(err, E_RANGE, "messages", "messages must hold at least one message");
    if (n > API_MESSAGES_MAX)
        return err_set_field(err, E_LIMIT, "messages",
                             "messages holds %zu messages; at most %d are allowed", n,
                             API_MESSAGES_MAX);
    json_begin_array(w);
    write_tools_first(w, messages, how);
    for (size_t i = 0; i < n; i++)
        TRY(write_message(w, messages, &i, how, err));
    json_end_array(w);
    return 0;
}

int api_messages_last_text(const json_value *messages, struct buf *out, struct err *err)
{
    size_t n = json_len(messages);
    ASSERT(n > 0);
    return content_text(json_at(messages, n - 1), n - 1, out, err);
}
