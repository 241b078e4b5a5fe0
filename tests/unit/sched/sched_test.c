/* The scheduler under scripted facts: order, budget, chunks, admission by memory, preemption, pause; and a
 * random day in a small world where every request must end. */
#include "unit/test.h"

#include "base/rng.h"
#include "sched/sched.h"

enum { B = 4, N_MAX = 64 };

/* A KV memory without sharing: blocks follow from rows. */
struct world {
    struct sched *sched;
    struct sched_params params;
    uint32_t n_blocks;
    uint32_t done[N_MAX], known[N_MAX], total[N_MAX];
    bool live[N_MAX], running[N_MAX], paused[N_MAX];
    uint32_t cached[N_MAX], n_idle;
    uint64_t arrival[N_MAX], n_arrived;
    uint32_t n_preempted, last_preempted;
};

static void world_init(struct world *w, uint32_t n_seqs, uint32_t n_rows, uint32_t n_blocks)
{
    memset(w, 0, sizeof *w);
    w->n_blocks = n_blocks;
    w->params = (struct sched_params){ .n_seqs_max = n_seqs, .n_requests_max = N_MAX,
                                       .n_rows_max = n_rows, .block_len = B };
    assert_int_equal(sched_create(&w->sched, &w->params), 0);
}

static uint32_t blocks_free(const struct world *w)
{
    uint32_t used = 0;
    for (int i = 0; i < N_MAX; i++)
        used += (w->done[i] + B - 1) / B;
    assert_true(used <= w->n_blocks);
    return w->n_blocks - used;
}

static uint32_t add(struct world *w, uint32_t n_prompt, uint32_t n_new)
{
    uint32_t id = 0;
    assert_int_equal(sched_add(w->sched, n_prompt, &id), 0);
    assert_false(w->live[id]);
    w->live[id] = true;
    w->known[id] = n_prompt;
    w->total[id] = n_prompt + n_new;
    w->arrival[id] = w->n_arrived++;
    return id;
}

static void drop(struct world *w, uint32_t id)
{
    sched_remove(w->sched, id);
    w->live[id] = w->running[id] = w->paused[id] = false;
    w->done[id] = w->cached[id] = 0;
}

static void set_paused(struct world *w, uint32_t id, bool paused)
{
    w->paused[id] = paused;
    sched_pause(w->sched, id, paused);
}

static uint32_t cached_of(void *ctx, uint32_t id, uint32_t *n_idle)
{
    const struct world *w = ctx;
    *n_idle = w->n_idle;
    return w->cached[id];
}

/* Decides, carrying out admissions and preemptions, until there is a step to run or none. */
static void decide(struct world *w, struct sched_act *act)
{
    for (int guard = 0;; guard++) {
        assert_true(guard < 4 * N_MAX);
        struct sched_facts facts = { .n_blocks_available = blocks_free(w), .cached = cached_of,
                                     .ctx = w };
        sched_decide(w->sched, &facts, act);
        if (act->kind == SCHED_ACT_ADMIT) {
            assert_true(w->live[act->id] && !w->running[act->id] && !w->paused[act->id]);
            w->running[act->id] = true;
            w->done[act->id] = w->cached[act->id];
            sched_admitted(w->sched, act->id, w->cached[act->id]);
        } else if (act->kind == SCHED_ACT_PREEMPT) {
            assert_true(w->running[act->id]);
            w->running[act->id] = false;
            w->done[act->id] = 0;
            w->n_preempted++;
            w->last_preempted = act->id;
        } else {
            break;
        }
        sched_check(w->sched);
    }
}

/* Runs the decided step; true if there was one. */
static bool run(struct world *w)
{
    struct sched_act act;
    decide(w, &act);
    if (act.kind == SCHED_ACT_IDLE)
        return false;
    uint32_t n_rows = 0;
    bool prefill_began = false;
    for (uint32_t i = 0; i < act.n_items; i++) {
        uint32_t id = act.items[i].id, n = act.items[i].n_rows, left = w->known[id] - w->done[id];
        assert_true(w->running[id] && !w->paused[id] && n >= 1 && n <= left);
        prefill_began |= left > 1;
        assert_true(left > 1 || !prefill_began); /* decodes first */
        w->done[id] += n;
        (void)blocks_free(w); /* never more than there are */
        bool sampled = w->done[id] == w->known[id];
        w->known[id] += sampled;
        sched_ran(w->sched, id, n, sampled);
        if (w->known[id] == w->total[id])
            drop(w, id);
        n_rows += n;
    }
    assert_int_equal(n_rows, act.n_rows);
    assert_true(n_rows <= w->params.n_rows_max);
    sched_check(w->sched);
    return true;
}

