/* The engine's side of lower tiers: full blocks are offered to the store when they are published;
 * before a request is admitted, the part of its prefix that is stored and not resident is fetched.
 *
 * A fetch is a sequence of its own whose rows come from the disk instead of the model: it matches
 * the resident part, reserves the rest, and advances as blocks arrive verified, which publishes
 * them. Then it lets go, and the request finds an ordinary prefix hit. Meanwhile the request is
 * held back and nobody else is: it has no place, and the blocks taken for it are those that the
 * scheduler had counted free for its prompt. */
#include <string.h>

#include "base/num.h"
#include "engine/impl.h"

#define PATIENCE 2.0       /* a fetch may take this many times what was predicted for computing */
#define PATIENCE_NS_MIN 200000000u
#define SMOOTH 0.2
#define FLUSH_S 10.0       /* at the end, for blocks that are not written yet */

struct engine_fetch {
    struct kv_fetch f;
    struct engine_stream *s;   /* referenced; NULL: the slot is free */
    struct kv_seq seq;
    kv_block *table;           /* (table_cap) */
    uint32_t n_taken;          /* ready blocks that were published */
    uint64_t begun_ns, until_ns;
    bool waited_for;           /* the request is held back for it */
};

static void on_unpublish(void *ctx, kv_block b)
{
    struct engine *e = ctx;
    if (e->mover != NULL)
        kv_mover_drop(e->mover, b);
}

void engine_tier_watch(struct engine *e, struct kv_prefix_params *p)
{
    p->on_unpublish = on_unpublish;
    p->ctx = e;
}

static void on_news(void *ctx) { engine_poke(ctx); }

int engine_tier_open(struct engine *e, struct err *err)
{
    const struct engine_params *p = &e->params;
    const struct model_layout *l = model_layout(p->model);
    if (p->store == NULL || !e->info.sharing)
        return 0;
    e->fetches = mem_alloc(p->n_seqs_max, sizeof *e->fetches);
    e->fetch_tables = mem_alloc(p->n_seqs_max, e->table_cap * sizeof *e->fetch_tables);
    if (e->fetches == NULL || e->fetch_tables == NULL)
        return err_set(err, E_NOMEM, "no memory for fetches of KV blocks");
    for (uint32_t i = 0; i < p->n_seqs_max; i++)
        e->fetches[i].table = e->fetch_tables + (size_t)i * e->table_cap;
    struct kv_mover_params mp = { .store = p->store, .model_name = p->store_name,
                                  .slab = kv_pool_slab(e->pool), .n_blocks = e->info.n_blocks,
                                  .block_len = l->block_len, .block_bytes = l->block_bytes,
                                  .codec = l->n_streams > 0 ? l->streams[0].type : 0,
                                  .clock = p->clock, .wake = on_news, .wake_ctx = e };
    memcpy(mp.identity.bytes, p->store_identity, sizeof mp.identity.bytes);
    return kv_mover_create(&e->mover, &mp, err);
}

static void end_fetch(struct engine *e, struct engine_fetch *t)
{
    struct engine_stream *s = t->s;
    kv_seq_release(&t->seq);
    ASSERT(e->n_fetches > 0);
    e->n_fetches--;
    t->s = NULL;
    if (t->waited_for && s->fetching) {
        s->fetching = false;
        sched_pause(e->sched, s->sched_id,
                    atomic_load_explicit(&s->paused, memory_order_relaxed));
    }
    engine_stream_unref(s);
}

void engine_tier_close(struct engine *e)
{
    for (uint32_t i = 0; i < e->params.n_seqs_max && e->fetches != NULL; i++)
        if (e->fetches[i].s != NULL)
            atomic_store_explicit(&e->fetches[i].f.cancel, true, memory_order_relaxed);
    struct kv_mover *m = e->mover;
    kv_mover_destroy(m, FLUSH_S);
    e->mover = NULL;
    for (uint32_t i = 0; i < e->params.n_seqs_max && e->fetches != NULL; i++) {
        if (e->fetches[i].s == NULL)
            continue;
        e->fetches[i].waited_for = false;
        end_fetch(e, &e->fetches[i]);
    }
    mem_free(e->fetches);
    mem_free(e->fetch_tables);
}

