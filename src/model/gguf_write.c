/* Keys come in the form a file holds them: a key that is passed on is copied, not interpreted. */
#include "model/gguf_write.h"

#include <string.h>

#include "base/buf.h"
#include "base/num.h"
#include "model/file_impl.h"

static void put_u32(struct buf *b, uint32_t x)
{
    uint8_t raw[4];
    store_le32(raw, x);
    buf_put(b, raw, sizeof raw);
}

static void put_u64(struct buf *b, uint64_t x)
{
    uint8_t raw[8];
    store_le64(raw, x);
    buf_put(b, raw, sizeof raw);
}

static void put_str(struct buf *b, struct text_str s)
{
    put_u64(b, s.len);
    buf_put(b, s.data, s.len);
}

static void put_meta(struct buf *b, const struct model_meta *m)
{
    put_str(b, m->key);
    put_u32(b, m->kind);
    if (m->kind == MODEL_ARRAY) {
        put_u32(b, m->item_kind);
        put_u64(b, m->n);
    } else if (m->kind == MODEL_STRING) {
        put_u64(b, m->bytes);
    }
    buf_put(b, m->data, m->bytes);
}

static uint64_t padded(uint64_t n) { return (n + GGUF_ALIGN - 1) / GGUF_ALIGN * GGUF_ALIGN; }

static void put_tensor(struct buf *b, const struct model_tensor *t, uint64_t offset)
{
    put_str(b, t->name);
    put_u32(b, t->n_dims);
    for (uint32_t i = 0; i < t->n_dims; i++)
        put_u64(b, t->ne[i]);
    put_u32(b, t->type);
    put_u64(b, offset);
}

int gguf_write_open(struct gguf_writer *w, const char *path, const struct gguf_plan *plan,
                    struct err *err)
{
    static const char zeros[GGUF_ALIGN];
    struct buf head;
    uint64_t offset = 0;
    buf_init(&head, MODEL_HEAD_MAX);
    buf_put(&head, "GGUF", 4);
    put_u32(&head, 3);
    put_u64(&head, plan->n_tensors);
    put_u64(&head, plan->n_meta);
    for (uint32_t i = 0; i < plan->n_meta; i++)
        put_meta(&head, &plan->meta[i]);
    for (uint32_t i = 0; i < plan->n_tensors; i++) {
        put_tensor(&head, &plan->tensors[i], offset);
        offset += padded(plan->tensors[i].bytes);
    }
    buf_put(&head, zeros, (size_t)(padded(head.len) - head.len));
    int rc = buf_status(&head);
    if (rc < 0)
        err_set(err, rc, "%s: the keys and names of the file: %s", path, err_code_text(rc));
    *w = (struct gguf_writer){ .out.fd = -1, .end = offset };
    if (rc == 0)
        rc = os_out_open(&w->out, path, err);
    if (rc == 0) {
        rc = os_out_write(&w->out, head.data, head.len, err);
        if (rc < 0)
            os_out_abort(&w->out);
    }
    buf_fini(&head);
    return rc;
}

int gguf_write_put(struct gguf_writer *w, const void *data, size_t bytes, struct err *err)
{
    ASSERT(bytes <= w->end - w->at);
    TRY(os_out_write(&w->out, data, bytes, err));
    w->at += bytes;
    return 0;
}

int gguf_write_pad(struct gguf_writer *w, struct err *err)
{
    static const char zeros[GGUF_ALIGN];
    return gguf_write_put(w, zeros, (size_t)(padded(w->at) - w->at), err);
}

int gguf_write_commit(struct gguf_writer *w, struct err *err)
{
    CHECK(w->at == w->end);
    return os_out_commit(&w->out, err);
}

void gguf_write_abort(struct gguf_writer *w) { os_out_abort(&w->out); }
