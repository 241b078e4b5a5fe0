#include "api/tools.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"

/* --- what is offered -------------------------------------------------------------------------- */

static bool is_word(const json_value *v, const char *word)
{
    size_t len = 0;
    const char *s = json_text(v, &len);
    return s != NULL && len == strlen(word) && memcmp(s, word, len) == 0;
}

static int wrong(struct err *err, int code, size_t i, const char *name, const char *must)
{
    char path[API_PATH_MAX];
    snprintf(path, sizeof path, "tools[%zu]%s%s", i, *name != '\0' ? "." : "", name);
    return api_field_wrong(err, code, path, must);
}

static bool good_name(const char *s, size_t len)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789_-";
    if (len == 0 || len > API_TOOL_NAME_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        if (s[i] == '\0' || strchr(letters, s[i]) == NULL)
            return false;
    return true;
}

static const char *name_of(const json_value *tools, size_t i, size_t *len)
{
    *len = 0;
    return json_text(json_get(json_get(json_at(tools, i), "function"), "name"), len);
}

static int find_tool(const json_value *tools, size_t n, const char *name, size_t len)
{
    for (size_t i = 0; i < n; i++) {
        size_t other_len = 0;
        const char *other = name_of(tools, i, &other_len);
        if (other_len == len && memcmp(other, name, len) == 0)
            return (int)i;
    }
    return -1;
}

static int check_tool(const json_value *tools, size_t i, struct err *err)
{
    const json_value *tool = json_at(tools, i), *type = json_get(tool, "type");
    const json_value *function = json_get(tool, "function");
    const json_value *about = json_get(function, "description");
    const json_value *schema = json_get(function, "parameters");
    if (json_kind_of(tool) != JSON_OBJECT)
        return wrong(err, E_FORMAT, i, "", "must be an object with type and function");
    if (json_kind_of(type) != JSON_STRING)
        return wrong(err, E_FORMAT, i, "type", "must be \"function\"");
    if (!is_word(type, "function"))
        return wrong(err, E_UNSUPPORTED, i, "type",
                     "must be \"function\": no tool runs at this server");
    if (json_kind_of(function) != JSON_OBJECT)
        return wrong(err, E_FORMAT, i, "function", "must be an object with a name");
    size_t len = 0;
    const char *name = name_of(tools, i, &len);
    if (name == NULL || !good_name(name, len))
        return wrong(err, name == NULL ? E_FORMAT : E_RANGE, i, "function.name",
                     "must be 1 to 64 letters, digits, _ or -");
    if (find_tool(tools, i, name, len) >= 0)
        return wrong(err, E_RANGE, i, "function.name", "is the name of an earlier tool");
    if (about != NULL && json_kind_of(about) != JSON_NULL && json_kind_of(about) != JSON_STRING)
        return wrong(err, E_FORMAT, i, "function.description", "must be a string");
    if (schema != NULL && json_kind_of(schema) != JSON_NULL && json_kind_of(schema) != JSON_OBJECT)
        return wrong(err, E_FORMAT, i, "function.parameters", "must be a JSON schema: an object");
    return 0;
}

static int read_choice(struct api_tools *t, const json_value *tools, const json_value *choice,
                       struct err *err)
{
    if (choice == NULL || is_word(choice, "auto"))
        return 0;
    if (json_kind_of(choice) == JSON_STRING && !is_word(choice, "required"))
        return api_field_wrong(err, E_RANGE, "tool_choice",
                               "must be none, auto, required or a function by name");
    if (json_kind_of(choice) != JSON_STRING && json_kind_of(choice) != JSON_OBJECT)
        return api_field_wrong(err, E_FORMAT, "tool_choice", "must be a string or an object");
    if (json_len(tools) == 0)
        return api_field_wrong(err, E_RANGE, "tool_choice",
                               "asks for a call, and no tools are given");
    t->choice = API_TOOL_REQUIRED;
    if (json_kind_of(choice) == JSON_STRING)
        return 0;
    if (!is_word(json_get(choice, "type"), "function"))
        return api_field_wrong(err, E_UNSUPPORTED, "tool_choice.type", "must be \"function\"");
    size_t len = 0;
    const char *name = json_text(json_get(json_get(choice, "function"), "name"), &len);
    if (name == NULL)
        return api_field_wrong(err, E_FORMAT, "tool_choice.function.name", "must be a string");
    int at = find_tool(tools, json_len(tools), name, len);
    if (at < 0)
        return api_field_wrong(err, E_RANGE, "tool_choice.function.name",
                               "must be the name of one of the tools");
    t->choice = API_TOOL_NAMED;
    t->named = (uint32_t)at;
    return 0;
}

