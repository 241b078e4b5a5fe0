#include "cmd/complete.h"

#include <string.h>

/* The choices a help text lists, separated by single spaces; nothing if it lists none. At least two
 * words of letters, digits, '-' and '_' between ": " and the end or " (". */
static void put_choices(struct buf *out, const char *help)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-_";
    const char *at = strstr(help, ": ");
    size_t mark = out->len;
    uint32_t n = 0;
    at = at != NULL ? at + 2 : "";
    for (;;) {
        size_t len = strspn(at, letters);
        if (len == 0)
            break;
        buf_printf(out, "%s%.*s", n++ > 0 ? " " : "", (int)len, at);
        at += len;
        if (strncmp(at, ", ", 2) != 0)
            break;
        at += 2;
    }
    if (n < 2 || (*at != '\0' && strncmp(at, " (", 2) != 0))
        out->len = mark; /* prose, no list */
}

static bool is_path(const struct opt *o)
{
    return o->arg != NULL && (strstr(o->arg, "FILE") != NULL || strstr(o->arg, "DIR") != NULL ||
                              strstr(o->arg, "PATH") != NULL);
}

/* --- bash --- */

static void bash_verb(struct buf *out, const struct cmd_verb *v)
{
    struct buf choices;
    buf_init(&choices, 1u << 16);
    buf_printf(out, "    %s)\n        options='", v->name);
    for (size_t i = 0; i < v->table->n; i++)
        buf_printf(out, "%s--%s", i > 0 ? " " : "", v->table->opts[i].name);
    buf_puts(out, "'\n        case $prev in\n");
    for (size_t i = 0; i < v->table->n; i++) {
        const struct opt *o = &v->table->opts[i];
        if (o->kind == OPT_FLAG)
            continue;
        buf_puts(out, "        ");
        if (o->letter != '\0')
            buf_printf(out, "-%c | ", o->letter);
        buf_clear(&choices);
        put_choices(&choices, o->help);
        buf_printf(out, "--%s) ", o->name);
        if (is_path(o))
            buf_puts(out, "values=-f ;;\n");
        else if (choices.len > 0)
            buf_printf(out, "values='%s' ;;\n", buf_str(&choices));
        else
            buf_puts(out, "return ;;\n");
    }
    buf_puts(out, "        esac ;;\n");
    buf_fini(&choices);
}

static void put_names(struct buf *out, const struct cmd_verb *const *verbs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%s ", verbs[i]->name);
    buf_puts(out, "completion help version");
}

static void bash(struct buf *out, const struct cmd_verb *const *verbs, size_t n)
{
    buf_puts(out, "# bash completion of naru; made by `naru completion bash`.\n"
                  "_naru() {\n"
                  "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}\n"
                  "    local verbs='");
    put_names(out, verbs, n);
    buf_puts(out, "' options='' values=''\n"
                  "    COMPREPLY=()\n"
                  "    if [[ $COMP_CWORD -eq 1 ]]; then\n"
                  "        mapfile -t COMPREPLY < <(compgen -W \"$verbs\" -- \"$cur\")\n"
                  "        return\n"
                  "    fi\n"
                  "    if [[ $cur == = ]]; then cur=; fi\n"
                  "    if [[ $prev == = && $COMP_CWORD -gt 2 ]]; then\n"
                  "        prev=${COMP_WORDS[COMP_CWORD - 2]} # --name=value: '=' is a word\n"
                  "    fi\n"
                  "    case ${COMP_WORDS[1]} in\n"
                  "    help) options=$verbs ;;\n"
                  "    completion) options='bash zsh' ;;\n");
    for (size_t i = 0; i < n; i++)
        bash_verb(out, verbs[i]);
    buf_puts(out, "    esac\n"
                  "    if [[ $values == -f ]]; then\n"
                  "        compopt -o filenames 2>/dev/null\n"
                  "        mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
                  "    elif [[ -n $values ]]; then\n"
                  "        mapfile -t COMPREPLY < <(compgen -W \"$values\" -- \"$cur\")\n"
                  "    elif [[ $cur == -* || ${COMP_WORDS[1]} == help || ${COMP_WORDS[1]} == "
                  "completion ]]; then\n"
                  "        mapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$cur\")\n"
                  "    else\n"
                  "        compopt -o filenames 2>/dev/null\n"
                  "        mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
                  "    fi\n"
                  "}\n"
                  "complete -F _naru naru\n");
}

