/* naru keys: who may call a server that was started with --keys FILE. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "api/key_db.h"
#include "base/clock.h"
#include "base/json.h"
#include "cmd/cmd.h"

struct args {
    struct cmd_common common;
    const char *file, *tenant, *role;
    uint32_t requests, tokens, concurrent, days, overlap;
};

static const struct opt opts[] = {
    { "keys", 'k', OPT_TEXT, offsetof(struct args, file), "FILE",
      "the file of keys, as `naru serve --keys` names it", 0, 0 },
    { "tenant", 0, OPT_TEXT, offsetof(struct args, tenant), "NAME",
      "whose key it is: keys of one tenant share cached prefixes (default: the key's name)", 0, 0 },
    { "role", 0, OPT_TEXT, offsetof(struct args, role), "ROLE",
      "user (models), metrics, operator (both), admin, auditor (default: user)", 0, 0 },
    { "rpm", 0, OPT_U32, offsetof(struct args, requests), "N",
      "requests of any minute (default: no limit)", 0, 0 },
    { "tpm", 0, OPT_U32, offsetof(struct args, tokens), "N",
      "tokens of any minute, prompt and output (default: no limit)", 0, 0 },
    { "concurrent", 0, OPT_U32, offsetof(struct args, concurrent), "N",
      "requests at a time (default: no limit)", 0, 0 },
    { "days", 0, OPT_U32, offsetof(struct args, days), "N",
      "the key is refused after so many days (default: never)", 1, 36500 },
    { "overlap", 0, OPT_U32, offsetof(struct args, overlap), "SECONDS",
      "rotate: how long the old key is good beside the new one (default: 3600)", 0, 31536000 },
    { "json", 0, OPT_FLAG, offsetof(struct args, common.json), NULL,
      "print one JSON object a line", 0, 0 },
    { "help", 'h', OPT_FLAG, offsetof(struct args, common.help), NULL, "show this help", 0, 0 },
};
static const struct opt_table table = { opts, COUNT_OF(opts) };

struct call {
    const struct args *args;
    struct api_key_db *db;
    struct buf out;
    int64_t now;
};

static const char *date(int64_t when, char out[32])
{
    time_t t = (time_t)when;
    struct tm tm;
    if (when == 0 || gmtime_r(&t, &tm) == NULL || strftime(out, 32, "%Y-%m-%d %H:%M", &tm) == 0)
        snprintf(out, 32, "-");
    return out;
}

static void put_json(struct call *c, const struct api_key_row *r, const char *text)
{
    struct json_writer w;
    json_writer_init(&w, &c->out);
    json_begin_object(&w);
    const char *const names[] = { "id", "name", "tenant", "role", "key" };
    const char *const values[] = { r->id, r->name, r->tenant, api_key_role_name(r->role), text };
    for (size_t i = 0; i < COUNT_OF(names) && values[i] != NULL; i++) {
        json_key(&w, names[i]);
        json_write_str(&w, values[i]);
    }
    const char *const numbers[] = { "created", "expires", "revoked", "rpm", "tpm", "concurrent" };
    const int64_t of[] = { r->created, r->expires, r->revoked, r->requests_per_min,
                           r->tokens_per_min, r->concurrent };
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        json_key(&w, numbers[i]);
        json_write_int(&w, of[i]);
    }
    json_end_object(&w);
    buf_putc(&c->out, '\n');
}

/* A key is shown this once. */
static void put_new(struct call *c, const struct api_key_new *key)
{
    const struct api_key_row *r = &key->row;
    if (c->args->common.json)
        put_json(c, r, key->text);
    else
        buf_printf(&c->out, "%s\n", key->text);
    if (!c->args->common.json)
        cmd_say(&c->args->common, "key %s of %s (tenant %s, role %s); keep it: it is not shown "
                "again", r->id, r->name, r->tenant, api_key_role_name(r->role));
}

static int copy(char *out, size_t max, const char *text, const char *field, struct err *err)
{
    if (text == NULL)
        return 0;
    if (strlen(text) >= max)
        return err_set_field(err, E_USAGE, field, "%s: must be 1 to %zu of A-Z a-z 0-9 . _ -",
                             field, max - 1);
    memcpy(out, text, strlen(text) + 1);
    return 0;
}

static int add(struct call *c, const char *name, struct err *err)
{
    const struct args *a = c->args;
    struct api_key_new key = { .row = { .requests_per_min = a->requests,
                                        .tokens_per_min = a->tokens,
                                        .concurrent = a->concurrent } };
    struct api_key_row *r = &key.row;
    TRY(copy(r->name, sizeof r->name, name, "name", err));
    TRY(copy(r->tenant, sizeof r->tenant, a->tenant, "tenant", err));
    if (a->role != NULL)
        TRY(api_key_role_parse(a->role, &r->role, err));
    r->expires = a->days > 0 ? c->now + (int64_t)a->days * 86400 : 0;
    TRY(api_key_db_add(c->db, &key, c->now, err));
    put_new(c, &key);
    return 0;
}

static int rotate(struct call *c, const char *id, struct err *err)
{
    struct api_key_new key = { 0 };
    TRY(api_key_db_rotate(c->db, id, c->now, c->args->overlap, &key, err));
    put_new(c, &key);
    return 0;
}

static int revoke(struct call *c, const char *id, struct err *err)
{
    TRY(api_key_db_revoke(c->db, id, c->now, err));
    cmd_say(&c->args->common, "key %s is refused from now on", id);
    return 0;
}

static const char *state_of(const struct api_key_row *r, int64_t now)
{
    if (r->revoked != 0)
        return r->revoked <= now ? "revoked" : "leaving";
    return r->expires != 0 && r->expires <= now ? "expired" : "valid";
}

