#include "api/job.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"

#define TEXT_BYTES_MAX ((size_t)256 << 20) /* of one whole answer */

struct choice {
    struct api_job *job;
    struct engine_stream *stream;
    struct text_matcher *matcher; /* NULL: the answer is not constrained */
    struct text_toolcall *parser; /* NULL: the text is the answer */
    struct buf *out;              /* where the stream goes, while the parser runs */
    uint32_t prompt, n_calls;
    bool echoed, ended;
    bool cut;                     /* nothing counts any more: its one call has ended */
    int rc;                       /* of what the parser's events led to */
    enum engine_finish finish;
    struct engine_usage usage;
    int stop;                 /* index of the stop string that ended it; -1: none */
    struct buf text, reasoning; /* of a whole answer */
    struct api_call_list calls;
    uint64_t released;        /* bytes of text given out */
    uint32_t pieces, chars;   /* bytes and characters of all tokens so far */
    struct api_token *tokens; /* asked for and not written yet */
    uint32_t n_tokens, cap_tokens;
    struct engine_top *tops;
    uint32_t n_tops, cap_tops;
};

struct api_job {
    struct api_job_params p;
    struct api_request *request;
    struct api_answer answer;
    struct choice *choices;
    uint32_t n_choices, n_ended;
    bool begun, failed, waits, in_thought;
    struct api_waiter waiter;
    struct text_grammar *grammar;
    struct err failure;
    struct buf piece;
};

/* --- start ------------------------------------------------------------------------------------ */

/* splitmix64's output function: spreads neighbouring numbers. */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static void notify(void *ctx, UNUSED struct engine_stream *stream)
{
    const struct api_job *job = ctx;
    job->p.notify(job->p.notify_ctx);
}

static struct engine_sampler_params sampling(const struct api_job *job, uint32_t index)
{
    const struct api_request *r = job->request;
    uint64_t seed = r->has_seed ? (uint64_t)r->seed : job->p.seed;
    struct engine_sampler_params s = engine_sampler_defaults();
    s.temperature = (float)r->temperature;
    s.top_k = r->top_k;
    s.top_p = (float)r->top_p;
    s.min_p = (float)r->min_p;
    s.typical_p = (float)r->typical_p;
    s.repetition_penalty = (float)r->repetition_penalty;
    s.presence_penalty = (float)r->presence_penalty;
    s.frequency_penalty = (float)r->frequency_penalty;
    s.seed = index == 0 ? seed : mix(seed + index);
    return s;
}

/* What a prefix must share besides its tokens: the tenant, then the request's own salt. The length
 * in front keeps "ab" + "c" apart from "a" + "bc". */
static struct engine_str salt_of(const struct api_job *job, char *out, size_t max)
{
    const struct engine_str *own = &job->request->salt;
    const char *tenant = job->p.tenant != NULL ? job->p.tenant : "";
    if (tenant[0] == '\0')
        return *own;
    int n = snprintf(out, max, "%zu:%s", strlen(tenant), tenant);
    ASSERT(n > 0 && (size_t)n + own->len <= max);
    if (own->len > 0)
        memcpy(out + n, own->data, own->len);
    return (struct engine_str){ out, (size_t)n + own->len };
}

/* --- constraints: called by the engine --- */

static void mask_logits(void *ctx, float *logits, uint32_t n_vocab)
{
    text_matcher_mask(ctx, logits, n_vocab);
}

static void accept_token(void *ctx, int32_t id)
{
    (void)text_matcher_accept(ctx, id); /* only what the mask let through is chosen */
}

static int constrain(struct api_job *job, struct choice *c, struct engine_request *e,
                     struct err *err)
{
    if (job->grammar == NULL)
        return 0;
    if (text_matcher_create(&c->matcher, job->grammar) < 0)
        return err_set(err, E_NOMEM, "out of memory");
    e->mask = (struct engine_mask){ .apply = mask_logits, .accept = accept_token,
                                    .ctx = c->matcher };
    return 0;
}

/* --- tools and thoughts --- */

