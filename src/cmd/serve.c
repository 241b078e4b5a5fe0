/* naru serve: a model behind HTTP. This file opens and closes; routes live in api, work in the
 * engine. SIGTERM or SIGINT: no new connections, running answers get drain seconds, then they are
 * ended with an error event; a second signal ends them at once. SIGHUP: the options are read
 * again; what can change while requests run does, a file that is wrong changes nothing (G-15). */
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "api/keys.h"
#include "api/server.h"
#include "base/mem.h"
#include "cmd/cmd.h"
#include "cmd/config.h"
#include "cmd/spec.h"
#include "cmd/store.h"
#include "engine/engine.h"
#include "os/file.h"
#include "os/notify.h"

struct args {
    struct cmd_common common;
    struct cmd_config_args file;
    const char *host, *port_file, *kv, *kv_policy, *name, *pooling, *keys, *admin, *tool_parser;
    uint32_t port, n_ctx, n_seqs, n_waiting, n_responses;
    uint64_t kv_bytes;
    struct cmd_store_args store;
    double drain_s, tpot_s;
    struct cmd_spec spec;
};

static const struct opt opts[] = {
    CMD_COMMON(struct args),
    { "host", 0, OPT_TEXT, offsetof(struct args, host), "ADDRESS",
      "address to listen on; 0.0.0.0 lets other machines in (default: 127.0.0.1)", 0, 0 },
    { "port", 0, OPT_U32, offsetof(struct args, port), "N",
      "port to listen on; 0 takes any free one (default: 8080)", 0, 65535 },
    { "port-file", 0, OPT_TEXT, offsetof(struct args, port_file), "FILE",
      "write the port to FILE once the server is ready", 0, 0 },
    { "name", 0, OPT_TEXT, offsetof(struct args, name), "ID",
      "id of the model in requests and answers (default: the file's name)", 0, 0 },
    { "ctx", 'c', OPT_U32, offsetof(struct args, n_ctx), "N",
      "context of one sequence in tokens (default: what the model was trained for, at most 16384)",
      2, 1 << 20 },
    { "seqs", 0, OPT_U32, offsetof(struct args, n_seqs), "N",
      "sequences that are computed together; more wait (default: 32)", 1, 4096 },
    { "queue", 0, OPT_U32, offsetof(struct args, n_waiting), "N",
      "requests that may wait; more are refused with 503 (default: 1024)", 1, 1 << 20 },
    { "tpot", 0, OPT_NUMBER, offsetof(struct args, tpot_s), "SECONDS",
      "pace to keep for answers under way: a prompt joins a step only as far as the step is "
      "predicted to take no longer; 0 keeps none (default: 0.2)", 0, 60 },
    { "kv-bytes", 0, OPT_BYTES, offsetof(struct args, kv_bytes), "SIZE",
      "memory for the state of all sequences (default: what --seqs contexts need, at most 1G)", 0,
      0 },
    { "drain", 0, OPT_NUMBER, offsetof(struct args, drain_s), "SECONDS",
      "time running answers get at the end (default: 10)", 0, 3600 },
    { "keys", 0, OPT_TEXT, offsetof(struct args, keys), "FILE",
      "answer only to the access keys in FILE (see `naru keys`; default: everybody is answered)", 0,
      0 },
    { "admin-socket", 0, OPT_TEXT, offsetof(struct args, admin), "PATH",
      "Unix socket for /admin routes, open to this user only (default: none)", 0, 0 },
    { "pooling", 0, OPT_TEXT, offsetof(struct args, pooling), "HOW",
      "how /v1/embeddings makes one vector of a text: mean, cls, last (default: what the model "
      "file says, else mean)", 0, 0 },
    { "tool-parser", 0, OPT_TEXT, offsetof(struct args, tool_parser), "NAME",
      "the form in which the model writes tool calls: json, llama, mistral, deepseek, kimi, "
      "harmony; none refuses tools (default: what the chat template tells)", 0, 0 },
    { "responses", 0, OPT_U32, offsetof(struct args, n_responses), "N",
      "answers of /v1/responses kept in memory for previous_response_id; 0 keeps none "
      "(default: 1024, at most 64 MiB)", 0, 1 << 20 },
    CMD_STORE(struct args),
    CMD_KV(struct args),
    CMD_KV_POLICY(struct args),
    CMD_SPEC(struct args),
    CMD_CONFIG(struct args),
};
static const struct opt_table table = { opts, COUNT_OF(opts) };

