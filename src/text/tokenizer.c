/* Encoding: special tokens are cut out, the rest is normalised, cut into words and segments, and
 * each segment becomes ids. Also a tokenizer's facts, and its description from a struct text_vocab.
 *
 * Text repeats itself: the ids of a short segment seen before in the same run are copied from the
 * output, where they already lie. That is worth more than a faster merge (measured on English
 * prose: nine segments in ten). */
#include "text/tokenizer.h"

#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "text/tok.h"
#include "text/unicode.h"

#define CACHE_SLOTS_MAX 8192u
#define CACHED_LEN_MAX 64u /* bytes; longer segments hardly repeat */

/* --- a list of ids
 * --------------------------------------------------------------------------------- */

void text_ids_init(struct text_ids *l, uint32_t max) { *l = (struct text_ids){ .max = max }; }

void text_ids_fini(struct text_ids *l)
{
    mem_free(l->ids);
    text_ids_init(l, l->max);
}

int text_ids_put(struct text_ids *l, int32_t id)
{
    if (l->n >= l->max)
        return E_LIMIT;
    if (l->n == l->cap) {
        uint64_t want = (uint64_t)l->cap + l->cap / 2 + 64;
        uint32_t cap = want > l->max ? l->max : (uint32_t)want;
        int32_t *ids = mem_realloc(l->ids, cap, sizeof *ids);
        if (ids == NULL)
            return E_NOMEM;
        l->ids = ids;
        l->cap = cap;
    }
    l->ids[l->n++] = id;
    return 0;
}

/* --- segments
 * --------------------------------------------------------------------------------------- */

int tok_put_unknown(struct tok_work *w, uint32_t at, uint32_t len)
{
    const struct text_tokenizer *t = w->t;
    bool bytes = t->byte_level || t->byte_fallback;
    for (uint32_t i = 0; i < len && bytes; i++)
        bytes = t->byte_ids[w->s[at + i]] != TEXT_TOKEN_NONE;
    for (uint32_t i = 0; i < len && bytes; i++)
        TRY(text_ids_put(w->out, t->byte_ids[w->s[at + i]]));
    if (bytes)
        return 0;
    w->had_unk = true;
    bool fused = t->fuse_unk && w->unk_at == w->out->n;
    if (!fused && t->unk != TEXT_TOKEN_NONE)
        TRY(text_ids_put(w->out, t->unk));
    w->unk_at = w->out->n;
    return 0;
}

static int segment(struct tok_work *w, uint32_t at, uint32_t len)
{
    return w->t->algo == TEXT_UNIGRAM ? tok_unigram_segment(w, at, len)
                                      : tok_merge_segment(w, at, len);
}

/* A segment through the cache. */
static int cached_segment(struct tok_work *w, uint32_t at, uint32_t len)
{
    if (len > CACHED_LEN_MAX)
        return segment(w, at, len);
    uint64_t hash = XXH3_64bits(w->s + at, len);
    struct tok_cached *c = &w->cache[hash & w->cache_mask];
    if (c->epoch == w->epoch && c->hash == hash && c->len == len &&
        memcmp(w->s + c->at, w->s + at, len) == 0) {
        for (uint32_t i = 0; i < c->n_ids; i++)
            TRY(text_ids_put(w->out, w->out->ids[c->ids_at + i]));
        return 0;
    }
    uint32_t ids_at = w->out->n;
    w->had_unk = false;
    TRY(segment(w, at, len));
    if (!w->had_unk) /* an unk may have been fused with one before */
        *c = (struct tok_cached){ hash, w->epoch, at, len, ids_at, w->out->n - ids_at };
    return 0;
}

static bool mark_at(const uint8_t *s, uint32_t at, uint32_t end)
{
    return end - at >= 3 && s[at] == 0xe2 && s[at + 1] == 0x96 && s[at + 2] == 0x81;
}

/* The first place behind `at` that no token reaches over, or end. */
static uint32_t next_cut(const struct text_tokenizer *t, const uint8_t *s, uint32_t at,
                         uint32_t end)
{
    uint32_t begin = at;
    while (++at < end) {
        if (!t->byte_level && (s[at] & 0xc0) == 0x80)
            continue;
        if (!t->joins[s[at - 1]][s[at]])
            break;
        if (t->cut_spaces && s[at] == 0xe2 && mark_at(s, at, end) &&
            (at - begin < 3 || !mark_at(s, at - 3, at)))
            break;
    }
    return at;
}

