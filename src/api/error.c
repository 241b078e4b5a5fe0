#include "api/error.h"

#include <stddef.h>
#include <string.h>

#include "base/json.h"

static const char INVALID[] = "invalid_request_error";
static const char SERVER[] = "server_error";

static const struct {
    int code, status;
    const char *type, *name;
} rows[] = {
    { E_FORMAT, 400, INVALID, "invalid_value" },
    { E_RANGE, 400, INVALID, "invalid_value" },
    { E_USAGE, 400, INVALID, "invalid_value" },
    { E_UNSUPPORTED, 400, INVALID, "unsupported" },
    { E_LIMIT, 400, INVALID, "limit_exceeded" },
    { E_DENIED, 403, "permission_error", "denied" },
    { E_BUSY, 429, "rate_limit_error", "rate_limit_exceeded" },
    { E_NOT_FOUND, 404, INVALID, "not_found" },
    { E_FULL, 503, SERVER, "overloaded" },
    { E_NOMEM, 503, SERVER, "overloaded" },
    { E_TIMEOUT, 503, SERVER, "timeout" },
    { E_CLOSED, 503, SERVER, "shutting_down" },
    { E_CANCELLED, 503, SERVER, "shutting_down" },
    { E_NONFINITE, 500, SERVER, "nonfinite" },
};

struct api_error api_error_of(const struct err *err)
{
    struct api_error e = { .status = 500,
                           .type = SERVER,
                           .code = "internal",
                           .param = err->field[0] != '\0' ? err->field : NULL };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (rows[i].code == err->code) {
            e.status = rows[i].status;
            e.type = rows[i].type;
            e.code = rows[i].name;
        }
    /* The engine says "prompt" when what was asked does not fit into the context. */
    if (err->code == E_LIMIT &&
        (strcmp(err->field, "prompt") == 0 || strcmp(err->field, "input") == 0))
        e.code = "context_length_exceeded";
    e.message = err->text[0] != '\0' ? err->text : err_code_text(err->code);
    if (e.status == 500) {
        e.message = "the server failed; its log tells more under this request's x-request-id";
        e.param = NULL;
    }
    return e;
}

struct api_error api_error_status(int status, const char *code, const char *message)
{
    return (struct api_error){ .status = status,
                               .type = status < 500 ? INVALID : SERVER,
                               .code = code,
                               .message = message };
}

static void write_optional(struct json_writer *w, const char *key, const char *text)
{
    json_key(w, key);
    if (text != NULL)
        json_write_str(w, text);
    else
        json_write_null(w);
}

void api_error_write(struct buf *out, const struct api_error *e)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_begin_object(&w);
    json_key(&w, "error");
    json_begin_object(&w);
    write_optional(&w, "message", e->message);
    write_optional(&w, "type", e->type);
    write_optional(&w, "param", e->param);
    write_optional(&w, "code", e->code);
    json_end_object(&w);
    json_end_object(&w);
}

int api_error_status_messages(const struct api_error *e)
{
    return e->status == 503 ? 529 : e->status;
}

static const char *messages_type(int status)
{
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 503: return "overloaded_error";
    default: return status < 500 ? "invalid_request_error" : "api_error";
    }
}

void api_error_write_messages(struct buf *out, const struct api_error *e, const char *request_id)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_begin_object(&w);
    write_optional(&w, "type", "error");
    json_key(&w, "error");
    json_begin_object(&w);
    write_optional(&w, "type", messages_type(e->status));
    write_optional(&w, "message", e->message);
    json_end_object(&w);
    write_optional(&w, "request_id", request_id);
    json_end_object(&w);
}
