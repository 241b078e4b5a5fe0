/* A scanner rather than a JSON tree: a tree of the largest permitted header (65,536 tensors) takes
 * more than the 64 MiB that a refused file may cost (F-50), and the form has no freedom that would
 * need one. Members of a tensor may come in any order; others than the three are refused. */
#include "model/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/utf8.h"
#include "kernel/type.h"
#include "model/file_impl.h"

#define MEND "the file is damaged or was cut short: fetch it again"

/* A multiple of huge pages: giving back part of one does not free it. */
#define DROP_STRIDE ((size_t)4 << 20)

struct scan {
    const char *s;
    size_t n, at, dropped;
    const struct os_map *map;
    struct err *err;
};

struct entry {
    struct model_tensor t;
    uint64_t begin, end;
};

struct table {
    struct entry *e;
    uint32_t n, cap;
};

/* --- characters --- */

static int bad(struct scan *c, const char *what)
{
    return err_set_field(c->err, E_FORMAT, "header", "safetensors header: %s at byte %zu; " MEND,
                         what, c->at);
}

/* Gives pages back that were scanned, so that a large hostile header costs little memory. Memory
 * that is no mapping of a file would lose its contents. */
static void drop(struct scan *c)
{
    size_t to = (8 + c->at) / DROP_STRIDE * DROP_STRIDE;
    if (to <= c->dropped || c->map->fd < 0)
        return;
    os_map_advise(c->map, 0, to, OS_DONT_NEED); /* faults bring neighbours back: all so far */
    c->dropped = to;
}

static void skip_space(struct scan *c)
{
    for (; c->at < c->n && memchr(" \t\n\r", c->s[c->at], 4) != NULL; c->at++)
        drop(c);
}

/* True and past it if the next thing is ch. */
static bool next_is(struct scan *c, char ch)
{
    skip_space(c);
    if (c->at >= c->n || c->s[c->at] != ch)
        return false;
    c->at++;
    return true;
}

static int want(struct scan *c, char ch, const char *what)
{
    return next_is(c, ch) ? 0 : bad(c, what);
}

/* After an item of a list: 1 another follows, 0 `close` ended it. */
static int more(struct scan *c, char close)
{
    if (next_is(c, ','))
        return 1;
    return next_is(c, close) ? 0 : bad(c, "a comma or the end of a list is missing");
}

static int skip_escape(struct scan *c)
{
    if (c->at >= c->n || c->s[c->at] == '\0' || strchr("\"\\/bfnrtu", c->s[c->at]) == NULL)
        return bad(c, "unknown escape");
    bool hex = c->s[c->at++] == 'u';
    for (int i = 0; hex && i < 4; i++, c->at++)
        if (c->at >= c->n || c->s[c->at] == '\0' ||
            strchr("0123456789abcdefABCDEF", c->s[c->at]) == NULL)
            return bad(c, "\\u needs four hexadecimal digits");
    return 0;
}

/* A string as it stands in the text, without its quotes. *escaped (may be NULL): it has escapes. */
static int take_text(struct scan *c, struct text_str *out, bool *escaped)
{
    TRY(want(c, '"', "a string is missing"));
    size_t from = c->at;
    while (c->at < c->n && c->s[c->at] != '"') {
        uint32_t cp;
        size_t len = utf8_next(c->s + c->at, c->n - c->at, &cp);
        if (cp == UTF8_INVALID || cp < 0x20)
            return bad(c, "invalid UTF-8 or a control character");
        c->at += len;
        if (cp == '\\') {
            TRY(skip_escape(c));
            if (escaped != NULL)
                *escaped = true;
        }
        if (c->at - from > MODEL_STRING_MAX)
            return bad(c, "a string of more than 16 MiB");
    }
    drop(c);
    *out = (struct text_str){ c->s + from, c->at - from };
    return want(c, '"', "a string does not end");
}

