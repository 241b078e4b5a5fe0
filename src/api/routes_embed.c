/* POST /v1/embeddings. */
#include <math.h>
#include <string.h>

#include "api/call.h"
#include "api/embeddings.h"
#include "base/mem.h"
#include "engine/embed.h"

/* What a call waits for. */
struct api_embed {
    struct api_embeddings r;
    struct engine_embedding *job; /* NULL: not handed in */
    uint32_t n_tokens;
    float *cut;                   /* (dimensions) of one vector */
};

void api_embed_destroy(struct api_embed *e)
{
    if (e == NULL)
        return;
    engine_embed_close(e->job);
    api_embeddings_fini(&e->r);
    mem_free(e->cut);
    mem_free(e);
}

uint32_t api_embed_tokens(const struct api_embed *e) { return e->n_tokens; }

static void wake(void *ctx) { net_call_wake(ctx); }

static int add_ids(const struct api_call *c, const json_value *v, struct text_ids *ids,
                   struct err *err)
{
    size_t n = json_len(v);
    int32_t *list = mem_alloc(n, sizeof *list);
    if (list == NULL)
        return err_set(err, E_NOMEM, "out of memory");
    int rc = api_read_ids(v, "input", text_vocab_size(c->s->p.tokenizer), list, err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = text_ids_put(ids, list[i]);
    mem_free(list);
    return rc;
}

static int add_input(const struct api_call *c, const json_value *v, struct text_ids *ids,
                     struct err *err)
{
    size_t len = 0;
    const char *s = json_text(v, &len);
    int rc = s == NULL ? add_ids(c, v, ids, err)
                       : text_encode(c->s->p.tokenizer, s, len, NULL, TEXT_ADD_SPECIAL, ids);
    if (rc == E_LIMIT)
        return err_set_field(err, rc, "input", "input: more than %d tokens in one request",
                             API_INPUT_TOKENS_MAX);
    return rc < 0 && err->code == 0 ? err_set(err, rc, "%s", err_code_text(rc)) : rc;
}

static int submit(struct api_call *c, struct api_embed *e, struct err *err)
{
    struct text_ids ids;
    uint32_t *lens = mem_alloc(e->r.n, sizeof *lens);
    text_ids_init(&ids, API_INPUT_TOKENS_MAX);
    int rc = lens != NULL ? 0 : err_set(err, E_NOMEM, "out of memory");
    for (uint32_t i = 0, before = 0; rc == 0 && i < e->r.n; i++) {
        rc = add_input(c, api_embeddings_input(&e->r, i), &ids, err);
        if (rc == 0)
            lens[i] = ids.n - before;
        before = ids.n;
    }
    struct engine_embed_request r = { .ids = ids.ids, .lens = lens, .n = e->r.n, .notify = wake,
                                      .notify_ctx = c->net };
    e->n_tokens = ids.n;
    if (rc == 0)
        rc = api_call_admit(c, ids.n, err);
    if (rc == 0)
        rc = engine_embed_submit(c->s->p.engine, &r, &e->job, err);
    text_ids_fini(&ids);
    mem_free(lens);
    return rc;
}

void api_route_embeddings(struct api_call *c)
{
    struct err err = { 0 };
    size_t len;
    const char *body = net_call_body(c->net, &len);
    struct api_embed *e = mem_alloc(1, sizeof *e);
    int rc = e != NULL ? 0 : err_set(&err, E_NOMEM, "out of memory");
    c->embed = e;
    if (rc == 0)
        rc = api_embeddings_read(&e->r, body, len, c->s->info.n_embd, &err);
    if (rc == 0)
        rc = api_check_model(c, &e->r.model, &err);
    if (rc == 0 && e->r.dimensions > 0) {
        e->cut = mem_alloc(e->r.dimensions, sizeof *e->cut);
        rc = e->cut != NULL ? 0 : err_set(&err, E_NOMEM, "out of memory");
    }
    if (rc == 0)
        rc = submit(c, e, &err);
    if (rc < 0)
        api_call_fail_err(c, &err);
    else
        api_call_model_headers(c);
}

/* --- the answer ------------------------------------------------------------------------------- */

static void put_base64(struct buf *out, const uint8_t *s, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < len; i += 3) {
        uint32_t x = (uint32_t)s[i] << 16 | (i + 1 < len ? (uint32_t)s[i + 1] << 8 : 0) |
                     (i + 2 < len ? s[i + 2] : 0);
        char four[4] = { digits[x >> 18], digits[x >> 12 & 63], digits[x >> 6 & 63],
                         digits[x & 63] };
        if (i + 2 >= len)
            four[3] = '=';
        if (i + 1 >= len)
            four[2] = '=';
        buf_put(out, four, 4);
    }
}

