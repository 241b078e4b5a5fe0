/* The queue is a list through an array with one node a block, so it cannot overflow and taking a
 * block out of its middle (drop) is O(1). */
#include "kv/mover.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/num.h"

#define GROUP_MAX 16           /* blocks the reader asks for at a time */
#define COMMIT_DELAY_NS 200000000u /* a lone block waits so long for others: one sync for all */
#define SMOOTH 0.3

struct node {
    struct kv_digest parent, key;
    uint32_t depth;
    bool queued;
    kv_block prev, next;
};

struct kv_mover {
    struct kv_mover_params params;
    struct kv_hasher *hasher;   /* the engine's */
    uint64_t model;
    size_t record_bytes;
    pthread_t writer, reader;
    bool has_writer, has_reader;

    pthread_mutex_t lock;
    pthread_cond_t write_wake, read_wake, copied;
    /* by lock */
    struct node *nodes;         /* (n_blocks) */
    int32_t *ids;               /* (n_blocks, block_len) of queued blocks */
    kv_block first, last, copying;
    struct kv_digest *forgets;  /* (n_blocks) to be overwritten */
    uint32_t n_forgets;
    struct kv_fetch *fetch_first, *fetch_last;
    uint32_t n_to_fetch;        /* blocks in the list and being read */
    double bytes_per_s;
    struct kv_mover_stats stats;
    bool quit;
    uint64_t quit_ns;           /* when patience ends */
};

static uint64_t now_ns(const struct kv_mover *m) { return clock_now_ns(&m->params.clock); }

/* --- the queue, by lock --- */

static void queue_put(struct kv_mover *m, kv_block b, bool in_front)
{
    struct node *n = &m->nodes[b];
    ASSERT(!n->queued);
    n->queued = true;
    n->prev = in_front ? KV_BLOCK_NONE : m->last;
    n->next = in_front ? m->first : KV_BLOCK_NONE;
    if (n->prev != KV_BLOCK_NONE)
        m->nodes[n->prev].next = b;
    else
        m->first = b;
    if (n->next != KV_BLOCK_NONE)
        m->nodes[n->next].prev = b;
    else
        m->last = b;
    m->stats.n_queued++;
}

static void queue_remove(struct kv_mover *m, kv_block b)
{
    struct node *n = &m->nodes[b];
    ASSERT(n->queued);
    ASSERT(m->stats.n_queued > 0);
    if (n->prev != KV_BLOCK_NONE)
        m->nodes[n->prev].next = n->next;
    else
        m->first = n->next;
    if (n->next != KV_BLOCK_NONE)
        m->nodes[n->next].prev = n->prev;
    else
        m->last = n->prev;
    n->queued = false;
    m->stats.n_queued--;
}

/* --- the writer --- */

static struct timespec in_ns(uint64_t ns)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    ns += (uint64_t)t.tv_nsec;
    t.tv_sec += (time_t)(ns / 1000000000u);
    t.tv_nsec = (long)(ns % 1000000000u);
    return t;
}

/* Copies one block into the store's buffer. The lock is held on entry and exit, not during the
 * copy. E_* of kv_store_stage. */
static int stage_first(struct kv_mover *m)
{
    const struct kv_mover_params *p = &m->params;
    pthread_mutex_unlock(&m->lock);
    int rc = kv_store_prepare(p->store, p->block_bytes, p->block_len); /* may do input and output */
    pthread_mutex_lock(&m->lock);
    kv_block b = m->first;
    if (rc < 0 || b == KV_BLOCK_NONE)
        return rc;
    struct kv_record r = { .key = m->nodes[b].key, .parent = m->nodes[b].parent,
                           .depth = m->nodes[b].depth, .n_tokens = p->block_len,
                           .ids = m->ids + (size_t)b * p->block_len, .codec = p->codec,
                           .model = m->model, .data = p->slab + (size_t)b * p->block_bytes,
                           .bytes = p->block_bytes };
    ASSERT(m->copying == KV_BLOCK_NONE);
    queue_remove(m, b);
    m->copying = b; /* from here on drop waits, and offer does not touch its node */
    pthread_mutex_unlock(&m->lock);
    rc = kv_store_stage(p->store, &r);
    pthread_mutex_lock(&m->lock);
    m->copying = KV_BLOCK_NONE;
    if (rc == E_FULL || rc == E_LIMIT)
        queue_put(m, b, true); /* not written: nobody may drop it unseen before it is tried again */
    pthread_cond_broadcast(&m->copied);
    return rc;
}

static void give_up_first(struct kv_mover *m)
{
    if (m->first == KV_BLOCK_NONE)
        return;
    queue_remove(m, m->first);
    m->stats.dropped++;
}

/* Stages what is queued, committing and cleaning in between, until nothing is left or the patience
 * of destroy is over. */
