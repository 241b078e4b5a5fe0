/* Attention with sixteen lanes. In f32 whatever the cache holds, and with dot products of narrow
 * numbers where the processor has them: pairs of bfloat16 (AVX512_BF16) for a BF16 cache,
 * bytes (AVX512_VNNI) for the scores of a Q8_0 cache, whose values are bfloat16 exactly as bytes
 * and go the way of pairs too.
 *
 *     BF16   scores  q as bf16 pairs . K pairs          values  P as bf16 pairs . V pairs
 *     F16    the same where the caller allows it (MLA: 30 operations a byte), else f32
 *     Q8_0   scores  q as int8, a scale for 32, . K      values  (P x scale of the V block) as bf16
 *
 * So q (and P) are rounded to 8 bits, as the cache's own numbers are; other caches keep f32
 * arithmetic. Twice (bf16) and four times (int8) the products of f32 a cycle. */
#include "kernel/x86/attn_avx512.h"

#include "kernel/attn_simd.h"
#include "kernel/levels.h"

ATTN_FLOAT_OPS(f32, KERNEL_F32)
ATTN_FLOAT_OPS(f16, KERNEL_F16)
ATTN_FLOAT_OPS(bf16, KERNEL_BF16)
ATTN_FLOAT_OPS(q8, KERNEL_Q8_0)

static ALWAYS_INLINE __m512 dot_pairs(__m512 sum, __m512i a, __m512i b)
{
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}

static ALWAYS_INLINE __m512i load_i(const void *p) { return _mm512_loadu_si512(p); }

static ALWAYS_INLINE int32_t word_at(const float *p)
{
    int32_t w;
    memcpy(&w, p, sizeof w);
    return w;
}

/* --- scores of pairs --- */

/* dst: k_dim bfloat16, filled up to an even number. */
static void pack_q_pairs(const float *q, float factor, uint32_t k_dim, float *dst)
{
    uint16_t *h = (uint16_t *)(void *)dst;
    for (uint32_t i = 0; i < k_dim; i += 16) {
        __m512 x = _mm512_maskz_loadu_ps(lanes16(k_dim - i), q + i);
        __m256bh b = _mm512_cvtneps_pbh(_mm512_mul_ps(x, _mm512_set1_ps(factor)));
        _mm256_storeu_si256((__m256i *)(void *)(h + i), (__m256i)b);
    }
}

/* Values [i, i + n) of a BF16 or F16 row as bfloat16, n up to 32, zeros after them. */
static ALWAYS_INLINE __m512i load_pairs(uint32_t type, const uint8_t *row, size_t i, uint32_t n)
{
    __mmask32 mask = (__mmask32)(n == 32 ? UINT32_MAX : (1u << n) - 1);
    __m512i h = n == 32 ? load_i(row + 2 * i) : _mm512_maskz_loadu_epi16(mask, row + 2 * i);
    if (type == KERNEL_BF16)
        return h;
    __m512 low = _mm512_cvtph_ps(_mm512_castsi512_si256(h));
    __m512 high = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(h, 1));
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

/* dst (k_dim / 2, TILE) pairs. */
static ALWAYS_INLINE void pack_k_pairs_as(uint32_t type, const struct tile *t, uint32_t k_dim,
                                          float *dst)
{
    for (uint32_t lane = t->first / 16 * 16; lane < t->end; lane += 16)
        for (uint32_t i = 0; i < k_dim; i += 32) {
            __m512 m[16];
            uint32_t n = k_dim - i < 32 ? k_dim - i : 32;
            UNROLL
            for (uint32_t j = 0; j < 16; j++) {
                m[j] = _mm512_castsi512_ps(load_pairs(type, t->k[lane + j], i, n));
                __builtin_prefetch(t->next_k[lane + j] + 2 * (size_t)i, 0, 2);
            }
            turn16(m);
            UNROLL
            for (uint32_t j = 0; j < 16; j++)
                if (2 * j < n)
                    v_store(dst + (size_t)(i / 2 + j) * TILE + lane, m[j]);
        }
}

static void pack_k_pairs_bf16(const struct tile *t, uint32_t k_dim, float *dst)
{
    pack_k_pairs_as(KERNEL_BF16, t, k_dim, dst);
}

static void pack_k_pairs_f16(const struct tile *t, uint32_t k_dim, float *dst)
{
    pack_k_pairs_as(KERNEL_F16, t, k_dim, dst);
}

