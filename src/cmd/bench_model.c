/* Prefill and decode of a model on random tokens, straight through model_forward: what the engine
 * adds is measured by the server's own figures. All sequences of a batch share the blocks of the
 * common depth, as sequences with a shared prefix do. */
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/rng.h"
#include "cmd/bench.h"

/* Blocks: [0, n_shared) hold the depth, then each sequence has n_own of its own. */
struct run {
    struct model_work *work;
    uint8_t *slab;
    uint8_t *slots;
    uint32_t *tables;      /* (batch, n_shared + n_own) */
    int32_t *ids;          /* (rows) */
    struct model_span *spans;
    uint32_t *want;
    uint32_t n_shared, n_own, batch, rows_max;
    size_t slot_bytes;
};

static void run_close(struct run *r)
{
    model_work_destroy(r->work);
    mem_free(r->slab);
    mem_free(r->slots);
    mem_free(r->tables);
    mem_free(r->ids);
    mem_free(r->spans);
    mem_free(r->want);
}

static void fill_tables(struct run *r)
{
    uint32_t n = r->n_shared + r->n_own;
    for (uint32_t s = 0; s < r->batch; s++)
        for (uint32_t i = 0; i < n; i++)
            r->tables[s * n + i] = i < r->n_shared ? i : s * r->n_own + i;
}

static int run_open(struct run *r, struct bench *b, uint32_t depth, uint32_t n_more, uint32_t batch)
{
    const struct model *m = b->model.model;
    const struct model_layout *l = model_layout(m);
    uint32_t rows_max = (uint32_t)num_max(b->args->n_rows, batch);
    uint32_t n_shared = depth / l->block_len;
    uint32_t n_own = (uint32_t)num_ceil_div(depth % l->block_len + n_more, l->block_len);
    *r = (struct run){ .n_shared = n_shared,
                       .n_own = n_own,
                       .batch = batch,
                       .rows_max = rows_max,
                       .slot_bytes = l->slot_bytes };
    size_t bytes;
    TRY(num_mul(&bytes, n_shared + (size_t)batch * n_own, l->block_bytes));
    r->slab = mem_alloc_aligned(bytes, 4096);
    r->slots = mem_alloc(batch, l->slot_bytes + 1);
    r->tables = mem_alloc((size_t)batch * (n_shared + n_own), sizeof *r->tables);
    r->ids = mem_alloc(rows_max, sizeof *r->ids);
    r->spans = mem_alloc(batch, sizeof *r->spans);
    r->want = mem_alloc(rows_max, sizeof *r->want);
    if (r->slab == NULL || r->slots == NULL || r->tables == NULL || r->ids == NULL ||
        r->spans == NULL || r->want == NULL)
        return E_NOMEM;
    memset(r->slab, 0, bytes); /* pages are there before the clock runs */
    fill_tables(r);
    return model_work_create(&r->work, m, rows_max, batch, depth + n_more);
}

static void random_ids(struct run *r, const struct model *m, struct rng *rng, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        r->ids[i] = (int32_t)rng_below(rng, model_info(m)->n_vocab);
}

/* Rows [from, to) of sequence 0, in steps of rows_max. */
static int prefill(struct run *r, struct bench *b, uint32_t from, uint32_t to, struct rng *rng)
{
    for (uint32_t at = from; at < to; at += r->rows_max) {
        uint32_t n = (uint32_t)num_min(r->rows_max, to - at);
        random_ids(r, b->model.model, rng, n);
        r->spans[0] = (struct model_span){ .n_rows = n, .pos0 = at, .blocks = r->tables,
                                           .slot = r->slots };
        r->want[0] = n - 1;
        struct model_batch batch = { .ids = r->ids, .n_rows = n, .spans = r->spans, .n_spans = 1,
                                     .slab = r->slab, .want = r->want, .n_want = at + n == to };
        const float *logits;
        TRY(model_forward(b->model.model, r->work, &batch, &logits));
    }
    return 0;
}

static int decode_step(struct run *r, struct bench *b, uint32_t pos, struct rng *rng)
{
    uint32_t n_table = r->n_shared + r->n_own;
    random_ids(r, b->model.model, rng, r->batch);
    for (uint32_t s = 0; s < r->batch; s++) {
        r->spans[s] = (struct model_span){ .row0 = s, .n_rows = 1, .pos0 = pos,
                                           .blocks = r->tables + (size_t)s * n_table,
                                           .slot = r->slots + s * r->slot_bytes };
        r->want[s] = s;
    }
    struct model_batch batch = { .ids = r->ids, .n_rows = r->batch, .spans = r->spans,
                                 .n_spans = r->batch, .slab = r->slab, .want = r->want,
                                 .n_want = r->batch };
    const float *logits;
    return model_forward(b->model.model, r->work, &batch, &logits);
}

