/* The gated delta rule and what stands around it in a layer, in plain C (Kimi Delta Attention,
 * arXiv 2510.26692, section 3; architectures 5.2).
 *
 * Why row by row also for prompts, and not by chunks: on a processor without matrix units the chunk
 * form saves no multiply-adds. For 128 x 128 a row costs 4 x 128 x 128 here; a chunk of 64 rows
 * costs 4.3 x 128 x 128 a row, most of it in the products with S that stand in both forms. What
 * the chunk form wins elsewhere is that S is not read again for each row; here columns of S are
 * independent, so 16 of them (8 KiB) stay in the first-level cache for all rows of a call. And a
 * row then has one arithmetic, wherever a prompt is cut: the promise that shared, reloaded and
 * computed state give equal bits needs exactly that. No exponent is ever positive. */
#include <math.h>

#include "kernel/reference.h"

/* One column c of S; column values lie KERNEL_DELTA_PANEL apart. */
static void column(const struct kernel_delta *d, uint32_t c)
{
    float *s = d->state + (size_t)(c / KERNEL_DELTA_PANEL) * d->k_dim * KERNEL_DELTA_PANEL +
               c % KERNEL_DELTA_PANEL;
    for (uint32_t t = 0; t < d->n_rows; t++) {
        const float *q = d->q + t * d->ld_k, *k = d->k + t * d->ld_k, *g = d->decay + t * d->ld_k;
        float told = 0, out = 0;
        for (uint32_t i = 0; i < d->k_dim; i++) {
            s[(size_t)i * KERNEL_DELTA_PANEL] *= g[i];
            told += s[(size_t)i * KERNEL_DELTA_PANEL] * k[i];
        }
        float u = d->beta[t * d->ld_beta] * (d->v[t * d->ld_v + c] - told);
        for (uint32_t i = 0; i < d->k_dim; i++) {
            s[(size_t)i * KERNEL_DELTA_PANEL] += k[i] * u;
            out += s[(size_t)i * KERNEL_DELTA_PANEL] * q[i];
        }
        d->out[t * d->ld_v + c] = out;
    }
}

void kernel_delta_c(const struct kernel_delta *d, uint32_t panel0, uint32_t panel1)
{
    for (uint32_t c = panel0 * KERNEL_DELTA_PANEL;
         c < panel1 * KERNEL_DELTA_PANEL && c < d->v_dim; c++)
        column(d, c);
}

void kernel_conv_silu_c(const float *w, size_t ld_w, const float *const *taps, uint32_t n_taps,
                        float *y, size_t n)
{
    for (size_t c = 0; c < n; c++) {
        float sum = 0;
        for (uint32_t j = 0; j < n_taps; j++)
            sum += w[j * ld_w + c] * taps[j][c];
        y[c] = sum / (1 + expf(-sum));
    }
}

void kernel_decay_c(float *f, const float *bias, float a, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float x = f[i] + bias[i];
        float softplus = (x > 0 ? x : 0) + log1pf(expf(-fabsf(x)));
        f[i] = expf(a * softplus);
    }
}

void kernel_sigmoid_mul_c(float *x, const float *gate, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] *= 1 / (1 + expf(-gate[i]));
}
