/* The man page, from the same tables as --help, so that it cannot tell of an option that is gone.
 * */
#include "cmd/man.h"

#include <string.h>

/* roff: a leading dot or quote is a command, a backslash an escape, a dash a hyphen. */
static void put_roff(struct buf *out, const char *s)
{
    bool line_start = true;
    for (; *s != '\0'; s++) {
        if (line_start && (*s == '.' || *s == '\''))
            buf_puts(out, "\\&");
        if (*s == '\\')
            buf_puts(out, "\\e");
        else if (*s == '-')
            buf_puts(out, "\\-");
        else
            buf_putc(out, *s);
        line_start = *s == '\n';
    }
}

static void put_option(struct buf *out, const struct opt *o)
{
    buf_puts(out, ".TP\n\\fB");
    if (o->letter != '\0')
        buf_printf(out, "\\-%c\\fR, \\fB", o->letter);
    buf_puts(out, "\\-\\-");
    put_roff(out, o->name);
    buf_puts(out, "\\fR");
    if (o->arg != NULL) {
        buf_puts(out, " \\fI");
        put_roff(out, o->arg);
        buf_puts(out, "\\fR");
    }
    buf_putc(out, '\n');
    put_roff(out, o->help);
    buf_putc(out, '\n');
}

static bool in_table(const struct opt_table *t, const char *name)
{
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->opts[i].name, name) == 0)
            return true;
    return false;
}

/* Options that every verb has are told once, at the end. */
static bool is_common(const struct cmd_verb *const *verbs, size_t n, const char *name)
{
    bool all = true;
    for (size_t i = 0; i < n; i++)
        all = all && in_table(verbs[i]->table, name);
    return all;
}

static void put_verb(struct buf *out, const struct cmd_verb *const *verbs, size_t n,
                     const struct cmd_verb *v)
{
    buf_printf(out, ".SS %s\n", v->name);
    put_roff(out, v->usage);
    buf_puts(out, "\n.PP\n");
    put_roff(out, v->about);
    buf_putc(out, '\n');
    for (size_t i = 0; i < v->table->n; i++)
        if (!is_common(verbs, n, v->table->opts[i].name))
            put_option(out, &v->table->opts[i]);
    if (v->examples != NULL) {
        buf_puts(out, ".PP\n.nf\n");
        put_roff(out, v->examples);
        buf_puts(out, ".fi\n");
    }
}

void cmd_man(const struct cmd_verb *const *verbs, size_t n, const char *version, struct buf *out)
{
    buf_printf(out, ".TH NARU 1 \"\" \"naru %s\" \"User Commands\"\n.SH NAME\n"
               "naru \\- an inference operating system: model files and memory in, tokens out\n"
               ".SH SYNOPSIS\n\\fBnaru\\fR \\fIVERB\\fR [\\fIOPTIONS\\fR]\n.SH VERBS\n", version);
    for (size_t i = 0; i < n; i++)
        put_verb(out, verbs, n, verbs[i]);
    buf_puts(out, ".SH OPTIONS OF EVERY VERB\n");
    for (size_t i = 0; n > 0 && i < verbs[0]->table->n; i++)
        if (is_common(verbs, n, verbs[0]->table->opts[i].name))
            put_option(out, &verbs[0]->table->opts[i]);
    buf_puts(out, ".SH EXIT STATUS\n0 done; 1 the world (file, memory, port); 2 usage.\n"
                  ".SH FILES\n.I /usr/share/naru/models/naru\\-chat.gguf\nThe bundled model.\n");
}

void cmd_man_config(const struct cmd_verb *serve, const char *version, struct buf *out)
{
    static const char *const not_here[] = { "config", "check-config", "help" };
    buf_printf(out, ".TH NARU.CONF 5 \"\" \"naru %s\" \"File Formats\"\n.SH NAME\n"
               "naru.conf \\- options of the Naru server\n.SH DESCRIPTION\n"
               "One \\(lqname = value\\(rq a line: the options of \\fBnaru serve\\fR without "
               "their dashes. A line that begins with # is a comment. Flags take true or false. "
               "The environment (NARU_PORT=9000) wins over the file, the command line over both.\n"
               ".PP\nCheck a file with \\fBnaru serve \\-\\-config FILE "
               "\\-\\-check\\-config\\fR. SIGHUP reads it again: what can change while requests "
               "run does, the log names what takes a restart, and a file that is wrong changes "
               "nothing.\n.SH OPTIONS\n", version);
    for (size_t i = 0; i < serve->table->n; i++) {
        const struct opt *o = &serve->table->opts[i];
        bool here = true;
        for (size_t k = 0; k < COUNT_OF(not_here); k++)
            here = here && strcmp(o->name, not_here[k]) != 0;
        if (!here)
            continue;
        buf_puts(out, ".TP\n\\fB");
        put_roff(out, o->name);
        buf_puts(out, "\\fR = \\fI");
        put_roff(out, o->arg != NULL ? o->arg : "true");
        buf_puts(out, "\\fR\n");
        put_roff(out, o->help);
        buf_putc(out, '\n');
    }
    buf_puts(out, ".SH FILES\n.TP\n.I /etc/naru/naru.conf\nRead by the service.\n"
                  ".SH SEE ALSO\n.BR naru (1)\n");
}
