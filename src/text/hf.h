/* text/hf.h - the parts of a tokenizer.json, shared by hf.c (model, tokens) and hf_parts.c
 * (pipeline).
 *
 * Idea: tokenizer.json describes the same pipeline tok.h does: normalizer, pre_tokenizer, model,
 * post_processor, decoder. Each part is translated; a part with no counterpart is refused by name,
 * since leaving it out would give other ids.
 * Ownership: the JSON is borrowed for the call, what stays is copied into the tokenizer's arena. */
#ifndef TEXT_HF_H
#define TEXT_HF_H

#include "base/json.h"
#include "text/tok.h"

/* Sequences may nest, in a file somebody wrote. */
#define HF_DEPTH_MAX 8

/* What the pipeline says about the model. */
struct hf_facts {
    bool byte_level; /* a ByteLevel pre-tokeniser or decoder: tokens are bytes */
};

bool hf_is(const json_value *v, const char *key, const char *text); /* member is that string */
bool hf_flag(const json_value *v, const char *key, bool otherwise);
/* A string member, kept in the arena; {"", 0} if it is absent. E_NOMEM. */
NODISCARD int hf_keep(struct text_tokenizer *t, const json_value *v, const char *key,
                      struct text_str *out);

NODISCARD int hf_normalizer(struct text_tokenizer *t, const json_value *v, int depth,
                            struct err *err);
NODISCARD int hf_pre_tokenizer(struct text_tokenizer *t, const json_value *v, int depth,
                               struct hf_facts *facts, struct err *err);
NODISCARD int hf_decoder(struct text_tokenizer *t, const json_value *v, int depth,
                         struct hf_facts *facts, struct err *err);
/* Needs the tokens (tok_copy_tokens). */
NODISCARD int hf_post_processor(struct text_tokenizer *t, const json_value *v, int depth,
                                struct err *err);

#endif
