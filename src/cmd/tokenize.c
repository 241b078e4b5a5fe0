/* naru tokenize: text from stdin or a file to ids and pieces, and ids back to text. */
#include "base/json.h"
#include "base/mem.h"
#include "cmd/cmd.h"
#include "os/file.h"

#define TEXT_BYTES_MAX (256u << 20)

struct args {
    struct cmd_common common;
    const char *file;
    bool no_bos, special, decode, count;
};

static const struct opt opts[] = {
    CMD_COMMON(struct args),
    { "file", 'f', OPT_TEXT, offsetof(struct args, file), "FILE",
      "read the text from FILE (default: standard input)", 0, 0 },
    { "no-bos", 0, OPT_FLAG, offsetof(struct args, no_bos), NULL,
      "leave out the tokens a model wants at the beginning and end of a text", 0, 0 },
    { "special", 0, OPT_FLAG, offsetof(struct args, special), NULL,
      "recognise control tokens such as <|im_end|> in the text (and print them when decoding)", 0,
      0 },
    { "decode", 'd', OPT_FLAG, offsetof(struct args, decode), NULL,
      "the other way: read ids (numbers separated by spaces, commas or newlines), print the text",
      0, 0 },
    { "count", 'c', OPT_FLAG, offsetof(struct args, count), NULL, "print only the number of tokens",
      0, 0 },
};
static const struct opt_table table = { opts, COUNT_OF(opts) };

static int open_tokenizer(const struct args *a, struct model_file **file,
                          struct text_tokenizer **tok, struct err *err)
{
    char *path = NULL;
    TRY(cmd_model_path(&a->common, &path, err));
    int rc = cmd_file_open(file, path, err);
    if (rc == 0)
        rc = model_file_tokenizer(*file, tok, err);
    if (rc == E_NOT_FOUND && *file != NULL)
        err_set(err, rc, "%s carries no tokenizer", path);
    mem_free(path);
    return rc;
}

static void write_piece(struct json_writer *w, const struct text_tokenizer *tok, int32_t id)
{
    struct buf piece;
    buf_init(&piece, 1u << 20);
    text_piece(tok, id, true, &piece);
    json_write_text(w, buf_str(&piece), piece.len);
    buf_fini(&piece);
}

static void write_json(const struct text_ids *l, const struct text_tokenizer *tok, struct buf *out)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_begin_object(&w);
    json_key(&w, "ids");
    json_begin_array(&w);
    for (uint32_t i = 0; i < l->n; i++)
        json_write_int(&w, l->ids[i]);
    json_end_array(&w);
    json_key(&w, "pieces");
    json_begin_array(&w);
    for (uint32_t i = 0; i < l->n; i++)
        write_piece(&w, tok, l->ids[i]);
    json_end_array(&w);
    json_end_object(&w);
    buf_putc(out, '\n');
}

static void write_plain(const struct text_ids *l, const struct text_tokenizer *tok, struct buf *out)
{
    for (uint32_t i = 0; i < l->n; i++) {
        struct buf piece;
        buf_init(&piece, 1u << 20);
        struct json_writer w;
        json_writer_init(&w, &piece);
        write_piece(&w, tok, l->ids[i]);
        buf_printf(out, "%8d  %s\n", l->ids[i], buf_str(&piece));
        buf_fini(&piece);
    }
}

static int encode(const struct args *a, const struct text_tokenizer *tok, const char *text,
                  size_t len, struct buf *out)
{
    struct text_ids l;
    text_ids_init(&l, UINT32_MAX);
    unsigned flags = (a->no_bos ? 0 : TEXT_ADD_SPECIAL) | (a->special ? TEXT_PARSE_SPECIAL : 0);
    int rc = text_encode(tok, text, len, NULL, flags, &l);
    if (rc == 0 && a->count && a->common.json)
        buf_printf(out, "{\"count\":%u}\n", l.n);
    else if (rc == 0 && a->count)
        buf_printf(out, "%u\n", l.n);
    else if (rc == 0 && a->common.json)
        write_json(&l, tok, out);
    else if (rc == 0)
        write_plain(&l, tok, out);
    text_ids_fini(&l);
    return rc;
}

static int decode(const struct args *a, const struct text_tokenizer *tok, const char *text,
                  struct buf *out, struct err *err)
{
    struct text_ids l;
    struct buf plain;
    text_ids_init(&l, UINT32_MAX);
    buf_init(&plain, SIZE_MAX / 2);
    int rc = cmd_parse_ids(text, text_vocab_size(tok), &l, err);
    if (rc == 0)
        rc = text_decode(tok, l.ids, l.n, a->special, &plain);
    if (rc == 0 && a->common.json) {
        struct json_writer w;
        json_writer_init(&w, out);
        json_begin_object(&w);
        json_key(&w, "text");
        json_write_text(&w, buf_str(&plain), plain.len);
        json_end_object(&w);
        buf_putc(out, '\n');
    } else if (rc == 0) {
        buf_put(out, buf_str(&plain), plain.len);
    }
    buf_fini(&plain);
    text_ids_fini(&l);
    return rc;
}

static int tokenize(const struct cmd_verb *verb, int argc, char **argv)
{
    struct args a = { .common = CMD_COMMON_INIT };
    bool done;
    int status = cmd_parse(verb, argc, argv, &a.common, NULL, &done);
    if (done)
        return status;
    struct err err = { 0 };
    struct model_file *file = NULL;
    struct text_tokenizer *tok = NULL;
    char *text = NULL;
    size_t len = 0;
    struct buf out;
    buf_init(&out, SIZE_MAX / 2);
    int rc = open_tokenizer(&a, &file, &tok, &err);
    if (rc == 0)
        rc = os_read_file(a.file != NULL ? a.file : "-", TEXT_BYTES_MAX, &text, &len, &err);
    if (rc == 0)
        rc = a.decode ? decode(&a, tok, text, &out, &err) : encode(&a, tok, text, len, &out);
    if (rc < 0 && err.code == 0)
        err_set(&err, rc, "%s", err_code_text(rc));
    status = rc == 0 ? cmd_print(verb, &out) : cmd_fail(verb, &err);
    buf_fini(&out);
    mem_free(text);
    text_tokenizer_destroy(tok);
    model_file_close(file);
    return status;
}

const struct cmd_verb CMD_TOKENIZE = {
    .name = "tokenize",
    .summary = "text to token ids and back",
    .usage = "naru tokenize [-m FILE] [--no-bos] [--special] [--decode] [--json] < TEXT",
    .about = "Reads text from standard input (or --file) and prints its token ids, one a line\n"
             "with the piece of text each stands for. Control tokens are recognised in the text\n"
             "only with --special.",
    .examples = "  echo 'Hello world' | naru tokenize\n"
                "  echo '1 2 3' | naru tokenize --decode -m model.gguf\n",
    .table = &table,
    .run = tokenize,
};