static ALWAYS_INLINE void score_pairs(uint32_t n, const float *q, size_t q_len, const float *k,
                                      uint32_t n_pairs, float *s)
{
    V acc[N_QUERIES][N_VECTORS];
    UNROLL
    for (uint32_t h = 0; h < n; h++)
        UNROLL
        for (uint32_t c = 0; c < N_VECTORS; c++)
            acc[h][c] = v_zero();
    for (uint32_t i = 0; i < n_pairs; i++, k += TILE) {
        __m512i kv[N_VECTORS];
        UNROLL
        for (uint32_t c = 0; c < N_VECTORS; c++)
            kv[c] = load_i(k + c * LANES);
        UNROLL
        for (uint32_t h = 0; h < n; h++) {
            __m512i x = _mm512_set1_epi32(word_at(q + h * q_len + i));
            UNROLL
            for (uint32_t c = 0; c < N_VECTORS; c++)
                acc[h][c] = dot_pairs(acc[h][c], x, kv[c]);
        }
    }
    UNROLL
    for (uint32_t h = 0; h < n; h++)
        UNROLL
        for (uint32_t c = 0; c < N_VECTORS; c++)
            v_store(s + h * P_LEN + c * LANES, acc[h][c]);
}

static void scores_pairs(const struct part *w, const struct tile *t)
{
    (void)t; /* a chunk is a tile here */
    uint32_t n_pairs = (w->a->k_dim + 1) / 2;
    for (uint32_t h = 0; h < w->n_queries; h += N_QUERIES) {
        uint32_t n = w->n_queries - h;
        const float *q = w->q + h * w->q_len;
        float *s = w->p + (size_t)h * P_LEN;
#define SCORE(count) score_pairs(count, q, w->q_len, w->k, n_pairs, s)
        BY_QUERIES(n, SCORE)
#undef SCORE
    }
}

/* --- scores of bytes --- */

static uint32_t blocks_of(uint32_t k_dim) { return (k_dim + 31) / 32; }

/* dst: bytes of whole blocks of 32 | scale of each block | -128 x sum of each block (int32). */
static void pack_q_bytes(const float *q, float factor, uint32_t k_dim, float *dst)
{
    uint32_t n = blocks_of(k_dim);
    int8_t *bytes = (int8_t *)(void *)dst;
    float *scales = dst + (size_t)n * 8;
    int32_t *sums = (int32_t *)(void *)(scales + n);
    const __m512 f = _mm512_set1_ps(factor);
    for (uint32_t b = 0; b < n; b++) {
        size_t left = k_dim - b * 32;
        __m512 x = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes16(left), q + b * 32), f);
        __m512 y = _mm512_setzero_ps();
        if (left > 16)
            y = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes16(left - 16), q + b * 32 + 16), f);
        __m512 a = _mm512_max_ps(_mm512_abs_ps(x), _mm512_abs_ps(y));
        float top = _mm512_reduce_max_ps(a);
        bool bad = _mm512_cmp_ps_mask(_mm512_add_ps(x, y), v_set1(INFINITY), _CMP_NLT_UQ) != 0;
        __m512 by = _mm512_set1_ps(top > 0 ? 127 / top : 0);
        __m512i xi = _mm512_cvtps_epi32(_mm512_mul_ps(x, by));
        __m512i yi = _mm512_cvtps_epi32(_mm512_mul_ps(y, by));
        scales[b] = bad ? NAN : top / 127; /* garbage must not look like a number */
        sums[b] = -128 * _mm512_reduce_add_epi32(_mm512_add_epi32(xi, yi));
        _mm_storeu_si128((__m128i *)(void *)(bytes + b * 32), _mm512_cvtsepi32_epi8(xi));
        _mm_storeu_si128((__m128i *)(void *)(bytes + b * 32 + 16), _mm512_cvtsepi32_epi8(yi));
    }
}

static ALWAYS_INLINE __m256i block_bytes(const uint8_t *row, uint32_t b)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)(row + (size_t)b * 34 + 2));
}

/* Scales of block b of 16 rows. */
static ALWAYS_INLINE __m512 block_scales(const uint8_t *const *rows, uint32_t b)
{
    uint16_t h[16];
    for (uint32_t j = 0; j < 16; j++)
        memcpy(&h[j], rows[j] + (size_t)b * 34, 2);
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)h));
}

