/* Products with quantised weights, in the order of kernel/act.h: 16 rows of weights are unpacked to
 * a panel (kernel/x86/panel_avx2.h) for as many columns as the first-level cache holds, and the
 * panel is multiplied with all activation rows, three (8-bit weights: two) at a time; y carries the
 * sums from one stretch of columns to the next. One row is the same code with a batch of one, so
 * batches cannot change a bit.
 *
 * Cost of 16 outputs x 3 rows x 32 columns of 4 bits: 48 multiply-adds of bytes and as many
 * additions, for which two and four units are there (Zen 3): 128 operations a cycle at best. 8-bit
 * weights take twice that. */
#include "kernel/act.h"
#include "kernel/unpack.h"
#include "kernel/x86/panel_avx2.h"

#define X_TILE 3

/* What a format needs of the inner loop; constants where the loop is inlined. */
struct shape {
    uint32_t groups; /* of four columns in a sub-block: 4 or 8 */
    uint32_t run;    /* products whose sum fits 16 bits: value * 127 * 2 * run < 2^15 */
    uint32_t planes; /* 2: low and high nibbles */
    int shift;       /* stored values are offset by 2^shift; -1: not, the format has minima */
};

struct job {
    const struct kernel_panel *p;
    uint32_t n_sub;                   /* sub-blocks in the panel */
    struct kernel_act_row x[X_TILE];  /* from the panel's first column */
    float *y[X_TILE];
    __m256i valid[2];                 /* outputs that exist */
    bool first;                       /* sums start at zero */
};

/* Adds four columns of both vectors of rows, all planes and activation rows, to the sums h. */
static ALWAYS_INLINE void add_group(struct shape s, uint32_t n_x, const uint8_t *q,
                                    const int8_t *const *x, bool fresh, __m256i h[2][2][X_TILE])
{
    __m256i b[X_TILE];
    for (uint32_t r = 0; r < n_x; r++) {
        int32_t four;
        memcpy(&four, x[r], sizeof four);
        b[r] = _mm256_set1_epi32(four);
    }
    for (uint32_t p = 0; p < s.planes; p++)
        for (int i = 0; i < 2; i++) {
            __m256i w = _mm256_load_si256(
                (const __m256i *)(const void *)(q + 64 * s.groups * p + 32 * i));
            PIN_VECTOR(w);
            for (uint32_t r = 0; r < n_x; r++) {
                __m256i m = _mm256_maddubs_epi16(w, b[r]);
                h[p][i][r] = fresh ? m : _mm256_add_epi16(h[p][i][r], m);
                PIN_VECTOR(h[p][i][r]);
            }
        }
}

/* v = the exact sums of one sub-block: 16-bit ones over `run` groups, then 32-bit ones. */
static ALWAYS_INLINE void sum_block(struct shape s, uint32_t n_x, const uint8_t *q,
                                    const int8_t *const *x, __m256i v[2][X_TILE])
{
    UNROLL
    for (uint32_t g = 0; g < s.groups; g += s.run) {
        __m256i h[2][2][X_TILE];
        UNROLL
        for (uint32_t k = g; k < g + s.run; k++) {
            const int8_t *at[X_TILE];
            for (uint32_t r = 0; r < n_x; r++)
                at[r] = x[r] + 4 * k;
            add_group(s, n_x, q + 64 * k, at, k == g, h);
        }
        for (uint32_t r = 0; r < n_x; r++)
            for (int i = 0; i < 2; i++) {
                __m256i wide = _mm256_madd_epi16(h[0][i][r], _mm256_set1_epi16(1));
                if (s.planes == 2)
                    wide = _mm256_add_epi32(
                        wide, _mm256_madd_epi16(h[1][i][r], _mm256_set1_epi16(16)));
                v[i][r] = g == 0 ? wide : _mm256_add_epi32(v[i][r], wide);
            }
    }
}

static ALWAYS_INLINE void tile(struct shape s, uint32_t n_x, const struct job *j)
{
    __m256 acc[2][X_TILE];
    for (uint32_t r = 0; r < n_x; r++)
        for (int i = 0; i < 2; i++)
            acc[i][r] = j->first ? _mm256_setzero_ps()
                                 : _mm256_maskload_ps(j->y[r] + 8 * i, j->valid[i]);
    const uint8_t *q = j->p->q;
    const int8_t *x[X_TILE];
    for (uint32_t r = 0; r < n_x; r++)
        x[r] = j->x[r].q;
    for (uint32_t b = 0; b < j->n_sub; b++) {
        __m256i v[2][X_TILE];
        sum_block(s, n_x, q, x, v);
        q += 64 * s.groups * s.planes;
        for (uint32_t r = 0; r < n_x; r++) {
            x[r] += 4 * s.groups;
            __m256 d = _mm256_broadcast_ss(j->x[r].d + b);
            for (int i = 0; i < 2; i++) {
                if (s.shift >= 0)
                    v[i][r] = _mm256_sub_epi32(
                        v[i][r], _mm256_slli_epi32(_mm256_set1_epi32(j->x[r].sum[b]), s.shift));
                __m256 scale = _mm256_mul_ps(_mm256_load_ps(j->p->scale[b] + 8 * i), d);
                acc[i][r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(v[i][r]), scale, acc[i][r]);
                if (s.shift < 0)
                    acc[i][r] = _mm256_fmadd_ps(_mm256_load_ps(j->p->min[b] + 8 * i),
                                                _mm256_broadcast_ss(j->x[r].xs + b), acc[i][r]);
            }
        }
    }
    for (uint32_t r = 0; r < n_x; r++)
        for (int i = 0; i < 2; i++)
            _mm256_maskstore_ps(j->y[r] + 8 * i, j->valid[i], acc[i][r]);
}

