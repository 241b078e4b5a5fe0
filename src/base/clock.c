#include "base/clock.h"

#include <time.h>

#include "base/attr.h"

static uint64_t system_now_ns(UNUSED void *ctx)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int64_t system_wall_s(UNUSED void *ctx)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec;
}

struct clock clock_system(void)
{
    return (struct clock){ .now_ns = system_now_ns, .wall_s = system_wall_s, .ctx = 0 };
}