static int take_name(struct scan *c, struct text_str *out)
{
    bool escaped = false;
    TRY(take_text(c, out, &escaped));
    if (escaped)
        return bad(c, "a name with a backslash, which is not read,");
    if (out->len == 0 || out->len > MODEL_NAME_MAX)
        return bad(c, "a name that is empty or longer than 1024 bytes");
    return 0;
}

static int take_uint(struct scan *c, uint64_t *out)
{
    skip_space(c);
    size_t from = c->at, x = 0;
    for (; c->at < c->n && c->s[c->at] >= '0' && c->s[c->at] <= '9'; c->at++) {
        size_t scaled;
        if (num_mul(&scaled, x, 10) < 0 || num_add(&x, scaled, (size_t)(c->s[c->at] - '0')) < 0)
            return bad(c, "a number is too large");
    }
    if (c->at == from || (c->s[from] == '0' && c->at - from > 1))
        return bad(c, "a whole number is missing");
    *out = x;
    return 0;
}

/* --- one tensor --- */

static const struct dtype {
    const char *name;
    uint32_t bytes;
    uint32_t type; /* KERNEL_TYPE_COUNT: known by name, not read */
} DTYPES[] = {
    { "F32", 4, KERNEL_F32 },
    { "F16", 2, KERNEL_F16 },
    { "BF16", 2, KERNEL_BF16 },
    { "F64", 8, KERNEL_F64 },
    { "I8", 1, KERNEL_I8 },
    { "I16", 2, KERNEL_I16 },
    { "I32", 4, KERNEL_I32 },
    { "I64", 8, KERNEL_I64 },
    { "F8_E4M3", 1, KERNEL_TYPE_COUNT },
    { "F8_E5M2", 1, KERNEL_TYPE_COUNT },
    { "F8_E8M0", 1, KERNEL_TYPE_COUNT },
    { "F4", 1, KERNEL_TYPE_COUNT },
    { "BOOL", 1, KERNEL_TYPE_COUNT },
    { "U8", 1, KERNEL_TYPE_COUNT },
    { "U16", 2, KERNEL_TYPE_COUNT },
    { "U32", 4, KERNEL_TYPE_COUNT },
    { "U64", 8, KERNEL_TYPE_COUNT },
};

static int set_dtype(struct scan *c, struct text_str name, struct entry *e)
{
    int shown = (int)num_min(name.len, 20), of = (int)num_min(e->t.name.len, 80);
    for (size_t i = 0; i < COUNT_OF(DTYPES); i++) {
        const struct dtype *d = &DTYPES[i];
        if (name.len != strlen(d->name) || memcmp(name.data, d->name, name.len) != 0)
            continue;
        if (d->type == KERNEL_TYPE_COUNT)
            return err_set_field(c->err, E_UNSUPPORTED, "dtype",
                                 "tensor %.*s: numbers of type %s are not read; "
                                 "save the model as BF16, F16 or F32",
                                 of, e->t.name.data, d->name);
        e->t.type = d->type;
        return 0;
    }
    return err_set_field(c->err, E_FORMAT, "dtype",
                         "tensor %.*s: dtype \"%.*s\" does not exist; " MEND, of, e->t.name.data,
                         shown, name.data);
}

/* shape is slowest first; ne is fastest first. */
static int take_shape(struct scan *c, struct entry *e)
{
    uint64_t shape[MODEL_DIMS_MAX];
    uint32_t n = 0;
    TRY(want(c, '[', "a shape is missing"));
    int rc = next_is(c, ']') ? 0 : 1;
    while (rc == 1) {
        if (n == MODEL_DIMS_MAX)
            return bad(c, "a shape of more than 4 dimensions, which is not read,");
        TRY(take_uint(c, &shape[n++]));
        rc = more(c, ']');
    }
    for (uint32_t d = 0; d < MODEL_DIMS_MAX; d++)
        e->t.ne[d] = d < n ? shape[n - 1 - d] : 1;
    e->t.n_dims = n == 0 ? 1 : n;
    return rc;
}

