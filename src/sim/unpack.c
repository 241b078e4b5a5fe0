#include "sim/unpack.h"

#include <string.h>
#include <zstd.h>

#include "base/mem.h"
#include "os/file.h"

enum { CHUNK = 1 << 20 };

/* Makes room for CHUNK more bytes and a NUL. */
static int grow(char **out, size_t len, size_t *cap, size_t max)
{
    if (*cap - len > CHUNK)
        return 0;
    if (len >= max)
        return E_LIMIT;
    size_t want = *cap * 2 + 2 * CHUNK;
    char *more = mem_realloc(*out, want, 1);
    if (more == NULL)
        return E_NOMEM;
    *out = more;
    *cap = want;
    return 0;
}

static int inflate(ZSTD_DStream *z, ZSTD_inBuffer *in, size_t max, char **out, size_t *len,
                   struct err *err)
{
    size_t cap = 0, left = 1;
    while (in->pos < in->size || left > 0) {
        int rc = grow(out, *len, &cap, max);
        if (rc < 0)
            return err_set(err, rc, "more than %zu bytes when unpacked", max);
        ZSTD_outBuffer to = { .dst = *out + *len, .size = cap - *len - 1 };
        size_t before = in->pos;
        left = ZSTD_decompressStream(z, &to, in);
        if (ZSTD_isError(left))
            return err_set(err, E_FORMAT, "damaged zstd data: %s", ZSTD_getErrorName(left));
        *len += to.pos;
        if (in->pos == before && to.pos == 0 && left > 0)
            return err_set(err, E_FORMAT, "the zstd data ends too early");
    }
    (*out)[*len] = '\0';
    return 0;
}

static int unpack(const char *packed, size_t n, size_t max, char **out, size_t *len,
                  struct err *err)
{
    ZSTD_DStream *z = ZSTD_createDStream();
    ZSTD_inBuffer in = { .src = packed, .size = n };
    char *text = NULL;
    size_t text_len = 0;
    if (z == NULL)
        return err_set(err, E_NOMEM, "out of memory");
    int rc = inflate(z, &in, max, &text, &text_len, err);
    ZSTD_freeDStream(z);
    if (rc < 0) {
        mem_free(text);
        return rc;
    }
    *out = text;
    *len = text_len;
    return 0;
}

int sim_read(const char *path, size_t max, char **out, size_t *len, struct err *err)
{
    static const char magic[4] = { '\x28', '\xb5', '\x2f', '\xfd' };
    char *raw;
    size_t n;
    TRY(os_read_file(path, max, &raw, &n, err));
    if (n < sizeof magic || memcmp(raw, magic, sizeof magic) != 0) {
        *out = raw;
        *len = n;
        return 0;
    }
    int rc = unpack(raw, n, max, out, len, err);
    mem_free(raw);
    return rc;
}
