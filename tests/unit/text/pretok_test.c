/* Goal: every hand-written rule cuts as PCRE2 does with the published regex: on text full of what
 * the rules look at, on random Unicode, and on the shared corpora. */
#include "unit/test.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "text/pretok.h"
#include "text/unicode.h"

static struct pretok_regex *compile(const char *pattern)
{
    struct pretok_regex *r;
    struct err err = { 0 };
    if (pretok_regex_compile(&r, pattern, strlen(pattern), &err) < 0)
        fail_msg("%s", err.text);
    return r;
}

static void compare(const struct pretok_rule *rule, struct pretok_regex *regex, const char *s,
                    size_t len)
{
    struct pretok_step by_rule = { .finder = FIND_RULE, .rule = rule };
    struct pretok_step by_regex = { .finder = FIND_REGEX, .regex = regex };
    struct text_span whole = { 0, (uint32_t)len };
    struct text_spans in = { &whole, 1, 1 }, a = { 0 }, b = { 0 };
    assert_int_equal(pretok_split(&by_rule, (const uint8_t *)s, &in, &a), 0);
    assert_int_equal(pretok_split(&by_regex, (const uint8_t *)s, &in, &b), 0);
    for (size_t i = 0; i < a.n || i < b.n; i++) {
        bool same = i < a.n && i < b.n && a.v[i].begin == b.v[i].begin && a.v[i].end == b.v[i].end;
        if (!same) {
            size_t at = i < a.n ? a.v[i].begin : len, from = at > 20 ? at - 20 : 0;
            fail_msg("rule %s: piece %zu is %u..%u and not %u..%u in \"%.*s\"", rule->regex, i,
                     i < a.n ? a.v[i].begin : 0, i < a.n ? a.v[i].end : 0,
                     i < b.n ? b.v[i].begin : 0, i < b.n ? b.v[i].end : 0,
                     (int)(len - from < 60 ? len - from : 60), s + from);
        }
    }
    text_spans_fini(&a);
    text_spans_fini(&b);
}

typedef void (*each_rule)(const struct pretok_rule *rule, struct pretok_regex *regex);

static void for_rules(each_rule fn)
{
    for (size_t i = 0; i < PRETOK_N_FAMILIES; i++)
        for (size_t k = 0; k < PRETOK_PASSES_MAX && PRETOK_FAMILIES[i].passes[k] != NULL; k++) {
            struct pretok_regex *r = compile(PRETOK_FAMILIES[i].passes[k]->regex);
            fn(PRETOK_FAMILIES[i].passes[k], r);
            pretok_regex_destroy(r);
        }
}

/* A character the two sides' Unicode tables agree on: assigned in ours; PCRE2 10.42 has Unicode 14,
 * libutf8proc may have 15, and PCRE2's \s has U+180E, which is no White_Space since Unicode 6.3. */
static uint32_t random_char(struct rng *rng)
{
    static const char often[] = "aAbZsStTrReEvVmMlLdD''   \t\r\n019.,!/-_$^`|(~";
    for (;;) {
        uint32_t kind = rng_below(rng, 8), cp;
        if (kind < 5)
            return (uint8_t)often[rng_below(rng, sizeof often - 1)];
        cp = kind == 5   ? rng_below(rng, 0x600)
             : kind == 6 ? rng_below(rng, 0x10000)
                         : rng_below(rng, 0x30000);
        bool newer = (cp >= 0x10ec0 && cp <= 0x10eff) || (cp >= 0x11b00 && cp <= 0x11b09) ||
                     (cp >= 0x11f00 && cp <= 0x11f5f) || (cp >= 0x11240 && cp <= 0x1133f) ||
                     (cp >= 0x13430 && cp <= 0x1345f) || (cp >= 0x1b130 && cp <= 0x1b17f) ||
                     (cp >= 0x1d2c0 && cp <= 0x1d2df) || (cp >= 0x1df00 && cp <= 0x1e08f) ||
                     (cp >= 0x1e4d0 && cp <= 0x1e4ff) || (cp >= 0x1f6d0 && cp <= 0x1f7ff) ||
                     (cp >= 0x1fa70 && cp <= 0x1faff) || cp == 0xcf3 || cp == 0xece;
        if (cp == 0 || cp == 0x180e || newer || uni_flags(cp) == 0 || (cp & ~0x7ffu) == 0xd800)
            continue;
        return cp;
    }
}

