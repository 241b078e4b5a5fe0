/* normalizer, pre_tokenizer, decoder and post_processor of a tokenizer.json. */
#include "text/hf.h"

#include <string.h>

#include "base/attr.h"

bool hf_is(const json_value *v, const char *key, const char *text)
{
    size_t len;
    const char *s = json_text(json_get(v, key), &len);
    return s != NULL && len == strlen(text) && memcmp(s, text, len) == 0;
}

bool hf_flag(const json_value *v, const char *key, bool otherwise)
{
    const json_value *m = json_get(v, key);
    return json_kind_of(m) == JSON_BOOL ? json_as_bool(m) : otherwise;
}

static int keep_text(struct text_tokenizer *t, const json_value *v, struct text_str *out)
{
    size_t len;
    const char *s = json_text(v, &len);
    *out = (struct text_str){ "", 0 };
    if (s == NULL || len == 0)
        return 0;
    out->data = arena_strndup(&t->mem, s, len);
    out->len = len;
    return out->data == NULL ? E_NOMEM : 0;
}

int hf_keep(struct text_tokenizer *t, const json_value *v, const char *key, struct text_str *out)
{
    return keep_text(t, json_get(v, key), out);
}

static int unsupported(const char *part, const json_value *v, struct err *err)
{
    size_t len;
    const char *type = json_text(json_get(v, "type"), &len);
    return err_set_field(err, E_UNSUPPORTED, part, "%s: the type \"%.60s\" is not supported", part,
                         type == NULL ? "(none)" : type);
}

static int too_deep(const char *part, struct err *err)
{
    return err_set_field(err, E_LIMIT, part,
                         "%s: sequences nest deeper than %d, or it has more than %d "
                         "steps",
                         part, HF_DEPTH_MAX, TOK_STEPS_MAX);
}

/* --- normalizer
 * ------------------------------------------------------------------------------------ */

static struct normal_step *add_norm(struct text_tokenizer *t, enum normal_kind kind)
{
    if (t->n_norms == TOK_STEPS_MAX)
        return NULL;
    struct normal_step *n = &t->norms[t->n_norms++];
    *n = (struct normal_step){ .kind = kind };
    return n;
}

static int bert_normalizer(struct text_tokenizer *t, const json_value *v, struct err *err)
{
    bool lower = hf_flag(v, "lowercase", true);
    bool ok = true;
    if (hf_flag(v, "clean_text", true))
        ok = ok && add_norm(t, NORMAL_CLEAN) != NULL;
    if (hf_flag(v, "handle_chinese_chars", true))
        ok = ok && add_norm(t, NORMAL_CJK_SPACES) != NULL;
    if (hf_flag(v, "strip_accents", lower)) { /* null: as lowercase */
        ok = ok && add_norm(t, NORMAL_NFD) != NULL;
        struct normal_step *n = ok ? add_norm(t, NORMAL_STRIP_MARKS) : NULL;
        ok = n != NULL;
        if (ok)
            n->mn_only = true;
    }
    if (lower)
        ok = ok && add_norm(t, NORMAL_LOWER) != NULL;
    return ok ? 0 : too_deep("normalizer", err);
}

/* {"String": "x"} or {"Regex": "x"} of Replace and Split. */
static int read_pattern(struct text_tokenizer *t, const json_value *v, struct text_str *text,
                        bool *regex)
{
    const json_value *p = json_get(v, "pattern");
    *regex = json_get(p, "Regex") != NULL;
    return hf_keep(t, p, *regex ? "Regex" : "String", text);
}

