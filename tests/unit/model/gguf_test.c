/* Goal: the GGUF reader gives back what a file says, and refuses every damaged file with a line
 * that names the field, without touching a byte that is not there (each input lies in a block of
 * its exact size). */
#include "unit/test.h"

#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "kernel/type.h"
#include "model/file_impl.h"
#include "unit/model/gguf_make.h"

int gguf_test(void);

/* Opens an exact copy. The copy lives as long as *copy, which the caller frees after closing. */
static int open_copy(struct model_file **f, const void *data, size_t len, void **copy,
                     struct err *err)
{
    *copy = malloc(len + (len == 0));
    assert_non_null(*copy);
    if (len > 0)
        memcpy(*copy, data, len);
    *err = (struct err){ 0 };
    return model_file_open_bytes(f, *copy, len, err);
}

/* Reads everything an opened file offers, so that a bad pointer shows. */
static void touch(const struct model_file *f)
{
    unsigned sum = 0;
    uint32_t x = 0;
    struct err err;
    for (uint32_t i = 0; i < model_file_n_meta(f); i++) {
        const struct model_meta *m = model_file_meta_at(f, i);
        struct text_str s;
        size_t at = 0;
        int64_t whole;
        double number;
        while (model_meta_next_str(m, &at, &s))
            sum += s.len > 0 ? (uint8_t)s.data[s.len - 1] : 0;
        for (uint64_t k = 0; k < m->n; k++)
            sum += model_meta_integer(m, k, &whole) + model_meta_number(m, k, &number);
        if (m->bytes > 0)
            sum += m->data[m->bytes - 1];
        assert_ptr_equal(model_file_meta_at(f, i), m);
    }
    for (uint32_t i = 0; i < model_file_n_tensors(f); i++) {
        const struct model_tensor *t = model_file_tensor_at(f, i);
        assert_true(t->bytes > 0);
        sum += t->data[0] + t->data[t->bytes - 1];
    }
    sum += (unsigned)model_file_u32(f, ".block_count", &x, &err);
    sum += (unsigned)model_file_chat_template(f).len;
    (void)sum;
}

/* Refused with this code, and the text holds `says`. */
static void refuses(const struct buf *b, int code, const char *says)
{
    struct model_file *f;
    struct err err;
    void *copy;
    int rc = open_copy(&f, b->data, b->len, &copy, &err);
    if (rc >= 0)
        fail_msg("opened, but \"%s\" was expected", says);
    if (rc != code || strstr(err.text, says) == NULL)
        fail_msg("%s: %s; expected %s with \"%s\"", err_name(rc), err.text, err_name(code), says);
    free(copy);
}

/* Two tensors, keys of every kind. */
static void make_good(struct buf *b)
{
    put_header(b, 3, 2, 12);
    put_meta_str(b, "general.architecture", "llama");
    put_meta_u32(b, "llama.block_count", 7);
    put_key(b, "k.u8", MODEL_U8), buf_putc(b, (char)200);
    put_key(b, "k.i8", MODEL_I8), buf_putc(b, (char)-3);
    put_key(b, "k.i16", MODEL_I16), buf_putc(b, (char)0xfe), buf_putc(b, (char)0xff);
    put_key(b, "k.f32", MODEL_F32), put_f32(b, 2.5f);
    put_key(b, "k.bool", MODEL_BOOL), buf_putc(b, 1);
    put_key(b, "k.u64", MODEL_U64), put_u64(b, 1ull << 40);
    put_key(b, "k.list", MODEL_ARRAY), put_u32(b, MODEL_I32), put_u64(b, 3);
    put_u32(b, 4), put_u32(b, 5), put_u32(b, UINT32_MAX);
    put_key(b, "k.names", MODEL_ARRAY), put_u32(b, MODEL_STRING), put_u64(b, 3);
    put_str(b, "a"), put_str(b, ""), put_str(b, "ccc");
    put_key(b, "k.i64", MODEL_I64), put_u64(b, (uint64_t)-9);
    put_meta_u32(b, "general.alignment", 64);
    put_tensor(b, "a", 8, 2, KERNEL_F32, 0);
    put_tensor(b, "b", 32, 2, KERNEL_Q8_0, 64);
    put_data(b, 64, 64 + 68);
}