static int list_one(void *ctx, const struct api_key_row *r)
{
    struct call *c = ctx;
    char created[32], expires[32];
    if (c->args->common.json)
        put_json(c, r, NULL);
    else
        buf_printf(&c->out, "%-8s  %-20s %-16s %-8s %-8s %9u %9u %6u  %-16s  %s\n", r->id, r->name,
                   r->tenant, api_key_role_name(r->role), state_of(r, c->now), r->requests_per_min,
                   r->tokens_per_min, r->concurrent, date(r->created, created),
                   date(r->expires, expires));
    return 0;
}

static int list(struct call *c, UNUSED const char *none, struct err *err)
{
    if (!c->args->common.json)
        buf_printf(&c->out, "%-8s  %-20s %-16s %-8s %-8s %9s %9s %6s  %-16s  %s\n", "id", "name",
                   "tenant", "role", "state", "req/min", "tok/min", "at once", "created (UTC)",
                   "expires");
    return api_key_db_each(c->db, list_one, c, err);
}

static int usage_one(void *ctx, const struct api_key_usage *u)
{
    struct call *c = ctx;
    char hour[32];
    const char *const names[] = { "requests", "failed", "prompt", "cached", "completion" };
    const uint64_t of[] = { u->requests, u->failed, u->prompt, u->cached, u->completion };
    struct json_writer w;
    json_writer_init(&w, &c->out);
    date(u->hour * 3600, hour);
    if (!c->args->common.json) {
        buf_printf(&c->out, "%-8s  %-16s", u->id, hour);
        for (size_t i = 0; i < COUNT_OF(of); i++)
            buf_printf(&c->out, " %12llu", (unsigned long long)of[i]);
        buf_putc(&c->out, '\n');
        return 0;
    }
    json_begin_object(&w);
    json_key(&w, "key");
    json_write_str(&w, u->id);
    json_key(&w, "hour");
    json_write_str(&w, hour);
    for (size_t i = 0; i < COUNT_OF(of); i++) {
        json_key(&w, names[i]);
        json_write_uint(&w, of[i]);
    }
    json_end_object(&w);
    buf_putc(&c->out, '\n');
    return 0;
}

static int usage(struct call *c, UNUSED const char *none, struct err *err)
{
    if (!c->args->common.json)
        buf_printf(&c->out, "%-8s  %-16s %12s %12s %12s %12s %12s\n", "key", "hour (UTC)",
                   "requests", "failed", "prompt", "cached", "completion");
    return api_key_db_usage(c->db, 0, usage_one, c, err);
}

static const struct action {
    const char *name;
    const char *operand; /* NULL: none */
    int (*run)(struct call *c, const char *operand, struct err *err);
} actions[] = {
    { "add", "NAME", add },     { "list", NULL, list },   { "revoke", "ID", revoke },
    { "rotate", "ID", rotate }, { "usage", NULL, usage },
};

static const struct action *find(const struct opt_list *words, struct err *err)
{
    for (size_t i = 0; words->n > 0 && i < COUNT_OF(actions); i++) {
        const struct action *a = &actions[i];
        if (strcmp(a->name, words->items[0]) != 0)
            continue;
        if (words->n == (a->operand != NULL ? 2u : 1u))
            return a;
        err_set(err, E_USAGE, "%s takes %s", a->name,
                a->operand != NULL ? a->operand : "nothing more");
        return NULL;
    }
    err_set(err, E_USAGE, "say what: add NAME, list, revoke ID, rotate ID or usage");
    return NULL;
}

static int keys(const struct cmd_verb *verb, int argc, char **argv)
{
    struct args a = { .common = CMD_COMMON_INIT, .overlap = 3600 };
    struct opt_list words = { 0 };
    bool done;
    int status = cmd_parse(verb, argc, argv, &a.common, &words, &done);
    if (done)
        return status;
    struct err err = { 0 };
    struct clock clock = clock_system();
    struct call c = { .args = &a, .now = clock_wall_s(&clock) };
    const struct action *action = find(&words, &err);
    if (action == NULL)
        return cmd_fail(verb, &err);
    if (a.file == NULL) {
        err_set_field(&err, E_USAGE, "keys", "name the file of keys with --keys FILE");
        return cmd_fail(verb, &err);
    }
    buf_init(&c.out, (size_t)256 << 20);
    int rc = api_key_db_open(&c.db, a.file, &err);
    if (rc == 0)
        rc = action->run(&c, words.n > 1 ? words.items[1] : NULL, &err);
    api_key_db_close(c.db);
    if (rc == 0)
        return cmd_print(verb, &c.out);
    buf_fini(&c.out);
    return cmd_fail(verb, &err);
}

const struct cmd_verb CMD_KEYS = {
    .name = "keys",
    .summary = "say who may call a server, and what they used",
    .usage = "naru keys add NAME|list|revoke ID|rotate ID|usage --keys FILE [OPTIONS]",
    .about = "A server that was started with --keys FILE answers only to the keys in that file.\n"
             "The file holds hashes: a key is printed once, when it is made. A running server\n"
             "takes up changes within half a second. Limits hold for any sixty seconds; beyond\n"
             "them a client hears 429 and when to try again.",
    .examples = "  naru keys add alice --keys keys.db --rpm 60 --tpm 20000 --concurrent 4\n"
                "  naru keys add grafana --keys keys.db --role metrics\n"
                "  naru keys rotate 1a2b3c4d --keys keys.db --overlap 600\n"
                "  naru keys usage --keys keys.db --json\n",
    .table = &table,
    .run = keys,
};