/* dst: (8 n_blocks, TILE) words of four bytes, 128 added to each | (n_blocks, TILE) scales. */
static void pack_k_bytes(const struct tile *t, uint32_t k_dim, float *dst)
{
    uint32_t n = blocks_of(k_dim);
    float *scales = dst + (size_t)n * 8 * TILE;
    const __m512i flip = _mm512_set1_epi8((char)0x80);
    for (uint32_t lane = t->first / 16 * 16; lane < t->end; lane += 16)
        for (uint32_t b = 0; b < n; b += 2) {
            __m512 m[16];
            bool two = b + 1 < n;
            UNROLL
            for (uint32_t j = 0; j < 16; j++) {
                const uint8_t *row = t->k[lane + j];
                __m256i high = two ? block_bytes(row, b + 1) : _mm256_setzero_si256();
                __m512i v = _mm512_castsi256_si512(block_bytes(row, b));
                v = _mm512_inserti64x4(v, high, 1);
                m[j] = _mm512_castsi512_ps(_mm512_xor_si512(v, flip));
                __builtin_prefetch(t->next_k[lane + j] + (size_t)b * 34, 0, 2);
            }
            turn16(m);
            UNROLL
            for (uint32_t j = 0; j < 16; j++)
                if (j < 8 || two)
                    v_store(dst + (size_t)(b * 8 + j) * TILE + lane, m[j]);
            v_store(scales + (size_t)b * TILE + lane, block_scales(t->k + lane, b));
            if (two)
                v_store(scales + (size_t)(b + 1) * TILE + lane, block_scales(t->k + lane, b + 1));
        }
}

#define BYTE_VECTORS 2 /* integer sums and float sums of 6 x 2 fill 24 registers */

static ALWAYS_INLINE void score_bytes(uint32_t n, const float *q, size_t q_len, const float *k,
                                      uint32_t n_blocks, float *s)
{
    const float *scales = k + (size_t)n_blocks * 8 * TILE;
    V acc[N_QUERIES][BYTE_VECTORS];
    UNROLL
    for (uint32_t h = 0; h < n; h++)
        UNROLL
        for (uint32_t c = 0; c < BYTE_VECTORS; c++)
            acc[h][c] = v_zero();
    for (uint32_t b = 0; b < n_blocks; b++, scales += TILE) {
        __m512i sum[N_QUERIES][BYTE_VECTORS];
        UNROLL
        for (uint32_t h = 0; h < n; h++)
            UNROLL
            for (uint32_t c = 0; c < BYTE_VECTORS; c++)
                sum[h][c] = _mm512_set1_epi32(word_at(q + h * q_len + n_blocks * 9 + b));
        for (uint32_t i = 0; i < 8; i++, k += TILE) {
            __m512i kv[BYTE_VECTORS];
            UNROLL
            for (uint32_t c = 0; c < BYTE_VECTORS; c++)
                kv[c] = load_i(k + c * LANES);
            UNROLL
            for (uint32_t h = 0; h < n; h++) {
                __m512i x = _mm512_set1_epi32(word_at(q + h * q_len + b * 8 + i));
                UNROLL
                for (uint32_t c = 0; c < BYTE_VECTORS; c++)
                    sum[h][c] = _mm512_dpbusd_epi32(sum[h][c], kv[c], x);
            }
        }
        UNROLL
        for (uint32_t h = 0; h < n; h++)
            UNROLL
            for (uint32_t c = 0; c < BYTE_VECTORS; c++) {
                V by = v_mul(v_load(scales + c * LANES), v_set1(q[h * q_len + n_blocks * 8 + b]));
                acc[h][c] = v_fma(_mm512_cvtepi32_ps(sum[h][c]), by, acc[h][c]);
            }
    }
    UNROLL
    for (uint32_t h = 0; h < n; h++)
        UNROLL
        for (uint32_t c = 0; c < BYTE_VECTORS; c++)
            v_store(s + h * P_LEN + c * LANES, acc[h][c]);
}

static void scores_bytes(const struct part *w, const struct tile *t)
{
    uint32_t n_blocks = blocks_of(w->a->k_dim), width = BYTE_VECTORS * LANES;
    for (uint32_t lane = t->first / width * width; lane < t->end; lane += width)
        for (uint32_t h = 0; h < w->n_queries; h += N_QUERIES) {
            uint32_t n = w->n_queries - h;
            const float *q = w->q + h * w->q_len, *k = w->k + lane;
            float *s = w->p + (size_t)h * P_LEN + lane;
#define SCORE(count) score_bytes(count, q, w->q_len, k, n_blocks, s)
            BY_QUERIES(n, SCORE)
#undef SCORE
        }
}

/* --- values of pairs --- */

