/* Goal: small vocabularies written out here, of each kind: ids, special tokens and who may write
 * them, invalid bytes, streaming that never splits a character, and worst-case texts that stay
 * cheap. */
#include "unit/test.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "text/tok.h"

#define S(text)               \
    {                         \
        text, sizeof text - 1 \
    }
#define NONE TEXT_TOKEN_NONE
#define NO_IDS \
    .bos = NONE, .eos = NONE, .eot = NONE, .unk = NONE, .sep = NONE, .cls = NONE, NO_MORE_IDS
#define NO_MORE_IDS .pad = NONE, .mask = NONE

static struct text_tokenizer *create(const struct text_vocab *v)
{
    struct text_tokenizer *t;
    struct err err = { 0 };
    if (text_tokenizer_create(&t, v, &err) < 0)
        fail_msg("%s", err.text);
    return t;
}

static void expect(const struct text_tokenizer *t, const char *text, size_t len,
                   const uint8_t *origin, unsigned flags, const char *want)
{
    struct text_ids l;
    struct buf b;
    text_ids_init(&l, UINT32_MAX);
    buf_init(&b, 1u << 16);
    assert_int_equal(text_encode(t, text, len, origin, flags, &l), 0);
    for (uint32_t i = 0; i < l.n; i++)
        buf_printf(&b, i == 0 ? "%d" : " %d", l.ids[i]);
    assert_string_equal(buf_str(&b), want);
    buf_fini(&b);
    text_ids_fini(&l);
}

#define EXPECT(t, text, flags, want) expect(t, text, sizeof(text) - 1, NULL, flags, want)

/* --- SentencePiece ------------------------------------------------------------------------------
 */

static const struct text_str spm_tokens[] = {
    S("<unk>"),
    S("<s>"),
    S("</s>"),
    S("<0xE2>"),
    S("<0xFF>"),
    S("\xe2\x96\x81"),
    S("a"),
    S("b"),
    S("ab"),
    S("\xe2\x96\x81"
      "ab"),
    S("ba"),
    S("<"),
    S("s"),
    S(">"),
    S("<0x82>"),
    S("<0xAC>"),
    S("aa"),
};
static const float spm_scores[] = { 0, 0, 0, 0, 0, -9, -9, -9, -1, -2, -1, -9, -9, -9, 0, 0, -1 };
static const int32_t spm_types[] = { 2, 3, 3, 6, 6, 1, 1, 1, 1, 1, 1, 1, 1, 1, 6, 6, 1 };

static struct text_vocab spm_vocab(void)
{
    return (struct text_vocab){ .algo = TEXT_SPM,
                                NO_MORE_IDS,
                                .n_tokens = 17,
                                .tokens = spm_tokens,
                                .scores = spm_scores,
                                .types = spm_types,
                                .bos = 1,
                                .eos = 2,
                                .eot = NONE,
                                .unk = 0,
                                .sep = NONE,
                                .cls = NONE,
                                .add_bos = true,
                                .add_space_prefix = true };
}

