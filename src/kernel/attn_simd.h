/* kernel/attn_simd.h - one part of attention on vectors of any width.
 *
 * Idea: the file of an ISA names its vectors and a few operations on them, then includes this. A
 * tile of 64 positions is packed once for all queries of the call (K turned, so that a lane is a
 * position; V as it lies), then it is three small products:
 *
 *     scores   S (queries, 64)    = Q (queries, k_dim) K^T        registers: N_QUERIES x N_VECTORS
 *     weights  P = exp2(S - max)    per query, masked where it may not see
 *     values   acc (queries, v_dim) += P V                        registers: N_QUERIES x N_VECTORS
 *
 * Every element is summed over k_dim or over positions in order, in a lane that its place alone
 * decides: the same bits for one query row and for many. Up to N_QUERIES queries read V straight
 * from the cache, converting as they go (decode); more of them share a packed copy. While a tile is
 * computed the next one is fetched.
 *
 * The including file defines: V, LANES, N_QUERIES, N_VECTORS, v_zero, v_set1, v_load, v_store,
 * v_fma (a * b + c), v_mul, v_add, v_max (a, b; b if one is NaN), v_exp2, v_tanh, v_hmax, v_hsum,
 * v_visible (v, lanes before `from` or from `to` on become -inf), kv_load, kv_scale, turn. */
#ifndef KERNEL_ATTN_SIMD_H
#define KERNEL_ATTN_SIMD_H

#include <stdbool.h>
#include <string.h>

#include "base/attr.h"
#include "kernel/attn.h"

#define TILE KERNEL_ATTN_TILE
#define P_LEN (TILE + 16) /* floats from one query's weights to the next: no power of two */
#define CHUNK (N_VECTORS * LANES)

struct tile {
    const uint8_t *k[TILE], *v[TILE]; /* rows by lane; lanes outside repeat a row that is there */
    const uint8_t *next_k[TILE], *next_v[TILE]; /* to be fetched meanwhile */
    uint32_t type, first, end;                  /* lanes [first, end) are wanted by somebody */
};

/* What a part works on. */
struct part {
    const struct kernel_attn *a;
    const struct kernel_attn_rows *r;
    uint32_t n_queries;
    float *q;    /* (n_queries, q_len): scaled, in the form of the level's scores */
    size_t q_len;
    float *k, *v;
    float *p;    /* (n_queries, P_LEN) */
    float *sums; /* (n_queries, 16): by lane */
    float *states;
    size_t state_len;
};

/* How a level computes for one cache type. */
struct attn_ops {
    void (*pack_q)(const float *q, float factor, uint32_t k_dim, float *dst);
    void (*pack_k)(const struct tile *t, uint32_t k_dim, float *dst);
    void (*scores)(const struct part *w, const struct tile *t);
    void (*values)(const struct part *w, const struct tile *t);
};

/* --- scores --- */

static UNUSED void pack_q_float(const float *q, float factor, uint32_t k_dim, float *dst)
{
    for (uint32_t i = 0; i < k_dim; i++)
        dst[i] = q[i] * factor;
}

/* Values [i, i + n) of LANES rows from `lane` on, n up to LANES, turned. */
static ALWAYS_INLINE void turn_block(uint32_t type, const struct tile *t, uint32_t lane, uint32_t i,
                                     uint32_t n, float *dst)
{
    V m[LANES];
    UNROLL
    for (uint32_t j = 0; j < LANES; j++) {
        const uint8_t *row = t->k[lane + j];
        m[j] = kv_load(type, row, i, n, kv_scale(type, row, i));
        if (i % 32 == 0)
            __builtin_prefetch(t->next_k[lane + j] + kernel_kv_at(type, i), 0, 2);
    }
    turn(m);
    UNROLL
    for (uint32_t j = 0; j < LANES; j++)
        if (j < n)
            v_store(dst + (size_t)(i + j) * TILE + lane, m[j]);
}

/* dst (k_dim, TILE): columns of the vectors that hold a wanted lane. */
static ALWAYS_INLINE void pack_k_as(uint32_t type, const struct tile *t, uint32_t k_dim, float *dst)
{
    for (uint32_t lane = t->first / LANES * LANES; lane < t->end; lane += LANES) {
        uint32_t i = 0;
        for (; i + LANES <= k_dim; i += LANES)
            turn_block(type, t, lane, i, LANES, dst);
        if (i < k_dim)
            turn_block(type, t, lane, i, k_dim - i, dst);
    }
}

