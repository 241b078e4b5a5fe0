/* The prefix index: hits are exact, the salt separates, victims are the oldest leaves, duplicates join. */
#include "unit/test.h"

#include "kv/prefix.h"
#include "kv/seq.h"

enum { B = 4 };

struct fixture {
    struct kv_pool *pool;
    struct kv_prefix *prefix;
    struct kv_key root;
    kv_block table[8][16];
};

static void set_up(struct fixture *f, uint32_t n_blocks, bool off)
{
    memset(f, 0, sizeof *f);
    assert_int_equal(kv_pool_create(&f->pool, n_blocks, 64), 0);
    struct kv_prefix_params params = { .pool = f->pool, .block_len = B, .seed = 9, .off = off,
                                       .policy = "lru" };
    assert_int_equal(kv_prefix_create(&f->prefix, &params), 0);
    f->root = kv_prefix_root(f->prefix, "m", 1);
}

static void tear_down(struct fixture *f)
{
    kv_prefix_check(f->prefix);
    kv_prefix_destroy(f->prefix);
    kv_pool_destroy(f->pool);
}

/* Matches, reserves and computes all of ids; the number of hit blocks, or E_FULL with nothing held. */
static int run(struct fixture *f, struct kv_seq *s, int slot, const int32_t *ids, uint32_t n)
{
    kv_seq_init(s, f->prefix, f->root, f->table[slot], 16);
    uint32_t hit = kv_seq_match(s, ids, n);
    int rc = kv_seq_reserve(s, n - hit);
    if (rc == 0)
        kv_seq_advance(s, ids, n - hit);
    else
        kv_seq_release(s);
    kv_seq_check(s);
    kv_prefix_check(f->prefix);
    return rc < 0 ? rc : (int)(hit / B);
}

static void count_up(int32_t *ids, uint32_t n, int32_t first)
{
    for (uint32_t i = 0; i < n; i++)
        ids[i] = first + (int32_t)i;
}

/* serving_vectors.json, block_manager: five allocations over eight blocks of four tokens. Block numbers
 * differ (a stack instead of a queue), hits and failures may not. */
static void follows_the_block_manager_vector(void **state)
{
    (void)state;
    struct fixture f;
    struct kv_seq a, b, c, d, e;
    set_up(&f, 8, false);
    int32_t ids_a[14], ids_b[14], ids_d[12];
    count_up(ids_a, 14, 0);
    count_up(ids_b, 8, 0);
    count_up(ids_b + 8, 6, 20);
    count_up(ids_d, 12, 50);
    assert_int_equal(run(&f, &a, 0, ids_a, 14), 0);
    assert_int_equal(kv_prefix_published_count(f.prefix), 3);
    kv_seq_release(&a);
    assert_int_equal(kv_prefix_available(f.prefix), 8);
    assert_int_equal(run(&f, &b, 1, ids_b, 14), 2);
    assert_int_equal(run(&f, &c, 2, ids_a, 14), 3);
    assert_int_equal(kv_prefix_published_count(f.prefix), 4);
    assert_int_equal(run(&f, &d, 3, ids_d, 12), E_FULL);
    assert_int_equal(kv_prefix_available(f.prefix), 2);
    kv_seq_release(&b);
    assert_int_equal(run(&f, &d, 3, ids_d, 12), 0);
    assert_int_equal(kv_prefix_published_count(f.prefix), 7);
    assert_int_equal(kv_prefix_evictions(f.prefix), 0);       /* partial blocks were free first */
    assert_int_equal(run(&f, &e, 4, ids_b, 12), 2);           /* 12 tokens: at most two hits */
    assert_int_equal(kv_prefix_evictions(f.prefix), 1);
    assert_int_equal(kv_prefix_published_count(f.prefix), 7); /* and known again: same tokens */
    kv_seq_release(&c);
    kv_seq_release(&d);
    kv_seq_release(&e);
    tear_down(&f);
}

