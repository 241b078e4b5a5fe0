/* kv/mover.h - carries blocks between the slab and the store, beside the engine.
 *
 * Idea: two threads. The writer takes full published blocks from a queue, copies them into the
 * store's write buffer and commits groups; the reader fills private blocks from the store, block by
 * block from the first missing one on. The engine only queues, asks and looks: it never waits for a
 * disk.
 *
 *     engine    offer(block) --queue--> writer  -> stage, commit, collect        write back
 *               fetch(keys, blocks) --> reader  -> verify, copy into blocks      promotion
 *               drop(block) <-- the index evicts it: a write not begun is cancelled, counted
 *
 * When blocks are written: at once, when they are published. Waiting for idleness or eviction would
 * save writes of blocks used once, but would lose the newest turn of each conversation in a crash,
 * which is the one that is asked for again. The queue holds no references: under pressure the index
 * evicts as always, least recently used first, and what was not written by then is lost (F-14).
 *
 * Invariants: a queued block is published and resident (drop takes it out before its bytes change);
 *     while the writer copies a block, drop of that block waits (one copy, tens of microseconds);
 *     fetch writes only to the blocks it was given, and `n_ready` counts verified ones.
 * Ownership: borrows store and slab. A kv_fetch and all it points to is the caller's and stays
 *     until `done` is true. Threads: all functions are the engine's; `wake` is called from the
 *     mover's threads. Lock order: mover before store.
 * Cost: offer and drop O(1); nothing is allocated after create. */
#ifndef KV_MOVER_H
#define KV_MOVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "kv/digest.h"
#include "kv/pool.h"
#include "kv/store.h"

struct kv_mover;

struct kv_mover_params {
    struct kv_store *store;
    struct kv_digest identity; /* everything but salt and tokens that state depends on */
    const char *model_name;    /* for people */
    uint8_t *slab;             /* block b at slab + b * block_bytes */
    uint32_t n_blocks, block_len, codec;
    size_t block_bytes;
    struct clock clock;
    void (*wake)(void *ctx);   /* a fetch has news; may be NULL */
    void *wake_ctx;
};

/* E_RANGE: a block is too large for the store's budget (err says what would do). */
NODISCARD int kv_mover_create(struct kv_mover **out, const struct kv_mover_params *params,
                              struct err *err);
/* Writes what is queued, for at most flush_s seconds, and ends. All fetches are done afterwards. */
void kv_mover_destroy(struct kv_mover *m, double flush_s);

/* Names. */
NODISCARD int kv_mover_root(struct kv_mover *m, const void *salt, size_t bytes,
                            struct kv_digest *out);
/* keys[from..to) of the chain under root; ids are all tokens from 0. */
NODISCARD int kv_mover_names(struct kv_mover *m, const struct kv_digest *root, const int32_t *ids,
                             struct kv_digest *keys, uint32_t from, uint32_t to);
/* How many of keys[0..n) are stored, from the first on; they count as used. */
uint32_t kv_mover_find(struct kv_mover *m, const struct kv_digest *keys, uint32_t n);

/* Queues a published block for writing unless it is stored or queued. ids: its own tokens. */
void kv_mover_offer(struct kv_mover *m, kv_block b, uint32_t depth, const struct kv_digest *parent,
                    const struct kv_digest *key, const int32_t *ids);
/* The bytes of b are about to change. */
void kv_mover_drop(struct kv_mover *m, kv_block b);
/* A stored block that must never be served again. */
void kv_mover_forget(struct kv_mover *m, const struct kv_digest *key);

struct kv_fetch {
    const struct kv_digest *root, *keys; /* keys[0..to) */
    const int32_t *ids;                  /* from token 0 */
    const kv_block *blocks;              /* blocks[from..to) are private to the caller */
    uint32_t from, to;
    atomic_uint n_ready;  /* blocks from..from + n_ready are filled; released by the reader */
    atomic_bool cancel;   /* set by the caller: stop after the group being read */
    atomic_bool done;     /* released by the reader, last of all */
    struct kv_fetch *next;
};
void kv_mover_fetch(struct kv_mover *m, struct kv_fetch *f);

/* Seconds that fetching n blocks would take behind what is being fetched already, by what was
 * measured; 0 if nothing was yet. */
double kv_mover_predict(struct kv_mover *m, uint32_t n);
/* It was thought too slow and passed over: think a little better of it, so that it is tried again
 * one day. */
void kv_mover_pardon(struct kv_mover *m);

struct kv_mover_stats {
    uint64_t offered, dropped;  /* dropped: evicted before they were written */
    uint64_t fetched;           /* blocks verified and filled */
    uint64_t fetch_failed;      /* blocks asked for and not delivered */
    uint32_t n_queued, n_fetching;
    double bytes_per_s;         /* of reading, smoothed; 0: not yet */
    struct kv_store_stats store;
};
void kv_mover_stats(struct kv_mover *m, struct kv_mover_stats *out);
void kv_mover_check(struct kv_mover *m);

#endif
