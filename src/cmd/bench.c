/* naru bench: first the machine's ceilings, then the model against them. Every result is a rate
 * with its floor: the rate this machine would reach if the bytes that must move moved at the
 * measured bandwidth, and the operations that must be done ran at the measured peak. Values are
 * medians of the repetitions. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/num.h"
#include "cmd/bench.h"
#include "cmd/cmd.h"
#include "os/team.h"

static const struct opt opts[] = {
    CMD_COMMON(struct bench_args),
    { "pp", 0, OPT_TEXT, offsetof(struct bench_args, pp), "N,...",
      "lengths of prompts to prefill (default: 128,512)", 0, 0 },
    { "tg", 0, OPT_U32, offsetof(struct bench_args, n_decode), "N",
      "tokens to decode (default: 64)", 1, 65536 },
    { "depth", 0, OPT_TEXT, offsetof(struct bench_args, depth), "N,...",
      "tokens of context before the decode (default: 0)", 0, 0 },
    { "batch", 0, OPT_TEXT, offsetof(struct bench_args, batch), "N,...",
      "sequences decoded together (default: 1)", 0, 0 },
    { "reps", 'r', OPT_U32, offsetof(struct bench_args, n_reps), "N",
      "repetitions; the median is reported (default: 3)", 1, 1000 },
    { "rows", 0, OPT_U32, offsetof(struct bench_args, n_rows), "N",
      "rows of one prefill step (default: 256)", 1, 4096 },
    { "machine-only", 0, OPT_FLAG, offsetof(struct bench_args, machine_only), NULL,
      "only the machine's ceilings, no model", 0, 0 },
    CMD_KV(struct bench_args),
};
static const struct opt_table table = { opts, COUNT_OF(opts) };

/* --- results ------------------------------------------------------------------------------------
 * */

static void write_result_json(const struct bench *b, const struct bench_result *r, struct buf *out)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_begin_object(&w);
    json_key(&w, "name");
    json_write_str(&w, r->name);
    json_key(&w, "value");
    json_write_double(&w, r->median);
    json_key(&w, "unit");
    json_write_str(&w, r->unit);
    json_key(&w, "min");
    json_write_double(&w, r->min);
    json_key(&w, "max");
    json_write_double(&w, r->max);
    json_key(&w, "floor");
    r->floor > 0 ? json_write_double(&w, r->floor) : json_write_null(&w);
    json_key(&w, "floor_pct");
    r->floor > 0 ? json_write_double(&w, 100 * r->median / r->floor) : json_write_null(&w);
    json_key(&w, "parameters");
    json_begin_object(&w);
    json_key(&w, "tokens");
    json_write_uint(&w, r->n_tokens);
    json_key(&w, "depth");
    json_write_uint(&w, r->depth);
    json_key(&w, "batch");
    json_write_uint(&w, r->batch);
    json_key(&w, "repetitions");
    json_write_uint(&w, b->args->n_reps);
    json_key(&w, "model");
    b->model.path != NULL && r->of_model ? json_write_str(&w, b->model.path) : json_write_null(&w);
    json_end_object(&w);
    json_key(&w, "machine");
    json_write_str(&w, device_name(b->device));
    json_end_object(&w);
    buf_putc(out, '\n');
}

void bench_report(struct bench *b, const struct bench_result *r)
{
    struct buf out;
    buf_init(&out, 1u << 16);
    if (b->args->common.json) {
        write_result_json(b, r, &out);
    } else {
        buf_printf(&out, "%-28s %10.2f %-9s", r->name, r->median, r->unit);
        if (r->floor > 0)
            buf_printf(&out, "  %5.1f %% of %.1f", 100 * r->median / r->floor, r->floor);
        buf_putc(&out, '\n');
    }
    fwrite(buf_str(&out), 1, out.len, stdout);
    fflush(stdout);
    buf_fini(&out);
}

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

double bench_now(void)
{
    struct clock c = clock_system();
    return (double)clock_now_ns(&c) * 1e-9;
}

