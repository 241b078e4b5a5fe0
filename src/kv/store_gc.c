/* Cleaning, in steps small enough to be interleaved with writing. When the files near the budget:
 *
 *   1. the least recently used entries are dropped until what lives is 3/4 of it. A child is never
 *      used later than its parent, so "older than t" is closed under descendants: no orphans;
 *   2. the segment with the least life is emptied: its records are verified and appended again;
 *   3. its index and then its segment are deleted.
 *
 * What lives is at most 3/4, so the emptiest segment gives back at least a quarter of itself: the
 * extra writes are bounded by three bytes for each byte gained (Rosenblum 1992, section 3.4). Many
 * small segments (one begins with each start that writes) are joined the same way. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "kv/store_impl.h"

#define SEGMENTS_MANY 192
#define STEP_ENTRIES 64
#define STEP_BYTES ((size_t)4 << 20)

static int compare_ticks(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

struct age {
    uint64_t tick, bytes;
};

/* Drops the coldest until at most `keep` bytes live. */
static int drop_cold(struct kv_store *s, uint64_t keep)
{
    uint32_t n = 0;
    pthread_mutex_lock(&s->lock);
    uint64_t live = s->live_bytes;
    struct age *ages = mem_alloc((size_t)s->n_live + 1, sizeof *ages);
    for (uint32_t i = 0; i < s->n_entries && ages != NULL; i++)
        if (s->entries[i].tick != 0)
            ages[n++] = (struct age){ s->entries[i].tick, (uint64_t)s->entries[i].pages * PAGE };
    pthread_mutex_unlock(&s->lock);
    if (ages == NULL)
        return E_NOMEM;
    qsort(ages, n, sizeof *ages, compare_ticks);
    uint32_t k = 0;
    for (; k < n && live > keep; k++)
        live -= ages[k].bytes;
    uint64_t before = k == 0 ? 0 : ages[k - 1].tick + 1;
    mem_free(ages);
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->n_entries; i++) {
        if (s->entries[i].tick == 0 || s->entries[i].tick >= before)
            continue;
        kv_index_drop(s, i);
        s->stats.dropped_cold++;
    }
    pthread_mutex_unlock(&s->lock);
    return 0;
}

static bool is_near_full(const struct kv_store *s)
{
    return s->disk_bytes + 2 * s->segment_bytes + 4 * PAGE > s->params.max_bytes;
}

/* The segment with the least life that is worth emptying, or NO_SEGMENT. */
static uint32_t choose(struct kv_store *s)
{
    uint32_t best = NO_SEGMENT, n = 0;
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->n_segments; i++) {
        const struct segment *g = &s->segments[i];
        if (g->file < 0 || g->dead || i == s->active)
            continue;
        n++;
        if (best == NO_SEGMENT || g->live_bytes < s->segments[best].live_bytes)
            best = i;
    }
    bool wanted = best != NO_SEGMENT && (s->segments[best].live_bytes == 0 || is_near_full(s) ||
                                         n > SEGMENTS_MANY);
    pthread_mutex_unlock(&s->lock);
    return wanted ? best : NO_SEGMENT;
}

/* The index goes first: a segment without one is nothing, the other way round it would be a lie. */
static void remove_segment(struct kv_store *s, uint32_t slot)
{
    char name[SEGMENT_NAME_BYTES];
    struct segment *g = &s->segments[slot]; /* the array grows in this thread only */
    ASSERT(slot != s->active);
    kv_segment_name(name, g->id, "idx");
    int rc = s->disk->table->remove(s->disk, name);
    kv_segment_name(name, g->id, "seg");
    rc = rc == 0 || rc == E_NOT_FOUND ? s->disk->table->remove(s->disk, name) : rc;
    if (rc < 0 && rc != E_NOT_FOUND)
        kv_store_fail(s, KV_STORE_READ_ONLY, errno, "an empty segment cannot be removed");
    pthread_mutex_lock(&s->lock);
    ASSERT(g->n_live == 0);
    ASSERT(s->disk_bytes >= g->bytes);
    s->disk_bytes -= g->bytes;
    g->dead = true;
    g->n_pins++;
    kv_segment_unpin(s, slot);
    pthread_mutex_unlock(&s->lock);
}