/* Columns [column, column + n) of one row as bfloat16 in the low halves, n up to 16. */
static ALWAYS_INLINE __m512i narrow(uint32_t type, const uint8_t *row, size_t column, uint32_t n)
{
    if (type == KERNEL_BF16)
        return _mm512_cvtepu16_epi32(
            n == 16 ? _mm256_loadu_si256((const __m256i *)(const void *)(row + 2 * column))
                    : _mm256_maskz_loadu_epi16(lanes16(n), row + 2 * column));
    __m512 x = kv_load(type, row, column, n, v_set1(1)); /* bytes are bfloat16 as they are */
    if (type == KERNEL_F16)
        return _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(x));
    return _mm512_srli_epi32(_mm512_castps_si512(x), 16);
}

/* dst (TILE / 2, v_pad): rows of two positions, column by column. */
static ALWAYS_INLINE void pack_pairs_as(uint32_t type, const struct part *w, const struct tile *t)
{
    size_t v_pad = w->state_len - 16;
    for (uint32_t lane = t->first / 2 * 2; lane < t->end; lane += 2) {
        bool a = lane >= t->first, b = lane + 1 < t->end;
        const uint8_t *next = t->next_v[a ? lane : lane + 1];
        const uint8_t *other = t->next_v[b ? lane + 1 : lane];
        for (size_t i = 0; i < v_pad; i += 16) {
            uint32_t n = w->a->v_dim - i < 16 ? (uint32_t)(w->a->v_dim - i) : 16;
            __m512i x = _mm512_setzero_si512(), y = x;
            if (a)
                x = narrow(type, t->v[lane], i, n);
            if (b)
                y = narrow(type, t->v[lane + 1], i, n);
            x = _mm512_or_si512(x, _mm512_slli_epi32(y, 16));
            _mm512_storeu_si512(w->v + lane / 2 * v_pad + i, x);
            if (i % 32 == 0) {
                __builtin_prefetch(next + kernel_kv_at(type, i), 0, 2);
                __builtin_prefetch(other + kernel_kv_at(type, i), 0, 2);
            }
        }
    }
}

/* Weights of n queries as pairs (n, TILE / 2), zeros where the tile has no row; by: a factor for
 * each position, or NULL. */
static void narrow_weights(const struct part *w, const struct tile *t, const float *by, float *dst)
{
    uint64_t end = t->end == 64 ? UINT64_MAX : ((uint64_t)1 << t->end) - 1;
    uint64_t have = end & ~(((uint64_t)1 << t->first) - 1);
    for (uint32_t h = 0; h < w->n_queries; h++) {
        const float *p = w->p + (size_t)h * P_LEN;
        for (uint32_t i = 0; i < TILE; i += 32) {
            __mmask16 a = (__mmask16)(have >> i), b = (__mmask16)(have >> (i + 16));
            __m512 x = _mm512_maskz_loadu_ps(a, p + i), y = _mm512_maskz_loadu_ps(b, p + i + 16);
            if (by != NULL) {
                x = _mm512_mul_ps(x, _mm512_maskz_loadu_ps(a, by + i));
                y = _mm512_mul_ps(y, _mm512_maskz_loadu_ps(b, by + i + 16));
            }
            _mm512_storeu_si512(dst + (size_t)h * (TILE / 2) + i / 2,
                                (__m512i)_mm512_cvtne2ps_pbh(y, x));
        }
    }
}

/* Columns [column, column + n_vec vectors) of n queries; p: their weights. */
static ALWAYS_INLINE void pair_block(uint32_t n, uint32_t n_vec, const struct part *w,
                                     const struct tile *t, const float *p, float *out)
{
    size_t v_pad = w->state_len - 16, column = (size_t)(out - w->states) % w->state_len;
    V acc[N_QUERIES][N_VECTORS];
    UNROLL
    for (uint32_t g = 0; g < n; g++)
        UNROLL
        for (uint32_t c = 0; c < n_vec; c++)
            acc[g][c] = v_load(out + g * w->state_len + c * LANES);
    for (uint32_t pair = t->first / 2; 2 * pair < t->end; pair++) {
        const float *v = w->v + pair * v_pad + column;
        __m512i kv[N_VECTORS];
        UNROLL
        for (uint32_t c = 0; c < n_vec; c++)
            kv[c] = load_i(v + c * LANES);
        UNROLL
        for (uint32_t g = 0; g < n; g++) {
            __m512i x = _mm512_set1_epi32(word_at(p + g * (TILE / 2) + pair));
            UNROLL
            for (uint32_t c = 0; c < n_vec; c++)
                acc[g][c] = dot_pairs(acc[g][c], x, kv[c]);
        }
    }
    UNROLL
    for (uint32_t g = 0; g < n; g++)
        UNROLL
        for (uint32_t c = 0; c < n_vec; c++)
            v_store(out + g * w->state_len + c * LANES, acc[g][c]);
}

