/* Goal: a profile comes back as it was written, and one that is old, damaged or of nonsense is
 * refused by the name of the field; ceilings between the measured points. */
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../test.h"
#include "base/buf.h"
#include "base/mem.h"
#include "cost/profile.h"
#include "os/cpu.h"

static struct cost_profile sample(void)
{
    struct cost_profile p = { .fingerprint = "AMD EPYC, 2 cores",
                              .cpu = "AMD EPYC",
                              .n_cores = 2,
                              .l2_bytes = 1u << 20,
                              .l3_bytes = 32u << 20,
                              .memory_bytes = (size_t)23 << 30,
                              .measured_at = 1764000000,
                              .n_points = 2,
                              .disk_read = 3.1e8,
                              .disk_iops = 7000.5 };
    p.points[0] = (struct cost_ceilings){ 1, 100e9, 90e9, 20e9, 116e9, 232e9, 459e9 };
    p.points[1] = (struct cost_ceilings){ 4, 400e9, 180e9, 36.5e9, 464e9, 930e9, 1836e9 };
    return p;
}

static void round_trip(void **state)
{
    (void)state;
    struct cost_profile p = sample(), got;
    struct err err = { 0 };
    struct buf a, b;
    buf_init(&a, 1u << 16);
    buf_init(&b, 1u << 16);
    cost_profile_write(&p, &a);
    assert_int_equal(cost_profile_parse(&got, buf_str(&a), a.len, &err), 0);
    cost_profile_write(&got, &b);
    assert_string_equal(buf_str(&a), buf_str(&b));
    assert_string_equal(got.fingerprint, p.fingerprint);
    assert_true(got.points[1].dram == p.points[1].dram && got.disk_iops == p.disk_iops);
    assert_true(got.memory_bytes == p.memory_bytes && got.n_points == 2);
    buf_fini(&a);
    buf_fini(&b);
}

/* Replaces the first `from` of a written profile by `to` and parses it. */
static int parse_with(const char *from, const char *to, struct err *err)
{
    struct cost_profile p = sample(), got;
    struct buf a, b;
    *err = (struct err){ 0 };
    buf_init(&a, 1u << 16);
    buf_init(&b, 1u << 16);
    cost_profile_write(&p, &a);
    const char *at = strstr(buf_str(&a), from);
    assert_non_null(at);
    buf_put(&b, buf_str(&a), (size_t)(at - buf_str(&a)));
    buf_puts(&b, to);
    buf_puts(&b, at + strlen(from));
    got.n_points = 77; /* untouched on failure */
    int rc = cost_profile_parse(&got, buf_str(&b), b.len, err);
    assert_true(rc == 0 || got.n_points == 77);
    buf_fini(&a);
    buf_fini(&b);
    return rc;
}

static void refuses_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *field;
        int rc;
    } cases[] = {
        { "\"version\":1", "\"version\":0", "version", E_UNSUPPORTED },
        { "\"version\":1", "\"version\":2", "version", E_UNSUPPORTED },
        { "\"version\":1", "\"version\":\"1\"", "version", E_FORMAT },
        { "naru-machine-profile", "another", "format", E_FORMAT },
        { "\"fp32_ops_per_s\":", "\"other\":", "fp32_ops_per_s", E_FORMAT },
        { "\"threads\":4", "\"threads\":1", "threads", E_FORMAT },
        { "\"threads\":4", "\"threads\":4.5", "threads", E_FORMAT },
        { "\"threads\":1,", "\"threads\":0,", "threads", E_FORMAT },
        { "\"dram_bytes_per_s\":2e+10", "\"dram_bytes_per_s\":-1", "dram_bytes_per_s",
          E_FORMAT },
        { "\"dram_bytes_per_s\":2e+10", "\"dram_bytes_per_s\":0", "dram_bytes_per_s",
          E_FORMAT },
        { "\"disk_reads_4k_per_s\":7000.5", "\"disk_reads_4k_per_s\":-7", "disk", E_FORMAT },
        { "\"points\":[", "\"points\":[],\"others\":[", "points", E_FORMAT },
        { "\"l3_bytes\":", "\"l3_bytes\":-", "l3_bytes", E_FORMAT },
        { "{\"format\"", "[{\"format\"", "", E_FORMAT },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err;
        assert_int_equal(parse_with(cases[i].from, cases[i].to, &err), cases[i].rc);
        assert_string_equal(err.field, cases[i].field);
        assert_true(err.text[0] != '\0');
    }
}

