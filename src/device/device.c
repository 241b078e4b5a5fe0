/* The CPU device. A product is cut into chunks of output rows, never of input columns: an output
 * element is always summed by one thread in one call, so the cut cannot show in the result. Many
 * activation rows are taken in tiles that fit a core's cache, inside a chunk, so a chunk's weights
 * come from memory once.
 *
 *     n_mats = 3        | q: chunk 0 | chunk 1 | ... | k: chunk n | ... | v: ... |     one region
 *     inside a chunk    rows [0, TILE) [TILE, 2 TILE) ...
 */
#include "device/device.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/num.h"
#include "os/cpu.h"
#include "os/team.h"

/* Multiply-adds below which a second thread costs more than it brings: to open and close a region
 * takes some microseconds when the others are awake and tens when they sleep. */
#define REGION_WORK (192u << 10)
#define CHUNKS_A_THREAD 4        /* enough to level out a thread that came late */
#define CHUNK_ALIGN KERNEL_OUT_ALIGN
#define CHUNK_BYTES (256u << 10) /* of weights, where they are read for several row tiles */
#define TILE_BYTES (256u << 10)  /* of prepared activations: half a usual L2 */
#define TILE_ALIGN 8             /* activation rows */
#define PREPARE_ROWS 8           /* activation rows a task */

struct device {
    struct kernel_table kernels;
    struct os_team *team;
    char name[128];
};

_Static_assert((unsigned)KERNEL_AVX2 == (unsigned)OS_CPU_AVX2, "flags of os and kernel agree");
_Static_assert((unsigned)KERNEL_AVX512 == (unsigned)OS_CPU_AVX512, "flags of os and kernel agree");
_Static_assert((unsigned)KERNEL_AVX512_VNNI == (unsigned)OS_CPU_AVX512_VNNI, "flags agree");
_Static_assert((unsigned)KERNEL_AVX512_BF16 == (unsigned)OS_CPU_AVX512_BF16, "flags agree");
_Static_assert((unsigned)KERNEL_NEON == (unsigned)OS_CPU_NEON, "flags of os and kernel agree");
_Static_assert((unsigned)KERNEL_DOTPROD == (unsigned)OS_CPU_DOTPROD, "flags agree");
_Static_assert((unsigned)KERNEL_I8MM == (unsigned)OS_CPU_I8MM, "flags of os and kernel agree");

int device_create(struct device **out, const struct device_params *params, struct err *err)
{
    struct os_cpu cpu;
    os_cpu_detect(&cpu);
    const char *level = params->cpu_level != NULL ? params->cpu_level : "auto";
    TRY(os_cpu_mask(&cpu, level, err));
    uint32_t n = params->n_threads;
    if (n > OS_TEAM_THREADS_MAX)
        return err_set_field(err, E_RANGE, "threads", "threads: %u given, at most %d are possible",
                             n, OS_TEAM_THREADS_MAX);
    if (n == 0)
        n = (uint32_t)num_min(num_max(cpu.n_cores, 1), OS_TEAM_THREADS_MAX);
    struct device *d = mem_alloc(1, sizeof *d);
    if (d == NULL)
        return err_set(err, E_NOMEM, "no memory for a device");
    kernel_init(&d->kernels, cpu.flags);
    int rc = os_team_create(&d->team, n);
    if (rc < 0) {
        mem_free(d);
        return err_set_field(err, rc, "threads", "threads: %u could not be started: %s", n,
                             err_code_text(rc));
    }
    snprintf(d->name, sizeof d->name, "%s, %s, %u thread%s", cpu.model, d->kernels.level, n,
             n == 1 ? "" : "s");
    *out = d;
    return 0;
}

void device_destroy(struct device *d)
{
    if (d == NULL)
        return;
    os_team_destroy(d->team);
    mem_free(d);
}

const struct kernel_table *device_kernels(const struct device *d) { return &d->kernels; }
uint32_t device_threads(const struct device *d) { return os_team_threads(d->team); }
const char *device_name(const struct device *d) { return d->name; }

void device_mat_row(const struct device *d, const struct device_mat *m, uint32_t o, float *dst)
{
    ASSERT(m->ready);
    kernel_mat_row(&d->kernels, &m->mat, o, dst);
}

void device_for(struct device *d, uint32_t n, size_t work, device_fn fn, void *ctx)
{
    if (work < REGION_WORK && n < num_ceil_div(REGION_WORK, work + 1))
        for (uint32_t i = 0; i < n; i++)
            fn(ctx, i, 0);
    else
        os_team_run(d->team, n, fn, ctx);
}

/* --- products --- */

size_t device_act_bytes(const struct device *d, uint32_t n_rows, uint32_t n_in)
{
    (void)d;
    /* The bound kernel.h gives for any type, and room to align. */
    return (size_t)n_rows * (4 * (size_t)n_in + 128) + 64;
}

/* The matrices of one activation kind in a product. */
struct product {
    const struct device_product *in;
    const struct kernel_table *k;
    enum kernel_act_kind kind;
    uint32_t type; /* a weight type of this kind */
    struct kernel_act act;
    uint8_t *prepared;
    uint32_t chunk_rows; /* output rows a task */
    uint32_t tile_rows;  /* activation rows a pass */
};

static bool takes_part(const struct product *p, uint32_t j)
{
    return kernel_act_kind(p->in->mats[j]->mat.type) == p->kind;
}

