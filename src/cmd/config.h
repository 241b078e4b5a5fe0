/* cmd/config.h - options in layers: defaults, a file, the environment, the command line.
 *
 * Idea: one option table, three more ways to fill it. Later layers win:
 *
 *     defaults  <  --config FILE ("name = value")  <  NARU_NAME=value  <  --name value
 *
 * A reload reads file and environment again under the same command line. It either gives a whole
 * valid set of values or changes nothing (G-15).
 * Ownership: text values point into argv, the environment, or cmd_config.text, which lives until
 * cmd_config_fini.   Threads: the main thread. */
#ifndef CMD_CONFIG_H
#define CMD_CONFIG_H

#include <stddef.h>

#include "cmd/cmd.h"

#define CMD_CONFIG_BYTES_MAX (1u << 20)

/* Arguments of a verb that takes a file; `common` first. */
struct cmd_config_args {
    const char *config;
    bool check_config;
};

#define CMD_CONFIG(ARGS)                                                                           \
    { "config", 0, OPT_TEXT, offsetof(ARGS, file.config), "FILE",                                  \
      "options from a file, one \"name = value\" a line; the environment (NARU_PORT=9000) and "    \
      "the command line win over it (default: none)", 0, 0 },                                      \
    { "check-config", 0, OPT_FLAG, offsetof(ARGS, file.check_config), NULL,                        \
      "say whether the options are valid, print them as a file, and end", 0, 0 }

struct cmd_config {
    const struct cmd_verb *verb;
    int argc;
    char **argv;
    const void *defaults;  /* of the arguments, `bytes` long */
    size_t bytes, at;      /* at: offset of struct cmd_config_args */
    char *text;            /* of the file; NULL: none */
};

/* Fills args from all layers. E_USAGE (the error names file and line), E_IO, E_NOMEM; c->text is
 * set on success. */
NODISCARD int cmd_config_load(struct cmd_config *c, void *args, struct err *err);
void cmd_config_fini(struct cmd_config *c);
/* The options as a file would give them. */
void cmd_config_print(const struct cmd_config *c, const void *args, struct buf *out);
/* Calls fn for each option that differs; returns their number. */
typedef void (*cmd_config_diff_fn)(void *ctx, const char *name, const char *was, const char *now);
uint32_t cmd_config_diff(const struct cmd_config *c, const void *was, const void *now,
                         cmd_config_diff_fn fn, void *ctx);

#endif
