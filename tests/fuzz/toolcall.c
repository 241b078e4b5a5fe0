/* Property: any text in any format gives the same texts, thoughts and calls whether it comes at once or
 * byte by byte; calls begin, get arguments and end in this order. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "text/toolcall.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct record {
    struct buf out;
    int last;
    bool open;
};

static void note(void *ctx, const struct text_tool_event *ev)
{
    struct record *r = ctx;
    bool in_call = ev->kind == TEXT_TOOL_ARGS || ev->kind == TEXT_TOOL_END;
    CHECK(in_call == r->open);
    if ((int)ev->kind != r->last || ev->kind == TEXT_TOOL_BEGIN || ev->kind == TEXT_TOOL_END)
        buf_printf(&r->out, "\n%d:", (int)ev->kind);
    buf_put(&r->out, ev->text, ev->len);
    r->last = (int)ev->kind;
    if (ev->kind == TEXT_TOOL_BEGIN)
        r->open = true;
    if (ev->kind == TEXT_TOOL_END)
        r->open = false;
}

static void run(struct record *r, uint8_t how, const char *text, size_t len, size_t step)
{
    struct text_toolcall *p = NULL;
    *r = (struct record){ .last = -1 };
    buf_init(&r->out, 1u << 24);
    CHECK(text_toolcall_create(&p, (enum text_tool_format)(how % 7), (how & 8) != 0, note, r) == 0);
    for (size_t at = 0; at < len; at += step)
        CHECK(text_toolcall_put(p, text + at, step < len - at ? step : len - at) == 0);
    CHECK(text_toolcall_end(p) == 0);
    CHECK(!r->open);
    text_toolcall_destroy(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct record whole, bytes;
    if (size < 2 || size > 4096)
        return 0;
    run(&whole, data[0], (const char *)data + 1, size - 1, size);
    run(&bytes, data[0], (const char *)data + 1, size - 1, 1);
    CHECK(whole.out.len == bytes.out.len);
    CHECK(whole.out.len == 0 || memcmp(whole.out.data, bytes.out.data, whole.out.len) == 0);
    buf_fini(&whole.out);
    buf_fini(&bytes.out);
    return 0;
}
