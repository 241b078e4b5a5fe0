/* cmd/man.h - the man page of the program (roff), written from the option tables of its verbs. */
#ifndef CMD_MAN_H
#define CMD_MAN_H

#include "base/buf.h"
#include "cmd/cmd.h"

void cmd_man(const struct cmd_verb *const *verbs, size_t n, const char *version, struct buf *out);
/* naru.conf(5): the options of `serve`, as its file takes them. */
void cmd_man_config(const struct cmd_verb *serve, const char *version, struct buf *out);

#endif
