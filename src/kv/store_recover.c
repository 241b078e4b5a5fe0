/* What a crash leaves behind, made whole. The index files are read in the order of their segments;
 * each is trusted up to its first entry that is torn, that points past its segment, or that is not
 * there, and cut off after it. Then whatever has lost its parent is dropped, and uses are ordered
 * by age. Records are not read: each is verified when somebody wants it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/num.h"
#include "kv/store_impl.h"

struct ids {
    uint64_t *ids;
    uint32_t n, cap;
};

/* 16 hexadecimal digits and the suffix; 0 for all other names. */
static uint64_t parse_name(const char *name, const char *suffix)
{
    uint64_t id = 0;
    if (strlen(name) != 20 || name[16] != '.' || strcmp(name + 17, suffix) != 0)
        return 0;
    for (int i = 0; i < 16; i++) {
        const char *digits = "0123456789abcdef", *at = strchr(digits, name[i]);
        if (at == NULL)
            return 0;
        id = id << 4 | (uint64_t)(at - digits);
    }
    return id;
}

struct listing {
    struct kv_store *s;
    struct ids seg, idx;
};

static int add_id(struct ids *l, uint64_t id)
{
    if (l->n == l->cap) {
        uint32_t cap = l->cap == 0 ? 64 : 2 * l->cap;
        uint64_t *ids = mem_realloc(l->ids, cap, sizeof *ids);
        if (ids == NULL)
            return E_NOMEM;
        l->ids = ids;
        l->cap = cap;
    }
    l->ids[l->n++] = id;
    return 0;
}

static int see_name(void *ctx, const char *name)
{
    struct listing *l = ctx;
    uint64_t seg = parse_name(name, "seg"), idx = parse_name(name, "idx"), id = seg | idx;
    if (id == 0 || id == UINT64_MAX)
        return 0;
    l->s->next_id = num_max(l->s->next_id, id + 1);
    return add_id(seg != 0 ? &l->seg : &l->idx, id);
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* --- one segment --- */

struct found {
    uint64_t id;
    int seg_file, idx_file;
    uint64_t seg_bytes, idx_bytes;
    struct kv_digest key;
};

static int read_at(struct kv_store *s, int file, void *to, size_t bytes)
{
    struct os_volume_op op = { .kind = OS_VOLUME_READ, .file = file, .data = to, .bytes = bytes };
    return os_volume_transfer(s->disk, LANE_WRITE, op);
}

static bool all_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != 0)
            return false;
    return true;
}

/* 0: ours. E_NOT_FOUND: begun by us and never finished, nothing of value. E_UNSUPPORTED: a file of
 * somebody else. */
static int check_segment(struct kv_store *s, struct found *f)
{
    _Alignas(PAGE) uint8_t head[PAGE]; /* a whole page: the file may be open past the cache */
    int rc = read_at(s, f->seg_file, head, sizeof head);
    if (rc < 0)
        return rc == E_RANGE ? E_NOT_FOUND : rc;
    if (all_zero(head, sizeof head))
        return E_NOT_FOUND;
    if (memcmp(head, "NARUSEG1", 8) != 0 || !kv_crc_ok(head, SEG_CRC) ||
        load_le32(head + SEG_VERSION) != STORE_VERSION || load_le64(head + SEG_ID) != f->id ||
        memcmp(head + SEG_STORE, s->store_id, sizeof s->store_id) != 0)
        return E_UNSUPPORTED;
    return kv_segment_key(s, head + SEG_SALT, &f->key);
}

static int check_index(struct kv_store *s, const struct found *f)
{
    uint8_t head[IDX_HEAD_BYTES];
    int rc = read_at(s, f->idx_file, head, sizeof head);
    if (rc < 0)
        return rc == E_RANGE ? E_NOT_FOUND : rc;
    if (all_zero(head, sizeof head))
        return E_NOT_FOUND;
    bool ours = memcmp(head, "NARUIDX1", 8) == 0 && kv_crc_ok(head, IDX_CRC) &&
                load_le32(head + IDX_VERSION) == STORE_VERSION &&
                load_le64(head + IDX_ID) == f->id &&
                memcmp(head + IDX_STORE, s->store_id, sizeof s->store_id) == 0;
    return ours ? 0 : E_UNSUPPORTED;
}

