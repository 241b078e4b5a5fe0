/* api/field.h - the members of a JSON request, read from a table into a struct.
 *
 * Idea: each route describes its request once: name, kind, range, where the value goes. Presence,
 * type and range errors, and the path in them, come from that table (R16).
 *
 *     { "temperature", API_NUMBER, offsetof(struct req, temperature), 0, 2, NULL }
 *
 * Rules: a member that is absent or null leaves the target as preset; a wrong type is
 * E_FORMAT, a wrong range E_RANGE, with err->field the path; members that no row names are ignored.
 * Ownership: texts in the target point into the JSON tree.   Threads: none.
 * Cost: one look-up a row. */
#ifndef API_FIELD_H
#define API_FIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"
#include "engine/engine.h"

/* Kind of value, and the type of the field it is stored in. */
enum api_kind {
    API_BOOL,    /* bool */
    API_U32,     /* uint32_t */
    API_I64,     /* int64_t */
    API_NUMBER,  /* double; finite */
    API_TEXT,    /* struct engine_str; min, max: bytes */
    API_VALUE,   /* const json_value *: any type */
    API_CUSTOM,  /* parse stores it */
    API_NO_EFFECT, /* known, of any type, and without effect */
    API_REFUSED  /* known and not possible: E_UNSUPPORTED unless false, 0, "" or empty; note: why */
};

struct api_field {
    const char *name;
    enum api_kind kind;
    size_t offset;
    double min, max; /* of numbers and lengths, inclusive; both 0: anything the type holds */
    int (*parse)(void *target, const json_value *v, const char *path, struct err *err);
    const char *note;
};

struct api_fields {
    const struct api_field *rows;
    size_t n;
};

/* Longest path that an error can name. */
#define API_PATH_MAX 120

/* Reads the members of `object` (JSON_OBJECT) into target. prefix: "" or "stream_options." */
NODISCARD int api_fields_read(const struct api_fields *fields, const json_value *object,
                              const char *prefix, void *target, struct err *err);
/* "PATH must be an integer from 1 to 8": E_FORMAT or E_RANGE with the path as err->field. */
int api_field_wrong(struct err *err, int code, const char *path, const char *must);

#endif
