/* Table rows that need more than a range have a parse function; what concerns two members is
 * checked at the end (finish_*). Defaults are preset, so that an absent member costs nothing. */
#include "api/request_impl.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKENS_MAX API_TOKENS_MAX
#define COMPLETION_TOKENS 16
#define TOP_P_LEAST 1e-6

bool api_is_word(const json_value *v, const char *word)
{
    size_t len = 0;
    const char *s = json_text(v, &len);
    return s != NULL && strlen(word) == len && memcmp(s, word, len) == 0;
}

/* --- rows with a rule of their own ------------------------------------------------------------ */

static int add_stop(struct api_request *r, const json_value *v, const char *path, struct err *err)
{
    size_t len = 0;
    const char *s = json_text(v, &len);
    if (s == NULL)
        return api_field_wrong(err, E_FORMAT, path, "must be a string or an array of strings");
    if (len == 0 || len > API_STOP_BYTES_MAX)
        return api_field_wrong(err, E_RANGE, path, "must have 1 to 64 bytes");
    r->stops[r->n_stops++] = (struct engine_str){ s, len };
    return 0;
}

int api_parse_stop(void *target, const json_value *v, const char *path, struct err *err)
{
    struct api_request *r = target;
    if (json_kind_of(v) != JSON_ARRAY)
        return add_stop(r, v, path, err);
    if (json_len(v) > API_STOPS_MAX)
        return api_field_wrong(err, E_RANGE, path, "must hold at most 4 strings");
    for (size_t i = 0; i < json_len(v); i++) {
        char item[API_PATH_MAX];
        snprintf(item, sizeof item, "%s[%zu]", path, i);
        TRY(add_stop(r, json_at(v, i), item, err));
    }
    return 0;
}

/* Also -1 means off, as in other servers. */
int api_parse_top_k(void *target, const json_value *v, const char *path, struct err *err)
{
    struct api_request *r = target;
    double k = json_as_double(v);
    if (json_kind_of(v) != JSON_INT)
        return api_field_wrong(err, E_FORMAT, path, "must be an integer, -1 or 0 for all tokens");
    if (!(k >= -1 && k <= TOKENS_MAX))
        return api_field_wrong(err, E_RANGE, path, "must be -1 or 0 for all tokens, or above");
    r->top_k = k > 0 ? (uint32_t)k : 0;
    return 0;
}

int api_parse_seed(void *target, const json_value *v, const char *path, struct err *err)
{
    struct api_request *r = target;
    if (json_kind_of(v) != JSON_INT)
        return api_field_wrong(err, E_FORMAT, path, "must be an integer of 64 bits");
    r->seed = json_as_int(v);
    r->has_seed = true;
    return 0;
}

struct bias_reader {
    struct api_request *r;
    const char *path;
    struct err *err;
};

static int add_bias(void *ctx, const char *key, json_value *member)
{
    struct bias_reader *b = ctx;
    struct err name;
    err_set(&name, 0, "%s.%.32s", b->path, key);
    char *end;
    errno = 0;
    long id = strtol(key, &end, 10);
    if (*key < '0' || *key > '9' || *end != '\0' || errno != 0 || id > INT32_MAX)
        return api_field_wrong(b->err, E_FORMAT, name.text, "must be named by a token id");
    enum json_kind kind = json_kind_of(member);
    if (kind != JSON_INT && kind != JSON_DOUBLE)
        return api_field_wrong(b->err, E_FORMAT, name.text, "must be a number from -100 to 100");
    double x = json_as_double(member);
    if (!(x >= -100 && x <= 100))
        return api_field_wrong(b->err, E_RANGE, name.text, "must be a number from -100 to 100");
    b->r->bias[b->r->n_bias++] = (struct engine_bias){ .id = (int32_t)id, .bias = (float)x };
    return 0;
}

