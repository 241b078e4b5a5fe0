/* One decision a call, not one plan a step: after an admission or a preemption the truth about
 * blocks is in the KV memory (shared prefixes free less than they hold), so the caller carries it
 * out and asks again with new facts. That keeps the arithmetic here exact without a second ledger
 * of shared blocks. */
#include "sched/sched.h"

#include "base/mem.h"
#include "base/num.h"

#define NONE UINT32_MAX

enum state { FREE, WAITING, RUNNING };

struct entry {
    enum state state;
    bool paused;
    uint64_t arrival;      /* order of sched_add */
    uint32_t n_known;      /* tokens: prompt and output */
    uint32_t n_done;       /* of them with rows written; 0 unless running */
    uint32_t n_rows;       /* decided for the coming step */
    uint32_t n_guess;      /* rows it could use beyond the known tokens */
    uint32_t prev, next;   /* in its list; free entries use next */
};

struct list {
    uint32_t first, last, n;
};

struct sched {
    struct sched_params params;
    struct entry *entries; /* (n_requests_max) */
    struct sched_item *items; /* (n_seqs_max) */
    struct list waiting, running;
    uint32_t free;
    uint64_t n_arrived;
    bool has_preempted;    /* for an older one, since the last RUN: no admission meanwhile, or the
                            * victim would come straight back */
};

int sched_create(struct sched **out, const struct sched_params *params)
{
    if (params->n_seqs_max == 0 || params->n_requests_max < params->n_seqs_max ||
        params->n_requests_max == NONE || params->n_rows_max < params->n_seqs_max ||
        params->block_len == 0)
        return E_RANGE;
    struct sched *s = mem_alloc(1, sizeof *s);
    if (s == NULL)
        return E_NOMEM;
    s->params = *params;
    if (s->params.n_chunk_max == 0)
        s->params.n_chunk_max = params->n_rows_max;
    s->entries = mem_alloc(params->n_requests_max, sizeof *s->entries);
    s->items = mem_alloc(params->n_seqs_max, sizeof *s->items);
    if (s->entries == NULL || s->items == NULL) {
        sched_destroy(s);
        return E_NOMEM;
    }
    for (uint32_t i = 0; i < params->n_requests_max; i++)
        s->entries[i].next = i + 1 < params->n_requests_max ? i + 1 : NONE;
    s->waiting = s->running = (struct list){ NONE, NONE, 0 };
    *out = s;
    return 0;
}

void sched_destroy(struct sched *s)
{
    if (s == NULL)
        return;
    mem_free(s->entries);
    mem_free(s->items);
    mem_free(s);
}

/* --- lists in order of arrival --- */

static struct list *list_of(struct sched *s, const struct entry *e)
{
    ASSERT(e->state != FREE);
    return e->state == WAITING ? &s->waiting : &s->running;
}

static void unlink_entry(struct sched *s, uint32_t id)
{
    struct entry *e = &s->entries[id];
    struct list *l = list_of(s, e);
    ASSERT(l->n > 0);
    if (e->prev != NONE)
        s->entries[e->prev].next = e->next;
    else
        l->first = e->next;
    if (e->next != NONE)
        s->entries[e->next].prev = e->prev;
    else
        l->last = e->prev;
    l->n--;
}

/* Entries move between lists near the end (running) or the front (a victim comes back to waiting):
 * walk from the side where the place is near. */
static void link_entry(struct sched *s, uint32_t id, enum state state)
{
    struct entry *e = &s->entries[id];
    e->state = state;
    struct list *l = list_of(s, e);
    uint32_t after = l->last;
    if (l->first != NONE && e->arrival < s->entries[l->first].arrival)
        after = NONE;
    while (after != NONE && s->entries[after].arrival > e->arrival)
        after = s->entries[after].prev;
    e->prev = after;
    e->next = after == NONE ? l->first : s->entries[after].next;
    if (e->prev != NONE)
        s->entries[e->prev].next = id;
    else
        l->first = id;
    if (e->next != NONE)
        s->entries[e->next].prev = id;
    else
        l->last = id;
    l->n++;
}

int sched_add(struct sched *s, uint32_t n_prompt, uint32_t *id)
{
    ASSERT(n_prompt > 0);
    if (s->free == NONE)
        return E_FULL;
    uint32_t i = s->free;
    ASSERT(s->entries[i].state == FREE);
    s->free = s->entries[i].next;
    s->entries[i] = (struct entry){ .arrival = s->n_arrived++, .n_known = n_prompt };
    link_entry(s, i, WAITING);
    *id = i;
    return 0;
}

void sched_remove(struct sched *s, uint32_t id)
{
    ASSERT(id < s->params.n_requests_max);
    unlink_entry(s, id);
    s->entries[id].state = FREE;
    s->entries[id].next = s->free;
    s->free = id;
}

void sched_pause(struct sched *s, uint32_t id, bool paused)
{
    ASSERT(s->entries[id].state != FREE);
    s->entries[id].paused = paused;
}

/* --- counting blocks --- */