int api_tools_read(struct api_tools *t, const json_value *tools, const json_value *choice,
                   const json_value *parallel, struct err *err)
{
    *t = (struct api_tools){ .list = NULL };
    if (tools != NULL && json_kind_of(tools) != JSON_ARRAY)
        return api_field_wrong(err, E_FORMAT, "tools", "must be an array");
    if (parallel != NULL && json_kind_of(parallel) != JSON_BOOL)
        return api_field_wrong(err, E_FORMAT, "parallel_tool_calls", "must be true or false");
    if (is_word(choice, "none"))
        return 0;
    if (json_len(tools) > API_TOOLS_MAX)
        return api_field_wrong(err, E_LIMIT, "tools", "must hold at most 128 tools");
    for (size_t i = 0; i < json_len(tools); i++)
        TRY(check_tool(tools, i, err));
    TRY(read_choice(t, tools, choice, err));
    t->list = json_len(tools) > 0 ? tools : NULL;
    t->one = parallel != NULL && !json_as_bool(parallel);
    return 0;
}

/* --- what must be called ---------------------------------------------------------------------- */

/* The texts before and behind the arguments, as the format has them: before, name, between. */
struct form {
    const char *before, *between, *behind;
};

static const struct form *form_of(enum text_tool_format format)
{
    static const struct form json = { "<tool_call>\n{\"name\": \"", "\", \"arguments\": ",
                                      "}\n</tool_call>" };
    static const struct form llama = { "{\"name\": \"", "\", \"parameters\": ", "}" };
    static const struct form mistral = { "[TOOL_CALLS][{\"name\": \"", "\", \"arguments\": ",
                                         "}]" };
    switch (format) {
    case TEXT_TOOL_JSON: return &json;
    case TEXT_TOOL_LLAMA: return &llama;
    case TEXT_TOOL_MISTRAL: return &mistral;
    default: return NULL;
    }
}

static void put_call(struct json_writer *w, const struct form *f, const json_value *tools,
                     size_t i)
{
    static const char none[] = "{\"type\":\"object\",\"properties\":{},"
                               "\"additionalProperties\":false}";
    const json_value *schema = json_get(json_get(json_at(tools, i), "function"), "parameters");
    size_t len = 0;
    const char *name = name_of(tools, i, &len);
    char begin[128], path[64];
    snprintf(begin, sizeof begin, "%s%.*s%s", f->before, (int)len, name, f->between);
    snprintf(path, sizeof path, "[%zu].function.parameters", i);
    json_begin_object(w);
    json_key(w, "begin");
    json_write_str(w, begin);
    json_key(w, "schema");
    json_value *empty = NULL;
    struct err err;
    if (json_len(schema) == 0 && /* nothing said: no arguments */
        json_parse(&empty, none, sizeof none - 1, &JSON_LIMITS_REQUEST, &err) == 0)
        schema = empty;
    json_write_value(w, schema);
    json_free(empty);
    json_key(w, "end");
    json_write_str(w, f->behind);
    json_key(w, "path");
    json_write_str(w, path);
    json_end_object(w);
}

int api_tools_force(const struct api_tools *t, enum text_tool_format format, json_value **out,
                    struct err *err)
{
    const struct form *f = form_of(format);
    if (f == NULL)
        return err_set_field(err, E_UNSUPPORTED, "tool_choice",
                             "tool_choice other than auto or none is not supported for models that "
                             "write calls in the form %s", text_tool_format_name(format));
    struct buf text;
    struct json_writer w;
    buf_init(&text, SIZE_MAX / 4);
    json_writer_init(&w, &text);
    json_begin_array(&w);
    for (size_t i = 0; i < json_len(t->list); i++)
        if (t->choice != API_TOOL_NAMED || i == t->named)
            put_call(&w, f, t->list, i);
    json_end_array(&w);
    int rc = buf_status(&text);
    if (rc < 0)
        (void)err_set(err, rc, "out of memory");
    else
        rc = json_parse(out, buf_str(&text), text.len, &JSON_LIMITS_FILE, err);
    buf_fini(&text);
    return rc;
}

/* --- calls of a whole answer ------------------------------------------------------------------ */

void api_call_list_init(struct api_call_list *l, size_t max)
{
    *l = (struct api_call_list){ .n = 0 };
    buf_init(&l->text, max);
}

void api_call_list_fini(struct api_call_list *l)
{
    buf_fini(&l->text);
    mem_free(l->parts);
    l->parts = NULL;
}

int api_call_list_add(struct api_call_list *l, const struct api_call_part *part)
{
    if (part->begins && l->n == l->cap) {
        uint32_t cap = (uint32_t)num_max(4, (size_t)l->cap * 2);
        void *more = mem_realloc(l->parts, cap, sizeof *l->parts);
        if (more == NULL)
            return E_NOMEM;
        l->parts = more;
        l->cap = cap;
    }
    if (part->begins) {
        l->parts[l->n++] = *part;
        buf_put(&l->text, part->name.data, part->name.len);
    } else {
        ASSERT(l->n > 0);
        l->parts[l->n - 1].args.len += part->args.len;
        buf_put(&l->text, part->args.data, part->args.len);
    }
    return buf_status(&l->text);
}

void api_call_list_finish(struct api_call_list *l)
{
    const char *at = buf_str(&l->text);
    for (uint32_t i = 0; i < l->n; i++) {
        l->parts[i].name.data = at;
        at += l->parts[i].name.len;
        l->parts[i].args.data = at;
        at += l->parts[i].args.len;
    }
}