static void prepare_task(void *ctx, uint32_t i, uint32_t thread)
{
    (void)thread;
    const struct product *p = ctx;
    uint32_t row = i * PREPARE_ROWS;
    uint32_t n = (uint32_t)num_min(PREPARE_ROWS, p->act.n_rows - row);
    p->k->act_prepare(p->type, p->in->x + (size_t)row * p->act.n_in, n, p->act.n_in,
                      p->prepared + row * p->act.row_bytes);
}

static void add_bias(float *y, size_t ldy, const float *bias, uint32_t n, uint32_t n_rows)
{
    for (uint32_t r = 0; r < n_rows; r++)
        for (uint32_t o = 0; o < n; o++)
            y[r * ldy + o] += bias[o];
}

/* Output rows [o0, o1) of one matrix, for all activation rows. */
static void multiply(const struct product *p, uint32_t j, uint32_t o0, uint32_t o1)
{
    const struct device_mat *m = p->in->mats[j];
    size_t ldy = m->mat.n_out;
    for (uint32_t row = 0; row < p->act.n_rows; row += p->tile_rows) {
        struct kernel_act tile = p->act;
        tile.data = (const uint8_t *)p->act.data + row * p->act.row_bytes;
        tile.n_rows = (uint32_t)num_min(p->tile_rows, p->act.n_rows - row);
        float *y = p->in->ys[j] + row * ldy;
        p->k->matmul(&m->mat, o0, o1, &tile, y, ldy);
        if (m->bias != NULL)
            add_bias(y + o0, ldy, m->bias + o0, o1 - o0, tile.n_rows);
    }
}

static void product_task(void *ctx, uint32_t i, uint32_t thread)
{
    (void)thread;
    const struct product *p = ctx;
    for (uint32_t j = 0; j < p->in->n_mats; j++) {
        if (!takes_part(p, j))
            continue;
        uint32_t n_out = p->in->mats[j]->mat.n_out;
        uint32_t n = (uint32_t)num_ceil_div(n_out, p->chunk_rows);
        if (i < n) {
            uint32_t o0 = i * p->chunk_rows;
            multiply(p, j, o0, (uint32_t)num_min(n_out, (size_t)o0 + p->chunk_rows));
            return;
        }
        i -= n;
    }
}

/* The largest multiple of align up to x, at least align. */
static size_t align_down(size_t x, size_t align) { return x < align ? align : x - x % align; }

/* Chooses chunk_rows and tile_rows; returns the number of tasks. */
static uint32_t cut(struct product *p, uint32_t n_threads)
{
    size_t n_out = 0, row_bytes = 1, n_tasks = 0;
    for (uint32_t j = 0; j < p->in->n_mats; j++)
        if (takes_part(p, j)) {
            n_out += p->in->mats[j]->mat.n_out;
            row_bytes = num_max(row_bytes, p->in->mats[j]->mat.row_bytes);
        }
    size_t tile = align_down(TILE_BYTES / p->act.row_bytes, TILE_ALIGN);
    size_t chunk = num_ceil_div(n_out, (size_t)n_threads * CHUNKS_A_THREAD);
    chunk = num_ceil_div(chunk, CHUNK_ALIGN) * CHUNK_ALIGN;
    if (p->act.n_rows > tile)
        chunk = num_min(chunk, align_down(CHUNK_BYTES / row_bytes, CHUNK_ALIGN));
    p->tile_rows = (uint32_t)num_min(tile, UINT32_MAX);
    p->chunk_rows = (uint32_t)num_min(chunk, UINT32_MAX);
    for (uint32_t j = 0; j < p->in->n_mats; j++)
        if (takes_part(p, j))
            n_tasks += num_ceil_div(p->in->mats[j]->mat.n_out, p->chunk_rows);
    return (uint32_t)n_tasks;
}

/* Points p->act at activations of the product's kind. */
static void prepare(struct device *d, struct product *p)
{
    p->act.row_bytes = d->kernels.act_row_bytes(p->type, p->act.n_in);
    p->act.data = p->in->x;
    if (p->kind == KERNEL_ACT_F32)
        return;
    p->prepared = (uint8_t *)p->in->scratch + (-(uintptr_t)p->in->scratch & 63);
    p->act.data = p->prepared;
    device_for(d, (uint32_t)num_ceil_div(p->act.n_rows, PREPARE_ROWS),
               PREPARE_ROWS * (size_t)p->act.n_in, prepare_task, p);
}

void device_linear(struct device *d, const struct device_product *in)
{
    bool done[2] = { false, false }; /* by enum kernel_act_kind */
    for (uint32_t j = 0; j < in->n_mats; j++) {
        const struct kernel_mat *m = &in->mats[j]->mat;
        enum kernel_act_kind kind = kernel_act_kind(m->type);
        ASSERT((size_t)kind < COUNT_OF(done));
        ASSERT(m->n_in == in->mats[0]->mat.n_in);
        ASSERT(in->mats[j]->ready);
        if (done[kind])
            continue;
        done[kind] = true;
        struct product p = { .in = in, .k = &d->kernels, .kind = kind, .type = m->type };
        p.act.n_rows = in->n_rows;
        p.act.n_in = m->n_in;
        prepare(d, &p);
        uint32_t n_tasks = cut(&p, os_team_threads(d->team));
        size_t work = (size_t)p.chunk_rows * p.act.n_in * p.act.n_rows;
        device_for(d, n_tasks, work, product_task, &p);
    }
}
