/* api/embeddings.h - a request for embeddings, from JSON to texts and form of the answer.
 *
 * Idea: input is a string, a list of them, a list of token ids, or a list of those lists; each
 * becomes one vector, in order. No HTTP and no engine here; the fuzzer drives it.
 * Ownership: the request keeps the JSON tree its texts point into, until fini.   Threads: none. */
#ifndef API_EMBEDDINGS_H
#define API_EMBEDDINGS_H

#include "api/field.h"

#define API_INPUTS_MAX 2048
#define API_INPUT_TOKENS_MAX 300000 /* of all inputs of a request */

struct api_embeddings {
    json_value *tree;
    struct engine_str model;   /* data NULL: not named */
    const json_value *input;   /* a string, an array of strings, of ids, or of arrays of ids */
    bool many;                 /* an array of inputs, not one */
    uint32_t n;
    bool base64;
    uint32_t dimensions;       /* 0: all */
};

/* n_embd bounds `dimensions`. E_FORMAT, E_RANGE, E_UNSUPPORTED, E_LIMIT with the path. */
NODISCARD int api_embeddings_read(struct api_embeddings *r, const char *body, size_t len,
                                  uint32_t n_embd, struct err *err);
void api_embeddings_fini(struct api_embeddings *r);
const json_value *api_embeddings_input(const struct api_embeddings *r, uint32_t i);

#endif
