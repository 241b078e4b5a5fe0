/* Reading: into a scratch buffer first, and only what passed every comparison is copied out (R28).
 * The segments being read are pinned, so that cleaning cannot close them meanwhile. */
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "kv/store_impl.h"

#define READ_BYTES ((size_t)16 << 20)
#define GROUP_MAX 32

int kv_scratch_reserve(struct scratch *s, size_t bytes)
{
    if (s->cap >= bytes)
        return 0;
    uint8_t *p = mem_alloc_aligned(bytes, PAGE);
    if (p == NULL)
        return E_NOMEM;
    mem_free(s->bytes);
    s->bytes = p;
    s->cap = bytes;
    return 0;
}

/* The entry goes, unless it has moved or changed since it was looked up. */
void kv_store_fault(struct kv_store *s, const struct entry *e, enum kv_store_fault fault,
                    int error)
{
    pthread_mutex_lock(&s->lock);
    uint32_t i = kv_index_find(s, &e->key);
    if (i != NO_ENTRY && s->entries[i].segment == e->segment && s->entries[i].offset == e->offset)
        kv_index_drop(s, i);
    s->stats.failed++;
    s->stats.faults[fault]++;
    if (fault == KV_FAULT_IO) {
        s->stats.io_errors++;
        s->stats.last_error = error;
    }
    pthread_mutex_unlock(&s->lock);
}

struct group {
    struct entry e[GROUP_MAX];
    struct segment segments[GROUP_MAX]; /* as they were; pinned, so id and file stay true */
    struct os_volume_op ops[GROUP_MAX];
    uint32_t n;
    size_t bytes;
};

/* Looks up and pins as many of the records as go into one group; the number looked at. */
static uint32_t gather(struct kv_store *s, struct kv_record *records, uint32_t n, struct group *g)
{
    uint32_t at = 0;
    g->n = 0;
    g->bytes = 0;
    pthread_mutex_lock(&s->lock);
    bool off = s->stats.state == KV_STORE_OFF;
    for (; at < n && at < GROUP_MAX; at++) {
        uint32_t i = off ? NO_ENTRY : kv_index_find(s, &records[at].key);
        records[at].rc = E_NOT_FOUND;
        if (i == NO_ENTRY)
            break; /* what follows is of no use */
        const struct entry *e = &s->entries[i];
        size_t bytes = (size_t)e->pages * PAGE;
        if (g->n > 0 && g->bytes + bytes > READ_BYTES)
            break;
        struct segment *seg = &s->segments[e->segment];
        seg->n_pins++;
        g->e[g->n] = *e;
        g->segments[g->n] = *seg;
        g->ops[g->n] = (struct os_volume_op){ .kind = OS_VOLUME_READ, .file = seg->file,
                                            .bytes = bytes, .offset = e->offset };
        g->bytes += bytes;
        g->n++;
    }
    pthread_mutex_unlock(&s->lock);
    return g->n;
}

static void unpin(struct kv_store *s, const struct group *g)
{
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < g->n; i++)
        kv_segment_unpin(s, g->e[i].segment);
    pthread_mutex_unlock(&s->lock);
}

static bool same_tokens(const uint8_t *stored, const int32_t *ids, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (load_le32(stored + 4 * (size_t)i) != (uint32_t)ids[i])
            return false;
    return true;
}

