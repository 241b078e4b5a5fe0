/* Rates are written as doubles in their shortest form, so a profile that was read and written again
 * is the same file. */
#include "cost/profile.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/num.h"
#include "os/cpu.h"
#include "os/file.h"

#define FORMAT_NAME "naru-machine-profile"
#define FILE_BYTES_MAX (1u << 20)

void cost_fingerprint(const struct os_cpu *cpu, char *out, size_t room)
{
    snprintf(out, room, "%s, %u cores, L2 %zu KiB, L3 %zu KiB, memory %zu GiB, sets %02x",
             cpu->model, cpu->n_cores, cpu->l2_bytes >> 10, cpu->l3_bytes >> 10,
             (cpu->memory_bytes + (1u << 29)) >> 30, cpu->flags);
}

char *cost_profile_path(void)
{
    const char *cache = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    struct buf b;
    buf_init(&b, 8192);
    if (cache != NULL && cache[0] == '/')
        buf_printf(&b, "%s/naru/machine.json", cache);
    else if (home != NULL && home[0] == '/')
        buf_printf(&b, "%s/.cache/naru/machine.json", home);
    return buf_take(&b, NULL);
}

/* --- the fields, once --------------------------------------------------------------------------
 * Reading, writing and checking walk the same tables. */

static const struct {
    const char *key;
    size_t offset;
} rates[] = {
    { "l2_bytes_per_s", offsetof(struct cost_ceilings, l2) },
    { "l3_bytes_per_s", offsetof(struct cost_ceilings, l3) },
    { "dram_bytes_per_s", offsetof(struct cost_ceilings, dram) },
    { "fp32_ops_per_s", offsetof(struct cost_ceilings, fp32) },
    { "bf16_ops_per_s", offsetof(struct cost_ceilings, bf16) },
    { "int8_ops_per_s", offsetof(struct cost_ceilings, int8) },
};

static double *rate_of(struct cost_ceilings *c, size_t i)
{
    return (double *)(void *)((char *)c + rates[i].offset);
}

static double rate_value(const struct cost_ceilings *c, size_t i)
{
    return *(const double *)(const void *)((const char *)c + rates[i].offset);
}

int cost_profile_check(const struct cost_profile *p, struct err *err)
{
    if (p->n_points == 0 || p->n_points > COST_POINTS_MAX)
        return err_set_field(err, E_RANGE, "points", "points: %u of them, 1 to %d are wanted",
                             p->n_points, COST_POINTS_MAX);
    for (uint32_t i = 0; i < p->n_points; i++) {
        uint32_t before = i == 0 ? 0 : p->points[i - 1].threads;
        if (p->points[i].threads <= before)
            return err_set_field(err, E_RANGE, "threads",
                                 "points[%u].threads: %u does not follow %u", i,
                                 p->points[i].threads, before);
        for (size_t j = 0; j < COUNT_OF(rates); j++) {
            double x = rate_value(&p->points[i], j);
            if (!(x > 0) || !isfinite(x))
                return err_set_field(err, E_RANGE, rates[j].key,
                                     "points[%u].%s: %g is not a rate", i, rates[j].key, x);
        }
    }
    if (!(p->disk_read >= 0 && isfinite(p->disk_read) && p->disk_iops >= 0 &&
          isfinite(p->disk_iops)))
        return err_set_field(err, E_RANGE, "disk", "disk: rates must not be negative");
    return 0;
}

/* --- writing --- */

