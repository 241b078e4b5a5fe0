/* Messages may quote bytes of hostile files, so control characters are replaced before anyone
 * prints them. A crash writes one line and aborts: the supervisor or the shell sees SIGABRT. */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *err_name(int code)
{
    switch (code) {
#define ERR_CASE(name, value, text) case name: return #name;
        ERR_TABLE(ERR_CASE)
#undef ERR_CASE
    default: return code == 0 ? "OK" : "E_UNKNOWN";
    }
}

const char *err_code_text(int code)
{
    switch (code) {
#define ERR_CASE(name, value, text) case name: return text;
        ERR_TABLE(ERR_CASE)
#undef ERR_CASE
    default: return code == 0 ? "ok" : "unknown error";
    }
}

static void make_printable(char *s)
{
    for (; *s != '\0'; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            *s = '?';
}

static void set_text(struct err *err, const char *fmt, va_list args)
{
    vsnprintf(err->text, sizeof err->text, fmt, args);
    make_printable(err->text);
}

int err_set(struct err *err, int code, const char *fmt, ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, fmt);
        err->code = code;
        err->field[0] = '\0';
        set_text(err, fmt, args);
        va_end(args);
    }
    return code;
}

int err_set_field(struct err *err, int code, const char *field, const char *fmt, ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, fmt);
        err->code = code;
        snprintf(err->field, sizeof err->field, "%s", field);
        make_printable(err->field);
        set_text(err, fmt, args);
        va_end(args);
    }
    return code;
}

NORETURN void err_crash(const char *file, int line, const char *expr)
{
    fprintf(stderr, "naru: %s:%d: must hold: %s\n", file, line, expr);
    fflush(stderr);
    abort();
}
