/* cmd/cmd.h - what the verbs of the program share: options, the model, failure, progress.
 *
 * Idea: `naru VERB [OPTIONS]`. One table (cmd.c) names the verbs; each verb is one file with one
 * option table, from which parsing, --help and the man page come. Options that every verb has
 * (model, threads, processor level, ...) lie in struct cmd_common, the first member of the verb's
 * own arguments.
 *
 * Exit status: 0 done, 1 the world (file, memory, port), 2 usage. Results go to stdout, everything
 * else (progress, timings, errors) to stderr; with --json stdout holds JSON only.
 * Threads: the main thread. */
#ifndef CMD_CMD_H
#define CMD_CMD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/opt.h"
#include "engine/sampler.h"
#include "model/model.h"

enum { CMD_OK = 0, CMD_WORLD = 1, CMD_USAGE = 2 };

struct cmd_common {
    const char *model;   /* file or directory; NULL: the bundled model */
    const char *cpu;
    const char *log;     /* "quiet", "info", "debug" */
    uint32_t n_threads;  /* 0: all cores */
    uint64_t seed;
    bool json, help;
};

/* Presets every verb's arguments begin with. */
#define CMD_SEED_RANDOM UINT64_MAX
#define CMD_COMMON_INIT { .seed = CMD_SEED_RANDOM }

/* The rows every verb's table begins with; ARGS must have `struct cmd_common common` as a member.
 * */
#define CMD_COMMON(ARGS)                                                                           \
    { "model", 'm', OPT_TEXT, offsetof(ARGS, common.model), "FILE",                                \
      "model: a .gguf file or a directory with safetensors (default: the bundled model)", 0, 0 },  \
    { "threads", 't', OPT_U32, offsetof(ARGS, common.n_threads), "N",                              \
      "threads that compute (default: all cores this process may use)", 1, 256 },                  \
    { "cpu", 0, OPT_TEXT, offsetof(ARGS, common.cpu), "LEVEL",                                     \
      "highest instruction set to use: auto, generic, avx2, avx512, avx512-vnni, avx512-bf16, "    \
      "neon, dotprod, i8mm (default: auto)", 0, 0 },                                               \
    { "log", 0, OPT_TEXT, offsetof(ARGS, common.log), "LEVEL",                                     \
      "what to say on stderr: quiet, info, debug (default: info)", 0, 0 },                         \
    { "seed", 0, OPT_U64, offsetof(ARGS, common.seed), "S",                                        \
      "seed of all randomness: the same seed gives the same text (default: a new one)", 0, 0 },    \
    { "json", 0, OPT_FLAG, offsetof(ARGS, common.json), NULL,                                      \
      "print one JSON object (or one a line) to stdout and nothing else", 0, 0 },                  \
    { "help", 'h', OPT_FLAG, offsetof(ARGS, common.help), NULL, "show this help", 0, 0 }

/* How keys and values are kept; ARGS has `const char *kv`. */
#define CMD_KV(ARGS)                                                                               \
    { "kv", 0, OPT_TEXT, offsetof(ARGS, kv), "TYPE",                                               \
      "how keys and values are kept: f16, f32, bf16, q8_0 (default: f16)", 0, 0 }

/* Which cached block leaves when memory is full; ARGS has `const char *kv_policy`. */
#define CMD_KV_POLICY(ARGS)                                                                        \
    { "kv-policy", 0, OPT_TEXT, offsetof(ARGS, kv_policy), "NAME",                                 \
      "which idle block of the prefix cache leaves when memory is full: naru (learns from the "    \
      "traffic), lru, lfu, gdsf (default: naru)", 0, 0 }

struct cmd_verb {
    const char *name;
    const char *summary;           /* one line for `naru help` */
    const char *usage;             /* "naru run [-m FILE] ..." */
    const char *about;             /* a paragraph or two */
    const char *examples;          /* lines */
    const struct opt_table *table;
    int (*run)(const struct cmd_verb *verb, int argc, char **argv); /* argv behind the verb */
};

extern const struct cmd_verb CMD_RUN, CMD_SERVE, CMD_TOKENIZE, CMD_INSPECT, CMD_SCORE, CMD_LOGITS,
    CMD_BENCH, CMD_SIMULATE, CMD_QUANTIZE, CMD_KV_STORE,
    CMD_KEYS, CMD_PULL;

