/* The variables are written as JSON text and parsed again: one copy of the conversation more, and
 * in return the template interpreter has a single kind of input. Names and meanings of the
 * variables are those of Hugging Face's apply_chat_template; tools and documents are null, not
 * undefined, because templates test them with "is not none". */
#include "api/chat.h"

#include <string.h>

#include "api/messages.h"
#include "base/mem.h"
#include "base/num.h"

static const char PLAIN_TEMPLATE[] =
    "{%- for m in messages -%}"
    "{%- if m.role == 'user' -%}User: {{ m.content }}{{ '\\n' }}"
    "{%- elif m.role == 'assistant' -%}Assistant: {{ m.content }}{{ '\\n' }}"
    "{%- else -%}{{ m.content }}{{ '\\n\\n' }}"
    "{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}Assistant:{%- endif -%}";
static const char PLAIN_STOP[] = "\nUser:";
#define CLOSING_MAX 256 /* bytes a template may write behind the last message's content */

/* Variables whose text is the model's, not a stranger's. */
static const char *const TRUSTED[] = { "bos_token", "eos_token", "unk_token", NULL };

struct api_chat {
    const struct text_tokenizer *tokenizer;
    const struct clock *clock;
    struct text_template *template;
    bool own;                 /* the model's own template */
    bool developer_is_system, knows_tools, args_as_text, thinks;
    enum text_tool_format format;
};

static bool has(const char *source, size_t len, const char *text)
{
    return memmem(source, len, text, strlen(text)) != NULL;
}

/* What a template knows of tools and thoughts is told by the words in it. */
static void look_at(struct api_chat *c, const char *source, size_t len)
{
    c->developer_is_system = !has(source, len, "developer");
    c->knows_tools = has(source, len, "tools");
    c->format = text_tool_format_of(source, len);
    if (!c->knows_tools || c->format == TEXT_TOOL_NONE)
        c->format = TEXT_TOOL_JSON;
    bool raw = c->format == TEXT_TOOL_DEEPSEEK || c->format == TEXT_TOOL_KIMI;
    c->args_as_text = has(source, len, "arguments is string") ||
                      (raw && !has(source, len, "arguments'] | tojson") &&
                       !has(source, len, "arguments']|tojson"));
    c->thinks = c->format == TEXT_TOOL_HARMONY || has(source, len, "</think>") ||
                has(source, len, "<think>");
}

int api_chat_create(struct api_chat **out, const struct text_tokenizer *tokenizer,
                    const char *source, size_t len, const struct clock *clock, struct err *err)
{
    struct api_chat *c = mem_alloc(1, sizeof *c);
    if (c == NULL)
        return err_set(err, E_NOMEM, "out of memory");
    c->tokenizer = tokenizer;
    c->clock = clock;
    c->own = source != NULL && len > 0;
    if (!c->own) {
        source = PLAIN_TEMPLATE;
        len = sizeof PLAIN_TEMPLATE - 1;
    }
    look_at(c, source, len);
    int rc = text_template_compile(&c->template, source, len, &TEXT_TEMPLATE_LIMITS, err);
    if (rc < 0) {
        mem_free(c);
        return rc;
    }
    *out = c;
    return 0;
}

void api_chat_destroy(struct api_chat *c)
{
    if (c == NULL)
        return;
    text_template_destroy(c->template);
    mem_free(c);
}

const char *api_chat_stop(const struct api_chat *c) { return c->own ? NULL : PLAIN_STOP; }
bool api_chat_has_template(const struct api_chat *c) { return c->own; }
enum text_tool_format api_chat_tools(const struct api_chat *c) { return c->format; }
bool api_chat_thinks(const struct api_chat *c) { return c->thinks; }

void api_chat_set_tools(struct api_chat *c, enum text_tool_format format)
{
    c->format = format;
    c->thinks = c->thinks || format == TEXT_TOOL_HARMONY;
}

bool api_chat_in_thought(const struct text_rendered *prompt)
{
    static const char mark[] = "<think>";
    const char *s = buf_str(&prompt->text);
    size_t len = prompt->text.len, n = sizeof mark - 1;
    while (len > 0 && (s[len - 1] == ' ' || s[len - 1] == '\n'))
        len--;
    return len >= n && memcmp(s + len - n, mark, n) == 0;
}

static void write_token(struct json_writer *w, const struct text_tokenizer *t, const char *name,
                        int32_t id)
{
    if (id == TEXT_TOKEN_NONE)
        return;
    struct text_str s = text_token_stored(t, id);
    json_key(w, name);
    json_write_text(w, s.data, s.len);
}

static int write_kwarg(void *ctx, const char *key, json_value *member)
{
    struct json_writer *w = ctx;
    json_key(w, key);
    json_write_value(w, member);
    return 0;
}

