/* A tokenizer from the plain description that GGUF metadata gives. */
#include <string.h>

#include "base/attr.h"
#include "text/tok.h"

static struct normal_step *add_norm(struct text_tokenizer *t, enum normal_kind kind)
{
    CHECK(t->n_norms < TOK_STEPS_MAX); /* at most six are added here */
    struct normal_step *n = &t->norms[t->n_norms++];
    *n = (struct normal_step){ .kind = kind };
    return n;
}

static int unknown_family(const char *name, struct err *err)
{
    struct buf names;
    buf_init(&names, ERR_TEXT_MAX);
    for (size_t i = 0; i < PRETOK_N_FAMILIES; i++) {
        const char *all = PRETOK_FAMILIES[i].names;
        buf_put(&names, i == 0 ? "" : " ", i == 0 ? 0 : 1);
        buf_put(&names, all, strcspn(all, " "));
    }
    err_set_field(err, E_UNSUPPORTED, "tokenizer.ggml.pre",
                  "tokenizer.ggml.pre: pre-tokeniser \"%.60s\" is not known; known are %s", name,
                  buf_str(&names));
    buf_fini(&names);
    return E_UNSUPPORTED;
}

int tok_add_family(struct text_tokenizer *t, const char *name, struct err *err)
{
    bool ignore_merges;
    const struct pretok_family *f = pretok_family_find(name, &ignore_merges);
    if (f == NULL)
        return unknown_family(name, err);
    t->ignore_merges |= ignore_merges;
    for (size_t i = 0; i < PRETOK_PASSES_MAX && f->passes[i] != NULL; i++) {
        if (t->n_pre == TOK_STEPS_MAX)
            return err_set_field(err, E_LIMIT, "pre_tokenizer", "pre_tokenizer: more than %d steps",
                                 TOK_STEPS_MAX);
        t->pre[t->n_pre++] = (struct tok_pre){ .cut = { .rule = f->passes[i] } };
    }
    return 0;
}

/* SentencePiece writes spaces as U+2581 and puts one before the text. */
static void space_marks(struct text_tokenizer *t, bool prefix)
{
    t->drop_lead_space = prefix;
    if (prefix) {
        struct normal_step *n = add_norm(t, NORMAL_PREPEND);
        n->a = " ";
        n->a_len = 1;
    }
    struct normal_step *n = add_norm(t, NORMAL_REPLACE);
    n->a = " ";
    n->a_len = 1;
    n->b = TOK_SPACE;
    n->b_len = 3;
}

static int describe_bpe(struct text_tokenizer *t, const struct text_vocab *v, struct err *err)
{
    t->byte_level = !v->byte_fallback;
    t->byte_fallback = v->byte_fallback;
    t->ignore_merges = v->ignore_merges;
    if (v->byte_fallback) {
        t->kind = "BPE with byte fallback";
        t->fuse_unk = true;
        space_marks(t, v->add_space_prefix);
        return 0;
    }
    struct buf kind;
    buf_init(&kind, 256);
    bool named = v->pre != NULL && v->pre[0] != '\0';
    bool ignored;
    bool by_regex =
        v->pre_regex != NULL && (!named || pretok_family_find(v->pre, &ignored) == NULL);
    buf_printf(&kind, "byte-level BPE (%.60s)", by_regex ? "regex" : named ? v->pre : "default");
    t->kind = arena_strndup(&t->mem, buf_str(&kind), kind.len);
    buf_fini(&kind);
    if (t->kind == NULL)
        return E_NOMEM;
    if (!by_regex)
        return tok_add_family(t, v->pre, err);
    struct tok_pre *p = &t->pre[0];
    p->cut.rule = pretok_rule_find(v->pre_regex, strlen(v->pre_regex));
    if (p->cut.rule == NULL) {
        p->cut.finder = FIND_REGEX;
        TRY(pretok_regex_compile(&p->cut.regex, v->pre_regex, strlen(v->pre_regex), err));
    }
    t->n_pre = 1;
    return 0;
}

