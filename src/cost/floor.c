/* Float matrices and attention are priced at the better of the two float peaks: where bf16 products
 * exist they may be used. Experts: of E experts, n rows that each pick k at random are expected to
 * wake E (1 - (1 - k/E)^n). */
#include "cost/floor.h"

#include <math.h>

#include "base/num.h"
#include "cost/profile.h"

static void add_matrices(struct cost_work *w, const struct cost_matrices *m, double share,
                         double rows)
{
    w->weight_bytes += m->bytes * share;
    w->int8_ops += 2 * m->int_params * rows;
    w->float_ops += 2 * m->float_params * rows;
}

/* Sum over rows pos in [depth, depth + n) of the positions each looks at. */
static double positions(double depth, double n, double window)
{
    double whole = n * depth + n * (n + 1) / 2;
    if (window <= 0 || depth + n <= window)
        return whole;
    double before = depth < window ? window - depth : 0; /* rows that see everything */
    return before * depth + before * (before + 1) / 2 + (n - before) * window;
}

/* State rows read are those before the step that a window, if any, still reaches; written are the
 * step's own, which its later rows find in a cache. */
static double state_bytes(const struct cost_attention *a, const struct cost_step *s)
{
    double before = s->depth;
    if (a->window > 0 && before > a->window - 1)
        before = a->window - 1;
    return a->n_layers * a->bytes_per_token * (before + s->n_rows);
}

struct cost_work cost_step_work(const struct cost_model *m, const struct cost_step *s)
{
    struct cost_work w = { 0 };
    double rows = (double)s->n_seqs * s->n_rows;
    if (rows == 0)
        return w;
    add_matrices(&w, &m->dense, 1, rows);
    if (m->n_experts > 0) {
        double part = (double)m->n_used / m->n_experts;
        add_matrices(&w, &m->experts, 1 - pow(1 - part, rows), rows * part);
    }
    if (s->n_want > 0)
        add_matrices(&w, &m->head, 1, s->n_want);
    for (uint32_t i = 0; i < m->n_attention; i++) {
        const struct cost_attention *a = &m->attention[i];
        w.kv_bytes += s->n_seqs * state_bytes(a, s);
        w.attn_ops += s->n_seqs * a->n_layers * a->ops_per_position *
                      positions(s->depth, s->n_rows, a->window);
    }
    return w;
}

void cost_work_add(struct cost_work *sum, const struct cost_work *w)
{
    sum->weight_bytes += w->weight_bytes;
    sum->kv_bytes += w->kv_bytes;
    sum->int8_ops += w->int8_ops;
    sum->float_ops += w->float_ops;
    sum->attn_ops += w->attn_ops;
}

struct cost_work cost_prefill_work(const struct cost_model *m, uint32_t n_rows, uint32_t depth,
                                   uint32_t chunk)
{
    struct cost_work sum = { 0 };
    ASSERT(chunk > 0);
    for (uint32_t at = 0; at < n_rows; at += chunk) {
        struct cost_step s = { .n_seqs = 1,
                               .n_rows = (uint32_t)num_min(chunk, n_rows - at),
                               .depth = depth + at };
        s.n_want = at + s.n_rows == n_rows;
        struct cost_work w = cost_step_work(m, &s);
        cost_work_add(&sum, &w);
    }
    return sum;
}

struct cost_floor cost_floor_of(const struct cost_profile *p, uint32_t n_threads,
                                const struct cost_work *w, double resident_bytes)
{
    struct cost_ceilings c = cost_profile_at(p, n_threads);
    double bytes = w->weight_bytes + w->kv_bytes;
    double rate = cost_profile_read_rate(p, n_threads, resident_bytes > 0 ? resident_bytes : bytes);
    double floats = c.bf16 > c.fp32 ? c.bf16 : c.fp32;
    struct cost_floor f = { .memory_s = bytes / rate,
                            .compute_s = w->int8_ops / c.int8 +
                                         (w->float_ops + w->attn_ops) / floats };
    f.memory_bound = f.memory_s >= f.compute_s;
    f.seconds = f.memory_bound ? f.memory_s : f.compute_s;
    return f;
}
