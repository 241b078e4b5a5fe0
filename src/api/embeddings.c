#include "api/embeddings.h"

#include <stdio.h>
#include <string.h>

#define AT(member) offsetof(struct api_embeddings, member)

static int parse_encoding(void *target, const json_value *v, const char *path, struct err *err)
{
    struct api_embeddings *r = target;
    size_t len = 0;
    const char *s = json_text(v, &len);
    r->base64 = s != NULL && strcmp(s, "base64") == 0;
    if (r->base64 || (s != NULL && strcmp(s, "float") == 0))
        return 0;
    return api_field_wrong(err, s != NULL ? E_RANGE : E_FORMAT, path, "must be float or base64");
}

static const struct api_field rows[] = {
    { "model", API_TEXT, AT(model), 1, 256, NULL, NULL },
    { "input", API_VALUE, AT(input), 0, 0, NULL, NULL },
    { "encoding_format", API_CUSTOM, 0, 0, 0, parse_encoding, NULL },
    { "dimensions", API_U32, AT(dimensions), 1, UINT32_MAX, NULL, NULL },
    { "user", API_NO_EFFECT, 0, 0, 0, NULL, NULL },
};
static const struct api_fields fields = { rows, COUNT_OF(rows) };

static int wrong_input(struct err *err, int code, const char *path)
{
    return api_field_wrong(err, code, path,
                           "must be a string, a list of strings, of token ids, or of such lists, "
                           "none of them empty");
}

/* A text or a list of ids that is not empty. */
static int check_one(const json_value *v, const char *path, struct err *err)
{
    size_t len = 0;
    bool text = json_text(v, &len) != NULL;
    if (text ? len == 0 : json_kind_of(v) == JSON_ARRAY && json_len(v) == 0)
        return wrong_input(err, E_RANGE, path);
    if (text)
        return 0;
    if (json_kind_of(v) != JSON_ARRAY || json_kind_of(json_at(v, 0)) != JSON_INT)
        return wrong_input(err, E_FORMAT, path);
    return json_len(v) <= API_INPUT_TOKENS_MAX
               ? 0
               : api_field_wrong(err, E_LIMIT, path, "must hold at most 300000 tokens");
}

static int check_inputs(struct api_embeddings *r, struct err *err)
{
    if (r->input == NULL)
        return api_field_wrong(err, E_FORMAT, "input", "is missing; give a string or several");
    size_t n = json_len(r->input);
    r->many = json_kind_of(r->input) == JSON_ARRAY && n > 0 &&
              json_kind_of(json_at(r->input, 0)) != JSON_INT;
    r->n = 1;
    if (!r->many)
        return check_one(r->input, "input", err);
    if (n > API_INPUTS_MAX)
        return api_field_wrong(err, E_LIMIT, "input", "must hold at most 2048 texts");
    r->n = (uint32_t)n;
    for (uint32_t i = 0; i < r->n; i++) {
        char path[API_PATH_MAX];
        snprintf(path, sizeof path, "input[%u]", i);
        TRY(check_one(json_at(r->input, i), path, err));
    }
    return 0;
}

int api_embeddings_read(struct api_embeddings *r, const char *body, size_t len, uint32_t n_embd,
                        struct err *err)
{
    *r = (struct api_embeddings){ 0 };
    TRY(json_parse(&r->tree, body, len, &JSON_LIMITS_REQUEST, err));
    if (json_kind_of(r->tree) != JSON_OBJECT)
        return err_set(err, E_FORMAT, "the body must be a JSON object");
    TRY(api_fields_read(&fields, r->tree, "", r, err));
    TRY(check_inputs(r, err));
    if (r->dimensions > n_embd)
        return err_set_field(err, E_RANGE, "dimensions",
                             "dimensions must be an integer from 1 to %u", n_embd);
    return 0;
}

void api_embeddings_fini(struct api_embeddings *r)
{
    json_free(r->tree);
    r->tree = NULL;
}

const json_value *api_embeddings_input(const struct api_embeddings *r, uint32_t i)
{
    ASSERT(i < r->n);
    return r->many ? json_at(r->input, i) : r->input;
}
