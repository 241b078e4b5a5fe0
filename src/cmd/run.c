/* naru run: one prompt to text. The engine is the server's own; here one request runs at a time,
 * and the main thread waits for its events in slices short enough to notice Ctrl-C. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/chat.h"
#include "base/mem.h"
#include "cmd/run_args.h"
#include "os/file.h"

#define PROMPT_BYTES_MAX (64u << 20)
#define WAIT_S 0.05

static const struct opt opts[] = {
    CMD_COMMON(struct run_args),
    { "prompt", 'p', OPT_TEXT, offsetof(struct run_args, prompt), "TEXT",
      "answer this and end (default: chat at a terminal, else the prompt is standard input)", 0,
      0 },
    { "file", 'f', OPT_TEXT, offsetof(struct run_args, file), "FILE",
      "read the prompt from FILE", 0, 0 },
    { "raw", 0, OPT_FLAG, offsetof(struct run_args, raw), NULL,
      "continue the text as it stands, without the model's chat template", 0, 0 },
    { "system", 0, OPT_TEXT, offsetof(struct run_args, system), "TEXT",
      "system message of the chat", 0, 0 },
    { "n-tokens", 'n', OPT_U32, offsetof(struct run_args, n_tokens), "N",
      "most tokens to write (default: until the model ends or the context is full)", 0, 0 },
    { "ctx", 'c', OPT_U32, offsetof(struct run_args, n_ctx), "N",
      "context in tokens (default: what the model was trained for, at most 16384)", 2, 1 << 20 },
    { "temp", 0, OPT_NUMBER, offsetof(struct run_args, temp), "T",
      "temperature; 0 always takes the likeliest token (default: 0.5)", 0, 100 },
    { "top-k", 0, OPT_U32, offsetof(struct run_args, top_k), "K",
      "draw from the K likeliest tokens; 0: all (default: 40)", 0, 0 },
    { "top-p", 0, OPT_NUMBER, offsetof(struct run_args, top_p), "P",
      "draw from the likeliest tokens that together have this much probability (default: 0.95)",
      1e-6, 1 },
    { "min-p", 0, OPT_NUMBER, offsetof(struct run_args, min_p), "P",
      "drop tokens less likely than P times the likeliest (default: 0.05)", 0, 1 },
    { "typical", 0, OPT_NUMBER, offsetof(struct run_args, typical_p), "P",
      "locally typical sampling with mass P; 1: off (default: 1)", 1e-6, 1 },
    { "repeat-penalty", 0, OPT_NUMBER, offsetof(struct run_args, repeat_penalty), "X",
      "make tokens already seen less likely; 1: off (default: 1)", 1e-3, 100 },
    { "presence-penalty", 0, OPT_NUMBER, offsetof(struct run_args, presence_penalty), "X",
      "subtract X from the logit of every token already written (default: 0)", -100, 100 },
    { "frequency-penalty", 0, OPT_NUMBER, offsetof(struct run_args, frequency_penalty), "X",
      "subtract X for each time a token was written (default: 0)", -100, 100 },
    { "penalty-window", 0, OPT_U32, offsetof(struct run_args, penalty_window), "N",
      "tokens the penalties look back; 0: all (default: 64)", 0, 0 },
    { "logit-bias", 0, OPT_LIST, offsetof(struct run_args, bias), "ID=X",
      "add X to the logit of token ID; -100 forbids it; may be repeated", 0, 0 },
    { "stop", 0, OPT_LIST, offsetof(struct run_args, stop), "TEXT",
      "end before this text; may be repeated", 0, 0 },
    { "ignore-eos", 0, OPT_FLAG, offsetof(struct run_args, ignore_eos), NULL,
      "go on when the model wants to end", 0, 0 },
    { "special", 0, OPT_FLAG, offsetof(struct run_args, special), NULL,
      "print control tokens, and recognise them in a --raw prompt", 0, 0 },
    { "history", 0, OPT_TEXT, offsetof(struct run_args, history), "FILE",
      "keep the lines typed in FILE (default: only while the program runs)", 0, 0 },
    { "no-stats", 0, OPT_FLAG, offsetof(struct run_args, no_stats), NULL,
      "no line of timings at the end", 0, 0 },
    CMD_STORE(struct run_args),
    CMD_KV(struct run_args),
    CMD_KV_POLICY(struct run_args),
    CMD_SPEC(struct run_args),
};
static const struct opt_table table = { opts, COUNT_OF(opts) };

/* --- Ctrl-C --- the one global of the program: a signal handler has no context. */
static volatile sig_atomic_t interrupted;

