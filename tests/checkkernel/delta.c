/* The gated delta rule and its companions: every level against C, and the same rows cut into calls at
 * every place give the same bits. */
#include <math.h>
#include <string.h>

#include "checkkernel/check.h"

static const uint32_t DIMS[] = { 1, 8, 16, 17, 64, 100, 128 };

/* One head's problem with rows ld apart, as a layer lays them out. */
struct problem {
    struct kernel_delta d;
    uint32_t n_panels;
    size_t state_floats;
};

static void unit(float *x, uint32_t n)
{
    double sum = 1e-6;
    for (uint32_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    for (uint32_t i = 0; i < n; i++)
        x[i] = (float)((double)x[i] / sqrt(sum));
}

/* strong: some decays are so small that what they multiply vanishes. */
static struct problem make(struct check *t, uint32_t n_rows, uint32_t k_dim, uint32_t v_dim,
                           bool strong)
{
    struct problem p = { .d = { .n_rows = n_rows, .k_dim = k_dim, .v_dim = v_dim } };
    size_t last = n_rows - 1;
    p.d.ld_k = k_dim + 5;
    p.d.ld_v = v_dim + 3;
    p.d.ld_beta = 2;
    p.n_panels = (v_dim + KERNEL_DELTA_PANEL - 1) / KERNEL_DELTA_PANEL;
    p.state_floats = (size_t)p.n_panels * k_dim * KERNEL_DELTA_PANEL;
    float *q = input_floats(last * p.d.ld_k + k_dim), *k = input_floats(last * p.d.ld_k + k_dim);
    float *g = input_floats(last * p.d.ld_k + k_dim), *v = input_floats(last * p.d.ld_v + v_dim);
    float *beta = input_floats(last * p.d.ld_beta + 1);
    fill(t, q, last * p.d.ld_k + k_dim, FILL_NORMAL);
    fill(t, k, last * p.d.ld_k + k_dim, FILL_NORMAL);
    fill(t, v, last * p.d.ld_v + v_dim, FILL_NORMAL);
    for (size_t i = 0; i < last * p.d.ld_k + k_dim; i++)
        g[i] = strong && rng_below(&t->rng, 3) == 0 ? 4e-18f : (float)rng_unit(&t->rng);
    for (size_t i = 0; i < last * p.d.ld_beta + 1; i++)
        beta[i] = (float)rng_unit(&t->rng);
    for (uint32_t r = 0; r < n_rows; r++) {
        unit(q + r * p.d.ld_k, k_dim);
        unit(k + r * p.d.ld_k, k_dim);
    }
    p.d.q = q;
    p.d.k = k;
    p.d.decay = g;
    p.d.v = v;
    p.d.beta = beta;
    return p;
}

static struct kernel_delta part(const struct kernel_delta *d, uint32_t from, uint32_t n)
{
    struct kernel_delta x = *d;
    x.n_rows = n;
    x.q += from * d->ld_k;
    x.k += from * d->ld_k;
    x.decay += from * d->ld_k;
    x.v += from * d->ld_v;
    x.out += from * d->ld_v;
    x.beta += from * d->ld_beta;
    return x;
}

static void expect_rows(struct check *t, const struct kernel_delta *d, const float *out,
                        const float *want, bool same)
{
    for (uint32_t r = 0; r < d->n_rows; r++)
        if (same)
            expect_same(t, out + r * d->ld_v, want + r * d->ld_v, d->v_dim);
        else /* values of size one, sums of k_dim products of a unit vector */
            expect_close(t, out + r * d->ld_v, want + r * d->ld_v, d->v_dim, 1e-5, 1e-5);
}

static void one_case(struct check *t, uint32_t k_dim, uint32_t v_dim, bool strong)
{
    enum { ROWS = 19 };
    struct problem p = make(t, ROWS, k_dim, v_dim, strong);
    size_t n_out = (size_t)(ROWS - 1) * p.d.ld_v + v_dim;
    float *out = output_floats(n_out), *want = output_floats(n_out), *cut = output_floats(n_out);
    float *s = output_floats(p.state_floats), *s_want = output_floats(p.state_floats);
    float *s_cut = output_floats(p.state_floats);
    fill(t, s, p.state_floats, FILL_NORMAL);
    memcpy(s_want, s, p.state_floats * sizeof *s);
    memcpy(s_cut, s, p.state_floats * sizeof *s);
    at(t, "k_dim %u, v_dim %u, strong %d", k_dim, v_dim, strong);
    struct kernel_delta d = p.d;
    d.state = s_want;
    d.out = want;
    t->c.delta(&d, 0, p.n_panels);
    d.state = s;
    d.out = out;
    for (uint32_t i = 0; i < p.n_panels; i++)
        t->k.delta(&d, i, i + 1);
    expect_rows(t, &d, out, want, false);
    d.state = s_cut;
    d.out = cut;
    for (uint32_t from = 0, n; from < ROWS; from += n) {
        n = 1 + (uint32_t)rng_below(&t->rng, ROWS - from);
        struct kernel_delta x = part(&d, from, n);
        t->k.delta(&x, 0, p.n_panels);
    }
    expect_rows(t, &d, cut, out, true);
    expect_same(t, s_cut, s, p.state_floats);
    if (!buffers_intact())
        fail(t, "wrote outside its output");
    buffers_reset();
}

static void check_delta(struct check *t)
{
    for (size_t i = 0; i < sizeof DIMS / sizeof *DIMS; i++)
        for (size_t j = 0; j < sizeof DIMS / sizeof *DIMS; j++)
            for (int strong = 0; strong < 2; strong++)
                one_case(t, DIMS[i], DIMS[j], strong);
}

static void check_conv_silu(struct check *t)
{
    for (uint32_t n_taps = 1; n_taps <= 5; n_taps++)
        for (size_t n = 0; n <= 70; n++) {
            const float *taps[5];
            float *w = input_floats((n_taps - 1) * (n + 3) + n);
            float *y = output_floats(n), *want = output_floats(n);
            fill(t, w, (n_taps - 1) * (n + 3) + n, FILL_NORMAL);
            for (uint32_t j = 0; j < n_taps; j++) {
                float *x = input_floats(n);
                fill(t, x, n, FILL_NORMAL);
                taps[j] = x;
            }
            at(t, "n %zu, taps %u", n, n_taps);
            t->c.conv_silu(w, n + 3, taps, n_taps, want, n);
            memcpy(y, taps[n_taps - 1], n * sizeof *y);
            taps[n_taps - 1] = y;
            t->k.conv_silu(w, n + 3, taps, n_taps, y, n);
            expect_close(t, y, want, n, 2e-6, 4e-6); /* the sum may cancel */
            if (!buffers_intact())
                fail(t, "wrote outside its output");
            buffers_reset();
        }
}

static void check_gates(struct check *t)
{
    static const float FACTORS[] = { -0.001f, -1, -16, -300 };
    for (size_t n = 0; n <= 70; n++)
        for (size_t a = 0; a < 4; a++)
            for (enum fill kind = 0; kind < FILL_KINDS; kind++) {
                float *bias = input_floats(n);
                float *f = output_floats(n), *want = output_floats(n);
                fill(t, f, n, kind);
                fill(t, bias, n, FILL_NORMAL);
                for (size_t i = 0; i < n; i++)
                    f[i] = 6 * f[i];
                memcpy(want, f, n * sizeof *f);
                at(t, "n %zu, a %g, data %d", n, (double)FACTORS[a], kind);
                t->c.decay(want, bias, FACTORS[a], n);
                t->k.decay(f, bias, FACTORS[a], n);
                /* ln(1 + e) is off by the rounding of 1 + e, 6e-8, which a multiplies; the exponent,
                 * at most 87, by its own rounding. Below e^-87 the levels give 0. */
                double bound = 7e-6 + 1.5e-7 * fabs((double)FACTORS[a]);
                expect_close(t, f, want, n, bound, 2e-38);
                fill(t, f, n, FILL_NORMAL);
                memcpy(want, f, n * sizeof *f);
                t->c.sigmoid_mul(want, bias, n);
                t->k.sigmoid_mul(f, bias, n);
                expect_close(t, f, want, n, 5e-7, 1e-44);
                if (!buffers_intact())
                    fail(t, "wrote outside its output");
                buffers_reset();
            }
}

const struct check_entry checks_delta[] = {
    { "delta", check_delta },
    { "conv_silu", check_conv_silu },
    { "decay, sigmoid_mul", check_gates },
    { NULL, NULL },
};
