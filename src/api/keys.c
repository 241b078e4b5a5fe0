#include "api/keys.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#include "api/quota.h"
#include "base/map.h"
#include "base/mem.h"

#define LOOK_MS 250  /* how often the file is looked at */
#define WRITE_S 1    /* how often usage is written */
#define BATCH 256    /* keys a transaction */

struct api_key {
    struct api_key_row row;
    struct api_window requests, tokens;
    uint64_t reserved;          /* tokens of requests that run */
    uint32_t n_running;
    struct api_key_usage used;  /* not written yet */
    bool seen;                  /* by the read that is going on */
};

struct api_keys {
    struct api_keys_params p;
    char *path;
    struct api_key_db *db;      /* the thread's, after create */
    int64_t version;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    bool running, stop, complained;
    struct api_key **list;
    uint32_t n, cap;
    struct map by_id;           /* of row.id to index */
};

static uint64_t second(const struct api_keys *k)
{
    return clock_now_ns(&k->p.clock) / 1000000000u;
}

static bool is_valid(const struct api_key_row *row, int64_t now)
{
    return (row->revoked == 0 || row->revoked > now) && (row->expires == 0 || row->expires > now);
}

/* --- reading the file ------------------------------------------------------------------------- */

static int add_key(struct api_keys *k, const struct api_key_row *row)
{
    if (k->n == k->cap) {
        uint32_t cap = k->cap == 0 ? 16 : 2 * k->cap;
        struct api_key **more = mem_realloc(k->list, cap, sizeof(struct api_key *));
        if (more == NULL)
            return E_NOMEM;
        k->list = more;
        k->cap = cap;
    }
    struct api_key *key = mem_alloc(1, sizeof *key);
    if (key == NULL)
        return E_NOMEM;
    key->row = *row;
    key->seen = true;
    int rc = map_put(&k->by_id, key->row.id, strlen(key->row.id), k->n, NULL);
    if (rc < 0) {
        mem_free(key);
        return rc;
    }
    k->list[k->n++] = key;
    return 0;
}

static int take_row(void *ctx, const struct api_key_row *row)
{
    struct api_keys *k = ctx;
    uint32_t i;
    pthread_mutex_lock(&k->lock);
    int rc = 0;
    if (map_get(&k->by_id, row->id, strlen(row->id), &i)) {
        struct api_key_row *to = &k->list[i]->row; /* name, tenant and role are for ever */
        to->expires = row->expires;
        to->revoked = row->revoked;
        to->requests_per_min = row->requests_per_min;
        to->tokens_per_min = row->tokens_per_min;
        to->concurrent = row->concurrent;
        k->list[i]->seen = true;
    } else {
        rc = add_key(k, row);
    }
    pthread_mutex_unlock(&k->lock);
    return rc;
}

/* A key whose row is gone is revoked. */
static void drop_unseen(struct api_keys *k)
{
    pthread_mutex_lock(&k->lock);
    for (uint32_t i = 0; i < k->n; i++) {
        if (!k->list[i]->seen)
            k->list[i]->row.revoked = 1;
        k->list[i]->seen = false;
    }
    pthread_mutex_unlock(&k->lock);
}

static int read_all(struct api_keys *k, struct err *err)
{
    int64_t version;
    TRY(api_key_db_version(k->db, &version, err));
    if (version == k->version)
        return 0;
    TRY(api_key_db_each(k->db, take_row, k, err));
    drop_unseen(k);
    k->version = version;
    return 0;
}

/* --- writing usage ---------------------------------------------------------------------------- */

/* Takes what up to max keys used from *at on; how many. */
static size_t gather(struct api_keys *k, uint32_t *at, struct api_key_usage *out, size_t max)
{
    size_t n = 0;
    pthread_mutex_lock(&k->lock);
    for (; *at < k->n && n < max; ++*at) {
        struct api_key *key = k->list[*at];
        if (key->used.requests == 0)
            continue;
        out[n] = key->used;
        memcpy(out[n].id, key->row.id, sizeof out[n].id);
        out[n++].hour = clock_wall_s(&k->p.clock) / 3600;
        key->used = (struct api_key_usage){ 0 };
    }
    pthread_mutex_unlock(&k->lock);
    return n;
}

static void add_usage(struct api_key_usage *to, const struct api_key_usage *u)
{
    to->requests += u->requests;
    to->failed += u->failed;
    to->prompt += u->prompt;
    to->cached += u->cached;
    to->completion += u->completion;
}

