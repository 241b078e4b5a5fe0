/* tokenizer.json: the vocabulary, the model and the tokens added to it.
 *
 * Two things of the `tokenizers` library have no place here and are refused: dropout, and the
 * prefixes and suffixes of subwords that BPE models for other uses than language have. */
#include "text/hf.h"

#include <math.h>
#include <string.h>

#include "base/attr.h"

#define IDS_MAX (1u << 24)

/* What the file lists, before it becomes a struct text_vocab. */
struct lists {
    struct text_tokenizer *t;
    struct text_str *tokens;
    int32_t *types;
    float *scores;
    struct text_str *merges;
    uint32_t n_tokens, n_merges;
    struct err *err;
};

static void lists_fini(struct lists *l)
{
    mem_free(l->tokens);
    mem_free(l->types);
    mem_free(l->scores);
    mem_free(l->merges);
}

/* --- how many ids are there
 * ------------------------------------------------------------------------ */

static int count_id(struct lists *l, int64_t id)
{
    if (id < 0 || id >= IDS_MAX)
        return err_set_field(l->err, E_FORMAT, "vocab", "vocab: the id %lld is not within 0..%u",
                             (long long)id, IDS_MAX - 1);
    if ((uint32_t)id >= l->n_tokens)
        l->n_tokens = (uint32_t)id + 1;
    return 0;
}

static int count_member(void *ctx, const char *key, json_value *id)
{
    (void)key;
    struct lists *l = ctx;
    if (json_kind_of(id) != JSON_INT)
        return err_set_field(l->err, E_FORMAT, "vocab", "vocab: a token has no id");
    return count_id(l, json_as_int(id));
}

static int count_tokens(struct lists *l, const json_value *vocab, const json_value *added)
{
    if (json_kind_of(vocab) == JSON_OBJECT)
        TRY(json_each(vocab, count_member, l));
    else
        l->n_tokens = (uint32_t)(json_len(vocab) < IDS_MAX ? json_len(vocab) : IDS_MAX);
    for (size_t i = 0; i < json_len(added); i++)
        TRY(count_id(l, json_as_int(json_get(json_at(added, i), "id"))));
    size_t listed = json_len(vocab) + json_len(added);
    if (json_len(vocab) == 0 || l->n_tokens > listed * 4 + 65536)
        return err_set_field(l->err, E_FORMAT, "vocab", "vocab: %u ids for %zu tokens", l->n_tokens,
                             listed);
    l->tokens = mem_alloc(l->n_tokens, sizeof *l->tokens);
    l->types = mem_alloc(l->n_tokens, sizeof *l->types);
    l->scores = mem_alloc(l->n_tokens, sizeof *l->scores);
    if (l->tokens == NULL || l->types == NULL || l->scores == NULL)
        return E_NOMEM;
    for (uint32_t i = 0; i < l->n_tokens; i++) {
        l->tokens[i].data = "";
        l->types[i] = TEXT_TOKEN_UNUSED; /* an id nobody names */
    }
    return 0;
}

/* --- tokens
 * ---------------------------------------------------------------------------------------- */

static int put_member(void *ctx, const char *key, json_value *id)
{
    struct lists *l = ctx;
    uint32_t at = (uint32_t)json_as_int(id);
    l->tokens[at] = (struct text_str){ key, strlen(key) };
    l->types[at] = TEXT_TOKEN_NORMAL;
    return 0;
}

/* Unigram: [["token", score], ...] */
static int put_scored(struct lists *l, const json_value *vocab)
{
    for (uint32_t i = 0; i < json_len(vocab); i++) {
        const json_value *pair = json_at(vocab, i), *score = json_at(pair, 1);
        size_t len;
        const char *text = json_text(json_at(pair, 0), &len);
        bool number = json_kind_of(score) == JSON_DOUBLE || json_kind_of(score) == JSON_INT;
        if (text == NULL || !number)
            return err_set_field(l->err, E_FORMAT, "vocab", "vocab[%u]: [token, score] is wanted",
                                 i);
        l->tokens[i] = (struct text_str){ text, len };
        l->scores[i] = (float)json_as_double(score);
        l->types[i] = TEXT_TOKEN_NORMAL;
    }
    return 0;
}

