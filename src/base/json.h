/* base/json.h - JSON in (json-c, strict) and JSON out (a streaming writer).
 *
 * Idea: input comes from strangers, so it is parsed strictly: one value, RFC 8259 grammar, UTF-8
 * checked, duplicate keys refused, depth, node and size capped (specs/operations.md L3, F-41).
 * Output is written straight into a buf: no tree is built for a token delta.
 *
 * Ownership: json_parse returns a tree; json_free releases it. Values got from a tree are borrowed
 * from it.   Threads: a tree belongs to one thread at a time.   Cost: linear. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct json_object; /* json-c's value; NULL is JSON null */
typedef struct json_object json_value;

enum json_kind {
    JSON_NULL, JSON_BOOL, JSON_INT, JSON_DOUBLE, JSON_STRING, JSON_ARRAY, JSON_OBJECT
};

struct json_limits {
    size_t bytes_max;
    uint32_t depth_max;
    uint32_t nodes_max;
    size_t string_max;
};
extern const struct json_limits JSON_LIMITS_REQUEST; /* L2, L3 */
extern const struct json_limits JSON_LIMITS_FILE;    /* config.json, tokenizer.json */

/* Parses exactly one value. E_FORMAT with the byte position, E_LIMIT, E_NOMEM. */
NODISCARD int json_parse(json_value **out, const char *text, size_t len,
                         const struct json_limits *limits, struct err *err);
void json_free(json_value *v);

enum json_kind json_kind_of(const json_value *v);
const char *json_kind_name(enum json_kind kind); /* "string" */
/* Member of an object, NULL if v is no object, has no such member, or the member is null. */
json_value *json_get(const json_value *v, const char *key);
bool json_has(const json_value *v, const char *key); /* true also for a member that is null */
size_t json_len(const json_value *v);                /* of an array or object, else 0 */
json_value *json_at(const json_value *v, size_t i);
/* Text of a string value; lives as long as v. NULL for other kinds. May hold NUL bytes. */
const char *json_text(const json_value *v, size_t *len);
bool json_as_bool(const json_value *v);
int64_t json_as_int(const json_value *v);   /* integers; doubles are truncated, saturating */
double json_as_double(const json_value *v); /* any number */

/* Calls fn for each member in the order of the text; stops at the first negative return. */
typedef int (*json_each_fn)(void *ctx, const char *key, json_value *member);
int json_each(const json_value *v, json_each_fn fn, void *ctx);

/* --- writer --- commas and colons come by themselves:
 *     json_begin_object(&w); json_key(&w, "n"); json_write_int(&w, 3); json_end_object(&w);   */
struct json_writer {
    struct buf *out;  /* borrowed */
    bool need_comma;
};
void json_writer_init(struct json_writer *w, struct buf *out);
void json_begin_object(struct json_writer *w);
void json_end_object(struct json_writer *w);
void json_begin_array(struct json_writer *w);
void json_end_array(struct json_writer *w);
void json_key(struct json_writer *w, const char *key);
void json_write_text(struct json_writer *w, const char *s, size_t len); /* bad UTF-8 -> U+FFFD */
void json_write_str(struct json_writer *w, const char *s);
void json_write_int(struct json_writer *w, int64_t x);
void json_write_uint(struct json_writer *w, uint64_t x);
/* The shortest form that reads back as the same double (float); not finite -> null. */
void json_write_double(struct json_writer *w, double x);
void json_write_float(struct json_writer *w, float x);
void json_write_bool(struct json_writer *w, bool x);
void json_write_null(struct json_writer *w);
/* A parsed value written back (member order kept). */
void json_write_value(struct json_writer *w, const json_value *v);

#endif