static void sentencepiece(void **state)
{
    (void)state;
    struct text_vocab v = spm_vocab();
    struct text_tokenizer *t = create(&v);
    EXPECT(t, "", TEXT_ADD_SPECIAL, "1");
    EXPECT(t, "ab", TEXT_ADD_SPECIAL, "1 9");
    EXPECT(t, "ab ab", 0, "9 9");
    EXPECT(t, "aba", 0, "9 6");    /* equal scores: leftmost */
    EXPECT(t, "bab", 0, "5 10 7"); /* not "b" "ab": ba comes first */
    EXPECT(t, "aaa", 0, "5 16 6");
    EXPECT(t, " ab", 0, "5 9");
    EXPECT(t, "\xe2\x82\xac", 0, "5 3 14 15"); /* the euro sign in bytes */
    EXPECT(t, "\xff", 0, "5 4");
    EXPECT(t, "z\xe2z", 0, "5 0 3 0"); /* no bytes for z */
    EXPECT(t, "zz", 0, "5 0");         /* a row of unknown characters is one unk */
    EXPECT(t, "<s>", 0, "5 11 12 13"); /* text is never a control token */
    EXPECT(t, "<s>", TEXT_PARSE_SPECIAL, "1");
    EXPECT(t, "<s>ab</s>", TEXT_PARSE_SPECIAL, "1 9 2");
    struct buf b;
    static const int32_t ids[] = { 1, 9, 9, 3, 14, 15, 6 };
    buf_init(&b, 100);
    assert_int_equal(text_decode(t, ids, 7, false, &b), 0);
    assert_string_equal(buf_str(&b), "ab ab\xe2\x82\xac"
                                     "a");
    buf_clear(&b);
    assert_int_equal(text_decode(t, ids, 7, true, &b), 0);
    assert_string_equal(buf_str(&b), "<s>ab ab\xe2\x82\xac"
                                     "a");
    buf_clear(&b);
    text_piece(t, 9, false, &b);
    text_piece(t, 1, false, &b);
    text_piece(t, 1, true, &b);
    text_piece(t, 99, true, &b);
    assert_string_equal(buf_str(&b), " ab<s>");
    buf_fini(&b);
    text_tokenizer_destroy(t);
}

/* --- byte-level BPE ------------------------------------------------------------------------------
 */

enum { BYTES = 256, BPE_TOKENS = 256 + 8 };
struct bpe {
    char alphabet[BYTES][3];
    struct text_str tokens[BPE_TOKENS];
    int32_t types[BPE_TOKENS];
    struct text_vocab v;
};
static const struct text_str bpe_merges[] = { S("a b"), S("\xc4\xa0 ab"), S("c c"), S("cc cc"),
                                              S("x y") };

/* All 256 bytes, ids in byte order; 256.. : ab, _ab, cc, cccc, two control, one user-defined, xyz
 */
static void bpe_vocab(struct bpe *b)
{
    static const struct text_str more[] = { S("ab"),
                                            S("\xc4\xa0"
                                              "ab"),
                                            S("cc"),
                                            S("cccc"),
                                            S("<|im_end|>"),
                                            S("<|im_start|>"),
                                            S("<tool>"),
                                            S("xyz") };
    int next = 256;
    for (int i = 0; i < BYTES; i++) {
        bool printable = (i >= 0x21 && i <= 0x7e) || (i >= 0xa1 && i <= 0xac) || i >= 0xae;
        int cp = printable ? i : next++;
        b->alphabet[i][0] = (char)(cp < 0x80 ? cp : 0xc0 | cp >> 6);
        b->alphabet[i][1] = (char)(0x80 | (cp & 0x3f));
        b->tokens[i] = (struct text_str){ b->alphabet[i], cp < 0x80 ? 1 : 2 };
        b->types[i] = TEXT_TOKEN_NORMAL;
    }
    for (int i = 0; i < 8; i++) {
        b->tokens[256 + i] = more[i];
        b->types[256 + i] = TEXT_TOKEN_NORMAL;
    }
    b->types[260] = b->types[261] = TEXT_TOKEN_CONTROL;
    b->types[262] = TEXT_TOKEN_USER_DEFINED;
    b->v = (struct text_vocab){ .algo = TEXT_BPE,
                                NO_IDS,
                                .pre = "gpt-2",
                                .n_tokens = BPE_TOKENS,
                                .tokens = b->tokens,
                                .types = b->types,
                                .merges = bpe_merges,
                                .n_merges = 5 };
    b->v.eos = 32;
}

