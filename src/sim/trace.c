/* The format is told by the first bytes and not by the file's name: names change on the way. */
#include "sim/trace.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "sim/unpack.h"

#define BYTES_MAX ((size_t)1 << 30)
#define TIME_S_MAX 1e9
#define TOKENS_MAX (1 << 28)
#define BLOCK_ID_MAX ((int64_t)1 << 40)
enum { REQUESTS_MAX = 1 << 26, BLOCKS_MAX = 1 << 20, DEPTH_MAX = 8 };

struct reader {
    struct sim_trace *t;
    size_t line;
    double gap_s;
    struct err *err;
};

static int bad(const struct reader *r, const char *what)
{
    return err_set(r->err, E_FORMAT, "line %zu: %s", r->line, what);
}

static int grow(void **array, size_t *cap, size_t n, size_t size)
{
    if (n < *cap)
        return 0;
    size_t want = *cap * 2 + 1024;
    void *more = mem_realloc(*array, want, size);
    if (more == NULL)
        return E_NOMEM;
    *array = more;
    *cap = want;
    return 0;
}

static int add_request(struct reader *r, const struct sim_request *q)
{
    struct sim_trace *t = r->t;
    if (t->n_requests >= REQUESTS_MAX)
        return err_set(r->err, E_LIMIT, "more than %d requests", REQUESTS_MAX);
    if (grow((void **)&t->requests, &t->cap_requests, t->n_requests, sizeof *t->requests) < 0)
        return err_set(r->err, E_NOMEM, "out of memory");
    t->requests[t->n_requests++] = *q;
    t->n_blocks += q->n_blocks;
    if (q->n_blocks > t->n_blocks_max)
        t->n_blocks_max = q->n_blocks;
    return 0;
}

/* Blocks first .. first + n - 1 follow those the request has. */
static int add_run(struct reader *r, struct sim_request *q, int64_t first, int64_t n)
{
    struct sim_trace *t = r->t;
    if (first < 0 || first > BLOCK_ID_MAX || n < 1 || n > BLOCKS_MAX - (int64_t)q->n_blocks)
        return bad(r, "block ids must be 0 or more, at most 1048576 a request");
    struct sim_run *last = q->n_runs > 0 ? &t->runs[t->n_runs - 1] : NULL;
    q->n_blocks += (uint32_t)n;
    if (last != NULL && last->first + last->n == (uint64_t)first) {
        last->n += (uint32_t)n;
        return 0;
    }
    if (grow((void **)&t->runs, &t->cap_runs, t->n_runs, sizeof *t->runs) < 0)
        return err_set(r->err, E_NOMEM, "out of memory");
    t->runs[t->n_runs++] = (struct sim_run){ .first = (uint64_t)first, .n = (uint32_t)n };
    q->n_runs++;
    return 0;
}

static bool is_number(const json_value *v)
{
    return json_kind_of(v) == JSON_INT || json_kind_of(v) == JSON_DOUBLE;
}

static int get_time(const struct reader *r, const json_value *v, const char *key, double unit_s,
                    double *seconds)
{
    const json_value *x = json_get(v, key);
    if (!is_number(x))
        return bad(r, "the time is missing (\"timestamp\" or \"t\")");
    *seconds = json_as_double(x) * unit_s;
    if (!(*seconds >= 0) || *seconds > TIME_S_MAX)
        return bad(r, "the time is negative or too large");
    return 0;
}

static int get_tokens(const struct reader *r, const json_value *v, const char *key, uint32_t *n)
{
    const json_value *x = json_get(v, key);
    if (!is_number(x) || json_as_int(x) < 0 || json_as_int(x) > TOKENS_MAX)
        return bad(r, "a token count is missing or out of range");
    *n = (uint32_t)json_as_int(x);
    return 0;
}

static uint32_t blocks_of(uint32_t tokens, uint32_t block_len)
{
    return tokens / block_len + (tokens % block_len != 0);
}

/* --- mooncake: a request a line --- */

static int mooncake_line(struct reader *r, const json_value *v)
{
    struct sim_request q = { .run = r->t->n_runs };
    double seconds;
    TRY(get_time(r, v, "timestamp", 1e-3, &seconds));
    TRY(get_tokens(r, v, "input_length", &q.in_tokens));
    TRY(get_tokens(r, v, "output_length", &q.out_tokens));
    q.time_ms = (uint64_t)llround(seconds * 1e3);
    json_value *ids = json_get(v, "hash_ids");
    if (json_kind_of(ids) != JSON_ARRAY)
        return bad(r, "hash_ids must be an array");
    for (size_t i = 0; i < json_len(ids); i++) {
        if (json_kind_of(json_at(ids, i)) != JSON_INT)
            return bad(r, "hash_ids must hold integers");
        TRY(add_run(r, &q, json_as_int(json_at(ids, i)), 1));
    }
    if (q.n_blocks != blocks_of(q.in_tokens, r->t->block_len))
        return bad(r, "hash_ids must name every 512-token block of input_length");
    return add_request(r, &q);
}

