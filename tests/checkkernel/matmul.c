/* Matrix products of every type: quantised ones bit for bit, float ones within a bound from the
 * sum's length; and each output the same whatever the number of rows and the range of outputs (H3).
 * Packing is plain C at every level, so the reference's packed weights serve all. */
#include <math.h>
#include <string.h>

#include "checkkernel/check.h"
#include "kernel/pack.h"

#define MAX_TYPES 24

static unsigned computed_types(uint32_t *types)
{
    unsigned n = 0;
    for (uint32_t type = 0; type < KERNEL_TYPE_COUNT; type++) {
        const struct kernel_type_info *info = kernel_type_info(type);
        if (info != NULL && info->dequantize != NULL)
            types[n++] = type;
    }
    return n;
}

static void done(struct check *t)
{
    if (!buffers_intact())
        fail(t, "wrote outside its output");
    buffers_reset();
}

/* Rows of bytes as they come: every scale, every code, also scales that are infinite or NaN. */
static void check_dequantize(struct check *t)
{
    uint32_t types[MAX_TYPES];
    unsigned n_types = computed_types(types);
    for (unsigned i = 0; i < n_types; i++) {
        const struct kernel_type_info *info = kernel_type_info(types[i]);
        for (size_t blocks = 1; blocks < 40; blocks++) {
            size_t n = blocks * info->block_len;
            uint8_t *row = input_bytes(blocks * info->block_bytes);
            float *got = output_floats(n);
            float *want = output_floats(n);
            fill_bytes(t, row, blocks * info->block_bytes);
            at(t, "%s, n %zu", info->name, n);
            t->c.dequantize_row(types[i], row, want, n);
            t->k.dequantize_row(types[i], row, got, n);
            expect_same(t, got, want, n);
            done(t);
        }
    }
}

static void check_act(struct check *t)
{
    static const uint32_t types[] = { KERNEL_F16, KERNEL_Q4_0, KERNEL_Q6_K };
    for (unsigned form = 0; form < 3 * (FILL_KINDS + 2); form++) {
        uint32_t type = types[form % 3];
        for (uint32_t n = 256; n <= 1024; n += 256) {
            float *x = input_floats(3 * n);
            fill(t, x, 3 * n, form / 3 < FILL_KINDS ? (enum fill)(form / 3) : FILL_LARGE);
            if (form / 3 == FILL_KINDS)
                x[n + 40] = NAN;
            if (form / 3 == FILL_KINDS + 1)
                x[2 * n + 64] = -INFINITY;
            size_t bytes = t->c.act_row_bytes(type, n);
            uint8_t *got = scratch_bytes(3 * bytes);
            uint8_t *want = scratch_bytes(3 * bytes);
            at(t, "type %u, n %u, form %u", type, n, form);
            if (t->k.act_row_bytes(type, n) != bytes)
                fail(t, "row of %zu bytes", t->k.act_row_bytes(type, n));
            t->c.act_prepare(type, x, 3, n, want);
            t->k.act_prepare(type, x, 3, n, got);
            /* NaN scales may differ in their payload; the rest may not. */
            for (size_t i = 0; form / 3 < FILL_KINDS && i < 3; i++)
                expect_bytes(t, got + i * bytes, want + i * bytes, bytes);
            if (form / 3 >= FILL_KINDS)
                for (size_t i = 0; i < 3; i++)
                    expect_bytes(t, got + i * bytes, want + i * bytes, type == KERNEL_F16 ? 4 : n);
            done(t);
        }
    }
}

struct product {
    struct kernel_mat w;
    struct kernel_act x;
    const float *rows; /* before quantisation */
    size_t ldy;
    float *want;
};

static bool packed(uint32_t type) { return kernel_pack_format(type) != NULL; }

/* The file's rows as a product takes them; packed ones end at an unreadable page too. */
static void set_weights(struct kernel_mat *w, const uint8_t *rows)
{
    w->data = rows;
    if (!packed(w->type))
        return;
    size_t row_bytes = w->row_bytes;
    uint8_t *p = input_bytes(kernel_pack_bytes(w->type, w->n_out, w->n_in));
    w->row_bytes = kernel_pack_panel_bytes(w->type, w->n_in);
    for (uint32_t o = 0; o < w->n_out; o += PACK_ROWS)
        kernel_pack_panel(w->type, rows + o * row_bytes, row_bytes,
                          w->n_out - o < PACK_ROWS ? w->n_out - o : PACK_ROWS, w->n_in,
                          p + o / PACK_ROWS * w->row_bytes);
    w->data = p;
}

