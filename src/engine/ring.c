#include "engine/ring.h"

#include <string.h>

#include "base/err.h"
#include "base/num.h"

void engine_ring_init(struct engine_ring *r, uint8_t *bytes, size_t cap)
{
    ASSERT(cap > 0 && (cap & (cap - 1)) == 0);
    r->bytes = bytes;
    r->cap = cap;
    atomic_init(&r->head, 0);
    atomic_init(&r->tail, 0);
}

size_t engine_ring_cost(size_t len) { return sizeof(uint32_t) + len; }

size_t engine_ring_room(const struct engine_ring *r)
{
    size_t tail = atomic_load_explicit(&r->tail, memory_order_acquire); /* with get's release */
    size_t used = atomic_load_explicit(&r->head, memory_order_relaxed) - tail;
    ASSERT(used <= r->cap);
    return r->cap - used;
}

static size_t copy_in(struct engine_ring *r, size_t at, const void *data, size_t len)
{
    size_t from = at & (r->cap - 1), first = num_min(len, r->cap - from);
    if (len > 0) {
        memcpy(r->bytes + from, data, first);
        memcpy(r->bytes, (const uint8_t *)data + first, len - first);
    }
    return at + len;
}

static size_t copy_out(const struct engine_ring *r, size_t at, void *data, size_t len)
{
    size_t from = at & (r->cap - 1), first = num_min(len, r->cap - from);
    if (len > 0) {
        memcpy(data, r->bytes + from, first);
        memcpy((uint8_t *)data + first, r->bytes, len - first);
    }
    return at + len;
}

bool engine_ring_put(struct engine_ring *r, const struct engine_part *parts, uint32_t n_parts)
{
    uint32_t len = 0;
    for (uint32_t i = 0; i < n_parts; i++)
        len += (uint32_t)parts[i].len;
    ASSERT(len > 0); /* 0 means "none" to the reader */
    if (engine_ring_cost(len) > engine_ring_room(r))
        return false;
    size_t at = atomic_load_explicit(&r->head, memory_order_relaxed);
    at = copy_in(r, at, &len, sizeof len);
    for (uint32_t i = 0; i < n_parts; i++)
        at = copy_in(r, at, parts[i].data, parts[i].len);
    atomic_store_explicit(&r->head, at, memory_order_release); /* with get's acquire */
    return true;
}

size_t engine_ring_get(struct engine_ring *r, void *out, size_t max)
{
    size_t at = atomic_load_explicit(&r->tail, memory_order_relaxed);
    uint32_t len = 0;
    if (at == atomic_load_explicit(&r->head, memory_order_acquire)) /* with put's release */
        return 0;
    at = copy_out(r, at, &len, sizeof len);
    CHECK(len <= max);
    at = copy_out(r, at, out, len);
    atomic_store_explicit(&r->tail, at, memory_order_release); /* with room's acquire */
    return len;
}
