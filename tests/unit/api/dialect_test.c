/* Goal: the Responses and Messages dialects become the same request a chat would be, and what they cannot
 * mean here is refused with its path. */
#include "unit/test.h"

#include <stdio.h>

#include "api/error.h"
#include "api/request.h"

#define N_VOCAB 100

static struct api_request r;

static int read_body(enum api_dialect dialect, const char *body, struct err *err)
{
    struct engine_sampler_params d = engine_sampler_defaults();
    *err = (struct err){ 0 };
    api_request_init(&r, dialect, &d);
    return api_request_read(&r, body, strlen(body), N_VOCAB, err);
}

/* The body's messages, written as JSON, must be `want`. */
static void becomes(enum api_dialect dialect, const char *body, const char *want)
{
    struct err err;
    if (read_body(dialect, body, &err) != 0)
        fail_msg("%s: %s", body, err.text);
    struct buf text;
    struct json_writer w;
    buf_init(&text, 1u << 16);
    json_writer_init(&w, &text);
    json_write_value(&w, r.messages);
    assert_string_equal(buf_str(&text), want);
    buf_fini(&text);
    api_request_fini(&r);
}

static void refuse(enum api_dialect dialect, const char *body, int code, const char *path)
{
    struct err err;
    int rc = read_body(dialect, body, &err);
    if (rc != code || strcmp(err.field, path) != 0)
        fail_msg("%s: code %d field %s: %s", body, rc, err.field, err.text);
    api_request_fini(&r);
}

#define USER "{\"role\":\"user\",\"content\":\"a\"}"

static void conversations_of_responses(UNUSED void **state)
{
    becomes(API_RESPONSES, "{\"input\":\"a\"}", "[" USER "]");
    becomes(API_RESPONSES, "{\"input\":\"a\",\"instructions\":\"b\"}",
            "[{\"role\":\"system\",\"content\":\"b\"}," USER "]");
    becomes(API_RESPONSES,
            "{\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"a\"},"
            "{\"type\":\"input_text\",\"text\":\"b\"}]},{\"type\":\"reasoning\",\"content\":"
            "[{\"type\":\"reasoning_text\",\"text\":\"r\"}]},{\"role\":\"assistant\",\"content\":"
            "\"c\"},{\"role\":\"assistant\",\"content\":\"d\"}]}",
            "[{\"role\":\"user\",\"content\":\"a\\nb\"},{\"role\":\"assistant\",\"content\":\"c\","
            "\"reasoning_content\":\"r\"},{\"role\":\"assistant\",\"content\":\"d\"}]");
    becomes(API_RESPONSES,
            "{\"input\":[" USER ",{\"type\":\"function_call\",\"call_id\":\"1\",\"name\":\"f\","
            "\"arguments\":\"{}\"},{\"type\":\"function_call\",\"call_id\":\"2\",\"name\":\"g\","
            "\"arguments\":\"{}\"},{\"type\":\"function_call_output\",\"call_id\":\"1\","
            "\"output\":\"x\"}]}",
            "[" USER ",{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":\"1\","
            "\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}},{\"id\":"
            "\"2\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]},"
            "{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":\"x\"}]");
}

