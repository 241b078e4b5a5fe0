/* tests/fault/memdisk.h - a disk in memory that forgets what was not synced and fails on demand.
 *
 * Every file has what is durable and what was written since: a list of writes (and truncations), each of
 * which a power loss may keep, lose or tear at any sector, in any order. Names are the same: creations,
 * removals and renames since the last sync_names may each be lost. md_crash makes one such image.
 * fail_at counts calls: the n-th call of the kinds in fail_kinds fails with fail_errno (and every later one
 * too if fail_for_ever). Single-threaded. */
#ifndef TESTS_FAULT_MEMDISK_H
#define TESTS_FAULT_MEMDISK_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "os/volume.h"

enum { MD_FILES = 1024, MD_SECTOR = 512 };
enum md_kind { MD_OPEN = 1, MD_READ = 2, MD_WRITE = 4, MD_SYNC = 8, MD_NAMES = 16, MD_TRUNCATE = 32, MD_REMOVE = 64,
               MD_ALL = 127 };

struct md_write {
    uint64_t offset, bytes; /* bytes UINT64_MAX: a truncation to offset */
    uint8_t *data;
};
struct md_file {
    char name[64], durable_name[64]; /* "": there is none */
    uint8_t *now, *durable;
    uint64_t n_now, n_durable;
    struct md_write *writes;
    uint32_t n_writes, cap_writes;
};
struct memdisk {
    struct os_volume disk;
    struct md_file files[MD_FILES];
    uint64_t n_calls, fail_at;
    unsigned fail_kinds;
    int fail_errno;
    bool fail_for_ever, locked, journal;
};

static inline struct memdisk *md_of(struct os_volume *d) { return (struct memdisk *)d; }

static inline bool md_fails(struct memdisk *m, unsigned kind)
{
    if (!(m->fail_kinds & kind) || m->fail_at == 0)
        return false;
    m->n_calls++;
    bool fails = m->n_calls == m->fail_at || (m->fail_for_ever && m->n_calls > m->fail_at);
    if (fails)
        errno = m->fail_errno;
    return fails;
}

static inline int md_find(struct memdisk *m, const char *name)
{
    for (int i = 0; i < MD_FILES; i++)
        if (m->files[i].name[0] == name[0] && strcmp(m->files[i].name, name) == 0 && name[0] != '\0')
            return i;
    return -1;
}

static inline void md_log(struct memdisk *m, struct md_file *f, uint64_t offset, uint64_t bytes, const void *data)
{
    if (!m->journal)
        return;
    if (f->n_writes == f->cap_writes) {
        f->cap_writes = f->cap_writes == 0 ? 16 : 2 * f->cap_writes;
        f->writes = realloc(f->writes, f->cap_writes * sizeof *f->writes);
    }
    struct md_write *w = &f->writes[f->n_writes++];
    *w = (struct md_write){ .offset = offset, .bytes = bytes };
    if (bytes != UINT64_MAX) {
        w->data = malloc(bytes + 1);
        memcpy(w->data, data, bytes);
    }
}

static inline void md_apply(uint8_t **to, uint64_t *n, uint64_t offset, const uint8_t *data, uint64_t bytes)
{
    if (offset + bytes > *n) {
        *to = realloc(*to, offset + bytes);
        memset(*to + *n, 0, offset + bytes - *n);
        *n = offset + bytes;
    }
    if (bytes > 0)
        memcpy(*to + offset, data, bytes);
}

static inline void md_cut(uint8_t **to, uint64_t *n, uint64_t bytes)
{
    md_apply(to, n, bytes, NULL, 0);
    *n = bytes;
}

static inline void md_settle(struct md_file *f) /* all writes are durable now */
{
    for (uint32_t i = 0; i < f->n_writes; i++)
        free(f->writes[i].data);
    f->n_writes = 0;
    free(f->durable);
    f->durable = malloc(f->n_now + 1);
    if (f->n_now > 0)
        memcpy(f->durable, f->now, f->n_now);
    f->n_durable = f->n_now;
}

