/* Operations on one row. Lengths 0..130 take every tail and every alignment; then some real sizes.
 * */
#include <math.h>
#include <string.h>

#include "checkkernel/check.h"

static size_t length(unsigned i)
{
    static const size_t more[] = { 255, 576, 1000, 2048, 4099 };
    return i <= 130 ? i : i - 131 < 5 ? more[i - 131] : SIZE_MAX;
}

#define FOR_LENGTHS(n) \
    for (unsigned i_ = 0; length(i_) != SIZE_MAX; i_++) \
        for (size_t n = length(i_), once_ = 1; once_; once_ = 0)

/* Two equal inputs (one for each implementation to work on in place) between canaries. */
static void in_place(struct check *t, float **x, float **want, size_t n, enum fill kind)
{
    *x = output_floats(n);
    *want = output_floats(n);
    fill(t, *x, n, kind);
    memcpy(*want, *x, n * sizeof **x);
}

static void done(struct check *t)
{
    if (!buffers_intact())
        fail(t, "wrote outside its output");
    buffers_reset();
}

static void check_rmsnorm(struct check *t)
{
    FOR_LENGTHS(n) {
        for (enum fill kind = 0; kind < FILL_KINDS && n > 0; kind++) {
            float *x = input_floats(n);
            float *w = input_floats(n);
            float *y = output_floats(n);
            float *want = output_floats(n);
            fill(t, x, n, kind);
            fill(t, w, n, FILL_NORMAL);
            at(t, "n %zu, data %d", n, kind);
            for (int weight = 0; weight < 2; weight++) {
                t->c.rmsnorm(x, weight ? w : NULL, 1, 1e-6f, want, n);
                t->k.rmsnorm(x, weight ? w : NULL, 1, 1e-6f, y, n);
                expect_close(t, y, want, n, 5e-7, 1e-44);
            }
            memcpy(y, x, n * sizeof *x);
            t->k.rmsnorm(y, w, 1, 1e-6f, y, n);
            expect_close(t, y, want, n, 5e-7, 1e-44);
            done(t);
        }
    }
}

static void check_layernorm(struct check *t)
{
    FOR_LENGTHS(n) {
        for (enum fill kind = 0; kind < FILL_KINDS && n > 0; kind++) {
            float *x = input_floats(n);
            float *w = input_floats(n);
            float *b = input_floats(n);
            float *y = output_floats(n);
            float *want = output_floats(n);
            fill(t, x, n, kind);
            fill(t, w, n, FILL_NORMAL);
            fill(t, b, n, FILL_NORMAL);
            at(t, "n %zu, data %d", n, kind);
            for (int form = 0; form < 4; form++) {
                t->c.layernorm(x, form & 1 ? w : NULL, form & 2 ? b : NULL, 1e-5f, want, n);
                t->k.layernorm(x, form & 1 ? w : NULL, form & 2 ? b : NULL, 1e-5f, y, n);
                expect_close(t, y, want, n, 2e-6, 2e-6);
            }
            done(t);
        }
    }
}

static void check_rope(struct check *t)
{
    for (uint32_t n = 0; n <= 260; n += 2)
        for (int adjacent = 0; adjacent < 2; adjacent++) {
            float *cs = input_floats(n);
            float *x;
            float *want;
            for (uint32_t i = 0; i < n / 2; i++) {
                double angle = rng_unit(&t->rng) * 1000;
                cs[2 * i] = (float)cos(angle);
                cs[2 * i + 1] = (float)sin(angle);
            }
            in_place(t, &x, &want, n, FILL_NORMAL);
            at(t, "n %u, adjacent %d", n, adjacent);
            t->c.rope(want, cs, n, adjacent);
            t->k.rope(x, cs, n, adjacent);
            expect_close(t, x, want, n, 3e-7, 1e-6); /* |x| stays below 6 */
            done(t);
        }
}

