/* The pool: every block once, full and full+1, counts, and a long random walk against a model. */
#include "unit/test.h"

#include <stdbool.h>

#include "base/rng.h"
#include "kv/pool.h"

static void takes_every_block_once(void **state)
{
    (void)state;
    struct kv_pool *pool = NULL;
    assert_int_equal(kv_pool_create(&pool, 5, 100), 0);
    bool seen[5] = { false };
    kv_block b = KV_BLOCK_NONE;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(kv_pool_take(pool, &b), 0);
        assert_true(b < 5 && !seen[b]);
        seen[b] = true;
        memset(kv_pool_slab(pool) + b * 100, i, 100);
    }
    b = 77;
    assert_int_equal(kv_pool_take(pool, &b), E_FULL);
    assert_int_equal(b, 77); /* untouched on failure */
    for (kv_block i = 0; i < 5; i++)
        kv_pool_unref(pool, i);
    assert_int_equal(kv_pool_free_count(pool), 5);
    kv_pool_check(pool);
    kv_pool_destroy(pool);
}

static void reuses_the_block_freed_last(void **state)
{
    (void)state;
    struct kv_pool *pool = NULL;
    kv_block a = 0, b = 0, c = 0;
    assert_int_equal(kv_pool_create(&pool, 4, 64), 0);
    assert_int_equal(kv_pool_take(pool, &a), 0);
    assert_int_equal(kv_pool_take(pool, &b), 0);
    kv_pool_ref(pool, a);
    kv_pool_unref(pool, a);
    assert_int_equal(kv_pool_refs(pool, a), 1); /* still held once */
    kv_pool_unref(pool, a);
    assert_int_equal(kv_pool_take(pool, &c), 0);
    assert_int_equal(c, a);
    kv_pool_unref(pool, b);
    kv_pool_unref(pool, c);
    kv_pool_destroy(pool);
}

static void refuses_what_cannot_be(void **state)
{
    (void)state;
    struct kv_pool *pool = NULL;
    assert_int_equal(kv_pool_create(&pool, 0, 64), E_RANGE);
    assert_int_equal(kv_pool_create(&pool, 1, 0), E_RANGE);
    assert_int_equal(kv_pool_create(&pool, UINT32_MAX, 64), E_RANGE);
    assert_int_equal(kv_pool_create(&pool, 1u << 30, SIZE_MAX / 2), E_RANGE);
    assert_null(pool);
    kv_pool_destroy(NULL);
}

static void walks_at_random(void **state)
{
    (void)state;
    enum { N = 37, STEPS = 10000 };
    struct kv_pool *pool = NULL;
    struct rng rng;
    uint32_t refs[N] = { 0 }, n_used = 0;
    rng_seed(&rng, 4711);
    assert_int_equal(kv_pool_create(&pool, N, 64), 0);
    for (int i = 0; i < STEPS; i++) {
        kv_block b = rng_below(&rng, N);
        uint32_t op = rng_below(&rng, 3);
        if (op == 0) {
            int rc = kv_pool_take(pool, &b);
            assert_int_equal(rc, n_used == N ? E_FULL : 0);
            if (rc == 0) {
                assert_int_equal(refs[b], 0);
                refs[b] = 1;
                n_used++;
            }
        } else if (op == 1 && refs[b] > 0) {
            kv_pool_ref(pool, b);
            refs[b]++;
        } else if (op == 2 && refs[b] > 0) {
            kv_pool_unref(pool, b);
            n_used -= --refs[b] == 0;
        }
        assert_int_equal(kv_pool_refs(pool, b), refs[b]);
        assert_int_equal(kv_pool_free_count(pool), N - n_used);
        kv_pool_check(pool);
    }
    for (kv_block b = 0; b < N; b++)
        while (refs[b]-- > 0)
            kv_pool_unref(pool, b);
    kv_pool_destroy(pool);
}

int pool_test(void);
int pool_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_every_block_once),
        cmocka_unit_test(reuses_the_block_freed_last),
        cmocka_unit_test(refuses_what_cannot_be),
        cmocka_unit_test(walks_at_random),
    };
    return cmocka_run_group_tests_name("kv/pool", tests, NULL, NULL);
}
