/* Panel builders, one a format. Bits are split after the rows are interleaved where possible: 8
 * rows of 16 bytes take 8 shuffles, and the nibbles of the result are two column groups. */
#include "kernel/x86/panel_avx2.h"

#include "base/num.h"
#include "kernel/unpack.h"

#define GROUP 64 /* bytes of a panel for four columns of 16 rows */

/* Where the next sub-block of this half goes. */
struct cursor {
    uint8_t *q;
    float *scale;
    float *min;
};

static struct cursor cursor_of(struct kernel_panel *p, uint32_t half)
{
    return (struct cursor){ p->q + 32 * half, p->scale[0] + 8 * half, p->min[0] + 8 * half };
}

/* t[g] = bytes 4g..4g+3 of the 16 bytes at `at` of rows 0..7. */
static ALWAYS_INLINE void interleave16(const uint8_t *const row[8], size_t at, __m256i t[4])
{
    __m256i a[4];
    for (int r = 0; r < 4; r++) {
        __m128i lo = _mm_loadu_si128((const __m128i *)(const void *)(row[r] + at));
        __m128i hi = _mm_loadu_si128((const __m128i *)(const void *)(row[r + 4] + at));
        a[r] = _mm256_inserti128_si256(_mm256_castsi128_si256(lo), hi, 1);
    }
    __m256i u0 = _mm256_unpacklo_epi32(a[0], a[1]);
    __m256i u1 = _mm256_unpackhi_epi32(a[0], a[1]);
    __m256i u2 = _mm256_unpacklo_epi32(a[2], a[3]);
    __m256i u3 = _mm256_unpackhi_epi32(a[2], a[3]);
    t[0] = _mm256_unpacklo_epi64(u0, u2);
    t[1] = _mm256_unpackhi_epi64(u0, u2);
    t[2] = _mm256_unpacklo_epi64(u1, u3);
    t[3] = _mm256_unpackhi_epi64(u1, u3);
}

static ALWAYS_INLINE void interleave32(const uint8_t *const row[8], size_t at, __m256i t[8])
{
    interleave16(row, at, t);
    interleave16(row, at + 16, t + 4);
}

static ALWAYS_INLINE __m256i low4(__m256i v) { return _mm256_and_si256(v, _mm256_set1_epi8(15)); }
static ALWAYS_INLINE __m256i high4(__m256i v) { return low4(_mm256_srli_epi16(v, 4)); }
/* Bits [shift, shift + n) of each byte, mask = 2^n - 1. */
static ALWAYS_INLINE __m256i bits(__m256i v, int shift, int mask)
{
    return _mm256_and_si256(_mm256_srli_epi16(v, shift), _mm256_set1_epi8((char)mask));
}

static ALWAYS_INLINE void put(struct cursor *c, __m256i v)
{
    _mm256_store_si256((__m256i *)(void *)c->q, v);
    c->q += GROUP;
}

/* f16 at `at` of eight rows. */
static ALWAYS_INLINE __m256 halves(const uint8_t *const row[8], size_t at)
{
    return _mm256_cvtph_ps(_mm_setr_epi16(
        (short)load_le16(row[0] + at), (short)load_le16(row[1] + at), (short)load_le16(row[2] + at),
        (short)load_le16(row[3] + at), (short)load_le16(row[4] + at), (short)load_le16(row[5] + at),
        (short)load_le16(row[6] + at), (short)load_le16(row[7] + at)));
}

static ALWAYS_INLINE void floats_at(const uint8_t *const row[8], size_t at, float d[8])
{
    _mm256_storeu_ps(d, halves(row, at));
}

static ALWAYS_INLINE void put_scale(struct cursor *c, __m256 scale)
{
    _mm256_store_ps(c->scale, scale);
    c->scale += PANEL_ROWS;
}

static ALWAYS_INLINE void put_min(struct cursor *c, __m256 min)
{
    _mm256_store_ps(c->min, min);
    c->min += PANEL_ROWS;
}

