/* net/sse.h - server-sent events: the framing of a streamed answer.
 *
 * Idea: an event is "event: NAME" (optional), "data: " lines, an empty line; a line that begins
 * with a colon is a comment that clients skip (WHATWG HTML, 9.2). Data is written line by line, so
 * that no newline in it can end the event early.
 *
 * Cost: linear; nothing but the buffer. */
#ifndef NET_SSE_H
#define NET_SSE_H

#include <stddef.h>

#include "base/buf.h"

/* name: NULL for a plain message. Carriage returns and newlines in data begin a new data line. */
void net_sse_event(struct buf *out, const char *name, const char *data, size_t len);
/* ": text" for a client that waits; text is one line. */
void net_sse_comment(struct buf *out, const char *text);

#endif