static int write_vars(const struct api_chat *c, const struct api_chat_input *in, struct buf *out,
                      struct err *err)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_begin_object(&w);
    json_key(&w, "messages");
    struct api_messages_how how = { .developer_is_system = c->developer_is_system,
                                    .args_as_text = c->args_as_text,
                                    .tools = in->tools };
    how.plain_tools = !c->knows_tools &&
                      (in->tools != NULL || api_messages_have_calls(in->messages));
    TRY(api_messages_write(&w, in->messages, &how, err));
    json_key(&w, "add_generation_prompt");
    json_write_bool(&w, in->add_generation_prompt);
    json_key(&w, "tools");
    if (in->tools != NULL && c->knows_tools)
        json_write_value(&w, in->tools);
    else
        json_write_null(&w);
    json_key(&w, "documents");
    json_write_null(&w);
    write_token(&w, c->tokenizer, "bos_token", text_bos(c->tokenizer));
    write_token(&w, c->tokenizer, "eos_token", text_eos(c->tokenizer));
    /* A caller's own value of the same name comes from kwargs: not written twice. */
    if (in->reasoning_effort != NULL && !json_has(in->kwargs, "reasoning_effort")) {
        json_key(&w, "reasoning_effort");
        json_write_str(&w, in->reasoning_effort);
    }
    TRY(json_each(in->kwargs, write_kwarg, &w));
    json_end_object(&w);
    return buf_status(out);
}

/* Cuts the text behind the last message's content, so that the model continues it. */
static int cut_behind_last(const struct api_chat_input *in, struct text_rendered *r,
                           struct err *err)
{
    struct buf last;
    buf_init(&last, SIZE_MAX / 4);
    int rc = api_messages_last_text(in->messages, &last, err);
    size_t len = last.len;
    const char *s = buf_str(&last);
    while (len > 0 && (s[len - 1] == ' ' || s[len - 1] == '\n')) /* templates trim */
        len--;
    size_t end = 0;
    size_t lowest = num_max(len, r->text.len > CLOSING_MAX ? r->text.len - CLOSING_MAX : 0);
    for (size_t at = r->text.len; rc == 0 && len > 0 && end == 0 && at >= lowest; at--)
        if (memcmp(r->text.data + at - len, s, len) == 0)
            end = at;
    if (rc == 0 && end == 0)
        rc = err_set_field(err, E_FORMAT, "continue_final_message",
                           "continue_final_message: the template does not write the last message "
                           "as it stands, or it is empty; send it without this field");
    if (rc == 0) {
        r->text.len = end;
        r->text.data[end] = '\0';
        r->origin.len = end;
    }
    buf_fini(&last);
    return rc;
}

static int render_vars(const struct api_chat *c, const struct buf *vars, struct text_rendered *out,
                       struct err *err)
{
    json_value *v = NULL;
    TRY(json_parse(&v, buf_str(vars), vars->len, &JSON_LIMITS_FILE, err));
    int64_t now = clock_wall_s(c->clock);
    int rc = text_template_render(c->template, v, TRUSTED, now, out, err);
    json_free(v);
    if (rc < 0 && err != NULL) /* what a template refuses is what the messages say */
        memcpy(err->field, "messages", sizeof "messages");
    return rc;
}

int api_chat_text(const struct api_chat *c, const struct api_chat_input *in,
                  struct text_rendered *out, struct err *err)
{
    struct buf vars;
    buf_init(&vars, SIZE_MAX / 4);
    struct text_rendered r;
    int rc = write_vars(c, in, &vars, err);
    if (rc == 0)
        rc = render_vars(c, &vars, &r, err);
    buf_fini(&vars);
    if (rc < 0)
        return rc;
    if (in->continue_final)
        rc = cut_behind_last(in, &r, err);
    if (rc < 0) {
        text_rendered_fini(&r);
        return rc;
    }
    *out = r;
    return 0;
}

int api_chat_encode(const struct api_chat *c, const struct text_rendered *text,
                    struct text_ids *out, struct err *err)
{
    /* Many templates write the token that begins every text themselves; where the model wants one
     * and the template does not, it is put in front, and never twice. */
    int32_t first = text_first_token(c->tokenizer);
    uint32_t start = out->n;
    int rc = first != TEXT_TOKEN_NONE ? text_ids_put(out, first) : 0;
    if (rc == 0)
        rc = text_encode(c->tokenizer, buf_str(&text->text), text->text.len,
                         (const uint8_t *)buf_str(&text->origin),
                         c->own ? TEXT_PARSE_SPECIAL : 0, out);
    if (rc < 0)
        return err_set_field(err, rc, "messages", "messages: %s", err_code_text(rc));
    if (first != TEXT_TOKEN_NONE && out->n > start + 1 && out->ids[start + 1] == first) {
        out->n--;
        memmove(out->ids + start, out->ids + start + 1, (out->n - start) * sizeof *out->ids);
    }
    return 0;
}

int api_chat_render(const struct api_chat *c, const json_value *messages,
                    bool add_generation_prompt, struct text_ids *out, struct err *err)
{
    struct api_chat_input in = { .messages = messages,
                                 .add_generation_prompt = add_generation_prompt };
    struct text_rendered r;
    TRY(api_chat_text(c, &in, &r, err));
    int rc = api_chat_encode(c, &r, out, err);
    text_rendered_fini(&r);
    return rc;
}
