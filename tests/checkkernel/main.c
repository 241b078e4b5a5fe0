/* The referee's main. usage: checkkernel [--seed N] [--bench [FILTER]] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkkernel/check.h"
#include "os/cpu.h"

static const struct {
    const char *name; /* as --cpu names it */
    unsigned flag;    /* the flag that must be there; 0: always */
    unsigned use;     /* what kernel_init is given */
} levels[] = {
    { "generic", 0, 0 },
    { "avx2", OS_CPU_AVX2, KERNEL_AVX2 },
    { "avx512", OS_CPU_AVX512, KERNEL_AVX2 | KERNEL_AVX512 },
    { "avx512-vnni", OS_CPU_AVX512_VNNI, KERNEL_AVX2 | KERNEL_AVX512 | KERNEL_AVX512_VNNI },
    { "avx512-bf16", OS_CPU_AVX512_BF16,
      KERNEL_AVX2 | KERNEL_AVX512 | KERNEL_AVX512_VNNI | KERNEL_AVX512_BF16 },
    { "neon", OS_CPU_NEON, KERNEL_NEON },
    { "dotprod", OS_CPU_DOTPROD, KERNEL_NEON | KERNEL_DOTPROD },
};

static unsigned n_run;
static unsigned n_failed;

static void run_entries(struct check *t, const char *level, const struct check_entry *e)
{
    for (; e->name != NULL; e++) {
        t->failed = false;
        rng_seed(&t->rng, t->seed);
        e->run(t);
        n_failed += t->failed;
        printf("%sok %u - %s %s\n", t->failed ? "not " : "", ++n_run, level, e->name);
        fflush(stdout);
    }
}

static void run_level(struct check *t, unsigned i)
{
    kernel_init(&t->k, levels[i].use);
    if (strcmp(t->k.level, levels[i].name) != 0) {
        printf("not ok %u - %s is called %s by its table\n", ++n_run, levels[i].name, t->k.level);
        n_failed++;
    }
    run_entries(t, levels[i].name, checks_vector);
    run_entries(t, levels[i].name, checks_matmul);
    run_entries(t, levels[i].name, checks_attn);
    run_entries(t, levels[i].name, checks_delta);
    bench_run(t, levels[i].use, true, NULL);
    printf("ok %u - %s bench bodies run\n", ++n_run, levels[i].name);
}

int main(int argc, char **argv)
{
    struct check t = { .seed = 20260101 };
    bool bench = false;
    const char *filter = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            t.seed = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--bench") == 0)
            bench = true;
        else if (bench && argv[i][0] != '-')
            filter = argv[i];
        else {
            fprintf(stderr, "usage: checkkernel [--seed N] [--bench [FILTER]]\n");
            return 2;
        }
    }
    struct os_cpu cpu;
    os_cpu_detect(&cpu);
    kernel_init(&t.c, 0);
    rng_seed(&t.rng, t.seed);
    printf("# seed %llu, %s\n", (unsigned long long)t.seed, cpu.model);
    for (unsigned i = 0; i < sizeof levels / sizeof *levels; i++) {
        bool have = (cpu.flags & levels[i].flag) == levels[i].flag;
        if (bench && have) {
            kernel_init(&t.k, levels[i].use);
            bench_run(&t, levels[i].use, false, filter);
        } else if (!bench && have) {
            run_level(&t, i);
        } else if (!bench) {
            printf("ok %u - %s # SKIP this processor has no %s\n", ++n_run, levels[i].name,
                   levels[i].name);
        }
    }
    if (!bench)
        printf("1..%u\n", n_run);
    return n_failed != 0;
}
