/* tests/unit/model/run.h - a model with memory for one sequence, run in pieces: what the tests of
 * families share. Every step that may not fail is asserted. */
#ifndef TESTS_UNIT_MODEL_RUN_H
#define TESTS_UNIT_MODEL_RUN_H

#include "base/mem.h"
#include "model/model.h"
#include "unit/test.h"

struct run_params {
    const char *path, *cpu;
    uint32_t n_threads, kv_type, block_len, n_ctx;
};

struct run {
    struct model_file *file;
    struct device *dev;
    struct model *m;
    struct model_work *w;
    uint32_t n_ctx, n_vocab;
    uint32_t *blocks; /* scattered on purpose: order of blocks must not matter */
    uint8_t *slab;
    uint8_t *slot; /* window and recurrent state */
};

static inline void run_open(struct run *t, const struct run_params *p)
{
    struct err err = { 0 };
    struct device_params dp = { .n_threads = p->n_threads, .cpu_level = p->cpu };
    struct model_params mp = { .kv_type = p->kv_type, .block_len = p->block_len };
    *t = (struct run){ .n_ctx = p->n_ctx };
    int rc = model_file_open(&t->file, p->path, &err);
    if (rc == 0)
        rc = model_check(t->file, &err);
    if (rc == 0)
        rc = device_create(&t->dev, &dp, &err);
    if (rc == 0)
        rc = model_create(&t->m, t->file, t->dev, &mp, &err);
    if (rc < 0)
        fail_msg("%s: %s", p->path, err.text);
    assert_int_equal(0, model_work_create(&t->w, t->m, p->n_ctx, p->n_ctx, p->n_ctx));
    const struct model_layout *l = model_layout(t->m);
    uint32_t n = p->n_ctx / l->block_len + 1;
    t->n_vocab = model_info(t->m)->n_vocab;
    t->blocks = mem_alloc(n, sizeof *t->blocks);
    t->slab = mem_alloc(n, l->block_bytes);
    t->slot = mem_alloc(1, l->slot_bytes + 1);
    assert_non_null(t->blocks);
    assert_non_null(t->slot);
    assert_non_null(t->slab);
    memset(t->slab, 0xff, n * l->block_bytes); /* NaN wherever nothing was stored */
    for (uint32_t i = 0; i < n; i++)
        t->blocks[i] = n - 1 - i;
}

static inline void run_close(struct run *t)
{
    mem_free(t->slab);
    mem_free(t->slot);
    mem_free(t->blocks);
    model_work_destroy(t->w);
    model_destroy(t->m);
    device_destroy(t->dev);
    model_file_close(t->file);
}

/* Rows [pos, pos + n) of a sequence; their logits (n, n_vocab), valid until the next call. */
static inline const float *run_rows(struct run *t, const int32_t *ids, uint32_t pos, uint32_t n)
{
    struct model_span span = { .n_rows = n, .pos0 = pos, .blocks = t->blocks, .slot = t->slot };
    uint32_t *want = mem_alloc(n, sizeof *want);
    const float *logits = NULL;
    assert_non_null(want);
    if (pos == 0)
        memset(t->slot, 0, model_layout(t->m)->slot_bytes);
    for (uint32_t i = 0; i < n; i++)
        want[i] = i;
    struct model_batch b = { .ids = ids,
                             .n_rows = n,
                             .spans = &span,
                             .n_spans = 1,
                             .slab = t->slab,
                             .want = want,
                             .n_want = n };
    assert_int_equal(0, model_forward(t->m, t->w, &b, &logits));
    mem_free(want);
    return logits;
}

/* All logits (n, n_vocab) of a sequence, computed in pieces of `chunk` rows; mem_free them. */
static inline float *run_all(struct run *t, const int32_t *ids, uint32_t n, uint32_t chunk)
{
    float *all = mem_alloc((size_t)n * t->n_vocab, sizeof *all);
    assert_non_null(all);
    for (uint32_t at = 0; at < n; at += chunk) {
        uint32_t rows = chunk < n - at ? chunk : n - at;
        const float *logits = run_rows(t, ids + at, at, rows);
        memcpy(all + (size_t)at * t->n_vocab, logits, (size_t)rows * t->n_vocab * sizeof *all);
    }
    return all;
}

static inline uint32_t run_argmax(const float *x, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

#endif
