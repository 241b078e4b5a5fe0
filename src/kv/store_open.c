/* Opening and closing: the folder's head, the lock, the secrets. */
#include "kv/store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/random.h>

#include "base/mem.h"
#include "base/num.h"
#include "kv/store_impl.h"

#define HEAD_NAME "STORE"
#define HEAD_NEW "STORE.new"
#define LOCK_NAME "LOCK"
static const uint8_t head_magic[8] = { 'N', 'A', 'R', 'U', 'K', 'V', '\r', '\n' };
#define BYTE_ORDER_MARK 0x01020304u

void kv_store_log(struct kv_store *s, const char *fmt, ...)
{
    char line[512];
    va_list args;
    if (s->params.log == NULL)
        return;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    s->params.log(s->params.log_ctx, line);
}

void kv_segment_name(char *to, uint64_t id, const char *suffix)
{
    snprintf(to, SEGMENT_NAME_BYTES, "%016" PRIx64 ".%s", id, suffix);
}

int kv_store_random(uint8_t *to, size_t bytes)
{
    ASSERT(bytes <= 256);
    return getrandom(to, bytes, 0) == (ssize_t)bytes ? 0 : E_IO;
}

int kv_segment_key(struct kv_store *s, const uint8_t *salt, struct kv_digest *out)
{
    const struct kv_hash_part part = { salt, 32 };
    return kv_hash(s->master_hash, "naru.kv.segment.1", &part, 1, out);
}

/* --- the head --- */

/* From the random salt of the head: who we are, the secret of names, and what proves the key. */
static int derive(struct kv_store *s, const uint8_t *salt, uint8_t *proof)
{
    const struct kv_hash_part part = { salt, 32 };
    struct kv_digest d;
    kv_hasher_destroy(s->master_hash);
    s->master_hash = NULL;
    TRY(kv_hasher_create(&s->master_hash, s->encrypted ? s->master : salt));
    TRY(kv_hash(s->master_hash, "naru.kv.store.1", &part, 1, &d));
    memcpy(s->store_id, d.bytes, sizeof s->store_id);
    memcpy(proof, d.bytes + 16, 16);
    TRY(kv_hash(s->master_hash, "naru.kv.secret.1", &part, 1, &d));
    memcpy(s->secret, d.bytes, sizeof s->secret);
    return 0;
}

static uint32_t native_order(void)
{
    const uint32_t mark = BYTE_ORDER_MARK;
    uint8_t bytes[4];
    memcpy(bytes, &mark, 4);
    return load_le32(bytes);
}

static int write_head(struct kv_store *s)
{
    uint8_t head[HEAD_BYTES] = { 0 };
    int file = -1;
    const struct os_volume_table *t = s->disk->table;
    memcpy(head + HEAD_MAGIC, head_magic, sizeof head_magic);
    store_le32(head + HEAD_VERSION, STORE_VERSION);
    store_le32(head + HEAD_FLAGS, s->encrypted ? HEAD_ENCRYPTED : 0);
    store_le32(head + HEAD_ORDER, native_order());
    TRY(kv_store_random(head + HEAD_SECRET, 32));
    TRY(derive(s, head + HEAD_SECRET, head + HEAD_CHECK));
    kv_crc_close(head, HEAD_CRC);
    int rc = t->remove(s->disk, HEAD_NEW);
    if (rc < 0 && rc != E_NOT_FOUND)
        return rc;
    TRY(t->open(s->disk, HEAD_NEW, OS_VOLUME_CREATE | OS_VOLUME_UPDATE, &file));
    struct os_volume_op op = { .kind = OS_VOLUME_WRITE, .file = file, .data = head,
                             .bytes = sizeof head };
    rc = os_volume_transfer(s->disk, LANE_WRITE, op);
    op.kind = OS_VOLUME_SYNC;
    rc = rc < 0 ? rc : os_volume_transfer(s->disk, LANE_WRITE, op);
    t->close(s->disk, file);
    rc = rc < 0 ? rc : t->rename(s->disk, HEAD_NEW, HEAD_NAME);
    return rc < 0 ? rc : t->sync_names(s->disk);
}

static int check_key(struct kv_store *s, const uint8_t *head, struct err *err)
{
    uint8_t proof[16];
    bool encrypted = load_le32(head + HEAD_FLAGS) & HEAD_ENCRYPTED;
    if (encrypted && !s->encrypted)
        return err_set_field(err, E_UNSUPPORTED, "kv-key-file", "the KV store is encrypted; give "
                             "its key with --kv-key-file");
    if (!encrypted && s->encrypted)
        return err_set_field(err, E_UNSUPPORTED, "kv-key-file", "the KV store was made without a "
                             "key; leave --kv-key-file out, or use an empty folder");
    TRY(derive(s, head + HEAD_SECRET, proof));
    if (memcmp(proof, head + HEAD_CHECK, sizeof proof) != 0)
        return err_set_field(err, E_DENIED, "kv-key-file", "this is not the key of the KV store");
    return 0;
}

