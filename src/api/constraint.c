#include "api/constraint.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define KEPT_MAX 64u
#define QUEUE_MAX 256u /* waiting to be compiled */
#define SCHEMA_BYTES_MAX TEXT_GRAMMAR_BYTES_MAX /* L4 */

/* --- fields ----------------------------------------------------------------------------------- */

static bool is_word(const json_value *v, const char *word)
{
    size_t len = 0;
    const char *s = json_text(v, &len);
    return s != NULL && len == strlen(word) && memcmp(s, word, len) == 0;
}

static int set(struct api_constraint *c, enum text_grammar_kind kind, const char *path,
               struct err *err)
{
    if (c->set)
        return err_set_field(err, E_RANGE, path, "%s and %s both constrain the answer; give one",
                             c->path, path);
    c->set = true;
    c->kind = kind;
    snprintf(c->path, sizeof c->path, "%s", path);
    return 0;
}

static int set_schema(struct api_constraint *c, const json_value *v, const char *path,
                      struct err *err)
{
    TRY(set(c, TEXT_GRAMMAR_SCHEMA, path, err));
    c->json = v;
    return json_kind_of(v) == JSON_OBJECT || json_kind_of(v) == JSON_BOOL
               ? 0
               : api_field_wrong(err, E_FORMAT, path, "must be a JSON schema: an object");
}

static int set_source(struct api_constraint *c, enum text_grammar_kind kind, const json_value *v,
                      const char *path, struct err *err)
{
    TRY(set(c, kind, path, err));
    c->source.data = json_text(v, &c->source.len);
    return c->source.data != NULL ? 0 : api_field_wrong(err, E_FORMAT, path, "must be a string");
}

int api_parse_response_format(struct api_constraint *c, const json_value *v, const char *path,
                              struct err *err)
{
    const json_value *type = json_get(v, "type"), *inner = json_get(v, "json_schema");
    char at[API_PATH_MAX];
    snprintf(at, sizeof at, "%s.type", path);
    if (json_kind_of(v) != JSON_OBJECT || json_kind_of(type) != JSON_STRING)
        return api_field_wrong(err, E_FORMAT, at, "must be a string");
    if (is_word(type, "text"))
        return 0;
    if (is_word(type, "json_object") && json_get(v, "schema") == NULL)
        return set(c, TEXT_GRAMMAR_OBJECT, path, err);
    if (is_word(type, "json_object")) {
        snprintf(at, sizeof at, "%s.schema", path);
        return set_schema(c, json_get(v, "schema"), at, err);
    }
    if (!is_word(type, "json_schema"))
        return api_field_wrong(err, E_RANGE, at, "must be text, json_object or json_schema");
    snprintf(at, sizeof at, "%s.json_schema.schema", path);
    if (json_get(inner, "schema") == NULL)
        return api_field_wrong(err, E_FORMAT, at, "is missing; give the schema of the answer");
    const json_value *strict = json_get(inner, "strict");
    c->one_of_as_any = json_kind_of(strict) != JSON_BOOL || !json_as_bool(strict);
    return set_schema(c, json_get(inner, "schema"), at, err);
}

static int parse_switch(const json_value *object, const char *name, bool *out, struct err *err)
{
    char at[API_PATH_MAX];
    const json_value *v = json_get(object, name);
    snprintf(at, sizeof at, "structured_outputs.%s", name);
    if (v != NULL && json_kind_of(v) != JSON_BOOL)
        return api_field_wrong(err, E_FORMAT, at, "must be true or false");
    *out = v != NULL && json_as_bool(v);
    return 0;
}

static int parse_structured(struct api_constraint *c, const json_value *v, struct err *err)
{
    static const char *const words[] = { "json", "regex", "choice", "grammar" };
    bool object = false, closed = false;
    if (json_kind_of(v) != JSON_OBJECT)
        return api_field_wrong(err, E_FORMAT, "structured_outputs", "must be an object");
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        char at[API_PATH_MAX];
        snprintf(at, sizeof at, "structured_outputs.%s", words[i]);
        if (json_get(v, words[i]) != NULL)
            TRY(api_parse_constraint(c, json_get(v, words[i]), at, err));
    }
    static const char *const others[] = { "structural_tag", "whitespace_pattern" };
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        char at[API_PATH_MAX];
        snprintf(at, sizeof at, "structured_outputs.%s", others[i]);
        if (json_get(v, others[i]) != NULL)
            return api_field_wrong(err, E_UNSUPPORTED, at, "is not supported");
    }
    TRY(parse_switch(v, "json_object", &object, err));
    TRY(parse_switch(v, "disable_any_whitespace", &c->compact, err));
    TRY(parse_switch(v, "disable_additional_properties", &closed, err));
    c->open = json_get(v, "disable_additional_properties") != NULL && !closed;
    return object ? set(c, TEXT_GRAMMAR_OBJECT, "structured_outputs.json_object", err) : 0;
}

