/* Goal: over real vocabularies a document goes through its own schema token by token as its tokenizer
 * cuts it, and masks agree with brute force over every token. Prints what masks cost, new and warm. */
#include "unit/test.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "model/file.h"
#include "text/grammar.h"

int grammar_oracle_test(void);

static const char schema[] =
    "{\"type\":\"object\",\"properties\":{\"title\":{\"type\":\"string\",\"maxLength\":300},"
    "\"year\":{\"type\":\"integer\",\"minimum\":1900,\"maximum\":2100},"
    "\"tags\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},"
    "\"extra\":{}},\"required\":[\"title\",\"year\",\"tags\"],\"additionalProperties\":false}";
static const char document[] =
    "{\"title\": \"The old ferry \xeb\x82\x98\xeb\xa3\xa8 \\\"crosses\\\" at dawn \xf0\x9f\x98\x80\", \"year\": 1987, "
    "\"tags\": [\"water\", \"quiet mornings\", \"caf\xc3\xa9\"], \"extra\": {\"a\": [1, 2.5, {\"b\": null}], "
    "\"c\": \"deep\"}}";

#define DOCUMENT_LEN (sizeof document - 1)

/* Every token against a fresh matcher. */
static void check_state(struct text_grammar *g, const struct text_grammar_vocab *v,
                        struct text_matcher *m, const struct buf *so_far)
{
    uint64_t *bits = mem_alloc(v->n_tokens / 64 + 1, sizeof *bits);
    assert_non_null(bits);
    text_matcher_bits(m, bits, v->n_tokens);
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        struct text_str t = text_grammar_token(v, (int32_t)i);
        struct text_matcher *fresh = NULL;
        if (t.len == 0)
            continue;
        assert_int_equal(text_matcher_create(&fresh, g), 0);
        assert_int_equal(text_matcher_bytes(fresh, buf_str(so_far), so_far->len), so_far->len);
        bool want = text_matcher_bytes(fresh, t.data, t.len) == t.len;
        if (want != ((bits[i / 64] >> (i % 64) & 1) != 0))
            fail_msg("token %u after \"%s\": the mask says %d", i, buf_str(so_far), !want);
        text_matcher_destroy(fresh);
    }
    mem_free(bits);
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* The whole document; us: of each mask. Returns the number of tokens. */
static uint32_t run(struct text_grammar *g, const struct text_grammar_vocab *v,
                    const struct text_ids *ids, bool check, double *us)
{
    struct text_matcher *m = NULL;
    struct buf text;
    struct clock clock = clock_system();
    uint32_t n = 0;
    float *logits = mem_alloc(v->n_tokens, sizeof *logits);
    assert_non_null(logits);
    buf_init(&text, 1 << 16);
    assert_int_equal(text_matcher_create(&m, g), 0);
    for (; n < ids->n; n++) {
        struct text_str t = text_grammar_token(v, ids->ids[n]);
        uint64_t begin = clock_now_ns(&clock);
        text_matcher_mask(m, logits, v->n_tokens);
        us[n] = (double)(clock_now_ns(&clock) - begin) / 1e3;
        if (check && (n == 0 || n == 6 || n == ids->n / 2 || n + 4 == ids->n))
            check_state(g, v, m, &text);
        if (!text_matcher_accept(m, ids->ids[n]))
            fail_msg("token %d after \"%s\" is not allowed", ids->ids[n], buf_str(&text));
        buf_put(&text, t.data, t.len);
    }
    assert_true(text_matcher_may_end(m));
    text_matcher_destroy(m);
    buf_fini(&text);
    mem_free(logits);
    return n;
}

static void check_vocab(const char *name)
{
    char path[1024];
    struct model_file *file = NULL;
    struct text_tokenizer *t = NULL;
    struct text_grammar_vocab *v = NULL;
    struct text_grammar *g = NULL;
    struct err err = { 0 };
    struct text_ids ids;
    json_value *json = NULL;
    snprintf(path, sizeof path, "%s/oracles/tokenizers/ggml-vocab-%s.gguf", test_shared_dir(), name);
    if (model_file_open(&file, path, &err) < 0 || model_file_tokenizer(file, &t, &err) < 0)
        fail_msg("%s: %s", path, err.text);
    assert_int_equal(text_grammar_vocab_of(&v, t), 0);
    assert_int_equal(json_parse(&json, schema, strlen(schema), &JSON_LIMITS_REQUEST, &err), 0);
    struct text_grammar_params p = { .kind = TEXT_GRAMMAR_SCHEMA, .json = json };
    assert_int_equal(text_grammar_create(&g, v, &p, &err), 0);
    text_ids_init(&ids, 1000);
    assert_int_equal(text_encode(t, document, DOCUMENT_LEN, NULL, 0, &ids), 0);
    struct text_str first = text_grammar_token(v, ids.ids[0]);
    if (first.len > 0 && first.data[0] == ' ') { /* SentencePiece's blank in front */
        struct text_str brace = { "{\"", 2 };
        int32_t id = text_token_id(t, brace.data, brace.len);
        assert_true(id >= 0);
        ids.ids[0] = id;
    }
    double cold[1000], warm[1000];
    uint32_t n = run(g, v, &ids, false, cold);
    run(g, v, &ids, false, warm);
    run(g, v, &ids, true, (double[1000]){ 0 });
    qsort(cold, n, sizeof *cold, by_value);
    qsort(warm, n, sizeof *warm, by_value);
    struct text_grammar_stats s;
    text_grammar_stats(g, &s);
    printf("# %s: %u tokens, %u nodes; masks new: median %.0f us, most %.0f us; warm: median %.1f us, "
           "most %.1f us; %u states, %u walks, %u resolved, %zu KiB; n = %u\n",
           name, v->n_tokens, s.n_nodes, cold[n / 2], cold[n - 1], warm[n / 2], warm[n - 1],
           s.n_states, s.n_masks, s.n_resolved, s.bytes / 1024, n);
    text_ids_fini(&ids);
    json_free(json);
    text_grammar_unref(g);
    text_grammar_vocab_destroy(v);
    text_tokenizer_destroy(t);
    model_file_close(file);
}

static void vocabularies(void **state)
{
    static const char *const names[] = { "llama-spm", "gpt-2", "starcoder", "deepseek-llm" };
    (void)state;
    if (test_shared_dir() == NULL)
        skip();
    for (size_t i = 0; i < COUNT_OF(names); i++)
        check_vocab(names[i]);
}

int grammar_oracle_test(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(vocabularies) };
    return cmocka_run_group_tests_name("grammar_oracle", tests, NULL, NULL);
}
