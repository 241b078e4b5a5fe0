/* What both containers share: the tables of keys and tensors, and reading values out of them.
 *
 * Arrays of numbers are not unpacked: they stay little-endian bytes in the mapping and are decoded
 * item by item, because a vocabulary's scores are read once and copied by the tokenizer anyway. */
#include "model/file.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "base/utf8.h"
#include "kernel/type.h"
#include "model/file_impl.h"

/* --- kinds ------------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    uint8_t bytes;
} KINDS[] = {
    [MODEL_U8] = { "u8", 1 },       [MODEL_I8] = { "i8", 1 },     [MODEL_U16] = { "u16", 2 },
    [MODEL_I16] = { "i16", 2 },     [MODEL_U32] = { "u32", 4 },   [MODEL_I32] = { "i32", 4 },
    [MODEL_F32] = { "f32", 4 },     [MODEL_BOOL] = { "bool", 1 }, [MODEL_STRING] = { "string", 0 },
    [MODEL_ARRAY] = { "array", 0 }, [MODEL_U64] = { "u64", 8 },   [MODEL_I64] = { "i64", 8 },
    [MODEL_F64] = { "f64", 8 },
};

size_t model_meta_kind_bytes(enum model_meta_kind kind)
{
    return (size_t)kind < COUNT_OF(KINDS) ? KINDS[kind].bytes : 0;
}

const char *model_meta_kind_name(enum model_meta_kind kind)
{
    return (size_t)kind < COUNT_OF(KINDS) ? KINDS[kind].name : "unknown";
}

static enum model_meta_kind number_kind(const struct model_meta *m)
{
    return m->kind == MODEL_ARRAY ? m->item_kind : m->kind;
}

/* u64 above INT64_MAX does not fit and is reported as such. */
bool model_meta_integer(const struct model_meta *m, uint64_t i, int64_t *out)
{
    enum model_meta_kind kind = number_kind(m);
    size_t item = model_meta_kind_bytes(kind);
    if (item == 0 || i >= m->n)
        return false;
    const uint8_t *p = m->data + i * item;
    switch (kind) {
    case MODEL_U8: *out = *p; return true;
    case MODEL_BOOL: *out = *p; return true;
    case MODEL_I8: *out = (int8_t)*p; return true;
    case MODEL_U16: *out = load_le16(p); return true;
    case MODEL_I16: *out = (int16_t)load_le16(p); return true;
    case MODEL_U32: *out = load_le32(p); return true;
    case MODEL_I32: *out = (int32_t)load_le32(p); return true;
    case MODEL_U64:
    case MODEL_I64: *out = (int64_t)load_le64(p); return kind == MODEL_I64 || *out >= 0;
    default: return false;
    }
}

bool model_meta_number(const struct model_meta *m, uint64_t i, double *out)
{
    enum model_meta_kind kind = number_kind(m);
    int64_t x;
    if (i < m->n && kind == MODEL_F32) {
        *out = load_lef32(m->data + i * 4);
        return true;
    }
    if (i < m->n && kind == MODEL_F64) {
        *out = load_lef64(m->data + i * 8);
        return true;
    }
    if (kind == MODEL_BOOL || !model_meta_integer(m, i, &x))
        return false;
    *out = (double)x;
    return true;
}

bool model_meta_next_str(const struct model_meta *m, size_t *at, struct text_str *out)
{
    if (m->kind != MODEL_ARRAY || m->item_kind != MODEL_STRING || *at >= m->bytes)
        return false;
    /* The parser has walked this array: lengths are known to fit. */
    uint64_t len = load_le64(m->data + *at);
    ASSERT(len <= m->bytes - *at - 8);
    *out = (struct text_str){ (const char *)m->data + *at + 8, (size_t)len };
    *at += 8 + (size_t)len;
    return true;
}

/* --- building --------------------------------------------------------------------------------- */

static int reserve(void **array, uint32_t *cap, uint64_t want, size_t size, struct err *err)
{
    if (want <= *cap)
        return 0;
    void *p = mem_realloc(*array, want, size);
    if (p == NULL)
        return err_set(err, E_NOMEM, "no memory for a table of %llu entries",
                       (unsigned long long)want);
    *array = p;
    *cap = (uint32_t)want;
    return 0;
}

