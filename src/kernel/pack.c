/* Packing by tables: where a format's scale bytes lie in its block, and in which planes its codes
 * go. A block is decoded by kernel/unpack.h, the one place that knows its bits; the codes of 16
 * rows are then interleaved a word of four columns at a time. Reading a lane back rebuilds the
 * scale bytes of a block and lets the same function decode them: both directions share the tables.
 */
#include "kernel/pack.h"

#include <string.h>

#include "base/num.h"
#include "kernel/pack_formats.h"

const struct pack_format *kernel_pack_format(uint32_t type)
{
    return type < KERNEL_TYPE_COUNT && pack_formats[type].cols != 0 ? &pack_formats[type] : NULL;
}

size_t kernel_pack_panel_bytes(uint32_t type, uint32_t n_in)
{
    return num_ceil_div(n_in, pack_formats[type].cols) * pack_formats[type].bytes;
}

size_t kernel_pack_bytes(uint32_t type, uint32_t n_out, uint32_t n_in)
{
    return num_ceil_div(n_out, PACK_ROWS) * kernel_pack_panel_bytes(type, n_in);
}

/* The codes of 16 rows of a record, the columns in order. */
struct codes {
    uint8_t of[PACK_ROWS][KERNEL_UNPACK_MAX];
};

/* Four columns of a row as a word: bytes in memory order. */
static uint32_t group(const struct codes *c, uint32_t lane, uint32_t g)
{
    uint32_t x;
    memcpy(&x, c->of[lane] + 4 * g, sizeof x);
    return x;
}

static void put(uint8_t *line, uint32_t lane, uint32_t x) { memcpy(line + 4 * lane, &x, sizeof x); }

static void put_bytes(const struct codes *c, uint32_t cols, uint8_t *to)
{
    for (uint32_t g = 0; g < cols / 4; g++, to += PACK_LINE)
        for (uint32_t r = 0; r < PACK_ROWS; r++)
            put(to, r, group(c, r, g));
}

static void put_nibbles(const struct codes *c, uint32_t cols, uint8_t *to)
{
    for (uint32_t g = 0; g < cols / 4; g += 4, to += 2 * PACK_LINE)
        for (uint32_t r = 0; r < PACK_ROWS; r++) {
            const uint32_t low = 0x0f0f0f0f;
            put(to, r, (group(c, r, g) & low) | (group(c, r, g + 2) & low) << 4);
            put(to + PACK_LINE, r, (group(c, r, g + 1) & low) | (group(c, r, g + 3) & low) << 4);
        }
}

/* Bits `shift` and `shift` + 1 of the codes. */
static void put_twos(const struct codes *c, uint32_t cols, int shift, uint8_t *to)
{
    for (uint32_t g = 0; g < cols / 4; g += 4, to += PACK_LINE)
        for (uint32_t r = 0; r < PACK_ROWS; r++) {
            uint32_t x = 0;
            for (uint32_t i = 0; i < 4; i++)
                x |= (group(c, r, g + i) >> shift & 0x03030303) << 2 * i;
            put(to, r, x);
        }
}

static void put_bits(const struct codes *c, uint32_t cols, int shift, uint8_t *to)
{
    for (uint32_t g = 0; g < cols / 4; g += 8, to += PACK_LINE)
        for (uint32_t r = 0; r < PACK_ROWS; r++) {
            uint32_t x = 0;
            for (uint32_t i = 0; i < 8; i++)
                x |= (group(c, r, g + i) >> shift & 0x01010101) << i;
            put(to, r, x);
        }
}

static void put_codes(const struct pack_format *p, const struct codes *c, uint8_t *record)
{
    uint8_t *first = record + p->codes_at, *second = record + p->more_at;
    switch (p->codes) {
    case PACK_BYTES:
        put_bytes(c, p->cols, first);
        break;
    case PACK_NIBBLES:
        put_nibbles(c, p->cols, first);
        break;
    case PACK_NIBBLES_BITS:
        put_nibbles(c, p->cols, first);
        put_bits(c, p->cols, 4, second);
        break;
    case PACK_NIBBLES_TWOS:
        put_nibbles(c, p->cols, first);
        put_twos(c, p->cols, 4, second);
        break;
    case PACK_TWOS:
        put_twos(c, p->cols, 0, first);
        break;
    case PACK_TWOS_BITS:
        put_twos(c, p->cols, 0, first);
        put_bits(c, p->cols, 2, second);
        break;
    }
}

/* The scale bytes of a block, to the record or back. */
static void move_fields(const struct pack_format *p, uint8_t *record, uint32_t lane, uint32_t b,
                        uint8_t *block, bool back)
{
    for (const struct pack_field *f = p->fields; f < p->fields + PACK_FIELDS && f->width != 0; f++)
        for (uint32_t i = 0; i < f->n; i++) {
            uint8_t *in = record + f->offset + ((b * f->n + i) * PACK_ROWS + lane) * f->width;
            uint8_t *of = block + f->at + i * f->width;
            memcpy(back ? of : in, back ? in : of, f->width);
        }
}

/* What a code-book value's index is. */
static void invert(const int8_t *table, uint8_t index[256])
{
    for (int i = 15; i >= 0; i--) /* of two equal values the lower index: float4 has two zeros */
        index[(uint8_t)table[i]] = (uint8_t)i;
}

