/* Goal: inspect says what the file says, as text and as JSON, with nothing that could move a
 * cursor. */
#include "unit/test.h"

#include <stdio.h>

#include "base/json.h"
#include "kernel/type.h"
#include "model/inspect.h"
#include "os/file.h"
#include "unit/model/gguf_make.h"

int inspect_test(void);

static void inspect_bytes(const struct buf *gguf, bool json, struct buf *out)
{
    struct model_file *f;
    struct err err;
    if (model_file_open_bytes(&f, gguf->data, gguf->len, &err) < 0)
        fail_msg("%s", err.text);
    buf_init(out, 1u << 20);
    assert_int_equal(model_inspect(f, json, out, &err), 0);
    model_file_close(f);
}

static void make(struct buf *b)
{
    put_header(b, 3, 2, 7);
    put_meta_str(b, "general.architecture", "no-such-family");
    put_meta_str(b, "evil\x1b[2J", "bell\a, \xe2\x80\xae turned, \xff bad");
    put_key(b, "list", MODEL_ARRAY), put_u32(b, MODEL_U32), put_u64(b, 70);
    for (uint32_t i = 0; i < 70; i++)
        put_u32(b, i);
    put_key(b, "words", MODEL_ARRAY), put_u32(b, MODEL_STRING), put_u64(b, 2);
    put_str(b, "one"), put_str(b, "two");
    put_key(b, "yes", MODEL_BOOL), buf_putc(b, 1);
    put_key(b, "third", MODEL_F32), put_f32(b, 0.1f);
    put_key(b, "big", MODEL_U64), put_u64(b, UINT64_MAX);
    put_tensor(b, "a.weight", 8, 2, KERNEL_F32, 0);
    put_tensor(b, "b.weight", 32, 2, KERNEL_Q8_0, 64);
    put_data(b, 32, 64 + 68);
}

static void as_text(void **state)
{
    (void)state;
    struct buf b, out;
    make(&b);
    inspect_bytes(&b, false, &out);
    const char *const says[] = { "GGUF version 3",
                                 "family      no-such-family",
                                 "tokenizer   none",
                                 "parameters  80",
                                 "runs        no, because ",
                                 "evil\\x1b[2J",
                                 "bell\\x07, \\u{202e} turned, \\xff bad",
                                 "0, 1, 2, 3, 4, 5, ...",
                                 "\"one\", \"two\"",
                                 "true",
                                 "18446744073709551615",
                                 "a.weight  F32     8 x 2",
                                 "Q8_0         1 tensors" };
    for (size_t i = 0; i < COUNT_OF(says); i++)
        if (strstr(buf_str(&out), says[i]) == NULL)
            fail_msg("\"%s\" is not in\n%s", says[i], buf_str(&out));
    for (size_t i = 0; i < out.len; i++)
        assert_true((uint8_t)out.data[i] >= 0x20 || out.data[i] == '\n');
    buf_fini(&out);
    buf_fini(&b);
}

static void as_json(void **state)
{
    (void)state;
    struct buf b, out;
    json_value *v;
    struct err err;
    make(&b);
    inspect_bytes(&b, true, &out);
    if (json_parse(&v, out.data, out.len, &JSON_LIMITS_FILE, &err) < 0)
        fail_msg("%s in %s", err.text, buf_str(&out));
    assert_string_equal(json_text(json_get(v, "arch"), NULL), "no-such-family");
    assert_string_equal(json_text(json_get(v, "container"), NULL), "gguf");
    assert_int_equal(json_as_int(json_get(v, "version")), 3);
    assert_int_equal(json_as_int(json_get(v, "bytes")), b.len);
    assert_int_equal(json_as_int(json_get(v, "n_params")), 80);
    assert_true(json_has(v, "tokenizer") && json_get(v, "tokenizer") == NULL);
    assert_false(json_as_bool(json_get(v, "runs")));
    assert_non_null(json_text(json_get(v, "why_not"), NULL));
    const json_value *meta = json_get(v, "meta"), *list = json_get(meta, "list");
    assert_int_equal(json_as_int(json_get(list, "n")), 70);
    assert_int_equal(json_len(json_get(list, "first")), 6);
    assert_int_equal(json_len(json_get(meta, "words")), 2);
    assert_true(json_has(meta, "evil\x1b[2J"));
    assert_non_null(strstr(buf_str(&out), "\"third\":0.1,"));
    const json_value *t = json_at(json_get(v, "tensors"), 1);
    assert_string_equal(json_text(json_get(t, "name"), NULL), "b.weight");
    assert_string_equal(json_text(json_get(t, "type"), NULL), "Q8_0");
    assert_int_equal(json_as_int(json_get(t, "bytes")), 68);
    assert_int_equal(json_as_int(json_get(t, "offset")), b.len - 68);
    assert_int_equal(json_as_int(json_at(json_get(t, "shape"), 0)), 32);
    json_free(v);
    buf_fini(&out);
    buf_fini(&b);
}

/* A vocabulary and no tensors is shown, and said not to run. */
static void vocabulary_only(void **state)
{
    (void)state;
    struct buf b, out;
    put_header(&b, 3, 0, 1);
    put_meta_str(&b, "general.architecture", "llama");
    inspect_bytes(&b, false, &out);
    assert_non_null(strstr(buf_str(&out), "no tensors"));
    buf_fini(&out);
    buf_fini(&b);
}

/* A full buffer is an error, not half an answer. */
static void no_room(void **state)
{
    (void)state;
    struct buf b, out;
    struct model_file *f;
    struct err err;
    make(&b);
    assert_int_equal(model_file_open_bytes(&f, b.data, b.len, &err), 0);
    buf_init(&out, 100);
    assert_int_equal(model_inspect(f, true, &out, &err), E_LIMIT);
    model_file_close(f);
    buf_fini(&out);
    buf_fini(&b);
}

static void directories(void **state)
{
    (void)state;
    struct model_file *f;
    struct err err;
    struct buf out;
    if (!os_exists("tests/golden/smollm"))
        skip();
    assert_int_equal(model_file_open(&f, "tests/golden/smollm", &err), 0);
    buf_init(&out, 1u << 20);
    assert_int_equal(model_inspect(f, false, &out, &err), 0);
    assert_non_null(strstr(buf_str(&out), "safetensors"));
    assert_non_null(strstr(buf_str(&out), "F16"));
    model_file_close(f);
    buf_fini(&out);
}

int inspect_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_text), cmocka_unit_test(as_json),     cmocka_unit_test(vocabulary_only),
        cmocka_unit_test(no_room), cmocka_unit_test(directories),
    };
    return cmocka_run_group_tests_name("model/inspect", tests, NULL, NULL);
}
