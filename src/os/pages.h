/* os/pages.h - large stretches of memory straight from the system, on huge pages where allowed.
 *
 * Idea: weights are read from end to end for every token; with pages of 4 KiB the translation
 * buffers miss all the time. The system is asked for huge pages, which it may refuse without harm.
 * Cost: pages come in when touched, zeroed. Threads: as mmap. */
#ifndef OS_PAGES_H
#define OS_PAGES_H

#include <stddef.h>

#include "base/err.h"

#define OS_PAGES_HUGE ((size_t)2 << 20)

/* bytes are rounded up to whole huge pages, and the address is a multiple of one. E_NOMEM, E_RANGE.
 */
NODISCARD int os_pages_take(void **out, size_t bytes);
void os_pages_put(void *p, size_t bytes); /* NULL is fine */

#endif
