/* model/inspect.h - what a model file is, for people and for programs.
 *
 * Idea: `naru inspect FILE` shows everything the reader found: metadata, tensors, sizes, which
 * tokenizer it carries, and whether Naru can run it, or else why not. Files are strangers' text:
 * nothing is printed that could move a terminal's cursor; what is not plain is escaped.
 *
 * Cost: builds the tokenizer once; reads no weights. */
#ifndef MODEL_INSPECT_H
#define MODEL_INSPECT_H

#include <stdbool.h>

#include "base/buf.h"
#include "model/file.h"

/* Appends a table, or one JSON object without a newline behind it: path, container, version, bytes,
 * arch, family, tokenizer (null or {kind, n_tokens} or {error}), runs, why_not, n_params, types,
 * meta, tensors. Arrays of more than 64 items are {"kind", "n", "first"}. E_NOMEM, E_LIMIT when out
 * is full. */
NODISCARD int model_inspect(const struct model_file *f, bool json, struct buf *out,
                            struct err *err);

#endif