int model_file_reserve_meta(struct model_file *f, uint32_t n, struct err *err)
{
    uint64_t want = (uint64_t)f->n_meta + n;
    if (want > MODEL_META_MAX)
        return err_set(err, E_LIMIT, "more than %u metadata keys; convert the model again",
                       MODEL_META_MAX);
    return reserve((void **)&f->meta, &f->cap_meta, want, sizeof *f->meta, err);
}

int model_file_reserve_tensors(struct model_file *f, uint32_t n, struct err *err)
{
    uint64_t want = (uint64_t)f->n_tensors + n;
    if (want > MODEL_TENSORS_MAX)
        return err_set(err, E_LIMIT, "more than %u tensors; convert the model again",
                       MODEL_TENSORS_MAX);
    return reserve((void **)&f->tensors, &f->cap_tensors, want, sizeof *f->tensors, err);
}

/* Registers a name -> index; what: "metadata key" or "tensor". */
static int add_name(struct map *map, struct text_str name, uint32_t index, const char *what,
                    struct err *err)
{
    bool existed = false;
    int shown = (int)num_min(name.len, 80);
    if (name.len == 0 || name.len > MODEL_NAME_MAX || !utf8_valid(name.data, name.len))
        return err_set_field(err, E_FORMAT, what,
                             "%s %u: its name is not UTF-8 of 1 to %u bytes; convert "
                             "the model again",
                             what, index, MODEL_NAME_MAX);
    if (map_put(map, name.data, name.len, index, &existed) < 0)
        return err_set(err, E_NOMEM, "no memory for the names of keys and tensors");
    if (existed)
        return err_set_field(err, E_FORMAT, what, "%s %.*s is there twice; convert the model again",
                             what, shown, name.data);
    return 0;
}

int model_file_add_meta(struct model_file *f, const struct model_meta *m, struct err *err)
{
    if (f->n_meta == f->cap_meta)
        TRY(model_file_reserve_meta(f, 64, err));
    TRY(add_name(&f->meta_map, m->key, f->n_meta, "metadata key", err));
    f->meta[f->n_meta++] = *m;
    return 0;
}

int model_file_add_tensor(struct model_file *f, const struct model_tensor *t, struct err *err)
{
    if (f->n_tensors == f->cap_tensors)
        TRY(model_file_reserve_tensors(f, 64, err));
    TRY(add_name(&f->tensor_map, t->name, f->n_tensors, "tensor", err));
    f->tensors[f->n_tensors++] = *t;
    return 0;
}

/* ".x" -> "{arch}.x"; false if it does not fit. */
static bool full_key(const struct model_file *f, const char *key, char out[256])
{
    int n = snprintf(out, 256, "%s%s", key[0] == '.' ? f->arch : "", key);
    return n > 0 && n < 256;
}

static int put(struct model_file *f, const char *key, struct model_meta m, const void *bytes,
               struct err *err)
{
    char full[256];
    CHECK(full_key(f, key, full)); /* keys put here are our own */
    char *name = arena_strndup(&f->arena, full, strlen(full));
    uint8_t *data = arena_bytes(&f->arena, m.bytes + 1);
    if (name == NULL || data == NULL)
        return err_set(err, E_NOMEM, "no memory for key %s", full);
    if (m.bytes != 0)
        memcpy(data, bytes, m.bytes);
    m.key = (struct text_str){ name, strlen(name) };
    m.data = data;
    return model_file_add_meta(f, &m, err);
}

int model_file_put_u32(struct model_file *f, const char *key, uint32_t x, struct err *err)
{
    uint8_t le[4];
    store_le32(le, x);
    return put(f, key, (struct model_meta){ .kind = MODEL_U32, .n = 1, .bytes = 4 }, le, err);
}

int model_file_put_f32(struct model_file *f, const char *key, float x, struct err *err)
{
    uint32_t bits;
    uint8_t le[4];
    memcpy(&bits, &x, 4);
    store_le32(le, bits);
    return put(f, key, (struct model_meta){ .kind = MODEL_F32, .n = 1, .bytes = 4 }, le, err);
}

int model_file_put_bool(struct model_file *f, const char *key, bool x, struct err *err)
{
    uint8_t byte = x;
    return put(f, key, (struct model_meta){ .kind = MODEL_BOOL, .n = 1, .bytes = 1 }, &byte, err);
}

