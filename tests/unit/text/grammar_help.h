/* What the tests of constrained output share. */
#ifndef TESTS_GRAMMAR_HELP_H
#define TESTS_GRAMMAR_HELP_H

#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "text/grammar.h"

/* A vocabulary of no tokens: for tests that go by bytes. */
static inline struct text_grammar_vocab *no_vocab(void)
{
    static struct text_grammar_vocab *v;
    if (v == NULL && text_grammar_vocab_create(&v, NULL, 0, NULL, 0) < 0)
        abort();
    return v;
}

static inline int make_grammar(struct text_grammar **out, const struct text_grammar_vocab *vocab,
                               enum text_grammar_kind kind, const char *source, struct err *err)
{
    struct text_grammar_params p = { .kind = kind, .source = source, .source_len = strlen(source) };
    json_value *v = NULL;
    memset(err, 0, sizeof *err);
    if (kind == TEXT_GRAMMAR_SCHEMA || kind == TEXT_GRAMMAR_CHOICE ||
        kind == TEXT_GRAMMAR_CALLS) {
        if (json_parse(&v, source, strlen(source), &JSON_LIMITS_REQUEST, err) < 0)
            return E_FORMAT;
        p.json = v;
    }
    int rc = text_grammar_create(out, vocab, &p, err);
    json_free(v);
    return rc;
}

static inline bool matches(struct text_grammar *g, const char *text, size_t len)
{
    struct text_matcher *m;
    if (text_matcher_create(&m, g) < 0)
        abort();
    bool yes = text_matcher_bytes(m, text, len) == len && text_matcher_may_end(m);
    text_matcher_destroy(m);
    return yes;
}

static inline json_value *read_json(const char *path)
{
    FILE *f = fopen(path, "rb");
    json_value *v = NULL;
    struct err err;
    if (f == NULL)
        return NULL;
    char *text = mem_alloc(1 << 22, 1);
    size_t n = fread(text, 1, (1 << 22) - 1, f);
    fclose(f);
    if (json_parse(&v, text, n, &JSON_LIMITS_FILE, &err) < 0) {
        fprintf(stderr, "# %s: %s\n", path, err.text);
        v = NULL;
    }
    mem_free(text);
    return v;
}

#endif
