/* Families by name, making a model from a file, the workspace, and the forward pass that all share.
 */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "kernel/attn.h"
#include "kernel/type.h"
#include "model/bind.h"
#include "model/block.h"

#define BLOCK_LEN_DEFAULT 16
#define ARENA_MAX                                                                                  \
    ((size_t)4 << 30) /* vectors that had to be converted, transposed parts of MLA                 \
                       */
#define BUF_ALIGN 64

static const struct model_family *const FAMILIES[] = {
    &model_llama,  &model_qwen2,      &model_qwen3,     &model_gemma,    &model_gemma2,
    &model_gemma3, &model_phi3,       &model_bitnet,    &model_deepseek2, &model_kimi,
    &model_bert,   &model_nomic_bert, &model_qwen2moe, &model_qwen3moe,
};

static const struct model_family *find_family(const char *arch)
{
    for (size_t i = 0; i < COUNT_OF(FAMILIES); i++)
        if (strcmp(FAMILIES[i]->arch, arch) == 0)
            return FAMILIES[i];
    return NULL;
}

static int refuse_arch(const char *arch, struct err *err)
{
    char known[256] = "";
    for (size_t i = 0; i < COUNT_OF(FAMILIES); i++) {
        size_t len = strlen(known), n = strlen(FAMILIES[i]->arch);
        if (len + n + 3 > sizeof known)
            break;
        memcpy(known + len, i > 0 ? ", " : "", i > 0 ? 2 : 0);
        memcpy(known + len + (i > 0 ? 2 : 0), FAMILIES[i]->arch, n + 1);
    }
    if (arch[0] == '\0')
        return err_set_field(err, E_FORMAT, "general.architecture",
                             "the file does not say which architecture it is "
                             "(general.architecture); convert the model again from its source");
    return err_set_field(err, E_UNSUPPORTED, "general.architecture",
                         "architecture \"%s\" is not computed; %s are", arch, known);
}

/* --- making a model --- */

static void fill_info(struct model *m)
{
    const struct model_shape *s = &m->shape;
    m->info.arch = m->family->arch;
    m->info.family = m->family->label;
    m->info.n_layers = s->n_layers;
    m->info.n_embd = s->n_embd;
    m->info.n_heads = s->n_heads;
    m->info.n_kv_heads = s->n_kv_heads;
    m->info.head_dim = s->k_dim;
    m->info.n_ff = s->n_ff;
    m->info.n_vocab = s->n_vocab;
    m->info.n_ctx_train = s->n_ctx;
    m->info.encoder = m->family->encoder;
}

/* How texts become vectors. Converters write -1 for "not said". */
static int bind_pooling(struct bind *b)
{
    uint32_t type = MODEL_POOL_NONE;
    TRY(model_file_u32(b->file, ".pooling_type", &type, b->err));
    b->m->info.pooling = type <= MODEL_POOL_LAST ? type : (uint32_t)MODEL_POOL_NONE;
    return 0;
}

/* Streams tell how far back their rows are looked at. */
static void fill_windows(struct model *m)
{
    for (uint32_t l = 0; m->layers != NULL && l < m->shape.n_layers; l++) {
        const struct block_layer *layer = &m->layers[l];
        if (layer->mla != NULL)
            continue;
        m->layout.streams[layer->attn.k_stream].window = layer->attn.window;
        m->layout.streams[layer->attn.v_stream].window = layer->attn.window;
    }
}

static int bind_all(struct bind *b)
{
    TRY(b->m->family->bind(b));
    TRY(bind_pooling(b));
    TRY(bind_finish(b));
    fill_windows(b->m);
    TRY(model_layout_finish(&b->m->layout, b->err));
    fill_info(b->m);
    if (b->m->store != NULL)
        b->m->info.packed_bytes = device_store_bytes(b->m->store);
    return 0;
}

static int check_kv_type(uint32_t type, struct err *err)
{
    if (kernel_kv_row_bytes(type, 32) != 0)
        return 0;
    const struct kernel_type_info *info = kernel_type_info(type);
    return err_set_field(err, E_UNSUPPORTED, "kv_type",
                         "K and V cannot be kept as %s; f16, f32, bf16 and q8_0 are possible",
                         info != NULL ? info->name : "this type");
}

/* dev NULL: check only, weights are not touched. */
static int make(struct model **out, const struct model_file *f, struct device *dev,
                const struct model_params *params, struct err *err)
{
    const struct model_family *family = find_family(model_file_arch(f));
    if (family == NULL)
        return refuse_arch(model_file_arch(f), err);
    uint32_t kv_type = params != NULL ? params->kv_type : (uint32_t)KERNEL_F16;
    TRY(check_kv_type(kv_type, err));
    struct model *m = mem_alloc(1, sizeof *m);
    uint8_t *used = mem_alloc((size_t)model_file_n_tensors(f) + 1, 1);
    int rc = m != NULL && used != NULL ? 0 : err_set(err, E_NOMEM, "no memory for a model");
    if (rc == 0) {
        arena_init(&m->arena, ARENA_MAX);
        m->family = family;
        m->dev = dev;
        m->kv_type = kv_type;
        m->layout.block_len =
            params != NULL && params->block_len != 0 ? params->block_len : BLOCK_LEN_DEFAULT;
        struct bind b = { .file = f, .m = m, .touch = dev != NULL, .used = used, .err = err };
        b.params = params;
        rc = dev == NULL ? 0 : device_store_create(&m->store, dev);
        rc = rc < 0 ? err_set(err, rc, "no memory for a model") : bind_all(&b);
    }
    mem_free(used);
    if (rc < 0) {
        model_destroy(m);
        return rc;
    }
    *out = m;
    return 0;
}