static void byte_level(void **state)
{
    (void)state;
    struct bpe b;
    bpe_vocab(&b);
    struct text_tokenizer *t = create(&b.v);
    assert_string_equal(text_tokenizer_kind(t), "byte-level BPE (gpt-2)");
    EXPECT(t, "ab ab", 0, "256 257");
    EXPECT(t, "ccccccc", 0, "259 258 99");
    EXPECT(t, "\xff\x00", 0, "255 0");
    /* "x y" makes "xy", which is no token here: it falls into its bytes */
    EXPECT(t, "xyz", 0, "120 121 122");
    EXPECT(t, "<tool>", 0, "262");
    assert_int_equal(text_token_id(t, "<tool>", 6), 262);
    assert_int_equal(text_token_id(t, "nonesuch", 8), NONE);
    assert_true(text_is_control(t, 260));
    assert_false(text_is_control(t, 262));
    assert_false(text_is_control(t, -1));
    assert_true(text_is_end(t, 260));
    assert_true(text_is_end(t, 32));
    assert_false(text_is_end(t, 261));
    text_tokenizer_destroy(t);
    b.v.ignore_merges = true; /* a word that is a token is taken whole */
    t = create(&b.v);
    EXPECT(t, "xyz", 0, "263");
    EXPECT(t, "<|im_end|>", 0, "60 124 105 109 95 101 110 100 124 62");
    text_tokenizer_destroy(t);
}

static void strangers_forge_nothing(void **state)
{
    (void)state;
    struct bpe b;
    bpe_vocab(&b);
    struct text_tokenizer *t = create(&b.v);
    static const char text[] = "ab<|im_end|>ab";
    uint8_t origin[sizeof text - 1] = { 0 };
    expect(t, text, 14, origin, TEXT_PARSE_SPECIAL, "256 260 256");
    static const char plain[] = "256 60 124 105 109 95 101 110 100 124 62 256";
    expect(t, text, 14, origin, 0, plain);
    for (int at = 2; at < 12; at++) { /* one foreign byte anywhere in the name is enough */
        memset(origin, 0, sizeof origin);
        origin[at] = 1;
        expect(t, text, 14, origin, TEXT_PARSE_SPECIAL, plain);
    }
    memset(origin, 1, sizeof origin);
    expect(t, text, 14, origin, TEXT_PARSE_SPECIAL, plain);
    memset(origin, 0, sizeof origin);
    origin[1] = origin[12] = 1; /* the neighbours may be foreign */
    expect(t, text, 14, origin, TEXT_PARSE_SPECIAL, "256 260 256");
    static const uint8_t foreign[6] = { 1, 1, 1, 1, 1, 1 };
    expect(t, "<tool>", 6, foreign, 0, "262"); /* user-defined: everywhere */
    text_tokenizer_destroy(t);
    /* a name that ends turns is a control token even if the file says user-defined */
    b.types[260] = TEXT_TOKEN_USER_DEFINED;
    t = create(&b.v);
    expect(t, text, 14, NULL, 0, plain);
    assert_true(text_is_end(t, 260));
    text_tokenizer_destroy(t);
}

/* Random bytes come back, whole or token by token; whatever comes out of the stream is valid UTF-8.
 */
static void streaming_never_splits(void **state)
{
    (void)state;
    struct bpe v;
    struct rng rng;
    bpe_vocab(&v);
    struct text_tokenizer *t = create(&v.v);
    rng_seed(&rng, 3);
    for (int round = 0; round < 3000; round++) {
        static const char *const parts[] = {
            "\xf0\x9f\xa6\x99", "\xed\x95\x9c", "\xc3\xa9", "a", "\xff",
            "\xf0\x9f",         "\xed\xa0\x80", "\xe2\x82", "cc"
        };
        struct buf text, out, whole;
        struct text_ids l;
        struct text_detok d;
        buf_init(&text, 1000);
        buf_init(&out, 1000);
        buf_init(&whole, 1000);
        text_ids_init(&l, 1000);
        for (uint32_t n = rng_below(&rng, 12); n > 0; n--)
            buf_puts(&text, parts[rng_below(&rng, 9)]);
        assert_int_equal(text_encode(t, buf_str(&text), text.len, NULL, 0, &l), 0);
        text_detok_init(&d, t, false, true);
        for (uint32_t i = 0; i < l.n; i++) {
            text_detok_put(&d, l.ids[i], &out);
            assert_true(utf8_valid(buf_str(&out), out.len));
        }
        text_detok_end(&d, &out);
        assert_true(utf8_valid(buf_str(&out), out.len));
        if (utf8_valid(buf_str(&text), text.len))
            assert_string_equal(buf_str(&out), buf_str(&text));
        assert_int_equal(text_decode(t, l.ids, l.n, false, &whole), 0);
        assert_string_equal(buf_str(&out), buf_str(&whole));
        buf_fini(&text);
        buf_fini(&out);
        buf_fini(&whole);
        text_ids_fini(&l);
    }
    text_tokenizer_destroy(t);
}

