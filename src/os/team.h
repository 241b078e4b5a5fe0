/* os/team.h - one team of threads that computes together.
 *
 * Idea: a step is a few hundred short parallel regions. The caller is thread 0; the others wait at
 * a barrier, spinning for a moment and then sleeping (a futex), so that a busy machine does not
 * collapse. Work is handed out by chunk index: a static share first, then stealing of what is left.
 *
 *     os_team_run(team, n_chunks, fn, ctx)     fn(ctx, chunk, thread) exactly once for every chunk
 *
 * Invariants: run returns after every chunk is done, and all writes of fn are visible to the
 * caller. fn never calls run. Which thread runs a chunk must not matter for the result.
 * Threads: one caller at a time.   Cost: a few microseconds a region; nothing is allocated. */
#ifndef OS_TEAM_H
#define OS_TEAM_H

#include <stdint.h>

#include "base/err.h"

struct os_team;
typedef void (*os_team_fn)(void *ctx, uint32_t chunk, uint32_t thread);

#define OS_TEAM_THREADS_MAX 256

/* n_threads 1..OS_TEAM_THREADS_MAX, the caller included. E_RANGE, E_NOMEM. */
NODISCARD int os_team_create(struct os_team **out, uint32_t n_threads);
void os_team_destroy(struct os_team *t);
uint32_t os_team_threads(const struct os_team *t);
void os_team_run(struct os_team *t, uint32_t n_chunks, os_team_fn fn, void *ctx);

#endif
