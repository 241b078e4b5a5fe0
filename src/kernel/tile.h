/* kernel/tile.h - products of packed weights with quantised activations, for any vector width.
 *
 * Idea: one algorithm, several instruction sets. A file of a level defines the vectors and the
 * dozen operations listed below and includes this one; out come the tiles of all packed formats.
 * A tile is V_LANES outputs by n_x activation rows: the codes of a sub-block are brought into
 * registers once (unpacking is two instructions a vector) and multiplied with all rows; p stays in
 * registers for a group of 128 columns, the outputs' sums lie in memory and are touched once a
 * group (kernel/act.h has the order).
 *
 *     for each record of the panel     scales and minima -> floats
 *       for each group of 128 columns  p[r] = 0
 *         for each sub-block           w = codes;  p[r] = fma(dots(w, x[r]), scale, p[r])
 *                                      y[r] = fma(p[r], d[r], y[r])
 *
 * Wanted of the including file:
 *     V_LANES, VI (V_LANES int32, or 4 V_LANES bytes), VF (V_LANES floats), TILE_ROWS
 *     TILE_SIGNED    1: codes of 8 bits become signed bytes, since dots takes none beyond 127
 *     v_load, v_byte and v_int (splats), v_and, v_or, v_xor; in 32-bit lanes v_add, v_sub, v_shl,
 *     v_shr
 *     v_u8, v_s8, v_u16 (V_LANES numbers to int32), v_halves, v_float, v_fmul, v_fma, v_fload,
 *     v_fsplat, v_fstore, v_fzero, v_bits (VI as VF), v_table (codes -> bytes of a 16-byte table)
 *     v_minus (splat of *p, shifted left), v_pair (sum of products of pairs of int16),
 *     v_dots(start, w, n, x, run): start + sum over n vectors of bytes of w times four bytes of x
 *
 * Cost of 16 outputs x 1 row x 128 columns at 16 lanes: 32 dot products and 5 multiply-adds (a
 * sub-block of 16: 9). */
#ifndef KERNEL_TILE_H
#define KERNEL_TILE_H

#include "kernel/act.h"
#include "kernel/pack_formats.h"

/* What the inner loop is made for; a constant where it is inlined. */
struct tile_shape {
    uint32_t type;
    uint32_t sub;   /* columns a scale covers: 16 or 32 */
    int shift;      /* codes are offset by 2^shift; -1: they are not */
    int pairs;      /* minima as integers: sums of pairs at once */
    int bias;       /* added to the code book's values */
    uint32_t run;   /* vectors whose pairs of products with 127 add up in 16 bits; 1: signed */
};

struct tile_job {
    const uint8_t *panel;
    uint32_t n_records;
    const uint8_t *x; /* first row, its first group */
    size_t x_bytes;   /* from row to row */
    float *y;
    size_t ldy;
    uint32_t n_out; /* outputs of the panel that exist */
    bool ahead;     /* the panel comes from memory: ask for it early */
};

/* Scales and minima of a record. */
struct tile_scales {
    _Alignas(64) float scale[16][V_LANES];
    _Alignas(64) float min[4][V_LANES];     /* 32-value blocks */
    _Alignas(64) int32_t pair[8][V_LANES];  /* minima of sub-blocks 2i and 2i + 1 */
    _Alignas(64) float dmin[V_LANES];
};

static ALWAYS_INLINE VF tile_times(VF d, VI x) { return v_fmul(d, v_float(x)); }

/* Four f16 scales, and minima, of 32-value blocks. */
static ALWAYS_INLINE void scales_f16(const uint8_t *r, uint32_t at, bool min, struct tile_scales *t)
{
    for (uint32_t i = 0; i < 4; i++) {
        v_fstore(t->scale[i], v_halves(r + 32 * i + 2 * at));
        if (min)
            v_fstore(t->min[i], v_halves(r + 128 + 32 * i + 2 * at));
    }
}

static ALWAYS_INLINE void store_pair(struct tile_scales *t, uint32_t i, VI first, VI second)
{
    v_fstore((float *)(void *)t->pair[i], v_bits(v_or(first, v_shl(second, 16))));
}

