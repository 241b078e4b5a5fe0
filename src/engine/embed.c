/* A job is held by its caller and by the engine's list; whoever lets go last frees it. The lane
 * lies in the job: a lack of memory is told to the client who asked, not met between steps. */
#include "engine/embed.h"

#include <math.h>
#include <string.h>

#include "base/num.h"
#include "engine/impl.h"
#include "engine/lane.h"

#define CHUNK_ROWS 128 /* of a decoder: what a running answer may have to wait for */

struct engine_embedding {
    struct engine *engine;
    struct engine_embed_request r; /* ids and lens are the job's own */
    int32_t *ids;
    uint32_t *lens;
    float *rows;                   /* (n, n_embd) */
    uint32_t n_embd;
    struct engine_lane lane;
    struct engine_embedding *next; /* by engine.lock */
    atomic_uint refs;
    atomic_bool cancelled;
    atomic_int done;               /* 0: not yet; 1; E_*; released after rows are written */
    pthread_mutex_t lock;          /* around notify, and closed */
    bool closed;
    uint32_t text, at;             /* the engine thread's: text and row it is at */
    size_t offset;                 /* of the text's ids */
};

static void unref(struct engine_embedding *j)
{
    if (atomic_fetch_sub(&j->refs, 1) != 1)
        return;
    engine_lane_fini(&j->lane);
    pthread_mutex_destroy(&j->lock);
    mem_free(j->ids);
    mem_free(j->lens);
    mem_free(j->rows);
    mem_free(j);
}

/* --- submit ----------------------------------------------------------------------------------- */

static int measure(const struct engine *e, const struct engine_embed_request *r, size_t *total,
                   uint32_t *longest, struct err *err)
{
    *total = 0;
    *longest = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        if (r->lens[i] == 0)
            return err_set_field(err, E_RANGE, "input", "input %u has no token", i);
        if (r->lens[i] > e->info.n_ctx)
            return err_set_field(err, E_LIMIT, "input",
                                 "input %u has %u tokens; the context holds %u", i, r->lens[i],
                                 e->info.n_ctx);
        *total += r->lens[i];
        *longest = (uint32_t)num_max(*longest, r->lens[i]);
    }
    for (size_t i = 0; i < *total; i++)
        if (r->ids[i] < 0 || (uint32_t)r->ids[i] >= e->n_vocab)
            return err_set_field(err, E_RANGE, "input", "token %d: the vocabulary has %u",
                                 r->ids[i], e->n_vocab);
    return 0;
}

static int make(struct engine_embedding **out, struct engine *e,
                const struct engine_embed_request *r, struct err *err)
{
    const struct model_info *mi = model_info(e->params.model);
    size_t total, n_values;
    uint32_t longest;
    TRY(measure(e, r, &total, &longest, err));
    struct engine_embedding *j = mem_alloc(1, sizeof *j);
    if (j == NULL)
        return err_set(err, E_NOMEM, "no memory for embeddings");
    pthread_mutex_init(&j->lock, NULL);
    atomic_init(&j->refs, 1);
    j->engine = e;
    j->r = *r;
    j->n_embd = mi->n_embd;
    if (j->r.pooling == MODEL_POOL_NONE)
        j->r.pooling = e->info.pooling;
    j->ids = mem_alloc(total, sizeof *j->ids);
    j->lens = mem_alloc(r->n, sizeof *j->lens);
    int rc = num_mul(&n_values, r->n, mi->n_embd);
    j->rows = rc == 0 ? mem_alloc(n_values, sizeof *j->rows) : NULL;
    uint32_t rows = mi->encoder ? longest : (uint32_t)num_min(longest, CHUNK_ROWS);
    rc = j->ids == NULL || j->lens == NULL || j->rows == NULL
             ? E_NOMEM
             : engine_lane_init(&j->lane, e->params.model, longest, rows, 0);
    if (rc < 0) {
        unref(j);
        return err_set(err, rc, "no memory to embed %u texts of up to %u tokens", r->n, longest);
    }
    memcpy(j->ids, r->ids, total * sizeof *j->ids);
    memcpy(j->lens, r->lens, r->n * sizeof *j->lens);
    *out = j;
    return 0;
}

