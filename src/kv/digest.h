/* kv/digest.h - names of blocks that outlive the process.
 *
 * Idea: a block is named by everything that must be equal for its bytes to be equal (R26): the
 * computation (build, processor level, layout), the model, the tokenizer, who may share it (salt),
 * all tokens before it and its own. HMAC-SHA-256 under a secret of the store, chained, so that
 * nobody can find out from a name what was said, and equal names mean equal state.
 *
 *     root  = H("naru.kv.root.1",  identity, len(salt), salt)
 *     key 0 = H("naru.kv.block.1", root,  n, tokens of block 0)
 *     key i = H("naru.kv.block.1", key i-1, n, tokens of block i)
 *
 * The index in memory (kv/prefix) has its own, faster keys; these are for stores and wires.
 * Ownership: a hasher is heap.  Threads: one a hasher.  Cost: about 1 us a block of 16 tokens. */
#ifndef KV_DIGEST_H
#define KV_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"

#define KV_DIGEST_BYTES 32

struct kv_digest {
    uint8_t bytes[KV_DIGEST_BYTES];
};

static inline bool kv_digest_equal(const struct kv_digest *a, const struct kv_digest *b)
{
    return memcmp(a->bytes, b->bytes, KV_DIGEST_BYTES) == 0;
}

struct kv_hasher;
/* key: (32) bytes, copied. E_NOMEM, E_UNSUPPORTED (the library lacks HMAC or SHA-256). */
NODISCARD int kv_hasher_create(struct kv_hasher **out, const uint8_t *key);
void kv_hasher_destroy(struct kv_hasher *h);

/* H(domain, parts...), each part preceded by its length. */
struct kv_hash_part {
    const void *data;
    size_t bytes;
};
NODISCARD int kv_hash(struct kv_hasher *h, const char *domain, const struct kv_hash_part *parts,
                      uint32_t n_parts, struct kv_digest *out);
NODISCARD int kv_hash_root(struct kv_hasher *h, const struct kv_digest *identity, const void *salt,
                           size_t salt_bytes, struct kv_digest *out);
NODISCARD int kv_hash_block(struct kv_hasher *h, const struct kv_digest *parent, const int32_t *ids,
                            uint32_t n, struct kv_digest *out);

#endif
