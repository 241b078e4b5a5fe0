/* engine/embed.h - texts become vectors, computed between the steps of the engine.
 *
 * Idea: an embedding is the mean (or the first, or the last) of the rows of the last layer, scaled
 * to length 1. The device has one caller, so the engine's thread computes it: one chunk of one text
 * after each step, and running answers wait for no more than a chunk. An encoder sees a text whole,
 * so there its chunk is the text.
 *
 *     submit --> [ job | job | ... ] --one chunk a step--> rows --notify--> poll
 *
 * Ownership: the job belongs to the caller until close; submit copies the ids and allocates all
 * that the job needs (a text's state is not shared with the engine's KV memory).
 * Threads: submit from any; poll and close from one at a time; notify runs on the engine's thread
 * and never after close returned.
 * Cost: one prefill a text, and the longest text's KV while it runs. */
#ifndef ENGINE_EMBED_H
#define ENGINE_EMBED_H

#include <stdint.h>

#include "base/err.h"

struct engine;
struct engine_embedding;

struct engine_embed_request {
    const int32_t *ids;    /* of all texts, one after the other */
    const uint32_t *lens;  /* (n) at least 1 each */
    uint32_t n;            /* at least 1 */
    uint32_t pooling;      /* enum model_pooling; NONE: what engine_info says */
    /* All texts are done, or it failed. Must not block nor call engine functions. */
    void (*notify)(void *ctx);
    void *notify_ctx;
};

/* E_LIMIT when a text does not fit into the context (field "input", both numbers in the text),
 * E_RANGE, E_FULL, E_CLOSED, E_NOMEM. */
NODISCARD int engine_embed_submit(struct engine *e, const struct engine_embed_request *r,
                                  struct engine_embedding **out, struct err *err);
/* 1: *rows (n, n_embd), each of length 1, live until close; 0: not yet; E_NONFINITE,
 * E_CANCELLED. */
NODISCARD int engine_embed_poll(struct engine_embedding *j, const float **rows);
void engine_embed_close(struct engine_embedding *j); /* NULL is fine */

#endif
