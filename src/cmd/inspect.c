/* naru inspect: what a model file holds, and whether it runs here. */
#include "base/mem.h"
#include "cmd/cmd.h"
#include "model/inspect.h"

struct args {
    struct cmd_common common;
};

static const struct opt opts[] = { CMD_COMMON(struct args) };
static const struct opt_table table = { opts, COUNT_OF(opts) };

static int inspect_path(struct args *a, const struct opt_list *words, struct buf *out,
                        struct err *err)
{
    if (words->n > 1)
        return err_set(err, E_USAGE, "one FILE at a time, please");
    if (words->n == 1 && a->common.model != NULL)
        return err_set(err, E_USAGE, "name the file once: as an argument or with -m");
    if (words->n == 1)
        a->common.model = words->items[0];
    char *path = NULL;
    TRY(cmd_model_path(&a->common, &path, err));
    struct model_file *file = NULL;
    int rc = cmd_file_open(&file, path, err);
    if (rc == 0)
        rc = model_inspect(file, a->common.json, out, err);
    model_file_close(file);
    mem_free(path);
    return rc;
}

static int inspect(const struct cmd_verb *verb, int argc, char **argv)
{
    struct args a = { .common = CMD_COMMON_INIT };
    struct opt_list words = { .n = 0 };
    bool done;
    int status = cmd_parse(verb, argc, argv, &a.common, &words, &done);
    if (done)
        return status;
    struct err err = { 0 };
    struct buf out;
    buf_init(&out, 1u << 30);
    int rc = inspect_path(&a, &words, &out, &err);
    status = rc == 0 ? cmd_print(verb, &out) : cmd_fail(verb, &err);
    buf_fini(&out);
    return status;
}

const struct cmd_verb CMD_INSPECT = {
    .name = "inspect",
    .summary = "what is in a model file, and whether it runs here",
    .usage = "naru inspect [FILE] [--json]",
    .about = "Shows the metadata, tensors and sizes of a GGUF file or safetensors directory,\n"
             "which family and tokenizer it is, and whether Naru can run it; if not, why not.",
    .examples = "  naru inspect model.gguf\n  naru inspect --json model.gguf | jq .runs\n",
    .table = &table,
    .run = inspect,
};
