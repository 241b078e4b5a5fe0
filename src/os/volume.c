/* Batches and not single completions: the store works in groups (a group commit, the blocks of one
 * prefix), and "do these, wake me when all are done" is what io_uring, a thread team and a fake in
 * a test can all do in a few lines. */
#include "os/volume.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "os/volume_impl.h"
#include "os/team.h"

#define THREADS_A_LANE 4

struct folder {
    struct os_volume disk;
    int dir, lock;
    struct os_uring *rings[OS_VOLUME_LANES]; /* NULL: teams */
    struct os_team *teams[OS_VOLUME_LANES];
};

static struct folder *folder_of(struct os_volume *d) { return (struct folder *)d; }

int os_volume_code(int error)
{
    switch (error) {
    case 0: return 0;
    case ENOSPC:
    case EDQUOT: return E_FULL;
    case EACCES:
    case EPERM:
    case EROFS: return E_DENIED;
    case ENOENT: return E_NOT_FOUND;
    case EEXIST: return E_BUSY;
    case ENOMEM: return E_NOMEM;
    default: return E_IO;
    }
}

bool os_volume_book(struct os_volume_op *op, int64_t r)
{
    if (r == -EINTR || r == -EAGAIN)
        return false;
    if (r < 0) {
        op->error = (int)-r;
        op->rc = os_volume_code(op->error);
        return true;
    }
    if (op->kind == OS_VOLUME_SYNC)
        return true;
    op->done += (size_t)r;
    if (op->done >= op->bytes)
        return true;
    if (r == 0)
        op->rc = op->kind == OS_VOLUME_READ ? E_RANGE : E_IO;
    return r == 0;
}

static void run_one(void *ctx, uint32_t i, UNUSED uint32_t thread)
{
    struct os_volume_op *op = (struct os_volume_op *)ctx + i;
    int64_t r = 0;
    do {
        void *data = op->done == 0 ? op->data : (uint8_t *)op->data + op->done;
        size_t n = op->bytes - op->done;
        off_t at = (off_t)(op->offset + op->done);
        if (op->kind == OS_VOLUME_READ)
            r = pread(op->file, data, n, at);
        else if (op->kind == OS_VOLUME_WRITE)
            r = pwrite(op->file, data, n, at);
        else
            r = fdatasync(op->file);
        r = r < 0 ? -errno : r;
    } while (!os_volume_book(op, r));
}

static void folder_run(struct os_volume *d, uint32_t lane, struct os_volume_op *ops, uint32_t n)
{
    struct folder *f = folder_of(d);
    ASSERT(lane < OS_VOLUME_LANES);
    for (uint32_t i = 0; i < n; i++) {
        ops[i].done = 0;
        ops[i].rc = ops[i].error = 0;
    }
    if (n == 1)
        run_one(ops, 0, 0);
    else if (f->rings[lane] != NULL)
        os_uring_run(f->rings[lane], ops, n);
    else
        os_team_run(f->teams[lane], n, run_one, ops);
}

static int folder_open(struct os_volume *d, const char *name, unsigned flags, int *file)
{
    int how = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | (flags & OS_VOLUME_UPDATE ? O_RDWR : O_RDONLY) |
              (flags & OS_VOLUME_CREATE ? O_CREAT | O_EXCL : 0);
    int fd = -1;
    if (flags & OS_VOLUME_DIRECT)
        fd = openat(folder_of(d)->dir, name, how | O_DIRECT, 0600);
    if (fd < 0 && (!(flags & OS_VOLUME_DIRECT) || errno == EINVAL)) /* no O_DIRECT here: tmpfs */
        fd = openat(folder_of(d)->dir, name, how, 0600);
    if (fd < 0)
        return os_volume_code(errno);
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return E_FORMAT;
    }
    *file = fd;
    return 0;
}

static void folder_close(UNUSED struct os_volume *d, int file) { close(file); }

static int folder_size(UNUSED struct os_volume *d, int file, uint64_t *bytes)
{
    struct stat st;
    if (fstat(file, &st) < 0)
        return os_volume_code(errno);
    *bytes = (uint64_t)st.st_size;
    return 0;
}

static int folder_truncate(UNUSED struct os_volume *d, int file, uint64_t bytes)
{
    return ftruncate(file, (off_t)bytes) < 0 ? os_volume_code(errno) : 0;
}

static int folder_remove(struct os_volume *d, const char *name)
{
    return unlinkat(folder_of(d)->dir, name, 0) < 0 ? os_volume_code(errno) : 0;
}

