/* Goal: every field of a request is read, defaulted, or refused with its path; nothing is overlooked. */
#include "unit/test.h"

#include <stdio.h>

#include "api/error.h"
#include "api/request.h"
#include "base/mem.h"

#define N_VOCAB 100

static int read_into(struct api_request *r, enum api_dialect dialect, const char *body,
                     struct err *err)
{
    struct engine_sampler_params d = engine_sampler_defaults();
    *err = (struct err){ 0 };
    api_request_init(r, dialect, &d);
    return api_request_read(r, body, strlen(body), N_VOCAB, err);
}

/* The body {"messages":[...],MORE} or {"prompt":"a",MORE} must fail with that code and path. */
static void refuse(enum api_dialect dialect, const char *more, int code, const char *path)
{
    static struct api_request r;
    struct err err;
    char body[1024];
    snprintf(body, sizeof body, "{%s,%s}",
             dialect == API_CHAT ? "\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]"
                                 : "\"prompt\":\"a\"", more);
    int rc = read_into(&r, dialect, body, &err);
    if (rc != code || strcmp(err.field, path) != 0)
        fail_msg("%s: code %d field %s: %s", body, rc, err.field, err.text);
    assert_int_equal(err.code, code);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(api_error_of(&err).status, 400);
    api_request_fini(&r);
}

static void defaults_hold(UNUSED void **state)
{
    static struct api_request r;
    struct err err;
    const char *body = "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"n\":null,\"stop\":null,"
                       "\"temperature\":null,\"stream_options\":null,\"unknown\":{\"a\":[1]}}";
    assert_int_equal(read_into(&r, API_CHAT, body, &err), 0);
    assert_int_equal(r.n, 1);
    assert_true(r.temperature == 1 && r.top_p == 1);
    assert_int_equal(r.max_tokens, 0);
    assert_false(r.stream || r.has_seed || r.logprobs || r.ignore_eos);
    assert_true(r.skip_special_tokens && r.add_generation_prompt);
    api_request_fini(&r);
    assert_int_equal(read_into(&r, API_COMPLETION, "{\"prompt\":\"a\"}", &err), 0);
    assert_int_equal(r.max_tokens, 16);
    api_request_fini(&r);
}

static void values_arrive(UNUSED void **state)
{
    static struct api_request r;
    struct err err;
    const char *body =
        "{\"prompt\":[\"x\",[1,2,3]],\"n\":2.0,\"temperature\":0,\"top_p\":0,\"top_k\":-1,\"seed\":-5,"
        "\"stop\":[\"ab\",\"c\"],\"logit_bias\":{\"7\":-100,\"99\":1.5},\"stop_token_ids\":[3,99],"
        "\"logprobs\":2,\"min_tokens\":1,\"max_tokens\":4,\"stream\":true,"
        "\"stream_options\":{\"include_usage\":true},\"cache_salt\":\"s\",\"echo\":false}";
    assert_int_equal(read_into(&r, API_COMPLETION, body, &err), 0);
    assert_int_equal(r.n_prompts, 2);
    assert_int_equal(r.prompts[0].text.len, 1);
    assert_non_null(r.prompts[1].ids);
    assert_int_equal(r.n, 2);
    assert_true(r.temperature == 0 && r.top_p > 0 && r.top_p < 1e-5);
    assert_int_equal(r.top_k, 0);
    assert_true(r.has_seed && r.seed == -5);
    assert_int_equal(r.n_stops, 2);
    assert_int_equal(r.n_bias, 2);
    assert_int_equal(r.bias[1].id, 99);
    assert_int_equal(r.n_stop_ids, 2);
    assert_true(r.logprobs && r.n_top == 2 && r.stream && r.include_usage);
    assert_int_equal(r.salt.len, 1);
    api_request_fini(&r);
}

