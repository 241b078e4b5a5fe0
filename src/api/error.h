/* api/error.h - what a client is told when something fails.
 *
 * Idea: every failure has one form: {"error":{"message","type","param","code"}}. The code of
 * the layer that failed decides the HTTP status; the field it named becomes `param`.
 *
 *     E_FORMAT E_RANGE E_USAGE E_UNSUPPORTED E_LIMIT    400    E_DENIED    403    E_NOT_FOUND  404
 *     E_BUSY                                            429
 *     E_FULL E_CLOSED E_NOMEM E_TIMEOUT                 503    anything else               500
 *
 * A 500 tells no detail (R25): the log has the line, found by its x-request-id.
 * Cost: linear in the text. */
#ifndef API_ERROR_H
#define API_ERROR_H

#include "base/buf.h"
#include "base/err.h"

struct api_error {
    int status;          /* of HTTP */
    const char *type;    /* "invalid_request_error" */
    const char *code;    /* "context_length_exceeded"; NULL: none */
    const char *param;   /* NULL: none */
    const char *message; /* one line for a person */
};

/* From a failure of a lower layer. Texts point into err, which must outlive it. */
struct api_error api_error_of(const struct err *err);
/* Of a plain HTTP status (404, 405, 408, 413, 415, 431, 503 ...). */
struct api_error api_error_status(int status, const char *code, const char *message);
/* Appends the JSON object. */
void api_error_write(struct buf *out, const struct api_error *e);
/* The same as the Messages dialect says it: {"type":"error","error":{"type","message"},
 * "request_id"}; what is wrong with which field is in the message. request_id NULL: none. */
void api_error_write_messages(struct buf *out, const struct api_error *e, const char *request_id);
/* Its status there: 529 where others say 503. */
int api_error_status_messages(const struct api_error *e);

#endif