static int parse_bias(void *target, const json_value *v, const char *path, struct err *err)
{
    struct bias_reader b = { .r = target, .path = path, .err = err };
    if (json_kind_of(v) != JSON_OBJECT)
        return api_field_wrong(err, E_FORMAT, path, "must be an object of token id to number");
    if (json_len(v) > ENGINE_BIAS_MAX)
        return api_field_wrong(err, E_LIMIT, path, "must hold at most 1024 tokens");
    return json_each(v, add_bias, &b);
}

static int read_id(const json_value *v, const char *path, size_t i, int32_t *out, struct err *err)
{
    char item[API_PATH_MAX];
    int64_t id = json_as_int(v);
    if (json_kind_of(v) == JSON_INT && id >= 0 && id <= INT32_MAX) {
        *out = (int32_t)id;
        return 0;
    }
    snprintf(item, sizeof item, "%s[%zu]", path, i);
    return api_field_wrong(err, json_kind_of(v) == JSON_INT ? E_RANGE : E_FORMAT, item,
                           "must be a token id");
}

static int parse_stop_ids(void *target, const json_value *v, const char *path, struct err *err)
{
    struct api_request *r = target;
    if (json_kind_of(v) != JSON_ARRAY)
        return api_field_wrong(err, E_FORMAT, path, "must be an array of token ids");
    if (json_len(v) > ENGINE_STOP_IDS_MAX)
        return api_field_wrong(err, E_LIMIT, path, "must hold at most 64 token ids");
    for (r->n_stop_ids = 0; r->n_stop_ids < json_len(v); r->n_stop_ids++)
        TRY(read_id(json_at(v, r->n_stop_ids), path, r->n_stop_ids, &r->stop_ids[r->n_stop_ids],
                    err));
    return 0;
}

static int parse_response_format(void *target, const json_value *v, const char *path,
                                 struct err *err)
{
    struct api_request *r = target;
    return api_parse_response_format(&r->constraint, v, path, err);
}

static int parse_constraint(void *target, const json_value *v, const char *path, struct err *err)
{
    struct api_request *r = target;
    return api_parse_constraint(&r->constraint, v, path, err);
}

static int parse_modalities(UNUSED void *target, const json_value *v, const char *path,
                            struct err *err)
{
    for (size_t i = 0; i < json_len(v); i++)
        if (!api_is_word(json_at(v, i), "text"))
            return api_field_wrong(err, E_UNSUPPORTED, path, "may hold \"text\" only");
    return json_kind_of(v) == JSON_ARRAY
               ? 0
               : api_field_wrong(err, E_FORMAT, path, "must be an array of strings");
}

static int parse_effort(void *target, const json_value *v, const char *path, struct err *err)
{
    static const char *const words[] = { "none", "minimal", "low", "medium", "high", "xhigh" };
    struct api_request *r = target;
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (api_is_word(v, words[i])) {
            r->reasoning_effort = words[i];
            return 0;
        }
    return api_field_wrong(err, json_kind_of(v) == JSON_STRING ? E_RANGE : E_FORMAT, path,
                           "must be none, minimal, low, medium, high or xhigh");
}

/* Keys a request may hand to the template: what templates of published models read. */
static int check_kwarg(void *ctx, const char *key, json_value *member)
{
    static const char *const allowed[] = { "enable_thinking", "thinking", "reasoning_effort",
                                           "thinking_budget", "date_string" };
    const struct bias_reader *b = ctx;
    struct err name;
    err_set(&name, 0, "%s.%.48s", b->path, key);
    enum json_kind kind = json_kind_of(member);
    if (kind == JSON_ARRAY || kind == JSON_OBJECT)
        return api_field_wrong(b->err, E_FORMAT, name.text, "must be a single value");
    for (size_t i = 0; i < COUNT_OF(allowed); i++)
        if (strcmp(key, allowed[i]) == 0)
            return 0;
    return api_field_wrong(b->err, E_UNSUPPORTED, name.text, "is not one a request may set");
}