static void never_hits_the_whole_prompt(void **state)
{
    (void)state;
    struct fixture f;
    struct kv_seq a, b;
    int32_t ids[16];
    set_up(&f, 16, false);
    count_up(ids, 16, 0);
    for (uint32_t n = 1; n <= 16; n++) {
        assert_true(run(&f, &a, 0, ids, 16) >= 0);
        assert_int_equal(run(&f, &b, 1, ids, n), (n - 1) / B);
        kv_seq_release(&a);
        kv_seq_release(&b);
    }
    tear_down(&f);
}

static void separates_salts_and_positions(void **state)
{
    (void)state;
    struct fixture f;
    struct kv_seq a, b;
    int32_t ids[12], shifted[12];
    set_up(&f, 16, false);
    count_up(ids, 12, 0);
    count_up(shifted, 4, 4); /* block 1 of ids as block 0: not the same state */
    count_up(shifted + 4, 8, 0);
    assert_int_equal(run(&f, &a, 0, ids, 12), 0);
    assert_int_equal(run(&f, &b, 1, shifted, 12), 0);
    kv_seq_release(&b);
    f.root = kv_prefix_root(f.prefix, "n", 1);
    assert_int_equal(run(&f, &b, 1, ids, 12), 0);
    kv_seq_release(&b);
    f.root = kv_prefix_root(f.prefix, "m", 1);
    assert_int_equal(run(&f, &b, 1, ids, 12), 2);
    kv_seq_release(&b);
    kv_seq_release(&a);
    tear_down(&f);
}

static void joins_duplicates(void **state)
{
    (void)state;
    struct fixture f;
    struct kv_seq a, b;
    int32_t ids[9];
    set_up(&f, 8, false);
    count_up(ids, 9, 0);
    kv_seq_init(&a, f.prefix, f.root, f.table[0], 16);
    kv_seq_init(&b, f.prefix, f.root, f.table[1], 16);
    assert_int_equal(kv_seq_reserve(&a, 9), 0);
    assert_int_equal(kv_seq_reserve(&b, 9), 0); /* both compute the same at once */
    kv_seq_advance(&a, ids, 9);
    kv_seq_advance(&b, ids, 9);
    assert_int_equal(a.blocks[0], b.blocks[0]);
    assert_int_equal(a.blocks[1], b.blocks[1]);
    assert_int_not_equal(a.blocks[2], b.blocks[2]);
    assert_int_equal(kv_prefix_available(f.prefix), 8 - 4);
    kv_prefix_check(f.prefix);
    kv_seq_release(&a);
    kv_seq_release(&b);
    tear_down(&f);
}

static void evicts_the_oldest_tail_first(void **state)
{
    (void)state;
    struct fixture f;
    struct kv_seq a, b, c;
    int32_t ids_a[9], ids_b[9], ids_c[8];
    set_up(&f, 6, false);
    count_up(ids_a, 9, 0);
    count_up(ids_b, 9, 100);
    count_up(ids_c, 8, 200);
    assert_int_equal(run(&f, &a, 0, ids_a, 9), 0);
    kv_seq_release(&a); /* idle: a1 older than a0 */
    assert_int_equal(run(&f, &b, 1, ids_b, 9), 0);
    kv_seq_release(&b);
    assert_int_equal(run(&f, &c, 2, ids_c, 8), 0); /* two free blocks were left: no victim */
    assert_int_equal(kv_prefix_evictions(f.prefix), 0);
    assert_int_equal(run(&f, &a, 0, ids_a, 5), 1);  /* takes a0, evicts a1 for its second block */
    assert_int_equal(kv_prefix_evictions(f.prefix), 1);
    kv_seq_release(&a);
    assert_int_equal(run(&f, &b, 1, ids_b, 9), 2);  /* b is whole: a1 was the oldest */
    kv_seq_release(&b);
    kv_seq_release(&c);
    tear_down(&f);
}

static void off_shares_nothing(void **state)
{
    (void)state;
    struct fixture f;
    struct kv_seq a;
    int32_t ids[12];
    set_up(&f, 4, true);
    count_up(ids, 12, 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(run(&f, &a, 0, ids, 12), 0);
        kv_seq_release(&a);
        assert_int_equal(kv_pool_free_count(f.pool), 4);
    }
    tear_down(&f);
}

