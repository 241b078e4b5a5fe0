/* The gated delta rule, eight columns a register. A panel of 16 columns runs through all rows
 * before the next one, so its k_dim x 16 values stay in the first-level cache. One pass over the
 * panel serves two rows: it finishes the update of row t - 1, whose output it sums, and decays for
 * row t, whose k it multiplies with. So S is read and written once a row, with four operations a
 * value.
 *
 *     pass t:   s += k[t-1] u[t-1];  out[t-1] += s q[t-1];  s *= g[t];  told[t] += s k[t]
 *
 * Every value of S takes the same operations in the same order wherever the rows are cut. */
#include <stdbool.h>

#include "kernel/x86/avx2.h"

struct sums {
    __m256 u[2], out[2], told[2];
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
    __m256 u0 = a->u[0], u1 = a->u[1], zero = _mm256_setzero_ps();
    __m256 out0 = zero, out1 = zero, told0 = zero, told1 = zero;
    for (uint32_t i = 0; i < d->k_dim; i++, s += KERNEL_DELTA_PANEL) {
        __m256 s0 = _mm256_loadu_ps(s), s1 = _mm256_loadu_ps(s + 8);
        if (before) {
            __m256 x = _mm256_broadcast_ss(kp + i), y = _mm256_broadcast_ss(qp + i);
            s0 = _mm256_fmadd_ps(x, u0, s0);
            s1 = _mm256_fmadd_ps(x, u1, s1);
            out0 = _mm256_fmadd_ps(s0, y, out0);
            out1 = _mm256_fmadd_ps(s1, y, out1);
        }
        if (after) {
            __m256 x = _mm256_broadcast_ss(g + i), y = _mm256_broadcast_ss(k + i);
            s0 = _mm256_mul_ps(s0, x);
            s1 = _mm256_mul_ps(s1, x);
            told0 = _mm256_fmadd_ps(s0, y, told0);
            told1 = _mm256_fmadd_ps(s1, y, told1);
        }
        _mm256_storeu_ps(s, s0);
        _mm256_storeu_ps(s + 8, s1);
    }
    a->out[0] = out0;
    a->out[1] = out1;
    a->told[0] = told0;
    a->told[1] = told1;
}

/* n <= 16 values behind p, zeros past them. */
static void load_panel(const float *p, uint32_t n, __m256 v[2])
{
    v[0] = load_tail(p, n < 8 ? n : 8);
    v[1] = load_tail(p + 8, n < 8 ? 0 : n - 8);
}

static void store_panel(float *p, uint32_t n, const __m256 v[2])
{
    store_tail(p, n < 8 ? n : 8, v[0]);
    store_tail(p + 8, n < 8 ? 0 : n - 8, v[1]);
}

static void correct(const struct kernel_delta *d, struct sums *a, uint32_t t, uint32_t c,
                    uint32_t n)
{
    __m256 v[2], beta = _mm256_broadcast_ss(d->beta + t * d->ld_beta);
    load_panel(d->v + t * d->ld_v + c, n, v);
    for (int j = 0; j < 2; j++)
        a->u[j] = _mm256_mul_ps(beta, _mm256_sub_ps(v[j], a->told[j]));
}

