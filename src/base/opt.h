/* base/opt.h - command-line options from one table.
 *
 * Idea: each verb of the program describes its options once: name, kind, where the value goes, what
 * it means, what is allowed. Parsing, range errors that name the flag, and --help come from that
 * table.
 *
 *     { "threads", 't', OPT_U32, offsetof(struct args, n_threads), "N", "threads ...", 1, 256 }
 *
 * Values: --name VALUE or --name=VALUE; -t VALUE or -tVALUE; "--" ends options; flags take no
 * value. Sizes (OPT_BYTES) take K, M, G (powers of 1024). Ownership: text values point into argv.
 * Threads: none.   Cost: linear in argv times table. */
#ifndef BASE_OPT_H
#define BASE_OPT_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* Kind of value, and the type of the field it is stored in. */
enum opt_kind {
    OPT_FLAG,   /* bool, set to true */
    OPT_TEXT,   /* const char * */
    OPT_U32,    /* uint32_t */
    OPT_U64,    /* uint64_t */
    OPT_NUMBER, /* double */
    OPT_BYTES,  /* uint64_t */
    OPT_LIST    /* struct opt_list: may be given several times */
};

#define OPT_LIST_MAX 32
struct opt_list {
    const char *items[OPT_LIST_MAX];
    uint32_t n;
};

struct opt {
    const char *name;  /* without the dashes */
    char letter;       /* short form or 0 */
    enum opt_kind kind;
    size_t offset;     /* of the field in the target */
    const char *arg;   /* what --help calls the value; NULL for flags */
    const char *help;  /* one sentence; the default in words, if any, at its end */
    double min, max;   /* of numbers; both 0: anything the type holds */
};

struct opt_table {
    const struct opt *opts;
    size_t n;
};

/* Reads argv[0..argc) into target. Words that are no options go to `words` (room for words_max).
 * E_USAGE with err naming the flag and the mend (a close name is suggested), E_LIMIT for too many
 * words. */
NODISCARD int opt_parse(const struct opt_table *table, int argc, char **argv, void *target,
                        struct opt_list *words, struct err *err);
/* One option by name, with its value as text; flags take true or false. E_USAGE. */
NODISCARD int opt_set(const struct opt_table *table, const char *name, const char *value,
                      void *target, struct err *err);
/* Lines "name = value"; '#' begins a comment line. Errors name the line; the names in `except`
 * (NULL-terminated) are refused. text is changed, and must live as long as target's text values. */
NODISCARD int opt_parse_config(const struct opt_table *table, char *text,
                               const char *const *except, void *target, struct err *err);
/* Environment variables: prefix, then the name in capitals with '_' for '-' (NARU_KV_BYTES). Those
 * of `except` are not looked at. */
NODISCARD int opt_parse_env(const struct opt_table *table, const char *prefix,
                            const char *const *except, void *target, struct err *err);
/* The value as opt_set would take it; nothing for a text that is NULL and for lists. */
void opt_show(const struct opt *o, const void *target, struct buf *out);
/* Aligned lines "  -t, --threads N   help ...", wrapped at 96 columns. */
void opt_help(const struct opt_table *table, struct buf *out);

#endif
