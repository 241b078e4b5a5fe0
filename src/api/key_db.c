#include "api/key_db.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "base/mem.h"

#define VERSION 1
#define BUSY_MS 5000

struct api_key_db {
    sqlite3 *sql;
};

static const char SCHEMA[] =
    "CREATE TABLE keys(id TEXT PRIMARY KEY, name TEXT NOT NULL, tenant TEXT NOT NULL,"
    " role TEXT NOT NULL, salt BLOB NOT NULL, hash BLOB NOT NULL, created INTEGER NOT NULL,"
    " expires INTEGER NOT NULL, revoked INTEGER NOT NULL, requests INTEGER NOT NULL,"
    " tokens INTEGER NOT NULL, concurrent INTEGER NOT NULL) STRICT;"
    "CREATE TABLE usage(key TEXT NOT NULL, hour INTEGER NOT NULL, requests INTEGER NOT NULL,"
    " failed INTEGER NOT NULL, prompt INTEGER NOT NULL, cached INTEGER NOT NULL,"
    " completion INTEGER NOT NULL, PRIMARY KEY(key, hour)) STRICT, WITHOUT ROWID;"
    "PRAGMA user_version = 1;";

static const char *const role_names[] = { "user", "metrics", "operator", "admin", "auditor" };

const char *api_key_role_name(enum api_key_role role) { return role_names[role]; }

int api_key_role_parse(const char *name, enum api_key_role *out, struct err *err)
{
    for (size_t i = 0; i < COUNT_OF(role_names); i++)
        if (strcmp(role_names[i], name) == 0) {
            *out = (enum api_key_role)i;
            return 0;
        }
    return err_set_field(err, E_RANGE, "role",
                         "role: must be user, metrics, operator, admin or auditor");
}

/* --- SQL -------------------------------------------------------------------------------------- */

static int failed(const struct api_key_db *db, struct err *err)
{
    int code = sqlite3_errcode(db->sql);
    return err_set(err, code == SQLITE_NOTADB ? E_FORMAT : code == SQLITE_NOMEM ? E_NOMEM : E_IO,
                   "the file of keys: %s", sqlite3_errmsg(db->sql));
}