static void random_text(const struct pretok_rule *rule, struct pretok_regex *regex)
{
    struct rng rng;
    struct buf b;
    rng_seed(&rng, 7);
    buf_init(&b, 1u << 16);
    for (int i = 0; i < 3000; i++) {
        buf_clear(&b);
        for (uint32_t n = rng_below(&rng, 24); n > 0; n--) {
            char c[4];
            buf_put(&b, c, utf8_put(c, random_char(&rng)));
        }
        compare(rule, regex, buf_str(&b), b.len);
    }
    buf_fini(&b);
}

static void random_text_is_cut_alike(void **state)
{
    (void)state;
    for_rules(random_text);
}

static void awkward_text(const struct pretok_rule *rule, struct pretok_regex *regex)
{
    static const char *const texts[] = {
        "",
        " ",
        "  ",
        "   x",
        "\n",
        " \n",
        "\n ",
        " \n x",
        "\r\n\r\n  \t a\n\n",
        "I'll we'VE 'S it's'x ''re",
        "don'\xc5\xbft",
        "12345 1 22 333",
        "a1b2",
        "HTMLParser iPhone ABCdef aBC",
        "e\xcc\x81x \xcc\x81",
        "//\n/",
        "!?\r\n",
        " !?x",
        "_a .b $c\n",
        "\xe4\xb8\xad\xe6\x96\x87 A\xe4\xb8\xad"
        "B\xe3\x81\x82",
        "\xe2\xba\x80\xe3\x80\x87"
        "Ab",
        "\xe3\x80\x80\xe3\x80\x80x",
        "\xc2\xa0x \xc2\xa0",
        "\xc2\x85 a",
        "AA\xe1\xb8\x80\xe4\xb8\xad"
        "BB\xe4\xb8\xad"
        "CC 'd",
        "x\xf0\x9f\xa6\x99\xf0\x9f\xa6\x99 y",
        "(a|b)",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        compare(rule, regex, texts[i], strlen(texts[i]));
}

static void awkward_text_is_cut_alike(void **state)
{
    (void)state;
    for_rules(awkward_text);
}

static struct buf corpora; /* of the test below */

static void corpus_text(const struct pretok_rule *rule, struct pretok_regex *regex)
{
    compare(rule, regex, buf_str(&corpora), corpora.len);
}

static void corpora_are_cut_alike(void **state)
{
    (void)state;
    if (test_shared_dir() == NULL)
        skip();
    static const char *const names[] = { "udhr-multi", "code-c", "ko-chat", "zh-classics",
                                         "wikitext2-valid" };
    buf_init(&corpora, 1u << 26);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct buf command;
        char chunk[4096];
        buf_init(&command, 4096);
        buf_printf(&command, "xz -dc '%s/corpora/%s.txt.xz' | head -c 60000", test_shared_dir(),
                   names[i]);
        FILE *f = popen(buf_str(&command), "r");
        assert_non_null(f);
        for (size_t n; (n = fread(chunk, 1, sizeof chunk, f)) > 0;)
            buf_put(&corpora, chunk, n);
        pclose(f);
        buf_fini(&command);
        corpora.len -= utf8_tail(corpora.data, corpora.len); /* the cut may be in a character */
    }
    assert_in_range(corpora.len, 299980, 300000);
    for_rules(corpus_text);
    buf_fini(&corpora);
}

static void families_have_names(void **state)
{
    (void)state;
    static const char *const names[] = {
        NULL,          "",          "default",  "gpt-2",  "llama-bpe",    "llama3",
        "qwen2",       "qwen35",    "gpt-4o",   "llama4", "deepseek-llm", "deepseek-coder",
        "deepseek-v3", "joyai-llm", "kimi-k2",  "tekken", "falcon",       "smollm",
        "starcoder",   "refact",    "command-r"
    };
    bool ignore = false;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_non_null(pretok_family_find(names[i], &ignore));
    assert_null(pretok_family_find("llama", &ignore));
    assert_null(pretok_family_find("nonesuch", &ignore));
    assert_null(pretok_rule_find("\\w+", 3));
    for (size_t i = 0; i < PRETOK_N_FAMILIES; i++) {
        const struct pretok_rule *r = PRETOK_FAMILIES[i].passes[0];
        assert_ptr_equal(pretok_rule_find(r->regex, strlen(r->regex)), r);
    }
}

/* The ASCII table against libutf8proc's categories is what uni_flags would say for Latin-1
 * neighbours. */
