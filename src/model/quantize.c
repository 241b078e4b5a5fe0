/* Quantising a model file. Which type a tensor gets is decided before anything is computed, so the
 * head of the output can be written first; the numbers follow tensor by tensor, each a batch of
 * rows at a time. */
#include "model/quantize.h"

#include <fnmatch.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/num.h"
#include "model/file_impl.h"
#include "model/gguf_write.h"

#define BATCH_BYTES ((size_t)4 << 20) /* of output; at least one row a thread */
#define COPY_BYTES ((size_t)16 << 20)
#define WORK_A_VALUE 64 /* multiply-adds a quantiser is worth, roughly */

/* --- which type --- */

/* Layers whose attn_v and ffn_down get the better type of a mix. */
enum favour { FAVOUR_NONE, FAVOUR_FIRST, FAVOUR_MORE, FAVOUR_ALL };

/* attn_v and ffn_down carry most of the error: the values of attention have no second chance, and
 * ffn_down sees the largest activations. head: output, or the embedding where it is both. */
struct mix {
    const char *name;
    uint32_t file_type; /* general.file_type as GGUF numbers it; NO_FILE_TYPE: not numbered */
    uint32_t base, head, value, down, out;
    enum favour favour;
};
#define NO_FILE_TYPE UINT32_MAX
#define PLAIN(type, id, head)                                                                      \
    { NULL, id, KERNEL_##type, KERNEL_##head, KERNEL_##type, KERNEL_##type, KERNEL_##type,         \
      FAVOUR_NONE }

static const struct mix MIXES[] = {
    { "Q2_K", 10, KERNEL_Q2_K, KERNEL_Q6_K, KERNEL_Q4_K, KERNEL_Q3_K, KERNEL_Q3_K, FAVOUR_ALL },
    { "Q3_K_S", 11, KERNEL_Q3_K, KERNEL_Q6_K, KERNEL_Q3_K, KERNEL_Q3_K, KERNEL_Q3_K, FAVOUR_NONE },
    { "Q3_K_M", 12, KERNEL_Q3_K, KERNEL_Q6_K, KERNEL_Q4_K, KERNEL_Q4_K, KERNEL_Q4_K, FAVOUR_ALL },
    { "Q3_K_L", 13, KERNEL_Q3_K, KERNEL_Q6_K, KERNEL_Q5_K, KERNEL_Q5_K, KERNEL_Q5_K, FAVOUR_ALL },
    { "Q4_K_S", 14, KERNEL_Q4_K, KERNEL_Q6_K, KERNEL_Q5_K, KERNEL_Q5_K, KERNEL_Q4_K, FAVOUR_FIRST },
    { "Q4_K_M", 15, KERNEL_Q4_K, KERNEL_Q6_K, KERNEL_Q6_K, KERNEL_Q6_K, KERNEL_Q4_K, FAVOUR_MORE },
    { "Q5_K_S", 16, KERNEL_Q5_K, KERNEL_Q6_K, KERNEL_Q5_K, KERNEL_Q5_K, KERNEL_Q5_K, FAVOUR_NONE },
    { "Q5_K_M", 17, KERNEL_Q5_K, KERNEL_Q6_K, KERNEL_Q6_K, KERNEL_Q6_K, KERNEL_Q5_K, FAVOUR_MORE },
    PLAIN(F32, 0, F32),
    PLAIN(F16, 1, F16),
    PLAIN(Q4_0, 2, Q6_K),
    PLAIN(Q4_1, 3, Q6_K),
    PLAIN(Q8_0, 7, Q8_0),
    PLAIN(Q5_0, 8, Q6_K),
    PLAIN(Q5_1, 9, Q6_K),
    PLAIN(Q3_K, 11, Q6_K),
    PLAIN(Q4_K, 14, Q6_K),
    PLAIN(Q5_K, 16, Q6_K),
    PLAIN(Q6_K, 18, Q6_K),
    PLAIN(IQ4_NL, 25, Q6_K),
    PLAIN(IQ4_XS, 30, Q6_K),
    PLAIN(BF16, 32, BF16),
    PLAIN(MXFP4, 38, Q8_0),
    PLAIN(NVFP4, 39, Q8_0),
};

