/* Finding and writing. A commit is one group: all staged records in one contiguous write, one sync,
 * one append to the index. So the price of durability is paid per group and not per block. */
#include "kv/store.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "kv/store_impl.h"

#define WRITE_ERRORS_MAX 3

const char *kv_store_state_name(enum kv_store_state state)
{
    static const char *const names[] = { "off", "read-only", "on" };
    return (unsigned)state < COUNT_OF(names) ? names[state] : "off";
}

const char *kv_store_fault_name(enum kv_store_fault fault)
{
    static const char *const names[] = { "header", "key", "tokens", "sum", "tag", "io" };
    return (unsigned)fault < COUNT_OF(names) ? names[fault] : "none";
}

/* Never goes up again while the store is open. */
void kv_store_fail(struct kv_store *s, enum kv_store_state state, int error, const char *what)
{
    pthread_mutex_lock(&s->lock);
    bool news = state < s->stats.state;
    s->stats.state = news ? state : s->stats.state;
    s->stats.io_errors++;
    s->stats.last_error = error;
    pthread_mutex_unlock(&s->lock);
    if (news)
        kv_store_log(s, "kv store: %s (%s): the store is %s now; serving goes on", what,
                     strerror(error), kv_store_state_name(state));
}

/* --- finding --- */

uint32_t kv_store_find(struct kv_store *s, const struct kv_digest *keys, uint32_t n)
{
    uint32_t found = 0;
    pthread_mutex_lock(&s->lock);
    uint64_t tick = ++s->tick;
    bool off = s->stats.state == KV_STORE_OFF;
    for (; found < n && !off; found++) {
        uint32_t i = kv_index_find(s, &keys[found]);
        if (i == NO_ENTRY)
            break;
        s->entries[i].tick = tick;
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

bool kv_store_has(struct kv_store *s, const struct kv_digest *key)
{
    pthread_mutex_lock(&s->lock);
    bool has = kv_index_find(s, key) != NO_ENTRY;
    pthread_mutex_unlock(&s->lock);
    return has;
}

/* --- a new segment --- */

static int write_bytes(struct kv_store *s, int file, uint64_t at, void *data, size_t bytes)
{
    struct os_volume_op op = { .kind = OS_VOLUME_WRITE, .file = file, .data = data, .bytes = bytes,
                             .offset = at };
    s->disk->table->run(s->disk, LANE_WRITE, &op, 1);
    errno = op.error;
    return op.rc;
}

static int sync_file(struct kv_store *s, int file)
{
    struct os_volume_op op = { .kind = OS_VOLUME_SYNC, .file = file };
    s->disk->table->run(s->disk, LANE_WRITE, &op, 1);
    errno = op.error;
    return op.rc;
}

void kv_store_flush(struct kv_store *s)
{
    if (!s->index_dirty)
        return;
    s->index_dirty = false; /* a sync is never tried twice */
    if (sync_file(s, s->index_file) < 0)
        kv_store_fail(s, KV_STORE_OFF, errno, "syncing the index failed");
}

static void close_active(struct kv_store *s)
{
    if (s->active == NO_SEGMENT)
        return;
    kv_store_flush(s);
    s->disk->table->close(s->disk, s->index_file);
    s->index_file = -1;
    s->active = NO_SEGMENT;
}

static int write_heads(struct kv_store *s, int seg, int idx, struct segment *g)
{
    _Alignas(PAGE) uint8_t head[PAGE] = { 0 };
    memcpy(head + SEG_MAGIC, "NARUSEG1", 8);
    store_le32(head + SEG_VERSION, STORE_VERSION);
    store_le32(head + SEG_FLAGS, s->encrypted ? HEAD_ENCRYPTED : 0);
    store_le64(head + SEG_ID, g->id);
    memcpy(head + SEG_STORE, s->store_id, sizeof s->store_id);
    TRY(kv_store_random(head + SEG_SALT, 32));
    TRY(kv_segment_key(s, head + SEG_SALT, &g->key));
    kv_crc_close(head, SEG_CRC);
    TRY(write_bytes(s, seg, 0, head, PAGE));
    memset(head, 0, IDX_HEAD_BYTES);
    memcpy(head + IDX_MAGIC, "NARUIDX1", 8);
    store_le32(head + IDX_VERSION, STORE_VERSION);
    store_le64(head + IDX_ID, g->id);
    memcpy(head + IDX_STORE, s->store_id, sizeof s->store_id);
    kv_crc_close(head, IDX_CRC);
    return write_bytes(s, idx, 0, head, IDX_HEAD_BYTES);
}

static int make_files(struct kv_store *s, struct segment *g, int *idx)
{
    const struct os_volume_table *t = s->disk->table;
    char seg_name[SEGMENT_NAME_BYTES], idx_name[SEGMENT_NAME_BYTES];
    unsigned flags = OS_VOLUME_CREATE | OS_VOLUME_UPDATE;
    int seg = -1;
    kv_segment_name(seg_name, g->id, "seg");
    kv_segment_name(idx_name, g->id, "idx");
    int rc = t->open(s->disk, seg_name, flags | (s->params.direct ? OS_VOLUME_DIRECT : 0), &seg);
    if (rc < 0)
        return rc;
    rc = t->open(s->disk, idx_name, flags, idx);
    if (rc == 0)
        rc = write_heads(s, seg, *idx, g);
    if (rc == 0)
        rc = t->sync_names(s->disk);
    if (rc == 0) {
        g->file = seg;
        return 0;
    }
    int error = errno;
    if (*idx >= 0)
        t->close(s->disk, *idx);
    t->close(s->disk, seg);
    (void)t->remove(s->disk, idx_name);
    (void)t->remove(s->disk, seg_name);
    errno = error;
    return rc;
}

static int begin_segment(struct kv_store *s)
{
    struct segment g = { .id = s->next_id++, .bytes = SEG_FIRST + IDX_HEAD_BYTES };
    int idx = -1;
    errno = 0;
    TRY(make_files(s, &g, &idx));
    pthread_mutex_lock(&s->lock);
    uint32_t slot = kv_segment_slot(s);
    if (slot != NO_SEGMENT) {
        s->segments[slot] = g;
        s->disk_bytes += g.bytes;
    }
    pthread_mutex_unlock(&s->lock);
    if (slot == NO_SEGMENT) {
        s->disk->table->close(s->disk, g.file);
        s->disk->table->close(s->disk, idx);
        return E_LIMIT; /* collect joins small ones */
    }
    s->active = slot;
    s->index_file = idx;
    s->index_bytes = IDX_HEAD_BYTES;
    s->named = 0;
    s->index_dirty = true;
    return 0;
}

/* --- staging --- */

static int make_stage(struct kv_store *s, size_t bytes)
{
    struct stage *st = &s->stage;
    size_t cap = num_max(num_min(STAGE_BYTES, s->segment_bytes), bytes);
    if (st->cap < cap && st->n_items > 0)
        return E_FULL;
    if (st->cap < cap) {
        uint8_t *p = mem_alloc_aligned(cap, PAGE);
        if (p == NULL)
            return E_NOMEM;
        ASSERT(st->used == 0);
        mem_free(st->bytes);
        st->bytes = p;
        st->cap = cap;
    }
    if (st->items == NULL) {
        uint32_t n = (uint32_t)num_max(st->cap / PAGE / 4, 16);
        st->items = mem_alloc(n, sizeof *st->items);
        if (st->items == NULL)
            return E_NOMEM;
        st->cap_items = n;
    }
    return 0;
}

static const struct entry *staged(const struct kv_store *s, const struct kv_digest *key)
{
    for (uint32_t i = s->stage.n_items; i-- > 0;)
        if (kv_digest_equal(&s->stage.items[i].e.key, key))
            return &s->stage.items[i].e;
    return NULL;
}

/* May this record be written? *tick: when it counts as used: as its parent, so never later. */
static int check_place(struct kv_store *s, const struct kv_record *r, uint64_t *tick)
{
    int rc = 0;
    const struct entry *up = r->depth == 0 ? NULL : staged(s, &r->parent);
    if (staged(s, &r->key) != NULL)
        return E_BUSY;
    pthread_mutex_lock(&s->lock);
    uint32_t i = r->depth == 0 || up != NULL ? NO_ENTRY : kv_index_find(s, &r->parent);
    if (kv_index_find(s, &r->key) != NO_ENTRY)
        rc = E_BUSY;
    else if (r->depth == 0)
        *tick = ++s->tick;
    else if (up != NULL || i != NO_ENTRY)
        *tick = up != NULL ? up->tick : s->entries[i].tick;
    else
        rc = E_NOT_FOUND;
    s->stats.refused_orphans += rc == E_NOT_FOUND;
    pthread_mutex_unlock(&s->lock);
    return rc;
}

/* Room in the budget, the active segment and the buffer. Moving may use the last segment's worth
 * of the budget, so that cleaning can always go on. */
static int make_room(struct kv_store *s, size_t bytes, bool moves)
{
    uint64_t reserve = moves ? 0 : s->segment_bytes + PAGE;
    if (bytes + SEG_FIRST > s->segment_bytes)
        return E_RANGE;
    TRY(make_stage(s, bytes));
    if (s->stage.used + bytes > s->stage.cap || s->stage.n_items == s->stage.cap_items)
        return E_FULL;
    pthread_mutex_lock(&s->lock);
    uint64_t active = s->active == NO_SEGMENT ? 0 : s->segments[s->active].bytes;
    uint64_t all = s->disk_bytes;
    pthread_mutex_unlock(&s->lock);
    if (all + s->stage.used + bytes + ENT_BYTES + 2 * SEG_FIRST + reserve > s->params.max_bytes)
        return s->stage.n_items > 0 ? E_FULL : E_LIMIT;
    if (active + s->stage.used + bytes > s->segment_bytes && s->active != NO_SEGMENT) {
        if (s->stage.n_items > 0)
            return E_FULL;
        close_active(s);
    }
    return 0;
}

static int prepare(struct kv_store *s, size_t bytes, bool moves)
{
    TRY(make_room(s, bytes, moves));
    if (s->active != NO_SEGMENT)
        return 0;
    int rc = begin_segment(s);
    if (rc == 0 || rc == E_LIMIT || rc == E_NOMEM)
        return rc;
    kv_store_fail(s, rc == E_FULL || rc == E_DENIED ? KV_STORE_READ_ONLY : KV_STORE_OFF, errno,
                  "a new segment cannot be made");
    return E_DENIED;
}

int kv_store_prepare(struct kv_store *s, size_t payload, uint32_t n_tokens)
{
    if (s->stats.state != KV_STORE_ON)
        return E_DENIED;
    return prepare(s, kv_record_bytes(payload, n_tokens), false);
}

int kv_stage_put(struct kv_store *s, const struct kv_record *r, uint64_t tick, bool moves)
{
    size_t bytes = kv_record_bytes(r->bytes, r->n_tokens);
    TRY(prepare(s, bytes, moves));
    pthread_mutex_lock(&s->lock); /* the index file grows with the segment: take only its part */
    struct segment g = s->segments[s->active];
    pthread_mutex_unlock(&s->lock);
    uint64_t offset = g.bytes - s->index_bytes + s->stage.used;
    ASSERT(offset % PAGE == 0);
    struct record_place at = { .offset = offset, .nonce = ++s->nonce };
    TRY(kv_record_encode(s->seal_write, &g, s->stage.bytes + s->stage.used, r, &at));
    s->stage.items[s->stage.n_items++] = (struct staged){
        .moves = moves,
        .e = { .key = r->key, .parent = r->parent, .tick = tick, .offset = offset,
               .payload = r->bytes, .model = r->model, .segment = s->active,
               .pages = (uint32_t)(bytes / PAGE), .n_tokens = r->n_tokens, .depth = r->depth,
               .codec = r->codec },
    };
    s->stage.used += bytes;
    return 0;
}

int kv_store_stage(struct kv_store *s, const struct kv_record *r)
{
    uint64_t tick = 0;
    ASSERT(r->n_tokens > 0);
    if (s->stats.state != KV_STORE_ON)
        return E_DENIED;
    TRY(check_place(s, r, &tick));
    return kv_stage_put(s, r, tick, false);
}

/* --- committing --- */

static void publish(struct kv_store *s, uint64_t index_bytes)
{
    pthread_mutex_lock(&s->lock);
    struct segment *g = &s->segments[s->active];
    g->bytes += s->stage.used + index_bytes;
    s->disk_bytes += s->stage.used + index_bytes;
    s->index_bytes += index_bytes;
    for (uint32_t i = 0; i < s->stage.n_items; i++) {
        const struct staged *it = &s->stage.items[i];
        uint32_t at = kv_index_find(s, &it->e.key);
        uint64_t bytes = (uint64_t)it->e.pages * PAGE;
        if (it->moves && at != NO_ENTRY) { /* unless it was dropped meanwhile */
            kv_index_move(s, at, it->e.segment, it->e.offset);
            s->stats.moved++;
        } else if (!it->moves && kv_index_put(s, &it->e) == 0) {
            s->stats.written++;
            s->stats.written_bytes += bytes;
        } else {
            s->stats.lost++;
        }
    }
    pthread_mutex_unlock(&s->lock);
}

static int append_index(struct kv_store *s, size_t *bytes)
{
    uint32_t n = s->stage.n_items, n_names = 0;
    uint8_t *to = mem_alloc((size_t)n + NAMES_MAX, ENT_BYTES);
    if (to == NULL)
        return E_NOMEM;
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->n_names; i++) {
        bool used = false;
        for (uint32_t k = 0; k < n && !used; k++)
            used = s->stage.items[k].e.model == s->names[i].model;
        if (!used || (s->named >> i & 1))
            continue;
        kv_name_encode(to + (size_t)n_names++ * ENT_BYTES, &s->names[i]);
        s->named |= (uint64_t)1 << i;
    }
    pthread_mutex_unlock(&s->lock);
    for (uint32_t i = 0; i < n; i++)
        kv_entry_encode(to + ((size_t)n_names + i) * ENT_BYTES, &s->stage.items[i].e);
    *bytes = ((size_t)n + n_names) * ENT_BYTES;
    int rc = write_bytes(s, s->index_file, s->index_bytes, to, *bytes);
    s->index_dirty = true;
    mem_free(to);
    return rc;
}

/* A failed write leaves bytes behind the end of the log: the next write goes over them. */
static int commit_failed(struct kv_store *s, int rc, bool synced)
{
    int error = errno;
    pthread_mutex_lock(&s->lock);
    s->stats.lost += s->stage.n_items;
    pthread_mutex_unlock(&s->lock);
    s->n_write_errors++;
    if (synced)
        kv_store_fail(s, KV_STORE_OFF, error, "syncing a segment failed");
    else if (rc == E_FULL || rc == E_DENIED)
        kv_store_fail(s, KV_STORE_READ_ONLY, error, "writing failed");
    else
        kv_store_fail(s, s->n_write_errors >= WRITE_ERRORS_MAX ? KV_STORE_OFF : KV_STORE_ON, error,
                      "writing failed three times");
    return rc;
}

int kv_store_commit(struct kv_store *s)
{
    if (s->stage.n_items == 0)
        return 0;
    int file = s->segments[s->active].file; /* ours alone: only the writer changes the active */
    uint64_t at = s->stage.items[0].e.offset;
    size_t index_bytes = 0;
    int rc = write_bytes(s, file, at, s->stage.bytes, s->stage.used);
    bool synced = rc == 0;
    if (rc == 0)
        rc = sync_file(s, file);
    if (rc == 0) {
        synced = false;
        rc = append_index(s, &index_bytes);
    }
    if (rc == 0)
        publish(s, index_bytes);
    else
        (void)commit_failed(s, rc, synced);
    s->stage.n_items = 0;
    s->stage.used = 0;
    return rc;
}

void kv_store_forget(struct kv_store *s, const struct kv_digest *key)
{
    _Alignas(PAGE) uint8_t zeros[PAGE] = { 0 };
    pthread_mutex_lock(&s->lock);
    uint32_t i = kv_index_find(s, key);
    struct entry e = { .tick = 0 };
    if (i != NO_ENTRY) {
        e = s->entries[i];
        kv_index_drop(s, i);
        s->segments[e.segment].n_pins++;
    }
    pthread_mutex_unlock(&s->lock);
    if (e.tick == 0)
        return;
    int file = s->segments[e.segment].file; /* pinned */
    if (s->stats.state == KV_STORE_ON &&
        (write_bytes(s, file, e.offset, zeros, PAGE) < 0 || sync_file(s, file) < 0))
        kv_store_fail(s, KV_STORE_OFF, errno, "overwriting a dropped block failed");
    pthread_mutex_lock(&s->lock);
    kv_segment_unpin(s, e.segment);
    pthread_mutex_unlock(&s->lock);
}

/* --- telling --- */

void kv_store_name_model(struct kv_store *s, uint64_t model, const char *name)
{
    pthread_mutex_lock(&s->lock);
    uint32_t i = 0;
    while (i < s->n_names && s->names[i].model != model)
        i++;
    if (i < NAMES_MAX && i == s->n_names) {
        s->names[i] = (struct name){ .model = model };
        memcpy(s->names[i].text, name, num_min(strlen(name), KV_STORE_NAME_MAX - 1));
        s->n_names++;
    }
    pthread_mutex_unlock(&s->lock);
}

void kv_store_stats(struct kv_store *s, struct kv_store_stats *out)
{
    pthread_mutex_lock(&s->lock);
    *out = s->stats;
    out->max_bytes = s->params.max_bytes;
    out->disk_bytes = s->disk_bytes;
    out->live_bytes = s->live_bytes;
    out->n_blocks = s->n_live;
    out->n_segments = 0;
    for (uint32_t i = 0; i < s->n_segments; i++)
        out->n_segments += s->segments[i].file >= 0 && !s->segments[i].dead;
    pthread_mutex_unlock(&s->lock);
}

static void add_model(struct kv_store_model_info *m, const struct entry *e)
{
    m->n_blocks++;
    m->bytes += (uint64_t)e->pages * PAGE;
    m->deepest = (uint32_t)num_max(m->deepest, e->depth);
    m->n_tokens = e->n_tokens;
    m->codec = e->codec;
}

uint32_t kv_store_models(struct kv_store *s, struct kv_store_model_info *out, uint32_t max)
{
    uint32_t n = 0;
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->n_entries; i++) {
        const struct entry *e = &s->entries[i];
        uint32_t k = 0;
        if (e->tick == 0)
            continue;
        while (k < n && k < max && out[k].model != e->model)
            k++;
        if (k == n && k < max) {
            out[n++] = (struct kv_store_model_info){ .model = e->model };
            for (uint32_t j = 0; j < s->n_names; j++)
                if (s->names[j].model == e->model)
                    memcpy(out[k].name, s->names[j].text, KV_STORE_NAME_MAX);
        }
        if (k < max)
            add_model(&out[k], e);
    }
    pthread_mutex_unlock(&s->lock);
    return n;
}

