/* From a description to the tables encoding and decoding use. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/utf8.h"
#include "text/tok.h"

int tok_new(struct text_tokenizer **out)
{
    struct text_tokenizer *t = mem_alloc(1, sizeof *t);
    if (t == NULL)
        return E_NOMEM;
    arena_init(&t->mem, SIZE_MAX / 2);
    t->bos = t->eos = t->eot = t->unk = TEXT_TOKEN_NONE;
    t->merge_sep = ' ';
    t->word_start = t->word_inner = "";
    t->word_chars_max = UINT32_MAX;
    *out = t;
    return 0;
}

void text_tokenizer_destroy(struct text_tokenizer *t)
{
    if (t == NULL)
        return;
    for (uint32_t i = 0; i < t->n_norms; i++)
        pretok_regex_destroy(t->norms[i].regex);
    for (uint32_t i = 0; i < t->n_pre; i++)
        pretok_regex_destroy(t->pre[i].cut.regex);
    map_fini(&t->by_stored);
    map_fini(&t->by_text);
    trie_fini(&t->words);
    trie_fini(&t->specials);
    mem_free(t->pairs);
    arena_fini(&t->mem);
    mem_free(t);
}

/* --- tokens --------------------------------------------------------------------------------------
 */

static int check_id(const struct text_vocab *v, const char *name, int32_t id, struct err *err)
{
    if (id != TEXT_TOKEN_NONE && (id < 0 || (uint32_t)id >= v->n_tokens))
        return err_set_field(err, E_FORMAT, name,
                             "%s: id %d is outside the vocabulary of %u tokens", name, id,
                             v->n_tokens);
    return 0;
}

int tok_copy_tokens(struct text_tokenizer *t, const struct text_vocab *v, struct err *err)
{
    if (v->n_tokens == 0 || v->n_tokens > INT32_MAX / 2 || v->tokens == NULL)
        return err_set_field(err, E_FORMAT, "tokens",
                             "tokens: a vocabulary of %u tokens is no "
                             "vocabulary; convert the model again",
                             v->n_tokens);
    TRY(check_id(v, "bos", v->bos, err));
    TRY(check_id(v, "eos", v->eos, err));
    TRY(check_id(v, "eot", v->eot, err));
    TRY(check_id(v, "unk", v->unk, err));
    TRY(check_id(v, "cls", v->cls, err));
    TRY(check_id(v, "sep", v->sep, err));
    t->algo = v->algo;
    t->n_tokens = v->n_tokens;
    t->bos = v->bos;
    t->eos = v->eos;
    t->eot = v->eot;
    t->unk = v->unk;
    t->stored = arena_alloc(&t->mem, v->n_tokens, sizeof *t->stored);
    t->types = arena_bytes(&t->mem, v->n_tokens);
    if (t->stored == NULL || t->types == NULL)
        return E_NOMEM;
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        if (v->tokens[i].len > UINT32_MAX / 2)
            return err_set_field(err, E_FORMAT, "tokens", "tokens[%u]: %zu bytes are too many", i,
                                 v->tokens[i].len);
        char *copy = arena_strndup(&t->mem, v->tokens[i].data, v->tokens[i].len);
        if (copy == NULL)
            return E_NOMEM;
        t->stored[i] = (struct text_str){ copy, v->tokens[i].len };
        t->types[i] = v->types == NULL ? TEXT_TOKEN_NORMAL : (uint8_t)v->types[i];
    }
    return 0;
}

/* GPT-2's alphabet: printable Latin-1 stands for itself, the other 68 bytes for U+0100 and up. */
static void byte_alphabet(int16_t to_byte[324])
{
    int next = 256;
    for (int i = 0; i < 324; i++)
        to_byte[i] = -1;
    for (int b = 0; b < 256; b++) {
        bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        to_byte[printable ? b : next++] = (int16_t)b;
    }
}

/* The bytes a stored token of a byte-level vocabulary means; false if it is not in that alphabet.
 */
static bool decode_bytes(const int16_t to_byte[324], struct text_str s, char *out, size_t *n)
{
    *n = 0;
    for (size_t i = 0; i < s.len;) {
        uint32_t cp;
        i += utf8_next(s.data + i, s.len - i, &cp);
        if (cp >= 324 || to_byte[cp] < 0)
            return false;
        out[(*n)++] = (char)to_byte[cp];
    }
    return true;
}

