/* GGUF, versions 2 and 3, little-endian (docs/formats/gguf.md).
 *
 * Pass one walks header, metadata and tensor table with a cursor that cannot leave the file, and
 * checks every count, length, kind and shape against the caps and against the bytes that are really
 * there before it allocates for them. Then the tensors' places are checked: inside the file,
 * aligned, apart from each other. Only then are data pointers set; nothing reads the weights here.
 *
 * A split model ("-00001-of-00003.gguf") is read part by part: keys come from the first, tensors
 * from all. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/utf8.h"
#include "model/file_impl.h"

#define MEND "the file is damaged or was cut short: fetch it again"
#define RECONVERT "convert the model again with a current converter"

/* Pages walked over are given back at multiples of this (of huge pages: giving back part of one
 * does not free it), so that a refused file costs little memory. Memory that is no mapping of a
 * file (fd < 0) would lose its contents. */
#define DROP_STRIDE ((size_t)4 << 20)
/* The shortest metadata entry and tensor entry that can exist: bounds what a count may claim. */
#define META_BYTES_MIN 14
#define TENSOR_BYTES_MIN 33

struct cursor {
    const struct os_map *map;
    size_t at, limit, dropped;
    struct err *err;
};

/* What the metadata says about the file itself. */
struct head {
    uint64_t n_tensors, n_meta;
    uint64_t alignment;
    int64_t split_no, split_count, split_tensors;
};

struct extent {
    uint64_t offset, bytes;
    uint32_t tensor;
};

static int take(struct cursor *c, size_t n, const char *what, const uint8_t **out)
{
    if (n > c->map->size - c->at)
        return err_set_field(c->err, E_FORMAT, what,
                             "GGUF %s: %zu bytes wanted at byte %zu, file has %zu; " MEND, what, n,
                             c->at, c->map->size);
    if (n > c->limit - c->at)
        return err_set_field(c->err, E_LIMIT, what, "GGUF header: longer than %zu MiB at %s; %s",
                             c->limit >> 20, what, RECONVERT);
    *out = c->map->data + c->at;
    c->at += n;
    if (c->at - c->dropped >= DROP_STRIDE && c->map->fd >= 0) {
        size_t to = c->at / DROP_STRIDE * DROP_STRIDE;
        os_map_advise(c->map, 0, to, OS_DONT_NEED); /* faults bring neighbours back: all so far */
        c->dropped = to;
    }
    return 0;
}

static int take_u32(struct cursor *c, const char *what, uint32_t *out)
{
    const uint8_t *p;
    TRY(take(c, 4, what, &p));
    *out = load_le32(p);
    return 0;
}

static int take_u64(struct cursor *c, const char *what, uint64_t *out)
{
    const uint8_t *p;
    TRY(take(c, 8, what, &p));
    *out = load_le64(p);
    return 0;
}

static int take_string(struct cursor *c, size_t max, const char *what, struct text_str *out)
{
    uint64_t len;
    const uint8_t *p;
    TRY(take_u64(c, what, &len));
    if (len > max)
        return err_set_field(c->err, len > c->map->size ? E_FORMAT : E_LIMIT, what,
                             "GGUF %s: a string claims %llu bytes, at most %zu are read; " MEND,
                             what, (unsigned long long)len, max);
    TRY(take(c, (size_t)len, what, &p));
    *out = (struct text_str){ (const char *)p, (size_t)len };
    return 0;
}

/* --- header ----------------------------------------------------------------------------------- */

/* Files people hand over by mistake, told apart by their first bytes. */
static int refuse_magic(const uint8_t *p, const struct os_map *map, struct err *err)
{
    const char *is = "not a GGUF file (it must begin with \"GGUF\")";
    const char *mend = "give a .gguf file or a directory with config.json and *.safetensors";
    if (memcmp(p, "FUGG", 4) == 0) {
        return err_set_field(err, E_UNSUPPORTED, "magic", "a big-endian GGUF file is not read; %s",
                             RECONVERT);
    } else if (memcmp(p, "PK\3\4", 4) == 0) {
        is = "a PyTorch archive, which may carry code";
        mend = "convert it to safetensors or GGUF";
    } else if (memcmp(p, "lmgg", 4) == 0 || memcmp(p, "tjgg", 4) == 0 ||
               memcmp(p, "algg", 4) == 0) {
        is = "a file older than GGUF";
        mend = RECONVERT;
    } else if (map->size > 9 && map->data[8] == '{') {
        is = "a single safetensors file";
        mend = "give the directory that holds it and config.json";
    }
    return err_set_field(err, E_FORMAT, "magic", "%s; %s", is, mend);
}

