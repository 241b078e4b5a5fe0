#include "kernel/probe.h"

#include <string.h>

#include "kernel/kernel.h"

enum { LANES = 64 };

/* Written after each probe so that the loops cannot be dropped. */
static volatile float float_sink;
static volatile int32_t int_sink;

static uint64_t fma_f32(uint64_t rounds)
{
    float acc[LANES];
    for (int i = 0; i < LANES; i++)
        acc[i] = (float)i;
    for (uint64_t r = 0; r < rounds; r++)
        for (int i = 0; i < LANES; i++)
            acc[i] = acc[i] * 0.999f + 0.5f;
    float sum = 0;
    for (int i = 0; i < LANES; i++)
        sum += acc[i];
    float_sink = sum;
    return rounds * LANES * 2;
}

static uint64_t dot_i8(uint64_t rounds)
{
    int32_t acc[LANES] = { 0 };
    int8_t x[LANES];
    for (int i = 0; i < LANES; i++)
        x[i] = (int8_t)(i + (int)(rounds & 1));
    for (uint64_t r = 0; r < rounds; r++)
        for (int i = 0; i < LANES; i++)
            acc[i] = (int32_t)((uint32_t)acc[i] + (uint32_t)((int32_t)x[i] * (int32_t)(r & 127)));
    int32_t sum = 0;
    for (int i = 0; i < LANES; i++)
        sum ^= acc[i];
    int_sink = sum;
    return rounds * LANES * 2;
}

static uint64_t read_all(const void *data, size_t bytes)
{
    uint64_t sum[8] = { 0 };
    const uint8_t *p = data;
    size_t i = 0;
    for (; i + sizeof sum <= bytes; i += sizeof sum) {
        uint64_t x[8];
        memcpy(x, p + i, sizeof x);
        for (int j = 0; j < 8; j++)
            sum[j] += x[j];
    }
    for (; i < bytes; i++)
        sum[0] += p[i];
    return sum[0] ^ sum[1] ^ sum[2] ^ sum[3] ^ sum[4] ^ sum[5] ^ sum[6] ^ sum[7];
}

void kernel_probe_init(struct kernel_probe *p, unsigned flags)
{
    *p = (struct kernel_probe){ .fma_f32 = fma_f32, .dot_i8 = dot_i8, .read = read_all };
#if defined(__x86_64__)
    if ((flags & KERNEL_AVX2) != 0)
        kernel_probe_init_avx2(p);
    if ((flags & KERNEL_AVX512) != 0)
        kernel_probe_init_avx512(p, flags);
#else
    (void)flags;
#endif
}
