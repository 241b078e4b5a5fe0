/* The file is opened unnamed (O_TMPFILE), so that it is gone whatever happens to the process; its
 * descriptor is opened a second time for direct reads through /proc. */
#include "os/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"

enum { PIECE = 1 << 20, PAGE = 4096, N_READERS = 8, RANDOM_MS = 500 };

struct reader {
    int fd;
    size_t bytes;
    bool random;
    atomic_size_t *next;  /* piece to read; sequential */
    uint64_t until_ns;    /* random */
    uint64_t seed;
    uint64_t done;        /* reads */
    bool failed;
};

static uint64_t now_ns(void)
{
    struct clock c = clock_system();
    return clock_now_ns(&c);
}

static void *read_pieces(void *arg)
{
    struct reader *r = arg;
    size_t each = r->random ? PAGE : PIECE, n = r->bytes / each;
    uint8_t *buf = mem_alloc_aligned(each, PAGE);
    struct rng rng;
    rng_seed(&rng, r->seed);
    r->failed = buf == NULL;
    while (!r->failed) {
        size_t at = r->random ? rng_below(&rng, (uint32_t)n)
                              : atomic_fetch_add_explicit(r->next, 1, memory_order_relaxed);
        if (at >= n || (r->random && now_ns() >= r->until_ns))
            break;
        r->failed = pread(r->fd, buf, each, (off_t)(at * each)) != (ssize_t)each;
        r->done++;
    }
    mem_free(buf);
    return NULL;
}

/* Reads a second, by n threads together. */
static int run_readers(int fd, size_t bytes, bool random, double *per_s, struct err *err)
{
    struct reader r[N_READERS];
    pthread_t threads[N_READERS];
    atomic_size_t next = 0;
    uint64_t began = now_ns(), done = 0;
    uint32_t n = 0;
    bool failed = false;
    for (; n < N_READERS; n++) {
        r[n] = (struct reader){ .fd = fd,
                                .bytes = bytes,
                                .random = random,
                                .next = &next,
                                .until_ns = began + RANDOM_MS * UINT64_C(1000000),
                                .seed = n + 1 };
        if (pthread_create(&threads[n], NULL, read_pieces, &r[n]) != 0)
            break;
    }
    for (uint32_t i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
        failed = failed || r[i].failed;
        done += r[i].done;
    }
    if (n == 0 || failed)
        return err_set(err, E_IO, "the scratch file cannot be read back");
    *per_s = (double)done / ((double)(now_ns() - began) * 1e-9);
    return 0;
}

/* Bytes that no disk can leave out or pack. */
static int fill(int fd, size_t bytes, struct err *err)
{
    uint8_t *buf = mem_alloc_aligned(PIECE, PAGE);
    struct rng rng;
    int rc = buf == NULL ? err_set(err, E_NOMEM, "no memory to measure the disk") : 0;
    rng_seed(&rng, 99);
    for (size_t i = 0; rc == 0 && i < PIECE; i += 8) {
        uint64_t x = rng_u64(&rng);
        memcpy(buf + i, &x, sizeof x);
    }
    for (size_t at = 0; rc == 0 && at < bytes; at += PIECE) {
        memcpy(buf, &at, sizeof at);
        if (pwrite(fd, buf, PIECE, (off_t)at) != PIECE)
            rc = err_set(err, errno == ENOSPC ? E_FULL : E_IO, "scratch file: %s",
                         strerror(errno));
    }
    if (rc == 0 && fsync(fd) != 0)
        rc = err_set(err, E_IO, "scratch file: %s", strerror(errno));
    mem_free(buf);
    return rc;
}

int os_disk_measure(const char *folder, size_t bytes, struct os_disk_speed *out, struct err *err)
{
    ASSERT(bytes > 0 && bytes % PIECE == 0);
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(err, errno == EOPNOTSUPP || errno == EISDIR ? E_UNSUPPORTED : E_IO,
                       "%s: no scratch file can be made: %s", folder, strerror(errno));
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    struct os_disk_speed got = { 0 };
    int direct = -1, rc = fill(fd, bytes, err);
    if (rc == 0) {
        direct = open(self, O_RDONLY | O_DIRECT | O_CLOEXEC);
        if (direct < 0)
            rc = err_set(err, E_UNSUPPORTED, "%s: cannot be read past the cache", folder);
    }
    if (rc == 0)
        rc = run_readers(direct, bytes, false, &got.read, err);
    if (rc == 0)
        rc = run_readers(direct, bytes, true, &got.iops, err);
    if (direct >= 0)
        close(direct);
    close(fd);
    if (rc == 0) {
        got.read *= PIECE;
        *out = got;
    }
    return rc;
}