static int exec(struct api_key_db *db, const char *sql, struct err *err)
{
    return sqlite3_exec(db->sql, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : failed(db, err);
}

static int prepare(struct api_key_db *db, sqlite3_stmt **out, const char *sql, struct err *err)
{
    return sqlite3_prepare_v2(db->sql, sql, -1, out, NULL) == SQLITE_OK ? 0 : failed(db, err);
}

/* Runs a statement that yields nothing and ends it. */
static int finish(struct api_key_db *db, sqlite3_stmt *s, struct err *err)
{
    int rc = sqlite3_step(s) == SQLITE_DONE ? 0 : failed(db, err);
    sqlite3_finalize(s);
    return rc;
}

static int get_int(struct api_key_db *db, const char *sql, int64_t *out, struct err *err)
{
    sqlite3_stmt *s;
    TRY(prepare(db, &s, sql, err));
    int rc = sqlite3_step(s) == SQLITE_ROW ? 0 : failed(db, err);
    if (rc == 0)
        *out = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return rc;
}

static int begin(struct api_key_db *db, struct err *err)
{
    return exec(db, "BEGIN IMMEDIATE", err);
}

static int end(struct api_key_db *db, int rc, struct err *err)
{
    if (rc == 0)
        rc = exec(db, "COMMIT", err);
    if (rc < 0)
        (void)sqlite3_exec(db->sql, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

/* --- open ------------------------------------------------------------------------------------- */

static int prepare_file(struct api_key_db *db, const char *path, struct err *err)
{
    int64_t version = 0;
    TRY(exec(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;", err));
    TRY(begin(db, err));
    int rc = get_int(db, "PRAGMA user_version", &version, err);
    if (rc == 0 && version == 0)
        rc = exec(db, SCHEMA, err);
    else if (rc == 0 && version != VERSION)
        rc = err_set(err, E_FORMAT, "%s is of version %lld, this program knows %d", path,
                     (long long)version, VERSION);
    return end(db, rc, err);
}

int api_key_db_open(struct api_key_db **out, const char *path, struct err *err)
{
    /* Made here, so that nobody else may read it for one moment; and only if it is not there: to
     * close a descriptor of the file would drop the locks of this process's other handles. */
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno != EEXIST)
        return err_set_field(err, E_IO, "keys", "cannot make the file of keys %s: %s", path,
                             strerror(errno));
    if (fd >= 0)
        close(fd);
    struct api_key_db *db = mem_alloc(1, sizeof *db);
    if (db == NULL)
        return err_set(err, E_NOMEM, "out of memory");
    int rc = sqlite3_open_v2(path, &db->sql, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc == SQLITE_OK) {
        sqlite3_busy_timeout(db->sql, BUSY_MS);
        rc = prepare_file(db, path, err);
    } else {
        rc = db->sql != NULL ? failed(db, err) : err_set(err, E_NOMEM, "out of memory");
    }
    if (rc < 0) {
        api_key_db_close(db);
        return rc;
    }
    *out = db;
    return 0;
}

void api_key_db_close(struct api_key_db *db)
{
    if (db == NULL)
        return;
    sqlite3_close(db->sql);
    mem_free(db);
}

/* --- keys ------------------------------------------------------------------------------------- */

static bool is_name(const char *s)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                  "0123456789._-";
    size_t n = strlen(s);
    return n >= 1 && n <= API_KEY_NAME_MAX && strspn(s, allowed) == n;
}

static int check_row(struct api_key_row *row, struct err *err)
{
    static const char rule[] = "must be 1 to 64 of A-Z a-z 0-9 . _ -";
    if (!is_name(row->name))
        return err_set_field(err, E_RANGE, "name", "name %s", rule);
    if (row->tenant[0] == '\0')
        memcpy(row->tenant, row->name, sizeof row->tenant);
    if (!is_name(row->tenant))
        return err_set_field(err, E_RANGE, "tenant", "tenant %s", rule);
    return 0;
}

static int insert(struct api_key_db *db, const struct api_key_row *row, struct err *err)
{
    sqlite3_stmt *s;
    TRY(prepare(db, &s, "INSERT INTO keys VALUES(?,?,?,?,?,?,?,?,?,?,?,?)", err));
    sqlite3_bind_text(s, 1, row->id, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, row->name, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 3, row->tenant, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 4, role_names[row->role], -1, SQLITE_STATIC);
    sqlite3_bind_blob(s, 5, row->hash.salt, sizeof row->hash.salt, SQLITE_STATIC);
    sqlite3_bind_blob(s, 6, row->hash.hash, sizeof row->hash.hash, SQLITE_STATIC);
    sqlite3_bind_int64(s, 7, row->created);
    sqlite3_bind_int64(s, 8, row->expires);
    sqlite3_bind_int64(s, 9, row->revoked);
    sqlite3_bind_int64(s, 10, row->requests_per_min);
    sqlite3_bind_int64(s, 11, row->tokens_per_min);
    sqlite3_bind_int64(s, 12, row->concurrent);
    return finish(db, s, err);
}

int api_key_db_add(struct api_key_db *db, struct api_key_new *key, int64_t now, struct err *err)
{
    struct api_key_row *row = &key->row;
    TRY(check_row(row, err));
    TRY(api_key_make(key->text, row->id, &row->hash, err));
    row->created = now;
    row->revoked = 0;
    return insert(db, row, err);
}

static int copy_blob(sqlite3_stmt *s, int column, void *out, int bytes)
{
    if (sqlite3_column_bytes(s, column) != bytes)
        return E_FORMAT;
    memcpy(out, sqlite3_column_blob(s, column), (size_t)bytes);
    return 0;
}

static void copy_text(sqlite3_stmt *s, int column, char *out, size_t max)
{
    const char *text = (const char *)sqlite3_column_text(s, column);
    snprintf(out, max, "%s", text != NULL ? text : "");
}

static int read_row(sqlite3_stmt *s, struct api_key_row *row)
{
    char role[16];
    *row = (struct api_key_row){ 0 };
    copy_text(s, 0, row->id, sizeof row->id);
    copy_text(s, 1, row->name, sizeof row->name);
    copy_text(s, 2, row->tenant, sizeof row->tenant);
    copy_text(s, 3, role, sizeof role);
    row->created = sqlite3_column_int64(s, 6);
    row->expires = sqlite3_column_int64(s, 7);
    row->revoked = sqlite3_column_int64(s, 8);
    row->requests_per_min = (uint32_t)sqlite3_column_int64(s, 9);
    row->tokens_per_min = (uint32_t)sqlite3_column_int64(s, 10);
    row->concurrent = (uint32_t)sqlite3_column_int64(s, 11);
    TRY(api_key_role_parse(role, &row->role, NULL));
    TRY(copy_blob(s, 4, row->hash.salt, sizeof row->hash.salt));
    return copy_blob(s, 5, row->hash.hash, sizeof row->hash.hash);
}

int api_key_db_each(struct api_key_db *db, api_key_fn fn, void *ctx, struct err *err)
{
    sqlite3_stmt *s;
    struct api_key_row row;
    TRY(prepare(db, &s, "SELECT * FROM keys ORDER BY created, rowid", err));
    int rc = 0, step = SQLITE_ROW;
    while (rc == 0 && (step = sqlite3_step(s)) == SQLITE_ROW) {
        rc = read_row(s, &row);
        if (rc < 0)
            err_set(err, E_FORMAT, "the row of key %s makes no sense", row.id);
        else
            rc = fn(ctx, &row);
    }
    if (rc == 0 && step != SQLITE_DONE)
        rc = failed(db, err);
    sqlite3_finalize(s);
    return rc;
}

static int find(struct api_key_db *db, const char *id, struct api_key_row *row, struct err *err)
{
    sqlite3_stmt *s;
    TRY(prepare(db, &s, "SELECT * FROM keys WHERE id = ?", err));
    sqlite3_bind_text(s, 1, id, -1, SQLITE_STATIC);
    int rc = sqlite3_step(s) == SQLITE_ROW
                 ? read_row(s, row)
                 : err_set_field(err, E_NOT_FOUND, "id", "there is no key %.16s", id);
    sqlite3_finalize(s);
    return rc;
}

int api_key_db_revoke(struct api_key_db *db, const char *id, int64_t when, struct err *err)
{
    struct api_key_row row;
    sqlite3_stmt *s;
    TRY(find(db, id, &row, err));
    TRY(prepare(db, &s,
                "UPDATE keys SET revoked = ?1 WHERE id = ?2 AND (revoked = 0 OR revoked > ?1)",
                err));
    sqlite3_bind_int64(s, 1, when);
    sqlite3_bind_text(s, 2, id, -1, SQLITE_STATIC);
    return finish(db, s, err);
}

static int rotate(struct api_key_db *db, const char *id, int64_t now, int64_t overlap_s,
                  struct api_key_new *out, struct err *err)
{
    struct api_key_row old;
    TRY(find(db, id, &old, err));
    if ((old.revoked != 0 && old.revoked <= now) || (old.expires != 0 && old.expires <= now))
        return err_set_field(err, E_USAGE, "id", "key %s is over already; add a new one", id);
    out->row = old;
    TRY(api_key_db_add(db, out, now, err));
    return api_key_db_revoke(db, id, now + overlap_s, err);
}

int api_key_db_rotate(struct api_key_db *db, const char *id, int64_t now, int64_t overlap_s,
                      struct api_key_new *out, struct err *err)
{
    TRY(begin(db, err));
    return end(db, rotate(db, id, now, overlap_s, out, err), err);
}

/* --- usage ------------------------------------------------------------------------------------ */

static int count_one(struct api_key_db *db, const struct api_key_usage *u, struct err *err)
{
    sqlite3_stmt *s;
    TRY(prepare(db, &s,
                "INSERT INTO usage VALUES(?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET"
                " requests = requests + excluded.requests, failed = failed + excluded.failed,"
                " prompt = prompt + excluded.prompt, cached = cached + excluded.cached,"
                " completion = completion + excluded.completion",
                err));
    sqlite3_bind_text(s, 1, u->id, -1, SQLITE_STATIC);
    const int64_t values[] = { u->hour, (int64_t)u->requests, (int64_t)u->failed,
                               (int64_t)u->prompt, (int64_t)u->cached, (int64_t)u->completion };
    for (size_t i = 0; i < COUNT_OF(values); i++)
        sqlite3_bind_int64(s, (int)i + 2, values[i]);
    return finish(db, s, err);
}

int api_key_db_count(struct api_key_db *db, const struct api_key_usage *usage, size_t n,
                     struct err *err)
{
    TRY(begin(db, err));
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = count_one(db, &usage[i], err);
    return end(db, rc, err);
}

int api_key_db_usage(struct api_key_db *db, int64_t from_hour, api_key_usage_fn fn, void *ctx,
                     struct err *err)
{
    sqlite3_stmt *s;
    TRY(prepare(db, &s, "SELECT * FROM usage WHERE hour >= ? ORDER BY hour, key", err));
    sqlite3_bind_int64(s, 1, from_hour);
    int rc = 0, step = SQLITE_ROW;
    while (rc == 0 && (step = sqlite3_step(s)) == SQLITE_ROW) {
        struct api_key_usage u = { .hour = sqlite3_column_int64(s, 1) };
        uint64_t *const to[] = { &u.requests, &u.failed, &u.prompt, &u.cached, &u.completion };
        copy_text(s, 0, u.id, sizeof u.id);
        for (size_t i = 0; i < COUNT_OF(to); i++)
            *to[i] = (uint64_t)sqlite3_column_int64(s, (int)i + 2);
        rc = fn(ctx, &u);
    }
    if (rc == 0 && step != SQLITE_DONE)
        rc = failed(db, err);
    sqlite3_finalize(s);
    return rc;
}

int api_key_db_version(struct api_key_db *db, int64_t *out, struct err *err)
{
    return get_int(db, "PRAGMA data_version", out, err);
}
