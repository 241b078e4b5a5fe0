#include "cmd/cmd.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/complete.h"
#include "cmd/man.h"

#ifndef NARU_VERSION
#define NARU_VERSION "unknown"
#define NARU_COMMIT "unknown"
#endif

const char *cmd_version(void) { return NARU_VERSION; }
const char *cmd_commit(void) { return NARU_COMMIT; }

static const struct cmd_verb *const verbs[] = {
    &CMD_RUN, &CMD_SERVE, &CMD_TOKENIZE, &CMD_INSPECT, &CMD_SCORE, &CMD_LOGITS, &CMD_BENCH,
    &CMD_SIMULATE, &CMD_QUANTIZE, &CMD_KV_STORE,
    &CMD_KEYS, &CMD_PULL,
};

static void print_overview(FILE *to)
{
    fputs("Naru, an inference operating system: model files and memory in, tokens out.\n\n"
          "usage: naru VERB [OPTIONS]\n\n", to);
    for (size_t i = 0; i < COUNT_OF(verbs); i++)
        fprintf(to, "  %-10s %s\n", verbs[i]->name, verbs[i]->summary);
    fputs("  completion completion for a shell: naru completion bash, naru completion zsh\n"
          "  help       this text; `naru help VERB` or `naru VERB --help` tells more of one\n"
          "  version    version, commit and licence\n\n"
          "Try it: naru run            chat with the bundled model\n"
          "        naru serve          the same over HTTP, for OpenAI clients\n"
          "        naru inspect FILE   what is in a model file, and whether it runs here\n", to);
}

static int print_help(const struct cmd_verb *v)
{
    struct buf out;
    buf_init(&out, 1u << 20);
    buf_printf(&out, "usage: %s\n\n%s\n\n", v->usage, v->about);
    opt_help(v->table, &out);
    if (v->examples != NULL)
        buf_printf(&out, "\nexamples:\n%s", v->examples);
    return cmd_print(v, &out);
}

static const struct cmd_verb *find_verb(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(verbs); i++)
        if (strcmp(verbs[i]->name, name) == 0)
            return verbs[i];
    return NULL;
}

static int unknown_verb(const char *name)
{
    fprintf(stderr, "naru: unknown verb: %.64s; `naru help` lists the verbs\n", name);
    return CMD_USAGE;
}

static int print_man(bool config)
{
    struct buf out;
    buf_init(&out, 1u << 20);
    if (config)
        cmd_man_config(&CMD_SERVE, NARU_VERSION, &out);
    else
        cmd_man(verbs, COUNT_OF(verbs), NARU_VERSION, &out);
    return cmd_print(verbs[0], &out);
}

static int completion(const char *shell)
{
    struct buf out;
    struct err err = { 0 };
    buf_init(&out, 1u << 20);
    if (cmd_complete(verbs, COUNT_OF(verbs), shell, &out, &err) == 0)
        return cmd_print(verbs[0], &out);
    buf_fini(&out);
    fprintf(stderr, "naru completion: %s\n", err.text);
    return err.code == E_USAGE ? CMD_USAGE : CMD_WORLD;
}

static int help(const char *name)
{
    if (name != NULL && strcmp(name, "--man") == 0)
        return print_man(false);
    if (name != NULL && strcmp(name, "--man-conf") == 0)
        return print_man(true);
    if (name == NULL) {
        print_overview(stdout);
        return CMD_OK;
    }
    const struct cmd_verb *v = find_verb(name);
    return v != NULL ? print_help(v) : unknown_verb(name);
}

int cmd_main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of write(), not a death */
    if (argc < 2) {
        print_overview(stderr);
        return CMD_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return help(argc > 2 ? argv[2] : NULL);
    if (strcmp(name, "completion") == 0)
        return completion(argc > 2 ? argv[2] : NULL);
    if (strcmp(name, "version") == 0 || strcmp(name, "--version") == 0) {
        printf("naru %s (%s), Apache-2.0\n", NARU_VERSION, NARU_COMMIT);
        return CMD_OK;
    }
    const struct cmd_verb *v = find_verb(name);
    return v != NULL ? v->run(v, argc - 2, argv + 2) : unknown_verb(name);
}

int cmd_check_common(const struct cmd_common *c, struct err *err)
{
    static const char *const levels[] = { "quiet", "info", "debug" };
    for (size_t i = 0; i < COUNT_OF(levels); i++)
        if (c->log == NULL || strcmp(c->log, levels[i]) == 0)
            return 0;
    return err_set_field(err, E_USAGE, "log", "--log %s: must be quiet, info or debug", c->log);
}

int cmd_parse(const struct cmd_verb *verb, int argc, char **argv, struct cmd_common *args,
              struct opt_list *words, bool *done)
{
    struct opt_list no_words = { .n = 0 };
    struct opt_list *w = words != NULL ? words : &no_words;
    struct err err = { 0 };
    int rc = opt_parse_env(verb->table, "NARU_", CMD_COMMAND_LINE_ONLY, args, &err);
    if (rc == 0)
        rc = opt_parse(verb->table, argc, argv, args, w, &err);
    *done = true;
    if (rc == 0 && args->help)
        return print_help(verb);
    if (rc == 0)
        rc = cmd_check_common(args, &err);
    if (rc == 0 && words == NULL && no_words.n > 0)
        rc = err_set(&err, E_USAGE, "unexpected argument: %s; options begin with --",
                     no_words.items[0]);
    if (rc < 0)
        return cmd_fail(verb, &err);
    *done = false;
    return CMD_OK;
}

int cmd_fail(const struct cmd_verb *verb, const struct err *err)
{
    const char *text = err->text[0] != '\0' ? err->text : err_code_text(err->code);
    fprintf(stderr, "naru %s: %s\n", verb->name, text);
    return err->code == E_USAGE ? CMD_USAGE : CMD_WORLD;
}

int cmd_print(const struct cmd_verb *verb, struct buf *out)
{
    struct err err = { .code = buf_status(out) };
    if (err.code == 0 && (fwrite(buf_str(out), 1, out->len, stdout) != out->len ||
                          fflush(stdout) != 0))
        err_set(&err, E_IO, "cannot write to standard output");
    buf_fini(out);
    return err.code == 0 ? CMD_OK : cmd_fail(verb, &err);
}
