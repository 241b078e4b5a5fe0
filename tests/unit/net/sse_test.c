/* Goal: the framing of events survives any data, newlines above all. */
#include "unit/test.h"

#include "net/sse.h"

static void check(const char *name, const char *data, const char *want)
{
    struct buf b;
    buf_init(&b, 1u << 16);
    net_sse_event(&b, name, data, strlen(data));
    assert_int_equal(buf_status(&b), 0);
    assert_string_equal(buf_str(&b), want);
    buf_fini(&b);
}

static void event_is_framed(UNUSED void **state)
{
    check(NULL, "{\"a\":1}", "data: {\"a\":1}\n\n");
    check("error", "x", "event: error\ndata: x\n\n");
    check(NULL, "", "data: \n\n");
}

static void newlines_begin_data_lines(UNUSED void **state)
{
    check(NULL, "a\nb", "data: a\ndata: b\n\n");
    check(NULL, "a\r\nb", "data: a\ndata: b\n\n");
    check(NULL, "a\rb", "data: a\ndata: b\n\n");
    check(NULL, "a\n\nevent: forged", "data: a\ndata: \ndata: event: forged\n\n");
    check(NULL, "a\r", "data: a\ndata: \n\n");
}

static void comment_is_a_comment(UNUSED void **state)
{
    struct buf b;
    buf_init(&b, 64);
    net_sse_comment(&b, "ping");
    assert_string_equal(buf_str(&b), ": ping\n\n");
    buf_fini(&b);
}

int sse_test(void);
int sse_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(event_is_framed),
        cmocka_unit_test(newlines_begin_data_lines),
        cmocka_unit_test(comment_is_a_comment),
    };
    return cmocka_run_group_tests_name("sse", tests, NULL, NULL);
}
