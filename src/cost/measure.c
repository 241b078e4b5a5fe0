/* Peaks come in runs of about 30 ms, reads in as many rounds as make 32 MiB a thread, so that
 * opening a region does not count. Each thread reads a part of its own, which it wrote itself: on a
 * machine with several memories the pages lie where the thread runs. */
#include "cost/measure.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "kernel/kernel.h"
#include "kernel/probe.h"
#include "os/cpu.h"
#include "os/disk.h"
#include "os/team.h"

enum { RUNS_MIN = 6, RUNS_MAX = 30, PARTS_A_POINT = 6 };
#define DISK_BYTES (128u << 20)
/* 256 MiB were read at 60 GB/s where a gigabyte comes at 36: servers keep more of what one machine
 * on them reads than its own cache table says. */
#define DRAM_BYTES ((size_t)1 << 30)

_Static_assert((unsigned)OS_CPU_AVX2 == KERNEL_AVX2 &&
                   (unsigned)OS_CPU_AVX512_BF16 == KERNEL_AVX512_BF16 &&
                   (unsigned)OS_CPU_I8MM == KERNEL_I8MM,
               "flags of both layers are the same bits");

struct job {
    uint64_t (*run)(uint64_t rounds);
    uint64_t (*read)(const void *data, size_t bytes);
    uint64_t rounds;
    uint8_t *data;
    size_t bytes_each;
    uint64_t done[OS_TEAM_THREADS_MAX]; /* so that nothing is dropped */
};

static double now(void)
{
    struct clock c = clock_system();
    return (double)clock_now_ns(&c) * 1e-9;
}

static void ops_task(void *ctx, uint32_t chunk, UNUSED uint32_t thread)
{
    struct job *j = ctx;
    j->done[chunk] = j->run(j->rounds);
}

static void write_task(void *ctx, uint32_t chunk, UNUSED uint32_t thread)
{
    struct job *j = ctx;
    memset(j->data + chunk * j->bytes_each, 1, j->bytes_each);
}

static void read_task(void *ctx, uint32_t chunk, UNUSED uint32_t thread)
{
    struct job *j = ctx;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < j->rounds; i++)
        sum += j->read(j->data + chunk * j->bytes_each, j->bytes_each);
    j->done[chunk] = sum;
}

/* The best run, tried again until six in a row have not been better by a hundredth. */
static double best_rate(struct os_team *team, struct job *j, os_team_fn fn, double amount_each)
{
    double best = 0;
    uint32_t n = os_team_threads(team);
    for (int i = 0, since = 0; i < RUNS_MAX && since < RUNS_MIN; i++) {
        double t = now();
        os_team_run(team, n, fn, j);
        double rate = amount_each * n / (now() - t);
        since = rate > 1.01 * best ? 0 : since + 1;
        best = rate > best ? rate : best;
    }
    return best;
}

static double peak(struct os_team *team, uint64_t (*run)(uint64_t))
{
    double a_round = (double)run(1000) / 1000;
    double t = now();
    run(100000);
    double per_round = (now() - t) / 100000;
    struct job j = { .run = run, .rounds = (uint64_t)(0.03 / per_round) + 1 };
    return best_rate(team, &j, ops_task, a_round * (double)j.rounds);
}

/* Bytes a second that all threads read from `bytes_each` each. 0: no memory. */
static double read_rate(struct os_team *team, const struct kernel_probe *probe, size_t bytes_each)
{
    uint32_t n = os_team_threads(team);
    bytes_each = num_max(bytes_each & ~(size_t)4095, 4096);
    uint8_t *data = mem_alloc_aligned(bytes_each * n, (size_t)2 << 20);
    if (data == NULL)
        return 0;
    /* Refused without harm where the system has no huge pages to give. */
    (void)madvise(data, bytes_each * n, MADV_HUGEPAGE);
    struct job j = { .read = probe->read,
                     .data = data,
                     .bytes_each = bytes_each,
                     .rounds = 1 + (32u << 20) / bytes_each };
    os_team_run(team, n, write_task, &j);
    double rate = best_rate(team, &j, read_task, (double)bytes_each * (double)j.rounds);
    mem_free(data);
    return rate;
}

