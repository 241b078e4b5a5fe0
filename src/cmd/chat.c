/* The conversation of `naru run` at a terminal. The transcript is kept as messages and rendered
 * anew each turn; the engine's prefix sharing makes the repeated part free. Line editing is
 * libedit's; lines typed go to a file only if --history names one (prompts are not logged). */
#include <editline/readline.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cmd/run_args.h"

#define MESSAGES_MAX 1024

struct message {
    const char *role; /* static text */
    char *text;
    size_t len;
};

struct chat {
    struct message messages[MESSAGES_MAX];
    uint32_t n;
};

static int add_message(struct chat *c, const char *role, const char *text, size_t len)
{
    if (c->n == MESSAGES_MAX)
        return E_LIMIT;
    char *copy = mem_strndup(text, len);
    if (copy == NULL)
        return E_NOMEM;
    c->messages[c->n++] = (struct message){ .role = role, .text = copy, .len = len };
    return 0;
}

static void drop_messages(struct chat *c, uint32_t keep)
{
    while (c->n > keep)
        mem_free(c->messages[--c->n].text);
}

/* A new conversation, with the system message if there is one. */
static int start_over(struct chat *c, const char *system)
{
    drop_messages(c, 0);
    return system != NULL && *system != '\0' ? add_message(c, "system", system, strlen(system)) : 0;
}

static int render(struct run_session *s, const struct chat *c, struct text_ids *ids,
                  struct err *err)
{
    struct buf text;
    struct json_writer w;
    buf_init(&text, SIZE_MAX / 4);
    json_writer_init(&w, &text);
    json_begin_array(&w);
    for (uint32_t i = 0; i < c->n; i++)
        run_write_message(&w, c->messages[i].role, c->messages[i].text, c->messages[i].len);
    json_end_array(&w);
    int rc = run_render(s, &text, ids, err);
    buf_fini(&text);
    return rc;
}

/* One answer to what was said so far. A failure is told and the last message taken back, so that
 * the conversation can go on. */
static void answer(struct run_session *s, struct chat *c)
{
    struct text_ids ids;
    struct run_result r = { .finish = ENGINE_ERROR };
    struct err err = { 0 };
    text_ids_init(&ids, UINT32_MAX);
    int rc = render(s, c, &ids, &err);
    if (rc == 0)
        rc = run_generate(s, ids.ids, ids.n, &r, &err);
    if (rc == 0)
        rc = add_message(c, "assistant", buf_str(&r.text), r.text.len);
    if (rc == 0) {
        printf("%s\n", r.finish == ENGINE_CANCELLED ? " [stopped]" : "");
        run_print_stats(s, &r.usage);
    } else {
        drop_messages(c, c->n - 1);
        fprintf(stderr, "naru: %s\n", err.code != 0 ? err.text : err_code_text(rc));
        if (rc == E_LIMIT)
            fputs("naru: /new starts a new conversation\n", stderr);
    }
    run_result_fini(&r);
    text_ids_fini(&ids);
}

static void say_help(void)
{
    puts("  /new           forget the conversation and start a new one\n"
         "  /system TEXT   set the system message and start a new conversation\n"
         "  /again         answer the last message anew\n"
         "  /help          this\n"
         "  /exit          end (so does Ctrl-D); Ctrl-C stops an answer");
}

/* Handles "/..." lines; *end is set by /exit. */
static int command(struct run_session *s, struct chat *c, const char *line, bool *end)
{
    if (strcmp(line, "/exit") == 0 || strcmp(line, "/quit") == 0) {
        *end = true;
    } else if (strcmp(line, "/new") == 0) {
        return start_over(c, s->args->system);
    } else if (strncmp(line, "/system ", 8) == 0) {
        return start_over(c, line + 8);
    } else if (strcmp(line, "/again") == 0) {
        if (c->n == 0 || strcmp(c->messages[c->n - 1].role, "assistant") != 0) {
            puts("There is no answer yet.");
            return 0;
        }
        drop_messages(c, c->n - 1);
        s->seed++;
        answer(s, c);
    } else {
        say_help();
    }
    return 0;
}

static int take_line(struct run_session *s, struct chat *c, const char *line, bool *end)
{
    if (*line == '\0')
        return 0;
    add_history(line);
    if (*line == '/')
        return command(s, c, line, end);
    TRY(add_message(c, "user", line, strlen(line)));
    answer(s, c);
    return 0;
}

static void greet(const struct run_session *s)
{
    const struct model_info *info = model_info(s->model.model);
    cmd_say(&s->args->common, "%s: %s, %.1f M parameters, context %u; /help lists commands",
            s->model.path, info->family, (double)info->n_params * 1e-6, info->n_ctx_train);
}

/* The line editor counts characters by the locale. Only the character set is taken from it: numbers
 * stay as they are. Where the environment names none, UTF-8 is what terminals speak. */
static void choose_charset(void)
{
    setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
        setlocale(LC_CTYPE, "C.UTF-8");
}

int run_chat(struct run_session *s, struct err *err)
{
    struct chat *c = mem_alloc(1, sizeof *c);
    if (c == NULL)
        return err_set(err, E_NOMEM, "out of memory");
    greet(s);
    choose_charset();
    using_history();
    if (s->args->history != NULL)
        read_history(s->args->history); /* not there yet the first time */
    bool end = false;
    int rc = start_over(c, s->args->system);
    while (rc == 0 && !end) {
        char *line = readline("> ");
        if (line == NULL && run_interrupted()) {
            putchar('\n'); /* Ctrl-C at the prompt: a fresh line */
            continue;
        }
        if (line == NULL)
            break;
        rc = take_line(s, c, line, &end);
        free(line); /* readline's own malloc */
    }
    if (s->args->history != NULL && write_history(s->args->history) != 0)
        fprintf(stderr, "naru: cannot write the history to %s\n", s->args->history);
    drop_messages(c, 0);
    mem_free(c);
    return rc == 0 ? 0 : err_set(err, rc, "the conversation is too long: %s", err_code_text(rc));
}
