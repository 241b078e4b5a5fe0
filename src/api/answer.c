#include "api/answer.h"

#include <stdio.h>

#define LINE_BYTES_MAX ((size_t)256 << 20)

void api_put_str(struct json_writer *w, const char *key, const char *text)
{
    json_key(w, key);
    json_write_str(w, text);
}

void api_put_text(struct json_writer *w, const char *key, const char *text, size_t len)
{
    json_key(w, key);
    json_write_text(w, text, len);
}

void api_put_uint(struct json_writer *w, const char *key, uint64_t x)
{
    json_key(w, key);
    json_write_uint(w, x);
}

void api_put_null(struct json_writer *w, const char *key)
{
    json_key(w, key);
    json_write_null(w);
}

void api_choice_parsed(struct api_choice *v, struct api_call_part *part,
                       const struct text_tool_event *ev)
{
    *part = (struct api_call_part){ .index = ev->call, .name = { "", 0 }, .args = { "", 0 } };
    if (ev->kind == TEXT_TOOL_TEXT) {
        v->text = ev->text;
        v->len = ev->len;
        return;
    }
    if (ev->kind == TEXT_TOOL_THOUGHT) {
        v->reasoning = ev->text;
        v->reasoning_len = ev->len;
        return;
    }
    part->begins = ev->kind == TEXT_TOOL_BEGIN;
    *(part->begins ? &part->name : &part->args) = (struct engine_str){ ev->text, ev->len };
    v->calls = part;
    v->n_calls = 1;
}

static const struct api_writer *const writers[] = {
    [API_CHAT] = &api_writer_chat,
    [API_COMPLETION] = &api_writer_completion,
    [API_RESPONSES] = &api_writer_responses,
    [API_MESSAGES] = &api_writer_messages,
};

void api_answer_init(struct api_answer *a, enum api_dialect dialect, uint64_t id)
{
    *a = (struct api_answer){ .writer = writers[dialect], .dialect = dialect };
    snprintf(a->id, sizeof a->id, "%s%016llx", a->writer->id_prefix, (unsigned long long)id);
    buf_init(&a->line, LINE_BYTES_MAX);
    buf_init(&a->text, LINE_BYTES_MAX);
    buf_init(&a->reasoning, LINE_BYTES_MAX);
    buf_init(&a->kept, LINE_BYTES_MAX);
}

void api_answer_fini(struct api_answer *a)
{
    buf_fini(&a->line);
    buf_fini(&a->text);
    buf_fini(&a->reasoning);
    buf_fini(&a->kept);
}