/* What could not be written is counted again with the next. */
static void put_back(struct api_keys *k, const struct api_key_usage *u, size_t n)
{
    pthread_mutex_lock(&k->lock);
    for (size_t i = 0; i < n; i++) {
        uint32_t at;
        if (map_get(&k->by_id, u[i].id, strlen(u[i].id), &at))
            add_usage(&k->list[at]->used, &u[i]);
    }
    pthread_mutex_unlock(&k->lock);
}

static int write_usage(struct api_keys *k, struct err *err)
{
    struct api_key_usage batch[BATCH];
    uint32_t at = 0;
    for (;;) {
        size_t n = gather(k, &at, batch, BATCH);
        if (n == 0)
            return 0;
        int rc = api_key_db_count(k->db, batch, n, err);
        if (rc < 0) {
            put_back(k, batch, n);
            return rc;
        }
    }
}

/* --- the thread ------------------------------------------------------------------------------- */

/* The same complaint is made once. */
static void complain(struct api_keys *k, int rc, const struct err *err)
{
    if (rc < 0 && !k->complained && k->p.log != NULL)
        k->p.log(k->p.log_ctx, err->text);
    k->complained = rc < 0;
}

static bool wait_a_little(struct api_keys *k)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LOOK_MS * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&k->lock);
    if (!k->stop)
        pthread_cond_timedwait(&k->wake, &k->lock, &until);
    bool stop = k->stop;
    pthread_mutex_unlock(&k->lock);
    return stop;
}

static void *watch(void *arg)
{
    struct api_keys *k = arg;
    int ticks = 0;
    for (bool stop = false; !stop;) {
        stop = wait_a_little(k);
        struct err err = { 0 };
        int rc = read_all(k, &err);
        if (rc == 0 && (stop || ++ticks * LOOK_MS >= WRITE_S * 1000)) {
            ticks = 0;
            rc = write_usage(k, &err);
        }
        complain(k, rc, &err);
    }
    return NULL;
}

int api_keys_create(struct api_keys **out, const struct api_keys_params *p, struct err *err)
{
    struct api_keys *k = mem_alloc(1, sizeof *k);
    if (k == NULL)
        return err_set(err, E_NOMEM, "out of memory");
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&k->lock, NULL);
    pthread_cond_init(&k->wake, &attr);
    pthread_condattr_destroy(&attr);
    k->p = *p;
    k->version = -1;
    k->path = mem_strndup(p->path, strlen(p->path));
    int rc = k->path == NULL || map_init(&k->by_id, 16) < 0
                 ? err_set(err, E_NOMEM, "out of memory")
                 : api_key_db_open(&k->db, p->path, err);
    if (rc == 0)
        rc = read_all(k, err);
    if (rc == 0) {
        k->running = pthread_create(&k->thread, NULL, watch, k) == 0;
        rc = k->running ? 0 : err_set(err, E_NOMEM, "cannot start the thread of keys");
    }
    if (rc < 0) {
        api_keys_destroy(k);
        return rc;
    }
    *out = k;
    return 0;
}

void api_keys_destroy(struct api_keys *k)
{
    if (k == NULL)
        return;
    if (k->running) {
        pthread_mutex_lock(&k->lock);
        k->stop = true;
        pthread_cond_signal(&k->wake);
        pthread_mutex_unlock(&k->lock);
        pthread_join(k->thread, NULL);
    }
    api_key_db_close(k->db);
    for (uint32_t i = 0; i < k->n; i++)
        mem_free(k->list[i]);
    mem_free(k->list);
    map_fini(&k->by_id);
    pthread_cond_destroy(&k->wake);
    pthread_mutex_destroy(&k->lock);
    mem_free(k->path);
    mem_free(k);
}

const char *api_keys_path(const struct api_keys *k) { return k->path; }

uint32_t api_keys_count(struct api_keys *k)
{
    uint32_t n = 0;
    int64_t now = clock_wall_s(&k->p.clock);
    pthread_mutex_lock(&k->lock);
    for (uint32_t i = 0; i < k->n; i++)
        n += is_valid(&k->list[i]->row, now);
    pthread_mutex_unlock(&k->lock);
    return n;
}

/* --- requests --------------------------------------------------------------------------------- */

struct api_key *api_keys_find(struct api_keys *k, const char *text, size_t len)
{
    char id[API_KEY_ID_LEN + 1];
    uint32_t i;
    if (!api_key_parse(text, len, id))
        return NULL;
    pthread_mutex_lock(&k->lock);
    struct api_key *key = map_get(&k->by_id, id, API_KEY_ID_LEN, &i) ? k->list[i] : NULL;
    struct api_key_row row = { 0 };
    if (key != NULL)
        row = key->row;
    pthread_mutex_unlock(&k->lock);
    bool matches = api_key_matches(text, len, &row.hash); /* also for an id nobody has */
    return key != NULL && matches && is_valid(&row, clock_wall_s(&k->p.clock)) ? key : NULL;
}