int model_check(const struct model_file *f, struct err *err)
{
    struct model *m = NULL;
    TRY(make(&m, f, NULL, NULL, err));
    model_destroy(m);
    return 0;
}

int model_create(struct model **out, const struct model_file *f, struct device *dev,
                 const struct model_params *params, struct err *err)
{
    CHECK(dev != NULL);
    return make(out, f, dev, params, err);
}

void model_destroy(struct model *m)
{
    if (m == NULL)
        return;
    device_store_destroy(m->store);
    arena_fini(&m->arena);
    mem_free(m);
}

const struct model_info *model_info(const struct model *m) { return &m->info; }
const struct model_layout *model_layout(const struct model *m) { return &m->layout; }
const struct kernel_table *model_kernels(const struct model *m) { return device_kernels(m->dev); }

/* --- workspace --- */

/* Room for n x size bytes at *at; the offset it begins at. */
static int reserve(size_t *at, size_t n, size_t size, size_t *offset)
{
    size_t bytes;
    *offset = *at;
    TRY(num_mul(&bytes, n, size));
    TRY(num_add(at, *at, bytes));
    return num_align(at, *at, BUF_ALIGN);
}

/* The longest input of a product; the act scratch must hold n_rows of it. */
static uint32_t widest_input(const struct model *m)
{
    uint32_t n = m->shape.n_embd;
    for (uint32_t b = 0; b < BUF_COUNT; b++)
        n = m->width[b] > n ? m->width[b] : n;
    return n;
}

struct offsets {
    size_t buf[BUF_COUNT], pos, span, tiles, states, logits, act, threads;
};

/* States of attention cut into parts: as many rows as may be too few to keep all threads busy. */
static int count_states(const struct model *m, struct model_work *w)
{
    size_t rows = 1 + 4 * (size_t)device_threads(m->dev) / m->shape.n_kv_heads;
    size_t parts = kernel_attn_part_of(w->n_ctx_max - 1) + 1u;
    rows = num_min(rows, w->n_rows_max);
    TRY(num_mul(&w->states_len, rows * parts, m->attn_state));
    return num_mul(&w->states_len, w->states_len, m->shape.n_heads);
}

static int lay_out(const struct model *m, struct model_work *w, struct offsets *o)
{
    size_t at = 0, n = w->n_rows_max;
    for (uint32_t b = 0; b < BUF_COUNT; b++)
        TRY(reserve(&at, n * m->width[b], sizeof(float), &o->buf[b]));
    TRY(reserve(&at, n, sizeof(uint32_t), &o->pos));
    TRY(reserve(&at, n, sizeof(uint32_t), &o->span));
    TRY(reserve(&at, n, sizeof(struct model_tile), &o->tiles));
    TRY(count_states(m, w));
    TRY(reserve(&at, w->states_len, sizeof(float), &o->states));
    TRY(reserve(&at, (size_t)w->n_want_max * m->shape.n_vocab, sizeof(float), &o->logits));
    size_t rows = num_max(n, w->n_want_max);
    TRY(reserve(&at, device_act_bytes(m->dev, (uint32_t)rows, widest_input(m)), 1, &o->act));
    size_t gather =
        m->gather_width == 0 ? 0 : device_act_bytes(m->dev, (uint32_t)n, m->gather_width);
    TRY(num_mul(&gather, gather,
                2)); /* rows taken out of a buffer, and what act_prepare makes of them */
    TRY(num_add(&w->thread_bytes, num_max(gather, m->attn_scratch), BUF_ALIGN));
    TRY(num_align(&w->thread_bytes, w->thread_bytes, BUF_ALIGN));
    TRY(reserve(&at, device_threads(m->dev), w->thread_bytes, &o->threads));
    w->bytes = at;
    return 0;
}

