/* Property: any bytes, foreign or not, become ids of the vocabulary; where they are UTF-8 the ids
 * give them back; a stranger's bytes never become a control token; the stream's text is valid
 * UTF-8. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define S(text)               \
    {                         \
        text, sizeof text - 1 \
    }
enum { BYTES = 256, MORE = 12, TOKENS = BYTES + MORE };
static const struct text_str bpe_more[MORE] = {
    S("ab"),
    S("\xc4\xa0"
      "a"),
    S("\xc4\xa0\xc4\xa0"),
    S("aa"),
    S("aaaa"),
    S("\xc3\xa2\xc4\xa2"),
    S("<|im_end|>"),
    S("<|im|>"),
    S("<|"),
    S("<s>"),
    S("he"),
    S("the"),
};
static const struct text_str merges[] = { S("a b"), S("\xc4\xa0 a"), S("\xc4\xa0 \xc4\xa0"),
                                          S("a a"), S("aa aa"),      S("\xc3\xa2 \xc4\xa2"),
                                          S("h e"), S("t he") };
static const struct text_str spm_more[MORE] = {
    S("\xe2\x96\x81"),
    S("\xe2\x96\x81\xe2\x96\x81"),
    S("ab"),
    S("\xe2\x96\x81"
      "a"),
    S("aa"),
    S("<s>"),
    S("<|im_end|>"),
    S("the"),
    S("he"),
    S("<|"),
    S("\xe4\xb8\xad"),
    S("a\xe4\xb8\xad"),
};
static char names[2][BYTES][8];
static struct text_str tokens[2][TOKENS];
static int32_t types[2][TOKENS];
static float scores[TOKENS];
static struct text_tokenizer *all[6];

static void must(int cond)
{
    if (!cond)
        abort();
}

static void fill(void)
{
    static const char digits[] = "0123456789ABCDEF";
    int next = 256;
    for (int i = 0; i < BYTES; i++) {
        int printable = (i >= 0x21 && i <= 0x7e) || (i >= 0xa1 && i <= 0xac) || i >= 0xae;
        size_t len = utf8_put(names[0][i], (uint32_t)(printable ? i : next++));
        tokens[0][i] = (struct text_str){ names[0][i], len };
        memcpy(names[1][i], "<0x00>", 7);
        names[1][i][3] = digits[i >> 4];
        names[1][i][4] = digits[i & 15];
        tokens[1][i] = (struct text_str){ names[1][i], 6 };
        types[0][i] = TEXT_TOKEN_NORMAL;
        types[1][i] = TEXT_TOKEN_BYTE;
    }
    for (int i = 0; i < MORE; i++) {
        tokens[0][BYTES + i] = bpe_more[i];
        tokens[1][BYTES + i] = spm_more[i];
        types[0][BYTES + i] = i == 6 || i == 7 || i == 9 ? TEXT_TOKEN_CONTROL
                              : i == 8                   ? TEXT_TOKEN_USER_DEFINED
                                                         : TEXT_TOKEN_NORMAL;
        types[1][BYTES + i] = i == 5 || i == 6 ? TEXT_TOKEN_CONTROL
                              : i == 9         ? TEXT_TOKEN_USER_DEFINED
                                               : TEXT_TOKEN_NORMAL;
        scores[BYTES + i] = (float)-(i / 2);
    }
}

static void create(void)
{
    static const char *const pre[4] = { "gpt-2", "llama-bpe", "deepseek-v3", "kimi-k2" };
    fill();
    for (int i = 0; i < 6; i++) {
        int which = i >= 4;
        struct text_vocab v = { .algo = i < 4    ? TEXT_BPE
                                        : i == 4 ? TEXT_SPM
                                                 : TEXT_UNIGRAM,
                                .n_tokens = TOKENS,
                                .tokens = tokens[which],
                                .types = types[which],
                                .scores = scores,
                                .merges = merges,
                                .n_merges = 8,
                                .bos = -1,
                                .eos = -1,
                                .eot = -1,
                                .unk = -1,
                                .pad = -1,
                                .sep = -1,
                                .cls = -1,
                                .mask = -1,
                                .add_space_prefix = i >= 4,
                                .pre = pre[i & 3] };
        must(text_tokenizer_create(&all[i], &v, NULL) == 0);
    }
}

static void check(const struct text_tokenizer *t, const char *s, size_t len, const uint8_t *origin)
{
    struct text_ids l;
    struct buf out;
    struct text_detok d;
    int foreign = origin != NULL && (len == 0 || memchr(origin, 0, len) == NULL);
    text_ids_init(&l, UINT32_MAX);
    buf_init(&out, SIZE_MAX / 2);
    must(text_encode(t, s, len, origin, TEXT_PARSE_SPECIAL, &l) == 0);
    text_detok_init(&d, t, true, true);
    bool control = false;
    for (uint32_t i = 0; i < l.n; i++) {
        must(l.ids[i] >= 0 && (uint32_t)l.ids[i] < text_vocab_size(t));
        control |= text_is_control(t, l.ids[i]);
        text_detok_put(&d, l.ids[i], &out);
    }
    text_detok_end(&d, &out);
    must(!(foreign && control));
    must(utf8_valid(buf_str(&out), out.len));
    /* A control token ends a run, and the next one begins with a space again: not the same text.
     * U+2581 itself means a space to SentencePiece. */
    bool marks = len >= 3 && memmem(s, len, "\xe2\x96\x81", 3) != NULL;
    bool user = memmem(s, len, "<|", 2) != NULL;
    bool plain = t == all[4] || t == all[5] ? !control && !marks && !user : true;
    if (utf8_valid(s, len) && plain)
        must(out.len == len && (len == 0 || memcmp(out.data, s, len) == 0));
    buf_fini(&out);
    text_ids_fini(&l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (all[0] == NULL)
        create();
    const struct text_tokenizer *t = all[size > 0 ? data[0] % 6 : 0];
    const char *s = (const char *)data + (size > 0);
    size_t len = size > 0 ? size - 1 : 0;
    uint8_t *origin = malloc(len + 1);
    must(origin != NULL);
    check(t, s, len, NULL);
    memset(origin, 1, len + 1);
    check(t, s, len, origin);
    for (size_t i = 0; i < len; i++) /* some bytes foreign: which, the text itself says */
        origin[i] = (uint8_t)s[i] % 5 == 0;
    check(t, s, len, origin);
    free(origin);
    return 0;
}
