/* AES-256-GCM (NIST SP 800-38D) by OpenSSL. Each segment has a key of its own, derived from the
 * master key and the segment's random salt, and numbers its records: a nonce never comes twice
 * under one key, also when a write had to be repeated (a restart begins a new segment). */
#include <openssl/evp.h>

#include "base/mem.h"
#include "base/num.h"
#include "kv/store_impl.h"

struct seal {
    EVP_CIPHER_CTX *ctx;
};

enum { NONCE_BYTES = 12, TAG_BYTES = 16 };

int kv_seal_create(struct seal **out)
{
    struct seal *s = mem_alloc(1, sizeof *s);
    if (s == NULL)
        return E_NOMEM;
    s->ctx = EVP_CIPHER_CTX_new();
    if (s->ctx == NULL) {
        mem_free(s);
        return E_NOMEM;
    }
    *out = s;
    return 0;
}

void kv_seal_destroy(struct seal *s)
{
    if (s == NULL)
        return;
    EVP_CIPHER_CTX_free(s->ctx);
    mem_free(s);
}

static int begin(struct seal *s, const struct sealed *w, int seals)
{
    uint8_t iv[NONCE_BYTES] = { 0 };
    int len = 0;
    store_le64(iv, w->nonce);
    bool ok = EVP_CipherInit_ex2(s->ctx, EVP_aes_256_gcm(), w->key->bytes, iv, seals, NULL) == 1 &&
              EVP_CipherUpdate(s->ctx, NULL, &len, w->aad, (int)w->aad_bytes) == 1;
    return ok ? 0 : E_UNSUPPORTED;
}

/* In place, in pieces that fit an int. */
static int update(struct seal *s, uint8_t *data, size_t bytes)
{
    while (bytes > 0) {
        int n = (int)num_min(bytes, (size_t)1 << 30), len = 0;
        if (EVP_CipherUpdate(s->ctx, data, &len, data, n) != 1 || len != n)
            return E_UNSUPPORTED;
        data += n;
        bytes -= (size_t)n;
    }
    return 0;
}

int kv_seal_close(struct seal *s, const struct sealed *what)
{
    uint8_t rest[16];
    int len = 0;
    TRY(begin(s, what, 1));
    TRY(update(s, what->data, what->bytes));
    bool ok = EVP_CipherFinal_ex(s->ctx, rest, &len) == 1 && len == 0 &&
              EVP_CIPHER_CTX_ctrl(s->ctx, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, what->tag) == 1;
    return ok ? 0 : E_UNSUPPORTED;
}

int kv_seal_open(struct seal *s, const struct sealed *what)
{
    uint8_t rest[16];
    int len = 0;
    TRY(begin(s, what, 0));
    TRY(update(s, what->data, what->bytes));
    bool ok = EVP_CIPHER_CTX_ctrl(s->ctx, EVP_CTRL_GCM_SET_TAG, TAG_BYTES, what->tag) == 1 &&
              EVP_CipherFinal_ex(s->ctx, rest, &len) == 1;
    return ok ? 0 : E_FORMAT;
}