static void remember_name(struct kv_store *s, const struct name *n)
{
    for (uint32_t i = 0; i < s->n_names; i++)
        if (s->names[i].model == n->model)
            return;
    if (s->n_names < NAMES_MAX)
        s->names[s->n_names++] = *n;
}

/* Takes the entries in; *kept: bytes of the index that were worth keeping. */
static int take_entries(struct kv_store *s, const struct found *f, uint32_t slot,
                        const uint8_t *bytes, uint64_t *kept)
{
    uint64_t at = IDX_HEAD_BYTES, seg_end = SEG_FIRST;
    for (; at + ENT_BYTES <= f->idx_bytes; at += ENT_BYTES) {
        struct entry e = { .tick = 0 };
        struct name n;
        int kind = kv_entry_decode(bytes + at, &e, &n);
        if (kind < 0)
            break;
        if (kind == KIND_NAME) {
            remember_name(s, &n);
            continue;
        }
        uint64_t end = e.offset + (uint64_t)e.pages * PAGE;
        if (end < e.offset || end > f->seg_bytes)
            break;
        e.segment = slot;
        e.tick = ++s->tick;
        TRY(kv_index_put(s, &e));
        seg_end = num_max(seg_end, end);
    }
    *kept = at;
    if (s->params.look || s->stats.state != KV_STORE_ON)
        return 0;
    if (f->seg_bytes > seg_end) /* records written and never named */
        (void)s->disk->table->truncate(s->disk, f->seg_file, seg_end);
    s->segments[slot].bytes = seg_end;
    return 0;
}

static int take_segment(struct kv_store *s, const struct found *f)
{
    uint8_t *bytes = mem_alloc_aligned(num_max(f->idx_bytes, 16), 16);
    if (bytes == NULL)
        return E_NOMEM;
    uint32_t slot = kv_segment_slot(s);
    uint64_t kept = f->idx_bytes;
    int rc = slot == NO_SEGMENT ? E_FULL : read_at(s, f->idx_file, bytes, f->idx_bytes);
    if (rc == 0) {
        s->segments[slot] = (struct segment){ .id = f->id, .file = f->seg_file, .key = f->key,
                                              .bytes = f->seg_bytes };
        rc = take_entries(s, f, slot, bytes, &kept);
        if (kept < f->idx_bytes) {
            s->stats.n_cut++;
            if (!s->params.look)
                kv_store_log(s, "kv store: segment %" PRIx64 ": cut %" PRIu64
                             " bytes of torn index", f->id, f->idx_bytes - kept);
            if (!s->params.look && s->stats.state == KV_STORE_ON)
                (void)s->disk->table->truncate(s->disk, f->idx_file, kept);
        }
        s->segments[slot].bytes += kept;
        s->disk_bytes += s->segments[slot].bytes;
    }
    mem_free(bytes);
    return rc;
}

static void remove_pair(struct kv_store *s, uint64_t id)
{
    char name[SEGMENT_NAME_BYTES];
    if (s->params.look || s->stats.state != KV_STORE_ON)
        return;
    kv_segment_name(name, id, "idx");
    (void)s->disk->table->remove(s->disk, name);
    kv_segment_name(name, id, "seg");
    (void)s->disk->table->remove(s->disk, name);
}

/* Opens both files of a segment and looks at their heads. */
static int find_segment(struct kv_store *s, struct found *f)
{
    char name[SEGMENT_NAME_BYTES];
    const struct os_volume_table *t = s->disk->table;
    unsigned update = s->params.look || s->stats.state != KV_STORE_ON ? 0 : OS_VOLUME_UPDATE;
    kv_segment_name(name, f->id, "seg");
    TRY(t->open(s->disk, name, update | (s->params.direct ? OS_VOLUME_DIRECT : 0), &f->seg_file));
    TRY(t->size(s->disk, f->seg_file, &f->seg_bytes));
    TRY(check_segment(s, f)); /* somebody else's file is never removed: it speaks first */
    kv_segment_name(name, f->id, "idx");
    TRY(t->open(s->disk, name, update, &f->idx_file));
    TRY(t->size(s->disk, f->idx_file, &f->idx_bytes));
    return f->idx_bytes > INDEX_BYTES_MAX ? E_UNSUPPORTED : check_index(s, f);
}