static size_t spaces_for_marks(struct text_str s, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len;) {
        bool mark = s.len - i >= 3 && memcmp(s.data + i, TOK_SPACE, 3) == 0;
        out[n++] = mark ? ' ' : s.data[i];
        i += mark ? 3 : 1;
    }
    return n;
}

/* "<0x0A>" -> 10; -1 if it is not of that form. */
static int byte_of_name(struct text_str s)
{
    static const char digits[] = "0123456789ABCDEF";
    if (s.len != 6 || memcmp(s.data, "<0x", 3) != 0 || s.data[5] != '>')
        return -1;
    const char *high = memchr(digits, s.data[3], 16), *low = memchr(digits, s.data[4], 16);
    return high == NULL || low == NULL ? -1 : (int)((high - digits) * 16 + (low - digits));
}

static struct text_str wordpiece_text(const struct text_tokenizer *t, struct text_str s, char *out)
{
    size_t inner = strlen(t->word_inner), start = strlen(t->word_start);
    bool hf = inner > 0;
    if (hf && s.len > inner && memcmp(s.data, t->word_inner, inner) == 0)
        return (struct text_str){ s.data + inner, s.len - inner };
    if (!hf && (s.len < start || memcmp(s.data, t->word_start, start) != 0))
        return s;
    size_t skip = hf ? 0 : start;
    out[0] = ' ';
    memcpy(out + 1, s.data + skip, s.len - skip);
    return (struct text_str){ out, s.len - skip + 1 };
}

/* What token i looks like inside a text. */
static int make_piece(struct text_tokenizer *t, const int16_t to_byte[324], uint32_t i)
{
    struct text_str s = t->stored[i];
    t->piece[i] = s;
    uint8_t type = t->types[i];
    if (type == TEXT_TOKEN_CONTROL || type == TEXT_TOKEN_UNKNOWN || type == TEXT_TOKEN_USER_DEFINED)
        return 0;
    char *out = arena_bytes(&t->mem, s.len + 2);
    if (out == NULL)
        return E_NOMEM;
    size_t n;
    int byte = type == TEXT_TOKEN_BYTE ? byte_of_name(s) : -1;
    if (byte >= 0) {
        out[0] = (char)byte;
        t->piece[i] = (struct text_str){ out, 1 };
    } else if (t->byte_level) {
        if (decode_bytes(to_byte, s, out, &n))
            t->piece[i] = (struct text_str){ out, n };
    } else if (t->algo == TEXT_WORDPIECE) {
        t->piece[i] = wordpiece_text(t, s, out);
    } else {
        t->piece[i] = (struct text_str){ out, spaces_for_marks(s, out) };
    }
    return 0;
}

/* Control, unknown and byte tokens are never what text becomes (F-45), as in SentencePiece. */
static bool from_text(const struct text_tokenizer *t, uint32_t i)
{
    uint8_t type = t->types[i];
    return type == TEXT_TOKEN_NORMAL || type == TEXT_TOKEN_USER_DEFINED ||
           type == TEXT_TOKEN_UNUSED;
}

static struct text_str text_key(const struct text_tokenizer *t, uint32_t i)
{
    return t->byte_level ? t->piece[i] : t->stored[i];
}

static int index_tokens(struct text_tokenizer *t)
{
    TRY(map_init(&t->by_stored, t->n_tokens));
    TRY(map_init(&t->by_text, t->n_tokens));
    for (uint32_t i = 0; i < t->n_tokens; i++) {
        struct text_str s = t->stored[i], key = text_key(t, i);
        if (s.len > 0)
            TRY(map_put(&t->by_stored, s.data, s.len, i, NULL));
        if (!from_text(t, i) || key.len == 0)
            continue;
        TRY(map_put(&t->by_text, key.data, key.len, i, NULL));
        if (key.len > t->len_max)
            t->len_max = (uint32_t)key.len;
    }
    return 0;
}

