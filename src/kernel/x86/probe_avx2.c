/* Twelve accumulators: two FMA units of latency 4 to 5 want at least ten in flight, and sixteen
 * registers leave four for operands. */
#include <immintrin.h>

#include "kernel/probe.h"

enum { N_ACC = 12 };

static volatile float float_sink;
static volatile int int_sink;

static uint64_t fma_f32(uint64_t rounds)
{
    __m256 acc[N_ACC];
    __m256 a = _mm256_set1_ps(0.999f);
    __m256 b = _mm256_set1_ps(0.5f);
    for (int i = 0; i < N_ACC; i++)
        acc[i] = _mm256_set1_ps((float)i);
    for (uint64_t r = 0; r < rounds; r++)
        for (int i = 0; i < N_ACC; i++)
            acc[i] = _mm256_fmadd_ps(acc[i], a, b);
    __m256 sum = acc[0];
    for (int i = 1; i < N_ACC; i++)
        sum = _mm256_add_ps(sum, acc[i]);
    float_sink = _mm256_cvtss_f32(sum);
    return rounds * N_ACC * 8 * 2;
}

/* bytes x bytes -> 16 bit pairs -> 32 bit sums: three instructions for 32 multiply-adds. */
static uint64_t dot_i8(uint64_t rounds)
{
    __m256i acc[N_ACC / 2];
    __m256i u = _mm256_set1_epi8((char)(rounds & 7));
    __m256i s[N_ACC / 2];
    __m256i ones = _mm256_set1_epi16(1);
    for (int i = 0; i < N_ACC / 2; i++) {
        acc[i] = _mm256_setzero_si256();
        s[i] = _mm256_set1_epi8((char)i);
    }
    for (uint64_t r = 0; r < rounds; r++) {
        for (int i = 0; i < N_ACC / 2; i++) {
            __m256i p16 = _mm256_maddubs_epi16(u, s[i]);
            acc[i] = _mm256_add_epi32(acc[i], _mm256_madd_epi16(p16, ones));
        }
        u = _mm256_add_epi8(u, ones); /* changes, so that products cannot be hoisted */
    }
    __m256i sum = acc[0];
    for (int i = 1; i < N_ACC / 2; i++)
        sum = _mm256_xor_si256(sum, acc[i]);
    int_sink = _mm256_extract_epi32(sum, 0);
    return rounds * (N_ACC / 2) * 32 * 2;
}

/* 128 bytes a turn: four loads in flight, two a cycle. */
static uint64_t read_all(const void *data, size_t bytes)
{
    const uint8_t *p = data;
    __m256i acc[4] = { _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(),
                       _mm256_setzero_si256() };
    size_t i = 0;
    for (; i + sizeof acc <= bytes; i += sizeof acc)
        for (int j = 0; j < 4; j++) {
            __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(p + i + 32 * j));
            acc[j] = _mm256_xor_si256(acc[j], x);
        }
    uint64_t sum = 0;
    for (; i < bytes; i++)
        sum += p[i];
    acc[0] = _mm256_xor_si256(_mm256_xor_si256(acc[0], acc[1]), _mm256_xor_si256(acc[2], acc[3]));
    return sum + (uint64_t)_mm256_extract_epi64(acc[0], 0);
}

void kernel_probe_init_avx2(struct kernel_probe *p)
{
    p->fma_f32 = fma_f32;
    p->dot_i8 = dot_i8;
    p->read = read_all;
}
