/* os/disk.h - how fast a folder's disk reads, past the page cache.
 *
 * Idea: a scratch file is written beside the given path, synced, and read with O_DIRECT: large
 * pieces one after another for the bandwidth, 4 KiB pieces at random places for the rate of
 * requests, several threads each, since one request at a time shows the latency and not the disk.
 *
 * Ownership: the scratch file has no name after it is opened; nothing is left behind. Threads: any.
 * Cost: `bytes` written and read once, and half a second of random reads. */
#ifndef OS_DISK_H
#define OS_DISK_H

#include <stddef.h>

#include "base/err.h"

struct os_disk_speed {
    double read;  /* bytes a second */
    double iops;  /* random reads of 4 KiB a second */
};

/* bytes: size of the scratch file, a multiple of 1 MiB. E_UNSUPPORTED where the file system cannot
 * read past its cache (a RAM disk), E_IO, E_FULL, E_NOMEM. */
NODISCARD int os_disk_measure(const char *folder, size_t bytes, struct os_disk_speed *out,
                              struct err *err);

#endif