static int read_head(struct kv_store *s, int file, struct err *err)
{
    uint8_t head[HEAD_BYTES];
    struct os_volume_op op = { .kind = OS_VOLUME_READ, .file = file, .data = head,
                             .bytes = sizeof head };
    int rc = os_volume_transfer(s->disk, LANE_WRITE, op);
    if (rc < 0 && rc != E_RANGE)
        return err_set(err, rc, "the head of the KV store cannot be read");
    if (rc == E_RANGE || memcmp(head, head_magic, sizeof head_magic) != 0 ||
        !kv_crc_ok(head, HEAD_CRC))
        return err_set(err, E_FORMAT, "the file STORE is not the head of a KV store; nothing was "
                       "changed. Use another folder, or remove this one");
    if (load_le32(head + HEAD_VERSION) != STORE_VERSION)
        return err_set(err, E_UNSUPPORTED, "a KV store of version %u, this program writes %u; "
                       "nothing was changed. Use another folder", load_le32(head + HEAD_VERSION),
                       STORE_VERSION);
    if (load_le32(head + HEAD_ORDER) != native_order())
        return err_set(err, E_UNSUPPORTED, "a KV store of a machine with another byte order; "
                       "nothing was changed");
    return check_key(s, head, err);
}

static int open_head(struct kv_store *s, struct err *err)
{
    int file = -1, rc = s->disk->table->open(s->disk, HEAD_NAME, 0, &file);
    if (rc == E_NOT_FOUND && s->params.look)
        return err_set(err, rc, "there is no KV store here");
    if (rc == E_NOT_FOUND) {
        rc = write_head(s);
        return rc < 0 ? err_set(err, rc, "a KV store cannot be made: %s", err_code_text(rc)) : 0;
    }
    if (rc < 0)
        return err_set(err, rc, "the head of the KV store cannot be opened: %s",
                       err_code_text(rc));
    rc = read_head(s, file, err);
    s->disk->table->close(s->disk, file);
    return rc;
}

/* --- open and close --- */

static int take_lock(struct kv_store *s, struct err *err)
{
    int rc = s->params.look ? 0 : s->disk->table->lock(s->disk, LOCK_NAME);
    if (rc == E_BUSY)
        return err_set(err, rc, "another process uses this KV store; one folder belongs to one "
                       "server at a time");
    if (rc == E_DENIED) { /* a folder we may only read still answers questions */
        s->stats.state = KV_STORE_READ_ONLY;
        return 0;
    }
    return rc < 0 ? err_set(err, rc, "the KV store cannot be locked: %s", err_code_text(rc)) : 0;
}

static int make_parts(struct kv_store *s)
{
    if (!s->encrypted)
        return 0;
    TRY(kv_seal_create(&s->seal_write));
    return kv_seal_create(&s->seal_read);
}

static uint64_t segment_size(uint64_t max_bytes)
{
    uint64_t bytes = max_bytes / 32;
    bytes = bytes > (uint64_t)512 << 20 ? (uint64_t)512 << 20 : bytes;
    return num_max(bytes / PAGE * PAGE, 8 * PAGE);
}

uint64_t kv_store_bytes_for(size_t payload, uint32_t n_tokens)
{
    uint64_t bytes = KV_STORE_BYTES_MIN;
    while (segment_size(bytes) < kv_record_bytes(payload, n_tokens) + SEG_FIRST)
        bytes += bytes / 4;
    return bytes;
}

static int open_parts(struct kv_store *s, struct err *err)
{
    int rc = make_parts(s);
    if (rc < 0)
        return err_set(err, rc, "the KV store: %s", err_code_text(rc));
    TRY(take_lock(s, err));
    TRY(open_head(s, err));
    rc = kv_store_recover(s);
    return rc < 0 ? err_set(err, rc, "the KV store cannot be read: %s", err_code_text(rc)) : 0;
}

int kv_store_open(struct kv_store **out, const struct kv_store_params *params, struct err *err)
{
    if (params->max_bytes < KV_STORE_BYTES_MIN && !params->look)
        return err_set_field(err, E_RANGE, "kv-disk", "a KV store of %" PRIu64 " bytes is too "
                             "small; at least %" PRIu64, params->max_bytes, KV_STORE_BYTES_MIN);
    struct kv_store *s = mem_alloc(1, sizeof *s);
    if (s == NULL)
        return err_set(err, E_NOMEM, "no memory for a KV store");
    s->params = *params;
    s->disk = params->disk;
    s->active = s->victim = NO_SEGMENT;
    s->index_file = -1;
    s->free_entry = NO_ENTRY;
    s->next_id = 1;
    s->tick = 1;
    s->segment_bytes = segment_size(params->max_bytes);
    s->stats.state = params->look ? KV_STORE_READ_ONLY : KV_STORE_ON;
    pthread_mutex_init(&s->lock, NULL);
    if (params->key != NULL) {
        memcpy(s->master, params->key, sizeof s->master);
        s->encrypted = true;
    }
    int rc = open_parts(s, err);
    if (rc < 0) {
        kv_store_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

void kv_store_close(struct kv_store *s)
{
    if (s == NULL)
        return;
    if (s->index_file >= 0) {
        kv_store_flush(s);
        s->disk->table->close(s->disk, s->index_file);
    }
    for (uint32_t i = 0; i < s->n_segments; i++) {
        ASSERT(s->segments[i].n_pins == 0);
        if (s->segments[i].file >= 0)
            s->disk->table->close(s->disk, s->segments[i].file);
    }
    kv_hasher_destroy(s->master_hash);
    kv_seal_destroy(s->seal_write);
    kv_seal_destroy(s->seal_read);
    mem_free(s->segments);
    mem_free(s->entries);
    mem_free(s->buckets);
    mem_free(s->stage.bytes);
    mem_free(s->stage.items);
    mem_free(s->read.bytes);
    mem_free(s->clean.bytes);
    pthread_mutex_destroy(&s->lock);
    mem_wipe(s, sizeof *s);
    mem_free(s);
}

const uint8_t *kv_store_secret(const struct kv_store *s) { return s->secret; }
