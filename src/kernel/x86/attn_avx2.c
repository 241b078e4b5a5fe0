/* Attention with eight lanes, in f32 whatever the cache holds: six queries by sixteen positions or
 * columns in registers. Floor as in attn_avx512.c, at half the width. */
#include <math.h>

#include "kernel/reference.h"
#include "kernel/x86/avx2.h"

#define V __m256
#define LANES 8u
#define N_QUERIES 6u
#define N_VECTORS 2u
#define v_zero() _mm256_setzero_ps()
#define v_set1(x) _mm256_set1_ps(x)
#define v_load(p) _mm256_loadu_ps(p)
#define v_store(p, v) _mm256_storeu_ps(p, v)
#define v_fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define v_mul(a, b) _mm256_mul_ps(a, b)
#define v_add(a, b) _mm256_add_ps(a, b)
#define v_sub(a, b) _mm256_sub_ps(a, b)
#define v_max(a, b) _mm256_max_ps(a, b)
#define v_tanh(x) tanh8(x)
#define v_hmax(v) max8(v)
#define v_hsum(v) sum8(v)
#define v_first(v) _mm256_cvtss_f32(v)

/* 2^x for x <= 127, 0 below -126, NaN kept (Cephes exp2f, error below 2 units in the last
 * place). */
static ALWAYS_INLINE __m256 v_exp2(__m256 x)
{
    const __m256 low = _mm256_set1_ps(-126);
    __m256 tiny = _mm256_cmp_ps(x, low, _CMP_LT_OQ);
    __m256 c = _mm256_max_ps(low, x); /* NaN stays x */
    __m256 n = _mm256_round_ps(c, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 f = _mm256_sub_ps(c, n);
    __m256 p = _mm256_set1_ps(1.535336188319500e-4f);
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1.339887440266574e-3f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(9.618437357674640e-3f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(5.550332471162809e-2f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(2.402264791363012e-1f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(6.931472028550421e-1f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1));
    __m256i e = _mm256_slli_epi32(
        _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    __m256 y = _mm256_andnot_ps(tiny, _mm256_mul_ps(p, _mm256_castsi256_ps(e)));
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}

/* Lanes i, i + 1 ...: those outside [from, to) become -inf. */
static ALWAYS_INLINE __m256 v_visible(__m256 v, uint32_t from, uint32_t to, uint32_t i)
{
    __m256i at = _mm256_add_epi32(_mm256_set1_epi32((int)i),
                                  _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    __m256i hidden = _mm256_or_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32((int)from), at),
                                     _mm256_cmpgt_epi32(at, _mm256_set1_epi32((int)to - 1)));
    return _mm256_blendv_ps(v, _mm256_set1_ps(-INFINITY), _mm256_castsi256_ps(hidden));
}

/* Rows and columns of an 8 x 8 matrix change places. */
static ALWAYS_INLINE void turn(__m256 *m)
{
    __m256 t[8];
    UNROLL
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(m[i], m[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(m[i], m[i + 1]);
    }
    UNROLL
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            m[i + 2 * j] = _mm256_shuffle_ps(t[i + j], t[i + 2 + j], 0x44);
            m[i + 2 * j + 1] = _mm256_shuffle_ps(t[i + j], t[i + 2 + j], 0xee);
        }
    UNROLL
    for (int j = 0; j < 4; j++) {
        __m256 a = m[j], b = m[4 + j];
        m[j] = _mm256_permute2f128_ps(a, b, 0x20);
        m[4 + j] = _mm256_permute2f128_ps(a, b, 0x31);
    }
}

static ALWAYS_INLINE float half_at(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return _cvtsh_ss(h);
}

/* The scale of the Q8_0 block that holds position i; other types have none. */
static ALWAYS_INLINE __m256 kv_scale(uint32_t type, const uint8_t *row, size_t i)
{
    return type == KERNEL_Q8_0 ? _mm256_set1_ps(half_at(row + i / 32 * 34)) : _mm256_setzero_ps();
}

/* Values [i, i + n) of a cache row, n up to 8, zeros after them; i a multiple of 8. */
static ALWAYS_INLINE __m256 kv_load(uint32_t type, const uint8_t *row, size_t i, uint32_t n,
                                    __m256 scale)
{
    if (type != KERNEL_Q8_0)
        return n == 8 ? load8(type, row, i) : load8_tail(type, row, i, n);
    const uint8_t *q = row + i / 32 * 34 + 2 + i % 32; /* rows are filled up to blocks of 32 */
    __m128i v = _mm_loadl_epi64((const __m128i *)(const void *)q);
    return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(v)), scale);
}

#include "kernel/attn_simd.h"

ATTN_FLOAT_OPS(f32, KERNEL_F32)
ATTN_FLOAT_OPS(f16, KERNEL_F16)
ATTN_FLOAT_OPS(bf16, KERNEL_BF16)
ATTN_FLOAT_OPS(q8, KERNEL_Q8_0)

void kernel_attn_part_avx2(const struct kernel_attn *a, const struct kernel_kv *kv,
                           const struct kernel_attn_rows *r, uint32_t part, float *states,
                           void *scratch)
{
    struct part w = { .a = a, .r = r, .states = states };
    const struct attn_ops *ops = kv->kv_type == KERNEL_F16    ? &ops_f16
                                 : kv->kv_type == KERNEL_BF16 ? &ops_bf16
                                 : kv->kv_type == KERNEL_Q8_0 ? &ops_q8
                                                              : &ops_f32;
    attn_part(ops, &w, kv, part, scratch);
}
