/* api/request.h - a request to generate, from JSON to a typed struct whose every value was checked.
 *
 * Idea: chat completions and completions ask for the same thing in two dialects. Both are read into
 * one struct, from one table of shared rows and one of their own (api/field.h). What Naru cannot do
 * yet is refused by name instead of being overlooked. No engine, no HTTP: a pure function of the
 * text, which is what the fuzzer drives.
 *
 * Rules beyond the tables: stop: a string or up to 4 of at most 64 bytes (L5);
 * max_completion_tokens wins over max_tokens; top_logprobs needs logprobs; what the answer must
 * look like is said by one field only (api/constraint.h), and not together with tools, which
 * Responses does not offer (api/tools.h); top_p 0 means the likeliest token. Completions write at
 * most 16 tokens unless told otherwise, as the original does; chat until the model ends.
 *
 * Dialects: Responses (request_responses.c) and Messages (request_messages.c) are read into the
 * same struct; their conversations are written again in the form of a chat (request_impl.h).
 *
 * Ownership: the request keeps the JSON trees its texts point into, until fini.   Threads: none.
 * Cost: linear. */
#ifndef API_REQUEST_H
#define API_REQUEST_H

#include "api/constraint.h"
#include "api/field.h"
#include "api/tools.h"

#define API_N_MAX 8           /* L5 */
#define API_STOPS_MAX 4       /* L5, A-22 */
#define API_STOP_BYTES_MAX 64 /* L5 */
#define API_SALT_BYTES_MAX 256
#define API_PROMPTS_MAX 64    /* prompts of one completions request */

enum api_dialect { API_CHAT, API_COMPLETION, API_RESPONSES, API_MESSAGES };

/* One prompt of a completions request: text or ids. */
struct api_prompt {
    struct engine_str text;
    const json_value *ids; /* NULL: text */
};

struct api_request {
    enum api_dialect dialect;
    json_value *tree;
    json_value *chat;        /* Responses, Messages: the conversation as a chat body */
    json_value *earlier;     /* Responses: the conversation with what came before */
    bool counts_only;        /* preset by who reads: nothing will be generated */
    struct engine_str model; /* data NULL: not named */

    const json_value *messages;            /* chat */
    bool add_generation_prompt, continue_final;
    const json_value *kwargs;              /* chat_template_kwargs */
    const char *reasoning_effort;          /* one of a fixed list, or NULL */
    struct api_prompt prompts[API_PROMPTS_MAX]; /* completions */
    uint32_t n_prompts;
    bool echo, add_special_tokens;

    uint32_t n;
    double temperature, top_p, min_p, typical_p;
    double repetition_penalty, presence_penalty, frequency_penalty;
    uint32_t top_k;
    bool has_seed;
    int64_t seed;
    uint32_t max_tokens;                   /* 0: up to the context */
    uint32_t min_tokens;
    struct engine_str stops[API_STOPS_MAX];
    uint32_t n_stops;
    struct engine_bias bias[ENGINE_BIAS_MAX];
    uint32_t n_bias;
    int32_t stop_ids[ENGINE_STOP_IDS_MAX];
    uint32_t n_stop_ids;
    bool ignore_eos, include_stop, skip_special_tokens;
    bool logprobs;
    uint32_t n_top;
    struct engine_str salt;
    struct api_constraint constraint;
    struct api_tools offered;              /* tools the model may call */
    json_value *calls;                     /* what it must call: the constraint's JSON */

    bool stream, include_usage, continuous_usage;
    bool return_token_ids, timings;

    bool store;                            /* Responses: the answer may be asked for later */
    struct engine_str previous;            /* Responses: id of the answer this goes on from */
    bool has_instructions;                 /* ... and messages[0] are its instructions */

    /* read by the tables, folded into the values above */
    const json_value *tools, *tool_choice, *parallel_calls;
    uint32_t max_completion_tokens, best_of;
    bool generation_prompt_set;
};

/* Sampling values that hold where the request says nothing. */
void api_request_init(struct api_request *r, enum api_dialect dialect,
                      const struct engine_sampler_params *defaults);
/* Reads a body of len bytes. n_vocab bounds token ids. E_FORMAT, E_RANGE, E_UNSUPPORTED, E_LIMIT
 * with err->field the path of what is at fault ("" for JSON that does not parse), E_NOMEM. */
NODISCARD int api_request_read(struct api_request *r, const char *body, size_t len,
                               uint32_t n_vocab, struct err *err);
void api_request_fini(struct api_request *r);
/* Responses: puts earlier messages (a JSON array) before the request's own, behind its
 * instructions. E_FORMAT, E_NOMEM. */
NODISCARD int api_request_continue(struct api_request *r, const char *messages, size_t len,
                                   struct err *err);

/* Reads an array of token ids; E_FORMAT, E_RANGE naming path[i]. */
NODISCARD int api_read_ids(const json_value *v, const char *path, uint32_t n_vocab, int32_t *out,
                           struct err *err);
/* The rows of a chat that decide how it is rendered, for /tokenize and /apply-template too. */
NODISCARD int api_request_read_chat(struct api_request *r, const json_value *object,
                                    struct err *err);

#endif
