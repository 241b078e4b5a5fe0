/* The gated delta rule, four columns a register; the passes are those of the x86 files: one reading
 * and writing of a panel a row, with four operations a value.
 *
 *     pass t:   s += k[t-1] u[t-1];  out[t-1] += s q[t-1];  s *= g[t];  told[t] += s k[t]
 */
#include <stdbool.h>

#include "kernel/arm/neon.h"
#include "kernel/reference.h"

struct sums {
    float32x4_t u[4], out[4], told[4];
};

/* `before`: finish row t - 1 (kp, qp, u -> out). `after`: begin row t (g, k -> told). */
static ALWAYS_INLINE void pass(const struct kernel_delta *d, float *s, struct sums *a, uint32_t t,
                               bool before, bool after)
{
    size_t now = t * d->ld_k, past = before ? now - d->ld_k : 0;
    const float *kp = d->k + past, *qp = d->q + past, *g = d->decay, *k = d->k;
    if (after) {
        g += now;
        k += now;
    }
    for (int j = 0; j < 4; j++)
        a->out[j] = a->told[j] = vdupq_n_f32(0);
    for (uint32_t i = 0; i < d->k_dim; i++, s += KERNEL_DELTA_PANEL)
        for (int j = 0; j < 4; j++) {
            float32x4_t x = vld1q_f32(s + 4 * j);
            if (before) {
                x = vfmaq_n_f32(x, a->u[j], kp[i]);
                a->out[j] = vfmaq_n_f32(a->out[j], x, qp[i]);
            }
            if (after) {
                x = vmulq_n_f32(x, g[i]);
                a->told[j] = vfmaq_n_f32(a->told[j], x, k[i]);
            }
            vst1q_f32(s + 4 * j, x);
        }
}

static void correct(const struct kernel_delta *d, struct sums *a, uint32_t t, uint32_t c,
                    uint32_t n)
{
    float v[KERNEL_DELTA_PANEL] = { 0 };
    memcpy(v, d->v + t * d->ld_v + c, n * sizeof *v);
    for (int j = 0; j < 4; j++)
        a->u[j] = vmulq_n_f32(vsubq_f32(vld1q_f32(v + 4 * j), a->told[j]),
                              d->beta[t * d->ld_beta]);
}

static void store_panel(float *p, uint32_t n, const float32x4_t x[4])
{
    float v[KERNEL_DELTA_PANEL];
    for (int j = 0; j < 4; j++)
        vst1q_f32(v + 4 * j, x[j]);
    memcpy(p, v, n * sizeof *v);
}

static void delta(const struct kernel_delta *d, uint32_t panel0, uint32_t panel1)
{
    for (uint32_t p = panel0; p < panel1 && d->n_rows > 0; p++) {
        uint32_t c = p * KERNEL_DELTA_PANEL;
        uint32_t n = d->v_dim - c < KERNEL_DELTA_PANEL ? d->v_dim - c : KERNEL_DELTA_PANEL;
        float *s = d->state + (size_t)p * d->k_dim * KERNEL_DELTA_PANEL;
        struct sums a;
        for (int j = 0; j < 4; j++)
            a.u[j] = vdupq_n_f32(0);
        pass(d, s, &a, 0, false, true);
        correct(d, &a, 0, c, n);
        for (uint32_t t = 1; t < d->n_rows; t++) {
            pass(d, s, &a, t, true, true);
            store_panel(d->out + (t - 1) * d->ld_v + c, n, a.out);
            correct(d, &a, t, c, n);
        }
        pass(d, s, &a, d->n_rows, true, false);
        store_panel(d->out + (d->n_rows - 1) * d->ld_v + c, n, a.out);
    }
}

/* --- what stands around it; logarithms are left to the C library --- */

static ALWAYS_INLINE float32x4_t sigmoid4(float32x4_t x)
{
    const float32x4_t one = vdupq_n_f32(1);
    return vdivq_f32(one, vaddq_f32(one, exp4(vnegq_f32(x))));
}

static void conv_silu(const float *w, size_t ld_w, const float *const *taps, uint32_t n_taps,
                      float *y, size_t n)
{
    const float *rest[16];
    size_t c = 0;
    if (n_taps > sizeof rest / sizeof *rest) {
        kernel_conv_silu_c(w, ld_w, taps, n_taps, y, n);
        return;
    }
    for (; c + 4 <= n; c += 4) {
        float32x4_t sum = vdupq_n_f32(0);
        for (uint32_t j = 0; j < n_taps; j++)
            sum = vfmaq_f32(sum, vld1q_f32(w + j * ld_w + c), vld1q_f32(taps[j] + c));
        vst1q_f32(y + c, vmulq_f32(sum, sigmoid4(sum)));
    }
    for (uint32_t j = 0; j < n_taps; j++)
        rest[j] = taps[j] + c;
    kernel_conv_silu_c(w + c, ld_w, rest, n_taps, y + c, n - c);
}

static void sigmoid_mul(float *x, const float *gate, size_t n)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        vst1q_f32(x + i, vmulq_f32(vld1q_f32(x + i), sigmoid4(vld1q_f32(gate + i))));
    kernel_sigmoid_mul_c(x + i, gate + i, n - i);
}

void kernel_init_delta_neon(struct kernel_table *k)
{
    k->delta = delta;
    k->conv_silu = conv_silu;
    k->sigmoid_mul = sigmoid_mul;
}