/* The 6-bit scales and minima of Q4_K and Q5_K (kernel_scale_min_k4). */
static ALWAYS_INLINE void scales_k4(const uint8_t *r, uint32_t at, struct tile_scales *t)
{
    VF d = v_halves(r + 2 * at);
    VI six = v_int(63), four = v_int(15);
    VI b[12], min[8];
    v_fstore(t->dmin, v_halves(r + 32 + 2 * at));
    for (uint32_t j = 0; j < 12; j++)
        b[j] = v_u8(r + 64 + 16 * j + at);
    for (uint32_t j = 0; j < 4; j++) {
        v_fstore(t->scale[j], tile_times(d, v_and(b[j], six)));
        min[j] = v_and(b[j + 4], six);
        VI high = v_shl(v_shr(b[j], 6), 4);
        v_fstore(t->scale[j + 4], tile_times(d, v_or(v_and(b[j + 8], four), high)));
        min[j + 4] = v_or(v_shr(b[j + 8], 4), v_shl(v_shr(b[j + 4], 6), 4));
    }
    for (uint32_t j = 0; j < 4; j++)
        store_pair(t, j, min[2 * j], min[2 * j + 1]);
}

static ALWAYS_INLINE void scales_q2_k(const uint8_t *r, uint32_t at, struct tile_scales *t)
{
    VF d = v_halves(r + 2 * at);
    VI four = v_int(15), even = four;
    v_fstore(t->dmin, v_halves(r + 32 + 2 * at));
    for (uint32_t j = 0; j < 16; j++) {
        VI b = v_u8(r + 64 + 16 * j + at);
        v_fstore(t->scale[j], tile_times(d, v_and(b, four)));
        if (j % 2 == 1)
            store_pair(t, j / 2, even, v_shr(b, 4));
        even = v_shr(b, 4);
    }
}

static ALWAYS_INLINE void scales_q3_k(const uint8_t *r, uint32_t at, struct tile_scales *t)
{
    VF d = v_halves(r + 2 * at);
    for (uint32_t j = 0; j < 16; j++) {
        VI low = v_u8(r + 64 + 16 * (j % 8) + at);
        low = j < 8 ? v_and(low, v_int(15)) : v_shr(low, 4);
        VI high = v_shr(v_u8(r + 64 + 16 * (8 + j % 4) + at), 2 * (int)(j / 4));
        high = v_shl(v_and(high, v_int(3)), 4);
        v_fstore(t->scale[j], tile_times(d, v_sub(v_or(low, high), v_int(32))));
    }
}

static ALWAYS_INLINE void scales_q6_k(const uint8_t *r, uint32_t at, struct tile_scales *t)
{
    VF d = v_halves(r + 2 * at);
    for (uint32_t j = 0; j < 16; j++)
        v_fstore(t->scale[j], tile_times(d, v_s8(r + 64 + 16 * j + at)));
}

static ALWAYS_INLINE void scales_iq4_xs(const uint8_t *r, uint32_t at, struct tile_scales *t)
{
    VF d = v_halves(r + 2 * at);
    VI h = v_u16(r + 32 + 2 * at);
    for (uint32_t j = 0; j < 8; j++) {
        VI low = v_u8(r + 64 + 16 * (j / 2) + at);
        low = j % 2 == 0 ? v_and(low, v_int(15)) : v_shr(low, 4);
        VI high = v_shl(v_and(v_shr(h, 2 * (int)j), v_int(3)), 4);
        v_fstore(t->scale[j], tile_times(d, v_sub(v_or(low, high), v_int(32))));
    }
}

/* 2^(e - 128) (kernel_e8m0_half): 2^(e - 1 - 127), times a half; exact down to the subnormals. */
static ALWAYS_INLINE void scales_mxfp4(const uint8_t *r, uint32_t at, struct tile_scales *t)
{
    for (uint32_t i = 0; i < 4; i++) {
        VI e = v_u8(r + 16 * i + at);
        VI up = v_shr(v_add(e, v_int(254)), 8); /* 1 if e >= 2 */
        /* e < 2: 2^-128, 2^-127 as subnormals 0x00200000 << e; else exponent field e - 1 */
        VI normal = v_shl(v_sub(e, v_int(1)), 23);
        VI small = v_add(v_int(0x00200000), v_shl(v_and(e, v_int(1)), 21));
        VI all = v_sub(v_int(0), up);
        VI bits = v_or(v_and(normal, all), v_and(small, v_sub(v_int(-1), all)));
        v_fstore(t->scale[i], v_bits(bits));
    }
}

/* Half an unsigned E4M3: its bits as a float's, times 2^119; the NaN code gives 0. */
static ALWAYS_INLINE void scales_nvfp4(const uint8_t *r, uint32_t at, struct tile_scales *t)
{
    for (uint32_t i = 0; i < 8; i++) {
        VI x = v_u8(r + 16 * i + at);
        VI is_nan = v_shr(v_sub(v_xor(x, v_int(0x7f)), v_int(1)), 31);
        x = v_and(v_and(x, v_int(0x7f)), v_sub(is_nan, v_int(1)));
        v_fstore(t->scale[i], v_fmul(v_bits(v_shl(x, 20)), v_fsplat(0x1p119f)));
    }
}