static ALWAYS_INLINE void score_block(uint32_t n, const float *q, size_t q_len, const float *k,
                                      uint32_t k_dim, float *s)
{
    V acc[N_QUERIES][N_VECTORS];
    UNROLL
    for (uint32_t h = 0; h < n; h++)
        UNROLL
        for (uint32_t c = 0; c < N_VECTORS; c++)
            acc[h][c] = v_zero();
    for (uint32_t i = 0; i < k_dim; i++, k += TILE) {
        V kv[N_VECTORS];
        UNROLL
        for (uint32_t c = 0; c < N_VECTORS; c++)
            kv[c] = v_load(k + c * LANES);
        UNROLL
        for (uint32_t h = 0; h < n; h++) {
            V x = v_set1(q[h * q_len + i]);
            UNROLL
            for (uint32_t c = 0; c < N_VECTORS; c++)
                acc[h][c] = v_fma(x, kv[c], acc[h][c]);
        }
    }
    UNROLL
    for (uint32_t h = 0; h < n; h++)
        UNROLL
        for (uint32_t c = 0; c < N_VECTORS; c++)
            v_store(s + h * P_LEN + c * LANES, acc[h][c]);
}

/* The number of queries is a constant in each call, so that accumulators live in registers. */
#if N_QUERIES == 6
#define BY_QUERIES(n, call)                                                                        \
    switch (n) {                                                                                   \
    case 1: call(1); break;                                                                        \
    case 2: call(2); break;                                                                        \
    case 3: call(3); break;                                                                        \
    case 4: call(4); break;                                                                        \
    case 5: call(5); break;                                                                        \
    default: call(6);                                                                              \
    }
#else
#define BY_QUERIES(n, call)                                                                        \
    switch (n) {                                                                                   \
    case 1: call(1); break;                                                                        \
    case 2: call(2); break;                                                                        \
    case 3: call(3); break;                                                                        \
    default: call(4);                                                                              \
    }
#endif

static UNUSED void scores_float(const struct part *w, const struct tile *t)
{
    for (uint32_t lane = t->first / CHUNK * CHUNK; lane < t->end; lane += CHUNK)
        for (uint32_t h = 0; h < w->n_queries; h += N_QUERIES) {
            uint32_t n = w->n_queries - h;
            const float *q = w->q + h * w->q_len;
            float *s = w->p + (size_t)h * P_LEN + lane;
#define SCORE(count) score_block(count, q, w->q_len, w->k + lane, w->a->k_dim, s)
            BY_QUERIES(n, SCORE)
#undef SCORE
        }
}

/* --- weights --- */

static ALWAYS_INLINE void shrink_state(float *acc, size_t n, float by)
{
    for (size_t i = 0; i < n; i += LANES)
        v_store(acc + i, v_mul(v_load(acc + i), v_set1(by)));
}

/* Scores of query h to weights, where it sees lanes [from, to) of the tile. */
static void weigh(const struct part *w, const struct tile *t, uint32_t h, uint32_t from,
                  uint32_t to)
{
    float *p = w->p + (size_t)h * P_LEN, *sums = w->sums + (size_t)h * 16;
    float *state = w->states + h * w->state_len, *m = state + w->state_len - 16;
    uint32_t begin = t->first / LANES * LANES;
    if (from >= to) {
        for (uint32_t i = begin; i < t->end; i += LANES)
            v_store(p + i, v_zero());
        return;
    }
    bool whole = from <= begin && to >= (t->end + LANES - 1) / LANES * LANES;
    V top = v_set1(m[0]);
    for (uint32_t i = begin; i < t->end; i += LANES) {
        V s = v_load(p + i);
        if (w->a->softcap != 0)
            s = v_mul(v_set1(w->a->softcap * KERNEL_LOG2E),
                      v_tanh(v_mul(s, v_set1(1 / w->a->softcap))));
        if (!whole)
            s = v_visible(s, from, to, i);
        if (!whole || w->a->softcap != 0)
            v_store(p + i, s);
        top = v_max(s, top); /* a NaN shows in the sum */
    }
    float best = v_hmax(top);
    V sum = v_load(sums);
    if (best != m[0]) {
        float shrink = v_first(v_exp2(v_set1(m[0] - best)));
        m[0] = best;
        sum = v_mul(sum, v_set1(shrink));
        shrink_state(state, w->state_len - 16, shrink);
    }
    for (uint32_t i = begin; i < t->end; i += LANES) {
        V e = v_exp2(v_sub(v_load(p + i), v_set1(best)));
        v_store(p + i, e);
        sum = v_add(sum, e);
    }
    v_store(sums, sum);
}

static void weights(const struct part *w, const struct tile *t, uint32_t tile0)
{
    const struct kernel_attn *a = w->a;
    for (uint32_t h = 0; h < w->n_queries; h++) {
        uint32_t pos = w->r->pos0 + h / a->n_group, lo = kernel_attn_first(a, pos);
        uint32_t from = lo > tile0 ? lo - tile0 : 0, to = pos + 1 > tile0 ? pos + 1 - tile0 : 0;
        from = from > t->first ? from : t->first;
        to = to < t->end ? to : t->end;
        weigh(w, t, h, from, to);
    }
}

