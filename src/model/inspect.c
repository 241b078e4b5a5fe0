/* Facts are gathered once (struct facts) and printed in two forms. Names and strings pass through
 * escape(), which leaves printable characters alone and writes the rest as \xNN or \u{N}: control
 * characters, invalid UTF-8, and the marks that reorder text on a terminal. */
#include "model/inspect.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/num.h"
#include "base/utf8.h"
#include "kernel/type.h"
#include "model/file_impl.h"
#include "model/model.h"

#define SHOWN_ITEMS 6     /* of an array, for people */
#define SHOWN_CHARS 60    /* of a string, for people */
#define JSON_ITEMS_MAX 64 /* longer arrays are abbreviated */
#define NAME_WIDTH_MAX 60

struct facts {
    bool runs;
    struct err why_not;
    char tokenizer[128]; /* kind; empty if there is none */
    uint32_t n_tokens;
    struct err tokenizer_err; /* code 0 if there is one or none */
    uint64_t n_params;
    struct {
        uint64_t n_tensors, n_params, bytes;
    } types[KERNEL_TYPE_COUNT];
};

/* --- gathering -------------------------------------------------------------------------------- */

static uint64_t count_params(const struct model_tensor *t)
{
    uint64_t n = 1;
    for (uint32_t d = 0; d < t->n_dims; d++)
        n *= t->ne[d]; /* the reader has checked that this fits */
    return n;
}

/* The part a tensor lies in and its offset there; false for one that was computed. */
static bool find_place(const struct model_file *f, const struct model_tensor *t, uint32_t *part,
                       uint64_t *offset)
{
    for (uint32_t i = 0; i < (f->in_memory ? 1 : f->n_parts); i++) {
        uintptr_t from = (uintptr_t)f->parts[i].data, at = (uintptr_t)t->data;
        if (at >= from && at - from < f->parts[i].size) {
            *part = i;
            *offset = at - from;
            return true;
        }
    }
    return false;
}

static void gather_tokenizer(const struct model_file *f, struct facts *x)
{
    struct text_tokenizer *t;
    int rc = model_file_tokenizer(f, &t, &x->tokenizer_err);
    if (rc == E_NOT_FOUND)
        x->tokenizer_err.code = 0;
    if (rc < 0)
        return;
    snprintf(x->tokenizer, sizeof x->tokenizer, "%s", text_tokenizer_kind(t));
    x->n_tokens = text_vocab_size(t);
    text_tokenizer_destroy(t);
}

static void gather(const struct model_file *f, struct facts *x)
{
    *x = (struct facts){ 0 };
    for (uint32_t i = 0; i < f->n_tensors; i++) {
        const struct model_tensor *t = &f->tensors[i];
        uint64_t n = count_params(t);
        x->types[t->type].n_tensors++;
        x->types[t->type].n_params += n;
        x->types[t->type].bytes += t->bytes;
        x->n_params += n;
    }
    gather_tokenizer(f, x);
    if (f->n_tensors == 0)
        err_set(&x->why_not, E_UNSUPPORTED, "it holds a vocabulary but no tensors");
    else
        x->runs = model_check(f, &x->why_not) >= 0;
}

/* --- for people ------------------------------------------------------------------------------- */

/* May this character stand in a terminal? Not controls, nor marks of direction or width 0. */
static bool is_plain(uint32_t cp)
{
    return cp >= 0x20 && cp != 0x7f && !(cp >= 0x80 && cp < 0xa0) &&
           !(cp >= 0x200b && cp < 0x2010) && !(cp >= 0x2028 && cp < 0x2030) &&
           !(cp >= 0x2060 && cp < 0x2070) && cp != 0xfeff;
}

/* At most max characters; returns the columns written. */
static size_t escape(struct buf *out, struct text_str s, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len && n < max;) {
        uint32_t cp;
        size_t len = utf8_next(s.data + i, s.len - i, &cp), before = out->len;
        if (cp == UTF8_INVALID || cp < 0x80)
            buf_printf(out, is_plain(cp) && cp != UTF8_INVALID ? "%c" : "\\x%02x",
                       (uint8_t)s.data[i]);
        else if (is_plain(cp))
            buf_put(out, s.data + i, len);
        else
            buf_printf(out, "\\u{%x}", cp);
        n += cp != UTF8_INVALID && cp >= 0x80 && is_plain(cp) ? 1 : out->len - before;
        i += len;
        if (n >= max && i < s.len) {
            buf_puts(out, "...");
            n += 3;
        }
    }
    return n;
}

