/* Stop strings: the same text and the same stop whatever the borders of the pieces; nothing leaks,
 * nothing is lost. Compared with a search over the whole text. */
#include "unit/test.h"

#include <stdbool.h>

#include "base/rng.h"
#include "engine/stop.h"

struct fixture {
    struct engine_stop stop;
    struct engine_stop_string strings[4];
    uint16_t fall[4][64];
    char held[64];
    struct buf out;
};

static void set_up(struct fixture *f, const char *const *stops, uint32_t n)
{
    memset(f, 0, sizeof *f);
    for (uint32_t i = 0; i < n; i++) {
        uint16_t len = (uint16_t)strlen(stops[i]);
        engine_stop_prepare(stops[i], len, f->fall[i]);
        f->strings[i] = (struct engine_stop_string){ .text = stops[i], .len = len,
                                                     .fall = f->fall[i] };
    }
    f->stop = (struct engine_stop){ .strings = f->strings, .n = n, .held = f->held };
    buf_init(&f->out, 4096);
}

static void expects(const char *const *stops, uint32_t n, const char *const *pieces, bool include,
                    const char *text, int which)
{
    struct fixture f;
    int got = -1;
    set_up(&f, stops, n);
    for (; *pieces != NULL && got < 0; pieces++)
        got = engine_stop_put(&f.stop, *pieces, strlen(*pieces), include, &f.out);
    if (got < 0)
        engine_stop_end(&f.stop, &f.out);
    assert_int_equal(got, which);
    assert_string_equal(buf_str(&f.out), text);
    buf_fini(&f.out);
}

#define PIECES(...) (const char *const[]){ __VA_ARGS__, NULL }
#define STOPS(...) (const char *const[]){ __VA_ARGS__ }

static void crosses_borders(void **state)
{
    (void)state;
    expects(STOPS("END"), 1, PIECES("a E", "N", "ough", " the EN", "D x"), false, "a ENough the ", 0);
    expects(STOPS("END"), 1, PIECES("a E", "N", "D"), true, "a END", 0);
    expects(STOPS("END"), 1, PIECES("a EN"), false, "a EN", -1);
    expects(STOPS("END"), 1, PIECES("END"), false, "", 0);
    expects(STOPS("aab"), 1, PIECES("aaa", "ab"), false, "aa", 0);
    expects(STOPS("abcabd"), 1, PIECES("abcabcabd!"), false, "abc", 0);
    expects(STOPS("\n\n"), 1, PIECES("x\n", "y\n", "\nz"), false, "x\ny", 0);
    expects(STOPS("\xea\xb0\x80"), 1, PIECES("\xea\xb0\x81", "\xea\xb0\x80"), false, "\xea\xb0\x81", 0);
    expects(NULL, 0, PIECES("any", "thing"), false, "anything", -1);
}

static void first_complete_wins(void **state)
{
    (void)state;
    expects(STOPS("abcd", "b"), 2, PIECES("xab", "cd"), false, "xa", 1);
    expects(STOPS("b", "ab"), 2, PIECES("xab"), false, "x", 1); /* both at once: the longer one */
    expects(STOPS("ab", "b"), 2, PIECES("xab"), false, "x", 0);
    expects(STOPS("abc", "bcd"), 2, PIECES("ab", "xbcd"), false, "abx", 1);
}

/* Held text never contains free bytes, so it is released as early as it may. */
static void releases_early(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, STOPS("stop here"), 1);
    assert_int_equal(engine_stop_put(&f.stop, "we stop h", 9, false, &f.out), -1);
    assert_string_equal(buf_str(&f.out), "we ");
    assert_int_equal(engine_stop_put(&f.stop, "ard", 3, false, &f.out), -1);
    assert_string_equal(buf_str(&f.out), "we stop hard");
    buf_fini(&f.out);
}

static bool ends_with(const char *text, size_t len, const char *s)
{
    size_t n = strlen(s);
    return len >= n && memcmp(text + len - n, s, n) == 0;
}

static void any_cut_gives_the_same(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 31);
    for (int round = 0; round < 3000; round++) {
        char text[40], stops_text[3][6];
        const char *stops[3];
        uint32_t n_stops = 1 + rng_below(&rng, 3), len = rng_below(&rng, 40);
        for (uint32_t i = 0; i < n_stops; i++) {
            uint32_t n = 1 + rng_below(&rng, 5);
            for (uint32_t j = 0; j < n; j++)
                stops_text[i][j] = (char)('a' + rng_below(&rng, 2));
            stops_text[i][n] = '\0';
            stops[i] = stops_text[i];
        }
        for (uint32_t i = 0; i < len; i++)
            text[i] = (char)('a' + rng_below(&rng, 3));
        size_t end = 0, cut = len; /* reference: the first prefix of the text that ends with a stop */
        bool found = false;
        for (; end <= len && !found; end++)
            for (uint32_t i = 0; i < n_stops; i++)
                if (ends_with(text, end, stops[i])) {
                    size_t before = end - strlen(stops[i]);
                    cut = found && cut < before ? cut : before;
                    found = true;
                }
        struct fixture f;
        int got = -1;
        set_up(&f, stops, n_stops);
        for (uint32_t at = 0; at < len && got < 0;) {
            uint32_t n = 1 + rng_below(&rng, 7);
            n = n > len - at ? len - at : n;
            got = engine_stop_put(&f.stop, text + at, n, false, &f.out);
            at += n;
        }
        if (got < 0)
            engine_stop_end(&f.stop, &f.out);
        assert_int_equal(got >= 0, found);
        assert_int_equal(f.out.len, cut);
        assert_memory_equal(buf_str(&f.out), text, cut);
        buf_fini(&f.out);
    }
}

int stop_test(void);
int stop_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crosses_borders),
        cmocka_unit_test(first_complete_wins),
        cmocka_unit_test(releases_early),
        cmocka_unit_test(any_cut_gives_the_same),
    };
    return cmocka_run_group_tests_name("engine/stop", tests, NULL, NULL);
}
