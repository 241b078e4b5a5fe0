/* Twenty-four accumulators of thirty-two registers: two 512-bit units of latency 4 want eight in
 * flight, machines that split the width want twice that. The product of bytes is one instruction
 * here (VNNI), and so are pairs of bf16. */
#include <immintrin.h>

#include "kernel/kernel.h"
#include "kernel/probe.h"

enum { N_ACC = 24, AHEAD = 2048 };

/* Accumulators by name and one after another in the text: with an array gcc swaps the loops over
 * rounds and accumulators, or keeps them in memory; around the intrinsic of vpdpbusd gcc 12 copies
 * each of them twice, so that instruction is written out. */
#define ALL(X)                                                                                     \
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16)    \
    X(17) X(18) X(19) X(20) X(21) X(22) X(23)
#define FLOATS(i) __m512 acc##i = _mm512_set1_ps(i);
#define INTS(i) __m512i acc##i = _mm512_set1_epi32(i);
#define FMA(i) acc##i = _mm512_fmadd_ps(acc##i, a, b);
#define DOT_BF16(i) acc##i = _mm512_dpbf16_ps(acc##i, a, a);
#define DOT_I8(i) __asm__("vpdpbusd %2, %1, %0" : "+v"(acc##i) : "v"(u), "v"(s));
#define SUM_FLOATS(i) float_sum = _mm512_add_ps(float_sum, acc##i);
#define SUM_INTS(i) int_sum = _mm512_xor_si512(int_sum, acc##i);

static volatile float float_sink;
static volatile uint64_t int_sink;

static uint64_t fma_f32(uint64_t rounds)
{
    __m512 a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(0.5f), float_sum = b;
    ALL(FLOATS)
    for (uint64_t r = 0; r < rounds; r++) {
        ALL(FMA)
    }
    ALL(SUM_FLOATS)
    float_sink = _mm512_cvtss_f32(float_sum);
    return rounds * N_ACC * 16 * 2;
}

static uint64_t dot_bf16(uint64_t rounds)
{
    __m512 float_sum = _mm512_set1_ps(0.5f);
    __m512bh a = _mm512_cvtne2ps_pbh(float_sum, float_sum);
    ALL(FLOATS)
    for (uint64_t r = 0; r < rounds; r++) {
        ALL(DOT_BF16)
    }
    ALL(SUM_FLOATS)
    float_sink = _mm512_cvtss_f32(float_sum);
    return rounds * N_ACC * 32 * 2;
}

static uint64_t dot_i8(uint64_t rounds)
{
    __m512i u = _mm512_set1_epi8((char)(rounds & 7)), s = _mm512_set1_epi8(3), int_sum = s;
    ALL(INTS)
    for (uint64_t r = 0; r < rounds; r++) {
        ALL(DOT_I8)
    }
    ALL(SUM_INTS)
    int_sink = (uint64_t)_mm_cvtsi128_si64(_mm512_castsi512_si128(int_sum));
    return rounds * N_ACC * 64 * 2;
}

/* 256 bytes a turn, and a hint for the lines of a few turns later: the hardware's own prefetching
 * stops at the border of each page. */
static uint64_t read_all(const void *data, size_t bytes)
{
    const uint8_t *p = data;
    __m512i acc[4] = { _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(),
                       _mm512_setzero_si512() };
    size_t i = 0;
    for (; i + sizeof acc <= bytes; i += sizeof acc)
        for (int j = 0; j < 4; j++) {
            _mm_prefetch((const char *)p + i + 64 * j + AHEAD, _MM_HINT_T0);
            acc[j] = _mm512_xor_si512(acc[j], _mm512_loadu_si512(p + i + 64 * j));
        }
    uint64_t sum = 0;
    for (; i < bytes; i++)
        sum += p[i];
    acc[0] = _mm512_xor_si512(_mm512_xor_si512(acc[0], acc[1]), _mm512_xor_si512(acc[2], acc[3]));
    return sum + (uint64_t)_mm_cvtsi128_si64(_mm512_castsi512_si128(acc[0]));
}

void kernel_probe_init_avx512(struct kernel_probe *p, unsigned flags)
{
    p->fma_f32 = fma_f32;
    p->read = read_all;
    if ((flags & KERNEL_AVX512_VNNI) != 0)
        p->dot_i8 = dot_i8;
    if ((flags & KERNEL_AVX512_BF16) != 0)
        p->dot_bf16 = dot_bf16;
}
