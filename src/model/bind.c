/* Keys and tensors, one by one. The parts made of them stand in bind_parts.c. */
#include "model/bind.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"

#define CONVERT "convert the model again from its source"

/* --- keys --- */

/* The key as the file has it: "llama.block_count". */
static const char *full_key(const struct bind *b, const char *key, char out[BIND_NAME_MAX])
{
    snprintf(out, BIND_NAME_MAX, "%s%s", key[0] == '.' ? model_file_arch(b->file) : "", key);
    return out;
}

int bind_u32(struct bind *b, const char *key, uint32_t min, uint32_t max, uint32_t *out)
{
    char name[BIND_NAME_MAX];
    uint32_t x = *out;
    TRY(model_file_u32(b->file, key, &x, b->err));
    full_key(b, key, name);
    if (model_file_meta(b->file, name) == NULL && (x < min || x > max))
        return err_set_field(b->err, E_FORMAT, name, "key %s is missing; " CONVERT, name);
    if (x < min || x > max)
        return err_set_field(b->err, E_FORMAT, name,
                             "key %s is %u, a number from %u to %u is wanted; " CONVERT, name, x,
                             min, max);
    *out = x;
    return 0;
}

int bind_f32(struct bind *b, const char *key, float *out)
{
    char name[BIND_NAME_MAX];
    float x = *out;
    TRY(model_file_f32(b->file, key, &x, b->err));
    full_key(b, key, name);
    if (!isfinite(x))
        return err_set_field(b->err, E_FORMAT, name, "key %s is not a finite number; " CONVERT,
                             name);
    *out = x;
    return 0;
}

int bind_windowed(struct bind *b, uint32_t l, uint32_t period, bool *out)
{
    char name[BIND_NAME_MAX];
    full_key(b, ".attention.sliding_window_pattern", name);
    const struct model_meta *meta = model_file_meta(b->file, name);
    if (meta != NULL && meta->kind == MODEL_ARRAY) {
        uint32_t x = 0;
        TRY(model_file_item_u32(b->file, name, l, &x, b->err));
        *out = x != 0;
        return 0;
    }
    TRY(bind_u32(b, name, 0, MODEL_LAYERS_MAX, &period));
    *out = period == 0 || (l + 1) % period != 0;
    return 0;
}

/* --- tensors --- */

void bind_name(char name[BIND_NAME_MAX], uint32_t l, const char *stem, const char *ending)
{
    if (l == BIND_GLOBAL)
        snprintf(name, BIND_NAME_MAX, "%s%s", stem, ending);
    else
        snprintf(name, BIND_NAME_MAX, "blk.%u.%s%s", l, stem, ending);
}

bool bind_has(const struct bind *b, uint32_t l, const char *stem)
{
    char name[BIND_NAME_MAX];
    bind_name(name, l, stem, ".weight");
    return model_file_tensor(b->file, name) != NULL;
}

static int wrong_shape(struct bind *b, const struct model_tensor *t, const char *name,
                       const uint64_t *ne, uint32_t n_dims)
{
    char have[128] = "", want[128] = "";
    for (uint32_t i = 0; i < n_dims; i++)
        snprintf(want + strlen(want), sizeof want - strlen(want), "%s%llu", i > 0 ? " x " : "",
                 (unsigned long long)ne[i]);
    for (uint32_t i = 0; i < t->n_dims && i < MODEL_DIMS_MAX; i++)
        snprintf(have + strlen(have), sizeof have - strlen(have), "%s%llu", i > 0 ? " x " : "",
                 (unsigned long long)t->ne[i]);
    return err_set_field(b->err, E_FORMAT, name, "tensor %s is %s, the keys ask for %s; " CONVERT,
                         name, have, want);
}