static void ids_of_a_prompt(UNUSED void **state)
{
    static struct api_request r;
    struct err err;
    int32_t ids[4];
    assert_int_equal(read_into(&r, API_COMPLETION, "{\"prompt\":[1,99]}", &err), 0);
    assert_int_equal(r.n_prompts, 1);
    assert_int_equal(api_read_ids(r.prompts[0].ids, "prompt", N_VOCAB, ids, &err), 0);
    assert_int_equal(ids[1], 99);
    assert_int_equal(api_read_ids(r.prompts[0].ids, "prompt", 99, ids, &err), E_RANGE);
    assert_string_equal(err.field, "prompt[1]");
    api_request_fini(&r);
}

static void ranges_are_kept(UNUSED void **state)
{
    static const struct { const char *more, *path; int code; } cases[] = {
        { "\"temperature\":2.01", "temperature", E_RANGE },
        { "\"temperature\":-0.1", "temperature", E_RANGE },
        { "\"temperature\":\"1\"", "temperature", E_FORMAT },
        { "\"n\":0", "n", E_RANGE },
        { "\"n\":9", "n", E_RANGE },
        { "\"n\":1.5", "n", E_FORMAT },
        { "\"top_p\":1.1", "top_p", E_RANGE },
        { "\"typical_p\":0", "typical_p", E_RANGE },
        { "\"top_k\":-2", "top_k", E_RANGE },
        { "\"top_k\":1.5", "top_k", E_FORMAT },
        { "\"seed\":\"x\"", "seed", E_FORMAT },
        { "\"max_tokens\":0", "max_tokens", E_RANGE },
        { "\"max_tokens\":4,\"min_tokens\":5", "min_tokens", E_RANGE },
        { "\"stop\":[\"a\",\"b\",\"c\",\"d\",\"e\"]", "stop", E_RANGE },
        { "\"stop\":\"\"", "stop", E_RANGE },
        { "\"stop\":[\"a\",3]", "stop[1]", E_FORMAT },
        { "\"logit_bias\":{\"x\":1}", "logit_bias.x", E_FORMAT },
        { "\"logit_bias\":{\"5\":101}", "logit_bias.5", E_RANGE },
        { "\"logit_bias\":{\"100\":1}", "logit_bias", E_RANGE },
        { "\"stop_token_ids\":[1,100]", "stop_token_ids", E_RANGE },
        { "\"stop_token_ids\":[1,\"a\"]", "stop_token_ids[1]", E_FORMAT },
        { "\"stream\":1", "stream", E_FORMAT },
        { "\"stream_options\":{\"include_usage\":1}", "stream_options.include_usage", E_FORMAT },
        { "\"priority\":1", "priority", E_UNSUPPORTED },
        { "\"guided_regex\":5", "guided_regex", E_FORMAT },
        { "\"model\":\"\"", "model", E_RANGE },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        refuse(API_CHAT, cases[i].more, cases[i].code, cases[i].path);
        refuse(API_COMPLETION, cases[i].more, cases[i].code, cases[i].path);
    }
}

static void what_is_not_built_is_named(UNUSED void **state)
{
    refuse(API_CHAT, "\"tools\":[{}]", E_FORMAT, "tools[0].type");
    refuse(API_CHAT, "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],"
                     "\"guided_regex\":\"a\"", E_UNSUPPORTED, "tools");
    refuse(API_CHAT, "\"tool_choice\":\"required\"", E_RANGE, "tool_choice");
    refuse(API_CHAT, "\"functions\":[{}]", E_UNSUPPORTED, "functions");
    refuse(API_CHAT, "\"response_format\":{\"type\":\"json_schema\"}", E_FORMAT,
           "response_format.json_schema.schema");
    refuse(API_CHAT, "\"guided_regex\":\"a\",\"guided_choice\":[\"b\"]", E_RANGE, "guided_choice");
    refuse(API_CHAT, "\"response_format\":{\"type\":\"x\"}", E_RANGE, "response_format.type");
    refuse(API_CHAT, "\"modalities\":[\"audio\"]", E_UNSUPPORTED, "modalities");
    refuse(API_CHAT, "\"top_logprobs\":2", E_RANGE, "top_logprobs");
    refuse(API_CHAT, "\"chat_template\":\"x\"", E_UNSUPPORTED, "chat_template");
    refuse(API_CHAT, "\"chat_template_kwargs\":{\"messages\":1}", E_UNSUPPORTED,
           "chat_template_kwargs.messages");
    refuse(API_CHAT, "\"chat_template_kwargs\":{\"thinking\":[]}", E_FORMAT,
           "chat_template_kwargs.thinking");
    refuse(API_CHAT, "\"continue_final_message\":true,\"add_generation_prompt\":true", E_RANGE,
           "continue_final_message");
    refuse(API_COMPLETION, "\"suffix\":\"x\"", E_UNSUPPORTED, "suffix");
    refuse(API_COMPLETION, "\"best_of\":3", E_UNSUPPORTED, "best_of");
    refuse(API_COMPLETION, "\"echo\":true,\"logprobs\":1", E_UNSUPPORTED, "echo");
}

