/* The store on a disk in memory: round trips, restarts, every bit flipped, every call failing once, cleaning
 * under the budget, secrets, foreign files, a power loss at any moment. The right answer to a damaged block is
 * a miss; a wrong block ends the program (tests/fault/chain.h). */
#include "unit/test.h"

#include <errno.h>
#include <unistd.h>

#include "fault/chain.h"
#include "fault/memdisk.h"

enum { BYTES = 1500, BIG = 20000 };
static const uint8_t key_a[32] = { 7, 1, 2 }, key_b[32] = { 7, 1, 3 };

static struct kv_store *open_with(struct memdisk *m, const struct kv_store_params *more)
{
    struct kv_store_params p = *more;
    struct kv_store *s = NULL;
    struct err err = { 0 };
    p.disk = &m->disk;
    p.max_bytes = p.max_bytes == 0 ? 4u << 20 : p.max_bytes;
    if (kv_store_open(&s, &p, &err) != 0)
        fail_msg("%s", err.text);
    return s;
}

static struct kv_store *open_plain(struct memdisk *m)
{
    return open_with(m, &(struct kv_store_params){ .max_bytes = 0 });
}

static struct kv_store_stats stats_of(struct kv_store *s)
{
    struct kv_store_stats st;
    kv_store_stats(s, &st);
    return st;
}

static void finds_after_a_restart_what_was_committed(void **state)
{
    (void)state;
    for (int encrypted = 0; encrypted < 2; encrypted++) {
        struct memdisk *m = md_new(false);
        struct kv_store_params p = { .key = encrypted ? key_a : NULL };
        struct kv_store *s = open_with(m, &p);
        struct chain a, b;
        chain_make(&a, s, 1, 20);
        chain_make(&b, s, 2, 20);
        kv_store_name_model(s, 0xabcd, "toy model");
        assert_int_equal(chain_write(s, &a, 0, 12, BYTES), 0);
        assert_int_equal(kv_store_find(s, a.keys, 20), 0); /* nothing before commit */
        assert_int_equal(kv_store_commit(s), 0);
        assert_int_equal(chain_write(s, &b, 0, 5, BYTES), 0);
        assert_int_equal(kv_store_commit(s), 0);
        assert_int_equal(chain_write(s, &b, 5, 9, BYTES), 0); /* staged, never committed */
        assert_int_equal(chain_read(s, &a, 20, BYTES), 12);
        kv_store_check(s);
        kv_store_close(s);
        s = open_with(m, &p);
        assert_int_equal(chain_read(s, &a, 20, BYTES), 12);
        assert_int_equal(chain_read(s, &b, 20, BYTES), 5);
        struct kv_store_model_info info[2];
        assert_int_equal(kv_store_models(s, info, 2), 1);
        assert_string_equal(info[0].name, "toy model");
        assert_int_equal(info[0].n_blocks, 17);
        assert_int_equal(stats_of(s).verified, 17);
        assert_int_equal(stats_of(s).failed, 0);
        assert_int_equal(chain_write(s, &b, 5, 9, BYTES), 0); /* goes on in a new segment */
        assert_int_equal(kv_store_commit(s), 0);
        assert_int_equal(chain_read(s, &b, 20, BYTES), 9);
        assert_int_equal(kv_store_verify(s, NULL, NULL), 0);
        kv_store_check(s);
        kv_store_close(s);
        os_volume_close(&m->disk);
    }
}

static void refuses_orphans_and_twins(void **state)
{
    (void)state;
    struct memdisk *m = md_new(false);
    struct kv_store *s = open_plain(m);
    struct chain a;
    uint8_t data[BYTES] = { 0 };
    chain_make(&a, s, 1, 8);
    struct kv_record r = chain_record(&a, 1, data, BYTES);
    assert_int_equal(kv_store_stage(s, &r), E_NOT_FOUND);
    assert_int_equal(chain_write(s, &a, 0, 1, BYTES), 0);
    assert_int_equal(kv_store_stage(s, &r), 0); /* the parent is staged: that will do */
    assert_int_equal(kv_store_stage(s, &r), E_BUSY);
    assert_int_equal(kv_store_commit(s), 0);
    assert_int_equal(kv_store_stage(s, &r), E_BUSY);
    r.bytes = 10u << 20;
    r.key.bytes[0] ^= 1;
    assert_int_equal(kv_store_stage(s, &r), E_RANGE);
    assert_int_equal(stats_of(s).n_blocks, 2);
    kv_store_close(s);
    os_volume_close(&m->disk);
}

