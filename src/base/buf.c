#include "base/buf.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"

void buf_init(struct buf *b, size_t max_bytes)
{
    *b = (struct buf){ .max_bytes = max_bytes };
}

void buf_fini(struct buf *b)
{
    mem_free(b->data);
    buf_init(b, b->max_bytes);
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->status = 0;
    if (b->data != NULL)
        b->data[0] = '\0';
}

/* Makes room for `more` bytes and the NUL; false (and a sticky status) when that cannot be. */
static bool reserve(struct buf *b, size_t more)
{
    if (b->status < 0)
        return false;
    size_t need;
    if (num_add(&need, b->len, more) < 0 || need > b->max_bytes || num_add(&need, need, 1) < 0) {
        b->status = E_LIMIT;
        return false;
    }
    if (need <= b->cap)
        return true;
    size_t cap = num_max(need, num_min(b->cap + b->cap / 2 + 64, b->max_bytes + 1));
    char *data = mem_realloc(b->data, cap, 1);
    if (data == NULL) {
        b->status = E_NOMEM;
        return false;
    }
    b->data = data;
    b->cap = cap;
    return true;
}

void buf_put(struct buf *b, const void *bytes, size_t len)
{
    if (!reserve(b, len))
        return;
    if (len != 0)
        memcpy(b->data + b->len, bytes, len);
    b->len += len;
    b->data[b->len] = '\0';
}

void buf_puts(struct buf *b, const char *s) { buf_put(b, s, strlen(s)); }

void buf_putc(struct buf *b, char c) { buf_put(b, &c, 1); }

void buf_printf(struct buf *b, const char *fmt, ...)
{
    char small[256];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(small, sizeof small, fmt, args);
    va_end(args);
    CHECK(n >= 0);
    if ((size_t)n < sizeof small) {
        buf_put(b, small, (size_t)n);
        return;
    }
    if (!reserve(b, (size_t)n))
        return;
    va_start(args, fmt);
    vsnprintf(b->data + b->len, (size_t)n + 1, fmt, args);
    va_end(args);
    b->len += (size_t)n;
}

char *buf_take(struct buf *b, size_t *len)
{
    char *data = b->status < 0 ? NULL : b->data;
    if (data == NULL)
        mem_free(b->data);
    if (len != NULL)
        *len = data != NULL ? b->len : 0;
    buf_init(b, b->max_bytes);
    return data;
}