/* --- names --- */

/* The keys of the first n blocks of the request's tokens. */
static bool name_blocks(struct engine *e, struct engine_stream *s, uint32_t n)
{
    if (s->keys == NULL)
        return false;
    if (!s->rooted) {
        if (kv_mover_root(e->mover, s->salt.data, s->salt.len, &s->store_root) < 0)
            return false;
        s->rooted = true;
    }
    if (n > s->n_keys) {
        if (kv_mover_names(e->mover, &s->store_root, s->ids, s->keys, s->n_keys, n) < 0)
            return false;
        s->n_keys = n;
    }
    return true;
}

/* --- writing --- */

void engine_tier_offer(struct engine *e, struct engine_stream *s)
{
    uint32_t n = s->seq.n_published, len = e->info.block_len;
    if (e->mover == NULL || s->n_offered >= n || !name_blocks(e, s, n))
        return;
    for (uint32_t i = s->n_offered; i < n; i++)
        kv_mover_offer(e->mover, s->seq.blocks[i], i, i == 0 ? &s->store_root : &s->keys[i - 1],
                       &s->keys[i], s->ids + (size_t)i * len);
    s->n_offered = n;
}

void engine_tier_distrust(struct engine *e, struct engine_stream *s)
{
    uint32_t from = s->n_found;
    if (e->mover == NULL)
        return;
    for (uint32_t i = from; i < s->n_offered && i < s->n_keys; i++)
        kv_mover_forget(e->mover, &s->keys[i]);
}

/* --- fetching --- */

void engine_tier_note_prefill(struct engine *e, uint32_t n_rows, uint64_t ns)
{
    double now = (double)n_rows * 1e9 / (double)num_max(ns, 1);
    if (n_rows < e->info.block_len)
        return;
    e->rows_per_s = e->rows_per_s == 0 ? now : e->rows_per_s * (1 - SMOOTH) + now * SMOOTH;
}

/* Seconds to compute n blocks; 0: not known yet. The one place that src/cost will take over. */
static double recompute_seconds(const struct engine *e, uint32_t n)
{
    return e->rows_per_s == 0 ? 0 : (double)n * e->info.block_len / e->rows_per_s;
}

/* Is loading n blocks quicker than computing them? What was never measured is tried. */
static bool is_worth_loading(struct engine *e, uint32_t n)
{
    double load = kv_mover_predict(e->mover, n), compute = recompute_seconds(e, n);
    return load == 0 || compute == 0 || load < compute;
}

static struct engine_fetch *free_fetch(struct engine *e)
{
    for (uint32_t i = 0; i < e->params.n_seqs_max; i++)
        if (e->fetches[i].s == NULL)
            return &e->fetches[i];
    return NULL;
}

static bool begin_fetch(struct engine *e, struct engine_stream *s, uint32_t n_resident,
                        uint32_t n_found)
{
    uint32_t len = e->info.block_len;
    struct engine_fetch *t = free_fetch(e);
    if (t == NULL)
        return false;
    kv_seq_init(&t->seq, e->prefix, s->root, t->table, e->table_cap);
    uint32_t n = kv_seq_match(&t->seq, s->ids, n_resident * len + 1) / len;
    if (n >= n_found || kv_seq_reserve(&t->seq, (n_found - n) * len) < 0) {
        kv_seq_release(&t->seq);
        return false;
    }
    t->s = s;
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    t->n_taken = 0;
    t->begun_ns = engine_now(e);
    double patience = PATIENCE * recompute_seconds(e, n_found - n) * 1e9;
    t->until_ns = t->begun_ns + (uint64_t)num_max((size_t)patience, PATIENCE_NS_MIN);
    t->waited_for = s->fetching = true;
    t->f = (struct kv_fetch){ .root = &s->store_root, .keys = s->keys, .ids = s->ids,
                              .blocks = t->seq.blocks, .from = n, .to = n_found };
    e->n_fetches++;
    sched_pause(e->sched, s->sched_id, true);
    atomic_store_explicit(&s->phase, ENGINE_FETCH, memory_order_relaxed);
    kv_mover_fetch(e->mover, &t->f);
    return true;
}