/* --- zsh --- */

/* Inside single quotes and a description of _arguments. */
static void zsh_text(struct buf *out, const char *s)
{
    for (; *s != '\0'; s++) {
        if (*s == '\'')
            buf_puts(out, "'\\''");
        else if (*s == '[' || *s == ']' || *s == ':' || *s == '\\')
            buf_printf(out, "\\%c", *s);
        else
            buf_putc(out, *s);
    }
}

static void zsh_option(struct buf *out, const struct opt *o)
{
    struct buf choices;
    bool flag = o->kind == OPT_FLAG;
    const char *often = o->kind == OPT_LIST ? "*" : "";
    buf_init(&choices, 1u << 16);
    buf_puts(out, " \\\n            ");
    if (o->letter != '\0')
        buf_printf(out, "'%s'{-%c%s,--%s%s}'[", often, o->letter, flag ? "" : "+", o->name,
                   flag ? "" : "=");
    else
        buf_printf(out, "'%s--%s%s[", often, o->name, flag ? "" : "=");
    zsh_text(out, o->help);
    buf_putc(out, ']');
    if (!flag) {
        put_choices(&choices, o->help);
        buf_printf(out, ":%s:", o->arg);
        if (is_path(o))
            buf_puts(out, "_files");
        else if (choices.len > 0)
            buf_printf(out, "(%s)", buf_str(&choices));
    }
    buf_putc(out, '\'');
    buf_fini(&choices);
}

static void zsh(struct buf *out, const struct cmd_verb *const *verbs, size_t n)
{
    buf_puts(out, "#compdef naru\n# zsh completion of naru; made by `naru completion zsh`.\n"
                  "_naru() {\n    local -a verbs\n    verbs=(\n");
    for (size_t i = 0; i < n; i++) {
        buf_printf(out, "        '%s:", verbs[i]->name);
        zsh_text(out, verbs[i]->summary);
        buf_puts(out, "'\n");
    }
    buf_puts(out, "        'completion:completion for a shell'\n        'help:more of a verb'\n"
                  "        'version:version, commit and licence'\n    )\n"
                  "    if (( CURRENT == 2 )); then\n        _describe verb verbs\n        return\n"
                  "    fi\n    local verb=$words[2]\n    shift words\n    (( CURRENT-- ))\n"
                  "    case $verb in\n    help) _describe verb verbs ;;\n"
                  "    completion) _values shell bash zsh ;;\n");
    for (size_t i = 0; i < n; i++) {
        buf_printf(out, "    %s)\n        _arguments -s", verbs[i]->name);
        for (size_t k = 0; k < verbs[i]->table->n; k++)
            zsh_option(out, &verbs[i]->table->opts[k]);
        buf_puts(out, " \\\n            '*:file:_files' ;;\n");
    }
    buf_puts(out, "    esac\n}\n_naru \"$@\"\n");
}

int cmd_complete(const struct cmd_verb *const *verbs, size_t n, const char *shell, struct buf *out,
                 struct err *err)
{
    if (shell != NULL && strcmp(shell, "bash") == 0)
        bash(out, verbs, n);
    else if (shell != NULL && strcmp(shell, "zsh") == 0)
        zsh(out, verbs, n);
    else
        return err_set(err, E_USAGE, "give a shell: naru completion bash, or naru completion zsh");
    return buf_status(out) == 0 ? 0 : err_set(err, buf_status(out), "out of memory");
}