/* Every prefix of a file, as a crash of another program could leave it. */
static void refuses_half_a_file(void **state)
{
    (void)state;
    struct cost_profile p = sample(), got;
    struct buf a;
    buf_init(&a, 1u << 16);
    cost_profile_write(&p, &a);
    for (size_t n = 0; n + 2 < a.len; n++) {
        struct err err = { 0 };
        assert_true(cost_profile_parse(&got, buf_str(&a), n, &err) < 0);
    }
    buf_fini(&a);
}

static void saves_and_loads(void **state)
{
    (void)state;
    char folder[] = "/tmp/naru-cost-XXXXXX", path[128];
    struct err err = { 0 };
    struct cost_profile p = sample(), got;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a/b/machine.json", folder);
    assert_int_equal(cost_profile_load(&got, path, &err), E_NOT_FOUND);
    assert_int_equal(cost_profile_save(&p, path, &err), 0);
    assert_int_equal(cost_profile_load(&got, path, &err), 0);
    assert_true(got.points[0].int8 == p.points[0].int8);
    p.points[0].int8 = 0; /* what breaks the rules is not written, and the old file stays */
    assert_int_equal(cost_profile_save(&p, path, &err), E_RANGE);
    assert_int_equal(cost_profile_load(&got, path, &err), 0);
    unlink(path);
    snprintf(path, sizeof path, "%s/a/b", folder);
    rmdir(path);
    snprintf(path, sizeof path, "%s/a", folder);
    rmdir(path);
    assert_int_equal(rmdir(folder), 0); /* nothing else was left there */
}

static void ceilings_between_points(void **state)
{
    (void)state;
    struct cost_profile p = sample();
    struct cost_ceilings c = cost_profile_at(&p, 1);
    assert_true(c.dram == 20e9 && c.threads == 1);
    c = cost_profile_at(&p, 2); /* a third of the way from 1 to 4 */
    assert_float_equal(c.dram / 1e9, 25.5, 1e-6);
    assert_float_equal(c.fp32 / 1e9, 232, 1e-6);
    assert_true(c.threads == 2);
    assert_true(cost_profile_at(&p, 4).dram == 36.5e9);
    assert_true(cost_profile_at(&p, 64).dram == 36.5e9);
    assert_true(cost_profile_read_rate(&p, 1, 1u << 20) == 100e9); /* fits L2 */
    assert_true(cost_profile_read_rate(&p, 1, (1u << 20) + 1) == 90e9);
    assert_true(cost_profile_read_rate(&p, 4, 2u << 20) == 400e9); /* two cores, two L2 */
    assert_true(cost_profile_read_rate(&p, 4, 32u << 20) == 180e9);
    assert_true(cost_profile_read_rate(&p, 4, (32u << 20) + 1) == 36.5e9);
}

static void where_it_lies(void **state)
{
    (void)state;
    setenv("XDG_CACHE_HOME", "/x", 1);
    char *path = cost_profile_path();
    assert_string_equal(path, "/x/naru/machine.json");
    mem_free(path);
    setenv("XDG_CACHE_HOME", "not/absolute", 1); /* the specification says: ignore */
    setenv("HOME", "/h", 1);
    path = cost_profile_path();
    assert_string_equal(path, "/h/.cache/naru/machine.json");
    mem_free(path);
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    assert_null(cost_profile_path());
    struct os_cpu cpu = { .model = "X", .n_cores = 3, .l2_bytes = 2048 };
    char line[192];
    cost_fingerprint(&cpu, line, sizeof line);
    assert_string_equal(line, "X, 3 cores, L2 2 KiB, L3 0 KiB, memory 0 GiB, sets 00");
}

int profile_test(void);
int profile_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(refuses_what_is_wrong),
        cmocka_unit_test(refuses_half_a_file),
        cmocka_unit_test(saves_and_loads),
        cmocka_unit_test(ceilings_between_points),
        cmocka_unit_test(where_it_lies),
    };
    return cmocka_run_group_tests_name("profile", tests, NULL, NULL);
}
