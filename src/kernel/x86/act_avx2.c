/* Quantising rows to int8, for products (kernel/act.h) and for the cache. The two round
 * differently: the first to nearest even, as the conversion instruction does, the second (Q8_0)
 * halves away from zero. */
#include <math.h>

#include "base/err.h"
#include "kernel/act.h"
#include "kernel/reference.h"
#include "kernel/pack.h"
#include "kernel/x86/avx2.h"

/* The largest of 32 magnitudes as bits; NaN ranks above infinity. */
static ALWAYS_INLINE uint32_t largest_bits(const __m256 v[4])
{
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256i top = _mm256_setzero_si256();
    for (int j = 0; j < 4; j++)
        top = _mm256_max_epu32(top, _mm256_and_si256(_mm256_castps_si256(v[j]), magnitude));
    __m128i t = _mm_max_epu32(_mm256_castsi256_si128(top), _mm256_extracti128_si256(top, 1));
    t = _mm_max_epu32(t, _mm_shuffle_epi32(t, 0x4e));
    t = _mm_max_epu32(t, _mm_shuffle_epi32(t, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(t);
}

/* Four vectors of int32 in -127..127 to 32 bytes in order. */
static ALWAYS_INLINE __m256i pack_bytes(const __m256i v[4])
{
    __m256i p = _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
    return _mm256_permutevar8x32_epi32(p, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* Sums of the lower and the upper 16 bytes, and all that follows from them. */
static ALWAYS_INLINE void put_sums(__m256i q, struct kernel_act_group *g, uint32_t s)
{
    struct kernel_act_sub *sub = &g->sub[s];
    __m256i pair = _mm256_maddubs_epi16(_mm256_set1_epi8(1), q);
    __m256i quad = _mm256_madd_epi16(pair, _mm256_set1_epi16(1));
    quad = _mm256_add_epi32(quad, _mm256_shuffle_epi32(quad, 0x4e));
    quad = _mm256_add_epi32(quad, _mm256_shuffle_epi32(quad, 0xb1));
    int32_t low = _mm_cvtsi128_si32(_mm256_castsi256_si128(quad));
    int32_t high = _mm_cvtsi128_si32(_mm256_extracti128_si256(quad, 1));
    sub->minus = -low - high;
    sub->minus_half[0] = -low;
    sub->minus_half[1] = -high;
    sub->half[0] = (int16_t)low;
    sub->half[1] = (int16_t)high;
    g->sum[s] = (int16_t)(low + high);
}

/* Quantises 128 values. */
static void quantize_group(const float *x, struct kernel_act_group *g)
{
    uint32_t bits = 0;
    for (int s = 0; s < 4; s++) {
        __m256 v[4];
        for (int j = 0; j < 4; j++)
            v[j] = _mm256_loadu_ps(x + 32 * s + 8 * j);
        uint32_t b = largest_bits(v);
        bits = b > bits ? b : bits;
    }
    float top;
    memcpy(&top, &bits, sizeof top);
    if (!(top >= KERNEL_ACT_TINY && top <= 3.4028235e38f)) {
        memset(g, 0, sizeof *g);
        g->d = bits >= 0x7f800000 ? NAN : 0;
        return;
    }
    __m256 id = _mm256_set1_ps(127.0f / top);
    for (uint32_t s = 0; s < 4; s++) {
        __m256i n[4];
        for (int j = 0; j < 4; j++)
            n[j] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 32 * s + 8 * j), id));
        __m256i q = pack_bytes(n);
        _mm256_storeu_si256((__m256i *)(void *)g->sub[s].q, q);
        put_sums(q, g, s);
    }
    g->d = top / 127.0f;
}

void kernel_act_prepare_avx2(uint32_t type, const float *x, uint32_t n_rows, uint32_t n_in,
                             void *act)
{
    size_t row_bytes = kernel_act_row_bytes_c(type, n_in);
    if (kernel_pack_format(type) == NULL) {
        memcpy(act, x, n_rows * row_bytes);
        return;
    }
    for (uint32_t r = 0; r < n_rows; r++, x += n_in) {
        uint8_t *row = (uint8_t *)act + r * row_bytes;
        struct kernel_act_group *g = (void *)row;
        uint32_t i = 0;
        for (; i + KERNEL_ACT_LEN <= n_in; i += KERNEL_ACT_LEN)
            quantize_group(x + i, g++);
        if (i < n_in) {
            float rest[KERNEL_ACT_LEN] = { 0 };
            memcpy(rest, x + i, (n_in - i) * sizeof *x);
            quantize_group(rest, g++);
        }
        memset(g, 0, (size_t)(row + row_bytes - (uint8_t *)g));
    }
}

/* x away from zero by the largest float below a half, then cut: halves go away from zero. */
static ALWAYS_INLINE __m256i round_away(__m256 x)
{
    __m256 half = _mm256_or_ps(_mm256_and_ps(x, _mm256_set1_ps(-0.0f)),
                               _mm256_set1_ps(0x1.fffffep-2f));
    return _mm256_cvttps_epi32(_mm256_add_ps(x, half));
}

static void store_q8(const float *x, uint8_t *block)
{
    __m256 v[4];
    for (int j = 0; j < 4; j++)
        v[j] = _mm256_loadu_ps(x + 8 * j);
    uint32_t bits = largest_bits(v);
    float top;
    memcpy(&top, &bits, sizeof top);
    /* Magnitudes whose inverse overflows, and what is not finite, take the reference's road. */
    if (!(top >= KERNEL_ACT_TINY && top <= 3.4028235e38f)) {
        kernel_kv_store_c(KERNEL_Q8_0, x, block, 32);
        return;
    }
    float d = top / 127;
    uint16_t h = kernel_f32_to_f16(d);
    memcpy(block, &h, sizeof h);
    __m256 id = _mm256_set1_ps(1 / d);
    __m256i n[4];
    for (int j = 0; j < 4; j++)
        n[j] = round_away(_mm256_mul_ps(v[j], id));
    _mm256_storeu_si256((__m256i *)(void *)(block + 2), pack_bytes(n));
}

void kernel_kv_store_avx2(uint32_t kv_type, const float *x, void *dst, size_t n)
{
    uint8_t *p = dst;
    size_t i = 0;
    if (kv_type == KERNEL_F16)
        for (; i + 8 <= n; i += 8, p += 16)
            _mm_storeu_si128((__m128i *)(void *)p,
                             _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
    if (kv_type == KERNEL_Q8_0)
        for (; i + 32 <= n; i += 32, p += 34)
            store_q8(x + i, p);
    kernel_kv_store_c(kv_type, x + i, p, n - i);
}
