/* A real folder through io_uring and through threads: same bytes, same codes; the sum against its known
 * answers and its table; a transfer that comes in pieces is completed. */
#include "unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "os/crc.h"
#include "os/volume.h"
#include "os/volume_impl.h"

enum { N = 100, BYTES = 4096 };

static int count(void *ctx, const char *name)
{
    (void)name;
    ++*(int *)ctx;
    return 0;
}

static void use(const char *dir, enum os_volume_engine engine, unsigned direct)
{
    static _Alignas(4096) uint8_t out[N][BYTES], in[N][BYTES];
    struct os_volume_op ops[N];
    struct os_volume *d = NULL, *other = NULL;
    struct err err = { 0 };
    int file = -1, n_names = 0;
    uint64_t size = 0;
    int rc = os_volume_open(&d, &(struct os_volume_params){ .dir = dir, .engine = engine }, &err);
    if (rc == E_UNSUPPORTED && engine == OS_VOLUME_URING) {
        print_message("this host forbids io_uring\n");
        return;
    }
    assert_int_equal(rc, 0);
    assert_string_equal(os_volume_engine_name(d), engine == OS_VOLUME_URING ? "io_uring" : "threads");
    const struct os_volume_table *t = d->table;
    assert_int_equal(t->open(d, "a", 0, &file), E_NOT_FOUND);
    assert_int_equal(t->open(d, "a", OS_VOLUME_CREATE | OS_VOLUME_UPDATE | direct, &file), 0);
    for (int lane = 0; lane < OS_VOLUME_LANES; lane++) {
        for (int i = 0; i < N; i++) {
            memset(out[i], i + lane, BYTES);
            ops[i] = (struct os_volume_op){ .kind = OS_VOLUME_WRITE, .file = file, .data = out[i], .bytes = BYTES,
                                          .offset = (uint64_t)(N - 1 - i) * BYTES };
        }
        t->run(d, (uint32_t)lane, ops, N);
        for (int i = 0; i < N; i++) {
            assert_int_equal(ops[i].rc, 0);
            ops[i].kind = OS_VOLUME_READ;
            ops[i].data = in[i];
        }
        assert_int_equal(os_volume_transfer(d, 0, (struct os_volume_op){ .kind = OS_VOLUME_SYNC, .file = file }), 0);
        ops[3].offset = (uint64_t)(N + 5) * BYTES; /* past the end */
        t->run(d, (uint32_t)lane, ops, N);
        for (int i = 0; i < N; i++) {
            assert_int_equal(ops[i].rc, i == 3 ? E_RANGE : 0);
            assert_true(i == 3 || memcmp(in[i], out[i], BYTES) == 0);
        }
    }
    assert_int_equal(t->size(d, file, &size), 0);
    assert_int_equal(size, N * BYTES);
    assert_int_equal(t->truncate(d, file, BYTES), 0);
    assert_int_equal(t->size(d, file, &size), 0);
    assert_int_equal(size, BYTES);
    t->close(d, file);
    ops[0].file = file; /* closed: EBADF */
    t->run(d, 0, ops, 1);
    assert_int_equal(ops[0].rc, E_IO);
    assert_int_equal(ops[0].error, EBADF);
    assert_int_equal(t->open(d, "a", OS_VOLUME_CREATE, &file), E_BUSY);
    assert_int_equal(t->rename(d, "a", "b"), 0);
    assert_int_equal(t->sync_names(d), 0);
    assert_int_equal(t->lock(d, "LOCK"), 0);
    assert_int_equal(os_volume_open(&other, &(struct os_volume_params){ .dir = dir, .engine = engine }, &err), 0);
    assert_int_equal(other->table->lock(other, "LOCK"), E_BUSY);
    os_volume_close(other);
    assert_int_equal(t->list(d, count, &n_names), 0);
    assert_int_equal(n_names, 2);
    assert_int_equal(t->remove(d, "b"), 0);
    assert_int_equal(t->remove(d, "b"), E_NOT_FOUND);
    assert_int_equal(t->remove(d, "LOCK"), 0);
    os_volume_close(d);
}

static void both_engines_do_the_same(void **state)
{
    (void)state;
    char dir[] = "/tmp/naru-disk-XXXXXX";
    assert_non_null(mkdtemp(dir));
    for (unsigned direct = 0; direct < 2; direct++) {
        use(dir, OS_VOLUME_URING, direct * OS_VOLUME_DIRECT);
        use(dir, OS_VOLUME_THREADS, direct * OS_VOLUME_DIRECT);
    }
    assert_int_equal(rmdir(dir), 0);
}

static void follows_no_links_and_says_what_is_missing(void **state)
{
    (void)state;
    char dir[] = "/tmp/naru-disk-XXXXXX", path[64], inner[64];
    struct os_volume *d = NULL;
    struct err err = { 0 };
    int file;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/link", dir);
    snprintf(inner, sizeof inner, "%s/x/y", dir);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_equal(os_volume_open(&d, &(struct os_volume_params){ .dir = dir }, &err), 0);
    assert_true(d->table->open(d, "link", 0, &file) < 0);
    os_volume_close(d);
    assert_int_equal(os_volume_open(&d, &(struct os_volume_params){ .dir = inner, .create = true }, &err), E_NOT_FOUND);
    assert_non_null(strstr(err.text, inner));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

static void books_what_comes_in_pieces(void **state)
{
    (void)state;
    struct os_volume_op op = { .kind = OS_VOLUME_READ, .bytes = 100 };
    assert_false(os_volume_book(&op, 60)); /* short: go on */
    assert_false(os_volume_book(&op, -EINTR));
    assert_false(os_volume_book(&op, -EAGAIN));
    assert_int_equal(op.done, 60);
    assert_true(os_volume_book(&op, 40));
    assert_int_equal(op.rc, 0);
    op = (struct os_volume_op){ .kind = OS_VOLUME_READ, .bytes = 100 };
    assert_false(os_volume_book(&op, 60));
    assert_true(os_volume_book(&op, 0)); /* the end of the file */
    assert_int_equal(op.rc, E_RANGE);
    op = (struct os_volume_op){ .kind = OS_VOLUME_WRITE, .bytes = 100 };
    assert_true(os_volume_book(&op, -ENOSPC));
    assert_int_equal(op.rc, E_FULL);
    assert_int_equal(op.error, ENOSPC);
}

static void sums_as_the_standard_says(void **state)
{
    (void)state;
    uint8_t data[1000];
    memset(data, 0, 32); /* RFC 3720, B.4 */
    assert_int_equal(os_crc32c(0, data, 32), 0x8a9136aa);
    memset(data, 0xff, 32);
    assert_int_equal(os_crc32c(0, data, 32), 0x62a8ab43);
    assert_int_equal(os_crc32c(0, "123456789", 9), 0xe3069283);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * i * 31 + i);
    for (size_t n = 0; n < 300; n++)
        for (size_t at = 0; at < 9; at++) {
            uint32_t whole = os_crc32c(7, data + at, n);
            assert_int_equal(whole, os_crc32c_table(7, data + at, n));
            assert_int_equal(whole, os_crc32c(os_crc32c(7, data + at, n / 3), data + at + n / 3, n - n / 3));
        }
}

int volume_test(void);
int volume_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_engines_do_the_same),
        cmocka_unit_test(follows_no_links_and_says_what_is_missing),
        cmocka_unit_test(books_what_comes_in_pieces),
        cmocka_unit_test(sums_as_the_standard_says),
    };
    return cmocka_run_group_tests_name("volume", tests, NULL, NULL);
}
