/* naru simulate: policies under recorded traffic. `cache` is one prefix cache. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cmd/cmd.h"
#include "kv/policy.h"
#include "sim/cache.h"

enum { SIZES_MAX = 16, POLICIES_MAX = 16, NAME_MAX_LEN = 16 };

struct args {
    struct cmd_common common;
    const char *trace, *blocks, *policy;
    double gap_s;
    bool flat;
};

struct plan {
    uint32_t sizes[SIZES_MAX], n_sizes;
    char policies[POLICIES_MAX][NAME_MAX_LEN];
    uint32_t n_policies;
};

static const struct opt opts[] = {
    CMD_COMMON(struct args),
    { "trace", 0, OPT_TEXT, offsetof(struct args, trace), "FILE",
      "recorded traffic: Mooncake JSON lines, agent sessions, Azure CSV; plain or zstd", 0, 0 },
    { "blocks", 0, OPT_TEXT, offsetof(struct args, blocks), "N,N",
      "capacities to try, in blocks of the trace (default: 1000,3000,10000,30000)", 0, 0 },
    { "policy", 0, OPT_TEXT, offsetof(struct args, policy), "NAME,NAME",
      "lru, lfu, gdsf, s3fifo, tinylfu, naru, belady (knows the future), or all (default: all)", 0,
      0 },
    { "session-gap", 0, OPT_NUMBER, offsetof(struct args, gap_s), "SECONDS",
      "traces of separate sessions: seconds between the starts of two (default: 60)", 0, 1e6 },
    { "flat", 0, OPT_FLAG, offsetof(struct args, flat), NULL,
      "offer every block, partial and inner ones too, to every policy, as the published reference "
      "numbers do; a prefix index offers full leaves only", 0, 0 },
};
static const struct opt_table table = { opts, COUNT_OF(opts) };

static int add_size(struct plan *p, const char *word, struct err *err)
{
    char *end;
    unsigned long n = strtoul(word, &end, 10);
    if (*end != '\0' || word[0] < '0' || word[0] > '9' || n < 1 || n > 1u << 29)
        return err_set_field(err, E_USAGE, "blocks", "--blocks %.20s: must be 1 to 536870912",
                             word);
    if (p->n_sizes == SIZES_MAX)
        return err_set_field(err, E_USAGE, "blocks", "--blocks: at most %d sizes", SIZES_MAX);
    p->sizes[p->n_sizes++] = (uint32_t)n;
    return 0;
}

static bool known_policy(const char *word)
{
    for (uint32_t i = 0; kv_policy_name(i) != NULL; i++)
        if (strcmp(kv_policy_name(i), word) == 0)
            return true;
    return strcmp(word, SIM_BELADY) == 0;
}

static int add_policy(struct plan *p, const char *word, struct err *err)
{
    if (strcmp(word, "all") == 0) {
        for (uint32_t i = 0; kv_policy_name(i) != NULL; i++)
            TRY(add_policy(p, kv_policy_name(i), err));
        return add_policy(p, SIM_BELADY, err);
    }
    if (!known_policy(word))
        return err_set_field(err, E_USAGE, "policy", "--policy %.20s: must be lru, lfu, gdsf, "
                             "s3fifo, tinylfu, naru, belady or all", word);
    if (p->n_policies == POLICIES_MAX)
        return err_set_field(err, E_USAGE, "policy", "--policy: at most %d", POLICIES_MAX);
    snprintf(p->policies[p->n_policies++], NAME_MAX_LEN, "%s", word);
    return 0;
}

/* Calls add for each word of a list with commas. */
static int each_word(const char *list, int (*add)(struct plan *, const char *, struct err *),
                     struct plan *p, struct err *err)
{
    for (const char *at = list;; at++) {
        char word[NAME_MAX_LEN + 8];
        size_t n = strcspn(at, ",");
        snprintf(word, sizeof word, "%.*s", n < sizeof word ? (int)n : (int)sizeof word - 1, at);
        TRY(add(p, word, err));
        at += n;
        if (*at == '\0')
            return 0;
    }
}

struct bound {
    double belady, infinite;
};

static void print_json(const struct args *a, const struct sim_trace *t,
                       const struct sim_cache_params *p, const struct sim_cache_result *r,
                       const struct bound *bound, struct buf *out)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_begin_object(&w);
    json_key(&w, "trace");
    json_write_str(&w, a->trace);
    json_key(&w, "format");
    json_write_str(&w, t->format);
    json_key(&w, "requests");
    json_write_uint(&w, t->n_requests);
    json_key(&w, "block_len");
    json_write_uint(&w, t->block_len);
    json_key(&w, "policy");
    json_write_str(&w, p->policy);
    json_key(&w, "blocks");
    json_write_uint(&w, p->blocks);
    json_key(&w, "block_hit");
    json_write_double(&w, r->block_hit);
    json_key(&w, "token_hit");
    json_write_double(&w, r->token_hit);
    json_key(&w, "bound");
    json_write_double(&w, bound->belady);
    json_key(&w, "infinite");
    json_write_double(&w, bound->infinite);
    json_key(&w, "evicted");
    json_write_uint(&w, r->n_evicted);
    json_end_object(&w);
    buf_putc(out, '\n');
}

