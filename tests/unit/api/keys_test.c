/* Goal: a key is recognised in full or not at all, limits hold for any sixty seconds, what is used is counted
 * once, and a file that is no file of keys changes nothing. */
#include "unit/test.h"

#include <stdio.h>
#include <unistd.h>

#include "api/keys.h"
#include "api/quota.h"
#include "base/mem.h"
#include "os/file.h"

static struct {
    uint64_t ns;
} virtual;

static uint64_t now_ns(UNUSED void *ctx) { return virtual.ns; }
static int64_t wall_s(UNUSED void *ctx) { return 1000000 + (int64_t)(virtual.ns / 1000000000u); }
static const struct clock clock_virtual = { now_ns, wall_s, NULL };

static void key_text(UNUSED void **state)
{
    char text[API_KEY_LEN + 1], id[API_KEY_ID_LEN + 1], found[API_KEY_ID_LEN + 1];
    struct api_key_hash hash;
    struct err err;
    assert_int_equal(api_key_make(text, id, &hash, &err), 0);
    assert_int_equal(strlen(text), API_KEY_LEN);
    assert_true(api_key_parse(text, API_KEY_LEN, found));
    assert_string_equal(found, id);
    assert_true(api_key_matches(text, API_KEY_LEN, &hash));
    for (size_t i = 0; i < API_KEY_LEN; i++) { /* every digit counts */
        char kept = text[i];
        text[i] = kept == 'a' ? 'b' : 'a';
        assert_false(api_key_parse(text, API_KEY_LEN, found));
        assert_false(api_key_matches(text, API_KEY_LEN, &hash));
        text[i] = kept;
        assert_false(api_key_parse(text, i, found));
    }
}

static void any_sixty_seconds(UNUSED void **state)
{
    struct api_window w = { 0 };
    api_window_add(&w, 100, 3);
    api_window_add(&w, 130, 2);
    assert_int_equal(api_window_sum(&w, 159), 5);
    assert_int_equal(api_window_sum(&w, 160), 2);
    assert_int_equal(api_window_sum(&w, 189), 2);
    assert_int_equal(api_window_sum(&w, 190), 0);
    api_window_add(&w, 200, 4);
    api_window_add(&w, 210, 4);
    assert_int_equal(api_window_wait(&w, 215, 8), 0);
    assert_int_equal(api_window_wait(&w, 215, 7), 45);
    assert_int_equal(api_window_wait(&w, 215, 3), 55);
    assert_int_equal(api_window_sum(&w, 1u << 30), 0);
}

struct world {
    char path[64];
    struct api_key_db *db;
    struct api_keys *keys;
    struct api_key *key;
};

static void open_world(struct world *w, const struct api_key_row *row)
{
    struct err err = { 0 };
    struct api_key_new new = { .row = *row };
    struct api_keys_params p = { .path = w->path, .clock = clock_virtual };
    virtual.ns = 100000000000;
    snprintf(w->path, sizeof w->path, "/tmp/naru-keys-%d.db", (int)getpid());
    unlink(w->path);
    assert_int_equal(api_key_db_open(&w->db, w->path, &err), 0);
    assert_int_equal(api_key_db_add(w->db, &new, wall_s(NULL), &err), 0);
    assert_int_equal(api_keys_create(&w->keys, &p, &err), 0);
    w->key = api_keys_find(w->keys, new.text, API_KEY_LEN);
    assert_non_null(w->key);
}

static void close_world(struct world *w)
{
    char side[80];
    api_keys_destroy(w->keys);
    api_key_db_close(w->db);
    unlink(w->path);
    snprintf(side, sizeof side, "%s-wal", w->path);
    unlink(side);
    snprintf(side, sizeof side, "%s-shm", w->path);
    unlink(side);
}

static int add_up(void *ctx, const struct api_key_usage *u)
{
    struct api_key_usage *sum = ctx;
    sum->requests += u->requests;
    sum->failed += u->failed;
    sum->prompt += u->prompt;
    sum->completion += u->completion;
    return 0;
}

