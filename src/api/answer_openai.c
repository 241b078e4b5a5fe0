/* Chat completions and completions: a chunk is an answer with deltas in it. */
#include "api/answer.h"

#include <math.h>
#include <string.h>

#include "net/sse.h"

/* JSON has no minus infinity; this is what the original says instead. */
#define LOGPROB_LEAST (-9999.0)

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

void api_put_logprobs(struct json_writer *w, const struct api_answer *a, const struct api_choice *c)
{
    struct buf piece;
    buf_init(&piece, 1u << 16);
    json_begin_array(w);
    for (uint32_t i = 0; i < c->n_tokens; i++) {
        const struct api_token *t = &c->tokens[i];
        json_begin_object(w);
        put_token(w, a->tokenizer, t->id, t->logprob, &piece);
        json_key(w, "top_logprobs");
        json_begin_array(w);
        for (uint32_t k = 0; k < t->n_top; k++) {
            json_begin_object(w);
            const struct engine_top *top = &c->tops[t->top0 + k];
            put_token(w, a->tokenizer, top->id, top->logprob, &piece);
            json_end_object(w);
        }
        json_end_array(w);
        json_end_object(w);
    }
    json_end_array(w);
    buf_fini(&piece);
}

static void put_chat_logprobs(struct json_writer *w, const struct api_answer *a,
                              const struct api_choice *c)
{
    json_begin_object(w);
    json_key(w, "content");
    api_put_logprobs(w, a, c);
    api_put_null(w, "refusal");
    json_end_object(w);
}