static void on_interrupt(UNUSED int signal_number) { interrupted = 1; }

void run_catch_interrupt(void)
{
    struct sigaction action = { .sa_handler = on_interrupt }; /* no SA_RESTART: reads return */
    sigaction(SIGINT, &action, NULL);
}

bool run_interrupted(void)
{
    bool was = interrupted != 0;
    interrupted = 0;
    return was;
}

/* --- request ------------------------------------------------------------------------------------
 * */

static int parse_bias(const struct opt_list *list, uint32_t n_vocab, struct engine_bias *out,
                      struct err *err)
{
    for (uint32_t i = 0; i < list->n; i++) {
        char *end;
        errno = 0;
        long id = strtol(list->items[i], &end, 10);
        bool ok = end != list->items[i] && *end == '=' && errno == 0 && id >= 0 &&
                  id < (long)n_vocab;
        const char *number = ok ? end + 1 : "";
        double bias = strtod(number, &end);
        if (!ok || end == number || *end != '\0' || !(fabs(bias) <= 100))
            return err_set_field(err, E_USAGE, "logit-bias",
                                 "--logit-bias %.40s: must be ID=X with an id below %u and X from "
                                 "-100 to 100", list->items[i], n_vocab);
        out[i] = (struct engine_bias){ .id = (int32_t)id, .bias = (float)bias };
    }
    return 0;
}

static struct engine_sampler_params sampling(const struct run_session *s)
{
    const struct run_args *a = s->args;
    return (struct engine_sampler_params){
        .temperature = (float)a->temp,
        .top_k = a->top_k,
        .top_p = (float)a->top_p,
        .min_p = (float)a->min_p,
        .typical_p = (float)a->typical_p,
        .repetition_penalty = (float)a->repeat_penalty,
        .presence_penalty = (float)a->presence_penalty,
        .frequency_penalty = (float)a->frequency_penalty,
        .penalty_window = a->penalty_window,
        .seed = s->seed,
    };
}

static int submit(struct run_session *s, const int32_t *ids, uint32_t n,
                  struct engine_stream **stream, struct err *err)
{
    const struct run_args *a = s->args;
    struct engine_bias bias[OPT_LIST_MAX];
    struct engine_str stops[OPT_LIST_MAX + 1];
    TRY(parse_bias(&a->bias, model_info(s->model.model)->n_vocab, bias, err));
    for (uint32_t i = 0; i < a->stop.n; i++)
        stops[i] = (struct engine_str){ a->stop.items[i], strlen(a->stop.items[i]) };
    uint32_t n_stops = a->stop.n;
    const char *turn = s->chat != NULL ? api_chat_stop(s->chat) : NULL;
    if (turn != NULL)
        stops[n_stops++] = (struct engine_str){ turn, strlen(turn) };
    struct engine_request r = engine_request_defaults(ids, n);
    r.max_tokens = a->n_tokens;
    r.sampler = sampling(s);
    r.bias = bias;
    r.n_bias = a->bias.n;
    r.stops = stops;
    r.n_stops = n_stops;
    r.ignore_eos = a->ignore_eos;
    r.special = a->special;
    return engine_submit(s->engine, &r, stream, err);
}

/* --- events -------------------------------------------------------------------------------------
 * */