static bool parses(const struct api_job *job)
{
    const struct api_request *r = job->request;
    bool can = r->dialect == API_CHAT || r->dialect == API_MESSAGES;
    return can && (r->offered.list != NULL || api_chat_thinks(job->p.chat));
}

/* Marks are looked for where the template says that they may come. */
static enum text_tool_format format_of(const struct api_job *job)
{
    enum text_tool_format format = api_chat_tools(job->p.chat);
    bool all = job->request->offered.list != NULL || format == TEXT_TOOL_HARMONY;
    return all ? format : TEXT_TOOL_NONE;
}

/* Control tokens come as text where the marks are such tokens. */
static bool shows_special(const struct api_job *job)
{
    enum text_tool_format format = format_of(job);
    bool marks = parses(job) && format != TEXT_TOOL_NONE && format != TEXT_TOOL_JSON;
    return marks || !job->request->skip_special_tokens;
}

static void take_parsed(void *ctx, const struct text_tool_event *ev);

/* A constrained answer begins with what the constraint says, also where the prompt began a
 * thought. */
static int begin_parser(struct api_job *job, struct choice *c, struct err *err)
{
    bool thought = job->in_thought && job->grammar == NULL;
    if (!parses(job))
        return 0;
    if (text_toolcall_create(&c->parser, format_of(job), thought, take_parsed, c) < 0)
        return err_set(err, E_NOMEM, "out of memory");
    return 0;
}

/* tool_choice "required", or a name: the answer is a call. */
static int force_call(struct api_job *job, struct err *err)
{
    struct api_request *r = job->request;
    enum text_tool_format format = api_chat_tools(job->p.chat);
    if (r->offered.list == NULL)
        return 0;
    if (format == TEXT_TOOL_NONE)
        return err_set_field(err, E_UNSUPPORTED, "tools",
                             "tools: this server was started with --tool-parser none");
    if (r->offered.choice == API_TOOL_AUTO)
        return 0;
    TRY(api_tools_force(&r->offered, format, &r->calls, err));
    r->constraint = (struct api_constraint){ .set = true,
                                             .kind = TEXT_GRAMMAR_CALLS,
                                             .json = r->calls,
                                             .one_of_as_any = true,
                                             .path = "tools" };
    return 0;
}

static void begin_choice(struct api_job *job, struct choice *c)
{
    c->job = job;
    buf_init(&c->text, TEXT_BYTES_MAX);
    buf_init(&c->reasoning, TEXT_BYTES_MAX);
    api_call_list_init(&c->calls, TEXT_BYTES_MAX);
}

static int submit(struct api_job *job, uint32_t index, const int32_t *ids, uint32_t n_ids,
                  struct err *err)
{
    const struct api_request *r = job->request;
    struct engine_str stops[API_STOPS_MAX + 1];
    uint32_t n_stops = r->n_stops;
    memcpy(stops, r->stops, sizeof r->stops);
    const char *end = r->dialect != API_COMPLETION ? api_chat_stop(job->p.chat) : NULL;
    if (end != NULL)
        stops[n_stops++] = (struct engine_str){ end, strlen(end) };
    struct engine_request e = engine_request_defaults(ids, n_ids);
    e.max_tokens = r->max_tokens;
    e.min_tokens = r->min_tokens;
    e.sampler = sampling(job, index);
    e.bias = r->bias;
    e.n_bias = r->n_bias;
    e.stops = stops;
    e.n_stops = n_stops;
    e.include_stop = r->include_stop;
    e.stop_ids = r->stop_ids;
    e.n_stop_ids = r->n_stop_ids;
    e.ignore_eos = r->ignore_eos;
    e.special = shows_special(job);
    e.logprobs = r->logprobs;
    e.n_top = r->n_top;
    char salt[API_SALT_BYTES_MAX + 128];
    e.salt = salt_of(job, salt, sizeof salt);
    e.notify = notify;
    e.notify_ctx = job;
    TRY(constrain(job, &job->choices[index], &e, err));
    TRY(begin_parser(job, &job->choices[index], err));
    return engine_submit(job->p.engine, &e, &job->choices[index].stream, err);
}

