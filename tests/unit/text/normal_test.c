/* Goal: the Unicode forms are those of Unicode's own test file; the other steps do what the
 * libraries they come from do; hostile runs of combining marks stay cheap. */
#include "unit/test.h"

#include <stdio.h>

#include "base/utf8.h"
#include "text/normal.h"

static void expect_len(const struct normal_step *step, const char *s, size_t len, const char *want,
                       size_t want_len)
{
    struct buf out;
    buf_init(&out, 1u << 24);
    assert_int_equal(normal_apply(step, s, len, &out), 0);
    if (out.len != want_len || memcmp(buf_str(&out), want, want_len) != 0)
        fail_msg("step %d: \"%s\" became \"%s\" and not \"%s\"", (int)step->kind, s, buf_str(&out),
                 want);
    buf_fini(&out);
}

static void expect(struct normal_step step, const char *s, const char *want)
{
    expect_len(&step, s, strlen(s), want, strlen(want));
}

/* "0041 0300" -> UTF-8; returns what stands behind the semicolon. */
static const char *read_column(const char *line, char *out, size_t *len)
{
    *len = 0;
    while (*line != ';' && *line != '\0') {
        char *next;
        *len += utf8_put(out + *len, (uint32_t)strtoul(line, &next, 16));
        if (next == line)
            break;
        line = next;
        while (*line == ' ')
            line++;
    }
    return line + 1;
}

static void check_line(const char *line)
{
    static const struct {
        enum normal_kind kind;
        int canonical, compat; /* the column that c1..c3, that c4 and c5 become */
    } forms[] = {
        { NORMAL_NFC, 1, 3 }, { NORMAL_NFD, 2, 4 }, { NORMAL_NFKC, 3, 3 }, { NORMAL_NFKD, 4, 4 }
    };
    char text[5][128];
    size_t len[5];
    for (int c = 0; c < 5; c++)
        line = read_column(line, text[c], &len[c]);
    for (size_t f = 0; f < 4; f++)
        for (int c = 0; c < 5; c++) {
            struct normal_step step = { .kind = forms[f].kind };
            int to = c < 3 ? forms[f].canonical : forms[f].compat;
            expect_len(&step, text[c], len[c], text[to], len[to]);
        }
}

static void unicode_forms_are_unicodes(void **state)
{
    (void)state;
    if (test_shared_dir() == NULL)
        skip();
    char command[4096], line[4096];
    int n = 0;
    snprintf(command, sizeof command, "xz -dc '%s/oracles/unicode/NormalizationTest-8.0.0.txt.xz'",
             test_shared_dir());
    FILE *f = popen(command, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        if ((line[0] < '0' || line[0] > '9') && (line[0] < 'A' || line[0] > 'F'))
            continue;
        check_line(line);
        n++;
    }
    pclose(f);
    assert_in_range(n, 18000, 20000);
}

#define STEP(k) ((struct normal_step){ .kind = NORMAL_##k })

