/* kill_loop ROUNDS SEED [DIR]: a real process writes, reads back, cleans and is killed with SIGKILL at a random
 * moment, over and over on one folder. Each round must open the store, and whatever it serves must be right: a
 * failed start or a wrong block ends the loop with status 1. io_uring and threads, plain and direct by turns. */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fault/chain.h"
#include "os/volume.h"

enum { CHAINS = 400, LENGTH = 8, BYTES = 6000 };

struct shared {
    atomic_ullong n_opened, n_read, n_written, n_failed, n_cut, n_collected;
};

static void work(const char *dir, uint64_t seed, struct shared *sh)
{
    struct os_volume *v = NULL;
    struct kv_store *s = NULL;
    struct err err = { 0 };
    struct rng rng;
    struct chain c;
    struct kv_store_stats st;
    rng_seed(&rng, seed);
    struct os_volume_params vp = { .dir = dir, .engine = rng_below(&rng, 2) ? OS_VOLUME_AUTO : OS_VOLUME_THREADS };
    if (os_volume_open(&v, &vp, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        _exit(3);
    }
    struct kv_store_params p = { .disk = v, .max_bytes = 8 << 20, .direct = rng_below(&rng, 2) };
    if (kv_store_open(&s, &p, &err) < 0) {
        fprintf(stderr, "FAILED START: %s\n", err.text);
        _exit(4);
    }
    atomic_fetch_add(&sh->n_opened, 1);
    kv_store_stats(s, &st);
    atomic_fetch_add(&sh->n_cut, st.n_cut);
    kv_store_check(s);
    for (;;) {
        chain_make(&c, s, rng_below(&rng, CHAINS), LENGTH);
        atomic_fetch_add(&sh->n_read, chain_read(s, &c, LENGTH, BYTES)); /* aborts on a wrong block */
        int rc = chain_write(s, &c, 0, 1 + rng_below(&rng, LENGTH), BYTES);
        rc = rc < 0 ? rc : kv_store_commit(s);
        kv_store_stats(s, &st);
        atomic_store(&sh->n_written, atomic_load(&sh->n_written) + 1);
        if (st.failed > 0 || rc < 0) {
            fprintf(stderr, "a block failed its check, or a write failed (%d)\n", rc);
            _exit(5);
        }
        if (rng_below(&rng, 4) == 0 && kv_store_collect(s) > 0)
            atomic_fetch_add(&sh->n_collected, 1);
    }
}

int main(int argc, char **argv)
{
    uint32_t rounds = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 100;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    char made[] = "/tmp/naru-kill-XXXXXX";
    const char *dir = argc > 3 ? argv[3] : mkdtemp(made);
    struct shared *sh = mmap(NULL, sizeof *sh, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct rng rng;
    rng_seed(&rng, seed);
    for (uint32_t i = 0; i < rounds; i++) {
        pid_t pid = fork();
        if (pid == 0)
            work(dir, rng_u64(&rng) + i, sh);
        (void)rng_u64(&rng);
        struct timespec t = { 0, 1000000 + (long)rng_below(&rng, 25000000) };
        nanosleep(&t, NULL);
        kill(pid, SIGKILL);
        int status = 0;
        waitpid(pid, &status, 0);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
            fprintf(stderr, "not ok - round %u of seed %llu in %s: status %d\n", i, (unsigned long long)seed, dir,
                    status);
            return 1;
        }
        if ((i + 1) % 1000 == 0)
            fprintf(stderr, "%u rounds\n", i + 1);
    }
    printf("ok - %u rounds of kill -9, seed %llu: %llu starts got as far as working, %llu blocks read back and "
           "right, %llu groups written, %llu cleaning steps, %llu torn indexes cut, 0 wrong, 0 failed starts\n",
           rounds, (unsigned long long)seed, atomic_load(&sh->n_opened), atomic_load(&sh->n_read),
           atomic_load(&sh->n_written), atomic_load(&sh->n_collected), atomic_load(&sh->n_cut));
    bool useful = atomic_load(&sh->n_read) > rounds && atomic_load(&sh->n_opened) > rounds / 4;
    if (argc <= 3) {
        char command[128];
        snprintf(command, sizeof command, "rm -rf %s", dir);
        return system(command) != 0 || !useful;
    }
    return !useful;
}