static void reads(void **state)
{
    (void)state;
    struct buf b;
    struct model_file *f;
    struct err err;
    void *copy;
    make_good(&b);
    int rc = open_copy(&f, b.data, b.len, &copy, &err);
    if (rc < 0)
        fail_msg("%s", err.text);
    touch(f);
    uint32_t x = 0;
    float y = 0;
    bool yes = false;
    struct text_str s;
    assert_string_equal(model_file_arch(f), "llama");
    assert_int_equal(model_file_version(f), 3);
    assert_int_equal(model_file_u32(f, ".block_count", &x, &err), 0);
    assert_int_equal(x, 7);
    assert_int_equal(model_file_u32(f, "k.u8", &x, &err), 0);
    assert_int_equal(x, 200);
    assert_int_equal(model_file_f32(f, "k.i8", &y, &err), 0);
    assert_float_equal(y, -3, 0);
    assert_int_equal(model_file_f32(f, "k.f32", &y, &err), 0);
    assert_float_equal(y, 2.5f, 0);
    assert_int_equal(model_file_bool(f, "k.bool", &yes, &err), 0);
    assert_true(yes);
    assert_int_equal(model_file_item_u32(f, "k.list", 1, &x, &err), 0);
    assert_int_equal(x, 5);
    assert_int_equal(model_file_item_u32(f, ".block_count", 99, &x, &err), 0); /* scalar for all */
    assert_int_equal(x, 7);
    assert_int_equal(model_file_str(f, "general.architecture", &s, &err), 0);
    assert_int_equal(s.len, 5);
    /* absent: untouched */
    x = 42;
    assert_int_equal(model_file_u32(f, "no.such", &x, &err), 0);
    assert_int_equal(x, 42);
    assert_int_equal(model_file_str(f, "no.such", &s, &err), 0);
    assert_null(s.data);
    /* wrong kind or range */
    assert_int_equal(model_file_u32(f, "k.f32", &x, &err), E_FORMAT);
    assert_non_null(strstr(err.text, "k.f32"));
    assert_int_equal(model_file_u32(f, "k.u64", &x, &err), E_FORMAT);
    assert_int_equal(model_file_u32(f, "k.i64", &x, &err), E_FORMAT);
    assert_int_equal(model_file_u32(f, "k.list", &x, &err), E_FORMAT);
    assert_int_equal(model_file_item_u32(f, "k.list", 2, &x, &err), E_FORMAT);
    assert_int_equal(model_file_item_u32(f, "k.list", 3, &x, &err), E_FORMAT);
    assert_int_equal(model_file_bool(f, "k.u8", &yes, &err), E_FORMAT);
    assert_int_equal(model_file_str(f, "k.u8", &s, &err), E_FORMAT);
    assert_int_equal(x, 42);
    size_t at = 0;
    const struct model_meta *names = model_file_meta(f, "k.names");
    assert_true(model_meta_next_str(names, &at, &s) && s.len == 1 && s.data[0] == 'a');
    assert_true(model_meta_next_str(names, &at, &s) && s.len == 0);
    assert_true(model_meta_next_str(names, &at, &s) && s.len == 3);
    assert_false(model_meta_next_str(names, &at, &s));
    const struct model_tensor *t = model_file_tensor(f, "b");
    assert_non_null(t);
    assert_int_equal(t->bytes, 68);
    assert_int_equal(t->data[0], 64);
    assert_int_equal(t->ne[0] + t->ne[2], 33);
    assert_null(model_file_tensor(f, "c"));
    model_file_close(f);
    free(copy);
    buf_fini(&b);
}

