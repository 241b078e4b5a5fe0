#include "api/store.h"

#include <pthread.h>
#include <string.h>

#include "base/mem.h"

struct entry {
    char *id, *tenant;
    char *texts[API_STORED_COUNT];
    size_t lens[API_STORED_COUNT], bytes;
};

struct api_store {
    pthread_mutex_t lock;
    struct entry *ring; /* (n_max); entry i is at (first + i) % n_max */
    uint32_t n_max, n, first;
    size_t bytes, bytes_max;
};

static struct entry *at(const struct api_store *s, uint32_t i)
{
    ASSERT(i < s->n);
    return &s->ring[(s->first + i) % s->n_max];
}

static void entry_free(struct entry *e)
{
    mem_free(e->id);
    mem_free(e->tenant);
    for (int i = 0; i < API_STORED_COUNT; i++)
        mem_free(e->texts[i]);
    *e = (struct entry){ 0 };
}

int api_store_create(struct api_store **out, uint32_t n_max, size_t bytes_max)
{
    struct api_store *s = mem_alloc(1, sizeof *s);
    if (s == NULL)
        return E_NOMEM;
    s->n_max = n_max;
    s->bytes_max = bytes_max;
    s->ring = n_max > 0 ? mem_alloc(n_max, sizeof *s->ring) : NULL;
    pthread_mutex_init(&s->lock, NULL);
    if (n_max > 0 && s->ring == NULL) {
        api_store_destroy(s);
        return E_NOMEM;
    }
    *out = s;
    return 0;
}

void api_store_destroy(struct api_store *s)
{
    if (s == NULL)
        return;
    for (uint32_t i = 0; i < s->n; i++)
        entry_free(at(s, i));
    pthread_mutex_destroy(&s->lock);
    mem_free(s->ring);
    mem_free(s);
}

static bool entry_copy(struct entry *out, const struct api_store_entry *e)
{
    *out = (struct entry){ .id = mem_strndup(e->id, strlen(e->id)),
                           .tenant = mem_strndup(e->tenant, strlen(e->tenant)) };
    bool ok = out->id != NULL && out->tenant != NULL;
    out->bytes = strlen(e->id) + strlen(e->tenant);
    for (int i = 0; ok && i < API_STORED_COUNT; i++) {
        out->lens[i] = e->texts[i].len;
        out->bytes += e->texts[i].len;
        out->texts[i] = mem_strndup(e->texts[i].data, e->texts[i].len);
        ok = out->texts[i] != NULL;
    }
    if (!ok)
        entry_free(out);
    return ok;
}

static void drop_first(struct api_store *s)
{
    struct entry *e = at(s, 0);
    s->bytes -= e->bytes;
    entry_free(e);
    s->first = (s->first + 1) % s->n_max;
    s->n--;
}

bool api_store_put(struct api_store *s, const struct api_store_entry *e)
{
    struct entry copy;
    if (s->n_max == 0 || !entry_copy(&copy, e))
        return false;
    if (copy.bytes > s->bytes_max) {
        entry_free(&copy);
        return false;
    }
    pthread_mutex_lock(&s->lock);
    while (s->n == s->n_max || s->bytes + copy.bytes > s->bytes_max)
        drop_first(s);
    s->n++;
    *at(s, s->n - 1) = copy;
    s->bytes += copy.bytes;
    pthread_mutex_unlock(&s->lock);
    return true;
}

/* Index of an entry, s->n if there is none. */
static uint32_t find(const struct api_store *s, const char *id, const char *tenant)
{
    uint32_t i = 0;
    while (i < s->n && (strcmp(at(s, i)->id, id) != 0 || strcmp(at(s, i)->tenant, tenant) != 0))
        i++;
    return i;
}

int api_store_get(struct api_store *s, const char *id, const char *tenant, enum api_stored what,
                  struct buf *out)
{
    pthread_mutex_lock(&s->lock);
    uint32_t i = find(s, id, tenant);
    bool found = i < s->n;
    if (found)
        buf_put(out, at(s, i)->texts[what], at(s, i)->lens[what]);
    pthread_mutex_unlock(&s->lock);
    return found ? buf_status(out) : E_NOT_FOUND;
}

int api_store_delete(struct api_store *s, const char *id, const char *tenant)
{
    pthread_mutex_lock(&s->lock);
    uint32_t i = find(s, id, tenant);
    bool found = i < s->n;
    if (found) {
        struct entry gone = *at(s, i);
        for (; i + 1 < s->n; i++)
            *at(s, i) = *at(s, i + 1);
        *at(s, s->n - 1) = (struct entry){ 0 };
        s->n--;
        s->bytes -= gone.bytes;
        entry_free(&gone);
    }
    pthread_mutex_unlock(&s->lock);
    return found ? 0 : E_NOT_FOUND;
}