static const char *mix_name(const struct mix *m)
{
    return m->name != NULL ? m->name : kernel_type_info(m->base)->name;
}

void quantize_type_names(char *out, size_t size)
{
    size_t at = 0;
    for (size_t i = 0; i < COUNT_OF(MIXES) && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%s", i > 0 ? ", " : "",
                               mix_name(&MIXES[i]));
}

static const struct mix *find_mix(const char *name)
{
    for (size_t i = 0; name != NULL && i < COUNT_OF(MIXES); i++)
        if (strcasecmp(mix_name(&MIXES[i]), name) == 0)
            return &MIXES[i];
    return NULL;
}

static int unknown_type(const char *name, struct err *err)
{
    char names[512];
    quantize_type_names(names, sizeof names);
    return err_set_field(err, E_USAGE, "type", "type %.32s: must be one of %s",
                         name != NULL ? name : "(none)", names);
}

/* The number format called `name`, of those that can be written. */
static int find_type(const char *name, uint32_t *out, struct err *err)
{
    for (uint32_t t = 0; t < KERNEL_TYPE_COUNT; t++) {
        const struct kernel_type_info *info = kernel_type_info(t);
        if (info != NULL && info->quantize != NULL && strcasecmp(info->name, name) == 0) {
            *out = t;
            return 0;
        }
    }
    return unknown_type(name, err);
}

/* What takes a row that is no multiple of the type's block: as many bits, shorter blocks. */
static uint32_t next_type(uint32_t type)
{
    switch (type) {
    case KERNEL_Q2_K: case KERNEL_Q3_K: case KERNEL_IQ4_XS: case KERNEL_NVFP4:
        return KERNEL_IQ4_NL;
    case KERNEL_Q4_K:
        return KERNEL_Q5_0;
    case KERNEL_Q5_K:
        return KERNEL_Q5_1;
    case KERNEL_Q6_K:
        return KERNEL_Q8_0;
    default:
        return KERNEL_F16;
    }
}

static bool has_part(struct text_str name, const char *part)
{
    return memmem(name.data, name.len, part, strlen(part)) != NULL;
}

/* "blk.7.ffn_down_exps.weight" begins its stem with "ffn_down"; *layer becomes 7. */
static bool stem_begins(struct text_str name, const char *stem, uint32_t *layer)
{
    char text[64] = "";
    uint32_t l;
    int at = 0;
    memcpy(text, name.data, num_min(name.len, sizeof text - 1));
    if (sscanf(text, "blk.%u.%n", &l, &at) != 1 || at == 0)
        return false;
    if (strncmp(text + at, stem, strlen(stem)) != 0)
        return false;
    *layer = l;
    return true;
}

/* Matrices stay as they are if they are small and steer much: routers, convolutions, positions. */
static bool is_kept(const struct model_tensor *t)
{
    static const char *const PARTS[] = { "_norm", "ffn_gate_inp", "ssm_conv1d", "position_embd",
                                         "token_types" };
    static const char ENDING[] = ".weight";
    size_t n = sizeof ENDING - 1;
    if (t->n_dims < 2 || t->ne[1] * t->ne[2] * t->ne[3] < 2 || t->name.len < n ||
        memcmp(t->name.data + t->name.len - n, ENDING, n) != 0)
        return true;
    for (size_t i = 0; i < COUNT_OF(PARTS); i++)
        if (has_part(t->name, PARTS[i]))
            return true;
    return false;
}

struct job {
    const struct model_file *in;
    struct device *dev;
    const struct quantize_params *p;
    struct quantize_report *report;
    const struct mix *mix;
    uint32_t n_layers;
    bool tied; /* no output.weight: the embedding is the head */
    struct model_tensor *tensors; /* of the output */
    struct model_meta *meta;
    uint32_t n_meta;
    uint8_t numbers[2][4]; /* values of the keys we set */
    uint32_t n_numbers;
    uint64_t done, total;
    float *rows; /* (threads, longest row) */
    uint8_t *out;
    size_t out_bytes;
    uint64_t row_max;
    struct err *err;
};