int engine_embed_submit(struct engine *e, const struct engine_embed_request *r,
                        struct engine_embedding **out, struct err *err)
{
    struct engine_embedding *j = NULL;
    ASSERT(r->n > 0);
    TRY(make(&j, e, r, err));
    int rc = 0;
    pthread_mutex_lock(&e->lock);
    if (e->closing)
        rc = err_set(err, E_CLOSED, "the engine takes no more requests: it is shutting down");
    else if (e->n_live >= e->n_requests_max)
        rc = err_set(err, E_FULL, "%u requests are waiting; try again later", e->n_live);
    if (rc == 0) {
        *out = j; /* before the engine can call notify */
        atomic_store(&j->refs, 2);
        if (e->embed_last != NULL)
            e->embed_last->next = j;
        else
            e->embed_first = j;
        e->embed_last = j;
        e->n_live++;
        e->poked = true;
        pthread_cond_signal(&e->wake);
    }
    pthread_mutex_unlock(&e->lock);
    if (rc < 0)
        unref(j);
    return rc;
}

int engine_embed_poll(struct engine_embedding *j, const float **rows)
{
    int done = atomic_load_explicit(&j->done, memory_order_acquire); /* with finish's release */
    if (done == 1)
        *rows = j->rows;
    return done;
}

void engine_embed_close(struct engine_embedding *j)
{
    if (j == NULL)
        return;
    atomic_store(&j->cancelled, true);
    pthread_mutex_lock(&j->lock);
    j->closed = true;
    pthread_mutex_unlock(&j->lock);
    unref(j);
}

/* --- the engine's thread ---------------------------------------------------------------------- */

/* Takes the first job off the list; it is over. */
static void finish(struct engine *e, struct engine_embedding *j, int done)
{
    pthread_mutex_lock(&e->lock);
    ASSERT(e->embed_first == j);
    e->embed_first = j->next;
    if (e->embed_first == NULL)
        e->embed_last = NULL;
    pthread_mutex_unlock(&e->lock);
    atomic_store_explicit(&j->done, done, memory_order_release);
    pthread_mutex_lock(&j->lock);
    if (!j->closed)
        j->r.notify(j->r.notify_ctx);
    pthread_mutex_unlock(&j->lock);
    unref(j);
    pthread_mutex_lock(&e->lock);
    ASSERT(e->n_live > 0);
    if (--e->n_live == 0)
        pthread_cond_broadcast(&e->idle);
    pthread_mutex_unlock(&e->lock);
}

/* Rows [at, at + n) of a text of len go into its vector. */
static void pool(struct engine_embedding *j, const float *rows, uint32_t n, uint32_t len)
{
    float *v = j->rows + (size_t)j->text * j->n_embd;
    bool first = j->at == 0, last = j->at + n == len;
    if (j->r.pooling == MODEL_POOL_CLS && first)
        memcpy(v, rows, j->n_embd * sizeof *v);
    if (j->r.pooling == MODEL_POOL_LAST && last)
        memcpy(v, rows + (size_t)(n - 1) * j->n_embd, j->n_embd * sizeof *v);
    if (j->r.pooling != MODEL_POOL_MEAN)
        return;
    if (first)
        memset(v, 0, j->n_embd * sizeof *v);
    for (uint32_t r = 0; r < n; r++)
        for (uint32_t i = 0; i < j->n_embd; i++)
            v[i] += rows[(size_t)r * j->n_embd + i];
}

/* Scales to length 1; the mean needs no division of its own then. */
static int normalise(float *v, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += (double)v[i] * (double)v[i];
    if (!isfinite(sum) || sum == 0)
        return E_NONFINITE;
    float scale = (float)(1 / sqrt(sum));
    for (uint32_t i = 0; i < n; i++)
        v[i] *= scale;
    return 0;
}

/* One chunk; 1 when the job is done. */
static int advance(struct engine_embedding *j)
{
    uint32_t len = j->lens[j->text], n = (uint32_t)num_min(len - j->at, j->lane.n_rows);
    const float *rows = NULL;
    if (j->at == 0)
        engine_lane_restart(&j->lane);
    memcpy(j->lane.ids, j->ids + j->offset + j->at, n * sizeof *j->ids);
    TRY(engine_lane_hidden(&j->lane, n, &rows));
    pool(j, rows, n, len);
    j->at += n;
    if (j->at < len)
        return 0;
    TRY(normalise(j->rows + (size_t)j->text * j->n_embd, j->n_embd));
    j->offset += len;
    j->at = 0;
    return ++j->text == j->r.n;
}

bool engine_embed_step(struct engine *e, bool cancel_all)
{
    pthread_mutex_lock(&e->lock);
    struct engine_embedding *j = e->embed_first;
    pthread_mutex_unlock(&e->lock);
    if (j == NULL)
        return false;
    int rc = cancel_all || atomic_load(&j->cancelled) ? E_CANCELLED : advance(j);
    if (rc != 0)
        finish(e, j, rc);
    return true;
}
