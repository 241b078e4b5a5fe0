/* x86: cpuid says what the core has, xgetbv whether the operating system saves the wide registers;
 * both must agree. arm: the kernel's hwcaps. Cores: the affinity mask, cut by a cgroup-v2 quota,
 * since a container with two cores of quota on a machine of 64 must not start 64 threads. */
#include "os/cpu.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

static const struct {
    const char *name;
    unsigned own;   /* the flag that stands for the level */
    unsigned allow; /* what the level may use */
} levels[] = {
    { "generic", 0, 0 },
    { "avx2", OS_CPU_AVX2, OS_CPU_AVX2 },
    { "avx512", OS_CPU_AVX512, OS_CPU_AVX2 | OS_CPU_AVX512 },
    { "avx512-vnni", OS_CPU_AVX512_VNNI, OS_CPU_AVX2 | OS_CPU_AVX512 | OS_CPU_AVX512_VNNI },
    { "avx512-bf16", OS_CPU_AVX512_BF16,
      OS_CPU_AVX2 | OS_CPU_AVX512 | OS_CPU_AVX512_VNNI | OS_CPU_AVX512_BF16 },
    { "neon", OS_CPU_NEON, OS_CPU_NEON },
    { "dotprod", OS_CPU_DOTPROD, OS_CPU_NEON | OS_CPU_DOTPROD },
    { "i8mm", OS_CPU_I8MM, OS_CPU_NEON | OS_CPU_DOTPROD | OS_CPU_I8MM },
};

#if defined(__x86_64__)
static uint64_t enabled_state(void)
{
    uint32_t lo;
    uint32_t hi;
    __asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return lo | (uint64_t)hi << 32;
}

static unsigned detect_flags(void)
{
    unsigned a;
    unsigned b;
    unsigned c;
    unsigned d;
    unsigned flags = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & bit_OSXSAVE) == 0)
        return 0;
    bool fma_f16c = (c & bit_FMA) != 0 && (c & bit_F16C) != 0;
    uint64_t state = enabled_state();
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return 0;
    if (fma_f16c && (b & bit_AVX2) != 0 && (b & bit_BMI2) != 0 && (state & 0x6) == 0x6)
        flags |= OS_CPU_AVX2;
    unsigned wide = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    if ((flags & OS_CPU_AVX2) == 0 || (b & wide) != wide || (state & 0xe6) != 0xe6)
        return flags;
    flags |= OS_CPU_AVX512;
    if ((c & bit_AVX512VNNI) != 0)
        flags |= OS_CPU_AVX512_VNNI;
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 5) != 0)
        flags |= OS_CPU_AVX512_BF16;
    return flags;
}

static void detect_model(char *out, size_t room)
{
    unsigned r[12];
    for (unsigned i = 0; i < 3; i++)
        if (!__get_cpuid(0x80000002 + i, &r[4 * i], &r[4 * i + 1], &r[4 * i + 2], &r[4 * i + 3]))
            return;
    char brand[sizeof r + 1] = { 0 };
    memcpy(brand, r, sizeof r);
    const char *from = brand + strspn(brand, " ");
    snprintf(out, room, "%s", from);
    for (size_t n = strlen(out); n > 0 && out[n - 1] == ' '; n--)
        out[n - 1] = '\0';
}
#elif defined(__aarch64__)
static unsigned detect_flags(void)
{
    unsigned long cap = getauxval(AT_HWCAP);
    unsigned flags = OS_CPU_NEON; /* part of the base architecture */
    if ((cap & 1ul << 20) != 0)   /* HWCAP_ASIMDDP */
        flags |= OS_CPU_DOTPROD;
    if ((getauxval(AT_HWCAP2) & 1ul << 13) != 0) /* HWCAP2_I8MM */
        flags |= OS_CPU_I8MM;
    return flags;
}

static void detect_model(char *out, size_t room) { snprintf(out, room, "aarch64"); }
#else
static unsigned detect_flags(void) { return 0; }
static void detect_model(char *out, size_t room) { snprintf(out, room, "unknown"); }
#endif

