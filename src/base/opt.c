#include "base/opt.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

#define HELP_COLUMN 30
#define HELP_WIDTH 96

/* Levenshtein distance of two short names, to suggest what was meant. */
static size_t distance(const char *a, const char *b)
{
    size_t row[64];
    size_t n = strlen(b);
    if (n >= COUNT_OF(row))
        return SIZE_MAX;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 0; a[i] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < n; j++) {
            size_t change = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = num_min(change, num_min(row[j], row[j + 1]) + 1);
        }
    }
    return row[n];
}

static int unknown(const struct opt_table *table, const char *name, struct err *err)
{
    const char *close_name = NULL;
    size_t best = 3; /* farther than two letters is no suggestion */
    for (size_t i = 0; i < table->n; i++) {
        size_t d = distance(name, table->opts[i].name);
        if (d < best) {
            best = d;
            close_name = table->opts[i].name;
        }
    }
    if (close_name != NULL)
        return err_set_field(err, E_USAGE, name, "unknown option --%s; did you mean --%s?", name,
                             close_name);
    return err_set_field(err, E_USAGE, name, "unknown option --%s; --help lists the options", name);
}

static int bad_value(const struct opt *o, const char *value, const char *want, struct err *err)
{
    return err_set_field(err, E_USAGE, o->name, "--%s %s: must be %s", o->name, value, want);
}

static int out_of_range(const struct opt *o, const char *value, struct err *err)
{
    return err_set_field(err, E_USAGE, o->name, "--%s %s: must be between %.10g and %.10g",
                         o->name, value, o->min, o->max);
}

static bool in_range(const struct opt *o, double x)
{
    return (o->min == 0 && o->max == 0) || (x >= o->min && x <= o->max);
}

/* A whole number, with a K/M/G suffix if `bytes`. */
static bool read_whole(const char *s, bool bytes, uint64_t *out)
{
    if (*s < '0' || *s > '9')
        return false;
    char *end;
    errno = 0;
    unsigned long long x = strtoull(s, &end, 10);
    if (errno != 0)
        return false;
    const char *suffixes = "KMG";
    const char *at = bytes && *end != '\0' ? strchr(suffixes, *end & ~0x20) : NULL;
    if (at != NULL) {
        int shift = 10 * (int)(at - suffixes + 1);
        if (x > UINT64_MAX >> shift)
            return false;
        x <<= shift;
        end++;
        end += *end == 'i' && end[1] == 'B' ? 2 : *end == 'B';
    }
    *out = x;
    return *end == '\0';
}

static int store_whole(const struct opt *o, const char *value, void *field, struct err *err)
{
    uint64_t x;
    if (!read_whole(value, o->kind == OPT_BYTES, &x))
        return bad_value(
            o, value, o->kind == OPT_BYTES ? "a size such as 512M or 4G" : "a whole number", err);
    if (!in_range(o, (double)x))
        return out_of_range(o, value, err);
    if (o->kind != OPT_U32) {
        *(uint64_t *)field = x;
        return 0;
    }
    if (x > UINT32_MAX)
        return bad_value(o, value, "below 4294967296", err);
    *(uint32_t *)field = (uint32_t)x;
    return 0;
}

static int store_number(const struct opt *o, const char *value, void *field, struct err *err)
{
    char *end;
    double x = strtod(value, &end);
    if (end == value || *end != '\0' || !isfinite(x))
        return bad_value(o, value, "a number", err);
    if (!in_range(o, x))
        return out_of_range(o, value, err);
    *(double *)field = x;
    return 0;
}

static int store(const struct opt *o, const char *value, void *target, struct err *err)
{
    void *field = (char *)target + o->offset;
    switch (o->kind) {
    case OPT_TEXT: *(const char **)field = value; return 0;
    case OPT_U32:
    case OPT_U64:
    case OPT_BYTES: return store_whole(o, value, field, err);
    case OPT_NUMBER: return store_number(o, value, field, err);
    case OPT_LIST: {
        struct opt_list *list = field;
        if (list->n == OPT_LIST_MAX)
            return err_set_field(err, E_USAGE, o->name, "--%s: given more than %d times", o->name,
                                 OPT_LIST_MAX);
        list->items[list->n++] = value;
        return 0;
    }
    case OPT_FLAG: break;
    }
    *(bool *)field = true;
    return 0;
}

