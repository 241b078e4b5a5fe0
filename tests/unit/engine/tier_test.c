/* An engine over a store on a real folder: answers and log probabilities are bit-equal whether a prefix was
 * computed, shared in memory, read back after a restart, or evicted and read back, alone or eight at a time;
 * and also when the disk is stuck, fails or lies. */
#include "unit/engine/fixture.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <unistd.h>

#include "kv/store.h"
#include "os/volume.h"

enum { PROMPTS = 16, PROMPT_LEN = 150 };

/* --- a disk that can be made to stick or fail: the real one behind a gate --- */

struct gate {
    struct os_volume disk;
    struct os_volume_table table;
    struct os_volume *real;
    atomic_bool fail_reads, stick;
    sem_t go;
};

static struct gate *gate_of(struct os_volume *d) { return (struct gate *)d; }
static int g_open(struct os_volume *d, const char *n, unsigned f, int *file)
{
    return gate_of(d)->real->table->open(gate_of(d)->real, n, f, file);
}
static void g_close(struct os_volume *d, int file) { gate_of(d)->real->table->close(gate_of(d)->real, file); }
static int g_size(struct os_volume *d, int file, uint64_t *b)
{
    return gate_of(d)->real->table->size(gate_of(d)->real, file, b);
}
static int g_truncate(struct os_volume *d, int file, uint64_t b)
{
    return gate_of(d)->real->table->truncate(gate_of(d)->real, file, b);
}
static int g_remove(struct os_volume *d, const char *n)
{
    return gate_of(d)->real->table->remove(gate_of(d)->real, n);
}
static int g_rename(struct os_volume *d, const char *a, const char *b)
{
    return gate_of(d)->real->table->rename(gate_of(d)->real, a, b);
}
static int g_sync(struct os_volume *d) { return gate_of(d)->real->table->sync_names(gate_of(d)->real); }
static int g_list(struct os_volume *d, int (*fn)(void *, const char *), void *ctx)
{
    return gate_of(d)->real->table->list(gate_of(d)->real, fn, ctx);
}
static int g_lock(struct os_volume *d, const char *n)
{
    return gate_of(d)->real->table->lock(gate_of(d)->real, n);
}
static void g_run(struct os_volume *d, uint32_t lane, struct os_volume_op *ops, uint32_t n)
{
    struct gate *g = gate_of(d);
    if (atomic_load(&g->stick))
        sem_wait(&g->go);
    g->real->table->run(g->real, lane, ops, n);
    for (uint32_t i = 0; i < n; i++)
        if (ops[i].kind == OS_VOLUME_READ && atomic_load(&g->fail_reads)) {
            ops[i].rc = E_IO;
            ops[i].error = EIO;
        }
}
static void g_destroy(struct os_volume *d) { (void)d; }

struct folder {
    char dir[64];
    struct gate gate;
    struct kv_store *store;
};

static void folder_open(struct folder *f, uint64_t bytes)
{
    struct err err = { 0 };
    struct os_volume_params vp = { .dir = f->dir };
    f->gate.table = (struct os_volume_table){ g_open, g_close, g_size, g_truncate, g_remove, g_rename,
                                              g_sync, g_list,  g_lock, g_run,      g_destroy };
    f->gate.disk.table = &f->gate.table;
    atomic_store(&f->gate.fail_reads, false);
    atomic_store(&f->gate.stick, false);
    if (os_volume_open(&f->gate.real, &vp, &err) != 0)
        fail_msg("%s", err.text);
    struct kv_store_params p = { .disk = &f->gate.disk, .max_bytes = bytes };
    if (kv_store_open(&f->store, &p, &err) != 0)
        fail_msg("%s", err.text);
}

static void folder_close(struct folder *f)
{
    kv_store_close(f->store);
    os_volume_close(f->gate.real);
}

static void folder_make(struct folder *f)
{
    memset(f, 0, sizeof *f);
    snprintf(f->dir, sizeof f->dir, "/tmp/naru-tier-XXXXXX");
    sem_init(&f->gate.go, 0, 0);
    assert_non_null(mkdtemp(f->dir));
}

static void folder_remove(struct folder *f)
{
    DIR *d = opendir(f->dir);
    char path[512];
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        snprintf(path, sizeof path, "%s/%s", f->dir, e->d_name);
        (void)unlink(path);
    }
    closedir(d);
    assert_int_equal(rmdir(f->dir), 0);
    sem_destroy(&f->gate.go);
}

