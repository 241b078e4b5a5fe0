/* The ring: records arrive whole and in order, also around the end of the storage and across threads. */
#include "unit/test.h"

#include <pthread.h>
#include <sched.h>

#include "engine/ring.h"

enum { CAP = 64, RECORDS = 20000 };

static void full_and_one_more(void **state)
{
    (void)state;
    uint8_t bytes[16], out[16];
    struct engine_ring r;
    engine_ring_init(&r, bytes, sizeof bytes);
    assert_int_equal(engine_ring_get(&r, out, sizeof out), 0);
    struct engine_part exact = { "0123456789ab", 12 }, one = { "x", 1 };
    assert_true(engine_ring_put(&r, &exact, 1));
    assert_int_equal(engine_ring_room(&r), 0);
    assert_false(engine_ring_put(&r, &one, 1));
    assert_int_equal(engine_ring_get(&r, out, sizeof out), 12);
    assert_memory_equal(out, "0123456789ab", 12);
    for (int i = 0; i < 100; i++) { /* around the end, at every offset */
        struct engine_part two[] = { { "ab", 2 }, { "cde", 3 } };
        assert_true(engine_ring_put(&r, two, 2));
        assert_int_equal(engine_ring_get(&r, out, sizeof out), 5);
        assert_memory_equal(out, "abcde", 5);
    }
    assert_int_equal(engine_ring_room(&r), 16);
}

static void *write_all(void *ctx)
{
    struct engine_ring *r = ctx;
    uint8_t payload[20];
    for (uint32_t i = 0; i < RECORDS; i++) {
        uint32_t n = i % 17;
        memset(payload, (int)(i & 0xff), n);
        struct engine_part parts[] = { { &i, sizeof i }, { payload, n } };
        while (!engine_ring_put(r, parts, 2))
            sched_yield();
    }
    return NULL;
}

static void two_threads(void **state)
{
    (void)state;
    uint8_t bytes[CAP], out[CAP];
    struct engine_ring r;
    pthread_t writer;
    engine_ring_init(&r, bytes, CAP);
    assert_int_equal(pthread_create(&writer, NULL, write_all, &r), 0);
    for (uint32_t i = 0; i < RECORDS; i++) {
        size_t len = 0;
        uint32_t number = 0;
        while (len == 0) {
            len = engine_ring_get(&r, out, sizeof out);
            if (len == 0)
                sched_yield();
        }
        memcpy(&number, out, sizeof number);
        assert_int_equal(number, i);
        assert_int_equal(len, sizeof number + i % 17);
        for (size_t j = sizeof number; j < len; j++)
            assert_int_equal(out[j], i & 0xff);
    }
    assert_int_equal(pthread_join(writer, NULL), 0);
}

int ring_test(void);
int ring_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_and_one_more),
        cmocka_unit_test(two_threads),
    };
    return cmocka_run_group_tests_name("engine/ring", tests, NULL, NULL);
}