struct task {
    const struct args *args;
    const struct plan *plan;
    const struct sim_trace *trace;
    const struct sim_stream *stream;
    struct buf *out;
};

static bool show_progress(void *ctx, uint64_t done, uint64_t total)
{
    cmd_bar_update(ctx, done, total, "requests");
    return true;
}

static int run_one(const struct task *k, const struct sim_cache_params *p,
                   struct sim_cache_result *r, struct err *err)
{
    struct cmd_bar bar;
    char label[64];
    snprintf(label, sizeof label, "%s, %u blocks", p->policy, p->blocks);
    cmd_bar_begin(&bar, &k->args->common, label);
    int rc = sim_cache_run(k->stream, p, show_progress, &bar, r, err);
    cmd_bar_end(&bar);
    return rc;
}

static int run_size(const struct task *k, uint32_t blocks, struct err *err)
{
    struct sim_cache_params p = { .policy = SIM_BELADY, .blocks = blocks, .flat = k->args->flat };
    struct sim_cache_result best, r;
    TRY(run_one(k, &p, &best, err));
    struct bound bound = { best.block_hit, sim_stream_infinite(k->stream) };
    for (uint32_t i = 0; i < k->plan->n_policies; i++) {
        p.policy = k->plan->policies[i];
        if (strcmp(p.policy, SIM_BELADY) == 0)
            r = best;
        else
            TRY(run_one(k, &p, &r, err));
        if (k->args->common.json)
            print_json(k->args, k->trace, &p, &r, &bound, k->out);
        else
            buf_printf(k->out, "%9u  %-8s  %9.4f  %9.4f  %7.1f %%\n", blocks, p.policy,
                       r.block_hit, r.token_hit,
                       best.block_hit > 0 ? 100 * r.block_hit / best.block_hit : 100.0);
    }
    return 0;
}

static void print_head(const struct sim_trace *t, const struct sim_stream *s, struct buf *out)
{
    buf_printf(out, "%s: %zu requests, %llu blocks of %u tokens, %u different; without bounds "
               "%.4f hit\n%9s  %-8s  %9s  %9s  %9s\n", t->format, t->n_requests,
               (unsigned long long)t->n_blocks, t->block_len, s->n_unique, sim_stream_infinite(s),
               "blocks", "policy", "block hit", "token hit", "of belady");
}

static int run_all(const struct args *a, const struct plan *plan, struct buf *out, struct err *err)
{
    struct sim_trace t;
    struct sim_stream s;
    TRY(sim_trace_open(&t, a->trace, a->gap_s, err));
    int rc = sim_stream_create(&s, &t, err);
    if (rc < 0) {
        sim_trace_free(&t);
        return rc;
    }
    struct task k = { a, plan, &t, &s, out };
    if (t.block_len == 0)
        cmd_say(&a->common, "%s: this format (%s) names no prefix blocks, so no hit is claimed",
                a->trace, t.format);
    if (!a->common.json)
        print_head(&t, &s, out);
    for (uint32_t i = 0; rc == 0 && i < plan->n_sizes; i++)
        rc = run_size(&k, plan->sizes[i], err);
    sim_stream_free(&s);
    sim_trace_free(&t);
    return rc;
}

static int make_plan(const struct args *a, const struct opt_list *words, struct plan *p,
                     struct err *err)
{
    if (words->n != 1 || strcmp(words->items[0], "cache") != 0)
        return err_set(err, E_USAGE, "say what to simulate: naru simulate cache --trace FILE");
    if (a->trace == NULL)
        return err_set_field(err, E_USAGE, "trace", "--trace FILE is missing");
    TRY(each_word(a->blocks, add_size, p, err));
    return each_word(a->policy, add_policy, p, err);
}

static int simulate(const struct cmd_verb *verb, int argc, char **argv)
{
    struct args a = { .common = CMD_COMMON_INIT, .blocks = "1000,3000,10000,30000",
                      .policy = "all", .gap_s = 60 };
    struct opt_list words = { 0 };
    bool done;
    int status = cmd_parse(verb, argc, argv, &a.common, &words, &done);
    if (done)
        return status;
    struct err err = { 0 };
    struct plan plan = { 0 };
    struct buf out;
    buf_init(&out, 1u << 20);
    int rc = make_plan(&a, &words, &plan, &err);
    if (rc == 0)
        rc = run_all(&a, &plan, &out, &err);
    status = rc == 0 ? cmd_print(verb, &out) : cmd_fail(verb, &err);
    buf_fini(&out);
    return status;
}

const struct cmd_verb CMD_SIMULATE = {
    .name = "simulate",
    .summary = "what a policy would have done under recorded traffic",
    .usage = "naru simulate cache --trace FILE [--blocks N,N] [--policy NAME,NAME] [--json]",
    .about = "cache: replays the prompts of a trace against one prefix cache and prints which\n"
             "share of their blocks each policy had kept, beside belady, which knows the future\n"
             "and which no policy can beat. A hit is the unbroken run of known blocks from the\n"
             "first on. The policies are the very ones of `naru serve --kv-policy`.",
    .examples = "  naru simulate cache --trace conversation.jsonl.zst\n"
                "  naru simulate cache --trace conversation.jsonl.zst --blocks 1000 --policy naru "
                "--json\n",
    .table = &table,
    .run = simulate,
};