int model_file_put_str(struct model_file *f, const char *key, const char *s, size_t len,
                       struct err *err)
{
    return put(f, key, (struct model_meta){ .kind = MODEL_STRING, .n = 1, .bytes = len }, s, err);
}

int model_file_put_array(struct model_file *f, const char *key, enum model_meta_kind kind,
                         const void *items, uint32_t n, struct err *err)
{
    size_t item = model_meta_kind_bytes(kind);
    CHECK(kind == MODEL_BOOL || item == 4);
    uint8_t *le = mem_alloc(n + 1, item);
    if (le == NULL)
        return err_set(err, E_NOMEM, "no memory for key %s", key);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, (const uint8_t *)items + (size_t)i * 4, 4);
        if (kind == MODEL_BOOL)
            le[i] = bits != 0;
        else
            store_le32(le + (size_t)i * 4, bits);
    }
    struct model_meta m = { .kind = MODEL_ARRAY, .item_kind = kind, .n = n, .bytes = n * item };
    int rc = put(f, key, m, le, err);
    mem_free(le);
    return rc;
}

int model_file_put_vector(struct model_file *f, const char *name, const float *x, uint32_t n,
                          struct err *err)
{
    struct model_tensor t = { .type = KERNEL_F32, .n_dims = 1, .ne = { n, 1, 1, 1 } };
    TRY(model_tensor_weigh(&t, err));
    float *copy = arena_bytes(&f->arena, t.bytes);
    char *owned = arena_strndup(&f->arena, name, strlen(name));
    if (copy == NULL || owned == NULL)
        return err_set(err, E_NOMEM, "no memory for tensor %s", name);
    memcpy(copy, x, t.bytes);
    t.name = (struct text_str){ owned, strlen(owned) };
    t.data = (const uint8_t *)copy;
    return model_file_add_tensor(f, &t, err);
}

int model_tensor_weigh(struct model_tensor *t, struct err *err)
{
    int shown = (int)num_min(t->name.len, 80);
    const char *name = t->name.data != NULL ? t->name.data : "";
    const struct kernel_type_info *info = kernel_type_info(t->type);
    if (info == NULL)
        return err_set_field(err, E_UNSUPPORTED, "tensor type",
                             "tensor %.*s: number format %u is not known; "
                             "quantise the model to one of Naru's formats",
                             shown, name, t->type);
    size_t bytes, n = 1;
    for (uint32_t d = 0; d < MODEL_DIMS_MAX; d++)
        if (t->ne[d] == 0 || num_mul(&n, n, t->ne[d]) < 0 || n > INT64_MAX)
            return err_set_field(err, E_FORMAT, "tensor dims",
                                 "tensor %.*s: dimension %u is %llu, which is 0 "
                                 "or too large; the file is damaged: fetch it again",
                                 shown, name, d, (unsigned long long)t->ne[d]);
    if (t->ne[0] % info->block_len != 0)
        return err_set_field(err, E_FORMAT, "tensor dims",
                             "tensor %.*s: rows of %llu values do not fill %s "
                             "blocks of %u; quantise the model again",
                             shown, name, (unsigned long long)t->ne[0], info->name,
                             info->block_len);
    if (kernel_row_bytes(&bytes, t->type, t->ne[0]) < 0 || num_mul(&bytes, bytes, n / t->ne[0]) < 0)
        return err_set_field(err, E_FORMAT, "tensor dims",
                             "tensor %.*s: its size overflows; the file is "
                             "damaged: fetch it again",
                             shown, name);
    t->bytes = bytes;
    return 0;
}

/* --- opening ---------------------------------------------------------------------------------- */

static int create(struct model_file **out, const char *path, struct err *err)
{
    struct model_file *f = mem_alloc(1, sizeof *f);
    if (f == NULL)
        return err_set(err, E_NOMEM, "no memory to open %s", path);
    arena_init(&f->arena, MODEL_ARENA_MAX);
    f->path = mem_strndup(path, strlen(path));
    if (f->path == NULL || map_init(&f->meta_map, 64) < 0 || map_init(&f->tensor_map, 256) < 0) {
        model_file_close(f);
        return err_set(err, E_NOMEM, "no memory to open %s", path);
    }
    *out = f;
    return 0;
}

