/* naru bench: first the machine's ceilings (measured once, kept in a profile), then the model
 * against them. Every result is a rate with its floor: the rate this machine would reach if the
 * bytes that must move moved at the measured bandwidth, and the operations that must be done ran at
 * the measured peak. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "cmd/bench.h"
#include "cost/measure.h"
#include "os/cpu.h"
#include "os/file.h"

static const struct opt opts[] = {
    CMD_COMMON(struct bench_args),
    { "pp", 0, OPT_TEXT, offsetof(struct bench_args, pp), "N,...",
      "lengths of prompts to prefill; 0 for none (default: 512)", 0, 0 },
    { "tg", 0, OPT_U32, offsetof(struct bench_args, n_decode), "N",
      "tokens to decode in each sequence; 0 for none (default: 64)", 0, 65536 },
    { "depth", 0, OPT_TEXT, offsetof(struct bench_args, depth), "N,...",
      "context frontiers: tokens before what is measured (default: 0)", 0, 0 },
    { "batch", 0, OPT_TEXT, offsetof(struct bench_args, batch), "N,...",
      "sequences decoded together, each with its own context (default: 1)", 0, 0 },
    { "kv", 0, OPT_TEXT, offsetof(struct bench_args, kv), "TYPE,...",
      "how keys and values are kept: f16, f32, bf16, q8 (default: f16)", 0, 0 },
    { "reps", 'r', OPT_U32, offsetof(struct bench_args, n_reps), "N",
      "repetitions; the median is reported (default: 3)", 1, 1000 },
    { "rows", 0, OPT_U32, offsetof(struct bench_args, n_rows), "N",
      "rows of one prefill step (default: 512)", 1, 4096 },
    { "profile", 0, OPT_TEXT, offsetof(struct bench_args, profile), "FILE",
      "where the machine's ceilings are kept (default: ~/.cache/naru/machine.json)", 0, 0 },
    { "remeasure", 0, OPT_FLAG, offsetof(struct bench_args, remeasure), NULL,
      "measure the ceilings again; the higher of old and new are kept", 0, 0 },
    { "no-disk", 0, OPT_FLAG, offsetof(struct bench_args, no_disk), NULL,
      "leave the disk out (it writes and reads a scratch file of 128 MiB)", 0, 0 },
    { "machine-only", 0, OPT_FLAG, offsetof(struct bench_args, machine_only), NULL,
      "only the machine's ceilings, no model", 0, 0 },
    { "svg", 0, OPT_TEXT, offsetof(struct bench_args, svg), "FILE",
      "also draw the results under the machine's roofs", 0, 0 },
};
static const struct opt_table table = { opts, COUNT_OF(opts) };

/* --- the plan --- */

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