/* Every byte of the header, several values each: opened and readable, or refused with a reason. */
static void mutations(void **state)
{
    (void)state;
    struct buf b;
    make_good(&b);
    const uint8_t values[] = { 0x00, 0x01, 0x02, 0x7f, 0x80, 0xff, 0x20 };
    unsigned n_opened = 0, n_refused = 0;
    for (size_t i = 0; i < b.len; i++) {
        for (size_t v = 0; v < COUNT_OF(values) + 8; v++) {
            struct model_file *f;
            struct err err;
            void *copy;
            char old = b.data[i];
            b.data[i] = v < 8 ? (char)(old ^ (1 << v)) : (char)values[v - 8];
            if (open_copy(&f, b.data, b.len, &copy, &err) >= 0) {
                touch(f);
                model_file_close(f);
                n_opened++;
            } else {
                assert_true(err.text[0] != '\0');
                assert_null(strchr(err.text, '\n'));
                n_refused++;
            }
            free(copy);
            b.data[i] = old;
        }
    }
    assert_true(n_opened > 100);
    assert_true(n_refused > 1000);
    buf_fini(&b);
}

static void truncations(void **state)
{
    (void)state;
    struct buf b;
    make_good(&b);
    for (size_t n = 0; n < b.len; n++) {
        struct model_file *f;
        struct err err;
        void *copy;
        int rc = open_copy(&f, b.data, n, &copy, &err);
        if (rc >= 0)
            fail_msg("opened %zu of %zu bytes", n, b.len);
        assert_true(err.text[0] != '\0');
        free(copy);
    }
    buf_fini(&b);
}

/* Each 8-byte field at the edges of its range. `at` finds the field. */
static void hostile_numbers(void **state)
{
    (void)state;
    const uint64_t values[] = { 1u << 31,           1ull << 32, 1ull << 63,           UINT64_MAX,
                                UINT64_MAX - 7,     65537,      MODEL_STRING_MAX + 1, 1ull << 62,
                                (uint64_t)INT64_MAX };
    const struct {
        const char *before; /* the field follows these bytes */
        size_t skip;
        const char *says;
    } fields[] = {
        { "GGUF", 4, "tensor_count" },  { "GGUF", 12, "metadata_kv_count" },
        { "GGUF", 20, "metadata key" }, { "architecture", 4, "architecture" },
        { "k.list", 8, "k.list" },      { "k.names", 8, "k.names" },
        { "k.names", 16, "k.names" },
    };
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        for (size_t v = 0; v < COUNT_OF(values); v++) {
            struct buf b;
            make_good(&b);
            char *at = memmem(b.data, b.len, fields[i].before, strlen(fields[i].before));
            assert_non_null(at);
            store_le64(at + strlen(fields[i].before) + fields[i].skip, values[v]);
            struct model_file *f;
            struct err err;
            void *copy;
            int rc = open_copy(&f, b.data, b.len, &copy, &err);
            if (rc >= 0 || strstr(err.text, fields[i].says) == NULL)
                fail_msg("%s = %llu: rc %d, %s", fields[i].says, (unsigned long long)values[v], rc,
                         rc < 0 ? err.text : "");
            free(copy);
            buf_fini(&b);
        }
    }
}

/* One tensor with these numbers. */
static void with_tensor(uint64_t ne0, uint64_t ne1, uint32_t type, uint64_t offset, int code,
                        const char *says)
{
    struct buf b;
    put_header(&b, 3, 1, 0);
    put_tensor(&b, "weight", ne0, ne1, type, offset);
    put_data(&b, 32, 64);
    refuses(&b, code, says);
    buf_fini(&b);
}

