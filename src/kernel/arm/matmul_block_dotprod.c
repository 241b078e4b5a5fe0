/* Products of packed weights by the dot-product instruction (ARMv8.2): four bytes a lane. */
#include "kernel/arm/tile_neon.h"

static ALWAYS_INLINE VI v_dots(VI sum, const VI *w, uint32_t n, const int8_t *x, uint32_t run)
{
    (void)run;
    UNROLL
    for (uint32_t i = 0; i < n; i++)
        sum = vdotq_s32(sum, bytes_of(w[i]), bytes_of(v_splat4(x + 4 * i)));
    return sum;
}

#include "kernel/tile_all.h"

void kernel_matmul_block_dotprod(const struct kernel_mat *w, uint32_t o0, uint32_t o1,
                                 const struct kernel_act *x, float *y, size_t ldy)
{
    tile_matmul(w, o0, o1, x, y, ldy);
}
