/* sim/cache.h - one prefix cache under recorded traffic.
 *
 * Idea: which policy keeps what is asked for again? The policies of kv/policy.h run unchanged; this
 * is an owner of slots without any bytes. A request looks up its blocks from the first on; the
 * unbroken run of known ones is its hit. Then all its blocks are put, touched from the last to the
 * first, and victims leave until `blocks` remain. Nothing knows the future but belady.
 *
 *     trace -> dense block numbers (sim_stream, once) -> sim_cache_run (policy, blocks) -> hits
 *
 * Two kinds of owner, as in life: a policy that lives with leaves (kv_policy_leaves) is offered
 * leaves and never sees the partial block at a prompt's end, which no prefix index publishes; the
 * flat ones (`flat`, how the published reference numbers were made) see every block of the trace.
 * Ownership: the stream borrows the trace.   Threads: one a run.   Cost: O(blocks of the trace). */
#ifndef SIM_CACHE_H
#define SIM_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "sim/trace.h"

#define SIM_BELADY "belady"

struct sim_stream {
    const struct sim_trace *trace;
    uint32_t *ids;        /* (n_blocks) in order of time; equal numbers are equal prefixes */
    uint64_t *keys;       /* (n_unique) */
    uint32_t n_unique;
};

struct sim_cache_params {
    const char *policy;   /* a name of kv/policy.h, or SIM_BELADY */
    uint32_t blocks;      /* capacity, at least 1 */
    bool flat;            /* offer all blocks, partial ones too, to any policy */
};

struct sim_cache_result {
    uint64_t hit_blocks, hit_tokens, n_blocks, n_tokens, n_evicted;
    double block_hit, token_hit; /* shares */
};

/* A trace that names no blocks is a stream without hits. E_NOMEM, E_LIMIT. */
NODISCARD int sim_stream_create(struct sim_stream *s, const struct sim_trace *t, struct err *err);
void sim_stream_free(struct sim_stream *s);

/* Progress after a request; false stops with E_CANCELLED. */
typedef bool (*sim_progress_fn)(void *ctx, uint64_t done, uint64_t total);
NODISCARD int sim_cache_run(const struct sim_stream *s, const struct sim_cache_params *params,
                            sim_progress_fn progress, void *ctx, struct sim_cache_result *out,
                            struct err *err);
/* Share of blocks that a cache without bounds hits. */
double sim_stream_infinite(const struct sim_stream *s);

#endif
