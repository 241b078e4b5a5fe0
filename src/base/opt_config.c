/* Options from a file and from the environment. The names are those of the command line, so that a
 * person learns one list, and each error says where the value came from. */
#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/opt.h"

enum { NAME_MAX_LEN = 63 };

static bool listed(const char *const *names, const char *name)
{
    for (; names != NULL && *names != NULL; names++)
        if (strcmp(*names, name) == 0)
            return true;
    return false;
}

/* Cuts blanks off both ends, in place. */
static char *trim(char *s)
{
    s += strspn(s, " \t\r");
    size_t n = strlen(s);
    while (n > 0 && strchr(" \t\r", s[n - 1]) != NULL)
        s[--n] = '\0';
    return s;
}

static int config_line(const struct opt_table *table, char *line, const char *const *except,
                       void *target, struct err *err)
{
    char *name = trim(line), *equals = strchr(name, '=');
    if (*name == '\0' || *name == '#')
        return 0;
    if (equals == NULL)
        return err_set(err, E_USAGE, "expected \"name = value\": %.40s", name);
    *equals = '\0';
    name = trim(name);
    if (listed(except, name) || strlen(name) > NAME_MAX_LEN)
        return err_set_field(err, E_USAGE, name, "%.63s cannot be set in a file", name);
    return opt_set(table, name, trim(equals + 1), target, err);
}

int opt_parse_config(const struct opt_table *table, char *text, const char *const *except,
                     void *target, struct err *err)
{
    uint32_t n = 0;
    for (char *at = text, *next; at != NULL; at = next) {
        struct err inner = { 0 };
        next = strchr(at, '\n');
        if (next != NULL)
            *next++ = '\0';
        n++;
        int rc = config_line(table, at, except, target, &inner);
        if (rc < 0)
            return err_set_field(err, rc, inner.field, "line %u: %s", n, inner.text);
    }
    return 0;
}

int opt_parse_env(const struct opt_table *table, const char *prefix, const char *const *except,
                  void *target, struct err *err)
{
    for (size_t i = 0; i < table->n; i++) {
        const struct opt *o = &table->opts[i];
        char name[2 * NAME_MAX_LEN + 2];
        if (listed(except, o->name))
            continue;
        ASSERT(strlen(prefix) + strlen(o->name) < sizeof name);
        size_t len = strlen(prefix);
        memcpy(name, prefix, len);
        for (const char *s = o->name; *s != '\0'; s++)
            name[len++] = *s == '-' ? '_' : (char)toupper((unsigned char)*s);
        name[len] = '\0';
        const char *value = getenv(name);
        struct err inner = { 0 };
        int rc = value != NULL ? opt_set(table, o->name, value, target, &inner) : 0;
        if (rc < 0)
            return err_set_field(err, rc, inner.field, "environment %s: %s", name, inner.text);
    }
    return 0;
}

void opt_show(const struct opt *o, const void *target, struct buf *out)
{
    const void *field = (const char *)target + o->offset;
    switch (o->kind) {
    case OPT_FLAG: buf_printf(out, "%s", *(const bool *)field ? "true" : "false"); break;
    case OPT_TEXT:
        if (*(const char *const *)field != NULL)
            buf_printf(out, "%s", *(const char *const *)field);
        break;
    case OPT_U32: buf_printf(out, "%u", *(const uint32_t *)field); break;
    case OPT_U64:
    case OPT_BYTES:
        buf_printf(out, "%llu", (unsigned long long)*(const uint64_t *)field);
        break;
    case OPT_NUMBER: buf_printf(out, "%.10g", *(const double *)field); break;
    case OPT_LIST: break;
    }
}