/* --- sessions: agents, with agents inside --- */

static int session_blocks(struct reader *r, struct sim_request *q, const json_value *h)
{
    if (json_kind_of(h) != JSON_ARRAY)
        return bad(r, "h must be an array of [start, count]");
    for (size_t i = 0; i < json_len(h); i++) {
        const json_value *pair = json_at(h, i);
        if (json_len(pair) != 2 || json_kind_of(json_at(pair, 0)) != JSON_INT ||
            json_kind_of(json_at(pair, 1)) != JSON_INT)
            return bad(r, "h must be an array of [start, count]");
        TRY(add_run(r, q, json_as_int(json_at(pair, 0)), json_as_int(json_at(pair, 1))));
    }
    return 0;
}

static int session_requests(struct reader *r, const json_value *list, double start_s, int depth)
{
    if (depth > DEPTH_MAX)
        return bad(r, "agents inside agents lie too deep");
    for (size_t i = 0; i < json_len(list); i++) {
        const json_value *v = json_at(list, i);
        struct sim_request q = { .run = r->t->n_runs, .session = r->t->n_sessions };
        double seconds;
        TRY(get_time(r, v, "t", 1, &seconds));
        seconds += start_s;
        if (json_get(v, "requests") != NULL) {
            TRY(session_requests(r, json_get(v, "requests"), seconds, depth + 1));
            continue;
        }
        TRY(get_tokens(r, v, "in", &q.in_tokens));
        TRY(get_tokens(r, v, "out", &q.out_tokens));
        TRY(session_blocks(r, &q, json_get(v, "h")));
        q.time_ms = (uint64_t)llround(seconds * 1e3);
        TRY(add_request(r, &q));
    }
    return 0;
}

static int session_line(struct reader *r, const json_value *v)
{
    uint32_t block_len;
    TRY(get_tokens(r, v, "block_size", &block_len));
    if (block_len == 0 || (r->t->n_sessions > 0 && block_len != r->t->block_len))
        return bad(r, "block_size must be at least 1 and the same for all sessions");
    r->t->block_len = block_len;
    double start_s = r->gap_s * r->t->n_sessions++;
    return session_requests(r, json_get(v, "requests"), start_s, 0);
}

/* --- azure: "2023-11-16 18:15:46.6805900,374,44" --- */

struct stamp {
    int year, month, day, hour, minute;
    double second;
};

static bool stamp_valid(const struct stamp *t)
{
    return t->month >= 1 && t->month <= 12 && t->day >= 1 && t->day <= 31 && t->hour >= 0 &&
           t->hour <= 23 && t->minute >= 0 && t->minute <= 59 && t->second >= 0 && t->second < 61;
}

/* Seconds since 0000-03-01, by the civil calendar (H. Hinnant, chrono-compatible low-level date
 * algorithms). */
static double stamp_seconds(const struct stamp *t)
{
    int y = t->year - (t->month <= 2), era = y / 400, of_era = y - era * 400;
    int of_year = (153 * (t->month + (t->month > 2 ? -3 : 9)) + 2) / 5 + t->day - 1;
    int days = era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    return days * 86400.0 + t->hour * 3600 + t->minute * 60 + t->second;
}

static int azure_line(struct reader *r, const char *text, double *first_s)
{
    struct stamp at;
    int used = 0;
    unsigned in, out;
    if (sscanf(text, "%4d-%2d-%2d %2d:%2d:%lf,%9u,%9u%n", &at.year, &at.month, &at.day, &at.hour,
               &at.minute, &at.second, &in, &out, &used) != 8 ||
        text[used + strspn(text + used, "\r ")] != '\0')
        return bad(r, "expected TIMESTAMP,ContextTokens,GeneratedTokens");
    if (!stamp_valid(&at) || in > TOKENS_MAX || out > TOKENS_MAX)
        return bad(r, "a number is out of range");
    double seconds = stamp_seconds(&at);
    if (*first_s < 0)
        *first_s = seconds;
    if (seconds < *first_s || seconds - *first_s > TIME_S_MAX)
        return bad(r, "the time lies before the first row");
    return add_request(r, &(struct sim_request){
        .time_ms = (uint64_t)llround((seconds - *first_s) * 1e3), .in_tokens = in,
        .out_tokens = out });
}

