#include "net/sse.h"

#include "base/err.h"

void net_sse_event(struct buf *out, const char *name, const char *data, size_t len)
{
    if (name != NULL)
        buf_printf(out, "event: %s\n", name);
    size_t from = 0;
    for (;;) {
        size_t end = from;
        while (end < len && data[end] != '\n' && data[end] != '\r')
            end++;
        buf_puts(out, "data: ");
        buf_put(out, data + from, end - from);
        buf_putc(out, '\n');
        if (end == len)
            break;
        from = end + 1 + (data[end] == '\r' && end + 1 < len && data[end + 1] == '\n');
    }
    buf_putc(out, '\n');
}

void net_sse_comment(struct buf *out, const char *text) { buf_printf(out, ": %s\n\n", text); }
