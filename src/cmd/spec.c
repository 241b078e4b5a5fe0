/* Options of speculative decoding, and the draft model: a second file on the same device, whose
 * vocabulary must be the model's token for token. */
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "cmd/spec.h"

static int parse_mode(const struct cmd_spec *a, enum engine_spec_mode *mode, struct err *err)
{
    static const char *const names[] = { "off", "lookup", "draft" };
    *mode = a->draft != NULL ? ENGINE_SPEC_DRAFT : ENGINE_SPEC_LOOKUP;
    for (size_t i = 0; i < COUNT_OF(names) && a->mode != NULL; i++)
        if (strcmp(a->mode, names[i]) == 0) {
            *mode = (enum engine_spec_mode)i;
            if ((*mode == ENGINE_SPEC_DRAFT) != (a->draft != NULL))
                return err_set_field(err, E_USAGE, "spec",
                                     *mode == ENGINE_SPEC_DRAFT
                                         ? "--spec draft needs --draft FILE"
                                         : "--draft is given, and --spec is not draft");
            return 0;
        }
    return a->mode == NULL ? 0
                           : err_set_field(err, E_USAGE, "spec",
                                           "--spec %.40s: must be off, lookup or draft", a->mode);
}

static int compare_vocabularies(const struct cmd_model *m, const struct cmd_draft *d,
                                const char *path, struct err *err)
{
    uint32_t n = model_info(m->model)->n_vocab;
    if (model_info(d->model)->n_vocab != n)
        return err_set_field(err, E_UNSUPPORTED, "draft",
                             "%s has %u tokens, the model %u: a draft must have the same "
                             "vocabulary", path, model_info(d->model)->n_vocab, n);
    uint32_t n_text = text_vocab_size(m->tokenizer);
    if (text_vocab_size(d->tokenizer) != n_text)
        return err_set_field(err, E_UNSUPPORTED, "draft", "%s has another tokenizer", path);
    for (uint32_t i = 0; i < n_text; i++) {
        struct text_str a = text_token_stored(m->tokenizer, (int32_t)i);
        struct text_str b = text_token_stored(d->tokenizer, (int32_t)i);
        if (a.len != b.len || memcmp(a.data, b.data, a.len) != 0)
            return err_set_field(err, E_UNSUPPORTED, "draft",
                                 "token %u of %s is another one than the model's: a draft must "
                                 "have the same vocabulary", i, path);
    }
    return 0;
}

int cmd_spec_open(struct cmd_draft *d, const struct cmd_spec *a, const struct cmd_model *m,
                  struct engine_params *p, struct err *err)
{
    struct model_params mp = { .kv_type = KERNEL_F16 };
    *d = (struct cmd_draft){ .file = NULL };
    TRY(parse_mode(a, &p->spec, err));
    p->n_spec = a->len;
    if (p->spec != ENGINE_SPEC_DRAFT)
        return 0;
    TRY(cmd_file_open(&d->file, a->draft, err));
    TRY(model_create(&d->model, d->file, m->device, &mp, err));
    TRY(model_file_tokenizer(d->file, &d->tokenizer, err));
    TRY(compare_vocabularies(m, d, a->draft, err));
    p->draft = d->model;
    return 0;
}

void cmd_spec_close(struct cmd_draft *d)
{
    text_tokenizer_destroy(d->tokenizer);
    model_destroy(d->model);
    model_file_close(d->file);
    *d = (struct cmd_draft){ .file = NULL };
}
