/* A region ends when its chunks are done and nobody is inside, not when every worker has passed a
 * barrier: on a machine with other work a worker may be off its core just then, and to wait until
 * it has woken up only to find nothing left costs a hundred times the region. So a region is a
 * gate: the caller opens it, whoever is awake enters and takes chunks, and the caller closes it as
 * soon as all chunks are taken and the last one inside has left. Late workers find it shut and go
 * back to wait.
 *
 *     gate   [ generation, odd while open : 32 | threads inside : 32 ]
 *
 *     caller                              worker
 *     fn, shares; gate = open             wait for a change of `bell` (spin, then futex)
 *     bell += 1; wake those asleep        enter: gate + 1, only if open
 *     take chunks                         take chunks
 *     close: gate (open, 0) -> shut       leave: gate - 1, wake the caller at 0
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
    _Alignas(CACHE_LINE) atomic_uint bell;       /* region number; workers wait for a change */
    atomic_uint n_asleep;                        /* workers in the futex */
    atomic_bool stop;
    _Alignas(CACHE_LINE) _Atomic uint64_t gate;
};

#define GATE_OPEN ((uint64_t)1 << 32) /* generations count in this unit: odd is open */

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

/* Returns when the bell is no longer `seen`; acquire, pairs with the caller's release. */
static unsigned wait_bell(struct os_team *t, unsigned seen)
{
    for (int i = 0; i < SPINS; i++) {
        unsigned now = atomic_load_explicit(&t->bell, memory_order_acquire);
        if (now != seen)
            return now;
        pause_cpu();
    }
    /* seq_cst on n_asleep and bell, here and in ring_bell: either the caller sees us asleep and
     * wakes us, or the futex sees the new bell and does not sleep. */
    atomic_fetch_add(&t->n_asleep, 1);
    unsigned now = atomic_load(&t->bell);
    while (now == seen) {
        futex_wait(&t->bell, seen);
        now = atomic_load(&t->bell);
    }
    atomic_fetch_sub(&t->n_asleep, 1);
    return now;
}

static void ring_bell(struct os_team *t)
{
    atomic_fetch_add(&t->bell, 1);
    if (atomic_load(&t->n_asleep) != 0)
        futex_wake(&t->bell, INT32_MAX);
}

/* The low half of the gate, where the threads inside are counted, as the futex sees it. */
static atomic_uint *gate_count(struct os_team *t)
{
    _Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the low half comes first");
    return (atomic_uint *)(void *)&t->gate;
}

/* False if the gate is shut. acquire: sees fn, ctx and shares of the region it enters. */
static bool enter_gate(struct os_team *t)
{
    uint64_t g = atomic_load_explicit(&t->gate, memory_order_relaxed);
    while ((g & GATE_OPEN) != 0)
        if (atomic_compare_exchange_weak_explicit(&t->gate, &g, g + 1, memory_order_acquire,
                                                  memory_order_relaxed))
            return true;
    return false;
}

/* release: the caller that closes the gate sees what fn wrote. */
static void leave_gate(struct os_team *t)
{
    uint64_t g = atomic_fetch_sub_explicit(&t->gate, 1, memory_order_release);
    if ((uint32_t)g == 1)
        futex_wake(gate_count(t), 1);
}

/* Waits until nobody is inside, and shuts the gate in the same moment. */
static void close_gate(struct os_team *t)
{
    for (int i = 0;; i++) {
        uint64_t g = atomic_load_explicit(&t->gate, memory_order_relaxed);
        if ((uint32_t)g == 0) {
            if (atomic_compare_exchange_weak_explicit(&t->gate, &g, g + GATE_OPEN,
                                                      memory_order_acquire, memory_order_relaxed))
                return;
        } else if (i < SPINS) {
            pause_cpu();
        } else {
            futex_wait(gate_count(t), (uint32_t)g);
        }
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
        seen = wait_bell(t, seen);
        if (atomic_load_explicit(&t->stop, memory_order_relaxed))
            return NULL;
        if (enter_gate(t)) {
            take_chunks(t, me);
            leave_gate(t);
        }
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
    ring_bell(t);
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
    /* release: publishes fn, ctx and shares to those who enter */
    atomic_fetch_add_explicit(&t->gate, GATE_OPEN, memory_order_release);
    ring_bell(t);
    take_chunks(t, 0);
    close_gate(t);
}
