/* kv/seq.h - the block table of one sequence.
 *
 * Idea: a sequence's rows lie in blocks listed in order; row t is in entry t / B. Tables share
 * blocks: a prefix found in the index, or everything after a fork. A block that others hold too is
 * copied before it is written (copy on write), which happens only at the partial last block.
 *
 *     seq A   [ 4 | 9 | 2 ]   n_rows 40, B 16      row 37 -> block 2, row 5 of it
 *     seq B   [ 4 | 9 | 7 ]   forked at 35, then wrote: 2 was copied to 7
 *
 *     match -> ( reserve -> forward -> advance )* -> release
 *
 * Invariants (kv_seq_check): n_blocks == ceil(n_rows / B) outside reserve..advance, never less;
 *     the first n_published blocks are published and full; rows above n_rows hold nothing of value;
 *     blocks written by the next forward are held by this sequence alone.
 * Rule: no fork between reserve and advance: the forward would write a block shared by then.
 * Ownership: the caller's storage, table included; the blocks are referenced until release.
 * Threads: the engine's.   Cost: O(1) a block; nothing is allocated. */
#ifndef KV_SEQ_H
#define KV_SEQ_H

#include <stdint.h>

#include "base/err.h"
#include "kv/prefix.h"

struct kv_seq {
    struct kv_prefix *prefix;
    struct kv_key root;
    kv_block *blocks;      /* (cap_blocks), the first n_blocks are referenced */
    uint32_t n_blocks, cap_blocks;
    uint32_t n_rows;       /* tokens whose rows are written */
    uint32_t n_published;  /* leading blocks known to the index */
    struct kv_visit visit; /* what the policy remembers of the prompt */
};

/* An empty sequence over the caller's table. */
void kv_seq_init(struct kv_seq *s, struct kv_prefix *prefix, struct kv_key root, kv_block *table,
                 uint32_t cap_blocks);
/* Takes the longest known prefix of ids but for at least the last token; s is empty before. Returns
 * the number of rows it need not compute. */
uint32_t kv_seq_match(struct kv_seq *s, const int32_t *ids, uint32_t n);
/* Makes room for rows [n_rows, n_rows + n): all or nothing. E_FULL: no block is free (preempt,
 * retry); E_RANGE: beyond the table. */
NODISCARD int kv_seq_reserve(struct kv_seq *s, uint32_t n);
/* The forward wrote n reserved rows; ids are all tokens of the sequence from row 0. Publishes what
 * became full. */
void kv_seq_advance(struct kv_seq *s, const int32_t *ids, uint32_t n);
/* Forgets rows from n_rows on (speculation rejected); blocks behind them, reserved ones too, go
 * back. */
void kv_seq_truncate(struct kv_seq *s, uint32_t n_rows);
/* dst, empty and with a table as long, becomes a copy of src that shares all its blocks. */
void kv_seq_fork(struct kv_seq *dst, const struct kv_seq *src);
void kv_seq_release(struct kv_seq *s);
/* Blocks that reserve(n) would take. */
uint32_t kv_seq_blocks_needed(const struct kv_seq *s, uint32_t n);
void kv_seq_check(const struct kv_seq *s);

#endif
