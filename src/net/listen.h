/* net/listen.h - a listening TCP socket, or a line that says why not and what to do.
 *
 * Idea: the library's own bind tells only that it failed. No name is looked up (G-19): an address
 * is numeric, or "localhost".   Cost: a few system calls. */
#ifndef NET_LISTEN_H
#define NET_LISTEN_H

#include <stdint.h>

#include "base/err.h"

/* port 0: any free one. *fd and *bound are set on success. E_USAGE, E_BUSY, E_DENIED, E_IO. */
NODISCARD int net_listen(const char *host, uint16_t port, int *fd, uint16_t *bound,
                         struct err *err);

/* A Unix socket at path that its owner alone may open. One that a server left behind is replaced;
 * one that somebody answers on is E_BUSY. E_USAGE (the path is too long), E_IO. */
NODISCARD int net_listen_unix(const char *path, int *fd, struct err *err);

#endif