static ALWAYS_INLINE void tile_read_scales(struct tile_shape s, const uint8_t *r, uint32_t at,
                                           struct tile_scales *t)
{
    switch (s.type) {
    case KERNEL_Q4_K:
    case KERNEL_Q5_K:
        scales_k4(r, at, t);
        break;
    case KERNEL_Q2_K:
        scales_q2_k(r, at, t);
        break;
    case KERNEL_Q3_K:
        scales_q3_k(r, at, t);
        break;
    case KERNEL_Q6_K:
        scales_q6_k(r, at, t);
        break;
    case KERNEL_IQ4_XS:
        scales_iq4_xs(r, at, t);
        break;
    case KERNEL_MXFP4:
        scales_mxfp4(r, at, t);
        break;
    case KERNEL_NVFP4:
        scales_nvfp4(r, at, t);
        break;
    default:
        scales_f16(r, at, s.type == KERNEL_Q4_1 || s.type == KERNEL_Q5_1, t);
    }
}

/* Bits of a second plane, moved to bit `to` of each byte. */
static ALWAYS_INLINE VI plane_bits(VI h, int from, int to, int mask)
{
    VI moved = from > to ? v_shr(h, from - to) : v_shl(h, to - from);
    return v_and(moved, v_byte(mask << to));
}

/* The four vectors of codes of 16 columns: columns 16 j of the record; `at` bytes into a line. */
static ALWAYS_INLINE void tile_codes(const struct pack_format *p, const uint8_t *r, uint32_t j,
                                     uint32_t at, VI w[4])
{
    const uint8_t *first = r + p->codes_at + at, *second = r + p->more_at + at;
    VI four = v_byte(15);
    if (p->codes == PACK_BYTES) {
        for (uint32_t i = 0; i < 4; i++)
            w[i] = v_load(first + (4 * j + i) * PACK_LINE);
        return;
    }
    if (p->codes == PACK_TWOS || p->codes == PACK_TWOS_BITS) {
        VI two = v_load(first + j * PACK_LINE);
        for (int i = 0; i < 4; i++)
            w[i] = plane_bits(two, 2 * i, 0, 3);
    } else {
        for (uint32_t i = 0; i < 2; i++) {
            VI line = v_load(first + (2 * j + i) * PACK_LINE);
            w[i] = v_and(line, four);
            w[i + 2] = v_and(v_shr(line, 4), four);
        }
    }
    if (p->codes == PACK_NIBBLES_TWOS) {
        VI two = v_load(second + j * PACK_LINE);
        for (int i = 0; i < 4; i++)
            w[i] = v_or(w[i], plane_bits(two, 2 * i, 4, 3));
    }
    if (p->codes == PACK_NIBBLES_BITS || p->codes == PACK_TWOS_BITS) {
        VI bit = v_load(second + j / 2 * PACK_LINE);
        if (j % 2 == 1)
            bit = v_shr(bit, 4);
        for (int i = 0; i < 4; i++)
            w[i] = v_or(w[i], plane_bits(bit, i, p->codes == PACK_TWOS_BITS ? 2 : 4, 1));
    }
}

/* The codes of sub-block b as dots takes them. */
static ALWAYS_INLINE void tile_weights(struct tile_shape s, const struct pack_format *p,
                                       const uint8_t *r, uint32_t b, uint32_t at, VI w[8])
{
    for (uint32_t h = 0; h < s.sub / 16; h++) {
        tile_codes(p, r, b * (s.sub / 16) + h, at, w + 4 * h);
        for (uint32_t i = 0; i < 4 && p->table != NULL; i++)
            w[4 * h + i] = v_table(p->table, s.bias, w[4 * h + i]);
        for (uint32_t i = 0; i < 4 && TILE_SIGNED && p->codes == PACK_BYTES; i++)
            w[4 * h + i] = v_xor(w[4 * h + i], v_byte(0x80));
    }
}

/* p = dmin * (- the sum of minima times sums of activations): negative, as minima are. */
static ALWAYS_INLINE VF tile_minima(struct tile_shape s, const struct tile_scales *t, uint32_t g,
                                    const struct kernel_act_group *x)
{
    VI sum = v_int(0);
    if (s.sub == 32)
        for (uint32_t i = 0; i < 2; i++)
            sum = v_pair(sum, v_load(t->pair[2 * g + i]), &x->sum[2 * i]);
    else
        for (uint32_t i = 0; i < 4; i++)
            sum = v_pair(sum, v_load(t->pair[4 * g + i]), x->sub[i].half);
    return v_fmul(v_float(v_sub(v_int(0), sum)), v_fload(t->dmin));
}