/* Copies of the next entries that lie in the victim. */
static uint32_t next_entries(struct kv_store *s, struct entry *out, uint32_t max,
                             struct segment *victim)
{
    uint32_t n = 0;
    size_t bytes = 0;
    pthread_mutex_lock(&s->lock);
    *victim = s->segments[s->victim];
    for (; s->cursor < s->n_entries && n < max && bytes < STEP_BYTES; s->cursor++) {
        const struct entry *e = &s->entries[s->cursor];
        if (e->tick == 0 || e->segment != s->victim)
            continue;
        out[n++] = *e;
        bytes += (size_t)e->pages * PAGE;
    }
    pthread_mutex_unlock(&s->lock);
    return n;
}

static void drop_one(struct kv_store *s, const struct entry *e)
{
    pthread_mutex_lock(&s->lock);
    uint32_t i = kv_index_find(s, &e->key);
    if (i != NO_ENTRY) {
        kv_index_drop(s, i);
        s->stats.dropped_cold++;
    }
    pthread_mutex_unlock(&s->lock);
}

/* Reads one record of the victim, verifies it, stages it again. A bad one is dropped here. */
static int move(struct kv_store *s, const struct segment *from, const struct entry *e)
{
    const uint8_t *ids = NULL, *payload = NULL;
    size_t bytes = (size_t)e->pages * PAGE;
    TRY(kv_scratch_reserve(&s->clean, bytes + (size_t)e->n_tokens * 4));
    struct os_volume_op op = { .kind = OS_VOLUME_READ, .file = from->file, .data = s->clean.bytes,
                             .bytes = bytes, .offset = e->offset };
    s->disk->table->run(s->disk, LANE_WRITE, &op, 1);
    int fault = op.rc < 0 ? KV_FAULT_IO
                          : kv_record_decode(s->seal_write, from, op.data, e, &ids, &payload);
    if (fault != KV_FAULT_KINDS) {
        kv_store_fault(s, e, (enum kv_store_fault)fault, op.error);
        return 0;
    }
    int32_t *native = (int32_t *)(void *)(s->clean.bytes + bytes);
    for (uint32_t i = 0; i < e->n_tokens; i++)
        native[i] = (int32_t)load_le32(ids + 4 * (size_t)i);
    struct kv_record r = { .key = e->key, .parent = e->parent, .depth = e->depth,
                           .n_tokens = e->n_tokens, .ids = native, .codec = e->codec,
                           .model = e->model, .data = (uint8_t *)(uintptr_t)payload,
                           .bytes = e->payload };
    int rc = kv_stage_put(s, &r, e->tick, true);
    if (rc == E_RANGE) { /* of a time when the budget was larger */
        drop_one(s, e);
        return 0;
    }
    if (rc != E_FULL)
        return rc;
    TRY(kv_store_commit(s));
    return kv_stage_put(s, &r, e->tick, true);
}

static int empty_victim(struct kv_store *s)
{
    struct entry *batch = mem_alloc(STEP_ENTRIES, sizeof *batch);
    struct segment victim;
    if (batch == NULL)
        return E_NOMEM;
    uint32_t n = next_entries(s, batch, STEP_ENTRIES, &victim);
    int rc = 0;
    for (uint32_t i = 0; i < n && rc >= 0; i++)
        rc = move(s, &victim, &batch[i]);
    mem_free(batch);
    int end = kv_store_commit(s);
    rc = rc < 0 ? rc : end;
    if (rc < 0 || victim.n_live == 0 || n == 0) {
        pthread_mutex_lock(&s->lock);
        bool empty = s->segments[s->victim].n_live == 0;
        pthread_mutex_unlock(&s->lock);
        if (empty) {
            kv_store_flush(s); /* the new places are durable before the old ones go */
            remove_segment(s, s->victim);
        }
        s->victim = NO_SEGMENT;
    }
    return rc < 0 ? rc : 1;
}

int kv_store_collect(struct kv_store *s)
{
    if (s->stats.state != KV_STORE_ON)
        return 0;
    int rc = kv_store_commit(s);
    if (rc < 0)
        return rc;
    if (s->victim == NO_SEGMENT) {
        pthread_mutex_lock(&s->lock);
        uint64_t keep = s->params.max_bytes / 4 * 3;
        bool drop = is_near_full(s) && s->live_bytes > keep;
        pthread_mutex_unlock(&s->lock);
        if (drop)
            TRY(drop_cold(s, keep));
        s->victim = choose(s);
        s->cursor = 0;
        if (s->victim == NO_SEGMENT)
            return 0;
    }
    return empty_victim(s);
}