static void accepted_without_effect(UNUSED void **state)
{
    static struct api_request r;
    struct err err;
    const char *body = "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"tools\":[{}],"
                       "\"tool_choice\":\"none\",\"store\":true,\"metadata\":{\"a\":\"b\"},"
                       "\"response_format\":{\"type\":\"text\"},\"modalities\":[\"text\"],"
                       "\"guided_json\":null,\"functions\":[],\"audio\":null}";
    assert_int_equal(read_into(&r, API_CHAT, body, &err), 0);
    api_request_fini(&r);
}

static void missing_parts(UNUSED void **state)
{
    static struct api_request r;
    struct err err;
    assert_int_equal(read_into(&r, API_CHAT, "{}", &err), E_FORMAT);
    assert_string_equal(err.field, "messages");
    api_request_fini(&r);
    assert_int_equal(read_into(&r, API_COMPLETION, "{}", &err), E_FORMAT);
    assert_string_equal(err.field, "prompt");
    api_request_fini(&r);
    assert_int_equal(read_into(&r, API_COMPLETION, "[1]", &err), E_FORMAT);
    api_request_fini(&r);
    assert_int_equal(read_into(&r, API_COMPLETION, "{\"a\":1,\"a\":2}", &err), E_FORMAT);
    api_request_fini(&r);
}

static void errors_map_to_http(UNUSED void **state)
{
    static const struct { int code, status; } map[] = {
        { E_FORMAT, 400 }, { E_RANGE, 400 },  { E_UNSUPPORTED, 400 }, { E_LIMIT, 400 },
        { E_FULL, 503 },   { E_CLOSED, 503 }, { E_NOMEM, 503 },       { E_TIMEOUT, 503 },
        { E_IO, 500 },     { E_NONFINITE, 500 }, { E_NOT_FOUND, 404 },
    };
    for (size_t i = 0; i < COUNT_OF(map); i++) {
        struct err err;
        err_set(&err, map[i].code, "secret detail");
        struct api_error e = api_error_of(&err);
        assert_int_equal(e.status, map[i].status);
        assert_true((strstr(e.message, "secret") == NULL) == (e.status == 500));
    }
    struct err err;
    err_set_field(&err, E_LIMIT, "prompt", "600 tokens, 512 fit");
    struct buf b;
    buf_init(&b, 4096);
    struct api_error e = api_error_of(&err);
    api_error_write(&b, &e);
    assert_string_equal(buf_str(&b), "{\"error\":{\"message\":\"600 tokens, 512 fit\",\"type\":"
                                     "\"invalid_request_error\",\"param\":\"prompt\",\"code\":"
                                     "\"context_length_exceeded\"}}");
    buf_fini(&b);
}

int request_test(void);
int request_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_hold),
        cmocka_unit_test(values_arrive),
        cmocka_unit_test(ids_of_a_prompt),
        cmocka_unit_test(ranges_are_kept),
        cmocka_unit_test(what_is_not_built_is_named),
        cmocka_unit_test(accepted_without_effect),
        cmocka_unit_test(missing_parts),
        cmocka_unit_test(errors_map_to_http),
    };
    return cmocka_run_group_tests_name("request", tests, NULL, NULL);
}
