/* kv/store_impl.h - the inside of struct kv_store, and where each field lies on the disk. For
 * kv/store*.c only.
 *
 * All numbers little-endian. Every head and entry ends with the CRC-32C of the bytes before it.
 * The tables are in docs/formats/kv-store.md; the offsets below are the ones the code uses. */
#ifndef KV_STORE_IMPL_H
#define KV_STORE_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "kv/store.h"

#define STORE_VERSION 1u
#define PAGE OS_VOLUME_PAGE
#define NO_ENTRY UINT32_MAX
#define NO_SEGMENT UINT32_MAX
#define SEGMENTS_MAX 4096u          /* open at a time: one descriptor each */
#define ENTRIES_MAX (1u << 24)
#define INDEX_BYTES_MAX ((uint64_t)1 << 30) /* of one index file: anything larger is not ours */
#define STAGE_BYTES ((size_t)8 << 20)
#define LANE_WRITE 0
#define LANE_READ 1

/* STORE: the folder's head */
enum { HEAD_MAGIC = 0, HEAD_VERSION = 8, HEAD_FLAGS = 12, HEAD_SECRET = 16, HEAD_CHECK = 48,
       HEAD_ORDER = 64, HEAD_CRC = 124, HEAD_BYTES = 128 };
#define HEAD_ENCRYPTED 1u
/* *.seg */
enum { SEG_MAGIC = 0, SEG_VERSION = 8, SEG_FLAGS = 12, SEG_ID = 16, SEG_STORE = 24, SEG_SALT = 40,
       SEG_CRC = 124, SEG_HEAD_BYTES = 128, SEG_FIRST = PAGE };
/* a record: this head, tokens (4 bytes each), payload, zeros up to a whole page */
enum { REC_MAGIC = 0, REC_KIND = 4, REC_KEY = 8, REC_PARENT = 40, REC_SEGMENT = 72,
       REC_OFFSET = 80, REC_PAYLOAD = 88, REC_TOKENS = 96, REC_DEPTH = 100, REC_CODEC = 104,
       REC_PAGES = 108, REC_MODEL = 112, REC_NONCE = 120, REC_SEALED = 128, /* end of what the tag
       covers beside the body */ REC_TAG = 128, REC_BODY_CRC = 144, REC_CRC = 188, REC_HEAD = 192 };
/* *.idx */
enum { IDX_MAGIC = 0, IDX_VERSION = 8, IDX_ID = 16, IDX_STORE = 24, IDX_CRC = 60,
       IDX_HEAD_BYTES = 64 };
enum { ENT_MAGIC = 0, ENT_KIND = 4, ENT_KEY = 8, ENT_NAME = 8, ENT_PARENT = 40, ENT_OFFSET = 72,
       ENT_PAYLOAD = 80, ENT_PAGES = 88, ENT_TOKENS = 92, ENT_DEPTH = 96, ENT_CODEC = 100,
       ENT_MODEL = 104, ENT_CRC = 124, ENT_BYTES = 128 };
_Static_assert(HEAD_CHECK + 16 <= HEAD_ORDER && HEAD_ORDER + 4 <= HEAD_CRC, "STORE fields");
_Static_assert(SEG_SALT + 32 <= SEG_CRC && SEG_HEAD_BYTES <= SEG_FIRST, "segment head fields");
_Static_assert(REC_TAG + 16 <= REC_BODY_CRC && REC_NONCE + 8 <= REC_SEALED, "record fields");
_Static_assert(REC_BODY_CRC + 4 <= REC_CRC && REC_CRC + 4 == REC_HEAD, "record head is closed");
_Static_assert(IDX_STORE + 16 <= IDX_CRC && IDX_CRC + 4 == IDX_HEAD_BYTES, "index head");
_Static_assert(ENT_NAME + KV_STORE_NAME_MAX <= ENT_OFFSET, "a name fits in front of the numbers");
_Static_assert(ENT_MODEL + 8 <= ENT_CRC && ENT_CRC + 4 == ENT_BYTES, "index entry is closed");
enum { KIND_BLOCK = 1, KIND_NAME = 2 };
#define REC_MAGIC_VALUE 0x52564b4eu /* "NKVR" */
#define ENT_MAGIC_VALUE 0x45564b4eu /* "NKVE" */

struct entry {
    struct kv_digest key, parent;
    uint64_t tick;       /* of the last use; 0: the slot is free */
    uint64_t offset, payload, model;
    uint32_t segment;    /* slot in segments */
    uint32_t pages, n_tokens, depth, codec;
    uint32_t next;       /* in its hash chain, or of the free slots */
};

struct segment {
    uint64_t id;
    int file;            /* -1: the slot is free */
    uint64_t bytes;      /* of .seg and .idx on the disk */
    uint64_t live_bytes;
    uint32_t n_live, n_pins;
    bool dead;           /* removed; closed when the last pin goes */
    struct kv_digest key; /* encrypts its records */
};

struct name {
    uint64_t model;
    char text[KV_STORE_NAME_MAX];
};
#define NAMES_MAX 64u

