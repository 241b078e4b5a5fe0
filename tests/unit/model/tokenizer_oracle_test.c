/* Goal: the vocabularies and models in the shared folder tokenise as the reference program does:
 * every .inp/.out case, the whole of mixed.txt, and back to the same bytes. */
#include "unit/test.h"

#include <stdio.h>

#include "base/json.h"
#include "base/mem.h"
#include "model/file.h"
#include "os/file.h"

#define TEXT_MAX (16u << 20)

static char *path_of(const char *folder, const char *name, const char *suffix)
{
    struct buf b;
    buf_init(&b, 4096);
    buf_printf(&b, "%s/%s/%s%s", test_shared_dir(), folder, name, suffix);
    return buf_take(&b, NULL);
}

static char *read_text(const char *folder, const char *name, const char *suffix, size_t *len)
{
    char *path = path_of(folder, name, suffix), *text = NULL;
    struct err err = { 0 };
    if (os_read_file(path, TEXT_MAX, &text, len, &err) < 0)
        fail_msg("%s", err.text);
    mem_free(path);
    return text;
}

static struct text_tokenizer *open_tokenizer(const char *folder, const char *name,
                                             struct model_file **file)
{
    char *path = path_of(folder, name, "");
    struct text_tokenizer *t = NULL;
    struct err err = { 0 };
    int rc = model_file_open(file, path, &err);
    if (rc == 0)
        rc = model_file_tokenizer(*file, &t, &err);
    if (rc < 0)
        fail_msg("%s: %s", path, err.text);
    mem_free(path);
    return t;
}

/* The ids a line of numbers lists. */
static void parse_ids(const char *line, const char *end, struct text_ids *l)
{
    while (line < end) {
        char *next;
        long id = strtol(line, &next, 10);
        if (next == line || next > end)
            break;
        assert_int_equal(text_ids_put(l, (int32_t)id), 0);
        line = next;
    }
}

static void same_ids(const struct text_ids *got, const struct text_ids *want, const char *name,
                     size_t at)
{
    uint32_t n = got->n < want->n ? got->n : want->n, i = 0;
    while (i < n && got->ids[i] == want->ids[i])
        i++;
    if (i < n || got->n != want->n)
        fail_msg("%s, case %zu: id %u is %d and not %d (%u ids, %u wanted)", name, at, i,
                 i < got->n ? got->ids[i] : -1, i < want->n ? want->ids[i] : -1, got->n, want->n);
}

static void check_cases(const char *name)
{
    static const char border[] = "\n__ggml_vocab_test__\n";
    struct model_file *file;
    struct text_tokenizer *t = open_tokenizer("oracles/tokenizers", name, &file);
    size_t in_len, out_len, n = 0;
    char *in = read_text("oracles/tokenizers", name, ".inp", &in_len);
    char *out = read_text("oracles/tokenizers", name, ".out", &out_len);
    const char *text = in, *line = out;
    while (line < out + out_len) {
        const char *end = strstr(text, border), *line_end = strchr(line, '\n');
        assert_non_null(end);
        struct text_ids got, want;
        text_ids_init(&got, UINT32_MAX);
        text_ids_init(&want, UINT32_MAX);
        parse_ids(line, line_end, &want);
        assert_int_equal(text_encode(t, text, (size_t)(end - text), NULL, 0, &got), 0);
        same_ids(&got, &want, name, n++);
        text_ids_fini(&got);
        text_ids_fini(&want);
        text = end + sizeof border - 1;
        line = line_end + 1;
    }
    assert_int_equal(n, 46);
    mem_free(in);
    mem_free(out);
    text_tokenizer_destroy(t);
    model_file_close(file);
}

static char *read_xz(const char *name, size_t *len)
{
    char *path = path_of("oracles/tokenizers", name, "");
    struct buf command, text;
    buf_init(&command, 4096);
    buf_init(&text, TEXT_MAX);
    buf_printf(&command, "xz -dc '%s'", path);
    FILE *f = popen(buf_str(&command), "r");
    char chunk[65536];
    for (size_t n; f != NULL && (n = fread(chunk, 1, sizeof chunk, f)) > 0;)
        buf_put(&text, chunk, n);
    if (f == NULL || pclose(f) != 0)
        fail_msg("cannot unpack %s", path);
    buf_fini(&command);
    mem_free(path);
    return buf_take(&text, len);
}