static int read_header(struct cursor *c, struct model_file *f, struct head *h)
{
    const uint8_t *magic;
    TRY(take(c, 4, "magic", &magic));
    if (memcmp(magic, "GGUF", 4) != 0)
        return refuse_magic(magic, c->map, c->err);
    uint32_t version;
    TRY(take_u32(c, "version", &version));
    /* A version in the high half is a small number in the other byte order. */
    if ((version & 0xffff) == 0 && version != 0)
        return err_set_field(c->err, E_UNSUPPORTED, "version",
                             "a big-endian GGUF file is not read; %s", RECONVERT);
    if (version != 2 && version != 3)
        return err_set_field(c->err, E_UNSUPPORTED, "version",
                             "GGUF version %u is not read, 2 and 3 are; "
                             "%s",
                             version, RECONVERT);
    f->version = version;
    TRY(take_u64(c, "tensor_count", &h->n_tensors));
    TRY(take_u64(c, "metadata_kv_count", &h->n_meta));
    size_t left = c->map->size - c->at;
    if (h->n_meta > left / META_BYTES_MIN)
        return err_set_field(c->err, E_FORMAT, "metadata_kv_count",
                             "GGUF metadata_kv_count: %llu keys "
                             "cannot lie in %zu bytes; " MEND,
                             (unsigned long long)h->n_meta, left);
    if (h->n_tensors > left / TENSOR_BYTES_MIN)
        return err_set_field(c->err, E_FORMAT, "tensor_count",
                             "GGUF tensor_count: %llu tensors cannot "
                             "lie in %zu bytes; " MEND,
                             (unsigned long long)h->n_tensors, left);
    if (h->n_meta > MODEL_META_MAX)
        return err_set_field(c->err, E_LIMIT, "metadata_kv_count",
                             "GGUF metadata_kv_count: %llu keys, at "
                             "most %u are read; %s",
                             (unsigned long long)h->n_meta, MODEL_META_MAX, RECONVERT);
    if (h->n_tensors > MODEL_TENSORS_MAX)
        return err_set_field(c->err, E_LIMIT, "tensor_count",
                             "GGUF tensor_count: %llu tensors, at most "
                             "%u are read; %s",
                             (unsigned long long)h->n_tensors, MODEL_TENSORS_MAX, RECONVERT);
    return 0;
}

/* --- metadata --------------------------------------------------------------------------------- */

/* A name for messages: names may be long, messages are not. */
static void quote(char out[96], struct text_str s)
{
    size_t n = num_min(s.len, 80);
    memcpy(out, s.data, n);
    while (n > 0 && !utf8_valid(out, n))
        n--;
    snprintf(out + n, 96 - n, "%s", n < s.len ? "..." : "");
}

static int check_bools(const struct model_meta *m, const char *key, struct err *err)
{
    if ((m->kind == MODEL_ARRAY ? m->item_kind : m->kind) != MODEL_BOOL)
        return 0;
    for (uint64_t i = 0; i < m->n; i++)
        if (m->data[i] > 1)
            return err_set_field(err, E_FORMAT, key, "key %s: %u is no bool (0 or 1); " MEND, key,
                                 m->data[i]);
    return 0;
}

static int take_items(struct cursor *c, struct model_meta *m, const char *key)
{
    size_t item = model_meta_kind_bytes(m->item_kind), from = c->at, bytes = 0;
    const uint8_t *p = c->map->data + c->at;
    if (m->item_kind != MODEL_STRING) {
        CHECK(item != 0); /* arrays of arrays were refused by the caller */
        if (num_mul(&bytes, (size_t)m->n, item) < 0)
            return err_set_field(c->err, E_FORMAT, key, "key %s: its size overflows; " MEND, key);
        TRY(take(c, bytes, key, &p));
    } else {
        struct text_str s;
        for (uint64_t i = 0; i < m->n; i++)
            TRY(take_string(c, MODEL_STRING_MAX, key, &s));
    }
    m->data = p;
    m->bytes = c->at - from;
    return 0;
}

