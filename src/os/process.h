/* os/process.h - what this process uses of the machine: memory, files, processor time.
 *
 * Idea: read /proc/self when somebody asks. What cannot be read is 0.   Cost: a few small reads. */
#ifndef OS_PROCESS_H
#define OS_PROCESS_H

#include <stdint.h>

struct os_process {
    uint64_t resident_bytes, virtual_bytes;
    uint32_t open_files, files_max;
    double cpu_s;         /* user and system, all threads */
    double started_unix_s;
};

void os_process_read(struct os_process *out);

#endif
