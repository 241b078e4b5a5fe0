/* Packed weights of a model: stretches of memory, filled from the front and given back together.
 * Packing runs on the whole team, panel by panel. */
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "device/device.h"
#include "kernel/pack.h"
#include "os/pages.h"

#define STRETCH_BYTES ((size_t)64 << 20) /* of address space; pages come in when touched */
#define PANELS 4                         /* a task */

struct stretch {
    struct stretch *next;
    uint8_t *data;
    size_t bytes, used;
};

struct device_store {
    struct device *device;
    struct stretch *head;
    size_t used;
};

int device_store_create(struct device_store **out, struct device *d)
{
    struct device_store *s = mem_alloc(1, sizeof *s);
    if (s == NULL)
        return E_NOMEM;
    s->device = d;
    *out = s;
    return 0;
}

void device_store_destroy(struct device_store *s)
{
    if (s == NULL)
        return;
    while (s->head != NULL) {
        struct stretch *next = s->head->next;
        os_pages_put(s->head->data, s->head->bytes);
        mem_free(s->head);
        s->head = next;
    }
    mem_free(s);
}

size_t device_store_bytes(const struct device_store *s) { return s->used; }

static int take(struct device_store *s, size_t bytes, uint8_t **out)
{
    if (s->head == NULL || s->head->bytes - s->head->used < bytes) {
        struct stretch *n = mem_alloc(1, sizeof *n);
        if (n == NULL)
            return E_NOMEM;
        n->bytes = num_max(bytes, STRETCH_BYTES);
        void *data;
        int rc = os_pages_take(&data, n->bytes);
        if (rc < 0) {
            mem_free(n);
            return rc;
        }
        n->data = data;
        n->next = s->head;
        s->head = n;
    }
    *out = s->head->data + s->head->used;
    s->head->used += bytes;
    s->used += bytes;
    return 0;
}

struct packing {
    const struct device_mat *from;
    uint8_t *to;
    size_t panel_bytes;
};

static void pack_task(void *ctx, uint32_t i, uint32_t thread)
{
    (void)thread;
    const struct packing *p = ctx;
    const struct kernel_mat *m = &p->from->mat;
    uint32_t from = i * PANELS * PACK_ROWS;
    uint32_t to = (uint32_t)num_min(m->n_out, (size_t)from + PANELS * PACK_ROWS);
    for (uint32_t o = from; o < to; o += PACK_ROWS)
        kernel_pack_panel(m->type, (const uint8_t *)m->data + o * m->row_bytes, m->row_bytes,
                          (uint32_t)num_min(PACK_ROWS, to - o), m->n_in,
                          p->to + o / PACK_ROWS * p->panel_bytes);
}

int device_mat_init(struct device_store *s, struct device_mat *m, uint32_t type, uint32_t n_out,
                    uint32_t n_in, const void *data)
{
    const struct kernel_type_info *info = kernel_type_info(type);
    size_t row_bytes;
    if (info == NULL || info->dequantize == NULL)
        return E_UNSUPPORTED;
    if (n_out == 0 || n_in == 0)
        return E_RANGE;
    TRY(kernel_row_bytes(&row_bytes, type, n_in));
    struct device_mat raw = {
        .mat = { .data = data, .type = type, .n_out = n_out, .n_in = n_in, .row_bytes = row_bytes },
        .file_row_bytes = row_bytes
    };
    *m = raw;
    if (s == NULL || kernel_pack_format(type) == NULL) {
        m->ready = kernel_pack_format(type) == NULL;
        return 0;
    }
    struct packing p = { &raw, NULL, kernel_pack_panel_bytes(type, n_in) };
    TRY(take(s, kernel_pack_bytes(type, n_out, n_in), &p.to));
    device_for(s->device, (uint32_t)num_ceil_div(n_out, PANELS * PACK_ROWS),
               4 * PANELS * PACK_ROWS * (size_t)n_in, pack_task, &p);
    m->mat.data = p.to;
    m->mat.row_bytes = p.panel_bytes;
    m->ready = true;
    return 0;
}

int device_mat_rows(struct device_store *s, struct device_mat *m, const struct device_mat *whole,
                    uint32_t from, uint32_t n)
{
    const struct kernel_mat *w = &whole->mat;
    ASSERT(w->row_bytes == whole->file_row_bytes);
    ASSERT(from + n <= w->n_out);
    TRY(device_mat_init(s, m, w->type, n, w->n_in, (const uint8_t *)w->data + from * w->row_bytes));
    m->bias = whole->bias != NULL ? whole->bias + from : NULL;
    return 0;
}