static bool is_favoured(const struct job *j, uint32_t layer)
{
    uint32_t n = j->n_layers, eighth = n / 8;
    if (j->mix->favour == FAVOUR_MORE)
        return layer < eighth || layer >= n - eighth || (layer - eighth) % 3 == 2;
    return j->mix->favour == FAVOUR_ALL || (j->mix->favour == FAVOUR_FIRST && layer < eighth);
}

static uint32_t mixed_type(const struct job *j, const struct model_tensor *t)
{
    const struct mix *m = j->mix;
    uint32_t layer = 0;
    bool embd = t->name.len == 17 && memcmp(t->name.data, "token_embd.weight", 17) == 0;
    if ((embd && j->tied) || (t->name.len == 13 && memcmp(t->name.data, "output.weight", 13) == 0))
        return m->head;
    if (stem_begins(t->name, "attn_v.", &layer) && is_favoured(j, layer))
        return m->value;
    if (stem_begins(t->name, "ffn_down", &layer) && is_favoured(j, layer))
        return m->down;
    if (stem_begins(t->name, "attn_output.", &layer) && is_favoured(j, layer))
        return m->out;
    return m->base;
}

/* 1 if a pattern names the tensor. */
static int pattern_type(const struct job *j, const struct model_tensor *t, uint32_t *type)
{
    char name[MODEL_NAME_MAX + 1] = "", glob[MODEL_NAME_MAX + 1];
    memcpy(name, t->name.data, num_min(t->name.len, MODEL_NAME_MAX));
    for (uint32_t i = 0; i < j->p->n_patterns; i++) {
        const char *equals = strrchr(j->p->patterns[i], '=');
        if (equals == NULL || equals == j->p->patterns[i] ||
            (size_t)(equals - j->p->patterns[i]) > MODEL_NAME_MAX)
            return err_set_field(j->err, E_USAGE, "tensor",
                                 "--tensor %.80s: GLOB=TYPE is wanted, \"blk.*.ffn_down.*=Q6_K\"",
                                 j->p->patterns[i]);
        memcpy(glob, j->p->patterns[i], (size_t)(equals - j->p->patterns[i]));
        glob[equals - j->p->patterns[i]] = '\0';
        TRY(find_type(equals + 1, type, j->err));
        if (fnmatch(glob, name, 0) == 0)
            return 1;
    }
    return 0;
}

static bool is_plain(uint32_t type)
{
    return type == KERNEL_F32 || type == KERNEL_F16 || type == KERNEL_BF16;
}

static int refuse_source(const struct job *j, const struct model_tensor *t,
                         const struct kernel_type_info *info)
{
    if (info == NULL || info->dequantize == NULL)
        return err_set_field(j->err, E_UNSUPPORTED, "type",
                             "tensor %.*s: type %s is not read; take a file of another "
                             "quantisation",
                             (int)t->name.len, t->name.data,
                             info != NULL ? info->name : "unknown");
    return err_set_field(j->err, E_USAGE, "requantize",
                         "tensor %.*s is %s already: quantising it again loses more than the type "
                         "says; start from an F16 or BF16 file, or insist with --requantize",
                         (int)t->name.len, t->name.data, info->name);
}

/* Decides out->type and its bytes. */
static int choose(struct job *j, const struct model_tensor *t, struct model_tensor *out)
{
    uint32_t type = t->type, wished;
    const struct kernel_type_info *have = kernel_type_info(t->type);
    *out = *t;
    int named = pattern_type(j, t, &type);
    if (named < 0)
        return named;
    if (named == 0 && is_kept(t))
        return 0;
    if (named == 0)
        type = j->p->pure ? j->mix->base : mixed_type(j, t);
    wished = type;
    while (t->ne[0] % kernel_type_info(type)->block_len != 0)
        type = next_type(type);
    if (type == t->type)
        return 0;
    if (have == NULL || have->dequantize == NULL || (!is_plain(t->type) && !j->p->requantize))
        return refuse_source(j, t, have);
    out->type = type;
    j->report->n_fallback += type != wished;
    j->report->n_quantized++;
    j->row_max = num_max(j->row_max, t->ne[0]);
    return model_tensor_weigh(out, j->err);
}