bool engine_tier_fetch(struct engine *e, struct engine_stream *s)
{
    uint32_t n_idle, n_full = (s->n_ids - 1) / e->info.block_len;
    if (e->mover == NULL || s->asked_store || !name_blocks(e, s, n_full))
        return false;
    s->asked_store = true;
    uint32_t n_found = kv_mover_find(e->mover, s->keys, n_full);
    uint32_t n_resident = kv_prefix_peek(e->prefix, s->root, s->ids, n_full, &n_idle);
    s->n_found = s->n_offered = (uint32_t)num_min(n_found, n_resident);
    if (n_found <= n_resident)
        return false;
    e->stats.store_hits += n_found - n_resident;
    if (is_worth_loading(e, n_found - n_resident))
        return begin_fetch(e, s, n_resident, n_found);
    e->stats.store_bypassed += n_found - n_resident;
    kv_mover_pardon(e->mover);
    return false;
}

/* Publishes what has arrived. */
static void take_ready(struct engine *e, struct engine_fetch *t)
{
    uint32_t ready = atomic_load_explicit(&t->f.n_ready, memory_order_acquire);
    if (ready == t->n_taken)
        return;
    uint32_t n = ready - t->n_taken;
    kv_seq_advance(&t->seq, t->s->ids, n * e->info.block_len);
    e->stats.store_loaded += n;
    t->s->n_loaded += n;
    t->s->n_found = t->s->n_offered = t->f.from + ready;
    t->n_taken = ready;
}

void engine_tier_poll(struct engine *e)
{
    if (e->n_fetches == 0)
        return;
    uint64_t now = engine_now(e);
    for (uint32_t i = 0; i < e->params.n_seqs_max; i++) {
        struct engine_fetch *t = &e->fetches[i];
        if (t->s == NULL)
            continue;
        bool done = atomic_load_explicit(&t->f.done, memory_order_acquire);
        take_ready(e, t); /* after done: what it says is all there is */
        if (done) {
            end_fetch(e, t);
        } else if (now > t->until_ns && t->waited_for) {
            /* slower than computing: the request goes on without the rest */
            atomic_store_explicit(&t->f.cancel, true, memory_order_relaxed);
            t->waited_for = false;
            if (t->s->fetching) {
                t->s->fetching = false;
                e->stats.store_late++;
                sched_pause(e->sched, t->s->sched_id,
                            atomic_load_explicit(&t->s->paused, memory_order_relaxed));
            }
        }
    }
}

void engine_tier_leave(struct engine *e, struct engine_stream *s)
{
    if (!s->fetching)
        return;
    s->fetching = false; /* it ended while it waited */
    for (uint32_t i = 0; i < e->params.n_seqs_max; i++) {
        if (e->fetches[i].s != s)
            continue;
        e->fetches[i].waited_for = false;
        atomic_store_explicit(&e->fetches[i].f.cancel, true, memory_order_relaxed);
    }
}

void engine_tier_count(struct engine *e)
{
    struct kv_mover_stats st;
    if (e->mover == NULL)
        return;
    kv_mover_stats(e->mover, &st);
    e->stats.store = st;
}

void engine_tier_check(const struct engine *e)
{
    uint32_t n = 0;
    if (e->mover == NULL)
        return;
    kv_mover_check(e->mover);
    for (uint32_t i = 0; i < e->params.n_seqs_max; i++) {
        if (e->fetches[i].s == NULL)
            continue;
        kv_seq_check(&e->fetches[i].seq);
        n++;
    }
    CHECK(n == e->n_fetches);
}