static void bad_tensors(void **state)
{
    (void)state;
    with_tensor(0, 2, KERNEL_F32, 0, E_FORMAT, "weight");
    with_tensor(8, 0, KERNEL_F32, 0, E_FORMAT, "dimension 1 is 0");
    with_tensor(1ull << 63, 2, KERNEL_F32, 0, E_FORMAT, "too large");
    with_tensor(UINT64_MAX, UINT64_MAX, KERNEL_F32, 0, E_FORMAT, "too large");
    with_tensor(1ull << 62, 1, KERNEL_F32, 0, E_FORMAT, "overflows");
    with_tensor(1ull << 32, 1ull << 30, KERNEL_F32, 0, E_FORMAT, "overflows");
    with_tensor(1u << 31, 1, KERNEL_F32, 0, E_FORMAT, "past the end");
    with_tensor(33, 1, KERNEL_Q8_0, 0, E_FORMAT, "blocks of 32");
    with_tensor(8, 2, 4, 0, E_UNSUPPORTED, "number format 4");
    with_tensor(8, 2, 77, 0, E_UNSUPPORTED, "number format 77");
    with_tensor(8, 2, UINT32_MAX, 0, E_UNSUPPORTED, "number format 4294967295");
    with_tensor(8, 2, KERNEL_F32, 1, E_FORMAT, "multiple of the alignment");
    with_tensor(8, 2, KERNEL_F32, 32, E_FORMAT, "past the end");
    with_tensor(8, 2, KERNEL_F32, 1ull << 63, E_FORMAT, "past the end");
    with_tensor(8, 2, KERNEL_F32, UINT64_MAX - 31, E_FORMAT, "past the end");
    with_tensor(8, 1, KERNEL_F32, 0, E_FORMAT, "behind the last tensor");
    for (uint32_t n_dims = 0; n_dims < 7; n_dims += n_dims == 0 ? 5 : 1) {
        struct buf b;
        put_header(&b, 3, 1, 0);
        put_str(&b, "weight");
        put_u32(&b, n_dims);
        put_data(&b, 1, 200);
        refuses(&b, n_dims == 0 ? E_FORMAT : E_LIMIT, "weight: ");
        buf_fini(&b);
    }
}

static void overlaps_and_doubles(void **state)
{
    (void)state;
    const uint64_t second[] = { 0, 32 };
    for (size_t i = 0; i < COUNT_OF(second); i++) {
        struct buf b;
        put_header(&b, 2, 2, 0);
        put_tensor(&b, "first", 8, 2, KERNEL_F32, 0);
        put_tensor(&b, "second", 8, 2, KERNEL_F32, second[i]);
        put_data(&b, 32, 96);
        refuses(&b, E_FORMAT, "overlaps tensor");
        buf_fini(&b);
    }
    struct buf b;
    put_header(&b, 3, 2, 0);
    put_tensor(&b, "same", 8, 2, KERNEL_F32, 0);
    put_tensor(&b, "same", 8, 2, KERNEL_F32, 64);
    put_data(&b, 32, 128);
    refuses(&b, E_FORMAT, "tensor same is there twice");
    buf_fini(&b);
    put_header(&b, 3, 0, 2);
    put_meta_u32(&b, "one.key", 1);
    put_meta_u32(&b, "one.key", 1);
    refuses(&b, E_FORMAT, "key one.key is there twice");
    buf_fini(&b);
}

