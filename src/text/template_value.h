/* text/template_value.h - the values a template computes with, and the bounds it computes in.
 *
 * Idea: Jinja's values are Python's: None, booleans, integers, floats, strings, lists, tuples,
 * dicts. Templates run in the way of an immutable sandbox, so no value but a namespace ever
 * changes; that makes sharing free: a slice of a string or a tail of a list points into its
 * parent.
 *
 *     struct tpl_val  [ kind | number or pointer ]  16 bytes, copied freely
 *     struct tpl_str  [ data -> bytes ][ origin -> one byte a byte, or NULL: all are `uniform` ]
 *
 * Origin: 0 for bytes of the template's own text, 1 for a stranger's (text/template.h). A string
 * that is all of one kind carries no array; only mixed ones do.
 * Invariants: string data is valid UTF-8 (sources and JSON are checked at the door; every
 * operation cuts
 *     between characters); keys of a dict are pairwise unequal and hashable.
 * Ownership: everything lives in the arena of one render (constants: of the compiled template).
 * Threads: one. Cost: every operation burns fuel in proportion to the bytes or items it touches. */
#ifndef TEXT_TEMPLATE_VALUE_H
#define TEXT_TEMPLATE_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "text/template.h"

enum tpl_kind {
    TPL_MISSING, /* an argument that was not given; never seen by a template */
    TPL_UNDEF,
    TPL_NONE,
    TPL_BOOL,
    TPL_INT,
    TPL_FLOAT,
    TPL_STR,
    TPL_LIST,
    TPL_TUPLE,
    TPL_RANGE,
    TPL_VIEW,   /* dict.keys(), .values(), .items() */
    TPL_ITER,   /* what lazy filters give: can be walked once, has no length */
    TPL_DICT,
    TPL_NS,     /* namespace() */
    TPL_FUNC,   /* a global function */
    TPL_METHOD, /* a method bound to its value */
    TPL_MACRO,
    TPL_LOOP,
    TPL_CYCLER,
    TPL_JOINER,
};

struct tpl_val;
struct tpl_fn;
struct tpl_macro;
struct tpl_loop;

struct tpl_str {
    const char *data;
    const uint8_t *origin; /* (len) or NULL */
    uint32_t len;
    uint32_t n_chars; /* UINT32_MAX: not counted yet */
    uint8_t uniform;  /* the origin of all bytes where there is no array */
    bool safe;        /* went through `safe` or `escape`: "+" escapes what is joined to it */
};

struct tpl_seq {
    struct tpl_val *items;
    uint32_t n;
    uint32_t pos;          /* TPL_ITER: items walked already */
    int64_t lo, hi, step;  /* TPL_RANGE */
    const char *view;      /* TPL_VIEW: "dict_keys", ...; groupby's pairs: "group" */
};

struct tpl_method;
struct tpl_cycler;

struct tpl_val {
    enum tpl_kind kind;
    union {
        bool b;
        int64_t i;
        double f;
        struct tpl_str *s;
        struct tpl_seq *seq;
        struct tpl_dict *d; /* TPL_DICT, TPL_NS */
        const struct tpl_fn *fn;
        const struct tpl_method *method;
        struct tpl_macro *macro;
        struct tpl_loop *loop;
        struct tpl_cycler *cycler; /* TPL_CYCLER, TPL_JOINER */
        const char *why;           /* TPL_UNDEF: what a person should read, or NULL */
    };
};

struct tpl_entry {
    struct tpl_val key, val;
    uint32_t hash;
};

struct tpl_dict {
    struct tpl_entry *e;
    uint32_t n, cap;
};

struct tpl_cycler {
    struct tpl_val *items; /* TPL_JOINER: one, the separator */
    uint32_t n, pos;
};

/* One render (or one compilation, which needs only the arena and the error). */
struct tpl {
    struct arena arena;
    struct text_template_limits limits;
    struct err *err;
    uint64_t fuel;       /* steps left */
    uint32_t level;      /* C recursion, counted */
    uint32_t level_max;
    uint32_t line;       /* of the node being evaluated */
    size_t wanted;       /* bytes of the last allocation: tells why one failed */
    int64_t now;
    struct buf out, origin;
    const struct text_template *t;
    const struct tpl_val *vars; /* (n_names) by name; TPL_MISSING where not given */
};

