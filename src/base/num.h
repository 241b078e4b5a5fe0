/* base/num.h - sizes from outside, and bytes in little-endian order.
 *
 * Idea: every size that comes from a file or a request is added and multiplied here, where overflow
 * is an error code and not a surprise; numbers on disk and on the wire are read byte by byte.
 * Cost: inline; the compiler turns load_le32 into one move. */
#ifndef BASE_NUM_H
#define BASE_NUM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"

/* *out = a + b, a * b. E_RANGE on overflow, *out untouched. */
NODISCARD static inline int num_add(size_t *out, size_t a, size_t b)
{
    size_t sum;
    if (__builtin_add_overflow(a, b, &sum))
        return E_RANGE;
    *out = sum;
    return 0;
}

NODISCARD static inline int num_mul(size_t *out, size_t a, size_t b)
{
    size_t product;
    if (__builtin_mul_overflow(a, b, &product))
        return E_RANGE;
    *out = product;
    return 0;
}

/* Next multiple of `align` (a power of two) at or above x. E_RANGE on overflow. */
NODISCARD static inline int num_align(size_t *out, size_t x, size_t align)
{
    ASSERT(align != 0 && (align & (align - 1)) == 0);
    size_t up;
    TRY(num_add(&up, x, align - 1));
    *out = up & ~(align - 1);
    return 0;
}

static inline size_t num_min(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t num_max(size_t a, size_t b) { return a > b ? a : b; }
/* Index of the lowest bit that is set; x is not 0. */
static inline uint32_t num_lowest_bit(uint64_t x) { return (uint32_t)__builtin_ctzll(x); }
static inline size_t num_ceil_div(size_t a, size_t b) { return a / b + (a % b != 0); }

static inline uint16_t load_le16(const void *p)
{
    const uint8_t *b = p;
    return (uint16_t)(b[0] | b[1] << 8);
}

static inline uint32_t load_le32(const void *p)
{
    const uint8_t *b = p;
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static inline uint64_t load_le64(const void *p)
{
    const uint8_t *b = p;
    return load_le32(b) | (uint64_t)load_le32(b + 4) << 32;
}

static inline float load_lef32(const void *p)
{
    uint32_t bits = load_le32(p);
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline double load_lef64(const void *p)
{
    uint64_t bits = load_le64(p);
    double f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline void store_le16(void *p, uint16_t x)
{
    uint8_t *b = p;
    b[0] = (uint8_t)x;
    b[1] = (uint8_t)(x >> 8);
}

static inline void store_le32(void *p, uint32_t x)
{
    store_le16(p, (uint16_t)x);
    store_le16((uint8_t *)p + 2, (uint16_t)(x >> 16));
}

static inline void store_le64(void *p, uint64_t x)
{
    store_le32(p, (uint32_t)x);
    store_le32((uint8_t *)p + 4, (uint32_t)(x >> 32));
}

#endif