/* Three activation rows fill the registers; with two planes, whose sums are twice as many, two. */
#define TILES_2(name, ...)                                                                       \
    static void name##_1(const struct job *j) { tile((struct shape){ __VA_ARGS__ }, 1, j); }     \
    static void name##_2(const struct job *j) { tile((struct shape){ __VA_ARGS__ }, 2, j); }
#define TILES(name, ...)                                                                         \
    TILES_2(name, __VA_ARGS__)                                                                   \
    static void name##_3(const struct job *j) { tile((struct shape){ __VA_ARGS__ }, 3, j); }
TILES(u4_offset, 8, 8, 1, 3)   /* 15 * 254 * 8 = 30480 */
TILES(u4_min, 8, 8, 1, -1)
TILES(u5_offset, 8, 4, 1, 4)   /* 31 * 254 * 4 = 31496 */
TILES(u5_min, 8, 4, 1, -1)
TILES_2(u8_planes, 8, 8, 2, 7)
TILES(u6_16, 4, 2, 1, 5)       /* 63 * 254 * 2 = 32004 */
TILES(u3_16, 4, 4, 1, 2)
TILES(u2_16, 4, 4, 1, -1)
TILES(fp4_16, 4, 4, 1, 4)      /* 28 * 254 * 4 = 28448 */

typedef void (*tile_fn)(const struct job *);
#define ROW(name) { name##_1, name##_2, name##_3 }
#define ROW_2(name) { name##_1, name##_2 }
static const tile_fn tiles[KERNEL_TYPE_COUNT][X_TILE] = {
    [KERNEL_Q4_0] = ROW(u4_offset),   [KERNEL_Q4_1] = ROW(u4_min),
    [KERNEL_Q4_K] = ROW(u4_min),      [KERNEL_Q5_0] = ROW(u5_offset),
    [KERNEL_MXFP4] = ROW(u5_offset),  [KERNEL_Q5_1] = ROW(u5_min),
    [KERNEL_Q5_K] = ROW(u5_min),      [KERNEL_Q8_0] = ROW_2(u8_planes),
    [KERNEL_IQ4_NL] = ROW_2(u8_planes), [KERNEL_IQ4_XS] = ROW_2(u8_planes),
    [KERNEL_Q6_K] = ROW(u6_16),       [KERNEL_Q3_K] = ROW(u3_16),
    [KERNEL_Q2_K] = ROW(u2_16),       [KERNEL_NVFP4] = ROW(fp4_16),
};

static bool has_planes(uint32_t type)
{
    return type == KERNEL_Q8_0 || type == KERNEL_IQ4_NL || type == KERNEL_IQ4_XS;
}

/* Columns [at, at + len) of 16 rows from o, times all activation rows. */
static void panel_times_rows(const struct kernel_mat *w, const struct kernel_act *x, uint32_t at,
                             struct job *j, float *y, size_t ldy)
{
    uint32_t sub = kernel_format(w->type)->sub;
    uint32_t width = tiles[w->type][X_TILE - 1] != NULL ? X_TILE : X_TILE - 1;
    for (uint32_t r = 0; r < x->n_rows; r += width) {
        uint32_t n_x = x->n_rows - r < width ? x->n_rows - r : width;
        for (uint32_t k = 0; k < n_x; k++) {
            struct kernel_act_row row = kernel_act_row(x, r + k, sub);
            uint32_t skip = at / sub;
            j->x[k] = (struct kernel_act_row){ row.q + at, row.d + skip, row.xs + skip,
                                               row.sum + skip };
            j->y[k] = y + (r + k) * ldy;
        }
        tiles[w->type][n_x - 1](j);
    }
}

void kernel_matmul_block_avx2(const struct kernel_mat *w, uint32_t o0, uint32_t o1,
                              const struct kernel_act *x, float *y, size_t ldy)
{
    const struct kernel_format *f = kernel_format(w->type);
    kernel_panel_fn unpack = kernel_panel_fn_avx2(w->type);
    uint32_t columns = PANEL_BYTES / PANEL_ROWS / (has_planes(w->type) ? 2 : 1);
    struct kernel_panel panel;
    struct job j = { .p = &panel };
    for (uint32_t o = o0; o < o1; o += PANEL_ROWS) {
        uint32_t n = o1 - o < PANEL_ROWS ? o1 - o : PANEL_ROWS;
        j.valid[0] = mask8(n < 8 ? n : 8);
        j.valid[1] = mask8(n < 8 ? 0 : n - 8);
        for (uint32_t at = 0; at < w->n_in; at += columns) {
            uint32_t len = w->n_in - at < columns ? w->n_in - at : columns;
            const uint8_t *row[PANEL_ROWS];
            for (uint32_t i = 0; i < PANEL_ROWS; i++) /* rows past the end repeat the last */
                row[i] = (const uint8_t *)w->data + (o + (i < n ? i : n - 1)) * w->row_bytes +
                         (size_t)(at / f->block_len) * f->block_bytes;
            unpack(row, len / f->block_len, 0, &panel);
            unpack(row + 8, len / f->block_len, 1, &panel);
            j.n_sub = len / f->sub;
            j.first = at == 0;
            panel_times_rows(w, x, at, &j, y + o, ldy);
        }
    }
}
