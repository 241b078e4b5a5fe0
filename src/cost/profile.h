/* cost/profile.h - what this machine can do at most: its ceilings, measured once and kept.
 *
 * Idea: every prediction and every "per cent of the floor" divides bytes by a bandwidth and
 * operations by a peak. Those are measured (cost/measure.h), not looked up, and kept in a small
 * JSON file beside the fingerprint of the machine they belong to.
 *
 *     measure --> struct cost_profile --save--> ~/.cache/naru/machine.json --load--> ceilings at
 *                                                                                    n threads
 *
 * Invariants: points are ascending in threads, at least one; every rate is positive and finite,
 * except those of the disk, where 0 means not measured. A file of another version, another machine
 * or with anything wrong in it is refused with a reason, never used in part.
 * Ownership: plain data. Threads: immutable once filled.
 * Cost: load and save one small file; the rest is O(points). Format: docs/formats/profile.md. */
#ifndef COST_PROFILE_H
#define COST_PROFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define COST_PROFILE_VERSION 1
#define COST_POINTS_MAX 16

/* Rates of `threads` threads together: bytes or operations a second; a multiply-add counts two. */
struct cost_ceilings {
    uint32_t threads;
    double l2, l3, dram; /* reading */
    double fp32, bf16, int8;
};

struct cost_profile {
    char fingerprint[192]; /* "AMD EPYC, 2 cores, ..."; see cost_fingerprint */
    char cpu[64];
    uint32_t n_cores;
    size_t l2_bytes, l3_bytes; /* of one core; of the chip */
    size_t memory_bytes;
    uint64_t measured_at; /* seconds since 1970 */
    uint32_t n_points;
    struct cost_ceilings points[COST_POINTS_MAX];
    double disk_read;  /* bytes a second, sequential; 0: not measured */
    double disk_iops;  /* random reads of 4 KiB a second; 0: not measured */
};

struct os_cpu;
/* One line that is equal for equal machines: processor, cores, caches, memory, instruction sets. */
void cost_fingerprint(const struct os_cpu *cpu, char *out, size_t room);

/* Where profiles lie unless told otherwise: $XDG_CACHE_HOME/naru/machine.json, or under
 * ~/.cache. mem_free it; NULL if the environment names neither. */
char *cost_profile_path(void);

/* E_NOT_FOUND, E_IO; E_FORMAT naming the field; E_UNSUPPORTED for another version. */
NODISCARD int cost_profile_load(struct cost_profile *p, const char *path, struct err *err);
/* Whole or not at all; makes the folders above. E_IO, E_DENIED, E_NOMEM. */
NODISCARD int cost_profile_save(const struct cost_profile *p, const char *path, struct err *err);
/* The same on text: for tests and for other places to keep it. */
struct buf;
NODISCARD int cost_profile_parse(struct cost_profile *p, const char *text, size_t len,
                                 struct err *err);
void cost_profile_write(const struct cost_profile *p, struct buf *out);
/* E_RANGE naming the field that breaks an invariant. */
NODISCARD int cost_profile_check(const struct cost_profile *p, struct err *err);

/* Takes over what `other`, of the same machine and the same points, has seen faster: a busy machine
 * only ever measures too little. */
void cost_profile_raise(struct cost_profile *p, const struct cost_profile *other);

/* Ceilings of n threads: between two measured points by a straight line, outside the nearest. */
struct cost_ceilings cost_profile_at(const struct cost_profile *p, uint32_t n_threads);
/* Bytes a second at which a working set that is read again and again arrives: from L2 or L3 if it
 * fits there, else from memory. */
double cost_profile_read_rate(const struct cost_profile *p, uint32_t n_threads, double bytes);

#endif