/* The whole program. */
int cmd_main(int argc, char **argv);
const char *cmd_version(void); /* "0.1.0" */
const char *cmd_commit(void);

/* Parses the environment (NARU_THREADS=4), then argv, into args (whose first member is struct
 * cmd_common). *done is set when the verb is
 * over: help was printed, or the options were wrong (return value: the exit status). words may be
 * NULL when the verb takes none: one word is then an error. */
int cmd_parse(const struct cmd_verb *verb, int argc, char **argv, struct cmd_common *args,
              struct opt_list *words, bool *done);

/* The options that a file or the environment cannot set, NULL behind the last. */
extern const char *const CMD_COMMAND_LINE_ONLY[];
/* What no table can check. E_USAGE. */
NODISCARD int cmd_check_common(const struct cmd_common *c, struct err *err);

/* Prints "naru VERB: text" to stderr; returns CMD_USAGE for E_USAGE, else CMD_WORLD. */
int cmd_fail(const struct cmd_verb *verb, const struct err *err);

/* Writes out to stdout and flushes; CMD_WORLD if that fails (a full disk, a closed pipe) or the
 * buffer itself failed. Releases the buffer. */
int cmd_print(const struct cmd_verb *verb, struct buf *out);

/* --- the model ----------------------------------------------------------------------------------
 * */

struct cmd_model {
    char *path;
    struct model_file *file;
    struct device *device;
    struct model *model;
    struct text_tokenizer *tokenizer; /* NULL if the file carries none */
};

/* The file a verb works on: -m, or the bundled model beside the binary or in /usr/share/naru.
 * mem_free it. E_NOT_FOUND names the places looked at. */
NODISCARD int cmd_model_path(const struct cmd_common *c, char **path, struct err *err);
/* model_file_open whose errors name the file. */
NODISCARD int cmd_file_open(struct model_file **out, const char *path, struct err *err);
/* Opens file, device and model, with a progress line on a terminal. */
NODISCARD int cmd_model_load(struct cmd_model *m, const struct cmd_common *c,
                             const struct model_params *params, struct err *err);
void cmd_model_free(struct cmd_model *m);

struct api_chat;
struct clock;
/* The chat template the model carries, compiled. Borrows model and clock. */
NODISCARD int cmd_chat_create(struct api_chat **out, const struct cmd_model *m,
                              const struct clock *clock, struct err *err);

/* --- values -------------------------------------------------------------------------------------
 * */

/* "f16" ... to enum kernel_type; NULL means f16. E_USAGE. */
NODISCARD int cmd_kv_type(const char *name, uint32_t *type, struct err *err);
/* NULL is fine. E_USAGE for a policy that the prefix index cannot run. */
NODISCARD int cmd_kv_policy(const char *name, struct err *err);
/* Appends numbers separated by spaces, commas, brackets or newlines. E_USAGE for anything else and
 * for ids not below n_vocab. */
NODISCARD int cmd_parse_ids(const char *text, uint32_t n_vocab, struct text_ids *ids,
                            struct err *err);
/* How text is drawn where nobody says otherwise: temperature 0.5, top-k 40, top-p 0.95, min-p 0.05.
 * */
struct engine_sampler_params cmd_sampler_defaults(void);
/* The seed asked for, or a fresh one from the system. */
uint64_t cmd_seed(const struct cmd_common *c);

/* --- progress -----------------------------------------------------------------------------------
 * */

/* A bar on stderr, redrawn at most 20 times a second; silent when stderr is no terminal or quiet.
 * */
struct cmd_bar {
    const char *label;
    uint64_t started_ns, drawn_ns;
    bool on, shown;
};
void cmd_bar_begin(struct cmd_bar *bar, const struct cmd_common *c, const char *label);
void cmd_bar_update(struct cmd_bar *bar, uint64_t done, uint64_t total, const char *unit);
void cmd_bar_end(struct cmd_bar *bar);   /* wipes the line */
/* A line on stderr unless --log quiet. */
void cmd_say(const struct cmd_common *c, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
