/* Goal: calls, thoughts and text of each format are told apart, the same wherever the bytes are cut:
 * all at once, byte by byte, and in two at every place. */
#include "unit/test.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/mem.h"
#include "text/toolcall.h"

int toolcall_test(void);

#define DS(x) "<\xef\xbd\x9c" x "\xef\xbd\x9c>"
#define BAR "\xe2\x96\x81"

/* want: events written as  T:text  R:thought  C:name(args)  one behind the other. */
static const struct {
    enum text_tool_format format;
    bool thinks;
    const char *text, *want;
} cases[] = {
    { TEXT_TOOL_NONE, false, "Hello <tool_call>", "T:Hello <tool_call>" },
    { TEXT_TOOL_NONE, false, "<think>Hm.</think>\nYes", "R:Hm.T:\nYes" },
    { TEXT_TOOL_NONE, true, "Hm. </thin </think>Yes", "R:Hm. </thin T:Yes" },
    { TEXT_TOOL_JSON, false,
      "I look.\n<tool_call>\n{\"name\": \"get\", \"arguments\": {\"q\": \"a}\\\"b\", \"n\": [1, {}]}}\n</tool_call>\n"
      "<tool_call>{\"arguments\": {\"x\": 1}, \"name\": \"put\"}</tool_call>",
      "T:I look.\nC:get({\"q\": \"a}\\\"b\", \"n\": [1, {}]})C:put({\"x\":1})" },
    { TEXT_TOOL_JSON, false, "<tool_call>{\"name\": \"f\", \"arguments\": {}, \"id\": \"7\"}</tool_call> done",
      "C:f({})T:done" },
    { TEXT_TOOL_JSON, false, "<tool_call>{\"name\":\"now\"}</tool_call>", "C:now({})" },
    { TEXT_TOOL_JSON, false, "a < b <tool_cal", "T:a < b <tool_cal" },
    { TEXT_TOOL_JSON, true, "plan</think><tool_call>\n<function=go>\n<parameter=city>\nSeoul\n</parameter>\n"
      "<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>",
      "R:planC:go({\"city\":\"Seoul\",\"days\":3})" },
    { TEXT_TOOL_LLAMA, false, "{\"name\": \"f\", \"parameters\": {\"a\": 1}}; {\"name\": \"g\", \"parameters\": {}}",
      "C:f({\"a\": 1})C:g({})" },
    { TEXT_TOOL_LLAMA, false, "<|python_tag|>{\"name\": \"f\", \"parameters\": {\"a\": \"b\"}}", "C:f({\"a\": \"b\"})" },
    { TEXT_TOOL_LLAMA, false, "{\"answer\": 42}", "T:{\"answer\": 42}" },
    { TEXT_TOOL_LLAMA, false, "Plain words.", "T:Plain words." },
    { TEXT_TOOL_MISTRAL, false, "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"a\": 1}}, {\"name\": \"g\", \"arguments\": {}}]",
      "C:f({\"a\": 1})C:g({})" },
    { TEXT_TOOL_MISTRAL, false, "Ok[TOOL_CALLS]f[ARGS]{\"a\": 1}[TOOL_CALLS]g[CALL_ID]abc[ARGS]{}",
      "T:OkC:f({\"a\": 1})C:g({})" },
    { TEXT_TOOL_DEEPSEEK, false,
      "Sure." DS("tool" BAR "calls" BAR "begin") DS("tool" BAR "call" BAR "begin") "function" DS("tool" BAR "sep")
      "f\n```json\n{\"a\": 1}\n```" DS("tool" BAR "call" BAR "end") DS("tool" BAR "calls" BAR "end"),
      "T:Sure.C:f({\"a\": 1})" },
    { TEXT_TOOL_DEEPSEEK, true,
      "hm</think>" DS("tool" BAR "calls" BAR "begin") DS("tool" BAR "call" BAR "begin") "f" DS("tool" BAR "sep")
      "{\"a\": 1}" DS("tool" BAR "call" BAR "end") DS("tool" BAR "call" BAR "begin") "g" DS("tool" BAR "sep") "{}"
      DS("tool" BAR "call" BAR "end") DS("tool" BAR "calls" BAR "end"), "R:hmC:f({\"a\": 1})C:g({})" },
    { TEXT_TOOL_KIMI, false,
      "Ok<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{\"a\": 1}"
      "<|tool_call_end|><|tool_call_begin|>functions.g:1<|tool_call_argument_begin|>{}<|tool_call_end|>"
      "<|tool_calls_section_end|>", "T:OkC:f({\"a\": 1})C:g({})" },
    { TEXT_TOOL_HARMONY, false,
      "<|channel|>analysis<|message|>Think.<|end|><|start|>assistant<|channel|>commentary to=functions.f "
      "<|constrain|>json<|message|>{\"a\": 1}<|call|>", "R:Think.C:f({\"a\": 1})" },
    { TEXT_TOOL_HARMONY, false,
      "<|channel|>analysis<|message|>T<|end|><|start|>assistant<|channel|>final<|message|>Hi.<|return|>", "R:TT:Hi." },
    { TEXT_TOOL_HARMONY, false,
      "<|channel|>analysis<|message|>T<|end|><|start|>assistant to=functions.g<|channel|>commentary<|message|>{}<|call|>",
      "R:TC:g({})" },
};

