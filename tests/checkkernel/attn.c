/* Attention over paged blocks: every cache type, head size, group, number of rows, window, soft-cap,
 * sinks; V as a part of the K row; tables that jump about. Blocks that no query may see hold NaN.
 * Rows together give the bits that each gives alone. */
#include <math.h>
#include <string.h>

#include "checkkernel/check.h"
#include "kernel/attn.h"

struct layout {
    uint32_t k_dim, v_dim, n_group, type, block_len;
    uint32_t pos, n_rows; /* the last position, and how many rows end there */
    bool latent; /* V is a prefix of the K row */
};

/* Levels with dot products of bytes or bfloat16 round queries as the cache type has it: the
 * reference then gets the queries as rounded. */
static void round_bytes(float *q, uint32_t n, float factor)
{
    for (uint32_t i = 0; i < n; i += 32) {
        uint32_t end = n - i < 32 ? n : i + 32;
        float top = 0;
        for (uint32_t j = i; j < end; j++)
            top = fmaxf(top, fabsf(q[j] * factor));
        for (uint32_t j = i; j < end; j++)
            q[j] = rintf(q[j] * factor * (top > 0 ? 127 / top : 0)) * (top / 127) / factor;
    }
}

static void round_pairs(float *q, uint32_t n, float factor)
{
    const struct kernel_type_info *bf16 = kernel_type_info(KERNEL_BF16);
    for (uint32_t i = 0; i < n; i++) {
        uint16_t h;
        float x = q[i] * factor;
        bf16->quantize(&x, (uint8_t *)&h, 1);
        bf16->dequantize((const uint8_t *)&h, &x, 1);
        q[i] = x / factor;
    }
}

/* Fills the rows of positions [lo, pos] and poisons all others. */
static void store_rows(struct check *t, const struct layout *l, const struct kernel_kv *kv,
                       uint8_t *slab, uint32_t lo)
{
    float row[576];
    bool pairs = l->type == KERNEL_F16 && l->latent; /* narrow: numbers that bfloat16 holds */
    for (uint32_t p = lo; p <= l->pos; p++) {
        uint8_t *at_block = slab + kv->table[p / l->block_len] * kv->block_bytes;
        uint32_t i = p % l->block_len;
        fill(t, row, l->k_dim, FILL_NORMAL);
        if (pairs)
            round_pairs(row, l->k_dim, 1);
        t->c.kv_store(l->type, row, at_block + kv->k_offset + i * kv->k_stride, l->k_dim);
        if (l->latent)
            continue;
        fill(t, row, l->v_dim, FILL_NORMAL);
        t->c.kv_store(l->type, row, at_block + kv->v_offset + i * kv->v_stride, l->v_dim);
    }
}

/* Rounds q (n queries) as the level does; returns what the outputs may differ by. |V| stays below
 * 6, so what f32 rounds is below 2e-5 (a query on the border between two bytes may fall to either
 * side: one step of one value moves a score by a 254th of |q_max k| / sqrt(k_dim)); weights in
 * bfloat16 are off by 2^-9 of themselves. */
static double round_queries(const struct check *t, const struct layout *l,
                            const struct kernel_attn *a, float *q, uint32_t n)
{
    bool bf16 = strcmp(t->k.level, "avx512-bf16") == 0;
    bool vnni = bf16 || strcmp(t->k.level, "avx512-vnni") == 0;
    float factor = a->softcap != 0 ? a->scale : a->scale * KERNEL_LOG2E;
    bool bytes = vnni && l->type == KERNEL_Q8_0;
    bool pairs = bf16 && (l->type == KERNEL_BF16 || a->narrow);
    for (uint32_t i = 0; i < n && (bytes || pairs); i++)
        (bytes ? round_bytes : round_pairs)(q + (size_t)i * l->k_dim, l->k_dim, factor);
    return bf16 && (bytes || pairs) ? 6.0 / 512 : bytes ? 2e-4 : 2e-5;
}