static int put_added(struct lists *l, const json_value *added)
{
    struct text_tokenizer *t = l->t;
    t->strip = arena_alloc(&t->mem, l->n_tokens, 1);
    if (t->strip == NULL)
        return E_NOMEM;
    for (size_t i = 0; i < json_len(added); i++) {
        const json_value *a = json_at(added, i);
        size_t len;
        const char *text = json_text(json_get(a, "content"), &len);
        if (text == NULL)
            return err_set_field(l->err, E_FORMAT, "added_tokens", "added_tokens[%zu]: no content",
                                 i);
        uint32_t id = (uint32_t)json_as_int(json_get(a, "id"));
        l->tokens[id] = (struct text_str){ text, len };
        l->types[id] = hf_flag(a, "special", false) ? TEXT_TOKEN_CONTROL : TEXT_TOKEN_USER_DEFINED;
        t->strip[id] = (uint8_t)((hf_flag(a, "lstrip", false) ? TOK_LSTRIP : 0) |
                                 (hf_flag(a, "rstrip", false) ? TOK_RSTRIP : 0) |
                                 (hf_flag(a, "single_word", false) ? TOK_SINGLE_WORD : 0));
    }
    return 0;
}

/* <0xXX> tokens become byte tokens. */
static void mark_bytes(struct lists *l)
{
    for (uint32_t i = 0; i < l->n_tokens; i++) {
        struct text_str s = l->tokens[i];
        if (s.len == 6 && memcmp(s.data, "<0x", 3) == 0 && s.data[5] == '>' &&
            l->types[i] == TEXT_TOKEN_NORMAL)
            l->types[i] = TEXT_TOKEN_BYTE;
    }
}

/* "left right" or ["left", "right"]; halves of the second form may hold spaces, so both are joined
 * with a byte that is in no UTF-8. */
#define MERGE_SEP '\xff'

static int put_merge(struct lists *l, const json_value *m, struct text_str *out)
{
    size_t left_len, right_len;
    const char *left = json_text(m, &left_len), *right;
    if (left != NULL) {
        const char *space = left_len < 3 ? NULL : memchr(left + 1, ' ', left_len - 1);
        if (space == NULL)
            return E_FORMAT;
        right = space + 1;
        right_len = left_len - (size_t)(right - left);
        left_len = (size_t)(space - left);
    } else {
        left = json_text(json_at(m, 0), &left_len);
        right = json_text(json_at(m, 1), &right_len);
        if (left == NULL || right == NULL || left_len == 0)
            return E_FORMAT;
    }
    char *joined = arena_bytes(&l->t->mem, left_len + right_len + 1);
    if (joined == NULL)
        return E_NOMEM;
    memcpy(joined, left, left_len);
    joined[left_len] = MERGE_SEP;
    memcpy(joined + left_len + 1, right, right_len);
    *out = (struct text_str){ joined, left_len + 1 + right_len };
    return 0;
}

static int put_merges(struct lists *l, const json_value *merges)
{
    size_t n = json_len(merges);
    if (n > IDS_MAX)
        return err_set_field(l->err, E_LIMIT, "merges", "merges: %zu are too many", n);
    l->merges = mem_alloc(n + 1, sizeof *l->merges);
    if (l->merges == NULL)
        return E_NOMEM;
    l->t->merge_sep = MERGE_SEP;
    for (size_t i = 0; i < n; i++) {
        int rc = put_merge(l, json_at(merges, i), &l->merges[i]);
        if (rc == E_FORMAT)
            err_set_field(l->err, rc, "merges", "merges[%zu]: two tokens are wanted", i);
        TRY(rc);
    }
    l->n_merges = (uint32_t)n;
    return 0;
}

/* --- the model
 * ------------------------------------------------------------------------------------- */