/* Little-endian float32. */
static void put_vector_base64(struct json_writer *w, const float *v, uint32_t n)
{
    struct buf bytes;
    buf_init(&bytes, SIZE_MAX / 4);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t x;
        memcpy(&x, &v[i], sizeof x);
        const uint8_t le[4] = { (uint8_t)x, (uint8_t)(x >> 8), (uint8_t)(x >> 16),
                                (uint8_t)(x >> 24) };
        buf_put(&bytes, le, sizeof le);
    }
    buf_putc(w->out, '"');
    put_base64(w->out, (const uint8_t *)buf_str(&bytes), bytes.len);
    buf_putc(w->out, '"');
    w->need_comma = true;
    buf_fini(&bytes);
}

/* The first n values, scaled to length 1 again. */
static const float *cut(const struct api_embed *e, const float *v)
{
    uint32_t n = e->r.dimensions;
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += (double)v[i] * (double)v[i];
    for (uint32_t i = 0; i < n; i++)
        e->cut[i] = sum > 0 ? (float)((double)v[i] / sqrt(sum)) : v[i];
    return e->cut;
}

static void put_vector(struct json_writer *w, const struct api_embed *e, const float *v,
                       uint32_t n_embd)
{
    uint32_t n = e->r.dimensions > 0 ? e->r.dimensions : n_embd;
    if (n < n_embd)
        v = cut(e, v);
    if (e->r.base64) {
        put_vector_base64(w, v, n);
        return;
    }
    json_begin_array(w);
    for (uint32_t i = 0; i < n; i++)
        json_write_float(w, v[i]);
    json_end_array(w);
}

static void reply(struct api_call *c, const struct api_embed *e, const float *rows)
{
    struct buf body;
    struct json_writer w;
    buf_init(&body, SIZE_MAX / 4);
    json_writer_init(&w, &body);
    json_begin_object(&w);
    api_put_str(&w, "object", "list");
    json_key(&w, "data");
    json_begin_array(&w);
    for (uint32_t i = 0; i < e->r.n; i++) {
        json_begin_object(&w);
        api_put_str(&w, "object", "embedding");
        api_put_uint(&w, "index", i);
        json_key(&w, "embedding");
        put_vector(&w, e, rows + (size_t)i * c->s->info.n_embd, c->s->info.n_embd);
        json_end_object(&w);
    }
    json_end_array(&w);
    api_put_str(&w, "model", c->s->p.model_id);
    json_key(&w, "usage");
    json_begin_object(&w);
    api_put_uint(&w, "prompt_tokens", e->n_tokens);
    api_put_uint(&w, "total_tokens", e->n_tokens);
    json_end_object(&w);
    json_end_object(&w);
    api_call_reply(c, 200, &body);
}

void api_embed_pump(struct api_call *c)
{
    const float *rows = NULL;
    struct err err = { 0 };
    int rc = engine_embed_poll(c->embed->job, &rows);
    if (rc == 0)
        return;
    if (rc == 1) {
        reply(c, c->embed, rows);
        return;
    }
    err_set(&err, rc, "%s", rc == E_CANCELLED ? "the server is shutting down; send it again"
                                              : err_code_text(rc));
    api_call_fail_err(c, &err);
}
