/* The forward pass of Kimi Delta Attention. Three parallel regions beside the products: what is
 * done for each (span, head), the recurrence for each (span, head, panels), and each row's norm and
 * gate. Convolutions run in place from the last row back to the first: a row's older taps are still
 * the raw inputs then. */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "model/block.h"
#include "model/kda.h"

#define PANELS 2 /* of S, a task */

struct kda_job {
    struct model_work *w;
    const struct block_kda *a;
    uint32_t n_panels, parts; /* of one head; tasks for them */
};

static float *stream(const struct model_work *w, uint32_t span, uint32_t index)
{
    const struct model_stream *s = &w->m->layout.streams[index];
    return (float *)(void *)(w->batch->spans[span].slot + s->offset);
}

/* One head's channels of one of the three inputs. */
struct channels {
    float *x;        /* row 0 of the span; rows ld apart */
    float *tail;     /* (n_taps - 1) older rows, ld apart; becomes the last ones of this span */
    const float *w;  /* (n_taps, ld) */
    size_t ld;
    uint32_t n_rows, n_taps, dim;
};

static void convolve(const struct kernel_table *k, const struct channels *c)
{
    float last[(KDA_TAPS_MAX - 1) * KDA_DIM_MAX];
    uint32_t n_old = c->n_taps - 1;
    for (uint32_t j = 0; j < n_old; j++) { /* of [tail | rows], the last n_old */
        uint32_t at = c->n_rows + j;
        const float *from = at < n_old ? c->tail + at * c->ld : c->x + (at - n_old) * c->ld;
        memcpy(last + (size_t)j * c->dim, from, c->dim * sizeof *last);
    }
    for (uint32_t r = c->n_rows; r-- > 0;) {
        const float *taps[KDA_TAPS_MAX];
        for (uint32_t j = 0; j < c->n_taps; j++) {
            uint32_t at = r + j;
            taps[j] = at < n_old ? c->tail + at * c->ld : c->x + (at - n_old) * c->ld;
        }
        k->conv_silu(c->w, c->ld, taps, c->n_taps, c->x + r * c->ld, c->dim);
    }
    for (uint32_t j = 0; j < n_old; j++)
        memcpy(c->tail + j * c->ld, last + (size_t)j * c->dim, c->dim * sizeof *last);
}

/* x / sqrt(sum of squares + 1e-6) * factor, as the reference layer has it (eps inside the root). */
static void unit_rows(const struct kernel_table *k, const struct channels *c, float factor)
{
    float dim = (float)c->dim;
    for (uint32_t r = 0; r < c->n_rows; r++) {
        float *x = c->x + r * c->ld;
        k->rmsnorm(x, NULL, 0, 1e-6f / dim, x, c->dim);
        k->scale(x, factor / sqrtf(dim), c->dim);
    }
}

static void prepare_task(void *ctx, uint32_t i, uint32_t thread)
{
    (void)thread;
    static const enum model_buf BUFS[3] = { BUF_Q, BUF_K, BUF_V };
    const struct kda_job *t = ctx;
    const struct block_kda *a = t->a;
    struct model_work *w = t->w;
    uint32_t span = i / a->n_heads, h = i % a->n_heads;
    const struct model_span *s = &w->batch->spans[span];
    size_t ld = (size_t)a->n_heads * a->dim, at = (size_t)h * a->dim;
    for (uint32_t j = 0; j < 3; j++) {
        struct channels c = { .x = w->buf[BUFS[j]] + s->row0 * ld + at,
                              .tail = stream(w, span, a->conv_stream) + j * (a->n_taps - 1) * ld +
                                      at,
                              .w = a->conv[j] + at,
                              .ld = ld,
                              .n_rows = s->n_rows,
                              .n_taps = a->n_taps,
                              .dim = a->dim };
        convolve(w->k, &c);
        if (j < 2)
            unit_rows(w->k, &c, j == 0 ? 1 / sqrtf((float)a->dim) : 1);
    }
    for (uint32_t r = s->row0; r < s->row0 + s->n_rows; r++) {
        float *beta = w->buf[BUF_ROUTER] + (size_t)r * a->n_heads + h;
        w->k->decay(w->buf[BUF_GATE] + r * ld + at, a->dt + at, a->a[h], a->dim);
        *beta = 1 / (1 + expf(-*beta));
    }
}

