/* Goal: tools are checked by path; a forced call is written as the format has it; what a model writes
 * becomes the same text, thoughts and calls in a whole answer and in deltas, cut at every byte. */
#include "unit/test.h"

#include <stdio.h>

#include "api/answer.h"
#include "api/tools.h"

static json_value *parse(const char *text)
{
    json_value *v = NULL;
    struct err err = { 0 };
    if (json_parse(&v, text, strlen(text), &JSON_LIMITS_REQUEST, &err) != 0)
        fail_msg("%s: %s", text, err.text);
    return v;
}

#define F(name) "{\"type\":\"function\",\"function\":{\"name\":\"" name "\"}}"
#define NAMED(name) "{\"type\":\"function\",\"function\":{\"name\":\"" name "\"}}"

static void choices(UNUSED void **state)
{
    static const struct { const char *choice; int code; const char *path; int want; } rows[] = {
        { "[\"auto\"]", 0, "", API_TOOL_AUTO },
        { "[\"required\"]", 0, "", API_TOOL_REQUIRED },
        { "[" NAMED("b") "]", 0, "", API_TOOL_NAMED },
        { "[" NAMED("c") "]", E_RANGE, "tool_choice.function.name", 0 },
        { "[{\"type\":\"custom\"}]", E_UNSUPPORTED, "tool_choice.type", 0 },
        { "[{\"type\":\"function\"}]", E_FORMAT, "tool_choice.function.name", 0 },
        { "[\"any\"]", E_RANGE, "tool_choice", 0 },
        { "[1]", E_FORMAT, "tool_choice", 0 },
    };
    json_value *tools = parse("[" F("a") "," F("b") "]");
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct api_tools t;
        struct err err = { 0 };
        json_value *v = parse(rows[i].choice);
        assert_int_equal(api_tools_read(&t, tools, json_at(v, 0), NULL, &err), rows[i].code);
        if (rows[i].code == 0) {
            assert_ptr_equal(t.list, tools);
            assert_int_equal(t.choice, rows[i].want);
            assert_int_equal(t.named, rows[i].want == API_TOOL_NAMED ? 1 : 0);
        } else {
            assert_string_equal(err.field, rows[i].path);
        }
        json_free(v);
    }
    struct api_tools t;
    struct err err = { 0 };
    json_value *none = parse("[\"none\",false]"), *bad = parse("[{}]");
    assert_int_equal(api_tools_read(&t, bad, json_at(none, 0), json_at(none, 1), &err), 0);
    assert_null(t.list);
    assert_int_equal(api_tools_read(&t, tools, NULL, json_at(none, 1), &err), 0);
    assert_true(t.one);
    json_free(bad);
    json_free(none);
    json_free(tools);
}

static void forced_calls(UNUSED void **state)
{
    json_value *tools = parse("[" F("a") ",{\"type\":\"function\",\"function\":{\"name\":\"b\","
                              "\"parameters\":{\"type\":\"object\"}}}]");
    struct api_tools t = { .list = tools, .choice = API_TOOL_NAMED, .named = 1 };
    struct err err = { 0 };
    json_value *calls = NULL;
    assert_int_equal(api_tools_force(&t, TEXT_TOOL_JSON, &calls, &err), 0);
    assert_int_equal(json_len(calls), 1);
    size_t len = 0;
    assert_string_equal(json_text(json_get(json_at(calls, 0), "begin"), &len),
                        "<tool_call>\n{\"name\": \"b\", \"arguments\": ");
    assert_string_equal(json_text(json_get(json_at(calls, 0), "path"), &len),
                        "[1].function.parameters");
    json_free(calls);
    t.choice = API_TOOL_REQUIRED;
    assert_int_equal(api_tools_force(&t, TEXT_TOOL_LLAMA, &calls, &err), 0);
    assert_int_equal(json_len(calls), 2);
    assert_true(json_has(json_get(json_at(calls, 0), "schema"), "additionalProperties"));
    json_free(calls);
    assert_int_equal(api_tools_force(&t, TEXT_TOOL_HARMONY, &calls, &err), E_UNSUPPORTED);
    assert_string_equal(err.field, "tool_choice");
    json_free(tools);
}

/* --- answers ---------------------------------------------------------------------------------- */

struct sink {
    struct api_answer *answer;
    struct buf *stream;
    struct buf text, thought;
    struct api_call_list calls;
};

