/* naru quantize: a model file in smaller number formats. */
#include "base/json.h"
#include "cmd/cmd.h"
#include "model/quantize.h"

struct args {
    struct cmd_common common;
    struct opt_list patterns;
    bool pure, requantize;
};

static const struct opt opts[] = {
    CMD_COMMON(struct args),
    { "tensor", 0, OPT_LIST, offsetof(struct args, patterns), "GLOB=TYPE",
      "another number format for the tensors whose names match, \"blk.*.ffn_down.*=Q8_0\"; may be "
      "given several times, the first that matches counts", 0, 0 },
    { "pure", 0, OPT_FLAG, offsetof(struct args, pure), NULL,
      "every matrix in the type itself: no better types for the head, attn_v and ffn_down", 0, 0 },
    { "requantize", 0, OPT_FLAG, offsetof(struct args, requantize), NULL,
      "take an input that is quantised already, at a loss", 0, 0 },
};
static const struct opt_table table = { opts, COUNT_OF(opts) };

static void draw(void *ctx, uint64_t done, uint64_t total)
{
    cmd_bar_update(ctx, done, total, "B");
}

static void print_json(const char *path, const struct quantize_report *r, double bits,
                       struct buf *out)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_begin_object(&w);
    json_key(&w, "out");
    json_write_str(&w, path);
    json_key(&w, "tensors");
    json_write_uint(&w, r->n_tensors);
    json_key(&w, "quantized");
    json_write_uint(&w, r->n_quantized);
    json_key(&w, "fallback");
    json_write_uint(&w, r->n_fallback);
    json_key(&w, "values");
    json_write_uint(&w, r->n_values);
    json_key(&w, "in_bytes");
    json_write_uint(&w, r->in_bytes);
    json_key(&w, "out_bytes");
    json_write_uint(&w, r->out_bytes);
    json_key(&w, "bits_per_value");
    json_write_double(&w, bits);
    json_end_object(&w);
    buf_putc(out, '\n');
}

static void print_report(const struct args *a, const char *path, const struct quantize_report *r,
                         struct buf *out)
{
    double bits = r->n_values > 0 ? 8.0 * (double)r->out_bytes / (double)r->n_values : 0;
    if (a->common.json) {
        print_json(path, r, bits, out);
        return;
    }
    buf_printf(out, "%s: %u of %u tensors quantised, %.1f MiB to %.1f MiB, %.2f bits a value\n",
               path, r->n_quantized, r->n_tensors, (double)r->in_bytes / 1048576,
               (double)r->out_bytes / 1048576, bits);
    if (r->n_fallback > 0)
        buf_printf(out, "%u of them have rows that are no multiple of the type's block, and got "
                        "the next type that fits\n", r->n_fallback);
}

static int run_job(struct args *a, const struct opt_list *w, struct buf *out, struct err *err)
{
    if (w->n != 3 || a->common.model != NULL)
        return err_set(err, E_USAGE, "IN, OUT and TYPE are wanted: naru quantize in.gguf out.gguf "
                                     "Q4_K_M");
    struct device_params dp = { .n_threads = a->common.n_threads, .cpu_level = a->common.cpu };
    struct model_file *file = NULL;
    struct device *dev = NULL;
    struct quantize_report report;
    struct cmd_bar bar;
    struct quantize_params p = { .type = w->items[2], .patterns = a->patterns.items,
                                 .n_patterns = a->patterns.n, .pure = a->pure,
                                 .requantize = a->requantize, .progress = draw, .ctx = &bar };
    TRY(cmd_file_open(&file, w->items[0], err));
    int rc = device_create(&dev, &dp, err);
    if (rc == 0) {
        cmd_bar_begin(&bar, &a->common, "quantising");
        rc = model_quantize(file, dev, w->items[1], &p, &report, err);
        cmd_bar_end(&bar);
    }
    if (rc == 0)
        print_report(a, w->items[1], &report, out);
    device_destroy(dev);
    model_file_close(file);
    return rc;
}

static int quantize(const struct cmd_verb *verb, int argc, char **argv)
{
    struct args a = { .common = CMD_COMMON_INIT };
    struct opt_list words = { .n = 0 };
    bool done;
    int status = cmd_parse(verb, argc, argv, &a.common, &words, &done);
    if (done)
        return status;
    struct err err = { 0 };
    struct buf out;
    buf_init(&out, 1u << 20);
    int rc = run_job(&a, &words, &out, &err);
    status = rc == 0 ? cmd_print(verb, &out) : cmd_fail(verb, &err);
    buf_fini(&out);
    return status;
}

const struct cmd_verb CMD_QUANTIZE = {
    .name = "quantize",
    .summary = "write a model file in smaller number formats",
    .usage = "naru quantize IN.gguf OUT.gguf TYPE [--tensor GLOB=TYPE]... [--pure]",
    .about = "Reads a GGUF file of F32, F16 or BF16 weights and writes the same model in TYPE:\n"
             "Q8_0 (nearly exact), Q6_K, Q5_K_M, Q4_K_M (the usual choice), Q4_0, Q3_K_M, Q2_K,\n"
             "IQ4_NL, IQ4_XS, MXFP4, NVFP4, and the others that `naru quantize IN OUT ?` lists.\n"
             "Norms, biases, routers and convolutions stay as they are. OUT appears only when it\n"
             "is complete. See what it cost: naru score.",
    .examples = "  naru quantize model-f16.gguf model-q4.gguf Q4_K_M\n"
                "  naru quantize in.gguf out.gguf Q4_0 --tensor 'output.weight=Q8_0'\n"
                "  naru score -m out.gguf -f text.txt\n",
    .table = &table,
    .run = quantize,
};
