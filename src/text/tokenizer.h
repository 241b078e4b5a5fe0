/* text/tokenizer.h - text to token ids and back, for every tokenizer a model file may carry.
 *
 * Idea: a model file (GGUF metadata or tokenizer.json) is turned into one plain description, struct
 * text_vocab; from it text_tokenizer_create builds an immutable tokenizer. Encoding goes
 *
 *     text -> [special tokens cut out] -> [normalise] -> [pre-tokenise] -> [BPE | SPM | WordPiece |
 *     unigram] -> ids
 *
 * Special tokens are recognised only where the caller vouches for the text: `origin` marks, byte by
 * byte, what a stranger wrote (a chat message) and what the template wrote. A stranger's
 * "<|im_end|>" is ordinary text (specs/operations.md F-45).
 *
 * Ownership: create copies what it needs of the description. Threads: immutable after create,
 * shared freely.   Cost: linear in the text (F-45: also for 4 MiB without a space); the caller's
 * buffers. */
#ifndef TEXT_TOKENIZER_H
#define TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* How pieces are found: GGUF tokenizer.ggml.model "llama", "gpt2", "bert", "t5". */
enum text_algo { TEXT_SPM, TEXT_BPE, TEXT_WORDPIECE, TEXT_UNIGRAM };

/* GGUF tokenizer.ggml.token_type. */
enum text_token_type {
    TEXT_TOKEN_NORMAL = 1,
    TEXT_TOKEN_UNKNOWN = 2,
    TEXT_TOKEN_CONTROL = 3,
    TEXT_TOKEN_USER_DEFINED = 4,
    TEXT_TOKEN_UNUSED = 5,
    TEXT_TOKEN_BYTE = 6,
};

struct text_str {
    const char *data;
    size_t len;
};

#define TEXT_TOKEN_NONE (-1)

/* A tokenizer described; every pointer is borrowed for the call of create. Fields a file does not
 * have stay zero / TEXT_TOKEN_NONE / NULL. */
struct text_vocab {
    enum text_algo algo;
    const char *pre;       /* pre-tokeniser family ("llama-bpe", "qwen2", ...); NULL: default */
    const char *pre_regex; /* tokenizer.json: a Split pattern, used when no family matches it */
    uint32_t n_tokens;
    const struct text_str *tokens; /* (n_tokens) as stored: byte-level or with U+2581 */
    const float *scores;           /* (n_tokens) or NULL */
    const int32_t *types;          /* (n_tokens) enum text_token_type, or NULL: all normal */
    uint32_t n_merges;
    const struct text_str *merges;                   /* "left right" by rank, for TEXT_BPE */
    int32_t bos, eos, eot, unk, pad, sep, cls, mask; /* ids or TEXT_TOKEN_NONE */
    bool add_bos, add_eos, add_space_prefix, ignore_merges, remove_extra_whitespaces;
    bool byte_fallback; /* tokenizer.json BPE that is SentencePiece underneath */
    bool lowercase, strip_accents, clean_text, cjk_spaces; /* BERT normaliser */
    const uint8_t *charsmap; /* SentencePiece precompiled normaliser, or NULL */
    size_t charsmap_bytes;
};

struct text_tokenizer;

/* E_FORMAT names the field at fault, E_UNSUPPORTED an unknown family, E_NOMEM. */
NODISCARD int text_tokenizer_create(struct text_tokenizer **out, const struct text_vocab *vocab,
                                    struct err *err);
void text_tokenizer_destroy(struct text_tokenizer *t);

/* A tokenizer.json of the Hugging Face `tokenizers` library (and, if given, tokenizer_config.json,
 * for bos/eos and add_bos). len 0: absent. */
NODISCARD int text_tokenizer_create_hf(struct text_tokenizer **out, const char *tokenizer_json,
                                       size_t tokenizer_len, const char *config_json,
                                       size_t config_len, struct err *err);

enum {
    TEXT_ADD_SPECIAL = 1,   /* bos/eos, cls/sep as the model wants them */
    TEXT_PARSE_SPECIAL = 2, /* control tokens in trusted text become their ids */
};

/* A growing list of ids. */
struct text_ids {
    int32_t *ids;
    uint32_t n, cap, max;
};
void text_ids_init(struct text_ids *l, uint32_t max);
void text_ids_fini(struct text_ids *l);
NODISCARD int text_ids_put(struct text_ids *l, int32_t id); /* E_LIMIT at max, E_NOMEM */

/* Appends the ids of the text. origin (len bytes, or NULL): non-zero where a stranger wrote the
 * byte; special tokens are recognised only in runs of zeros, and only with TEXT_PARSE_SPECIAL.
 * User-defined tokens are recognised everywhere. Invalid UTF-8 is encoded byte by byte where the
 * vocabulary has bytes, else as U+FFFD or unk. E_LIMIT, E_NOMEM. */
NODISCARD int text_encode(const struct text_tokenizer *t, const char *text, size_t len,
                          const uint8_t *origin, unsigned flags, struct text_ids *out);

/* Facts. */
uint32_t text_vocab_size(const struct text_tokenizer *t);
const char *text_tokenizer_kind(const struct text_tokenizer *t); /* "byte-level BPE (qwen2)" */
int32_t text_bos(const struct text_tokenizer *t);
int32_t text_eos(const struct text_tokenizer *t);
int32_t text_eot(const struct text_tokenizer *t);
bool text_is_end(const struct text_tokenizer *t,
                 int32_t id); /* ends a generation: eos, eot, <|im_end|>, ... */
/* The token the model wants at the beginning of every text (its bos), or NONE. */
int32_t text_first_token(const struct text_tokenizer *t);
/* id ends a generation too: some files name more end tokens beside the tokenizer. Only before the
 * tokenizer is shared. Ids outside the vocabulary are ignored. */
void text_set_end(struct text_tokenizer *t, int32_t id);
bool text_is_control(const struct text_tokenizer *t, int32_t id);
int32_t text_token_id(const struct text_tokenizer *t, const char *token,
                      size_t len); /* as stored; or NONE */
struct text_str text_token_stored(const struct text_tokenizer *t, int32_t id); /* lives with t */

/* The bytes of one token as they appear inside a text (byte-level decoded, U+2581 -> space);
 * control tokens are their own name if `special`, else nothing. Appends to out. */
void text_piece(const struct text_tokenizer *t, int32_t id, bool special, struct buf *out);

/* Ids to text in one go: like the streaming detokeniser below, ended. */
NODISCARD int text_decode(const struct text_tokenizer *t, const int32_t *ids, uint32_t n,
                          bool special, struct buf *out);

/* --- streaming: never half a character ---
 * Feed ids one by one; whole UTF-8 characters come out, incomplete bytes are held back, and at the
 * end (or when they cannot become a character) turn into U+FFFD. */
struct text_detok {
    const struct text_tokenizer *t;
    bool special;  /* print control tokens */
    bool at_start; /* SPM: the prefixed space is dropped at the start of a text */
    char held[8];
    uint8_t n_held;
};
void text_detok_init(struct text_detok *d, const struct text_tokenizer *t, bool special,
                     bool at_start);
void text_detok_put(struct text_detok *d, int32_t id, struct buf *out);
void text_detok_end(struct text_detok *d, struct buf *out);

#endif
