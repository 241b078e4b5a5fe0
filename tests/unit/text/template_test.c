/* Goal: chat templates render as jinja2 3.1 does in the way of Hugging Face, byte for byte. The
 * snippets of template_fixtures.json were rendered by jinja2 (make_template_fixtures.py); the
 * real templates and conversations lie in the shared data. */
#include "unit/test.h"

#include <stdio.h>

#include "base/mem.h"
#include "text/template.h"

int template_test(void);

static const char *const trusted[] = { "bos_token", "eos_token", NULL };

static char *read_file(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return NULL;
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    long n = ftell(f);
    rewind(f);
    char *text = test_malloc((size_t)n + 1);
    *len = fread(text, 1, (size_t)n, f);
    text[*len] = '\0';
    fclose(f);
    return text;
}

static json_value *read_json(const char *path)
{
    size_t len;
    struct err err;
    json_value *v = NULL;
    char *text = read_file(path, &len);
    if (text == NULL)
        fail_msg("%s cannot be read", path);
    if (json_parse(&v, text, len, &JSON_LIMITS_FILE, &err) < 0)
        fail_msg("%s: %s", path, err.text);
    test_free(text);
    return v;
}

/* Compiles and renders; the text (test_free it), or NULL and the reason. */
static int render(const char *source, size_t len, const json_value *vars, int64_t now,
                  struct text_rendered *out, struct err *err)
{
    struct text_template *t;
    *err = (struct err){ 0 };
    int rc = text_template_compile(&t, source, len, &TEXT_TEMPLATE_LIMITS, err);
    if (rc < 0)
        return rc;
    rc = text_template_render(t, vars, trusted, now, out, err);
    text_template_destroy(t);
    return rc;
}

/* Compares one rendering with jinja2's; prints what differs. want NULL: an error is wanted. */
static bool agrees(const char *name, const char *source, size_t source_len, const json_value *vars,
                   int64_t now, const json_value *want)
{
    struct text_rendered got;
    struct err err;
    size_t len = 0;
    const char *text = json_text(want, &len);
    int rc = render(source, source_len, vars, now, &got, &err);
    bool same = text == NULL ? rc < 0 : rc == 0 && got.text.len == len &&
                                            memcmp(buf_str(&got.text), text, len) == 0;
    if (!same) {
        print_message("%s: template %s\n", name, source);
        print_message("  want %s\n  got  %s\n", text != NULL ? text : "an error",
                      rc < 0 ? err.text : buf_str(&got.text));
    }
    if (rc == 0) {
        same = same && got.origin.len == got.text.len;
        text_rendered_fini(&got);
    } else {
        assert_true(err.code == rc && err.text[0] != '\0');
    }
    return same;
}

/* Every snippet of the fixtures. */
static void test_snippets(void **state)
{
    (void)state;
    json_value *all = read_json("tests/unit/text/template_fixtures.json");
    json_value *cases = json_get(all, "cases");
    int64_t now = json_as_int(json_get(all, "now"));
    uint32_t n_bad = 0;
    assert_true(json_len(cases) > 1000);
    for (size_t i = 0; i < json_len(cases); i++) {
        json_value *c = json_at(cases, i);
        size_t len;
        const char *source = json_text(json_at(c, 0), &len);
        json_value *vars = json_len(c) > 2 ? json_at(c, 2) : json_get(all, "vars");
        n_bad += !agrees("snippet", source, len, vars, now, json_at(c, 1));
    }
    json_free(all);
    assert_int_equal(n_bad, 0);
}

static const char *shared_path(const char *name)
{
    static char path[1024];
    snprintf(path, sizeof path, "%s/oracles/chat-templates/%s", test_shared_dir(), name);
    return path;
}

/* Every real template with every conversation: 2026-01-02T03:04:05. */
static void test_oracle(void **state)
{
    (void)state;
    if (test_shared_dir() == NULL)
        skip();
    json_value *all = read_json(shared_path("rendered.json"));
    json_value *results = json_get(all, "results");
    uint32_t n_bad = 0;
    assert_int_equal(json_len(results), 152);
    for (size_t i = 0; i < json_len(results); i++) {
        json_value *c = json_at(results, i);
        char path[256];
        size_t len;
        const char *name = json_text(json_get(c, "template"), NULL);
        snprintf(path, sizeof path, "templates/%s", name);
        char *source = read_file(shared_path(path), &len);
        assert_non_null(source);
        json_value *vars = json_get(json_get(all, "context"), json_text(json_get(c, "case"), NULL));
        n_bad += !agrees(name, source, len, vars, 1767323045, json_get(c, "expected"));
        test_free(source);
    }
    json_free(all);
    assert_int_equal(n_bad, 0);
}

/* One expected text there comes from an implementation that prints lists as JSON; jinja2 prints
 * them as Python does, and so do we. */
static void python_lists(const char *source, size_t len, const json_value *vars)
{
    struct text_rendered got;
    struct err err;
    assert_int_equal(render(source, len, vars, 0, &got, &err), 0);
    assert_non_null(strstr(buf_str(&got.text),
                           "\n[{'type': 'function', 'function': {'name': 'get_current_"));
    text_rendered_fini(&got);
}

/* Cases of the Hugging Face jinja package's own tests. */
static void test_hf_cases(void **state)
{
    (void)state;
    if (test_shared_dir() == NULL)
        skip();
    json_value *all = read_json(shared_path("hf-jinja-cases.json"));
    uint32_t n_bad = 0;
    assert_int_equal(json_len(all), 27);
    for (size_t i = 0; i < json_len(all); i++) {
        json_value *c = json_at(all, i);
        size_t len;
        const char *source = json_text(json_get(c, "template"), &len);
        const char *name = json_text(json_get(c, "name"), NULL);
        if (strcmp(name, "MadeAgents/Hammer2.1") == 0) {
            python_lists(source, len, json_get(c, "data"));
            continue;
        }
        /* The one case with a date in it was made on 10 July 2025. */
        n_bad += !agrees(name, source, len, json_get(c, "data"), 1752105600,
                         json_get(c, "expected"));
    }
    json_free(all);
    assert_int_equal(n_bad, 0);
}

int template_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_snippets),
        cmocka_unit_test(test_oracle),
        cmocka_unit_test(test_hf_cases),
    };
    return cmocka_run_group_tests_name("template", tests, NULL, NULL);
}