static void index_bytes(struct text_tokenizer *t)
{
    for (int b = 0; b < 256; b++) {
        uint8_t c = (uint8_t)b;
        uint32_t id;
        bool known = map_get(&t->by_text, &c, 1, &id);
        t->byte_ids[b] = t->byte_level && known ? (int32_t)id : TEXT_TOKEN_NONE;
        if (b < 128)
            t->ascii_ids[b] = known ? (int32_t)id : TEXT_TOKEN_NONE;
    }
    for (uint32_t i = 0; i < t->n_tokens && !t->byte_level; i++) {
        int byte = t->types[i] == TEXT_TOKEN_BYTE ? byte_of_name(t->stored[i]) : -1;
        if (byte >= 0 && t->byte_ids[byte] == TEXT_TOKEN_NONE) {
            t->byte_ids[byte] = (int32_t)i;
            t->byte_fallback = true;
        }
    }
}

/* --- merges --------------------------------------------------------------------------------------
 */

static void put_pair(struct text_tokenizer *t, struct tok_pair p)
{
    uint32_t at = (uint32_t)((p.key * 0x9e3779b97f4a7c15u) >> 32);
    for (;; at++) {
        struct tok_pair *slot = &t->pairs[at & (t->n_pair_slots - 1)];
        if (slot->key == p.key)
            return; /* listed twice: the first, better, rank counts */
        if (slot->key != 0)
            continue;
        *slot = p;
        t->n_pairs++;
        return;
    }
}

/* The id of a half or a result of a merge. Strings that are no token (some files prune
 * vocabularies) get an id behind the last token: they may be merged further and fall into bytes at
 * the end. */
static int intern(struct text_tokenizer *t, struct map *extra, struct text_str s, int32_t *id)
{
    uint32_t found;
    if (map_get(&t->by_stored, s.data, s.len, &found) || map_get(extra, s.data, s.len, &found)) {
        *id = (int32_t)found;
        return 0;
    }
    char *copy = arena_strndup(&t->mem, s.data, s.len);
    if (copy == NULL)
        return E_NOMEM;
    *id = (int32_t)(t->n_tokens + t->n_extra++);
    return map_put(extra, copy, s.len, (uint32_t)*id, NULL);
}

static int add_merge(struct text_tokenizer *t, struct map *extra, struct text_str line,
                     uint32_t rank, struct buf *joined)
{
    const char *sep = line.len < 3 ? NULL : memchr(line.data + 1, t->merge_sep, line.len - 1);
    size_t left = sep == NULL ? 0 : (size_t)(sep - line.data);
    if (sep == NULL || left + 1 >= line.len)
        return E_FORMAT;
    struct text_str a = { line.data, left }, b = { sep + 1, line.len - left - 1 }, c;
    int32_t ids[3];
    buf_clear(joined);
    buf_put(joined, a.data, a.len);
    buf_put(joined, b.data, b.len);
    TRY(buf_status(joined));
    c = (struct text_str){ joined->data, joined->len };
    TRY(intern(t, extra, a, &ids[0]));
    TRY(intern(t, extra, b, &ids[1]));
    TRY(intern(t, extra, c, &ids[2]));
    put_pair(t, (struct tok_pair){ ((uint64_t)ids[0] + 1) << 32 | (uint32_t)ids[1], rank, ids[2] });
    return 0;
}

/* Bytes on both sides of the border a merge closes. */
static void note_join(struct text_tokenizer *t, const int16_t to_byte[324], struct text_str line)
{
    const char *sep = memchr(line.data + 1, t->merge_sep, line.len - 1);
    size_t left = (size_t)(sep - line.data);
    const char *right = sep + 1;
    if (!t->byte_level) {
        size_t right_len = line.len - left - 1;
        bool right_mark = right_len >= 3 && memcmp(right, TOK_SPACE, 3) == 0;
        bool left_mark = left >= 3 && memcmp(sep - 3, TOK_SPACE, 3) == 0;
        if (right_mark && !left_mark)
            t->cut_spaces = false;
        t->joins[(uint8_t)sep[-1]][(uint8_t)*right] = 1;
        return;
    }
    size_t back = left;
    do
        back--;
    while (back > 0 && ((uint8_t)line.data[back] & 0xc0) == 0x80);
    uint32_t a, b;
    utf8_next(line.data + back, left - back, &a);
    utf8_next(right, line.len - left - 1, &b);
    if (a < 324 && b < 324 && to_byte[a] >= 0 && to_byte[b] >= 0)
        t->joins[to_byte[a]][to_byte[b]] = 1;
}

