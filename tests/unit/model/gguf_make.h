/* Writes small GGUF files into memory for the tests of this folder. */
#ifndef TESTS_UNIT_MODEL_GGUF_MAKE_H
#define TESTS_UNIT_MODEL_GGUF_MAKE_H

#include <string.h>

#include "base/buf.h"
#include "base/num.h"
#include "model/file.h"

static inline void put_u32(struct buf *b, uint32_t x)
{
    uint8_t le[4];
    store_le32(le, x);
    buf_put(b, le, 4);
}

static inline void put_u64(struct buf *b, uint64_t x)
{
    uint8_t le[8];
    store_le64(le, x);
    buf_put(b, le, 8);
}

static inline void put_f32(struct buf *b, float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    put_u32(b, bits);
}

static inline void put_str(struct buf *b, const char *s)
{
    put_u64(b, strlen(s));
    buf_puts(b, s);
}

static inline void put_header(struct buf *b, uint32_t version, uint64_t n_tensors, uint64_t n_meta)
{
    buf_init(b, 1u << 20);
    buf_puts(b, "GGUF");
    put_u32(b, version);
    put_u64(b, n_tensors);
    put_u64(b, n_meta);
}

static inline void put_key(struct buf *b, const char *key, uint32_t kind)
{
    put_str(b, key);
    put_u32(b, kind);
}

static inline void put_meta_u32(struct buf *b, const char *key, uint32_t x)
{
    put_key(b, key, MODEL_U32);
    put_u32(b, x);
}

static inline void put_meta_str(struct buf *b, const char *key, const char *s)
{
    put_key(b, key, MODEL_STRING);
    put_str(b, s);
}

/* A tensor of two dimensions. */
static inline void put_tensor(struct buf *b, const char *name, uint64_t ne0, uint64_t ne1,
                              uint32_t type, uint64_t offset)
{
    put_str(b, name);
    put_u32(b, 2);
    put_u64(b, ne0);
    put_u64(b, ne1);
    put_u32(b, type);
    put_u64(b, offset);
}

/* Zeros up to a multiple of align, then n bytes that count up. */
static inline void put_data(struct buf *b, size_t align, size_t n)
{
    while (b->len % align != 0)
        buf_putc(b, 0);
    for (size_t i = 0; i < n; i++)
        buf_putc(b, (char)i);
}

#endif
