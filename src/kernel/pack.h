/* kernel/pack.h - quantised weights as the register tiles want them: panels of 16 rows.
 *
 * Idea: a file stores a row of weights after the other; a tile computes 16 outputs at once and
 * wants one vector lane for each. So 16 rows are interleaved by four columns, a line of 64 bytes
 * holding 16 rows x 4 columns, and the scales of the 16 rows stand side by side. No bit is lost and
 * none added (but see PACK_LINE): the packed form has the file's bits a weight and serves one
 * activation row and a thousand alike.
 *
 *     matrix   [ panel: rows 0-15 | panel: rows 16-31 | ... ]      rows past n_out are zeros
 *     panel    [ record: columns 0.. | record | ... ]              columns past n_in are zeros
 *     record   [ fields: scales and minima | codes ]               128 or 256 columns, whole lines
 *     field    items x 16 rows of 1 or 2 bytes: the block's own bytes, item by item
 *     codes    for 16 columns, groups a b c d of four columns each (a line: 16 rows x 4 bytes):
 *              BYTES   a  b  c  d                   q + 128
 *              NIBBLES a | c << 4   b | d << 4      low four bits, or an index of a code book
 *              TWOS    a | b << 2 | c << 4 | d << 6 the next two bits
 *              BITS    one line for 32 columns: bit i of group i
 *
 * A code is what the format stores: q - code_min, never negative; code-book formats (TABLE) keep
 * the index. Formats of more than four bits split a code over NIBBLES and TWOS or BITS; 2 and 3
 * bits begin with TWOS.
 *
 * Ownership: pure functions on the caller's memory. Cost: about a nanosecond for two weights. */
#ifndef KERNEL_PACK_H
#define KERNEL_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel/kernel.h"
#include "kernel/unpack.h"

#define PACK_ROWS 16u /* outputs of a panel */
#define PACK_LINE 64u /* records are whole lines; Q3_K and Q6_K gain half a line a record by that */
#define PACK_FIELDS 4

enum pack_codes {
    PACK_NIBBLES,
    PACK_NIBBLES_BITS, /* bit 4 in BITS */
    PACK_NIBBLES_TWOS, /* bits 4 and 5 in TWOS */
    PACK_TWOS,
    PACK_TWOS_BITS,    /* bit 2 in BITS */
    PACK_BYTES,
};

struct pack_field {
    uint16_t at;     /* in the block */
    uint8_t width;   /* 1 or 2 bytes; 0: no more fields */
    uint8_t n;       /* items a block */
    uint16_t offset; /* in the record */
};

struct pack_format {
    uint32_t cols;         /* of a record: 128 or 256 */
    uint32_t bytes;        /* of a record */
    struct pack_field fields[PACK_FIELDS];
    enum pack_codes codes;
    int32_t code_min;      /* q = code + code_min; 0 with a table */
    const int8_t *table;   /* (16) or NULL */
    uint32_t codes_at;     /* NIBBLES, TWOS or BYTES */
    uint32_t more_at;      /* the second plane */
};

/* NULL for types that are not quantised. */
const struct pack_format *kernel_pack_format(uint32_t type);
/* Bytes of a panel and of a whole packed matrix; n_in is a multiple of the type's block. */
size_t kernel_pack_panel_bytes(uint32_t type, uint32_t n_in);
size_t kernel_pack_bytes(uint32_t type, uint32_t n_out, uint32_t n_in);
/* Packs n rows (1..16) of n_in values, row_bytes apart, to one panel. */
void kernel_pack_panel(uint32_t type, const void *rows, size_t row_bytes, uint32_t n, uint32_t n_in,
                       void *panel);
/* One lane of a record: scales, minima and values of a row, as kernel/unpack.h has them. `cols`
 * values are set, the blocks one after the other: `blocks` of them at out[0..]. */
void kernel_pack_lane(uint32_t type, const uint8_t *record, uint32_t lane,
                      struct kernel_unpacked *out);
/* Row o of a packed matrix as f32, bit for bit what the file says. */
void kernel_pack_row(const struct kernel_mat *w, uint32_t o, float *dst);

#endif