static int take_offsets(struct scan *c, struct entry *e)
{
    TRY(want(c, '[', "data_offsets are missing"));
    TRY(take_uint(c, &e->begin));
    TRY(want(c, ',', "data_offsets need two numbers"));
    TRY(take_uint(c, &e->end));
    return want(c, ']', "data_offsets need two numbers");
}

static int take_member(struct scan *c, struct entry *e, unsigned *seen)
{
    static const char *const NAMES[] = { "dtype", "shape", "data_offsets" };
    struct text_str key, dtype;
    unsigned which = 0;
    TRY(take_name(c, &key));
    while (which < COUNT_OF(NAMES) &&
           (key.len != strlen(NAMES[which]) || memcmp(key.data, NAMES[which], key.len) != 0))
        which++;
    if (which == COUNT_OF(NAMES) || (*seen & 1u << which))
        return bad(c, "a tensor's member is unknown or doubled");
    *seen |= 1u << which;
    TRY(want(c, ':', "a colon is missing"));
    switch (which) {
    case 0: TRY(take_text(c, &dtype, NULL)); return set_dtype(c, dtype, e);
    case 1: return take_shape(c, e);
    default: return take_offsets(c, e);
    }
}

static int take_tensor(struct scan *c, struct entry *e)
{
    unsigned seen = 0;
    int rc = 1;
    TRY(want(c, '{', "a tensor is described by an object"));
    while (rc == 1) {
        TRY(take_member(c, e, &seen));
        rc = more(c, '}');
    }
    if (rc < 0)
        return rc;
    if (seen != 7)
        return bad(c, "a tensor without dtype, shape or data_offsets");
    TRY(model_tensor_weigh(&e->t, c->err));
    if (e->end < e->begin || e->end - e->begin != e->t.bytes)
        return err_set_field(c->err, E_FORMAT, "data_offsets",
                             "tensor %.*s: data_offsets [%llu, %llu] do not hold "
                             "the %zu bytes of its shape; " MEND,
                             (int)num_min(e->t.name.len, 80), e->t.name.data,
                             (unsigned long long)e->begin, (unsigned long long)e->end, e->t.bytes);
    return 0;
}

/* "__metadata__": strings by name, of no use to us but checked for form. */
static int skip_metadata(struct scan *c)
{
    struct text_str ignored;
    TRY(want(c, '{', "__metadata__ is not an object"));
    int rc = next_is(c, '}') ? 0 : 1;
    while (rc == 1) {
        TRY(take_text(c, &ignored, NULL));
        TRY(want(c, ':', "a colon is missing"));
        TRY(take_text(c, &ignored, NULL));
        rc = more(c, '}');
    }
    return rc;
}

/* --- the table --- */

static int grow(struct table *t, struct err *err)
{
    if (t->n == MODEL_TENSORS_MAX)
        return err_set_field(err, E_LIMIT, "header",
                             "safetensors: more than %u tensors in one file; save the "
                             "model in more files",
                             MODEL_TENSORS_MAX);
    if (t->n < t->cap)
        return 0;
    uint32_t cap = t->cap == 0 ? 64 : t->cap * 2;
    struct entry *e = mem_realloc(t->e, cap, sizeof *e);
    if (e == NULL)
        return err_set(err, E_NOMEM, "no memory for a table of %u tensors", cap);
    t->e = e;
    t->cap = cap;
    return 0;
}

static int scan_header(struct scan *c, struct table *t, struct map *names)
{
    bool doubled = false;
    TRY(want(c, '{', "the header does not begin with {"));
    int rc = next_is(c, '}') ? 0 : 1;
    while (rc == 1) {
        struct text_str name;
        TRY(take_name(c, &name));
        TRY(want(c, ':', "a colon is missing"));
        if (map_put(names, name.data, name.len, t->n, &doubled) < 0)
            return err_set(c->err, E_NOMEM, "no memory for the names of tensors");
        if (doubled)
            return bad(c, "a name is there twice");
        if (name.len == 12 && memcmp(name.data, "__metadata__", 12) == 0) {
            TRY(skip_metadata(c));
        } else {
            TRY(grow(t, c->err));
            t->e[t->n] = (struct entry){ .t.name = name };
            TRY(take_tensor(c, &t->e[t->n]));
            t->n++;
        }
        rc = more(c, '}');
    }
    skip_space(c); /* headers are padded with spaces */
    return rc < 0 ? rc : c->at == c->n ? 0 : bad(c, "something follows the header's object");
}

