/* Strict JSON: what must parse parses, what must fail fails with a reason, limits hold, the writer's
 * output reads back. */
#include "unit/test.h"

#include "base/json.h"

static int parse(const char *text, size_t len, json_value **out)
{
    struct err err = { 0 };
    int rc = json_parse(out, text, len, &JSON_LIMITS_REQUEST, &err);
    if (rc < 0)
        assert_true(err.code == rc && err.text[0] != '\0');
    return rc;
}

static void accepts(void **state)
{
    (void)state;
    static const char *const good[] = {
        "0", "-0", "1e2", " [ ] ", "{}", "\"\"", "true", "null", "[1,[2,{\"a\":[]}]]",
        "{\"a\":1,\"b\":{\"a\":2}}", "\"\\u0000\\ud83d\\ude00\"", "\"\xea\xb0\x80\"", "1.5E-3",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "123",
    };
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        json_value *v = NULL;
        if (parse(good[i], strlen(good[i]), &v) != 0)
            fail_msg("refused: %s", good[i]);
        json_free(v);
    }
}

static void refuses(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", " ", "01", "1.", ".5", "+1", "1e", "NaN", "Infinity", "-Infinity", "1e999", "tru", "True",
        "[1,]", "[,1]", "{\"a\"}", "{\"a\":}", "{a:1}", "{'a':1}", "\"a", "\"\\x\"", "\"\\ud800\"",
        "\"\\udc00\"", "\"\\ud800\\u0041\"", "\"\x01\"", "\"\xff\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"",
        "1 2", "[1", "{\"a\":1", "[}", "{]", "/**/1", "[1]x", "{\"a\":1,\"a\":2}", "\xef\xbb\xbf{}",
        "[\"a\" \"b\"]", "{\"a\":1 \"b\":2}", "0x10", "--1", "nul", "\"\\u12g4\"",
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        json_value *v = NULL;
        if (parse(bad[i], strlen(bad[i]), &v) == 0)
            fail_msg("accepted: %s", bad[i]);
        assert_null(v);
    }
    json_value *v = NULL;
    assert_int_equal(parse("1\0", 2, &v), E_FORMAT);
}

static void limits(void **state)
{
    (void)state;
    char deep[140];
    for (int depth = 64; depth <= 65; depth++) {
        memset(deep, '[', (size_t)depth);
        memset(deep + depth, ']', (size_t)depth);
        json_value *v = NULL;
        assert_int_equal(parse(deep, (size_t)depth * 2, &v), depth == 64 ? 0 : E_LIMIT);
        json_free(v);
    }
    struct buf b;
    buf_init(&b, 1u << 20);
    buf_putc(&b, '[');
    for (int i = 0; i < 99999; i++)
        buf_puts(&b, i == 0 ? "1" : ",1");
    buf_putc(&b, ']');
    json_value *v = NULL;
    assert_int_equal(parse(b.data, b.len, &v), 0); /* 100,000 values with the array */
    assert_int_equal(json_len(v), 99999);
    json_free(v);
    b.len--;
    buf_puts(&b, ",1]");
    assert_int_equal(parse(b.data, b.len, &v), E_LIMIT);
    buf_fini(&b);
}

static void reads(void **state)
{
    (void)state;
    const char *text = "{\"s\":\"a\\u0000b\",\"i\":-7,\"d\":2.5,\"b\":true,\"n\":null,\"l\":[1,2]}";
    json_value *v = NULL;
    assert_int_equal(parse(text, strlen(text), &v), 0);
    size_t len = 0;
    const char *s = json_text(json_get(v, "s"), &len);
    assert_int_equal(len, 3);
    assert_memory_equal(s, "a\0b", 3);
    assert_int_equal(json_as_int(json_get(v, "i")), -7);
    assert_true(json_as_double(json_get(v, "d")) == 2.5);
    assert_true(json_as_bool(json_get(v, "b")));
    assert_null(json_get(v, "n"));
    assert_true(json_has(v, "n"));
    assert_false(json_has(v, "m"));
    assert_int_equal(json_as_int(json_at(json_get(v, "l"), 1)), 2);
    assert_null(json_at(json_get(v, "l"), 2));
    assert_int_equal(json_kind_of(json_get(v, "i")), JSON_INT);
    assert_int_equal(json_kind_of(json_get(v, "d")), JSON_DOUBLE);
    json_free(v);
}

static void writes(void **state)
{
    (void)state;
    struct buf b;
    struct json_writer w;
    buf_init(&b, 4096);
    json_writer_init(&w, &b);
    json_begin_object(&w);
    json_key(&w, "text");
    json_write_text(&w, "a\"\n\x01\xff\xea\xb0\x80", 8);
    json_key(&w, "list");
    json_begin_array(&w);
    json_write_int(&w, -1);
    json_write_float(&w, 0.1f);
    json_write_double(&w, 1.0 / 3.0);
    json_write_bool(&w, false);
    json_write_null(&w);
    json_begin_object(&w);
    json_end_object(&w);
    json_end_array(&w);
    json_end_object(&w);
    assert_string_equal(buf_str(&b), "{\"text\":\"a\\\"\\n\\u0001\xef\xbf\xbd\xea\xb0\x80\",\"list\":"
                                     "[-1,0.1,0.3333333333333333,false,null,{}]}");
    json_value *v = NULL;
    assert_int_equal(parse(b.data, b.len, &v), 0);
    struct buf again;
    buf_init(&again, 4096);
    json_writer_init(&w, &again);
    json_write_value(&w, v);
    assert_string_equal(buf_str(&again), buf_str(&b));
    json_free(v);
    buf_fini(&again);
    buf_fini(&b);
}

int json_test(void);
int json_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts), cmocka_unit_test(refuses), cmocka_unit_test(limits),
        cmocka_unit_test(reads),   cmocka_unit_test(writes),
    };
    return cmocka_run_group_tests_name("base/json", tests, NULL, NULL);
}
