/* WordPiece (Wu et al. 2016; BERT): the longest token at the start of the word, then the longest
 * inner token ("##ing") at the rest; a word with a rest that nothing matches is unk as a whole.
 *
 * GGUF files turn the marks round: a token at the start of a word begins with U+2581, an inner one
 * with nothing. Cost: word length x longest token, where words are at most word_chars_max
 * characters. */
#include <string.h>

#include "base/utf8.h"
#include "text/tok.h"

static uint32_t count_chars(const uint8_t *s, uint32_t len)
{
    uint32_t n = 0, cp;
    for (uint32_t i = 0; i < len; n++)
        i += (uint32_t)utf8_next((const char *)s + i, len - i, &cp);
    return n;
}

/* The longest token that is mark + a beginning of s; its length without the mark, 0 if none. */
static uint32_t longest(const struct text_tokenizer *t, const char *mark, const uint8_t *s,
                        uint32_t len, int32_t *id)
{
    uint32_t node = 0, found = 0;
    for (const char *m = mark; *m != '\0'; m++) {
        node = trie_step(&t->words, node, (uint8_t)*m);
        if (node == 0)
            return 0;
    }
    for (uint32_t i = 0; i < len; i++) {
        node = trie_step(&t->words, node, s[i]);
        if (node == 0)
            break;
        if (t->words.values[node] >= 0) {
            found = i + 1;
            *id = t->words.values[node];
        }
    }
    return found;
}

static int put_unk(struct tok_work *w)
{
    return w->t->unk == TEXT_TOKEN_NONE ? 0 : text_ids_put(w->out, w->t->unk);
}

int tok_wordpiece_word(struct tok_work *w, uint32_t at, uint32_t len)
{
    const struct text_tokenizer *t = w->t;
    if (len > t->word_chars_max && count_chars(w->s + at, len) > t->word_chars_max)
        return put_unk(w);
    uint32_t n_before = w->out->n;
    const char *mark = t->word_start;
    for (uint32_t i = 0, n; i < len; i += n) {
        int32_t id = TEXT_TOKEN_NONE;
        n = longest(t, mark, w->s + at + i, len - i, &id);
        if (n == 0) {
            w->out->n = n_before;
            return put_unk(w);
        }
        TRY(text_ids_put(w->out, id));
        mark = t->word_inner;
    }
    return 0;
}
