/* Goal: a mask allows exactly the tokens whose bytes can come, in states reached by random
 * allowed walks, whatever the tokens are and where they cut the text; also when the memory of
 * states is forgotten in between. Brute force: a fresh matcher for every token. */
#include "unit/test.h"

#include <math.h>

#include "base/rng.h"
#include "text/grammar_run.h"
#include "unit/text/grammar_help.h"

int grammar_mask_test(void);

static const struct {
    enum text_grammar_kind kind;
    const char *source, *sample;
} cases[] = {
    { TEXT_GRAMMAR_SCHEMA,
      "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\",\"maxLength\":400},"
      "\"age\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":150},\"tags\":{\"type\":\"array\","
      "\"items\":{\"enum\":[\"a\",\"b\\\"c\",null]}}},\"required\":[\"name\",\"age\"]}",
      "{ \"name\": \"na\\\"me \xed\x95\x9c\xf0\x9f\x98\x80\", \"age\": 42, \"tags\": [\"a\", null] }" },
    { TEXT_GRAMMAR_SCHEMA, "{}", "{\"a\": [[1, 2.5e3], {\"b\": \"x\"}], \"c\": true, \"d\": null}" },
    { TEXT_GRAMMAR_SCHEMA, "{\"type\":\"string\",\"pattern\":\"^(ab|\xed\x95\x9c\\\\d)+$\"}",
      "\"abab\xed\x95\x9c" "1\"" },
    { TEXT_GRAMMAR_GBNF, "root ::= (expr \"=\" [0-9]+ \"\\n\")+\nexpr ::= term ([-+*/] term)*\n"
                         "term ::= [a-z]+ | \"(\" expr \")\"\n", "(a+b)*c=12\nx=3\n" },
    { TEXT_GRAMMAR_REGEX, "(a|b)*abb|\\d{2,4}-[\\u3131-\\ud7a3]+", "aababb2024-\xed\x95\x9c" },
    { TEXT_GRAMMAR_CHOICE, "[\"yes\",\"yesterday\",\"no\",\"\"]", "yesterday no" },
};

/* Tokens cut at random from the sample, all single bytes, and one that ends. */
static struct text_grammar_vocab *random_vocab(struct rng *rng, const char *sample, uint32_t n)
{
    struct text_str *pieces = test_malloc((n + 257) * sizeof *pieces);
    static char bytes[256];
    struct text_grammar_vocab *v = NULL;
    const uint32_t len = (uint32_t)strlen(sample);
    int32_t end = (int32_t)n + 256;
    for (uint32_t i = 0; i < 256; i++) {
        bytes[i] = (char)i;
        pieces[i] = (struct text_str){ bytes + i, 1 };
    }
    for (uint32_t i = 256; i < n + 256; i++) {
        uint32_t at = rng_below(rng, len), size = 1 + rng_below(rng, 6);
        pieces[i] = (struct text_str){ sample + at, size < len - at ? size : len - at };
    }
    pieces[n + 256] = (struct text_str){ "", 0 };
    assert_int_equal(text_grammar_vocab_create(&v, pieces, n + 257, &end, 1), 0);
    test_free(pieces);
    return v;
}

static bool brute(struct text_grammar *g, const struct buf *so_far, struct text_str token)
{
    struct text_matcher *m = NULL;
    assert_int_equal(text_matcher_create(&m, g), 0);
    assert_int_equal(text_matcher_bytes(m, buf_str(so_far), so_far->len), so_far->len);
    bool yes = text_matcher_bytes(m, token.data, token.len) == token.len;
    text_matcher_destroy(m);
    return yes;
}

/* The mask by bits and by logits, against brute force; a random allowed token, or -1. */
static int32_t check_state(struct text_matcher *m, struct text_grammar *g, struct rng *rng,
                           const struct buf *so_far)
{
    const struct text_grammar_vocab *v = g->vocab;
    uint64_t bits[16];
    float logits[1024];
    int32_t chosen = -1;
    uint32_t n_allowed = 0;
    assert_true(v->n_tokens <= 1000);
    text_matcher_bits(m, bits, v->n_tokens);
    for (uint32_t i = 0; i < v->n_tokens; i++)
        logits[i] = (float)i;
    text_matcher_mask(m, logits, v->n_tokens);
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        bool is_end = i + 1 == v->n_tokens, bit = (bits[i / 64] >> (i % 64) & 1) != 0;
        bool want = is_end ? text_matcher_may_end(m)
                           : brute(g, so_far, text_grammar_token(v, (int32_t)i));
        assert_int_equal(bit, want);
        assert_true(want ? logits[i] == (float)i : isinf(logits[i]));
        if (want && !is_end && rng_below(rng, ++n_allowed) == 0)
            chosen = (int32_t)i;
    }
    assert_true(chosen >= 0 || text_matcher_may_end(m));
    return chosen;
}