static int take_array(struct cursor *c, struct model_meta *m, const char *key)
{
    uint32_t kind;
    TRY(take_u32(c, key, &kind));
    if (kind == MODEL_ARRAY)
        return err_set_field(c->err, E_UNSUPPORTED, key,
                             "key %s: an array of arrays is not read; %s", key, RECONVERT);
    if (kind > MODEL_F64)
        return err_set_field(c->err, E_FORMAT, key,
                             "key %s: item kind %u is none of 0 to 12; " MEND, key, kind);
    m->item_kind = (enum model_meta_kind)kind;
    TRY(take_u64(c, key, &m->n));
    size_t item = m->item_kind == MODEL_STRING ? 8 : model_meta_kind_bytes(m->item_kind);
    size_t left = c->map->size - c->at;
    if (m->n > left / item)
        return err_set_field(c->err, E_FORMAT, key,
                             "key %s: %llu items cannot lie in %zu bytes; " MEND, key,
                             (unsigned long long)m->n, left);
    if (m->n > MODEL_ITEMS_MAX)
        return err_set_field(c->err, E_LIMIT, key, "key %s: %llu items, at most %u are read; %s",
                             key, (unsigned long long)m->n, MODEL_ITEMS_MAX, RECONVERT);
    return take_items(c, m, key);
}

static int take_value(struct cursor *c, struct model_meta *m, const char *key)
{
    uint32_t kind;
    TRY(take_u32(c, key, &kind));
    if (kind > MODEL_F64)
        return err_set_field(c->err, E_FORMAT, key, "key %s: kind %u is none of 0 to 12; " MEND,
                             key, kind);
    m->kind = m->item_kind = (enum model_meta_kind)kind;
    m->n = 1;
    if (m->kind == MODEL_ARRAY) {
        TRY(take_array(c, m, key));
    } else if (m->kind == MODEL_STRING) {
        struct text_str s;
        TRY(take_string(c, MODEL_STRING_MAX, key, &s));
        m->data = (const uint8_t *)s.data;
        m->bytes = s.len;
    } else {
        m->bytes = model_meta_kind_bytes(m->kind);
        TRY(take(c, m->bytes, key, &m->data));
    }
    return check_bools(m, key, c->err);
}

static bool key_is(struct text_str key, const char *name)
{
    return key.len == strlen(name) && memcmp(key.data, name, key.len) == 0;
}

static int head_integer(const struct model_meta *m, const char *name, int64_t *out, struct err *err)
{
    if (m->kind != MODEL_ARRAY && model_meta_integer(m, 0, out))
        return 0;
    return err_set_field(err, E_FORMAT, name, "%s: a whole number is wanted, not %s; %s", name,
                         model_meta_kind_name(m->kind), RECONVERT);
}

/* The keys that describe the container, not the model. */
static int note_head(struct head *h, const struct model_meta *m, struct err *err)
{
    int64_t x;
    if (key_is(m->key, "general.alignment")) {
        TRY(head_integer(m, "general.alignment", &x, err));
        if (x < 8 || x > MODEL_ALIGN_MAX || (x & (x - 1)) != 0)
            return err_set_field(err, E_FORMAT, "general.alignment",
                                 "general.alignment: %lld is no power "
                                 "of two from 8 to %u; %s",
                                 (long long)x, MODEL_ALIGN_MAX, RECONVERT);
        h->alignment = (uint64_t)x;
    } else if (key_is(m->key, "split.no")) {
        TRY(head_integer(m, "split.no", &h->split_no, err));
    } else if (key_is(m->key, "split.count")) {
        TRY(head_integer(m, "split.count", &h->split_count, err));
    } else if (key_is(m->key, "split.tensors.count")) {
        TRY(head_integer(m, "split.tensors.count", &h->split_tensors, err));
    }
    return 0;
}

static int read_meta(struct cursor *c, struct model_file *f, struct head *h, bool keep)
{
    if (keep)
        TRY(model_file_reserve_meta(f, (uint32_t)h->n_meta, c->err));
    for (uint64_t i = 0; i < h->n_meta; i++) {
        struct model_meta m = { 0 };
        char name[96];
        TRY(take_string(c, MODEL_NAME_MAX, "metadata key", &m.key));
        if (m.key.len == 0 || !utf8_valid(m.key.data, m.key.len))
            return err_set_field(c->err, E_FORMAT, "metadata key",
                                 "metadata key %llu: not UTF-8, or "
                                 "empty; " MEND,
                                 (unsigned long long)i);
        quote(name, m.key);
        TRY(take_value(c, &m, name));
        TRY(note_head(h, &m, c->err));
        if (keep)
            TRY(model_file_add_meta(f, &m, c->err));
    }
    return 0;
}

/* --- tensors ---------------------------------------------------------------------------------- */