struct mixed {
    const char *text;
    size_t len;
    int n;
};

/* The ids of the whole text, and the text again. */
static int check_mixed(void *ctx, const char *name, json_value *ids)
{
    struct mixed *m = ctx;
    bool model = strncmp(name, "ggml-vocab", 10) != 0;
    struct model_file *file;
    struct text_tokenizer *t = open_tokenizer(model ? "models" : "oracles/tokenizers", name, &file);
    struct text_ids got, want;
    struct buf back;
    text_ids_init(&got, UINT32_MAX);
    text_ids_init(&want, UINT32_MAX);
    buf_init(&back, TEXT_MAX);
    for (size_t i = 0; i < json_len(ids); i++)
        assert_int_equal(text_ids_put(&want, (int32_t)json_as_int(json_at(ids, i))), 0);
    assert_int_equal(text_encode(t, m->text, m->len, NULL, 0, &got), 0);
    same_ids(&got, &want, name, 0);
    assert_int_equal(text_decode(t, got.ids, got.n, true, &back), 0);
    assert_int_equal(back.len, m->len);
    assert_memory_equal(buf_str(&back), m->text, m->len);
    text_ids_fini(&got);
    text_ids_fini(&want);
    buf_fini(&back);
    text_tokenizer_destroy(t);
    model_file_close(file);
    m->n++;
    return 0;
}

static void cases_are_equal(void **state)
{
    (void)state;
    if (test_shared_dir() == NULL)
        skip();
    check_cases("ggml-vocab-llama-spm.gguf");
    check_cases("ggml-vocab-gpt-2.gguf");
    check_cases("ggml-vocab-deepseek-llm.gguf");
    check_cases("ggml-vocab-starcoder.gguf");
}

static void mixed_text_is_equal(void **state)
{
    (void)state;
    if (test_shared_dir() == NULL)
        skip();
    struct mixed m = { 0 };
    size_t ids_len;
    char *text = read_text("oracles/tokenizers", "mixed.txt", "", &m.len);
    char *json = read_xz("mixed.ids.json.xz", &ids_len);
    json_value *ids;
    m.text = text;
    assert_int_equal(json_parse(&ids, json, ids_len, &JSON_LIMITS_FILE, NULL), 0);
    assert_int_equal(json_each(ids, check_mixed, &m), 0);
    assert_int_equal(m.n, 7);
    json_free(ids);
    mem_free(text);
    mem_free(json);
}

/* A vocabulary of characters without bytes: what it lacks is unk, and nothing aborts. */
static void unknown_text_is_unk(void **state)
{
    (void)state;
    if (test_shared_dir() == NULL)
        skip();
    struct model_file *file;
    struct text_tokenizer *t = open_tokenizer("models", "babyllama-char105-f32.gguf", &file);
    static const char text[] = "a\xed\x95\x9c\xff z \xf0\x9f\xa6\x99";
    struct text_ids l;
    text_ids_init(&l, 100);
    assert_int_equal(text_encode(t, text, sizeof text - 1, NULL, TEXT_ADD_SPECIAL, &l), 0);
    uint32_t n_unk = 0;
    for (uint32_t i = 0; i < l.n; i++)
        n_unk += l.ids[i] == 0;
    assert_int_equal(l.ids[0], text_bos(t));
    assert_int_equal(n_unk, 2);
    text_ids_fini(&l);
    text_tokenizer_destroy(t);
    model_file_close(file);
}

int tokenizer_oracle_test(void);
int tokenizer_oracle_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cases_are_equal),
        cmocka_unit_test(mixed_text_is_equal),
        cmocka_unit_test(unknown_text_is_unk),
    };
    return cmocka_run_group_tests_name("tokenizer oracles", tests, NULL, NULL);
}