/* --- lines and formats --- */

static const struct json_limits line_limits = { .bytes_max = 64u << 20, .depth_max = 16,
                                                .nodes_max = 8u << 20, .string_max = 1u << 20 };

static int json_line(struct reader *r, const char *text, size_t len)
{
    json_value *v;
    struct err inner = { 0 };
    int rc = json_parse(&v, text, len, &line_limits, &inner);
    if (rc < 0)
        return err_set(r->err, rc, "line %zu: %s", r->line, inner.text);
    if (r->t->format == NULL) {
        bool sessions = json_has(v, "requests");
        r->t->format = sessions ? "sessions" : "mooncake";
        r->t->block_len = sessions ? 0 : 512;
    }
    rc = strcmp(r->t->format, "sessions") == 0 ? session_line(r, v) : mooncake_line(r, v);
    json_free(v);
    return rc;
}

static int any_line(struct reader *r, char *text, size_t len, double *first_s)
{
    static const char azure_head[] = "TIMESTAMP,ContextTokens,GeneratedTokens";
    if (len == 0)
        return 0;
    if (r->line == 1 && strncmp(text, azure_head, sizeof azure_head - 1) == 0) {
        r->t->format = "azure";
        return 0;
    }
    if (r->t->format != NULL && strcmp(r->t->format, "azure") == 0) {
        text[len] = '\0';
        return azure_line(r, text, first_s);
    }
    return json_line(r, text, len);
}

static int by_time(const void *a, const void *b)
{
    const struct sim_request *x = a, *y = b;
    if (x->time_ms != y->time_ms)
        return x->time_ms < y->time_ms ? -1 : 1;
    return x->run < y->run ? -1 : x->run > y->run; /* runs are in the order of the file */
}

static int parse(struct sim_trace *t, char *text, size_t len, double gap_s, struct err *err)
{
    struct reader r = { .t = t, .gap_s = gap_s, .err = err };
    double first_s = -1;
    for (char *at = text; at < text + len;) {
        char *end = memchr(at, '\n', (size_t)(text + len - at));
        if (end == NULL)
            end = text + len;
        r.line++;
        TRY(any_line(&r, at, (size_t)(end - at), &first_s));
        at = end + 1;
    }
    if (t->n_requests == 0)
        return err_set(err, E_FORMAT, "no request in it; known traces: Mooncake and agent-session "
                       "JSON lines, Azure CSV, each plain or zstd");
    qsort(t->requests, t->n_requests, sizeof *t->requests, by_time);
    return 0;
}

static bool is_tar(const char *text, size_t len)
{
    return len > 512 && memcmp(text + 257, "ustar", 5) == 0;
}

int sim_trace_parse(struct sim_trace *t, const char *text, size_t len, double gap_s,
                    struct err *err)
{
    *t = (struct sim_trace){ 0 };
    if (is_tar(text, len))
        return err_set(err, E_UNSUPPORTED, "a tar archive: ServeGen archives hold arrival and "
                       "length statistics of clients, no prompts, so there is no prefix to hit");
    char *copy = mem_strndup(text, len);
    if (copy == NULL)
        return err_set(err, E_NOMEM, "out of memory");
    int rc = parse(t, copy, len, gap_s, err);
    mem_free(copy);
    if (rc < 0)
        sim_trace_free(t);
    return rc;
}

int sim_trace_open(struct sim_trace *t, const char *path, double gap_s, struct err *err)
{
    char *text;
    size_t len;
    struct err inner = { 0 };
    *t = (struct sim_trace){ 0 };
    int rc = sim_read(path, BYTES_MAX, &text, &len, &inner);
    if (rc == 0) {
        rc = sim_trace_parse(t, text, len, gap_s, &inner);
        mem_free(text);
    }
    return rc < 0 ? err_set(err, rc, "%s: %s", path, inner.text) : 0;
}

void sim_trace_free(struct sim_trace *t)
{
    mem_free(t->requests);
    mem_free(t->runs);
    *t = (struct sim_trace){ 0 };
}

/* The finaliser of splitmix64 (Steele, Lea and Flood 2014). */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

void sim_trace_keys(const struct sim_trace *t, const struct sim_request *r, uint64_t *keys)
{
    uint64_t above = mix(r->session + 0x9e3779b97f4a7c15u);
    uint32_t n = 0;
    for (size_t i = r->run; i < r->run + r->n_runs; i++)
        for (uint32_t j = 0; j < t->runs[i].n; j++) {
            above = mix(above ^ (t->runs[i].first + j + 1) * 0x9e3779b97f4a7c15u);
            keys[n++] = above += above == 0;
        }
    ASSERT(n == r->n_blocks);
}
