/* naru pull: a model file from a web server or a hub, once, before going off line. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "cmd/cmd.h"
#include "cmd/fetch.h"
#include "os/file.h"

struct args {
    struct cmd_common common;
    const char *to, *sha256, *hub, *revision;
    uint32_t tries;
    bool force;
};

static const struct opt opts[] = {
    CMD_COMMON(struct args),
    { "to", 0, OPT_TEXT, offsetof(struct args, to), "PATH",
      "file or folder to write (default: the file's name, here)", 0, 0 },
    { "sha256", 0, OPT_TEXT, offsetof(struct args, sha256), "HEX",
      "what the file's SHA-256 must be (default: what the server names, if it does)", 0, 0 },
    { "hub", 0, OPT_TEXT, offsetof(struct args, hub), "URL",
      "hub that OWNER/REPO:FILE is on; NARU_HUB in the environment does the same", 0, 0 },
    { "revision", 0, OPT_TEXT, offsetof(struct args, revision), "NAME",
      "branch, tag or commit of the hub's repository (default: main)", 0, 0 },
    { "tries", 0, OPT_U32, offsetof(struct args, tries), "N",
      "connections in a row that bring nothing before it gives up (default: 5)", 1, 1000 },
    { "force", 0, OPT_FLAG, offsetof(struct args, force), NULL,
      "replace a file that is already there", 0, 0 },
};
static const struct opt_table table = { opts, COUNT_OF(opts) };

/* Appends text for a path of a url: what is not unreserved is escaped, slashes stay. */
static void put_path(struct buf *out, const char *text, size_t n)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                "-._~/";
    for (size_t i = 0; i < n; i++)
        if (text[i] != '\0' && strchr(plain, text[i]) != NULL)
            buf_putc(out, text[i]);
        else
            buf_printf(out, "%%%02X", (unsigned char)text[i]);
}

static bool has_dots(const char *s)
{
    for (size_t n; *s != '\0'; s += n + (s[n] == '/')) {
        n = strcspn(s, "/");
        if ((n == 1 && s[0] == '.') || (n == 2 && s[0] == '.' && s[1] == '.'))
            return true;
    }
    return false;
}

/* OWNER/REPO:FILE to a url of the hub. */
static int hub_url(const struct args *a, const char *source, struct buf *url, struct err *err)
{
    const char *slash = strchr(source, '/'), *colon = strchr(source, ':');
    if (slash == NULL || colon == NULL || slash == source || colon < slash + 2 ||
        colon[1] == '\0' || memchr(slash + 1, '/', (size_t)(colon - slash - 1)) != NULL ||
        has_dots(source) || has_dots(colon + 1))
        return err_set(err, E_USAGE, "%.100s: must be a url or OWNER/REPO:FILE", source);
    if (a->hub == NULL)
        return err_set_field(err, E_USAGE, "hub", "which hub? --hub https://HOST, or NARU_HUB in "
                             "the environment");
    size_t len = strlen(a->hub);
    while (len > 0 && a->hub[len - 1] == '/')
        len--;
    buf_put(url, a->hub, len);
    buf_putc(url, '/');
    put_path(url, source, (size_t)(colon - source));
    buf_printf(url, "/resolve/");
    put_path(url, a->revision, strlen(a->revision));
    buf_putc(url, '/');
    put_path(url, colon + 1, strlen(colon + 1));
    return 0;
}

/* The last name in the path of a url. */
static int name_of(const char *url, char **name, struct err *err)
{
    const char *path = strstr(url, "://");
    path = path != NULL ? path + 3 : url;
    size_t len = strcspn(path, "?#");
    const char *from = path + len;
    while (from > path && from[-1] != '/')
        from--;
    size_t n = (size_t)(path + len - from);
    if (from == path || n == 0 || has_dots(from))
        return err_set_field(err, E_USAGE, "to", "the url names no file: say --to FILE");
    *name = mem_strndup(from, n);
    return *name != NULL ? 0 : err_set(err, E_NOMEM, "out of memory");
}

/* Where the file goes; mem_free it. */
static int target(const struct args *a, const char *url, char **path, struct err *err)
{
    bool folder = a->to == NULL || os_is_dir(a->to);
    char *name = NULL;
    if (folder)
        TRY(name_of(url, &name, err));
    struct buf b;
    buf_init(&b, 1u << 16);
    if (a->to != NULL)
        buf_printf(&b, "%s%s", a->to, folder ? "/" : "");
    if (folder)
        buf_printf(&b, "%s", name);
    mem_free(name);
    *path = buf_status(&b) == 0 ? mem_strndup(buf_str(&b), b.len) : NULL;
    buf_fini(&b);
    return *path != NULL ? 0 : err_set(err, E_NOMEM, "out of memory");
}

struct watch {
    const struct args *args;
    struct cmd_bar bar;
};

static void show_progress(void *ctx, uint64_t done, uint64_t total)
{
    struct watch *w = ctx;
    cmd_bar_update(&w->bar, done >> 10, total >> 10, "KiB");
}