static int take_event(const struct run_session *s, const struct engine_event *ev,
                      struct run_result *out, struct err *err)
{
    buf_put(&out->text, ev->text, ev->text_len);
    if (!s->args->common.json) {
        fwrite(ev->text, 1, ev->text_len, stdout);
        if (fflush(stdout) != 0)
            return err_set(err, E_IO, "cannot write to standard output");
    }
    if (ev->kind == ENGINE_TOKEN)
        return text_ids_put(&out->ids, ev->id);
    out->finish = ev->finish;
    out->usage = ev->usage;
    return ev->finish == ENGINE_ERROR ? err_set(err, ev->code, "%s", ev->message) : 0;
}

static int read_events(const struct run_session *s, struct engine_stream *stream,
                       struct run_result *out, struct err *err)
{
    struct cmd_bar bar;
    cmd_bar_begin(&bar, &s->args->common, "prefill");
    struct engine_event ev;
    for (;;) {
        if (run_interrupted())
            engine_stream_cancel(stream);
        int n = engine_stream_next(stream, WAIT_S, &ev);
        if (n < 0) {
            cmd_bar_end(&bar);
            return n == E_CLOSED ? 0 : n;
        }
        struct engine_progress p;
        engine_stream_progress(stream, &p);
        if (n == 0 && p.phase == ENGINE_PREFILL)
            cmd_bar_update(&bar, p.prefill_done, p.prefill_total, "tokens");
        if (n == 0)
            continue;
        cmd_bar_end(&bar);
        TRY(take_event(s, &ev, out, err));
    }
}

int run_generate(struct run_session *s, const int32_t *ids, uint32_t n, struct run_result *out,
                 struct err *err)
{
    *out = (struct run_result){ .finish = ENGINE_ERROR };
    buf_init(&out->text, SIZE_MAX / 4);
    text_ids_init(&out->ids, UINT32_MAX);
    struct engine_stream *stream = NULL;
    TRY(submit(s, ids, n, &stream, err));
    run_interrupted(); /* an old Ctrl-C is not meant for this answer */
    int rc = read_events(s, stream, out, err);
    engine_stream_close(stream);
    return rc == 0 ? buf_status(&out->text) : rc;
}

void run_result_fini(struct run_result *r)
{
    buf_fini(&r->text);
    text_ids_fini(&r->ids);
}

static double per_second(uint32_t n, uint64_t ns)
{
    return ns > 0 ? (double)n * 1e9 / (double)ns : 0;
}

void run_print_stats(const struct run_session *s, const struct engine_usage *u)
{
    if (s->args->no_stats)
        return;
    uint32_t fresh = u->prompt_tokens - u->cached_tokens;
    uint32_t later = u->completion_tokens > 0 ? u->completion_tokens - 1 : 0;
    char guessed[64] = "";
    if (u->drafted_tokens > 0)
        snprintf(guessed, sizeof guessed, ", %u of %u guesses right", u->accepted_tokens,
                 u->drafted_tokens);
    cmd_say(&s->args->common,
            "[prompt %u tokens, %u of them cached, first token after %.0f ms (%.0f tokens/s); "
            "%u tokens written, %.1f tokens/s%s]",
            u->prompt_tokens, u->cached_tokens, (double)(u->queue_ns + u->prefill_ns) * 1e-6,
            per_second(fresh, u->prefill_ns), u->completion_tokens,
            per_second(later, u->decode_ns), guessed);
}

/* --- one shot -----------------------------------------------------------------------------------
 * */

static void write_timings(struct json_writer *w, const struct engine_usage *u)
{
    json_key(w, "timings");
    json_begin_object(w);
    json_key(w, "prompt_tokens");
    json_write_uint(w, u->prompt_tokens);
    json_key(w, "cached_tokens");
    json_write_uint(w, u->cached_tokens);
    json_key(w, "drafted_tokens");
    json_write_uint(w, u->drafted_tokens);
    json_key(w, "accepted_tokens");
    json_write_uint(w, u->accepted_tokens);
    json_key(w, "completion_tokens");
    json_write_uint(w, u->completion_tokens);
    json_key(w, "queue_ms");
    json_write_double(w, (double)u->queue_ns * 1e-6);
    json_key(w, "prefill_ms");
    json_write_double(w, (double)u->prefill_ns * 1e-6);
    json_key(w, "decode_ms");
    json_write_double(w, (double)u->decode_ns * 1e-6);
    json_end_object(w);
}

