/* engine/stop.h - finds stop strings in text that comes piece by piece.
 *
 * Idea: for each stop string, how many of its first bytes the text ends with (Knuth, Morris, Pratt
 * 1977). Text that may be the beginning of a stop string is held back until that is decided; so
 * where the pieces were cut changes nothing.
 *
 *     stop "END"    pieces "a E" "N" "ough" " the EN" "D x"
 *     released      "a "   ""  "ENough" " the "  "" -> stop; " x" is dropped
 *
 * The string that is complete first ends the text; of two complete at once the longer one counts.
 * Invariants: held text is the longest one that begins some stop string; as stop strings are whole
 *     UTF-8, so is what is released.
 * Ownership: the strings and the storage are the caller's.   Cost: O(bytes x strings), no
 * allocation. */
#ifndef ENGINE_STOP_H
#define ENGINE_STOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "engine/engine.h"

struct engine_stop_string {
    const char *text;
    uint16_t len;          /* 1..ENGINE_STOP_BYTES_MAX */
    uint16_t matched;      /* of its bytes, at the end of the text */
    const uint16_t *fall;  /* (len) fall[i]: the longest border of the first i + 1 bytes */
};

struct engine_stop {
    struct engine_stop_string *strings;
    uint32_t n;
    char *held;            /* (the longest len) */
    uint32_t n_held;
};

/* Fills fall for text; len >= 1. */
void engine_stop_prepare(const char *text, uint16_t len, uint16_t *fall);
/* Feeds a piece; text that is free goes to out. Returns the index of the stop string that is
 * complete now (it is appended too if include; the rest of the piece is dropped), or -1. */
int engine_stop_put(struct engine_stop *s, const char *piece, size_t len, bool include,
                    struct buf *out);
/* The text is over: what was held back is free. */
void engine_stop_end(struct engine_stop *s, struct buf *out);

#endif