struct service {
    const struct args *args;   /* as it started */
    struct cmd_config *config; /* for a reload */
    struct args live;          /* as of the last reload; the main thread's */
    char *first_text;          /* the file as it was at the start: args points into it */
    _Atomic bool quiet;
    struct cmd_model model;
    struct cmd_draft draft;
    struct cmd_store store;
    struct engine *engine;
    struct api_server *server;
    struct api_keys *keys;
    struct clock clock;
    char *name;
};

/* The file's name without folder and ".gguf". */
static char *model_name(const struct args *a, const char *path)
{
    if (a->name != NULL)
        return mem_strndup(a->name, strlen(a->name));
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    size_t from = len;
    while (from > 0 && path[from - 1] != '/')
        from--;
    if (len - from > 5 && memcmp(path + len - 5, ".gguf", 5) == 0)
        len -= 5;
    return mem_strndup(path + from, len - from);
}

static int pooling_of(const char *name, uint32_t *out, struct err *err)
{
    static const char *const names[] = { "mean", "cls", "last" }; /* from MODEL_POOL_MEAN on */
    if (name == NULL)
        return 0;
    for (uint32_t i = 0; i < COUNT_OF(names); i++)
        if (strcmp(names[i], name) == 0) {
            *out = MODEL_POOL_MEAN + i;
            return 0;
        }
    return err_set_field(err, E_USAGE, "pooling", "--pooling %s: must be mean, cls or last", name);
}

static int open_engine(struct service *s, struct err *err)
{
    uint64_t secret = 0; /* key of the prefix index: nobody shall construct collisions */
    if (getrandom(&secret, sizeof secret, 0) != (ssize_t)sizeof secret)
        return err_set(err, E_IO, "no random numbers from the system");
    uint32_t pooling = MODEL_POOL_NONE;
    TRY(pooling_of(s->args->pooling, &pooling, err));
    struct engine_params p = { .model = s->model.model,
                               .tokenizer = s->model.tokenizer,
                               .clock = s->clock,
                               .n_ctx = s->args->n_ctx,
                               .n_seqs_max = s->args->n_seqs,
                               .n_waiting_max = s->args->n_waiting,
                               .kv_bytes = s->args->kv_bytes,
                               .kv_policy = s->args->kv_policy,
                               .pooling = pooling,
                               .tpot_s = s->args->tpot_s,
                               .queue_s_max = 30,
                               .hash_seed = secret };
    TRY(cmd_spec_open(&s->draft, &s->args->spec, &s->model, &p, err));
    TRY(cmd_store_open(&s->store, &s->args->store, &s->args->common, false, err));
    TRY(cmd_store_bind(&p, &s->store, &s->model, &s->args->common, err));
    return engine_create(&s->engine, &p, err);
}

static void log_line(void *ctx, const char *line)
{
    struct service *s = ctx;
    if (!atomic_load(&s->quiet))
        cmd_say(&(struct cmd_common){ .log = "info" }, "%s", line);
}

static bool is_quiet(const struct args *a)
{
    return a->common.log != NULL && strcmp(a->common.log, "quiet") == 0;
}

static int open_keys(struct service *s, struct err *err)
{
    struct api_keys_params p = { .path = s->args->keys,
                                 .clock = s->clock,
                                 .log = log_line,
                                 .log_ctx = s };
    if (p.path == NULL)
        return 0;
    TRY(api_keys_create(&s->keys, &p, err));
    if (api_keys_count(s->keys) == 0)
        cmd_say(&s->args->common, "%s holds no key yet: naru keys add NAME --keys %s", p.path,
                p.path);
    return 0;
}