static void check_softmax(struct check *t)
{
    FOR_LENGTHS(n) {
        for (int form = 0; form < 6; form++) {
            float *x;
            float *want;
            in_place(t, &x, &want, n, form < 4 ? (enum fill)form : FILL_NORMAL);
            for (size_t i = 0; i < n && form >= 4; i++)
                if (form == 5 || rng_below(&t->rng, 2) != 0)
                    x[i] = want[i] = -INFINITY;
            at(t, "n %zu, form %d", n, form);
            t->c.softmax(want, n);
            t->k.softmax(x, n);
            expect_close(t, x, want, n, 2e-6, 2e-38);
            done(t);
        }
    }
}

static void check_add(struct check *t)
{
    FOR_LENGTHS(n) {
        float *y;
        float *want;
        float *x = input_floats(n);
        fill(t, x, n, FILL_LARGE);
        in_place(t, &y, &want, n, FILL_NORMAL);
        at(t, "n %zu", n);
        t->c.add(want, x, n);
        t->k.add(y, x, n);
        expect_same(t, y, want, n);
        done(t);
    }
}

static void check_scale(struct check *t)
{
    FOR_LENGTHS(n) {
        float *y;
        float *want;
        in_place(t, &y, &want, n, FILL_LARGE);
        at(t, "n %zu", n);
        t->c.scale(want, 0.3f, n);
        t->k.scale(y, 0.3f, n);
        expect_same(t, y, want, n);
        done(t);
    }
}

static void check_gated(struct check *t, void (*c)(float *, const float *, size_t),
                        void (*k)(float *, const float *, size_t))
{
    FOR_LENGTHS(n) {
        for (enum fill kind = 0; kind < FILL_KINDS; kind++) {
            float *gate;
            float *want;
            float *up = input_floats(n);
            fill(t, up, n, FILL_NORMAL);
            in_place(t, &gate, &want, n, kind);
            at(t, "n %zu, data %d", n, kind);
            c(want, up, n);
            k(gate, up, n);
            /* 1 + tanh cancels for negative values: the error is relative to the gate (below 6). */
            expect_close(t, gate, want, n, 2e-6, 4e-6);
            done(t);
        }
    }
}

static void check_silu(struct check *t) { check_gated(t, t->c.silu_mul, t->k.silu_mul); }
static void check_gelu(struct check *t) { check_gated(t, t->c.gelu_mul, t->k.gelu_mul); }

static void check_softcap(struct check *t)
{
    FOR_LENGTHS(n) {
        for (enum fill kind = 0; kind < FILL_KINDS; kind++) {
            float *x;
            float *want;
            in_place(t, &x, &want, n, kind);
            at(t, "n %zu, data %d", n, kind);
            t->c.softcap(want, 30, n);
            t->k.softcap(x, 30, n);
            expect_close(t, x, want, n, 2e-6, 1e-5);
            done(t);
        }
    }
}

static void check_dot(struct check *t)
{
    FOR_LENGTHS(n) {
        for (enum fill kind = 0; kind < FILL_KINDS; kind++) {
            float *a = input_floats(n);
            float *b = input_floats(n);
            fill(t, a, n, kind);
            fill(t, b, n, FILL_NORMAL);
            double sum = 0;
            for (size_t i = 0; i < n; i++)
                sum += fabs((double)a[i] * (double)b[i]);
            at(t, "n %zu, data %d", n, kind);
            float want = t->c.dot(a, b, n);
            float got = t->k.dot(a, b, n);
            /* Each addition rounds by 2^-24; eight lanes make chains of n / 8. */
            expect_close(t, &got, &want, 1, 0, sum * (double)(n / 8 + 8) * 1.2e-7 + 1e-44);
            done(t);
        }
    }
}

