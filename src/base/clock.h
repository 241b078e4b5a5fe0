/* base/clock.h - time, injected.
 *
 * Idea: nobody above base reads the system clock. A struct clock is passed; the real one reads
 * CLOCK_MONOTONIC, tests and the simulator move a virtual one by hand (R32). */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

struct clock {
    uint64_t (*now_ns)(void *ctx); /* monotonic */
    int64_t (*wall_s)(void *ctx);  /* Unix time */
    void *ctx;
};

struct clock clock_system(void);
static inline uint64_t clock_now_ns(const struct clock *c) { return c->now_ns(c->ctx); }
static inline int64_t clock_wall_s(const struct clock *c) { return c->wall_s(c->ctx); }

#endif
