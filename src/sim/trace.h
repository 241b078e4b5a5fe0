/* sim/trace.h - recorded traffic: when each prompt came, how long it was, which blocks it had.
 *
 * Idea: every public trace becomes one list of requests ordered by time. Blocks are kept as runs of
 * consecutive ids, since agents' prompts of thousands of blocks differ by a few; sim_trace_keys
 * expands one request into chained keys, so that equal keys mean equal prefixes.
 *
 *     mooncake   {"timestamp", "input_length", "output_length", "hash_ids"}     a request a line
 *     sessions   {"id", "block_size", "requests": [{"t", "in", "out", "h"}]}    a session a line
 *     azure      TIMESTAMP,ContextTokens,GeneratedTokens                        no blocks
 *     servegen   tar of per-client statistics: refused by name, it has no requests
 *
 * Files may be zstd-compressed. Sessions of the second kind have no common clock: session i is
 * started i x gap_s after the first, and ids of two sessions never match.
 * Ownership: the trace owns its requests.   Threads: readers may share it.   Cost: linear. */
#ifndef SIM_TRACE_H
#define SIM_TRACE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct sim_run {
    uint64_t first;
    uint32_t n;
};

struct sim_request {
    uint64_t time_ms;
    uint32_t in_tokens, out_tokens;
    uint32_t session;     /* 0 where all requests share their ids */
    uint32_t n_blocks;    /* the last may be partial */
    size_t run, n_runs;
};

struct sim_trace {
    const char *format;   /* "mooncake", "sessions", "azure" */
    uint32_t block_len;   /* tokens; 0: the trace says nothing about blocks */
    struct sim_request *requests;
    size_t n_requests, cap_requests;
    struct sim_run *runs;
    size_t n_runs, cap_runs;
    uint64_t n_blocks;    /* of all requests */
    uint32_t n_blocks_max, n_sessions;
};

/* E_NOT_FOUND, E_IO, E_FORMAT (with the line), E_UNSUPPORTED, E_LIMIT, E_NOMEM. */
NODISCARD int sim_trace_open(struct sim_trace *t, const char *path, double gap_s, struct err *err);
/* The same from memory, not compressed; name is for messages. */
NODISCARD int sim_trace_parse(struct sim_trace *t, const char *text, size_t len, double gap_s,
                              struct err *err);
void sim_trace_free(struct sim_trace *t);
/* Chained keys of a request's blocks, never 0; keys has room for n_blocks. */
void sim_trace_keys(const struct sim_trace *t, const struct sim_request *r, uint64_t *keys);

#endif
