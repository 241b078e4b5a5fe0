/* cmd/complete.h - completion for shells, from the same option tables as --help.
 *
 * Idea: a script that knows every verb and option of this very program: written by `naru completion
 * SHELL`, installed by the package. Values are completed where the table tells what they are: FILE
 * and DIR are paths, and a help text of the form "...: a, b, c (default ...)" lists its choices. */
#ifndef CMD_COMPLETE_H
#define CMD_COMPLETE_H

#include "cmd/cmd.h"

/* shell: "bash" or "zsh". E_USAGE for others. */
NODISCARD int cmd_complete(const struct cmd_verb *const *verbs, size_t n, const char *shell,
                           struct buf *out, struct err *err);

#endif
