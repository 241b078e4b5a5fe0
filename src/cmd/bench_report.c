/* Results for people (a table) and for programs (one JSON object a line: name, parameters, machine,
 * commit, minimum, median, maximum, unit). */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/num.h"
#include "cmd/bench.h"

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

void bench_summarise(struct bench_result *r, double *samples, uint32_t n)
{
    ASSERT(n > 0);
    qsort(samples, n, sizeof *samples, compare);
    r->min = samples[0];
    r->max = samples[n - 1];
    r->median = n % 2 != 0 ? samples[n / 2] : (samples[n / 2 - 1] + samples[n / 2]) / 2;
}

static void print_buf(struct buf *out)
{
    fwrite(buf_str(out), 1, out->len, stdout);
    fflush(stdout);
    buf_fini(out);
}

/* What each line ends with. */
static void write_origin(struct json_writer *w, const struct bench *b)
{
    json_key(w, "machine");
    json_write_str(w, b->profile.fingerprint);
    json_key(w, "version");
    json_write_str(w, cmd_version());
    json_key(w, "commit");
    json_write_str(w, cmd_commit());
}

static void write_spread(struct json_writer *w, double min, double median, double max,
                         const char *unit)
{
    json_key(w, "min");
    json_write_double(w, min);
    json_key(w, "median");
    json_write_double(w, median);
    json_key(w, "max");
    json_write_double(w, max);
    json_key(w, "unit");
    json_write_str(w, unit);
}

/* --- the machine --- */

static void machine_line(const struct bench *b, const char *name, uint32_t threads, double value,
                         const char *unit)
{
    struct buf out;
    struct json_writer w;
    buf_init(&out, 1u << 16);
    json_writer_init(&w, &out);
    json_begin_object(&w);
    json_key(&w, "name");
    json_write_str(&w, name);
    json_key(&w, "parameters");
    json_begin_object(&w);
    if (threads > 0) {
        json_key(&w, "threads");
        json_write_uint(&w, threads);
    }
    json_end_object(&w);
    write_spread(&w, value, value, value, unit);
    write_origin(&w, b);
    json_end_object(&w);
    buf_putc(&out, '\n');
    print_buf(&out);
}

static void machine_json(const struct bench *b)
{
    for (uint32_t i = 0; i < b->profile.n_points; i++) {
        const struct cost_ceilings *c = &b->profile.points[i];
        machine_line(b, "read L2", c->threads, c->l2 * 1e-9, "GB/s");
        machine_line(b, "read L3", c->threads, c->l3 * 1e-9, "GB/s");
        machine_line(b, "read memory", c->threads, c->dram * 1e-9, "GB/s");
        machine_line(b, "fp32 peak", c->threads, c->fp32 * 1e-9, "GFLOP/s");
        machine_line(b, "bf16 peak", c->threads, c->bf16 * 1e-9, "GFLOP/s");
        machine_line(b, "int8 peak", c->threads, c->int8 * 1e-9, "GOP/s");
    }
    if (b->profile.disk_read > 0) {
        machine_line(b, "disk sequential", 0, b->profile.disk_read * 1e-9, "GB/s");
        machine_line(b, "disk random 4 KiB", 0, b->profile.disk_iops, "reads/s");
    }
}

void bench_report_machine(const struct bench *b)
{
    const struct cost_profile *p = &b->profile;
    struct buf out;
    if (b->args->common.json) {
        machine_json(b);
        return;
    }
    buf_init(&out, 1u << 16);
    buf_printf(&out, "%s\n\n", p->fingerprint);
    buf_puts(&out, "threads    read L2   L3   memory  GB/s    fp32    bf16  GFLOP/s   int8  "
                   "GOP/s\n");
    for (uint32_t i = 0; i < p->n_points; i++) {
        const struct cost_ceilings *c = &p->points[i];
        buf_printf(&out, "%7u %10.0f %4.0f %8.1f %13.0f %7.0f %15.0f\n", c->threads, c->l2 * 1e-9,
                   c->l3 * 1e-9, c->dram * 1e-9, c->fp32 * 1e-9, c->bf16 * 1e-9, c->int8 * 1e-9);
    }
    if (p->disk_read > 0)
        buf_printf(&out, "disk       %.2f GB/s in sequence, %.0f random reads of 4 KiB a second\n",
                   p->disk_read * 1e-9, p->disk_iops);
    print_buf(&out);
}

/* --- the model --- */

void bench_report_begin(const struct bench *b)
{
    if (b->args->common.json)
        return;
    const char *slash = strrchr(b->model.path, '/');
    struct buf out;
    buf_init(&out, 1u << 16);
    buf_printf(&out, "\n%s, %s\n\n", slash != NULL ? slash + 1 : b->model.path,
               device_name(b->model.device));
    buf_puts(&out, "test      tokens   depth  batch    kv   tokens/s        min..max     floor  "
                   "of floor  bound by\n");
    print_buf(&out);
}

static void write_result(const struct bench *b, const struct bench_result *r, struct buf *out)
{
    struct json_writer w;
    const char *slash = strrchr(b->model.path, '/');
    json_writer_init(&w, out);
    json_begin_object(&w);
    json_key(&w, "name");
    json_write_str(&w, r->name);
    json_key(&w, "parameters");
    json_begin_object(&w);
    json_key(&w, "model");
    json_write_str(&w, slash != NULL ? slash + 1 : b->model.path);
    json_key(&w, "tokens");
    json_write_uint(&w, r->n_tokens);
    json_key(&w, "depth");
    json_write_uint(&w, r->depth);
    json_key(&w, "batch");
    json_write_uint(&w, r->batch);
    json_key(&w, "kv");
    json_write_str(&w, r->kv);
    json_key(&w, "threads");
    json_write_uint(&w, b->n_threads);
    json_key(&w, "kernels");
    json_write_str(&w, device_kernels(b->model.device)->level);
    json_key(&w, "repetitions");
    json_write_uint(&w, b->args->n_reps);
    json_end_object(&w);
    write_spread(&w, r->min, r->median, r->max, "tokens/s");
    json_key(&w, "floor");
    json_write_double(&w, r->floor);
    json_key(&w, "floor_pct");
    json_write_double(&w, 100 * r->median / r->floor);
    json_key(&w, "bound");
    json_write_str(&w, r->memory_bound ? "memory" : "arithmetic");
    json_key(&w, "bytes");
    json_write_double(&w, r->bytes);
    json_key(&w, "operations");
    json_write_double(&w, r->ops);
    write_origin(&w, b);
    json_end_object(&w);
    buf_putc(out, '\n');
}

void bench_report(struct bench *b, const struct bench_result *r)
{
    struct buf out;
    buf_init(&out, 1u << 16);
    if (b->args->common.json)
        write_result(b, r, &out);
    else
        buf_printf(&out, "%-8s %7u %7u %6u %5s %10.1f %7.1f..%-7.1f %9.1f %7.1f %%  %s\n", r->name,
                   r->n_tokens, r->depth, r->batch, r->kv, r->median, r->min, r->max, r->floor,
                   100 * r->median / r->floor, r->memory_bound ? "memory" : "arithmetic");
    print_buf(&out);
    if (b->n_results < BENCH_RESULTS_MAX)
        b->results[b->n_results++] = *r;
}
