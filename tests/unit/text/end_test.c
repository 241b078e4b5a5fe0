/* Tokens that end a generation: the vocabulary's own, and those a file adds. */
#include "unit/test.h"

#include "text/tokenizer.h"

static void added_ends_count(void **state)
{
    (void)state;
    static const struct text_str tokens[] = { { "<unk>", 5 }, { "<s>", 3 }, { "</s>", 4 }, { "a", 1 } };
    static const int32_t types[] = { TEXT_TOKEN_UNKNOWN, TEXT_TOKEN_CONTROL, TEXT_TOKEN_CONTROL,
                                     TEXT_TOKEN_NORMAL };
    static const float scores[] = { 0, 0, 0, -1 };
    struct text_vocab v = { .algo = TEXT_SPM, .n_tokens = 4, .tokens = tokens, .scores = scores,
                            .types = types, .bos = 1, .eos = 2, .eot = -1, .unk = 0, .pad = -1,
                            .sep = -1, .cls = -1, .mask = -1 };
    struct text_tokenizer *t = NULL;
    struct err err = { 0 };
    assert_int_equal(text_tokenizer_create(&t, &v, &err), 0);
    assert_true(text_is_end(t, 2));
    assert_false(text_is_end(t, 3));
    text_set_end(t, 3);
    assert_true(text_is_end(t, 3));
    text_set_end(t, 4); /* outside: ignored */
    text_set_end(t, -1);
    assert_false(text_is_end(t, 4));
    text_tokenizer_destroy(t);
}

int end_test(void);
int end_test(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(added_ends_count) };
    return cmocka_run_group_tests_name("text/end", tests, NULL, NULL);
}