static const struct opt *find(const struct opt_table *table, const char *name, size_t len,
                              char letter)
{
    for (size_t i = 0; i < table->n; i++) {
        const struct opt *o = &table->opts[i];
        if (letter != '\0' ? o->letter == letter
                           : strlen(o->name) == len && memcmp(o->name, name, len) == 0)
            return o;
    }
    return NULL;
}

/* One option at argv[*at]; moves *at behind it and its value. */
static int parse_one(const struct opt_table *table, char **argv, int *at, void *target,
                     struct err *err)
{
    const char *arg = argv[*at];
    bool is_long = arg[1] == '-';
    const char *name = is_long ? arg + 2 : arg + 1;
    size_t len = is_long ? strcspn(name, "=") : 1;
    const struct opt *o = find(table, name, len, is_long ? '\0' : *name);
    if (o == NULL) {
        char copy[64] = { 0 };
        memcpy(copy, name, num_min(is_long ? len : strlen(name), sizeof copy - 1));
        return is_long ? unknown(table, copy, err)
                       : err_set_field(err, E_USAGE, copy,
                                       "unknown option -%s; --help lists the options", copy);
    }
    const char *value = name[len] == '\0' ? NULL : name + len + is_long;
    ++*at;
    if (o->kind == OPT_FLAG && value != NULL)
        return err_set_field(err, E_USAGE, o->name, "--%s takes no value", o->name);
    if (o->kind != OPT_FLAG && value == NULL) {
        value = argv[*at];
        if (value == NULL)
            return err_set_field(err, E_USAGE, o->name, "--%s needs a value: --%s %s", o->name,
                                 o->name, o->arg);
        ++*at;
    }
    return store(o, value, target, err);
}

int opt_parse(const struct opt_table *table, int argc, char **argv, void *target,
              struct opt_list *words, struct err *err)
{
    bool only_words = false;
    for (int i = 0; i < argc;) {
        const char *arg = argv[i];
        bool word = only_words || arg[0] != '-' || arg[1] == '\0';
        if (!word && strcmp(arg, "--") == 0) {
            only_words = true;
            i++;
        } else if (!word) {
            TRY(parse_one(table, argv, &i, target, err));
        } else if (words->n == OPT_LIST_MAX) {
            return err_set(err, E_USAGE, "more than %d arguments", OPT_LIST_MAX);
        } else {
            words->items[words->n++] = arg;
            i++;
        }
    }
    return 0;
}

int opt_set(const struct opt_table *table, const char *name, const char *value, void *target,
            struct err *err)
{
    const struct opt *o = find(table, name, strlen(name), '\0');
    if (o == NULL)
        return unknown(table, name, err);
    if (o->kind != OPT_FLAG)
        return store(o, value, target, err);
    bool on = strcmp(value, "true") == 0 || strcmp(value, "1") == 0;
    if (!on && strcmp(value, "false") != 0 && strcmp(value, "0") != 0)
        return bad_value(o, value, "true or false", err);
    *(bool *)((char *)target + o->offset) = on;
    return 0;
}

static void pad_to(struct buf *out, size_t line_start, size_t column)
{
    while (out->len - line_start < column)
        buf_putc(out, ' ');
}

static void wrap(struct buf *out, size_t line_start, const char *text)
{
    while (*text != '\0') {
        size_t word = strcspn(text, " ");
        size_t column = out->len - line_start;
        if (column > HELP_COLUMN && column + 1 + word > HELP_WIDTH) {
            buf_putc(out, '\n');
            line_start = out->len;
            pad_to(out, line_start, HELP_COLUMN);
        } else if (column > HELP_COLUMN) {
            buf_putc(out, ' ');
        }
        buf_put(out, text, word);
        text += word;
        text += strspn(text, " ");
    }
    buf_putc(out, '\n');
}

void opt_help(const struct opt_table *table, struct buf *out)
{
    for (size_t i = 0; i < table->n; i++) {
        const struct opt *o = &table->opts[i];
        size_t line_start = out->len;
        if (o->letter != '\0')
            buf_printf(out, "  -%c, --%s", o->letter, o->name);
        else
            buf_printf(out, "      --%s", o->name);
        if (o->arg != NULL)
            buf_printf(out, " %s", o->arg);
        if (out->len - line_start >= HELP_COLUMN) {
            buf_putc(out, '\n');
            line_start = out->len;
        }
        pad_to(out, line_start, HELP_COLUMN);
        wrap(out, line_start, o->help);
    }
}
