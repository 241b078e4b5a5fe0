/* Prefill and decode of a model on random tokens, straight through model_forward: what the engine
 * adds is measured by the server's own figures. Contexts grow from frontier to frontier in sequence
 * 0; the sequences of a batch get copies of its state, so that each reads bytes of its own. */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/rng.h"
#include "cmd/bench.h"

/* Sequence s has blocks [s * n_blocks, (s + 1) * n_blocks) of the slab; sequence 0 more, for the
 * longest prompt. */
struct run {
    struct bench *b;
    struct model_work *work;
    struct rng rng;
    uint8_t *slab;
    uint8_t *slots;    /* (batch_max, slot_bytes) */
    uint32_t *tables;  /* (batch_max, n_table) */
    int32_t *ids;      /* (rows_max) */
    struct model_span *spans;
    uint32_t *want;
    double *samples;   /* (reps) */
    uint32_t n_table, rows_max, batch_max;
    struct cmd_bar bar;
};

static double now(void)
{
    struct clock c = clock_system();
    return (double)clock_now_ns(&c) * 1e-9;
}

static uint32_t largest(const struct bench_list *l)
{
    uint32_t x = 0;
    for (uint32_t i = 0; i < l->n; i++)
        x = l->items[i] > x ? l->items[i] : x;
    return x;
}

static void run_close(struct run *r)
{
    model_work_destroy(r->work);
    mem_free(r->slab);
    mem_free(r->slots);
    mem_free(r->tables);
    mem_free(r->ids);
    mem_free(r->spans);
    mem_free(r->want);
    mem_free(r->samples);
}

/* Bytes of state for all sequences; E_LIMIT if the machine has no such memory. */
static int state_bytes(struct bench *b, size_t n_blocks, size_t *bytes, struct err *err)
{
    const struct model_layout *l = model_layout(b->model.model);
    if (num_mul(bytes, n_blocks, l->block_bytes) < 0 || *bytes > b->profile.memory_bytes / 4 * 3)
        return err_set_field(err, E_LIMIT, "batch",
                             "%u sequences of up to %u tokens: their state does not fit into "
                             "%zu MiB of memory; use a smaller --depth or --batch, or --kv q8",
                             largest(&b->batch), largest(&b->depth) + b->args->n_decode,
                             b->profile.memory_bytes >> 20);
    return 0;
}

static int run_open(struct run *r, struct bench *b, struct err *err)
{
    const struct model_layout *l = model_layout(b->model.model);
    uint32_t depth = largest(&b->depth), batch = largest(&b->batch), first = largest(&b->pp);
    if (b->args->n_decode == 0)
        batch = 1;
    first = (uint32_t)num_max(first, b->args->n_decode);
    uint32_t n_first = (uint32_t)num_ceil_div((size_t)depth + first, l->block_len);
    uint32_t n_other = (uint32_t)num_ceil_div((size_t)depth + b->args->n_decode, l->block_len);
    *r = (struct run){ .b = b, .batch_max = batch, .n_table = (uint32_t)num_max(n_first, 1) };
    r->rows_max = (uint32_t)num_max(b->args->n_rows, batch);
    rng_seed(&r->rng, 1);
    size_t bytes = 0;
    TRY(state_bytes(b, r->n_table + (size_t)(batch - 1) * n_other, &bytes, err));
    r->slab = mem_alloc_aligned(num_max(bytes, 64), 4096);
    r->slots = mem_alloc(batch, l->slot_bytes + 1);
    r->tables = mem_alloc((size_t)batch * r->n_table, sizeof *r->tables);
    r->ids = mem_alloc(r->rows_max, sizeof *r->ids);
    r->spans = mem_alloc(batch, sizeof *r->spans);
    r->want = mem_alloc(r->rows_max, sizeof *r->want);
    r->samples = mem_alloc(b->args->n_reps, sizeof *r->samples);
    if (r->slab == NULL || r->slots == NULL || r->tables == NULL || r->ids == NULL ||
        r->spans == NULL || r->want == NULL || r->samples == NULL)
        return err_set(err, E_NOMEM, "no memory for %zu MiB of state", bytes >> 20);
    memset(r->slab, 0, bytes); /* pages are there before the clock runs */
    for (uint32_t s = 0; s < batch; s++)
        for (uint32_t i = 0; i < r->n_table; i++)
            r->tables[(size_t)s * r->n_table + i] =
                s == 0 ? i : r->n_table + (s - 1) * n_other + (uint32_t)num_min(i, n_other - 1);
    int rc = model_work_create(&r->work, b->model.model, r->rows_max, batch,
                               (uint32_t)num_max((size_t)depth + first, 1));
    return rc < 0 ? err_set(err, rc, "the workspace: %s", err_code_text(rc)) : 0;
}