/* Alternatives by text; of two tokens that look alike the likelier stays. */
static void put_top_map(struct json_writer *w, const struct api_answer *a,
                        const struct api_choice *c, const struct api_token *t, struct buf *piece)
{
    json_begin_object(w);
    struct buf other;
    buf_init(&other, 1u << 16);
    for (uint32_t k = 0; k < t->n_top; k++) {
        buf_clear(piece);
        text_piece(a->tokenizer, c->tops[t->top0 + k].id, true, piece);
        bool seen = false;
        for (uint32_t j = 0; j < k && !seen; j++) {
            buf_clear(&other);
            text_piece(a->tokenizer, c->tops[t->top0 + j].id, true, &other);
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

static void put_text_logprobs(struct json_writer *w, const struct api_answer *a,
                              const struct api_choice *c)
{
    struct buf piece;
    buf_init(&piece, 1u << 16);
    json_begin_object(w);
    json_key(w, "tokens");
    json_begin_array(w);
    for (uint32_t i = 0; i < c->n_tokens; i++)
        put_piece(w, a->tokenizer, c->tokens[i].id, &piece);
    json_end_array(w);
    json_key(w, "token_logprobs");
    json_begin_array(w);
    for (uint32_t i = 0; i < c->n_tokens; i++)
        put_logprob(w, c->tokens[i].logprob);
    json_end_array(w);
    json_key(w, "top_logprobs");
    json_begin_array(w);
    for (uint32_t i = 0; i < c->n_tokens; i++)
        put_top_map(w, a, c, &c->tokens[i], &piece);
    json_end_array(w);
    json_key(w, "text_offset");
    json_begin_array(w);
    for (uint32_t i = 0; i < c->n_tokens; i++)
        json_write_uint(w, c->tokens[i].chars);
    json_end_array(w);
    json_end_object(w);
    buf_fini(&piece);
}

static void put_logprobs(struct json_writer *w, const struct api_answer *a, bool chunk,
                         const struct api_choice *c)
{
    json_key(w, "logprobs");
    if (!a->request->logprobs || (chunk && c->n_tokens == 0))
        json_write_null(w);
    else if (a->dialect == API_CHAT)
        put_chat_logprobs(w, a, c);
    else
        put_text_logprobs(w, a, c);
}

/* chunk: pieces, which say where they belong; the name comes with the first. */
static void put_calls(struct json_writer *w, const struct api_choice *c, bool chunk)
{
    if (c->n_calls == 0)
        return;
    json_key(w, "tool_calls");
    json_begin_array(w);
    for (uint32_t i = 0; i < c->n_calls; i++) {
        const struct api_call_part *part = &c->calls[i];
        json_begin_object(w);
        if (chunk)
            api_put_uint(w, "index", part->index);
        if (part->begins) {
            api_put_str(w, "id", part->id);
            api_put_str(w, "type", "function");
        }
        json_key(w, "function");
        json_begin_object(w);
        if (part->begins)
            api_put_text(w, "name", part->name.data, part->name.len);
        api_put_text(w, "arguments", part->args.data, part->args.len);
        json_end_object(w);
        json_end_object(w);
    }
    json_end_array(w);
}

static void put_message(struct json_writer *w, const struct api_choice *c)
{
    json_key(w, "message");
    json_begin_object(w);
    api_put_str(w, "role", "assistant");
    if (c->n_calls > 0 && c->len == 0)
        api_put_null(w, "content");
    else
        api_put_text(w, "content", c->text, c->len);
    if (c->reasoning_len > 0)
        api_put_text(w, "reasoning_content", c->reasoning, c->reasoning_len);
    put_calls(w, c, false);
    api_put_null(w, "refusal");
    json_end_object(w);
}

static void put_delta(struct json_writer *w, const struct api_choice *c, bool first)
{
    json_key(w, "delta");
    json_begin_object(w);
    if (first)
        api_put_str(w, "role", "assistant");
    if (c->reasoning_len > 0)
        api_put_text(w, "reasoning_content", c->reasoning, c->reasoning_len);
    put_calls(w, c, true);
    bool other = c->finish != NULL || c->reasoning_len > 0 || c->n_calls > 0;
    if (first || c->len > 0 || !other)
        api_put_text(w, "content", c->text, c->len);
    json_end_object(w);
}

static void open_answer(struct json_writer *w, const struct api_answer *a, bool chunk)
{
    const char *object = a->dialect == API_COMPLETION ? "text_completion"
                         : chunk                      ? "chat.completion.chunk"
                                                      : "chat.completion";
    json_begin_object(w);
    api_put_str(w, "id", a->id);
    api_put_str(w, "object", object);
    json_key(w, "created");
    json_write_int(w, a->created);
    api_put_str(w, "model", a->model);
    api_put_str(w, "system_fingerprint", a->fingerprint);
    json_key(w, "choices");
    json_begin_array(w);
}

enum how { WHOLE, FIRST, LATER }; /* FIRST: of a chat stream, the delta that tells the role */

static void put_choice(struct json_writer *w, const struct api_answer *a, enum how how,
                       const struct api_choice *c)
{
    json_begin_object(w);
    api_put_uint(w, "index", c->index);
    if (a->dialect == API_COMPLETION)
        api_put_text(w, "text", c->text, c->len);
    else if (how == WHOLE)
        put_message(w, c);
    else
        put_delta(w, c, how == FIRST);
    put_logprobs(w, a, how != WHOLE, c);
    json_key(w, "finish_reason");
    if (c->finish != NULL)
        json_write_str(w, c->finish);
    else
        json_write_null(w);
    if (a->request->return_token_ids) {
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
    api_put_uint(w, "prompt_tokens", u->prompt_tokens);
    api_put_uint(w, "completion_tokens", u->completion_tokens);
    api_put_uint(w, "total_tokens", (uint64_t)u->prompt_tokens + u->completion_tokens);
    json_key(w, "prompt_tokens_details");
    json_begin_object(w);
    api_put_uint(w, "cached_tokens", u->cached_tokens);
    json_end_object(w);
    json_key(w, "completion_tokens_details");
    json_begin_object(w);
    api_put_uint(w, "reasoning_tokens", 0);
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
    api_put_uint(w, "prompt_tokens", u->prompt_tokens);
    api_put_uint(w, "cached_tokens", u->cached_tokens);
    api_put_uint(w, "completion_tokens", u->completion_tokens);
    put_ms(w, "queue_ms", u->queue_ns);
    put_ms(w, "prefill_ms", u->prefill_ns);
    put_ms(w, "decode_ms", u->decode_ns);
    api_put_uint(w, "preemptions", u->preemptions);
    json_end_object(w);
}

enum usage_mode { USAGE_ABSENT, USAGE_NULL, USAGE_GIVEN };

static void close_answer(struct json_writer *w, enum usage_mode mode, const struct engine_usage *u,
                         bool timings)
{
    json_end_array(w);
    if (mode != USAGE_ABSENT)
        json_key(w, "usage");
    if (mode == USAGE_NULL)
        json_write_null(w);
    if (mode == USAGE_GIVEN)
        put_usage(w, u);
    if (timings) {
        json_key(w, "timings");
        put_timings(w, u);
    }
    json_end_object(w);
}

/* --- streams ---------------------------------------------------------------------------------- */

/* What the stream says of usage in this chunk; the last one (no choice) tells it all. */
static enum usage_mode usage_mode(const struct api_request *r, bool last)
{
    if (r->continuous_usage)
        return USAGE_GIVEN;
    if (!r->include_usage)
        return USAGE_ABSENT;
    return last ? USAGE_GIVEN : USAGE_NULL;
}

static void put_chunk(struct api_answer *a, const struct api_choice *c, enum how how, bool timings,
                      const struct engine_usage *u, struct buf *out)
{
    struct json_writer w;
    buf_clear(&a->line);
    json_writer_init(&w, &a->line);
    open_answer(&w, a, true);
    if (c != NULL)
        put_choice(&w, a, how, c);
    close_answer(&w, usage_mode(a->request, c == NULL), u, timings);
    net_sse_event(out, NULL, buf_str(&a->line), a->line.len);
}

static void begin(struct api_answer *a, const struct api_choice *c, const struct engine_usage *u,
                  struct buf *out)
{
    if (a->dialect == API_CHAT || c->len > 0)
        put_chunk(a, c, FIRST, false, u, out);
}

static void delta(struct api_answer *a, const struct api_choice *c, const struct engine_usage *u,
                  struct buf *out)
{
    put_chunk(a, c, LATER, false, u, out);
}

static void finish(struct api_answer *a, const struct api_choice *c, bool last,
                   const struct engine_usage *u, struct buf *out)
{
    const struct api_request *r = a->request;
    put_chunk(a, c, LATER, r->timings && last && !r->include_usage, u, out);
}

static void end(struct api_answer *a, const struct engine_usage *u, struct buf *out)
{
    if (a->request->include_usage)
        put_chunk(a, NULL, LATER, a->request->timings, u, out);
    net_sse_event(out, NULL, "[DONE]", 6);
}

static void fail(struct api_answer *a, const struct api_error *e, struct buf *out)
{
    buf_clear(&a->line);
    api_error_write(&a->line, e);
    net_sse_event(out, NULL, buf_str(&a->line), a->line.len);
}

static void whole(struct api_answer *a, const struct api_choice *c, uint32_t n,
                  const struct engine_usage *u, struct buf *out)
{
    struct json_writer w;
    json_writer_init(&w, out);
    open_answer(&w, a, false);
    for (uint32_t i = 0; i < n; i++)
        put_choice(&w, a, WHOLE, &c[i]);
    close_answer(&w, USAGE_GIVEN, u, a->request->timings);
}

const struct api_writer api_writer_chat = { "chatcmpl-", begin, delta, finish, end, fail, whole };
const struct api_writer api_writer_completion = { "cmpl-", begin, delta, finish, end, fail,
                                                  whole };