static void world_fini(struct world *w)
{
    for (uint32_t i = 0; i < N_MAX; i++)
        if (w->live[i])
            drop(w, i);
    sched_check(w->sched);
    sched_destroy(w->sched);
}

static void decodes_first_then_chunks(void **state)
{
    (void)state;
    struct world w;
    struct sched_act act;
    world_init(&w, 4, 8, 100);
    uint32_t a = add(&w, 3, 10), b = add(&w, 20, 10);
    decide(&w, &act); /* a whole, then what is left of the budget for b */
    assert_int_equal(act.n_items, 2);
    assert_int_equal(act.items[0].id, a);
    assert_int_equal(act.items[0].n_rows, 3);
    assert_int_equal(act.items[1].n_rows, 5);
    assert_true(run(&w));
    uint32_t c = add(&w, 6, 10);
    decide(&w, &act); /* a decodes, b goes on, c has to wait for rows */
    assert_int_equal(act.n_items, 2);
    assert_int_equal(act.items[0].id, a);
    assert_int_equal(act.items[0].n_rows, 1);
    assert_int_equal(act.items[1].id, b);
    assert_int_equal(act.items[1].n_rows, 7);
    assert_true(run(&w));
    assert_true(run(&w));
    assert_int_equal(w.done[b], 5 + 7 + 7);
    assert_true(run(&w)); /* b's last prompt row is like a decode; c gets the rest */
    assert_int_equal(w.known[b], 21);
    assert_int_equal(w.done[c], 6);
    world_fini(&w);
}

/* What the facts allow to prompts goes to the oldest first; decodes are not touched by it. */
static void prompts_keep_to_what_the_facts_allow(void **state)
{
    (void)state;
    struct world w;
    struct sched_act act;
    world_init(&w, 4, 16, 100);
    uint32_t a = add(&w, 3, 10);
    assert_true(run(&w));
    uint32_t b = add(&w, 20, 10);
    decide(&w, &act);
    assert_int_equal(act.n_rows, 16);
    struct sched_facts facts = { .n_blocks_available = blocks_free(&w), .n_prompt_rows = 5,
                                 .cached = cached_of, .ctx = &w };
    sched_decide(w.sched, &facts, &act);
    assert_int_equal(act.n_items, 2);
    assert_int_equal(act.items[0].id, a);
    assert_int_equal(act.items[0].n_rows, 1);
    assert_int_equal(act.items[1].id, b);
    assert_int_equal(act.items[1].n_rows, 5);
    facts.n_prompt_rows = 100; /* more than the budget is no more than the budget */
    sched_decide(w.sched, &facts, &act);
    assert_int_equal(act.n_rows, 16);
    world_fini(&w);
}

static void chunk_limit_shares_the_budget(void **state)
{
    (void)state;
    struct world w;
    struct sched_act act;
    world_init(&w, 4, 12, 100);
    sched_destroy(w.sched);
    w.params.n_chunk_max = 5;
    assert_int_equal(sched_create(&w.sched, &w.params), 0);
    add(&w, 30, 1);
    add(&w, 30, 1);
    add(&w, 30, 1);
    decide(&w, &act);
    assert_int_equal(act.n_items, 3);
    assert_int_equal(act.items[0].n_rows, 5);
    assert_int_equal(act.items[1].n_rows, 5);
    assert_int_equal(act.items[2].n_rows, 2);
    world_fini(&w);
}

static void admits_by_memory_in_order(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 4, 64, 10); /* 40 rows */
    uint32_t a = add(&w, 15, 5), b = add(&w, 30, 1), c = add(&w, 1, 1);
    assert_true(run(&w));
    assert_true(w.running[a]);
    assert_false(w.running[b]); /* needs 8 blocks, 6 are free */
    assert_false(w.running[c]); /* would fit, but nobody overtakes */
    while (w.live[a])
        assert_true(run(&w));
    assert_true(run(&w));
    assert_true(w.running[b] || !w.live[b]);
    world_fini(&w);
}

