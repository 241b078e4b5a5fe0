/* Goal: a safetensors header gives exactly the tensors it lists, and every damaged one is refused
 * with a reason, without reading past its last byte. */
#include "unit/test.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/num.h"
#include "kernel/type.h"
#include "model/file_impl.h"
#include "model/safetensors.h"

int safetensors_test(void);

static const char GOOD[] = "{\"__metadata__\":{\"format\":\"pt\",\"a\\\"b\":\"\\u00e9\"},"
                           "\"m.w\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[4,16]},"
                           " \"s\" : {\"data_offsets\":[0,4],\"shape\":[],\"dtype\":\"F32\"}}  ";
#define GOOD_DATA 16

/* Length, header, n bytes of data. */
static void make(struct buf *b, const char *header, size_t n_data)
{
    uint8_t len[8];
    buf_init(b, 1u << 20);
    store_le64(len, strlen(header));
    buf_put(b, len, 8);
    buf_puts(b, header);
    for (size_t i = 0; i < n_data; i++)
        buf_putc(b, (char)i);
}

/* Reads an exact copy; what comes out is touched and released. */
static int read_copy(const void *data, size_t len, uint32_t *n, struct err *err)
{
    /* Aligned to 16 at the header's end is the common case; malloc gives it for the start. */
    uint8_t *copy = malloc(len + (len == 0));
    struct model_tensor *list;
    unsigned sum = 0;
    assert_non_null(copy);
    if (len > 0)
        memcpy(copy, data, len);
    *err = (struct err){ 0 };
    struct os_map map = { .data = copy, .size = len, .fd = -1 };
    int rc = model_safetensors_read(&map, &list, n, err);
    for (uint32_t i = 0; rc >= 0 && i < *n; i++)
        sum += list[i].data[0] + list[i].data[list[i].bytes - 1] + (uint8_t)list[i].name.data[0];
    if (rc >= 0)
        mem_free(list);
    free(copy);
    return rc + 0 * (int)sum;
}

static void refuses(const char *header, size_t n_data, int code, const char *says)
{
    struct buf b;
    struct err err;
    uint32_t n;
    make(&b, header, n_data);
    int rc = read_copy(b.data, b.len, &n, &err);
    if (rc != code || strstr(err.text, says) == NULL)
        fail_msg("%s: %s: %s; expected %s with \"%s\"", header, rc < 0 ? err_name(rc) : "opened",
                 rc < 0 ? err.text : "", err_name(code), says);
    buf_fini(&b);
}

