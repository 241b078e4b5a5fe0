/* Products with quantised weights, in the order of kernel/act.h: a block is unpacked once, then
 * multiplied with all activation rows; y carries the sums. The common formats unpack by NEON, the
 * others by the reference's plain loops. Byte products are widened in pairs: two of them fit 16
 * bits (128 * 127 * 2 = 32512), so each vmull takes one vmlal before the pairwise addition to 32
 * bits. */
#include <math.h>

#include "base/num.h"
#include "kernel/act.h"
#include "kernel/arm/neon.h"
#include "kernel/unpack.h"

static ALWAYS_INLINE float half_at(const uint8_t *p) { return kernel_f16_to_f32(load_le16(p)); }

static ALWAYS_INLINE void put(int8_t *q, uint8x16_t v, int offset)
{
    vst1q_s8(q, vsubq_s8(vreinterpretq_s8_u8(v), vdupq_n_s8((int8_t)offset)));
}

static ALWAYS_INLINE uint8x16_t low4(uint8x16_t v) { return vandq_u8(v, vdupq_n_u8(15)); }

static void unpack_q4_0(const uint8_t *block, struct kernel_unpacked *out)
{
    uint8x16_t b = vld1q_u8(block + 2);
    out->scale[0] = half_at(block);
    put(out->q, low4(b), 8);
    put(out->q + 16, vshrq_n_u8(b, 4), 8);
}

static void unpack_q4_k(const uint8_t *block, struct kernel_unpacked *out)
{
    float d = half_at(block);
    float dmin = half_at(block + 2);
    for (uint32_t j = 0; j < 8; j++) {
        uint8_t scale;
        uint8_t min;
        kernel_scale_min_k4(block + 4, j, &scale, &min);
        out->scale[j] = d * (float)scale;
        out->min[j] = -(dmin * (float)min);
    }
    for (int i = 0; i < 8; i++) { /* 16 bytes: half of sub-blocks 2k and 2k + 1 */
        uint8x16_t b = vld1q_u8(block + 16 + 16 * i);
        int8_t *q = out->q + 64 * (i / 2) + 16 * (i % 2);
        put(q, low4(b), 0);
        put(q + 32, vshrq_n_u8(b, 4), 0);
    }
}

static void unpack_q6_k(const uint8_t *block, struct kernel_unpacked *out)
{
    const uint8x16_t three = vdupq_n_u8(3);
    float d = half_at(block + 208);
    for (int j = 0; j < 16; j++)
        out->scale[j] = d * (float)(int8_t)block[192 + j];
    for (int i = 0; i < 4; i++) { /* 16 columns of each of the four groups of a half */
        int at = 16 * (i % 2);
        const uint8_t *ql = block + 64 * (i / 2) + at;
        uint8x16_t l0 = vld1q_u8(ql);
        uint8x16_t l1 = vld1q_u8(ql + 32);
        uint8x16_t h = vld1q_u8(block + 128 + 32 * (i / 2) + at);
        int8_t *q = out->q + 128 * (i / 2) + at;
        put(q, vorrq_u8(low4(l0), vshlq_n_u8(vandq_u8(h, three), 4)), 32);
        put(q + 32, vorrq_u8(low4(l1), vshlq_n_u8(vandq_u8(vshrq_n_u8(h, 2), three), 4)), 32);
        uint8x16_t h2 = vandq_u8(vshrq_n_u8(h, 4), three);
        put(q + 64, vorrq_u8(vshrq_n_u8(l0, 4), vshlq_n_u8(h2, 4)), 32);
        put(q + 96, vorrq_u8(vshrq_n_u8(l1, 4), vshlq_n_u8(vshrq_n_u8(h, 6), 4)), 32);
    }
}

static void (*unpacker(uint32_t type))(const uint8_t *, struct kernel_unpacked *)
{
    switch (type) {
    case KERNEL_Q4_0:
        return unpack_q4_0;
    case KERNEL_Q4_K:
        return unpack_q4_k;
    case KERNEL_Q6_K:
        return unpack_q6_k;
    default:
        return kernel_format(type)->unpack;
    }
}

static ALWAYS_INLINE int32x4_t dot16(int8x16_t a, int8x16_t b)
{
    int16x8_t p = vmull_s8(vget_low_s8(a), vget_low_s8(b));
    return vpaddlq_s16(vmlal_s8(p, vget_high_s8(a), vget_high_s8(b)));
}

/* One block of a weight row times the same columns of one activation row, added to y. */
static ALWAYS_INLINE float add_block(const struct kernel_format *f, uint32_t sub,
                                     const struct kernel_unpacked *u,
                                     const struct kernel_act_row *x, size_t at, float y)
{
    size_t first = at / sub;
    for (uint32_t s = 0; s < f->block_len / sub; s++) {
        const int8_t *wq = u->q + s * sub;
        const int8_t *xq = x->q + at + s * sub;
        int32x4_t v = dot16(vld1q_s8(wq), vld1q_s8(xq));
        if (sub == 32)
            v = vaddq_s32(v, dot16(vld1q_s8(wq + 16), vld1q_s8(xq + 16)));
        y = fmaf((float)vaddvq_s32(v), u->scale[s] * x->d[first + s], y);
        if (f->has_min)
            y = fmaf(u->min[s], x->xs[first + s], y);
    }
    return y;
}

static void multiply_row(const struct kernel_mat *w, uint32_t o, const struct kernel_act *x,
                         float *y, size_t ldy)
{
    const struct kernel_format *f = kernel_format(w->type);
    void (*unpack)(const uint8_t *, struct kernel_unpacked *) = unpacker(w->type);
    const uint8_t *block = (const uint8_t *)w->data + o * w->row_bytes;
    struct kernel_unpacked u;
    for (uint32_t r = 0; r < x->n_rows; r++)
        y[r * ldy] = 0;
    for (size_t at = 0; at < w->n_in; at += f->block_len, block += f->block_bytes) {
        unpack(block, &u);
        for (uint32_t r = 0; r < x->n_rows; r++) {
            struct kernel_act_row row = kernel_act_row(x, r, f->sub);
            float *out = y + r * ldy;
            *out = f->sub == 32 ? add_block(f, 32, &u, &row, at, *out)
                                : add_block(f, 16, &u, &row, at, *out);
        }
    }
}

void kernel_matmul_block_neon(const struct kernel_mat *w, uint32_t o0, uint32_t o1,
                              const struct kernel_act *x, float *y, size_t ldy)
{
    for (uint32_t o = o0; o < o1; o++)
        multiply_row(w, o, x, y + o, ldy);
}