int bind_tensor(struct bind *b, const struct model_tensor **out, const char *name,
                const uint64_t *ne, uint32_t n_dims)
{
    const struct model_tensor *t = model_file_tensor(b->file, name);
    if (t == NULL) {
        char want[128] = "";
        for (uint32_t i = 0; i < n_dims; i++)
            snprintf(want + strlen(want), sizeof want - strlen(want), "%s%llu", i > 0 ? " x " : "",
                     (unsigned long long)ne[i]);
        return err_set_field(b->err, E_FORMAT, name, "tensor %s (%s) is missing; " CONVERT, name,
                             want);
    }
    for (uint32_t i = 0; i < MODEL_DIMS_MAX; i++)
        if (t->ne[i] != (i < n_dims ? ne[i] : 1))
            return wrong_shape(b, t, name, ne, n_dims);
    const struct kernel_type_info *info = kernel_type_info(t->type);
    if (info == NULL || info->dequantize == NULL)
        return err_set_field(b->err, E_UNSUPPORTED, name,
                             "tensor %s: Naru does not compute with type %s; take a file of "
                             "another "
                             "quantisation, Q4_K_M for instance",
                             name, info != NULL ? info->name : "unknown");
    uint32_t at = (uint32_t)(t - model_file_tensor_at(b->file, 0));
    if (!b->used[at]) {
        uint64_t n = 1;
        for (uint32_t i = 0; i < MODEL_DIMS_MAX; i++)
            n *= t->ne[i]; /* cannot overflow: the bytes of the tensor fit the file */
        b->used[at] = 1;
        b->m->info.n_params += n;
        b->m->info.weight_bytes += t->bytes;
    }
    *out = t;
    return 0;
}

int bind_vector(struct bind *b, const float **out, const char *name, uint32_t n)
{
    const struct model_tensor *t;
    uint64_t ne = n;
    if (model_file_tensor(b->file, name) == NULL)
        return E_NOT_FOUND;
    TRY(bind_tensor(b, &t, name, &ne, 1));
    if (t->type == KERNEL_F32 && (uintptr_t)t->data % sizeof(float) == 0) {
        *out = (const float *)(const void *)t->data;
        return 0;
    }
    if (!b->touch)
        return 0;
    float *x = arena_alloc(&b->m->arena, n, sizeof *x);
    if (x == NULL)
        return err_set(b->err, E_NOMEM, "no memory for tensor %s", name);
    kernel_type_info(t->type)->dequantize(t->data, x, n);
    *out = x;
    return 0;
}

/* The optional factor on a matrix: "stem.scale", one number. */
static int bind_scale(struct bind *b, struct block_linear *out, uint32_t l, const char *stem)
{
    char name[BIND_NAME_MAX];
    const float *scale = NULL;
    out->scale = 1;
    bind_name(name, l, stem, ".scale");
    int rc = bind_vector(b, &scale, name, 1);
    if (rc == E_NOT_FOUND)
        return 0;
    TRY(rc);
    if (out->mat.bias != NULL)
        return err_set_field(b->err, E_UNSUPPORTED, name,
                             "%s stands beside a bias: which comes first is not known", name);
    if (b->touch)
        out->scale = *scale;
    return isfinite(out->scale)
               ? 0
               : err_set_field(b->err, E_FORMAT, name, "tensor %s is not finite; " CONVERT, name);
}

void bind_done(struct bind *b, const struct model_tensor *t)
{
    if (!b->touch)
        return;
    if (kernel_act_kind(t->type) != KERNEL_ACT_F32)
        model_file_drop(b->file, t);
    b->done_bytes += t->bytes;
    if (b->params != NULL && b->params->progress != NULL)
        b->params->progress(b->params->progress_ctx, b->done_bytes, model_file_bytes(b->file));
}

int bind_mat(struct bind *b, struct device_mat *out, const struct model_tensor *t,
             const uint32_t dims[2], size_t offset)
{
    int rc = device_mat_init(b->m->store, out, t->type, dims[0], dims[1], t->data + offset);
    if (rc < 0)
        return err_set_field(b->err, rc, "tensor", "tensor %.*s: %s", (int)t->name.len,
                             t->name.data, err_code_text(rc));
    return 0;
}

/* store NULL: not made ready. */
static int bind_weight(struct bind *b, struct device_store *store, struct block_linear *out,
                       uint32_t l, const char *stem, const uint32_t dims[2])
{
    char name[BIND_NAME_MAX];
    const uint64_t ne[2] = { dims[1], dims[0] };
    const struct model_tensor *t;
    bind_name(name, l, stem, ".weight");
    TRY(bind_tensor(b, &t, name, ne, 2));
    int rc = device_mat_init(store, &out->mat, t->type, dims[0], dims[1], t->data);
    if (rc < 0)
        return err_set_field(b->err, rc, name, "tensor %s: %s", name, err_code_text(rc));
    if (store != NULL)
        bind_done(b, t);
    out->scale = 1;
    return 0;
}