static int word(struct tok_work *w, uint32_t at, uint32_t end)
{
    const struct text_tokenizer *t = w->t;
    w->unk_at = UINT32_MAX;
    if (t->algo == TEXT_WORDPIECE)
        return tok_wordpiece_word(w, at, end - at);
    if (t->ignore_merges && end - at <= t->len_max) {
        int32_t id = tok_text_id(t, w->s + at, end - at);
        if (id != TEXT_TOKEN_NONE)
            return text_ids_put(w->out, id);
    }
    bool whole = t->byte_level && end - at <= CACHED_LEN_MAX;
    while (at < end) {
        uint32_t cut = whole ? end : next_cut(t, w->s, at, end);
        TRY(cached_segment(w, at, cut - at));
        at = cut;
    }
    return 0;
}

/* --- runs of plain text
 * ------------------------------------------------------------------------------ */

/* What a run is rewritten in: two buffers and two lists that take turns. */
struct run {
    struct buf text[2];
    struct text_spans spans[2];
    const char *s;
    size_t len;
    unsigned buf, list; /* the ones in use */
    bool first;         /* the text begins with this run */
};

static int normalise(const struct text_tokenizer *t, struct run *r)
{
    for (uint32_t i = 0; i < t->n_norms; i++) {
        struct buf *out = &r->text[r->buf ^= 1];
        buf_clear(out);
        TRY(normal_apply(&t->norms[i], r->s, r->len, out));
        r->s = buf_str(out);
        r->len = out->len;
    }
    return 0;
}

static void put_metaspace(const struct tok_pre *p, struct text_str s, bool prepend, struct buf *out)
{
    bool has = s.len > 0 &&
               (s.data[0] == ' ' || (s.len >= p->replacement_len &&
                                     memcmp(s.data, p->replacement, p->replacement_len) == 0));
    if (prepend && !has)
        buf_put(out, p->replacement, p->replacement_len);
    for (size_t i = 0; i < s.len;) {
        const char *space = memchr(s.data + i, ' ', s.len - i);
        size_t plain = space == NULL ? s.len - i : (size_t)(space - s.data) - i;
        buf_put(out, s.data + i, plain);
        if (space != NULL)
            buf_put(out, p->replacement, p->replacement_len);
        i += plain + (space != NULL);
    }
}

/* Spans of a rewritten span: whole, or cut before each replacement. */
static int put_meta_spans(const struct tok_pre *p, const struct buf *out, size_t begin,
                          struct text_spans *spans)
{
    size_t at = begin;
    while (p->split && at < out->len) {
        const char *next =
            memmem(out->data + at + 1, out->len - at - 1, p->replacement, p->replacement_len);
        if (next == NULL)
            break;
        TRY(text_spans_put(spans, (uint32_t)at, (uint32_t)(next - out->data)));
        at = (size_t)(next - out->data);
    }
    return at < out->len ? text_spans_put(spans, (uint32_t)at, (uint32_t)out->len) : 0;
}

/* Rewrites every span into the other buffer. */
static int rewrite(const struct tok_pre *p, struct run *r)
{
    const struct text_spans *in = &r->spans[r->list];
    struct text_spans *spans = &r->spans[r->list ^ 1];
    struct buf *out = &r->text[r->buf ^ 1];
    buf_clear(out);
    spans->n = 0;
    for (size_t i = 0; i < in->n; i++) {
        struct text_str s = { r->s + in->v[i].begin, in->v[i].end - in->v[i].begin };
        size_t begin = out->len;
        if (p->kind == TOK_METASPACE) {
            bool prepend = p->prepend == TOK_PREPEND_ALWAYS ||
                           (p->prepend == TOK_PREPEND_FIRST && r->first && in->v[i].begin == 0);
            put_metaspace(p, s, prepend, out);
        } else {
            if (s.len > 0 && s.data[0] != ' ')
                buf_putc(out, ' ');
            buf_put(out, s.data, s.len);
        }
        TRY(buf_status(out));
        TRY(put_meta_spans(p, out, begin, spans));
    }
    r->buf ^= 1;
    r->list ^= 1;
    r->s = buf_str(out);
    r->len = out->len;
    return 0;
}

