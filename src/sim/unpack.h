/* sim/unpack.h - a file's bytes, decompressed if it is zstd (RFC 8878).
 *
 * Idea: traces are a few megabytes packed; they are read whole, up to a limit. */
#ifndef SIM_UNPACK_H
#define SIM_UNPACK_H

#include <stddef.h>

#include "base/err.h"

/* mem_free *out; a NUL lies behind the end. E_NOT_FOUND, E_IO, E_FORMAT, E_LIMIT, E_NOMEM. */
NODISCARD int sim_read(const char *path, size_t max, char **out, size_t *len, struct err *err);

#endif
