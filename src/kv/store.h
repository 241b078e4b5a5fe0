/* kv/store.h - blocks on a disk: a log that survives kill -9, restarts and bad sectors.
 *
 * Idea (log-structured storage, Rosenblum 1992; cleaning by liveness): records are appended to
 * segment files and never changed. Beside each segment lies its index, appended to once the records
 * are on the disk; what the index does not name does not exist. The whole index is in memory while
 * the store is open; a record is verified each time it is read, before anybody sees it.
 *
 *     DIR/  LOCK  STORE
 *           0000000000000001.seg  [ head | record | record | ...          ]   payload, tokens, sums
 *           0000000000000001.idx  [ head | entry | entry | ... torn tail  ]   cut off when opened
 *           0000000000000002.seg  ...        <- active: one writer appends here
 *
 *     stage -> commit:  write records, sync, append entries, publish          (writer's thread)
 *     get:              read, compare key, parent, tokens and sum, hand out   (reader's thread)
 *     collect:          drop the coldest, move what lives, delete a segment   (writer's thread)
 *
 * Invariants (kv_store_check):
 *     1. an entry is published only after its record is synced; its parent is published too, or it
 *        is the first of its chain: no unreachable blocks;
 *     2. no entry was used later than its parent: dropping the least recently used never orphans;
 *     3. live bytes, counts and hash chains agree with the entries; disk bytes <= max_bytes;
 *     4. bytes handed out by get passed key, parent, token and CRC-32C comparison (and the GCM tag,
 *        if encrypted). Anything else is a miss, counted by reason, and the entry is dropped.
 * A store that cannot be written is read only (ENOSPC, EROFS); after a failed sync or three failed
 * writes it is off: what was not synced is not published (F-06, F-07). Nothing retries a sync.
 * Files that are not ours, of another version or another key are left alone (F-11). Format: docs/
 * formats/kv-store.md.
 *
 * Ownership: borrows the disk.  Threads: find, touch-free queries and stats from any thread; stage,
 * commit, collect, forget from one (the writer); get from one (the reader). One mutex around the
 * index, held for microseconds, never during input or output.
 * Cost: find O(1) a block; about 200 bytes of memory a stored block. */
#ifndef KV_STORE_H
#define KV_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "kv/digest.h"
#include "os/volume.h"

struct kv_store;

#define KV_STORE_KEY_BYTES 32
#define KV_STORE_NAME_MAX 64

struct kv_store_params {
    struct os_volume *disk;
    uint64_t max_bytes;   /* all files together; at least KV_STORE_BYTES_MIN */
    const uint8_t *key;   /* (32) AES-256 master key; NULL: not encrypted. Copied */
    bool look;            /* change nothing and take no lock: for inspection */
    bool direct;          /* segments past the page cache */
    /* One line for the operator: foreign files, cut tails, state changes. May be NULL; called
     * without locks held, from any of the store's threads. */
    void (*log)(void *ctx, const char *line);
    void *log_ctx;
};
#define KV_STORE_BYTES_MIN ((uint64_t)1 << 20)

/* E_BUSY: another process owns the folder. E_DENIED: wrong key or no right to it. E_UNSUPPORTED:
 * the folder holds a store of another version, or encrypted and no key was given. */
NODISCARD int kv_store_open(struct kv_store **out, const struct kv_store_params *params,
                            struct err *err);
/* The smallest max_bytes that takes blocks of this size. */
uint64_t kv_store_bytes_for(size_t payload, uint32_t n_tokens);
/* What is staged is lost. */
void kv_store_close(struct kv_store *s);
/* (32) Secret under which this store's names are made; for kv_hasher_create. */
const uint8_t *kv_store_secret(const struct kv_store *s);

/* One block as it comes and goes. */
struct kv_record {
    struct kv_digest key, parent; /* parent: of block 0 the root */
    uint32_t depth;               /* number in its chain: 0 is the first */
    uint32_t n_tokens;
    const int32_t *ids;           /* (n_tokens) */
    uint32_t codec;               /* what the payload is: the caller's number */
    uint64_t model;               /* whose it is: for statistics only, the key covers it */
    uint8_t *data;                /* (bytes) payload: read by stage, filled by get */
    size_t bytes;
    int rc;                       /* out of get: 0, E_NOT_FOUND, E_FORMAT (failed), E_IO */
};

