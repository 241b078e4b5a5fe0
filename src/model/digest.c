/* Lengths go in before contents, so that no two models spell the same bytes. */
#include "model/digest.h"

#include <openssl/evp.h>

#include "base/num.h"
#include "model/file.h"

#define PIECE ((size_t)8 << 20)

static bool put_u64(EVP_MD_CTX *c, uint64_t x)
{
    uint8_t b[8];
    store_le64(b, x);
    return EVP_DigestUpdate(c, b, sizeof b) == 1;
}

static bool put(EVP_MD_CTX *c, const void *data, size_t bytes)
{
    return put_u64(c, bytes) && (bytes == 0 || EVP_DigestUpdate(c, data, bytes) == 1);
}

static bool put_meta(EVP_MD_CTX *c, const struct model_file *f)
{
    bool ok = put_u64(c, model_file_n_meta(f));
    for (uint32_t i = 0; i < model_file_n_meta(f) && ok; i++) {
        const struct model_meta *m = model_file_meta_at(f, i);
        ok = put(c, m->key.data, m->key.len) && put_u64(c, m->kind) && put_u64(c, m->item_kind) &&
             put_u64(c, m->n) && put(c, m->data, m->bytes);
    }
    return ok;
}

static bool put_tensor_head(EVP_MD_CTX *c, const struct model_tensor *t)
{
    bool ok = put(c, t->name.data, t->name.len) && put_u64(c, t->type) && put_u64(c, t->n_dims);
    for (uint32_t d = 0; d < MODEL_DIMS_MAX && ok; d++)
        ok = put_u64(c, t->ne[d]);
    return ok && put_u64(c, t->bytes);
}

int model_file_digest(const struct model_file *f, uint8_t *out,
                      void (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx)
{
    uint64_t done = 0, total = model_file_bytes(f);
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    if (c == NULL)
        return E_NOMEM;
    bool ok = EVP_DigestInit_ex(c, EVP_sha256(), NULL) == 1 && put(c, "naru.model.1", 12) &&
              put(c, model_file_arch(f), strlen(model_file_arch(f))) && put_meta(c, f) &&
              put_u64(c, model_file_n_tensors(f));
    for (uint32_t i = 0; i < model_file_n_tensors(f) && ok; i++) {
        const struct model_tensor *t = model_file_tensor_at(f, i);
        ok = put_tensor_head(c, t);
        for (size_t at = 0; at < t->bytes && ok; at += PIECE) {
            size_t n = num_min(PIECE, t->bytes - at);
            ok = EVP_DigestUpdate(c, t->data + at, n) == 1;
            done += n;
            if (progress != NULL)
                progress(ctx, done, num_max(total, done));
        }
    }
    ok = ok && EVP_DigestFinal_ex(c, out, NULL) == 1;
    EVP_MD_CTX_free(c);
    return ok ? 0 : E_UNSUPPORTED;
}