struct walk {
    const struct cost_measure *m;
    struct kernel_probe probe;
    uint32_t done, total;
};

static void step(struct walk *w)
{
    if (w->m->progress != NULL)
        w->m->progress(w->m->ctx, w->done, w->total);
    w->done++;
}

static int measure_point(struct walk *w, uint32_t n_threads, struct cost_ceilings *out)
{
    const struct os_cpu *cpu = w->m->cpu;
    size_t l2 = cpu->l2_bytes != 0 ? cpu->l2_bytes : (size_t)256 << 10;
    size_t l3 = cpu->l3_bytes != 0 ? cpu->l3_bytes : (size_t)8 << 20;
    size_t dram = num_min(num_max(DRAM_BYTES, 4 * l3), num_max(cpu->memory_bytes / 8, 16u << 20));
    struct os_team *team;
    struct cost_ceilings c = { .threads = n_threads };
    TRY(os_team_create(&team, n_threads));
    step(w);
    c.fp32 = peak(team, w->probe.fma_f32);
    step(w);
    c.bf16 = w->probe.dot_bf16 != NULL ? peak(team, w->probe.dot_bf16) : c.fp32;
    step(w);
    c.int8 = peak(team, w->probe.dot_i8);
    step(w);
    c.l2 = read_rate(team, &w->probe, l2 / 2);
    step(w);
    c.l3 = read_rate(team, &w->probe, num_max(num_min(l3 / 2 / n_threads, 4 * l2), l2));
    step(w);
    c.dram = read_rate(team, &w->probe, dram / n_threads);
    os_team_destroy(team);
    if (c.l2 == 0 || c.l3 == 0 || c.dram == 0)
        return E_NOMEM;
    *out = c;
    return 0;
}

static uint32_t count_points(uint32_t n_cores)
{
    uint32_t n = 1;
    for (uint32_t t = 1; t < n_cores; t *= 2)
        n++;
    return n;
}

int cost_measure_run(struct cost_profile *out, const struct cost_measure *m, struct err *err)
{
    const struct os_cpu *cpu = m->cpu;
    uint32_t n_max = (uint32_t)num_min(cpu->n_cores, OS_TEAM_THREADS_MAX);
    struct walk w = { .m = m, .total = count_points(n_max) * PARTS_A_POINT + 1 };
    struct cost_profile p = { .n_cores = cpu->n_cores,
                              .l2_bytes = cpu->l2_bytes,
                              .l3_bytes = cpu->l3_bytes,
                              .memory_bytes = cpu->memory_bytes };
    struct clock clock = clock_system();
    p.measured_at = (uint64_t)clock.wall_s(clock.ctx);
    cost_fingerprint(cpu, p.fingerprint, sizeof p.fingerprint);
    snprintf(p.cpu, sizeof p.cpu, "%s", cpu->model);
    kernel_probe_init(&w.probe, cpu->flags);
    for (uint32_t t = 1;; t = (uint32_t)num_min((size_t)2 * t, n_max)) {
        int rc = measure_point(&w, t, &p.points[p.n_points++]);
        if (rc < 0)
            return err_set(err, rc, "cannot measure %u threads: %s", t, err_code_text(rc));
        if (t == n_max)
            break;
    }
    step(&w);
    struct os_disk_speed disk = { 0 };
    struct err why = { 0 };
    if (m->disk_folder != NULL && os_disk_measure(m->disk_folder, DISK_BYTES, &disk, &why) == 0) {
        p.disk_read = disk.read;
        p.disk_iops = disk.iops;
    }
    TRY(cost_profile_check(&p, err));
    *out = p;
    return 0;
}