static int find_token(const struct lists *l, const json_value *name, int32_t *id)
{
    size_t len;
    const char *s = json_text(name, &len);
    for (uint32_t i = 0; s != NULL && i < l->n_tokens; i++)
        if (l->tokens[i].len == len && len > 0 && memcmp(l->tokens[i].data, s, len) == 0) {
            *id = (int32_t)i;
            return 0;
        }
    return 0;
}

/* Older files leave "type" out; the members tell. */
static int model_algo(const json_value *model, enum text_algo *algo, struct err *err)
{
    bool untyped = json_get(model, "type") == NULL;
    bool scored = json_kind_of(json_get(model, "vocab")) == JSON_ARRAY;
    if (hf_is(model, "type", "BPE") || (untyped && json_get(model, "merges") != NULL))
        *algo = TEXT_BPE;
    else if (hf_is(model, "type", "Unigram") || (untyped && scored))
        *algo = TEXT_UNIGRAM;
    else if (hf_is(model, "type", "WordPiece") ||
             (untyped && json_get(model, "max_input_chars_per_word") != NULL))
        *algo = TEXT_WORDPIECE;
    else
        return err_set_field(err, E_UNSUPPORTED, "model",
                             "model: only BPE, Unigram and WordPiece are "
                             "supported");
    if (scored != (*algo == TEXT_UNIGRAM))
        return err_set_field(err, E_FORMAT, "vocab", "vocab: not of the form this model has");
    return 0;
}

static int check_bpe(const json_value *model, struct err *err)
{
    static const char *const refused[] = { "continuing_subword_prefix", "end_of_word_suffix" };
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        size_t len = 0;
        json_text(json_get(model, refused[i]), &len);
        if (json_get(model, refused[i]) != NULL && len > 0)
            return err_set_field(err, E_UNSUPPORTED, refused[i], "model: %s is not supported",
                                 refused[i]);
    }
    const json_value *dropout = json_get(model, "dropout");
    if (dropout != NULL && json_as_double(dropout) != 0)
        return err_set_field(err, E_UNSUPPORTED, "dropout", "model: dropout is not supported");
    return 0;
}

static int read_wordpiece(struct text_tokenizer *t, const json_value *model)
{
    struct text_str inner;
    TRY(hf_keep(t, model, "continuing_subword_prefix", &inner));
    t->kind = "WordPiece";
    t->word_inner = inner.len > 0 ? inner.data : "##";
    const json_value *max = json_get(model, "max_input_chars_per_word");
    int64_t chars = max == NULL ? 100 : json_as_int(max);
    t->word_chars_max = chars < 0 ? 0 : chars > 65536 ? 65536 : (uint32_t)chars;
    return 0;
}

static int read_model(struct lists *l, const json_value *model, struct text_vocab *v)
{
    struct text_tokenizer *t = l->t;
    const json_value *vocab = json_get(model, "vocab");
    if (v->algo == TEXT_UNIGRAM) {
        TRY(put_scored(l, vocab));
        const json_value *unk = json_get(model, "unk_id");
        if (unk != NULL && json_as_int(unk) >= 0 && json_as_int(unk) < (int64_t)l->n_tokens)
            v->unk = (int32_t)json_as_int(unk);
        t->kind = "unigram";
        t->fuse_unk = true;
    } else {
        TRY(json_each(vocab, put_member, l));
    }
    bool bytes = v->algo != TEXT_WORDPIECE && hf_flag(model, "byte_fallback", false);
    if (v->algo == TEXT_BPE) {
        TRY(check_bpe(model, l->err));
        TRY(put_merges(l, json_get(model, "merges")));
        t->ignore_merges = hf_flag(model, "ignore_merges", false);
        t->fuse_unk = hf_flag(model, "fuse_unk", false);
        t->kind = t->byte_level ? "byte-level BPE" : bytes ? "BPE with byte fallback" : "BPE";
    }
    if (v->algo == TEXT_WORDPIECE)
        TRY(read_wordpiece(t, model));
    if (bytes)
        mark_bytes(l);
    t->byte_fallback = bytes;
    return find_token(l, json_get(model, "unk_token"), &v->unk);
}

/* --- tokenizer_config.json
 * ------------------------------------------------------------------------- */