/* A right key with other tokens, parent, depth, codec or length is a miss. */
static void compares_more_than_the_key(void **state)
{
    (void)state;
    for (int what = 0; what < 5; what++) {
        struct memdisk *m = md_new(false);
        struct kv_store *s = open_plain(m);
        struct chain a;
        uint8_t data[BYTES + 1];
        chain_make(&a, s, 1, 3);
        assert_int_equal(chain_write(s, &a, 0, 3, BYTES), 0);
        assert_int_equal(kv_store_commit(s), 0);
        struct kv_record r = chain_record(&a, 1, data, BYTES);
        int32_t other[CHAIN_TOKENS];
        memcpy(other, r.ids, sizeof other);
        other[3]++;
        r.ids = what == 0 ? other : r.ids;
        r.parent.bytes[31] ^= what == 1;
        r.depth += what == 2;
        r.codec += what == 3;
        r.bytes += what == 4;
        memset(data, 0xee, sizeof data);
        assert_int_equal(kv_store_get(s, &r, 1), 0);
        assert_int_equal(r.rc, E_FORMAT);
        for (size_t i = 0; i < sizeof data; i++)
            assert_int_equal(data[i], 0xee);
        assert_int_equal(stats_of(s).failed, 1);
        assert_int_equal(stats_of(s).faults[what == 0 ? KV_FAULT_TOKENS : KV_FAULT_KEY], 1);
        kv_store_close(s);
        os_volume_close(&m->disk);
    }
}

/* Every bit of every file but STORE, one at a time: the store opens, and what it serves is right. */
static void survives_every_flipped_bit(void **state)
{
    (void)state;
    for (int encrypted = 0; encrypted < 2; encrypted++) {
        struct memdisk *m = md_new(false);
        struct kv_store_params p = { .key = encrypted ? key_a : NULL };
        struct kv_store *s = open_with(m, &p);
        struct chain a;
        chain_make(&a, s, 1, 3);
        assert_int_equal(chain_write(s, &a, 0, 2, 300), 0);
        assert_int_equal(kv_store_commit(s), 0);
        kv_store_close(s);
        uint64_t n_flips = 0, n_missed = 0;
        p.look = true;
        for (int i = 0; i < MD_FILES; i++) {
            struct md_file *f = &m->files[i];
            if (strstr(f->name, ".seg") == NULL && strstr(f->name, ".idx") == NULL)
                continue;
            /* the second record and all of the index; the heads of segment and index */
            bool seg = strstr(f->name, ".seg") != NULL;
            for (uint64_t bit = 0; bit < f->n_now * 8; bit++) {
                if (seg && bit >= 128 * 8 && bit < 8192 * 8)
                    bit = 8192 * 8;
                f->now[bit / 8] ^= (uint8_t)(1 << bit % 8);
                s = open_with(m, &p);
                uint32_t n = chain_read(s, &a, 3, 300);
                n_missed += n < 2;
                assert_true(n <= 2);
                if (seg && bit >= 8192 * 8) /* in the record: always detected */
                    assert_int_equal(n, 1);
                kv_store_close(s);
                f->now[bit / 8] ^= (uint8_t)(1 << bit % 8);
                n_flips++;
            }
        }
        assert_true(n_flips > 32768);
        assert_true(n_missed > 32768);
        os_volume_close(&m->disk);
    }
}