static void bad_bytes_become_replacements(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *want;
    } cases[] = {
        { "\xff", "\xef\xbf\xbd" },
        { "\xe2\x82", "\xef\xbf\xbd" }, /* one maximal part */
        { "\xe2\x82"
          "a",
          "\xef\xbf\xbd"
          "a" },
        { "\xf0\x9f\xa6\xe2\x82\xac", "\xef\xbf\xbd\xe2\x82\xac" },
        { "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" }, /* a surrogate is no part */
        { "\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd" },                 /* overlong */
    };
    struct bpe v;
    bpe_vocab(&v);
    struct text_tokenizer *t = create(&v.v);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct text_detok d;
        struct buf out;
        buf_init(&out, 100);
        text_detok_init(&d, t, false, true);
        for (const char *c = cases[i].bytes; *c != '\0'; c++)
            text_detok_put(&d, (uint8_t)*c, &out); /* ids are bytes here */
        text_detok_end(&d, &out);
        assert_string_equal(buf_str(&out), cases[i].want);
        buf_fini(&out);
    }
    text_tokenizer_destroy(t);
}

/* --- the merge of many symbols is the merge of few
 * ------------------------------------------------- */

/* The definition, without any cleverness. */
static uint32_t merge_by_definition(const struct text_tokenizer *t, int32_t *ids, uint32_t n)
{
    for (;;) {
        uint32_t best = 0;
        const struct tok_pair *pair = NULL;
        for (uint32_t i = 0; i + 1 < n; i++) {
            const struct tok_pair *p = tok_pair_find(t, ids[i], ids[i + 1]);
            if (p != NULL && (pair == NULL || p->rank < pair->rank)) {
                pair = p;
                best = i;
            }
        }
        if (pair == NULL)
            return n;
        ids[best] = pair->id;
        memmove(ids + best + 1, ids + best + 2, (n - best - 2) * sizeof *ids);
        n--;
    }
}

static void long_words_merge_alike(void **state)
{
    (void)state;
    static const struct text_str tokens[] = { S("a"),   S("b"),   S("c"),    S("ab"),
                                              S("bc"),  S("abc"), S("ca"),   S("aa"),
                                              S("aab"), S("cc"),  S("abab"), S("caa") };
    /* among them merges whose halves come later in the list, which no trainer makes */
    static const struct text_str merges[] = { S("aa b"), S("a b"), S("b c"),   S("ab c"), S("c a"),
                                              S("a a"),  S("c c"), S("ab ab"), S("c aa") };
    struct text_vocab v = { .algo = TEXT_BPE,
                            NO_IDS,
                            .pre = "gpt-2",
                            .n_tokens = 12,
                            .tokens = tokens,
                            .merges = merges,
                            .n_merges = 9 };
    struct text_tokenizer *t = create(&v);
    struct rng rng;
    rng_seed(&rng, 9);
    for (int round = 0; round < 2000; round++) {
        char text[400];
        int32_t want[400];
        struct text_ids l;
        uint32_t n = 1 + rng_below(&rng, 399);
        for (uint32_t i = 0; i < n; i++) {
            want[i] = (int32_t)rng_below(&rng, 3);
            text[i] = (char)('a' + want[i]);
        }
        uint32_t n_want = merge_by_definition(t, want, n);
        text_ids_init(&l, 1000);
        assert_int_equal(text_encode(t, text, n, NULL, 0, &l), 0);
        assert_int_equal(l.n, n_want);
        assert_memory_equal(l.ids, want, n_want * sizeof *want);
        text_ids_fini(&l);
    }
    text_tokenizer_destroy(t);
}

/* --- the others
 * ------------------------------------------------------------------------------------ */