/* An index whose segment is gone already: the second half of a removal. */
static void drop_lone_index(struct kv_store *s, uint64_t id)
{
    char name[SEGMENT_NAME_BYTES];
    struct found f = { .id = id, .seg_file = -1, .idx_file = -1 };
    kv_segment_name(name, id, "idx");
    if (s->disk->table->open(s->disk, name, 0, &f.idx_file) < 0)
        return;
    int rc = check_index(s, &f);
    s->disk->table->close(s->disk, f.idx_file);
    if (rc == 0 || rc == E_NOT_FOUND)
        remove_pair(s, id);
}

static int recover_segment(struct kv_store *s, uint64_t id)
{
    struct found f = { .id = id, .seg_file = -1, .idx_file = -1 };
    int rc = find_segment(s, &f);
    if (rc == 0)
        rc = take_segment(s, &f);
    if (f.idx_file >= 0)
        s->disk->table->close(s->disk, f.idx_file);
    bool kept = rc == 0;
    for (uint32_t i = 0; i < s->n_segments && !kept; i++)
        kept = s->segments[i].file == f.seg_file && f.seg_file >= 0;
    if (!kept && f.seg_file >= 0)
        s->disk->table->close(s->disk, f.seg_file);
    if (rc == E_NOT_FOUND) {
        remove_pair(s, id); /* begun and never used, or half deleted */
        return 0;
    }
    if (rc == 0 || rc == E_NOMEM || rc == E_FULL)
        return rc;
    s->stats.n_foreign++;
    kv_store_log(s, "kv store: segment %" PRIx64 " is not ours or cannot be read (%s); left alone",
                 id, err_code_text(rc));
    return 0;
}

/* --- the whole --- */

struct order {
    uint32_t depth, entry;
};

static int compare_depth(const void *a, const void *b)
{
    const struct order *x = a, *y = b;
    return (x->depth > y->depth) - (x->depth < y->depth);
}

/* Drops what has no parent, shallow ones first; then a parent counts as used no earlier than its
 * children, deep ones first. */
static int settle(struct kv_store *s)
{
    uint32_t n = 0;
    struct order *order = mem_alloc((size_t)s->n_live + 1, sizeof *order);
    if (order == NULL)
        return E_NOMEM;
    for (uint32_t i = 0; i < s->n_entries; i++)
        if (s->entries[i].tick != 0)
            order[n++] = (struct order){ s->entries[i].depth, i };
    ASSERT(n == s->n_live);
    qsort(order, n, sizeof *order, compare_depth);
    for (uint32_t k = 0; k < n; k++) {
        const struct entry *e = &s->entries[order[k].entry];
        uint32_t up = e->depth == 0 ? NO_ENTRY : kv_index_find(s, &e->parent);
        if (e->depth > 0 && (up == NO_ENTRY || s->entries[up].depth != e->depth - 1)) {
            kv_index_drop(s, order[k].entry);
            s->stats.refused_orphans++;
        }
    }
    for (uint32_t k = n; k-- > 0;) {
        const struct entry *e = &s->entries[order[k].entry];
        if (e->tick == 0 || e->depth == 0)
            continue;
        struct entry *up = &s->entries[kv_index_find(s, &e->parent)];
        up->tick = num_max(up->tick, e->tick);
    }
    mem_free(order);
    return 0;
}

int kv_store_recover(struct kv_store *s)
{
    struct listing l = { .s = s };
    int rc = s->disk->table->list(s->disk, see_name, &l);
    if (l.seg.n > 0)
        qsort(l.seg.ids, l.seg.n, sizeof *l.seg.ids, compare_ids);
    for (uint32_t i = 0; i < l.seg.n && rc == 0; i++)
        rc = recover_segment(s, l.seg.ids[i]);
    if (rc == E_FULL) { /* more segments than descriptors: the rest is out of reach, not lost */
        kv_store_log(s, "kv store: more than %u segments; the newest are left alone",
                     SEGMENTS_MAX);
        rc = 0;
    }
    for (uint32_t i = 0; i < l.idx.n && rc == 0; i++)
        if (bsearch(&l.idx.ids[i], l.seg.ids, l.seg.n, sizeof *l.seg.ids, compare_ids) == NULL)
            drop_lone_index(s, l.idx.ids[i]);
    mem_free(l.seg.ids);
    mem_free(l.idx.ids);
    return rc < 0 ? rc : settle(s);
}
