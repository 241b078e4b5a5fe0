/* os/crc.h - CRC-32C (Castagnoli), the check sum of stored blocks.
 *
 * Idea: polynomial 0x1EDC6F41, reflected, as in iSCSI (RFC 3720, B.4) and ext4: it finds every
 * error of up to 3 bits, and every burst of up to 32 bits, in records of the sizes we write, and
 * x86 has an instruction for it. The level is chosen once, at run time: SSE4.2 or a table.
 *
 * Cost: with SSE4.2 8 bytes every 3 cycles; the table about one byte a cycle. */
#ifndef OS_CRC_H
#define OS_CRC_H

#include <stddef.h>
#include <stdint.h>

/* Goes on with crc (0 to begin) over n bytes: crc("ab") == crc(crc("a"), "b"). */
uint32_t os_crc32c(uint32_t crc, const void *data, size_t n);
/* The portable version; the referee of the other. */
uint32_t os_crc32c_table(uint32_t crc, const void *data, size_t n);

#endif