/* n_vec vectors of columns of all queries. */
static ALWAYS_INLINE void pair_columns(uint32_t n_vec, const struct part *w, const struct tile *t,
                                       const float *weights, size_t column)
{
    for (uint32_t h = 0; h < w->n_queries; h += N_QUERIES) {
        uint32_t n = w->n_queries - h;
        const float *p = weights + (size_t)h * (TILE / 2);
        float *out = w->states + h * w->state_len + column;
#define VALUES(count) pair_block(count, n_vec, w, t, p, out)
        BY_QUERIES(n, VALUES)
#undef VALUES
    }
}

static void values_pairs(const struct part *w, const struct tile *t)
{
    size_t width = w->state_len - 16, column = 0;
    float *weights = w->k; /* K is not needed any more */
    if (t->type == KERNEL_F16)
        pack_pairs_as(KERNEL_F16, w, t);
    else
        pack_pairs_as(KERNEL_BF16, w, t);
    narrow_weights(w, t, NULL, weights);
    for (; column + CHUNK <= width; column += CHUNK)
        pair_columns(N_VECTORS, w, t, weights, column);
    for (; column < width; column += LANES)
        pair_columns(1, w, t, weights, column);
}

static void values_bytes(const struct part *w, const struct tile *t)
{
    size_t width = w->state_len - 16;
    float *weights = w->k, scales[TILE];
    pack_pairs_as(KERNEL_Q8_0, w, t);
    for (size_t column = 0; column < width; column += 32) {
        for (uint32_t lane = t->first; lane < t->end; lane++)
            scales[lane] = half_at(t->v[lane] + column / 32 * 34);
        narrow_weights(w, t, scales, weights);
        if (column + 32 <= width)
            pair_columns(2, w, t, weights, column);
        else
            pair_columns(1, w, t, weights, column);
    }
}

/* --- levels --- */

static const struct attn_ops ops_pairs = { pack_q_pairs, pack_k_pairs_bf16, scores_pairs,
                                           values_pairs };
static const struct attn_ops ops_pairs_f16 = { pack_q_pairs, pack_k_pairs_f16, scores_pairs,
                                               values_pairs };
static const struct attn_ops ops_bytes_float = { pack_q_bytes, pack_k_bytes, scores_bytes,
                                                 values_q8 };
static const struct attn_ops ops_bytes = { pack_q_bytes, pack_k_bytes, scores_bytes, values_bytes };

static const struct attn_ops *float_ops(uint32_t type)
{
    return type == KERNEL_F16    ? &ops_f16
           : type == KERNEL_BF16 ? &ops_bf16
           : type == KERNEL_Q8_0 ? &ops_q8
                                 : &ops_f32;
}

static void part_float(const struct kernel_attn *a, const struct kernel_kv *kv,
                       const struct kernel_attn_rows *r, uint32_t part, float *states,
                       void *scratch)
{
    struct part w = { .a = a, .r = r, .states = states };
    attn_part(float_ops(kv->kv_type), &w, kv, part, scratch);
}

static void part_vnni(const struct kernel_attn *a, const struct kernel_kv *kv,
                      const struct kernel_attn_rows *r, uint32_t part, float *states, void *scratch)
{
    struct part w = { .a = a, .r = r, .states = states };
    bool q8 = kv->kv_type == KERNEL_Q8_0;
    attn_part(q8 ? &ops_bytes_float : float_ops(kv->kv_type), &w, kv, part, scratch);
}

static void part_bf16(const struct kernel_attn *a, const struct kernel_kv *kv,
                      const struct kernel_attn_rows *r, uint32_t part, float *states, void *scratch)
{
    struct part w = { .a = a, .r = r, .states = states };
    const struct attn_ops *ops = float_ops(kv->kv_type);
    if (kv->kv_type == KERNEL_Q8_0)
        ops = &ops_bytes;
    else if (kv->kv_type == KERNEL_BF16)
        ops = &ops_pairs;
    else if (kv->kv_type == KERNEL_F16 && a->narrow)
        ops = &ops_pairs_f16;
    attn_part(ops, &w, kv, part, scratch);
}

void kernel_init_attn_avx512(struct kernel_table *k, unsigned flags)
{
    bool vnni = (flags & KERNEL_AVX512_VNNI) != 0, bf16 = (flags & KERNEL_AVX512_BF16) != 0;
    k->attn_part = vnni && bf16 ? part_bf16 : vnni ? part_vnni : part_float;
}