int bind_matrix(struct bind *b, struct block_linear *out, uint32_t l, const char *stem,
                uint32_t n_out, uint32_t n_in)
{
    static const char *const BESIDE[] = { ".bias", ".scale" };
    char name[BIND_NAME_MAX];
    for (size_t i = 0; i < COUNT_OF(BESIDE); i++) {
        bind_name(name, l, stem, BESIDE[i]);
        const struct model_tensor *t = model_file_tensor(b->file, name);
        if (t != NULL)
            b->used[t - model_file_tensor_at(b->file, 0)] = 1;
    }
    return bind_weight(b, b->m->store, out, l, stem, (const uint32_t[2]){ n_out, n_in });
}

/* The bias and the factor that may stand beside a matrix. */
static int bind_beside(struct bind *b, struct block_linear *out, uint32_t l, const char *stem,
                       uint32_t n_out)
{
    char name[BIND_NAME_MAX];
    bind_name(name, l, stem, ".bias");
    int rc = bind_vector(b, &out->mat.bias, name, n_out);
    if (rc != E_NOT_FOUND)
        TRY(rc);
    return bind_scale(b, out, l, stem);
}

int bind_linear(struct bind *b, struct block_linear *out, uint32_t l, const char *stem,
                uint32_t n_out, uint32_t n_in)
{
    TRY(bind_weight(b, b->m->store, out, l, stem, (const uint32_t[2]){ n_out, n_in }));
    return bind_beside(b, out, l, stem, n_out);
}

int bind_whole(struct bind *b, struct block_linear *out, uint32_t l, const char *stem,
               uint32_t n_out, uint32_t n_in)
{
    TRY(bind_weight(b, NULL, out, l, stem, (const uint32_t[2]){ n_out, n_in }));
    return bind_beside(b, out, l, stem, n_out);
}

int bind_rows(struct bind *b, struct block_linear *out, const struct block_linear *whole,
              uint32_t from, uint32_t n)
{
    out->scale = whole->scale;
    int rc = device_mat_rows(b->m->store, &out->mat, &whole->mat, from, n);
    return rc < 0 ? err_set(b->err, rc, "weights: %s", err_code_text(rc)) : 0;
}

int bind_norm(struct bind *b, struct block_norm *out, uint32_t l, const char *stem, uint32_t n)
{
    static const float NONE; /* stands for weights that may not be touched */
    char name[BIND_NAME_MAX];
    bind_name(name, l, stem, ".weight");
    int rc = bind_vector(b, &out->w, name, n);
    if (rc == E_NOT_FOUND)
        return err_set_field(b->err, E_FORMAT, name, "tensor %s (%u) is missing; " CONVERT, name,
                             n);
    TRY(rc);
    if (out->w == NULL)
        out->w = &NONE;
    out->n = n;
    out->plus = model_file_conv(b->file).norm_without_one ? 1 : 0;
    return 0;
}

/* Scales of activations belong to number formats that are not computed with; they change nothing.
 */
static bool is_harmless(const struct model_tensor *t)
{
    static const char ENDING[] = ".input_scale";
    size_t n = sizeof ENDING - 1;
    return t->name.len > n && memcmp(t->name.data + t->name.len - n, ENDING, n) == 0;
}

void bind_skip_layers(struct bind *b, uint32_t l)
{
    uint32_t n = model_file_n_tensors(b->file);
    for (uint32_t i = 0; i < n; i++) {
        struct text_str name = model_file_tensor_at(b->file, i)->name;
        uint32_t layer = 0;
        if (name.len < 6 || memcmp(name.data, "blk.", 4) != 0)
            continue;
        for (size_t at = 4; at < name.len && name.data[at] >= '0' && name.data[at] <= '9'; at++)
            layer = layer < MODEL_LAYERS_MAX ? 10 * layer + (uint32_t)(name.data[at] - '0') : layer;
        if (layer >= l)
            b->used[i] = 1;
    }
}

int bind_finish(struct bind *b)
{
    uint32_t n = model_file_n_tensors(b->file);
    for (uint32_t i = 0; i < n; i++) {
        const struct model_tensor *t = model_file_tensor_at(b->file, i);
        if (b->used[i] || is_harmless(t))
            continue;
        int len = (int)num_min(t->name.len, BIND_NAME_MAX);
        return err_set_field(b->err, E_UNSUPPORTED, "tensor",
                             "tensor %.*s has no place in a \"%s\" model as Naru computes it; the "
                             "file "
                             "is of a variant that is not supported",
                             len, t->name.data, b->m->family->arch);
    }
    return 0;
}
