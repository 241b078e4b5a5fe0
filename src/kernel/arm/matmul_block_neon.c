/* Products of packed weights by ARMv8.0: byte products are widened in pairs. Twice `run` of them
 * fit 16 bits (kernel/tile.h counts two products a lane, vmull makes one), so they are added there
 * before they are widened again. */
#include "kernel/arm/tile_neon.h"

static ALWAYS_INLINE VI v_dots(VI sum, const VI *w, uint32_t n, const int8_t *x, uint32_t run)
{
    uint32_t fit = 2 * run < n ? 2 * run : n;
    UNROLL
    for (uint32_t i = 0; i < n; i += fit) {
        int16x8_t low = vdupq_n_s16(0), high = low;
        UNROLL
        for (uint32_t k = i; k < i + fit; k++) {
            int8x8_t b = vget_low_s8(bytes_of(v_splat4(x + 4 * k)));
            low = vmlal_s8(low, vget_low_s8(bytes_of(w[k])), b);
            high = vmlal_s8(high, vget_high_s8(bytes_of(w[k])), b);
        }
        sum = vaddq_s32(sum, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
    }
    return sum;
}

#include "kernel/tile_all.h"

void kernel_matmul_block_neon(const struct kernel_mat *w, uint32_t o0, uint32_t o1,
                              const struct kernel_act *x, float *y, size_t ldy)
{
    tile_matmul(w, o0, o1, x, y, ldy);
}
