/* The KV store at the command line. The identity under which blocks are stored holds build and
 * processor level too: another build may round differently, and what is stored must be what would
 * be computed. */
#include "cmd/store.h"

#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "model/digest.h"
#include "os/file.h"
#include "os/volume.h"

static int hex_digit(char c)
{
    const char *digits = "0123456789abcdef", *at = c != '\0' ? strchr(digits, c | 32) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

static bool parse_hex(const char *text, size_t len, uint8_t *key)
{
    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r' || text[len - 1] == ' '))
        len--;
    if (len != 2 * KV_STORE_KEY_BYTES)
        return false;
    for (size_t i = 0; i < KV_STORE_KEY_BYTES; i++) {
        int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        key[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static int read_key(const char *path, uint8_t *key, struct err *err)
{
    char *text = NULL;
    size_t len = 0;
    TRY(os_read_file(path, 4096, &text, &len, err));
    bool ok = true;
    if (len == KV_STORE_KEY_BYTES)
        memcpy(key, text, len);
    else
        ok = parse_hex(text, len, key);
    mem_wipe(text, len);
    mem_free(text);
    return ok ? 0
              : err_set_field(err, E_FORMAT, "kv-key-file",
                              "%s: %zu bytes; a key is 32 bytes or 64 hexadecimal"
                              " digits (head -c 32 /dev/urandom > FILE)", path, len);
}

static void log_line(void *ctx, const char *line) { cmd_say(ctx, "%s", line); }

static int open_store(struct cmd_store *s, const struct cmd_store_args *a,
                      const struct cmd_common *c, bool look, struct err *err)
{
    uint8_t key[KV_STORE_KEY_BYTES];
    struct os_volume_params vp = { .dir = a->dir, .create = !look };
    if (a->key_file != NULL)
        TRY(read_key(a->key_file, key, err));
    TRY(os_volume_open(&s->volume, &vp, err));
    struct kv_store_params p = { .disk = s->volume,
                                 .max_bytes = a->bytes != 0 ? a->bytes : CMD_STORE_BYTES,
                                 .key = a->key_file != NULL ? key : NULL,
                                 .look = look,
                                 .log = log_line,
                                 .log_ctx = (void *)(uintptr_t)c };
    int rc = kv_store_open(&s->store, &p, err);
    mem_wipe(key, sizeof key);
    if (rc < 0 && err->field[0] == '\0') {
        struct err inner = *err;
        err_set_field(err, rc, "kv-dir", "%s: %s", a->dir, inner.text);
    }
    return rc;
}

int cmd_store_open(struct cmd_store *s, const struct cmd_store_args *a, const struct cmd_common *c,
                   bool look, struct err *err)
{
    *s = (struct cmd_store){ .volume = NULL };
    if (a->dir == NULL && (a->bytes != 0 || a->key_file != NULL))
        return err_set_field(err, E_USAGE, "kv-dir", "--kv-disk and --kv-key-file say how "
                             "--kv-dir DIR is used; name a folder with it");
    if (a->dir == NULL)
        return 0;
    int rc = open_store(s, a, c, look, err);
    if (rc < 0)
        cmd_store_close(s);
    return rc;
}

void cmd_store_close(struct cmd_store *s)
{
    kv_store_close(s->store);
    os_volume_close(s->volume);
    *s = (struct cmd_store){ .volume = NULL };
}

static void show_progress(void *ctx, uint64_t done, uint64_t total)
{
    cmd_bar_update(ctx, done >> 20, (total >> 20) + 1, "MiB");
}

int cmd_store_bind(struct engine_params *p, const struct cmd_store *s, const struct cmd_model *m,
                   const struct cmd_common *c, struct err *err)
{
    const struct model_layout *l = model_layout(m->model);
    const char *level = device_kernels(m->device)->level;
    uint8_t model[32], layout[8];
    struct kv_hasher *h = NULL;
    struct kv_digest identity;
    struct cmd_bar bar;
    if (s->store == NULL)
        return 0;
    cmd_bar_begin(&bar, c, "checking the model");
    int rc = model_file_digest(m->file, model, show_progress, &bar);
    cmd_bar_end(&bar);
    store_le32(layout, l->block_len);
    store_le32(layout + 4, l->n_streams > 0 ? l->streams[0].type : 0);
    const struct kv_hash_part parts[] = { { model, sizeof model },
                                          { layout, sizeof layout },
                                          { cmd_version(), strlen(cmd_version()) },
                                          { cmd_commit(), strlen(cmd_commit()) },
                                          { level, strlen(level) } };
    rc = rc < 0 ? rc : kv_hasher_create(&h, kv_store_secret(s->store));
    rc = rc < 0 ? rc : kv_hash(h, "naru.kv.identity.1", parts, COUNT_OF(parts), &identity);
    kv_hasher_destroy(h);
    if (rc < 0)
        return err_set(err, rc, "the model's digest: %s", err_code_text(rc));
    const char *slash = strrchr(m->path, '/');
    p->store = s->store;
    p->store_name = slash != NULL && slash[1] != '\0' ? slash + 1 : m->path;
    memcpy(p->store_identity, identity.bytes, sizeof p->store_identity);
    return 0;
}

void cmd_store_finish(struct cmd_store *s, struct engine *e, const struct cmd_common *c)
{
    struct engine_stats st = { .steps = 0 };
    struct kv_store_stats ss;
    if (e != NULL)
        engine_stats(e, &st);
    engine_destroy(e);
    if (s->store == NULL || e == NULL) {
        cmd_store_close(s);
        return;
    }
    kv_store_stats(s->store, &ss);
    cmd_say(c, "kv store: %s, %u blocks, %.1f of %.1f MiB; %" PRIu64 " blocks written, %" PRIu64
            " hit, %" PRIu64 " read back, %" PRIu64 " verified, %" PRIu64 " failed, %" PRIu64
            " not written in time", kv_store_state_name(ss.state), ss.n_blocks,
            (double)ss.disk_bytes / (1 << 20), (double)ss.max_bytes / (1 << 20), ss.written,
            st.store_hits, ss.read, ss.verified, ss.failed, st.store.dropped);
    cmd_store_close(s);
}
