/* The bytes on the disk. Fields are stored one by one: no struct is ever cast. */
#include "base/num.h"
#include "kv/store_impl.h"
#include "os/crc.h"

size_t kv_record_bytes(size_t payload, uint32_t n_tokens)
{
    size_t bytes = REC_HEAD + (size_t)n_tokens * 4 + payload;
    return num_ceil_div(bytes, PAGE) * PAGE;
}

void kv_crc_close(uint8_t *head, size_t at) { store_le32(head + at, os_crc32c(0, head, at)); }
bool kv_crc_ok(const uint8_t *head, size_t at)
{
    return load_le32(head + at) == os_crc32c(0, head, at);
}

void kv_entry_encode(uint8_t *to, const struct entry *e)
{
    memset(to, 0, ENT_BYTES);
    store_le32(to + ENT_MAGIC, ENT_MAGIC_VALUE);
    store_le32(to + ENT_KIND, KIND_BLOCK);
    memcpy(to + ENT_KEY, e->key.bytes, KV_DIGEST_BYTES);
    memcpy(to + ENT_PARENT, e->parent.bytes, KV_DIGEST_BYTES);
    store_le64(to + ENT_OFFSET, e->offset);
    store_le64(to + ENT_PAYLOAD, e->payload);
    store_le32(to + ENT_PAGES, e->pages);
    store_le32(to + ENT_TOKENS, e->n_tokens);
    store_le32(to + ENT_DEPTH, e->depth);
    store_le32(to + ENT_CODEC, e->codec);
    store_le64(to + ENT_MODEL, e->model);
    kv_crc_close(to, ENT_CRC);
}

void kv_name_encode(uint8_t *to, const struct name *n)
{
    memset(to, 0, ENT_BYTES);
    store_le32(to + ENT_MAGIC, ENT_MAGIC_VALUE);
    store_le32(to + ENT_KIND, KIND_NAME);
    memcpy(to + ENT_NAME, n->text, sizeof n->text);
    store_le64(to + ENT_MODEL, n->model);
    kv_crc_close(to, ENT_CRC);
}

int kv_entry_decode(const uint8_t *from, struct entry *e, struct name *n)
{
    if (load_le32(from + ENT_MAGIC) != ENT_MAGIC_VALUE || !kv_crc_ok(from, ENT_CRC))
        return E_FORMAT;
    uint32_t kind = load_le32(from + ENT_KIND);
    if (kind == KIND_NAME) {
        n->model = load_le64(from + ENT_MODEL);
        memcpy(n->text, from + ENT_NAME, sizeof n->text);
        n->text[sizeof n->text - 1] = '\0';
        return KIND_NAME;
    }
    *e = (struct entry){ .offset = load_le64(from + ENT_OFFSET),
                         .payload = load_le64(from + ENT_PAYLOAD),
                         .pages = load_le32(from + ENT_PAGES),
                         .n_tokens = load_le32(from + ENT_TOKENS),
                         .depth = load_le32(from + ENT_DEPTH),
                         .codec = load_le32(from + ENT_CODEC),
                         .model = load_le64(from + ENT_MODEL) };
    memcpy(e->key.bytes, from + ENT_KEY, KV_DIGEST_BYTES);
    memcpy(e->parent.bytes, from + ENT_PARENT, KV_DIGEST_BYTES);
    bool whole = kind == KIND_BLOCK && e->pages > 0 && e->offset >= SEG_FIRST &&
                 e->offset % PAGE == 0 && e->n_tokens <= UINT32_MAX / 8 &&
                 e->payload <= (uint64_t)e->pages * PAGE &&
                 kv_record_bytes(e->payload, e->n_tokens) == (uint64_t)e->pages * PAGE;
    return whole ? KIND_BLOCK : E_FORMAT;
}

/* The tag of a sealed record covers its body and the head without tag and sums. */
static struct sealed sealed_body(const struct segment *g, uint8_t *record, size_t body)
{
    return (struct sealed){ .key = &g->key, .nonce = load_le64(record + REC_NONCE),
                            .aad = record, .aad_bytes = REC_SEALED, .data = record + REC_HEAD,
                            .bytes = body, .tag = record + REC_TAG };
}