static void bad_keys(void **state)
{
    (void)state;
    const struct {
        const char *key;
        uint32_t kind, value;
        int code;
        const char *says;
    } cases[] = {
        { "", MODEL_U32, 1, E_FORMAT, "metadata key 0" },
        { "bad\xff", MODEL_U32, 1, E_FORMAT, "not UTF-8" },
        { "a.kind", 13, 1, E_FORMAT, "a.kind: kind 13" },
        { "a.kind", UINT32_MAX, 1, E_FORMAT, "a.kind: kind 4294967295" },
        { "a.bool", MODEL_BOOL, 2, E_FORMAT, "a.bool: 2 is no bool" },
        { "a.list", MODEL_ARRAY, MODEL_ARRAY, E_UNSUPPORTED, "array of arrays" },
        { "a.list", MODEL_ARRAY, 13, E_FORMAT, "item kind 13" },
        { "general.alignment", MODEL_U32, 0, E_FORMAT, "general.alignment: 0" },
        { "general.alignment", MODEL_U32, 1, E_FORMAT, "general.alignment: 1" },
        { "general.alignment", MODEL_U32, 48, E_FORMAT, "general.alignment: 48" },
        { "general.alignment", MODEL_U32, 131072, E_FORMAT, "general.alignment: 131072" },
        { "general.alignment", MODEL_U32, UINT32_MAX, E_FORMAT, "general.alignment: 4294967295" },
        { "general.alignment", MODEL_I32, UINT32_MAX, E_FORMAT, "general.alignment: -1" },
        { "general.alignment", MODEL_F32, 0, E_FORMAT, "whole number" },
        { "general.architecture", MODEL_U32, 0, E_FORMAT, "general.architecture" },
        { "split.count", MODEL_U32, 0, E_FORMAT, "split.count 0" },
        { "split.count", MODEL_U32, 2, E_UNSUPPORTED, "one of 2 parts" },
        { "split.no", MODEL_U32, 1, E_FORMAT, "give the first part" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct buf b;
        put_header(&b, 3, 0, 1);
        put_key(&b, cases[i].key, cases[i].kind);
        put_u32(&b, cases[i].value);
        if (cases[i].kind == MODEL_ARRAY)
            put_u64(&b, 0);
        refuses(&b, cases[i].code, cases[i].says);
        buf_fini(&b);
    }
}

static void bad_headers(void **state)
{
    (void)state;
    const struct {
        const char *magic;
        uint32_t version;
        int code;
        const char *says;
    } cases[] = {
        { "GGUF", 1, E_UNSUPPORTED, "version 1" },
        { "GGUF", 4, E_UNSUPPORTED, "version 4" },
        { "GGUF", 0, E_UNSUPPORTED, "version 0" },
        { "GGUF", 0x03000000, E_UNSUPPORTED, "big-endian" },
        { "FUGG", 3, E_UNSUPPORTED, "big-endian" },
        { "tjgg", 3, E_FORMAT, "older than GGUF" },
        { "PK\3\4", 3, E_FORMAT, "PyTorch" },
        { "abcd", 3, E_FORMAT, "not a GGUF file" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct buf b;
        put_header(&b, cases[i].version, 0, 0);
        memcpy(b.data, cases[i].magic, 4);
        refuses(&b, cases[i].code, cases[i].says);
        buf_fini(&b);
    }
    struct buf b;
    buf_init(&b, 1u << 12);
    put_u64(&b, 2);
    buf_puts(&b, "{}  ");
    refuses(&b, E_FORMAT, "safetensors file; give the directory");
    buf_fini(&b);
}

/* Vocabulary and nothing else: no tensors, no padding. */
static void no_tensors(void **state)
{
    (void)state;
    struct buf b;
    struct model_file *f;
    struct err err;
    void *copy;
    put_header(&b, 3, 0, 1);
    put_meta_str(&b, "general.architecture", "llama");
    assert_int_equal(open_copy(&f, b.data, b.len, &copy, &err), 0);
    assert_int_equal(model_file_n_tensors(f), 0);
    model_file_close(f);
    free(copy);
    buf_fini(&b);
}

static void write_file(const char *path, const struct buf *b)
{
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(b->data, 1, b->len, out), b->len);
    assert_int_equal(fclose(out), 0);
}

static void make_part(struct buf *b, uint32_t no, uint32_t count, const char *tensor)
{
    put_header(b, 3, 1, 4);
    put_meta_str(b, "general.architecture", "llama");
    put_meta_u32(b, "split.no", no);
    put_meta_u32(b, "split.count", count);
    put_meta_u32(b, "split.tensors.count", 2);
    put_tensor(b, tensor, 8, 2, KERNEL_F32, 0);
    put_data(b, 32, 64);
}

/* Two parts: both found; and each way in which they may not belong together. */
static void splits(void **state)
{
    (void)state;
    char dir[] = "/tmp/naru-gguf-XXXXXX", first[64], second[64];
    struct model_file *f;
    struct err err;
    struct buf b;
    assert_non_null(mkdtemp(dir));
    snprintf(first, sizeof first, "%s/m-00001-of-00002.gguf", dir);
    snprintf(second, sizeof second, "%s/m-00002-of-00002.gguf", dir);
    make_part(&b, 0, 2, "a");
    write_file(first, &b);
    buf_fini(&b);
    assert_int_equal(model_file_open(&f, first, &err), E_NOT_FOUND);
    const struct {
        uint32_t no;
        const char *name, *says;
    } cases[] = { { 1, "b", NULL }, { 0, "b", "split.no" }, { 1, "a", "a is there twice" } };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        make_part(&b, cases[i].no, 2, cases[i].name);
        write_file(second, &b);
        buf_fini(&b);
        int rc = model_file_open(&f, first, &err);
        if (cases[i].says == NULL) {
            assert_int_equal(rc, 0);
            assert_int_equal(model_file_n_tensors(f), 2);
            touch(f);
            model_file_close(f);
            assert_int_equal(model_file_open(&f, second, &err), E_FORMAT);
            assert_non_null(strstr(err.text, "give the first part"));
        } else {
            assert_true(rc < 0);
            assert_non_null(strstr(err.text, cases[i].says));
        }
    }
    unlink(first);
    unlink(second);
    rmdir(dir);
}