static void write_some(struct kv_mover *m)
{
    struct kv_store *store = m->params.store;
    while (m->first != KV_BLOCK_NONE && !(m->quit && now_ns(m) > m->quit_ns)) {
        int rc = stage_first(m);
        if (rc == 0 || rc == E_BUSY || rc == E_NOT_FOUND)
            continue;
        if (rc != E_FULL && rc != E_LIMIT) { /* no store to write to, no memory */
            give_up_first(m);
            continue;
        }
        pthread_mutex_unlock(&m->lock);
        int end = rc == E_FULL ? kv_store_commit(store) : kv_store_collect(store);
        pthread_mutex_lock(&m->lock);
        if (end > 0 || (end == 0 && rc == E_FULL))
            continue;
        give_up_first(m); /* no room and none to be made */
    }
}

/* Called with the lock; gives it up meanwhile. */
static void tidy_up(struct kv_mover *m)
{
    struct kv_store *store = m->params.store;
    uint32_t n = m->n_forgets; /* they were dropped from the queue: staged now or never */
    pthread_mutex_unlock(&m->lock);
    int rc = kv_store_commit(store);
    pthread_mutex_lock(&m->lock);
    for (; n > 0 && m->n_forgets > 0; n--) {
        struct kv_digest key = m->forgets[--m->n_forgets];
        pthread_mutex_unlock(&m->lock);
        kv_store_forget(store, &key);
        pthread_mutex_lock(&m->lock);
    }
    pthread_mutex_unlock(&m->lock);
    rc = rc < 0 ? rc : kv_store_collect(store);
    pthread_mutex_lock(&m->lock);
    while (rc > 0 && m->first == KV_BLOCK_NONE && !m->quit) {
        pthread_mutex_unlock(&m->lock);
        rc = kv_store_collect(store);
        pthread_mutex_lock(&m->lock);
    }
    if (m->first != KV_BLOCK_NONE)
        return;
    pthread_mutex_unlock(&m->lock);
    kv_store_flush(store);
    pthread_mutex_lock(&m->lock);
}

static void *run_writer(void *ctx)
{
    struct kv_mover *m = ctx;
    pthread_mutex_lock(&m->lock);
    for (;;) {
        while (m->first == KV_BLOCK_NONE && m->n_forgets == 0 && !m->quit)
            pthread_cond_wait(&m->write_wake, &m->lock);
        if (m->quit && (m->first == KV_BLOCK_NONE || now_ns(m) > m->quit_ns))
            break;
        write_some(m);
        struct timespec until = in_ns(COMMIT_DELAY_NS);
        while (!m->quit && m->n_forgets == 0 &&
               pthread_cond_timedwait(&m->write_wake, &m->lock, &until) != ETIMEDOUT)
            write_some(m);
        tidy_up(m);
    }
    tidy_up(m);
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

/* --- the reader --- */

static void note_speed(struct kv_mover *m, double bytes, uint64_t ns)
{
    double now = bytes * 1e9 / (double)num_max(ns, 1);
    m->bytes_per_s = m->bytes_per_s == 0 ? now : m->bytes_per_s * (1 - SMOOTH) + now * SMOOTH;
}

/* Fills a group of blocks; false: the fetch is over. */
static bool read_group(struct kv_mover *m, struct kv_fetch *f, uint32_t at)
{
    const struct kv_mover_params *p = &m->params;
    struct kv_record r[GROUP_MAX];
    uint32_t n = (uint32_t)num_min(GROUP_MAX, f->to - at);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t d = at + i;
        r[i] = (struct kv_record){
            .key = f->keys[d], .parent = d == 0 ? *f->root : f->keys[d - 1], .depth = d,
            .n_tokens = p->block_len, .ids = f->ids + (size_t)d * p->block_len,
            .codec = p->codec, .model = m->model, .bytes = p->block_bytes,
            .data = p->slab + (size_t)f->blocks[d] * p->block_bytes };
    }
    uint64_t begin = now_ns(m);
    uint32_t good = kv_store_get(p->store, r, n);
    uint64_t took = now_ns(m) - begin;
    pthread_mutex_lock(&m->lock);
    if (good > 0)
        note_speed(m, (double)good * (double)m->record_bytes, took);
    m->stats.fetched += good;
    pthread_mutex_unlock(&m->lock);
    atomic_fetch_add_explicit(&f->n_ready, good, memory_order_release);
    return good == n && at + n < f->to &&
           !atomic_load_explicit(&f->cancel, memory_order_relaxed);
}

