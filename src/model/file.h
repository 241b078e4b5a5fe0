/* model/file.h - a model on disk, whatever its container: metadata and tensors by name.
 *
 * Idea: GGUF files and safetensors directories are read by two parsers into one form, struct
 * model_file. Names and keys are GGUF's ("blk.0.attn_q.weight", "{arch}.block_count"); the
 * safetensors reader translates config.json and Hugging Face tensor names, and notes in `conv`
 * where the two containers store different numbers. Families are written once, against this form.
 *
 *     model.gguf ------- gguf.c --+
 *                                 +--> struct model_file { meta by key, tensors by name, vocabulary
 * } config.json, *.safetensors -+ tokenizer.json -- safetensors.c
 *
 * Reading is two passes (R3): everything is validated against the file's size and the limits
 * L13/L14 before anything is interpreted; then tensor data is used straight from the read-only
 * mapping.
 *
 * Ownership: the file owns all it returns, until model_file_close. Threads: immutable after open.
 * Cost: open touches the header only. */
#ifndef MODEL_FILE_H
#define MODEL_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "text/tokenizer.h"

#define MODEL_DIMS_MAX 4

struct model_tensor {
    struct text_str name;
    uint32_t type; /* enum kernel_type, of known size; Naru may not compute with it */
    uint32_t n_dims;
    uint64_t ne[MODEL_DIMS_MAX]; /* fastest first, as GGUF: ne[0] = in; missing dims are 1 */
    const uint8_t *data;
    size_t bytes;
};

/* Metadata value kinds, numbered as in GGUF. */
enum model_meta_kind {
    MODEL_U8,
    MODEL_I8,
    MODEL_U16,
    MODEL_I16,
    MODEL_U32,
    MODEL_I32,
    MODEL_F32,
    MODEL_BOOL,
    MODEL_STRING,
    MODEL_ARRAY,
    MODEL_U64,
    MODEL_I64,
    MODEL_F64
};

struct model_meta {
    struct text_str key;
    enum model_meta_kind kind;
    enum model_meta_kind item_kind; /* of an array */
    uint64_t n;                     /* items of an array, else 1 */
    const uint8_t *data;            /* little-endian as in the file; a string: its characters; an */
    size_t bytes; /* array of strings: u64 length and characters, one after another */
};

enum model_container { MODEL_GGUF, MODEL_SAFETENSORS };

struct model_file;

/* Opens a .gguf file, or a directory with config.json and *.safetensors. Refuses with one line that
 * names the field and the mend. E_NOT_FOUND, E_IO, E_FORMAT, E_LIMIT, E_UNSUPPORTED, E_NOMEM. */
NODISCARD int model_file_open(struct model_file **out, const char *path, struct err *err);
/* The same for a GGUF file that lies in memory, which is borrowed until close. Splits are refused.
 */
NODISCARD int model_file_open_bytes(struct model_file **out, const void *data, size_t bytes,
                                    struct err *err);
void model_file_close(struct model_file *f);

enum model_container model_file_container(const struct model_file *f);
uint32_t model_file_version(const struct model_file *f); /* of GGUF: 2 or 3; 0 for safetensors */
const char *model_file_path(const struct model_file *f);
uint64_t model_file_bytes(const struct model_file *f);   /* of all its parts on disk */
const char *model_file_arch(const struct model_file *f); /* "llama"; "" if the file does not say */

uint32_t model_file_n_meta(const struct model_file *f);
const struct model_meta *model_file_meta_at(const struct model_file *f, uint32_t i);
uint32_t model_file_n_tensors(const struct model_file *f);
const struct model_tensor *model_file_tensor_at(const struct model_file *f, uint32_t i);

/* By name; NULL if absent. */
const struct model_meta *model_file_meta(const struct model_file *f, const char *key);
const struct model_tensor *model_file_tensor(const struct model_file *f, const char *name);

/* The tensor's bytes are not needed for now: their pages leave this process's memory, and come back
 * from the file when touched. */
void model_file_drop(const struct model_file *f, const struct model_tensor *t);

/* Scalars. A key that begins with "." is looked up behind the architecture's name (".block_count"
 * -> "llama.block_count"). Absent: 0 and *out untouched (preset the default). Wrong kind or out of
 * range for the type: E_FORMAT naming the key. Integers of any width convert; numbers convert to
 * float. */
NODISCARD int model_file_u32(const struct model_file *f, const char *key, uint32_t *out,
                             struct err *err);
NODISCARD int model_file_f32(const struct model_file *f, const char *key, float *out,
                             struct err *err);
NODISCARD int model_file_bool(const struct model_file *f, const char *key, bool *out,
                              struct err *err);
/* A string; {NULL, 0} if absent. */
NODISCARD int model_file_str(const struct model_file *f, const char *key, struct text_str *out,
                             struct err *err);
/* Item i of an array of numbers (or the scalar itself for every i: GGUF stores per-layer values
 * either way). Absent: 0, *out untouched. */
NODISCARD int model_file_item_u32(const struct model_file *f, const char *key, uint32_t i,
                                  uint32_t *out, struct err *err);

/* The same for numbers that may have a fraction. */
NODISCARD int model_file_item_f32(const struct model_file *f, const char *key, uint32_t i,
                                  float *out, struct err *err);

/* How this container's numbers differ from GGUF's convention; a family asks when it binds tensors.
 */
struct model_conv {
    bool rope_split_half;  /* llama: Q/K rows are not permuted for adjacent pairs */
    bool norm_without_one; /* gemma: norm weights are w, not w + 1 */
};
struct model_conv model_file_conv(const struct model_file *f);

/* Builds the tokenizer the file carries. E_NOT_FOUND if it carries none. */
NODISCARD int model_file_tokenizer(const struct model_file *f, struct text_tokenizer **out,
                                   struct err *err);
/* The chat template's source; {NULL, 0} if none. */
struct text_str model_file_chat_template(const struct model_file *f);

#endif