/* The n-th call fails, for all n until none does: nothing crashes, nothing wrong is served, nothing leaks. */
static void survives_every_failing_call(void **state)
{
    (void)state;
    const struct { unsigned kinds; int error; bool for_ever; } faults[] = {
        { MD_WRITE, EIO, false }, { MD_WRITE, ENOSPC, false }, { MD_WRITE, EIO, true },
        { MD_SYNC, EIO, false },  { MD_SYNC, EIO, true },      { MD_READ, EIO, false },
        { MD_OPEN, EROFS, false },{ MD_NAMES, EIO, false },    { MD_REMOVE, EIO, false },
        { MD_TRUNCATE, EIO, false }, { MD_ALL, EIO, false },   { MD_ALL, ENOSPC, true },
    };
    for (size_t k = 0; k < sizeof faults / sizeof *faults; k++) {
        bool failed = true;
        for (uint64_t n = 1; failed; n++) {
            struct memdisk *m = md_new(false);
            struct kv_store *s = NULL;
            struct err err = { 0 };
            struct kv_store_params p = { .disk = &m->disk, .max_bytes = 1 << 20 };
            m->fail_at = n;
            m->fail_kinds = faults[k].kinds;
            m->fail_errno = faults[k].error;
            m->fail_for_ever = faults[k].for_ever;
            int rc = kv_store_open(&s, &p, &err);
            for (uint32_t c = 0; c < 9 && rc == 0; c++) {
                struct chain a;
                chain_make(&a, s, c, 6);
                (void)chain_write(s, &a, 0, 6, BIG);
                int end = kv_store_commit(s);
                (void)chain_read(s, &a, 6, BIG);
                end = end < 0 ? end : kv_store_collect(s);
                assert_true(end <= 1);
                kv_store_check(s);
            }
            if (rc == 0) {
                struct kv_store_stats st = stats_of(s);
                assert_true(st.state != KV_STORE_ON || st.io_errors <= 2);
                kv_store_close(s);
            }
            failed = m->n_calls >= n;
            m->fail_at = 0;
            if (rc == 0) { /* after the fault: it opens and what it has is right */
                s = open_plain(m);
                for (uint32_t c = 0; c < 9; c++) {
                    struct chain a;
                    chain_make(&a, s, c, 6);
                    (void)chain_read(s, &a, 6, BIG);
                }
                kv_store_check(s);
                kv_store_close(s);
            }
            os_volume_close(&m->disk);
            assert_true(n < 10000);
        }
    }
}