static void cached_rows_count_in_admission(void **state)
{
    (void)state;
    struct world w;
    struct sched_act act;
    world_init(&w, 4, 64, 10);
    uint32_t a = add(&w, 19, 5); /* holds 5; promised: the 6th it is about to need, 1 of growth */
    assert_true(run(&w));
    uint32_t b = add(&w, 23, 2);
    w.cached[b] = 12; /* 6 - 3 cached = 3 new; 5 free less 2 promised: just fits */
    w.n_idle = 1;     /* unless one of the three cached is idle, and so counted as free */
    decide(&w, &act);
    assert_false(w.running[b]);
    w.n_idle = 0;
    decide(&w, &act);
    assert_true(w.running[b]);
    assert_int_equal(act.items[0].id, a);
    assert_int_equal(act.items[1].id, b);
    assert_int_equal(w.done[b], 12); /* goes on behind its cached rows */
    world_fini(&w);
}

static void preempts_the_latest(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 4, 64, 9);
    uint32_t a = add(&w, 7, 21), b = add(&w, 7, 9), c = add(&w, 7, 9);
    while (w.live[a])
        assert_true(run(&w));
    assert_true(w.n_preempted >= 1);
    assert_int_equal(w.last_preempted, c);
    while (run(&w))
        ;
    assert_false(w.live[b] || w.live[c]);
    world_fini(&w);
}

static void preempts_a_paused_one_before_others(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 4, 64, 9);
    uint32_t a = add(&w, 7, 20), b = add(&w, 7, 20), c = add(&w, 7, 20);
    assert_true(run(&w));
    set_paused(&w, a, true); /* the oldest, but its reader sleeps */
    while (w.n_preempted == 0)
        assert_true(run(&w));
    assert_int_equal(w.last_preempted, a);
    while (run(&w))
        ;
    assert_true(w.live[a] && !w.running[a]); /* waits for its reader, holds nothing */
    assert_false(w.live[b] || w.live[c]);
    set_paused(&w, a, false);
    while (run(&w))
        ;
    assert_false(w.live[a]);
    world_fini(&w);
}

static void a_paused_request_does_not_block_the_door(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1, 64, 9); /* one place */
    uint32_t a = add(&w, 30, 2);
    assert_true(run(&w));
    set_paused(&w, a, true);
    assert_false(run(&w));
    uint32_t b = add(&w, 3, 2);
    while (run(&w))
        ;
    assert_false(w.live[b]);
    assert_true(w.live[a]);
    world_fini(&w);
}

static void refuses_when_full(void **state)
{
    (void)state;
    struct world w;
    uint32_t id = 99;
    world_init(&w, 2, 8, 8);
    for (int i = 0; i < N_MAX; i++)
        add(&w, 1, 1);
    assert_int_equal(sched_add(w.sched, 1, &id), E_FULL);
    assert_int_equal(id, 99);
    drop(&w, 5);
    assert_int_equal(add(&w, 1, 1), 5);
    world_fini(&w);
    struct sched *s = NULL;
    struct sched_params bad = w.params;
    bad.n_rows_max = 1;
    assert_int_equal(sched_create(&s, &bad), E_RANGE);
}

/* The oldest request that is ready and running gets rows in every step: so nobody starves. */
static void oldest_advances(struct world *w)
{
    uint32_t oldest = N_MAX, before = 0;
    struct sched_act act;
    decide(w, &act);
    for (uint32_t i = 0; i < N_MAX; i++)
        if (w->running[i] && !w->paused[i] &&
            (oldest == N_MAX || w->arrival[i] < w->arrival[oldest]))
            oldest = i;
    if (oldest == N_MAX)
        return;
    before = w->known[oldest] + w->done[oldest];
    assert_true(run(w));
    assert_true(!w->live[oldest] || w->known[oldest] + w->done[oldest] > before);
}