static struct engine_params with_store(const struct small *s, const struct folder *f)
{
    struct engine_params p = small_params(s);
    p.store = f->store;
    p.store_name = "small";
    p.store_identity[0] = 1;
    return p;
}

/* Half of the prompts share a beginning. */
static struct engine_request prompt(int32_t *ids, uint32_t number)
{
    for (uint32_t i = 0; i < PROMPT_LEN; i++)
        ids[i] = 260 + (int32_t)((i * 7 + (i < 80 ? number / 2 : number) * 31) % 250);
    struct engine_request r = engine_request_defaults(ids, PROMPT_LEN);
    r.ignore_eos = true;
    r.max_tokens = 12;
    r.sampler.temperature = number % 3 == 0 ? 0.0f : 0.9f;
    r.sampler.seed = number;
    r.logprobs = true;
    return r;
}

static void same(const struct answer *a, const struct answer *b)
{
    assert_int_equal(a->done.finish, b->done.finish);
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->ids, b->ids, a->n * sizeof *a->ids);
    assert_memory_equal(&a->logprob_sum, &b->logprob_sum, sizeof a->logprob_sum); /* bit by bit */
}

static struct answer cold[PROMPTS];

static void ask_cold(const struct small *s)
{
    int32_t ids[PROMPT_LEN];
    struct engine_params p = small_params(s);
    p.no_sharing = true;
    struct engine *e = engine_with(&p);
    for (uint32_t i = 0; i < PROMPTS; i++) {
        struct engine_request r = prompt(ids, i);
        ask(e, &r, &cold[i]);
    }
    close_engine(e);
}

/* All prompts, `width` at a time; the answers are the cold ones. Returns the tokens read from the store. */
static uint64_t ask_all(struct engine *e, uint32_t width)
{
    int32_t ids[PROMPT_LEN];
    struct answer a;
    uint64_t loaded = 0;
    for (uint32_t i = 0; i < PROMPTS; i += width) {
        struct engine_stream *streams[PROMPTS];
        for (uint32_t k = 0; k < width; k++) {
            struct engine_request r = prompt(ids, i + k);
            streams[k] = submit(e, &r);
        }
        for (uint32_t k = 0; k < width; k++) {
            finish(streams[k], &a);
            same(&a, &cold[i + k]);
            loaded += a.done.usage.loaded_tokens;
            assert_true(a.done.usage.loaded_tokens <= a.done.usage.cached_tokens);
        }
    }
    return loaded;
}

static struct engine_stats stats_of(const struct engine *e)
{
    struct engine_stats st;
    engine_stats(e, &st);
    return st;
}

static void answers_are_equal_wherever_the_prefix_comes_from(void **state)
{
    struct small *s = small_of(state);
    struct folder f;
    folder_make(&f);
    ask_cold(s);
    for (uint32_t width = 1; width <= 8; width += 7) {
        folder_open(&f, 64 << 20);
        struct engine_params p = with_store(s, &f);
        p.store_identity[1] = (uint8_t)width; /* each width begins with nothing stored */
        struct engine *e = engine_with(&p);
        assert_int_equal(ask_all(e, width), 0);
        assert_int_equal(ask_all(e, width), 0); /* shared in memory */
        close_engine(e);
        folder_close(&f);

        folder_open(&f, 64 << 20); /* a restart */
        p = with_store(s, &f);
        p.store_identity[1] = (uint8_t)width;
        e = engine_with(&p);
        uint64_t loaded = ask_all(e, width);
        assert_true(loaded > PROMPTS * PROMPT_LEN / 2);
        struct engine_stats st = stats_of(e);
        assert_true(st.store_loaded > 0 && st.store_loaded <= st.store_hits);
        assert_true(st.store.store.verified >= st.store_loaded);
        assert_int_equal(st.store.store.failed, 0);
        engine_forget(e);
        assert_true(ask_all(e, width) > PROMPTS * PROMPT_LEN / 2); /* forgotten and read back */
        close_engine(e);
        folder_close(&f);
    }
    folder_remove(&f);
}

