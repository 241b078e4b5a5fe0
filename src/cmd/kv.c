/* naru kv: looking at a folder of stored blocks, and cleaning it. ls, stat and check only read, so
 * they work beside a running server; gc owns the folder. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "cmd/store.h"

struct args {
    struct cmd_common common;
    struct cmd_store_args store;
};

static const struct opt opts[] = {
    CMD_COMMON(struct args),
    { "kv-disk", 0, OPT_BYTES, offsetof(struct args, store.bytes), "SIZE",
      "gc: clean down to the budget SIZE (default: 16G)", 1 << 20, 0x1p62 },
    { "kv-key-file", 0, OPT_TEXT, offsetof(struct args, store.key_file), "FILE",
      "the key of an encrypted store", 0, 0 },
};
static const struct opt_table table = { opts, COUNT_OF(opts) };

#define MODELS_MAX 64

static void write_ls(struct kv_store *s, bool json, struct buf *out)
{
    struct kv_store_model_info m[MODELS_MAX];
    uint32_t n = kv_store_models(s, m, MODELS_MAX);
    struct json_writer w;
    json_writer_init(&w, out);
    if (json)
        json_begin_array(&w);
    else
        buf_puts(out, "model                                     blocks  tokens each   longest"
                      "       MiB\n");
    for (uint32_t i = 0; i < n; i++) {
        const char *name = m[i].name[0] != '\0' ? m[i].name : "(no name)";
        uint64_t longest = ((uint64_t)m[i].deepest + 1) * m[i].n_tokens;
        if (!json) {
            buf_printf(out, "%-40s %8u %12u %9" PRIu64 " %9.1f\n", name, m[i].n_blocks,
                       m[i].n_tokens, longest, (double)m[i].bytes / (1 << 20));
            continue;
        }
        char id[20];
        snprintf(id, sizeof id, "%016" PRIx64, m[i].model);
        json_begin_object(&w);
        json_key(&w, "model");
        json_write_str(&w, name);
        json_key(&w, "identity");
        json_write_str(&w, id);
        json_key(&w, "blocks");
        json_write_uint(&w, m[i].n_blocks);
        json_key(&w, "block_tokens");
        json_write_uint(&w, m[i].n_tokens);
        json_key(&w, "longest_tokens");
        json_write_uint(&w, longest);
        json_key(&w, "bytes");
        json_write_uint(&w, m[i].bytes);
        json_end_object(&w);
    }
    if (json) {
        json_end_array(&w);
        buf_putc(out, '\n');
    }
}

static void write_stat(struct kv_store *s, bool json, uint64_t n_bad, struct buf *out)
{
    struct kv_store_stats st;
    kv_store_stats(s, &st);
    const struct { const char *key; uint64_t value; } rows[] = {
        { "blocks", st.n_blocks },      { "segments", st.n_segments },
        { "disk_bytes", st.disk_bytes },{ "live_bytes", st.live_bytes },
        { "torn_indexes", st.n_cut },   { "foreign_segments", st.n_foreign },
        { "without_parent", st.refused_orphans }, { "dropped", st.dropped_cold },
        { "moved", st.moved },          { "read", st.read },
        { "failed", n_bad },
    };
    struct json_writer w;
    json_writer_init(&w, out);
    if (json)
        json_begin_object(&w);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (json) {
            json_key(&w, rows[i].key);
            json_write_uint(&w, rows[i].value);
        } else {
            buf_printf(out, "%-18s %" PRIu64 "\n", rows[i].key, rows[i].value);
        }
    }
    if (json) {
        json_end_object(&w);
        buf_putc(out, '\n');
    }
}

static void show_progress(void *ctx, uint64_t done, uint64_t total)
{
    cmd_bar_update(ctx, done, total, "blocks");
}

static int do_verb(const struct args *a, struct kv_store *s, const char *what, struct buf *out,
                   struct err *err)
{
    uint64_t n_bad = 0;
    int rc = 0;
    if (strcmp(what, "ls") == 0) {
        write_ls(s, a->common.json, out);
        return 0;
    }
    if (strcmp(what, "check") == 0) {
        struct cmd_bar bar;
        cmd_bar_begin(&bar, &a->common, "checking");
        n_bad = kv_store_verify(s, show_progress, &bar);
        cmd_bar_end(&bar);
    }
    if (strcmp(what, "gc") == 0)
        do
            rc = kv_store_collect(s);
        while (rc > 0);
    write_stat(s, a->common.json, n_bad, out);
    if (n_bad > 0)
        return err_set(err, E_FORMAT, "%" PRIu64 " blocks failed their check; a server computes "
                       "them again, nothing needs to be done", n_bad);
    return rc < 0 ? err_set(err, rc, "cleaning: %s", err_code_text(rc)) : 0;
}

static int kv(const struct cmd_verb *verb, int argc, char **argv)
{
    static const char *const whats[] = { "ls", "stat", "check", "gc" };
    struct args a = { .common = CMD_COMMON_INIT };
    struct opt_list words = { .n = 0 };
    struct cmd_store s;
    struct err err = { 0 };
    struct buf out;
    bool done, known = false;
    int status = cmd_parse(verb, argc, argv, &a.common, &words, &done);
    if (done)
        return status;
    for (size_t i = 0; i < COUNT_OF(whats); i++)
        known = known || (words.n > 0 && strcmp(words.items[0], whats[i]) == 0);
    if (!known || words.n != 2) {
        err_set(&err, E_USAGE, "say what to do and where: naru kv ls|stat|check|gc DIR");
        return cmd_fail(verb, &err);
    }
    bool gc = strcmp(words.items[0], "gc") == 0;
    a.store.dir = words.items[1];
    buf_init(&out, 1u << 20);
    int rc = cmd_store_open(&s, &a.store, &a.common, !gc, &err);
    if (rc == 0)
        rc = do_verb(&a, s.store, words.items[0], &out, &err);
    if (out.len > 0)
        status = cmd_print(verb, &out);
    cmd_store_close(&s);
    return rc < 0 ? cmd_fail(verb, &err) : status;
}

const struct cmd_verb CMD_KV_STORE = {
    .name = "kv",
    .summary = "look at, check and clean a folder of stored state (--kv-dir)",
    .usage = "naru kv ls|stat|check|gc DIR [OPTIONS]",
    .about = "ls lists the models whose blocks are stored; stat counts; check reads every block\n"
             "and verifies it (exit status 1 if one fails). These only read and may run beside a\n"
             "server. gc cleans down to the budget --kv-disk and needs the folder for itself.\n"
             "Nothing here has to be run for a server's sake: it checks what it reads, and cleans.",
    .examples = "  naru kv ls /var/lib/naru/kv\n"
                "  naru kv check /var/lib/naru/kv --json\n"
                "  naru kv gc /var/lib/naru/kv --kv-disk 4G\n",
    .table = &table,
    .run = kv,
};
