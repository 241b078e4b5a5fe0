/* POST /tokenize, /detokenize, /apply-template: the text side of the model, without the
 * engine. Both the field names of spec A-45 and llama.cpp's ("content", "add_special") are read. */
#include <string.h>

#include "api/call.h"
#include "base/mem.h"

struct text_request {
    struct engine_str prompt, content;
    const json_value *messages, *tokens;
    bool add_special, parse_special, add_generation_prompt, skip_special;
};

#define AT(member) offsetof(struct text_request, member)

/* add_special differs in its preset: with `content` nothing is added unless asked for. */
static const struct api_field tokenize_rows[] = {
    { "prompt", API_TEXT, AT(prompt), 0, 0, NULL, NULL },
    { "content", API_TEXT, AT(content), 0, 0, NULL, NULL },
    { "messages", API_VALUE, AT(messages), 0, 0, NULL, NULL },
    { "add_special", API_BOOL, AT(add_special), 0, 0, NULL, NULL },
    { "add_special_tokens", API_BOOL, AT(add_special), 0, 0, NULL, NULL },
    { "parse_special", API_BOOL, AT(parse_special), 0, 0, NULL, NULL },
    { "add_generation_prompt", API_BOOL, AT(add_generation_prompt), 0, 0, NULL, NULL },
};

static const struct api_field detokenize_rows[] = {
    { "tokens", API_VALUE, AT(tokens), 0, 0, NULL, NULL },
    { "skip_special_tokens", API_BOOL, AT(skip_special), 0, 0, NULL, NULL },
};

static int tokenize(struct api_call *c, const json_value *v, struct text_ids *ids, struct err *err)
{
    struct text_request r = { .add_special = json_get(v, "content") == NULL,
                              .add_generation_prompt = true };
    struct api_fields fields = { tokenize_rows, COUNT_OF(tokenize_rows) };
    TRY(api_fields_read(&fields, v, "", &r, err));
    if (r.messages != NULL)
        return api_chat_render(c->s->chat, r.messages, r.add_generation_prompt, ids, err);
    struct engine_str text = r.prompt.data != NULL ? r.prompt : r.content;
    if (text.data == NULL)
        return api_field_wrong(err, E_FORMAT, "prompt", "is missing; give prompt or messages");
    unsigned flags = (r.add_special ? TEXT_ADD_SPECIAL : 0) |
                     (r.parse_special ? TEXT_PARSE_SPECIAL : 0);
    int rc = text_encode(c->s->p.tokenizer, text.data, text.len, NULL, flags, ids);
    return rc == 0 ? 0 : err_set_field(err, rc, "prompt", "prompt: %s", err_code_text(rc));
}

static void reply_ids(struct api_call *c, const struct text_ids *ids)
{
    struct buf body;
    struct json_writer w;
    buf_init(&body, SIZE_MAX / 4);
    json_writer_init(&w, &body);
    json_begin_object(&w);
    json_key(&w, "tokens");
    json_begin_array(&w);
    for (uint32_t i = 0; i < ids->n; i++)
        json_write_int(&w, ids->ids[i]);
    json_end_array(&w);
    json_key(&w, "count");
    json_write_uint(&w, ids->n);
    json_key(&w, "max_model_len");
    json_write_uint(&w, c->s->info.n_ctx);
    json_end_object(&w);
    api_call_reply(c, 200, &body);
}

void api_route_tokenize(struct api_call *c)
{
    json_value *v = api_call_json(c);
    if (v == NULL)
        return;
    struct err err = { 0 };
    struct text_ids ids;
    text_ids_init(&ids, UINT32_MAX);
    if (tokenize(c, v, &ids, &err) == 0)
        reply_ids(c, &ids);
    else
        api_call_fail_err(c, &err);
    text_ids_fini(&ids);
    json_free(v);
}

static int detokenize(struct api_call *c, const json_value *v, struct buf *text, struct err *err)
{
    struct text_request r = { .skip_special = false };
    struct api_fields fields = { detokenize_rows, COUNT_OF(detokenize_rows) };
    TRY(api_fields_read(&fields, v, "", &r, err));
    if (json_kind_of(r.tokens) != JSON_ARRAY)
        return api_field_wrong(err, E_FORMAT, "tokens", "must be an array of token ids");
    size_t n = json_len(r.tokens);
    int32_t *ids = mem_alloc(n + 1, sizeof *ids);
    if (ids == NULL)
        return err_set(err, E_NOMEM, "out of memory");
    int rc = api_read_ids(r.tokens, "tokens", text_vocab_size(c->s->p.tokenizer), ids, err);
    if (rc == 0)
        rc = text_decode(c->s->p.tokenizer, ids, (uint32_t)n, !r.skip_special, text);
    mem_free(ids);
    return rc < 0 && err->code == 0 ? err_set(err, rc, "%s", err_code_text(rc)) : rc;
}

/* The text under both names. */
static void reply_text(struct api_call *c, const char *s, size_t len, bool content)
{
    struct buf body;
    struct json_writer w;
    buf_init(&body, SIZE_MAX / 4);
    json_writer_init(&w, &body);
    json_begin_object(&w);
    json_key(&w, "prompt");
    json_write_text(&w, s, len);
    if (content) {
        json_key(&w, "content");
        json_write_text(&w, s, len);
    }
    json_end_object(&w);
    api_call_reply(c, 200, &body);
}

void api_route_detokenize(struct api_call *c)
{
    json_value *v = api_call_json(c);
    if (v == NULL)
        return;
    struct err err = { 0 };
    struct buf text;
    buf_init(&text, SIZE_MAX / 4);
    if (detokenize(c, v, &text, &err) == 0)
        reply_text(c, buf_str(&text), text.len, true);
    else
        api_call_fail_err(c, &err);
    buf_fini(&text);
    json_free(v);
}

static int apply_template(struct api_call *c, const json_value *v, struct text_rendered *out,
                          struct err *err)
{
    struct api_request *r = mem_alloc(1, sizeof *r);
    if (r == NULL)
        return err_set(err, E_NOMEM, "out of memory");
    api_request_init(r, API_CHAT, &c->s->p.sampler);
    int rc = api_request_read_chat(r, v, err);
    if (rc == 0)
        rc = api_tools_read(&r->offered, json_get(v, "tools"), NULL, NULL, err);
    struct api_chat_input in = { .messages = r->messages,
                                 .add_generation_prompt = r->add_generation_prompt,
                                 .continue_final = r->continue_final,
                                 .kwargs = r->kwargs,
                                 .reasoning_effort = r->reasoning_effort,
                                 .tools = r->offered.list };
    if (rc == 0)
        rc = api_chat_text(c->s->chat, &in, out, err);
    mem_free(r);
    return rc;
}

void api_route_apply_template(struct api_call *c)
{
    json_value *v = api_call_json(c);
    if (v == NULL)
        return;
    struct err err = { 0 };
    struct text_rendered text;
    if (apply_template(c, v, &text, &err) == 0) {
        reply_text(c, buf_str(&text.text), text.text.len, false);
        text_rendered_fini(&text);
    } else {
        api_call_fail_err(c, &err);
    }
    json_free(v);
}
