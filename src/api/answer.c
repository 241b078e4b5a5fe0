#include "api/answer.h"

#include <math.h>
#include <string.h>

/* JSON has no minus infinity; this is what the original says instead. */
#define LOGPROB_LEAST (-9999.0)

static void put_str(struct json_writer *w, const char *key, const char *text)
{
    json_key(w, key);
    json_write_str(w, text);
}

static void put_uint(struct json_writer *w, const char *key, uint64_t x)
{
    json_key(w, key);
    json_write_uint(w, x);
}

static void put_logprob(struct json_writer *w, float x)
{
    json_write_double(w, isfinite(x) ? (double)x : LOGPROB_LEAST);
}

static void put_piece(struct json_writer *w, const struct text_tokenizer *t, int32_t id,
                      struct buf *piece)
{
    buf_clear(piece);
    text_piece(t, id, true, piece);
    json_write_text(w, buf_str(piece), piece->len);
}

/* "token", "logprob", "bytes" of one alternative. */
static void put_token(struct json_writer *w, const struct text_tokenizer *t, int32_t id,
                      float logprob, struct buf *piece)
{
    json_key(w, "token");
    put_piece(w, t, id, piece);
    json_key(w, "logprob");
    put_logprob(w, logprob);
    json_key(w, "bytes");
    json_begin_array(w);
    for (size_t i = 0; i < piece->len; i++)
        json_write_uint(w, (unsigned char)piece->data[i]);
    json_end_array(w);
}

static void put_chat_logprobs(struct json_writer *w, const struct api_choice *c, struct buf *piece)
{
    json_begin_object(w);
    json_key(w, "content");
    json_begin_array(w);
    for (uint32_t i = 0; i < c->n_tokens; i++) {
        const struct api_token *t = &c->tokens[i];
        json_begin_object(w);
        put_token(w, c->tokenizer, t->id, t->logprob, piece);
        json_key(w, "top_logprobs");
        json_begin_array(w);
        for (uint32_t k = 0; k < t->n_top; k++) {
            json_begin_object(w);
            const struct engine_top *top = &c->tops[t->top0 + k];
            put_token(w, c->tokenizer, top->id, top->logprob, piece);
            json_end_object(w);
        }
        json_end_array(w);
        json_end_object(w);
    }
    json_end_array(w);
    json_key(w, "refusal");
    json_write_null(w);
    json_end_object(w);
}

/* Alternatives by text; of two tokens that look alike the likelier stays. */
static void put_top_map(struct json_writer *w, const struct api_choice *c,
                        const struct api_token *t, struct buf *piece)
{
    json_begin_object(w);
    struct buf other;
    buf_init(&other, 1u << 16);
    for (uint32_t k = 0; k < t->n_top; k++) {
        buf_clear(piece);
        text_piece(c->tokenizer, c->tops[t->top0 + k].id, true, piece);
        bool seen = false;
        for (uint32_t j = 0; j < k && !seen; j++) {
            buf_clear(&other);
            text_piece(c->tokenizer, c->tops[t->top0 + j].id, true, &other);
            seen = other.len == piece->len &&
                   memcmp(buf_str(&other), buf_str(piece), other.len) == 0;
        }
        if (seen)
            continue;
        json_key(w, buf_str(piece));
        put_logprob(w, c->tops[t->top0 + k].logprob);
    }
    buf_fini(&other);
    json_end_object(w);
}

static void put_text_logprobs(struct json_writer *w, const struct api_choice *c, struct buf *piece)
{
    json_begin_object(w);
    json_key(w, "tokens");
    json_begin_array(w);
    for (uint32_t i = 0; i < c->n_tokens; i++)
        put_piece(w, c->tokenizer, c->tokens[i].id, piece);
    json_end_array(w);
    json_key(w, "token_logprobs");
    json_begin_array(w);
    for (uint32_t i = 0; i < c->n_tokens; i++)
        put_logprob(w, c->tokens[i].logprob);
    json_end_array(w);
    json_key(w, "top_logprobs");
    json_begin_array(w);
    for (uint32_t i = 0; i < c->n_tokens; i++)
        put_top_map(w, c, &c->tokens[i], piece);
    json_end_array(w);
    json_key(w, "text_offset");
    json_begin_array(w);
    for (uint32_t i = 0; i < c->n_tokens; i++)
        json_write_uint(w, c->tokens[i].chars);
    json_end_array(w);
    json_end_object(w);
}

