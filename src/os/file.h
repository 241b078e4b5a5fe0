/* os/file.h - files as the rest of Naru sees them.
 *
 * Idea: model files are opened once, checked through that one descriptor and mapped read-only from
 * it, so that what was verified is what is used (F-51). Small files are read whole, up to a limit.
 * Output files are written beside their place and renamed when complete: never half a file.
 *
 * Ownership: an os_map owns descriptor and mapping until os_map_close. Threads: a mapping may be
 * read by all.   Cost: mapping is O(1); pages come in when touched. */
#ifndef OS_FILE_H
#define OS_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct os_map {
    const uint8_t *data; /* NULL for an empty file */
    size_t size;
    int fd;
};

/* E_NOT_FOUND, E_IO (with errno's words), E_FORMAT for something that is no regular file. */
NODISCARD int os_map_open(struct os_map *m, const char *path, struct err *err);
void os_map_close(struct os_map *m);
enum os_advice { OS_WILL_NEED, OS_SEQUENTIAL, OS_DONT_NEED };
void os_map_advise(const struct os_map *m, size_t offset, size_t bytes, enum os_advice advice);

/* A whole file of at most max bytes, NUL behind the end; mem_free it. "-" reads standard input. */
NODISCARD int os_read_file(const char *path, size_t max, char **out, size_t *len, struct err *err);
/* Writes path.partial-PID, syncs, renames onto path. On failure nothing is left behind. */
NODISCARD int os_write_file(const char *path, const void *data, size_t len, struct err *err);

/* An output file that grows piece by piece and stands at its place only once it is whole. After
 * os_out_open end it with commit or abort; abort after either, or of a zeroed struct, is fine. */
struct os_out {
    int fd; /* -1: ended */
    char *path, *partial;
};
NODISCARD int os_out_open(struct os_out *o, const char *path, struct err *err);
NODISCARD int os_out_write(struct os_out *o, const void *data, size_t len, struct err *err);
NODISCARD int os_out_commit(struct os_out *o, struct err *err); /* syncs and renames */
void os_out_abort(struct os_out *o);                            /* leaves nothing behind */
/* Makes the folders that path's last part lies in, for the user alone, where they are missing. */
NODISCARD int os_make_parents(const char *path, struct err *err);

bool os_is_dir(const char *path);
bool os_exists(const char *path);

#endif
