/* Everything of one row that is no matrix product, in plain C: norms, RoPE, softmax, activations.
 * Sums of norms and softmax are kept in double here: the reference should be the more exact one. */
#include <math.h>
#include <stddef.h>

#include "kernel/reference.h"

void kernel_rmsnorm_c(const float *x, const float *w, float w_plus, float eps, float *y, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    float inv = (float)(1 / sqrt(sum / (double)n + (double)eps));
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] * inv * (w != NULL ? w[i] + w_plus : 1);
}

void kernel_layernorm_c(const float *x, const float *w, const float *b, float eps, float *y,
                        size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i];
    double mean = sum / (double)n;
    double square = 0;
    for (size_t i = 0; i < n; i++)
        square += ((double)x[i] - mean) * ((double)x[i] - mean);
    float inv = (float)(1 / sqrt(square / (double)n + (double)eps));
    for (size_t i = 0; i < n; i++) {
        float v = (float)((double)x[i] - mean) * inv;
        y[i] = v * (w != NULL ? w[i] : 1) + (b != NULL ? b[i] : 0);
    }
}

void kernel_rope_c(float *x, const float *cs, uint32_t n_dims, int adjacent)
{
    uint32_t half = n_dims / 2;
    for (uint32_t i = 0; i < half; i++) {
        float *a = adjacent ? x + 2 * i : x + i;
        float *b = adjacent ? a + 1 : a + half;
        float c = cs[2 * i];
        float s = cs[2 * i + 1];
        float x0 = *a;
        float x1 = *b;
        *a = x0 * c - x1 * s;
        *b = x0 * s + x1 * c;
    }
}

void kernel_softmax_c(float *x, size_t n)
{
    float top = -INFINITY;
    for (size_t i = 0; i < n; i++)
        top = x[i] > top ? x[i] : top;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        x[i] = x[i] == -INFINITY ? 0 : expf(x[i] - top);
        sum += (double)x[i];
    }
    float inv = sum != 0 ? (float)(1 / sum) : 0;
    for (size_t i = 0; i < n; i++)
        x[i] *= inv;
}

void kernel_add_c(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += x[i];
}

void kernel_scale_c(float *y, float s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] *= s;
}

void kernel_silu_mul_c(float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++)
        gate[i] = gate[i] / (1 + expf(-gate[i])) * up[i];
}

/* GELU in its tanh form: Hendrycks, Gimpel 2016 (arXiv 1606.08415), section 2. */
void kernel_gelu_mul_c(float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float x = gate[i];
        float t = tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x));
        gate[i] = 0.5f * x * (1 + t) * up[i];
    }
}

void kernel_softcap_c(float *x, float cap, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = cap * tanhf(x[i] / cap);
}

uint32_t kernel_argmax_c(const float *x, size_t n)
{
    float top = -INFINITY;
    size_t at = 0;
    int seen = 0;
    for (size_t i = 0; i < n; i++)
        if (x[i] > top || (!seen && x[i] == x[i])) {
            top = x[i];
            at = i;
            seen = 1;
        }
    return (uint32_t)at;
}

int kernel_any_nan_c(const float *x, size_t n)
{
    int any = 0;
    for (size_t i = 0; i < n; i++)
        any |= x[i] != x[i];
    return any;
}

double kernel_exp_sum_c(const float *x, float shift, float scale, float *y, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        y[i] = expf((x[i] - shift) * scale);
        sum += (double)y[i];
    }
    return sum;
}

double kernel_sum_from_c(const float *x, float from, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i] >= from ? (double)x[i] : 0;
    return sum;
}

size_t kernel_find_from_c(const float *x, float from, size_t n, uint32_t *ids)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++)
        if (x[i] >= from)
            ids[found++] = (uint32_t)i;
    return found;
}
