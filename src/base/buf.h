/* base/buf.h - bytes that grow up to a limit.
 *
 * Idea: build text or binary output without counting bytes by hand. The first failure (memory,
 * limit) sticks: later appends do nothing and buf_status tells, so that a writer checks once, at
 * the end.
 *
 * Invariants: data[len] == '\0' once anything was appended; len <= max_bytes.
 * Ownership: the buffer owns data; buf_take hands it over.   Threads: one at a time.
 * Cost: appends are amortised O(1). */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stddef.h>

#include "base/err.h"

struct buf {
    char *data; /* NULL while empty */
    size_t len;
    size_t cap;
    size_t max_bytes;
    int status; /* 0, E_NOMEM or E_LIMIT; sticks */
};

void buf_init(struct buf *b, size_t max_bytes);
void buf_fini(struct buf *b);
void buf_clear(struct buf *b); /* empty again, keeps the memory, forgets the status */

void buf_put(struct buf *b, const void *bytes, size_t len);
void buf_puts(struct buf *b, const char *s);
void buf_putc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);

static inline int buf_status(const struct buf *b) { return b->status; }
/* The text, never NULL; lives until the next call on b. */
static inline const char *buf_str(const struct buf *b) { return b->data != NULL ? b->data : ""; }
/* Hands over the memory (mem_free it); b is empty afterwards. NULL after a failure or if empty. */
NODISCARD char *buf_take(struct buf *b, size_t *len);

#endif
