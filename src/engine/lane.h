/* engine/lane.h - one sequence with memory of its own, computed without a schedule.
 *
 * Idea: scoring and embedding need the model for one text at a time. Block i of the table is block
 * i of a slab that belongs to the lane; nothing is shared with the engine's KV memory.
 *
 * Ownership: borrows the model.   Threads: the caller's, plus the device's team.
 * Cost: init allocates the state of n_ctx tokens and a workspace of n_rows rows. */
#ifndef ENGINE_LANE_H
#define ENGINE_LANE_H

#include <stdint.h>

#include "base/err.h"

struct model;
struct model_work;

struct engine_lane {
    const struct model *model;
    struct model_work *work;
    uint8_t *slab, *slot;
    uint32_t *table;
    uint32_t *want;  /* (n_rows) 0, 1, 2 ... */
    int32_t *ids;    /* (n_rows) what is fed next */
    uint32_t n_rows; /* of a chunk */
    uint32_t pos;
};

/* Room for n_ctx tokens, chunks of n_rows, logits of n_want rows. E_NOMEM, E_RANGE. */
NODISCARD int engine_lane_init(struct engine_lane *l, const struct model *m, uint32_t n_ctx,
                               uint32_t n_rows, uint32_t n_want);
void engine_lane_fini(struct engine_lane *l); /* fine for one that is all zero */
void engine_lane_restart(struct engine_lane *l); /* a new sequence */
/* Feeds the first n of l->ids; logits of rows [from, n). */
NODISCARD int engine_lane_feed(struct engine_lane *l, uint32_t n, uint32_t from,
                               const float **logits);
/* The same; hidden rows (n, n_embd) of the last layer. */
NODISCARD int engine_lane_hidden(struct engine_lane *l, uint32_t n, const float **rows);

#endif