static int parse_kwargs(void *target, const json_value *v, const char *path, struct err *err)
{
    struct api_request *r = target;
    struct bias_reader b = { .r = r, .path = path, .err = err };
    if (json_kind_of(v) != JSON_OBJECT)
        return api_field_wrong(err, E_FORMAT, path, "must be an object");
    r->kwargs = v;
    return json_each(v, check_kwarg, &b);
}

static int parse_generation_prompt(void *target, const json_value *v, const char *path,
                                   struct err *err)
{
    struct api_request *r = target;
    if (json_kind_of(v) != JSON_BOOL)
        return api_field_wrong(err, E_FORMAT, path, "must be true or false");
    r->add_generation_prompt = json_as_bool(v);
    r->generation_prompt_set = true;
    return 0;
}

static int parse_stream_options(void *target, const json_value *v, const char *path,
                                struct err *err)
{
    static const struct api_field rows[] = {
        { "include_usage", API_BOOL, offsetof(struct api_request, include_usage), 0, 0, NULL,
          NULL },
        { "continuous_usage_stats", API_BOOL, offsetof(struct api_request, continuous_usage), 0, 0,
          NULL, NULL },
    };
    static const struct api_fields fields = { rows, COUNT_OF(rows) };
    if (json_kind_of(v) != JSON_OBJECT)
        return api_field_wrong(err, E_FORMAT, path, "must be an object");
    return api_fields_read(&fields, v, "stream_options.", target, err);
}

/* logprobs of chat is a switch, of completions a number. */
static int parse_logprobs(void *target, const json_value *v, const char *path, struct err *err)
{
    struct api_request *r = target;
    if (r->dialect == API_CHAT) {
        if (json_kind_of(v) != JSON_BOOL)
            return api_field_wrong(err, E_FORMAT, path, "must be true or false");
        r->logprobs = json_as_bool(v);
        return 0;
    }
    if (json_kind_of(v) != JSON_INT)
        return api_field_wrong(err, E_FORMAT, path, "must be an integer from 0 to 20");
    if (json_as_int(v) < 0 || json_as_int(v) > ENGINE_TOP_MAX)
        return api_field_wrong(err, E_RANGE, path, "must be an integer from 0 to 20");
    r->logprobs = true;
    r->n_top = (uint32_t)json_as_int(v);
    return 0;
}

static int add_prompt(struct api_request *r, const json_value *v, const char *path,
                      struct err *err)
{
    struct api_prompt *p = &r->prompts[r->n_prompts];
    size_t len = 0;
    const char *s = json_text(v, &len);
    if (s == NULL && json_kind_of(v) != JSON_ARRAY)
        return api_field_wrong(err, E_FORMAT, path,
                               "must be a string, an array of strings or of token ids");
    *p = (struct api_prompt){ .text = { s, len }, .ids = s == NULL ? v : NULL };
    if (s == NULL && json_len(v) == 0)
        return api_field_wrong(err, E_RANGE, path, "must hold at least one token id");
    r->n_prompts++;
    return 0;
}

static int parse_prompt(void *target, const json_value *v, const char *path, struct err *err)
{
    struct api_request *r = target;
    bool many = json_kind_of(v) == JSON_ARRAY && json_len(v) > 0 &&
                json_kind_of(json_at(v, 0)) != JSON_INT;
    if (!many)
        return add_prompt(r, v, path, err);
    if (json_len(v) > API_PROMPTS_MAX)
        return api_field_wrong(err, E_LIMIT, path, "must hold at most 64 prompts");
    for (size_t i = 0; i < json_len(v); i++) {
        char item[API_PATH_MAX];
        snprintf(item, sizeof item, "%s[%zu]", path, i);
        TRY(add_prompt(r, json_at(v, i), item, err));
    }
    return 0;
}

/* --- the tables ------------------------------------------------------------------------------- */

#define AT(member) offsetof(struct api_request, member)
static const char LATER[] = "is not supported yet";
static const char NEVER[] = "is not something this model can do";