static void write_json(const struct run_result *r, struct buf *out)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_begin_object(&w);
    json_key(&w, "text");
    json_write_text(&w, buf_str(&r->text), r->text.len);
    json_key(&w, "ids");
    json_begin_array(&w);
    for (uint32_t i = 0; i < r->ids.n; i++)
        json_write_int(&w, r->ids.ids[i]);
    json_end_array(&w);
    json_key(&w, "finish_reason");
    json_write_str(&w, engine_finish_name(r->finish));
    write_timings(&w, &r->usage);
    json_end_object(&w);
    buf_putc(out, '\n');
}

/* [{"role":"system",...},] {"role":"user","content":prompt} through the chat template. */
static int render_prompt(struct run_session *s, const char *prompt, size_t len,
                         struct text_ids *ids, struct err *err)
{
    struct buf text;
    struct json_writer w;
    buf_init(&text, SIZE_MAX / 4);
    json_writer_init(&w, &text);
    json_begin_array(&w);
    if (s->args->system != NULL)
        run_write_message(&w, "system", s->args->system, strlen(s->args->system));
    run_write_message(&w, "user", prompt, len);
    json_end_array(&w);
    int rc = run_render(s, &text, ids, err);
    buf_fini(&text);
    return rc;
}

static int prompt_ids(struct run_session *s, const char *prompt, size_t len, struct text_ids *ids,
                      struct err *err)
{
    if (s->chat != NULL && len > 0)
        return render_prompt(s, prompt, len, ids, err);
    unsigned flags = TEXT_ADD_SPECIAL | (s->args->special ? TEXT_PARSE_SPECIAL : 0);
    int rc = text_encode(s->model.tokenizer, prompt, len, NULL, flags, ids);
    if (rc < 0)
        return err_set_field(err, rc, "prompt", "tokenizing: %s", err_code_text(rc));
    /* --raw with a model that begins texts with a token of its own needs no word from us. */
    if (len == 0 && (s->chat != NULL || ids->n == 0))
        return err_set_field(err, E_USAGE, "prompt", "the prompt is empty; give at least one word");
    return 0;
}

static int one_shot(struct run_session *s, const char *prompt, size_t len, struct err *err)
{
    struct text_ids ids;
    struct run_result r = { .finish = ENGINE_ERROR };
    struct buf out;
    text_ids_init(&ids, UINT32_MAX);
    buf_init(&out, SIZE_MAX / 4);
    int rc = prompt_ids(s, prompt, len, &ids, err);
    if (rc == 0)
        rc = run_generate(s, ids.ids, ids.n, &r, err);
    if (rc == 0 && s->args->common.json)
        write_json(&r, &out);
    else if (rc == 0)
        buf_putc(&out, '\n');
    if (rc == 0 && (fwrite(buf_str(&out), 1, out.len, stdout) != out.len || fflush(stdout) != 0))
        rc = err_set(err, E_IO, "cannot write to standard output");
    if (rc == 0)
        run_print_stats(s, &r.usage);
    buf_fini(&out);
    run_result_fini(&r);
    text_ids_fini(&ids);
    return rc;
}

/* --- the verb -----------------------------------------------------------------------------------
 * */

void run_write_message(struct json_writer *w, const char *role, const char *text, size_t len)
{
    json_begin_object(w);
    json_key(w, "role");
    json_write_str(w, role);
    json_key(w, "content");
    json_write_text(w, text, len);
    json_end_object(w);
}

int run_render(struct run_session *s, const struct buf *messages, struct text_ids *ids,
               struct err *err)
{
    json_value *v = NULL;
    TRY(buf_status(messages));
    TRY(json_parse(&v, buf_str(messages), messages->len, &JSON_LIMITS_FILE, err));
    int rc = api_chat_render(s->chat, v, true, ids, err);
    json_free(v);
    return rc;
}

