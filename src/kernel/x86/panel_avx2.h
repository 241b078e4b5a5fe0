/* kernel/x86/panel_avx2.h - sixteen weight rows, unpacked and interleaved for the dot-product unit.
 *
 * Idea: vpmaddubsw multiplies unsigned by signed bytes and adds neighbours. If a vector holds four
 * consecutive columns of each of eight rows, the four activations are one broadcast word, and the
 * eight lanes end as eight outputs: no horizontal sums, and scales are vectors too. So rows are
 * unpacked to unsigned bytes (value + offset) and interleaved by four columns, 16 rows to a panel,
 * as many columns as fit the first-level cache beside the activations. The panel is built once and
 * used for all rows of the batch.
 *
 *     q, for each sub-block:   [ cols 0-3 of rows 0..7 | of rows 8..15 ][ cols 4-7 ... ] ...
 *     (64 bytes for four columns)
 *     scale, min               [ rows 0..15 ] for each sub-block
 *
 * Bytes above 63 would overflow the 16-bit pair sums, so 8-bit formats have two planes a sub-block:
 * the low nibbles of value + 128 in all column groups, then the high ones.
 *
 * Threads: a panel is on the caller's stack. */
#ifndef KERNEL_X86_PANEL_AVX2_H
#define KERNEL_X86_PANEL_AVX2_H

#include <stdbool.h>
#include <stdint.h>

#include "kernel/x86/avx2.h"

#define PANEL_ROWS 16
#define PANEL_BYTES 16384

struct kernel_panel {
    _Alignas(64) uint8_t q[PANEL_BYTES];
    _Alignas(64) float scale[PANEL_BYTES / 16 / 16][PANEL_ROWS];
    _Alignas(64) float min[PANEL_BYTES / 16 / 16][PANEL_ROWS];
};

/* Unpacks n_blocks blocks of eight rows: row[r] points at the first block, half 0 or 1 says which
 * rows. */
typedef void (*kernel_panel_fn)(const uint8_t *const row[8], uint32_t n_blocks, uint32_t half,
                                struct kernel_panel *p);
/* NULL where the type is not quantised. */
kernel_panel_fn kernel_panel_fn_avx2(uint32_t type);

#endif
