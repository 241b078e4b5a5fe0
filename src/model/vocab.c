/* The vocabulary a GGUF file carries (tokenizer.ggml.*, architectures 1.5) as a struct text_vocab.
 *
 * Ids and flags a file leaves out have defaults by kind of tokenizer; they are the ones the kinds'
 * first models had, and converters rely on them. */
#include <string.h>

#include "base/num.h"
#include "model/file_impl.h"

#define KEY(name) "tokenizer.ggml." name
#define MEND "convert the model again"

struct vocab_kind {
    const char *name;
    enum text_algo algo;
    bool add_bos, add_eos, add_space_prefix;
    int32_t bos, eos, unk, pad, sep, cls, mask;
};

#define NONE TEXT_TOKEN_NONE
static const struct vocab_kind VOCAB_KINDS[] = {
    { "llama", TEXT_SPM, true, false, true, 1, 2, 0, NONE, NONE, NONE, NONE },
    { "gpt2", TEXT_BPE, false, false, false, NONE, NONE, NONE, NONE, NONE, NONE, NONE },
    { "bert", TEXT_WORDPIECE, true, false, false, 101, NONE, 100, 0, 102, 101, 103 },
    { "t5", TEXT_UNIGRAM, false, true, true, NONE, 1, 2, 0, NONE, NONE, NONE },
};

static const struct vocab_kind *find_kind(struct text_str name)
{
    for (size_t i = 0; i < COUNT_OF(VOCAB_KINDS); i++)
        if (name.len == strlen(VOCAB_KINDS[i].name) &&
            memcmp(name.data, VOCAB_KINDS[i].name, name.len) == 0)
            return &VOCAB_KINDS[i];
    return NULL;
}

/* An array of n items (any n if n is NULL) of the kind; NULL if absent. */
static int find_array(const struct model_file *f, const char *key, bool strings, const uint32_t *n,
                      const struct model_meta **out, struct err *err)
{
    const struct model_meta *m = model_file_meta(f, key);
    *out = m;
    if (m == NULL)
        return 0;
    if (m->kind != MODEL_ARRAY || (m->item_kind == MODEL_STRING) != strings)
        return err_set_field(err, E_FORMAT, key, "key %s: an array of %s is wanted; " MEND, key,
                             strings ? "strings" : "numbers");
    if (n != NULL && m->n != *n)
        return err_set_field(err, E_FORMAT, key, "key %s: %llu items for %u tokens; " MEND, key,
                             (unsigned long long)m->n, *n);
    return 0;
}

static int read_strings(const struct model_meta *m, const char *key, struct text_str **out,
                        struct err *err)
{
    size_t at = 0;
    struct text_str *list = mem_alloc((size_t)m->n + 1, sizeof *list);
    if (list == NULL)
        return err_set(err, E_NOMEM, "no memory for the %llu strings of %s",
                       (unsigned long long)m->n, key);
    for (uint64_t i = 0; i < m->n; i++) {
        bool more = model_meta_next_str(m, &at, &list[i]);
        CHECK(more); /* the parser counted them */
    }
    *out = list;
    return 0;
}

static int read_tokens(const struct model_file *f, struct text_vocab *v, struct err *err)
{
    const struct model_meta *m;
    struct text_str *list;
    TRY(find_array(f, KEY("tokens"), true, NULL, &m, err));
    if (m == NULL || m->n == 0)
        return err_set_field(err, E_FORMAT, KEY("tokens"),
                             "key " KEY("tokens") " is missing or empty; " MEND);
    TRY(read_strings(m, KEY("tokens"), &list, err));
    v->tokens = list;
    v->n_tokens = (uint32_t)m->n;
    return 0;
}

static int read_merges(const struct model_file *f, struct text_vocab *v, struct err *err)
{
    const struct model_meta *m;
    struct text_str *list;
    TRY(find_array(f, KEY("merges"), true, NULL, &m, err));
    if (m == NULL && v->algo == TEXT_BPE)
        return err_set_field(err, E_FORMAT, KEY("merges"),
                             "key " KEY("merges") " is missing; " MEND);
    if (m == NULL)
        return 0;
    TRY(read_strings(m, KEY("merges"), &list, err));
    v->merges = list;
    v->n_merges = (uint32_t)m->n;
    return 0;
}

