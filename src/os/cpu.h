/* os/cpu.h - what this processor can do, and how much of it we are allowed to use.
 *
 * Idea: detect once (cpuid and the operating system's consent on x86, hwcaps on arm), then mask by
 * name: "--cpu=avx2" runs the AVX2 level on a machine that has more. Caches and cores come along,
 * for blocking and thread counts.   Cost: once at start. */
#ifndef OS_CPU_H
#define OS_CPU_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum os_cpu_flag {
    OS_CPU_AVX2 = 1 << 0,        /* with FMA, F16C, BMI2; YMM state enabled */
    OS_CPU_AVX512 = 1 << 1,      /* F, BW, DQ, VL; ZMM state enabled */
    OS_CPU_AVX512_VNNI = 1 << 2,
    OS_CPU_AVX512_BF16 = 1 << 3,
    OS_CPU_NEON = 1 << 4,
    OS_CPU_DOTPROD = 1 << 5,
    OS_CPU_I8MM = 1 << 6,
};

struct os_cpu {
    unsigned flags;              /* enum os_cpu_flag */
    char model[64];              /* "AMD EPYC"; "unknown" */
    uint32_t n_cores;            /* this process may run on (affinity, cgroup quota) */
    size_t l1d_bytes, l2_bytes, l3_bytes; /* 0: unknown */
    size_t memory_bytes;
};

void os_cpu_detect(struct os_cpu *cpu);
/* Keeps only the flags of `level`: "auto", "generic", "avx2", "avx512", "avx512-vnni",
 * "avx512-bf16", "neon", "dotprod", "i8mm". E_USAGE lists the names; E_UNSUPPORTED if the processor
 * lacks the level. */
NODISCARD int os_cpu_mask(struct os_cpu *cpu, const char *level, struct err *err);

#endif
