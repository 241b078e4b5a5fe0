/* Attention over paged blocks: every cache type, head size, group, window, soft-cap, sinks; V as a
 * part of the K row; tables that jump about. Blocks that the query may not see hold NaN. */
#include <math.h>
#include <string.h>

#include "checkkernel/check.h"

struct layout {
    uint32_t k_dim, v_dim, n_group, type, block_len, pos;
    bool latent; /* V is a prefix of the K row */
};

/* Fills the rows of positions [lo, pos] and poisons all others. */
static void store_rows(struct check *t, const struct layout *l, const struct kernel_kv *kv,
                       uint8_t *slab, uint32_t lo)
{
    float row[576];
    for (uint32_t p = lo; p <= l->pos; p++) {
        uint8_t *at_block = slab + kv->table[p / l->block_len] * kv->block_bytes;
        uint32_t i = p % l->block_len;
        fill(t, row, l->k_dim, FILL_NORMAL);
        t->c.kv_store(l->type, row, at_block + kv->k_offset + i * kv->k_stride, l->k_dim);
        if (l->latent)
            continue;
        fill(t, row, l->v_dim, FILL_NORMAL);
        t->c.kv_store(l->type, row, at_block + kv->v_offset + i * kv->v_stride, l->v_dim);
    }
}

static void check_layout(struct check *t, const struct layout *l, unsigned form)
{
    uint32_t n_blocks = l->pos / l->block_len + 1;
    uint32_t table[512];
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
    a.window = form & 1 ? 1 + rng_below(&t->rng, l->pos + 2) : 0;
    a.softcap = form & 2 ? 20 : 0;
    a.sinks = form & 4 ? sinks : NULL;
    fill(t, sinks, 16, FILL_NORMAL);
    uint32_t lo = a.window != 0 && l->pos >= a.window ? l->pos + 1 - a.window : 0;
    store_rows(t, l, &kv, slab, lo);
    float *q = input_floats(l->n_group * l->k_dim);
    fill(t, q, l->n_group * l->k_dim, FILL_NORMAL);
    float *got = output_floats(l->n_group * l->v_dim);
    float *want = output_floats(l->n_group * l->v_dim);
    void *scratch = scratch_bytes(kernel_attn_scratch(&a, l->pos));
    at(t, "type %u, k %u, v %u, group %u, blocks of %u, pos %u, window %u, form %u, latent %d",
       l->type, l->k_dim, l->v_dim, l->n_group, l->block_len, l->pos, a.window, form, l->latent);
    t->c.attn(&a, &kv, l->pos, q, want, scratch);
    t->k.attn(&a, &kv, l->pos, q, got, scratch);
    for (uint32_t i = 0; i < l->n_group * l->v_dim; i++)
        if (isnan(want[i]))
            fail(t, "the reference reads what it may not see");
    expect_close(t, got, want, l->n_group * l->v_dim, 0, 2e-5); /* |V| stays below 6 */
    if (!buffers_intact())
        fail(t, "wrote outside its output or scratch");
    buffers_reset();
}

static void check_attn(struct check *t)
{
    static const uint32_t types[] = { KERNEL_F32, KERNEL_F16, KERNEL_BF16, KERNEL_Q8_0 };
    static const uint32_t dims[] = { 8, 16, 32, 64, 80, 96, 128, 256, 576, 40 };
    for (unsigned i = 0; i < 640; i++) {
        struct layout l = { .type = types[i % 4], .k_dim = dims[i / 4 % 10] };
        l.latent = l.k_dim == 576 || i % 7 == 3;
        l.v_dim = l.k_dim == 576 ? 512 : l.latent ? l.k_dim / 2 : dims[rng_below(&t->rng, 8)];
        l.n_group = 1 + rng_below(&t->rng, i % 3 == 0 ? 16 : 4);
        l.block_len = 1u << rng_below(&t->rng, 7);
        l.pos = rng_below(&t->rng, i % 5 == 0 ? 300 : 70);
        check_layout(t, &l, i / 16 % 8);
    }
}

const struct check_entry checks_attn[] = {
    { "attn", check_attn },
    { NULL, NULL },
};
