/* Policies: each keeps its books through random walks, names only what was offered, and does what
 * its paper says; naru learns which prompts come back. */
#include "unit/test.h"

#include "base/rng.h"
#include "kv/policy.h"
#include "kv/policy_hazard.h"

enum { N_SLOTS = 24, N_KEYS = 60 };

struct walk {
    struct kv_policy *p;
    bool leaves;
    uint64_t key[N_SLOTS];   /* 0: empty */
    bool offered[N_SLOTS];
    uint64_t now_ms;
};

static struct kv_policy *make(const char *name, uint32_t n)
{
    struct kv_policy *p = NULL;
    assert_int_equal(kv_policy_create(&p, &(struct kv_policy_params){ .name = name, .n_slots = n }),
                     0);
    return p;
}

static uint32_t slot_for(struct walk *w, uint64_t key)
{
    uint32_t empty = KV_SLOT_NONE;
    for (uint32_t i = 0; i < N_SLOTS; i++) {
        if (w->key[i] == key)
            return i;
        if (w->key[i] == 0)
            empty = i;
    }
    return empty;
}

static void make_room(struct walk *w)
{
    uint32_t v = kv_policy_victim(w->p);
    assert_true(v < N_SLOTS);
    assert_true(w->key[v] != 0);
    assert_true(!w->leaves || w->offered[v]);
    kv_policy_evict(w->p, v);
    w->key[v] = 0;
    w->offered[v] = false;
}

static void step(struct walk *w, uint64_t r)
{
    uint64_t key = 1 + r % N_KEYS;
    uint32_t slot = slot_for(w, key);
    struct kv_visit v;
    if (slot == KV_SLOT_NONE) {
        make_room(w);
        slot = slot_for(w, key);
    }
    w->now_ms += (r >> 20) % 5 == 0 ? (r >> 24) % 100000 : 1;
    kv_policy_visit(w->p, w->now_ms, &key, 1, &v);
    kv_policy_touch(w->p, slot, key, (uint32_t)(r >> 40) % 8, &v);
    w->key[slot] = key;
    kv_policy_offer(w->p, slot);
    w->offered[slot] = true;
    if (w->leaves && (r >> 50) % 8 == 0) { /* a sequence takes it, and later gives it back */
        kv_policy_retract(w->p, slot);
        kv_policy_retract(w->p, slot);
        kv_policy_offer(w->p, slot);
    }
}

/* 3,000 steps a policy, every invariant after each fiftieth. */
static void books_are_kept(void **state)
{
    (void)state;
    for (uint32_t i = 0; kv_policy_name(i) != NULL; i++) {
        struct walk w = { .p = make(kv_policy_name(i), N_SLOTS),
                          .leaves = kv_policy_leaves(kv_policy_name(i)) };
        struct rng rng;
        rng_seed(&rng, 7 + i);
        for (int n = 0; n < 3000; n++) {
            step(&w, rng_u64(&rng));
            if (n % 50 == 0)
                kv_policy_check(w.p);
        }
        kv_policy_destroy(w.p);
    }
}

static void use(struct kv_policy *p, uint32_t slot, uint64_t key, uint64_t now_ms)
{
    struct kv_visit v;
    kv_policy_visit(p, now_ms, &key, 1, &v);
    kv_policy_touch(p, slot, key, 0, &v);
    kv_policy_offer(p, slot);
}

static void lru_takes_the_oldest_and_lfu_the_rarest(void **state)
{
    (void)state;
    struct kv_policy *lru = make("lru", 3), *lfu = make("lfu", 3);
    assert_int_equal(kv_policy_victim(lru), KV_SLOT_NONE);
    for (uint32_t i = 0; i < 3; i++) {
        use(lru, i, 10 + i, i);
        use(lfu, i, 10 + i, i);
    }
    use(lru, 0, 10, 5);
    use(lfu, 0, 10, 5);
    use(lfu, 2, 12, 6);
    assert_int_equal(kv_policy_victim(lru), 1);
    assert_int_equal(kv_policy_victim(lfu), 1);
    kv_policy_retract(lru, 1);
    assert_int_equal(kv_policy_victim(lru), 2);
    kv_policy_evict(lfu, 1);
    use(lfu, 1, 13, 7); /* age 1 + one use == the two uses of the others */
    use(lfu, 1, 13, 8);
    assert_int_not_equal(kv_policy_victim(lfu), 1);
    kv_policy_destroy(lru);
    kv_policy_destroy(lfu);
}

