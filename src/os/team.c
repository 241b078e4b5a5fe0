/* A futex-backed generation counter instead of a pthread barrier: a region starts with one store
 * and ends with one count-down, and waiters spin only briefly before they sleep, because a spinning
 * thread on a machine with other work takes the core from the very thread it waits for.
 *
 *     caller                      worker
 *     work = {fn, n}              wait until generation changes (spin, then futex)
 *     generation += 1, wake       take chunks
 *     take chunks                 pending -= 1, wake the caller at 0
 *     wait until pending == 0
 *
 * Chunks: each thread owns a contiguous share with a counter of its own; when it is through it
 * helps the others, in order. The counters sit on cache lines of their own. */
#include "os/team.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"

#define SPINS 4000 /* about 10-20 us of pauses: longer than a short region's imbalance */

struct share {
    _Alignas(CACHE_LINE) atomic_uint next; /* first chunk not taken */
    uint32_t end;
};

struct os_team {
    uint32_t n_threads;
    pthread_t *threads; /* (n_threads - 1) */
    uint32_t n_started;
    os_team_fn fn;
    void *ctx;
    struct share *shares; /* (n_threads) */
    _Alignas(CACHE_LINE) atomic_uint generation; /* region number; workers wait for a change */
    _Alignas(CACHE_LINE) atomic_uint pending;    /* workers still inside the region */
    atomic_bool stop;
};

struct worker_arg {
    struct os_team *team;
    uint32_t index;
};

static void pause_cpu(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void futex_wait(atomic_uint *word, unsigned seen)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake(atomic_uint *word, int n)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

/* Returns when *word is no longer `seen`; acquire, pairs with the release that changed it. */
static unsigned wait_change(atomic_uint *word, unsigned seen)
{
    for (int i = 0; i < SPINS; i++) {
        unsigned now = atomic_load_explicit(word, memory_order_acquire);
        if (now != seen)
            return now;
        pause_cpu();
    }
    for (;;) {
        unsigned now = atomic_load_explicit(word, memory_order_acquire);
        if (now != seen)
            return now;
        futex_wait(word, seen);
    }
}

static void take_chunks(struct os_team *t, uint32_t me)
{
    for (uint32_t k = 0; k < t->n_threads; k++) {
        struct share *s = &t->shares[(me + k) % t->n_threads];
        /* relaxed: the counter only hands out numbers; data is ordered by generation and pending */
        while (atomic_load_explicit(&s->next, memory_order_relaxed) < s->end) {
            uint32_t i = atomic_fetch_add_explicit(&s->next, 1, memory_order_relaxed);
            if (i >= s->end)
                break;
            t->fn(t->ctx, i, me);
        }
    }
}

static void *worker_main(void *arg)
{
    struct worker_arg *w = arg;
    struct os_team *t = w->team;
    uint32_t me = w->index;
    mem_free(w);
    unsigned seen = 0;
    for (;;) {
        seen = wait_change(&t->generation, seen);
        if (atomic_load_explicit(&t->stop, memory_order_relaxed))
            return NULL;
        take_chunks(t, me);
        /* release: the caller sees what fn wrote when it sees 0 */
        if (atomic_fetch_sub_explicit(&t->pending, 1, memory_order_acq_rel) == 1)
            futex_wake(&t->pending, 1);
    }
}

static int start_worker(struct os_team *t, uint32_t index)
{
    struct worker_arg *w = mem_alloc(1, sizeof *w);
    if (w == NULL)
        return E_NOMEM;
    *w = (struct worker_arg){ .team = t, .index = index };
    /* Signals belong to the main thread: a Ctrl-C must not land in a kernel. */
    sigset_t all;
    sigset_t old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&t->threads[index - 1], NULL, worker_main, w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0) {
        mem_free(w);
        return E_NOMEM;
    }
    t->n_started++;
    return 0;
}

int os_team_create(struct os_team **out, uint32_t n_threads)
{
    if (n_threads < 1 || n_threads > OS_TEAM_THREADS_MAX)
        return E_RANGE;
    struct os_team *t = mem_alloc_aligned(sizeof *t, CACHE_LINE);
    if (t == NULL)
        return E_NOMEM;
    *t = (struct os_team){ .n_threads = n_threads };
    t->threads = mem_alloc(n_threads, sizeof *t->threads);
    t->shares = mem_alloc_aligned(n_threads * sizeof *t->shares, CACHE_LINE);
    int rc = t->threads != NULL && t->shares != NULL ? 0 : E_NOMEM;
    for (uint32_t i = 1; rc == 0 && i < n_threads; i++)
        rc = start_worker(t, i);
    if (rc < 0) {
        os_team_destroy(t);
        return rc;
    }
    *out = t;
    return 0;
}

void os_team_destroy(struct os_team *t)
{
    if (t == NULL)
        return;
    atomic_store_explicit(&t->stop, true, memory_order_relaxed);
    atomic_fetch_add_explicit(&t->generation, 1, memory_order_release);
    futex_wake(&t->generation, INT32_MAX);
    for (uint32_t i = 0; i < t->n_started; i++)
        pthread_join(t->threads[i], NULL);
    mem_free(t->threads);
    mem_free(t->shares);
    mem_free(t);
}

uint32_t os_team_threads(const struct os_team *t) { return t->n_threads; }

static void deal_chunks(struct os_team *t, uint32_t n_chunks)
{
    uint64_t n = n_chunks;
    for (uint32_t i = 0; i < t->n_threads; i++) {
        atomic_store_explicit(&t->shares[i].next, (uint32_t)(n * i / t->n_threads),
                              memory_order_relaxed);
        t->shares[i].end = (uint32_t)(n * (i + 1) / t->n_threads);
    }
}

void os_team_run(struct os_team *t, uint32_t n_chunks, os_team_fn fn, void *ctx)
{
    if (t->n_threads == 1 || n_chunks <= 1) {
        for (uint32_t i = 0; i < n_chunks; i++)
            fn(ctx, i, 0);
        return;
    }
    t->fn = fn;
    t->ctx = ctx;
    deal_chunks(t, n_chunks);
    atomic_store_explicit(&t->pending, t->n_threads - 1, memory_order_relaxed);
    /* release: publishes fn, ctx and shares to the workers' acquire */
    atomic_fetch_add_explicit(&t->generation, 1, memory_order_release);
    futex_wake(&t->generation, (int)t->n_threads - 1);
    take_chunks(t, 0);
    unsigned left = atomic_load_explicit(&t->pending, memory_order_acquire);
    while (left != 0)
        left = wait_change(&t->pending, left);
}
