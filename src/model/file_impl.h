/* model/file_impl.h - the inside of struct model_file, for the parsers of this folder only.
 *
 * Idea: a parser opens parts, adds keys and tensors through the functions below, which check names
 * and refuse duplicates, and is done. What a parser makes up itself (keys from config.json, RoPE
 * factors) lies in the arena; everything else points into the mappings.
 *
 *     parts[0..n)   mappings, verified once and used from there (F-51)
 *     meta[]        by meta_map      key -> index
 *     tensors[]     by tensor_map    name -> index
 *
 * Invariants: every key and name is valid UTF-8, not empty, at most MODEL_NAME_MAX bytes, and
 * unique; tensor data lies inside a part or in the arena. Threads: one, until open returns. */
#ifndef MODEL_FILE_IMPL_H
#define MODEL_FILE_IMPL_H

#include "base/map.h"
#include "base/mem.h"
#include "model/file.h"
#include "os/file.h"

/* Limits L13, L14 of the operations specification, and those it leaves open. */
#define MODEL_META_MAX 65536u
#define MODEL_TENSORS_MAX 65536u
#define MODEL_STRING_MAX (16u << 20)
#define MODEL_ITEMS_MAX (16u << 20) /* of one array */
#define MODEL_ALIGN_MAX 65536u
#define MODEL_NAME_MAX 1024u               /* a key or tensor name */
#define MODEL_HEAD_MAX ((size_t)512 << 20) /* GGUF: metadata and tensor table together */
#define MODEL_PARTS_MAX 1024u
#define MODEL_ARENA_MAX ((size_t)256 << 20)
#define MODEL_ARCH_MAX 63

struct model_file {
    enum model_container container;
    uint32_t version; /* of GGUF */
    char *path;
    uint64_t bytes;
    char arch[MODEL_ARCH_MAX + 1];
    struct model_conv conv;
    struct os_map *parts;
    uint32_t n_parts; /* mapped by us */
    bool in_memory;   /* parts[0] is the caller's memory, with fd < 0 */
    struct model_meta *meta;
    uint32_t n_meta, cap_meta;
    struct model_tensor *tensors;
    uint32_t n_tensors, cap_tensors;
    struct map meta_map, tensor_map;
    struct arena arena;
    /* safetensors directories only; NULL if absent */
    const char *tokenizer_json;             /* the last part */
    char *tokenizer_config, *chat_template; /* owned */
    size_t tokenizer_json_len, tokenizer_config_len, chat_template_len;
};

/* Room for n more; E_NOMEM, E_LIMIT over the caps. */
NODISCARD int model_file_reserve_meta(struct model_file *f, uint32_t n, struct err *err);
NODISCARD int model_file_reserve_tensors(struct model_file *f, uint32_t n, struct err *err);

/* Adds one; E_FORMAT for a bad or doubled name, E_LIMIT, E_NOMEM. The bytes pointed at are kept. */
NODISCARD int model_file_add_meta(struct model_file *f, const struct model_meta *m,
                                  struct err *err);
NODISCARD int model_file_add_tensor(struct model_file *f, const struct model_tensor *t,
                                    struct err *err);

/* Adds a made-up key; "." in front stands for the architecture. Values are copied. */
NODISCARD int model_file_put_u32(struct model_file *f, const char *key, uint32_t x,
                                 struct err *err);
NODISCARD int model_file_put_f32(struct model_file *f, const char *key, float x, struct err *err);
NODISCARD int model_file_put_bool(struct model_file *f, const char *key, bool x, struct err *err);
NODISCARD int model_file_put_str(struct model_file *f, const char *key, const char *s, size_t len,
                                 struct err *err);
/* n items of kind U32, I32, F32 or BOOL in machine form (BOOL: uint32_t 0 or 1). */
NODISCARD int model_file_put_array(struct model_file *f, const char *key, enum model_meta_kind kind,
                                   const void *items, uint32_t n, struct err *err);
/* Adds an owned F32 vector of n values. */
NODISCARD int model_file_put_vector(struct model_file *f, const char *name, const float *x,
                                    uint32_t n, struct err *err);

/* Bytes of one scalar of the kind; 0 for strings and arrays. */
size_t model_meta_kind_bytes(enum model_meta_kind kind);
const char *model_meta_kind_name(enum model_meta_kind kind); /* "u32" */
/* Item i of a number or array of numbers as a double or integer; false where the kind does not fit.
 */
bool model_meta_number(const struct model_meta *m, uint64_t i, double *out);
bool model_meta_integer(const struct model_meta *m, uint64_t i, int64_t *out);

/* Stepping through an array of strings: start at *at = 0; false after the last. */
bool model_meta_next_str(const struct model_meta *m, size_t *at, struct text_str *out);

/* What a tensor of this type and shape weighs; fills t->bytes. E_FORMAT, E_UNSUPPORTED name the
 * tensor. */
NODISCARD int model_tensor_weigh(struct model_tensor *t, struct err *err);

/* The parsers: fill an empty file. On failure the caller closes it. */
NODISCARD int model_gguf_read(struct model_file *f, struct err *err);
NODISCARD int model_hf_read(struct model_file *f, struct err *err);

/* GGUF: the vocabulary in the metadata, as a tokenizer. */
NODISCARD int model_vocab_create(const struct model_file *f, struct text_tokenizer **out,
                                 struct err *err);

#endif