static void reads(void **state)
{
    (void)state;
    struct buf b;
    struct model_tensor *list;
    uint32_t n = 0;
    struct err err;
    make(&b, GOOD, GOOD_DATA);
    struct os_map map = { .data = (uint8_t *)b.data, .size = b.len, .fd = -1 };
    if (model_safetensors_read(&map, &list, &n, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(n, 2);
    const struct model_tensor *s = &list[0], *w = &list[1]; /* in the order of the data */
    assert_memory_equal(s->name.data, "s", 1);
    assert_int_equal(s->n_dims, 1);
    assert_int_equal(s->type, KERNEL_F32);
    assert_memory_equal(w->name.data, "m.w", 3);
    assert_int_equal(w->n_dims, 2);
    assert_int_equal(w->ne[0], 3);
    assert_int_equal(w->ne[1], 2);
    assert_int_equal(w->bytes, 12);
    assert_int_equal(w->data[0], 4);
    mem_free(list);
    buf_fini(&b);
    make(&b, "{}", 0);
    assert_int_equal(read_copy(b.data, b.len, &n, &err), 0);
    assert_int_equal(n, 0);
    buf_fini(&b);
}

static void mutations(void **state)
{
    (void)state;
    struct buf b;
    unsigned n_refused = 0;
    const char values[] = {
        0, ' ', '"', '{', '}', '[', ']', ',', '9', '\\', (char)0x80, (char)0xff
    };
    make(&b, GOOD, GOOD_DATA);
    for (size_t i = 0; i < b.len; i++) {
        for (size_t v = 0; v < COUNT_OF(values) + 8; v++) {
            struct err err;
            uint32_t n;
            char old = b.data[i];
            b.data[i] = v < 8 ? (char)(old ^ (1 << v)) : values[v - 8];
            int rc = read_copy(b.data, b.len, &n, &err);
            assert_true(rc >= 0 || err.text[0] != '\0');
            n_refused += rc < 0;
            b.data[i] = old;
        }
    }
    assert_true(n_refused > 1000);
    buf_fini(&b);
}

static void truncations(void **state)
{
    (void)state;
    struct buf b;
    make(&b, GOOD, GOOD_DATA);
    for (size_t n = 0; n < b.len; n++) {
        struct err err;
        uint32_t n_tensors;
        assert_true(read_copy(b.data, n, &n_tensors, &err) < 0);
        assert_true(err.text[0] != '\0');
        /* cut, and the length mended: the JSON itself ends early */
        if (n >= 8 && n < 8 + strlen(GOOD) - 2) {
            char *copy = malloc(n);
            assert_non_null(copy);
            memcpy(copy, b.data, n);
            store_le64(copy, n - 8);
            assert_true(read_copy(copy, n, &n_tensors, &err) < 0);
            free(copy);
        }
    }
    buf_fini(&b);
}

static void header_lengths(void **state)
{
    (void)state;
    const uint64_t values[] = { 0,
                                1,
                                1u << 31,
                                1ull << 32,
                                1ull << 63,
                                UINT64_MAX,
                                UINT64_MAX - 7,
                                SAFETENSORS_HEADER_MAX,
                                SAFETENSORS_HEADER_MAX + 1 };
    for (size_t v = 0; v < COUNT_OF(values); v++) {
        struct buf b;
        struct err err;
        uint32_t n;
        make(&b, GOOD, GOOD_DATA);
        store_le64(b.data, values[v]);
        assert_true(read_copy(b.data, b.len, &n, &err) < 0);
        assert_non_null(strstr(err.text, "header"));
        buf_fini(&b);
    }
}

static void bad_headers(void **state)
{
    (void)state;
#define T(shape, offsets) "\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets
    const struct {
        const char *header;
        size_t n_data;
        int code;
        const char *says;
    } cases[] = {
        { "", 0, E_FORMAT, "begin with {" },
        { "[]", 0, E_FORMAT, "begin with {" },
        { "{} x", 0, E_FORMAT, "follows the header" },
        { "{,}", 0, E_FORMAT, "string is missing" },
        { "{\"a\":{}}", 0, E_FORMAT, "missing" },
        { "{\"a\":1}", 0, E_FORMAT, "object" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, E_FORMAT, "without dtype" },
        { "{\"a\":{" T("[1]", "[0,4]") ",\"x\":1}}", 4, E_FORMAT, "unknown or doubled" },
        { "{\"a\":{" T("[1]", "[0,4]") ",\"dtype\":\"F32\"}}", 4, E_FORMAT, "unknown or doubled" },
        { "{\"a\":{" T("[1]", "[0,4]") "},}", 4, E_FORMAT, "string is missing" },
        { "{\"a\":{" T("[1]", "[0,4]") "},\"a\":{" T("[1]", "[4,8]") "}}", 8, E_FORMAT, "twice" },
        { "{\"a\":{" T("[1]", "[0,4]") "},\"b\":{" T("[1]", "[0,4]") "}}", 4, E_FORMAT, "overlap" },
        { "{\"a\":{" T("[2]", "[0,8]") "},\"b\":{" T("[1]", "[4,8]") "}}", 8, E_FORMAT, "overlap" },
        { "{\"a\":{" T("[1]", "[4,8]") "}}", 8, E_FORMAT, "gap" },
        { "{\"a\":{" T("[1]", "[0,4]") "}}", 8, E_FORMAT, "behind the last" },
        { "{\"a\":{" T("[2]", "[0,8]") "}}", 4, E_FORMAT, "past the end" },
        { "{\"a\":{" T("[2]", "[0,4]") "}}", 4, E_FORMAT, "do not hold" },
        { "{\"a\":{" T("[1]", "[4,0]") "}}", 4, E_FORMAT, "do not hold" },
        { "{\"a\":{" T("[0]", "[0,0]") "}}", 0, E_FORMAT, "dimension 0 is 0" },
        { "{\"a\":{" T("[-1]", "[0,4]") "}}", 4, E_FORMAT, "whole number" },
        { "{\"a\":{" T("[01]", "[0,4]") "}}", 4, E_FORMAT, "whole number" },
        { "{\"a\":{" T("[1.0]", "[0,4]") "}}", 4, E_FORMAT, "comma" },
        { "{\"a\":{" T("[1e0]", "[0,4]") "}}", 4, E_FORMAT, "comma" },
        { "{\"a\":{" T("[1,1,1,1,1]", "[0,4]") "}}", 4, E_FORMAT, "4 dimensions" },
        { "{\"a\":{" T("[18446744073709551616]", "[0,4]") "}}", 4, E_FORMAT, "too large" },
        { "{\"a\":{" T("[9223372036854775808]", "[0,4]") "}}", 4, E_FORMAT, "too large" },
        { "{\"a\":{" T("[4294967296,4294967296]", "[0,4]") "}}", 4, E_FORMAT, "too large" },
        { "{\"a\":{" T("[1]", "[18446744073709551612,18446744073709551615]") "}}", 4, E_FORMAT,
          "do not hold" },
        { "{\"a\":{" T("[1]", "[0,4,8]") "}}", 4, E_FORMAT, "two numbers" },
        { "{\"\":{" T("[1]", "[0,4]") "}}", 4, E_FORMAT, "empty" },
        { "{\"a\\u0062\":{" T("[1]", "[0,4]") "}}", 4, E_FORMAT, "backslash" },
        { "{\"a\xff\":{" T("[1]", "[0,4]") "}}", 4, E_FORMAT, "UTF-8" },
        { "{\"a\n\":{" T("[1]", "[0,4]") "}}", 4, E_FORMAT, "control" },
        { "{\"__metadata__\":{\"a\":1}}", 0, E_FORMAT, "string is missing" },
        { "{\"__metadata__\":[]}", 0, E_FORMAT, "__metadata__" },
        { "{\"__metadata__\":{\"a\":\"\\x\"}}", 0, E_FORMAT, "escape" },
        { "{\"__metadata__\":{},\"__metadata__\":{}}", 0, E_FORMAT, "twice" },
        { "{\"w\":{\"dtype\":\"F8_E4M3\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, E_UNSUPPORTED,
          "w: numbers of type F8_E4M3" },
        { "{\"w\":{\"dtype\":\"Q4_K\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, E_FORMAT,
          "does not exist" },
        { "{\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]},"
          "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[1,5]}}",
          5, E_UNSUPPORTED, "odd address" },
    };
#undef T
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        /* pad to a multiple of 8, as writers do, so that only the intended fault is there */
        char header[512];
        snprintf(header, sizeof header, "%s", cases[i].header);
        while (strlen(header) % 8 != 0)
            strncat(header, " ", sizeof header - strlen(header) - 1);
        refuses(header, cases[i].n_data, cases[i].code, cases[i].says);
    }
}

int safetensors_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads),       cmocka_unit_test(mutations),
        cmocka_unit_test(truncations), cmocka_unit_test(header_lengths),
        cmocka_unit_test(bad_headers),
    };
    return cmocka_run_group_tests_name("model/safetensors", tests, NULL, NULL);
}