int model_work_create(struct model_work **out, const struct model *m, uint32_t n_rows_max,
                      uint32_t n_want_max, uint32_t n_ctx_max)
{
    struct offsets o;
    if (n_rows_max == 0 || n_rows_max > MODEL_ROWS_MAX || n_want_max > n_rows_max || n_ctx_max == 0)
        return E_RANGE;
    struct model_work *w = mem_alloc(1, sizeof *w);
    if (w == NULL)
        return E_NOMEM;
    w->m = m;
    w->k = device_kernels(m->dev);
    w->n_rows_max = n_rows_max;
    w->n_want_max = n_want_max;
    w->n_ctx_max = n_ctx_max;
    int rc = lay_out(m, w, &o);
    if (rc == 0) {
        w->memory = mem_alloc_aligned(w->bytes, BUF_ALIGN);
        rc = w->memory != NULL ? 0 : E_NOMEM;
    }
    if (rc < 0) {
        model_work_destroy(w);
        return rc;
    }
    for (uint32_t b = 0; b < BUF_COUNT; b++)
        w->buf[b] = (float *)(void *)(w->memory + o.buf[b]);
    w->pos = (uint32_t *)(void *)(w->memory + o.pos);
    w->span = (uint32_t *)(void *)(w->memory + o.span);
    w->tiles = (struct model_tile *)(void *)(w->memory + o.tiles);
    w->states = (float *)(void *)(w->memory + o.states);
    w->logits = (float *)(void *)(w->memory + o.logits);
    w->act = w->memory + o.act;
    w->threads = w->memory + o.threads;
    *out = w;
    return 0;
}

void model_work_destroy(struct model_work *w)
{
    if (w == NULL)
        return;
    mem_free(w->memory);
    mem_free(w);
}

size_t model_work_bytes(const struct model_work *w) { return w->bytes + sizeof *w; }

/* --- forward --- */

/* What the caller promises about a batch; a broken promise would write outside of memory. */
static void check_batch(const struct model_work *w, const struct model_batch *b)
{
    uint32_t row = 0;
    CHECK(b->n_rows >= 1 && b->n_rows <= w->n_rows_max);
    CHECK(b->n_want <= w->n_want_max);
    for (uint32_t i = 0; i < b->n_spans; i++) {
        const struct model_span *s = &b->spans[i];
        CHECK(s->row0 == row);
        CHECK(s->n_rows >= 1 && s->n_rows <= b->n_rows - row);
        CHECK(s->n_rows <= w->n_ctx_max && s->pos0 <= w->n_ctx_max - s->n_rows);
        row += s->n_rows;
    }
    CHECK(row == b->n_rows);
    for (uint32_t i = 0; i < b->n_want; i++)
        CHECK(b->want[i] < b->n_rows && (i == 0 || b->want[i] > b->want[i - 1]));
}

static void begin(struct model_work *w, const struct model_batch *b)
{
    w->batch = b;
    w->n_rows = b->n_rows;
    for (uint32_t i = 0; i < b->n_spans; i++)
        for (uint32_t r = 0; r < b->spans[i].n_rows; r++) {
            w->pos[b->spans[i].row0 + r] = b->spans[i].pos0 + r;
            w->span[b->spans[i].row0 + r] = i;
        }
    w->n_tiles = 0;
    for (uint32_t i = 0; i < b->n_spans; i++)
        for (uint32_t r = 0; r < b->spans[i].n_rows; r += w->m->attn_rows) {
            uint32_t n = (uint32_t)num_min(w->m->attn_rows, b->spans[i].n_rows - r);
            w->tiles[w->n_tiles++] = (struct model_tile){ b->spans[i].row0 + r, n };
        }
}

static bool has_finite(const float *x, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (isfinite(x[i]))
            return true;
    return false;
}

/* All layers; the stream is left in BUF_X (decoders) or BUF_H (encoders). */
static int run_layers(const struct model *m, struct model_work *w, const struct model_batch *b)
{
    CHECK(w->m == m);
    check_batch(w, b);
    for (uint32_t r = 0; r < b->n_rows; r++)
        if (b->ids[r] < 0 || (uint32_t)b->ids[r] >= m->shape.n_vocab)
            return E_RANGE;
    begin(w, b);
    if (m->family->embed != NULL)
        m->family->embed(w);
    else
        block_embed(w, &m->layers[0].attn_norm);
    for (uint32_t l = 0; l < m->shape.n_layers; l++) {
        bool last = l + 1 == m->shape.n_layers;
        m->family->layer(w, l, last || m->layers == NULL ? NULL : &m->layers[l + 1].attn_norm);
    }
    return 0;
}

int model_hidden(const struct model *m, struct model_work *w, const struct model_batch *b,
                 const float **rows)
{
    for (uint32_t i = 0; m->family->encoder && i < b->n_spans; i++)
        CHECK(b->spans[i].pos0 == 0 && b->spans[i].n_rows <= m->shape.n_ctx);
    TRY(run_layers(m, w, b));
    if (!m->family->encoder)
        block_norm_rows(w, &m->output_norm, BUF_X);
    *rows = w->buf[m->family->encoder ? BUF_H : BUF_X];
    w->batch = NULL;
    return 0;
}

int model_forward(const struct model *m, struct model_work *w, const struct model_batch *b,
                  const float **logits)
{
    if (m->family->encoder)
        return E_UNSUPPORTED;
    TRY(run_layers(m, w, b));
    if (b->n_want > 0)
        block_head(w);
    w->batch = NULL;
    *logits = w->logits;
    for (uint32_t i = 0; i < b->n_want; i++)
        if (!has_finite(w->logits + (size_t)i * m->shape.n_vocab, m->shape.n_vocab))
            return E_NONFINITE;
    return 0;
}
