/* Opening a model directory: config.json decides, tensors follow, tokenizer files are mapped for
 * later. File names come from the index of shards only as plain names inside the directory (R21);
 * nothing in the directory is ever executed, and pickles are not read (R23). */
#include "model/hf.h"

#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "model/safetensors.h"

#define CONFIG_BYTES_MAX ((size_t)4 << 20)
#define INDEX_BYTES_MAX ((size_t)16 << 20)
#define TOKENIZER_BYTES_MAX ((size_t)64 << 20)
#define TEMPLATE_BYTES_MAX ((size_t)4 << 20)
#define PATH_BYTES 4096
#define INDEX_NAME "model.safetensors.index.json"

static const struct json_limits CONFIG_LIMITS = {
    .bytes_max = CONFIG_BYTES_MAX, .depth_max = 32, .nodes_max = 40000, .string_max = 4u << 20
};
static const struct json_limits INDEX_LIMITS = { .bytes_max = INDEX_BYTES_MAX,
                                                 .depth_max = 8,
                                                 .nodes_max = 2 * MODEL_TENSORS_MAX,
                                                 .string_max = 4096 };

/* --- files of the directory --- */

/* dir/name. Fixed room, so that asking whether a file is there cannot fail for lack of memory. */
static int join(char out[PATH_BYTES], const char *dir, const char *name, struct err *err)
{
    size_t len = strlen(dir);
    const char *slash = len > 0 && dir[len - 1] == '/' ? "" : "/";
    int n = snprintf(out, PATH_BYTES, "%s%s%s", dir, slash, name);
    if (n < 0 || n >= PATH_BYTES)
        return err_set(err, E_LIMIT, "the path of %s has more than %d bytes; move the model", name,
                       PATH_BYTES - 1);
    return 0;
}

static bool have(const struct model_file *f, const char *name)
{
    char path[PATH_BYTES];
    return join(path, f->path, name, NULL) >= 0 && os_exists(path);
}

static int read_small(struct model_file *f, const char *name, size_t max, char **out, size_t *len,
                      struct err *err)
{
    char path[PATH_BYTES];
    TRY(join(path, f->path, name, err));
    TRY(os_read_file(path, max, out, len, err));
    f->bytes += *len;
    return 0;
}

static int read_json(struct model_file *f, const char *name, const struct json_limits *limits,
                     json_value **out, struct err *err)
{
    char *text;
    size_t len;
    struct err inner = { 0 };
    TRY(read_small(f, name, limits->bytes_max, &text, &len, err));
    int rc = json_parse(out, text, len, limits, &inner);
    mem_free(text);
    if (rc >= 0 && json_kind_of(*out) == JSON_OBJECT)
        return 0;
    if (rc >= 0)
        json_free(*out);
    return err_set_field(err, rc < 0 ? rc : E_FORMAT, name,
                         "%s: %s; take the file as the model's author "
                         "published it",
                         name, rc < 0 ? inner.text : "not a JSON object");
}

static int open_part(struct model_file *f, const char *name, struct err *err)
{
    char path[PATH_BYTES];
    TRY(join(path, f->path, name, err));
    if (f->n_parts == MODEL_PARTS_MAX)
        return err_set(err, E_LIMIT, "more than %u files of weights; save the model in fewer",
                       MODEL_PARTS_MAX);
    struct os_map *parts = mem_realloc(f->parts, (size_t)f->n_parts + 1, sizeof *parts);
    if (parts == NULL)
        return err_set(err, E_NOMEM, "no memory to open %s", name);
    f->parts = parts;
    TRY(os_map_open(&f->parts[f->n_parts], path, err));
    f->bytes += f->parts[f->n_parts].size;
    f->n_parts++;
    return 0;
}

/* --- tensors --- */