/* m[r] holds eight sub-blocks' floats of row r; out[s * 16 + r] as the panel wants them. */
static void put_transposed(const __m256 m[8], float *out)
{
    __m256 t[8];
    __m256 u[8];
    for (int i = 0; i < 4; i++) {
        t[2 * i] = _mm256_unpacklo_ps(m[2 * i], m[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(m[2 * i], m[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        u[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
        u[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
        u[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
        u[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        _mm256_store_ps(out + i * PANEL_ROWS, _mm256_permute2f128_ps(u[i], u[i + 4], 0x20));
        _mm256_store_ps(out + (i + 4) * PANEL_ROWS, _mm256_permute2f128_ps(u[i], u[i + 4], 0x31));
    }
}

static ALWAYS_INLINE void advance(const uint8_t *row[8], size_t bytes)
{
    for (int r = 0; r < 8; r++)
        row[r] += bytes;
}

#define FOR_BLOCKS(row, row_in, n, bytes)                                                        \
    const uint8_t *row[8];                                                                       \
    for (memcpy(row, row_in, sizeof row); (n) > 0; (n)--, advance(row, bytes))

/* Low nibbles are columns 0..15, high ones 16..31. */
static ALWAYS_INLINE void put_nibbles(struct cursor *c, const __m256i t[4])
{
    for (int g = 0; g < 4; g++)
        put(c, low4(t[g]));
    for (int g = 0; g < 4; g++)
        put(c, high4(t[g]));
}

static void panel_q4_0(const uint8_t *const row_in[8], uint32_t n, uint32_t half,
                       struct kernel_panel *p)
{
    struct cursor c = cursor_of(p, half);
    __m256i t[4];
    FOR_BLOCKS(row, row_in, n, 18) {
        put_scale(&c, halves(row, 0));
        interleave16(row, 2, t);
        put_nibbles(&c, t);
    }
}

static void panel_q4_1(const uint8_t *const row_in[8], uint32_t n, uint32_t half,
                       struct kernel_panel *p)
{
    struct cursor c = cursor_of(p, half);
    __m256i t[4];
    FOR_BLOCKS(row, row_in, n, 20) {
        put_scale(&c, halves(row, 0));
        put_min(&c, halves(row, 2));
        interleave16(row, 4, t);
        put_nibbles(&c, t);
    }
}

/* The fifth bits: dword r holds the 32 bits of row r, bit i of column i. Group g gets 16 in byte j
 * if bit 4g + j is set: its byte is repeated, one bit picked in each copy. */
static ALWAYS_INLINE __m256i fifth_bits(__m256i high, int g)
{
    const __m256i spread = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12));
    __m256i pick = _mm256_set1_epi32(g % 2 == 0 ? 0x08040201 : (int)0x80402010);
    __m256i b = _mm256_shuffle_epi8(high, _mm256_add_epi8(spread, _mm256_set1_epi8((char)(g / 2))));
    __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(b, pick), pick);
    return _mm256_and_si256(set, _mm256_set1_epi8(16));
}

static ALWAYS_INLINE void put_nibbles5(struct cursor *c, const uint8_t *const row[8], size_t at)
{
    __m256i high = _mm256_setr_epi32(
        (int)load_le32(row[0] + at), (int)load_le32(row[1] + at), (int)load_le32(row[2] + at),
        (int)load_le32(row[3] + at), (int)load_le32(row[4] + at), (int)load_le32(row[5] + at),
        (int)load_le32(row[6] + at), (int)load_le32(row[7] + at));
    __m256i t[4];
    interleave16(row, at + 4, t);
    for (int g = 0; g < 4; g++)
        put(c, _mm256_or_si256(low4(t[g]), fifth_bits(high, g)));
    for (int g = 0; g < 4; g++)
        put(c, _mm256_or_si256(high4(t[g]), fifth_bits(high, g + 4)));
}

static void panel_q5_0(const uint8_t *const row_in[8], uint32_t n, uint32_t half,
                       struct kernel_panel *p)
{
    struct cursor c = cursor_of(p, half);
    FOR_BLOCKS(row, row_in, n, 22) {
        put_scale(&c, halves(row, 0));
        put_nibbles5(&c, row, 2);
    }
}

static void panel_q5_1(const uint8_t *const row_in[8], uint32_t n, uint32_t half,
                       struct kernel_panel *p)
{
    struct cursor c = cursor_of(p, half);
    FOR_BLOCKS(row, row_in, n, 24) {
        put_scale(&c, halves(row, 0));
        put_min(&c, halves(row, 2));
        put_nibbles5(&c, row, 4);
    }
}

/* Value + 128 in two planes. */
static ALWAYS_INLINE void put_planes(struct cursor *c, const __m256i t[8])
{
    __m256i v[8];
    for (int g = 0; g < 8; g++) {
        v[g] = _mm256_xor_si256(t[g], _mm256_set1_epi8((char)0x80));
        put(c, low4(v[g]));
    }
    for (int g = 0; g < 8; g++)
        put(c, high4(v[g]));
}

static void panel_q8_0(const uint8_t *const row_in[8], uint32_t n, uint32_t half,
                       struct kernel_panel *p)
{
    struct cursor c = cursor_of(p, half);
    __m256i t[8];
    FOR_BLOCKS(row, row_in, n, 34) {
        put_scale(&c, halves(row, 0));
        interleave32(row, 2, t);
        put_planes(&c, t);
    }
}

static ALWAYS_INLINE __m256i table16(const int8_t *values, int offset)
{
    __m128i t = _mm_loadu_si128((const __m128i *)(const void *)values);
    return _mm256_broadcastsi128_si256(_mm_add_epi8(t, _mm_set1_epi8((char)offset)));
}

/* 16 bytes a row of code-book indices to two planes of value + 128. */
static ALWAYS_INLINE void put_iq4(struct cursor *c, const uint8_t *const row[8], size_t at)
{
    __m256i values = table16(kernel_iq4_values, -128);
    __m256i low = low4(values);
    __m256i high = high4(values);
    __m256i t[8];
    interleave16(row, at, t);
    for (int g = 0; g < 4; g++) {
        t[g + 4] = high4(t[g]);
        t[g] = low4(t[g]);
    }
    for (int g = 0; g < 8; g++)
        put(c, _mm256_shuffle_epi8(low, t[g]));
    for (int g = 0; g < 8; g++)
        put(c, _mm256_shuffle_epi8(high, t[g]));
}

static void panel_iq4_nl(const uint8_t *const row_in[8], uint32_t n, uint32_t half,
                         struct kernel_panel *p)
{
    struct cursor c = cursor_of(p, half);
    FOR_BLOCKS(row, row_in, n, 18) {
        put_scale(&c, halves(row, 0));
        put_iq4(&c, row, 2);
    }
}

static void panel_iq4_xs(const uint8_t *const row_in[8], uint32_t n, uint32_t half,
                         struct kernel_panel *p)
{
    struct cursor c = cursor_of(p, half);
    const __m256i twos = _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14);
    const __m256i fours = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
    FOR_BLOCKS(row, row_in, n, 136) {
        __m256 m[8];
        float d[8];
        floats_at(row, 0, d);
        for (int r = 0; r < 8; r++) {
            __m256i h = _mm256_srlv_epi32(_mm256_set1_epi32(load_le16(row[r] + 2)), twos);
            __m256i l = _mm256_srlv_epi32(_mm256_set1_epi32((int)load_le32(row[r] + 4)), fours);
            h = _mm256_slli_epi32(_mm256_and_si256(h, _mm256_set1_epi32(3)), 4);
            l = _mm256_or_si256(_mm256_and_si256(l, _mm256_set1_epi32(15)), h);
            __m256 s = _mm256_cvtepi32_ps(_mm256_sub_epi32(l, _mm256_set1_epi32(32)));
            m[r] = _mm256_mul_ps(_mm256_set1_ps(d[r]), s);
        }
        put_transposed(m, c.scale);
        c.scale += 8 * PANEL_ROWS;
        for (size_t j = 0; j < 8; j++)
            put_iq4(&c, row, 8 + 16 * j);
    }
}

/* The six-bit scales of a row of Q4_K or Q5_K as two runs of eight bytes: four at a time in words.
 * */
static ALWAYS_INLINE void bytes_k4(const uint8_t *packed, uint64_t *scale, uint64_t *min)
{
    uint32_t w0 = load_le32(packed);
    uint32_t w1 = load_le32(packed + 4);
    uint32_t w2 = load_le32(packed + 8);
    *scale = (w0 & 0x3f3f3f3f) |
             (uint64_t)((w2 & 0x0f0f0f0f) | (w0 >> 2 & 0x30303030)) << 32;
    *min = (w1 & 0x3f3f3f3f) |
           (uint64_t)((w2 >> 4 & 0x0f0f0f0f) | (w1 >> 2 & 0x30303030)) << 32;
}

/* d times eight bytes. */
static ALWAYS_INLINE __m256 times_bytes(float d, uint64_t bytes)
{
    __m256i v = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)bytes));
    return _mm256_mul_ps(_mm256_set1_ps(d), _mm256_cvtepi32_ps(v));
}

static void put_lines_k4(struct cursor *c, const uint8_t *const row[8])
{
    __m256 scale[8];
    __m256 min[8];
    float d[8];
    float dmin[8];
    floats_at(row, 0, d);
    floats_at(row, 2, dmin);
    for (int r = 0; r < 8; r++) {
        uint64_t s;
        uint64_t m;
        bytes_k4(row[r] + 4, &s, &m);
        scale[r] = times_bytes(d[r], s);
        min[r] = times_bytes(-dmin[r], m);
    }
    put_transposed(scale, c->scale);
    put_transposed(min, c->min);
    c->scale += 8 * PANEL_ROWS;
    c->min += 8 * PANEL_ROWS;
}

static void panel_q4_k(const uint8_t *const row_in[8], uint32_t n, uint32_t half,
                       struct kernel_panel *p)
{
    struct cursor c = cursor_of(p, half);
    __m256i t[8];
    FOR_BLOCKS(row, row_in, n, 144) {
        put_lines_k4(&c, row);
        for (size_t k = 0; k < 4; k++) {
            interleave32(row, 16 + 32 * k, t);
            for (int g = 0; g < 8; g++)
                put(&c, low4(t[g]));
            for (int g = 0; g < 8; g++)
                put(&c, high4(t[g]));
        }
    }
}

static void panel_q5_k(const uint8_t *const row_in[8], uint32_t n, uint32_t half,
                       struct kernel_panel *p)
{
    struct cursor c = cursor_of(p, half);
    __m256i t[8];
    __m256i h[8];
    FOR_BLOCKS(row, row_in, n, 176) {
        put_lines_k4(&c, row);
        interleave32(row, 16, h);
        for (size_t k = 0; k < 4; k++) {
            interleave32(row, 48 + 32 * k, t);
            for (int g = 0; g < 8; g++)
                put(&c, _mm256_or_si256(low4(t[g]), _mm256_slli_epi16(bits(h[g], 0, 1), 4)));
            for (int g = 0; g < 8; g++)
                put(&c, _mm256_or_si256(high4(t[g]), _mm256_slli_epi16(bits(h[g], 1, 1), 4)));
            for (int g = 0; g < 8; g++)
                h[g] = _mm256_srli_epi16(h[g], 2); /* bits of the neighbour byte are masked off */
        }
    }
}

/* Sixteen scales of each row, as floats in two halves of eight sub-blocks. */
static void put_scales16(const __m256 low[8], const __m256 high[8], float *to)
{
    put_transposed(low, to);
    put_transposed(high, to + 8 * PANEL_ROWS);
}

static void panel_q6_k(const uint8_t *const row_in[8], uint32_t n, uint32_t half,
                       struct kernel_panel *p)
{
    struct cursor c = cursor_of(p, half);
    FOR_BLOCKS(row, row_in, n, 210) {
        __m256 m[2][8];
        float d[8];
        floats_at(row, 208, d);
        for (int r = 0; r < 8; r++)
            for (int k = 0; k < 2; k++) {
                const __m128i *s = (const __m128i *)(const void *)(row[r] + 192 + 8 * k);
                __m256 v = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(s)));
                m[k][r] = _mm256_mul_ps(_mm256_set1_ps(d[r]), v);
            }
        put_scales16(m[0], m[1], c.scale);
        c.scale += 16 * PANEL_ROWS;
        for (size_t k = 0; k < 2; k++) {
            __m256i l[16];
            __m256i h[8];
            interleave32(row, 64 * k, l);
            interleave32(row, 64 * k + 32, l + 8);
            interleave32(row, 128 + 32 * k, h);
            for (int g = 0; g < 32; g++) {
                __m256i low = g < 16 ? low4(l[g]) : high4(l[g - 16]);
                __m256i high = bits(h[g % 8], g / 8 * 2, 3);
                put(&c, _mm256_or_si256(low, _mm256_slli_epi16(high, 4)));
            }
        }
    }
}