static const struct api_field shared_rows[] = {
    { "model", API_TEXT, AT(model), 1, 256, NULL, NULL },
    { "n", API_U32, AT(n), 1, API_N_MAX, NULL, NULL },
    { "temperature", API_NUMBER, AT(temperature), 0, 2, NULL, NULL },
    { "top_p", API_NUMBER, AT(top_p), 0, 1, NULL, NULL },
    { "min_p", API_NUMBER, AT(min_p), 0, 1, NULL, NULL },
    { "typical_p", API_NUMBER, AT(typical_p), TOP_P_LEAST, 1, NULL, NULL },
    { "top_k", API_CUSTOM, 0, 0, 0, api_parse_top_k, NULL },
    { "repetition_penalty", API_NUMBER, AT(repetition_penalty), 1e-3, 100, NULL, NULL },
    { "presence_penalty", API_NUMBER, AT(presence_penalty), -2, 2, NULL, NULL },
    { "frequency_penalty", API_NUMBER, AT(frequency_penalty), -2, 2, NULL, NULL },
    { "logit_bias", API_CUSTOM, 0, 0, 0, parse_bias, NULL },
    { "seed", API_CUSTOM, 0, 0, 0, api_parse_seed, NULL },
    { "max_tokens", API_U32, AT(max_tokens), 1, TOKENS_MAX, NULL, NULL },
    { "min_tokens", API_U32, AT(min_tokens), 0, TOKENS_MAX, NULL, NULL },
    { "stop", API_CUSTOM, 0, 0, 0, api_parse_stop, NULL },
    { "stop_token_ids", API_CUSTOM, 0, 0, 0, parse_stop_ids, NULL },
    { "ignore_eos", API_BOOL, AT(ignore_eos), 0, 0, NULL, NULL },
    { "include_stop_str_in_output", API_BOOL, AT(include_stop), 0, 0, NULL, NULL },
    { "skip_special_tokens", API_BOOL, AT(skip_special_tokens), 0, 0, NULL, NULL },
    { "logprobs", API_CUSTOM, 0, 0, 0, parse_logprobs, NULL },
    { "stream", API_BOOL, AT(stream), 0, 0, NULL, NULL },
    { "stream_options", API_CUSTOM, 0, 0, 0, parse_stream_options, NULL },
    { "return_token_ids", API_BOOL, AT(return_token_ids), 0, 0, NULL, NULL },
    { "timings", API_BOOL, AT(timings), 0, 0, NULL, NULL },
    { "cache_salt", API_TEXT, AT(salt), 0, API_SALT_BYTES_MAX, NULL, NULL },
    { "priority", API_REFUSED, 0, 0, 0, NULL, LATER },
    { "guided_json", API_CUSTOM, 0, 0, 0, parse_constraint, NULL },
    { "guided_regex", API_CUSTOM, 0, 0, 0, parse_constraint, NULL },
    { "guided_choice", API_CUSTOM, 0, 0, 0, parse_constraint, NULL },
    { "guided_grammar", API_CUSTOM, 0, 0, 0, parse_constraint, NULL },
    { "structured_outputs", API_CUSTOM, 0, 0, 0, parse_constraint, NULL },
    { "grammar", API_CUSTOM, 0, 0, 0, parse_constraint, NULL },
    { "json_schema", API_CUSTOM, 0, 0, 0, parse_constraint, NULL },
    { "guided_whitespace_pattern", API_REFUSED, 0, 0, 0, NULL, "is not supported" },
    { "user", API_NO_EFFECT, 0, 0, 0, NULL, NULL },
};