static void random_ids(struct run *r, uint32_t n)
{
    uint32_t n_vocab = model_info(r->b->model.model)->n_vocab;
    for (uint32_t i = 0; i < n; i++)
        r->ids[i] = (int32_t)rng_below(&r->rng, n_vocab);
}

/* Rows [from, to) of sequence 0, in steps of the rows asked for. */
static int prefill(struct run *r, uint32_t from, uint32_t to)
{
    uint32_t n_rows = r->b->args->n_rows;
    for (uint32_t at = from; at < to; at += n_rows) {
        uint32_t n = (uint32_t)num_min(n_rows, to - at);
        random_ids(r, n);
        r->spans[0] = (struct model_span){
            .n_rows = n, .pos0 = at, .blocks = r->tables, .slot = r->slots
        };
        r->want[0] = n - 1;
        struct model_batch batch = { .ids = r->ids,
                                     .n_rows = n,
                                     .spans = r->spans,
                                     .n_spans = 1,
                                     .slab = r->slab,
                                     .want = r->want,
                                     .n_want = at + n == to };
        const float *logits;
        TRY(model_forward(r->b->model.model, r->work, &batch, &logits));
    }
    return 0;
}

static int decode(struct run *r, uint32_t n_seqs, uint32_t from, uint32_t n)
{
    size_t slot_bytes = model_layout(r->b->model.model)->slot_bytes;
    for (uint32_t pos = from; pos < from + n; pos++) {
        random_ids(r, n_seqs);
        for (uint32_t s = 0; s < n_seqs; s++) {
            r->spans[s] = (struct model_span){ .row0 = s,
                                               .n_rows = 1,
                                               .pos0 = pos,
                                               .blocks = r->tables + (size_t)s * r->n_table,
                                               .slot = r->slots + s * slot_bytes };
            r->want[s] = s;
        }
        struct model_batch batch = { .ids = r->ids,
                                     .n_rows = n_seqs,
                                     .spans = r->spans,
                                     .n_spans = n_seqs,
                                     .slab = r->slab,
                                     .want = r->want,
                                     .n_want = n_seqs };
        const float *logits;
        TRY(model_forward(r->b->model.model, r->work, &batch, &logits));
    }
    return 0;
}

/* State of sequence 0 up to depth, for the others of a batch. */
static void copy_context(struct run *r, uint32_t n_seqs, uint32_t depth)
{
    const struct model_layout *l = model_layout(r->b->model.model);
    uint32_t n = (uint32_t)num_ceil_div(depth, l->block_len);
    for (uint32_t s = 1; s < n_seqs; s++) {
        for (uint32_t i = 0; i < n; i++)
            memcpy(r->slab + r->tables[(size_t)s * r->n_table + i] * l->block_bytes,
                   r->slab + r->tables[i] * l->block_bytes, l->block_bytes);
        memcpy(r->slots + s * l->slot_bytes, r->slots, l->slot_bytes);
    }
}

/* Fills floor and the rest from what the whole measurement must move and do. */
static void set_floor(struct run *r, struct bench_result *res, const struct cost_work *w,
                      double kv_tokens)
{
    const struct bench *b = r->b;
    const struct model *m = b->model.model;
    double resident = (double)model_info(m)->weight_bytes +
                      kv_tokens * (double)model_layout_bytes_per_token(model_layout(m));
    struct cost_floor f = cost_floor_of(&b->profile, b->n_threads, w, resident);
    res->floor = (double)res->n_tokens * res->batch / f.seconds;
    res->memory_bound = f.memory_bound;
    res->bytes = w->weight_bytes + w->kv_bytes;
    res->ops = w->int8_ops + w->float_ops + w->attn_ops;
}