static int cut_words(const struct text_tokenizer *t, struct run *r)
{
    r->list = 0;
    r->spans[0].n = 0;
    if (r->len > 0)
        TRY(text_spans_put(&r->spans[0], 0, (uint32_t)r->len));
    for (uint32_t i = 0; i < t->n_pre; i++) {
        if (t->pre[i].kind != TOK_CUT) {
            TRY(rewrite(&t->pre[i], r));
            continue;
        }
        TRY(pretok_split(&t->pre[i].cut, (const uint8_t *)r->s, &r->spans[r->list],
                         &r->spans[r->list ^ 1]));
        r->list ^= 1;
    }
    return 0;
}

static int encode_run(struct tok_work *w, struct run *r, const char *s, size_t len)
{
    if (len == 0)
        return 0;
    r->s = s;
    r->len = len;
    TRY(normalise(w->t, r));
    TRY(cut_words(w->t, r));
    w->s = (const uint8_t *)r->s;
    w->epoch++; /* what the cache points at lies in another text now */
    for (size_t i = 0; i < r->spans[r->list].n; i++)
        TRY(word(w, r->spans[r->list].v[i].begin, r->spans[r->list].v[i].end));
    return 0;
}

/* --- special tokens
 * ---------------------------------------------------------------------------------- */

struct input {
    const char *s;
    size_t len;
    const uint8_t *origin;
    bool parse;
};

static bool word_char(const struct input *in, size_t at)
{
    uint32_t len;
    unsigned f = uni_class((const uint8_t *)in->s + at, in->len - at, &len);
    return (f & (UNI_L | UNI_N | UNI_M | UNI_CONN)) != 0;
}

static bool stands_alone(const struct input *in, size_t begin, size_t end)
{
    size_t before = begin;
    while (before > 0) {
        before--;
        if (((uint8_t)in->s[before] & 0xc0) != 0x80)
            break;
    }
    return (begin == 0 || !word_char(in, before)) && (end >= in->len || !word_char(in, end));
}

/* The longest special token at `at` that may stand there; its id, or NONE. */
static int32_t special_at(const struct text_tokenizer *t, const struct input *in, size_t at,
                          size_t *len)
{
    int32_t found = TEXT_TOKEN_NONE;
    uint32_t node = 0;
    bool trusted = in->parse;
    for (size_t i = at; i < in->len; i++) {
        node = trie_step(&t->specials, node, (uint8_t)in->s[i]);
        if (node == 0)
            break;
        trusted = trusted && (in->origin == NULL || in->origin[i] == 0);
        int32_t id = t->specials.values[node];
        if (id < 0 || (t->types[id] != TEXT_TOKEN_USER_DEFINED && !trusted))
            continue;
        bool alone = t->strip != NULL && (t->strip[id] & TOK_SINGLE_WORD) != 0;
        if (alone && !stands_alone(in, at, i + 1))
            continue;
        found = id;
        *len = i + 1 - at;
    }
    return found;
}

/* Where the run before a special token ends, and where the text behind it goes on. */
static size_t strip_left(const struct input *in, size_t from, size_t at)
{
    while (at > from) {
        size_t back = at - 1;
        uint32_t len;
        while (back > from && ((uint8_t)in->s[back] & 0xc0) == 0x80)
            back--;
        if ((uni_class((const uint8_t *)in->s + back, at - back, &len) & UNI_SPACE) == 0)
            break;
        at = back;
    }
    return at;
}

static size_t strip_right(const struct input *in, size_t at)
{
    uint32_t len;
    while (at < in->len &&
           (uni_class((const uint8_t *)in->s + at, in->len - at, &len) & UNI_SPACE) != 0)
        at += len;
    return at;
}

static int encode_text(struct tok_work *w, struct run *r, const struct input *in)
{
    const struct text_tokenizer *t = w->t;
    size_t from = 0;
    r->first = true;
    for (size_t at = 0; at < in->len;) {
        size_t len = 0;
        int32_t id =
            !t->special_first[(uint8_t)in->s[at]] ? TEXT_TOKEN_NONE : special_at(t, in, at, &len);
        if (id == TEXT_TOKEN_NONE) {
            at++;
            continue;
        }
        uint8_t strip = t->strip == NULL ? 0 : t->strip[id];
        size_t end = (strip & TOK_LSTRIP) != 0 ? strip_left(in, from, at) : at;
        TRY(encode_run(w, r, in->s + from, end - from));
        TRY(text_ids_put(w->out, id));
        at += len;
        if ((strip & TOK_RSTRIP) != 0)
            at = strip_right(in, at);
        from = at;
        r->first = false;
    }
    return encode_run(w, r, in->s + from, in->len - from);
}