/* How many of the n keys, in order from the first, are published. All of them count as used now. */
uint32_t kv_store_find(struct kv_store *s, const struct kv_digest *keys, uint32_t n);
bool kv_store_has(struct kv_store *s, const struct kv_digest *key);

/* Makes room in buffer, segment and budget for a record of this size: what may take long of staging
 * it. The codes of stage. */
NODISCARD int kv_store_prepare(struct kv_store *s, size_t payload, uint32_t n_tokens);
/* Copies a record into the write buffer. 0; E_BUSY: it is there already; E_NOT_FOUND: its parent is
 * not; E_FULL: commit first; E_LIMIT: collect first; E_DENIED: nothing is written any more;
 * E_RANGE: larger than a segment; E_NOMEM. */
NODISCARD int kv_store_stage(struct kv_store *s, const struct kv_record *r);
/* Writes what is staged, syncs, publishes. On failure nothing of it is published. */
NODISCARD int kv_store_commit(struct kv_store *s);
/* One step of cleaning, a few MiB of work: 1 if something was done, 0 if there is nothing to do.
 * E_*. */
NODISCARD int kv_store_collect(struct kv_store *s);
/* Drops a published block for good: its record is overwritten. */
void kv_store_forget(struct kv_store *s, const struct kv_digest *key);
/* Makes the index itself durable: when nothing is left to write. */
void kv_store_flush(struct kv_store *s);

/* Reads and verifies n records (key, parent, depth, n_tokens, ids, codec, bytes and data are set).
 * Returns how many from the first on came without a fault; rc of each says more. data of a failed
 * one is untouched. */
uint32_t kv_store_get(struct kv_store *s, struct kv_record *records, uint32_t n);

/* Names a model for people: `naru kv ls`. Kept with each segment that holds blocks of it. */
void kv_store_name_model(struct kv_store *s, uint64_t model, const char *name);

enum kv_store_state { KV_STORE_OFF, KV_STORE_READ_ONLY, KV_STORE_ON };
const char *kv_store_state_name(enum kv_store_state state); /* "off", "read-only", "on" */

enum kv_store_fault { KV_FAULT_HEADER, KV_FAULT_KEY, KV_FAULT_TOKENS, KV_FAULT_SUM, KV_FAULT_TAG,
                      KV_FAULT_IO, KV_FAULT_KINDS };
const char *kv_store_fault_name(enum kv_store_fault fault); /* "header", "key", ... */

struct kv_store_stats {
    enum kv_store_state state;
    uint64_t max_bytes, disk_bytes, live_bytes;
    uint32_t n_blocks, n_segments;
    uint64_t written, written_bytes;    /* blocks published; bytes of their records */
    uint64_t read, read_bytes;          /* blocks read back; each was verified or failed */
    uint64_t verified, failed;
    uint64_t faults[KV_FAULT_KINDS];    /* failed, by reason */
    uint64_t dropped_cold, moved;       /* by collect */
    uint64_t refused_orphans, lost;     /* lost: staged, then the write or sync failed */
    uint64_t io_errors, n_cut, n_foreign;
    int last_error;                     /* errno of the latest fault of the disk */
};
void kv_store_stats(struct kv_store *s, struct kv_store_stats *out);

struct kv_store_model_info {
    uint64_t model;
    char name[KV_STORE_NAME_MAX];
    uint32_t n_blocks, codec, n_tokens, deepest;
    uint64_t bytes;
};
/* The models that have blocks, at most max; returns how many there are. */
uint32_t kv_store_models(struct kv_store *s, struct kv_store_model_info *out, uint32_t max);
/* Reads every block and verifies it; progress may be NULL. Returns the number that failed. */
uint64_t kv_store_verify(struct kv_store *s, void (*progress)(void *ctx, uint64_t done,
                                                              uint64_t total), void *ctx);
void kv_store_check(struct kv_store *s);

#endif
