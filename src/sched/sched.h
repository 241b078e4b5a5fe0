/* sched/sched.h - which request runs next: facts in, one decision out.
 *
 * Idea (Orca, Yu 2022; chunked prefill, Sarathi, Agrawal 2024): work is decided step by step. Each
 * step runs one row for every sequence that decodes, and fills the rest of the row budget with
 * chunks of prompts, so that a long prompt never stops the others. The scheduler counts rows and
 * blocks; it touches no memory, no clock, no thread, so the simulator runs the same code that
 * serves.
 *
 *     waiting   r7 -> r8 -> r9        first come, first served; the preempted go back in front
 *     running   r3 r4 r5              in order of arrival
 *     step      [ r3 | r4 | r5 r5 r5 r5 r5 r5 ]        decodes first, then prefill chunks
 *
 *     loop:  sched_decide -> ADMIT id    find its cached prefix, sched_admitted, decide again
 *                         -> PREEMPT id  give its blocks back, decide again
 *                         -> RUN items   forward, sched_ran for each, sched_remove for the ended
 *                         -> IDLE        nothing can run
 *
 * Rules
 *   admission   the oldest waiting request that is not paused, when a place is free and the blocks
 *               of its whole prompt (less what is cached) are, beyond what the running ones still
 *               need for theirs and one block of growth for each of them. Nobody overtakes it.
 *   blocks      go to running sequences in order of arrival. One that gets none waits a step; if a
 *               later one holds blocks, the latest is preempted (paused ones before all others)
 *               and computes its state again when it comes back. So the oldest always advances: no
 *               starvation, no deadlock, as long as one sequence of full length fits (the
 *               caller's duty).
 *   pause       a request whose reader is slow keeps its place and its blocks, but is not run.
 *
 * Invariants (sched_check): every request is in exactly one list, lists are in order of arrival;
 *     only running requests have rows done; n_running <= n_seqs_max.
 * Owns: its entries.  Threads: one.  Cost: O(running) a decision; nothing is allocated after
 * create. */
#ifndef SCHED_SCHED_H
#define SCHED_SCHED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct sched;

struct sched_params {
    uint32_t n_seqs_max;    /* running at a time, at least 1 */
    uint32_t n_requests_max;/* running and waiting, at least n_seqs_max */
    uint32_t n_rows_max;    /* rows of a step, at least n_seqs_max */
    uint32_t n_chunk_max;   /* rows of one prompt in a step; 0: n_rows_max */
    uint32_t block_len;     /* tokens a block */
    uint32_t n_guess_max;   /* guessed rows of a step, of all sequences together */
};

/* What only the KV memory knows. */
struct sched_facts {
    uint32_t n_blocks_available; /* free, or idle and evictable */
    uint32_t n_prompt_rows;      /* rows of prompts this step may hold; 0: as many as fit */
    /* Rows of request id found in the prefix index, and how many of their blocks are idle now. */
    uint32_t (*cached)(void *ctx, uint32_t id, uint32_t *n_idle);
    void *ctx;
};

struct sched_item {
    uint32_t id;
    uint32_t n_rows;        /* the next rows of the request; a decode: 1, and guesses */
};

/* ACT in the names: the C library has a SCHED_IDLE. */
enum sched_act_kind { SCHED_ACT_IDLE, SCHED_ACT_ADMIT, SCHED_ACT_PREEMPT, SCHED_ACT_RUN };

struct sched_act {
    enum sched_act_kind kind;
    uint32_t id;                    /* ADMIT, PREEMPT */
    const struct sched_item *items; /* RUN; valid until the next call */
    uint32_t n_items, n_rows;
};

NODISCARD int sched_create(struct sched **out, const struct sched_params *params);
void sched_destroy(struct sched *s);

/* A new request of n_prompt tokens, at least one. *id < n_requests_max, reused after remove.
 * E_FULL. */
NODISCARD int sched_add(struct sched *s, uint32_t n_prompt, uint32_t *id);
void sched_remove(struct sched *s, uint32_t id);
void sched_pause(struct sched *s, uint32_t id, bool paused);

/* n tokens are guessed behind the known ones of a sequence that decodes: in the coming step it gets
 * up to n rows more, as far as rows are over and no one lacks a block for them. Holds for one step.
 */
void sched_guess(struct sched *s, uint32_t id, uint32_t n);

void sched_decide(struct sched *s, const struct sched_facts *facts, struct sched_act *act);
/* Answers ADMIT: n_rows of the request's state were found, fewer than it has tokens. */
void sched_admitted(struct sched *s, uint32_t id, uint32_t n_rows);
/* An item ran: n_rows of its rows are kept, and n_new tokens (0 or more) were added behind the
 * known ones. */
void sched_ran(struct sched *s, uint32_t id, uint32_t n_rows, uint32_t n_new);

uint32_t sched_n_waiting(const struct sched *s);
uint32_t sched_n_running(const struct sched *s);
bool sched_is_running(const struct sched *s, uint32_t id);
void sched_check(const struct sched *s);

#endif
