/* api/key_db.h - access keys and usage in a file (SQLite).
 *
 * Idea: `naru keys` and the admin routes write here; a running server notices (key_db_version) and
 * reads all keys again. What the keys used is added up by the hour. The file holds hashes, never
 * keys (key_text.h), and is readable by its owner only.
 *
 *     keys   id name tenant role salt hash created expires revoked requests tokens concurrent
 *     usage  key hour requests failed prompt cached completion
 *
 * A key that is revoked keeps its row: `revoked` is the time from which it is refused, so that a
 * rotated key may be used for a while beside its successor.
 *
 * Threads: a handle belongs to one; several handles and processes may share the file (WAL).
 * Cost: a transaction a call; never on the way of a token. */
#ifndef API_KEY_DB_H
#define API_KEY_DB_H

#include "api/key_text.h"

struct api_key_db;

enum api_key_role {
    API_KEY_USER,
    API_KEY_METRICS,
    API_KEY_OPERATOR,
    API_KEY_ADMIN,
    API_KEY_AUDITOR
};
const char *api_key_role_name(enum api_key_role role);
/* E_RANGE with the names there are. */
NODISCARD int api_key_role_parse(const char *name, enum api_key_role *out, struct err *err);

#define API_KEY_NAME_MAX 64
struct api_key_row {
    char id[API_KEY_ID_LEN + 1];
    char name[API_KEY_NAME_MAX + 1];
    char tenant[API_KEY_NAME_MAX + 1];
    enum api_key_role role;
    int64_t created, expires, revoked; /* Unix time; 0: never */
    uint32_t requests_per_min, tokens_per_min, concurrent; /* 0: no limit */
    struct api_key_hash hash;
};

struct api_key_usage {
    char id[API_KEY_ID_LEN + 1];
    int64_t hour; /* Unix time / 3600 */
    uint64_t requests, failed, prompt, cached, completion;
};

/* Opens or makes the file. E_IO, E_FORMAT (not such a file, or of a later version), E_NOMEM. */
NODISCARD int api_key_db_open(struct api_key_db **out, const char *path, struct err *err);
void api_key_db_close(struct api_key_db *db); /* NULL is fine */

/* A key with the text its holder gets, told this once. */
struct api_key_new {
    struct api_key_row row;
    char text[API_KEY_LEN + 1];
};

/* Adds a key; id, hash, created and text are filled in. E_RANGE names the field: name and tenant
 * are 1 to 64 of A-Z a-z 0-9 . _ - (tenant "": the name). */
NODISCARD int api_key_db_add(struct api_key_db *db, struct api_key_new *key, int64_t now,
                             struct err *err);
/* Refuses the key from `when` on. E_NOT_FOUND; a key that is over already stays as it is. */
NODISCARD int api_key_db_revoke(struct api_key_db *db, const char *id, int64_t when,
                                struct err *err);
/* A new key with all of the old one's properties, which is refused overlap_s from now on.
 * E_NOT_FOUND, E_USAGE if it is over already. */
NODISCARD int api_key_db_rotate(struct api_key_db *db, const char *id, int64_t now,
                                int64_t overlap_s, struct api_key_new *out, struct err *err);

/* Calls fn for each row, oldest first; stops at the first negative return. */
typedef int (*api_key_fn)(void *ctx, const struct api_key_row *row);
NODISCARD int api_key_db_each(struct api_key_db *db, api_key_fn fn, void *ctx, struct err *err);
typedef int (*api_key_usage_fn)(void *ctx, const struct api_key_usage *usage);
NODISCARD int api_key_db_usage(struct api_key_db *db, int64_t from_hour, api_key_usage_fn fn,
                               void *ctx, struct err *err);
/* Adds n rows to what is there, all or none. */
NODISCARD int api_key_db_count(struct api_key_db *db, const struct api_key_usage *usage, size_t n,
                               struct err *err);
/* A number that changes when another handle wrote. */
NODISCARD int api_key_db_version(struct api_key_db *db, int64_t *out, struct err *err);

#endif
