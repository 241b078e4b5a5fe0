/* Merging: neighbours become one token, the best pair first, until no pair is in the tables.
 *
 * BPE (Sennrich et al. 2016): best is the lowest rank in the list of merges. SentencePiece's BPE
 * (Kudo, Richardson 2018): best is the highest score of the token the two would make. Ties:
 * leftmost.
 *
 * Few symbols (nearly always): an array and a scan for the best, which beats any queue. Many: a
 * linked list of symbols and a heap of (rank, place); entries gone stale are dropped when they
 * surface. So a word of n symbols costs O(n log n), never n^2, and nothing recurses. */
#include <string.h>

#include "base/utf8.h"
#include "text/tok.h"

#define FEW 48
#define END UINT32_MAX

int32_t tok_text_id(const struct text_tokenizer *t, const uint8_t *s, uint32_t len)
{
    uint32_t id;
    if (len == 1 && s[0] < 0x80)
        return t->ascii_ids[s[0]];
    return map_get(&t->by_text, s, len, &id) ? (int32_t)id : TEXT_TOKEN_NONE;
}

const struct tok_pair *tok_pair_find(const struct text_tokenizer *t, int32_t left, int32_t right)
{
    if (left < 0 || right < 0 || t->n_pair_slots == 0)
        return NULL;
    uint64_t key = ((uint64_t)left + 1) << 32 | (uint32_t)right;
    uint32_t at = (uint32_t)((key * 0x9e3779b97f4a7c15u) >> 32);
    for (;; at++) {
        const struct tok_pair *p = &t->pairs[at & (t->n_pair_slots - 1)];
        if (p->key == key)
            return p;
        if (p->key == 0)
            return NULL;
    }
}

/* What a and the symbol behind it would become. */
static void look_up(struct tok_work *w, struct tok_sym *a, const struct tok_sym *b)
{
    const struct text_tokenizer *t = w->t;
    a->rank = TOK_NO_RANK;
    if (t->algo == TEXT_BPE) {
        const struct tok_pair *p = tok_pair_find(t, a->id, b->id);
        if (p != NULL) {
            a->rank = p->rank;
            a->made = p->id;
        }
        return;
    }
    uint32_t len = a->len + b->len;
    if (len > t->len_max || !t->joins[w->s[b->at - 1]][w->s[b->at]])
        return;
    int32_t id = tok_text_id(t, w->s + a->at, len);
    if (id != TEXT_TOKEN_NONE) {
        a->rank = t->order[id];
        a->made = id;
    }
}

/* --- symbols -------------------------------------------------------------------------------------
 */

static int room(struct tok_work *w, size_t n)
{
    if (n <= w->cap_syms)
        return 0;
    struct tok_sym *syms = mem_realloc(w->syms, n + n / 2, sizeof *syms);
    if (syms == NULL)
        return E_NOMEM;
    w->syms = syms;
    w->cap_syms = n + n / 2;
    return 0;
}

/* A character that is no token becomes its bytes at once where tokens for all of them exist (as the
 * `tokenizers` library does); SentencePiece keeps it whole, since a longer token may still take it.
 */
static uint32_t put_char(const struct tok_work *w, uint32_t n, uint32_t at, uint32_t len)
{
    const struct text_tokenizer *t = w->t;
    int32_t id = tok_text_id(t, w->s + at, len);
    bool bytes = id == TEXT_TOKEN_NONE && t->algo == TEXT_BPE && t->byte_fallback;
    for (uint32_t i = 0; i < len && bytes; i++)
        bytes = t->byte_ids[w->s[at + i]] != TEXT_TOKEN_NONE;
    if (!bytes) {
        w->syms[n] = (struct tok_sym){ .at = at, .len = len, .id = id };
        return n + 1;
    }
    for (uint32_t i = 0; i < len; i++, n++)
        w->syms[n] = (struct tok_sym){ .at = at + i, .len = 1, .id = t->byte_ids[w->s[at + i]] };
    return n;
}

static int make_symbols(struct tok_work *w, uint32_t at, uint32_t len, uint32_t *n)
{
    TRY(room(w, len));
    *n = 0;
    if (w->t->byte_level) {
        for (uint32_t i = 0; i < len; i++)
            w->syms[i] =
                (struct tok_sym){ .at = at + i, .len = 1, .id = w->t->byte_ids[w->s[at + i]] };
        *n = len;
        return 0;
    }
    for (uint32_t i = 0; i < len;) {
        uint32_t cp;
        uint32_t c = (uint32_t)utf8_next((const char *)w->s + at + i, len - i, &cp);
        *n = put_char(w, *n, at + i, c);
        i += c;
    }
    return 0;
}

/* --- few symbols
 * ----------------------------------------------------------------------------------- */