void cost_profile_write(const struct cost_profile *p, struct buf *out)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_begin_object(&w);
    json_key(&w, "format");
    json_write_str(&w, FORMAT_NAME);
    json_key(&w, "version");
    json_write_uint(&w, COST_PROFILE_VERSION);
    json_key(&w, "fingerprint");
    json_write_str(&w, p->fingerprint);
    json_key(&w, "cpu");
    json_write_str(&w, p->cpu);
    json_key(&w, "cores");
    json_write_uint(&w, p->n_cores);
    json_key(&w, "l2_bytes");
    json_write_uint(&w, p->l2_bytes);
    json_key(&w, "l3_bytes");
    json_write_uint(&w, p->l3_bytes);
    json_key(&w, "memory_bytes");
    json_write_uint(&w, p->memory_bytes);
    json_key(&w, "measured_at");
    json_write_uint(&w, p->measured_at);
    json_key(&w, "disk_read_bytes_per_s");
    json_write_double(&w, p->disk_read);
    json_key(&w, "disk_reads_4k_per_s");
    json_write_double(&w, p->disk_iops);
    json_key(&w, "points");
    json_begin_array(&w);
    for (uint32_t i = 0; i < p->n_points; i++) {
        json_begin_object(&w);
        json_key(&w, "threads");
        json_write_uint(&w, p->points[i].threads);
        for (size_t j = 0; j < COUNT_OF(rates); j++) {
            json_key(&w, rates[j].key);
            json_write_double(&w, rate_value(&p->points[i], j));
        }
        json_end_object(&w);
    }
    json_end_array(&w);
    json_end_object(&w);
    buf_putc(out, '\n');
}

int cost_profile_save(const struct cost_profile *p, const char *path, struct err *err)
{
    struct buf text;
    TRY(cost_profile_check(p, err));
    TRY(os_make_parents(path, err));
    buf_init(&text, FILE_BYTES_MAX);
    cost_profile_write(p, &text);
    int rc = buf_status(&text);
    rc = rc < 0 ? err_set(err, rc, "the profile: %s", err_code_text(rc))
                : os_write_file(path, buf_str(&text), text.len, err);
    buf_fini(&text);
    return rc;
}

/* --- reading --- */

static int get_number(const json_value *v, const char *key, double *out, struct err *err)
{
    const json_value *x = json_get(v, key);
    enum json_kind kind = json_kind_of(x);
    if (kind != JSON_INT && kind != JSON_DOUBLE)
        return err_set_field(err, E_FORMAT, key, "%s: a number is wanted", key);
    *out = json_as_double(x);
    return 0;
}

/* A whole number up to 2^53, what JSON carries exactly. */
static int get_count(const json_value *v, const char *key, uint64_t max, uint64_t *out,
                     struct err *err)
{
    double x;
    TRY(get_number(v, key, &x, err));
    if (!(x >= 0 && x <= (double)max && x == floor(x)))
        return err_set_field(err, E_FORMAT, key, "%s: %g is not a whole number up to %g", key, x,
                             (double)max);
    *out = (uint64_t)x;
    return 0;
}

static int get_text(const json_value *v, const char *key, char *out, size_t room, struct err *err)
{
    size_t len = 0;
    const char *s = json_text(json_get(v, key), &len);
    if (s == NULL || len >= room)
        return err_set_field(err, E_FORMAT, key, "%s: a text of up to %zu bytes is wanted", key,
                             room - 1);
    memcpy(out, s, len);
    out[len] = '\0';
    return 0;
}

static int read_points(struct cost_profile *p, const json_value *list, struct err *err)
{
    size_t n = json_len(list);
    if (json_kind_of(list) != JSON_ARRAY || n == 0 || n > COST_POINTS_MAX)
        return err_set_field(err, E_FORMAT, "points", "points: a list of 1 to %d is wanted",
                             COST_POINTS_MAX);
    for (size_t i = 0; i < n; i++) {
        const json_value *v = json_at(list, i);
        uint64_t threads;
        TRY(get_count(v, "threads", 65536, &threads, err));
        p->points[i].threads = (uint32_t)threads;
        for (size_t j = 0; j < COUNT_OF(rates); j++)
            TRY(get_number(v, rates[j].key, rate_of(&p->points[i], j), err));
    }
    p->n_points = (uint32_t)n;
    return 0;
}