static void panel_q3_k(const uint8_t *const row_in[8], uint32_t n, uint32_t half,
                       struct kernel_panel *p)
{
    struct cursor c = cursor_of(p, half);
    FOR_BLOCKS(row, row_in, n, 110) {
        __m256 m[2][8];
        float d[8];
        floats_at(row, 108, d);
        for (int r = 0; r < 8; r++) {
            uint64_t low = load_le64(row[r] + 96);
            uint32_t high = load_le32(row[r] + 104);
            for (int k = 0; k < 2; k++) { /* eight scales: a nibble and two bits each */
                uint64_t four = high >> 4 * k & 0x03030303;
                uint64_t next = high >> (4 * k + 2) & 0x03030303;
                uint64_t s = (low >> 4 * k & 0x0f0f0f0f0f0f0f0f) | four << 4 | next << 36;
                __m256i v = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)s));
                v = _mm256_sub_epi32(v, _mm256_set1_epi32(32));
                m[k][r] = _mm256_mul_ps(_mm256_set1_ps(d[r]), _mm256_cvtepi32_ps(v));
            }
        }
        put_scales16(m[0], m[1], c.scale);
        c.scale += 16 * PANEL_ROWS;
        __m256i h[8];
        interleave32(row, 0, h);
        for (size_t k = 0; k < 2; k++) {
            __m256i t[8];
            interleave32(row, 32 + 32 * k, t);
            for (int i = 0; i < 32; i++) { /* sub-blocks 2j and 2j + 1 from bits 2j of all groups */
                int g = i % 8;
                put(&c, _mm256_or_si256(bits(t[g], 0, 3), _mm256_slli_epi16(bits(h[g], 0, 1), 2)));
                t[g] = _mm256_srli_epi16(t[g], 2);
                h[g] = _mm256_srli_epi16(h[g], 1);
            }
        }
    }
}

