/* Finding and opening the model a verb works on, and the progress bar. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/chat.h"
#include "base/clock.h"
#include "base/mem.h"
#include "cmd/cmd.h"
#include "os/file.h"

#define BUNDLED "naru-chat.gguf"
#define REDRAW_NS 50000000u

/* models/ beside the folder of the binary (a checkout: build/naru, build/asan/naru), then the
 * system's place. */
static int bundled_path(char **path, struct err *err)
{
    static const char *const up[] = { "/../models/", "/../../models/" };
    char exe[4096];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(exe, '/');
    if (slash != NULL)
        *slash = '\0';
    struct buf b;
    buf_init(&b, 2 * sizeof exe);
    for (size_t i = 0; i < COUNT_OF(up) && (i == 0 || !os_exists(buf_str(&b))); i++) {
        buf_clear(&b);
        buf_printf(&b, "%s%s" BUNDLED, exe, up[i]);
    }
    if (!os_exists(buf_str(&b))) {
        buf_clear(&b);
        buf_puts(&b, "/usr/share/naru/models/" BUNDLED);
    }
    if (buf_status(&b) == 0 && !os_exists(buf_str(&b))) {
        err_set_field(err, E_NOT_FOUND, "model",
                      "no bundled model at %s%s" BUNDLED " or %s; name one with -m FILE", exe,
                      up[0], buf_str(&b));
        buf_fini(&b);
        return E_NOT_FOUND;
    }
    *path = buf_take(&b, NULL);
    return *path != NULL ? 0 : err_set(err, E_NOMEM, "out of memory");
}

int cmd_model_path(const struct cmd_common *c, char **path, struct err *err)
{
    if (c->model == NULL)
        return bundled_path(path, err);
    if (c->model[0] == '\0')
        return err_set_field(err, E_USAGE, "model", "--model: the name is empty");
    *path = mem_strndup(c->model, strlen(c->model));
    return *path != NULL ? 0 : err_set(err, E_NOMEM, "out of memory");
}

int cmd_file_open(struct model_file **out, const char *path, struct err *err)
{
    int rc = model_file_open(out, path, err);
    if (rc < 0 && strstr(err->text, path) == NULL) {
        struct err inner = *err;
        err_set_field(err, rc, inner.field, "%s: %s", path, inner.text);
    }
    return rc;
}

/* Weights are being packed. */
static void show_progress(void *ctx, uint64_t done, uint64_t total)
{
    cmd_bar_update(ctx, done >> 20, total >> 20, "MiB");
}

static int open_parts(struct cmd_model *m, const struct cmd_common *c,
                      const struct model_params *params, struct err *err)
{
    struct device_params dp = { .n_threads = c->n_threads, .cpu_level = c->cpu };
    TRY(cmd_file_open(&m->file, m->path, err));
    TRY(device_create(&m->device, &dp, err));
    TRY(model_create(&m->model, m->file, m->device, params, err));
    int rc = model_file_tokenizer(m->file, &m->tokenizer, err);
    return rc == E_NOT_FOUND ? 0 : rc;
}

int cmd_model_load(struct cmd_model *m, const struct cmd_common *c,
                   const struct model_params *params, struct err *err)
{
    *m = (struct cmd_model){ .path = NULL };
    TRY(cmd_model_path(c, &m->path, err));
    struct cmd_bar bar;
    struct model_params p = { .kv_type = KERNEL_F16 };
    if (params != NULL)
        p = *params;
    p.progress = show_progress;
    p.progress_ctx = &bar;
    cmd_bar_begin(&bar, c, "loading");
    cmd_bar_update(&bar, 0, 0, m->path);
    int rc = open_parts(m, c, &p, err);
    cmd_bar_end(&bar);
    if (rc < 0)
        cmd_model_free(m);
    return rc;
}

void cmd_model_free(struct cmd_model *m)
{
    text_tokenizer_destroy(m->tokenizer);
    model_destroy(m->model);
    device_destroy(m->device);
    model_file_close(m->file);
    mem_free(m->path);
    *m = (struct cmd_model){ .path = NULL };
}

int cmd_chat_create(struct api_chat **out, const struct cmd_model *m, const struct clock *clock,
                    struct err *err)
{
    struct text_str source = model_file_chat_template(m->file);
    return api_chat_create(out, m->tokenizer, source.data, source.len, clock, err);
}

static bool is_quiet(const struct cmd_common *c)
{
    return c->log != NULL && strcmp(c->log, "quiet") == 0;
}

static uint64_t now_ns(void)
{
    struct clock clock = clock_system();
    return clock_now_ns(&clock);
}

void cmd_bar_begin(struct cmd_bar *bar, const struct cmd_common *c, const char *label)
{
    *bar = (struct cmd_bar){ .label = label,
                             .started_ns = now_ns(),
                             .on = isatty(STDERR_FILENO) && !is_quiet(c) };
}

void cmd_bar_update(struct cmd_bar *bar, uint64_t done, uint64_t total, const char *unit)
{
    uint64_t now = now_ns();
    if (!bar->on || (bar->shown && now - bar->drawn_ns < REDRAW_NS))
        return;
    bar->drawn_ns = now;
    bar->shown = true;
    if (total == 0) {
        fprintf(stderr, "\r\033[K%s %s", bar->label, unit);
        return;
    }
    enum { WIDTH = 30 };
    int filled = (int)(done * WIDTH / total);
    fprintf(stderr, "\r\033[K%s [", bar->label);
    for (int i = 0; i < WIDTH; i++)
        fputc(i < filled ? '#' : '.', stderr);
    double seconds = (double)(now - bar->started_ns) * 1e-9;
    fprintf(stderr, "] %llu/%llu %s", (unsigned long long)done, (unsigned long long)total, unit);
    if (done > 0 && seconds > 0.5)
        fprintf(stderr, ", %.0f s left", seconds * (double)(total - done) / (double)done);
}

void cmd_bar_end(struct cmd_bar *bar)
{
    if (bar->shown)
        fputs("\r\033[K", stderr);
    bar->shown = false;
}

void cmd_say(const struct cmd_common *c, const char *fmt, ...)
{
    if (is_quiet(c))
        return;
    va_list args;
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
}