/* The files of the shared folder open and say what their README says. */
static void shared_models(void **state)
{
    (void)state;
    const struct {
        const char *name, *arch;
        uint32_t n_tensors, n_layers;
    } cases[] = {
        { "models/stories260k-f32.gguf", "llama", 47, 5 },
        { "models/llama2xs-stories-f32.gguf", "llama", 47, 5 },
        { "models/babyllama-char105-f32.gguf", "llama", 47, 5 },
        { "models/bit-stories-3m-f16.gguf", "bitnet", 90, 8 },
        { "models/naru-gqa-5m-f16.gguf", "llama", 56, 6 },
        { "models/naru-mla-5m-f16.gguf", "deepseek2", 80, 6 },
        { "oracles/architectures/deepseek2-moe.gguf", "deepseek2", 51, 2 },
        { "oracles/architectures/kimi-linear-moe.gguf", "kimi-linear", 74, 2 },
    };
    if (test_shared_dir() == NULL)
        skip();
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char path[512];
        struct model_file *f;
        struct err err;
        uint32_t n_layers = 0;
        snprintf(path, sizeof path, "%s/%s", test_shared_dir(), cases[i].name);
        if (model_file_open(&f, path, &err) < 0)
            fail_msg("%s: %s", cases[i].name, err.text);
        touch(f);
        assert_string_equal(model_file_arch(f), cases[i].arch);
        assert_int_equal(model_file_n_tensors(f), cases[i].n_tensors);
        assert_int_equal(model_file_u32(f, ".block_count", &n_layers, &err), 0);
        assert_int_equal(n_layers, cases[i].n_layers);
        model_file_close(f);
    }
}

int gguf_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads),         cmocka_unit_test(mutations),
        cmocka_unit_test(truncations),   cmocka_unit_test(hostile_numbers),
        cmocka_unit_test(bad_tensors),   cmocka_unit_test(overlaps_and_doubles),
        cmocka_unit_test(bad_keys),      cmocka_unit_test(bad_headers),
        cmocka_unit_test(no_tensors),    cmocka_unit_test(splits),
        cmocka_unit_test(shared_models),
    };
    return cmocka_run_group_tests_name("model/gguf", tests, NULL, NULL);
}