static uint32_t blocks_for(const struct sched *s, uint64_t n_rows)
{
    return (uint32_t)((n_rows + s->params.block_len - 1) / s->params.block_len);
}

/* Blocks for all known tokens and the one that follows. */
static uint32_t blocks_goal(const struct sched *s, const struct entry *e)
{
    return blocks_for(s, (uint64_t)e->n_known + 1);
}

static uint32_t blocks_held(const struct sched *s, const struct entry *e)
{
    return blocks_for(s, e->n_done);
}

/* What the running sequences will still take for what they know, and one block of growth each. */
static uint64_t blocks_promised(const struct sched *s)
{
    uint64_t n = 0;
    for (uint32_t i = s->running.first; i != NONE; i = s->entries[i].next)
        n += blocks_goal(s, &s->entries[i]) - blocks_held(s, &s->entries[i]) + 1;
    return n;
}

/* --- admission --- */

static uint32_t first_ready(const struct sched *s, const struct list *l)
{
    uint32_t i = l->first;
    while (i != NONE && s->entries[i].paused)
        i = s->entries[i].next;
    return i;
}

static bool fits(const struct sched *s, const struct sched_facts *f, uint32_t id)
{
    const struct entry *e = &s->entries[id];
    uint32_t n_idle = 0;
    uint32_t n_cached = f->cached != NULL ? f->cached(f->ctx, id, &n_idle) : 0;
    ASSERT(n_cached < e->n_known);
    uint64_t need = blocks_goal(s, e) - blocks_for(s, n_cached) + n_idle;
    return need + blocks_promised(s) <= f->n_blocks_available;
}

/* Rows the running sequences leave of the budget: without any, an admission would do nothing yet.
 * */
static bool has_rows_left(const struct sched *s)
{
    uint64_t n = 0;
    for (uint32_t i = s->running.first; i != NONE; i = s->entries[i].next) {
        const struct entry *e = &s->entries[i];
        if (!e->paused)
            n += num_min(e->n_known - e->n_done, s->params.n_chunk_max);
    }
    return n < s->params.n_rows_max;
}

static uint32_t latest_paused(const struct sched *s)
{
    uint32_t i = s->running.last;
    while (i != NONE && !s->entries[i].paused)
        i = s->entries[i].prev;
    return i;
}

/* True if *act holds an admission, or a preemption that an admission needs. */
static bool decide_admission(const struct sched *s, const struct sched_facts *f,
                             struct sched_act *act)
{
    uint32_t id = first_ready(s, &s->waiting);
    if (id == NONE || s->has_preempted)
        return false;
    bool place = s->running.n < s->params.n_seqs_max;
    if (place && has_rows_left(s) && fits(s, f, id)) {
        *act = (struct sched_act){ .kind = SCHED_ACT_ADMIT, .id = id };
        return true;
    }
    uint32_t victim = latest_paused(s);
    if (first_ready(s, &s->running) != NONE || victim == NONE)
        return false;
    *act = (struct sched_act){ .kind = SCHED_ACT_PREEMPT, .id = victim }; /* only paused ones run */
    return true;
}

/* --- composing a step --- */

static uint32_t victim_for(const struct sched *s, uint32_t id)
{
    uint32_t paused = latest_paused(s), last = s->running.last;
    return paused != NONE ? paused : last != id ? last : NONE;
}

static uint32_t count_decodes(const struct sched *s)
{
    uint32_t n = 0;
    for (uint32_t i = s->running.first; i != NONE; i = s->entries[i].next)
        n += !s->entries[i].paused && s->entries[i].n_known - s->entries[i].n_done == 1;
    return n;
}

void sched_guess(struct sched *s, uint32_t id, uint32_t n)
{
    ASSERT(s->entries[id].state == RUNNING);
    s->entries[id].n_guess = n;
}

/* Guessed rows for one decode: within the block it writes anyway, or while every running sequence
 * could still take a block. */
static uint32_t guess_rows(const struct sched *s, const struct entry *e, uint32_t n_blocks,
                           uint32_t n_over)
{
    uint64_t after = (uint64_t)e->n_done + 1; /* rows with the one of its last token */
    uint32_t len = s->params.block_len, n = (uint32_t)num_min(e->n_guess, n_over);
    uint64_t own = (uint64_t)blocks_for(s, after) * len - after;
    uint64_t spare = n_blocks > s->running.n + 1 ? n_blocks - s->running.n - 1 : 0;
    return (uint32_t)num_min(n, own + spare * len);
}

/* Gives rows to the running sequences in order of arrival. NONE, or the sequence that must be
 * preempted first because an older one has no block for its next row. */
