/* Products of packed weights by VNNI: one instruction multiplies and adds 64 bytes. */
#include "kernel/kernel.h"
#include "kernel/x86/avx512.h"
#include "kernel/x86/tile_avx512.h"

#define TILE_ROWS 12
#define TILE_SIGNED 0

static ALWAYS_INLINE VI v_pair(VI sum, VI w, const int16_t *x)
{
    return _mm512_dpwssd_epi32(sum, w, v_splat4(x));
}

static ALWAYS_INLINE VI v_dots(VI sum, const VI *w, uint32_t n, const int8_t *x, uint32_t run)
{
    (void)run;
    UNROLL
    for (uint32_t i = 0; i < n; i++)
        sum = _mm512_dpbusd_epi32(sum, w[i], v_splat4(x + 4 * i));
    return sum;
}

#include "kernel/tile.h"
#include "kernel/tile_all.h"

void kernel_matmul_block_avx512(const struct kernel_mat *w, uint32_t o0, uint32_t o1,
                                const struct kernel_act *x, float *y, size_t ldy)
{
    tile_matmul(w, o0, o1, x, y, ldy);
}
