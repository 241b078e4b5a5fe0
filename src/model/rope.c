#include "model/rope.h"

#include <math.h>
#include <stddef.h>

#define TWO_PI 6.283185307179586476925

static double clamp01(double x) { return x < 0 ? 0 : x > 1 ? 1 : x; }

/* The base that stretches wave lengths so that the longest grows by `stretch` (NTK-aware scaling).
 */
static double ntk_base(const struct rope_params *p, double stretch)
{
    double d = p->n_dims;
    return p->base * pow(stretch, d / (d - 2));
}

static double effective_base(const struct rope_params *p)
{
    if (p->kind == ROPE_NTK && p->n_dims > 2)
        return ntk_base(p, p->factor);
    if (p->kind == ROPE_DYNAMIC && p->n_dims > 2 && p->length > p->n_ctx_orig)
        return ntk_base(p, p->factor * p->length / p->n_ctx_orig - (p->factor - 1));
    return p->base;
}

/* Llama 3.1: waves longer than orig / low are slowed by the factor, those shorter than orig / high
 * kept. */
static double llama3_inv(const struct rope_params *p, double inv)
{
    double wave = TWO_PI / inv;
    double s = clamp01((p->n_ctx_orig / wave - p->low_freq) / (p->high_freq - p->low_freq));
    return (1 - s) * inv / p->factor + s * inv;
}

/* The pair that turns n times over the original context (YaRN, section 3.2). */
static double yarn_pair(const struct rope_params *p, double n)
{
    return p->n_dims * log(p->n_ctx_orig / (TWO_PI * n)) / (2 * log(p->base));
}

static double yarn_inv(const struct rope_params *p, double inv, uint32_t i)
{
    double lo = fmax(floor(yarn_pair(p, p->beta_fast)), 0);
    double hi = fmin(ceil(yarn_pair(p, p->beta_slow)), p->n_dims - 1.0);
    double ramp = clamp01((i - lo) / (hi == lo ? 0.001 : hi - lo));
    return inv * (1 - ramp) + inv / p->factor * ramp;
}

static double pair_inv(const struct rope_params *p, double base, uint32_t i)
{
    double inv = pow(base, -2.0 * i / p->n_dims);
    if (p->kind == ROPE_LINEAR)
        inv /= p->factor;
    else if (p->kind == ROPE_LLAMA3)
        inv = llama3_inv(p, inv);
    else if (p->kind == ROPE_YARN)
        inv = yarn_inv(p, inv, i);
    return p->factors != NULL ? inv / (double)p->factors[i] : inv;
}

static bool is_stretch_sane(const struct rope_params *p)
{
    if (!(p->factor > 0) || !isfinite(p->factor))
        return false;
    switch (p->kind) {
    case ROPE_LLAMA3: return p->n_ctx_orig > 0 && p->high_freq > p->low_freq;
    case ROPE_YARN: return p->n_ctx_orig > 0 && p->beta_fast > 0 && p->beta_slow > 0;
    case ROPE_DYNAMIC: return p->n_ctx_orig > 0;
    default: return true;
    }
}

static bool is_sane(const struct rope_params *p)
{
    return p->n_dims >= 2 && p->n_dims % 2 == 0 && p->base > 1 && isfinite(p->base) &&
           isfinite(p->magnitude) && (p->kind == ROPE_PLAIN || is_stretch_sane(p));
}

int rope_init(struct rope *r, const struct rope_params *p, double *inv)
{
    if (!is_sane(p))
        return E_RANGE;
    double base = effective_base(p);
    for (uint32_t i = 0; i < p->n_dims / 2; i++) {
        inv[i] = pair_inv(p, base, i);
        if (!isfinite(inv[i]))
            return E_RANGE;
    }
    *r = (struct rope){
        .n_dims = p->n_dims, .adjacent = p->adjacent, .magnitude = p->magnitude, .inv = inv
    };
    return 0;
}

void rope_row(const struct rope *r, uint32_t pos, float *cs)
{
    for (uint32_t i = 0; i < r->n_dims / 2; i++) {
        double angle = pos * r->inv[i];
        cs[2 * (size_t)i] = (float)(cos(angle) * r->magnitude);
        cs[2 * (size_t)i + 1] = (float)(sin(angle) * r->magnitude);
    }
}