static const struct api_field chat_rows[] = {
    { "top_logprobs", API_U32, AT(n_top), 0, ENGINE_TOP_MAX, NULL, NULL },
    { "max_completion_tokens", API_U32, AT(max_completion_tokens), 1, TOKENS_MAX, NULL, NULL },
    { "response_format", API_CUSTOM, 0, 0, 0, parse_response_format, NULL },
    { "tools", API_VALUE, AT(tools), 0, 0, NULL, NULL },
    { "tool_choice", API_VALUE, AT(tool_choice), 0, 0, NULL, NULL },
    { "functions", API_REFUSED, 0, 0, 0, NULL, LATER },
    { "function_call", API_NO_EFFECT, 0, 0, 0, NULL, NULL },
    { "parallel_tool_calls", API_VALUE, AT(parallel_calls), 0, 0, NULL, NULL },
    { "modalities", API_CUSTOM, 0, 0, 0, parse_modalities, NULL },
    { "audio", API_REFUSED, 0, 0, 0, NULL, NEVER },
    { "web_search_options", API_REFUSED, 0, 0, 0, NULL, NEVER },
    { "moderation", API_REFUSED, 0, 0, 0, NULL, NEVER },
    { "metadata", API_NO_EFFECT, 0, 0, 0, NULL, NULL },
    { "store", API_NO_EFFECT, 0, 0, 0, NULL, NULL },
    { "service_tier", API_NO_EFFECT, 0, 0, 0, NULL, NULL },
    { "safety_identifier", API_NO_EFFECT, 0, 0, 0, NULL, NULL },
    { "prompt_cache_key", API_NO_EFFECT, 0, 0, 0, NULL, NULL },
    { "prompt_cache_retention", API_NO_EFFECT, 0, 0, 0, NULL, NULL },
    { "prompt_cache_options", API_NO_EFFECT, 0, 0, 0, NULL, NULL },
    { "verbosity", API_NO_EFFECT, 0, 0, 0, NULL, NULL },
    { "prediction", API_NO_EFFECT, 0, 0, 0, NULL, NULL },
};

/* How a conversation is rendered. */
static const struct api_field render_rows[] = {
    { "messages", API_VALUE, AT(messages), 0, 0, NULL, NULL },
    { "add_generation_prompt", API_CUSTOM, 0, 0, 0, parse_generation_prompt, NULL },
    { "continue_final_message", API_BOOL, AT(continue_final), 0, 0, NULL, NULL },
    { "chat_template_kwargs", API_CUSTOM, 0, 0, 0, parse_kwargs, NULL },
    { "reasoning_effort", API_CUSTOM, 0, 0, 0, parse_effort, NULL },
    { "chat_template", API_REFUSED, 0, 0, 0, NULL, "never comes from a request" },
};

static const struct api_field completion_rows[] = {
    { "prompt", API_CUSTOM, 0, 0, 0, parse_prompt, NULL },
    { "echo", API_BOOL, AT(echo), 0, 0, NULL, NULL },
    { "add_special_tokens", API_BOOL, AT(add_special_tokens), 0, 0, NULL, NULL },
    { "best_of", API_U32, AT(best_of), 1, API_N_MAX, NULL, NULL },
    { "suffix", API_REFUSED, 0, 0, 0, NULL, NEVER },
    { "prompt_logprobs", API_REFUSED, 0, 0, 0, NULL, LATER },
    { "response_format", API_CUSTOM, 0, 0, 0, parse_response_format, NULL },
};

int api_read_rows(const struct api_field *rows, size_t n, const json_value *object,
                  struct api_request *r, struct err *err)
{
    struct api_fields fields = { rows, n };
    return api_fields_read(&fields, object, "", r, err);
}

/* --- what concerns two members ---------------------------------------------------------------- */

int api_request_read_chat(struct api_request *r, const json_value *object, struct err *err)
{
    TRY(api_read_rows(render_rows, COUNT_OF(render_rows), object, r, err));
    if (r->messages == NULL)
        return api_field_wrong(err, E_FORMAT, "messages", "is missing; give an array of messages");
    if (r->continue_final && r->generation_prompt_set && r->add_generation_prompt)
        return api_field_wrong(err, E_RANGE, "continue_final_message",
                               "and add_generation_prompt exclude each other");
    if (r->continue_final)
        r->add_generation_prompt = false;
    return 0;
}