static void delta_task(void *ctx, uint32_t i, uint32_t thread)
{
    (void)thread;
    const struct kda_job *t = ctx;
    const struct block_kda *a = t->a;
    struct model_work *w = t->w;
    uint32_t part = i % t->parts, h = i / t->parts % a->n_heads, span = i / t->parts / a->n_heads;
    const struct model_span *s = &w->batch->spans[span];
    size_t ld = (size_t)a->n_heads * a->dim, at = s->row0 * ld + (size_t)h * a->dim;
    size_t head = (size_t)t->n_panels * a->dim * KERNEL_DELTA_PANEL;
    struct kernel_delta d = { .n_rows = s->n_rows,
                              .k_dim = a->dim,
                              .v_dim = a->dim,
                              .q = w->buf[BUF_Q] + at,
                              .k = w->buf[BUF_K] + at,
                              .decay = w->buf[BUF_GATE] + at,
                              .ld_k = ld,
                              .v = w->buf[BUF_V] + at,
                              .out = w->buf[BUF_A] + at,
                              .ld_v = ld,
                              .beta = w->buf[BUF_ROUTER] + (size_t)s->row0 * a->n_heads + h,
                              .ld_beta = a->n_heads,
                              .state = stream(w, span, a->state_stream) + h * head };
    uint32_t from = part * PANELS;
    w->k->delta(&d, from, (uint32_t)num_min(from + PANELS, t->n_panels));
}

static void finish_task(void *ctx, uint32_t r, uint32_t thread)
{
    (void)thread;
    const struct kda_job *t = ctx;
    const struct block_kda *a = t->a;
    struct model_work *w = t->w;
    size_t width = (size_t)a->n_heads * a->dim;
    float *out = w->buf[BUF_A] + r * width;
    for (uint32_t h = 0; h < a->n_heads; h++)
        w->k->rmsnorm(out + (size_t)h * a->dim, a->norm.w, a->norm.plus, w->m->shape.eps,
                      out + (size_t)h * a->dim, a->dim);
    w->k->sigmoid_mul(out, w->buf[BUF_UP] + r * width, width);
}

static uint32_t longest_span(const struct model_work *w)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < w->batch->n_spans; i++)
        n = (uint32_t)num_max(n, w->batch->spans[i].n_rows);
    return n;
}

void block_kda(struct model_work *w, const struct block_kda *a)
{
    const struct block_linear *big[4] = { &a->q, &a->k, &a->v, &a->f_a };
    const struct block_linear *small[2] = { &a->g_a, &a->beta };
    const enum model_buf big_y[4] = { BUF_Q, BUF_K, BUF_V, BUF_LATENT };
    const enum model_buf small_y[2] = { BUF_LATENT_OUT, BUF_ROUTER };
    uint32_t n_panels = (uint32_t)num_ceil_div(a->dim, KERNEL_DELTA_PANEL);
    struct kda_job t = { w, a, n_panels, (uint32_t)num_ceil_div(n_panels, PANELS) };
    size_t rows = longest_span(w), width = (size_t)a->n_heads * a->dim;
    uint32_t n = w->batch->n_spans * a->n_heads;
    block_linear_rows(w, big, big_y, 4, BUF_H);
    block_linear_rows(w, small, small_y, 2, BUF_H);
    block_linear_one(w, &a->f_b, BUF_GATE, BUF_LATENT);
    block_linear_one(w, &a->g_b, BUF_UP, BUF_LATENT_OUT);
    device_for(w->m->dev, n, rows * a->dim * 64, prepare_task, &t);
    device_for(w->m->dev, n * t.parts, rows * a->dim * PANELS * KERNEL_DELTA_PANEL * 4, delta_task,
               &t);
    device_for(w->m->dev, w->n_rows, 12 * width, finish_task, &t);
    block_linear_one(w, &a->o, BUF_Y, BUF_A);
}