/* Adds a tensor of a shard under its GGUF name. */
static int add_tensor(struct hf *h, const struct model_tensor *from)
{
    char name[MODEL_NAME_MAX + 1];
    struct model_tensor t = *from;
    enum hf_name is = hf_name_translate(h, from->name, name);
    if (is == HF_NAME_SKIP)
        return 0;
    if (is == HF_NAME_UNKNOWN)
        return err_set_field(h->err, E_UNSUPPORTED, "tensor name",
                             "tensor %.*s: a %s model has no such part that "
                             "Naru computes; merge adapters first, or give a GGUF file",
                             (int)num_min(from->name.len, 80), from->name.data,
                             h->family->model_type);
    char *owned = arena_strndup(&h->f->arena, name, strlen(name));
    if (owned == NULL)
        return err_set(h->err, E_NOMEM, "no memory for the names of tensors");
    t.name = (struct text_str){ owned, strlen(owned) };
    return model_file_add_tensor(h->f, &t, h->err);
}

/* One shard. index (may be NULL): its weight_map must name exactly the tensors that are here. */
static int add_shard(struct hf *h, const char *file, const json_value *weight_map, uint32_t *n_seen)
{
    struct model_tensor *list;
    uint32_t n;
    struct err inner = { 0 };
    TRY(open_part(h->f, file, h->err));
    int rc = model_safetensors_read(&h->f->parts[h->f->n_parts - 1], &list, &n, &inner);
    if (rc < 0)
        return err_set_field(h->err, rc, inner.field, "%.100s: %s", file, inner.text);
    for (uint32_t i = 0; i < n && rc >= 0; i++) {
        char name[MODEL_NAME_MAX + 1];
        size_t len = num_min(list[i].name.len, MODEL_NAME_MAX);
        memcpy(name, list[i].name.data, len);
        name[len] = '\0';
        const char *where = weight_map == NULL ? file : hf_get_text(weight_map, name);
        if (where == NULL || strcmp(where, file) != 0)
            rc = err_set_field(h->err, E_FORMAT, "weight_map",
                               INDEX_NAME ": tensor %.80s is in %.100s, which the "
                                          "index does not say; fetch the model again",
                               name, file);
        else
            rc = add_tensor(h, &list[i]);
    }
    mem_free(list);
    *n_seen += n;
    return rc;
}

/* Walks weight_map: each file is opened when it is first named. */
struct shard_walk {
    struct hf *h;
    const json_value *weight_map;
    struct map files;
    uint32_t n_seen;
};

static int visit_shard(void *ctx, const char *key, json_value *member)
{
    struct shard_walk *w = ctx;
    size_t len;
    bool existed = false;
    const char *file = json_text(member, &len);
    if (file == NULL || len < 1 || len > 255 || strlen(file) != len || file[0] == '.' ||
        strchr(file, '/') != NULL || len < 12 || strcmp(file + len - 12, ".safetensors") != 0)
        return err_set_field(w->h->err, E_FORMAT, "weight_map",
                             INDEX_NAME ": %.80s: not the name of a "
                                        ".safetensors file in this directory; fetch the model "
                                        "again",
                             key);
    if (map_put(&w->files, file, len, 0, &existed) < 0)
        return err_set(w->h->err, E_NOMEM, "no memory for the index of shards");
    return existed ? 0 : add_shard(w->h, file, w->weight_map, &w->n_seen);
}

static int read_index(struct hf *h)
{
    json_value *index;
    TRY(read_json(h->f, INDEX_NAME, &INDEX_LIMITS, &index, h->err));
    struct shard_walk w = { .h = h, .weight_map = json_get(index, "weight_map") };
    int rc = 0;
    if (json_kind_of(w.weight_map) != JSON_OBJECT)
        rc = err_set_field(h->err, E_FORMAT, "weight_map",
                           INDEX_NAME ": weight_map is missing; fetch the "
                                      "model again");
    else if (map_init(&w.files, 0) < 0)
        rc = err_set(h->err, E_NOMEM, "no memory for the index of shards");
    if (rc >= 0)
        rc = json_each(w.weight_map, visit_shard, &w);
    if (rc >= 0 && json_len(w.weight_map) != w.n_seen)
        rc = err_set_field(h->err, E_FORMAT, "weight_map",
                           INDEX_NAME ": names %zu tensors, the files hold "
                                      "%u; fetch the model again",
                           json_len(w.weight_map), w.n_seen);
    map_fini(&w.files);
    json_free(index);
    return rc;
}

