/* api/answer.h - what clients read: whole answers and streams, one writer a dialect.
 *
 * Idea: the job knows texts, tokens and ends; a writer knows how a dialect says them. Chat and
 * completions differ in few words and share one file; Responses and Messages have events with
 * names, which open and close items: they keep some state in the answer.
 *
 *     stream   begin (each choice)  delta*  finish (each choice)  end | fail, nothing after it
 *     whole    whole
 *
 *     API_CHAT, API_COMPLETION   answer_openai.c    
 *     API_RESPONSES              answer_responses.c  A-43
 *     API_MESSAGES               answer_messages.c   A-44
 *
 * Invariants: after fail nothing is written.
 * Ownership: the answer owns its buffers; the rest is borrowed.   Threads: none.
 * Cost: linear; no tree is built. */
#ifndef API_ANSWER_H
#define API_ANSWER_H

#include "api/error.h"
#include "api/request.h"
#include "base/json.h"
#include "engine/engine.h"
#include "text/tokenizer.h"

/* A token of an answer, for logprobs and token_ids. */
struct api_token {
    int32_t id;
    float logprob;
    uint32_t start, chars;      /* bytes and characters of the pieces before it */
    uint32_t n_top, top0;       /* alternatives: tops[top0] ... */
};

/* A choice, or the piece of it that has come. */
struct api_choice {
    uint32_t index;
    const char *text;
    size_t len;
    const char *reasoning;      /* before the answer itself; len 0: none */
    size_t reasoning_len;
    const struct api_call_part *calls; /* of chat and messages */
    uint32_t n_calls;
    const char *finish;         /* "stop", "length", "tool_calls"; NULL: not yet */
    struct engine_str stop;     /* the client's stop string that ended it; data NULL: none */
    const struct api_token *tokens;
    uint32_t n_tokens;
    const struct engine_top *tops;
};

/* Fills a choice with what the parser made out (not of an END); part: of a call, its id left to
 * the caller; both borrow from ev. */
void api_choice_parsed(struct api_choice *v, struct api_call_part *part,
                       const struct text_tool_event *ev);

struct api_answer;
struct api_writer {
    const char *id_prefix;      /* "chatcmpl-" */
    void (*begin)(struct api_answer *a, const struct api_choice *c, const struct engine_usage *u,
                  struct buf *out);
    void (*delta)(struct api_answer *a, const struct api_choice *c, const struct engine_usage *u,
                  struct buf *out);
    /* last: no choice is left. */
    void (*finish)(struct api_answer *a, const struct api_choice *c, bool last,
                   const struct engine_usage *u, struct buf *out);
    void (*end)(struct api_answer *a, const struct engine_usage *u, struct buf *out);
    void (*fail)(struct api_answer *a, const struct api_error *e, struct buf *out);
    void (*whole)(struct api_answer *a, const struct api_choice *c, uint32_t n,
                  const struct engine_usage *u, struct buf *out);
};

struct api_answer {
    const struct api_writer *writer;
    enum api_dialect dialect;
    char id[40];
    int64_t created;
    const char *model, *fingerprint;
    const char *request_id;     /* for errors that name it; NULL: none */
    const struct api_request *request;
    const struct text_tokenizer *tokenizer;

    /* the writer's own */
    struct buf line;            /* JSON of one event */
    struct buf text, reasoning; /* so far, where the end repeats it */
    struct buf kept;            /* Responses: the finished object, for a store */
    const char *finish;
    struct engine_str stop;
    uint64_t sequence;          /* events so far */
    uint32_t block;             /* blocks or items begun */
    enum { API_OPEN_NONE, API_OPEN_TEXT, API_OPEN_REASONING, API_OPEN_CALL } open;
};

/* id: a number that becomes the answer's id. */
void api_answer_init(struct api_answer *a, enum api_dialect dialect, uint64_t id);
void api_answer_fini(struct api_answer *a);

/* --- for the writers' files --- */

extern const struct api_writer api_writer_chat, api_writer_completion, api_writer_responses,
    api_writer_messages;

void api_put_str(struct json_writer *w, const char *key, const char *text);
void api_put_text(struct json_writer *w, const char *key, const char *text, size_t len);
void api_put_uint(struct json_writer *w, const char *key, uint64_t x);
void api_put_null(struct json_writer *w, const char *key);
/* The array of chat log probabilities, as value of a key that was written. */
void api_put_logprobs(struct json_writer *w, const struct api_answer *a,
                      const struct api_choice *c);

#endif