static int describe_unigram(struct text_tokenizer *t, const struct text_vocab *v, struct err *err)
{
    t->kind = "SentencePiece unigram";
    t->fuse_unk = true;
    if (v->charsmap != NULL && v->charsmap_bytes > 0) {
        TRY(normal_charsmap_check(v->charsmap, v->charsmap_bytes, err));
        uint8_t *copy = arena_bytes(&t->mem, v->charsmap_bytes);
        if (copy == NULL)
            return E_NOMEM;
        memcpy(copy, v->charsmap, v->charsmap_bytes);
        struct normal_step *n = add_norm(t, NORMAL_CHARSMAP);
        n->charsmap = copy;
        n->charsmap_bytes = v->charsmap_bytes;
    }
    if (v->remove_extra_whitespaces)
        add_norm(t, NORMAL_COLLAPSE);
    space_marks(t, v->add_space_prefix);
    return 0;
}

static void describe_wordpiece(struct text_tokenizer *t, const struct text_vocab *v)
{
    t->kind = "WordPiece";
    t->drop_lead_space = true;
    t->word_start = TOK_SPACE; /* as the format keeps them; "##" if a token begins so */
    for (uint32_t i = 0; i < v->n_tokens; i++)
        if (v->tokens[i].len > 2 && memcmp(v->tokens[i].data, "##", 2) == 0) {
            t->word_start = "";
            t->word_inner = "##";
            break;
        }
    if (v->clean_text)
        add_norm(t, NORMAL_CLEAN);
    if (v->cjk_spaces)
        add_norm(t, NORMAL_CJK_SPACES);
    if (v->strip_accents) {
        add_norm(t, NORMAL_NFD);
        add_norm(t, NORMAL_STRIP_MARKS)->mn_only = true;
    }
    if (v->lowercase)
        add_norm(t, NORMAL_LOWER);
    t->pre[0] = (struct tok_pre){ .cut = { .finder = FIND_SPACE, .behavior = SPLIT_REMOVED } };
    t->pre[1] = (struct tok_pre){ .cut = { .finder = FIND_PUNCT } };
    t->n_pre = 2;
}

static void describe_around(struct text_tokenizer *t, const struct text_vocab *v)
{
    bool bert = v->algo == TEXT_WORDPIECE;
    int32_t before = bert && v->cls != TEXT_TOKEN_NONE ? v->cls : v->bos;
    int32_t after = bert && v->sep != TEXT_TOKEN_NONE ? v->sep : v->eos;
    if (v->add_bos && before != TEXT_TOKEN_NONE)
        t->before[t->n_before++] = before;
    if ((v->add_eos || (bert && v->add_bos)) && after != TEXT_TOKEN_NONE)
        t->after[t->n_after++] = after;
}

static int describe(struct text_tokenizer *t, const struct text_vocab *v, struct err *err)
{
    TRY(tok_copy_tokens(t, v, err));
    describe_around(t, v);
    switch (v->algo) {
    case TEXT_BPE: TRY(describe_bpe(t, v, err)); break;
    case TEXT_UNIGRAM: TRY(describe_unigram(t, v, err)); break;
    case TEXT_WORDPIECE: describe_wordpiece(t, v); break;
    case TEXT_SPM:
        t->kind = "SentencePiece BPE";
        t->fuse_unk = true;
        space_marks(t, v->add_space_prefix);
        break;
    }
    return tok_build(t, v, err);
}

int text_tokenizer_create(struct text_tokenizer **out, const struct text_vocab *vocab,
                          struct err *err)
{
    struct text_tokenizer *t;
    int rc = tok_new(&t);
    if (rc >= 0) {
        rc = describe(t, vocab, err);
        if (rc < 0)
            text_tokenizer_destroy(t);
    }
    if (rc == E_NOMEM)
        return err_set(err, rc, "no memory for the tokenizer");
    if (rc < 0)
        return rc;
    *out = t;
    return 0;
}
