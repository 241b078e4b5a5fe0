/* Data, guarded buffers and comparisons of the referee. */
#include "checkkernel/check.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_BUFFERS 16
#define BUFFER_BYTES ((size_t)1 << 22)
#define CANARY 0xc5
#define MARGIN 256

static struct {
    uint8_t *base;      /* BUFFER_BYTES readable, then a page that is not */
    size_t from, bytes; /* of an output, with its margins; bytes 0 for inputs */
} buffers[MAX_BUFFERS];
static unsigned n_used;

static uint8_t *next_buffer(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (n_used == MAX_BUFFERS || bytes + 2 * MARGIN > BUFFER_BYTES) {
        fprintf(stderr, "referee: a check wants more buffers than there are\n");
        exit(2);
    }
    if (buffers[n_used].base == NULL) {
        uint8_t *p = mmap(NULL, BUFFER_BYTES + page, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED || mprotect(p + BUFFER_BYTES, page, PROT_NONE) != 0) {
            perror("referee: mmap");
            exit(2);
        }
        buffers[n_used].base = p;
    }
    buffers[n_used].bytes = 0;
    return buffers[n_used++].base;
}

uint8_t *input_bytes(size_t n) { return next_buffer(n) + BUFFER_BYTES - n; }
float *input_floats(size_t n) { return (float *)(void *)input_bytes(n * sizeof(float)); }

static uint8_t *output_at(size_t n, size_t align)
{
    uint8_t *base = next_buffer(n);
    size_t from = (BUFFER_BYTES - MARGIN - n) & ~(align - 1);
    buffers[n_used - 1].from = from - MARGIN;
    buffers[n_used - 1].bytes = n;
    memset(base + from - MARGIN, CANARY, BUFFER_BYTES - (from - MARGIN));
    return base + from;
}

uint8_t *output_bytes(size_t n) { return output_at(n, 1); }
float *output_floats(size_t n) { return (float *)(void *)output_at(n * sizeof(float), 4); }
void *scratch_bytes(size_t n) { return output_at(n, 64); }

bool buffers_intact(void)
{
    for (unsigned i = 0; i < n_used; i++) {
        size_t after = buffers[i].from + MARGIN + buffers[i].bytes;
        for (size_t j = buffers[i].from; buffers[i].bytes != 0 && j < BUFFER_BYTES; j++) {
            bool inside = j >= buffers[i].from + MARGIN && j < after;
            if (!inside && buffers[i].base[j] != CANARY)
                return false;
        }
    }
    return true;
}

void buffers_reset(void) { n_used = 0; }

void fill(struct check *t, float *x, size_t n, enum fill kind)
{
    for (size_t i = 0; i < n; i++) {
        double u = sqrt(-2 * log(1 - rng_unit(&t->rng)));
        double v = u * cos(6.283185307179586 * rng_unit(&t->rng));
        switch (kind) {
        case FILL_NORMAL:
            x[i] = (float)v;
            break;
        case FILL_LARGE:
            x[i] = (float)(v * pow(10, (double)rng_below(&t->rng, 9) - 4));
            break;
        case FILL_DENORMAL:
            x[i] = (float)(v * 1e-40);
            break;
        default:
            x[i] = rng_below(&t->rng, 2) != 0 ? 0.0f : -0.0f;
        }
    }
}

void fill_bytes(struct check *t, uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)rng_below(&t->rng, 256);
}

void fill_row(struct check *t, uint32_t type, uint8_t *row, size_t n, enum fill kind)
{
    float *x = malloc(n * sizeof *x);
    fill(t, x, n, kind);
    kernel_type_info(type)->quantize(x, row, n);
    free(x);
}

void at(struct check *t, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(t->where, sizeof t->where, fmt, args);
    va_end(args);
}

void fail(struct check *t, const char *fmt, ...)
{
    if (t->failed)
        return; /* the first one says enough */
    t->failed = true;
    va_list args;
    va_start(args, fmt);
    printf("# seed %llu, %s: ", (unsigned long long)t->seed, t->where);
    vprintf(fmt, args);
    printf("\n");
    va_end(args);
}

void expect_close(struct check *t, const float *got, const float *want, size_t n, double relative,
                  double absolute)
{
    for (size_t i = 0; i < n; i++) {
        double g = (double)got[i];
        double w = (double)want[i];
        if (g == w || (isnan(g) && isnan(w)))
            continue;
        if (!(fabs(g - w) <= fabs(w) * relative + absolute))
            fail(t, "value %zu is %.9g, wanted %.9g (+- %g)", i, g, w,
                 fabs(w) * relative + absolute);
    }
}

void expect_same(struct check *t, const float *got, const float *want, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(got + i, want + i, sizeof *got) != 0 && !(isnan(got[i]) && isnan(want[i])))
            fail(t, "value %zu is %a, wanted exactly %a", i, (double)got[i], (double)want[i]);
}

void expect_bytes(struct check *t, const uint8_t *got, const uint8_t *want, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (got[i] != want[i])
            fail(t, "byte %zu of %zu is %02x, wanted %02x", i, n, got[i], want[i]);
}