static void limits_and_usage(UNUSED void **state)
{
    struct world w;
    struct api_key_rate rate;
    struct err err = { 0 };
    struct api_key_row row = { .name = "a", .requests_per_min = 3, .tokens_per_min = 100,
                               .concurrent = 2 };
    const struct api_key_usage used = { .requests = 1, .prompt = 10, .completion = 5 };
    open_world(&w, &row);
    assert_string_equal(api_key_tenant(w.key), "a");
    assert_int_equal(api_key_begin(w.keys, w.key, &rate, &err), 0);
    assert_int_equal(rate.left_requests, 2);
    assert_int_equal(api_key_reserve(w.keys, w.key, 101, &rate, &err), E_BUSY);
    assert_int_equal(rate.retry_s, 0); /* never */
    assert_int_equal(api_key_reserve(w.keys, w.key, 60, &rate, &err), 0);
    assert_int_equal(rate.left_tokens, 40);
    assert_int_equal(api_key_begin(w.keys, w.key, &rate, &err), 0);
    assert_int_equal(api_key_reserve(w.keys, w.key, 41, &rate, &err), E_BUSY);
    assert_true(rate.retry_s >= 1);
    assert_int_equal(api_key_begin(w.keys, w.key, &rate, &err), E_BUSY); /* two at a time */
    api_key_end(w.keys, w.key, 60, &used);
    api_key_end(w.keys, w.key, 0, &used);
    virtual.ns += 10000000000;
    assert_int_equal(api_key_begin(w.keys, w.key, &rate, &err), 0);
    assert_int_equal(rate.left_tokens, 70); /* 60 were given back, 30 used */
    api_key_end(w.keys, w.key, 0, &used);
    assert_int_equal(api_key_begin(w.keys, w.key, &rate, &err), E_BUSY); /* three a minute */
    assert_int_equal(rate.retry_s, 50);
    virtual.ns += 50000000000;
    assert_int_equal(api_key_begin(w.keys, w.key, &rate, &err), 0);
    api_key_end(w.keys, w.key, 0, &used);
    api_keys_destroy(w.keys);
    w.keys = NULL;
    struct api_key_usage sum = { 0 };
    assert_int_equal(api_key_db_usage(w.db, 0, add_up, &sum, &err), 0);
    assert_true(sum.requests == 4 && sum.prompt == 40 && sum.completion == 20 && sum.failed == 0);
    close_world(&w);
}

static void keys_end(UNUSED void **state)
{
    struct world w;
    struct err err = { 0 };
    struct api_key_row row = { .name = "a", .tenant = "t", .role = API_KEY_AUDITOR };
    struct api_key_new next = { 0 };
    row.expires = 1000000 + 200; /* in 100 s */
    open_world(&w, &row);
    assert_int_equal(api_keys_count(w.keys), 1);
    virtual.ns += 100000000000;
    assert_int_equal(api_keys_count(w.keys), 0);
    const char *id = api_key_id(w.key);
    assert_int_equal(api_key_db_rotate(w.db, id, wall_s(NULL), 0, &next, &err), E_USAGE);
    virtual.ns -= 100000000000;
    assert_int_equal(api_key_db_rotate(w.db, id, wall_s(NULL), 5, &next, &err), 0);
    assert_string_equal(next.row.tenant, "t");
    assert_int_equal(next.row.role, API_KEY_AUDITOR);
    assert_int_equal(api_key_db_revoke(w.db, "nobody", 1, &err), E_NOT_FOUND);
    struct api_key_new bad = { .row = { .name = "a b" } };
    assert_int_equal(api_key_db_add(w.db, &bad, 1, &err), E_RANGE);
    close_world(&w);
}

static void other_files_are_refused(UNUSED void **state)
{
    char path[64];
    struct err err = { 0 };
    struct api_key_db *db;
    static const char text[] = "this is a letter and no database, long enough to have a header of it";
    snprintf(path, sizeof path, "/tmp/naru-nokeys-%d", (int)getpid());
    assert_int_equal(os_write_file(path, text, sizeof text, &err), 0);
    assert_int_equal(api_key_db_open(&db, path, &err), E_FORMAT);
    char *back;
    size_t len;
    assert_int_equal(os_read_file(path, 4096, &back, &len, &err), 0);
    assert_int_equal(len, sizeof text);
    assert_memory_equal(back, text, len);
    mem_free(back);
    unlink(path);
    assert_int_equal(api_key_db_open(&db, "/nonexistent/folder/keys.db", &err), E_IO);
}

int keys_test(void);
int keys_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(key_text),         cmocka_unit_test(any_sixty_seconds),
        cmocka_unit_test(limits_and_usage), cmocka_unit_test(keys_end),
        cmocka_unit_test(other_files_are_refused),
    };
    return cmocka_run_group_tests_name("keys", tests, NULL, NULL);
}