static inline int md_open(struct os_volume *d, const char *name, unsigned flags, int *file)
{
    struct memdisk *m = md_of(d);
    int i = md_find(m, name);
    if (md_fails(m, MD_OPEN))
        return os_volume_code(errno);
    if (i >= 0 && (flags & OS_VOLUME_CREATE))
        return E_BUSY;
    if (i < 0 && !(flags & OS_VOLUME_CREATE))
        return E_NOT_FOUND;
    for (int k = 0; i < 0 && k < MD_FILES; k++)
        if (m->files[k].name[0] == '\0' && m->files[k].durable_name[0] == '\0' && m->files[k].now == NULL) {
            i = k;
            snprintf(m->files[k].name, sizeof m->files[k].name, "%s", name);
            m->files[k].now = calloc(1, 1);
        }
    if (i < 0)
        return E_FULL;
    *file = i;
    return 0;
}
static inline void md_close(struct os_volume *d, int file) { (void)d, (void)file; }
static inline int md_size(struct os_volume *d, int file, uint64_t *bytes)
{
    *bytes = md_of(d)->files[file].n_now;
    return 0;
}
static inline int md_truncate(struct os_volume *d, int file, uint64_t bytes)
{
    struct md_file *f = &md_of(d)->files[file];
    if (md_fails(md_of(d), MD_TRUNCATE))
        return os_volume_code(errno);
    md_cut(&f->now, &f->n_now, bytes);
    md_log(md_of(d), f, bytes, UINT64_MAX, NULL);
    return 0;
}
static inline void md_drop(struct md_file *f)
{
    for (uint32_t i = 0; i < f->n_writes; i++)
        free(f->writes[i].data);
    free(f->writes);
    free(f->now);
    free(f->durable);
    *f = (struct md_file){ .n_now = 0 };
}
static inline int md_remove(struct os_volume *d, const char *name)
{
    int i = md_find(md_of(d), name);
    if (md_fails(md_of(d), MD_REMOVE))
        return os_volume_code(errno);
    if (i < 0)
        return E_NOT_FOUND;
    md_of(d)->files[i].name[0] = '\0';
    if (md_of(d)->files[i].durable_name[0] == '\0')
        md_drop(&md_of(d)->files[i]);
    return 0;
}
static inline int md_rename(struct os_volume *d, const char *from, const char *to)
{
    int i = md_find(md_of(d), from), old = md_find(md_of(d), to);
    if (md_fails(md_of(d), MD_REMOVE))
        return os_volume_code(errno);
    if (i < 0)
        return E_NOT_FOUND;
    if (old >= 0)
        md_of(d)->files[old].name[0] = '\0';
    snprintf(md_of(d)->files[i].name, sizeof md_of(d)->files[i].name, "%s", to);
    return 0;
}
static inline int md_sync_names(struct os_volume *d)
{
    struct memdisk *m = md_of(d);
    if (md_fails(m, MD_NAMES))
        return os_volume_code(errno);
    for (int i = 0; i < MD_FILES; i++) {
        struct md_file *f = &m->files[i];
        if (!m->journal)
            continue;
        snprintf(f->durable_name, sizeof f->durable_name, "%s", f->name);
        if (f->name[0] == '\0' && f->now != NULL)
            md_drop(f);
    }
    return 0;
}
static inline int md_list(struct os_volume *d, int (*fn)(void *ctx, const char *name), void *ctx)
{
    int rc = 0;
    if (md_fails(md_of(d), MD_OPEN))
        return os_volume_code(errno);
    for (int i = 0; i < MD_FILES && rc >= 0; i++)
        if (md_of(d)->files[i].name[0] != '\0')
            rc = fn(ctx, md_of(d)->files[i].name);
    return rc < 0 ? rc : 0;
}
static inline int md_lock(struct os_volume *d, const char *name)
{
    (void)name;
    if (md_of(d)->locked)
        return E_BUSY;
    return 0;
}
static inline void md_run(struct os_volume *d, uint32_t lane, struct os_volume_op *ops, uint32_t n)
{
    struct memdisk *m = md_of(d);
    (void)lane;
    for (uint32_t i = 0; i < n; i++) {
        struct os_volume_op *op = &ops[i];
        struct md_file *f = &m->files[op->file];
        unsigned kind = op->kind == OS_VOLUME_READ ? MD_READ : op->kind == OS_VOLUME_WRITE ? MD_WRITE : MD_SYNC;
        op->done = 0;
        op->rc = op->error = 0;
        bool fails = md_fails(m, kind);
        if (fails) {
            op->error = errno;
            op->rc = os_volume_code(op->error);
        }
        if (op->kind == OS_VOLUME_WRITE) {
            op->done = fails ? op->bytes / 2 / MD_SECTOR * MD_SECTOR : op->bytes; /* a failed write leaves a half */
            md_apply(&f->now, &f->n_now, op->offset, op->data, op->done);
            md_log(m, f, op->offset, op->done, op->data);
        } else if (op->kind == OS_VOLUME_READ && !fails) {
            op->done = op->offset >= f->n_now ? 0 : op->bytes;
            if (op->offset + op->bytes > f->n_now)
                op->done = op->offset >= f->n_now ? 0 : f->n_now - op->offset;
            if (op->done > 0)
                memcpy(op->data, f->now + op->offset, op->done);
            op->rc = op->done < op->bytes ? E_RANGE : 0;
        } else if (op->kind == OS_VOLUME_SYNC && !fails && m->journal) {
            md_settle(f);
        }
    }
}
static inline void md_destroy(struct os_volume *d)
{
    for (int i = 0; i < MD_FILES; i++)
        md_drop(&md_of(d)->files[i]);
    free(d);
}