static int read_scores(const struct model_file *f, struct text_vocab *v, struct err *err)
{
    const struct model_meta *m;
    TRY(find_array(f, KEY("scores"), false, &v->n_tokens, &m, err));
    if (m == NULL)
        return 0;
    float *scores = mem_alloc(v->n_tokens, sizeof *scores);
    if (scores == NULL)
        return err_set(err, E_NOMEM, "no memory for %u scores", v->n_tokens);
    v->scores = scores;
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        double x;
        if (!model_meta_number(m, i, &x) || x != x)
            return err_set_field(err, E_FORMAT, KEY("scores"),
                                 "key " KEY("scores") ": item %u is no number; " MEND, i);
        scores[i] = (float)x;
    }
    return 0;
}

static int read_types(const struct model_file *f, struct text_vocab *v, struct err *err)
{
    const struct model_meta *m;
    TRY(find_array(f, KEY("token_type"), false, &v->n_tokens, &m, err));
    if (m == NULL)
        return 0;
    int32_t *types = mem_alloc(v->n_tokens, sizeof *types);
    if (types == NULL)
        return err_set(err, E_NOMEM, "no memory for %u token types", v->n_tokens);
    v->types = types;
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        int64_t x;
        if (!model_meta_integer(m, i, &x) || x < 0 || x > TEXT_TOKEN_BYTE)
            return err_set_field(err, E_FORMAT, KEY("token_type"),
                                 "key " KEY("token_type") ": item %u is no "
                                                          "type from 1 to 6; " MEND,
                                 i);
        types[i] = x == 0 ? TEXT_TOKEN_NORMAL : (int32_t)x; /* 0: undefined, in some files */
    }
    return 0;
}

/* An id outside the vocabulary is an error where text depends on it, else it is as if absent. */
static int read_id(const struct model_file *f, const char *key, const struct text_vocab *v,
                   bool needed, int32_t *out, struct err *err)
{
    const struct model_meta *m = model_file_meta(f, key);
    int64_t x;
    if (m == NULL) {
        if (*out >= 0 && (uint32_t)*out >= v->n_tokens)
            *out =
                TEXT_TOKEN_NONE; /* a default of a kind that this small vocabulary does not have */
        return 0;
    }
    if (m->kind == MODEL_ARRAY || !model_meta_integer(m, 0, &x))
        return err_set_field(err, E_FORMAT, key, "key %s: a token id is wanted; " MEND, key);
    bool none = x < 0 || x == UINT32_MAX;
    if (!none && x >= v->n_tokens && needed)
        return err_set_field(err, E_FORMAT, key,
                             "key %s: id %lld is outside the vocabulary of %u tokens; " MEND, key,
                             (long long)x, v->n_tokens);
    *out = none || x >= v->n_tokens ? TEXT_TOKEN_NONE : (int32_t)x;
    return 0;
}

static int read_ids(const struct model_file *f, struct text_vocab *v, struct err *err)
{
    TRY(read_id(f, KEY("bos_token_id"), v, true, &v->bos, err));
    TRY(read_id(f, KEY("eos_token_id"), v, true, &v->eos, err));
    TRY(read_id(f, KEY("eot_token_id"), v, true, &v->eot, err));
    TRY(read_id(f, KEY("unknown_token_id"), v, true, &v->unk, err));
    TRY(read_id(f, KEY("padding_token_id"), v, false, &v->pad, err));
    TRY(read_id(f, KEY("seperator_token_id"), v, false, &v->sep,
                err)); /* the format's own spelling */
    TRY(read_id(f, KEY("cls_token_id"), v, false, &v->cls, err));
    TRY(read_id(f, KEY("mask_token_id"), v, false, &v->mask, err));
    TRY(model_file_bool(f, KEY("add_bos_token"), &v->add_bos, err));
    TRY(model_file_bool(f, KEY("add_eos_token"), &v->add_eos, err));
    TRY(model_file_bool(f, KEY("add_space_prefix"), &v->add_space_prefix, err));
    TRY(model_file_bool(f, KEY("remove_extra_whitespaces"), &v->remove_extra_whitespaces, err));
    return 0;
}

