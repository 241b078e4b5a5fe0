#include "base/map.h"

#include <string.h>
#define XXH_INLINE_ALL /* one function, inlined: nothing to link, foreign targets build too */
#include <xxhash.h>

#include "base/mem.h"

struct map_slot {
    const void *key; /* NULL: empty */
    uint32_t len;
    uint32_t value;
    uint64_t hash;
};

static const char empty_key[1]; /* stands for NULL: memcmp wants a pointer even for no bytes */

static uint32_t slots_for(uint32_t expected)
{
    uint64_t n = 16;
    while (n * 3 / 4 < (uint64_t)expected + 1)
        n *= 2;
    return n > UINT32_MAX / 2 ? 0 : (uint32_t)n;
}

int map_init(struct map *m, uint32_t expected)
{
    uint32_t n = slots_for(expected);
    struct map_slot *slots = n == 0 ? NULL : mem_alloc(n, sizeof *slots);
    if (slots == NULL)
        return E_NOMEM;
    *m = (struct map){ .slots = slots, .n_slots = n };
    return 0;
}

void map_fini(struct map *m)
{
    mem_free(m->slots);
    *m = (struct map){ 0 };
}

/* The slot that holds the key, or the empty one where it belongs. */
static struct map_slot *probe(const struct map *m, const void *key, size_t len, uint64_t hash)
{
    uint32_t mask = m->n_slots - 1;
    for (uint32_t i = (uint32_t)hash & mask;; i = (i + 1) & mask) {
        struct map_slot *s = &m->slots[i];
        if (s->key == NULL)
            return s;
        if (s->hash == hash && s->len == len && memcmp(s->key, key, len) == 0)
            return s;
    }
}

static int grow(struct map *m)
{
    struct map bigger;
    TRY(map_init(&bigger, m->n_used * 2));
    for (uint32_t i = 0; i < m->n_slots; i++) {
        const struct map_slot *s = &m->slots[i];
        if (s->key != NULL)
            *probe(&bigger, s->key, s->len, s->hash) = *s;
    }
    bigger.n_used = m->n_used;
    mem_free(m->slots);
    *m = bigger;
    return 0;
}

int map_put(struct map *m, const void *key, size_t len, uint32_t value, bool *existed)
{
    if (len > UINT32_MAX)
        return E_RANGE;
    if (key == NULL)
        key = empty_key;
    if (m->n_slots == 0 || (uint64_t)(m->n_used + 1) * 4 > (uint64_t)m->n_slots * 3)
        TRY(grow(m));
    uint64_t hash = XXH3_64bits(key, len);
    struct map_slot *s = probe(m, key, len, hash);
    if (existed != NULL)
        *existed = s->key != NULL;
    if (s->key != NULL)
        return 0;
    *s = (struct map_slot){ .key = key,
                            .len = (uint32_t)len,
                            .value = value,
                            .hash = hash };
    m->n_used++;
    return 0;
}

bool map_get(const struct map *m, const void *key, size_t len, uint32_t *value)
{
    if (m->n_slots == 0 || len > UINT32_MAX)
        return false;
    if (key == NULL)
        key = empty_key;
    const struct map_slot *s = probe(m, key, len, XXH3_64bits(key, len));
    if (s->key == NULL)
        return false;
    *value = s->value;
    return true;
}