static void wordpiece(void **state)
{
    (void)state;
    static const struct text_str tokens[] = { S("[UNK]"),        S("[CLS]"), S("[SEP]"), S("un"),
                                              S("##able"),       S("##a"),   S("able"),  S("!"),
                                              S("\xe4\xb8\xad"), S("cafe") };
    static const struct text_str marked[] = { /* as GGUF keeps them */
                                              S("[UNK]"),
                                              S("[CLS]"),
                                              S("[SEP]"),
                                              S("\xe2\x96\x81un"),
                                              S("able"),
                                              S("a"),
                                              S("\xe2\x96\x81"
                                                "able"),
                                              S("\xe2\x96\x81!"),
                                              S("\xe2\x96\x81\xe4\xb8\xad"),
                                              S("\xe2\x96\x81"
                                                "cafe")
    };
    static const int32_t types[] = { 2, 3, 3, 1, 1, 1, 1, 1, 1, 1 };
    struct text_vocab v = { .algo = TEXT_WORDPIECE,
                            NO_MORE_IDS,
                            .bos = NONE,
                            .eos = NONE,
                            .eot = NONE,
                            .n_tokens = 10,
                            .tokens = tokens,
                            .types = types,
                            .unk = 0,
                            .cls = 1,
                            .sep = 2,
                            .add_bos = true,
                            .lowercase = true,
                            .strip_accents = true,
                            .clean_text = true,
                            .cjk_spaces = true };
    for (int i = 0; i < 2; i++) {
        v.tokens = i == 0 ? tokens : marked;
        struct text_tokenizer *t = create(&v);
        EXPECT(t, "Unable!  CAF\xc3\x89", TEXT_ADD_SPECIAL, "1 3 4 7 9 2");
        EXPECT(t,
               "un\xe4\xb8\xad"
               "able",
               0, "3 8 6");
        EXPECT(t, "unz able", 0, "0 6"); /* the whole word is unk */
        EXPECT(t, "[CLS]", TEXT_PARSE_SPECIAL, "1");
        struct buf b;
        static const int32_t ids[] = { 3, 4, 7 };
        buf_init(&b, 100);
        assert_int_equal(text_decode(t, ids, 3, false, &b), 0);
        assert_string_equal(buf_str(&b), "unable !");
        buf_fini(&b);
        text_tokenizer_destroy(t);
    }
}

static void unigram(void **state)
{
    (void)state;
    static const struct text_str tokens[] = { S("<unk>"),
                                              S("</s>"),
                                              S("\xe2\x96\x81"),
                                              S("a"),
                                              S("b"),
                                              S("ab"),
                                              S("\xe2\x96\x81"
                                                "ab"),
                                              S("abb") };
    static const float scores[] = { 0, 0, -2, -3, -3, -4, -5, -9 };
    static const int32_t types[] = { 2, 3, 1, 1, 1, 1, 1, 1 };
    struct text_vocab v = { .algo = TEXT_UNIGRAM,
                            NO_MORE_IDS,
                            .bos = NONE,
                            .eot = NONE,
                            .sep = NONE,
                            .cls = NONE,
                            .n_tokens = 8,
                            .tokens = tokens,
                            .scores = scores,
                            .types = types,
                            .unk = 0,
                            .eos = 1,
                            .add_eos = true,
                            .add_space_prefix = true,
                            .remove_extra_whitespaces = true };
    struct text_tokenizer *t = create(&v);
    EXPECT(t, "ab", TEXT_ADD_SPECIAL, "6 1"); /* -5 beats -2 -4 */
    EXPECT(t, "abb", 0, "6 4");               /* -8 beats -2 -9 */
    EXPECT(t, "  a   b ", 0, "2 3 2 4");      /* spaces collapse */
    EXPECT(t, "zzab", 0, "2 0 5");            /* a row of unknown characters is one unk */
    text_tokenizer_destroy(t);
    float bad[8];
    memcpy(bad, scores, sizeof bad);
    bad[3] = (float)(1e30 * 1e30);
    v.scores = bad;
    struct err err = { 0 };
    assert_int_equal(text_tokenizer_create(&t, &v, &err), E_FORMAT);
    assert_non_null(strstr(err.text, "scores[3]"));
}

