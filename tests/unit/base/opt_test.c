/* Options land in their fields; everything wrong is refused with the flag's name and the mend. */
#include "unit/test.h"

#include <stdbool.h>
#include <stdio.h>

#include "base/opt.h"

struct args {
    bool json;
    const char *model;
    uint32_t threads;
    uint64_t seed, ram;
    double temp;
    struct opt_list stop;
};

static const struct opt opts[] = {
    { "json", 0, OPT_FLAG, offsetof(struct args, json), NULL, "print JSON", 0, 0 },
    { "model", 'm', OPT_TEXT, offsetof(struct args, model), "FILE", "model file", 0, 0 },
    { "threads", 't', OPT_U32, offsetof(struct args, threads), "N", "threads", 1, 256 },
    { "seed", 0, OPT_U64, offsetof(struct args, seed), "S", "seed", 0, 0 },
    { "ram", 0, OPT_BYTES, offsetof(struct args, ram), "SIZE", "bytes", 0, 0 },
    { "temp", 0, OPT_NUMBER, offsetof(struct args, temp), "T", "temperature", 0, 2 },
    { "stop", 0, OPT_LIST, offsetof(struct args, stop), "TEXT", "stop here", 0, 0 },
};

static const struct opt_table table = { opts, COUNT_OF(opts) };

static int parse(struct args *a, struct opt_list *words, struct err *err, const char *const *argv)
{
    int argc = 0;
    while (argv[argc] != NULL)
        argc++;
    *a = (struct args){ 0 };
    *words = (struct opt_list){ 0 };
    *err = (struct err){ 0 };
    return opt_parse(&table, argc, (char **)(uintptr_t)argv, a, words, err);
}

static void every_kind(void **state)
{
    (void)state;
    struct args a;
    struct opt_list words;
    struct err err;
    const char *argv[] = { "x",     "--json", "-m",    "f.gguf", "-t4",     "--seed=18446744073709551615",
                     "--ram", "3G",     "--stop", "a",      "--stop=", "--temp",
                     "0.5",   "--",     "--y",   NULL };
    assert_int_equal(parse(&a, &words, &err, argv), 0);
    assert_true(a.json && a.threads == 4 && a.seed == UINT64_MAX && a.ram == 3ull << 30);
    assert_string_equal(a.model, "f.gguf");
    assert_true(a.temp == 0.5 && a.stop.n == 2);
    assert_string_equal(a.stop.items[1], "");
    assert_int_equal(words.n, 2);
    assert_string_equal(words.items[0], "x");
    assert_string_equal(words.items[1], "--y");
}

static void refusals(void **state)
{
    (void)state;
    static const struct {
        const char *argv[3];
        const char *says;
    } cases[] = {
        { { "--thread", "2", NULL }, "did you mean --threads?" },
        { { "--frobnicate", NULL, NULL }, "unknown option --frobnicate" },
        { { "-z", NULL, NULL }, "unknown option -z" },
        { { "--threads", "0", NULL }, "--threads 0: must be between 1 and 256" },
        { { "--threads", "257", NULL }, "between 1 and 256" },
        { { "--threads", "-1", NULL }, "whole number" },
        { { "--threads", "2x", NULL }, "whole number" },
        { { "--threads", NULL, NULL }, "--threads needs a value" },
        { { "--threads=", NULL, NULL }, "whole number" },
        { { "--seed", "18446744073709551616", NULL }, "whole number" },
        { { "--ram", "99999999999G", NULL }, "a size" },
        { { "--ram", "3T", NULL }, "a size" },
        { { "--temp", "nan", NULL }, "a number" },
        { { "--temp", "2.1", NULL }, "between 0 and 2" },
        { { "--json=1", NULL, NULL }, "takes no value" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct args a;
        struct opt_list words;
        struct err err;
        assert_int_equal(parse(&a, &words, &err, cases[i].argv), E_USAGE);
        if (strstr(err.text, cases[i].says) == NULL)
            fail_msg("%s: says %s", cases[i].argv[0], err.text);
    }
}

static void help_names_every_option(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 65536);
    opt_help(&table, &b);
    for (size_t i = 0; i < COUNT_OF(opts); i++)
        assert_non_null(strstr(buf_str(&b), opts[i].name));
    assert_non_null(strstr(buf_str(&b), "  -m, --model FILE            model file\n"));
    buf_fini(&b);
}

static int config(struct args *a, struct err *err, char *text)
{
    static const char *const except[] = { "json", NULL };
    *a = (struct args){ 0 };
    *err = (struct err){ 0 };
    return opt_parse_config(&table, text, except, a, err);
}

static void a_file_sets_what_the_command_line_sets(void **state)
{
    (void)state;
    struct args a;
    struct err err;
    char text[] = "# a comment\r\n\n  model =  a b.gguf \r\nthreads=4\nram = 2G\nstop = x\nstop = y=z";
    assert_int_equal(config(&a, &err, text), 0);
    assert_string_equal(a.model, "a b.gguf");
    assert_int_equal(a.threads, 4);
    assert_true(a.ram == 2ull << 30);
    assert_int_equal(a.stop.n, 2);
    assert_string_equal(a.stop.items[1], "y=z");
}

static void a_wrong_file_names_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        { "model = m\nthreds = 4\n", "line 2: unknown option --threds; did you mean --threads?" },
        { "threads = 0", "line 1: --threads 0: must be between 1 and 256" },
        { "\n\nthreads\n", "line 3: expected \"name = value\"" },
        { "json = true", "line 1: json cannot be set in a file" },
        { "threads =", "line 1: --threads" },
        { "= 4", "line 1: unknown option" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct args a;
        struct err err;
        char text[128];
        snprintf(text, sizeof text, "%s", cases[i].text);
        assert_int_equal(config(&a, &err, text), E_USAGE);
        assert_non_null(strstr(err.text, cases[i].words));
    }
}

static void the_environment_sets_options(void **state)
{
    (void)state;
    static const char *const except[] = { "seed", NULL };
    struct args a = { .threads = 1 };
    struct err err = { 0 };
    setenv("OPTTEST_THREADS", "8", 1);
    setenv("OPTTEST_JSON", "true", 1);
    setenv("OPTTEST_SEED", "not looked at", 1);
    assert_int_equal(opt_parse_env(&table, "OPTTEST_", except, &a, &err), 0);
    assert_int_equal(a.threads, 8);
    assert_true(a.json);
    setenv("OPTTEST_JSON", "maybe", 1);
    assert_int_equal(opt_parse_env(&table, "OPTTEST_", except, &a, &err), E_USAGE);
    assert_non_null(strstr(err.text, "environment OPTTEST_JSON: --json maybe: must be true or false"));
    unsetenv("OPTTEST_THREADS");
    unsetenv("OPTTEST_JSON");
    unsetenv("OPTTEST_SEED");
}

int opt_test(void);
int opt_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind),
        cmocka_unit_test(refusals),
        cmocka_unit_test(help_names_every_option),
        cmocka_unit_test(a_file_sets_what_the_command_line_sets),
        cmocka_unit_test(a_wrong_file_names_its_line),
        cmocka_unit_test(the_environment_sets_options),
    };
    return cmocka_run_group_tests_name("base/opt", tests, NULL, NULL);
}