static void pad(struct buf *out, size_t from, size_t to)
{
    for (; from < to; from++)
        buf_putc(out, ' ');
}

static void write_bytes(struct buf *out, uint64_t n)
{
    static const char *const UNITS[] = { "KiB", "MiB", "GiB", "TiB" };
    double x = (double)n / 1024;
    int u = 0;
    if (n < 1024) {
        buf_printf(out, "%llu B", (unsigned long long)n);
        return;
    }
    for (; x >= 1024 && u < 3; u++)
        x /= 1024;
    buf_printf(out, "%.1f %s", x, UNITS[u]);
}

static void write_string(struct buf *out, struct text_str s)
{
    buf_putc(out, '"');
    escape(out, s, SHOWN_CHARS);
    buf_putc(out, '"');
    if (s.len > SHOWN_CHARS)
        buf_printf(out, " (%zu bytes)", s.len);
}

static void write_number(struct buf *out, const struct model_meta *m, uint64_t i)
{
    int64_t whole;
    double x = 0;
    enum model_meta_kind kind = m->kind == MODEL_ARRAY ? m->item_kind : m->kind;
    if (kind == MODEL_BOOL)
        buf_puts(out, m->data[i] ? "true" : "false");
    else if (kind == MODEL_U64)
        buf_printf(out, "%llu", (unsigned long long)load_le64(m->data + i * 8));
    else if (model_meta_integer(m, i, &whole))
        buf_printf(out, "%lld", (long long)whole);
    else if (model_meta_number(m, i, &x))
        buf_printf(out, "%.7g", x);
}

static void write_meta(struct buf *out, const struct model_meta *m)
{
    struct text_str s;
    size_t at = 0;
    if (m->kind == MODEL_STRING) {
        write_string(out, (struct text_str){ (const char *)m->data, m->bytes });
        return;
    }
    if (m->kind != MODEL_ARRAY) {
        write_number(out, m, 0);
        return;
    }
    buf_printf(out, "%llu %s: ", (unsigned long long)m->n, model_meta_kind_name(m->item_kind));
    for (uint64_t i = 0; i < m->n && i < SHOWN_ITEMS; i++) {
        buf_puts(out, i > 0 ? ", " : "");
        if (m->item_kind != MODEL_STRING)
            write_number(out, m, i);
        else if (model_meta_next_str(m, &at, &s))
            write_string(out, s);
    }
    if (m->n > SHOWN_ITEMS)
        buf_puts(out, ", ...");
}

static void write_tensor(const struct model_file *f, const struct model_tensor *t, struct buf *out,
                         size_t width)
{
    char shape[128] = "";
    uint32_t part = 0;
    uint64_t offset;
    for (uint32_t d = 0; d < t->n_dims; d++) {
        size_t n = strlen(shape);
        snprintf(shape + n, sizeof shape - n, "%s%llu", d > 0 ? " x " : "",
                 (unsigned long long)t->ne[d]);
    }
    buf_puts(out, "  ");
    pad(out, escape(out, t->name, NAME_WIDTH_MAX), width);
    buf_printf(out, "  %-7s %-22s %12zu B", kernel_type_info(t->type)->name, shape, t->bytes);
    if (!find_place(f, t, &part, &offset))
        buf_puts(out, "  computed");
    else if (f->n_parts > 1)
        buf_printf(out, "  at %llu of part %u", (unsigned long long)offset, part + 1);
    else
        buf_printf(out, "  at %llu", (unsigned long long)offset);
    buf_putc(out, '\n');
}

