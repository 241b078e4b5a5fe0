/* base/map.h - byte strings to 32-bit numbers.
 *
 * Idea: vocabularies, tensor names and metadata keys are all "find the index of this string".
 * Open addressing with linear probing; keys are borrowed, not copied: they live where they were
 * read.
 *
 *     slot   [ hash, key ptr, key len, value ]  x power of two, at most 3/4 full
 *
 * Ownership: the map owns its slots, the caller owns the key bytes, which must outlive the map.
 * Threads: readers may share a map nobody writes.   Cost: O(1) expected; XXH3 of the key. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct map_slot;
struct map {
    struct map_slot *slots;
    uint32_t n_slots; /* 0 or a power of two */
    uint32_t n_used;
};

/* expected: how many keys will come; 0 is fine. E_NOMEM. */
NODISCARD int map_init(struct map *m, uint32_t expected);
void map_fini(struct map *m);
/* Adds key -> value. An existing key keeps its value and *existed (may be NULL) is set. E_NOMEM. */
NODISCARD int map_put(struct map *m, const void *key, size_t len, uint32_t value, bool *existed);
/* True and *value if the key is there. */
bool map_get(const struct map *m, const void *key, size_t len, uint32_t *value);
static inline uint32_t map_count(const struct map *m) { return m->n_used; }

#endif