static void classes_are_right(void **state)
{
    (void)state;
    assert_true(uni_flags('a') & UNI_LOW);
    assert_true(uni_flags('Z') & UNI_UP);
    assert_true(uni_flags('_') & UNI_CONN);
    assert_true(uni_flags('$') & UNI_S);
    assert_true(uni_flags('%') & UNI_P);
    assert_true(uni_flags(0xe9) & UNI_LOW);
    assert_true(uni_flags(0x2b0) & UNI_UP);
    assert_true(uni_flags(0x2b0) & UNI_LOW);
    assert_true(uni_flags(0x301) & UNI_MN);
    assert_true(uni_flags(0xb2) & UNI_N);
    assert_true(uni_flags(0x3000) & UNI_SPACE);
    assert_true(uni_flags(0x85) & UNI_SPACE);
    assert_false(uni_flags(0x200b) & UNI_SPACE);
    static const uint8_t bad[] = { 0xff, 'a' };
    uint32_t len;
    assert_int_equal(uni_class(bad, 2, &len), UNI_S);
    assert_int_equal(len, 1);
}

/* Script=Han, against PCRE2's table. */
static void han_is_right(void **state)
{
    (void)state;
    struct pretok_regex *r = compile("\\p{sc:Han}");
    struct pretok_step step = { .finder = FIND_REGEX, .regex = r, .behavior = SPLIT_REMOVED };
    for (uint32_t cp = 0x2000; cp < 0x31350; cp++) {
        char c[4];
        size_t len = utf8_put(c, cp);
        if (len == 0 || cp == 0x2b739 || (cp & 0xff) > 0x80)
            continue; /* half of them will do; U+2B739 came with Unicode 15 */
        struct text_span whole = { 0, (uint32_t)len };
        struct text_spans in = { &whole, 1, 1 }, out = { 0 };
        assert_int_equal(pretok_split(&step, (const uint8_t *)c, &in, &out), 0);
        if ((out.n == 0) != uni_is_han(cp))
            fail_msg("U+%04X", cp);
        text_spans_fini(&out);
    }
    pretok_regex_destroy(r);
}

static void behaviours(void **state)
{
    (void)state;
    static const struct {
        enum pretok_behavior behavior;
        bool invert;
        const char *want; /* pieces with a bar between */
    } cases[] = {
        { SPLIT_ISOLATED, false, "the|-|final|-|-|countdown" },
        { SPLIT_REMOVED, false, "the|final|countdown" },
        { SPLIT_MERGE_PREVIOUS, false, "the-|final-|-|countdown" },
        { SPLIT_MERGE_NEXT, false, "the|-final|-|-countdown" },
        { SPLIT_CONTIGUOUS, false, "the|-|final|--|countdown" },
        { SPLIT_REMOVED, true, "-|-|-" },
    };
    static const char text[] = "the-final--countdown";
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pretok_step step = { .finder = FIND_TEXT,
                                    .text = "-",
                                    .text_len = 1,
                                    .behavior = cases[i].behavior,
                                    .invert = cases[i].invert };
        struct text_span whole = { 0, sizeof text - 1 };
        struct text_spans in = { &whole, 1, 1 }, out = { 0 };
        struct buf b;
        buf_init(&b, 1000);
        assert_int_equal(pretok_split(&step, (const uint8_t *)text, &in, &out), 0);
        for (size_t k = 0; k < out.n; k++) {
            buf_put(&b, "|", k > 0);
            buf_put(&b, text + out.v[k].begin, out.v[k].end - out.v[k].begin);
        }
        assert_string_equal(buf_str(&b), cases[i].want);
        buf_fini(&b);
        text_spans_fini(&out);
    }
}

/* A regex that explodes is stopped. */
static void limits_hold(void **state)
{
    (void)state;
    struct pretok_regex *r = compile("(a+)+$");
    struct pretok_step step = { .finder = FIND_REGEX, .regex = r };
    static const char text[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab";
    struct text_span whole = { 0, sizeof text - 1 };
    struct text_spans in = { &whole, 1, 1 }, out = { 0 };
    assert_int_equal(pretok_split(&step, (const uint8_t *)text, &in, &out), E_LIMIT);
    text_spans_fini(&out);
    pretok_regex_destroy(r);
}

int pretok_test(void);
int pretok_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(families_have_names),
        cmocka_unit_test(classes_are_right),
        cmocka_unit_test(han_is_right),
        cmocka_unit_test(behaviours),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(awkward_text_is_cut_alike),
        cmocka_unit_test(random_text_is_cut_alike),
        cmocka_unit_test(corpora_are_cut_alike),
    };
    return cmocka_run_group_tests_name("pre-tokenisers", tests, NULL, NULL);
}
