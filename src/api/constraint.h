/* api/constraint.h - what an answer must look like: the fields of a request that say so, and the
 * compiled constraints, kept and shared.
 *
 * Idea: many requests bring the same schema. A constraint is compiled once, on a thread of its own
 * so that nobody's connection waits, and kept by its text; the least recently used one goes.
 *
 *     fields --> struct api_constraint --get--> ready: a grammar, at once
 *                                          `--> not yet: the waiter is woken; then get again
 *
 * The fields (one of them): response_format (text, json_object, json_schema), guided_json,
 * guided_regex, guided_choice, guided_grammar, structured_outputs with these without "guided_",
 * json_object, disable_any_whitespace, disable_additional_properties; grammar and json_schema.
 * docs/constrained.md tells what they mean.
 *
 * Ownership: grammars are counted. The cache keeps its own copies of texts.
 * Threads: get and leave from any thread; wake runs on the compiling thread, under the cache's
 * lock (rank 35). Cost: a look-up compares texts of equal length; 64 are kept. */
#ifndef API_CONSTRAINT_H
#define API_CONSTRAINT_H

#include "api/field.h"
#include "text/grammar.h"

struct api_constraint {
    bool set;
    enum text_grammar_kind kind;
    const json_value *json;
    struct engine_str source;
    bool compact, open, one_of_as_any;
    char path[API_PATH_MAX]; /* of the field that holds it */
};

/* What rows of the request are parsed by; path: of the value. Only one may say something. */
NODISCARD int api_parse_response_format(struct api_constraint *c, const json_value *v,
                                        const char *path, struct err *err);
NODISCARD int api_parse_constraint(struct api_constraint *c, const json_value *v,
                                   const char *path, struct err *err);

struct api_constraints;
struct api_waiter {
    void (*wake)(void *ctx);
    void *ctx;
    struct api_waiter *next;
    struct api_constraint_entry *entry; /* what it waits for; NULL: nothing */
};

/* The tokenizer is borrowed. E_NOMEM. */
NODISCARD int api_constraints_create(struct api_constraints **out,
                                     const struct text_tokenizer *tokenizer);
/* Nobody may wait any more. NULL is fine. */
void api_constraints_destroy(struct api_constraints *cs);

/* 1 and a reference to the grammar; or 0: w is woken when it is time to ask again. E_FORMAT,
 * E_UNSUPPORTED, E_LIMIT with err->field the path in the request, E_NOMEM, E_FULL (too many wait
 * to be compiled). */
NODISCARD int api_constraint_get(struct api_constraints *cs, const struct api_constraint *c,
                                 struct api_waiter *w, struct text_grammar **out,
                                 struct err *err);
/* Stops waiting; wake does not run afterwards. */
void api_constraint_leave(struct api_constraints *cs, struct api_waiter *w);

#endif