static void check_entry(const struct kv_store *s, uint32_t i, bool whole)
{
    const struct entry *e = &s->entries[i];
    CHECK(kv_index_find(s, &e->key) == i);
    CHECK(e->segment < s->n_segments);
    const struct segment *g = &s->segments[e->segment];
    CHECK(g->file >= 0);
    CHECK(!g->dead);
    CHECK(e->offset >= SEG_FIRST);
    CHECK(e->offset + (uint64_t)e->pages * PAGE <= g->bytes);
    CHECK(e->tick <= s->tick);
    if (e->depth == 0)
        return;
    uint32_t up = kv_index_find(s, &e->parent);
    CHECK(up != NO_ENTRY || !whole);
    CHECK(up == NO_ENTRY || s->entries[up].tick >= e->tick || !whole);
}

void kv_store_check(struct kv_store *s)
{
    uint64_t live = 0, disk = 0;
    uint32_t n = 0;
    pthread_mutex_lock(&s->lock);
    bool whole = s->stats.failed == 0 && s->stats.lost == 0; /* nothing was torn out since */
    for (uint32_t i = 0; i < s->n_entries; i++) {
        if (s->entries[i].tick == 0)
            continue;
        check_entry(s, i, whole);
        live += (uint64_t)s->entries[i].pages * PAGE;
        n++;
    }
    CHECK(n == s->n_live);
    CHECK(live == s->live_bytes);
    for (uint32_t i = 0; i < s->n_segments; i++)
        disk += s->segments[i].dead ? 0 : s->segments[i].bytes;
    CHECK(disk == s->disk_bytes);
    CHECK(s->params.look || disk <= s->params.max_bytes);
    pthread_mutex_unlock(&s->lock);
}