int model_file_open(struct model_file **out, const char *path, struct err *err)
{
    struct model_file *f;
    TRY(create(&f, path, err));
    int rc = os_is_dir(path) ? model_hf_read(f, err) : model_gguf_read(f, err);
    if (rc < 0) {
        model_file_close(f);
        return rc;
    }
    *out = f;
    return 0;
}

int model_file_open_bytes(struct model_file **out, const void *data, size_t bytes, struct err *err)
{
    struct model_file *f;
    TRY(create(&f, "(memory)", err));
    f->in_memory = true;
    f->bytes = bytes;
    f->parts = mem_alloc(1, sizeof *f->parts);
    int rc = f->parts == NULL ? err_set(err, E_NOMEM, "no memory to open a model") : 0;
    if (rc >= 0) {
        f->parts[0] = (struct os_map){ .data = data, .size = bytes, .fd = -1 };
        rc = model_gguf_read(f, err);
    }
    if (rc < 0) {
        model_file_close(f);
        return rc;
    }
    *out = f;
    return 0;
}

void model_file_close(struct model_file *f)
{
    if (f == NULL)
        return;
    for (uint32_t i = 0; i < f->n_parts; i++)
        os_map_close(&f->parts[i]);
    mem_free(f->parts);
    mem_free(f->meta);
    mem_free(f->tensors);
    map_fini(&f->meta_map);
    map_fini(&f->tensor_map);
    arena_fini(&f->arena);
    mem_free(f->tokenizer_config);
    mem_free(f->chat_template);
    mem_free(f->path);
    mem_free(f);
}

/* --- facts ------------------------------------------------------------------------------------ */

enum model_container model_file_container(const struct model_file *f) { return f->container; }
uint32_t model_file_version(const struct model_file *f) { return f->version; }
const char *model_file_path(const struct model_file *f) { return f->path; }
uint64_t model_file_bytes(const struct model_file *f) { return f->bytes; }
const char *model_file_arch(const struct model_file *f) { return f->arch; }
struct model_conv model_file_conv(const struct model_file *f) { return f->conv; }
uint32_t model_file_n_meta(const struct model_file *f) { return f->n_meta; }
uint32_t model_file_n_tensors(const struct model_file *f) { return f->n_tensors; }

const struct model_meta *model_file_meta_at(const struct model_file *f, uint32_t i)
{
    ASSERT(i < f->n_meta);
    return &f->meta[i];
}

const struct model_tensor *model_file_tensor_at(const struct model_file *f, uint32_t i)
{
    ASSERT(i < f->n_tensors);
    return &f->tensors[i];
}

const struct model_meta *model_file_meta(const struct model_file *f, const char *key)
{
    char full[256];
    uint32_t i;
    if (!full_key(f, key, full) || !map_get(&f->meta_map, full, strlen(full), &i))
        return NULL;
    return &f->meta[i];
}

const struct model_tensor *model_file_tensor(const struct model_file *f, const char *name)
{
    uint32_t i;
    return map_get(&f->tensor_map, name, strlen(name), &i) ? &f->tensors[i] : NULL;
}

/* --- values ----------------------------------------------------------------------------------- */

static int wrong(const struct model_file *f, const char *key, const struct model_meta *m,
                 const char *want, struct err *err)
{
    char full[256];
    if (!full_key(f, key, full))
        full[0] = '\0';
    return err_set_field(err, E_FORMAT, full,
                         "key %s: %s is wanted, the file has %s%s; convert the model "
                         "again",
                         full, want, m->kind == MODEL_ARRAY ? "an array of " : "",
                         model_meta_kind_name(number_kind(m)));
}

static int outside(const struct model_file *f, const char *key, uint64_t i, struct err *err)
{
    char full[256];
    if (!full_key(f, key, full))
        full[0] = '\0';
    return err_set_field(err, E_FORMAT, full,
                         "key %s: item %llu is missing or not a number from 0 to "
                         "4294967295; convert the model again",
                         full, (unsigned long long)i);
}

int model_file_u32(const struct model_file *f, const char *key, uint32_t *out, struct err *err)
{
    const struct model_meta *m = model_file_meta(f, key);
    int64_t x;
    if (m == NULL)
        return 0;
    if (m->kind == MODEL_ARRAY || m->kind == MODEL_BOOL || !model_meta_integer(m, 0, &x))
        return wrong(f, key, m, "a whole number", err);
    if (x < 0 || x > UINT32_MAX)
        return outside(f, key, 0, err);
    *out = (uint32_t)x;
    return 0;
}