/* --- values --- */

/* dst (TILE, v_pad): wanted rows, filled up with zeros to a multiple of 16. */
static ALWAYS_INLINE void pack_v_as(uint32_t type, const struct tile *t, uint32_t v_dim,
                                    size_t v_pad, float *dst)
{
    for (uint32_t lane = t->first; lane < t->end; lane++) {
        const uint8_t *row = t->v[lane];
        for (uint32_t i = 0; i < v_pad; i += LANES) {
            uint32_t n = i >= v_dim ? 0 : v_dim - i < LANES ? v_dim - i : LANES;
            V x = n == 0 ? v_zero() : kv_load(type, row, i, n, kv_scale(type, row, i));
            v_store(dst + lane * v_pad + i, x);
            if (i % 32 == 0)
                __builtin_prefetch(t->next_v[lane] + kernel_kv_at(type, i), 0, 2);
        }
    }
}

/* Columns [column, column + n_vec vectors) of n queries; v: packed rows, or NULL. */
static ALWAYS_INLINE void value_block(uint32_t type, const struct part *w, const struct tile *t,
                                      const uint32_t n_of[2], uint32_t h, uint32_t column)
{
    uint32_t n = n_of[0], n_vec = n_of[1];
    float *out = w->states + h * w->state_len + column;
    const float *p = w->p + (size_t)h * P_LEN;
    V acc[N_QUERIES][N_VECTORS];
    UNROLL
    for (uint32_t g = 0; g < n; g++)
        UNROLL
        for (uint32_t c = 0; c < n_vec; c++)
            acc[g][c] = v_load(out + g * w->state_len + c * LANES);
    for (uint32_t lane = t->first; lane < t->end; lane++) {
        V v[N_VECTORS];
        if (type == KERNEL_TYPE_COUNT) { /* packed */
            UNROLL
            for (uint32_t c = 0; c < n_vec; c++)
                v[c] = v_load(w->v + lane * (w->state_len - 16) + column + c * LANES);
        } else {
            const uint8_t *row = t->v[lane];
            UNROLL
            for (uint32_t c = 0; c < n_vec; c++)
                v[c] = kv_load(type, row, column + c * LANES, LANES,
                               kv_scale(type, row, column + c * LANES));
            __builtin_prefetch(t->next_v[lane] + kernel_kv_at(type, column), 0, 2);
            if (n_vec * LANES > 32)
                __builtin_prefetch(t->next_v[lane] + kernel_kv_at(type, column + 32), 0, 2);
        }
        UNROLL
        for (uint32_t g = 0; g < n; g++) {
            V x = v_set1(p[g * P_LEN + lane]);
            UNROLL
            for (uint32_t c = 0; c < n_vec; c++)
                acc[g][c] = v_fma(x, v[c], acc[g][c]);
        }
    }
    UNROLL
    for (uint32_t g = 0; g < n; g++)
        UNROLL
        for (uint32_t c = 0; c < n_vec; c++)
            v_store(out + g * w->state_len + c * LANES, acc[g][c]);
}

static ALWAYS_INLINE void values_as(uint32_t type, const struct part *w, const struct tile *t)
{
    uint32_t width = (uint32_t)(w->state_len - 16);
    for (uint32_t h = 0; h < w->n_queries; h += N_QUERIES) {
        uint32_t n = w->n_queries - h, column = 0;
#define VALUES(count) value_block(type, w, t, (const uint32_t[2]){ count, N_VECTORS }, h, column)
        for (; column + CHUNK <= width; column += CHUNK)
            BY_QUERIES(n, VALUES)
#undef VALUES
#define VALUES(count) value_block(type, w, t, (const uint32_t[2]){ count, 1 }, h, column)
        for (; column < width; column += LANES)
            BY_QUERIES(n, VALUES)
#undef VALUES
    }
}

static UNUSED void values_packed(const struct part *w, const struct tile *t)
{
    values_as(KERNEL_TYPE_COUNT, w, t);
}

/* The functions of one cache type in f32 arithmetic. */
#define ATTN_FLOAT_OPS(name, type)                                                                 \
    static void pack_k_##name(const struct tile *t, uint32_t k_dim, float *dst)                    \
    {                                                                                              \
        pack_k_as(type, t, k_dim, dst);                                                            \
    }                                                                                              \
    static void values_raw_##name(const struct part *w, const struct tile *t)                      \
    {                                                                                              \
        values_as(type, w, t);                                                                     \
    }                                                                                              \
    static void values_##name(const struct part *w, const struct tile *t)                          \
    {                                                                                              \
        if (w->n_queries <= N_QUERIES && w->a->v_dim % 16 == 0) {                                  \
            values_raw_##name(w, t);                                                               \
            return;                                                                                \
        }                                                                                          \
        pack_v_as(type, t, w->a->v_dim, w->state_len - 16, w->v);                                  \
        values_packed(w, t);                                                                       \
    }                                                                                              \
    static const struct attn_ops ops_##name = { pack_q_float, pack_k_##name, scores_float,         \
                                                values_##name };

