/* kernel/probe.h - loops that do nothing but load the machine: its ceilings.
 *
 * Idea: a result means little without the best this machine could do. The fused multiply-add probe
 * keeps enough independent accumulators in registers to hide the latency of the unit; the int8 and
 * bf16 probes run the instruction mix of those dot products; the read probe sums a buffer. The
 * caller times them.
 *
 * Ownership, threads: pure functions; run one per thread.   Cost: as long as asked. */
#ifndef KERNEL_PROBE_H
#define KERNEL_PROBE_H

#include <stddef.h>
#include <stdint.h>

struct kernel_probe {
    /* Runs `rounds` rounds and returns the operations done (a multiply-add counts two). */
    uint64_t (*fma_f32)(uint64_t rounds);
    uint64_t (*dot_i8)(uint64_t rounds);
    uint64_t (*dot_bf16)(uint64_t rounds); /* NULL: bf16 is computed with as f32 */
    /* Reads every byte; the value returned keeps the compiler from dropping the loop. */
    uint64_t (*read)(const void *data, size_t bytes);
};

/* The probes of the best level in flags (enum kernel_flag). */
void kernel_probe_init(struct kernel_probe *p, unsigned flags);
#if defined(__x86_64__)
void kernel_probe_init_avx2(struct kernel_probe *p);
void kernel_probe_init_avx512(struct kernel_probe *p, unsigned flags);
#endif

#endif