static int finish(struct run *r, struct bench_result *res, int rc, struct err *err)
{
    cmd_bar_end(&r->bar);
    if (rc < 0)
        return err_set(err, rc, "%s: %s", res->name, err_code_text(rc));
    bench_summarise(res, r->samples, r->b->args->n_reps);
    bench_report(r->b, res);
    return 0;
}

static int measure_prefill(struct run *r, const char *kv, uint32_t n, uint32_t depth,
                           struct err *err)
{
    const struct bench_args *a = r->b->args;
    struct bench_result res = { .name = "prefill", .kv = kv, .n_tokens = n, .depth = depth,
                                .batch = 1 };
    struct cost_work w = cost_prefill_work(&r->b->cost, n, depth, a->n_rows);
    set_floor(r, &res, &w, (double)depth + n);
    cmd_bar_begin(&r->bar, &a->common, res.name);
    int rc = prefill(r, depth, depth + (uint32_t)num_min(n, 32)); /* warms up */
    for (uint32_t i = 0; rc == 0 && i < a->n_reps; i++) {
        cmd_bar_update(&r->bar, i, a->n_reps, "runs");
        double t = now();
        rc = prefill(r, depth, depth + n);
        r->samples[i] = n / (now() - t);
    }
    return finish(r, &res, rc, err);
}

static int measure_decode(struct run *r, const char *kv, uint32_t n_seqs, uint32_t depth,
                          struct err *err)
{
    const struct bench_args *a = r->b->args;
    struct bench_result res = { .name = "decode", .kv = kv, .n_tokens = a->n_decode,
                                .depth = depth, .batch = n_seqs };
    struct cost_work w = { 0 };
    for (uint32_t i = 0; i < a->n_decode; i++) {
        struct cost_step s = { .n_seqs = n_seqs, .n_rows = 1, .depth = depth + i,
                               .n_want = n_seqs };
        struct cost_work one = cost_step_work(&r->b->cost, &s);
        cost_work_add(&w, &one);
    }
    set_floor(r, &res, &w, (double)n_seqs * depth);
    copy_context(r, n_seqs, depth);
    cmd_bar_begin(&r->bar, &a->common, res.name);
    int rc = decode(r, n_seqs, depth, (uint32_t)num_min(a->n_decode, 2)); /* warms up */
    for (uint32_t i = 0; rc == 0 && i < a->n_reps; i++) {
        cmd_bar_update(&r->bar, i, a->n_reps, "runs");
        double t = now();
        rc = decode(r, n_seqs, depth, a->n_decode);
        r->samples[i] = (double)a->n_decode * n_seqs / (now() - t);
    }
    return finish(r, &res, rc, err);
}

static int measure_all(struct run *r, const char *kv, struct err *err)
{
    const struct bench *b = r->b;
    uint32_t at = 0;
    for (uint32_t d = 0; d < b->depth.n; d++) {
        uint32_t depth = b->depth.items[d];
        int rc = prefill(r, at, depth);
        if (rc < 0)
            return err_set(err, rc, "the first %u tokens: %s", depth, err_code_text(rc));
        at = depth;
        for (uint32_t i = 0; i < b->pp.n; i++)
            if (b->pp.items[i] > 0)
                TRY(measure_prefill(r, kv, b->pp.items[i], depth, err));
        for (uint32_t i = 0; i < b->batch.n && b->args->n_decode > 0; i++)
            TRY(measure_decode(r, kv, b->batch.items[i], depth, err));
    }
    return 0;
}

int bench_model_run(struct bench *b, const char *kv, struct err *err)
{
    struct run r;
    int rc = run_open(&r, b, err);
    if (rc == 0)
        rc = measure_all(&r, kv, err);
    run_close(&r);
    return rc;
}
