/* Cutting: a finder says where matches are, a behaviour what becomes of them. */
#include "text/pretok.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "text/unicode.h"

/* Steps of matching a foreign regex may take a match; then the text is refused (E_LIMIT). */
#define REGEX_MATCH_LIMIT 1000000u
#define REGEX_HEAP_KIB 16384u

void text_spans_fini(struct text_spans *l)
{
    mem_free(l->v);
    *l = (struct text_spans){ 0 };
}

int text_spans_put(struct text_spans *l, uint32_t begin, uint32_t end)
{
    if (l->n == l->cap) {
        size_t cap = l->cap * 2 + 64;
        struct text_span *v = mem_realloc(l->v, cap, sizeof *v);
        if (v == NULL)
            return E_NOMEM;
        l->v = v;
        l->cap = cap;
    }
    l->v[l->n++] = (struct text_span){ begin, end };
    return 0;
}

/* --- foreign regexes ---------------------------------------------------------------------------
 */

struct pretok_regex {
    pcre2_code *code;
    pcre2_match_context *limits;
};

void pretok_regex_destroy(struct pretok_regex *r)
{
    if (r == NULL)
        return;
    pcre2_match_context_free(r->limits);
    pcre2_code_free(r->code);
    mem_free(r);
}

int pretok_regex_compile(struct pretok_regex **out, const char *pattern, size_t len,
                         struct err *err)
{
    int code = 0;
    PCRE2_SIZE at = 0;
    struct pretok_regex *r = mem_alloc(1, sizeof *r);
    if (r == NULL)
        return E_NOMEM;
    uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C;
    r->code = pcre2_compile((PCRE2_SPTR)pattern, len, options, &code, &at, NULL);
    if (r->code == NULL) /* a second spelling of escapes: \uhhhh */
        r->code =
            pcre2_compile((PCRE2_SPTR)pattern, len, options | PCRE2_ALT_BSUX, &code, &at, NULL);
    r->limits = pcre2_match_context_create(NULL);
    if (r->code == NULL || r->limits == NULL) {
        PCRE2_UCHAR why[120] = "no memory";
        if (r->code == NULL)
            pcre2_get_error_message(code, why, sizeof why);
        pretok_regex_destroy(r);
        return err_set_field(err, E_UNSUPPORTED, "pre_tokenizer",
                             "pre_tokenizer: the regex \"%.*s\" is not understood at byte %zu: %s",
                             (int)num_min(len, 200), pattern, (size_t)at, (const char *)why);
    }
    pcre2_set_match_limit(r->limits, REGEX_MATCH_LIMIT);
    pcre2_set_heap_limit(r->limits, REGEX_HEAP_KIB);
    pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE); /* if it cannot, the interpreter does it */
    *out = r;
    return 0;
}

/* --- finding -----------------------------------------------------------------------------------
 */

struct finder {
    const struct pretok_step *step;
    const uint8_t *s;
    pcre2_match_data *data;
};

/* 1 and *m: a match; 0: none; E_*. The text of the piece is all the regex sees. */
static int find_regex(const struct finder *f, struct text_span piece, uint32_t at,
                      struct text_span *m)
{
    const struct pretok_regex *r = f->step->regex;
    while (at < piece.end) {
        int rc = pcre2_match(r->code, f->s + piece.begin, piece.end - piece.begin, at - piece.begin,
                             0, f->data, r->limits);
        if (rc == PCRE2_ERROR_NOMATCH)
            return 0;
        if (rc < 0)
            return rc == PCRE2_ERROR_NOMEMORY ? E_NOMEM : E_LIMIT;
        const PCRE2_SIZE *pair = pcre2_get_ovector_pointer(f->data);
        if (pair[1] > pair[0]) {
            *m = (struct text_span){ piece.begin + (uint32_t)pair[0],
                                     piece.begin + (uint32_t)pair[1] };
            return 1;
        }
        at =
            piece.begin + (uint32_t)pair[1]; /* an empty match cuts nothing here: go on behind it */
        uint32_t len = 1;
        if (at < piece.end)
            uni_class(f->s + at, piece.end - at, &len);
        at += len;
    }
    return 0;
}