static int open_session(struct run_session *s, struct err *err)
{
    struct model_params mp = { 0 };
    TRY(cmd_kv_type(s->args->kv, &mp.kv_type, err));
    TRY(cmd_kv_policy(s->args->kv_policy, err));
    TRY(cmd_model_load(&s->model, &s->args->common, &mp, err));
    if (s->model.tokenizer == NULL)
        return err_set(err, E_NOT_FOUND, "%s carries no tokenizer, so there is no text to run on",
                       s->model.path);
    if (!s->args->raw)
        TRY(cmd_chat_create(&s->chat, &s->model, &s->clock, err));
    struct engine_params ep = { .model = s->model.model,
                                .tokenizer = s->model.tokenizer,
                                .clock = s->clock,
                                .n_ctx = s->args->n_ctx,
                                .kv_policy = s->args->kv_policy,
                                .n_seqs_max = 1 };
    TRY(cmd_spec_open(&s->draft, &s->args->spec, &s->model, &ep, err));
    TRY(cmd_store_open(&s->store, &s->args->store, &s->args->common, false, err));
    TRY(cmd_store_bind(&ep, &s->store, &s->model, &s->args->common, err));
    return engine_create(&s->engine, &ep, err);
}

static void close_session(struct run_session *s)
{
    cmd_store_finish(&s->store, s->engine, &s->args->common);
    api_chat_destroy(s->chat);
    cmd_spec_close(&s->draft);
    cmd_model_free(&s->model);
}

static int run_session(struct run_session *s, struct err *err)
{
    const struct run_args *a = s->args;
    if (a->prompt != NULL)
        return one_shot(s, a->prompt, strlen(a->prompt), err);
    if (a->file == NULL && isatty(STDIN_FILENO) && !a->raw && !a->common.json)
        return run_chat(s, err);
    char *text = NULL;
    size_t len = 0;
    TRY(os_read_file(a->file != NULL ? a->file : "-", PROMPT_BYTES_MAX, &text, &len, err));
    int rc = one_shot(s, text, len, err);
    mem_free(text);
    return rc;
}

static int run(const struct cmd_verb *verb, int argc, char **argv)
{
    const struct engine_sampler_params sampler = cmd_sampler_defaults();
    struct run_args a = { .common = CMD_COMMON_INIT,
                          .temp = (double)sampler.temperature,
                          .top_k = sampler.top_k,
                          .top_p = (double)sampler.top_p,
                          .min_p = (double)sampler.min_p,
                          .typical_p = 1,
                          .repeat_penalty = 1,
                          .penalty_window = 64 };
    bool done;
    int status = cmd_parse(verb, argc, argv, &a.common, NULL, &done);
    if (done)
        return status;
    struct err err = { 0 };
    struct run_session s = { .args = &a, .seed = cmd_seed(&a.common), .clock = clock_system() };
    int rc = 0;
    if (a.prompt != NULL && a.file != NULL)
        rc = err_set(&err, E_USAGE, "give the prompt once: with -p or with --file");
    if (rc == 0)
        rc = open_session(&s, &err);
    run_catch_interrupt();
    if (rc == 0)
        rc = run_session(&s, &err);
    if (rc < 0 && err.code == 0)
        err_set(&err, rc, "%s", err_code_text(rc));
    close_session(&s);
    return rc == 0 ? CMD_OK : cmd_fail(verb, &err);
}

const struct cmd_verb CMD_RUN = {
    .name = "run",
    .summary = "chat with a model, or complete one prompt",
    .usage = "naru run [-m FILE] [-p TEXT [--raw]] [OPTIONS]",
    .about = "Without -p, at a terminal: a chat with line editing and history; Ctrl-C stops the\n"
             "answer, Ctrl-D ends the program, /help lists commands. With -p (or a prompt on\n"
             "standard input): the answer goes to standard output, progress and timings to\n"
             "standard error. --raw continues the text as it is instead of answering it.",
    .examples = "  naru run\n"
                "  naru run -p 'Why is the sky blue?' -n 200\n"
                "  naru run -p 'Once upon a time' --raw --temp 0 -n 100\n"
                "  naru run -m model.gguf --seed 7 --json < prompt.txt\n",
    .table = &table,
    .run = run,
};
