/* The gated delta rule, a panel of 16 columns a register. Two panels (16 KiB at 128 keys) run
 * through all rows together: four independent chains of sums hide the latency of each, and every
 * broadcast of a key's number serves 32 columns. The passes are those of delta_avx2.c.
 *
 *     pass t:   s += k[t-1] u[t-1];  out[t-1] += s q[t-1];  s *= g[t];  told[t] += s k[t]
 */
#include <stdbool.h>

#include "kernel/levels.h"
#include "kernel/x86/math_avx512.h"

#define PAIR 2

struct sums {
    __m512 u[PAIR], out[PAIR], told[PAIR];
};

/* FINISH row t - 1 (kp, qp, u -> out), BEGIN row t (g, k -> told). Panels of S are k_dim x 16
 * values apart. `what` is a constant where it is called. */
enum { FINISH = 1, BEGIN = 2 };
static ALWAYS_INLINE void pass(const struct kernel_delta *d, float *s, struct sums *a, uint32_t t,
                               uint32_t n, unsigned what)
{
    const bool before = (what & FINISH) != 0, after = (what & BEGIN) != 0;
    size_t now = t * d->ld_k, past = before ? now - d->ld_k : 0;
    size_t panel = (size_t)d->k_dim * KERNEL_DELTA_PANEL;
    const float *kp = d->k + past, *qp = d->q + past, *g = d->decay, *k = d->k;
    __m512 u[PAIR], out[PAIR], told[PAIR];
    if (after) {
        g += now;
        k += now;
    }
    UNROLL
    for (uint32_t j = 0; j < n; j++) {
        u[j] = a->u[j];
        out[j] = told[j] = _mm512_setzero_ps();
    }
    for (uint32_t i = 0; i < d->k_dim; i++, s += KERNEL_DELTA_PANEL)
        UNROLL
        for (uint32_t j = 0; j < n; j++) {
            __m512 x = _mm512_loadu_ps(s + j * panel);
            if (before) {
                x = _mm512_fmadd_ps(_mm512_set1_ps(kp[i]), u[j], x);
                out[j] = _mm512_fmadd_ps(x, _mm512_set1_ps(qp[i]), out[j]);
            }
            if (after) {
                x = _mm512_mul_ps(x, _mm512_set1_ps(g[i]));
                told[j] = _mm512_fmadd_ps(x, _mm512_set1_ps(k[i]), told[j]);
            }
            _mm512_storeu_ps(s + j * panel, x);
        }
    UNROLL
    for (uint32_t j = 0; j < n; j++) {
        a->out[j] = out[j];
        a->told[j] = told[j];
    }
}

static ALWAYS_INLINE void finish(const struct kernel_delta *d, const struct sums *a, uint32_t t,
                                 uint32_t c, uint32_t n)
{
    UNROLL
    for (uint32_t j = 0; j < n; j++, c += KERNEL_DELTA_PANEL)
        _mm512_mask_storeu_ps(d->out + t * d->ld_v + c, lanes16(d->v_dim - c), a->out[j]);
}

static ALWAYS_INLINE void correct(const struct kernel_delta *d, struct sums *a, uint32_t t,
                                  uint32_t c, uint32_t n)
{
    __m512 beta = _mm512_set1_ps(d->beta[t * d->ld_beta]);
    UNROLL
    for (uint32_t j = 0; j < n; j++, c += KERNEL_DELTA_PANEL) {
        __m512 v = _mm512_maskz_loadu_ps(lanes16(d->v_dim - c), d->v + t * d->ld_v + c);
        a->u[j] = _mm512_mul_ps(beta, _mm512_sub_ps(v, a->told[j]));
    }
}

/* n panels from the one at column c, all rows. */
static ALWAYS_INLINE void panels(const struct kernel_delta *d, uint32_t c, uint32_t n)
{
    float *s = d->state + (size_t)c * d->k_dim;
    struct sums a;
    UNROLL
    for (uint32_t j = 0; j < n; j++)
        a.u[j] = _mm512_setzero_ps();
    pass(d, s, &a, 0, n, BEGIN);
    correct(d, &a, 0, c, n);
    for (uint32_t t = 1; t < d->n_rows; t++) {
        pass(d, s, &a, t, n, FINISH | BEGIN);
        finish(d, &a, t - 1, c, n);
        correct(d, &a, t, c, n);
    }
    pass(d, s, &a, d->n_rows, n, FINISH);
    finish(d, &a, d->n_rows - 1, c, n);
}

static void delta(const struct kernel_delta *d, uint32_t panel0, uint32_t panel1)
{
    uint32_t p = panel0;
    for (; p + PAIR <= panel1; p += PAIR)
        panels(d, p * KERNEL_DELTA_PANEL, PAIR);
    if (p < panel1)
        panels(d, p * KERNEL_DELTA_PANEL, 1);
}

void kernel_init_delta_avx512(struct kernel_table *k) { k->delta = delta; }