static int replace(struct text_tokenizer *t, const json_value *v, struct err *err)
{
    struct normal_step *n = add_norm(t, NORMAL_REPLACE);
    struct text_str pattern, content;
    bool regex;
    if (n == NULL)
        return too_deep("normalizer", err);
    TRY(read_pattern(t, v, &pattern, &regex));
    TRY(hf_keep(t, v, "content", &content));
    if (pattern.len == 0)
        return err_set_field(err, E_FORMAT, "normalizer", "normalizer: Replace has no pattern");
    if (regex)
        TRY(pretok_regex_compile(&n->regex, pattern.data, pattern.len, err));
    n->a = pattern.data;
    n->a_len = pattern.len;
    n->b = content.data;
    n->b_len = content.len;
    return 0;
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static int precompiled(struct text_tokenizer *t, const json_value *v, struct err *err)
{
    size_t len = 0, n = 0;
    const char *s = json_text(json_get(v, "precompiled_charsmap"), &len);
    if (s == NULL || len == 0)
        return 0; /* null: nothing to do */
    uint8_t *bytes = arena_bytes(&t->mem, len / 4 * 3 + 4);
    struct normal_step *step = add_norm(t, NORMAL_CHARSMAP);
    if (step == NULL)
        return too_deep("normalizer", err);
    if (bytes == NULL)
        return E_NOMEM;
    uint32_t bits = 0, have = 0;
    for (size_t i = 0; i < len && s[i] != '='; i++) {
        int x = base64_value(s[i]);
        if (x < 0)
            return err_set_field(err, E_FORMAT, "normalizer",
                                 "normalizer: precompiled_charsmap is no "
                                 "base64 at %zu",
                                 i);
        bits = bits << 6 | (uint32_t)x;
        have += 6;
        if (have >= 8) {
            have -= 8;
            bytes[n++] = (uint8_t)(bits >> have);
        }
    }
    TRY(normal_charsmap_check(bytes, n, err));
    step->charsmap = bytes;
    step->charsmap_bytes = n;
    return 0;
}

static int normalizer_sequence(struct text_tokenizer *t, const json_value *v, int depth,
                               struct err *err)
{
    const json_value *list = json_get(v, "normalizers");
    for (size_t i = 0; i < json_len(list); i++)
        TRY(hf_normalizer(t, json_at(list, i), depth + 1, err));
    return 0;
}

int hf_normalizer(struct text_tokenizer *t, const json_value *v, int depth, struct err *err)
{
    static const struct {
        const char *type;
        enum normal_kind kind;
    } simple[] = {
        { "NFC", NORMAL_NFC },         { "NFD", NORMAL_NFD },
        { "NFKC", NORMAL_NFKC },       { "NFKD", NORMAL_NFKD },
        { "Lowercase", NORMAL_LOWER }, { "StripAccents", NORMAL_STRIP_MARKS },
        { "Nmt", NORMAL_NMT },         { "Strip", NORMAL_STRIP },
        { "Prepend", NORMAL_PREPEND },
    };
    if (json_kind_of(v) == JSON_NULL)
        return 0;
    if (depth > HF_DEPTH_MAX)
        return too_deep("normalizer", err);
    if (hf_is(v, "type", "Sequence"))
        return normalizer_sequence(t, v, depth, err);
    if (hf_is(v, "type", "BertNormalizer"))
        return bert_normalizer(t, v, err);
    if (hf_is(v, "type", "Replace"))
        return replace(t, v, err);
    if (hf_is(v, "type", "Precompiled"))
        return precompiled(t, v, err);
    for (size_t i = 0; i < COUNT_OF(simple); i++) {
        if (!hf_is(v, "type", simple[i].type))
            continue;
        struct text_str a;
        struct normal_step *n = add_norm(t, simple[i].kind);
        if (n == NULL)
            return too_deep("normalizer", err);
        TRY(hf_keep(t, v, "prepend", &a));
        n->a = a.data;
        n->a_len = a.len;
        n->left = hf_flag(v, "strip_left", true);
        n->right = hf_flag(v, "strip_right", true);
        return 0;
    }
    return unsupported("normalizer", v, err);
}

/* --- pre_tokenizer
 * --------------------------------------------------------------------------------- */

static int add_pre(struct text_tokenizer *t, struct tok_pre p, struct err *err)
{
    if (t->n_pre == TOK_STEPS_MAX) {
        pretok_regex_destroy(p.cut.regex);
        return too_deep("pre_tokenizer", err);
    }
    t->pre[t->n_pre++] = p;
    return 0;
}

static int add_regex(struct text_tokenizer *t, struct text_str regex, struct tok_pre p,
                     struct err *err)
{
    p.cut.rule = pretok_rule_find(regex.data, regex.len);
    if (p.cut.rule == NULL) {
        p.cut.finder = FIND_REGEX;
        TRY(pretok_regex_compile(&p.cut.regex, regex.data, regex.len, err));
    }
    return add_pre(t, p, err);
}

static int read_behavior(const json_value *v, enum pretok_behavior *out, struct err *err)
{
    static const char *const names[] = { "Isolated", "Removed", "MergedWithPrevious",
                                         "MergedWithNext", "Contiguous" };
    *out = SPLIT_ISOLATED;
    if (json_get(v, "behavior") == NULL)
        return 0;
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (hf_is(v, "behavior", names[i])) {
            *out = (enum pretok_behavior)i;
            return 0;
        }
    return err_set_field(err, E_UNSUPPORTED, "pre_tokenizer", "pre_tokenizer: unknown behavior");
}

static int split(struct text_tokenizer *t, const json_value *v, struct err *err)
{
    struct tok_pre p = { 0 };
    struct text_str pattern;
    bool regex;
    TRY(read_pattern(t, v, &pattern, &regex));
    TRY(read_behavior(v, &p.cut.behavior, err));
    p.cut.invert = hf_flag(v, "invert", false);
    if (pattern.len == 0)
        return err_set_field(err, E_FORMAT, "pre_tokenizer", "pre_tokenizer: Split has no pattern");
    if (regex)
        return add_regex(t, pattern, p, err);
    p.cut.finder = FIND_TEXT;
    p.cut.text = pattern.data;
    p.cut.text_len = pattern.len;
    return add_pre(t, p, err);
}

static int byte_level(struct text_tokenizer *t, const json_value *v, struct hf_facts *facts,
                      struct err *err)
{
    facts->byte_level = true;
    if (hf_flag(v, "add_prefix_space", true))
        TRY(add_pre(t, (struct tok_pre){ .kind = TOK_LEAD_SPACE }, err));
    return hf_flag(v, "use_regex", true) ? tok_add_family(t, "gpt-2", err) : 0;
}

static int metaspace(struct text_tokenizer *t, const json_value *v, struct err *err)
{
    struct tok_pre p = { .kind = TOK_METASPACE, .prepend = TOK_PREPEND_ALWAYS };
    struct text_str mark;
    TRY(hf_keep(t, v, "replacement", &mark));
    p.replacement = mark.len > 0 ? mark.data : TOK_SPACE;
    p.replacement_len = mark.len > 0 ? mark.len : 3;
    if (p.replacement_len != 3 || memcmp(p.replacement, TOK_SPACE, 3) != 0)
        return err_set_field(err, E_UNSUPPORTED, "pre_tokenizer",
                             "pre_tokenizer: Metaspace with a "
                             "replacement other than U+2581 is not supported");
    if (hf_is(v, "prepend_scheme", "never") || !hf_flag(v, "add_prefix_space", true))
        p.prepend = TOK_PREPEND_NEVER;
    else if (hf_is(v, "prepend_scheme", "first"))
        p.prepend = TOK_PREPEND_FIRST;
    p.split = hf_flag(v, "split", true);
    return add_pre(t, p, err);
}

static int pre_sequence(struct text_tokenizer *t, const json_value *v, int depth,
                        struct hf_facts *facts, struct err *err)
{
    const json_value *list = json_get(v, "pretokenizers");
    for (size_t i = 0; i < json_len(list); i++)
        TRY(hf_pre_tokenizer(t, json_at(list, i), depth + 1, facts, err));
    return 0;
}

static int digits(struct text_tokenizer *t, const json_value *v, struct err *err)
{
    struct text_str one = { "\\p{N}", 5 }, run = { "\\p{N}+", 6 };
    bool single = hf_flag(v, "individual_digits", false);
    return add_regex(t, single ? one : run, (struct tok_pre){ 0 }, err);
}

int hf_pre_tokenizer(struct text_tokenizer *t, const json_value *v, int depth,
                     struct hf_facts *facts, struct err *err)
{
    struct tok_pre spaces = { .cut = { .finder = FIND_SPACE, .behavior = SPLIT_REMOVED } };
    struct tok_pre puncts = { .cut = { .finder = FIND_PUNCT } };
    if (json_kind_of(v) == JSON_NULL)
        return 0;
    if (depth > HF_DEPTH_MAX)
        return too_deep("pre_tokenizer", err);
    if (hf_is(v, "type", "Sequence"))
        return pre_sequence(t, v, depth, facts, err);
    if (hf_is(v, "type", "ByteLevel"))
        return byte_level(t, v, facts, err);
    if (hf_is(v, "type", "Split"))
        return split(t, v, err);
    if (hf_is(v, "type", "Metaspace"))
        return metaspace(t, v, err);
    if (hf_is(v, "type", "Digits"))
        return digits(t, v, err);
    if (hf_is(v, "type", "WhitespaceSplit"))
        return add_pre(t, spaces, err);
    if (hf_is(v, "type", "Punctuation")) {
        TRY(read_behavior(v, &puncts.cut.behavior, err));
        return add_pre(t, puncts, err);
    }
    if (hf_is(v, "type", "BertPreTokenizer")) {
        TRY(add_pre(t, spaces, err));
        return add_pre(t, puncts, err);
    }
    if (hf_is(v, "type", "Whitespace")) {
        /* Rust's \w: letters, marks, decimal digits, connectors; anything else but space is a run
         */
        struct text_str regex = {
            "[\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}]+|[^\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\s]+", 0
        };
        struct tok_pre p = { .cut = { .behavior = SPLIT_REMOVED, .invert = true } };
        regex.len = strlen(regex.data);
        return add_regex(t, regex, p, err);
    }
    return unsupported("pre_tokenizer", v, err);
}

/* --- decoder
 * --------------------------------------------------------------------------------------- */

int hf_decoder(struct text_tokenizer *t, const json_value *v, int depth, struct hf_facts *facts,
               struct err *err)
{
    /* Fuse and ByteFallback are how ids are always put together here; CTC is for speech. */
    static const char *const nothing[] = { "Fuse", "ByteFallback", "Replace" };
    if (json_kind_of(v) == JSON_NULL)
        return 0;
    if (depth > HF_DEPTH_MAX)
        return too_deep("decoder", err);
    if (hf_is(v, "type", "Sequence")) {
        const json_value *list = json_get(v, "decoders");
        for (size_t i = 0; i < json_len(list); i++)
            TRY(hf_decoder(t, json_at(list, i), depth + 1, facts, err));
        return 0;
    }
    if (hf_is(v, "type", "ByteLevel")) {
        facts->byte_level = true;
        return 0;
    }
    if (hf_is(v, "type", "Strip") || hf_is(v, "type", "WordPiece")) {
        t->drop_lead_space = true;
        return 0;
    }
    if (hf_is(v, "type", "Metaspace")) {
        t->drop_lead_space =
            !hf_is(v, "prepend_scheme", "never") && hf_flag(v, "add_prefix_space", true);
        return 0;
    }
    for (size_t i = 0; i < COUNT_OF(nothing); i++)
        if (hf_is(v, "type", nothing[i]))
            return 0;
    return unsupported("decoder", v, err);
}

/* --- post_processor
 * -------------------------------------------------------------------------------- */

static int put_around(struct text_tokenizer *t, bool after, int64_t id, struct err *err)
{
    uint32_t *n = after ? &t->n_after : &t->n_before;
    if (id < 0 || id >= t->n_tokens || *n == TOK_AROUND_MAX)
        return err_set_field(
            err, E_FORMAT, "post_processor",
            "post_processor: token id %lld is outside the vocabulary, or more than %d "
            "tokens",
            (long long)id, TOK_AROUND_MAX);
    (after ? t->after : t->before)[(*n)++] = (int32_t)id;
    return 0;
}

/* [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}, ...] */
static int template_around(struct text_tokenizer *t, const json_value *v, struct err *err)
{
    const json_value *list = json_get(v, "single"), *specials = json_get(v, "special_tokens");
    bool after = false;
    for (size_t i = 0; i < json_len(list); i++) {
        const json_value *item = json_at(list, i), *token = json_get(item, "SpecialToken");
        if (json_get(item, "Sequence") != NULL)
            after = true;
        size_t len;
        const char *name = json_text(json_get(token, "id"), &len);
        if (name == NULL)
            continue;
        const json_value *ids = json_get(json_get(specials, name), "ids");
        for (size_t k = 0; k < json_len(ids); k++)
            TRY(put_around(t, after, json_as_int(json_at(ids, k)), err));
    }
    return 0;
}

int hf_post_processor(struct text_tokenizer *t, const json_value *v, int depth, struct err *err)
{
    if (json_kind_of(v) == JSON_NULL || hf_is(v, "type", "ByteLevel"))
        return 0;
    if (depth > HF_DEPTH_MAX)
        return too_deep("post_processor", err);
    if (hf_is(v, "type", "Sequence")) {
        const json_value *list = json_get(v, "processors");
        for (size_t i = 0; i < json_len(list); i++)
            TRY(hf_post_processor(t, json_at(list, i), depth + 1, err));
        return 0;
    }
    if (hf_is(v, "type", "TemplateProcessing"))
        return template_around(t, v, err);
    if (hf_is(v, "type", "BertProcessing") || hf_is(v, "type", "RobertaProcessing")) {
        TRY(put_around(t, false, json_as_int(json_at(json_get(v, "cls"), 1)), err));
        return put_around(t, true, json_as_int(json_at(json_get(v, "sep"), 1)), err);
    }
    return unsupported("post_processor", v, err);
}