/* Row by row back from the packed form: the format, bit for bit. */
static void check_packing(struct check *t, const struct kernel_mat *w, const uint8_t *rows)
{
    float got[1100], want[1100];
    size_t row_bytes;
    if (!packed(w->type) || kernel_row_bytes(&row_bytes, w->type, w->n_in) < 0)
        return;
    for (uint32_t o = 0; o < w->n_out; o++) {
        t->c.dequantize_row(w->type, rows + o * row_bytes, want, w->n_in);
        kernel_mat_row(&t->k, w, o, got);
        expect_same(t, got, want, w->n_in);
    }
}

/* Where the bits may differ between levels, an error bound: n_in terms in chains of n_in / 8. */
static void compare(struct check *t, const struct product *p, const float *got, uint32_t o0,
                    uint32_t o1)
{
    for (uint32_t r = 0; r < p->x.n_rows; r++)
        for (uint32_t o = o0; o < o1; o++) {
            size_t at_y = r * p->ldy + o;
            if (packed(p->w.type)) {
                /* Scales that are no numbers give no numbers, but not always the same. */
                if (isfinite(p->want[at_y]) || isfinite(got[at_y]))
                    expect_same(t, got + at_y, p->want + at_y, 1);
                continue;
            }
            float row[1100];
            double sum = 0;
            t->c.dequantize_row(p->w.type, (const uint8_t *)p->w.data + o * p->w.row_bytes, row,
                                p->w.n_in);
            for (uint32_t i = 0; i < p->w.n_in; i++)
                sum += fabs((double)row[i] * (double)p->rows[r * p->w.n_in + i]);
            expect_close(t, got + at_y, p->want + at_y, 1, 0,
                         sum * (p->w.n_in / 8 + 8) * 1.2e-7 + 1e-44);
        }
}

/* The same product in pieces: every output alone with every row alone must have the same bits. */
static void check_pieces(struct check *t, const struct product *p, const float *got)
{
    for (uint32_t r = 0; r < p->x.n_rows; r++) {
        struct kernel_act one = p->x;
        one.data = (const uint8_t *)p->x.data + r * p->x.row_bytes;
        one.n_rows = 1;
        float y[64];
        uint32_t cut = rng_below(&t->rng, p->w.n_out + 1) / KERNEL_OUT_ALIGN * KERNEL_OUT_ALIGN;
        t->k.matmul(&p->w, 0, cut, &one, y, p->ldy);
        t->k.matmul(&p->w, cut, p->w.n_out, &one, y, p->ldy);
        expect_same(t, y, got + r * p->ldy, p->w.n_out);
    }
}

static void check_product(struct check *t, uint32_t type, uint32_t n_out, uint32_t n_in,
                          uint32_t n_rows)
{
    enum fill kind = (enum fill)rng_below(&t->rng, FILL_KINDS);
    struct product p = { .w = { .type = type, .n_out = n_out, .n_in = n_in }, .ldy = n_out + 3 };
    if (kernel_row_bytes(&p.w.row_bytes, type, n_in) < 0)
        return;
    uint8_t *w = input_bytes(n_out * p.w.row_bytes);
    float *rows = input_floats((size_t)n_rows * n_in);
    size_t act_bytes = t->c.act_row_bytes(type, n_in);
    uint8_t *act = scratch_bytes(n_rows * act_bytes);
    float *got = output_floats(n_rows * p.ldy);
    p.want = output_floats(n_rows * p.ldy);
    if (packed(type) && rng_below(&t->rng, 3) == 0) {
        fill_bytes(t, w, n_out * p.w.row_bytes); /* any bits at all, infinite scales too */
    } else {
        for (uint32_t o = 0; o < n_out; o++)
            fill_row(t, type, w + o * p.w.row_bytes, n_in, FILL_NORMAL);
    }
    fill(t, rows, (size_t)n_rows * n_in, kind);
    t->c.act_prepare(type, rows, n_rows, n_in, act);
    set_weights(&p.w, w);
    p.rows = rows;
    p.x = (struct kernel_act){ act, act_bytes, n_rows, n_in };
    at(t, "%s, %u x %u, %u rows, data %d", kernel_type_info(type)->name, n_out, n_in, n_rows, kind);
    check_packing(t, &p.w, w);
    t->c.matmul(&p.w, 0, n_out, &p.x, p.want, p.ldy);
    t->k.matmul(&p.w, 0, n_out, &p.x, got, p.ldy);
    compare(t, &p, got, 0, n_out);
    check_pieces(t, &p, got);
    for (uint32_t r = 0; r + 1 < n_rows; r++) /* what lies between the rows is not ours */
        if (memcmp(got + r * p.ldy + n_out, p.want + r * p.ldy + n_out, 3 * sizeof *got) != 0)
            fail(t, "wrote between rows");
    done(t);
}

