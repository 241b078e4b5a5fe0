/* The index in memory: slots in an array, chained from a table of buckets. The keys are outputs of
 * a keyed digest already, so their first bytes are the hash. */
#include "base/mem.h"
#include "base/num.h"
#include "kv/store_impl.h"

static uint32_t *bucket_of(const struct kv_store *s, const struct kv_digest *key)
{
    ASSERT(s->n_buckets > 0);
    return &s->buckets[load_le32(key->bytes) & (s->n_buckets - 1)];
}

uint32_t kv_index_find(const struct kv_store *s, const struct kv_digest *key)
{
    if (s->n_buckets == 0)
        return NO_ENTRY;
    uint32_t i = *bucket_of(s, key);
    while (i != NO_ENTRY && !kv_digest_equal(&s->entries[i].key, key))
        i = s->entries[i].next;
    return i;
}

static void link_entry(struct kv_store *s, uint32_t i)
{
    uint32_t *b = bucket_of(s, &s->entries[i].key);
    s->entries[i].next = *b;
    *b = i;
}

static int grow(struct kv_store *s)
{
    uint32_t cap = s->cap_entries == 0 ? 256 : 2 * s->cap_entries;
    if (cap > ENTRIES_MAX)
        return E_FULL;
    uint32_t *buckets = mem_alloc(cap, sizeof *buckets);
    struct entry *entries = mem_realloc(s->entries, cap, sizeof *entries);
    if (entries != NULL)
        s->entries = entries;
    if (entries == NULL || buckets == NULL) {
        mem_free(buckets);
        return E_NOMEM;
    }
    mem_free(s->buckets);
    s->buckets = buckets;
    s->n_buckets = s->cap_entries = cap;
    for (uint32_t i = 0; i < cap; i++)
        buckets[i] = NO_ENTRY;
    for (uint32_t i = 0; i < s->n_entries; i++)
        if (s->entries[i].tick != 0)
            link_entry(s, i);
    return 0;
}

static void account(struct kv_store *s, const struct entry *e, bool comes)
{
    struct segment *g = &s->segments[e->segment];
    uint64_t bytes = (uint64_t)e->pages * PAGE;
    if (comes) {
        g->live_bytes += bytes;
        s->live_bytes += bytes;
        g->n_live++;
        return;
    }
    ASSERT(g->live_bytes >= bytes);
    ASSERT(g->n_live > 0);
    g->live_bytes -= bytes;
    s->live_bytes -= bytes;
    g->n_live--;
}

int kv_index_put(struct kv_store *s, const struct entry *e)
{
    ASSERT(e->tick != 0);
    uint32_t i = kv_index_find(s, &e->key);
    if (i != NO_ENTRY) {
        uint64_t tick = num_max(s->entries[i].tick, e->tick);
        uint32_t next = s->entries[i].next;
        account(s, &s->entries[i], false);
        s->entries[i] = *e;
        s->entries[i].tick = tick;
        s->entries[i].next = next;
        account(s, e, true);
        return 0;
    }
    if (s->free_entry == NO_ENTRY && s->n_entries == s->cap_entries)
        TRY(grow(s));
    i = s->free_entry;
    if (i != NO_ENTRY)
        s->free_entry = s->entries[i].next;
    else
        i = s->n_entries++;
    s->entries[i] = *e;
    link_entry(s, i);
    account(s, e, true);
    s->n_live++;
    return 0;
}

void kv_index_drop(struct kv_store *s, uint32_t i)
{
    struct entry *e = &s->entries[i];
    ASSERT(e->tick != 0);
    uint32_t *at = bucket_of(s, &e->key);
    while (*at != i)
        at = &s->entries[*at].next;
    *at = e->next;
    account(s, e, false);
    e->tick = 0;
    e->next = s->free_entry;
    s->free_entry = i;
    ASSERT(s->n_live > 0);
    s->n_live--;
}

void kv_index_move(struct kv_store *s, uint32_t i, uint32_t segment, uint64_t offset)
{
    struct entry *e = &s->entries[i];
    ASSERT(e->tick != 0);
    account(s, e, false);
    e->segment = segment;
    e->offset = offset;
    account(s, e, true);
}

uint32_t kv_segment_slot(struct kv_store *s)
{
    for (uint32_t i = 0; i < s->n_segments; i++)
        if (s->segments[i].file < 0)
            return i;
    if (s->n_segments == SEGMENTS_MAX)
        return NO_SEGMENT;
    if (s->n_segments == s->cap_segments) {
        uint32_t cap = s->cap_segments == 0 ? 16 : 2 * s->cap_segments;
        struct segment *segments = mem_realloc(s->segments, cap, sizeof *segments);
        if (segments == NULL)
            return NO_SEGMENT;
        s->segments = segments;
        s->cap_segments = cap;
    }
    s->segments[s->n_segments].file = -1;
    return s->n_segments++;
}

void kv_segment_unpin(struct kv_store *s, uint32_t i)
{
    struct segment *g = &s->segments[i];
    ASSERT(g->n_pins > 0);
    if (--g->n_pins > 0 || !g->dead)
        return;
    s->disk->table->close(s->disk, g->file);
    *g = (struct segment){ .file = -1 };
}
