/* kv/policy_hazard.h - how soon blocks like this one are asked for again, learned from the stream.
 *
 * Idea: for each class of blocks and each interval of age count how many blocks entered the
 * interval and how many were used in it. Their ratio is the hazard. From the hazards of a class
 * follows, for a block of that age, the best rate of hits a second of stay (Gittins index):
 *
 *     index(class, age) = max over h of  P(used within h) / E[seconds stayed, at most h]
 *
 *     class = (hits, fresh, third)      counts shrink towards coarser ones where data is thin:
 *     (hits, fresh, third) -> (hits, fresh) -> (hits) -> rule of succession
 *
 * Counts fade with a half-life, so a change of traffic is learned. No constant depends on a trace.
 * Cost: an event O(1); one index row O(ages^2), about a microsecond.   Threads: the owner's. */
#ifndef KV_POLICY_HAZARD_H
#define KV_POLICY_HAZARD_H

#include <stdint.h>

enum {
    HAZARD_HITS = 7, HAZARD_FRESH = 8, HAZARD_THIRD = 6,
    HAZARD_CLASSES = HAZARD_HITS * HAZARD_FRESH * HAZARD_THIRD,
    HAZARD_AGES = 32
};

struct kv_hazard_count {
    double entered[HAZARD_AGES], used[HAZARD_AGES];
};

struct kv_hazard {
    uint64_t edge_ms[HAZARD_AGES + 1]; /* interval a is edge_ms[a] .. edge_ms[a + 1] */
    double width_s[HAZARD_AGES];
    double prior[HAZARD_HITS][HAZARD_AGES];
    struct kv_hazard_count fine[HAZARD_CLASSES];
    struct kv_hazard_count middle[HAZARD_HITS * HAZARD_FRESH];
    struct kv_hazard_count coarse[HAZARD_HITS];
    double weight;                     /* of one event now; grows instead of the counts fading */
    uint64_t weight_ms;
};

void kv_hazard_init(struct kv_hazard *h);
static inline uint16_t kv_hazard_class(uint32_t hits, uint32_t fresh, uint32_t third)
{
    return (uint16_t)((hits * HAZARD_FRESH + fresh) * HAZARD_THIRD + third);
}
void kv_hazard_time(struct kv_hazard *h, uint64_t now_ms); /* never decreases */
void kv_hazard_enter(struct kv_hazard *h, uint32_t class, uint32_t age);
void kv_hazard_use(struct kv_hazard *h, uint32_t class, uint32_t age);
/* Hits a second of stay for each age of a class. */
void kv_hazard_index(const struct kv_hazard *h, uint32_t class, double index[HAZARD_AGES]);

#endif
