/* Where the streams of a layout lie. Streams of rows follow one another in the block, all others in
 * the slot, each on a cache line of its own. */
#include "model/state.h"

#include "base/num.h"
#include "kernel/kernel.h"

#define STREAM_ALIGN 64
#define BLOCK_LEN_MAX 65536u

/* Fills row_bytes and bytes of one stream. */
static int weigh(struct model_stream *s, uint32_t block_len)
{
    if (s->row_values == 0)
        return E_RANGE;
    if (s->kind != MODEL_ROWS) {
        TRY(kernel_row_bytes(&s->row_bytes, s->type, s->row_values));
        s->bytes = s->row_bytes;
        return 0;
    }
    /* Q8_0 rows are filled up to whole blocks of 32 values. */
    s->row_bytes = kernel_kv_row_bytes(s->type, s->row_values);
    if (s->row_bytes == 0 || s->n_heads == 0 || s->stride == 0 || block_len % s->stride != 0)
        return E_RANGE;
    TRY(num_mul(&s->bytes, s->row_bytes, s->n_heads));
    return num_mul(&s->bytes, s->bytes, block_len / s->stride);
}

int model_layout_finish(struct model_layout *l, struct err *err)
{
    size_t block = 0, slot = 0;
    if (l->block_len == 0 || l->block_len > BLOCK_LEN_MAX ||
        (l->block_len & (l->block_len - 1)) != 0)
        return err_set_field(err, E_RANGE, "block_len",
                             "block_len: %u given, a power of two up to %u is wanted", l->block_len,
                             BLOCK_LEN_MAX);
    for (uint32_t i = 0; i < l->n_streams; i++) {
        struct model_stream *s = &l->streams[i];
        size_t *at = s->kind == MODEL_ROWS ? &block : &slot;
        s->offset = *at;
        if (weigh(s, l->block_len) < 0 || num_add(at, *at, s->bytes) < 0 ||
            num_align(at, *at, STREAM_ALIGN) < 0)
            return err_set_field(err, E_RANGE, "state",
                                 "the state of layer %u (%s: %u x %u values of type %u, a row "
                                 "every "
                                 "%u tokens) has no size in blocks of %u tokens",
                                 s->layer, s->name, s->n_heads, s->row_values, s->type, s->stride,
                                 l->block_len);
    }
    l->block_bytes = block;
    l->slot_bytes = slot;
    return 0;
}

size_t model_layout_bytes_per_token(const struct model_layout *l)
{
    size_t total = 0;
    for (uint32_t i = 0; i < l->n_streams; i++)
        if (l->streams[i].kind == MODEL_ROWS)
            total += l->streams[i].bytes;
    return num_ceil_div(total, l->block_len);
}
