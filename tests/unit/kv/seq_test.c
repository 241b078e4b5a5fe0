/* Block tables: copy on write keeps every sequence's rows its own; 10,000 random forks, joins, appends,
 * truncations and releases over a small pool, contents checked against a plain model. */
#include "unit/test.h"

#include "base/rng.h"
#include "kv/seq.h"

enum { B = 4, N_SEQS = 6, CAP = 10, ROWS = CAP * B, N_BLOCKS = 24, ROW = sizeof(int32_t) * 2 };

struct world {
    struct kv_pool *pool;
    struct kv_prefix *prefix;
    struct kv_seq seqs[N_SEQS];
    kv_block tables[N_SEQS][CAP];
    int32_t ids[N_SEQS][ROWS]; /* the model: what each sequence should read back */
};

static void world_init(struct world *w, bool off)
{
    memset(w, 0, sizeof *w);
    assert_int_equal(kv_pool_create(&w->pool, N_BLOCKS, B * ROW), 0);
    struct kv_prefix_params params = { .pool = w->pool, .block_len = B, .seed = 1, .off = off };
    assert_int_equal(kv_prefix_create(&w->prefix, &params), 0);
    struct kv_key root = kv_prefix_root(w->prefix, NULL, 0);
    for (int i = 0; i < N_SEQS; i++)
        kv_seq_init(&w->seqs[i], w->prefix, root, w->tables[i], CAP);
}

static void world_fini(struct world *w)
{
    for (int i = 0; i < N_SEQS; i++)
        kv_seq_release(&w->seqs[i]);
    kv_prefix_check(w->prefix);
    assert_int_equal(kv_prefix_available(w->prefix), N_BLOCKS);
    kv_prefix_destroy(w->prefix);
    kv_pool_destroy(w->pool);
}

static int32_t *row_of(struct world *w, const struct kv_seq *s, uint32_t row)
{
    return (int32_t *)(void *)(kv_pool_slab(w->pool) + s->blocks[row / B] * (size_t)(B * ROW) +
                               row % B * ROW);
}

/* Plays the forward pass: row t holds {id, hash of everything before}, as real state does. */
static int append(struct world *w, int i, const int32_t *new_ids, uint32_t n)
{
    struct kv_seq *s = &w->seqs[i];
    uint32_t have = s->n_rows;
    int rc = kv_seq_reserve(s, n);
    if (rc < 0)
        return rc;
    memcpy(w->ids[i] + have, new_ids, n * sizeof *new_ids);
    int32_t chain = have > 0 ? row_of(w, s, have - 1)[1] : 7;
    for (uint32_t t = have; t < have + n; t++) {
        chain = (int32_t)((uint32_t)chain * 31u + (uint32_t)w->ids[i][t]);
        row_of(w, s, t)[0] = w->ids[i][t];
        row_of(w, s, t)[1] = chain;
    }
    kv_seq_advance(s, w->ids[i], n);
    return 0;
}

static void verify(struct world *w)
{
    kv_prefix_check(w->prefix);
    for (int i = 0; i < N_SEQS; i++) {
        const struct kv_seq *s = &w->seqs[i];
        int32_t chain = 7;
        kv_seq_check(s);
        for (uint32_t t = 0; t < s->n_rows; t++) {
            chain = (int32_t)((uint32_t)chain * 31u + (uint32_t)w->ids[i][t]);
            assert_int_equal(row_of(w, s, t)[0], w->ids[i][t]);
            assert_int_equal(row_of(w, s, t)[1], chain);
        }
    }
}

static void grows_and_refuses(void **state)
{
    (void)state;
    struct world w;
    int32_t ids[ROWS + 1] = { 0 };
    world_init(&w, false);
    for (int i = 0; i <= ROWS; i++)
        ids[i] = i;
    assert_int_equal(kv_seq_blocks_needed(&w.seqs[0], 1), 1);
    assert_int_equal(append(&w, 0, ids, ROWS + 1), E_RANGE);
    assert_int_equal(append(&w, 0, ids, ROWS), 0);
    assert_int_equal(kv_seq_blocks_needed(&w.seqs[0], 0), 0);
    for (int i = 0; i < ROWS; i++)
        ids[i] += 1000;
    assert_int_equal(append(&w, 1, ids, ROWS), 0);
    assert_int_equal(append(&w, 2, ids + 1, 4 * B + 1), E_FULL); /* 24 - 20 are left: one short */
    assert_int_equal(w.seqs[2].n_blocks, 0);                      /* all or nothing */
    assert_int_equal(append(&w, 2, ids + 1, 4 * B), 0);
    verify(&w);
    world_fini(&w);
}