static void *run_reader(void *ctx)
{
    struct kv_mover *m = ctx;
    pthread_mutex_lock(&m->lock);
    for (;;) {
        while (m->fetch_first == NULL && !m->quit)
            pthread_cond_wait(&m->read_wake, &m->lock);
        struct kv_fetch *f = m->fetch_first;
        if (f == NULL)
            break;
        m->fetch_first = f->next;
        m->fetch_last = m->fetch_first == NULL ? NULL : m->fetch_last;
        bool go = !m->quit && !atomic_load_explicit(&f->cancel, memory_order_relaxed);
        uint32_t n = f->to - f->from, at = f->from;
        pthread_mutex_unlock(&m->lock);
        for (; go; at += GROUP_MAX) {
            go = read_group(m, f, at);
            if (go && m->params.wake != NULL)
                m->params.wake(m->params.wake_ctx);
        }
        uint32_t n_ready = atomic_load_explicit(&f->n_ready, memory_order_relaxed);
        pthread_mutex_lock(&m->lock);
        ASSERT(m->n_to_fetch >= n);
        m->n_to_fetch -= n;
        m->stats.fetch_failed += n - n_ready;
        pthread_mutex_unlock(&m->lock);
        atomic_store_explicit(&f->done, true, memory_order_release); /* with the engine's acquire */
        if (m->params.wake != NULL)
            m->params.wake(m->params.wake_ctx);
        pthread_mutex_lock(&m->lock);
    }
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

/* --- create and destroy --- */

static void free_all(struct kv_mover *m)
{
    kv_hasher_destroy(m->hasher);
    mem_free(m->nodes);
    mem_free(m->ids);
    mem_free(m->forgets);
    pthread_mutex_destroy(&m->lock);
    pthread_cond_destroy(&m->write_wake);
    pthread_cond_destroy(&m->read_wake);
    pthread_cond_destroy(&m->copied);
    mem_free(m);
}

static void init_locks(struct kv_mover *m)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->write_wake, &attr);
    pthread_cond_init(&m->read_wake, NULL);
    pthread_cond_init(&m->copied, NULL);
    pthread_condattr_destroy(&attr);
}

static int build(struct kv_mover *m)
{
    const struct kv_mover_params *p = &m->params;
    TRY(kv_hasher_create(&m->hasher, kv_store_secret(p->store)));
    m->nodes = mem_alloc(p->n_blocks, sizeof *m->nodes);
    m->ids = mem_alloc(p->n_blocks, p->block_len * sizeof *m->ids);
    m->forgets = mem_alloc(p->n_blocks, sizeof *m->forgets);
    if (m->nodes == NULL || m->ids == NULL || m->forgets == NULL)
        return E_NOMEM;
    m->has_writer = pthread_create(&m->writer, NULL, run_writer, m) == 0;
    m->has_reader = m->has_writer && pthread_create(&m->reader, NULL, run_reader, m) == 0;
    return m->has_reader ? 0 : E_NOMEM;
}

int kv_mover_create(struct kv_mover **out, const struct kv_mover_params *params, struct err *err)
{
    uint64_t least = kv_store_bytes_for(params->block_bytes, params->block_len);
    struct kv_store_stats st;
    kv_store_stats(params->store, &st);
    if (st.max_bytes < least)
        return err_set_field(err, E_RANGE, "kv-disk",
                             "blocks of %zu bytes need a KV store of at least %" PRIu64
                             " bytes; %" PRIu64 " were given", params->block_bytes, least,
                             st.max_bytes);
    struct kv_mover *m = mem_alloc(1, sizeof *m);
    if (m == NULL)
        return err_set(err, E_NOMEM, "no memory for the mover of KV blocks");
    m->params = *params;
    m->model = load_le64(params->identity.bytes);
    m->record_bytes = params->block_bytes + params->block_len * sizeof(int32_t);
    m->first = m->last = m->copying = KV_BLOCK_NONE;
    init_locks(m);
    int rc = build(m);
    if (rc < 0) {
        kv_mover_destroy(m, 0);
        return err_set(err, rc, "the mover of KV blocks: %s", err_code_text(rc));
    }
    kv_store_name_model(params->store, m->model, params->model_name);
    *out = m;
    return 0;
}

void kv_mover_destroy(struct kv_mover *m, double flush_s)
{
    if (m == NULL)
        return;
    pthread_mutex_lock(&m->lock);
    m->quit = true;
    m->quit_ns = now_ns(m) + (uint64_t)(flush_s * 1e9);
    pthread_cond_broadcast(&m->write_wake);
    pthread_cond_broadcast(&m->read_wake);
    pthread_mutex_unlock(&m->lock);
    if (m->has_writer)
        pthread_join(m->writer, NULL);
    if (m->has_reader)
        pthread_join(m->reader, NULL);
    ASSERT(m->fetch_first == NULL);
    free_all(m);
}

/* --- the engine's side --- */