/* --- the machine --------------------------------------------------------------------------------
 * */

struct probe_job {
    uint64_t (*run)(uint64_t rounds);
    uint64_t (*read)(const void *data, size_t bytes);
    uint64_t rounds;
    const uint8_t *data;
    size_t bytes_each;
    uint64_t done[OS_TEAM_THREADS_MAX];
};

static void probe_ops(void *ctx, uint32_t chunk, UNUSED uint32_t thread)
{
    struct probe_job *j = ctx;
    j->done[chunk] = j->run(j->rounds);
}

static void probe_read(void *ctx, uint32_t chunk, UNUSED uint32_t thread)
{
    struct probe_job *j = ctx;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < j->rounds; i++)
        sum += j->read(j->data + chunk * j->bytes_each, j->bytes_each);
    j->done[chunk] = sum;
}

/* Best rate of several runs of about 50 ms: a ceiling is the best seen, not the typical. */
static double best_rate(struct bench *b, struct probe_job *j, os_team_fn fn, double amount_each)
{
    double best = 0;
    for (int i = 0; i < 7; i++) {
        double t = bench_now();
        os_team_run(b->team, os_team_threads(b->team), fn, j);
        double rate = amount_each * os_team_threads(b->team) / (bench_now() - t);
        best = rate > best ? rate : best;
    }
    return best;
}

static double peak_ops(struct bench *b, uint64_t (*run)(uint64_t))
{
    uint64_t calibrate = run(1000);
    double t = bench_now();
    run(100000);
    double per_round = (bench_now() - t) / 100000;
    struct probe_job j = { .run = run, .rounds = (uint64_t)(0.05 / per_round) + 1 };
    return best_rate(b, &j, probe_ops, (double)(calibrate / 1000) * (double)j.rounds);
}

double bench_read_rate(struct bench *b, size_t bytes)
{
    uint32_t n = os_team_threads(b->team);
    size_t each = num_max(bytes / n, 4096);
    uint8_t *data = mem_alloc_aligned(each * n, 4096);
    if (data == NULL)
        return 0;
    memset(data, 1, each * n);
    /* Small buffers are read often enough that opening the region does not count. */
    struct probe_job j = { .read = b->probe.read,
                           .data = data,
                           .bytes_each = each,
                           .rounds = 1 + (32u << 20) / each };
    double rate = best_rate(b, &j, probe_read, (double)each * (double)j.rounds);
    mem_free(data);
    return rate;
}

/* The probes of the level the device computes with. */
static void bench_probe(struct bench *b)
{
    bool generic = strcmp(device_kernels(b->device)->level, "generic") == 0;
    kernel_probe_init(&b->probe, generic ? 0 : KERNEL_AVX2);
}

static void measure_machine(struct bench *b)
{
    static const struct {
        const char *name;
        size_t bytes;
    } sizes[] = {
        { "read 256 KiB a thread", 256u << 10 },
        { "read 4 MiB", 4u << 20 },
        { "read 256 MiB", 256u << 20 },
    };
    b->fp32_peak = peak_ops(b, b->probe.fma_f32);
    b->int8_peak = peak_ops(b, b->probe.dot_i8);
    struct bench_result r = { .name = "fp32 peak", .unit = "GFLOP/s", .batch = 1 };
    r.median = r.min = r.max = b->fp32_peak * 1e-9;
    bench_report(b, &r);
    r = (struct bench_result){ .name = "int8 peak", .unit = "GOP/s", .batch = 1 };
    r.median = r.min = r.max = b->int8_peak * 1e-9;
    bench_report(b, &r);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        size_t bytes = i == 0 ? sizes[i].bytes * os_team_threads(b->team) : sizes[i].bytes;
        r = (struct bench_result){ .name = sizes[i].name, .unit = "GB/s", .batch = 1 };
        r.median = r.min = r.max = bench_read_rate(b, bytes) * 1e-9;
        bench_report(b, &r);
    }
}

