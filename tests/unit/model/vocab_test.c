/* Goal: the vocabulary in GGUF metadata becomes a tokenizer, and each way it may be malformed is
 * refused by the name of its key. */
#include "unit/test.h"

#include <stdio.h>

#include "unit/model/gguf_make.h"

int vocab_test(void);

/* What a case changes in a small SentencePiece vocabulary. */
struct change {
    const char *drop;   /* leave this key out */
    const char *key;    /* add this key: */
    uint32_t kind;      /*   of this kind, */
    uint32_t item_kind; /*   items of this kind if an array, */
    uint64_t n;         /*   so many, */
    uint32_t value;     /*   each this */
    const char *text;   /*   or this, if a string */
    int code;
    const char *says;
};

#define T "tokenizer.ggml."

static void put_value(struct buf *b, uint32_t kind, const struct change *c)
{
    if (kind == MODEL_STRING)
        put_str(b, c->text);
    else if (kind == MODEL_BOOL || kind == MODEL_U8)
        buf_putc(b, (char)c->value);
    else
        put_u32(b, c->value);
}

static void make(struct buf *b, const struct change *c)
{
    static const char *const TOKENS[] = { "<unk>", "<s>", "</s>", "a", "b", "ab" };
    uint64_t n_meta = 5;
    struct buf body;
    buf_init(&body, 1u << 16);
#define GIVEN(name) (c->drop == NULL || strcmp(c->drop, name) != 0)
    n_meta -= c->drop != NULL;
    put_meta_str(&body, "general.architecture", "llama");
    if (GIVEN(T "model"))
        put_meta_str(&body, T "model", "llama");
    if (GIVEN(T "tokens")) {
        put_key(&body, T "tokens", MODEL_ARRAY), put_u32(&body, MODEL_STRING);
        put_u64(&body, COUNT_OF(TOKENS));
        for (size_t i = 0; i < COUNT_OF(TOKENS); i++)
            put_str(&body, TOKENS[i]);
    }
    if (GIVEN(T "scores")) {
        put_key(&body, T "scores", MODEL_ARRAY), put_u32(&body, MODEL_F32);
        put_u64(&body, COUNT_OF(TOKENS));
        for (size_t i = 0; i < COUNT_OF(TOKENS); i++)
            put_f32(&body, (float)i);
    }
    if (GIVEN(T "token_type")) {
        put_key(&body, T "token_type", MODEL_ARRAY), put_u32(&body, MODEL_I32);
        put_u64(&body, COUNT_OF(TOKENS));
        for (size_t i = 0; i < COUNT_OF(TOKENS); i++)
            put_u32(&body, i == 0 ? 2 : i < 3 ? 3 : 1);
    }
    if (c->key != NULL) {
        n_meta++;
        put_key(&body, c->key, c->kind);
        if (c->kind == MODEL_ARRAY)
            put_u32(&body, c->item_kind), put_u64(&body, c->n);
        for (uint64_t i = 0; i < (c->kind == MODEL_ARRAY ? c->n : 1); i++)
            put_value(&body, c->kind == MODEL_ARRAY ? c->item_kind : c->kind, c);
    }
    put_header(b, 3, 0, n_meta);
    buf_put(b, body.data, body.len);
    buf_fini(&body);
}

static int create(const struct change *c, struct text_tokenizer **t, struct err *err)
{
    struct buf b;
    struct model_file *f;
    make(&b, c);
    if (model_file_open_bytes(&f, b.data, b.len, err) < 0)
        fail_msg("%s", err->text);
    int rc = model_file_tokenizer(f, t, err);
    model_file_close(f);
    buf_fini(&b);
    return rc;
}

static void good(void **state)
{
    (void)state;
    const struct change cases[] = {
        { 0 },
        { .drop = T "token_type" },
        { .key = T "padding_token_id", .kind = MODEL_U32, .value = UINT32_MAX }, /* "none" */
        { .key = T "mask_token_id", .kind = MODEL_U32, .value = 1000 },          /* as if absent */
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct text_tokenizer *t;
        struct err err;
        if (create(&cases[i], &t, &err) < 0)
            fail_msg("case %zu: %s", i, err.text);
        assert_int_equal(text_vocab_size(t), 6);
        assert_int_equal(text_bos(t), 1); /* the kind's default */
        assert_int_equal(text_eos(t), 2);
        assert_int_equal(text_token_id(t, "ab", 2), 5);
        text_tokenizer_destroy(t);
    }
}