int kv_mover_root(struct kv_mover *m, const void *salt, size_t bytes, struct kv_digest *out)
{
    return kv_hash_root(m->hasher, &m->params.identity, salt, bytes, out);
}

int kv_mover_names(struct kv_mover *m, const struct kv_digest *root, const int32_t *ids,
                   struct kv_digest *keys, uint32_t from, uint32_t to)
{
    uint32_t len = m->params.block_len;
    for (uint32_t i = from; i < to; i++)
        TRY(kv_hash_block(m->hasher, i == 0 ? root : &keys[i - 1], ids + (size_t)i * len, len,
                          &keys[i]));
    return 0;
}

uint32_t kv_mover_find(struct kv_mover *m, const struct kv_digest *keys, uint32_t n)
{
    return kv_store_find(m->params.store, keys, n);
}

void kv_mover_offer(struct kv_mover *m, kv_block b, uint32_t depth, const struct kv_digest *parent,
                    const struct kv_digest *key, const int32_t *ids)
{
    ASSERT(b < m->params.n_blocks);
    if (kv_store_has(m->params.store, key))
        return;
    pthread_mutex_lock(&m->lock);
    struct node *n = &m->nodes[b];
    if (!n->queued && m->copying != b) {
        size_t bytes = m->params.block_len * sizeof *ids;
        n->key = *key;
        n->parent = *parent;
        n->depth = depth;
        memcpy(m->ids + (size_t)b * m->params.block_len, ids, bytes);
        bool was_empty = m->first == KV_BLOCK_NONE;
        queue_put(m, b, false);
        m->stats.offered++;
        if (was_empty)
            pthread_cond_signal(&m->write_wake);
    }
    pthread_mutex_unlock(&m->lock);
}

void kv_mover_drop(struct kv_mover *m, kv_block b)
{
    ASSERT(b < m->params.n_blocks);
    pthread_mutex_lock(&m->lock);
    while (m->copying == b)
        pthread_cond_wait(&m->copied, &m->lock);
    if (m->nodes[b].queued) {
        queue_remove(m, b);
        m->stats.dropped++;
    }
    pthread_mutex_unlock(&m->lock);
}

void kv_mover_forget(struct kv_mover *m, const struct kv_digest *key)
{
    pthread_mutex_lock(&m->lock);
    if (m->n_forgets < m->params.n_blocks)
        m->forgets[m->n_forgets++] = *key;
    pthread_cond_signal(&m->write_wake);
    pthread_mutex_unlock(&m->lock);
}

void kv_mover_fetch(struct kv_mover *m, struct kv_fetch *f)
{
    ASSERT(f->from < f->to);
    atomic_store_explicit(&f->n_ready, 0, memory_order_relaxed);
    atomic_store_explicit(&f->cancel, false, memory_order_relaxed);
    atomic_store_explicit(&f->done, false, memory_order_relaxed);
    f->next = NULL;
    pthread_mutex_lock(&m->lock);
    if (m->fetch_last != NULL)
        m->fetch_last->next = f;
    else
        m->fetch_first = f;
    m->fetch_last = f;
    m->n_to_fetch += f->to - f->from;
    pthread_cond_signal(&m->read_wake);
    pthread_mutex_unlock(&m->lock);
}

double kv_mover_predict(struct kv_mover *m, uint32_t n)
{
    pthread_mutex_lock(&m->lock);
    double rate = m->bytes_per_s, blocks = (double)n + m->n_to_fetch;
    pthread_mutex_unlock(&m->lock);
    return rate == 0 ? 0 : blocks * (double)m->record_bytes / rate;
}

void kv_mover_pardon(struct kv_mover *m)
{
    pthread_mutex_lock(&m->lock);
    m->bytes_per_s *= 1.1;
    pthread_mutex_unlock(&m->lock);
}

void kv_mover_stats(struct kv_mover *m, struct kv_mover_stats *out)
{
    pthread_mutex_lock(&m->lock);
    *out = m->stats;
    out->n_fetching = m->n_to_fetch;
    out->bytes_per_s = m->bytes_per_s;
    pthread_mutex_unlock(&m->lock);
    kv_store_stats(m->params.store, &out->store);
}

void kv_mover_check(struct kv_mover *m)
{
    uint32_t n = 0;
    kv_block prev = KV_BLOCK_NONE;
    pthread_mutex_lock(&m->lock);
    for (kv_block b = m->first; b != KV_BLOCK_NONE; b = m->nodes[b].next) {
        CHECK(m->nodes[b].queued);
        CHECK(m->nodes[b].prev == prev);
        CHECK(b != m->copying);
        prev = b;
        n++;
        CHECK(n <= m->params.n_blocks);
    }
    CHECK(m->last == prev);
    CHECK(n == m->stats.n_queued);
    pthread_mutex_unlock(&m->lock);
    kv_store_check(m->params.store);
}