static void random_day(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct world w;
        struct rng rng;
        rng_seed(&rng, seed);
        uint32_t n_seqs = 1 + rng_below(&rng, 8);
        world_init(&w, n_seqs, n_seqs + rng_below(&rng, 24), 12 + rng_below(&rng, 20));
        for (int step = 0; step < 2000; step++) {
            uint32_t dice = rng_below(&rng, 10), id = rng_below(&rng, N_MAX);
            if (dice < 2 && w.n_arrived < 300 && sched_n_waiting(w.sched) < 20) {
                uint32_t prompt = 1 + rng_below(&rng, 30);
                add(&w, prompt, 1 + rng_below(&rng, 47 - prompt)); /* 12 blocks hold any */
            } else if (dice == 2 && w.live[id]) {
                set_paused(&w, id, !w.paused[id]);
            } else if (dice == 3 && w.live[id] && rng_below(&rng, 4) == 0) {
                drop(&w, id);
            }
            oldest_advances(&w);
        }
        for (uint32_t i = 0; i < N_MAX; i++)
            if (w.live[i])
                set_paused(&w, i, false);
        while (run(&w))
            ;
        for (uint32_t i = 0; i < N_MAX; i++)
            if (w.live[i])
                fail_msg("seed %d: request %d never ends", (int)seed, (int)i);
        assert_int_equal(sched_n_waiting(w.sched) + sched_n_running(w.sched), 0);
        world_fini(&w);
    }
}

/* Guessed rows: of the budget what is over, within the own block, or of blocks nobody needs; for
 * one step; of all sequences together no more than was agreed. */
static void guesses_take_what_is_over(void **state)
{
    (void)state;
    struct sched *s;
    struct sched_params p = { .n_seqs_max = 2, .n_requests_max = 2, .n_rows_max = 12,
                              .block_len = 8, .n_guess_max = 6 };
    struct sched_facts f = { .n_blocks_available = 10 };
    struct sched_act act;
    uint32_t a, b;
    assert_int_equal(sched_create(&s, &p), 0);
    assert_int_equal(sched_add(s, 3, &a), 0);
    sched_decide(s, &f, &act);
    sched_admitted(s, act.id, 0);
    sched_decide(s, &f, &act);
    sched_ran(s, a, 3, 1); /* decodes from here on: 3 of 4 rows are done */
    sched_guess(s, a, 20);
    sched_decide(s, &f, &act);
    assert_int_equal(act.items[0].n_rows, 1 + 6); /* what was agreed */
    sched_ran(s, a, 1, 1); /* none held; the guess is spent */
    sched_decide(s, &f, &act);
    assert_int_equal(act.items[0].n_rows, 1);
    sched_guess(s, a, 6);
    f.n_blocks_available = 2; /* 4 rows done: 3 more beside its own are in the block it has */
    sched_decide(s, &f, &act);
    assert_int_equal(act.items[0].n_rows, 1 + 3);
    f.n_blocks_available = 10;
    assert_int_equal(sched_add(s, 40, &b), 0);
    sched_decide(s, &f, &act);
    assert_int_equal(act.kind, SCHED_ACT_ADMIT);
    sched_admitted(s, b, 0);
    sched_guess(s, a, 4);
    sched_decide(s, &f, &act);
    assert_int_equal(act.n_items, 2); /* 1 + 4 rows, and a chunk for the rest of the budget */
    assert_int_equal(act.items[0].n_rows, 5);
    assert_int_equal(act.items[1].n_rows, 7);
    sched_check(s);
    for (uint32_t i = 0; i < 3; i++) /* two of three held: three rows, three tokens */
        sched_ran(s, a, 1, 1);
    sched_check(s);
    sched_remove(s, a);
    sched_remove(s, b);
    sched_destroy(s);
}

int sched_test(void);
int sched_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_first_then_chunks),
        cmocka_unit_test(prompts_keep_to_what_the_facts_allow),
        cmocka_unit_test(chunk_limit_shares_the_budget),
        cmocka_unit_test(admits_by_memory_in_order),
        cmocka_unit_test(cached_rows_count_in_admission),
        cmocka_unit_test(preempts_the_latest),
        cmocka_unit_test(preempts_a_paused_one_before_others),
        cmocka_unit_test(a_paused_request_does_not_block_the_door),
        cmocka_unit_test(refuses_when_full),
        cmocka_unit_test(guesses_take_what_is_over),
        cmocka_unit_test(random_day),
    };
    return cmocka_run_group_tests_name("sched/sched", tests, NULL, NULL);
}