static inline struct memdisk *md_new(bool journal)
{
    static const struct os_volume_table table = {
        .open = md_open, .close = md_close, .size = md_size, .truncate = md_truncate, .remove = md_remove,
        .rename = md_rename, .sync_names = md_sync_names, .list = md_list, .lock = md_lock, .run = md_run,
        .destroy = md_destroy,
    };
    struct memdisk *m = calloc(1, sizeof *m);
    m->disk.table = &table;
    m->journal = journal;
    return m;
}

/* The disk as it may be found after the power came back: of what was not synced, each sector of each write,
 * and each change of a name, is there with probability keep / 256, later writes before earlier ones or not. */
static inline struct memdisk *md_crash(const struct memdisk *m, struct rng *rng, uint32_t keep)
{
    struct memdisk *to = md_new(false);
    uint32_t at = 0;
    for (int i = 0; i < MD_FILES; i++) {
        const struct md_file *f = &m->files[i];
        bool renamed = strcmp(f->name, f->durable_name) != 0;
        const char *name = renamed && rng_below(rng, 256) < keep ? f->name : f->durable_name;
        if (name[0] == '\0')
            continue;
        bool twice = false; /* a rename that reached the disk replaced the other */
        for (uint32_t k = 0; k < at; k++)
            twice = twice || strcmp(to->files[k].name, name) == 0;
        if (twice)
            continue;
        struct md_file *t = &to->files[at++];
        snprintf(t->name, sizeof t->name, "%s", name);
        t->n_now = f->n_durable;
        t->now = malloc(t->n_now + 1);
        if (t->n_now > 0)
            memcpy(t->now, f->durable, t->n_now);
        bool backwards = rng_below(rng, 2) != 0;
        for (uint32_t k = 0; k < f->n_writes; k++) {
            const struct md_write *w = &f->writes[backwards ? f->n_writes - 1 - k : k];
            if (w->bytes == UINT64_MAX) {
                if (rng_below(rng, 256) < keep)
                    md_cut(&t->now, &t->n_now, w->offset);
                continue;
            }
            for (uint64_t o = 0; o < w->bytes; o += MD_SECTOR)
                if (rng_below(rng, 256) < keep)
                    md_apply(&t->now, &t->n_now, w->offset + o, w->data + o,
                             w->bytes - o < MD_SECTOR ? w->bytes - o : MD_SECTOR);
        }
    }
    return to;
}

#endif