/* --- keys --- */

static bool key_is(struct text_str key, const char *name)
{
    return key.len == strlen(name) && memcmp(key.data, name, key.len) == 0;
}

static void add_number(struct job *j, const char *key, uint32_t x)
{
    uint8_t *at = j->numbers[j->n_numbers++];
    store_le32(at, x);
    j->meta[j->n_meta++] = (struct model_meta){ .key = { key, strlen(key) }, .kind = MODEL_U32,
                                                .n = 1, .data = at, .bytes = 4 };
}

static int plan_meta(struct job *j)
{
    uint32_t n = model_file_n_meta(j->in);
    bool version = false;
    j->meta = mem_alloc((size_t)n + 2, sizeof *j->meta);
    if (j->meta == NULL)
        return err_set(j->err, E_NOMEM, "no memory for %u keys", n);
    for (uint32_t i = 0; i < n; i++) {
        const struct model_meta *m = model_file_meta_at(j->in, i);
        if (key_is(m->key, "general.file_type") || key_is(m->key, "general.alignment") ||
            (m->key.len > 6 && memcmp(m->key.data, "split.", 6) == 0))
            continue;
        version = version || key_is(m->key, "general.quantization_version");
        j->meta[j->n_meta++] = *m;
    }
    if (j->mix->file_type != NO_FILE_TYPE)
        add_number(j, "general.file_type", j->mix->file_type);
    if (!version)
        add_number(j, "general.quantization_version", 2);
    return 0;
}

static int plan_tensors(struct job *j)
{
    uint32_t n = model_file_n_tensors(j->in);
    j->tied = model_file_tensor(j->in, "output.weight") == NULL;
    TRY(model_file_u32(j->in, ".block_count", &j->n_layers, j->err));
    j->tensors = mem_alloc((size_t)n + 1, sizeof *j->tensors);
    if (j->tensors == NULL)
        return err_set(j->err, E_NOMEM, "no memory for %u tensors", n);
    for (uint32_t i = 0; i < n; i++) {
        const struct model_tensor *t = model_file_tensor_at(j->in, i);
        TRY(choose(j, t, &j->tensors[i]));
        j->total += t->bytes;
        j->report->out_bytes += j->tensors[i].bytes;
        j->report->n_values += t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
    }
    j->report->in_bytes = j->total;
    j->report->n_tensors = n;
    return 0;
}

/* --- numbers --- */

struct batch {
    struct job *j;
    const struct model_tensor *from, *to;
    uint64_t row0;
    size_t in_row, out_row;
    atomic_bool bad; /* set by any thread, read when all are done */
};

static void row_task(void *ctx, uint32_t i, uint32_t thread)
{
    struct batch *b = ctx;
    size_t n = b->from->ne[0];
    float *x = b->j->rows + thread * b->j->row_max;
    bool bad = false;
    kernel_type_info(b->from->type)->dequantize(b->from->data + (b->row0 + i) * b->in_row, x, n);
    for (size_t k = 0; k < n; k++)
        bad = bad || !isfinite(x[k]);
    if (bad)
        atomic_store_explicit(&b->bad, true, memory_order_relaxed);
    kernel_type_info(b->to->type)->quantize(x, b->j->out + i * b->out_row, n);
}

static void tell(struct job *j, size_t bytes)
{
    j->done += bytes;
    if (j->p->progress != NULL)
        j->p->progress(j->p->ctx, j->done, j->total);
}

