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

static int write_message(struct json_writer *w, const json_value *message, size_t i,
                         bool developer_is_system, struct err *err)
{
    if (json_kind_of(message) != JSON_OBJECT)
        return wrong(err, E_FORMAT, i, -1, "", "must be an object with role and content");
    const char *role = find_role(message);
    if (role == NULL)
        return wrong(err, E_RANGE, i, -1, "role",
                     "must be one of system, developer, user, assistant, tool, function");
    if (json_len(json_get(message, "tool_calls")) > 0)
        return wrong(err, E_UNSUPPORTED, i, -1, "tool_calls", "is not supported yet");
    if (json_get(message, "function_call") != NULL)
        return wrong(err, E_UNSUPPORTED, i, -1, "function_call", "is not supported yet");
    struct buf text;
    buf_init(&text, SIZE_MAX / 4);
    int rc = content_text(message, i, &text, err);
    if (rc == 0) {
        bool rename = developer_is_system && strcmp(role, "developer") == 0;
        json_begin_object(w);
        json_key(w, "role");
        json_write_str(w, rename ? "system" : role);
        json_key(w, "content");
        json_write_text(w, buf_str(&text), text.len);
    }
    buf_fini(&text);
    static const char *const others[] = { "name", "tool_call_id", "reasoning_content" };
    for (size_t k = 0; rc == 0 && k < COUNT_OF(others); k++)
        rc = write_optional(w, message, i, others[k], err);
    json_end_object(w);
    return rc;
}

int api_messages_write(struct json_writer *w, const json_value *messages, bool developer_is_system,
                       struct err *err)
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
    for (size_t i = 0; i < n; i++)
        TRY(write_message(w, json_at(messages, i), i, developer_is_system, err));
    json_end_array(w);
    return 0;
}

int api_messages_last_text(const json_value *messages, struct buf *out, struct err *err)
{
    size_t n = json_len(messages);
    ASSERT(n > 0);
    return content_text(json_at(messages, n - 1), n - 1, out, err);
}
