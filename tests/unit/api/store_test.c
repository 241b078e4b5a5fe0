/* Goal: kept answers are found by their tenant only, and number and size are bounds: the oldest leaves. */
#include "unit/test.h"

#include <stdio.h>

#include "api/store.h"

static bool put(struct api_store *s, const char *id, const char *tenant, size_t bytes)
{
    static char text[4096];
    memset(text, 'x', sizeof text);
    struct api_store_entry e = { .id = id, .tenant = tenant,
                                 .texts = { { text, bytes }, { "[]", 2 }, { "{}", 2 } } };
    return api_store_put(s, &e);
}

static int get(struct api_store *s, const char *id, const char *tenant, enum api_stored what)
{
    struct buf out;
    buf_init(&out, 1u << 16);
    int rc = api_store_get(s, id, tenant, what, &out);
    int len = (int)out.len;
    buf_fini(&out);
    return rc < 0 ? rc : len;
}

static void found_by_their_tenant(UNUSED void **state)
{
    struct api_store *s;
    assert_int_equal(api_store_create(&s, 3, 1u << 20), 0);
    assert_true(put(s, "a", "t", 10));
    assert_int_equal(get(s, "a", "t", API_STORED_RESPONSE), 10);
    assert_int_equal(get(s, "a", "t", API_STORED_INPUT), 2);
    assert_int_equal(get(s, "a", "u", API_STORED_RESPONSE), E_NOT_FOUND);
    assert_int_equal(get(s, "b", "t", API_STORED_RESPONSE), E_NOT_FOUND);
    assert_int_equal(api_store_delete(s, "a", "u"), E_NOT_FOUND);
    assert_int_equal(api_store_delete(s, "a", "t"), 0);
    assert_int_equal(api_store_delete(s, "a", "t"), E_NOT_FOUND);
    api_store_destroy(s);
}

static void the_oldest_leaves(UNUSED void **state)
{
    struct api_store *s;
    char id[8];
    assert_int_equal(api_store_create(&s, 3, 1000), 0);
    for (int i = 0; i < 10; i++) {
        snprintf(id, sizeof id, "r%d", i);
        assert_true(put(s, id, "", 10));
    }
    assert_int_equal(get(s, "r6", "", API_STORED_RESPONSE), E_NOT_FOUND);
    assert_int_equal(get(s, "r7", "", API_STORED_RESPONSE), 10);
    assert_int_equal(api_store_delete(s, "r8", ""), 0); /* from the middle of a ring that wrapped */
    assert_int_equal(get(s, "r7", "", API_STORED_RESPONSE), 10);
    assert_int_equal(get(s, "r9", "", API_STORED_RESPONSE), 10);
    assert_true(put(s, "big", "", 990)); /* needs all of the room */
    assert_int_equal(get(s, "r9", "", API_STORED_RESPONSE), E_NOT_FOUND);
    assert_int_equal(get(s, "big", "", API_STORED_RESPONSE), 990);
    assert_false(put(s, "huge", "", 1001));
    assert_int_equal(get(s, "big", "", API_STORED_RESPONSE), 990);
    api_store_destroy(s);
}

static void none_is_kept_if_none_may(UNUSED void **state)
{
    struct api_store *s;
    assert_int_equal(api_store_create(&s, 0, 1000), 0);
    assert_false(put(s, "a", "", 10));
    assert_int_equal(get(s, "a", "", API_STORED_RESPONSE), E_NOT_FOUND);
    api_store_destroy(s);
}

int store_test(void);
int store_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(found_by_their_tenant),
        cmocka_unit_test(the_oldest_leaves),
        cmocka_unit_test(none_is_kept_if_none_may),
    };
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