static void check_matmul(struct check *t)
{
    static const uint32_t rows[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 17, 33 };
    uint32_t types[MAX_TYPES];
    unsigned n_types = computed_types(types);
    for (unsigned i = 0; i < n_types; i++) {
        uint32_t len = kernel_type_info(types[i])->block_len;
        for (uint32_t n_out = 1; n_out <= 37; n_out += 1 + n_out / 9) {
            uint32_t n_in = len == 1 ? 1 + rng_below(&t->rng, 300) : len * (1 + n_out % 4);
            check_product(t, types[i], n_out, n_in, rows[rng_below(&t->rng, 14)]);
        }
        for (uint32_t n_in = 1; n_in < 40 && len == 1; n_in++)
            check_product(t, types[i], 6, n_in, 5);
        check_product(t, types[i], 50, 1024, 6);
        for (uint32_t n = 1; n <= 18 && len != 1; n++) /* every size of a tile */
            check_product(t, types[i], 20, 256, n);
        if (len != 256)
            check_product(t, types[i], 17, 1088, 4);
    }
}

/* Weights and activations at the ends of their ranges: sums of 16-bit lanes must not overflow. */
static void check_extremes(struct check *t)
{
    uint32_t types[MAX_TYPES];
    unsigned n_types = computed_types(types);
    for (unsigned i = 0; i < n_types; i++) {
        for (unsigned form = 0; form < 8; form++) {
            const uint32_t n_in = 512;
            struct product p = { .w = { .type = types[i], .n_out = 9, .n_in = n_in }, .ldy = 9 };
            if (!packed(types[i]) || kernel_row_bytes(&p.w.row_bytes, types[i], n_in) < 0)
                continue;
            uint8_t *w = input_bytes(9 * p.w.row_bytes);
            memset(w, form & 1 ? 0xff : form & 4 ? 0x80 : 0x00, 9 * p.w.row_bytes);
            /* Scales must be finite numbers for sums to mean something: quantise a row, keep them.
             * */
            float rows[2 * 512];
            for (uint32_t j = 0; j < 2 * n_in; j++)
                rows[j] = form & 2 ? -1 : 1;
            for (uint32_t o = 0; o < 9; o++) {
                float one[512];
                for (uint32_t j = 0; j < n_in; j++)
                    one[j] = form & 1 ? 1 : -1;
                if (form < 4)
                    kernel_type_info(types[i])->quantize(one, w + o * p.w.row_bytes, n_in);
            }
            size_t bytes = t->c.act_row_bytes(types[i], n_in);
            uint8_t *act = scratch_bytes(2 * bytes);
            t->c.act_prepare(types[i], rows, 2, n_in, act);
            set_weights(&p.w, w);
            p.x = (struct kernel_act){ act, bytes, 2, n_in };
            float *got = output_floats(18);
            p.want = output_floats(18);
            at(t, "%s, form %u", kernel_type_info(types[i])->name, form);
            t->c.matmul(&p.w, 0, 9, &p.x, p.want, 9);
            t->k.matmul(&p.w, 0, 9, &p.x, got, 9);
            expect_same(t, got, p.want, 18);
            done(t);
        }
    }
}

const struct check_entry checks_matmul[] = {
    { "dequantize_row", check_dequantize },
    { "act_prepare", check_act },
    { "matmul", check_matmul },
    { "matmul at the ends of the ranges", check_extremes },
    { NULL, NULL },
};