static int by_begin(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* The data must be covered without gap or overlap, to the last byte. */
static int place(struct table *t, const uint8_t *data, size_t room, struct err *err)
{
    uint64_t end = 0;
    if (t->n > 0)
        qsort(t->e, t->n, sizeof *t->e, by_begin);
    for (uint32_t i = 0; i < t->n; i++) {
        struct entry *e = &t->e[i];
        int shown = (int)num_min(e->t.name.len, 80);
        if (e->begin != end || e->end > room)
            return err_set_field(
                err, E_FORMAT, "data_offsets", "tensor %.*s: data_offsets [%llu, %llu] %s; " MEND,
                shown, e->t.name.data, (unsigned long long)e->begin, (unsigned long long)e->end,
                e->end > room ? "lie past the end of the file"
                              : "overlap another tensor or leave a gap before it");
        e->t.data = data + e->begin;
        const struct kernel_type_info *info = kernel_type_info(e->t.type);
        if ((uintptr_t)e->t.data % info->block_bytes != 0)
            return err_set_field(err, E_UNSUPPORTED, "data_offsets",
                                 "tensor %.*s: its %s numbers lie at an odd "
                                 "address; save the model again with a current safetensors package",
                                 shown, e->t.name.data, info->name);
        end = e->end;
    }
    if (end != room)
        return err_set_field(err, E_FORMAT, "data_offsets",
                             "safetensors: %llu bytes behind the last tensor "
                             "belong to none; " MEND,
                             (unsigned long long)(room - end));
    return 0;
}

static int read_table(const struct os_map *map, struct table *t, struct err *err)
{
    if (map->size < 8)
        return err_set_field(err, E_FORMAT, "header", "safetensors: %zu bytes are no header; " MEND,
                             map->size);
    uint64_t len = load_le64(map->data);
    if (len > SAFETENSORS_HEADER_MAX)
        return err_set_field(err, E_LIMIT, "header",
                             "safetensors header: claims %llu bytes, at most %zu are read; " MEND,
                             (unsigned long long)len, SAFETENSORS_HEADER_MAX);
    if (len > map->size - 8)
        return err_set_field(err, E_FORMAT, "header",
                             "safetensors header: claims %llu bytes, the file has %zu; " MEND,
                             (unsigned long long)len, map->size);
    struct scan c = { .s = (const char *)map->data + 8, .n = (size_t)len, .map = map, .err = err };
    struct map names;
    if (map_init(&names, 0) < 0)
        return err_set(err, E_NOMEM, "no memory for the names of tensors");
    int rc = scan_header(&c, t, &names);
    map_fini(&names);
    TRY(rc);
    return place(t, map->data + 8 + len, map->size - 8 - (size_t)len, err);
}

int model_safetensors_read(const struct os_map *map, struct model_tensor **out, uint32_t *n,
                           struct err *err)
{
    struct table t = { 0 };
    int rc = read_table(map, &t, err);
    struct model_tensor *list = NULL;
    if (rc >= 0) {
        list = mem_alloc((size_t)t.n + 1, sizeof *list);
        if (list == NULL)
            rc = err_set(err, E_NOMEM, "no memory for a table of %u tensors", t.n);
    }
    for (uint32_t i = 0; rc >= 0 && i < t.n; i++)
        list[i] = t.e[i].t;
    mem_free(t.e);
    TRY(rc);
    *out = list;
    *n = t.n;
    return 0;
}