/* --- damage
 * ---------------------------------------------------------------------------------------- */

static void damage_is_refused(void **state)
{
    (void)state;
    struct bpe b;
    struct err err = { 0 };
    struct text_tokenizer *t;
    bpe_vocab(&b);
    struct text_vocab v = b.v;
    v.pre = "nonesuch";
    assert_int_equal(text_tokenizer_create(&t, &v, &err), E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "nonesuch"));
    assert_non_null(strstr(err.text, "llama-bpe"));
    v.pre_regex = "[a-z]+"; /* then the pattern speaks */
    assert_int_equal(text_tokenizer_create(&t, &v, &err), 0);
    text_tokenizer_destroy(t);
    v = b.v;
    v.bos = BPE_TOKENS;
    assert_int_equal(text_tokenizer_create(&t, &v, &err), E_FORMAT);
    assert_non_null(strstr(err.text, "bos"));
    v = b.v;
    v.n_tokens = 0;
    assert_int_equal(text_tokenizer_create(&t, &v, &err), E_FORMAT);
    static const struct text_str no_space[] = { S("ab"), S("a "), S("") };
    for (int i = 0; i < 3; i++) {
        v = b.v;
        v.merges = &no_space[i];
        v.n_merges = 1;
        assert_int_equal(text_tokenizer_create(&t, &v, &err), E_FORMAT);
        assert_non_null(strstr(err.text, "merges[0]"));
    }
    v = spm_vocab();
    v.scores = NULL;
    assert_int_equal(text_tokenizer_create(&t, &v, &err), E_FORMAT);
    v = spm_vocab();
    v.algo = TEXT_UNIGRAM;
    v.charsmap = (const uint8_t *)"\xff\xff\xff\x7f....";
    v.charsmap_bytes = 8;
    assert_int_equal(text_tokenizer_create(&t, &v, &err), E_FORMAT);
}

/* Texts that have no space to cut at: 256 KiB each. Without a queue these would take minutes. */
static void worst_cases_end(void **state)
{
    (void)state;
    enum { BYTES_EACH = 1 << 18 };
    static const char *const units[] = { "c",    "ab", "\xf0\x9f\xa6\x99", " ", "\n ", "<|im_",
                                         "\xff", "1",  "a\xcc\x81" };
    struct bpe b;
    bpe_vocab(&b);
    struct text_vocab spm = spm_vocab();
    struct text_tokenizer *all[2] = { create(&b.v), create(&spm) };
    char *text = malloc(BYTES_EACH + 8);
    assert_non_null(text);
    for (size_t k = 0; k < sizeof units / sizeof units[0]; k++) {
        size_t unit = strlen(units[k]), len = BYTES_EACH / unit * unit;
        for (size_t i = 0; i < len; i++)
            text[i] = units[k][i % unit];
        for (int i = 0; i < 2; i++) {
            struct text_ids l;
            text_ids_init(&l, UINT32_MAX);
            assert_int_equal(text_encode(all[i], text, len, NULL, TEXT_PARSE_SPECIAL, &l), 0);
            assert_in_range(l.n, 1, 3 * len);
            text_ids_fini(&l);
        }
    }
    free(text);
    text_tokenizer_destroy(all[0]);
    text_tokenizer_destroy(all[1]);
}

int tokenizer_test(void);
int tokenizer_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sentencepiece),
        cmocka_unit_test(byte_level),
        cmocka_unit_test(strangers_forge_nothing),
        cmocka_unit_test(streaming_never_splits),
        cmocka_unit_test(bad_bytes_become_replacements),
        cmocka_unit_test(long_words_merge_alike),
        cmocka_unit_test(wordpiece),
        cmocka_unit_test(unigram),
        cmocka_unit_test(damage_is_refused),
        cmocka_unit_test(worst_cases_end),
    };
    return cmocka_run_group_tests_name("tokenizers", tests, NULL, NULL);
}