int kv_record_encode(struct seal *seal, const struct segment *g, uint8_t *to,
                     const struct kv_record *r, const struct record_place *at)
{
    size_t total = kv_record_bytes(r->bytes, r->n_tokens);
    size_t body = (size_t)r->n_tokens * 4 + r->bytes;
    memset(to, 0, REC_HEAD);
    store_le32(to + REC_MAGIC, REC_MAGIC_VALUE);
    store_le32(to + REC_KIND, KIND_BLOCK);
    memcpy(to + REC_KEY, r->key.bytes, KV_DIGEST_BYTES);
    memcpy(to + REC_PARENT, r->parent.bytes, KV_DIGEST_BYTES);
    store_le64(to + REC_SEGMENT, g->id);
    store_le64(to + REC_OFFSET, at->offset);
    store_le64(to + REC_PAYLOAD, r->bytes);
    store_le32(to + REC_TOKENS, r->n_tokens);
    store_le32(to + REC_DEPTH, r->depth);
    store_le32(to + REC_CODEC, r->codec);
    store_le32(to + REC_PAGES, (uint32_t)(total / PAGE));
    store_le64(to + REC_MODEL, r->model);
    store_le64(to + REC_NONCE, at->nonce);
    for (uint32_t i = 0; i < r->n_tokens; i++)
        store_le32(to + REC_HEAD + 4 * (size_t)i, (uint32_t)r->ids[i]);
    memcpy(to + REC_HEAD + (size_t)r->n_tokens * 4, r->data, r->bytes);
    memset(to + REC_HEAD + body, 0, total - REC_HEAD - body);
    if (seal != NULL) {
        struct sealed what = sealed_body(g, to, body);
        TRY(kv_seal_close(seal, &what));
    }
    store_le32(to + REC_BODY_CRC, os_crc32c(0, to + REC_HEAD, total - REC_HEAD));
    kv_crc_close(to, REC_CRC);
    return 0;
}

/* Does the head speak of this very block at this very place? */
static int check_head(const uint8_t *b, const struct entry *e, uint64_t segment_id)
{
    if (load_le32(b + REC_MAGIC) != REC_MAGIC_VALUE || !kv_crc_ok(b, REC_CRC) ||
        load_le32(b + REC_KIND) != KIND_BLOCK)
        return KV_FAULT_HEADER;
    if (load_le64(b + REC_SEGMENT) != segment_id || load_le64(b + REC_OFFSET) != e->offset)
        return KV_FAULT_HEADER;
    if (load_le64(b + REC_PAYLOAD) != e->payload || load_le32(b + REC_TOKENS) != e->n_tokens ||
        load_le32(b + REC_PAGES) != e->pages || load_le32(b + REC_CODEC) != e->codec ||
        load_le32(b + REC_DEPTH) != e->depth || load_le64(b + REC_MODEL) != e->model)
        return KV_FAULT_HEADER;
    if (memcmp(b + REC_KEY, e->key.bytes, KV_DIGEST_BYTES) != 0 ||
        memcmp(b + REC_PARENT, e->parent.bytes, KV_DIGEST_BYTES) != 0)
        return KV_FAULT_KEY;
    return KV_FAULT_KINDS;
}

int kv_record_decode(struct seal *seal, const struct segment *g, uint8_t *bytes,
                     const struct entry *e, const uint8_t **ids, const uint8_t **payload)
{
    size_t total = (size_t)e->pages * PAGE, tokens = (size_t)e->n_tokens * 4;
    int fault = check_head(bytes, e, g->id);
    if (fault != KV_FAULT_KINDS)
        return fault;
    if (load_le32(bytes + REC_BODY_CRC) != os_crc32c(0, bytes + REC_HEAD, total - REC_HEAD))
        return KV_FAULT_SUM;
    if (seal != NULL) {
        struct sealed what = sealed_body(g, bytes, tokens + (size_t)e->payload);
        if (kv_seal_open(seal, &what) < 0)
            return KV_FAULT_TAG;
    }
    *ids = bytes + REC_HEAD;
    *payload = bytes + REC_HEAD + tokens;
    return KV_FAULT_KINDS;
}
