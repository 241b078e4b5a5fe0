/* Unigram (Kudo 2018): the way through a segment whose tokens' scores (log probabilities) add up
 * highest, by Viterbi over the bytes; a trie gives the tokens that begin at a place. A character no
 * token covers costs the lowest score less 10, as in SentencePiece. Ties: the earlier start, then
 * the shorter token, is found first and kept. */
#include <math.h>

#include "base/utf8.h"
#include "text/tok.h"

#define UNREACHED (-HUGE_VAL)

static int room(struct tok_work *w, size_t n)
{
    if (n <= w->cap_paths)
        return 0;
    struct tok_path *paths = mem_realloc(w->paths, n + n / 2, sizeof *paths);
    if (paths == NULL)
        return E_NOMEM;
    w->paths = paths;
    w->cap_paths = n + n / 2;
    return 0;
}

static void reach(struct tok_path *to, double score, uint32_t from, int32_t id)
{
    if (score > to->score)
        *to = (struct tok_path){ score, from, id };
}

static void forward(struct tok_work *w, const uint8_t *s, uint32_t len)
{
    const struct text_tokenizer *t = w->t;
    struct tok_path *p = w->paths;
    for (uint32_t i = 1; i <= len; i++)
        p[i].score = UNREACHED;
    p[0] = (struct tok_path){ 0, 0, TEXT_TOKEN_NONE };
    for (uint32_t i = 0, c; i < len; i += c) {
        uint32_t cp, node = 0;
        bool covered = false; /* some token is just this character */
        c = (uint32_t)utf8_next((const char *)s + i, len - i, &cp);
        for (uint32_t k = i; k < len; k++) {
            node = trie_step(&t->words, node, s[k]);
            if (node == 0)
                break;
            int32_t id = t->words.values[node];
            if (id < 0)
                continue;
            reach(&p[k + 1], p[i].score + (double)t->scores[id], i, id);
            covered |= k + 1 == i + c;
        }
        if (!covered)
            reach(&p[i + c], p[i].score + (double)t->unk_score, i, TEXT_TOKEN_NONE);
    }
}

int tok_unigram_segment(struct tok_work *w, uint32_t at, uint32_t len)
{
    TRY(room(w, (size_t)len + 1));
    forward(w, w->s + at, len);
    struct tok_path *p = w->paths;
    uint32_t first = UINT32_MAX; /* the path turned round: from[] becomes "next" */
    for (uint32_t i = len; i > 0;) {
        uint32_t from = p[i].from;
        int32_t id = p[i].id;
        p[i].from = first; /* where the token after this one ends */
        first = i;
        p[i].id = id;
        i = from;
    }
    for (uint32_t begin = 0, end = first; begin < len; begin = end, end = p[end].from) {
        if (p[end].id != TEXT_TOKEN_NONE)
            TRY(text_ids_put(w->out, p[end].id));
        else
            TRY(tok_put_unknown(w, at + begin, end - begin));
    }
    return 0;
}