static void write_summary(const struct model_file *f, const struct facts *x, struct buf *out)
{
    struct text_str path = { f->path, strlen(f->path) };
    escape(out, path, 1000);
    if (f->container == MODEL_GGUF)
        buf_printf(out, "\n  container   GGUF version %u, ", f->version);
    else
        buf_puts(out, "\n  container   safetensors, ");
    write_bytes(out, f->bytes);
    buf_puts(out, f->n_parts > 1 ? ", several files\n  family      " : "\n  family      ");
    escape(out, (struct text_str){ f->arch, strlen(f->arch) }, MODEL_ARCH_MAX);
    buf_puts(out, f->arch[0] == '\0' ? "not named\n" : "\n");
    buf_puts(out, "  tokenizer   ");
    if (x->tokenizer[0] != '\0')
        buf_printf(out, "%s, %u tokens\n", x->tokenizer, x->n_tokens);
    else
        buf_printf(out, "%s\n", x->tokenizer_err.code != 0 ? x->tokenizer_err.text : "none");
    buf_printf(out, "  parameters  %llu\n", (unsigned long long)x->n_params);
    buf_printf(out, "  runs        %s%s\n", x->runs ? "yes" : "no, because ",
               x->runs ? "" : x->why_not.text);
}

static void write_text(const struct model_file *f, const struct facts *x, struct buf *out)
{
    size_t width = 0;
    write_summary(f, x, out);
    for (uint32_t i = 0; i < f->n_meta; i++)
        width = num_max(width, num_min(f->meta[i].key.len, NAME_WIDTH_MAX));
    buf_printf(out, "\nmetadata (%u)\n", f->n_meta);
    for (uint32_t i = 0; i < f->n_meta; i++) {
        buf_puts(out, "  ");
        pad(out, escape(out, f->meta[i].key, NAME_WIDTH_MAX), width);
        buf_printf(out, "  %-6s  ", model_meta_kind_name(f->meta[i].kind));
        write_meta(out, &f->meta[i]);
        buf_putc(out, '\n');
    }
    width = 0;
    for (uint32_t i = 0; i < f->n_tensors; i++)
        width = num_max(width, num_min(f->tensors[i].name.len, NAME_WIDTH_MAX));
    buf_printf(out, "\ntensors (%u)\n", f->n_tensors);
    for (uint32_t i = 0; i < f->n_tensors; i++)
        write_tensor(f, &f->tensors[i], out, width);
    buf_puts(out, "\ntypes\n");
    for (uint32_t t = 0; t < KERNEL_TYPE_COUNT; t++) {
        if (x->types[t].n_tensors == 0)
            continue;
        buf_printf(out, "  %-7s %6llu tensors %14llu parameters  ", kernel_type_info(t)->name,
                   (unsigned long long)x->types[t].n_tensors,
                   (unsigned long long)x->types[t].n_params);
        write_bytes(out, x->types[t].bytes);
        buf_putc(out, '\n');
    }
}

/* --- for programs ----------------------------------------------------------------------------- */

static void json_number(struct json_writer *w, const struct model_meta *m, uint64_t i)
{
    int64_t whole;
    double x = 0;
    enum model_meta_kind kind = m->kind == MODEL_ARRAY ? m->item_kind : m->kind;
    if (kind == MODEL_BOOL)
        json_write_bool(w, m->data[i] != 0);
    else if (kind == MODEL_U64)
        json_write_uint(w, load_le64(m->data + i * 8));
    else if (kind == MODEL_F32)
        json_write_float(w, load_lef32(m->data + i * 4));
    else if (model_meta_integer(m, i, &whole))
        json_write_int(w, whole);
    else if (model_meta_number(m, i, &x))
        json_write_double(w, x);
}

static void json_items(struct json_writer *w, const struct model_meta *m, uint64_t n)
{
    struct text_str s;
    size_t at = 0;
    json_begin_array(w);
    for (uint64_t i = 0; i < n; i++) {
        if (m->item_kind != MODEL_STRING)
            json_number(w, m, i);
        else if (model_meta_next_str(m, &at, &s))
            json_write_text(w, s.data, s.len);
    }
    json_end_array(w);
}

static void json_meta(struct json_writer *w, const struct model_meta *m)
{
    char key[MODEL_NAME_MAX + 1];
    size_t len = num_min(m->key.len, MODEL_NAME_MAX);
    for (size_t i = 0; i < len; i++)
        key[i] = m->key.data[i] != '\0' ? m->key.data[i] : '?';
    key[len] = '\0';
    json_key(w, key);
    if (m->kind == MODEL_STRING) {
        json_write_text(w, (const char *)m->data, m->bytes);
    } else if (m->kind != MODEL_ARRAY) {
        json_number(w, m, 0);
    } else if (m->n <= JSON_ITEMS_MAX) {
        json_items(w, m, m->n);
    } else {
        json_begin_object(w);
        json_key(w, "kind");
        json_write_str(w, model_meta_kind_name(m->item_kind));
        json_key(w, "n");
        json_write_uint(w, m->n);
        json_key(w, "first");
        json_items(w, m, SHOWN_ITEMS);
        json_end_object(w);
    }
}

