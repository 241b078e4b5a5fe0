/* engine/ring.h - records of bytes from one thread to another, without waiting.
 *
 * Idea: one writer, one reader, two counters that only grow. A record is a length and its bytes;
 * it is there whole or not at all.
 *
 *     bytes   [ ....|len|record|len|record|........ ]     cap: a power of two
 *                    ^ tail (reader)       ^ head (writer)
 *
 * Invariants: head - tail <= cap; the writer alone moves head, the reader alone moves tail.
 * Ownership: the bytes are the caller's.  Threads: put and room on one, get on another; head is
 * released by put and acquired by get, tail the other way round.   Cost: one copy each way. */
#ifndef ENGINE_RING_H
#define ENGINE_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct engine_ring {
    uint8_t *bytes;
    size_t cap;
    _Atomic size_t head, tail;
};

struct engine_part {
    const void *data;
    size_t len;
};

/* cap: a power of two. */
void engine_ring_init(struct engine_ring *r, uint8_t *bytes, size_t cap);
/* Bytes that a record of len takes. */
size_t engine_ring_cost(size_t len);
size_t engine_ring_room(const struct engine_ring *r);
/* One record of the parts, one behind the other; false, and nothing written, if there is no room.
 * */
bool engine_ring_put(struct engine_ring *r, const struct engine_part *parts, uint32_t n_parts);
/* Copies the next record out: its length, or 0 if there is none. max is as long as any record. */
size_t engine_ring_get(struct engine_ring *r, void *out, size_t max);

#endif