/* "<s>" or {"content": "<s>", ...} */
static int config_token(const struct lists *l, const json_value *config, const char *key,
                        int32_t *id)
{
    const json_value *v = json_get(config, key);
    const json_value *content = json_get(v, "content");
    return find_token(l, content != NULL ? content : v, id);
}

/* The tokens at one end of a text. */
static void set_around(const json_value *config, const char *key, int32_t id, int32_t *list,
                       uint32_t *n)
{
    bool last = key[4] == 'e'; /* add_eos_token: the last, add_bos_token: the first */
    bool has = *n > 0 && list[last ? *n - 1 : 0] == id;
    if (json_get(config, key) == NULL || id == TEXT_TOKEN_NONE)
        return;
    bool want = hf_flag(config, key, has);
    if (want && !has && *n == 0)
        list[(*n)++] = id;
    else if (!want && has && *n == 1)
        *n = 0;
}

/* --- the whole
 * ------------------------------------------------------------------------------------- */

static int build(struct lists *l, const json_value *root, const json_value *config)
{
    struct text_tokenizer *t = l->t;
    struct hf_facts facts = { 0 };
    const json_value *model = json_get(root, "model"), *added = json_get(root, "added_tokens");
    struct text_vocab v = { .bos = TEXT_TOKEN_NONE,
                            .eos = TEXT_TOKEN_NONE,
                            .eot = TEXT_TOKEN_NONE,
                            .unk = TEXT_TOKEN_NONE,
                            .pad = TEXT_TOKEN_NONE,
                            .sep = TEXT_TOKEN_NONE,
                            .cls = TEXT_TOKEN_NONE,
                            .mask = TEXT_TOKEN_NONE };
    TRY(model_algo(model, &v.algo, l->err));
    TRY(hf_normalizer(t, json_get(root, "normalizer"), 0, l->err));
    TRY(hf_pre_tokenizer(t, json_get(root, "pre_tokenizer"), 0, &facts, l->err));
    TRY(hf_decoder(t, json_get(root, "decoder"), 0, &facts, l->err));
    t->byte_level = facts.byte_level && v.algo == TEXT_BPE;
    TRY(count_tokens(l, json_get(model, "vocab"), added));
    TRY(read_model(l, model, &v));
    TRY(put_added(l, added));
    TRY(config_token(l, config, "bos_token", &v.bos));
    TRY(config_token(l, config, "eos_token", &v.eos));
    v.tokens = l->tokens;
    v.n_tokens = l->n_tokens;
    v.types = l->types;
    v.scores = l->scores;
    v.merges = l->merges;
    v.n_merges = l->n_merges;
    TRY(tok_copy_tokens(t, &v, l->err));
    TRY(hf_post_processor(t, json_get(root, "post_processor"), 0, l->err));
    /* The post-processor decides; a config that says otherwise does so by these two. */
    set_around(config, "add_bos_token", t->bos, t->before, &t->n_before);
    set_around(config, "add_eos_token", t->eos, t->after, &t->n_after);
    return tok_build(t, &v, l->err);
}

static int parse_and_build(struct text_tokenizer *t, struct text_str root_text,
                           struct text_str config_text, struct err *err)
{
    json_value *root = NULL, *config = NULL;
    struct lists l = { .t = t, .err = err };
    int rc = json_parse(&root, root_text.data, root_text.len, &JSON_LIMITS_FILE, err);
    if (rc >= 0 && config_text.len > 0)
        rc = json_parse(&config, config_text.data, config_text.len, &JSON_LIMITS_FILE, err);
    if (rc >= 0)
        rc = build(&l, root, config);
    lists_fini(&l);
    json_free(root);
    json_free(config);
    return rc;
}

int text_tokenizer_create_hf(struct text_tokenizer **out, const char *tokenizer_json,
                             size_t tokenizer_len, const char *config_json, size_t config_len,
                             struct err *err)
{
    struct text_tokenizer *t;
    int rc = tok_new(&t);
    if (rc >= 0) {
        rc = parse_and_build(t, (struct text_str){ tokenizer_json, tokenizer_len },
                             (struct text_str){ config_json, config_len }, err);
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
