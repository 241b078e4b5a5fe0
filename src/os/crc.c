/* One stream of the crc32 instruction and not three interleaved ones with a carry-less merge: at
 * 8 bytes every 3 cycles it is several times faster than any SSD here. */
#include "os/crc.h"

#include <pthread.h>

#include "base/attr.h"
#include "base/num.h"

#define POLY 0x82f63b78u /* 0x1EDC6F41, bits reversed */

static uint32_t tables[8][256];
static uint32_t (*chosen)(uint32_t crc, const void *data, size_t n);
static pthread_once_t once = PTHREAD_ONCE_INIT;

#if defined(__x86_64__)
TARGET_ISA("sse4.2")
static uint32_t crc_sse42(uint32_t crc, const void *data, size_t n)
{
    const uint8_t *p = data;
    uint64_t c = ~crc;
    for (; n >= 8; n -= 8, p += 8)
        c = __builtin_ia32_crc32di(c, load_le64(p));
    for (; n > 0; n--)
        c = __builtin_ia32_crc32qi((uint32_t)c, *p++);
    return ~(uint32_t)c;
}
#endif

static void make_tables(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? c >> 1 ^ POLY : c >> 1;
        tables[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int t = 1; t < 8; t++)
            tables[t][i] = tables[t - 1][i] >> 8 ^ tables[0][tables[t - 1][i] & 255];
    chosen = os_crc32c_table;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        chosen = crc_sse42;
#endif
}

uint32_t os_crc32c_table(uint32_t crc, const void *data, size_t n)
{
    const uint8_t *p = data;
    uint32_t c = ~crc;
    pthread_once(&once, make_tables);
    for (; n >= 8; n -= 8, p += 8) { /* slicing by 8: Kounavis and Berry 2005 */
        uint32_t a = c ^ load_le32(p), b = load_le32(p + 4);
        c = tables[7][a & 255] ^ tables[6][a >> 8 & 255] ^ tables[5][a >> 16 & 255] ^
            tables[4][a >> 24] ^ tables[3][b & 255] ^ tables[2][b >> 8 & 255] ^
            tables[1][b >> 16 & 255] ^ tables[0][b >> 24];
    }
    for (; n > 0; n--)
        c = c >> 8 ^ tables[0][(c ^ *p++) & 255];
    return ~c;
}

uint32_t os_crc32c(uint32_t crc, const void *data, size_t n)
{
    pthread_once(&once, make_tables);
    return chosen(crc, data, n);
}