static void delta(const struct kernel_delta *d, uint32_t panel0, uint32_t panel1)
{
    for (uint32_t p = panel0; p < panel1 && d->n_rows > 0; p++) {
        uint32_t c = p * KERNEL_DELTA_PANEL;
        uint32_t n = d->v_dim - c < KERNEL_DELTA_PANEL ? d->v_dim - c : KERNEL_DELTA_PANEL;
        float *s = d->state + (size_t)p * d->k_dim * KERNEL_DELTA_PANEL;
        struct sums a = { 0 };
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

/* --- what stands around it, one value a lane --- */

static ALWAYS_INLINE __m256 load_at(const float *x, size_t n)
{
    return n >= 8 ? _mm256_loadu_ps(x) : load_tail(x, n);
}

static ALWAYS_INLINE void store_at(float *x, size_t n, __m256 v)
{
    if (n >= 8)
        _mm256_storeu_ps(x, v);
    else
        store_tail(x, n, v);
}

static ALWAYS_INLINE __m256 sigmoid8(__m256 x)
{
    const __m256 one = _mm256_set1_ps(1), sign = _mm256_set1_ps(-0.0f);
    return _mm256_div_ps(one, _mm256_add_ps(one, exp8(_mm256_xor_ps(sign, x))));
}

/* ln of values in [1, 2] (Cephes logf's polynomial on [sqrt(1/2), sqrt(2)]). */
static ALWAYS_INLINE __m256 log8(__m256 w)
{
    __m256 big = _mm256_cmp_ps(w, _mm256_set1_ps(1.41421356f), _CMP_GT_OQ);
    w = _mm256_blendv_ps(w, _mm256_mul_ps(w, _mm256_set1_ps(0.5f)), big);
    __m256 x = _mm256_sub_ps(w, _mm256_set1_ps(1)), z = _mm256_mul_ps(x, x);
    __m256 p = _mm256_set1_ps(7.0376836292e-2f);
    p = _mm256_fmadd_ps(p, x, _mm256_set1_ps(-1.1514610310e-1f));
    p = _mm256_fmadd_ps(p, x, _mm256_set1_ps(1.1676998740e-1f));
    p = _mm256_fmadd_ps(p, x, _mm256_set1_ps(-1.2420140846e-1f));
    p = _mm256_fmadd_ps(p, x, _mm256_set1_ps(1.4249322787e-1f));
    p = _mm256_fmadd_ps(p, x, _mm256_set1_ps(-1.6668057665e-1f));
    p = _mm256_fmadd_ps(p, x, _mm256_set1_ps(2.0000714765e-1f));
    p = _mm256_fmadd_ps(p, x, _mm256_set1_ps(-2.4999993993e-1f));
    p = _mm256_fmadd_ps(p, x, _mm256_set1_ps(3.3333331174e-1f));
    p = _mm256_mul_ps(_mm256_mul_ps(p, x), z);
    p = _mm256_fnmadd_ps(z, _mm256_set1_ps(0.5f), p);
    return _mm256_add_ps(_mm256_add_ps(x, p), _mm256_and_ps(big, _mm256_set1_ps(0.69314718f)));
}

static void conv_silu(const float *w, size_t ld_w, const float *const *taps, uint32_t n_taps,
                      float *y, size_t n)
{
    for (size_t c = 0; c < n; c += 8) {
        __m256 sum = _mm256_setzero_ps();
        for (uint32_t j = 0; j < n_taps; j++)
            sum = _mm256_fmadd_ps(load_at(w + j * ld_w + c, n - c), load_at(taps[j] + c, n - c),
                                  sum);
        store_at(y + c, n - c, _mm256_mul_ps(sum, sigmoid8(sum)));
    }
}

static void decay(float *f, const float *bias, float a, size_t n)
{
    const __m256 sign = _mm256_set1_ps(-0.0f), zero = _mm256_setzero_ps(), one = _mm256_set1_ps(1);
    for (size_t i = 0; i < n; i += 8) {
        __m256 x = _mm256_add_ps(load_at(f + i, n - i), load_at(bias + i, n - i));
        __m256 e = exp8(_mm256_or_ps(sign, x)); /* e^-|x|, in [0, 1] */
        __m256 soft = _mm256_add_ps(_mm256_max_ps(zero, x), log8(_mm256_add_ps(one, e)));
        store_at(f + i, n - i, exp8(_mm256_mul_ps(_mm256_set1_ps(a), soft)));
    }
}

static void sigmoid_mul(float *x, const float *gate, size_t n)
{
    for (size_t i = 0; i < n; i += 8)
        store_at(x + i, n - i,
                 _mm256_mul_ps(load_at(x + i, n - i), sigmoid8(load_at(gate + i, n - i))));
}

void kernel_init_delta_avx2(struct kernel_table *k)
{
    k->delta = delta;
    k->conv_silu = conv_silu;
    k->decay = decay;
    k->sigmoid_mul = sigmoid_mul;
}