static uint32_t share_rows(struct sched *s, uint32_t n_blocks, uint32_t n_prompt_rows)
{
    uint32_t n_prefill = s->params.n_rows_max - count_decodes(s);
    if (n_prompt_rows > 0)
        n_prefill = (uint32_t)num_min(n_prefill, n_prompt_rows);
    uint32_t n_guesses = s->params.n_guess_max;
    for (uint32_t i = s->running.first; i != NONE; i = s->entries[i].next) {
        struct entry *e = &s->entries[i];
        uint32_t left = e->n_known - e->n_done;
        bool is_decode = left == 1;
        e->n_rows = 0;
        if (e->paused || (!is_decode && n_prefill == 0))
            continue;
        uint64_t want = is_decode ? 1 : num_min(num_min(left, n_prefill), s->params.n_chunk_max);
        uint32_t held = blocks_held(s, e), guesses = 0;
        if (is_decode && e->n_guess > 0)
            guesses = guess_rows(s, e, n_blocks, (uint32_t)num_min(n_prefill, n_guesses));
        want += guesses;
        n_guesses -= guesses;
        uint64_t room = ((uint64_t)held + n_blocks) * s->params.block_len - e->n_done;
        if (room == 0 && victim_for(s, i) != NONE)
            return victim_for(s, i);
        e->n_rows = (uint32_t)num_min(want, room);
        n_blocks -= blocks_for(s, (uint64_t)e->n_done + e->n_rows) - held;
        n_prefill -= is_decode ? guesses : e->n_rows;
    }
    return NONE;
}

static void emit(struct sched *s, bool decodes, struct sched_act *act)
{
    for (uint32_t i = s->running.first; i != NONE; i = s->entries[i].next) {
        const struct entry *e = &s->entries[i];
        if (e->paused || e->n_rows == 0 || (e->n_known - e->n_done == 1) != decodes)
            continue;
        ASSERT(act->n_items < s->params.n_seqs_max);
        s->items[act->n_items++] = (struct sched_item){ .id = i, .n_rows = e->n_rows };
        act->n_rows += e->n_rows;
    }
}

static void requeue(struct sched *s, uint32_t id)
{
    unlink_entry(s, id);
    s->entries[id].n_done = s->entries[id].n_guess = 0;
    link_entry(s, id, WAITING);
}

void sched_decide(struct sched *s, const struct sched_facts *facts, struct sched_act *act)
{
    if (decide_admission(s, facts, act)) {
        if (act->kind == SCHED_ACT_PREEMPT)
            requeue(s, act->id);
        return;
    }
    uint32_t victim = share_rows(s, facts->n_blocks_available, facts->n_prompt_rows);
    if (victim != NONE) {
        requeue(s, victim);
        s->has_preempted = true;
        *act = (struct sched_act){ .kind = SCHED_ACT_PREEMPT, .id = victim };
        return;
    }
    *act = (struct sched_act){ .kind = SCHED_ACT_RUN, .items = s->items };
    emit(s, true, act);
    emit(s, false, act);
    ASSERT(act->n_rows <= s->params.n_rows_max);
    if (act->n_items == 0)
        act->kind = SCHED_ACT_IDLE;
    s->has_preempted = false;
}

void sched_admitted(struct sched *s, uint32_t id, uint32_t n_rows)
{
    struct entry *e = &s->entries[id];
    ASSERT(e->state == WAITING);
    ASSERT(n_rows < e->n_known);
    unlink_entry(s, id);
    e->n_done = n_rows;
    link_entry(s, id, RUNNING);
}

void sched_ran(struct sched *s, uint32_t id, uint32_t n_rows, uint32_t n_new)
{
    struct entry *e = &s->entries[id];
    ASSERT(e->state == RUNNING);
    ASSERT(n_rows <= e->n_known - e->n_done);
    e->n_done += n_rows;
    e->n_known += n_new;
    e->n_guess = 0;
    ASSERT(e->n_done < e->n_known || n_new == 0);
}

uint32_t sched_n_waiting(const struct sched *s) { return s->waiting.n; }
uint32_t sched_n_running(const struct sched *s) { return s->running.n; }
bool sched_is_running(const struct sched *s, uint32_t id)
{
    return s->entries[id].state == RUNNING;
}

static uint32_t check_list(const struct sched *s, const struct list *l, enum state state)
{
    uint32_t n = 0, prev = NONE;
    for (uint32_t i = l->first; i != NONE; i = s->entries[i].next) {
        const struct entry *e = &s->entries[i];
        CHECK(e->state == state);
        CHECK(e->prev == prev);
        CHECK(prev == NONE || s->entries[prev].arrival < e->arrival);
        CHECK(e->n_done < e->n_known);
        CHECK(state == RUNNING || e->n_done == 0);
        prev = i;
        n++;
        CHECK(n <= s->params.n_requests_max);
    }
    CHECK(l->last == prev);
    CHECK(l->n == n);
    return n;
}

void sched_check(const struct sched *s)
{
    uint32_t n = check_list(s, &s->waiting, WAITING) + check_list(s, &s->running, RUNNING);
    CHECK(s->running.n <= s->params.n_seqs_max);
    for (uint32_t i = s->free; i != NONE; i = s->entries[i].next) {
        CHECK(s->entries[i].state == FREE);
        n++;
        CHECK(n <= s->params.n_requests_max);
    }
    CHECK(n == s->params.n_requests_max);
}
