/* naru score: how well a model predicts a text. naru logits: its opinion of the next token. */
#include <math.h>

#include "base/json.h"
#include "base/mem.h"
#include "cmd/cmd.h"
#include "engine/score.h"
#include "os/file.h"

#define TEXT_BYTES_MAX (256u << 20)

struct args {
    struct cmd_common common;
    const char *file, *ids, *kv;
    uint32_t n_ctx;
};

static const struct opt score_opts[] = {
    CMD_COMMON(struct args),
    { "file", 'f', OPT_TEXT, offsetof(struct args, file), "TEXT",
      "the text to score, a UTF-8 file (default: standard input)", 0, 0 },
    { "ctx", 'c', OPT_U32, offsetof(struct args, n_ctx), "N",
      "tokens of context a window has (default: what the model was trained for, at most 16384)", 2,
      1 << 20 },
    CMD_KV(struct args),
};
static const struct opt_table score_table = { score_opts, COUNT_OF(score_opts) };

static const struct opt logits_opts[] = {
    CMD_COMMON(struct args),
    { "ids", 'i', OPT_TEXT, offsetof(struct args, ids), "\"1 2 3\"",
      "token ids, separated by spaces or commas", 0, 0 },
    CMD_KV(struct args),
};
static const struct opt_table logits_table = { logits_opts, COUNT_OF(logits_opts) };

static bool show_progress(void *ctx, uint32_t done, uint32_t total)
{
    cmd_bar_update(ctx, done, total, "tokens");
    return true;
}

static void print_score(const struct args *a, const struct engine_score *s, size_t bytes,
                        struct buf *out)
{
    double nll = s->nll_sum / (double)s->n_scored;
    double bits = s->nll_sum / log(2.0) / (double)bytes;
    if (a->common.json) {
        struct json_writer w;
        json_writer_init(&w, out);
        json_begin_object(&w);
        json_key(&w, "tokens");
        json_write_uint(&w, s->n_scored);
        json_key(&w, "nll");
        json_write_double(&w, nll);
        json_key(&w, "ppl");
        json_write_double(&w, exp(nll));
        json_key(&w, "bits_per_byte");
        json_write_double(&w, bits);
        json_end_object(&w);
        buf_putc(out, '\n');
        return;
    }
    buf_printf(out, "tokens         %llu\nmean nll       %.5f nats a token\nperplexity     %.4f\n"
               "bits per byte  %.4f\n", (unsigned long long)s->n_scored, nll, exp(nll), bits);
}

static int score_text(const struct args *a, const struct cmd_model *m, const char *text, size_t len,
                      struct buf *out, struct err *err)
{
    struct text_ids l;
    text_ids_init(&l, UINT32_MAX);
    struct cmd_bar bar;
    cmd_bar_begin(&bar, &a->common, "scoring");
    struct engine_score_params p = { .n_ctx = a->n_ctx,
                                     .bos = text_first_token(m->tokenizer),
                                     .progress = show_progress,
                                     .progress_ctx = &bar };
    struct engine_score s = { 0 };
    int rc = text_encode(m->tokenizer, text, len, NULL, 0, &l);
    if (rc < 0)
        err_set(err, rc, "tokenizing: %s", err_code_text(rc));
    if (rc == 0 && l.n == 0)
        rc = err_set_field(err, E_USAGE, "file", "the text is empty; give at least one word");
    if (rc == 0)
        rc = engine_score(m->model, l.ids, l.n, &p, &s, err);
    cmd_bar_end(&bar);
    if (rc == 0)
        print_score(a, &s, len, out);
    text_ids_fini(&l);
    return rc;
}

static int load(struct cmd_model *m, const struct args *a, struct err *err)
{
    struct model_params p = { 0 };
    TRY(cmd_kv_type(a->kv, &p.kv_type, err));
    return cmd_model_load(m, &a->common, &p, err);
}