static void reads_back_what_was_evicted(void **state)
{
    struct small *s = small_of(state);
    struct folder f;
    folder_make(&f);
    ask_cold(s);
    folder_open(&f, 64 << 20);
    struct engine_params p = with_store(s, &f);
    p.n_ctx = 256;
    p.kv_bytes = 45 * model_layout(s->model)->block_bytes; /* two requests and a bit */
    struct engine *e = engine_with(&p);
    uint64_t loaded = 0;
    for (int round = 0; round < 4; round++)
        loaded += ask_all(e, round % 2 == 0 ? 1 : 4);
    assert_true(stats_of(e).evictions > 0);
    assert_true(loaded > 0);
    close_engine(e);
    folder_close(&f);
    folder_remove(&f);
}

static void another_salt_or_model_finds_nothing(void **state)
{
    struct small *s = small_of(state);
    struct folder f;
    int32_t ids[PROMPT_LEN];
    struct answer a;
    folder_make(&f);
    for (int round = 0; round < 4; round++) {
        folder_open(&f, 64 << 20);
        struct engine_params p = with_store(s, &f);
        p.store_identity[0] = round == 3 ? 2 : 1; /* the last time, another model */
        struct engine *e = engine_with(&p);
        struct engine_request r = prompt(ids, 1);
        r.salt = (struct engine_str){ round == 2 ? "other" : "tenant", round == 2 ? 5 : 6 };
        ask(e, &r, &a);
        assert_int_equal(a.done.usage.loaded_tokens > 0, round == 1);
        close_engine(e);
        folder_close(&f);
    }
    folder_remove(&f);
}

/* F-07, F-13: a store whose reads fail is a miss. F-10, F-14: one that is stuck holds nobody up. */
static void a_bad_disk_costs_time_and_nothing_else(void **state)
{
    struct small *s = small_of(state);
    struct folder f;
    folder_make(&f);
    ask_cold(s);
    folder_open(&f, 64 << 20);
    struct engine_params p = with_store(s, &f);
    struct engine *e = engine_with(&p);
    (void)ask_all(e, 1);
    close_engine(e);
    folder_close(&f);

    folder_open(&f, 64 << 20);
    p = with_store(s, &f);
    e = engine_with(&p);
    atomic_store(&f.gate.fail_reads, true);
    assert_int_equal(ask_all(e, 4), 0);
    struct engine_stats st = stats_of(e);
    assert_true(st.store.store.faults[KV_FAULT_IO] > 0);
    assert_int_equal(st.store_loaded, 0);
    atomic_store(&f.gate.fail_reads, false);
    assert_true(st.store.fetch_failed > 0);
    close_engine(e);
    folder_close(&f);

    folder_open(&f, 64 << 20);
    p = with_store(s, &f);
    e = engine_with(&p);
    atomic_store(&f.gate.stick, true);
    (void)ask_all(e, 2); /* ends although no read and no write ever does */
    assert_true(stats_of(e).store_late > 0);
    atomic_store(&f.gate.stick, false);
    for (int i = 0; i < 64; i++)
        sem_post(&f.gate.go);
    engine_destroy(e);
    folder_close(&f);
    folder_remove(&f);
}

/* A request that ends while its blocks are on the way: nothing is held, the next one is right. */
static void cancelling_a_fetch_leaves_nothing(void **state)
{
    struct small *s = small_of(state);
    struct folder f;
    int32_t ids[PROMPT_LEN];
    folder_make(&f);
    ask_cold(s);
    folder_open(&f, 64 << 20);
    struct engine_params p = with_store(s, &f);
    struct engine *e = engine_with(&p);
    (void)ask_all(e, 1);
    close_engine(e);
    folder_close(&f);
    folder_open(&f, 64 << 20);
    p = with_store(s, &f);
    e = engine_with(&p);
    atomic_store(&f.gate.stick, true);
    struct engine_request r = prompt(ids, 3);
    struct engine_stream *stream = submit(e, &r);
    struct engine_progress progress = { 0 };
    struct engine_event ev;
    while (progress.phase < ENGINE_FETCH) {
        assert_true(engine_stream_next(stream, 0.001, &ev) >= 0);
        engine_stream_progress(stream, &progress);
    }
    engine_stream_close(stream);
    atomic_store(&f.gate.stick, false);
    for (int i = 0; i < 64; i++)
        sem_post(&f.gate.go);
    (void)ask_all(e, 4);
    engine_destroy(e);
    folder_close(&f);
    folder_remove(&f);
}