static int write_quantized(struct job *j, struct gguf_writer *w, const struct model_tensor *from,
                           const struct model_tensor *to)
{
    struct batch b = { .j = j, .from = from, .to = to };
    uint64_t n_rows = from->ne[1] * from->ne[2] * from->ne[3];
    TRY(kernel_row_bytes(&b.in_row, from->type, from->ne[0]));
    TRY(kernel_row_bytes(&b.out_row, to->type, from->ne[0]));
    uint64_t step = num_max(1, j->out_bytes / b.out_row);
    for (; b.row0 < n_rows; b.row0 += step) {
        uint32_t n = (uint32_t)num_min(step, n_rows - b.row0);
        device_for(j->dev, n, WORK_A_VALUE * from->ne[0], row_task, &b);
        if (atomic_load_explicit(&b.bad, memory_order_relaxed))
            return err_set_field(j->err, E_RANGE, "tensor",
                                 "tensor %.*s holds a number that is not finite: the file is "
                                 "damaged; fetch it again",
                                 (int)from->name.len, from->name.data);
        TRY(gguf_write_put(w, j->out, n * b.out_row, j->err));
        tell(j, n * b.in_row);
    }
    return 0;
}

static int write_copy(struct job *j, struct gguf_writer *w, const struct model_tensor *t)
{
    for (size_t at = 0; at < t->bytes; at += COPY_BYTES) {
        size_t n = num_min(COPY_BYTES, t->bytes - at);
        TRY(gguf_write_put(w, t->data + at, n, j->err));
        tell(j, n);
    }
    return 0;
}

static int write_all_tensors(struct job *j, struct gguf_writer *w)
{
    for (uint32_t i = 0; i < model_file_n_tensors(j->in); i++) {
        const struct model_tensor *from = model_file_tensor_at(j->in, i), *to = &j->tensors[i];
        TRY(from->type == to->type ? write_copy(j, w, from) : write_quantized(j, w, from, to));
        TRY(gguf_write_pad(w, j->err));
    }
    return 0;
}

static int make_room(struct job *j)
{
    size_t threads = device_threads(j->dev), row_bytes;
    j->out_bytes = BATCH_BYTES;
    for (uint32_t i = 0; i < model_file_n_tensors(j->in); i++) {
        const struct model_tensor *t = &j->tensors[i];
        TRY(kernel_row_bytes(&row_bytes, t->type, t->ne[0]));
        j->out_bytes = num_max(j->out_bytes, row_bytes);
    }
    j->rows = mem_alloc(threads * (j->row_max + 1), sizeof *j->rows);
    j->out = mem_alloc(1, j->out_bytes);
    return j->rows != NULL && j->out != NULL ? 0 : err_set(j->err, E_NOMEM, "no memory for rows");
}

static int run(struct job *j, const char *out_path)
{
    struct gguf_writer w;
    TRY(plan_tensors(j));
    TRY(plan_meta(j));
    TRY(make_room(j));
    const struct gguf_plan plan = { j->meta, j->n_meta, j->tensors, model_file_n_tensors(j->in) };
    TRY(gguf_write_open(&w, out_path, &plan, j->err));
    int rc = write_all_tensors(j, &w);
    if (rc == 0)
        return gguf_write_commit(&w, j->err);
    gguf_write_abort(&w);
    return rc;
}

int model_quantize(const struct model_file *in, struct device *dev, const char *out_path,
                   const struct quantize_params *params, struct quantize_report *report,
                   struct err *err)
{
    *report = (struct quantize_report){ 0 };
    struct job j = { .in = in, .dev = dev, .p = params, .report = report, .err = err };
    j.mix = find_mix(params->type);
    if (j.mix == NULL)
        return unknown_type(params->type, err);
    if (model_file_container(in) != MODEL_GGUF)
        return err_set_field(err, E_UNSUPPORTED, "model",
                             "%s is a safetensors directory: only GGUF files are quantised; "
                             "convert it to an F16 GGUF file first",
                             model_file_path(in));
    int rc = run(&j, out_path);
    mem_free(j.tensors);
    mem_free(j.meta);
    mem_free(j.rows);
    mem_free(j.out);
    return rc;
}