/* Where a group of 128 columns is. */
struct tile_at {
    const uint8_t *record, *x;
    size_t x_bytes;
    uint32_t group; /* of the record */
    uint32_t line;  /* bytes into a line */
};


static ALWAYS_INLINE void tile_group(struct tile_shape s, const struct pack_format *f, uint32_t n_x,
                                     const struct tile_at *a, const struct tile_scales *t,
                                     float (*y)[V_LANES])
{
    VF p[TILE_ROWS];
    const uint8_t *record = a->record, *x = a->x;
    const size_t x_bytes = a->x_bytes;
    const uint32_t g = a->group, at = a->line;
    const uint8_t *row = x;
    UNROLL
    for (uint32_t r = 0; r < n_x; r++, row += x_bytes) {
        PIN_POINTER(row);
        p[r] = s.pairs ? tile_minima(s, t, g, (const void *)row) : v_fzero();
    }
    const uint32_t n_sub = KERNEL_ACT_LEN / s.sub;
    for (uint32_t b = 0; b < n_sub; b++) {
        VI w[8];
        tile_weights(s, f, record, g * n_sub + b, at, w);
        VF scale = v_fload(t->scale[g * n_sub + b]);
        row = x + b * s.sub / 32 * sizeof(struct kernel_act_sub);
        UNROLL
        for (uint32_t r = 0; r < n_x; r++, row += x_bytes) {
            PIN_POINTER(row);
            const struct kernel_act_sub *xs = (const void *)row;
            uint32_t half = s.sub == 16 ? b % 2 : 0;
            const int32_t *minus = s.sub == 16 ? &xs->minus_half[half] : &xs->minus;
            VI v = s.shift >= 0 ? v_minus(minus, s.shift) : v_int(0);
            v = v_dots(v, w, s.sub / 4, xs->q + 16 * half, s.run);
            if (s.type == KERNEL_Q4_1 || s.type == KERNEL_Q5_1)
                p[r] = v_fma(v_fload(t->min[b]),
                             v_float(v_sub(v_int(0), v_minus(&xs->minus, 0))), p[r]);
            p[r] = v_fma(v_float(v), scale, p[r]);
            PIN_VECTOR(p[r]);
        }
    }
    row = x;
    UNROLL
    for (uint32_t r = 0; r < n_x; r++, row += x_bytes) {
        PIN_POINTER(row);
        VF d = v_fsplat(((const struct kernel_act_group *)(const void *)row)->d);
        v_fstore(y[r], v_fma(p[r], d, v_fload(y[r])));
    }
}

/* The first rows of a call stream the weights from memory: what will be needed in some hundred
 * cycles is asked for now. The hardware's own streams begin anew at every page and run less far
 * ahead. */
#define TILE_AHEAD 3072 /* bytes; the end of a panel asks for the next one */

static ALWAYS_INLINE void tile_ask(const uint8_t *record, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i += 64)
        __builtin_prefetch((const void *)((uintptr_t)record + TILE_AHEAD + i), 0, 3);
}

static ALWAYS_INLINE void tile(struct tile_shape s, const struct pack_format *f, uint32_t n_x,
                               const struct tile_job *j)
{
    for (uint32_t o = 0; o < j->n_out; o += V_LANES) {
        _Alignas(64) float y[TILE_ROWS][V_LANES];
        const uint8_t *record = j->panel, *x = j->x;
        for (uint32_t r = 0; r < n_x; r++)
            v_fstore(y[r], v_fzero());
        for (uint32_t i = 0; i < j->n_records; i++, record += f->bytes) {
            struct tile_scales t;
            if (j->ahead && o == 0)
                tile_ask(record, f->bytes);
            tile_read_scales(s, record, o, &t);
            for (uint32_t g = 0; g < f->cols / KERNEL_ACT_LEN; g++) {
                const struct tile_at a = { record, x, j->x_bytes, g, 4 * o };
                tile_group(s, f, n_x, &a, &t, y);
                x += sizeof(struct kernel_act_group);
            }
        }
        uint32_t n = j->n_out - o < V_LANES ? j->n_out - o : V_LANES;
        for (uint32_t r = 0; r < n_x; r++)
            memcpy(j->y + r * j->ldy + o, y[r], n * sizeof(float));
    }
}


#endif