static int work_init(struct tok_work *w, const struct text_tokenizer *t, size_t len,
                     struct text_ids *out)
{
    uint32_t slots = 64;
    while (slots < CACHE_SLOTS_MAX && slots < len / 4)
        slots *= 2;
    *w = (struct tok_work){ .t = t, .out = out, .cache_mask = slots - 1, .unk_at = UINT32_MAX };
    w->cache = mem_alloc(slots, sizeof *w->cache);
    return w->cache == NULL ? E_NOMEM : 0;
}

static void work_fini(struct tok_work *w)
{
    mem_free(w->cache);
    mem_free(w->syms);
    mem_free(w->heap);
    mem_free(w->paths);
}

int text_encode(const struct text_tokenizer *t, const char *text, size_t len, const uint8_t *origin,
                unsigned flags, struct text_ids *out)
{
    if (len > TOK_TEXT_MAX)
        return E_LIMIT;
    struct tok_work w;
    struct run r = { 0 };
    struct input in = { text, len, origin, (flags & TEXT_PARSE_SPECIAL) != 0 };
    bool around = (flags & TEXT_ADD_SPECIAL) != 0;
    TRY(work_init(&w, t, len, out));
    buf_init(&r.text[0], TOK_TEXT_MAX);
    buf_init(&r.text[1], TOK_TEXT_MAX);
    int rc = 0;
    for (uint32_t i = 0; around && i < t->n_before && rc >= 0; i++)
        rc = text_ids_put(out, t->before[i]);
    if (rc >= 0)
        rc = encode_text(&w, &r, &in);
    for (uint32_t i = 0; around && i < t->n_after && rc >= 0; i++)
        rc = text_ids_put(out, t->after[i]);
    for (int i = 0; i < 2; i++) {
        buf_fini(&r.text[i]);
        text_spans_fini(&r.spans[i]);
    }
    work_fini(&w);
    return rc;
}

/* --- facts
 * -------------------------------------------------------------------------------------------- */

static bool has(const struct text_tokenizer *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->n_tokens;
}

uint32_t text_vocab_size(const struct text_tokenizer *t) { return t->n_tokens; }
const char *text_tokenizer_kind(const struct text_tokenizer *t) { return t->kind; }
int32_t text_bos(const struct text_tokenizer *t) { return t->bos; }
int32_t text_eos(const struct text_tokenizer *t) { return t->eos; }
int32_t text_eot(const struct text_tokenizer *t) { return t->eot; }
bool text_is_end(const struct text_tokenizer *t, int32_t id) { return has(t, id) && t->is_end[id]; }

int32_t text_first_token(const struct text_tokenizer *t)
{
    struct text_ids l;
    text_ids_init(&l, 8);
    int rc = text_encode(t, "", 0, NULL, TEXT_ADD_SPECIAL, &l);
    int32_t first = rc == 0 && l.n > 0 && l.ids[0] == t->bos ? l.ids[0] : TEXT_TOKEN_NONE;
    text_ids_fini(&l);
    return first;
}

void text_set_end(struct text_tokenizer *t, int32_t id)
{
    if (has(t, id))
        t->is_end[id] = true;
}

bool text_is_control(const struct text_tokenizer *t, int32_t id)
{
    return has(t, id) && (t->types[id] == TEXT_TOKEN_CONTROL || t->types[id] == TEXT_TOKEN_UNKNOWN);
}

int32_t text_token_id(const struct text_tokenizer *t, const char *token, size_t len)
{
    uint32_t id;
    return len > 0 && map_get(&t->by_stored, token, len, &id) ? (int32_t)id : TEXT_TOKEN_NONE;
}

struct text_str text_token_stored(const struct text_tokenizer *t, int32_t id)
{
    return has(t, id) ? t->stored[id] : (struct text_str){ "", 0 };
}