static void panel_q2_k(const uint8_t *const row_in[8], uint32_t n, uint32_t half,
                       struct kernel_panel *p)
{
    struct cursor c = cursor_of(p, half);
    FOR_BLOCKS(row, row_in, n, 84) {
        __m256 scale[2][8];
        __m256 min[2][8];
        float d[8];
        float dmin[8];
        floats_at(row, 80, d);
        floats_at(row, 82, dmin);
        for (int r = 0; r < 8; r++)
            for (int k = 0; k < 2; k++) {
                uint64_t b = load_le64(row[r] + 8 * k);
                scale[k][r] = times_bytes(d[r], b & 0x0f0f0f0f0f0f0f0f);
                min[k][r] = times_bytes(-dmin[r], b >> 4 & 0x0f0f0f0f0f0f0f0f);
            }
        put_scales16(scale[0], scale[1], c.scale);
        put_scales16(min[0], min[1], c.min);
        c.scale += 16 * PANEL_ROWS;
        c.min += 16 * PANEL_ROWS;
        for (size_t k = 0; k < 2; k++) {
            __m256i t[8];
            interleave32(row, 16 + 32 * k, t);
            for (int i = 0; i < 32; i++) {
                put(&c, bits(t[i % 8], 0, 3));
                t[i % 8] = _mm256_srli_epi16(t[i % 8], 2);
            }
        }
    }
}