int api_job_prompt(const struct api_chat *chat, const struct api_request *r, struct text_ids *ids,
                   bool *in_thought, struct err *err)
{
    struct api_chat_input in = { .messages = r->messages,
                                 .add_generation_prompt = r->add_generation_prompt,
                                 .continue_final = r->continue_final,
                                 .kwargs = r->kwargs,
                                 .reasoning_effort = r->reasoning_effort,
                                 .tools = r->offered.list };
    struct text_rendered text;
    TRY(api_chat_text(chat, &in, &text, err));
    if (in_thought != NULL)
        *in_thought = api_chat_in_thought(&text);
    int rc = api_chat_encode(chat, &text, ids, err);
    text_rendered_fini(&text);
    return rc;
}

static int given_ids(const struct api_job *job, const json_value *v, struct text_ids *ids,
                     struct err *err)
{
    size_t n = json_len(v);
    int32_t *list = mem_alloc(n, sizeof *list);
    if (list == NULL)
        return err_set(err, E_NOMEM, "out of memory");
    int rc = api_read_ids(v, "prompt", text_vocab_size(job->p.tokenizer), list, err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = text_ids_put(ids, list[i]);
    mem_free(list);
    return rc;
}

static int prompt_ids(struct api_job *job, uint32_t prompt, struct text_ids *ids,
                      struct err *err)
{
    const struct api_request *r = job->request;
    if (r->dialect != API_COMPLETION)
        return api_job_prompt(job->p.chat, r, ids, &job->in_thought, err);
    const struct api_prompt *p = &r->prompts[prompt];
    if (p->ids != NULL)
        return given_ids(job, p->ids, ids, err);
    uint32_t before = ids->n;
    unsigned flags = r->add_special_tokens ? TEXT_ADD_SPECIAL : 0;
    TRY(text_encode(job->p.tokenizer, p->text.data, p->text.len, NULL, flags, ids));
    if (ids->n == before)
        return err_set_field(err, E_RANGE, "prompt",
                             "prompt is empty, and this model has no token that begins a text");
    return 0;
}

/* The engine's words for parameters are almost the request's. */
static void name_field(const struct api_job *job, struct err *err)
{
    if (strcmp(err->field, "prompt") == 0 && job->request->dialect != API_COMPLETION &&
        err->code != E_LIMIT)
        memcpy(err->field, "messages", sizeof "messages");
}

/* The ids of all prompts, one after the other; ends[p]: where prompt p ends. */
static int encode_all(struct api_job *job, struct text_ids *ids, uint32_t *ends, struct err *err)
{
    for (uint32_t p = 0; p < job->n_choices / job->request->n; p++) {
        TRY(prompt_ids(job, p, ids, err));
        ends[p] = ids->n;
    }
    return 0;
}

static int submit_each(struct api_job *job, const struct text_ids *ids, const uint32_t *ends,
                       struct err *err)
{
    uint32_t n = job->request->n;
    for (uint32_t k = 0; k < job->n_choices; k++) {
        uint32_t p = k / n, from = p > 0 ? ends[p - 1] : 0;
        job->choices[k].prompt = p;
        job->choices[k].usage.prompt_tokens = ends[p] - from;
        TRY(submit(job, k, ids->ids + from, ends[p] - from, err));
    }
    return 0;
}

static int submit_all(struct api_job *job, struct err *err)
{
    struct text_ids ids;
    uint32_t ends[API_PROMPTS_MAX] = { 0 };
    text_ids_init(&ids, UINT32_MAX);
    int rc = encode_all(job, &ids, ends, err);
    uint64_t most = ids.n + (uint64_t)job->request->max_tokens * job->n_choices;
    if (rc == 0 && job->p.admit != NULL)
        rc = job->p.admit(job->p.admit_ctx, most, err);
    if (rc == 0)
        rc = submit_each(job, &ids, ends, err);
    text_ids_fini(&ids);
    if (rc < 0 && err->code == 0)
        err_set(err, rc, "%s", err_code_text(rc));
    if (rc < 0)
        name_field(job, err);
    return rc;
}

/* Submits, or waits until the constraint is compiled. */
static int begin(struct api_job *job, struct err *err)
{
    const struct api_constraint *c = &job->request->constraint;
    if (c->set && job->grammar == NULL) {
        int rc = api_constraint_get(job->p.constraints, c, &job->waiter, &job->grammar, err);
        job->waits = rc == 0;
        if (rc <= 0)
            return rc;
    }
    return submit_all(job, err);
}

static void begin_answer(struct api_job *job)
{
    buf_init(&job->piece, TEXT_BYTES_MAX);
    api_answer_init(&job->answer, job->request->dialect, mix(job->p.id));
    job->answer.created = job->p.created;
    job->answer.model = job->p.model;
    job->answer.fingerprint = job->p.fingerprint;
    job->answer.request_id = job->p.request_id;
    job->answer.request = job->request;
    job->answer.tokenizer = job->p.tokenizer;
}

int api_job_start(struct api_job **out, const struct api_job_params *p,
                  struct api_request *request, struct err *err)
{
    struct api_job *job = mem_alloc(1, sizeof *job);
    if (job == NULL) {
        api_request_fini(request);
        mem_free(request);
        return err_set(err, E_NOMEM, "out of memory");
    }
    job->p = *p;
    job->request = request;
    begin_answer(job);
    job->waiter = (struct api_waiter){ .wake = p->notify, .ctx = p->notify_ctx };
    bool chat = request->dialect != API_COMPLETION;
    job->n_choices = (chat ? 1 : request->n_prompts) * request->n;
    int rc = job->n_choices <= API_CHOICES_MAX
                 ? 0
                 : err_set_field(err, E_RANGE, "prompt",
                                 "prompts times n is %u; at most %d answers come from one request",
                                 job->n_choices, API_CHOICES_MAX);
    if (rc == 0) {
        job->choices = mem_alloc(job->n_choices, sizeof *job->choices);
        rc = job->choices != NULL ? 0 : err_set(err, E_NOMEM, "out of memory");
    }
    for (uint32_t i = 0; rc == 0 && i < job->n_choices; i++)
        begin_choice(job, &job->choices[i]);
    if (rc == 0)
        rc = force_call(job, err);
    if (rc == 0)
        rc = begin(job, err);
    if (rc < 0) {
        api_job_destroy(job);
        return rc;
    }
    *out = job;
    return 0;
}

void api_job_destroy(struct api_job *job)
{
    if (job == NULL)
        return;
    if (job->request->constraint.set)
        api_constraint_leave(job->p.constraints, &job->waiter);
    for (uint32_t i = 0; job->choices != NULL && i < job->n_choices; i++) {
        engine_stream_close(job->choices[i].stream);
        text_matcher_destroy(job->choices[i].matcher); /* the engine lets go of it in close */
        text_toolcall_destroy(job->choices[i].parser);
        buf_fini(&job->choices[i].text);
        buf_fini(&job->choices[i].reasoning);
        api_call_list_fini(&job->choices[i].calls);
        mem_free(job->choices[i].tokens);
        mem_free(job->choices[i].tops);
    }
    mem_free(job->choices);
    text_grammar_unref(job->grammar);
    api_answer_fini(&job->answer);
    buf_fini(&job->piece);
    api_request_fini(job->request);
    mem_free(job->request);
    mem_free(job);
}

bool api_job_waits(const struct api_job *job) { return job->waits; }

int api_job_resume(struct api_job *job, struct err *err)
{
    ASSERT(job->waits);
    job->waits = false;
    return begin(job, err);
}

bool api_job_streams(const struct api_job *job) { return job->request->stream; }

/* --- tokens that were asked for --------------------------------------------------------------- */

static int grow(void **list, uint32_t *cap, uint32_t need, size_t size)
{
    if (need <= *cap)
        return 0;
    uint32_t wanted = (uint32_t)num_max(64, (size_t)need * 2);
    void *more = mem_realloc(*list, wanted, size);
    if (more == NULL)
        return E_NOMEM;
    *list = more;
    *cap = wanted;
    return 0;
}

static uint32_t count_chars(const struct buf *piece)
{
    uint32_t n = 0;
    for (size_t i = 0; i < piece->len; i++)
        n += ((unsigned char)piece->data[i] & 0xc0) != 0x80;
    return n;
}

static int keep_token(struct api_job *job, struct choice *c, const struct engine_event *ev)
{
    TRY(grow((void **)&c->tokens, &c->cap_tokens, c->n_tokens + 1, sizeof *c->tokens));
    TRY(grow((void **)&c->tops, &c->cap_tops, c->n_tops + ev->n_top, sizeof *c->tops));
    c->tokens[c->n_tokens++] = (struct api_token){ .id = ev->id,
                                                   .logprob = ev->logprob,
                                                   .start = c->pieces,
                                                   .chars = c->chars,
                                                   .n_top = ev->n_top,
                                                   .top0 = c->n_tops };
    if (ev->n_top > 0)
        memcpy(c->tops + c->n_tops, ev->top, ev->n_top * sizeof *c->tops);
    c->n_tops += ev->n_top;
    buf_clear(&job->piece);
    text_piece(job->p.tokenizer, ev->id, shows_special(job), &job->piece);
    c->pieces += (uint32_t)job->piece.len;
    c->chars += count_chars(&job->piece);
    return 0;
}

/* How many of the kept tokens may be shown: those whose text has come out. At the end all, unless a
 * stop string ended the answer: tokens that hold a part of it stay hidden. */
static uint32_t count_shown(const struct api_job *job, const struct choice *c,
                            const struct engine_event *ev)
{
    bool cut = ev->kind == ENGINE_TOKEN || (ev->stop_index >= 0 && !job->request->include_stop);
    uint32_t n = c->n_tokens;
    uint32_t end = c->pieces;
    while (cut && n > 0 && end > c->released)
        end = c->tokens[--n].start;
    return n;
}

static void drop_tokens(struct choice *c, uint32_t n)
{
    if (n == c->n_tokens) {
        c->n_tokens = c->n_tops = 0;
        return;
    }
    memmove(c->tokens, c->tokens + n, (c->n_tokens - n) * sizeof *c->tokens);
    c->n_tokens -= n;
}

/* --- chunks of a stream ----------------------------------------------------------------------- */

static struct api_choice choice_of(const struct api_job *job, const struct choice *c)
{
    return (struct api_choice){ .index = (uint32_t)(c - job->choices),
                                .text = "",
                                .reasoning = "",
                                .tokens = c->tokens,
                                .tops = c->tops };
}

/* ... that has ended. A stop of the template's own is not one the client gave. */
static struct api_choice ended_of(const struct api_job *job, const struct choice *c)
{
    struct api_choice v = choice_of(job, c);
    bool called = c->n_calls > 0 && (c->finish == ENGINE_STOP || c->cut);
    v.finish = called ? "tool_calls" : engine_finish_name(c->finish);
    if (c->stop >= 0 && (uint32_t)c->stop < job->request->n_stops)
        v.stop = job->request->stops[c->stop];
    return v;
}

/* The id of a call: told apart by choice and place. */
static void name_call(const struct choice *c, struct api_call_part *part)
{
    uint64_t place = (uint64_t)(c - c->job->choices) << 32 | part->index;
    const char *prefix = c->job->request->dialect == API_MESSAGES ? "toolu_" : "call_";
    snprintf(part->id, sizeof part->id, "%s%016llx", prefix,
             (unsigned long long)mix(mix(c->job->p.id) + place + 1));
}

/* Called by the parser. */
static void take_parsed(void *ctx, const struct text_tool_event *ev)
{
    struct choice *c = ctx;
    struct api_call_part part;
    if (c->cut)
        return;
    if (ev->kind == TEXT_TOOL_END) {
        c->cut = c->job->request->offered.one;
        return;
    }
    struct api_choice v = choice_of(c->job, c);
    api_choice_parsed(&v, &part, ev);
    name_call(c, &part);
    c->n_calls += part.begins;
    if (c->out != NULL) {
        struct engine_usage usage = api_job_usage(c->job);
        c->job->answer.writer->delta(&c->job->answer, &v, &usage, c->out);
        return;
    }
    buf_put(&c->text, v.text, v.len);
    buf_put(&c->reasoning, v.reasoning, v.reasoning_len);
    if (v.n_calls > 0 && api_call_list_add(&c->calls, &part) < 0)
        c->rc = E_NOMEM;
}

/* An event of the engine goes through the parser; out NULL: the answer is kept. */
static int parse_event(struct choice *c, const struct engine_event *ev, struct buf *out)
{
    bool was_cut = c->cut;
    c->out = out;
    int rc = c->cut ? 0 : text_toolcall_put(c->parser, ev->text, ev->text_len);
    if (rc == 0 && ev->kind == ENGINE_DONE && !c->cut)
        rc = text_toolcall_end(c->parser);
    c->out = NULL;
    if (c->cut && !was_cut && ev->kind != ENGINE_DONE)
        engine_stream_cancel(c->stream); /* its DONE tells the usage */
    return rc < 0 ? rc : c->rc;
}

static void begin_stream(struct api_job *job, struct buf *out)
{
    const struct api_request *r = job->request;
    struct engine_usage usage = api_job_usage(job);
    for (uint32_t i = 0; i < job->n_choices; i++) {
        struct api_choice c = choice_of(job, &job->choices[i]);
        const struct engine_str *echo = &r->prompts[job->choices[i].prompt].text;
        if (r->dialect == API_COMPLETION && r->echo && echo->data != NULL) {
            c.text = echo->data;
            c.len = echo->len;
        }
        job->answer.writer->begin(&job->answer, &c, &usage, out);
    }
    job->begun = true;
}

static void stream_event(struct api_job *job, struct choice *c, const struct engine_event *ev,
                         struct buf *out)
{
    const struct api_request *r = job->request;
    bool wanted = r->logprobs || r->return_token_ids;
    struct engine_usage usage = api_job_usage(job);
    struct api_choice v = choice_of(job, c);
    v.text = c->parser == NULL ? ev->text : "";
    v.len = c->parser == NULL ? ev->text_len : 0;
    v.n_tokens = wanted ? count_shown(job, c, ev) : 0;
    if (v.len > 0 || v.n_tokens > 0) {
        job->answer.writer->delta(&job->answer, &v, &usage, out);
        drop_tokens(c, v.n_tokens);
    }
    if (ev->kind != ENGINE_DONE)
        return;
    v = ended_of(job, c);
    job->answer.writer->finish(&job->answer, &v, job->n_ended == job->n_choices, &usage, out);
}

/* --- a whole answer --------------------------------------------------------------------------- */

static void put_whole(struct api_job *job, struct buf *out)
{
    struct api_choice views[API_CHOICES_MAX];
    struct engine_usage usage = api_job_usage(job);
    ASSERT(job->n_choices <= API_CHOICES_MAX);
    for (uint32_t i = 0; i < job->n_choices; i++) {
        const struct choice *c = &job->choices[i];
        views[i] = ended_of(job, c);
        views[i].text = buf_str(&c->text);
        views[i].len = c->text.len;
        views[i].n_tokens = c->n_tokens;
        views[i].reasoning = buf_str(&c->reasoning);
        views[i].reasoning_len = c->reasoning.len;
        api_call_list_finish(&job->choices[i].calls);
        views[i].calls = c->calls.parts;
        views[i].n_calls = c->calls.n;
    }
    job->answer.writer->whole(&job->answer, views, job->n_choices, &usage, out);
}

static void keep_text(const struct api_job *job, struct choice *c, const struct engine_event *ev)
{
    const struct api_request *r = job->request;
    const struct engine_str *echo = &r->prompts[c->prompt].text;
    if (!c->echoed && r->echo && echo->data != NULL)
        buf_put(&c->text, echo->data, echo->len);
    c->echoed = true;
    if (c->parser == NULL)
        buf_put(&c->text, ev->text, ev->text_len);
    if (ev->kind == ENGINE_DONE)
        c->n_tokens = count_shown(job, c, ev);
}

/* --- pump ------------------------------------------------------------------------------------- */

static int fail(struct api_job *job, int code, const char *text)
{
    job->failed = true;
    return err_set(&job->failure, code, "%s", text);
}

static int finish_choice(struct api_job *job, struct choice *c, const struct engine_event *ev)
{
    c->finish = ev->finish;
    c->usage = ev->usage;
    c->stop = ev->stop_index;
    c->ended = true;
    job->n_ended++;
    if (ev->finish == ENGINE_ERROR)
        return fail(job, ev->code, ev->message);
    if (ev->finish == ENGINE_CANCELLED && !c->cut)
        return fail(job, E_CANCELLED, "the server is shutting down; send the request again");
    return 0;
}

static int take_event(struct api_job *job, struct choice *c, const struct engine_event *ev,
                      struct buf *out)
{
    const struct api_request *r = job->request;
    if (ev->kind == ENGINE_TOKEN && (r->logprobs || r->return_token_ids) &&
        keep_token(job, c, ev) < 0)
        return fail(job, E_NOMEM, "out of memory");
    if (ev->kind == ENGINE_TOKEN)
        c->usage.completion_tokens++;
    c->released += ev->text_len;
    if (ev->kind == ENGINE_DONE)
        TRY(finish_choice(job, c, ev));
    int rc = c->parser != NULL ? parse_event(c, ev, r->stream ? out : NULL) : 0;
    if (rc < 0)
        return fail(job, rc, rc == E_LIMIT ? "the model wrote a call whose head has no end"
                                           : "out of memory");
    if (r->stream)
        stream_event(job, c, ev, out);
    else
        keep_text(job, c, ev);
    if (buf_status(&c->text) != 0 || buf_status(&c->reasoning) != 0 ||
        buf_status(&job->answer.line) != 0)
        return fail(job, E_NOMEM, "out of memory");
    return 0;
}

/* Events of one choice until there are none. */
static int pump_choice(struct api_job *job, struct choice *c, struct buf *out, size_t out_bytes)
{
    struct engine_event ev;
    while (!c->ended && (!job->request->stream || out->len < out_bytes)) {
        int n = engine_stream_next(c->stream, 0, &ev);
        if (n == 0)
            return 0;
        if (n < 0)
            return fail(job, n, "the request ended without an answer");
        TRY(take_event(job, c, &ev, out));
    }
    return 0;
}

enum api_job_state api_job_pump(struct api_job *job, struct buf *out, size_t out_bytes,
                                struct err *err)
{
    bool stream = job->request->stream;
    if (stream && !job->begun)
        begin_stream(job, out);
    for (uint32_t i = 0; i < job->n_choices && !job->failed; i++)
        if (pump_choice(job, &job->choices[i], out, out_bytes) < 0)
            break;
    if (job->failed) {
        *err = job->failure;
        return API_JOB_FAILED;
    }
    if (job->n_ended < job->n_choices)
        return API_JOB_RUNS;
    struct engine_usage usage = api_job_usage(job);
    if (stream)
        job->answer.writer->end(&job->answer, &usage, out);
    else
        put_whole(job, out);
    return API_JOB_DONE;
}

void api_job_fail_stream(struct api_job *job, const struct api_error *e, struct buf *out)
{
    job->answer.writer->fail(&job->answer, e, out);
}

const struct api_answer *api_job_answer(const struct api_job *job) { return &job->answer; }
const struct api_request *api_job_request(const struct api_job *job) { return job->request; }

struct engine_usage api_job_usage(const struct api_job *job)
{
    struct engine_usage sum = { 0 };
    for (uint32_t i = 0; i < job->n_choices; i++) {
        const struct engine_usage *u = &job->choices[i].usage;
        bool first = i % job->request->n == 0;
        sum.prompt_tokens += first ? u->prompt_tokens : 0;
        sum.cached_tokens += first ? u->cached_tokens : 0;
        sum.completion_tokens += u->completion_tokens;
        sum.preemptions += u->preemptions;
        sum.queue_ns = u->queue_ns > sum.queue_ns ? u->queue_ns : sum.queue_ns;
        sum.prefill_ns = u->prefill_ns > sum.prefill_ns ? u->prefill_ns : sum.prefill_ns;
        sum.decode_ns = u->decode_ns > sum.decode_ns ? u->decode_ns : sum.decode_ns;
    }
    return sum;
}