/* --- a part --- */

/* Rows of lanes [lane, lane + n), which lie in one block of the cache. */
static void point_run(const struct kernel_kv *kv, uint32_t p, uint32_t n, const uint8_t **k,
                      const uint8_t **v)
{
    const uint8_t *k0 = kernel_kv_row(kv, kv->k_offset, kv->k_stride, p);
    const uint8_t *v0 = kernel_kv_row(kv, kv->v_offset, kv->v_stride, p);
    for (uint32_t i = 0; i < n; i++) {
        k[i] = k0 + i * kv->k_stride;
        v[i] = v0 + i * kv->v_stride;
    }
}

/* Pointers to the rows of positions [from, to) at lanes from % TILE on. */
static void point_rows(const struct kernel_kv *kv, uint32_t from, uint32_t to, const uint8_t **k,
                       const uint8_t **v)
{
    for (uint32_t p = from; p < to;) {
        uint32_t n = kv->block_len - (p & (kv->block_len - 1));
        n = n < to - p ? n : to - p;
        point_run(kv, p, n, k + p % TILE, v + p % TILE);
        p += n;
    }
}

/* Fills the tile of positions [from, to); the next one ends at `last` at most. */
static void point_tile(const struct kernel_kv *kv, uint32_t from, uint32_t to, uint32_t last,
                       struct tile *t)
{
    t->first = from % TILE;
    t->end = t->first + (to - from);
    point_rows(kv, from, to, t->k, t->v);
    for (uint32_t i = 0; i < t->first; i++)
        t->k[i] = t->k[t->first];
    for (uint32_t i = t->end; i < TILE && i % 16 != 0; i++)
        t->k[i] = t->k[t->first];
    memcpy(t->next_k, t->k, sizeof t->k);
    memcpy(t->next_v, t->v, sizeof t->v);
    if (to < last)
        point_rows(kv, to, last - to < TILE ? last : to + TILE, t->next_k, t->next_v);
}

static void begin_part(struct part *w, const struct attn_ops *ops, void *scratch)
{
    const struct kernel_attn *a = w->a;
    size_t k = (a->k_dim + 63u) & ~(size_t)63, v = (a->v_dim + 63u) & ~(size_t)63;
    w->n_queries = w->r->n_rows * a->n_group;
    w->state_len = kernel_attn_state_len(a);
    w->q_len = k + 16;
    w->q = scratch;
    w->k = w->q + w->n_queries * w->q_len;
    w->v = w->k + (TILE + 16) * k;
    w->p = w->v + (TILE + 16) * v;
    w->sums = w->p + w->n_queries * P_LEN;
    struct kernel_attn no_sinks = *a;
    no_sinks.sinks = NULL;
    kernel_attn_begin(&no_sinks, w->r->n_rows, w->states);
    memset(w->sums, 0, w->n_queries * 16 * sizeof *w->sums);
    float factor = a->softcap != 0 ? a->scale : a->scale * KERNEL_LOG2E;
    for (uint32_t h = 0; h < w->n_queries; h++) {
        size_t row = h / a->n_group, g = h % a->n_group;
        ops->pack_q(w->r->q + row * w->r->q_stride + g * a->k_dim, factor, a->k_dim,
                    w->q + h * w->q_len);
    }
}

static void attn_part(const struct attn_ops *ops, struct part *w, const struct kernel_kv *kv,
                      uint32_t part, void *scratch)
{
    struct tile t = { .type = kv->kv_type };
    struct kernel_attn_span s = kernel_attn_span(w->a, w->r->pos0, w->r->n_rows, part);
    begin_part(w, ops, scratch);
    while (s.from < s.to) {
        uint32_t tile0 = s.from / TILE * TILE;
        uint32_t to = s.to - tile0 < TILE ? s.to : tile0 + TILE;
        point_tile(kv, s.from, to, w->r->pos0 + w->r->n_rows, &t);
        ops->pack_k(&t, w->a->k_dim, w->k);
        ops->scores(w, &t);
        weights(w, &t, tile0);
        ops->values(w, &t);
        s.from = to;
    }
    for (uint32_t h = 0; h < w->n_queries; h++)
        w->states[h * w->state_len + w->state_len - 15] = v_hsum(v_load(w->sums + (size_t)h * 16));
}

#endif
