/* Traces: each format is read to the same requests whatever its packing, and each kind of damage is
 * an error that names the line. */
#include "unit/test.h"

#include <stdio.h>

#include "sim/trace.h"

static int parse(struct sim_trace *t, const char *text, struct err *err)
{
    return sim_trace_parse(t, text, strlen(text), 60, err);
}

static void reads_mooncake(void **state)
{
    (void)state;
    struct sim_trace t;
    struct err err = { 0 };
    assert_int_equal(parse(&t, "{\"timestamp\": 3000, \"input_length\": 1025, \"output_length\": 7, "
                               "\"hash_ids\": [0, 1, 9]}\n"
                               "{\"timestamp\": 1000, \"input_length\": 1024, \"output_length\": 0, "
                               "\"hash_ids\": [0, 1]}\n\n", &err), 0);
    assert_string_equal(t.format, "mooncake");
    assert_int_equal(t.n_requests, 2);
    assert_int_equal(t.n_blocks, 5);
    assert_int_equal(t.block_len, 512);
    assert_int_equal(t.requests[0].time_ms, 1000); /* sorted */
    assert_int_equal(t.requests[1].in_tokens, 1025);
    assert_int_equal(t.requests[1].n_runs, 2);
    uint64_t a[2], b[3];
    sim_trace_keys(&t, &t.requests[0], a);
    sim_trace_keys(&t, &t.requests[1], b);
    assert_true(a[0] == b[0] && a[1] == b[1] && b[2] != b[1]);
    sim_trace_free(&t);
}

static void reads_sessions_with_sub_agents(void **state)
{
    (void)state;
    struct sim_trace t;
    struct err err = { 0 };
    const char *line =
        "{\"id\": \"s\", \"block_size\": 64, \"requests\": ["
        "{\"t\": 0.5, \"in\": 130, \"out\": 1, \"h\": [[1, 2], [7, 1]]},"
        "{\"t\": 2, \"agent_id\": \"x\", \"requests\": [{\"t\": 1, \"in\": 64, \"out\": 1, "
        "\"h\": [[1, 1]]}]}]}\n";
    char two[1024];
    snprintf(two, sizeof two, "%s%s", line, line);
    assert_int_equal(parse(&t, two, &err), 0);
    assert_int_equal(t.n_requests, 4);
    assert_int_equal(t.n_sessions, 2);
    assert_int_equal(t.block_len, 64);
    assert_int_equal(t.requests[1].time_ms, 3000);
    assert_int_equal(t.requests[2].time_ms, 60500); /* the second session begins a gap later */
    uint64_t a[3], b[3];
    sim_trace_keys(&t, &t.requests[0], a);
    sim_trace_keys(&t, &t.requests[2], b);
    assert_true(a[0] != b[0]); /* ids are local to a session */
    sim_trace_keys(&t, &t.requests[1], b);
    assert_true(a[0] == b[0]);
    sim_trace_free(&t);
}

static void reads_azure(void **state)
{
    (void)state;
    struct sim_trace t;
    struct err err = { 0 };
    assert_int_equal(parse(&t, "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
                               "2023-12-31 23:59:59.5000000,374,44\r\n"
                               "2024-01-01 00:00:00,10,2\n"
                               "2024-03-01 00:00:00.25,1,1", &err), 0);
    assert_string_equal(t.format, "azure");
    assert_int_equal(t.n_requests, 3);
    assert_int_equal(t.requests[1].time_ms, 500);
    assert_int_equal(t.requests[2].time_ms, 60ull * 86400000 + 750); /* 2024 has a 29 February */
    assert_int_equal(t.block_len, 0);
    sim_trace_free(&t);
}

static void names_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int code;
        const char *words;
    } cases[] = {
        { "", E_FORMAT, "no request" },
        { "hello\n", E_FORMAT, "line 1" },
        { "[]", E_FORMAT, "line 1" },
        { "{\"timestamp\": 1, \"input_length\": 512, \"output_length\": 0, \"hash_ids\": [0]}\n{}\n",
          E_FORMAT, "line 2" },
        { "{\"timestamp\": 1, \"input_length\": 513, \"output_length\": 0, \"hash_ids\": [0]}",
          E_FORMAT, "every 512-token block" },
        { "{\"timestamp\": -1, \"input_length\": 5, \"output_length\": 0, \"hash_ids\": [0]}",
          E_FORMAT, "time" },
        { "{\"timestamp\": 1, \"input_length\": 5, \"output_length\": 0, \"hash_ids\": [-2]}",
          E_FORMAT, "block ids" },
        { "{\"block_size\": 0, \"requests\": []}", E_FORMAT, "block_size" },
        { "{\"block_size\": 64, \"requests\": [{\"t\": 0, \"in\": 1, \"out\": 1, \"h\": [[1]]}]}",
          E_FORMAT, "[start, count]" },
        { "{\"block_size\": 64, \"requests\": [{\"t\": 0, \"in\": 1, \"out\": 1, \"h\": "
          "[[1, 999999999999]]}]}", E_FORMAT, "block ids" },
        { "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-13-01 00:00:00,1,1\n", E_FORMAT, "range" },
        { "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-01 00:00:00,1\n", E_FORMAT, "line 2" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sim_trace t;
        struct err err = { 0 };
        assert_int_equal(parse(&t, cases[i].text, &err), cases[i].code);
        assert_non_null(strstr(err.text, cases[i].words));
        assert_null(t.requests);
    }
}

static void reads_the_shared_traces(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t n_requests;
    } files[] = { { "mooncake_conversation.jsonl.zst", 12031 },
                  { "azure2023_conv.csv.zst", 19366 },
                  { "azure2023_code_first_half.csv.zst", 4409 } };
    if (test_shared_dir() == NULL)
        skip();
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[512];
        struct sim_trace t;
        struct err err = { 0 };
        snprintf(path, sizeof path, "%s/traces/%s", test_shared_dir(), files[i].name);
        assert_int_equal(sim_trace_open(&t, path, 60, &err), 0);
        assert_int_equal(t.n_requests, files[i].n_requests);
        sim_trace_free(&t);
    }
    char path[512];
    struct sim_trace t;
    struct err err = { 0 };
    snprintf(path, sizeof path, "%s/traces/servegen_mm_image.tar.zst", test_shared_dir());
    assert_int_equal(sim_trace_open(&t, path, 60, &err), E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "ServeGen"));
}

int trace_test(void);
int trace_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_mooncake),
        cmocka_unit_test(reads_sessions_with_sub_agents),
        cmocka_unit_test(reads_azure),
        cmocka_unit_test(names_what_is_wrong),
        cmocka_unit_test(reads_the_shared_traces),
    };
    return cmocka_run_group_tests_name("sim/trace", tests, NULL, NULL);
}