static void unknown_names_and_sizes_are_refused(void **state)
{
    (void)state;
    struct kv_policy *p = NULL;
    struct kv_policy_params params = { .name = "mru", .n_slots = 4 };
    assert_int_equal(kv_policy_create(&p, &params), E_NOT_FOUND);
    params = (struct kv_policy_params){ .name = "lru" };
    assert_int_equal(kv_policy_create(&p, &params), E_RANGE);
    assert_null(p);
    assert_false(kv_policy_leaves("mru"));
}

/* A hazard of 1/2 in one interval and none elsewhere: the index is the hits over the stay, falls
 * to the floor behind it, and a class that is never used ends below. */
static void the_index_follows_the_hazards(void **state)
{
    (void)state;
    static struct kv_hazard h;
    kv_hazard_init(&h);
    uint16_t often = kv_hazard_class(1, 0, 0), never = kv_hazard_class(0, 7, 0);
    for (int i = 0; i < 100000; i++) {
        for (uint32_t a = 0; a < HAZARD_AGES; a++) {
            kv_hazard_enter(&h, often, a);
            kv_hazard_enter(&h, never, a);
        }
        if (i % 2 == 0)
            kv_hazard_use(&h, often, 3);
    }
    double x[HAZARD_AGES], y[HAZARD_AGES];
    kv_hazard_index(&h, often, x);
    kv_hazard_index(&h, never, y);
    double w = h.width_s[0] + h.width_s[1] + h.width_s[2] + 0.75 * h.width_s[3];
    assert_true(x[0] > 0.98 * 0.5 / w && x[0] < 1.02 * 0.5 / w);
    assert_true(x[3] > x[0]);
    assert_true(x[4] < 0.05 * x[3]);
    assert_true(y[0] < 0.05 * x[0]);
}

/* Counts fade: after many half-lives without the old traffic, new traffic decides. */
static void old_counts_fade(void **state)
{
    (void)state;
    static struct kv_hazard h;
    kv_hazard_init(&h);
    uint16_t class = kv_hazard_class(1, 1, 1);
    for (int phase = 0; phase < 2; phase++) {
        kv_hazard_time(&h, (uint64_t)phase * 400 * 3600 * 1000);
        for (int i = 0; i < 20000; i++) {
            kv_hazard_enter(&h, class, 0);
            if (phase == 0)
                kv_hazard_use(&h, class, 0);
        }
    }
    double x[HAZARD_AGES];
    kv_hazard_index(&h, class, x);
    assert_true(x[0] < 0.05);
}

enum { CHATS = 10, ROOM = 20 };

/* Ten chats come back each minute among floods of documents that never do. Returns the hits. */
static uint32_t chats_and_floods(const char *name, uint32_t rounds)
{
    struct kv_policy *p = make(name, ROOM);
    uint64_t key[ROOM] = { 0 }, flood = 1000, now_ms = 0;
    uint32_t hits = 0;
    for (uint32_t n = 0; n < rounds * 50; n++) {
        uint64_t k = n % 5 == 0 ? 1 + n / 5 % CHATS : ++flood;
        uint32_t slot = 0;
        while (slot < ROOM && key[slot] != k)
            slot++;
        hits += slot < ROOM;
        if (slot == ROOM)
            for (slot = 0; slot < ROOM && key[slot] != 0;)
                slot++;
        if (slot == ROOM) {
            slot = kv_policy_victim(p);
            kv_policy_evict(p, slot);
        }
        key[slot] = k;
        use(p, slot, k, now_ms += 1200);
    }
    kv_policy_check(p);
    kv_policy_destroy(p);
    return hits;
}

static void naru_learns_what_comes_back(void **state)
{
    (void)state;
    assert_int_equal(chats_and_floods("lru", 100), 0); /* fifty blocks between two uses */
    assert_true(chats_and_floods("naru", 100) > 800);  /* of 990 */
}

int policy_test(void);
int policy_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(books_are_kept),
        cmocka_unit_test(lru_takes_the_oldest_and_lfu_the_rarest),
        cmocka_unit_test(unknown_names_and_sizes_are_refused),
        cmocka_unit_test(the_index_follows_the_hazards),
        cmocka_unit_test(old_counts_fade),
        cmocka_unit_test(naru_learns_what_comes_back),
    };
    return cmocka_run_group_tests_name("kv/policy", tests, NULL, NULL);
}