static int read_weights(struct hf *h)
{
    uint32_t n_seen = 0;
    if (have(h->f, "model.safetensors"))
        TRY(add_shard(h, "model.safetensors", NULL, &n_seen));
    else if (have(h->f, INDEX_NAME))
        TRY(read_index(h));
    else if (have(h->f, "pytorch_model.bin") || have(h->f, "pytorch_model.bin.index.json"))
        return err_set(h->err, E_UNSUPPORTED,
                       "%s: holds PyTorch pickles, which may carry code; convert them "
                       "to safetensors",
                       h->f->path);
    else
        return err_set(h->err, E_NOT_FOUND,
                       "%s: holds neither model.safetensors nor " INDEX_NAME "; fetch the model "
                       "again",
                       h->f->path);
    if (h->family != NULL && !h->tied && model_file_tensor(h->f, "output.weight") == NULL)
        return err_set_field(h->err, E_FORMAT, "lm_head.weight",
                             "tensor lm_head.weight is missing, and "
                             "config.json does not say tie_word_embeddings; fetch the model again");
    return 0;
}

/* --- config.json --- */

static int translate(struct hf *h)
{
    const char *type = hf_get_text(h->root, "model_type");
    const json_value *text = json_get(h->root, "text_config");
    h->config = h->root;
    if (json_kind_of(text) == JSON_OBJECT && hf_get_text(text, "model_type") != NULL) {
        h->config = text;
        type = hf_get_text(text, "model_type");
    }
    if (type == NULL)
        return err_set_field(h->err, E_FORMAT, "model_type",
                             "config.json: model_type is missing; take "
                             "config.json as the model's author published it");
    if (json_has(h->root, "quantization_config"))
        return err_set_field(h->err, E_UNSUPPORTED, "quantization_config",
                             "config.json: quantization_config: quantised safetensors are "
                             "not read; take the BF16 model, or a GGUF file");
    h->family = hf_family_find(type);
    const char *arch = h->family != NULL ? h->family->arch : type;
    if (strlen(arch) > MODEL_ARCH_MAX)
        return err_set_field(h->err, E_LIMIT, "model_type",
                             "config.json: model_type is longer than %d bytes", MODEL_ARCH_MAX);
    memcpy(h->f->arch, arch, strlen(arch) + 1);
    TRY(model_file_put_str(h->f, "general.architecture", arch, strlen(arch), h->err));
    return h->family == NULL ? 0 : hf_config_translate(h);
}

/* --- text --- */

/* chat_template: a string, or a list of {name, template} with one called "default". */
static const char *find_template(const json_value *config, size_t *len)
{
    const json_value *v = json_get(config, "chat_template");
    const char *name;
    for (size_t i = 0; json_kind_of(v) == JSON_ARRAY && i < json_len(v); i++) {
        name = hf_get_text(json_at(v, i), "name");
        if (name != NULL && strcmp(name, "default") == 0)
            return json_text(json_get(json_at(v, i), "template"), len);
    }
    return json_text(v, len);
}