static int folder_rename(struct os_volume *d, const char *from, const char *to)
{
    int dir = folder_of(d)->dir;
    return renameat(dir, from, dir, to) < 0 ? os_volume_code(errno) : 0;
}

static int folder_sync_names(struct os_volume *d)
{
    return fsync(folder_of(d)->dir) < 0 ? os_volume_code(errno) : 0;
}

static int folder_list(struct os_volume *d, int (*fn)(void *ctx, const char *name), void *ctx)
{
    int fd = openat(folder_of(d)->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        rc = os_volume_code(errno);
        if (fd >= 0)
            close(fd);
        return rc;
    }
    struct dirent *e;
    while (rc >= 0 && (errno = 0, e = readdir(dir)) != NULL)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            rc = fn(ctx, e->d_name);
    if (rc >= 0 && errno != 0)
        rc = os_volume_code(errno);
    closedir(dir);
    return rc < 0 ? rc : 0;
}

static int folder_lock(struct os_volume *d, const char *name)
{
    struct folder *f = folder_of(d);
    ASSERT(f->lock < 0);
    int fd = openat(f->dir, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return os_volume_code(errno);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int rc = errno == EWOULDBLOCK ? E_BUSY : os_volume_code(errno);
        close(fd);
        return rc;
    }
    f->lock = fd;
    return 0;
}

static void folder_destroy(struct os_volume *d)
{
    struct folder *f = folder_of(d);
    for (uint32_t i = 0; i < OS_VOLUME_LANES; i++) {
        os_uring_destroy(f->rings[i]);
        os_team_destroy(f->teams[i]);
    }
    if (f->lock >= 0)
        close(f->lock);
    if (f->dir >= 0)
        close(f->dir);
    mem_free(f);
}

static const struct os_volume_table folder_table = {
    .open = folder_open, .close = folder_close, .size = folder_size, .truncate = folder_truncate,
    .remove = folder_remove, .rename = folder_rename, .sync_names = folder_sync_names,
    .list = folder_list, .lock = folder_lock, .run = folder_run, .destroy = folder_destroy,
};

static int make_lanes(struct folder *f, enum os_volume_engine engine)
{
    int rc = engine == OS_VOLUME_THREADS ? E_UNSUPPORTED : 0;
    for (uint32_t i = 0; i < OS_VOLUME_LANES && rc == 0; i++)
        rc = os_uring_create(&f->rings[i]);
    if (rc == 0 || engine == OS_VOLUME_URING)
        return rc;
    for (uint32_t i = 0; i < OS_VOLUME_LANES; i++) {
        os_uring_destroy(f->rings[i]);
        f->rings[i] = NULL;
        TRY(os_team_create(&f->teams[i], THREADS_A_LANE));
    }
    return 0;
}

static int open_dir(struct folder *f, const struct os_volume_params *p, struct err *err)
{
    if (p->create && mkdir(p->dir, 0700) < 0 && errno != EEXIST)
        return err_set_field(err, os_volume_code(errno), p->dir, "%s: cannot make the folder: %s",
                             p->dir, strerror(errno));
    f->dir = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->dir < 0)
        return err_set_field(err, os_volume_code(errno), p->dir, "%s: cannot open the folder: %s",
                             p->dir, strerror(errno));
    return 0;
}

int os_volume_open(struct os_volume **out, const struct os_volume_params *params, struct err *err)
{
    struct folder *f = mem_alloc(1, sizeof *f);
    if (f == NULL)
        return err_set(err, E_NOMEM, "no memory for a disk");
    f->disk.table = &folder_table;
    f->dir = f->lock = -1;
    int rc = open_dir(f, params, err);
    if (rc == 0) {
        rc = make_lanes(f, params->engine);
        if (rc < 0)
            (void)err_set(err, rc, "%s: no asynchronous input and output: %s", params->dir,
                          err_code_text(rc));
    }
    if (rc < 0) {
        folder_destroy(&f->disk);
        return rc;
    }
    *out = &f->disk;
    return 0;
}

const char *os_volume_engine_name(const struct os_volume *d)
{
    const struct folder *f = (const struct folder *)d;
    return d->table != &folder_table ? "none" : f->rings[0] != NULL ? "io_uring" : "threads";
}

int os_volume_transfer(struct os_volume *d, uint32_t lane, struct os_volume_op op)
{
    d->table->run(d, lane, &op, 1);
    return op.rc;
}
