/* Files are read whole or refused with a reason and written whole or not at all; a team runs each chunk
 * exactly once for every count of threads and chunks; CPU levels mask what they should. */
#include "unit/test.h"

#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "os/cpu.h"
#include "os/file.h"
#include "os/team.h"

static char dir[] = "/tmp/naru-os-test-XXXXXX";

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    return rmdir(dir);
}

static const char *in_dir(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void write_then_read(void **state)
{
    (void)state;
    struct err err = { 0 };
    const char *path = in_dir("a");
    assert_int_equal(os_write_file(path, "hello", 5, &err), 0);
    char *text = NULL;
    size_t len = 0;
    assert_int_equal(os_read_file(path, 5, &text, &len, &err), 0);
    assert_int_equal(len, 5);
    assert_string_equal(text, "hello");
    mem_free(text);
    assert_int_equal(os_read_file(path, 4, &text, &len, &err), E_LIMIT);
    struct os_map m;
    assert_int_equal(os_map_open(&m, path, &err), 0);
    assert_int_equal(m.size, 5);
    assert_memory_equal(m.data, "hello", 5);
    os_map_close(&m);
    assert_int_equal(os_write_file(path, "", 0, &err), 0);
    assert_int_equal(os_map_open(&m, path, &err), 0);
    assert_int_equal(m.size, 0);
    os_map_close(&m);
    assert_int_equal(os_read_file(path, 4, &text, &len, &err), 0);
    assert_int_equal(len, 0);
    mem_free(text);
    unlink(path);
}

static void refuses_what_is_no_file(void **state)
{
    (void)state;
    struct err err = { 0 };
    struct os_map m;
    char *text = NULL;
    size_t len = 0;
    assert_int_equal(os_map_open(&m, in_dir("none"), &err), E_NOT_FOUND);
    assert_non_null(strstr(err.text, "No such file"));
    assert_int_equal(os_map_open(&m, dir, &err), E_FORMAT);
    assert_int_equal(os_map_open(&m, "/dev/null", &err), E_FORMAT);
    assert_true(os_read_file(in_dir("none"), 10, &text, &len, &err) < 0);
    assert_true(os_write_file(in_dir("no/such/folder"), "x", 1, &err) < 0);
    assert_false(os_exists(in_dir("no")));
    assert_true(os_is_dir(dir));
}

struct tally {
    atomic_uint hits[1000];
    atomic_uint bad_thread;
    uint32_t n_threads;
};

static void count_chunk(void *ctx, uint32_t chunk, uint32_t thread)
{
    struct tally *t = ctx;
    atomic_fetch_add(&t->hits[chunk], 1);
    if (thread >= t->n_threads)
        atomic_fetch_add(&t->bad_thread, 1);
}

static void team_runs_each_chunk_once(void **state)
{
    (void)state;
    static struct tally t;
    for (uint32_t threads = 1; threads <= 5; threads++) {
        struct os_team *team = NULL;
        assert_int_equal(os_team_create(&team, threads), 0);
        assert_int_equal(os_team_threads(team), threads);
        for (uint32_t n = 0; n <= 1000; n = n < 12 ? n + 1 : n * 3 + 1) {
            memset(&t, 0, sizeof t);
            t.n_threads = threads;
            for (int round = 0; round < 20; round++)
                os_team_run(team, n, count_chunk, &t);
            for (uint32_t i = 0; i < 1000; i++)
                assert_int_equal(atomic_load(&t.hits[i]), i < n ? 20 : 0);
            assert_int_equal(atomic_load(&t.bad_thread), 0);
        }
        os_team_destroy(team);
    }
    struct os_team *none = NULL;
    assert_int_equal(os_team_create(&none, 0), E_RANGE);
    assert_int_equal(os_team_create(&none, OS_TEAM_THREADS_MAX + 1), E_RANGE);
    os_team_destroy(NULL);
}

static void cpu_levels(void **state)
{
    (void)state;
    struct err err = { 0 };
    struct os_cpu cpu;
    os_cpu_detect(&cpu);
    assert_true(cpu.n_cores >= 1 && cpu.model[0] != '\0');
    unsigned all = cpu.flags;
    assert_int_equal(os_cpu_mask(&cpu, "auto", &err), 0);
    assert_int_equal(cpu.flags, all);
    assert_int_equal(os_cpu_mask(&cpu, "avx3", &err), E_USAGE);
    assert_non_null(strstr(err.text, "generic"));
    assert_int_equal(os_cpu_mask(&cpu, "generic", &err), 0);
    assert_int_equal(cpu.flags, 0);
    assert_int_equal(os_cpu_mask(&cpu, "avx2", &err), E_UNSUPPORTED);
    cpu.flags = OS_CPU_AVX2 | OS_CPU_AVX512 | OS_CPU_AVX512_VNNI;
    assert_int_equal(os_cpu_mask(&cpu, "avx512", &err), 0);
    assert_int_equal(cpu.flags, OS_CPU_AVX2 | OS_CPU_AVX512);
}

int os_test(void);
int os_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(write_then_read),
        cmocka_unit_test(refuses_what_is_no_file),
        cmocka_unit_test(team_runs_each_chunk_once),
        cmocka_unit_test(cpu_levels),
    };
    return cmocka_run_group_tests_name("os", tests, make_dir, remove_dir);
}
