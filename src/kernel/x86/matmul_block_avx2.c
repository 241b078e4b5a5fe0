/* Products of packed weights without VNNI: vpmaddubsw multiplies bytes and adds neighbours in 16
 * bits. As many of these as fit (run) are added there before they are widened. Codes of 8 bits are
 * made signed; their magnitudes and activations that carry their signs fit once: 128 * 127 * 2 =
 * 32512. Cost of a vector: 2 instructions for codes of 4 bits, 4 for those of 8. */
#include "kernel/x86/avx2.h"

#define V_LANES 8
#define TILE_ROWS 4
#define TILE_SIGNED 1
typedef __m256i VI;
typedef __m256 VF;

static ALWAYS_INLINE VI v_load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
static ALWAYS_INLINE VI v_int(int x) { return _mm256_set1_epi32(x); }
static ALWAYS_INLINE VI v_byte(int x) { return _mm256_set1_epi8((char)x); }
static ALWAYS_INLINE VI v_and(VI a, VI b) { return _mm256_and_si256(a, b); }
static ALWAYS_INLINE VI v_or(VI a, VI b) { return _mm256_or_si256(a, b); }
static ALWAYS_INLINE VI v_xor(VI a, VI b) { return _mm256_xor_si256(a, b); }
static ALWAYS_INLINE VI v_add(VI a, VI b) { return _mm256_add_epi32(a, b); }
static ALWAYS_INLINE VI v_sub(VI a, VI b) { return _mm256_sub_epi32(a, b); }
static ALWAYS_INLINE VI v_shl(VI a, int n) { return _mm256_slli_epi32(a, n); }
static ALWAYS_INLINE VI v_shr(VI a, int n) { return _mm256_srli_epi32(a, n); }
static ALWAYS_INLINE __m128i load8_bytes(const uint8_t *p)
{
    return _mm_loadl_epi64((const __m128i *)(const void *)p);
}
static ALWAYS_INLINE __m128i load16_bytes(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}
static ALWAYS_INLINE VI v_u8(const uint8_t *p) { return _mm256_cvtepu8_epi32(load8_bytes(p)); }
static ALWAYS_INLINE VI v_s8(const uint8_t *p) { return _mm256_cvtepi8_epi32(load8_bytes(p)); }
static ALWAYS_INLINE VI v_u16(const uint8_t *p) { return _mm256_cvtepu16_epi32(load16_bytes(p)); }
static ALWAYS_INLINE VF v_halves(const uint8_t *p) { return _mm256_cvtph_ps(load16_bytes(p)); }
static ALWAYS_INLINE VF v_float(VI a) { return _mm256_cvtepi32_ps(a); }
static ALWAYS_INLINE VF v_bits(VI a) { return _mm256_castsi256_ps(a); }
static ALWAYS_INLINE VF v_fmul(VF a, VF b) { return _mm256_mul_ps(a, b); }
static ALWAYS_INLINE VF v_fma(VF a, VF b, VF c) { return _mm256_fmadd_ps(a, b, c); }
static ALWAYS_INLINE VF v_fload(const float *p) { return _mm256_loadu_ps(p); }
static ALWAYS_INLINE VF v_fsplat(float x) { return _mm256_set1_ps(x); }
static ALWAYS_INLINE VF v_fzero(void) { return _mm256_setzero_ps(); }
static ALWAYS_INLINE void v_fstore(float *p, VF x) { _mm256_storeu_ps(p, x); }
static ALWAYS_INLINE VI v_splat4(const void *p)
{
    int32_t x;
    memcpy(&x, p, sizeof x);
    return _mm256_set1_epi32(x);
}
static ALWAYS_INLINE VI v_minus(const int32_t *p, int shift)
{
    return _mm256_slli_epi32(v_splat4(p), shift);
}
static ALWAYS_INLINE VI v_table(const int8_t *table, int bias, VI codes)
{
    __m128i t = _mm_add_epi8(load16_bytes((const uint8_t *)table), _mm_set1_epi8((char)bias));
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(t), codes);
}

static ALWAYS_INLINE VI v_pair(VI sum, VI w, const int16_t *x)
{
    return _mm256_add_epi32(sum, _mm256_madd_epi16(w, v_splat4(x)));
}

static ALWAYS_INLINE VI v_dots(VI sum, const VI *w, uint32_t n, const int8_t *x, uint32_t run)
{
    UNROLL
    for (uint32_t i = 0; i < n; i += run) {
        VI h = v_int(0);
        UNROLL
        for (uint32_t k = i; k < i + run; k++) {
            VI b = v_splat4(x + 4 * k);
            VI m = run == 1
                       ? _mm256_maddubs_epi16(_mm256_abs_epi8(w[k]), _mm256_sign_epi8(b, w[k]))
                       : _mm256_maddubs_epi16(w[k], b);
            h = k == i ? m : _mm256_add_epi16(h, m);
            PIN_VECTOR(h);
        }
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(h, _mm256_set1_epi16(1)));
    }
    return sum;
}

#include "kernel/tile_all.h"

void kernel_matmul_block_avx2(const struct kernel_mat *w, uint32_t o0, uint32_t o1,
                              const struct kernel_act *x, float *y, size_t ldy)
{
    tile_matmul(w, o0, o1, x, y, ldy);
}