/* Weights that every token multiplies with (no embedding table, no head), and whether most of their
 * bytes are integers. */
static uint64_t matmul_params(const struct bench *b, bool *integer)
{
    uint64_t n = 0;
    uint64_t int_bytes = 0;
    uint64_t float_bytes = 0;
    for (uint32_t i = 0; i < model_file_n_tensors(b->model.file); i++) {
        const struct model_tensor *t = model_file_tensor_at(b->model.file, i);
        bool block = t->name.len > 4 && memcmp(t->name.data, "blk.", 4) == 0;
        if (!block || t->n_dims < 2)
            continue;
        n += t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
        bool is_float = t->type == KERNEL_F32 || t->type == KERNEL_F16 || t->type == KERNEL_BF16;
        *(is_float ? &float_bytes : &int_bytes) += t->bytes;
    }
    *integer = int_bytes > float_bytes;
    return n;
}

static int failed(int rc, const char *what, struct err *err)
{
    return rc == 0 ? 0 : err_set(err, rc, "%s: %s", what, err_code_text(rc));
}

int bench_prefill(struct bench *b, uint32_t n_tokens, struct err *err)
{
    char name[64];
    struct bench_result res = { .name = name, .unit = "tokens/s", .n_tokens = n_tokens, .batch = 1,
                                .of_model = true };
    snprintf(name, sizeof name, "prefill %u", n_tokens);
    bool integer = false;
    double ops = 2.0 * (double)matmul_params(b, &integer);
    res.floor = (integer ? b->int8_peak : b->fp32_peak) / ops;
    struct run r;
    struct rng rng;
    rng_seed(&rng, 1);
    double *samples = mem_alloc(b->args->n_reps, sizeof *samples);
    int rc = samples != NULL ? run_open(&r, b, 0, n_tokens, 1) : E_NOMEM;
    for (uint32_t i = 0; rc == 0 && i <= b->args->n_reps; i++) {
        double t = bench_now();
        rc = prefill(&r, b, 0, n_tokens, &rng);
        if (i > 0) /* the first run warms up */
            samples[i - 1] = n_tokens / (bench_now() - t);
    }
    if (rc == 0) {
        bench_summarise(&res, samples, b->args->n_reps);
        bench_report(b, &res);
    }
    if (samples != NULL)
        run_close(&r);
    mem_free(samples);
    return failed(rc, "prefill", err);
}

static double decode_floor(struct bench *b, uint32_t depth, uint32_t batch)
{
    double weights = (double)model_info(b->model.model)->weight_bytes;
    double rows = (double)model_layout_bytes_per_token(model_layout(b->model.model));
    double bytes = weights + rows * depth * batch;
    double rate = bench_read_rate(b, (size_t)num_min((size_t)bytes, 512u << 20));
    return rate / bytes * batch;
}

int bench_decode(struct bench *b, uint32_t depth, uint32_t batch, struct err *err)
{
    char name[64];
    uint32_t n = b->args->n_decode;
    struct bench_result res = { .name = name, .unit = "tokens/s", .n_tokens = n, .depth = depth,
                                .batch = batch, .of_model = true };
    snprintf(name, sizeof name, "decode %u at %u, batch %u", n, depth, batch);
    res.floor = decode_floor(b, depth, batch);
    struct run r;
    struct rng rng;
    rng_seed(&rng, 2);
    double *samples = mem_alloc(b->args->n_reps, sizeof *samples);
    int rc = samples != NULL ? run_open(&r, b, depth, n, batch) : E_NOMEM;
    if (rc == 0 && depth > 0)
        rc = prefill(&r, b, 0, depth, &rng);
    for (uint32_t i = 0; rc == 0 && i <= b->args->n_reps; i++) {
        double t = bench_now();
        for (uint32_t k = 0; rc == 0 && k < n; k++)
            rc = decode_step(&r, b, depth + k, &rng);
        if (i > 0)
            samples[i - 1] = (double)n * batch / (bench_now() - t);
    }
    if (rc == 0) {
        bench_summarise(&res, samples, b->args->n_reps);
        bench_report(b, &res);
    }
    if (samples != NULL)
        run_close(&r);
    mem_free(samples);
    return failed(rc, "decode", err);
}