/* Named arguments and positional ones, as a call passes them. */
struct tpl_kw {
    const struct tpl_str *name;
    struct tpl_val val;
};
struct tpl_args {
    struct tpl_val *pos;
    struct tpl_kw *kw;
    uint32_t n_pos, n_kw;
};

/* A built-in: filter, test, method or global. v[0] is the value piped in (the receiver, or
 * nothing for globals); v[1..] the parameters named in `params` ("width first"; "/" for
 * positional only), missing ones TPL_MISSING. params NULL: takes whatever comes, from raw. */
typedef int (*tpl_builtin)(struct tpl *r, struct tpl_val *v, const struct tpl_args *raw,
                           struct tpl_val *out);
struct tpl_fn {
    const char *name;
    tpl_builtin call;
    const char *params;
    uint32_t n_required;
};
#define TPL_PARAMS_MAX 8

struct tpl_method {
    const struct tpl_fn *fn; /* NULL: an attribute Python has and we refuse to call */
    const char *name;
    struct tpl_val self;
};

/* --- bounds and errors ------------------------------------------------------------------------ */
/* E_FORMAT with the line; returns the code. */
int tpl_fail(struct tpl *r, const char *fmt, ...) PRINTF_LIKE(2, 3);
int tpl_limit(struct tpl *r, const char *what);
int tpl_say_nomem(struct tpl *r);
/* E_LIMIT if the arena's budget is spent, else E_NOMEM; inline, so that the compiler sees it
 * fail. */
static inline int tpl_nomem(struct tpl *r)
{
    int rc = tpl_say_nomem(r);
    return rc < 0 ? rc : E_NOMEM;
}
NODISCARD int tpl_burn(struct tpl *r, uint64_t steps);
NODISCARD int tpl_enter(struct tpl *r); /* one level deeper; on success pair with tpl_leave */
static inline void tpl_leave(struct tpl *r) { r->level--; }
void *tpl_alloc(struct tpl *r, size_t n, size_t size); /* zeroed; NULL: return tpl_nomem(r) */
void *tpl_bytes(struct tpl *r, size_t bytes);          /* not zeroed */

