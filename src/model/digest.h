/* model/digest.h - which model is this? SHA-256 over everything that a forward depends on.
 *
 * Idea: state computed by one model must never be taken for another's, so a stored block's name
 * covers the model's content and not its file name (R26): every metadata entry (key, kind, bytes)
 * and every tensor (name, type, shape, bytes), in the file's order.
 * Cost: reads the whole model once; with SHA instructions about 1.5 GB/s, so 0.7 s a GB. */
#ifndef MODEL_DIGEST_H
#define MODEL_DIGEST_H

#include <stdint.h>

#include "base/err.h"

struct model_file;

/* (32) bytes into out. progress may be NULL. E_NOMEM, E_UNSUPPORTED (no SHA-256 in the library). */
NODISCARD int model_file_digest(const struct model_file *f, uint8_t *out,
                                void (*progress)(void *ctx, uint64_t done, uint64_t total),
                                void *ctx);

#endif