static void json_tensor(struct json_writer *w, const struct model_file *f,
                        const struct model_tensor *t)
{
    uint32_t part = 0;
    uint64_t offset = 0;
    bool stored = find_place(f, t, &part, &offset);
    json_begin_object(w);
    json_key(w, "name");
    json_write_text(w, t->name.data, t->name.len);
    json_key(w, "type");
    json_write_str(w, kernel_type_info(t->type)->name);
    json_key(w, "shape");
    json_begin_array(w);
    for (uint32_t d = 0; d < t->n_dims; d++)
        json_write_uint(w, t->ne[d]);
    json_end_array(w);
    json_key(w, "bytes");
    json_write_uint(w, t->bytes);
    json_key(w, "part");
    stored ? json_write_uint(w, part) : json_write_null(w);
    json_key(w, "offset");
    stored ? json_write_uint(w, offset) : json_write_null(w);
    json_end_object(w);
}

static void json_types(struct json_writer *w, const struct facts *x)
{
    json_begin_object(w);
    for (uint32_t t = 0; t < KERNEL_TYPE_COUNT; t++) {
        if (x->types[t].n_tensors == 0)
            continue;
        json_key(w, kernel_type_info(t)->name);
        json_begin_object(w);
        json_key(w, "n_tensors");
        json_write_uint(w, x->types[t].n_tensors);
        json_key(w, "n_params");
        json_write_uint(w, x->types[t].n_params);
        json_key(w, "bytes");
        json_write_uint(w, x->types[t].bytes);
        json_end_object(w);
    }
    json_end_object(w);
}

static void json_tokenizer(struct json_writer *w, const struct facts *x)
{
    if (x->tokenizer[0] == '\0' && x->tokenizer_err.code == 0) {
        json_write_null(w);
        return;
    }
    json_begin_object(w);
    if (x->tokenizer[0] != '\0') {
        json_key(w, "kind");
        json_write_str(w, x->tokenizer);
        json_key(w, "n_tokens");
        json_write_uint(w, x->n_tokens);
    } else {
        json_key(w, "error");
        json_write_str(w, x->tokenizer_err.text);
    }
    json_end_object(w);
}

static void json_summary(struct json_writer *w, const struct model_file *f, const struct facts *x)
{
    json_key(w, "path");
    json_write_str(w, f->path);
    json_key(w, "container");
    json_write_str(w, f->container == MODEL_GGUF ? "gguf" : "safetensors");
    json_key(w, "version");
    f->container == MODEL_GGUF ? json_write_uint(w, f->version) : json_write_null(w);
    json_key(w, "bytes");
    json_write_uint(w, f->bytes);
    json_key(w, "arch");
    json_write_str(w, f->arch);
    json_key(w, "family");
    json_write_str(w, f->arch);
    json_key(w, "tokenizer");
    json_tokenizer(w, x);
    json_key(w, "runs");
    json_write_bool(w, x->runs);
    json_key(w, "why_not");
    x->runs ? json_write_null(w) : json_write_str(w, x->why_not.text);
    json_key(w, "n_params");
    json_write_uint(w, x->n_params);
    json_key(w, "types");
    json_types(w, x);
}

static void write_json(const struct model_file *f, const struct facts *x, struct buf *out)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_begin_object(&w);
    json_summary(&w, f, x);
    json_key(&w, "meta");
    json_begin_object(&w);
    for (uint32_t i = 0; i < f->n_meta; i++)
        json_meta(&w, &f->meta[i]);
    json_end_object(&w);
    json_key(&w, "tensors");
    json_begin_array(&w);
    for (uint32_t i = 0; i < f->n_tensors; i++)
        json_tensor(&w, f, &f->tensors[i]);
    json_end_array(&w);
    json_end_object(&w);
}

int model_inspect(const struct model_file *f, bool json, struct buf *out, struct err *err)
{
    struct facts x;
    gather(f, &x);
    if (json)
        write_json(f, &x, out);
    else
        write_text(f, &x, out);
    if (buf_status(out) < 0)
        return err_set(err, buf_status(out), "the facts of %s do not fit in memory", f->path);
    return 0;
}