static int read_charsmap(const struct model_file *f, struct text_vocab *v, struct err *err)
{
    const struct model_meta *m;
    TRY(find_array(f, KEY("precompiled_charsmap"), false, NULL, &m, err));
    if (m == NULL)
        return 0;
    if (m->item_kind != MODEL_U8 && m->item_kind != MODEL_I8)
        return err_set_field(err, E_FORMAT, KEY("precompiled_charsmap"),
                             "key " KEY("precompiled_charsmap") ": bytes are wanted; " MEND);
    v->charsmap = m->data;
    v->charsmap_bytes = m->bytes;
    return 0;
}

/* Families whose early files leave add_bos_token out though their models want it (Llama 3,
 * Mistral's Tekken): text without the first token is answered badly. */
static bool pre_adds_bos(const char *pre)
{
    static const char *const NAMES[] = { "llama3",    "llama-v3", "llama-bpe", "falcon3",
                                         "falcon-h1", "pixtral",  "tekken",    "chameleon" };
    for (size_t i = 0; i < COUNT_OF(NAMES); i++)
        if (strcmp(NAMES[i], pre) == 0)
            return true;
    return false;
}

/* Fills v; what it allocates is released by the caller, also after a failure. */
static int read_vocab(const struct model_file *f, struct text_vocab *v, char **pre, struct err *err)
{
    struct text_str pre_name;
    TRY(read_tokens(f, v, err));
    TRY(read_merges(f, v, err));
    TRY(read_scores(f, v, err));
    TRY(read_types(f, v, err));
    TRY(read_ids(f, v, err));
    TRY(read_charsmap(f, v, err));
    TRY(model_file_str(f, KEY("pre"), &pre_name, err));
    if (pre_name.data != NULL && pre_name.len > 0) {
        *pre = mem_strndup(pre_name.data, pre_name.len);
        if (*pre == NULL)
            return err_set(err, E_NOMEM, "no memory for the tokenizer");
    }
    v->pre = *pre;
    if (*pre != NULL && v->algo == TEXT_BPE && model_file_meta(f, KEY("add_bos_token")) == NULL)
        v->add_bos = pre_adds_bos(*pre);
    return 0;
}

int model_vocab_create(const struct model_file *f, struct text_tokenizer **out, struct err *err)
{
    struct text_str name;
    TRY(model_file_str(f, KEY("model"), &name, err));
    if (name.data == NULL || name.len == 0 ||
        (name.len == 4 && memcmp(name.data, "none", 4) == 0) ||
        (name.len == 8 && memcmp(name.data, "no_vocab", 8) == 0))
        return err_set_field(err, E_NOT_FOUND, KEY("model"),
                             "%s carries no tokenizer; give token ids", f->path);
    const struct vocab_kind *kind = find_kind(name);
    if (kind == NULL)
        return err_set_field(err, E_UNSUPPORTED, KEY("model"),
                             "key " KEY("model") ": \"%.*s\" is not read, "
                                                 "llama, gpt2, bert and t5 are",
                             (int)num_min(name.len, 80), name.data);
    bool bert = kind->algo == TEXT_WORDPIECE; /* GGUF has no keys for BERT's normaliser: it is on */
    struct text_vocab v = {
        .algo = kind->algo,
        .add_bos = kind->add_bos,
        .add_eos = kind->add_eos,
        .add_space_prefix = kind->add_space_prefix,
        .bos = kind->bos,
        .eos = kind->eos,
        .eot = TEXT_TOKEN_NONE,
        .unk = kind->unk,
        .pad = kind->pad,
        .sep = kind->sep,
        .cls = kind->cls,
        .mask = kind->mask,
        .lowercase = bert,
        .strip_accents = bert,
        .clean_text = bert,
        .cjk_spaces = bert,
    };
    char *pre = NULL;
    int rc = read_vocab(f, &v, &pre, err);
    if (rc >= 0)
        rc = text_tokenizer_create(out, &v, err);
    mem_free((void *)v.tokens);
    mem_free((void *)v.merges);
    mem_free((void *)v.scores);
    mem_free((void *)v.types);
    mem_free(pre);
    return rc;
}