struct stage {           /* writer's: one contiguous piece of the active segment */
    uint8_t *bytes;      /* (cap), aligned to a page */
    size_t cap, used;
    struct staged {
        struct entry e;
        bool moves;      /* an entry that is published already changes its place */
    } *items;            /* (cap_items) */
    uint32_t n_items, cap_items;
};

struct kv_store {
    struct kv_store_params params;
    struct os_volume *disk;
    uint8_t secret[32], store_id[16], master[32];
    bool encrypted;
    uint64_t segment_bytes;
    struct kv_hasher *master_hash; /* makes segment keys; opening and writer only */
    struct seal *seal_write, *seal_read;

    pthread_mutex_t lock;
    /* by lock */
    struct entry *entries;
    uint32_t n_entries, cap_entries, free_entry, n_live;
    uint32_t *buckets, n_buckets;
    struct segment *segments;   /* (cap_segments), grows in the writer only */
    uint32_t n_segments, cap_segments; /* slots in use, up to */
    uint64_t tick, live_bytes, disk_bytes;
    struct name names[NAMES_MAX];
    uint32_t n_names;
    struct kv_store_stats stats;

    /* writer's */
    struct stage stage;
    uint32_t active;            /* segment slot or NO_SEGMENT */
    int index_file;             /* of the active one */
    uint64_t index_bytes, next_id, nonce;
    uint64_t named;             /* bit i: names[i] is in the active index */
    bool index_dirty;
    uint32_t n_write_errors;
    uint32_t victim, cursor;    /* cleaning: segment slot, next entry to look at */
    struct kv_record *moving;   /* scratch of collect */
    /* reader's; collect has its own */
    struct scratch {
        uint8_t *bytes;
        size_t cap;
    } read, clean;
};

/* store_format.c: the bytes of records, heads and entries. decode functions trust nothing. */
size_t kv_record_bytes(size_t payload, uint32_t n_tokens); /* whole pages */
void kv_entry_encode(uint8_t *to, const struct entry *e);
void kv_name_encode(uint8_t *to, const struct name *n);
/* ENT_KIND of a valid entry, or E_FORMAT. */
NODISCARD int kv_entry_decode(const uint8_t *from, struct entry *e, struct name *n);
struct record_place {
    uint64_t offset, nonce;
};
/* Lays the record into `to` (kv_record_bytes), for a place in segment g. */
NODISCARD int kv_record_encode(struct seal *seal, const struct segment *g, uint8_t *to,
                               const struct kv_record *r, const struct record_place *at);
/* Checks the bytes of a record against what e and the segment say, in place (an encrypted body is
 * deciphered where it lies). On success *ids and *payload point into it. Else the fault. */
NODISCARD int kv_record_decode(struct seal *seal, const struct segment *g, uint8_t *bytes,
                               const struct entry *e, const uint8_t **ids,
                               const uint8_t **payload);
void kv_crc_close(uint8_t *head, size_t at); /* writes the sum of [0, at) at at */
bool kv_crc_ok(const uint8_t *head, size_t at);

/* store_seal.c: AES-256-GCM. */
NODISCARD int kv_seal_create(struct seal **out);
void kv_seal_destroy(struct seal *s);
struct sealed {
    const struct kv_digest *key;
    uint64_t nonce;
    const uint8_t *aad; /* (aad_bytes) covered by the tag, not enciphered */
    size_t aad_bytes;
    uint8_t *data;      /* (bytes) in place */
    size_t bytes;
    uint8_t *tag;       /* (16) written by close, compared by open */
};
NODISCARD int kv_seal_close(struct seal *s, const struct sealed *what);
NODISCARD int kv_seal_open(struct seal *s, const struct sealed *what);

/* store_index.c, all under lock. */
uint32_t kv_index_find(const struct kv_store *s, const struct kv_digest *key);
/* Adds a copy of e, which replaces an entry of the same key. E_NOMEM, E_FULL. */
NODISCARD int kv_index_put(struct kv_store *s, const struct entry *e);
void kv_index_drop(struct kv_store *s, uint32_t i);
void kv_index_move(struct kv_store *s, uint32_t i, uint32_t segment, uint64_t offset);
/* A free segment slot or NO_SEGMENT. */
uint32_t kv_segment_slot(struct kv_store *s);
void kv_segment_unpin(struct kv_store *s, uint32_t i); /* closes a dead one */

/* store_open.c */
void kv_store_log(struct kv_store *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
#define SEGMENT_NAME_BYTES 32
void kv_segment_name(char *to, uint64_t id, const char *suffix);
NODISCARD int kv_segment_key(struct kv_store *s, const uint8_t *salt, struct kv_digest *out);
NODISCARD int kv_store_random(uint8_t *to, size_t bytes);
/* store_recover.c */
NODISCARD int kv_store_recover(struct kv_store *s);
/* store.c */
void kv_store_fail(struct kv_store *s, enum kv_store_state state, int error, const char *what);
NODISCARD int kv_stage_put(struct kv_store *s, const struct kv_record *r, uint64_t tick,
                           bool moves);
/* store_read.c: reads entry copies e[0..n) into scratch, at[i] their places there. */
NODISCARD int kv_scratch_reserve(struct scratch *s, size_t bytes);
void kv_store_fault(struct kv_store *s, const struct entry *e, enum kv_store_fault fault,
                    int error);

#endif
