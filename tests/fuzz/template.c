/* Property: any source with any variables (behind a NUL byte; else fixed ones) renders to valid UTF-8
 * with an origin for each byte, the same twice, or is refused with one line; and what only a stranger
 * wrote never counts as the template's own. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A character that no template here writes: it comes from the variables alone. */
#define FOREIGN '\x02'

static const char fixed_vars[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"A\\u0002B <|x|> 안녕\"},{\"role\":\"user\","
    "\"content\":[{\"type\":\"text\",\"text\":\"\\u0002 q\"}]}],\"s\":\"a\\u0002,b\\n c\",\"l\":[3,1,2.5,"
    "\"\\u0002\",null,true],\"d\":{\"k\\u0002\":\"v\",\"b\":{\"c\":[1]}},\"tools\":[{\"name\":\"f\"}],"
    "\"n\":null,\"i\":-7,\"f\":1e300,\"e\":\"\",\"bos_token\":\"<s>\",\"add_generation_prompt\":true}";

static const char *const trusted[] = { "bos_token", NULL };

static const struct text_template_limits limits = {
    .source_max = 1u << 16,
    .fuel = 20000,
    .depth = 64,
    .output_max = 1u << 17,
    .memory_max = 8u << 20,
};

static void must(int cond)
{
    if (!cond)
        abort();
}

static void check_error(int rc, const struct err *err)
{
    must(rc < 0 && err->code == rc && err->text[0] != '\0' && strchr(err->text, '\n') == NULL);
}

static void check_text(const struct text_rendered *out, int may_write_foreign)
{
    must(out->text.len == out->origin.len);
    must(out->text.len <= limits.output_max);
    must(utf8_valid(buf_str(&out->text), out->text.len));
    for (size_t i = 0; i < out->text.len; i++) {
        must(out->origin.data[i] <= 1);
        must(may_write_foreign || out->text.data[i] != FOREIGN || out->origin.data[i] == 1);
    }
}

static void render(const struct text_template *t, const json_value *vars, int may_write_foreign)
{
    struct text_rendered one, two;
    struct err err = { 0 };
    int rc = text_template_render(t, vars, trusted, 1767323045, &one, &err);
    if (rc < 0) {
        check_error(rc, &err);
        return;
    }
    check_text(&one, may_write_foreign);
    must(text_template_render(t, vars, trusted, 1767323045, &two, &err) == 0);
    must(one.text.len == two.text.len);
    must(memcmp(buf_str(&one.text), buf_str(&two.text), one.text.len) == 0);
    must(memcmp(buf_str(&one.origin), buf_str(&two.origin), one.text.len) == 0);
    text_rendered_fini(&one);
    text_rendered_fini(&two);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *source = (const char *)data;
    const uint8_t *nul = size > 0 ? memchr(data, 0, size) : NULL;
    size_t len = nul != NULL ? (size_t)(nul - data) : size;
    const char *text = nul != NULL ? source + len + 1 : fixed_vars;
    struct text_template *t;
    struct err err = { 0 };
    json_value *vars = NULL;
    int rc = text_template_compile(&t, source, len, &limits, &err);
    if (rc < 0) {
        check_error(rc, &err);
        return 0;
    }
    size_t text_len = nul != NULL ? size - len - 1 : strlen(fixed_vars);
    if (json_parse(&vars, text, text_len, &JSON_LIMITS_REQUEST, &err) == 0) {
        int writes = memchr(source, '\\', len) != NULL || memchr(source, FOREIGN, len) != NULL;
        render(t, vars, writes || (nul != NULL && json_has(vars, "bos_token")));
        json_free(vars);
    }
    text_template_destroy(t);
    return 0;
}
