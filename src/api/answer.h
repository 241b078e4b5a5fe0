/* api/answer.h - the JSON of answers: whole ones and the chunks of a stream.
 *
 * Idea: chat and completions, whole and streamed, differ in few words; one writer knows them all.
 *
 *     api_answer_open   {"id","object","created","model","system_fingerprint","choices":[
 *     api_answer_choice     {"index","message"|"delta"|"text","logprobs","finish_reason"}   0..n
 *     api_answer_close  ],"usage","timings"}
 *
 * Ownership: all borrowed for the call.   Threads: none.   Cost: linear; no tree is built. */
#ifndef API_ANSWER_H
#define API_ANSWER_H

#include "api/request.h"
#include "base/json.h"
#include "engine/engine.h"
#include "text/tokenizer.h"

struct api_head {
    enum api_dialect dialect;
    bool chunk;                 /* of a stream */
    const char *id;
    int64_t created;
    const char *model, *fingerprint;
};

/* A token of an answer, for logprobs and token_ids. */
struct api_token {
    int32_t id;
    float logprob;
    uint32_t start, chars;      /* bytes and characters of the pieces before it */
    uint32_t n_top, top0;       /* alternatives: tops[top0] ... */
};

struct api_choice {
    uint32_t index;
    bool first;                 /* of a chat stream: the delta that tells the role */
    const char *text;
    size_t len;
    const char *finish;         /* NULL: null */
    const struct api_request *request; /* what was asked for: logprobs, ids */
    const struct text_tokenizer *tokenizer;
    const struct api_token *tokens;
    uint32_t n_tokens;
    const struct engine_top *tops;
};

enum api_usage_mode { API_USAGE_ABSENT, API_USAGE_NULL, API_USAGE_GIVEN };

void api_answer_open(struct json_writer *w, const struct api_head *head);
void api_answer_choice(struct json_writer *w, const struct api_head *head,
                       const struct api_choice *c);
/* timings: also say how long it took. */
void api_answer_close(struct json_writer *w, enum api_usage_mode mode,
                      const struct engine_usage *usage, bool timings);

#endif