struct record {
    struct buf out;
    enum text_tool_kind last;
};

static void note(void *ctx, const struct text_tool_event *ev)
{
    struct record *r = ctx;
    bool again = r->last == ev->kind && r->out.len > 0;
    if (ev->kind == TEXT_TOOL_TEXT && !again)
        buf_puts(&r->out, "T:");
    if (ev->kind == TEXT_TOOL_THOUGHT && !again)
        buf_puts(&r->out, "R:");
    if (ev->kind == TEXT_TOOL_BEGIN)
        buf_puts(&r->out, "C:");
    buf_put(&r->out, ev->text, ev->len);
    if (ev->kind == TEXT_TOOL_BEGIN)
        buf_puts(&r->out, "(");
    if (ev->kind == TEXT_TOOL_END)
        buf_puts(&r->out, ")");
    r->last = ev->kind;
}

/* In pieces of `size` bytes after a first one of `first`. */
static void check(size_t i, size_t first, size_t size)
{
    struct record r = { .last = TEXT_TOOL_END };
    struct text_toolcall *p = NULL;
    const size_t len = strlen(cases[i].text);
    buf_init(&r.out, 1 << 16);
    assert_int_equal(text_toolcall_create(&p, cases[i].format, cases[i].thinks, note, &r), 0);
    for (size_t at = 0, n = first; at < len; at += n, n = size) {
        n = n < len - at ? n : len - at;
        char *copy = mem_strndup(cases[i].text + at, n); /* of exact size */
        assert_int_equal(text_toolcall_put(p, copy, n), 0);
        mem_free(copy);
    }
    assert_int_equal(text_toolcall_end(p), 0);
    if (strcmp(buf_str(&r.out), cases[i].want) != 0)
        fail_msg("case %zu cut at %zu:\n%s\nwanted\n%s", i, first, buf_str(&r.out), cases[i].want);
    text_toolcall_destroy(p);
    buf_fini(&r.out);
}

static void formats(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        check(i, SIZE_MAX, SIZE_MAX);
        check(i, 1, 1);
        for (size_t cut = 0; cut <= strlen(cases[i].text); cut++)
            check(i, cut, SIZE_MAX);
    }
}

/* An answer cut by max_tokens: the call ends with what there is, and nothing is lost. */
static void cut_short(void **state)
{
    static const char text[] = "x<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": [1, 2";
    (void)state;
    for (size_t len = 0; len < sizeof text; len++) {
        struct record r = { .last = TEXT_TOOL_END };
        struct text_toolcall *p = NULL;
        buf_init(&r.out, 1 << 16);
        assert_int_equal(text_toolcall_create(&p, TEXT_TOOL_JSON, false, note, &r), 0);
        assert_int_equal(text_toolcall_put(p, text, len), 0);
        assert_int_equal(text_toolcall_end(p), 0);
        if (len + 1 == sizeof text)
            assert_string_equal(buf_str(&r.out), "T:xC:f({\"a\": [1, 2)");
        text_toolcall_destroy(p);
        buf_fini(&r.out);
    }
}

static void names(void **state)
{
    static const struct {
        const char *source;
        enum text_tool_format format;
    } rows[] = {
        { "... <tool_call> ...", TEXT_TOOL_JSON },
        { "[AVAILABLE_TOOLS] [TOOL_CALLS]", TEXT_TOOL_MISTRAL },
        { "<|start|>assistant<|channel|>final", TEXT_TOOL_HARMONY },
        { "<|python_tag|>", TEXT_TOOL_LLAMA },
        { "{{ messages }}", TEXT_TOOL_NONE },
    };
    enum text_tool_format f = TEXT_TOOL_NONE;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        assert_int_equal(text_tool_format_of(rows[i].source, strlen(rows[i].source)), rows[i].format);
    for (int i = TEXT_TOOL_NONE; i <= TEXT_TOOL_HARMONY; i++) {
        assert_int_equal(text_tool_format_named(text_tool_format_name((enum text_tool_format)i), &f), 0);
        assert_int_equal(f, i);
    }
    assert_int_equal(text_tool_format_named("xml", &f), E_NOT_FOUND);
}

int toolcall_test(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(formats), cmocka_unit_test(cut_short),
                                        cmocka_unit_test(names) };
    return cmocka_run_group_tests_name("toolcall", tests, NULL, NULL);
}