static int read_fields(struct cost_profile *p, const json_value *v, struct err *err)
{
    const uint64_t exact = (uint64_t)1 << 53;
    uint64_t version, cores, l2, l3, memory;
    char format[64];
    TRY(get_text(v, "format", format, sizeof format, err));
    if (strcmp(format, FORMAT_NAME) != 0)
        return err_set_field(err, E_FORMAT, "format", "format: \"%s\", wanted \"%s\"", format,
                             FORMAT_NAME);
    TRY(get_count(v, "version", exact, &version, err));
    if (version != COST_PROFILE_VERSION)
        return err_set_field(err, E_UNSUPPORTED, "version",
                             "version %llu; this program reads version %d: measure again",
                             (unsigned long long)version, COST_PROFILE_VERSION);
    TRY(get_text(v, "fingerprint", p->fingerprint, sizeof p->fingerprint, err));
    TRY(get_text(v, "cpu", p->cpu, sizeof p->cpu, err));
    TRY(get_count(v, "cores", 65536, &cores, err));
    TRY(get_count(v, "l2_bytes", exact, &l2, err));
    TRY(get_count(v, "l3_bytes", exact, &l3, err));
    TRY(get_count(v, "memory_bytes", exact, &memory, err));
    TRY(get_count(v, "measured_at", exact, &p->measured_at, err));
    TRY(get_number(v, "disk_read_bytes_per_s", &p->disk_read, err));
    TRY(get_number(v, "disk_reads_4k_per_s", &p->disk_iops, err));
    p->n_cores = (uint32_t)cores;
    p->l2_bytes = l2;
    p->l3_bytes = l3;
    p->memory_bytes = memory;
    return read_points(p, json_get(v, "points"), err);
}

int cost_profile_parse(struct cost_profile *p, const char *text, size_t len, struct err *err)
{
    struct cost_profile got = { .n_points = 0 };
    json_value *v;
    TRY(json_parse(&v, text, len, &JSON_LIMITS_FILE, err));
    int rc = json_kind_of(v) == JSON_OBJECT
                 ? read_fields(&got, v, err)
                 : err_set(err, E_FORMAT, "a profile is a JSON object");
    json_free(v);
    TRY(rc);
    if (cost_profile_check(&got, err) < 0) {
        if (err != NULL)
            err->code = E_FORMAT; /* what a file says wrongly is its format */
        return E_FORMAT;
    }
    *p = got;
    return 0;
}

int cost_profile_load(struct cost_profile *p, const char *path, struct err *err)
{
    char *text;
    size_t len;
    struct err why = { 0 };
    TRY(os_read_file(path, FILE_BYTES_MAX, &text, &len, err));
    int rc = cost_profile_parse(p, text, len, &why);
    mem_free(text);
    return rc == 0 ? 0 : err_set_field(err, rc, why.field, "%s: %s", path, why.text);
}

/* --- using --- */

void cost_profile_raise(struct cost_profile *p, const struct cost_profile *other)
{
    if (strcmp(p->fingerprint, other->fingerprint) != 0 || p->n_points != other->n_points)
        return;
    for (uint32_t i = 0; i < p->n_points; i++)
        for (size_t j = 0; j < COUNT_OF(rates); j++) {
            double x = rate_value(&other->points[i], j), *mine = rate_of(&p->points[i], j);
            *mine = x > *mine ? x : *mine;
        }
    p->disk_read = other->disk_read > p->disk_read ? other->disk_read : p->disk_read;
    p->disk_iops = other->disk_iops > p->disk_iops ? other->disk_iops : p->disk_iops;
}

struct cost_ceilings cost_profile_at(const struct cost_profile *p, uint32_t n_threads)
{
    ASSERT(p->n_points > 0);
    ASSERT(p->n_points <= COST_POINTS_MAX);
    uint32_t i = 0;
    while (i < p->n_points && p->points[i].threads < n_threads)
        i++;
    struct cost_ceilings c = p->points[i < p->n_points ? i : p->n_points - 1];
    if (i > 0 && i < p->n_points && c.threads != n_threads) {
        const struct cost_ceilings *low = &p->points[i - 1], *high = &p->points[i];
        double x = (double)(n_threads - low->threads) / (double)(high->threads - low->threads);
        for (size_t j = 0; j < COUNT_OF(rates); j++)
            *rate_of(&c, j) = (1 - x) * rate_value(low, j) + x * rate_value(high, j);
    }
    c.threads = n_threads;
    return c;
}

double cost_profile_read_rate(const struct cost_profile *p, uint32_t n_threads, double bytes)
{
    struct cost_ceilings c = cost_profile_at(p, n_threads);
    double l2 = (double)p->l2_bytes * num_min(n_threads, p->n_cores);
    if (bytes <= l2)
        return c.l2;
    return bytes <= (double)p->l3_bytes ? c.l3 : c.dram;
}
