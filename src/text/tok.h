/* text/tok.h - the inside of a tokenizer, shared by the files of this folder.
 *
 * Idea: a tokenizer is a pipeline described by data; text_tokenizer_create fills it from a struct
 * text_vocab (GGUF), text_tokenizer_create_hf from a tokenizer.json, and both end in tok_build,
 * which makes the look-up tables.
 *
 *     text --tok_special--> runs of plain text | special ids
 *     run  --norms--> text --pre--> words --cut--> segments --[cache]--> merge | unigram |
 * wordpiece
 *
 * A *word* is what pre-tokenisers give. A *segment* is a part of it that no token can reach over:
 * for each pair of bytes it is known whether a merge (or a token) ever spans it, so words of any
 * length mostly fall into short segments, and results of short segments are remembered for the
 * call.
 *
 * Invariants after tok_build: every id in the tables is below n_tokens (ids of merge results that
 * are no tokens: below n_tokens + n_extra). Immutable. Ownership: everything lies in the
 * tokenizer's arena or its tables. */
#ifndef TEXT_TOK_H
#define TEXT_TOK_H

#include "base/map.h"
#include "base/mem.h"
#include "text/normal.h"
#include "text/pretok.h"
#include "text/tokenizer.h"
#include "text/trie.h"

#define TOK_SPECIAL_LEN_MAX 1024 /* bytes of a special token: they are tried at every place */
#define TOK_STEPS_MAX 16         /* of normalising, and of cutting */
#define TOK_AROUND_MAX 8         /* ids put before and after a text */
#define TOK_TEXT_MAX (1u << 30)  /* bytes of one text; and of it normalised */
#define TOK_SPACE "\xe2\x96\x81" /* U+2581, SentencePiece's space */
#define TOK_NO_RANK UINT32_MAX

enum tok_pre_kind {
    TOK_CUT,        /* pretok_split */
    TOK_METASPACE,  /* ' ' -> U+2581, perhaps one before, perhaps cut before each */
    TOK_LEAD_SPACE, /* byte-level add_prefix_space: ' ' before a word that has none */
};
enum tok_prepend { TOK_PREPEND_NEVER, TOK_PREPEND_FIRST, TOK_PREPEND_ALWAYS };

struct tok_pre {
    enum tok_pre_kind kind;
    struct pretok_step cut;
    enum tok_prepend prepend;
    const char *replacement; /* of a space */
    size_t replacement_len;
    bool split;
};

enum { TOK_LSTRIP = 1, TOK_RSTRIP = 2, TOK_SINGLE_WORD = 4 };

/* (left, right) -> what they become. */
struct tok_pair {
    uint64_t key; /* left + 1 << 32 | right; 0: empty */
    uint32_t rank;
    int32_t id;
};

struct text_tokenizer {
    struct arena mem;
    /* --- the description --- */
    enum text_algo algo;
    const char *kind; /* for people */
    uint32_t n_tokens;
    struct text_str *stored; /* (n_tokens) */
    uint8_t *types;          /* (n_tokens) enum text_token_type */
    uint8_t *strip;          /* (n_tokens) TOK_LSTRIP ...; NULL: none */
    int32_t bos, eos, eot, unk;
    struct normal_step norms[TOK_STEPS_MAX];
    struct tok_pre pre[TOK_STEPS_MAX];
    uint32_t n_norms, n_pre;
    int32_t before[TOK_AROUND_MAX], after[TOK_AROUND_MAX];
    uint32_t n_before, n_after;
    bool byte_level;    /* tokens are bytes in the byte-level alphabet */
    bool byte_fallback; /* <0xXX> tokens stand for bytes */
    bool ignore_merges, fuse_unk, drop_lead_space;
    char merge_sep;                      /* between the halves of a merge; ' ' in GGUF */
    const char *word_start, *word_inner; /* WordPiece: what tokens begin with there */
    uint32_t word_chars_max;             /* WordPiece: longer words are unk */
    /* --- made by tok_build --- */
    struct text_str *piece; /* (n_tokens) the bytes a token stands for in a text */
    struct map by_stored;   /* every token */
    struct map by_text;     /* tokens that text may become: piece (byte-level) or stored -> id */
    int32_t byte_ids[256];  /* the token of one byte, or NONE */
    int32_t ascii_ids[128]; /* the token of one ASCII character, or NONE */
    bool *is_end;           /* (n_tokens) */
    struct tok_pair *pairs;
    uint32_t n_pairs, n_pair_slots, n_extra;
    float *scores;   /* (n_tokens) or NULL */
    uint32_t *order; /* SPM: (n_tokens) rank by descending score, equal scores equal */
    float unk_score;
    uint32_t len_max;        /* bytes of the longest token that text may become */
    uint8_t joins[256][256]; /* may a token reach over a border between these two bytes? */
    bool cut_spaces;         /* no token has U+2581 behind another character */
    struct trie words;       /* unigram */
    struct trie specials;
    bool special_first[256]; /* bytes that special tokens begin with */
};

/* A tokenizer with nothing in it; tok_build makes the tables once the description is complete.
 * merges: "left<merge_sep>right" by rank. */
NODISCARD int tok_new(struct text_tokenizer **out);
NODISCARD int tok_copy_tokens(struct text_tokenizer *t, const struct text_vocab *v,
                              struct err *err);
NODISCARD int tok_build(struct text_tokenizer *t, const struct text_vocab *v, struct err *err);
/* Adds the steps of a pre-tokeniser family. E_UNSUPPORTED names the known ones, E_LIMIT. */
NODISCARD int tok_add_family(struct text_tokenizer *t, const char *name, struct err *err);

/* Pieces of memory an encoding needs; lives for one text_encode. */
struct tok_sym {
    uint32_t at, len;
    uint32_t prev, next; /* indices, UINT32_MAX: none */
    int32_t id;          /* NONE: no token yet */
    int32_t made;        /* what this and the next become */
    uint32_t rank;       /* of that, TOK_NO_RANK: nothing */
};
struct tok_cached {
    uint64_t hash;
    uint32_t epoch, at, len, ids_at, n_ids;
};
struct tok_path {
    double score;
    uint32_t from;
    int32_t id;
};
struct tok_work {
    const struct text_tokenizer *t;
    struct text_ids *out;
    struct tok_sym *syms;
    size_t cap_syms;
    uint64_t *heap;
    size_t n_heap, cap_heap;
    struct tok_path *paths;
    size_t cap_paths;
    struct tok_cached *cache;
    uint32_t cache_mask, epoch;
    uint32_t unk_at;  /* out->n right after an unk that may be fused with the next */
    bool had_unk;     /* since the segment began */
    const uint8_t *s; /* the text of the run */
};

/* One segment of w->s to ids. E_NOMEM, E_LIMIT. */
NODISCARD int tok_merge_segment(struct tok_work *w, uint32_t at, uint32_t len);
NODISCARD int tok_unigram_segment(struct tok_work *w, uint32_t at, uint32_t len);
NODISCARD int tok_wordpiece_word(struct tok_work *w, uint32_t at, uint32_t len);
/* Text no token covers: its bytes, or unk (one for a row of them if fuse_unk). */
NODISCARD int tok_put_unknown(struct tok_work *w, uint32_t at, uint32_t len);
/* The token a piece of text is, or NONE. */
int32_t tok_text_id(const struct text_tokenizer *t, const uint8_t *s, uint32_t len);
const struct tok_pair *tok_pair_find(const struct text_tokenizer *t, int32_t left, int32_t right);

#endif