static void peeks_without_taking(void **state)
{
    (void)state;
    struct fixture f;
    struct kv_seq a, b;
    int32_t ids[13];
    uint32_t n_idle = 9;
    set_up(&f, 16, false);
    count_up(ids, 13, 0);
    assert_int_equal(kv_prefix_peek(f.prefix, f.root, ids, 3, &n_idle), 0);
    assert_int_equal(n_idle, 0);
    assert_int_equal(run(&f, &a, 0, ids, 13), 0);
    kv_seq_release(&a);
    assert_int_equal(run(&f, &b, 1, ids, 8), 1);
    assert_int_equal(kv_prefix_peek(f.prefix, f.root, ids, 3, &n_idle), 3);
    assert_int_equal(n_idle, 1); /* b holds the first, and joined the second when it computed it */
    kv_seq_release(&b);
    kv_prefix_forget(f.prefix);
    assert_int_equal(kv_prefix_peek(f.prefix, f.root, ids, 3, &n_idle), 0);
    assert_int_equal(kv_pool_free_count(f.pool), 16);
    tear_down(&f);
}

static uint64_t fake_now_ns(void *ctx) { return *(const uint64_t *)ctx; }

/* A chat comes back each 20 s between prompts that never do: lru forgets it, naru learns to keep it. */
static uint32_t chat_between_documents(const char *policy)
{
    struct fixture f = { 0 };
    uint64_t now_ns = 0;
    struct clock clock = { .now_ns = fake_now_ns, .ctx = &now_ns };
    assert_int_equal(kv_pool_create(&f.pool, 16, 64), 0);
    struct kv_prefix_params params = { .pool = f.pool, .block_len = B, .seed = 9,
                                       .policy = policy, .clock = &clock };
    assert_int_equal(kv_prefix_create(&f.prefix, &params), 0);
    f.root = kv_prefix_root(f.prefix, "m", 1);
    uint32_t hits = 0;
    for (int32_t n = 0; n < 600; n++) {
        struct kv_seq s;
        int32_t ids[17];
        bool chat = n % 10 == 0;
        count_up(ids, 17, chat ? 0 : 100 * n);
        int rc = run(&f, &s, 0, ids, chat ? 9 : 17);
        assert_true(rc >= 0);
        hits += chat ? (uint32_t)rc : 0;
        kv_seq_release(&s);
        kv_prefix_check(f.prefix);
        now_ns += 2000000000;
    }
    tear_down(&f);
    return hits;
}

static void the_policy_decides(void **state)
{
    (void)state;
    assert_int_equal(chat_between_documents("lru"), 0);
    assert_true(chat_between_documents(NULL) > 60); /* of 118 */
}

static void refuses_policies_that_cannot_wait_for_leaves(void **state)
{
    (void)state;
    struct kv_pool *pool;
    struct kv_prefix *prefix;
    assert_int_equal(kv_pool_create(&pool, 4, 64), 0);
    struct kv_prefix_params params = { .pool = pool, .block_len = B, .policy = "s3fifo" };
    assert_int_equal(kv_prefix_create(&prefix, &params), E_UNSUPPORTED);
    params.policy = "mru";
    assert_int_equal(kv_prefix_create(&prefix, &params), E_NOT_FOUND);
    kv_pool_destroy(pool);
}

int prefix_test(void);
int prefix_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_block_manager_vector),
        cmocka_unit_test(never_hits_the_whole_prompt),
        cmocka_unit_test(separates_salts_and_positions),
        cmocka_unit_test(joins_duplicates),
        cmocka_unit_test(evicts_the_oldest_tail_first),
        cmocka_unit_test(off_shares_nothing),
        cmocka_unit_test(peeks_without_taking),
        cmocka_unit_test(the_policy_decides),
        cmocka_unit_test(refuses_policies_that_cannot_wait_for_leaves),
    };
    return cmocka_run_group_tests_name("kv/prefix", tests, NULL, NULL);
}
