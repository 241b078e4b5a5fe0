/* base/mem.h - memory from the system, and arenas.
 *
 * Idea: layers above base never call malloc. What lives and dies together lies in one arena and is
 * given back in one call; the rest comes from mem_alloc, which checks the size arithmetic.
 *
 *     arena   [chunk 64 KiB] -> [chunk 128 KiB] -> ...      bump, never free one by one
 *
 * Invariants: an arena never holds more than max_bytes; what it returns is zeroed and aligned to
 * 16.
 * Ownership: the arena owns its chunks; pointers into it live until reset or fini.
 * Threads: one at a time.   Cost: arena_alloc O(1) plus the zeroing. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

#include "base/err.h"

/* n x size zeroed bytes; NULL when out of memory or on overflow. mem_free(NULL) is fine. */
NODISCARD void *mem_alloc(size_t n, size_t size);
/* Uninitialised, aligned (a power of two, at least 16). Freed by mem_free. */
NODISCARD void *mem_alloc_aligned(size_t bytes, size_t align);
/* Grows or shrinks to n x size; new bytes are not initialised. The old block survives a failure. */
NODISCARD void *mem_realloc(void *p, size_t n, size_t size);
void mem_free(void *p);
/* A copy of len bytes with a NUL behind it; NULL when out of memory. */
NODISCARD char *mem_strndup(const char *s, size_t len);
/* Overwrites secrets in a way the compiler may not remove. */
void mem_wipe(void *p, size_t bytes);

struct arena_chunk;
struct arena {
    struct arena_chunk *head;
    size_t used_bytes; /* of all chunks */
    size_t max_bytes;
};

void arena_init(struct arena *a, size_t max_bytes);
void arena_fini(struct arena *a);
/* Zeroed, 16-byte aligned; NULL when memory or the arena's budget is spent, or on overflow. */
NODISCARD void *arena_alloc(struct arena *a, size_t n, size_t size);
/* Bytes that are not zeroed, for buffers that are written at once. */
NODISCARD void *arena_bytes(struct arena *a, size_t bytes);
NODISCARD char *arena_strndup(struct arena *a, const char *s, size_t len);

#endif