static int find_char(const struct finder *f, struct text_span piece, uint32_t at,
                     struct text_span *m)
{
    unsigned want = f->step->finder == FIND_PUNCT ? UNI_P : UNI_SPACE;
    for (uint32_t len; at < piece.end; at += len) {
        unsigned flags = uni_class(f->s + at, piece.end - at, &len);
        bool ascii_symbol = want == UNI_P && f->s[at] < 0x80 && (flags & UNI_S) != 0;
        if ((flags & want) != 0 || ascii_symbol) {
            *m = (struct text_span){ at, at + len };
            return 1;
        }
    }
    return 0;
}

static int find_text(const struct finder *f, struct text_span piece, uint32_t at,
                     struct text_span *m)
{
    const uint8_t *hit = f->step->text_len == 0
                             ? NULL
                             : memmem(f->s + at, piece.end - at, f->step->text, f->step->text_len);
    if (hit == NULL)
        return 0;
    uint32_t begin = (uint32_t)(hit - f->s);
    *m = (struct text_span){ begin, begin + (uint32_t)f->step->text_len };
    return 1;
}

static int find_next(const struct finder *f, struct text_span piece, uint32_t at,
                     struct text_span *m)
{
    switch (f->step->finder) {
    case FIND_RULE:
        /* A rule looks no further than its piece, and nothing in it looks back. */
        return pretok_match(f->step->rule, f->s, at, piece.end, m);
    case FIND_REGEX: return find_regex(f, piece, at, m);
    case FIND_TEXT: return find_text(f, piece, at, m);
    case FIND_PUNCT:
    case FIND_SPACE: return find_char(f, piece, at, m);
    }
    return 0;
}

/* --- cutting -----------------------------------------------------------------------------------
 */

/* What the last pieces of the current input piece were, for the merging behaviours. */
struct cutter {
    const struct pretok_step *step;
    struct text_spans *out;
    bool last_match; /* it holds a match */
    bool any;        /* the input piece has given a span already */
};

static int emit(struct cutter *c, uint32_t begin, uint32_t end, bool match)
{
    if (begin == end)
        return 0;
    if (c->step->invert)
        match = !match;
    bool grow = false;
    switch (c->step->behavior) {
    case SPLIT_ISOLATED: break;
    case SPLIT_REMOVED:
        if (match)
            return 0;
        break;
    case SPLIT_MERGE_PREVIOUS: grow = c->any && match && !c->last_match; break;
    case SPLIT_MERGE_NEXT: grow = c->any && !match && c->last_match; break;
    case SPLIT_CONTIGUOUS: grow = c->any && match == c->last_match; break;
    }
    c->last_match = match;
    c->any = true;
    if (grow) {
        c->out->v[c->out->n - 1].end = end;
        return 0;
    }
    return text_spans_put(c->out, begin, end);
}

static int split_piece(const struct finder *f, struct text_span piece, struct cutter *c)
{
    uint32_t at = piece.begin;
    c->any = c->last_match = false;
    while (at < piece.end) {
        struct text_span m;
        int found = find_next(f, piece, at, &m);
        TRY(found);
        if (found == 0)
            break;
        TRY(emit(c, at, m.begin, false));
        TRY(emit(c, m.begin, m.end, true));
        at = m.end;
    }
    return emit(c, at, piece.end, false);
}

int pretok_split(const struct pretok_step *step, const uint8_t *s, const struct text_spans *in,
                 struct text_spans *out)
{
    struct finder f = { .step = step, .s = s };
    struct cutter c = { .step = step, .out = out };
    out->n = 0;
    if (step->finder == FIND_REGEX) {
        f.data = pcre2_match_data_create_from_pattern(step->regex->code, NULL);
        if (f.data == NULL)
            return E_NOMEM;
    }
    int rc = 0;
    for (size_t i = 0; i < in->n && rc >= 0; i++)
        rc = split_piece(&f, in->v[i], &c);
    pcre2_match_data_free(f.data);
    return rc;
}