static int read_tensor(struct cursor *c, const struct head *h, struct model_tensor *t,
                       uint64_t *offset)
{
    char name[96];
    TRY(take_string(c, MODEL_NAME_MAX, "tensor name", &t->name));
    if (t->name.len == 0 || !utf8_valid(t->name.data, t->name.len))
        return err_set_field(c->err, E_FORMAT, "tensor name",
                             "a tensor name is not UTF-8, or empty; " MEND);
    quote(name, t->name);
    TRY(take_u32(c, name, &t->n_dims));
    if (t->n_dims < 1 || t->n_dims > MODEL_DIMS_MAX)
        return err_set_field(c->err, t->n_dims < 1 ? E_FORMAT : E_LIMIT, name,
                             "tensor %s: %u dimensions, 1 "
                             "to %u are read; " MEND,
                             name, t->n_dims, MODEL_DIMS_MAX);
    for (uint32_t d = 0; d < MODEL_DIMS_MAX; d++) {
        t->ne[d] = 1;
        if (d < t->n_dims)
            TRY(take_u64(c, name, &t->ne[d]));
    }
    TRY(take_u32(c, name, &t->type));
    TRY(take_u64(c, name, offset));
    if (*offset % h->alignment != 0)
        return err_set_field(c->err, E_FORMAT, name,
                             "tensor %s: offset %llu is no multiple of the "
                             "alignment %llu; " MEND,
                             name, (unsigned long long)*offset, (unsigned long long)h->alignment);
    return model_tensor_weigh(t, c->err);
}

static int by_offset(const void *a, const void *b)
{
    const struct extent *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x->tensor < y->tensor ? -1 : x->tensor > y->tensor;
}

/* Nothing may share bytes, and nothing may lie behind the last tensor but its padding. */
static int check_extents(const struct model_file *f, struct extent *e, uint32_t n, size_t room,
                         const struct head *h, struct err *err)
{
    char name[96], other[96];
    uint64_t end = 0;
    qsort(e, n, sizeof *e, by_offset);
    for (uint32_t i = 0; i < n; i++) {
        quote(name, f->tensors[e[i].tensor].name);
        if (e[i].offset > room || e[i].bytes > room - e[i].offset)
            return err_set_field(err, E_FORMAT, name,
                                 "tensor %s: offset %llu + %llu bytes lie past the "
                                 "end of the data (%zu bytes); " MEND,
                                 name, (unsigned long long)e[i].offset,
                                 (unsigned long long)e[i].bytes, room);
        if (e[i].offset < end) {
            quote(other, f->tensors[e[i - 1].tensor].name);
            return err_set_field(err, E_FORMAT, name,
                                 "tensor %s: offset %llu overlaps tensor %s; %s", name,
                                 (unsigned long long)e[i].offset, other, RECONVERT);
        }
        end = e[i].offset + e[i].bytes;
    }
    if (room > end && room - end >= h->alignment)
        return err_set_field(err, E_FORMAT, "tensor data",
                             "GGUF: %llu bytes behind the last tensor belong to "
                             "none; " MEND,
                             (unsigned long long)(room - end));
    return 0;
}

/* Extents are sorted, tensors keep the file's order. The cursor stands behind the table. */
static int place_tensors(const struct cursor *c, struct model_file *f, struct extent *e, uint32_t n,
                         const struct head *h)
{
    size_t start;
    TRY(num_align(&start, c->at, h->alignment));
    if (start > c->map->size)
        start = c->map->size;
    TRY(check_extents(f, e, n, c->map->size - start, h, c->err));
    for (uint32_t i = 0; i < n; i++)
        f->tensors[e[i].tensor].data = c->map->data + start + e[i].offset;
    return 0;
}

static int read_tensors(struct cursor *c, struct model_file *f, const struct head *h)
{
    uint32_t n = (uint32_t)h->n_tensors;
    TRY(model_file_reserve_tensors(f, n, c->err));
    struct extent *e = mem_alloc(n + (n == 0), sizeof *e);
    if (e == NULL)
        return err_set(c->err, E_NOMEM, "no memory for a table of %u tensors", n);
    int rc = 0;
    for (uint32_t i = 0; i < n && rc >= 0; i++) {
        struct model_tensor t = { 0 };
        rc = read_tensor(c, h, &t, &e[i].offset);
        e[i].bytes = t.bytes;
        e[i].tensor = f->n_tensors;
        if (rc >= 0)
            rc = model_file_add_tensor(f, &t, c->err);
    }
    if (rc >= 0)
        rc = place_tensors(c, f, e, n, h);
    mem_free(e);
    return rc;
}