static void masks(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++)
        for (size_t i = 0; i < COUNT_OF(cases); i++) {
            struct rng rng;
            struct text_grammar *g = NULL;
            struct text_matcher *m = NULL;
            struct err err;
            struct buf text;
            rng_seed(&rng, seed);
            struct text_grammar_vocab *v = random_vocab(&rng, cases[i].sample, 120);
            if (make_grammar(&g, v, cases[i].kind, cases[i].source, &err) < 0)
                fail_msg("case %zu: %s", i, err.text);
            assert_int_equal(text_matcher_create(&m, g), 0);
            buf_init(&text, 1 << 16);
            for (int step = 0; step < 12; step++) {
                int32_t id = check_state(m, g, &rng, &text);
                if (id < 0)
                    break;
                assert_true(text_matcher_accept(m, id));
                struct text_str t = text_grammar_token(v, id);
                buf_put(&text, t.data, t.len);
                if (step % 4 == 3)
                    gstate_flush(g, true);
            }
            buf_fini(&text);
            text_matcher_destroy(m);
            text_grammar_unref(g);
            text_grammar_vocab_destroy(v);
        }
}

/* A token that could not come changes nothing; the end comes once and for all. */
static void refusals(void **state)
{
    struct text_grammar *g = NULL;
    struct text_matcher *m = NULL;
    struct err err;
    struct rng rng;
    float logits[300];
    (void)state;
    rng_seed(&rng, 1);
    struct text_grammar_vocab *v = random_vocab(&rng, "ab", 10);
    assert_int_equal(make_grammar(&g, v, TEXT_GRAMMAR_REGEX, "ab?", &err), 0);
    assert_int_equal(text_matcher_create(&m, g), 0);
    assert_false(text_matcher_accept(m, 'b'));
    assert_false(text_matcher_accept(m, -1));
    assert_false(text_matcher_accept(m, 100000));
    assert_false(text_matcher_accept(m, 266)); /* the end, too early */
    assert_true(text_matcher_accept(m, 'a'));
    assert_true(text_matcher_may_end(m));
    assert_false(text_matcher_must_end(m));
    /* what a bias forbade entirely is allowed again */
    for (int i = 0; i < 300; i++)
        logits[i] = -INFINITY;
    text_matcher_mask(m, logits, 300);
    assert_true(logits['b'] == 0 && logits[266] == 0 && isinf(logits['a']) && isinf(logits[299]));
    assert_true(text_matcher_accept(m, 'b'));
    assert_true(text_matcher_must_end(m));
    assert_true(text_matcher_accept(m, 266));
    assert_false(text_matcher_accept(m, 'b'));
    text_matcher_destroy(m);
    text_grammar_unref(g);
    text_grammar_vocab_destroy(v);
}

static void forced(void **state)
{
    static const struct {
        const char *schema, *before, *want;
    } rows[] = {
        { "{\"type\":\"object\",\"properties\":{\"first\":{\"const\":1}},\"required\":[\"first\"]}",
          "{\"", "first\":" },
        { "{\"enum\":[\"north\",\"nowhere\"]}", "", "\"no" },
        { "{\"type\":\"boolean\"}", "", "" },
        { "{\"type\":\"boolean\"}", "t", "rue" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct text_grammar *g = NULL;
        struct text_matcher *m = NULL;
        struct err err;
        struct buf out;
        assert_int_equal(make_grammar(&g, no_vocab(), TEXT_GRAMMAR_SCHEMA, rows[i].schema, &err), 0);
        assert_int_equal(text_matcher_create(&m, g), 0);
        buf_init(&out, 1000);
        size_t len = strlen(rows[i].before);
        assert_int_equal(text_matcher_bytes(m, rows[i].before, len), len);
        text_matcher_forced(m, 100, &out);
        assert_string_equal(buf_str(&out), rows[i].want);
        buf_fini(&out);
        text_matcher_destroy(m);
        text_grammar_unref(g);
    }
}

/* A thousand levels of arrays, and as many places open at once. */
static void deep(void **state)
{
    struct text_grammar *g = NULL;
    struct err err;
    char text[4001];
    (void)state;
    memset(text, '[', 2000);
    memset(text + 2000, ']', 2000);
    assert_int_equal(make_grammar(&g, no_vocab(), TEXT_GRAMMAR_SCHEMA, "{}", &err), 0);
    assert_true(matches(g, text, 4000));
    assert_false(matches(g, text, 3999));
    text_grammar_unref(g);
    assert_int_equal(make_grammar(&g, no_vocab(), TEXT_GRAMMAR_GBNF,
                                  "root ::= \"[\" root? root? \"]\"", &err), 0);
    for (int i = 0; i < 40; i++)
        memcpy(text + 2 * i, "[]", 2);
    memmove(text + 1, text, 80);
    text[0] = '[';
    text[81] = ']';
    assert_false(matches(g, text, 82)); /* 40 children, two are possible */
    memcpy(text, "[[][[]]]", 8);
    assert_true(matches(g, text, 8));
    text_grammar_unref(g);
}

int grammar_mask_test(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(masks), cmocka_unit_test(refusals),
                                        cmocka_unit_test(forced), cmocka_unit_test(deep) };
    return cmocka_run_group_tests_name("grammar_mask", tests, NULL, NULL);
}