static void show_retry(void *ctx, const char *why)
{
    struct watch *w = ctx;
    cmd_bar_end(&w->bar);
    cmd_say(&w->args->common, "%s; trying again", why);
    cmd_bar_begin(&w->bar, &w->args->common, "pulling");
}

static int fetch(const struct args *a, const char *url, const char *path,
                 struct cmd_fetch_result *r, struct err *err)
{
    struct watch w = { .args = a };
    struct cmd_fetch_params p = { .url = url, .path = path, .sha256 = a->sha256,
                                  .token = getenv("NARU_HUB_TOKEN"), .tries = a->tries,
                                  .pause_s = 0.5, .progress = show_progress,
                                  .retry = show_retry, .ctx = &w };
    cmd_bar_begin(&w.bar, &a->common, "pulling");
    int rc = cmd_fetch(&p, r, err);
    cmd_bar_end(&w.bar);
    return rc;
}

static void print(const struct args *a, const char *path, const struct cmd_fetch_result *r,
                  struct buf *out)
{
    if (!a->common.json) {
        buf_printf(out, "%s\n", path);
        cmd_say(&a->common, "%llu bytes, SHA-256 %s (%s)", (unsigned long long)r->bytes, r->sha256,
                r->verified ? "verified" : "nothing to verify against: give --sha256");
        return;
    }
    struct json_writer w;
    json_writer_init(&w, out);
    json_begin_object(&w);
    json_key(&w, "path");
    json_write_str(&w, path);
    json_key(&w, "bytes");
    json_write_uint(&w, r->bytes);
    json_key(&w, "resumed_at");
    json_write_uint(&w, r->resumed_at);
    json_key(&w, "sha256");
    json_write_str(&w, r->sha256);
    json_key(&w, "verified");
    json_write_bool(&w, r->verified);
    json_end_object(&w);
    buf_putc(out, '\n');
}

/* A file that is there is kept: it is what was asked for, or --force must be said. */
static int pull_to(const struct args *a, const char *url, const char *path, struct buf *out,
                   struct err *err)
{
    struct cmd_fetch_result r = { 0 };
    if (os_exists(path) && !a->force) {
        if (a->sha256 == NULL)
            return err_set_field(err, E_USAGE, "force", "%s is already there; --force replaces it, "
                                 "--sha256 HEX verifies it", path);
        TRY(cmd_file_sha256(path, r.sha256, err));
        if (strcasecmp(r.sha256, a->sha256) != 0)
            return err_set_field(err, E_USAGE, "force", "%s is already there with SHA-256 %s; "
                                 "--force replaces it", path, r.sha256);
        struct os_map m;
        TRY(os_map_open(&m, path, err));
        r.bytes = m.size;
        r.verified = true;
        os_map_close(&m);
    } else {
        TRY(fetch(a, url, path, &r, err));
    }
    print(a, path, &r, out);
    return 0;
}

static int pull_source(const struct args *a, const char *source, struct buf *out, struct err *err)
{
    struct buf url;
    char *path = NULL;
    buf_init(&url, 1u << 14);
    int rc = 0;
    if (strstr(source, "://") != NULL)
        buf_printf(&url, "%s", source);
    else
        rc = hub_url(a, source, &url, err);
    if (rc == 0 && buf_status(&url) < 0)
        rc = err_set(err, E_LIMIT, "the url is too long");
    if (rc == 0)
        rc = target(a, buf_str(&url), &path, err);
    if (rc == 0)
        rc = pull_to(a, buf_str(&url), path, out, err);
    buf_fini(&url);
    mem_free(path);
    return rc;
}

static int pull(const struct cmd_verb *verb, int argc, char **argv)
{
    struct args a = { .common = CMD_COMMON_INIT, .revision = "main", .tries = 5 };
    struct opt_list words = { 0 };
    bool done;
    int status = cmd_parse(verb, argc, argv, &a.common, &words, &done);
    if (done)
        return status;
    struct err err = { 0 };
    struct buf out;
    buf_init(&out, 1u << 16);
    int rc = words.n == 1 ? pull_source(&a, words.items[0], &out, &err)
                          : err_set(&err, E_USAGE, "say one file: a url or OWNER/REPO:FILE");
    status = rc == 0 ? cmd_print(verb, &out) : cmd_fail(verb, &err);
    buf_fini(&out);
    return status;
}

const struct cmd_verb CMD_PULL = {
    .name = "pull",
    .summary = "fetch a model file: resumed, verified, whole or not at all",
    .usage = "naru pull URL|OWNER/REPO:FILE [--to PATH] [--sha256 HEX] [OPTIONS]",
    .about = "Fetches one file over HTTP(S). What a cut connection left (FILE.part) is taken up\n"
             "again, now and in the next run. The file appears under its name only when it is\n"
             "complete and its SHA-256 is right, and the path is printed. This is the one verb\n"
             "that calls out. A token in NARU_HUB_TOKEN is sent to the first host only.",
    .examples = "  naru pull https://example.org/model.gguf --sha256 9f86d0...\n"
                "  naru pull owner/repo:model-Q4_K_M.gguf --hub https://hub.example.org\n",
    .table = &table,
    .run = pull,
};