static int build_merges(struct text_tokenizer *t, const struct text_vocab *v,
                        const int16_t to_byte[324], struct err *err)
{
    if (v->n_merges > (1u << 26))
        return err_set_field(err, E_LIMIT, "merges", "merges: %u are more than 2^26", v->n_merges);
    uint32_t slots = 16;
    while (slots < v->n_merges * 2)
        slots *= 2;
    t->pairs = mem_alloc(slots, sizeof *t->pairs);
    if (t->pairs == NULL)
        return E_NOMEM;
    t->n_pair_slots = slots;
    struct map extra;
    struct buf joined;
    TRY(map_init(&extra, 0));
    buf_init(&joined, SIZE_MAX / 2);
    int rc = 0;
    for (uint32_t i = 0; i < v->n_merges && rc >= 0; i++) {
        rc = add_merge(t, &extra, v->merges[i], i, &joined);
        if (rc == E_FORMAT)
            err_set_field(err, rc, "merges",
                          "merges[%u]: two tokens with a space between are wanted; "
                          "convert the model again",
                          i);
        if (rc >= 0)
            note_join(t, to_byte, v->merges[i]);
    }
    map_fini(&extra);
    buf_fini(&joined);
    return rc;
}

/* --- scores --------------------------------------------------------------------------------------
 */

static int by_score(const void *a, const void *b, void *scores)
{
    float x = ((const float *)scores)[*(const uint32_t *)a];
    float y = ((const float *)scores)[*(const uint32_t *)b];
    return (x < y) - (x > y);
}

static int build_scores(struct text_tokenizer *t, const struct text_vocab *v, struct err *err)
{
    if (v->scores == NULL)
        return err_set_field(err, E_FORMAT, "scores",
                             "scores are missing; convert the model again");
    t->scores = arena_alloc(&t->mem, t->n_tokens, sizeof *t->scores);
    t->order = arena_alloc(&t->mem, t->n_tokens, sizeof *t->order);
    uint32_t *ids = mem_alloc(t->n_tokens, sizeof *ids);
    if (t->scores == NULL || t->order == NULL || ids == NULL) {
        mem_free(ids);
        return E_NOMEM;
    }
    float least = 0;
    for (uint32_t i = 0; i < t->n_tokens; i++) {
        if (!isfinite(v->scores[i])) {
            mem_free(ids);
            return err_set_field(err, E_FORMAT, "scores",
                                 "scores[%u] is not finite; convert the model again", i);
        }
        t->scores[i] = v->scores[i];
        least = v->scores[i] < least ? v->scores[i] : least;
        ids[i] = i;
    }
    t->unk_score = least - 10;
    qsort_r(ids, t->n_tokens, sizeof *ids, by_score, t->scores);
    for (uint32_t i = 0; i < t->n_tokens; i++) {
        bool tie = i > 0 && t->scores[ids[i]] == t->scores[ids[i - 1]];
        t->order[ids[i]] = tie ? t->order[ids[i - 1]] : i;
    }
    mem_free(ids);
    return 0;
}

/* Borders between characters inside tokens: only there may a segment not be cut. */
static void note_token_joins(struct text_tokenizer *t)
{
    for (uint32_t i = 0; i < t->n_tokens; i++) {
        struct text_str s = t->stored[i];
        if (!from_text(t, i))
            continue;
        for (size_t k = 1; k < s.len; k++) {
            if (((uint8_t)s.data[k] & 0xc0) == 0x80)
                continue;
            t->joins[(uint8_t)s.data[k - 1]][(uint8_t)s.data[k]] = 1;
            bool mark = s.len - k >= 3 && memcmp(s.data + k, TOK_SPACE, 3) == 0;
            if (mark && (k < 3 || memcmp(s.data + k - 3, TOK_SPACE, 3) != 0))
                t->cut_spaces = false;
        }
    }
}

/* --- the rest ------------------------------------------------------------------------------------
 */

static int build_words(struct text_tokenizer *t)
{
    TRY(trie_init(&t->words));
    for (uint32_t i = 0; i < t->n_tokens; i++)
        if (from_text(t, i) && t->stored[i].len > 0)
            TRY(trie_put(&t->words, t->stored[i].data, t->stored[i].len, (int32_t)i));
    return 0;
}