int api_parse_constraint(struct api_constraint *c, const json_value *v, const char *path,
                         struct err *err)
{
    const char *word = strrchr(path, '.') != NULL ? strrchr(path, '.') + 1 : path;
    word = strncmp(word, "guided_", 7) == 0 ? word + 7 : word;
    if (strcmp(path, "structured_outputs") == 0)
        return parse_structured(c, v, err);
    if (strcmp(word, "json") == 0 || strcmp(word, "json_schema") == 0)
        return set_schema(c, v, path, err);
    if (strcmp(word, "regex") == 0)
        return set_source(c, TEXT_GRAMMAR_REGEX, v, path, err);
    if (strcmp(word, "grammar") == 0)
        return set_source(c, TEXT_GRAMMAR_GBNF, v, path, err);
    ASSERT(strcmp(word, "choice") == 0);
    TRY(set(c, TEXT_GRAMMAR_CHOICE, path, err));
    c->json = v;
    return json_kind_of(v) == JSON_ARRAY
               ? 0
               : api_field_wrong(err, E_FORMAT, path, "must be an array of strings");
}

/* --- compiled ones ---------------------------------------------------------------------------- */

enum entry_state { ENTRY_QUEUED, ENTRY_READY, ENTRY_FAILED };

struct api_constraint_entry {
    struct buf key;              /* kind, switches, text */
    enum entry_state state;
    struct text_grammar *grammar;
    struct err err;
    struct api_waiter *waiters;
    uint64_t used;
    struct api_constraint_entry *next, *next_queued;
};

struct api_constraints {
    const struct text_tokenizer *tokenizer;
    struct text_grammar_vocab *vocab; /* made by the thread, before the first grammar */
    pthread_mutex_t lock;
    pthread_cond_t work;
    pthread_t thread;
    bool stops, started;
    uint64_t clock;
    uint32_t n, n_queued;
    struct api_constraint_entry *entries, *queue;
};

#define HEAD_BYTES 4 /* of a key: kind and switches */

static void make_key(const struct api_constraint *c, struct buf *key)
{
    struct json_writer w;
    buf_init(key, SCHEMA_BYTES_MAX + HEAD_BYTES);
    buf_putc(key, (char)c->kind);
    buf_putc(key, (char)c->compact);
    buf_putc(key, (char)c->open);
    buf_putc(key, (char)c->one_of_as_any);
    json_writer_init(&w, key);
    if (c->json != NULL)
        json_write_value(&w, c->json);
    else
        buf_put(key, c->source.data != NULL ? c->source.data : "", c->source.len);
}

static void entry_free(struct api_constraint_entry *e)
{
    ASSERT(e->waiters == NULL);
    text_grammar_unref(e->grammar);
    buf_fini(&e->key);
    mem_free(e);
}

/* The least recently used one that nobody waits for goes. */
static void evict(struct api_constraints *cs)
{
    struct api_constraint_entry **oldest = NULL;
    for (struct api_constraint_entry **at = &cs->entries; *at != NULL; at = &(*at)->next) {
        bool idle = (*at)->state != ENTRY_QUEUED && (*at)->waiters == NULL;
        if (idle && (oldest == NULL || (*at)->used < (*oldest)->used))
            oldest = at;
    }
    if (oldest == NULL)
        return;
    struct api_constraint_entry *e = *oldest;
    *oldest = e->next;
    cs->n--;
    entry_free(e);
}

static int compile(struct api_constraints *cs, struct api_constraint_entry *e)
{
    const char *text = e->key.data + HEAD_BYTES;
    const size_t len = e->key.len - HEAD_BYTES;
    json_value *v = NULL;
    struct text_grammar_params p = { .kind = (enum text_grammar_kind)e->key.data[0],
                                     .source = text,
                                     .source_len = len,
                                     .compact = e->key.data[1] != 0,
                                     .open = e->key.data[2] != 0,
                                     .one_of_as_any = e->key.data[3] != 0 };
    if (cs->vocab == NULL && text_grammar_vocab_of(&cs->vocab, cs->tokenizer) < 0)
        return err_set(&e->err, E_NOMEM, "out of memory");
    if (p.kind == TEXT_GRAMMAR_SCHEMA || p.kind == TEXT_GRAMMAR_CHOICE ||
        p.kind == TEXT_GRAMMAR_CALLS) {
        TRY(json_parse(&v, text, len, &JSON_LIMITS_REQUEST, &e->err));
        p.json = v;
        p.source_len = 0;
    }
    int rc = text_grammar_create(&e->grammar, cs->vocab, &p, &e->err);
    json_free(v);
    return rc;
}

static void wake_all(struct api_constraint_entry *e)
{
    while (e->waiters != NULL) {
        struct api_waiter *w = e->waiters;
        e->waiters = w->next;
        w->entry = NULL;
        w->wake(w->ctx);
    }
}

static void *work(void *ctx)
{
    struct api_constraints *cs = ctx;
    pthread_mutex_lock(&cs->lock);
    while (!cs->stops) {
        struct api_constraint_entry *e = cs->queue;
        if (e == NULL) {
            pthread_cond_wait(&cs->work, &cs->lock);
            continue;
        }
        cs->queue = e->next_queued;
        cs->n_queued--;
        pthread_mutex_unlock(&cs->lock);
        int rc = compile(cs, e);
        pthread_mutex_lock(&cs->lock);
        e->state = rc == 0 ? ENTRY_READY : ENTRY_FAILED;
        if (rc < 0 && e->err.code == 0)
            (void)err_set(&e->err, rc, "%s", err_code_text(rc));
        wake_all(e);
    }
    pthread_mutex_unlock(&cs->lock);
    return NULL;
}

