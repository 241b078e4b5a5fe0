/* mmap for model files, which nobody changes while we use them; plain reads for everything else,
 * since a mapping of a file that shrinks kills the process (F-09). */
#include "os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/num.h"

static int path_error(struct err *err, const char *path, const char *what)
{
    int code = errno == ENOENT ? E_NOT_FOUND : errno == EACCES ? E_DENIED : E_IO;
    return err_set_field(err, code, path, "%s: cannot %s: %s", path, what, strerror(errno));
}

int os_map_open(struct os_map *m, const char *path, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return path_error(err, path, "open");
    struct stat st;
    if (fstat(fd, &st) < 0) {
        int rc = path_error(err, path, "read its size");
        close(fd);
        return rc;
    }
    if (!S_ISREG(st.st_mode)) {
        close(fd);
        return err_set_field(err, E_FORMAT, path, "%s: not a regular file", path);
    }
    size_t size = (size_t)st.st_size;
    void *data = NULL;
    if (size != 0) {
        data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            int rc = path_error(err, path, "map into memory");
            close(fd);
            return rc;
        }
    }
    *m = (struct os_map){ .data = data, .size = size, .fd = fd };
    return 0;
}

void os_map_close(struct os_map *m)
{
    if (m->data != NULL)
        munmap((void *)(uintptr_t)m->data, m->size);
    if (m->fd >= 0)
        close(m->fd);
    *m = (struct os_map){ .data = NULL, .size = 0, .fd = -1 };
}

void os_map_advise(const struct os_map *m, size_t offset, size_t bytes, enum os_advice advice)
{
    static const int how[] = { [OS_WILL_NEED] = MADV_WILLNEED,
                               [OS_SEQUENTIAL] = MADV_SEQUENTIAL,
                               [OS_DONT_NEED] = MADV_DONTNEED };
    if (m->data == NULL || offset >= m->size)
        return;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t from = offset & ~(page - 1);
    size_t len = num_min(bytes, m->size - offset) + (offset - from);
    /* Advice may be refused without harm: it changes speed, never content. */
    (void)madvise((void *)(uintptr_t)(m->data + from), len, how[advice]);
}

static int read_all(int fd, const char *path, size_t max, struct buf *b, struct err *err)
{
    char chunk[16384];
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return path_error(err, path, "read");
        if (n == 0)
            return 0;
        buf_put(b, chunk, (size_t)n);
        if (buf_status(b) == E_LIMIT)
            return err_set_field(err, E_LIMIT, path, "%s: larger than the %zu bytes allowed", path,
                                 max);
        if (buf_status(b) < 0)
            return err_set_field(err, E_NOMEM, path, "%s: out of memory", path);
    }
}

int os_read_file(const char *path, size_t max, char **out, size_t *len, struct err *err)
{
    bool standard_input = strcmp(path, "-") == 0;
    int fd = standard_input ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return path_error(err, path, "open");
    struct buf b;
    buf_init(&b, max);
    int rc = read_all(fd, path, max, &b, err);
    if (!standard_input)
        close(fd);
    buf_put(&b, "", 0); /* an empty file still gets its NUL */
    if (rc == 0 && buf_status(&b) < 0)
        rc = err_set_field(err, E_NOMEM, path, "%s: out of memory", path);
    if (rc < 0) {
        buf_fini(&b);
        return rc;
    }
    *out = buf_take(&b, len);
    return 0;
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return E_IO;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

int os_out_open(struct os_out *o, const char *path, struct err *err)
{
    struct buf partial;
    buf_init(&partial, 8192);
    buf_printf(&partial, "%s.partial-%ld", path, (long)getpid());
    if (buf_status(&partial) < 0) {
        buf_fini(&partial);
        return err_set_field(err, E_RANGE, path, "the path is too long");
    }
    *o = (struct os_out){ .fd = -1, .path = mem_strndup(path, strlen(path)),
                          .partial = buf_take(&partial, NULL) };
    int rc = o->path != NULL && o->partial != NULL
                 ? 0
                 : err_set_field(err, E_NOMEM, path, "%s: out of memory", path);
    if (rc == 0) {
        o->fd = open(o->partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        rc = o->fd >= 0 ? 0 : path_error(err, path, "create");
    }
    if (rc < 0)
        os_out_abort(o);
    return rc;
}

int os_out_write(struct os_out *o, const void *data, size_t len, struct err *err)
{
    return write_all(o->fd, data, len) == 0 ? 0 : path_error(err, o->path, "write");
}

int os_out_commit(struct os_out *o, struct err *err)
{
    bool ok = fsync(o->fd) == 0;
    ok = close(o->fd) == 0 && ok;
    o->fd = -1;
    ok = ok && rename(o->partial, o->path) == 0;
    int rc = ok ? 0 : path_error(err, o->path, "write");
    if (!ok)
        unlink(o->partial);
    os_out_abort(o);
    return rc;
}

void os_out_abort(struct os_out *o)
{
    if (o->partial != NULL && o->fd >= 0) {
        close(o->fd);
        unlink(o->partial);
    }
    mem_free(o->path);
    mem_free(o->partial);
    *o = (struct os_out){ .fd = -1 };
}

int os_write_file(const char *path, const void *data, size_t len, struct err *err)
{
    struct os_out out;
    TRY(os_out_open(&out, path, err));
    int rc = os_out_write(&out, data, len, err);
    if (rc == 0)
        return os_out_commit(&out, err);
    os_out_abort(&out);
    return rc;
}

int os_make_parents(const char *path, struct err *err)
{
    char *part = mem_strndup(path, strlen(path));
    int rc = 0;
    if (part == NULL)
        return err_set_field(err, E_NOMEM, path, "%s: out of memory", path);
    for (char *s = part; rc == 0 && *s != '\0'; s++) {
        if (*s != '/' || s == part)
            continue;
        *s = '\0';
        if (mkdir(part, 0700) < 0 && errno != EEXIST)
            rc = path_error(err, part, "create the folder");
        *s = '/';
    }
    mem_free(part);
    return rc;
}

bool os_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool os_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}
