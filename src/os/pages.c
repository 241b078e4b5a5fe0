#include "os/pages.h"

#include <stdint.h>
#include <sys/mman.h>

#include "base/num.h"

int os_pages_take(void **out, size_t bytes)
{
    size_t room;
    TRY(num_align(&bytes, bytes, OS_PAGES_HUGE));
    TRY(num_add(&room, bytes, OS_PAGES_HUGE)); /* to align within; the rest is given back */
    if (bytes == 0)
        return E_RANGE;
    uint8_t *p = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return E_NOMEM;
    size_t before = -(uintptr_t)p & (OS_PAGES_HUGE - 1);
    if (before != 0)
        munmap(p, before);
    munmap(p + before + bytes, OS_PAGES_HUGE - before);
    p += before;
    (void)madvise(p, bytes, MADV_HUGEPAGE);
    *out = p;
    return 0;
}

void os_pages_put(void *p, size_t bytes)
{
    if (p != NULL)
        munmap(p, (bytes + OS_PAGES_HUGE - 1) & ~(OS_PAGES_HUGE - 1));
}
