/* A chunk list instead of one mmap'ed reserve: arenas are many and mostly small (one a request),
 * and a chunk that doubles keeps the count logarithmic. */
#include "base/mem.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

#define ARENA_ALIGN 16
#define ARENA_CHUNK_MIN (16u * 1024)
#define ARENA_CHUNK_MAX (4u * 1024 * 1024)

struct arena_chunk {
    struct arena_chunk *next;
    size_t cap;
    size_t used;
    size_t pad; /* keeps data on a 16-byte border */
    unsigned char data[];
};
_Static_assert(offsetof(struct arena_chunk, data) % ARENA_ALIGN == 0, "arena data is aligned");

void *mem_alloc(size_t n, size_t size)
{
    size_t bytes;
    if (num_mul(&bytes, n, size) < 0)
        return NULL;
    return calloc(1, bytes == 0 ? 1 : bytes);
}

void *mem_alloc_aligned(size_t bytes, size_t align)
{
    ASSERT(align >= 16 && (align & (align - 1)) == 0);
    size_t padded;
    if (num_align(&padded, bytes == 0 ? 1 : bytes, align) < 0)
        return NULL;
    return aligned_alloc(align, padded);
}

void *mem_realloc(void *p, size_t n, size_t size)
{
    size_t bytes;
    if (num_mul(&bytes, n, size) < 0)
        return NULL;
    return realloc(p, bytes == 0 ? 1 : bytes);
}

void mem_free(void *p) { free(p); }

char *mem_strndup(const char *s, size_t len)
{
    size_t bytes;
    if (num_add(&bytes, len, 1) < 0)
        return NULL;
    char *copy = malloc(bytes);
    if (copy == NULL)
        return NULL;
    memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

void mem_wipe(void *p, size_t bytes)
{
    volatile unsigned char *b = p;
    for (size_t i = 0; i < bytes; i++)
        b[i] = 0;
}

void arena_init(struct arena *a, size_t max_bytes)
{
    *a = (struct arena){ .head = NULL, .used_bytes = 0, .max_bytes = max_bytes };
}

void arena_fini(struct arena *a)
{
    struct arena_chunk *next;
    for (struct arena_chunk *c = a->head; c != NULL; c = next) {
        next = c->next;
        free(c);
    }
    arena_init(a, a->max_bytes);
}

/* Links a chunk with room for `bytes`; false when memory or the budget is spent. */
static bool add_chunk(struct arena *a, size_t bytes)
{
    size_t cap = a->head != NULL ? num_min(a->head->cap * 2, ARENA_CHUNK_MAX) : ARENA_CHUNK_MIN;
    cap = num_max(num_min(cap, a->max_bytes - a->used_bytes), bytes);
    size_t total;
    if (num_add(&total, cap, sizeof(struct arena_chunk)) < 0)
        return false;
    struct arena_chunk *c = malloc(total);
    if (c == NULL)
        return false;
    *c = (struct arena_chunk){ .next = a->head, .cap = cap, .used = 0 };
    a->head = c;
    return true;
}

void *arena_bytes(struct arena *a, size_t bytes)
{
    size_t need;
    if (num_align(&need, bytes == 0 ? 1 : bytes, ARENA_ALIGN) < 0)
        return NULL;
    if (need > a->max_bytes - a->used_bytes)
        return NULL;
    if (a->head == NULL || a->head->cap - a->head->used < need)
        if (!add_chunk(a, need))
            return NULL;
    void *p = a->head->data + a->head->used;
    a->head->used += need;
    a->used_bytes += need;
    return p;
}

void *arena_alloc(struct arena *a, size_t n, size_t size)
{
    size_t bytes;
    if (num_mul(&bytes, n, size) < 0)
        return NULL;
    void *p = arena_bytes(a, bytes);
    if (p != NULL)
        memset(p, 0, bytes);
    return p;
}

char *arena_strndup(struct arena *a, const char *s, size_t len)
{
    size_t bytes;
    if (num_add(&bytes, len, 1) < 0)
        return NULL;
    char *copy = arena_bytes(a, bytes);
    if (copy == NULL)
        return NULL;
    memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}