static void degrades_as_written(void **state)
{
    (void)state;
    const struct { unsigned kinds; int error; enum kv_store_state want; int commits; } cases[] = {
        { MD_WRITE, ENOSPC, KV_STORE_READ_ONLY, 1 }, /* F-06 */
        { MD_WRITE, EIO, KV_STORE_ON, 2 },           /* F-07: off after three */
        { MD_WRITE, EIO, KV_STORE_OFF, 3 },
        { MD_SYNC, EIO, KV_STORE_OFF, 1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct memdisk *m = md_new(false);
        struct kv_store *s = open_plain(m);
        struct chain a, b;
        chain_make(&a, s, 1, 4);
        chain_make(&b, s, 2, 4);
        assert_int_equal(chain_write(s, &a, 0, 4, BYTES), 0);
        assert_int_equal(kv_store_commit(s), 0);
        m->fail_at = 1;
        m->fail_kinds = cases[i].kinds;
        m->fail_errno = cases[i].error;
        m->fail_for_ever = true;
        for (int k = 0; k < cases[i].commits; k++) {
            assert_int_equal(chain_write(s, &b, 0, 4, BYTES), 0);
            assert_true(kv_store_commit(s) < 0);
        }
        assert_int_equal(stats_of(s).state, cases[i].want);
        assert_int_equal(kv_store_find(s, b.keys, 4), 0); /* what was not synced is not there */
        assert_int_equal(chain_read(s, &a, 4, BYTES), cases[i].want == KV_STORE_OFF ? 0 : 4);
        uint8_t data[BYTES] = { 0 };
        struct kv_record r = chain_record(&b, 0, data, BYTES);
        assert_int_equal(kv_store_stage(s, &r), cases[i].want == KV_STORE_ON ? 0 : E_DENIED);
        assert_int_equal(stats_of(s).last_error, cases[i].error);
        kv_store_close(s);
        os_volume_close(&m->disk);
    }
}

/* Twenty times the budget: the files stay under it, a chain in use survives, nothing is orphaned. */
static void cleans_without_forgetting_what_is_used(void **state)
{
    (void)state;
    struct memdisk *m = md_new(false);
    struct kv_store *s = open_with(m, &(struct kv_store_params){ .max_bytes = 1 << 20 });
    static struct chain warm[20];
    struct chain hot, cold;
    chain_make(&hot, s, 77, 6);
    assert_int_equal(chain_write(s, &hot, 0, 6, BIG / 4), 0);
    assert_int_equal(kv_store_commit(s), 0);
    for (uint32_t c = 100; c < 300; c++) {
        chain_make(&cold, s, c, 6);
        assert_int_equal(chain_write(s, &cold, 0, 6, BIG / 4), 0);
        assert_int_equal(kv_store_commit(s), 0);
        kv_store_check(s); /* disk bytes <= max_bytes, parents, ages */
        assert_int_equal(kv_store_find(s, hot.keys, 6), 6);
        warm[c % 20] = cold; /* the heads of the last twenty stay in use, their tails do not */
        for (uint32_t k = 0; k < 20 && k <= c - 100; k++)
            assert_int_equal(kv_store_find(s, warm[k].keys, 1), 1);
    }
    assert_int_equal(chain_read(s, &hot, 6, BIG / 4), 6);
    assert_int_equal(chain_read(s, &cold, 6, BIG / 4), 6);
    struct kv_store_stats st = stats_of(s);
    assert_true(st.dropped_cold > 500 && st.moved > 0);
    assert_int_equal(st.failed, 0);
    uint64_t on_disk = 0;
    for (int i = 0; i < MD_FILES; i++)
        on_disk += m->files[i].name[0] != '\0' && strcmp(m->files[i].name, "STORE") != 0 ? m->files[i].n_now : 0;
    assert_int_equal(on_disk, st.disk_bytes);
    kv_store_close(s);
    s = open_with(m, &(struct kv_store_params){ .max_bytes = 1 << 20 });
    assert_int_equal(chain_read(s, &hot, 6, BIG / 4), 6);
    kv_store_check(s);
    kv_store_close(s);
    os_volume_close(&m->disk);
}

static void joins_small_segments(void **state)
{
    (void)state;
    struct memdisk *m = md_new(false);
    struct chain a;
    for (uint32_t i = 0; i < 250; i++) { /* a new segment each time it is opened and written */
        struct kv_store *s = open_with(m, &(struct kv_store_params){ .max_bytes = 16 << 20 });
        chain_make(&a, s, i, 1);
        assert_int_equal(chain_write(s, &a, 0, 1, 100), 0);
        assert_int_equal(kv_store_commit(s), 0);
        int rc = 1;
        while (rc > 0)
            rc = kv_store_collect(s);
        assert_int_equal(rc, 0);
        kv_store_check(s);
        assert_true(stats_of(s).n_segments <= 195);
        kv_store_close(s);
    }
    struct kv_store *s = open_plain(m);
    assert_int_equal(stats_of(s).n_blocks, 250);
    kv_store_close(s);
    os_volume_close(&m->disk);
}

static void keeps_secrets(void **state)
{
    (void)state;
    struct memdisk *m = md_new(false);
    struct kv_store_params p = { .key = key_a };
    struct kv_store *s = open_with(m, &p);
    struct chain a;
    struct err err = { 0 };
    uint8_t plain[BYTES];
    chain_make(&a, s, 5, 4);
    assert_int_equal(chain_write(s, &a, 0, 4, BYTES), 0);
    assert_int_equal(kv_store_commit(s), 0);
    kv_store_close(s);
    for (uint32_t d = 0; d < 4; d++) {
        chain_fill(5, d, plain, BYTES);
        for (int i = 0; i < MD_FILES; i++) {
            const struct md_file *f = &m->files[i];
            if (f->name[0] == '\0')
                continue;
            assert_null(memmem(f->now, f->n_now, plain, 16));
            assert_null(memmem(f->now, f->n_now, a.ids[d], sizeof a.ids[d]));
        }
    }
    p.disk = &m->disk;
    p.max_bytes = 4 << 20;
    p.key = key_b;
    assert_int_equal(kv_store_open(&s, &p, &err), E_DENIED);
    p.key = NULL;
    assert_int_equal(kv_store_open(&s, &p, &err), E_UNSUPPORTED);
    p.key = key_a;
    s = open_with(m, &p);
    assert_int_equal(chain_read(s, &a, 4, BYTES), 4);
    kv_store_close(s);
    os_volume_close(&m->disk);
}

static void forgets_for_good(void **state)
{
    (void)state;
    struct memdisk *m = md_new(false);
    struct kv_store *s = open_plain(m);
    struct chain a;
    chain_make(&a, s, 5, 4);
    assert_int_equal(chain_write(s, &a, 0, 4, BYTES), 0);
    assert_int_equal(kv_store_commit(s), 0);
    kv_store_forget(s, &a.keys[2]);
    assert_int_equal(chain_read(s, &a, 4, BYTES), 2);
    kv_store_close(s);
    s = open_plain(m);
    assert_int_equal(chain_read(s, &a, 4, BYTES), 2); /* the record is gone, whatever the index says */
    assert_int_equal(stats_of(s).failed, 1);
    assert_int_equal(chain_write(s, &a, 2, 4, BYTES), 0);
    assert_int_equal(kv_store_commit(s), 0);
    assert_int_equal(chain_read(s, &a, 4, BYTES), 4);
    kv_store_close(s);
    os_volume_close(&m->disk);
}

/* Files of others, other versions, torn tails, blocks exchanged with one another (F-05, F-09, F-11). */
static void leaves_foreign_files_alone(void **state)
{
    (void)state;
    struct memdisk *m = md_new(false);
    struct kv_store *s = open_plain(m);
    struct chain a;
    int file = -1;
    uint8_t junk[9000];
    memset(junk, 'x', sizeof junk);
    chain_make(&a, s, 5, 6);
    assert_int_equal(chain_write(s, &a, 0, 6, BYTES), 0);
    assert_int_equal(kv_store_commit(s), 0);
    kv_store_close(s);
    const char *names[] = { "holiday.jpg", "00000000000000ff.seg", "00000000000000ff.idx", "0000000000000007.seg" };
    for (int i = 0; i < 4; i++) {
        assert_int_equal(md_open(&m->disk, names[i], OS_VOLUME_CREATE | OS_VOLUME_UPDATE, &file), 0);
        md_apply(&m->files[file].now, &m->files[file].n_now, 0, junk, sizeof junk);
    }
    int idx = md_find(m, "0000000000000001.idx"), seg = md_find(m, "0000000000000001.seg");
    m->files[idx].n_now -= 5; /* torn: the last entry is lost, the others stay */
    s = open_plain(m);
    assert_int_equal(stats_of(s).n_foreign, 2);
    assert_int_equal(stats_of(s).n_cut, 1);
    assert_int_equal(chain_read(s, &a, 6, BYTES), 5);
    kv_store_close(s);
    for (int i = 0; i < 4; i++) {
        file = md_find(m, names[i]);
        assert_true(file >= 0);
        assert_int_equal(m->files[file].n_now, sizeof junk);
    }
    uint8_t page[4096]; /* two good records change places */
    uint8_t *log = m->files[seg].now;
    memcpy(page, log + 4096, 4096);
    memcpy(log + 4096, log + 8192, 4096);
    memcpy(log + 8192, page, 4096);
    s = open_plain(m);
    assert_int_equal(chain_read(s, &a, 6, BYTES), 0);
    assert_int_equal(stats_of(s).faults[KV_FAULT_HEADER], 2);
    kv_store_close(s);
    m->files[seg].n_now = 8192; /* shorter than its index says */
    s = open_plain(m);
    assert_int_equal(stats_of(s).n_blocks, 1);
    kv_store_close(s);
    os_volume_close(&m->disk);
}

static void loses_only_what_was_not_synced(void **state)
{
    (void)state;
    struct rng rng;
    uint64_t seed = 20261125;
    rng_seed(&rng, seed);
    print_message("seed %llu\n", (unsigned long long)seed);
    struct memdisk *m = md_new(true);
    struct kv_store *s = open_with(m, &(struct kv_store_params){ .max_bytes = 1 << 20 });
    uint32_t n_blocks = 0;
    for (uint32_t c = 0; c < 90; c++) {
        struct chain a;
        chain_make(&a, s, c, 4);
        (void)chain_write(s, &a, 0, 4, BIG / 4);
        bool committed = rng_below(&rng, 4) != 0;
        if (committed)
            assert_int_equal(kv_store_commit(s), 0);
        assert_true(kv_store_collect(s) >= 0);
        for (int image = 0; image < 4; image++) {
            struct memdisk *after = md_crash(m, &rng, rng_below(&rng, 257));
            struct kv_store *t = open_with(after, &(struct kv_store_params){ .max_bytes = 1 << 20 });
            kv_store_check(t);
            for (uint32_t k = c < 10 ? 0 : c - 10; k <= c; k++) {
                chain_make(&a, t, k, 4);
                n_blocks += chain_read(t, &a, 4, BIG / 4);
            }
            assert_int_equal(stats_of(t).failed, 0); /* every published block verifies */
            kv_store_close(t);
            os_volume_close(&after->disk);
        }
    }
    assert_true(n_blocks > 1000);
    kv_store_close(s);
    os_volume_close(&m->disk);
}

static void has_one_owner(void **state)
{
    (void)state;
    char dir[] = "/tmp/naru-store-XXXXXX";
    struct os_volume *one = NULL, *two = NULL;
    struct kv_store *s = NULL, *t = NULL;
    struct err err = { 0 };
    assert_non_null(mkdtemp(dir));
    assert_int_equal(os_volume_open(&one, &(struct os_volume_params){ .dir = dir }, &err), 0);
    assert_int_equal(os_volume_open(&two, &(struct os_volume_params){ .dir = dir }, &err), 0);
    struct kv_store_params p = { .disk = one, .max_bytes = 4 << 20, .direct = true };
    assert_int_equal(kv_store_open(&s, &p, &err), 0);
    struct chain a;
    chain_make(&a, s, 1, 40);
    assert_int_equal(chain_write(s, &a, 0, 40, BIG), 0);
    assert_int_equal(kv_store_commit(s), 0);
    p.disk = two;
    assert_int_equal(kv_store_open(&t, &p, &err), E_BUSY);
    p.look = true; /* looking needs no lock */
    assert_int_equal(kv_store_open(&t, &p, &err), 0);
    assert_int_equal(chain_read(t, &a, 40, BIG), 40);
    kv_store_close(t);
    assert_int_equal(chain_read(s, &a, 40, BIG), 40);
    kv_store_close(s);
    os_volume_close(one);
    p.look = false;
    p.direct = false;
    assert_int_equal(kv_store_open(&t, &p, &err), 0); /* released with the disk */
    assert_int_equal(chain_read(t, &a, 40, BIG), 40);
    kv_store_close(t);
    const char *names[] = { "LOCK", "STORE", "0000000000000001.seg", "0000000000000001.idx",
                            "0000000000000002.seg", "0000000000000002.idx", "0000000000000003.seg",
                            "0000000000000003.idx", "0000000000000004.seg", "0000000000000004.idx",
                            "0000000000000005.seg", "0000000000000005.idx", "0000000000000006.seg",
                            "0000000000000006.idx", "0000000000000007.seg", "0000000000000007.idx",
                            "0000000000000008.seg", "0000000000000008.idx" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        (void)two->table->remove(two, names[i]);
    os_volume_close(two);
    assert_int_equal(rmdir(dir), 0);
}

int store_test(void);
int store_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_after_a_restart_what_was_committed),
        cmocka_unit_test(refuses_orphans_and_twins),
        cmocka_unit_test(compares_more_than_the_key),
        cmocka_unit_test(survives_every_flipped_bit),
        cmocka_unit_test(survives_every_failing_call),
        cmocka_unit_test(degrades_as_written),
        cmocka_unit_test(cleans_without_forgetting_what_is_used),
        cmocka_unit_test(joins_small_segments),
        cmocka_unit_test(keeps_secrets),
        cmocka_unit_test(forgets_for_good),
        cmocka_unit_test(leaves_foreign_files_alone),
        cmocka_unit_test(loses_only_what_was_not_synced),
        cmocka_unit_test(has_one_owner),
    };
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