static void conversations_of_messages(UNUSED void **state)
{
    becomes(API_MESSAGES, "{\"max_tokens\":1,\"messages\":[" USER "],\"system\":\"b\"}",
            "[{\"role\":\"system\",\"content\":\"b\"}," USER "]");
    becomes(API_MESSAGES,
            "{\"max_tokens\":1,\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":["
            "{\"type\":\"thinking\",\"thinking\":\"t\"},{\"type\":\"text\",\"text\":\"b\"},"
            "{\"type\":\"tool_use\",\"id\":\"1\",\"name\":\"f\",\"input\":{\"x\":1}}]},{\"role\":"
            "\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"1\",\"content\":["
            "{\"type\":\"text\",\"text\":\"r\"}]},{\"type\":\"text\",\"text\":\"c\"}]}]}",
            "[" USER ",{\"role\":\"assistant\",\"content\":\"b\",\"reasoning_content\":\"t\","
            "\"tool_calls\":[{\"id\":\"1\",\"type\":\"function\",\"function\":{\"name\":\"f\","
            "\"arguments\":\"{\\\"x\\\":1}\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"1\","
            "\"content\":\"r\"},{\"role\":\"user\",\"content\":\"c\"}]");
    struct err err;
    assert_int_equal(read_body(API_MESSAGES, "{\"max_tokens\":7,\"temperature\":0.25,\"top_k\":3,"
                                             "\"stop_sequences\":[\"x\",\"y\"],\"messages\":["
                                             USER ",{\"role\":\"assistant\",\"content\":\"b\"}]}",
                               &err), 0);
    assert_true(r.continue_final && !r.add_generation_prompt);
    assert_true(r.max_tokens == 7 && r.temperature == 0.25 && r.top_k == 3 && r.n_stops == 2);
    api_request_fini(&r);
}

static void what_is_wrong_is_named(UNUSED void **state)
{
    static const struct { const char *body, *path; int code; } responses[] = {
        { "{}", "input", E_FORMAT },
        { "{\"input\":[]}", "input", E_RANGE },
        { "{\"input\":[3]}", "input[0]", E_FORMAT },
        { "{\"input\":[{\"role\":\"x\",\"content\":\"a\"}]}", "input[0].role", E_RANGE },
        { "{\"input\":[{\"role\":\"user\"}]}", "input[0].content", E_FORMAT },
        { "{\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_file\"}]}]}",
          "input[0].content[0].type", E_UNSUPPORTED },
        { "{\"input\":[{\"type\":\"function_call\",\"name\":\"f\"}]}", "input[0]", E_FORMAT },
        { "{\"input\":\"a\",\"instructions\":4}", "instructions", E_FORMAT },
        { "{\"input\":\"a\",\"truncation\":\"auto\"}", "truncation", E_UNSUPPORTED },
        { "{\"input\":\"a\",\"background\":true}", "background", E_UNSUPPORTED },
        { "{\"input\":\"a\",\"tools\":[{\"type\":\"web_search\"}]}", "tools[0].type",
          E_UNSUPPORTED },
        { "{\"input\":\"a\",\"text\":{\"format\":{}}}", "text.format.type", E_FORMAT },
        { "{\"input\":\"a\",\"reasoning\":{\"effort\":\"x\"}}", "reasoning_effort", E_RANGE },
        { "{\"input\":\"a\",\"max_output_tokens\":0}", "max_output_tokens", E_RANGE },
    };
    static const struct { const char *body, *path; int code; } messages[] = {
        { "{\"messages\":[" USER "]}", "max_tokens", E_FORMAT },
        { "{\"max_tokens\":1}", "messages", E_FORMAT },
        { "{\"max_tokens\":1,\"messages\":[]}", "messages", E_RANGE },
        { "{\"max_tokens\":1,\"messages\":[3]}", "messages[0].role", E_RANGE },
        { "{\"max_tokens\":1,\"messages\":[{\"role\":\"user\"}]}", "messages[0].content",
          E_FORMAT },
        { "{\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":[]}]}",
          "messages[0].content", E_RANGE },
        { "{\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\"}]}]}",
          "messages[0].content[0].type", E_UNSUPPORTED },
        { "{\"max_tokens\":1,\"messages\":[" USER "],\"system\":7}", "system", E_FORMAT },
        { "{\"max_tokens\":1,\"messages\":[" USER "],\"temperature\":1.5}", "temperature",
          E_RANGE },
        { "{\"max_tokens\":1,\"messages\":[" USER "],\"stop_sequences\":\"x\"}", "stop_sequences",
          E_FORMAT },
        { "{\"max_tokens\":1,\"messages\":[" USER "],\"tools\":[{}]}", "tools[0].name", E_FORMAT },
        { "{\"max_tokens\":1,\"messages\":[" USER "],\"tool_choice\":{\"type\":\"x\"}}",
          "tool_choice.type", E_RANGE },
        { "{\"max_tokens\":1,\"messages\":[" USER "],\"mcp_servers\":[1]}", "mcp_servers",
          E_UNSUPPORTED },
    };
    for (size_t i = 0; i < COUNT_OF(responses); i++)
        refuse(API_RESPONSES, responses[i].body, responses[i].code, responses[i].path);
    for (size_t i = 0; i < COUNT_OF(messages); i++)
        refuse(API_MESSAGES, messages[i].body, messages[i].code, messages[i].path);
}

static void goes_on_behind_instructions(UNUSED void **state)
{
    struct err err;
    assert_int_equal(read_body(API_RESPONSES, "{\"input\":\"c\",\"instructions\":\"s\"}", &err), 0);
    assert_int_equal(api_request_continue(&r, "[" USER "]", sizeof "[" USER "]" - 1, &err), 0);
    assert_int_equal(json_len(r.messages), 3);
    size_t len;
    assert_string_equal(json_text(json_get(json_at(r.messages, 0), "role"), &len), "system");
    assert_string_equal(json_text(json_get(json_at(r.messages, 1), "content"), &len), "a");
    assert_string_equal(json_text(json_get(json_at(r.messages, 2), "content"), &len), "c");
    api_request_fini(&r);
}

static void errors_of_messages(UNUSED void **state)
{
    static const struct { int status, said; const char *type; } map[] = {
        { 400, 400, "invalid_request_error" }, { 401, 401, "authentication_error" },
        { 403, 403, "permission_error" },      { 404, 404, "not_found_error" },
        { 413, 413, "request_too_large" },     { 429, 429, "rate_limit_error" },
        { 500, 500, "api_error" },             { 503, 529, "overloaded_error" },
    };
    for (size_t i = 0; i < COUNT_OF(map); i++) {
        char want[200];
        struct buf b;
        buf_init(&b, 4096);
        struct api_error e = api_error_status(map[i].status, "c", "m");
        api_error_write_messages(&b, &e, "req_1");
        snprintf(want, sizeof want, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":"
                                    "\"m\"},\"request_id\":\"req_1\"}", map[i].type);
        assert_string_equal(buf_str(&b), want);
        assert_int_equal(api_error_status_messages(&e), map[i].said);
        buf_fini(&b);
    }
}

int dialect_test(void);
int dialect_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversations_of_responses),
        cmocka_unit_test(conversations_of_messages),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(goes_on_behind_instructions),
        cmocka_unit_test(errors_of_messages),
    };
    return cmocka_run_group_tests_name("dialect", tests, NULL, NULL);
}