static void refused(void **state)
{
    (void)state;
    const struct change cases[] = {
        { .drop = T "model", .code = E_NOT_FOUND, .says = "no tokenizer" },
        { .drop = T "model",
          .key = T "model",
          .kind = MODEL_STRING,
          .text = "none",
          .code = E_NOT_FOUND,
          .says = "no tokenizer" },
        { .drop = T "model",
          .key = T "model",
          .kind = MODEL_STRING,
          .text = "rwkv",
          .code = E_UNSUPPORTED,
          .says = "\"rwkv\" is not read" },
        { .drop = T "model",
          .key = T "model",
          .kind = MODEL_U32,
          .code = E_FORMAT,
          .says = T "model" },
        { .drop = T "model",
          .key = T "model",
          .kind = MODEL_STRING,
          .text = "gpt2",
          .code = E_FORMAT,
          .says = T "merges is missing" },
        { .drop = T "tokens", .code = E_FORMAT, .says = T "tokens is missing" },
        { .drop = T "tokens",
          .key = T "tokens",
          .kind = MODEL_ARRAY,
          .item_kind = MODEL_STRING,
          .n = 0,
          .code = E_FORMAT,
          .says = "missing or empty" },
        { .drop = T "tokens",
          .key = T "tokens",
          .kind = MODEL_ARRAY,
          .item_kind = MODEL_U32,
          .n = 6,
          .code = E_FORMAT,
          .says = "an array of strings" },
        { .drop = T "scores",
          .key = T "scores",
          .kind = MODEL_ARRAY,
          .item_kind = MODEL_F32,
          .n = 5,
          .code = E_FORMAT,
          .says = "5 items for 6 tokens" },
        { .drop = T "scores",
          .key = T "scores",
          .kind = MODEL_F32,
          .code = E_FORMAT,
          .says = "array of numbers" },
        { .drop = T "scores",
          .key = T "scores",
          .kind = MODEL_ARRAY,
          .item_kind = MODEL_F32,
          .n = 6,
          .value = 0x7fc00000,
          .code = E_FORMAT,
          .says = "item 0 is no number" },
        { .drop = T "token_type",
          .key = T "token_type",
          .kind = MODEL_ARRAY,
          .item_kind = MODEL_I32,
          .n = 6,
          .value = 7,
          .code = E_FORMAT,
          .says = "no type" },
        { .drop = T "token_type",
          .key = T "token_type",
          .kind = MODEL_ARRAY,
          .item_kind = MODEL_STRING,
          .n = 6,
          .text = "x",
          .code = E_FORMAT,
          .says = "array of numbers" },
        { .key = T "bos_token_id",
          .kind = MODEL_U32,
          .value = 6,
          .code = E_FORMAT,
          .says = "id 6 is outside" },
        { .key = T "eos_token_id",
          .kind = MODEL_STRING,
          .text = "</s>",
          .code = E_FORMAT,
          .says = "a token id is wanted" },
        { .key = T "add_bos_token",
          .kind = MODEL_U32,
          .value = 1,
          .code = E_FORMAT,
          .says = "a bool is wanted" },
        { .key = T "precompiled_charsmap",
          .kind = MODEL_ARRAY,
          .item_kind = MODEL_U32,
          .n = 1,
          .code = E_FORMAT,
          .says = "bytes are wanted" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct text_tokenizer *t;
        struct err err = { 0 };
        int rc = create(&cases[i], &t, &err);
        if (rc != cases[i].code || strstr(err.text, cases[i].says) == NULL)
            fail_msg("case %zu: %s: %s; expected %s with \"%s\"", i,
                     rc < 0 ? err_name(rc) : "created", err.text, err_name(cases[i].code),
                     cases[i].says);
    }
}

int vocab_test(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(good), cmocka_unit_test(refused) };
    return cmocka_run_group_tests_name("model/vocab", tests, NULL, NULL);
}