/* One block of one row: its codes and fields. */
static void pack_block(const struct pack_format *p, const struct kernel_format *f,
                       const uint8_t *index, const uint8_t *block, uint8_t *codes)
{
    struct kernel_unpacked u;
    f->unpack(block, &u);
    for (uint32_t i = 0; i < f->block_len; i++)
        codes[i] = index != NULL ? index[(uint8_t)u.q[i]] : (uint8_t)(u.q[i] - p->code_min);
}

void kernel_pack_panel(uint32_t type, const void *rows, size_t row_bytes, uint32_t n, uint32_t n_in,
                       void *panel)
{
    const struct pack_format *p = &pack_formats[type];
    const struct kernel_format *f = kernel_format(type);
    uint8_t *record = panel, index[256] = { 0 };
    struct codes codes;
    ASSERT(n >= 1 && n <= PACK_ROWS && n_in % f->block_len == 0);
    if (p->table != NULL)
        invert(p->table, index);
    memset(panel, 0, kernel_pack_panel_bytes(type, n_in));
    for (size_t at = 0; at < n_in; at += p->cols, record += p->bytes) {
        uint32_t n_blocks = (uint32_t)num_min(p->cols, n_in - at) / f->block_len;
        if (n < PACK_ROWS || n_blocks * f->block_len < p->cols)
            memset(&codes, 0, sizeof codes);
        for (uint32_t r = 0; r < n; r++) {
            const uint8_t *block = (const uint8_t *)rows + r * row_bytes;
            block += at / f->block_len * f->block_bytes;
            for (uint32_t b = 0; b < n_blocks; b++, block += f->block_bytes) {
                pack_block(p, f, p->table != NULL ? index : NULL, block,
                           codes.of[r] + b * f->block_len);
                move_fields(p, record, r, b, (uint8_t *)(uintptr_t)block, false);
            }
        }
        put_codes(p, &codes, record);
    }
}

/* Bits `shift`.. of the byte of (lane, column) of a line, `mask` of them. */
static int code_bits(const uint8_t *plane, size_t line, uint32_t lane, uint32_t col, int shift,
                     int mask)
{
    return plane[line * PACK_LINE + 4 * lane + col % 4] >> shift & mask;
}

static int nibble_at(const uint8_t *plane, uint32_t lane, uint32_t col)
{
    uint32_t g = col / 4 % 4;
    return code_bits(plane, col / 16 * 2 + g % 2, lane, col, g < 2 ? 0 : 4, 15);
}

static int two_at(const uint8_t *plane, uint32_t lane, uint32_t col)
{
    return code_bits(plane, col / 16, lane, col, (int)(col / 4 % 4 * 2), 3);
}

static int bit_at(const uint8_t *plane, uint32_t lane, uint32_t col)
{
    return code_bits(plane, col / 32, lane, col, (int)(col / 4 % 8), 1);
}

static int code_at(const struct pack_format *p, const uint8_t *record, uint32_t lane, uint32_t col)
{
    const uint8_t *first = record + p->codes_at, *second = record + p->more_at;
    switch (p->codes) {
    case PACK_BYTES:
        return code_bits(first, col / 4, lane, col, 0, 255);
    case PACK_NIBBLES:
        return nibble_at(first, lane, col);
    case PACK_NIBBLES_BITS:
        return nibble_at(first, lane, col) | bit_at(second, lane, col) << 4;
    case PACK_NIBBLES_TWOS:
        return nibble_at(first, lane, col) | two_at(second, lane, col) << 4;
    case PACK_TWOS:
        return two_at(first, lane, col);
    default:
        return two_at(first, lane, col) | bit_at(second, lane, col) << 2;
    }
}

void kernel_pack_lane(uint32_t type, const uint8_t *record, uint32_t lane,
                      struct kernel_unpacked *out)
{
    const struct pack_format *p = &pack_formats[type];
    const struct kernel_format *f = kernel_format(type);
    for (uint32_t b = 0; b < p->cols / f->block_len; b++) {
        struct kernel_unpacked u;
        uint8_t block[256] = { 0 };
        uint32_t n_sub = f->block_len / f->sub, at = b * f->block_len;
        move_fields(p, (uint8_t *)(uintptr_t)record, lane, b, block, true);
        f->unpack(block, &u);
        memcpy(out->scale + b * n_sub, u.scale, n_sub * sizeof *u.scale);
        if (f->has_min)
            memcpy(out->min + b * n_sub, u.min, n_sub * sizeof *u.min);
        for (uint32_t i = at; i < at + f->block_len; i++) {
            int code = code_at(p, record, lane, i);
            out->q[i] = (int8_t)(p->table != NULL ? p->table[code] : code + p->code_min);
        }
    }
}

void kernel_pack_row(const struct kernel_mat *w, uint32_t o, float *dst)
{
    const struct pack_format *p = &pack_formats[w->type];
    const struct kernel_format *f = kernel_format(w->type);
    const uint8_t *record = (const uint8_t *)w->data + o / PACK_ROWS * w->row_bytes;
    struct kernel_unpacked u;
    for (size_t at = 0; at < w->n_in; at += p->cols, record += p->bytes) {
        kernel_pack_lane(w->type, record, o % PACK_ROWS, &u);
        size_t n = num_min(p->cols, w->n_in - at);
        for (size_t i = 0; i < n; i++) {
            float x = u.scale[i / f->sub] * (float)u.q[i];
            dst[at + i] = f->has_min ? x + u.min[i / f->sub] : x;
        }
    }
}