int api_constraints_create(struct api_constraints **out, const struct text_tokenizer *tokenizer)
{
    struct api_constraints *cs = mem_alloc(1, sizeof *cs);
    if (cs == NULL)
        return E_NOMEM;
    cs->tokenizer = tokenizer;
    pthread_mutex_init(&cs->lock, NULL);
    pthread_cond_init(&cs->work, NULL);
    cs->started = pthread_create(&cs->thread, NULL, work, cs) == 0;
    if (!cs->started) {
        api_constraints_destroy(cs);
        return E_NOMEM;
    }
    *out = cs;
    return 0;
}

void api_constraints_destroy(struct api_constraints *cs)
{
    if (cs == NULL)
        return;
    pthread_mutex_lock(&cs->lock);
    cs->stops = true;
    pthread_cond_signal(&cs->work);
    pthread_mutex_unlock(&cs->lock);
    if (cs->started)
        pthread_join(cs->thread, NULL);
    while (cs->entries != NULL) {
        struct api_constraint_entry *e = cs->entries;
        cs->entries = e->next;
        entry_free(e);
    }
    text_grammar_vocab_destroy(cs->vocab);
    pthread_cond_destroy(&cs->work);
    pthread_mutex_destroy(&cs->lock);
    mem_free(cs);
}

static struct api_constraint_entry *find(struct api_constraints *cs, const struct buf *key)
{
    for (struct api_constraint_entry *e = cs->entries; e != NULL; e = e->next)
        if (e->key.len == key->len && memcmp(e->key.data, key->data, key->len) == 0)
            return e;
    return NULL;
}

/* A new entry at the end of the queue; takes the key. */
static int add(struct api_constraints *cs, struct buf *key, struct api_constraint_entry **out,
               struct err *err)
{
    if (cs->n_queued >= QUEUE_MAX)
        return err_set(err, E_FULL, "too many constraints wait to be compiled; try again");
    struct api_constraint_entry *e = mem_alloc(1, sizeof *e);
    if (e == NULL)
        return err_set(err, E_NOMEM, "out of memory");
    if (cs->n >= KEPT_MAX)
        evict(cs);
    e->key = *key;
    buf_init(key, 0);
    e->next = cs->entries;
    cs->entries = e;
    cs->n++;
    struct api_constraint_entry **last = &cs->queue;
    while (*last != NULL)
        last = &(*last)->next_queued;
    *last = e;
    cs->n_queued++;
    pthread_cond_signal(&cs->work);
    *out = e;
    return 0;
}

/* The failure of an entry, its place told from the request on. */
static int failure(const struct api_constraint_entry *e, const struct api_constraint *c,
                   struct err *err)
{
    char path[API_PATH_MAX + sizeof e->err.field + 1];
    const char *dot = e->err.field[0] != '\0' && e->err.field[0] != '[' ? "." : "";
    snprintf(path, sizeof path, "%s%s%s", c->path, dot, e->err.field);
    return err_set_field(err, e->err.code, path, "%s", e->err.text);
}

static int get_locked(struct api_constraints *cs, const struct api_constraint *c, struct buf *key,
                      struct api_waiter *w, struct text_grammar **out, struct err *err)
{
    struct api_constraint_entry *e = find(cs, key);
    if (e == NULL)
        TRY(add(cs, key, &e, err));
    e->used = ++cs->clock;
    if (e->state == ENTRY_FAILED)
        return failure(e, c, err);
    if (e->state == ENTRY_READY) {
        *out = text_grammar_ref(e->grammar);
        return 1;
    }
    w->entry = e;
    w->next = e->waiters;
    e->waiters = w;
    return 0;
}

int api_constraint_get(struct api_constraints *cs, const struct api_constraint *c,
                       struct api_waiter *w, struct text_grammar **out, struct err *err)
{
    struct buf key;
    make_key(c, &key);
    int rc = buf_status(&key);
    if (rc == E_LIMIT)
        (void)err_set_field(err, rc, c->path, "%s has more than %d bytes", c->path,
                            SCHEMA_BYTES_MAX);
    else if (rc < 0)
        (void)err_set(err, rc, "out of memory");
    if (rc == 0) {
        pthread_mutex_lock(&cs->lock);
        rc = get_locked(cs, c, &key, w, out, err);
        pthread_mutex_unlock(&cs->lock);
    }
    buf_fini(&key);
    return rc;
}

void api_constraint_leave(struct api_constraints *cs, struct api_waiter *w)
{
    if (cs == NULL)
        return;
    pthread_mutex_lock(&cs->lock);
    if (w->entry != NULL) {
        struct api_waiter **at = &w->entry->waiters;
        while (*at != w)
            at = &(*at)->next;
        *at = w->next;
        w->entry = NULL;
    }
    pthread_mutex_unlock(&cs->lock);
}