static int compare_numbers(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static int parse_kv(struct bench *b, const char *text, struct err *err)
{
    for (const char *s = text;; s++) {
        size_t n = strcspn(s, ",");
        char one[sizeof b->kv_names[0]] = "";
        memcpy(one, s, num_min(n, sizeof one - 1));
        if (b->n_kv == BENCH_LIST_MAX)
            return err_set_field(err, E_USAGE, "kv", "--kv: at most %d types", BENCH_LIST_MAX);
        TRY(cmd_kv_type(one, &b->kv_types[b->n_kv], err));
        memcpy(b->kv_names[b->n_kv++], one, sizeof b->kv_names[0] - 1);
        if (s[n] == '\0')
            return 0;
        s += n;
    }
}

static int parse_plan(struct bench *b, struct err *err)
{
    const struct bench_args *a = b->args;
    TRY(parse_list("pp", a->pp, 0, &b->pp, err));
    TRY(parse_list("depth", a->depth, 0, &b->depth, err));
    TRY(parse_list("batch", a->batch, 1, &b->batch, err));
    TRY(parse_kv(b, a->kv, err));
    for (uint32_t i = 0; i < b->batch.n; i++)
        if (b->batch.items[i] > 1024)
            return err_set_field(err, E_USAGE, "batch", "--batch %u: at most 1024 sequences",
                                 b->batch.items[i]);
    /* Contexts grow from one frontier to the next. */
    qsort(b->depth.items, b->depth.n, sizeof *b->depth.items, compare_numbers);
    return 0;
}

/* --- the machine --- */

struct measuring {
    struct cmd_bar bar;
};

static void show_progress(void *ctx, uint32_t done, uint32_t total)
{
    struct measuring *m = ctx;
    cmd_bar_update(&m->bar, done, total, "parts");
}

/* The folder a file lies in: where the disk is measured. mem_free it; NULL: no memory. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return mem_strndup(".", 1);
    return mem_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

/* Measures, takes over what an earlier profile of this machine saw faster, keeps the result. A
 * profile that cannot be kept is told of and does no harm. */
static int measure(struct bench *b, const struct os_cpu *cpu, const char *path,
                   const struct cost_profile *old, struct err *err)
{
    const struct cmd_common *c = &b->args->common;
    struct measuring m;
    struct err why = { 0 };
    char *folder = NULL;
    if (path != NULL && !b->args->no_disk && os_make_parents(path, &why) == 0)
        folder = folder_of(path);
    struct cost_measure how = { .cpu = cpu, .disk_folder = folder, .progress = show_progress,
                                .ctx = &m };
    cmd_bar_begin(&m.bar, c, "measuring the machine");
    int rc = cost_measure_run(&b->profile, &how, err);
    cmd_bar_end(&m.bar);
    mem_free(folder);
    TRY(rc);
    if (old != NULL)
        cost_profile_raise(&b->profile, old);
    if (path == NULL)
        cmd_say(c, "no HOME, no XDG_CACHE_HOME: the profile is not kept; use --profile FILE");
    else if (cost_profile_save(&b->profile, path, &why) < 0)
        cmd_say(c, "the profile is not kept: %s", why.text);
    else
        cmd_say(c, "the machine's profile is in %s", path);
    return 0;
}

static int get_profile(struct bench *b, struct err *err)
{
    const struct bench_args *a = b->args;
    struct os_cpu cpu;
    struct err why = { 0 };
    char now[sizeof b->profile.fingerprint];
    struct cost_profile old;
    os_cpu_detect(&cpu);
    cost_fingerprint(&cpu, now, sizeof now);
    char *path = a->profile != NULL ? mem_strndup(a->profile, strlen(a->profile))
                                    : cost_profile_path();
    int known = path != NULL ? cost_profile_load(&old, path, &why) : E_NOT_FOUND;
    bool same = known == 0 && strcmp(old.fingerprint, now) == 0;
    if (known < 0 && known != E_NOT_FOUND)
        cmd_say(&a->common, "%s; measuring again", why.text);
    else if (known == 0 && !same)
        cmd_say(&a->common, "the profile in %s is of another machine (%s); measuring this one",
                path, old.fingerprint);
    int rc = 0;
    if (same && !a->remeasure)
        b->profile = old;
    else
        rc = measure(b, &cpu, path, same ? &old : NULL, err);
    mem_free(path);
    return rc;
}

/* --- the verb --- */

static int with_model(struct bench *b, struct err *err)
{
    struct model_params mp = { .kv_type = b->kv_types[0] };
    TRY(cmd_model_load(&b->model, &b->args->common, &mp, err));
    b->n_threads = device_threads(b->model.device);
    cmd_say(&b->args->common, "%s", device_name(b->model.device));
    bench_report_begin(b);
    for (uint32_t i = 0; i < b->n_kv; i++) {
        if (i > 0) { /* the state's form is part of a model: another one of the same file */
            mp.kv_type = b->kv_types[i];
            model_destroy(b->model.model);
            b->model.model = NULL;
            TRY(model_create(&b->model.model, b->model.file, b->model.device, &mp, err));
        }
        TRY(cost_model_of(&b->cost, b->model.file, b->model.model, err));
        TRY(bench_model_run(b, b->kv_names[i], err));
    }
    return 0;
}

static int draw(const struct bench *b, struct err *err)
{
    struct buf out;
    buf_init(&out, 4u << 20);
    bench_svg_write(b, &out);
    int rc = buf_status(&out);
    rc = rc < 0 ? err_set(err, rc, "the chart: %s", err_code_text(rc))
                : os_write_file(b->args->svg, buf_str(&out), out.len, err);
    buf_fini(&out);
    return rc;
}

static int run_bench(struct bench *b, struct err *err)
{
    TRY(parse_plan(b, err));
    b->results = mem_alloc(BENCH_RESULTS_MAX, sizeof *b->results);
    if (b->results == NULL)
        return err_set(err, E_NOMEM, "out of memory");
    TRY(get_profile(b, err));
    b->n_threads = b->args->common.n_threads;
    if (b->n_threads == 0)
        b->n_threads = b->profile.n_cores;
    bench_report_machine(b);
    if (!b->args->machine_only)
        TRY(with_model(b, err));
    return b->args->svg != NULL ? draw(b, err) : 0;
}

static int bench(const struct cmd_verb *verb, int argc, char **argv)
{
    struct bench_args a = { .common = CMD_COMMON_INIT,
                            .pp = "512",
                            .depth = "0",
                            .batch = "1",
                            .kv = "f16",
                            .n_decode = 64,
                            .n_reps = 3,
                            .n_rows = 512 };
    bool done;
    int status = cmd_parse(verb, argc, argv, &a.common, NULL, &done);
    if (done)
        return status;
    struct err err = { 0 };
    struct bench b = { .args = &a };
    int rc = run_bench(&b, &err);
    cmd_model_free(&b.model);
    mem_free(b.results);
    return rc == 0 ? CMD_OK : cmd_fail(verb, &err);
}

const struct cmd_verb CMD_BENCH = {
    .name = "bench",
    .summary = "measure this machine, and a model against what it could do",
    .usage = "naru bench [-m FILE] [--pp N,...] [--tg N] [--depth N,...] [--batch N,...]\n"
             "                  [--kv TYPE,...] [--reps N] [--json] [--svg FILE]",
    .about =
        "Measures the machine's ceilings once (multiply-add peaks in three number formats, read\n"
        "bandwidth of L2, L3 and memory by threads, the disk) and keeps them in a profile. Then\n"
        "measures prefill and decode of the model, and says for each how close it comes to the\n"
        "floor: the time in which the bytes that must be read could be read, or the operations\n"
        "that must be done could be done, whichever is longer.\n\n"
        "How to read it: decode of one sequence is bound by memory: its floor is the bytes of the\n"
        "weights and of the context over the bandwidth. Prefill and large batches are bound by\n"
        "arithmetic. 100 % cannot be beaten by better code, only by fewer bytes: smaller weights,\n"
        "smaller state (--kv q8), more sequences together (--batch).\n\n"
        "Other work on the machine disturbs it: look at the spread (min..max), and compare two\n"
        "programs in turn (tools/benchcmp), never two lone numbers. A result above 100 % says\n"
        "that the profile was measured on a busy machine: use --remeasure.",
    .examples = "  naru bench                            the machine, and the bundled model\n"
                "  naru bench --machine-only --remeasure ceilings again\n"
                "  naru bench -m a.gguf --pp 512,2048 --depth 0,4096 --batch 1,8 --kv f16,q8\n"
                "  naru bench -m a.gguf --json > new.jsonl   for programs and tools/benchcmp\n"
                "  naru bench -m a.gguf --svg roofline.svg   the results under the roofs\n",
    .table = &table,
    .run = bench,
};