/* F-46: what was computed by a request that met NaN is not found again, here or after a restart. */
static atomic_int poison_at;
static int poisoned(const struct model *m, struct model_work *w, const struct model_batch *b, const float **logits)
{
    int rc = model_forward(m, w, b, logits);
    if (rc == 0 && b->n_want > 0 && atomic_fetch_sub(&poison_at, 1) == 1)
        for (uint32_t i = 0; i < model_info(m)->n_vocab; i++)
            ((float *)(uintptr_t)*logits)[i] = NAN;
    return rc;
}

static void suspect_state_is_not_kept(void **state)
{
    struct small *s = small_of(state);
    struct folder f;
    int32_t ids[PROMPT_LEN];
    struct answer a;
    folder_make(&f);
    folder_open(&f, 64 << 20);
    struct engine_params p = with_store(s, &f);
    p.forward = poisoned;
    struct engine *e = engine_with(&p);
    atomic_store(&poison_at, 5);
    struct engine_request r = prompt(ids, 2);
    ask(e, &r, &a);
    assert_int_equal(a.done.finish, ENGINE_ERROR);
    assert_int_equal(a.done.code, E_NONFINITE);
    close_engine(e);
    folder_close(&f);
    folder_open(&f, 64 << 20);
    p = with_store(s, &f);
    e = engine_with(&p);
    r = prompt(ids, 2);
    ask(e, &r, &a);
    assert_int_equal(a.done.usage.loaded_tokens, 0);
    close_engine(e);
    folder_close(&f);
    folder_remove(&f);
}

/* Every kind of state a family keeps in rows: grouped heads, windows, latents, experts. The tokenizer only names
 * tokens, so the small model's serves all. */
static void every_family_reads_back_what_it_wrote(void **state)
{
    struct small *s = small_of(state);
    static const char *const names[] = { "llama3", "qwen2",  "qwen3",     "gemma2",    "gemma3",
                                         "phi3-window", "mistral", "deepseek2", "deepseek3", "mixtral" };
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        char path[512];
        struct err err = { 0 };
        struct small family = *s;
        struct folder f;
        const char *dir = getenv("NARU_GOLDEN");
        snprintf(path, sizeof path, "%s/%s", dir != NULL ? dir : "tests/golden", names[i]);
        struct model_params mp = { .kv_type = KERNEL_F16, .block_len = 8 };
        if (model_file_open(&family.file, path, &err) < 0 ||
            model_create(&family.model, family.file, s->device, &mp, &err) < 0)
            fail_msg("%s: %s", path, err.text);
        uint32_t n_vocab = model_info(family.model)->n_vocab;
        folder_make(&f);
        struct answer want[2], got;
        for (int round = 0; round < 3; round++) { /* cold, cold with a store, after a restart */
            folder_open(&f, 64 << 20);
            struct engine_params p = with_store(&family, &f);
            p.no_sharing = round == 0;
            p.n_ctx = 128;
            struct engine *e = engine_with(&p);
            for (uint32_t k = 0; k < 2; k++) {
                int32_t ids[60];
                for (uint32_t t = 0; t < 60; t++)
                    ids[t] = (int32_t)((t * 13 + k * (t > 30) + 5) % n_vocab);
                struct engine_request r = engine_request_defaults(ids, 60);
                r.ignore_eos = true;
                r.max_tokens = 10;
                r.sampler.temperature = 0;
                r.logprobs = true;
                ask(e, &r, round == 0 ? &want[k] : &got);
                if (round == 0)
                    continue;
                same(&got, &want[k]);
                assert_true(round == 1 || got.done.usage.loaded_tokens > 0 || k == 1);
            }
            close_engine(e);
            folder_close(&f);
        }
        folder_remove(&f);
        model_destroy(family.model);
        model_file_close(family.file);
    }
}

int tier_test(void);
int tier_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_equal_wherever_the_prefix_comes_from),
        cmocka_unit_test(every_family_reads_back_what_it_wrote),
        cmocka_unit_test(reads_back_what_was_evicted),
        cmocka_unit_test(another_salt_or_model_finds_nothing),
        cmocka_unit_test(a_bad_disk_costs_time_and_nothing_else),
        cmocka_unit_test(cancelling_a_fetch_leaves_nothing),
        cmocka_unit_test(suspect_state_is_not_kept),
    };
    return cmocka_run_group_tests_name("tier", tests, small_load, small_unload);
}