static int score(const struct cmd_verb *verb, int argc, char **argv)
{
    struct args a = { .common = CMD_COMMON_INIT };
    bool done;
    int status = cmd_parse(verb, argc, argv, &a.common, NULL, &done);
    if (done)
        return status;
    struct err err = { 0 };
    struct cmd_model m = { 0 };
    char *text = NULL;
    size_t len = 0;
    struct buf out;
    buf_init(&out, 1u << 16);
    int rc = load(&m, &a, &err);
    if (rc == 0 && m.tokenizer == NULL)
        rc = err_set(&err, E_NOT_FOUND, "%s carries no tokenizer", m.path);
    if (rc == 0)
        rc = os_read_file(a.file != NULL ? a.file : "-", TEXT_BYTES_MAX, &text, &len, &err);
    if (rc == 0)
        rc = score_text(&a, &m, text, len, &out, &err);
    status = rc == 0 ? cmd_print(verb, &out) : cmd_fail(verb, &err);
    buf_fini(&out);
    mem_free(text);
    cmd_model_free(&m);
    return status;
}

static void print_logits(const struct args *a, const float *logits, uint32_t n, struct buf *out)
{
    if (!a->common.json) {
        for (uint32_t i = 0; i < n; i++)
            buf_printf(out, "%8u  %.6g\n", i, (double)logits[i]);
        return;
    }
    struct json_writer w;
    json_writer_init(&w, out);
    json_begin_object(&w);
    json_key(&w, "logits");
    json_begin_array(&w);
    for (uint32_t i = 0; i < n; i++)
        json_write_float(&w, logits[i]);
    json_end_array(&w);
    json_end_object(&w);
    buf_putc(out, '\n');
}

static int compute_logits(const struct args *a, const struct cmd_model *m, struct text_ids *l,
                          struct buf *out, struct err *err)
{
    uint32_t n_vocab = model_info(m->model)->n_vocab;
    TRY(cmd_parse_ids(a->ids != NULL ? a->ids : "", n_vocab, l, err));
    if (l->n == 0)
        return err_set_field(err, E_USAGE, "ids", "--ids \"1 2 3\" is missing");
    float *logits = mem_alloc(n_vocab, sizeof *logits);
    if (logits == NULL)
        return err_set(err, E_NOMEM, "out of memory");
    int rc = engine_score_logits(m->model, l->ids, l->n, logits, err);
    if (rc == 0)
        print_logits(a, logits, n_vocab, out);
    mem_free(logits);
    return rc;
}

static int logits(const struct cmd_verb *verb, int argc, char **argv)
{
    struct args a = { .common = CMD_COMMON_INIT };
    bool done;
    int status = cmd_parse(verb, argc, argv, &a.common, NULL, &done);
    if (done)
        return status;
    struct err err = { 0 };
    struct cmd_model m = { 0 };
    struct text_ids l;
    text_ids_init(&l, 1u << 20);
    struct buf out;
    buf_init(&out, 1u << 28);
    int rc = load(&m, &a, &err);
    if (rc == 0)
        rc = compute_logits(&a, &m, &l, &out, &err);
    if (rc < 0 && err.code == 0)
        err_set(&err, rc, "%s", err_code_text(rc));
    status = rc == 0 ? cmd_print(verb, &out) : cmd_fail(verb, &err);
    buf_fini(&out);
    text_ids_fini(&l);
    cmd_model_free(&m);
    return status;
}

const struct cmd_verb CMD_SCORE = {
    .name = "score",
    .summary = "how well a model predicts a text (perplexity, bits per byte)",
    .usage = "naru score [-m FILE] --file TEXT [--ctx N] [--json]",
    .about = "Scores every token of a text in windows of N tokens and prints the mean negative\n"
             "log likelihood, the perplexity, and bits per byte, which compares models of\n"
             "different vocabularies.",
    .examples = "  naru score --file book.txt\n"
                "  naru score -m model.gguf --ctx 512 --json < book.txt\n",
    .table = &score_table,
    .run = score,
};

const struct cmd_verb CMD_LOGITS = {
    .name = "logits",
    .summary = "the numbers a model gives every possible next token",
    .usage = "naru logits [-m FILE] --ids \"1 2 3\" [--json]",
    .about = "Runs the ids through the model and prints the logits of the last position, one\n"
             "for each token of the vocabulary.",
    .examples = "  naru logits --ids \"1 403 407\" --json\n",
    .table = &logits_table,
    .run = logits,
};
