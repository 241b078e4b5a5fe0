/* HMAC and not a bare hash of secret and data: no length extension, and the library has it. */
#include "kv/digest.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "base/mem.h"
#include "base/num.h"

struct kv_hasher {
    EVP_MAC *mac;
    EVP_MAC_CTX *ctx;
};

int kv_hasher_create(struct kv_hasher **out, const uint8_t *key)
{
    char name[] = "SHA256";
    OSSL_PARAM params[] = { OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0),
                            OSSL_PARAM_construct_end() };
    struct kv_hasher *h = mem_alloc(1, sizeof *h);
    if (h == NULL)
        return E_NOMEM;
    h->mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    h->ctx = h->mac != NULL ? EVP_MAC_CTX_new(h->mac) : NULL;
    if (h->ctx == NULL || EVP_MAC_init(h->ctx, key, KV_DIGEST_BYTES, params) != 1) {
        kv_hasher_destroy(h);
        return E_UNSUPPORTED;
    }
    *out = h;
    return 0;
}

void kv_hasher_destroy(struct kv_hasher *h)
{
    if (h == NULL)
        return;
    EVP_MAC_CTX_free(h->ctx);
    EVP_MAC_free(h->mac);
    mem_free(h);
}

static bool put(struct kv_hasher *h, const void *data, size_t bytes)
{
    uint8_t len[8];
    store_le64(len, bytes);
    return EVP_MAC_update(h->ctx, len, sizeof len) == 1 &&
           (bytes == 0 || EVP_MAC_update(h->ctx, data, bytes) == 1);
}

int kv_hash(struct kv_hasher *h, const char *domain, const struct kv_hash_part *parts,
            uint32_t n_parts, struct kv_digest *out)
{
    size_t len = 0;
    struct kv_digest d;
    bool ok = EVP_MAC_init(h->ctx, NULL, 0, NULL) == 1 && put(h, domain, strlen(domain));
    for (uint32_t i = 0; i < n_parts && ok; i++)
        ok = put(h, parts[i].data, parts[i].bytes);
    if (!ok || EVP_MAC_final(h->ctx, d.bytes, &len, sizeof d.bytes) != 1)
        return E_NOMEM;
    ASSERT(len == KV_DIGEST_BYTES);
    *out = d;
    return 0;
}

int kv_hash_root(struct kv_hasher *h, const struct kv_digest *identity, const void *salt,
                 size_t salt_bytes, struct kv_digest *out)
{
    const struct kv_hash_part parts[] = { { identity, sizeof *identity }, { salt, salt_bytes } };
    return kv_hash(h, "naru.kv.root.1", parts, 2, out);
}

int kv_hash_block(struct kv_hasher *h, const struct kv_digest *parent, const int32_t *ids,
                  uint32_t n, struct kv_digest *out)
{
    /* Tokens in little-endian order, like everything that leaves the process. */
    uint8_t bytes[256];
    uint32_t at = 0;
    size_t len = 0;
    struct kv_digest d;
    uint8_t head[16];
    store_le64(head, sizeof *parent);
    store_le64(head + 8, (uint64_t)n * 4);
    bool ok = EVP_MAC_init(h->ctx, NULL, 0, NULL) == 1 && put(h, "naru.kv.block.1", 15) &&
              EVP_MAC_update(h->ctx, head, sizeof head) == 1 &&
              EVP_MAC_update(h->ctx, parent->bytes, sizeof parent->bytes) == 1;
    while (at < n && ok) {
        uint32_t k = (uint32_t)num_min(n - at, sizeof bytes / 4);
        for (uint32_t i = 0; i < k; i++)
            store_le32(bytes + 4 * (size_t)i, (uint32_t)ids[at + i]);
        ok = EVP_MAC_update(h->ctx, bytes, 4 * (size_t)k) == 1;
        at += k;
    }
    if (!ok || EVP_MAC_final(h->ctx, d.bytes, &len, sizeof d.bytes) != 1)
        return E_NOMEM;
    ASSERT(len == KV_DIGEST_BYTES);
    *out = d;
    return 0;
}
