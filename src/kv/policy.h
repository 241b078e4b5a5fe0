/* kv/policy.h - which block leaves when the tier is full.
 *
 * Idea: whoever owns slots (the prefix index, or the simulator) tells a policy what is used and
 * what may leave; the policy names the next victim. It knows keys, times and depths, never bytes.
 *
 *     visit(keys of a prompt) -> touch(slot) a block -> ... -> offer(slot): nobody holds it
 *                                                              |         \
 *                                     retract(slot) <----------+          victim() -> evict(slot)
 *
 * Rules: 1. a slot is touched, then offered; touching or evicting an offered slot retracts it;
 *     2. only what is offered can become the victim;
 *     3. an owner of chains offers leaves only: a block whose parent is gone can never be hit.
 * Policies: lru; lfu (with dynamic aging, Arlitt 2000); gdsf (GreedyDual, Cherkasova 1998: hits x
 *     seconds to recompute); s3fifo (Yang 2023); tinylfu (W-TinyLFU, Einziger 2017); naru
 *     (kv/policy_naru.c). s3fifo and tinylfu order blocks by their own queues and cannot wait for
 *     leaves, so `leaves` is false for them: the simulator runs them, the prefix index does not.
 * Owns: its tables, all made at create.   Threads: one.   Cost: O(1), or O(log n) with a heap. */
#ifndef KV_POLICY_H
#define KV_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct kv_policy;
#define KV_SLOT_NONE UINT32_MAX
#define KV_POLICY_DEFAULT "naru"

/* What a policy wants to remember of one prompt while its blocks are touched; kept by whoever runs
 * the prompt, since prompts overlap. */
struct kv_visit {
    uint16_t turn;      /* how often this chain was continued */
    uint8_t fresh;      /* class of the number of blocks never seen before */
    bool set;
};

struct kv_policy_params {
    const char *name;      /* NULL: KV_POLICY_DEFAULT */
    uint32_t n_slots;      /* slots are 0 .. n_slots - 1 */
    uint32_t n_keep;       /* blocks meant to stay (queue shares); 0: n_slots */
};

/* E_NOT_FOUND for an unknown name, E_NOMEM, E_RANGE. */
NODISCARD int kv_policy_create(struct kv_policy **out, const struct kv_policy_params *params);
void kv_policy_destroy(struct kv_policy *p);
/* The i-th name, NULL behind the last. */
const char *kv_policy_name(uint32_t i);
/* True if it lives with the rule that only leaves are offered. False also for unknown names. */
bool kv_policy_leaves(const char *name);

/* A prompt arrives: keys of its n full blocks, chained (a key stands for all before it). now_ms
 * never decreases. Fills *v for the touches of this prompt. */
void kv_policy_visit(struct kv_policy *p, uint64_t now_ms, const uint64_t *keys, uint32_t n,
                     struct kv_visit *v);
/* Slot holds block `key`, number `depth` of its chain: a hit if it held it before. Owners touch a
 * chain from its end to its head, so that heads are youngest. */
void kv_policy_touch(struct kv_policy *p, uint32_t slot, uint64_t key, uint32_t depth,
                     const struct kv_visit *v);
void kv_policy_offer(struct kv_policy *p, uint32_t slot);
void kv_policy_retract(struct kv_policy *p, uint32_t slot); /* nothing if it is not offered */
uint32_t kv_policy_victim(struct kv_policy *p);             /* KV_SLOT_NONE: nothing is offered */
void kv_policy_evict(struct kv_policy *p, uint32_t slot);   /* the slot holds nothing now */
void kv_policy_check(const struct kv_policy *p);

#endif
