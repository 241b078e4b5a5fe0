/* Operations on one row: norm, RoPE, softmax, SiLU, dot. Tails take scalar code; sums of squares
 * and of the softmax are kept in double, as in the reference. */
#include <math.h>

#include "kernel/arm/neon.h"
#include "kernel/reference.h"

static ALWAYS_INLINE float64x2_t add_squares(float64x2_t s, float32x4_t v)
{
    float64x2_t lo = vcvt_f64_f32(vget_low_f32(v));
    float64x2_t hi = vcvt_high_f64_f32(v);
    return vfmaq_f64(vfmaq_f64(s, lo, lo), hi, hi);
}

static void rmsnorm(const float *x, const float *w, float w_plus, float eps, float *y, size_t n)
{
    float64x2_t s = vdupq_n_f64(0);
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        s = add_squares(s, vld1q_f32(x + i));
    double sum = vaddvq_f64(s);
    for (; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    float inv = (float)(1 / sqrt(sum / (double)n + (double)eps));
    for (i = 0; i + 4 <= n; i += 4) {
        float32x4_t v = vmulq_n_f32(vld1q_f32(x + i), inv);
        if (w != NULL)
            v = vmulq_f32(v, vaddq_f32(vld1q_f32(w + i), vdupq_n_f32(w_plus)));
        vst1q_f32(y + i, v);
    }
    for (; i < n; i++)
        y[i] = x[i] * inv * (w != NULL ? w[i] + w_plus : 1);
}

static void rope_pair(float *a, float *b, const float *cs)
{
    float x0 = *a;
    float x1 = *b;
    *a = x0 * cs[0] - x1 * cs[1];
    *b = x0 * cs[1] + x1 * cs[0];
}

static void rope(float *x, const float *cs, uint32_t n_dims, int adjacent)
{
    uint32_t half = n_dims / 2;
    uint32_t i = 0;
    for (; i + 4 <= half; i += 4) {
        float32x4x2_t t = vld2q_f32(cs + 2 * i);
        float32x4x2_t v;
        if (adjacent) {
            v = vld2q_f32(x + 2 * i);
        } else {
            v.val[0] = vld1q_f32(x + i);
            v.val[1] = vld1q_f32(x + half + i);
        }
        float32x4x2_t r;
        r.val[0] = vfmsq_f32(vmulq_f32(v.val[0], t.val[0]), v.val[1], t.val[1]);
        r.val[1] = vfmaq_f32(vmulq_f32(v.val[0], t.val[1]), v.val[1], t.val[0]);
        if (adjacent) {
            vst2q_f32(x + 2 * i, r);
        } else {
            vst1q_f32(x + i, r.val[0]);
            vst1q_f32(x + half + i, r.val[1]);
        }
    }
    for (; i < half; i++)
        rope_pair(adjacent ? x + 2 * i : x + i, adjacent ? x + 2 * i + 1 : x + half + i,
                  cs + 2 * i);
}

/* e^(x - top), and 0 for -inf, also where top is -inf itself. */
static ALWAYS_INLINE float32x4_t weight4(float32x4_t x, float32x4_t top)
{
    uint32x4_t none = vceqq_f32(x, vdupq_n_f32(-INFINITY));
    float32x4_t e = exp4(vsubq_f32(x, top));
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(e), none));
}

static void softmax(float *x, size_t n)
{
    float top = -INFINITY;
    for (size_t i = 0; i < n; i++)
        top = x[i] > top ? x[i] : top;
    float64x2_t s = vdupq_n_f64(0);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        float32x4_t e = weight4(vld1q_f32(x + i), vdupq_n_f32(top));
        vst1q_f32(x + i, e);
        s = vaddq_f64(s, vaddq_f64(vcvt_f64_f32(vget_low_f32(e)), vcvt_high_f64_f32(e)));
    }
    double sum = vaddvq_f64(s);
    for (; i < n; i++) {
        x[i] = vgetq_lane_f32(weight4(vdupq_n_f32(x[i]), vdupq_n_f32(top)), 0);
        sum += (double)x[i];
    }
    float inv = sum != 0 ? (float)(1 / sum) : 0;
    for (i = 0; i < n; i++)
        x[i] *= inv;
}

static void silu_mul(float *gate, const float *up, size_t n)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        float32x4_t x = vld1q_f32(gate + i);
        float32x4_t y = vdivq_f32(x, vaddq_f32(vdupq_n_f32(1), exp4(vnegq_f32(x))));
        vst1q_f32(gate + i, vmulq_f32(y, vld1q_f32(up + i)));
    }
    kernel_silu_mul_c(gate + i, up + i, n - i);
}

static float dot(const float *a, const float *b, size_t n)
{
    float32x4_t s[4] = { vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0) };
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (size_t j = 0; j < 4; j++)
            s[j] = vfmaq_f32(s[j], vld1q_f32(a + i + 4 * j), vld1q_f32(b + i + 4 * j));
    for (; i + 4 <= n; i += 4)
        s[0] = vfmaq_f32(s[0], vld1q_f32(a + i), vld1q_f32(b + i));
    float sum = vaddvq_f32(vaddq_f32(vaddq_f32(s[0], s[1]), vaddq_f32(s[2], s[3])));
    for (; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

void kernel_init_vector_neon(struct kernel_table *k)
{
    k->rmsnorm = rmsnorm;
    k->rope = rope;
    k->softmax = softmax;
    k->silu_mul = silu_mul;
    k->dot = dot;
}
