/* /admin/keys and /admin/usage, on the admin socket only. What they change counts for new requests
 * within half a second: the server reads the file again (api/keys.h). */
#include <string.h>

#include "api/call.h"
#include "api/key_db.h"

#define PREFIX "/admin/keys/"
#define DAY_HOURS 24

struct new_key {
    struct engine_str name, tenant, role;
    uint32_t requests, tokens, concurrent;
    int64_t expires_in;
};

#define AT(member) offsetof(struct new_key, member)
static const struct api_field new_rows[] = {
    { "name", API_TEXT, AT(name), 1, API_KEY_NAME_MAX, NULL, NULL },
    { "tenant", API_TEXT, AT(tenant), 1, API_KEY_NAME_MAX, NULL, NULL },
    { "role", API_TEXT, AT(role), 1, 16, NULL, NULL },
    { "requests_per_minute", API_U32, AT(requests), 0, UINT32_MAX, NULL, NULL },
    { "tokens_per_minute", API_U32, AT(tokens), 0, UINT32_MAX, NULL, NULL },
    { "concurrent", API_U32, AT(concurrent), 0, UINT32_MAX, NULL, NULL },
    { "expires_in", API_I64, AT(expires_in), 0, 1e10, NULL, NULL },
};

static int open_db(const struct api_call *c, struct api_key_db **db, struct err *err)
{
    if (c->s->p.keys == NULL)
        return err_set(err, E_UNSUPPORTED, "this server runs without keys (--keys FILE)");
    return api_key_db_open(db, api_keys_path(c->s->p.keys), err);
}

static int64_t now(const struct api_call *c) { return clock_wall_s(&c->s->p.clock); }

static void put_row(struct json_writer *w, const struct api_key_row *r, const char *text)
{
    json_begin_object(w);
    api_put_str(w, "id", r->id);
    if (text != NULL)
        api_put_str(w, "key", text);
    api_put_str(w, "name", r->name);
    api_put_str(w, "tenant", r->tenant);
    api_put_str(w, "role", api_key_role_name(r->role));
    api_put_uint(w, "created", (uint64_t)r->created);
    api_put_uint(w, "expires", (uint64_t)r->expires);
    api_put_uint(w, "revoked", (uint64_t)r->revoked);
    api_put_uint(w, "requests_per_minute", r->requests_per_min);
    api_put_uint(w, "tokens_per_minute", r->tokens_per_min);
    api_put_uint(w, "concurrent", r->concurrent);
    json_end_object(w);
}

static void reply_row(struct api_call *c, const struct api_key_row *r, const char *text)
{
    struct buf body;
    struct json_writer w;
    buf_init(&body, 1u << 16);
    json_writer_init(&w, &body);
    put_row(&w, r, text);
    api_call_reply(c, 200, &body);
}

static int list_row(void *w, const struct api_key_row *row)
{
    put_row(w, row, NULL);
    return 0;
}

static int list_usage(void *ctx, const struct api_key_usage *u)
{
    struct json_writer *w = ctx;
    json_begin_object(w);
    api_put_str(w, "key", u->id);
    api_put_uint(w, "hour", (uint64_t)u->hour * 3600);
    api_put_uint(w, "requests", u->requests);
    api_put_uint(w, "failed", u->failed);
    api_put_uint(w, "prompt_tokens", u->prompt);
    api_put_uint(w, "cached_tokens", u->cached);
    api_put_uint(w, "completion_tokens", u->completion);
    json_end_object(w);
    return 0;
}

/* {"data":[...]} of the keys, or of the usage of the last day. */
static void list(struct api_call *c, bool usage)
{
    struct err err = { 0 };
    struct api_key_db *db = NULL;
    struct buf body;
    struct json_writer w;
    buf_init(&body, SIZE_MAX / 4);
    json_writer_init(&w, &body);
    json_begin_object(&w);
    json_key(&w, "data");
    json_begin_array(&w);
    int rc = open_db(c, &db, &err);
    if (rc == 0)
        rc = usage ? api_key_db_usage(db, now(c) / 3600 - DAY_HOURS, list_usage, &w, &err)
                   : api_key_db_each(db, list_row, &w, &err);
    json_end_array(&w);
    json_end_object(&w);
    if (rc == 0)
        api_call_reply(c, 200, &body);
    else
        api_call_fail_err(c, &err);
    buf_fini(&body);
    api_key_db_close(db);
}

void api_route_admin_keys(struct api_call *c) { list(c, false); }
void api_route_admin_usage(struct api_call *c) { list(c, true); }

static void copy_name(char out[API_KEY_NAME_MAX + 1], const struct engine_str *s)
{
    if (s->data != NULL)
        memcpy(out, s->data, s->len);
}

static int add(struct api_call *c, const json_value *v, struct api_key_new *key, struct err *err)
{
    struct api_key_row *row = &key->row;
    struct new_key k = { 0 };
    struct api_fields fields = { new_rows, COUNT_OF(new_rows) };
    struct api_key_db *db = NULL;
    TRY(api_fields_read(&fields, v, "", &k, err));
    copy_name(row->name, &k.name);
    copy_name(row->tenant, &k.tenant);
    if (k.role.data != NULL)
        TRY(api_key_role_parse(k.role.data, &row->role, err));
    row->requests_per_min = k.requests;
    row->tokens_per_min = k.tokens;
    row->concurrent = k.concurrent;
    row->expires = k.expires_in > 0 ? now(c) + k.expires_in : 0;
    TRY(open_db(c, &db, err));
    int rc = api_key_db_add(db, key, now(c), err);
    api_key_db_close(db);
    return rc;
}

void api_route_admin_add(struct api_call *c)
{
    struct err err = { 0 };
    struct api_key_new key = { 0 };
    json_value *v = api_call_json(c);
    if (v == NULL)
        return;
    if (add(c, v, &key, &err) == 0)
        reply_row(c, &key.row, key.text);
    else
        api_call_fail_err(c, &err);
    json_free(v);
}

void api_route_admin_revoke(struct api_call *c)
{
    struct err err = { 0 };
    struct api_key_db *db = NULL;
    const char *id = net_call_path(c->net) + sizeof PREFIX - 1;
    int rc = open_db(c, &db, &err);
    if (rc == 0)
        rc = api_key_db_revoke(db, id, now(c), &err);
    if (rc == 0) {
        struct buf body;
        buf_init(&body, 1u << 10);
        buf_puts(&body, "{\"revoked\":true}");
        api_call_reply(c, 200, &body);
    } else {
        api_call_fail_err(c, &err);
    }
    api_key_db_close(db);
}
