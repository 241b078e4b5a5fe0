/* os/volume.h - one folder of files, and many reads and writes of them at a time.
 *
 * Idea: the KV store talks to a disk through this table and nothing else, so that tests can put a
 * disk there that fails at the n-th call, forgets what was not synced, or tears writes (R31).
 * Operations go in batches: `run` does all of a batch in parallel and returns when the last one is
 * done; whoever wants to go on meanwhile has a thread for it. The real disk runs batches on
 * io_uring, or on a team of threads where the host forbids io_uring.
 *
 *     batch  [ write 3@0 | write 3@524288 | read 5@8192 | ... ]  -> run(lane) -> rc in each
 *
 * Contract of every table: short transfers, EINTR and EAGAIN are completed inside (F-08). A read
 * that meets the end of the file has rc E_RANGE and tells in `done` how far it came. ENOSPC and
 * EDQUOT are E_FULL, EACCES, EPERM and EROFS E_DENIED, all else E_IO; errno is kept beside it.
 * Names are single components; symbolic links are not followed.
 * Ownership: whoever opened a disk closes its files, then the disk.
 * Threads: any, but one batch at a time a lane. */
#ifndef OS_VOLUME_H
#define OS_VOLUME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum os_volume_kind { OS_VOLUME_READ, OS_VOLUME_WRITE, OS_VOLUME_SYNC };

struct os_volume_op {
    enum os_volume_kind kind;
    int file;
    void *data;      /* (bytes) read into or written from */
    size_t bytes;
    uint64_t offset;
    size_t done;     /* out: bytes transferred */
    int rc;          /* out: 0 or E_* */
    int error;       /* out: errno behind rc */
};

enum os_volume_open_flag {
    OS_VOLUME_CREATE = 1 << 0, /* a new file; E_BUSY if the name exists */
    OS_VOLUME_UPDATE = 1 << 1, /* may be written */
    OS_VOLUME_DIRECT = 1 << 2, /* past the page cache where the file system can: offsets, lengths
                                * and buffers are multiples of OS_VOLUME_PAGE */
};

#define OS_VOLUME_PAGE 4096
#define OS_VOLUME_LANES 2 /* batches at a time */

struct os_volume;
struct os_volume_table {
    int (*open)(struct os_volume *d, const char *name, unsigned flags, int *file);
    void (*close)(struct os_volume *d, int file);
    int (*size)(struct os_volume *d, int file, uint64_t *bytes);
    int (*truncate)(struct os_volume *d, int file, uint64_t bytes);
    int (*remove)(struct os_volume *d, const char *name);
    int (*rename)(struct os_volume *d, const char *from, const char *to);
    int (*sync_names)(struct os_volume *d); /* makes creations, renames and removals durable */
    /* Calls fn for every name; stops when fn returns < 0 and returns that. */
    int (*list)(struct os_volume *d, int (*fn)(void *ctx, const char *name), void *ctx);
    /* Takes the folder for this process until the disk is closed. E_BUSY: another has it. */
    int (*lock)(struct os_volume *d, const char *name);
    void (*run)(struct os_volume *d, uint32_t lane, struct os_volume_op *ops, uint32_t n);
    void (*destroy)(struct os_volume *d);
};
struct os_volume {
    const struct os_volume_table *table;
};

enum os_volume_engine { OS_VOLUME_AUTO, OS_VOLUME_URING, OS_VOLUME_THREADS };

struct os_volume_params {
    const char *dir;
    bool create;                /* make the folder if only its last component is missing */
    enum os_volume_engine engine; /* AUTO: io_uring where it works */
};

/* A real folder. E_NOT_FOUND, E_DENIED, E_IO, E_UNSUPPORTED (URING asked for, not to be had). */
NODISCARD int os_volume_open(struct os_volume **out, const struct os_volume_params *params,
                           struct err *err);
static inline void os_volume_close(struct os_volume *d)
{
    if (d != NULL)
        d->table->destroy(d);
}
/* "io_uring" or "threads"; lives for ever. */
const char *os_volume_engine_name(const struct os_volume *d);
/* errno to E_*, by the contract above. */
int os_volume_code(int error);

/* One operation, alone. rc of it. */
NODISCARD int os_volume_transfer(struct os_volume *d, uint32_t lane, struct os_volume_op op);

#endif
