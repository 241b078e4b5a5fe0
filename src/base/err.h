/* base/err.h - the three roads of failure.
 *
 * Idea: our own bugs crash at once (ASSERT, CHECK). What the world does to us (memory, disk, a full
 * queue) is an int: 0, or a negative E_*. What somebody's input does to us is the same code plus a
 * struct err that holds one line for a person: which field, what is wrong, how to mend it.
 *
 *     input --> parser --E_FORMAT + err--> caller --TRY--> api (HTTP status) or cmd (exit status)
 *
 * Ownership: struct err is caller's storage, no pointers inside. Threads: each thread its own.
 * Cost: setting an error formats at most ERR_TEXT_MAX bytes; nothing is allocated. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "base/attr.h"

/* The one table of codes: name, value, what it means to a person. */
#define ERR_TABLE(X)                                                                             \
    X(E_NOMEM, -1, "out of memory")                                                              \
    X(E_IO, -2, "input or output failed")                                                        \
    X(E_NOT_FOUND, -3, "not found")                                                              \
    X(E_FORMAT, -4, "malformed input")                                                           \
    X(E_RANGE, -5, "value out of range")                                                         \
    X(E_FULL, -6, "full")                                                                        \
    X(E_UNSUPPORTED, -7, "not supported")                                                        \
    X(E_LIMIT, -8, "limit exceeded")                                                             \
    X(E_USAGE, -9, "wrong usage")                                                                \
    X(E_CANCELLED, -10, "cancelled")                                                             \
    X(E_BUSY, -11, "busy")                                                                       \
    X(E_CLOSED, -12, "closed")                                                                   \
    X(E_TIMEOUT, -13, "timed out")                                                               \
    X(E_DENIED, -14, "denied")                                                                   \
    X(E_NONFINITE, -15, "numbers that are not finite")

enum err_code {
#define ERR_ENUM(name, value, text) name = (value),
    ERR_TABLE(ERR_ENUM)
#undef ERR_ENUM
};

#define ERR_TEXT_MAX 512

/* One failure, told to a person. `field` names what is at fault (a metadata key, a JSON path, an
 * option) and may be empty. */
struct err {
    int code;                /* 0 or E_* */
    char field[128];
    char text[ERR_TEXT_MAX]; /* one line, no newline */
};

const char *err_name(int code);        /* "E_FORMAT"; lives for ever */
const char *err_code_text(int code);   /* "malformed input"; lives for ever */

/* Records a failure and returns `code`, so that `return err_set(...)` reads well. err may be NULL.
 * Control characters in the text are replaced by '?': messages may quote hostile input. */
int err_set(struct err *err, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
int err_set_field(struct err *err, int code, const char *field, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

#define TRY(expr)                                                                                \
    do {                                                                                         \
        int try_rc_ = (expr);                                                                    \
        if (try_rc_ < 0)                                                                         \
            return try_rc_;                                                                      \
    } while (0)

NORETURN void err_crash(const char *file, int line, const char *expr);

/* CHECK stays on in every build; ASSERT too unless NARU_NO_ASSERT is defined (R33). */
#define CHECK(cond)                                                                              \
    do {                                                                                         \
        if (UNLIKELY(!(cond)))                                                                   \
            err_crash(__FILE__, __LINE__, #cond);                                                \
    } while (0)
#ifdef NARU_NO_ASSERT
#define ASSERT(cond) ((void)sizeof(cond))
#else
#define ASSERT(cond) CHECK(cond)
#endif

#endif