static uint32_t merge_few(struct tok_work *w, uint32_t n)
{
    struct tok_sym *s = w->syms;
    for (uint32_t i = 0; i + 1 < n; i++)
        look_up(w, &s[i], &s[i + 1]);
    while (n > 1) {
        uint32_t best = 0;
        for (uint32_t i = 1; i + 1 < n; i++)
            if (s[i].rank < s[best].rank)
                best = i;
        if (s[best].rank == TOK_NO_RANK)
            break;
        s[best].len += s[best + 1].len;
        s[best].id = s[best].made;
        n--;
        memmove(&s[best + 1], &s[best + 2], (n - best - 1) * sizeof *s);
        if (best + 1 < n)
            look_up(w, &s[best], &s[best + 1]);
        if (best > 0)
            look_up(w, &s[best - 1], &s[best]);
    }
    return n;
}

/* --- many symbols
 * ---------------------------------------------------------------------------------- */

/* A heap of four children a node: fewer levels, and the children share a cache line. */
static void sift_down(uint64_t *heap, size_t n, size_t at)
{
    uint64_t key = heap[at];
    for (;;) {
        size_t first = at * 4 + 1, least = first;
        if (first >= n)
            break;
        for (size_t c = first + 1; c < first + 4 && c < n; c++)
            if (heap[c] < heap[least])
                least = c;
        if (heap[least] >= key)
            break;
        heap[at] = heap[least];
        at = least;
    }
    heap[at] = key;
}

static int push(struct tok_work *w, uint32_t rank, uint32_t place)
{
    if (rank == TOK_NO_RANK)
        return 0;
    if (w->n_heap == w->cap_heap) {
        size_t cap = w->cap_heap * 2 + 256;
        uint64_t *heap = mem_realloc(w->heap, cap, sizeof *heap);
        if (heap == NULL)
            return E_NOMEM;
        w->heap = heap;
        w->cap_heap = cap;
    }
    uint64_t key = (uint64_t)rank << 32 | place;
    size_t at = w->n_heap++;
    while (at > 0 && w->heap[(at - 1) / 4] > key) {
        w->heap[at] = w->heap[(at - 1) / 4];
        at = (at - 1) / 4;
    }
    w->heap[at] = key;
    return 0;
}

static uint64_t pop(struct tok_work *w)
{
    uint64_t top = w->heap[0];
    w->n_heap--;
    if (w->n_heap > 0) {
        w->heap[0] = w->heap[w->n_heap];
        sift_down(w->heap, w->n_heap, 0);
    }
    return top;
}

/* s[at] takes in the symbol behind it; both neighbours' pairs are looked up anew. */
static int merge_at(struct tok_work *w, uint32_t at)
{
    struct tok_sym *s = w->syms, *a = &s[at], *b = &s[a->next];
    a->len += b->len;
    a->id = a->made;
    a->next = b->next;
    a->rank = b->rank = TOK_NO_RANK; /* b is gone: its entries in the heap are stale */
    if (a->next != END) {
        s[a->next].prev = at;
        look_up(w, a, &s[a->next]);
        TRY(push(w, a->rank, at));
    }
    if (a->prev != END) {
        look_up(w, &s[a->prev], a);
        TRY(push(w, s[a->prev].rank, a->prev));
    }
    return 0;
}

static int merge_many(struct tok_work *w, uint32_t *n)
{
    struct tok_sym *s = w->syms;
    w->n_heap = 0;
    for (uint32_t i = 0; i < *n; i++) {
        s[i].prev = i == 0 ? END : i - 1;
        s[i].next = i + 1 == *n ? END : i + 1;
        s[i].rank = TOK_NO_RANK;
        if (i + 1 == *n)
            break;
        look_up(w, &s[i], &s[i + 1]);
        TRY(push(w, s[i].rank, i));
    }
    while (w->n_heap > 0) {
        uint64_t top = pop(w);
        uint32_t at = (uint32_t)top;
        if (s[at].rank == (uint32_t)(top >> 32))
            TRY(merge_at(w, at));
    }
    uint32_t kept = 0;
    for (uint32_t i = 0, next; i != END; i = next) {
        next = s[i].next;
        s[kept++] = s[i]; /* kept <= i, so nothing still to be read is overwritten */
    }
    *n = kept;
    return 0;
}

/* --- a segment
 * ------------------------------------------------------------------------------------- */

int tok_merge_segment(struct tok_work *w, uint32_t at, uint32_t len)
{
    const struct text_tokenizer *t = w->t;
    uint32_t n;
    TRY(make_symbols(w, at, len, &n));
    if (n <= FEW)
        n = merge_few(w, n);
    else
        TRY(merge_many(w, &n));
    for (uint32_t i = 0; i < n; i++) {
        const struct tok_sym *s = &w->syms[i];
        if (s->id >= 0 && (uint32_t)s->id < t->n_tokens)
            TRY(text_ids_put(w->out, s->id));
        else
            TRY(tok_put_unknown(w, s->at, s->len));
    }
    return 0;
}