static void check_layout(struct check *t, const struct layout *l, unsigned form)
{
    uint32_t n_blocks = l->pos / l->block_len + 1;
    uint32_t table[2048];
    for (uint32_t i = 0; i < n_blocks; i++)
        table[i] = n_blocks - 1 - i;
    struct kernel_kv kv = { .table = table, .block_len = l->block_len, .kv_type = l->type };
    kv.k_stride = kernel_kv_row_bytes(l->type, l->k_dim);
    kv.v_stride = l->latent ? kv.k_stride : kernel_kv_row_bytes(l->type, l->v_dim);
    kv.v_offset = l->latent ? 0 : l->block_len * kv.k_stride;
    kv.block_bytes = kv.v_offset + l->block_len * kv.v_stride;
    uint8_t *slab = input_bytes(n_blocks * kv.block_bytes);
    kv.slab = slab;
    memset(slab, 0xff, n_blocks * kv.block_bytes); /* NaN in every float type */
    float sinks[16];
    struct kernel_attn a = { .k_dim = l->k_dim, .v_dim = l->v_dim, .n_group = l->n_group,
                             .scale = 1 / sqrtf((float)l->k_dim) };
    uint32_t pos0 = l->pos + 1 - l->n_rows;
    a.window = form & 1 ? 1 + rng_below(&t->rng, l->pos + 2) : 0;
    a.softcap = form & 2 ? 20 : 0;
    a.sinks = form & 4 ? sinks : NULL;
    a.narrow = l->type == KERNEL_F16 && l->latent;
    fill(t, sinks, 16, FILL_NORMAL);
    uint32_t lo = a.window != 0 && pos0 >= a.window ? pos0 + 1 - a.window : 0;
    store_rows(t, l, &kv, slab, lo);
    size_t q_len = (size_t)l->n_group * l->k_dim, out_len = (size_t)l->n_group * l->v_dim;
    float *q = input_floats(l->n_rows * q_len);
    fill(t, q, l->n_rows * q_len, FILL_NORMAL);
    float *got = output_floats(l->n_rows * out_len);
    float *want = output_floats(l->n_rows * out_len);
    float *alone = output_floats(out_len);
    void *scratch = scratch_bytes(kernel_attn_scratch(&a, l->n_rows));
    at(t, "type %u, k %u, v %u, group %u, blocks of %u, pos %u, rows %u, window %u, form %u, "
          "latent %d", l->type, l->k_dim, l->v_dim, l->n_group, l->block_len, l->pos, l->n_rows,
       a.window, form, l->latent);
    struct kernel_attn_rows r = { q, want, q_len, out_len, pos0, l->n_rows };
    float *rounded = output_floats(l->n_rows * q_len);
    memcpy(rounded, q, l->n_rows * q_len * sizeof *q);
    double bound = round_queries(t, l, &a, rounded, l->n_rows * l->n_group);
    r.q = rounded;
    kernel_attn(&t->c, &a, &kv, &r, scratch);
    r.q = q;
    r.out = got;
    kernel_attn(&t->k, &a, &kv, &r, scratch);
    for (uint32_t i = 0; i < l->n_rows * out_len; i++)
        if (isnan(want[i]))
            fail(t, "the reference reads what it may not see");
    expect_close(t, got, want, l->n_rows * out_len, 0, bound);
    for (uint32_t i = 0; i < l->n_rows; i++) {
        struct kernel_attn_rows one = { q + i * q_len, alone, q_len, out_len, pos0 + i, 1 };
        kernel_attn(&t->k, &a, &kv, &one, scratch);
        expect_same(t, alone, got + i * out_len, out_len);
    }
    if (!buffers_intact())
        fail(t, "wrote outside its output or scratch");
    buffers_reset();
}

static void check_attn(struct check *t)
{
    static const uint32_t types[] = { KERNEL_F32, KERNEL_F16, KERNEL_BF16, KERNEL_Q8_0 };
    static const uint32_t dims[] = { 8, 16, 32, 64, 80, 96, 128, 256, 576, 40 };
    for (unsigned i = 0; i < 640; i++) {
        struct layout l = { .type = types[i % 4], .k_dim = dims[i / 4 % 10], .n_rows = 1 };
        l.latent = l.k_dim == 576 || i % 7 == 3;
        l.v_dim = l.k_dim == 576 ? 512 : l.latent ? l.k_dim / 2 : dims[rng_below(&t->rng, 8)];
        l.n_group = 1 + rng_below(&t->rng, i % 3 == 0 ? 16 : 4);
        l.block_len = 1u << rng_below(&t->rng, 7);
        l.pos = rng_below(&t->rng, i % 5 == 0 ? 300 : 70);
        if (i % 2 == 1)
            l.n_rows = 1 + rng_below(&t->rng, KERNEL_ATTN_QUERIES / l.n_group);
        l.n_rows = l.n_rows < l.pos + 1 ? l.n_rows : l.pos + 1;
        check_layout(t, &l, i / 16 % 8);
    }
}

/* Several parts of the positions. */
static void check_long(struct check *t)
{
    static const uint32_t types[] = { KERNEL_F32, KERNEL_F16, KERNEL_BF16, KERNEL_Q8_0 };
    for (unsigned i = 0; i < 24; i++) {
        struct layout l = { .type = types[i % 4], .k_dim = 64, .v_dim = 64, .n_group = 1 + i % 5,
                            .block_len = 16 };
        l.pos = 500 + rng_below(&t->rng, 900);
        l.n_rows = 1 + rng_below(&t->rng, 8);
        check_layout(t, &l, i / 4);
    }
}

/* Borders of parts ascend, and each position lies in the part that says so. */
static void check_parts(struct check *t)
{
    uint32_t part = 0;
    at(t, "parts");
    for (uint64_t p = 0; p < UINT32_MAX - 4096u; p += 1 + p / 1000) {
        uint32_t of = kernel_attn_part_of((uint32_t)p);
        if (of < part || p < kernel_attn_border(of) || p >= kernel_attn_border(of + 1))
            fail(t, "position %llu is in part %u", (unsigned long long)p, of);
        part = of;
    }
    if (kernel_attn_border(1) != 512 || kernel_attn_border(64) != 32768 ||
        kernel_attn_border(65) != 33792 || kernel_attn_border(96) != 65536 || part > 700)
        fail(t, "borders are elsewhere, or %u parts", part);
}

const struct check_entry checks_attn[] = {
    { "attn", check_attn },
    { "attn over parts", check_long },
    { "attn parts", check_parts },
    { NULL, NULL },
};
