/* base/rng.h - random numbers from a seed, the same on every machine.
 *
 * Idea: xoshiro256++ (Blackman, Vigna 2021) seeded by splitmix64: fast, 256 bits of state, and the
 * whole state fits in a request, so that a seed reproduces a run (A-30, R32). Not for secrets. */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stdint.h>

struct rng {
    uint64_t s[4];
};

void rng_seed(struct rng *r, uint64_t seed);
uint64_t rng_u64(struct rng *r);
double rng_unit(struct rng *r);                     /* [0, 1), 53 bits */
uint32_t rng_below(struct rng *r, uint32_t bound);  /* [0, bound), bound > 0, unbiased */

#endif