static void put_logprobs(struct json_writer *w, const struct api_head *head,
                         const struct api_choice *c)
{
    json_key(w, "logprobs");
    if (!c->request->logprobs || (head->chunk && c->n_tokens == 0)) {
        json_write_null(w);
        return;
    }
    struct buf piece;
    buf_init(&piece, 1u << 16);
    if (head->dialect == API_CHAT)
        put_chat_logprobs(w, c, &piece);
    else
        put_text_logprobs(w, c, &piece);
    buf_fini(&piece);
}

static void put_message(struct json_writer *w, const struct api_head *head,
                        const struct api_choice *c)
{
    json_key(w, head->chunk ? "delta" : "message");
    json_begin_object(w);
    if (c->first || !head->chunk)
        put_str(w, "role", "assistant");
    if (c->first || !head->chunk || c->finish == NULL) {
        json_key(w, "content");
        json_write_text(w, c->text, c->len);
    }
    if (!head->chunk) {
        json_key(w, "refusal");
        json_write_null(w);
    }
    json_end_object(w);
}

void api_answer_open(struct json_writer *w, const struct api_head *head)
{
    const char *object = head->dialect == API_COMPLETION ? "text_completion"
                         : head->chunk                   ? "chat.completion.chunk"
                                                         : "chat.completion";
    json_begin_object(w);
    put_str(w, "id", head->id);
    put_str(w, "object", object);
    json_key(w, "created");
    json_write_int(w, head->created);
    put_str(w, "model", head->model);
    put_str(w, "system_fingerprint", head->fingerprint);
    json_key(w, "choices");
    json_begin_array(w);
}

void api_answer_choice(struct json_writer *w, const struct api_head *head,
                       const struct api_choice *c)
{
    json_begin_object(w);
    put_uint(w, "index", c->index);
    if (head->dialect == API_CHAT) {
        put_message(w, head, c);
    } else {
        json_key(w, "text");
        json_write_text(w, c->text, c->len);
    }
    put_logprobs(w, head, c);
    json_key(w, "finish_reason");
    if (c->finish != NULL)
        json_write_str(w, c->finish);
    else
        json_write_null(w);
    if (c->request->return_token_ids) {
        json_key(w, "token_ids");
        json_begin_array(w);
        for (uint32_t i = 0; i < c->n_tokens; i++)
            json_write_int(w, c->tokens[i].id);
        json_end_array(w);
    }
    json_end_object(w);
}

static void put_usage(struct json_writer *w, const struct engine_usage *u)
{
    json_begin_object(w);
    put_uint(w, "prompt_tokens", u->prompt_tokens);
    put_uint(w, "completion_tokens", u->completion_tokens);
    put_uint(w, "total_tokens", (uint64_t)u->prompt_tokens + u->completion_tokens);
    json_key(w, "prompt_tokens_details");
    json_begin_object(w);
    put_uint(w, "cached_tokens", u->cached_tokens);
    json_end_object(w);
    json_key(w, "completion_tokens_details");
    json_begin_object(w);
    put_uint(w, "reasoning_tokens", 0);
    json_end_object(w);
    json_end_object(w);
}

static void put_ms(struct json_writer *w, const char *key, uint64_t ns)
{
    json_key(w, key);
    json_write_double(w, (double)ns * 1e-6);
}

static void put_timings(struct json_writer *w, const struct engine_usage *u)
{
    json_begin_object(w);
    put_uint(w, "prompt_tokens", u->prompt_tokens);
    put_uint(w, "cached_tokens", u->cached_tokens);
    put_uint(w, "completion_tokens", u->completion_tokens);
    put_ms(w, "queue_ms", u->queue_ns);
    put_ms(w, "prefill_ms", u->prefill_ns);
    put_ms(w, "decode_ms", u->decode_ns);
    put_uint(w, "preemptions", u->preemptions);
    json_end_object(w);
}

void api_answer_close(struct json_writer *w, enum api_usage_mode mode,
                      const struct engine_usage *usage, bool timings)
{
    json_end_array(w);
    if (mode != API_USAGE_ABSENT)
        json_key(w, "usage");
    if (mode == API_USAGE_NULL)
        json_write_null(w);
    if (mode == API_USAGE_GIVEN)
        put_usage(w, usage);
    if (timings) {
        json_key(w, "timings");
        put_timings(w, usage);
    }
    json_end_object(w);
}