static int open_service(struct service *s, struct err *err)
{
    struct model_params mp = { 0 };
    TRY(cmd_kv_type(s->args->kv, &mp.kv_type, err));
    TRY(cmd_kv_policy(s->args->kv_policy, err));
    TRY(cmd_model_load(&s->model, &s->args->common, &mp, err));
    if (s->model.tokenizer == NULL)
        return err_set(err, E_NOT_FOUND, "%s carries no tokenizer, so it cannot be served",
                       s->model.path);
    s->name = model_name(s->args, s->model.path);
    if (s->name == NULL)
        return err_set(err, E_NOMEM, "out of memory");
    TRY(open_engine(s, err));
    TRY(open_keys(s, err));
    struct text_str source = model_file_chat_template(s->model.file);
    struct api_params p = { .host = s->args->host,
                            .port = (uint16_t)s->args->port,
                            .engine = s->engine,
                            .tokenizer = s->model.tokenizer,
                            .template_source = source.data,
                            .template_len = source.len,
                            .tool_parser = s->args->tool_parser,
                            .model_id = s->name,
                            .version = cmd_version(),
                            .commit = cmd_commit(),
                            .created = clock_wall_s(&s->clock),
                            .clock = s->clock,
                            .seed = cmd_seed(&s->args->common),
                            .sampler = cmd_sampler_defaults(),
                            .keys = s->keys,
                            .admin_path = s->args->admin,
                            .n_responses = s->args->n_responses,
                            .log = log_line,
                            .log_ctx = s };
    return api_server_create(&s->server, &p, err);
}

static void close_service(struct service *s)
{
    api_server_destroy(s->server);
    api_keys_destroy(s->keys);
    cmd_store_finish(&s->store, s->engine, &s->args->common);
    cmd_spec_close(&s->draft);
    cmd_model_free(&s->model);
    mem_free(s->name);
    mem_free(s->first_text);
}

/* Tells where it listens: to a person, and to a program that asked for a file. */
static int announce(const struct service *s, struct err *err)
{
    uint32_t port = api_server_port(s->server);
    const struct model_info *info = model_info(s->model.model);
    struct engine_info ei;
    engine_info(s->engine, &ei);
    cmd_say(&s->args->common, "%s: %s, %.1f M parameters; context %u, KV %.0f MiB, %s", s->name,
            info->family, (double)info->n_params * 1e-6, ei.n_ctx,
            (double)ei.kv_bytes / (1 << 20), device_name(s->model.device));
    if (s->store.store != NULL) {
        struct kv_store_stats st;
        kv_store_stats(s->store.store, &st);
        cmd_say(&s->args->common, "kv store %s: %s, %s, %u blocks, %.1f of %.1f MiB",
                s->args->store.dir, kv_store_state_name(st.state),
                os_volume_engine_name(s->store.volume), st.n_blocks,
                (double)st.disk_bytes / (1 << 20), (double)st.max_bytes / (1 << 20));
    }
    cmd_say(&s->args->common, "listening on http://%s:%u/v1 (Ctrl-C ends)", s->args->host, port);
    if (s->args->port_file == NULL)
        return 0;
    char text[16];
    int len = snprintf(text, sizeof text, "%u\n", port);
    return os_write_file(s->args->port_file, text, (size_t)len, err);
}

/* The signals that end the service are blocked in every thread and taken here, one after the other.
 * */
static void block_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, set, NULL);
}

/* A second signal while draining: no more patience. */
static void leave_now(UNUSED int signal_number) { _Exit(CMD_WORLD); }

/* What the table cannot check and what need not open the model. */
static int check_args(const struct args *a, struct err *err)
{
    uint32_t ignored;
    TRY(cmd_kv_type(a->kv, &ignored, err));
    TRY(cmd_kv_policy(a->kv_policy, err));
    return pooling_of(a->pooling, &ignored, err);
}

static void say_change(void *ctx, const char *name, const char *was, const char *now)
{
    const struct service *s = ctx;
    bool at_once = strcmp(name, "drain") == 0 || strcmp(name, "log") == 0;
    cmd_say(&s->live.common, "reload: %s: %s -> %s%s", name, *was != '\0' ? was : "(default)",
            *now != '\0' ? now : "(default)", at_once ? "" : " (takes a restart)");
}

