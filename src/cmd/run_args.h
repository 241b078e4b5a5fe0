/* cmd/run_args.h - options of `naru run`, and what the two ways of running share.
 *
 * Idea: run.c answers one prompt (-p, or standard input) and chat.c holds a conversation; both hand
 * the engine a list of ids and print what comes back.
 * Threads: the main thread; the interrupt flag is set by the signal handler. */
#ifndef CMD_RUN_ARGS_H
#define CMD_RUN_ARGS_H

#include <stdbool.h>

#include "base/clock.h"
#include "base/json.h"
#include "cmd/cmd.h"
#include "cmd/spec.h"
#include "cmd/store.h"
#include "engine/engine.h"

struct run_args {
    struct cmd_common common;
    struct cmd_store_args store;
    const char *prompt, *file, *kv, *kv_policy, *system, *history;
    uint32_t n_tokens, n_ctx, top_k, penalty_window;
    double temp, top_p, min_p, typical_p, repeat_penalty, presence_penalty, frequency_penalty;
    struct opt_list stop, bias;
    struct cmd_spec spec;
    bool raw, ignore_eos, special, no_stats;
};

/* One generation's result. */
struct run_result {
    struct buf text;
    struct text_ids ids;
    enum engine_finish finish;
    struct engine_usage usage;
};

/* The engine and what it needs, open. */
struct run_session {
    const struct run_args *args;
    struct cmd_model model;
    struct cmd_draft draft;
    struct cmd_store store;
    struct engine *engine;
    struct api_chat *chat; /* NULL: --raw */
    struct clock clock;    /* borrowed by chat */
    uint64_t seed;
};

/* Writes {"role", "content"} into an array of messages. */
void run_write_message(struct json_writer *w, const char *role, const char *text, size_t len);
/* Messages (JSON text) through the chat template to ids, ready for an answer. */
NODISCARD int run_render(struct run_session *s, const struct buf *messages, struct text_ids *ids,
                         struct err *err);

/* Generates from the ids; prints the text to stdout as it comes unless --json. Ctrl-C ends the
 * generation (finish: cancelled). The result is initialised here; run_result_fini it always. */
NODISCARD int run_generate(struct run_session *s, const int32_t *ids, uint32_t n,
                           struct run_result *out, struct err *err);
void run_result_fini(struct run_result *r);
/* One line of timings on stderr. */
void run_print_stats(const struct run_session *s, const struct engine_usage *u);

/* A conversation at the terminal until the end of input. */
int run_chat(struct run_session *s, struct err *err);

/* Installs the Ctrl-C handler once; run_interrupted tells and clears. */
void run_catch_interrupt(void);
bool run_interrupted(void);

#endif