static void steps_do_their_work(void **state)
{
    (void)state;
    expect(STEP(NFC),
           "plain e\xcc\x81, e\xcc\x81\xff"
           "e\xcc\x81",
           "plain \xc3\xa9, \xc3\xa9\xff\xc3\xa9");
    expect(STEP(NFD), "\xea\xb0\x81", "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8");
    expect(STEP(NFC), "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8", "\xea\xb0\x81");
    expect(STEP(LOWER), "AbC\xc3\x89\xc4\xb0\xce\xa3\xff", "abc\xc3\xa9i\xcc\x87\xcf\x83\xff");
    expect(STEP(STRIP_MARKS), "e\xcc\x81x", "ex");
    expect(STEP(CLEAN),
           "a\tb\x01\xc2\xa0\xef\xbf\xbd"
           "c\xe2\x80\x8b",
           "a b c");
    expect(STEP(CJK_SPACES), "a\xe4\xb8\xad\xe6\x96\x87", "a \xe4\xb8\xad  \xe6\x96\x87 ");
    expect(STEP(COLLAPSE), "  a  b ", "a b");
    expect(STEP(COLLAPSE), "   ", "");
    expect(STEP(NMT), "a\tb\x01\xe2\x80\x8b", "a b ");
    struct normal_step strip = { .kind = NORMAL_STRIP, .left = true };
    expect(strip, " \xe3\x80\x80x ", "x ");
    strip.right = true;
    expect(strip, " x\xe3\x80\x80\n", "x");
    expect(strip, " \n", "");
    struct normal_step prepend = { .kind = NORMAL_PREPEND, .a = "_", .a_len = 1 };
    expect(prepend, "x", "_x");
    expect(prepend, "", "");
    struct normal_step replace = {
        .kind = NORMAL_REPLACE, .a = "ab", .a_len = 2, .b = "c", .b_len = 1
    };
    expect(replace, "aabab", "acc");
    struct err err;
    assert_int_equal(pretok_regex_compile(&replace.regex, "a+", 2, &err), 0);
    expect(replace, "baab a", "bcb c");
    pretok_regex_destroy(replace.regex);
}

/* A charsmap written by hand: "a" -> "xy" at its root. */
static void charsmap_is_read(void **state)
{
    (void)state;
    uint8_t map[4 + 1024 + 4] = { 0 };
    uint32_t units[256] = { 0 };
    units[0] = 1u << 10;                         /* the root: offset 1 */
    units['a' ^ 1] = 'a' | 1u << 8 | (2u << 10); /* label a, has a leaf at its index ^ 2 */
    units[('a' ^ 1) ^ 2] = 1u << 31 | 0;         /* value 0 */
    map[1] = 4;                                  /* 1,024 bytes of units */
    for (size_t i = 0; i < 256; i++)
        for (size_t k = 0; k < 4; k++)
            map[4 + i * 4 + k] = (uint8_t)(units[i] >> (8 * k));
    memcpy(map + 4 + 1024, "xy", 3);
    struct err err = { 0 };
    assert_int_equal(normal_charsmap_check(map, sizeof map, &err), 0);
    struct normal_step step = { .kind = NORMAL_CHARSMAP,
                                .charsmap = map,
                                .charsmap_bytes = sizeof map };
    expect(step,
           "bab\xff"
           "a",
           "bxyb\xff"
           "xy");
    map[sizeof map - 1] = 'z'; /* the last replacement has no end */
    assert_int_equal(normal_charsmap_check(map, sizeof map, &err), E_FORMAT);
    assert_int_equal(normal_charsmap_check(map, 7, &err), E_FORMAT);
    map[3] = 1; /* more units than bytes */
    assert_int_equal(normal_charsmap_check(map, sizeof map, &err), E_FORMAT);
}

/* 200,000 marks in the worst order: sorting them by insertion would take minutes. */
static void many_marks_end(void **state)
{
    (void)state;
    enum { MARKS = 200000 };
    char *text = malloc(MARKS * 2 + 1);
    assert_non_null(text);
    for (size_t i = 0; i < MARKS; i++)
        memcpy(text + i * 2, i < MARKS / 2 ? "\xcc\x81" : "\xcc\xa3", 2); /* class 230, then 220 */
    struct normal_step step = { .kind = NORMAL_NFD };
    struct buf out;
    buf_init(&out, 1u << 24);
    assert_int_equal(normal_apply(&step, text, MARKS * 2, &out), 0);
    assert_int_equal(out.len, MARKS * 2);
    assert_memory_equal(out.data, "\xcc\xa3", 2);
    assert_memory_equal(out.data + out.len - 2, "\xcc\x81", 2);
    buf_fini(&out);
    free(text);
}

int normal_test(void);
int normal_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unicode_forms_are_unicodes),
        cmocka_unit_test(steps_do_their_work),
        cmocka_unit_test(charsmap_is_read),
        cmocka_unit_test(many_marks_end),
    };
    return cmocka_run_group_tests_name("normalisers", tests, NULL, NULL);
}