static int build_specials(struct text_tokenizer *t, struct err *err)
{
    TRY(trie_init(&t->specials));
    for (uint32_t i = 0; i < t->n_tokens; i++) {
        struct text_str s = t->stored[i];
        bool special = t->types[i] == TEXT_TOKEN_CONTROL || t->types[i] == TEXT_TOKEN_UNKNOWN ||
                       t->types[i] == TEXT_TOKEN_USER_DEFINED;
        if (!special || s.len == 0)
            continue;
        if (s.len > TOK_SPECIAL_LEN_MAX)
            return err_set_field(err, E_LIMIT, "tokens",
                                 "tokens[%u]: a special token of %zu bytes, at "
                                 "most %d are allowed",
                                 i, s.len, TOK_SPECIAL_LEN_MAX);
        TRY(trie_put(&t->specials, s.data, s.len, (int32_t)i));
        t->special_first[(uint8_t)s.data[0]] = true;
    }
    return 0;
}

/* Names that end a turn in the chat formats in use. */
static const char *const END_NAMES[] = {
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot|>",
    "<|eom|>",
    "<|return|>",
    "<|call|>",
    "<EOT>",
    "_<EOT>",
    "<eos>",
    "<|end_of_turn|>",
    "<end_of_utterance>",
    "<|endofturn|>",
    "<|END_OF_TURN_TOKEN|>",
    "[EOT]",
    "<|end▁of▁sentence|>",
    "<｜end▁of▁sentence｜>",
    "<|turn_end|>",
    "<turn|>",
    "[EOS]",
    "</s>",
};

/* These are control tokens even where a file calls them user-defined: a message must not forge
 * them. */
static void make_ends_control(struct text_tokenizer *t)
{
    for (uint32_t i = 0; i < t->n_tokens; i++)
        for (size_t k = 0; t->types[i] == TEXT_TOKEN_USER_DEFINED && k < COUNT_OF(END_NAMES); k++)
            if (t->stored[i].len == strlen(END_NAMES[k]) &&
                memcmp(t->stored[i].data, END_NAMES[k], t->stored[i].len) == 0)
                t->types[i] = TEXT_TOKEN_CONTROL;
}

static int build_ends(struct text_tokenizer *t)
{
    t->is_end = arena_alloc(&t->mem, t->n_tokens, sizeof *t->is_end);
    if (t->is_end == NULL)
        return E_NOMEM;
    uint32_t id, other;
    for (size_t k = 0; k < COUNT_OF(END_NAMES); k++)
        if (map_get(&t->by_stored, END_NAMES[k], strlen(END_NAMES[k]), &id))
            t->is_end[id] = t->types[id] == TEXT_TOKEN_CONTROL;
    /* In the harmony format <|end|> ends a message, and the turn goes on to <|return|> or <|call|>.
     */
    if (map_get(&t->by_stored, "<|return|>", 10, &other) &&
        map_get(&t->by_stored, "<|call|>", 8, &other) && map_get(&t->by_stored, "<|end|>", 7, &id))
        t->is_end[id] = false;
    if (t->eos >= 0)
        t->is_end[t->eos] = true;
    if (t->eot >= 0)
        t->is_end[t->eot] = true;
    return 0;
}

int tok_build(struct text_tokenizer *t, const struct text_vocab *v, struct err *err)
{
    int16_t to_byte[324];
    byte_alphabet(to_byte);
    make_ends_control(t);
    t->piece = arena_alloc(&t->mem, t->n_tokens, sizeof *t->piece);
    if (t->piece == NULL)
        return E_NOMEM;
    for (uint32_t i = 0; i < t->n_tokens; i++)
        TRY(make_piece(t, to_byte, i));
    TRY(index_tokens(t));
    index_bytes(t);
    t->cut_spaces = !t->byte_level;
    if (t->algo == TEXT_SPM || t->algo == TEXT_UNIGRAM) {
        TRY(build_scores(t, v, err));
        note_token_joins(t);
    }
    if (t->algo == TEXT_BPE)
        TRY(build_merges(t, v, to_byte, err));
    if (t->algo == TEXT_UNIGRAM || t->algo == TEXT_WORDPIECE)
        TRY(build_words(t));
    TRY(build_specials(t, err));
    return build_ends(t);
}