/* --- making values ---------------------------------------------------------------------------- */
static inline struct tpl_val tpl_none(void) { return (struct tpl_val){ .kind = TPL_NONE }; }
static inline struct tpl_val tpl_missing(void) { return (struct tpl_val){ .kind = TPL_MISSING }; }
static inline struct tpl_val tpl_bool(bool b)
{
    return (struct tpl_val){ .kind = TPL_BOOL, .b = b };
}
static inline struct tpl_val tpl_int(int64_t i)
{
    return (struct tpl_val){ .kind = TPL_INT, .i = i };
}
static inline struct tpl_val tpl_float(double f)
{
    return (struct tpl_val){ .kind = TPL_FLOAT, .f = f };
}
static inline struct tpl_val tpl_undef(const char *why)
{
    return (struct tpl_val){ .kind = TPL_UNDEF, .why = why };
}
/* An undefined value that says "'message' + fmt"; the text is kept in the arena. */
struct tpl_val tpl_undef_f(struct tpl *r, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* A string that borrows data (arena or constant). */
NODISCARD int tpl_str_new(struct tpl *r, const char *data, size_t len, uint8_t origin,
                          struct tpl_val *out);
NODISCARD int tpl_str_lit(struct tpl *r, const char *text, struct tpl_val *out);
/* Bytes from..to of s, shared. */
NODISCARD int tpl_str_cut(struct tpl *r, const struct tpl_str *s, size_t from, size_t to,
                          struct tpl_val *out);
/* A sequence of n items (MISSING until filled in). */
NODISCARD int tpl_seq_new(struct tpl *r, enum tpl_kind kind, size_t n, struct tpl_val *out);
NODISCARD int tpl_seq_wrap(struct tpl *r, enum tpl_kind kind, struct tpl_val *items, size_t n,
                           struct tpl_val *out);
NODISCARD int tpl_dict_new(struct tpl *r, enum tpl_kind kind, struct tpl_val *out);
NODISCARD int tpl_dict_put(struct tpl *r, struct tpl_dict *d, struct tpl_val key,
                           struct tpl_val val);
/* The same for a key known to be new: no search. */
NODISCARD int tpl_dict_add(struct tpl *r, struct tpl_dict *d, struct tpl_val key,
                           struct tpl_val val);
/* *found NULL if absent; fails for an unhashable key. */
NODISCARD int tpl_dict_find(struct tpl *r, const struct tpl_dict *d, struct tpl_val key,
                            struct tpl_val **found);
struct tpl_val *tpl_dict_get(const struct tpl_dict *d, const char *key, size_t len);

/* A list that grows (filters that do not know how many come). */
struct tpl_grow {
    struct tpl_val *items;
    uint32_t n, cap;
};
NODISCARD int tpl_grow_put(struct tpl *r, struct tpl_grow *g, struct tpl_val v);

/* --- asking values ---------------------------------------------------------------------------- */
const char *tpl_type_name(struct tpl_val v); /* Python's: "str", "NoneType", ... */
/* Python's truth. */
bool tpl_truth(struct tpl_val v);
NODISCARD int tpl_eq(struct tpl *r, struct tpl_val a, struct tpl_val b, bool *out);
/* a < b for numbers, strings, lists and tuples; TypeError otherwise. */
NODISCARD int tpl_less(struct tpl *r, struct tpl_val a, struct tpl_val b, bool *out);
/* item in container */
NODISCARD int tpl_contains(struct tpl *r, struct tpl_val container, struct tpl_val item, bool *out);
/* Python's len(); fails for what has none. */
NODISCARD int tpl_len(struct tpl *r, struct tpl_val v, int64_t *out);
bool tpl_is_number(struct tpl_val v);             /* bool, int, float */
static inline bool tpl_is_int(struct tpl_val v) { return v.kind == TPL_INT || v.kind == TPL_BOOL; }
static inline int64_t tpl_as_int(struct tpl_val v) { return v.kind == TPL_BOOL ? v.b : v.i; }
double tpl_as_float(struct tpl_val v);
bool tpl_is_seq(struct tpl_val v);                /* anything with a seq */
/* Fails with what is undefined about v; 0 if v is defined. */
NODISCARD int tpl_need_defined(struct tpl *r, struct tpl_val v);
/* An integer argument: fails by name; MISSING gives `otherwise`. */
NODISCARD int tpl_want_int(struct tpl *r, struct tpl_val v, const char *what, int64_t otherwise,
                           int64_t *out);
NODISCARD int tpl_want_str(struct tpl *r, struct tpl_val v, const char *what, struct tpl_str **out);

/* All items of anything iterable, in order; what comes from a list is shared, not copied. A
 * TPL_ITER is emptied by it. */
NODISCARD int tpl_items(struct tpl *r, struct tpl_val v, struct tpl_val **items, uint32_t *n);
bool tpl_iterable(struct tpl_val v);

/* --- characters ------------------------------------------------------------------------------- */
uint32_t tpl_str_chars(struct tpl_str *s);
/* Byte position of the character i (0..n_chars). */
size_t tpl_str_at(struct tpl_str *s, uint32_t i);
bool tpl_str_is(const struct tpl_str *s, const char *text);
int tpl_str_cmp(const struct tpl_str *a, const struct tpl_str *b);
bool tpl_is_space(uint32_t cp); /* Python's str.isspace */
static inline uint8_t tpl_origin_at(const struct tpl_str *s, size_t i)
{
    return s->origin != NULL ? s->origin[i] : s->uniform;
}

/* --- building strings: the first failure sticks and tpl_sb_done tells ------------------------- */
struct tpl_sb {
    struct tpl *r;
    char *data;
    uint8_t *origin; /* NULL while all bytes are of one origin */
    size_t len, cap;
    uint8_t uniform;
    int status;
};
void tpl_sb_init(struct tpl_sb *b, struct tpl *r);
void tpl_sb_put(struct tpl_sb *b, const char *data, size_t len, uint8_t origin);
void tpl_sb_cut(struct tpl_sb *b, const struct tpl_str *s, size_t from, size_t to);
void tpl_sb_str(struct tpl_sb *b, const struct tpl_str *s);
void tpl_sb_lit(struct tpl_sb *b, const char *text); /* the interpreter's own words: origin 0 */
void tpl_sb_char(struct tpl_sb *b, uint32_t cp, uint8_t origin);
NODISCARD int tpl_sb_done(struct tpl_sb *b, struct tpl_val *out);

#endif