/* One record that was read: hand it out, or book the fault. */
static void judge(struct kv_store *s, struct kv_record *r, const struct group *g, uint32_t i)
{
    const struct entry *e = &g->e[i];
    const struct os_volume_op *op = &g->ops[i];
    const uint8_t *ids = NULL, *payload = NULL;
    int fault = KV_FAULT_IO;
    if (op->rc == 0)
        fault = kv_record_decode(s->seal_read, &g->segments[i], op->data, e, &ids, &payload);
    if (fault == KV_FAULT_KINDS && (!kv_digest_equal(&e->parent, &r->parent) ||
                                    e->depth != r->depth || e->codec != r->codec ||
                                    e->payload != r->bytes))
        fault = KV_FAULT_KEY;
    if (fault == KV_FAULT_KINDS &&
        (e->n_tokens != r->n_tokens || !same_tokens(ids, r->ids, r->n_tokens)))
        fault = KV_FAULT_TOKENS;
    r->rc = fault == KV_FAULT_KINDS ? 0 : fault == KV_FAULT_IO ? E_IO : E_FORMAT;
    if (fault != KV_FAULT_KINDS) {
        kv_store_fault(s, e, (enum kv_store_fault)fault, op->error);
        kv_store_log(s, "kv store: block %u of a chain failed its check (%s) and is computed "
                     "again", e->depth, kv_store_fault_name((enum kv_store_fault)fault));
        return;
    }
    memcpy(r->data, payload, r->bytes);
    pthread_mutex_lock(&s->lock);
    s->stats.verified++;
    pthread_mutex_unlock(&s->lock);
}

static int read_group(struct kv_store *s, struct scratch *scratch, struct group *g, uint32_t lane)
{
    TRY(kv_scratch_reserve(scratch, g->bytes));
    size_t at = 0;
    for (uint32_t i = 0; i < g->n; i++) {
        g->ops[i].data = scratch->bytes + at;
        at += g->ops[i].bytes;
    }
    s->disk->table->run(s->disk, lane, g->ops, g->n);
    pthread_mutex_lock(&s->lock);
    s->stats.read += g->n;
    s->stats.read_bytes += g->bytes;
    pthread_mutex_unlock(&s->lock);
    return 0;
}

uint32_t kv_store_get(struct kv_store *s, struct kv_record *records, uint32_t n)
{
    struct group g;
    uint32_t n_good = 0, at = 0;
    while (at < n && n_good == at) {
        uint32_t k = gather(s, records + at, n - at, &g);
        if (k == 0)
            break;
        int rc = read_group(s, &s->read, &g, LANE_READ);
        for (uint32_t i = 0; i < k; i++) {
            if (rc < 0)
                records[at + i].rc = rc;
            else
                judge(s, &records[at + i], &g, i);
            n_good += records[at + i].rc == 0 && n_good == at + i;
        }
        unpin(s, &g);
        at += k;
    }
    return n_good;
}

/* Every block once, in the order of the index: for inspection, so one at a time is fine. */
uint64_t kv_store_verify(struct kv_store *s, void (*progress)(void *, uint64_t, uint64_t),
                         void *ctx)
{
    uint64_t n_bad = 0;
    for (uint32_t i = 0; i < s->n_entries; i++) {
        struct group g = { .n = 1 };
        const uint8_t *ids, *payload;
        pthread_mutex_lock(&s->lock);
        struct entry e = s->entries[i];
        if (e.tick != 0) {
            struct segment *seg = &s->segments[e.segment];
            seg->n_pins++;
            g.e[0] = e;
            g.segments[0] = *seg;
            g.bytes = (size_t)e.pages * PAGE;
            g.ops[0] = (struct os_volume_op){ .kind = OS_VOLUME_READ, .file = seg->file,
                                            .bytes = g.bytes, .offset = e.offset };
        }
        pthread_mutex_unlock(&s->lock);
        if (progress != NULL)
            progress(ctx, i + 1, s->n_entries);
        if (e.tick == 0)
            continue;
        int fault = read_group(s, &s->read, &g, LANE_READ) < 0 || g.ops[0].rc < 0
                        ? KV_FAULT_IO
                        : kv_record_decode(s->seal_read, &g.segments[0], g.ops[0].data, &e, &ids,
                                           &payload);
        unpin(s, &g);
        if (fault == KV_FAULT_KINDS)
            continue;
        n_bad++;
        kv_store_fault(s, &e, (enum kv_store_fault)fault, g.ops[0].error);
    }
    return n_bad;
}
