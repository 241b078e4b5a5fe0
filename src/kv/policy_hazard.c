/* Hazards by (age, class) as in LHD (Beckmann, Chen and Cidon, NSDI 2018), but of time and not of
 * references, with classes of prompts instead of applications, and ranked by the Gittins index:
 * LHD's density looks at the whole rest of a life, which undervalues a block that is worth keeping
 * for the next minute only. The shape of the prior: a block used h times before is used again
 * about in proportion to h + 1/2, at a time spread evenly over the logarithm of age. */
#include "kv/policy_hazard.h"

#include <math.h>
#include <string.h>

#include "base/err.h"

#define EDGE_FIRST_S 4.0
#define EDGE_RATIO 1.25
#define HALF_LIFE_MS (4 * 3600e3)
#define SHRINK_COARSE 20.0  /* events that weigh as much as the level above */
#define SHRINK_MIDDLE 100.0
#define SHRINK_FINE 100.0
#define PRIOR_RATE 0.3
#define PRIOR_AGE_S 60.0
#define HAZARD_MAX 0.95
#define WEIGHT_MAX 1e9

void kv_hazard_init(struct kv_hazard *h)
{
    static const double hits_middle[HAZARD_HITS] = { 0, 1, 2, 3, 4.5, 7.5, 14 };
    memset(h, 0, sizeof *h);
    h->weight = 1;
    double edge = 0, next = EDGE_FIRST_S;
    for (int a = 0; a < HAZARD_AGES; a++, edge = next, next *= EDGE_RATIO) {
        h->edge_ms[a] = (uint64_t)(edge * 1e3);
        h->width_s[a] = next - edge;
        for (int i = 0; i < HAZARD_HITS; i++)
            h->prior[i][a] = 1 - exp(-PRIOR_RATE * (hits_middle[i] + 0.5) * h->width_s[a] /
                                     (next + PRIOR_AGE_S));
    }
    h->edge_ms[HAZARD_AGES] = UINT64_MAX;
}

static void scale(struct kv_hazard_count *counts, uint32_t n, double by)
{
    for (uint32_t i = 0; i < n; i++)
        for (int a = 0; a < HAZARD_AGES; a++) {
            counts[i].entered[a] *= by;
            counts[i].used[a] *= by;
        }
}

void kv_hazard_time(struct kv_hazard *h, uint64_t now_ms)
{
    ASSERT(now_ms >= h->weight_ms);
    h->weight *= exp2((double)(now_ms - h->weight_ms) / HALF_LIFE_MS);
    h->weight_ms = now_ms;
    if (h->weight < WEIGHT_MAX)
        return;
    double by = isfinite(h->weight) ? 1 / h->weight : 0;
    scale(h->fine, HAZARD_CLASSES, by);
    scale(h->middle, HAZARD_HITS * HAZARD_FRESH, by);
    scale(h->coarse, HAZARD_HITS, by);
    h->weight = 1;
}

void kv_hazard_enter(struct kv_hazard *h, uint32_t class, uint32_t age)
{
    ASSERT(class < HAZARD_CLASSES);
    ASSERT(age < HAZARD_AGES);
    h->fine[class].entered[age] += h->weight;
    h->middle[class / HAZARD_THIRD].entered[age] += h->weight;
    h->coarse[class / HAZARD_THIRD / HAZARD_FRESH].entered[age] += h->weight;
}

void kv_hazard_use(struct kv_hazard *h, uint32_t class, uint32_t age)
{
    ASSERT(class < HAZARD_CLASSES);
    ASSERT(age < HAZARD_AGES);
    h->fine[class].used[age] += h->weight;
    h->middle[class / HAZARD_THIRD].used[age] += h->weight;
    h->coarse[class / HAZARD_THIRD / HAZARD_FRESH].used[age] += h->weight;
}

static double shrink(const struct kv_hazard_count *c, int a, double k, double towards)
{
    return (c->used[a] + k * towards) / (c->entered[a] + k);
}

void kv_hazard_index(const struct kv_hazard *h, uint32_t class, double index[HAZARD_AGES])
{
    uint32_t middle = class / HAZARD_THIRD, hits = middle / HAZARD_FRESH;
    double q[HAZARD_AGES], w = h->weight;
    for (int a = 0; a < HAZARD_AGES; a++) {
        double x = shrink(&h->coarse[hits], a, SHRINK_COARSE * w, h->prior[hits][a]);
        x = shrink(&h->middle[middle], a, SHRINK_MIDDLE * w, x);
        x = shrink(&h->fine[class], a, SHRINK_FINE * w, x);
        q[a] = x < HAZARD_MAX ? x : HAZARD_MAX;
    }
    for (int a = 0; a < HAZARD_AGES; a++) {
        double alive = 1, hit = 0, stayed_s = 0, best = 0;
        for (int b = a; b < HAZARD_AGES; b++) {
            double now = alive * q[b];
            stayed_s += (alive - now / 2) * h->width_s[b];
            hit += now;
            alive -= now;
            if (hit > best * stayed_s)
                best = hit / stayed_s;
        }
        index[a] = best;
    }
}