int model_file_f32(const struct model_file *f, const char *key, float *out, struct err *err)
{
    const struct model_meta *m = model_file_meta(f, key);
    double x;
    if (m == NULL)
        return 0;
    if (m->kind == MODEL_ARRAY || !model_meta_number(m, 0, &x))
        return wrong(f, key, m, "a number", err);
    if (!isfinite((float)x))
        return wrong(f, key, m, "a finite number", err);
    *out = (float)x;
    return 0;
}

int model_file_bool(const struct model_file *f, const char *key, bool *out, struct err *err)
{
    const struct model_meta *m = model_file_meta(f, key);
    if (m == NULL)
        return 0;
    if (m->kind != MODEL_BOOL)
        return wrong(f, key, m, "a bool", err);
    *out = m->data[0] != 0;
    return 0;
}

int model_file_str(const struct model_file *f, const char *key, struct text_str *out,
                   struct err *err)
{
    const struct model_meta *m = model_file_meta(f, key);
    if (m != NULL && m->kind != MODEL_STRING)
        return wrong(f, key, m, "a string", err);
    *out =
        m == NULL ? (struct text_str){ 0 } : (struct text_str){ (const char *)m->data, m->bytes };
    return 0;
}

int model_file_item_u32(const struct model_file *f, const char *key, uint32_t i, uint32_t *out,
                        struct err *err)
{
    const struct model_meta *m = model_file_meta(f, key);
    int64_t x;
    if (m == NULL)
        return 0;
    if (!model_meta_integer(m, m->kind == MODEL_ARRAY ? i : 0, &x) || x < 0 || x > UINT32_MAX)
        return outside(f, key, i, err);
    *out = (uint32_t)x;
    return 0;
}

int model_file_item_f32(const struct model_file *f, const char *key, uint32_t i, float *out,
                        struct err *err)
{
    const struct model_meta *m = model_file_meta(f, key);
    double x;
    if (m == NULL)
        return 0;
    if (!model_meta_number(m, m->kind == MODEL_ARRAY ? i : 0, &x) || !isfinite((float)x))
        return wrong(f, key, m, "a finite number for every layer", err);
    *out = (float)x;
    return 0;
}

/* --- text ------------------------------------------------------------------------------------- */

int model_file_tokenizer(const struct model_file *f, struct text_tokenizer **out, struct err *err)
{
    if (f->container == MODEL_GGUF)
        return model_vocab_create(f, out, err);
    if (f->tokenizer_json == NULL)
        return err_set_field(err, E_NOT_FOUND, "tokenizer.json",
                             "%s holds no tokenizer.json; put it there", f->path);
    TRY(text_tokenizer_create_hf(out, f->tokenizer_json, f->tokenizer_json_len,
                                 f->tokenizer_config, f->tokenizer_config_len, err));
    /* generation_config.json may name more ends than the tokenizer knows (Llama 3, Gemma). */
    const struct model_meta *ends = model_file_meta(f, "tokenizer.ggml.eos_token_ids");
    for (uint32_t i = 0; ends != NULL && i < ends->n; i++) {
        uint32_t id = UINT32_MAX;
        int rc = model_file_item_u32(f, "tokenizer.ggml.eos_token_ids", i, &id, err);
        if (rc == 0 && id <= INT32_MAX)
            text_set_end(*out, (int32_t)id);
    }
    return 0;
}

struct text_str model_file_chat_template(const struct model_file *f)
{
    if (f->chat_template != NULL)
        return (struct text_str){ f->chat_template, f->chat_template_len };
    const struct model_meta *m = model_file_meta(f, "tokenizer.chat_template");
    if (m == NULL || m->kind != MODEL_STRING || m->bytes == 0)
        return (struct text_str){ 0 };
    return (struct text_str){ (const char *)m->data, m->bytes };
}

void model_file_drop(const struct model_file *f, const struct model_tensor *t)
{
    for (uint32_t i = 0; i < f->n_parts; i++) {
        const struct os_map *map = &f->parts[i];
        uintptr_t start = (uintptr_t)map->data, at = (uintptr_t)t->data;
        /* Memory that is no mapping of a file would lose its contents. */
        if (map->fd >= 0 && at >= start && at - start < map->size)
            os_map_advise(map, at - start, t->bytes, OS_DONT_NEED);
    }
}