static int read_template(struct model_file *f, struct err *err)
{
    json_value *config;
    struct err inner = { 0 };
    struct json_limits limits = JSON_LIMITS_FILE;
    if (have(f, "chat_template.jinja"))
        return read_small(f, "chat_template.jinja", TEMPLATE_BYTES_MAX, &f->chat_template,
                          &f->chat_template_len, err);
    if (f->tokenizer_config == NULL)
        return 0;
    limits.nodes_max = 70000; /* some list ten thousand added tokens */
    int rc = json_parse(&config, f->tokenizer_config, f->tokenizer_config_len, &limits, &inner);
    if (rc < 0)
        return err_set_field(err, rc, "tokenizer_config.json",
                             "tokenizer_config.json: %s; take the file as "
                             "the model's author published it",
                             inner.text);
    size_t len = 0;
    const char *text = find_template(config, &len);
    if (text != NULL) {
        f->chat_template = mem_strndup(text, len);
        f->chat_template_len = len;
    }
    json_free(config);
    return text != NULL && f->chat_template == NULL
               ? err_set(err, E_NOMEM, "no memory for the template")
               : 0;
}

/* eos_token_id of generation_config.json, else of config.json: a number or a list of them. */
static int put_ends(struct hf *h, const json_value *from)
{
    const json_value *eos = json_get(from, "eos_token_id");
    uint32_t ids[64], n = 0;
    bool list = json_kind_of(eos) == JSON_ARRAY;
    for (size_t i = 0; i < (list ? json_len(eos) : eos != NULL) && n < COUNT_OF(ids); i++) {
        const json_value *v = list ? json_at(eos, i) : eos;
        int64_t x = json_kind_of(v) == JSON_INT ? json_as_int(v) : -1;
        if (x < 0 || x > INT32_MAX)
            return err_set_field(h->err, E_FORMAT, "eos_token_id",
                                 "generation_config.json: eos_token_id: a token "
                                 "id is wanted; take the file as the model's author published it");
        ids[n++] = (uint32_t)x;
    }
    if (n == 0)
        return 0;
    TRY(model_file_put_u32(h->f, "tokenizer.ggml.eos_token_id", ids[0], h->err));
    return model_file_put_array(h->f, "tokenizer.ggml.eos_token_ids", MODEL_U32, ids, n, h->err);
}

static int read_ends(struct hf *h)
{
    json_value *config;
    if (!have(h->f, "generation_config.json"))
        return put_ends(h, h->root);
    TRY(read_json(h->f, "generation_config.json", &CONFIG_LIMITS, &config, h->err));
    int rc = put_ends(h, json_get(config, "eos_token_id") != NULL ? config : h->root);
    json_free(config);
    return rc;
}

static int read_text(struct hf *h)
{
    struct model_file *f = h->f;
    if (have(f, "tokenizer_config.json"))
        TRY(read_small(f, "tokenizer_config.json", INDEX_BYTES_MAX, &f->tokenizer_config,
                       &f->tokenizer_config_len, h->err));
    TRY(read_template(f, h->err));
    TRY(read_ends(h));
    if (!have(f, "tokenizer.json"))
        return 0;
    TRY(open_part(f, "tokenizer.json", h->err));
    const struct os_map *map = &f->parts[f->n_parts - 1];
    if (map->size > TOKENIZER_BYTES_MAX)
        return err_set_field(h->err, E_LIMIT, "tokenizer.json",
                             "tokenizer.json: %zu bytes, at most %zu are read", map->size,
                             TOKENIZER_BYTES_MAX);
    f->tokenizer_json = (const char *)map->data;
    f->tokenizer_json_len = map->size;
    return 0;
}

int model_hf_read(struct model_file *f, struct err *err)
{
    json_value *root;
    f->container = MODEL_SAFETENSORS;
    if (!have(f, "config.json"))
        return err_set_field(err, E_NOT_FOUND, "config.json",
                             "%s: holds no config.json; give a model directory "
                             "or a .gguf file",
                             f->path);
    TRY(read_json(f, "config.json", &CONFIG_LIMITS, &root, err));
    struct hf h = { .f = f, .root = root, .err = err };
    int rc = translate(&h);
    if (rc >= 0)
        rc = read_weights(&h);
    if (rc >= 0)
        rc = read_text(&h);
    json_free(root);
    return rc;
}