/* One byte of each row, as int32. */
static ALWAYS_INLINE __m256i bytes_at(const uint8_t *const row[8], size_t at)
{
    return _mm256_setr_epi32(row[0][at], row[1][at], row[2][at], row[3][at], row[4][at], row[5][at],
                             row[6][at], row[7][at]);
}

/* 2^(e - 128): an exponent field of e - 1, or the subnormals 2^-128 and 2^-127. */
static ALWAYS_INLINE __m256 e8m0_halves(__m256i e)
{
    __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
    __m256i small = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
    __m256i is_small = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(normal, small, is_small));
}

/* The seven bits as exponent and mantissa of a float, times 2^(127 - 7 - 1); the NaN code gives 0.
 * */
static ALWAYS_INLINE __m256 ue4m3_halves(__m256i x)
{
    __m256i bits = _mm256_slli_epi32(_mm256_and_si256(x, _mm256_set1_epi32(0x7f)), 20);
    __m256 v = _mm256_mul_ps(_mm256_castsi256_ps(bits), _mm256_set1_ps(0x1p119f));
    __m256i is_nan = _mm256_cmpeq_epi32(x, _mm256_set1_epi32(0x7f));
    return _mm256_andnot_ps(_mm256_castsi256_ps(is_nan), v);
}

/* Float4 codes to value + 16. */
static void panel_mxfp4(const uint8_t *const row_in[8], uint32_t n, uint32_t half,
                        struct kernel_panel *p)
{
    struct cursor c = cursor_of(p, half);
    __m256i values = table16(kernel_fp4_values, 16);
    __m256i t[4];
    FOR_BLOCKS(row, row_in, n, 17) {
        put_scale(&c, e8m0_halves(bytes_at(row, 0)));
        interleave16(row, 1, t);
        for (int g = 0; g < 4; g++)
            put(&c, _mm256_shuffle_epi8(values, low4(t[g])));
        for (int g = 0; g < 4; g++)
            put(&c, _mm256_shuffle_epi8(values, high4(t[g])));
    }
}