/* Cores of quota in a cgroup v2 ("max 100000" or "200000 100000"); 0: no limit known. */
static uint32_t quota_cores(void)
{
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (f == NULL)
        return 0;
    unsigned long quota = 0;
    unsigned long period = 0;
    int n = fscanf(f, "%lu %lu", &quota, &period);
    fclose(f);
    if (n != 2 || period == 0)
        return 0;
    unsigned long cores = (quota + period - 1) / period;
    return cores == 0 ? 1 : (uint32_t)cores;
}

static uint32_t count_cores(void)
{
    cpu_set_t set;
    uint32_t n = 1;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        n = (uint32_t)CPU_COUNT(&set);
    uint32_t quota = quota_cores();
    return quota != 0 && quota < n ? quota : n;
}

static size_t sysconf_bytes(int name)
{
    long n = sysconf(name);
    return n > 0 ? (size_t)n : 0;
}

/* Cache `index` of the first core as the kernel tells it ("32768K"); false where it does not. */
static bool read_cache(uint32_t index, uint32_t *level, bool *data, size_t *bytes)
{
    static const char *const parts[] = { "level", "type", "size" };
    char text[3][16];
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        char path[96];
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%u/%s", index,
                 parts[i]);
        FILE *f = fopen(path, "re");
        if (f == NULL)
            return false;
        bool ok = fscanf(f, "%15s", text[i]) == 1;
        fclose(f);
        if (!ok)
            return false;
    }
    char unit = '\0';
    unsigned n = 0;
    if (sscanf(text[0], "%u", level) != 1 || sscanf(text[2], "%u%c", &n, &unit) < 1)
        return false;
    *data = strcmp(text[1], "Instruction") != 0;
    *bytes = (size_t)n << (unit == 'M' ? 20 : unit == 'K' ? 10 : 0);
    return true;
}

/* The kernel's own table first: on some processors sysconf multiplies the last level by the number
 * of its shares (320 MiB for 32 were seen). */
static void detect_caches(struct os_cpu *cpu)
{
    size_t *const sizes[] = { &cpu->l1d_bytes, &cpu->l2_bytes, &cpu->l3_bytes };
    uint32_t level;
    bool data;
    size_t bytes;
    for (uint32_t i = 0; read_cache(i, &level, &data, &bytes); i++)
        if (data && level >= 1 && level <= COUNT_OF(sizes))
            *sizes[level - 1] = bytes;
#ifdef _SC_LEVEL1_DCACHE_SIZE
    if (cpu->l1d_bytes == 0) {
        cpu->l1d_bytes = sysconf_bytes(_SC_LEVEL1_DCACHE_SIZE);
        cpu->l2_bytes = sysconf_bytes(_SC_LEVEL2_CACHE_SIZE);
        cpu->l3_bytes = sysconf_bytes(_SC_LEVEL3_CACHE_SIZE);
    }
#endif
}

void os_cpu_detect(struct os_cpu *cpu)
{
    *cpu = (struct os_cpu){ .flags = detect_flags(), .n_cores = count_cores() };
    detect_model(cpu->model, sizeof cpu->model);
    if (cpu->model[0] == '\0')
        snprintf(cpu->model, sizeof cpu->model, "unknown");
    detect_caches(cpu);
    cpu->memory_bytes = sysconf_bytes(_SC_PHYS_PAGES) * sysconf_bytes(_SC_PAGESIZE);
}

int os_cpu_mask(struct os_cpu *cpu, const char *level, struct err *err)
{
    if (level == NULL || strcmp(level, "auto") == 0)
        return 0;
    for (size_t i = 0; i < COUNT_OF(levels); i++) {
        if (strcmp(level, levels[i].name) != 0)
            continue;
        if ((cpu->flags & levels[i].own) != levels[i].own)
            return err_set_field(err, E_UNSUPPORTED, "--cpu",
                                 "--cpu %s: this processor (%s) does not have it; use --cpu auto",
                                 level, cpu->model);
        cpu->flags &= levels[i].allow;
        return 0;
    }
    return err_set_field(err, E_USAGE, "--cpu",
                         "--cpu %s: unknown level; use auto, generic, avx2, avx512, avx512-vnni, "
                         "avx512-bf16, neon, dotprod or i8mm", level);
}