static int finish_tools(struct api_request *r, struct err *err)
{
    TRY(api_tools_read(&r->offered, r->tools, r->tool_choice, r->parallel_calls, err));
    if (r->offered.list != NULL && r->constraint.set)
        return api_field_wrong(err, E_UNSUPPORTED, "tools",
                               "together with a constraint of the answer are not supported; say "
                               "tool_choice \"none\"");
    return 0;
}

/* Responses: tools are read, and not offered yet. */
static int refuse_tools(const struct api_request *r, struct err *err)
{
    const json_value *choice = r->tool_choice;
    if (r->tools != NULL && json_kind_of(r->tools) != JSON_ARRAY)
        return api_field_wrong(err, E_FORMAT, "tools", "must be an array");
    bool none = choice == NULL || api_is_word(choice, "none");
    if (!none && !api_is_word(choice, "auto"))
        return api_field_wrong(err, E_UNSUPPORTED, "tool_choice",
                               "other than \"none\" or \"auto\" is not supported yet");
    bool unused = choice != NULL && none;
    if (json_len(r->tools) > 0 && !unused)
        return api_field_wrong(err, E_UNSUPPORTED, "tools",
                               "are not supported yet; with tool_choice \"none\" they are ignored");
    return 0;
}

static int finish_chat(struct api_request *r, const json_value *object, struct err *err)
{
    TRY(api_request_read_chat(r, object, err));
    TRY(r->dialect == API_RESPONSES ? refuse_tools(r, err) : finish_tools(r, err));
    if (r->n_top > 0 && !r->logprobs)
        return api_field_wrong(err, E_RANGE, "top_logprobs", "needs \"logprobs\": true");
    if (r->max_completion_tokens > 0)
        r->max_tokens = r->max_completion_tokens;
    return 0;
}

static int finish_completion(struct api_request *r, struct err *err)
{
    if (r->n_prompts == 0)
        return api_field_wrong(err, E_FORMAT, "prompt",
                               "is missing; give a string or token ids");
    if (r->best_of > 0 && r->best_of != r->n)
        return api_field_wrong(err, E_UNSUPPORTED, "best_of",
                               "other than n is not supported; ask for n choices and choose");
    if (r->echo && r->logprobs)
        return api_field_wrong(err, E_UNSUPPORTED, "echo",
                               "together with logprobs is not supported yet");
    return 0;
}

static int finish(struct api_request *r, uint32_t n_vocab, struct err *err)
{
    for (uint32_t i = 0; i < r->n_bias; i++)
        if ((uint32_t)r->bias[i].id >= n_vocab)
            return err_set_field(err, E_RANGE, "logit_bias",
                                 "logit_bias names token %d; the vocabulary has %u", r->bias[i].id,
                                 n_vocab);
    for (uint32_t i = 0; i < r->n_stop_ids; i++)
        if ((uint32_t)r->stop_ids[i] >= n_vocab)
            return err_set_field(err, E_RANGE, "stop_token_ids",
                                 "stop_token_ids[%u] is %d; the vocabulary has %u tokens", i,
                                 r->stop_ids[i], n_vocab);
    if (r->max_tokens > 0 && r->min_tokens > r->max_tokens)
        return api_field_wrong(err, E_RANGE, "min_tokens", "must not be above max_tokens");
    if (r->top_p < TOP_P_LEAST)
        r->top_p = TOP_P_LEAST;
    return 0;
}

/* --- the whole -------------------------------------------------------------------------------- */

