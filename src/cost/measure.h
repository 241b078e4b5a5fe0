/* cost/measure.h - measures this machine's ceilings into a profile.
 *
 * Idea: the probes of kernel/probe.h on 1, 2, 4 ... all threads. A ceiling is the best of several
 * short runs, not the typical one: other work on the machine only ever takes away.
 *
 * Threads: the caller is thread 0 of teams that are made for the purpose; nothing else should
 * compute meanwhile.   Cost: about two seconds a point, three for the disk;
 * an eighth of the memory, at most 1 GiB. */
#ifndef COST_MEASURE_H
#define COST_MEASURE_H

#include <stdint.h>

#include "base/err.h"
#include "cost/profile.h"

struct os_cpu;
struct cost_measure {
    const struct os_cpu *cpu;   /* as detected, not masked: a profile is of the machine */
    const char *disk_folder;    /* where the disk is measured; NULL: it is not */
    /* Told before each part, done of total; may be NULL. */
    void (*progress)(void *ctx, uint32_t done, uint32_t total);
    void *ctx;
};

/* E_NOMEM. A disk that cannot be measured leaves zeros. */
NODISCARD int cost_measure_run(struct cost_profile *out, const struct cost_measure *m,
                               struct err *err);

#endif