static void reload(struct service *s)
{
    struct args fresh;
    struct err err = { 0 };
    char *old = s->config->text; /* s->live points into it until the end of this function */
    os_notify_reloading(clock_now_ns(&s->clock));
    s->config->text = NULL;
    int rc = cmd_config_load(s->config, &fresh, &err);
    if (rc == 0)
        rc = check_args(&fresh, &err);
    if (rc < 0) {
        cmd_config_fini(s->config);
        s->config->text = old;
        fprintf(stderr, "reload: %s; nothing was changed\n", err.text);
    } else {
        if (cmd_config_diff(s->config, &s->live, &fresh, say_change, s) == 0)
            cmd_say(&s->live.common, "reload: nothing has changed");
        s->live = fresh;
        atomic_store(&s->quiet, is_quiet(&fresh));
        mem_free(old);
    }
    os_notify("READY=1");
}

static void wait_for_end(struct service *s, const sigset_t *set)
{
    int sig = 0;
    os_notify("READY=1");
    for (sigwait(set, &sig); sig == SIGHUP; sigwait(set, &sig))
        reload(s);
    os_notify("STOPPING=1");
    cmd_say(&s->live.common,
            "ending: answers in progress get %.0f s; a second signal ends at once",
            s->live.drain_s);
    signal(SIGINT, leave_now);
    signal(SIGTERM, leave_now);
    pthread_sigmask(SIG_UNBLOCK, set, NULL);
    api_server_drain(s->server, s->live.drain_s);
}

static int run_service(const struct cmd_verb *verb, struct cmd_config *config,
                       const struct args *a)
{
    struct err err = { 0 };
    struct service s = { .args = a, .live = *a, .config = config, .first_text = config->text,
                         .clock = clock_system() };
    sigset_t set;
    config->text = NULL; /* kept by the service; a reload brings its own */
    atomic_store(&s.quiet, is_quiet(a));
    block_signals(&set);
    int rc = open_service(&s, &err);
    if (rc == 0)
        rc = announce(&s, &err);
    if (rc == 0)
        wait_for_end(&s, &set);
    close_service(&s);
    return rc == 0 ? CMD_OK : cmd_fail(verb, &err);
}

static int print_config(const struct cmd_verb *verb, const struct cmd_config *config,
                        const struct args *a)
{
    struct buf out;
    buf_init(&out, CMD_CONFIG_BYTES_MAX);
    cmd_config_print(config, a, &out);
    return cmd_print(verb, &out);
}

static int serve(const struct cmd_verb *verb, int argc, char **argv)
{
    const struct args defaults = {
        .common = CMD_COMMON_INIT, .host = "127.0.0.1", .port = 8080, .drain_s = 10, .tpot_s = 0.2,
        .n_responses = 1024
    };
    struct args a = defaults;
    bool done;
    int status = cmd_parse(verb, argc, argv, &a.common, NULL, &done);
    if (done)
        return status;
    struct cmd_config config = { .verb = verb, .argc = argc, .argv = argv, .defaults = &defaults,
                                 .bytes = sizeof defaults, .at = offsetof(struct args, file) };
    struct err err = { 0 };
    int rc = cmd_config_load(&config, &a, &err);
    if (rc == 0)
        rc = check_args(&a, &err);
    if (rc < 0)
        status = cmd_fail(verb, &err);
    else if (a.file.check_config)
        status = print_config(verb, &config, &a);
    else
        status = run_service(verb, &config, &a);
    cmd_config_fini(&config);
    return status;
}

const struct cmd_verb CMD_SERVE = {
    .name = "serve",
    .summary = "answer OpenAI clients over HTTP",
    .usage = "naru serve [-m FILE] [--host ADDRESS] [--port N] [OPTIONS]",
    .about = "Serves one model with the OpenAI routes /v1/chat/completions, /v1/completions and\n"
             "/v1/models. Requests of several clients are computed together, and a prefix they\n"
             "share is computed once. Listens on this machine only unless --host says otherwise;\n"
             "everybody who reaches the port is answered unless --keys names a file of keys.\n"
             "Requests that do not say how to sample get what `naru run` uses.",
    .examples = "  naru serve\n"
                "  naru serve --config /etc/naru/naru.conf --check-config\n"
                "  naru serve -m model.gguf --port 9000 --ctx 8192 --kv-bytes 2G\n"
                "  curl http://127.0.0.1:8080/v1/chat/completions \\\n"
                "  -H 'content-type: application/json' \\\n"
                "  -d '{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}'\n",
    .table = &table,
    .run = serve,
};
