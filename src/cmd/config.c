#include "cmd/config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "os/file.h"

const char *const CMD_COMMAND_LINE_ONLY[] = { "help", "config", "check-config", NULL };

static int from_file(const struct cmd_config *c, const char *path, char **text, void *args,
                     struct err *err)
{
    size_t len;
    struct err inner = { 0 };
    TRY(os_read_file(path, CMD_CONFIG_BYTES_MAX, text, &len, err));
    int rc = strlen(*text) == len
                 ? opt_parse_config(c->verb->table, *text, CMD_COMMAND_LINE_ONLY, args, &inner)
                 : err_set(&inner, E_USAGE, "a NUL byte in it: this is no text");
    return rc < 0 ? err_set_field(err, rc, inner.field, "%s: %s", path, inner.text) : 0;
}

static int all_layers(const struct cmd_config *c, const char *path, char **text, void *args,
                      struct err *err)
{
    struct opt_list words = { 0 };
    memcpy(args, c->defaults, c->bytes);
    if (path != NULL)
        TRY(from_file(c, path, text, args, err));
    TRY(opt_parse_env(c->verb->table, "NARU_", CMD_COMMAND_LINE_ONLY, args, err));
    return opt_parse(c->verb->table, c->argc, c->argv, args, &words, err);
}

int cmd_config_load(struct cmd_config *c, void *args, struct err *err)
{
    struct opt_list words = { 0 };
    char *text = NULL, *first = mem_alloc(1, c->bytes);
    if (first == NULL)
        return err_set(err, E_NOMEM, "out of memory");
    memcpy(first, c->defaults, c->bytes);
    int rc = opt_parse(c->verb->table, c->argc, c->argv, first, &words, err);
    const struct cmd_config_args *f = (const void *)(first + c->at);
    const char *path = f->config != NULL ? f->config : getenv("NARU_CONFIG");
    if (rc == 0)
        rc = all_layers(c, path, &text, first, err);
    if (rc == 0)
        rc = cmd_check_common((const struct cmd_common *)(const void *)first, err);
    if (rc == 0) {
        memcpy(args, first, c->bytes);
        mem_free(c->text);
        c->text = text;
    } else {
        mem_free(text);
    }
    mem_free(first);
    return rc;
}

void cmd_config_fini(struct cmd_config *c)
{
    mem_free(c->text);
    c->text = NULL;
}

static bool command_line_only(const char *name)
{
    for (size_t i = 0; CMD_COMMAND_LINE_ONLY[i] != NULL; i++)
        if (strcmp(CMD_COMMAND_LINE_ONLY[i], name) == 0)
            return true;
    return false;
}

/* What is as it was by default becomes a comment: so the print reads back to the same options. */
void cmd_config_print(const struct cmd_config *c, const void *args, struct buf *out)
{
    const struct opt_table *table = c->verb->table;
    for (size_t i = 0; i < table->n; i++) {
        const struct opt *o = &table->opts[i];
        if (command_line_only(o->name))
            continue;
        struct buf before, now;
        buf_init(&before, CMD_CONFIG_BYTES_MAX);
        buf_init(&now, CMD_CONFIG_BYTES_MAX);
        opt_show(o, c->defaults, &before);
        opt_show(o, args, &now);
        bool same = strcmp(buf_str(&before), buf_str(&now)) == 0;
        buf_printf(out, "%s%s = %s\n", same ? "# " : "", o->name, buf_str(&now));
        buf_fini(&before);
        buf_fini(&now);
    }
}

uint32_t cmd_config_diff(const struct cmd_config *c, const void *was, const void *now,
                         cmd_config_diff_fn fn, void *ctx)
{
    const struct opt_table *table = c->verb->table;
    uint32_t n = 0;
    for (size_t i = 0; i < table->n; i++) {
        struct buf x, y;
        buf_init(&x, CMD_CONFIG_BYTES_MAX);
        buf_init(&y, CMD_CONFIG_BYTES_MAX);
        opt_show(&table->opts[i], was, &x);
        opt_show(&table->opts[i], now, &y);
        if (strcmp(buf_str(&x), buf_str(&y)) != 0) {
            fn(ctx, table->opts[i].name, buf_str(&x), buf_str(&y));
            n++;
        }
        buf_fini(&x);
        buf_fini(&y);
    }
    return n;
}
