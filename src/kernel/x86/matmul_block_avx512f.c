/* Products of packed weights by AVX-512 without VNNI (kernel/x86/matmul_block_avx2.c has the
 * idea). */
#include "kernel/x86/avx512.h"
#include "kernel/x86/tile_avx512.h"

#define TILE_ROWS 8
#define TILE_SIGNED 1

static ALWAYS_INLINE VI v_pair(VI sum, VI w, const int16_t *x)
{
    return _mm512_add_epi32(sum, _mm512_madd_epi16(w, v_splat4(x)));
}

/* Signed times signed bytes: the sign of w goes to the activations. */
static ALWAYS_INLINE VI multiply_signed(VI w, VI x)
{
    __mmask64 negative = _mm512_movepi8_mask(w);
    return _mm512_maddubs_epi16(_mm512_abs_epi8(w),
                                _mm512_mask_sub_epi8(x, negative, _mm512_setzero_si512(), x));
}

static ALWAYS_INLINE VI v_dots(VI sum, const VI *w, uint32_t n, const int8_t *x, uint32_t run)
{
    UNROLL
    for (uint32_t i = 0; i < n; i += run) {
        VI h = v_int(0);
        UNROLL
        for (uint32_t k = i; k < i + run; k++) {
            VI b = v_splat4(x + 4 * k);
            VI m = run == 1 ? multiply_signed(w[k], b) : _mm512_maddubs_epi16(w[k], b);
            h = k == i ? m : _mm512_add_epi16(h, m);
            PIN_VECTOR(h);
        }
        sum = _mm512_add_epi32(sum, _mm512_madd_epi16(h, _mm512_set1_epi16(1)));
    }
    return sum;
}

#include "kernel/tile_all.h"

void kernel_matmul_block_avx512f(const struct kernel_mat *w, uint32_t o0, uint32_t o1,
                                 const struct kernel_act *x, float *y, size_t ldy)
{
    tile_matmul(w, o0, o1, x, y, ldy);
}