void api_request_init(struct api_request *r, enum api_dialect dialect,
                      const struct engine_sampler_params *d)
{
    memset(r, 0, sizeof *r);
    r->dialect = dialect;
    r->n = 1;
    r->temperature = d->temperature;
    r->top_k = d->top_k;
    r->top_p = d->top_p;
    r->min_p = d->min_p;
    r->typical_p = d->typical_p;
    r->repetition_penalty = d->repetition_penalty;
    r->presence_penalty = d->presence_penalty;
    r->frequency_penalty = d->frequency_penalty;
    r->skip_special_tokens = true;
    r->add_generation_prompt = true;
    r->add_special_tokens = true;
    r->max_tokens = dialect == API_COMPLETION ? COMPLETION_TOKENS : 0;
}

/* Responses and Messages: their own fields, then the conversation in the form of a chat. */
static int read_foreign(struct api_request *r, struct err *err)
{
    struct buf text;
    struct json_writer w;
    buf_init(&text, SIZE_MAX / 4);
    json_writer_init(&w, &text);
    json_begin_object(&w);
    int rc = r->dialect == API_MESSAGES ? api_read_messages(r, &w, err)
                                        : api_read_responses(r, &w, err);
    json_end_object(&w);
    if (rc == 0 && buf_status(&text) != 0)
        rc = err_set(err, buf_status(&text), "out of memory");
    if (rc == 0)
        rc = json_parse(&r->chat, buf_str(&text), text.len, &JSON_LIMITS_FILE, err);
    buf_fini(&text);
    TRY(rc);
    TRY(api_read_rows(chat_rows, COUNT_OF(chat_rows), r->chat, r, err));
    return finish_chat(r, r->chat, err);
}

static int read_openai(struct api_request *r, struct err *err)
{
    TRY(api_read_rows(shared_rows, COUNT_OF(shared_rows), r->tree, r, err));
    if (r->dialect == API_COMPLETION) {
        TRY(api_read_rows(completion_rows, COUNT_OF(completion_rows), r->tree, r, err));
        return finish_completion(r, err);
    }
    TRY(api_read_rows(chat_rows, COUNT_OF(chat_rows), r->tree, r, err));
    return finish_chat(r, r->tree, err);
}

int api_request_read(struct api_request *r, const char *body, size_t len, uint32_t n_vocab,
                     struct err *err)
{
    TRY(json_parse(&r->tree, body, len, &JSON_LIMITS_REQUEST, err));
    if (json_kind_of(r->tree) != JSON_OBJECT)
        return err_set(err, E_FORMAT, "the body must be a JSON object");
    bool openai = r->dialect == API_CHAT || r->dialect == API_COMPLETION;
    TRY(openai ? read_openai(r, err) : read_foreign(r, err));
    return finish(r, n_vocab, err);
}

void api_request_fini(struct api_request *r)
{
    json_free(r->tree);
    json_free(r->chat);
    json_free(r->earlier);
    json_free(r->calls);
    r->tree = r->chat = r->earlier = r->calls = NULL;
}

int api_read_ids(const json_value *v, const char *path, uint32_t n_vocab, int32_t *out,
                 struct err *err)
{
    for (size_t i = 0; i < json_len(v); i++) {
        TRY(read_id(json_at(v, i), path, i, &out[i], err));
        if ((uint32_t)out[i] < n_vocab)
            continue;
        char item[API_PATH_MAX];
        snprintf(item, sizeof item, "%s[%zu]", path, i);
        return err_set_field(err, E_RANGE, item, "%s is %d; the vocabulary has %u tokens", item,
                             out[i], n_vocab);
    }
    return 0;
}

int api_item_wrong(struct err *err, int code, struct api_place at, const char *name,
                   const char *text)
{
    struct err path;
    const char *dot = *name != '\0' ? "." : "";
    if (at.part >= 0)
        err_set(&path, 0, "%s[%zu].content[%d]%s%s", at.list, at.i, at.part, dot, name);
    else
        err_set(&path, 0, "%s[%zu]%s%s", at.list, at.i, dot, name);
    return err_set_field(err, code, path.text, "%s %s", path.text, text);
}

const char *api_member_text(const json_value *v, const char *name, size_t *len)
{
    *len = 0;
    return json_text(json_get(v, name), len);
}