static void take(void *ctx, const struct text_tool_event *ev)
{
    static const struct engine_usage usage;
    struct sink *s = ctx;
    struct api_choice v = { .text = "", .reasoning = "" };
    struct api_call_part part;
    if (ev->kind == TEXT_TOOL_END)
        return;
    api_choice_parsed(&v, &part, ev);
    snprintf(part.id, sizeof part.id, "call_%u", part.index);
    s->answer->writer->delta(s->answer, &v, &usage, s->stream);
    buf_put(&s->text, v.text, v.len);
    buf_put(&s->thought, v.reasoning, v.reasoning_len);
    if (v.n_calls > 0)
        assert_int_equal(api_call_list_add(&s->calls, &part), 0);
}

static void add_text(struct buf *to, const json_value *delta, const char *name)
{
    size_t len = 0;
    const char *s = json_text(json_get(delta, name), &len);
    if (s != NULL)
        buf_put(to, s, len);
}

/* What a client puts together from the deltas: "text|thought|id name args id name args". */
static void join_stream(struct buf *out, const struct buf *stream)
{
    struct buf parts[3];
    for (int i = 0; i < 3; i++)
        buf_init(&parts[i], 1u << 20);
    for (char *at = strtok((char *)(uintptr_t)buf_str(stream), "\n"); at; at = strtok(NULL, "\n")) {
        assert_int_equal(strncmp(at, "data: ", 6), 0);
        json_value *v = parse(at + 6);
        const json_value *delta = json_get(json_at(json_get(v, "choices"), 0), "delta");
        add_text(&parts[0], delta, "content");
        add_text(&parts[1], delta, "reasoning_content");
        const json_value *call = json_at(json_get(delta, "tool_calls"), 0);
        const json_value *function = json_get(call, "function");
        add_text(&parts[2], call, "id");
        add_text(&parts[2], function, "name");
        add_text(&parts[2], function, "arguments");
        json_free(v);
    }
    for (int i = 0; i < 3; i++) {
        buf_put(out, buf_str(&parts[i]), parts[i].len);
        buf_putc(out, '|');
        buf_fini(&parts[i]);
    }
}

/* The same from what a whole answer is made of. */
static void join_whole(struct buf *out, struct sink *s)
{
    buf_put(out, buf_str(&s->text), s->text.len);
    buf_putc(out, '|');
    buf_put(out, buf_str(&s->thought), s->thought.len);
    buf_putc(out, '|');
    api_call_list_finish(&s->calls);
    for (uint32_t i = 0; i < s->calls.n; i++) {
        const struct api_call_part *p = &s->calls.parts[i];
        buf_puts(out, p->id);
        buf_put(out, p->name.data, p->name.len);
        buf_put(out, p->args.data, p->args.len);
    }
    buf_putc(out, '|');
}

static void run(const char *said, size_t cut, bool streamed, struct buf *out)
{
    static struct api_request request;
    struct api_answer a;
    struct buf stream;
    struct sink s = { .answer = &a, .stream = &stream };
    struct text_toolcall *p = NULL;
    api_answer_init(&a, API_CHAT, 1);
    a.model = a.fingerprint = "m";
    a.request = &request;
    buf_init(&stream, 1u << 20);
    buf_init(&s.text, 1u << 20);
    buf_init(&s.thought, 1u << 20);
    api_call_list_init(&s.calls, 1u << 20);
    assert_int_equal(text_toolcall_create(&p, TEXT_TOOL_JSON, false, take, &s), 0);
    assert_int_equal(text_toolcall_put(p, said, cut), 0);
    assert_int_equal(text_toolcall_put(p, said + cut, strlen(said) - cut), 0);
    assert_int_equal(text_toolcall_end(p), 0);
    if (streamed)
        join_stream(out, &stream);
    else
        join_whole(out, &s);
    text_toolcall_destroy(p);
    api_call_list_fini(&s.calls);
    buf_fini(&s.text);
    buf_fini(&s.thought);
    buf_fini(&stream);
    api_answer_fini(&a);
}

static void deltas_cut_anywhere(UNUSED void **state)
{
    static const char said[] = "<think>hm</think>So:<tool_call>\n{\"name\": \"f\", \"arguments\": "
                               "{\"a\": \"}\\\"\"}}\n</tool_call>\n<tool_call>\n{\"name\": \"g\", "
                               "\"arguments\": {}}\n</tool_call>";
    for (size_t cut = 0; cut < sizeof said; cut++)
        for (int streamed = 0; streamed < 2; streamed++) {
            struct buf out;
            buf_init(&out, 1u << 20);
            run(said, cut, streamed != 0, &out);
            assert_string_equal(buf_str(&out), "So:|hm|call_0f{\"a\": \"}\\\"\"}call_1g{}|");
            buf_fini(&out);
        }
}

int tools_test(void);
int tools_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(choices),
        cmocka_unit_test(forced_calls),
        cmocka_unit_test(deltas_cut_anywhere),
    };
    return cmocka_run_group_tests_name("tools", tests, NULL, NULL);
}