/* --- parts ------------------------------------------------------------------------------------ */

static int read_part(struct model_file *f, uint32_t part, struct head *h, struct err *err)
{
    struct cursor c = { .map = &f->parts[part], .limit = MODEL_HEAD_MAX, .err = err };
    *h = (struct head){ .alignment = 32, .split_count = 1, .split_tensors = -1 };
    TRY(read_header(&c, f, h));
    TRY(read_meta(&c, f, h, part == 0));
    return read_tensors(&c, f, h);
}

static int open_part(struct model_file *f, uint32_t part, const char *path, struct err *err)
{
    TRY(os_map_open(&f->parts[part], path, err));
    f->n_parts = part + 1;
    f->bytes += f->parts[part].size;
    return 0;
}

/* "stem-00001-of-00003.gguf": the length of the stem, or 0 if the name is not of that form. */
static size_t split_stem(const char *path, uint32_t n_parts)
{
    char tail[64];
    snprintf(tail, sizeof tail, "-00001-of-%05u.gguf", n_parts);
    size_t len = strlen(path), n = strlen(tail);
    return len > n && strcmp(path + len - n, tail) == 0 ? len - n : 0;
}

static int read_other_parts(struct model_file *f, const struct head *first, struct err *err)
{
    uint32_t count = (uint32_t)first->split_count;
    size_t stem = split_stem(f->path, count);
    if (stem == 0 || f->in_memory)
        return err_set_field(err, E_UNSUPPORTED, "split.count",
                             "split.count: this is one of %u parts; give "
                             "the first, named like \"NAME-00001-of-%05u.gguf\"",
                             count, count);
    struct os_map *parts = mem_realloc(f->parts, count, sizeof *parts);
    if (parts == NULL)
        return err_set(err, E_NOMEM, "no memory for a table of %u parts", count);
    f->parts = parts;
    for (uint32_t i = 1; i < count; i++) {
        struct buf path;
        struct head h;
        buf_init(&path, 1u << 16);
        buf_put(&path, f->path, stem);
        buf_printf(&path, "-%05u-of-%05u.gguf", i + 1, count);
        int rc = buf_status(&path);
        if (rc >= 0)
            rc = open_part(f, i, buf_str(&path), err);
        buf_fini(&path);
        TRY(rc);
        TRY(read_part(f, i, &h, err));
        if (h.split_no != i || h.split_count != count)
            return err_set_field(err, E_FORMAT, "split.no",
                                 "split.no: part %u of %u says it is %lld of %lld; "
                                 "fetch the parts again",
                                 i + 1, count, (long long)h.split_no + 1, (long long)h.split_count);
    }
    if (first->split_tensors >= 0 && first->split_tensors != f->n_tensors)
        return err_set_field(err, E_FORMAT, "split.tensors.count",
                             "split.tensors.count: %lld tensors "
                             "promised, %u found; fetch the parts again",
                             (long long)first->split_tensors, f->n_tensors);
    return 0;
}

int model_gguf_read(struct model_file *f, struct err *err)
{
    struct head h;
    f->container = MODEL_GGUF;
    if (!f->in_memory) {
        f->parts = mem_alloc(1, sizeof *f->parts);
        if (f->parts == NULL)
            return err_set(err, E_NOMEM, "no memory to open a file");
        TRY(open_part(f, 0, f->path, err));
    }
    TRY(read_part(f, 0, &h, err));
    if (h.split_count < 1 || h.split_count > MODEL_PARTS_MAX || h.split_no != 0) {
        const char *mend = h.split_no != 0 ? "give the first part" : RECONVERT;
        return err_set_field(err, E_FORMAT, "split.no",
                             "split.no %lld of split.count %lld (1 to %u are "
                             "read); %s",
                             (long long)h.split_no, (long long)h.split_count, MODEL_PARTS_MAX,
                             mend);
    }
    if (h.split_count > 1)
        TRY(read_other_parts(f, &h, err));
    struct text_str arch;
    TRY(model_file_str(f, "general.architecture", &arch, err));
    if (arch.len > MODEL_ARCH_MAX)
        return err_set_field(err, E_LIMIT, "general.architecture",
                             "general.architecture: a name of %zu "
                             "bytes, at most %d are read; %s",
                             arch.len, MODEL_ARCH_MAX, RECONVERT);
    if (arch.data != NULL)
        memcpy(f->arch, arch.data, arch.len);
    return 0;
}