static void check_argmax(struct check *t)
{
    FOR_LENGTHS(n) {
        for (int form = 0; form < 5 && n > 0; form++) {
            float *x = input_floats(n);
            fill(t, x, n, FILL_NORMAL);
            for (size_t i = 0; i < n; i++) {
                if (form == 1)
                    x[i] = floorf(x[i]); /* ties */
                if ((form == 2 && rng_below(&t->rng, 2) != 0) || form == 3)
                    x[i] = NAN;
                if (form == 4)
                    x[i] = i % 7 == 5 ? -INFINITY : NAN;
            }
            at(t, "n %zu, form %d", n, form);
            uint32_t want = t->c.argmax(x, n);
            uint32_t got = t->k.argmax(x, n);
            if (got != want)
                fail(t, "index %u, wanted %u", got, want);
            done(t);
        }
    }
}

/* What the sampler asks of a vocabulary's logits. */
static void check_vocabulary(struct check *t)
{
    FOR_LENGTHS(n) {
        for (unsigned form = 0; form < 4; form++) {
            float *x = input_floats(n);
            float *y = output_floats(n);
            float *want = output_floats(n);
            uint32_t *ids = (uint32_t *)(void *)output_floats(n + 16);
            uint32_t *ids_c = (uint32_t *)(void *)output_floats(n + 16);
            fill(t, x, n, form == 3 ? FILL_ZERO : FILL_NORMAL);
            if (form == 1 && n > 0)
                x[rng_below(&t->rng, (uint32_t)n)] = -INFINITY;
            if (form == 2 && n > 0)
                x[rng_below(&t->rng, (uint32_t)n)] = NAN;
            at(t, "n %zu, form %u", n, form);
            if (t->k.any_nan(x, n) != (form == 2 && n > 0))
                fail(t, "NaN not seen, or seen where none is");
            float from = form == 3 ? 0 : 0.5f;
            size_t found = t->k.find_from(x, from, n, ids);
            if (found != t->c.find_from(x, from, n, ids_c) || memcmp(ids, ids_c, 4 * found) != 0)
                fail(t, "finds others");
            double sum = t->c.exp_sum(x, 6, 0.7f, want, n), got = t->k.exp_sum(x, 6, 0.7f, y, n);
            expect_close(t, y, want, n, 2e-6, 2e-38);
            if (form != 2 && !(fabs(got - sum) <= 2e-6 * sum))
                fail(t, "sum of exp is %g, wanted %g", got, sum);
            sum = t->c.sum_from(x, from, n);
            if (!(fabs(t->k.sum_from(x, from, n) - sum) <= 1e-12 * (sum + 1)))
                fail(t, "sum is not %g", sum);
            done(t);
        }
    }
}

static void check_kv_store(struct check *t)
{
    static const uint32_t types[] = { KERNEL_F32, KERNEL_F16, KERNEL_BF16, KERNEL_Q8_0 };
    FOR_LENGTHS(n) {
        for (unsigned form = 0; form < 4 * FILL_KINDS; form++) {
            uint32_t type = types[form % 4];
            size_t bytes = kernel_kv_row_bytes(type, n);
            float *x = input_floats(n);
            uint8_t *got = output_bytes(bytes);
            uint8_t *want = output_bytes(bytes);
            fill(t, x, n, form / 4);
            at(t, "type %u, n %zu, data %u", type, n, form / 4);
            t->c.kv_store(type, x, want, n);
            t->k.kv_store(type, x, got, n);
            expect_bytes(t, got, want, bytes);
            done(t);
        }
    }
}

const struct check_entry checks_vector[] = {
    { "rmsnorm", check_rmsnorm },   { "layernorm", check_layernorm }, { "rope", check_rope },
    { "softmax", check_softmax },   { "add", check_add },             { "scale", check_scale },
    { "silu_mul", check_silu },     { "gelu_mul", check_gelu },       { "softcap", check_softcap },
    { "dot", check_dot },           { "argmax", check_argmax },
    { "over a vocabulary", check_vocabulary },
    { "kv_store", check_kv_store }, { NULL, NULL },
};