/* Role, tenant and id of a key never change: these need no lock. */
enum api_key_role api_key_role(const struct api_key *key) { return key->row.role; }
const char *api_key_tenant(const struct api_key *key) { return key->row.tenant; }
const char *api_key_id(const struct api_key *key) { return key->row.id; }

static uint64_t left_of(uint64_t limit, uint64_t used) { return used < limit ? limit - used : 0; }

/* With the lock. */
static void tell(struct api_key *key, uint64_t now, struct api_key_rate *rate)
{
    const struct api_key_row *row = &key->row;
    uint64_t tokens = api_window_sum(&key->tokens, now) + key->reserved;
    rate->limit_requests = row->requests_per_min;
    rate->limit_tokens = row->tokens_per_min;
    rate->left_requests = left_of(row->requests_per_min, api_window_sum(&key->requests, now));
    rate->left_tokens = left_of(row->tokens_per_min, tokens);
    rate->reset_requests_s = api_window_wait(&key->requests, now, 0);
    rate->reset_tokens_s = api_window_wait(&key->tokens, now, 0);
}

static int refuse(struct api_key_rate *rate, uint32_t retry_s, struct err *err, const char *what,
                  uint32_t limit)
{
    rate->retry_s = retry_s;
    return err_set(err, E_BUSY, "this key's limit of %u %s is reached", limit, what);
}

int api_key_begin(struct api_keys *k, struct api_key *key, struct api_key_rate *rate,
                  struct err *err)
{
    uint64_t now = second(k);
    const struct api_key_row *row = &key->row;
    *rate = (struct api_key_rate){ 0 };
    pthread_mutex_lock(&k->lock);
    int rc = 0;
    uint32_t n = row->requests_per_min;
    if (n > 0 && api_window_sum(&key->requests, now) >= n) {
        uint32_t wait = api_window_wait(&key->requests, now, n - 1);
        rc = refuse(rate, wait, err, "requests a minute", n);
    } else if (row->concurrent > 0 && key->n_running >= row->concurrent) {
        rc = refuse(rate, 1, err, "requests at a time", row->concurrent);
    } else if (row->tokens_per_min > 0 &&
               api_window_sum(&key->tokens, now) + key->reserved >= row->tokens_per_min) {
        uint32_t wait = api_window_wait(&key->tokens, now, row->tokens_per_min - 1);
        rc = refuse(rate, wait > 0 ? wait : 1, err, "tokens a minute", row->tokens_per_min);
    } else {
        api_window_add(&key->requests, now, 1);
        key->n_running++;
    }
    tell(key, now, rate);
    pthread_mutex_unlock(&k->lock);
    return rc;
}

int api_key_reserve(struct api_keys *k, struct api_key *key, uint64_t tokens,
                    struct api_key_rate *rate, struct err *err)
{
    uint64_t now = second(k);
    int rc = 0;
    pthread_mutex_lock(&k->lock);
    uint64_t limit = key->row.tokens_per_min;
    uint64_t used = api_window_sum(&key->tokens, now) + key->reserved;
    if (limit > 0 && tokens > limit) {
        rate->retry_s = 0;
        rc = err_set(err, E_BUSY, "this request may take %llu tokens; the key's limit is %llu a "
                     "minute: shorten it, or lower max_tokens", (unsigned long long)tokens,
                     (unsigned long long)limit);
    } else if (limit > 0 && used + tokens > limit) {
        uint32_t wait = api_window_wait(&key->tokens, now, limit - tokens);
        rc = refuse(rate, wait > 0 ? wait : 1, err, "tokens a minute", (uint32_t)limit);
    } else {
        key->reserved += tokens;
    }
    uint32_t retry_s = rate->retry_s;
    tell(key, now, rate);
    rate->retry_s = retry_s;
    pthread_mutex_unlock(&k->lock);
    return rc;
}

void api_key_end(struct api_keys *k, struct api_key *key, uint64_t reserved,
                 const struct api_key_usage *used)
{
    pthread_mutex_lock(&k->lock);
    ASSERT(key->n_running > 0);
    ASSERT(key->reserved >= reserved);
    key->n_running--;
    key->reserved -= reserved;
    api_window_add(&key->tokens, second(k), used->prompt + used->completion);
    add_usage(&key->used, used);
    pthread_mutex_unlock(&k->lock);
}