static void copies_a_shared_partial_block(void **state)
{
    (void)state;
    struct world w;
    const int32_t ids[] = { 1, 2, 3, 4, 5, 6 }, left[] = { 70 }, right[] = { 80, 81, 82 };
    world_init(&w, false);
    assert_int_equal(append(&w, 0, ids, 6), 0);
    kv_seq_fork(&w.seqs[1], &w.seqs[0]);
    memcpy(w.ids[1], w.ids[0], sizeof w.ids[0]);
    assert_int_equal(w.seqs[1].blocks[1], w.seqs[0].blocks[1]);
    assert_int_equal(kv_seq_blocks_needed(&w.seqs[0], 1), 1); /* the copy */
    assert_int_equal(append(&w, 0, left, 1), 0);
    assert_int_not_equal(w.seqs[1].blocks[1], w.seqs[0].blocks[1]);
    assert_int_equal(w.seqs[1].blocks[0], w.seqs[0].blocks[0]);
    assert_int_equal(kv_seq_blocks_needed(&w.seqs[1], 2), 0); /* alone now: no copy */
    assert_int_equal(append(&w, 1, right, 3), 0);
    verify(&w);
    world_fini(&w);
}

static void rolls_back_into_a_published_block(void **state)
{
    (void)state;
    struct world w;
    const int32_t ids[] = { 1, 2, 3, 4, 5, 6, 7, 8 }, other[] = { 60, 70, 80 };
    world_init(&w, false);
    assert_int_equal(append(&w, 0, ids, 8), 0);
    kv_seq_truncate(&w.seqs[0], 5); /* row 5 lies inside published block 1 */
    verify(&w);
    assert_int_equal(append(&w, 0, other, 3), 0);
    verify(&w);
    assert_int_equal(kv_prefix_published_count(w.prefix), 3); /* both futures are known */
    memcpy(w.ids[1], ids, sizeof ids);
    assert_int_equal(kv_seq_match(&w.seqs[1], ids, 8), 4);
    verify(&w);
    world_fini(&w);
}

static void step(struct world *w, struct rng *rng)
{
    int i = (int)rng_below(rng, N_SEQS), j = (int)rng_below(rng, N_SEQS);
    struct kv_seq *s = &w->seqs[i];
    int32_t ids[ROWS];
    uint32_t n = 1 + rng_below(rng, 2 * B), op = rng_below(rng, 8);
    for (int k = 0; k < ROWS; k++)
        ids[k] = (int32_t)rng_below(rng, 2); /* few tokens: many equal prefixes */
    if (op < 4) {
        uint32_t need = kv_seq_blocks_needed(s, n), room = kv_prefix_available(w->prefix);
        bool fits = s->n_rows + n <= ROWS;
        assert_int_equal(append(w, i, ids, n), !fits ? E_RANGE : need > room ? E_FULL : 0);
    } else if (op == 4 && i != j && w->seqs[j].n_rows > 0) {
        kv_seq_release(s);
        kv_seq_fork(s, &w->seqs[j]);
        memcpy(w->ids[i], w->ids[j], sizeof w->ids[i]);
    } else if (op == 5) {
        kv_seq_truncate(s, rng_below(rng, s->n_rows + 1));
    } else if (op == 6) {
        kv_seq_release(s);
        memcpy(w->ids[i], ids, sizeof ids);
        assert_true(kv_seq_match(s, ids, n + B) < n + B);
    } else if (op == 7) {
        kv_seq_release(s);
    }
}

static void walk(bool off, uint64_t seed)
{
    struct world w;
    struct rng rng;
    world_init(&w, off);
    rng_seed(&rng, seed);
    for (int k = 0; k < 10000; k++) {
        step(&w, &rng);
        verify(&w);
    }
    world_fini(&w);
}

static void walks_at_random(void **state)
{
    (void)state;
    walk(false, 20261123);
}

static void walks_at_random_without_sharing(void **state)
{
    (void)state;
    walk(true, 20261124);
}

int seq_test(void);
int seq_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_and_refuses),
        cmocka_unit_test(copies_a_shared_partial_block),
        cmocka_unit_test(rolls_back_into_a_published_block),
        cmocka_unit_test(walks_at_random),
        cmocka_unit_test(walks_at_random_without_sharing),
    };
    return cmocka_run_group_tests_name("kv/seq", tests, NULL, NULL);
}
