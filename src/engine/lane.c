#include "engine/lane.h"

#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "model/model.h"

void engine_lane_fini(struct engine_lane *l)
{
    model_work_destroy(l->work);
    mem_free(l->slab);
    mem_free(l->slot);
    mem_free(l->table);
    mem_free(l->want);
    mem_free(l->ids);
    *l = (struct engine_lane){ 0 };
}

int engine_lane_init(struct engine_lane *l, const struct model *m, uint32_t n_ctx, uint32_t n_rows,
                     uint32_t n_want)
{
    const struct model_layout *layout = model_layout(m);
    size_t n_blocks = num_ceil_div(n_ctx, layout->block_len), slab_bytes;
    *l = (struct engine_lane){ .model = m, .n_rows = n_rows };
    TRY(num_mul(&slab_bytes, n_blocks, num_max(layout->block_bytes, 1)));
    l->slab = mem_alloc_aligned(slab_bytes, 64);
    l->slot = layout->slot_bytes == 0 ? NULL : mem_alloc_aligned(layout->slot_bytes, 64);
    l->table = mem_alloc(n_blocks, sizeof *l->table);
    l->want = mem_alloc(n_rows, sizeof *l->want);
    l->ids = mem_alloc(n_rows, sizeof *l->ids);
    int rc = l->slab == NULL || (layout->slot_bytes > 0 && l->slot == NULL) || l->table == NULL ||
                     l->want == NULL || l->ids == NULL
                 ? E_NOMEM
                 : model_work_create(&l->work, m, n_rows, n_want, n_ctx);
    if (rc < 0) {
        engine_lane_fini(l);
        return rc;
    }
    for (uint32_t i = 0; i < n_blocks; i++)
        l->table[i] = i;
    for (uint32_t i = 0; i < n_rows; i++)
        l->want[i] = i;
    return 0;
}

void engine_lane_restart(struct engine_lane *l)
{
    l->pos = 0;
    if (l->slot != NULL)
        memset(l->slot, 0, model_layout(l->model)->slot_bytes);
}

/* The batch of the first n of l->ids, span its only one. */
static struct model_batch batch_of(struct engine_lane *l, uint32_t n, struct model_span *span)
{
    ASSERT(n > 0);
    ASSERT(n <= l->n_rows);
    *span = (struct model_span){ .n_rows = n, .pos0 = l->pos, .blocks = l->table, .slot = l->slot };
    return (struct model_batch){ .ids = l->ids, .n_rows = n, .spans = span, .n_spans = 1,
                                 .slab = l->slab };
}

int engine_lane_feed(struct engine_lane *l, uint32_t n, uint32_t from, const float **logits)
{
    struct model_span span;
    struct model_batch batch = batch_of(l, n, &span);
    ASSERT(from <= n);
    batch.want = l->want + from;
    batch.n_want = n - from;
    int rc = model_forward(l->model, l->work, &batch, logits);
    l->pos += n;
    return rc;
}

int engine_lane_hidden(struct engine_lane *l, uint32_t n, const float **rows)
{
    struct model_span span;
    struct model_batch batch = batch_of(l, n, &span);
    int rc = model_hidden(l->model, l->work, &batch, rows);
    l->pos += n;
    return rc;
}