static void panel_nvfp4(const uint8_t *const row_in[8], uint32_t n, uint32_t half,
                        struct kernel_panel *p)
{
    struct cursor c = cursor_of(p, half);
    __m256i values = table16(kernel_fp4_values, 16);
    __m256i t[8];
    FOR_BLOCKS(row, row_in, n, 36) {
        interleave32(row, 4, t);
        for (int k = 0; k < 4; k++) {
            put_scale(&c, ue4m3_halves(bytes_at(row, (size_t)k)));
            put(&c, _mm256_shuffle_epi8(values, low4(t[2 * k])));
            put(&c, _mm256_shuffle_epi8(values, low4(t[2 * k + 1])));
            put(&c, _mm256_shuffle_epi8(values, high4(t[2 * k])));
            put(&c, _mm256_shuffle_epi8(values, high4(t[2 * k + 1])));
        }
    }
}

kernel_panel_fn kernel_panel_fn_avx2(uint32_t type)
{
    static const kernel_panel_fn fns[KERNEL_TYPE_COUNT] = {
        [KERNEL_Q4_0] = panel_q4_0,     [KERNEL_Q4_1] = panel_q4_1,
        [KERNEL_Q5_0] = panel_q5_0,     [KERNEL_Q5_1] = panel_q5_1,
        [KERNEL_Q8_0] = panel_q8_0,     [KERNEL_Q2_K] = panel_q2_k,
        [KERNEL_Q3_K] = panel_q3_k,     [KERNEL_Q4_K] = panel_q4_k,
        [KERNEL_Q5_K] = panel_q5_k,     [KERNEL_Q6_K] = panel_q6_k,
        [KERNEL_IQ4_NL] = panel_iq4_nl, [KERNEL_IQ4_XS] = panel_iq4_xs,
        [KERNEL_MXFP4] = panel_mxfp4,   [KERNEL_NVFP4] = panel_nvfp4,
    };
    return type < KERNEL_TYPE_COUNT ? fns[type] : NULL;
}