/* --- the verb -----------------------------------------------------------------------------------
 * */

/* "128,512" to numbers from min to 1 M. */
static int parse_list(const char *name, const char *text, uint32_t min, struct bench_list *out,
                      struct err *err)
{
    for (const char *s = text;; s++) {
        char *end;
        unsigned long x = strtoul(s, &end, 10);
        if (end == s || *s == '-' || x < min || x > 1u << 20 || out->n == BENCH_LIST_MAX)
            return err_set_field(err, E_USAGE, name,
                                 "--%s %s: must be up to %d numbers from %u to 1048576 with "
                                 "commas between", name, text, BENCH_LIST_MAX, min);
        out->items[out->n++] = (uint32_t)x;
        if (*end == '\0')
            return 0;
        if (*end != ',')
            return err_set_field(err, E_USAGE, name, "--%s %s: expected a comma at \"%.10s\"", name,
                                 text, end);
        s = end;
    }
}

static int measure_model(struct bench *b, struct err *err)
{
    for (uint32_t i = 0; i < b->pp.n; i++)
        TRY(bench_prefill(b, b->pp.items[i], err));
    for (uint32_t i = 0; i < b->depth.n; i++)
        for (uint32_t j = 0; j < b->batch.n; j++)
            TRY(bench_decode(b, b->depth.items[i], b->batch.items[j], err));
    return 0;
}

static int open_bench(struct bench *b, struct err *err)
{
    const struct bench_args *a = b->args;
    struct model_params mp = { 0 };
    TRY(parse_list("pp", a->pp, 1, &b->pp, err));
    TRY(parse_list("depth", a->depth, 0, &b->depth, err));
    TRY(parse_list("batch", a->batch, 1, &b->batch, err));
    TRY(cmd_kv_type(a->kv, &mp.kv_type, err));
    if (a->machine_only) {
        struct device_params dp = { .n_threads = a->common.n_threads, .cpu_level = a->common.cpu };
        TRY(device_create(&b->model.device, &dp, err));
    } else {
        TRY(cmd_model_load(&b->model, &a->common, &mp, err));
    }
    b->device = b->model.device;
    bench_probe(b);
    if (os_team_create(&b->team, device_threads(b->device)) < 0)
        return err_set(err, E_NOMEM, "cannot start the threads");
    return 0;
}

static int bench(const struct cmd_verb *verb, int argc, char **argv)
{
    struct bench_args a = { .common = CMD_COMMON_INIT,
                            .pp = "128,512",
                            .depth = "0",
                            .batch = "1",
                            .n_decode = 64,
                            .n_reps = 3,
                            .n_rows = 256 };
    bool done;
    int status = cmd_parse(verb, argc, argv, &a.common, NULL, &done);
    if (done)
        return status;
    struct err err = { 0 };
    struct bench b = { .args = &a };
    int rc = open_bench(&b, &err);
    if (rc == 0) {
        cmd_say(&a.common, "%s", device_name(b.device));
        measure_machine(&b);
    }
    if (rc == 0 && !a.machine_only)
        rc = measure_model(&b, &err);
    os_team_destroy(b.team);
    cmd_model_free(&b.model);
    return rc == 0 ? CMD_OK : cmd_fail(verb, &err);
}

const struct cmd_verb CMD_BENCH = {
    .name = "bench",
    .summary = "measure this machine, and a model against what it could do",
    .usage = "naru bench [-m FILE] [--pp N,...] [--tg N] [--depth N,...] [--batch N,...] [--json]",
    .about = "Measures the machine's ceilings (multiply-add peaks, read bandwidth), then prefill\n"
             "and decode of the model, each as a per cent of the rate those ceilings would allow.\n"
             "Other work on the machine disturbs it: repeat, and compare ratios of one run.",
    .examples = "  naru bench\n"
                "  naru bench -m model.gguf --pp 512 --depth 0,4096 --batch 1,8 --json\n",
    .table = &table,
    .run = bench,
};
