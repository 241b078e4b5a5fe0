/* Goal: constraints accept what they should. GBNF and schemas by the cases of the shared data,
 * regular expressions as PCRE2 has them on random ones; what cannot be held is refused by name, and
 * bombs end in an error within the limits. */
#include "unit/test.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/rng.h"
#include "unit/text/grammar_help.h"

int grammar_test(void);

static uint32_t check_list(struct text_grammar *g, const char *name, const json_value *list,
                           bool want)
{
    uint32_t wrong = 0;
    for (size_t i = 0; i < json_len(list); i++) {
        size_t len = 0;
        const char *text = json_text(json_at(list, i), &len);
        if (matches(g, text, len) == want)
            continue;
        printf("# %s: %s %s\n", name, want ? "rejects" : "accepts", text);
        wrong++;
    }
    return wrong;
}

static void gbnf_cases(void **state)
{
    char path[1024];
    uint32_t wrong = 0, n = 0;
    (void)state;
    if (test_shared_dir() == NULL)
        skip();
    snprintf(path, sizeof path, "%s/oracles/gbnf/cases.json", test_shared_dir());
    json_value *cases = read_json(path);
    assert_non_null(cases);
    for (size_t i = 0; i < json_len(cases); i++) {
        const json_value *c = json_at(cases, i);
        const char *name = json_text(json_get(c, "name"), &(size_t){ 0 });
        const char *gbnf = json_text(json_get(c, "grammar"), &(size_t){ 0 });
        const char *schema = json_text(json_get(c, "schema"), &(size_t){ 0 });
        struct text_grammar *g = NULL;
        struct err err;
        if (make_grammar(&g, no_vocab(), gbnf != NULL ? TEXT_GRAMMAR_GBNF : TEXT_GRAMMAR_SCHEMA,
                         gbnf != NULL ? gbnf : schema, &err) < 0)
            fail_msg("%s: %s", name, err.text);
        wrong += check_list(g, name, json_get(c, "accept"), true);
        wrong += check_list(g, name, json_get(c, "reject"), false);
        n += (uint32_t)(json_len(json_get(c, "accept")) + json_len(json_get(c, "reject")));
        text_grammar_unref(g);
    }
    printf("# %zu grammars, %u strings\n", json_len(cases), n);
    json_free(cases);
    assert_int_equal(wrong, 0);
}

/* The example grammars compile, and take what they describe. */
static void gbnf_examples(void **state)
{
    static const struct {
        const char *name, *text;
    } rows[] = {
        { "json", "{\"a\": [1, 2.5e3, \"x\\n\"], \"b\": {}}" },
        { "json_arr", "[\n1,\n{\"a\":true}]" },
        { "list", "- one\n- two\n" },
        { "arithmetic", "a+b = 12\n" },
        { "chess", "1. e4 e5\n2. Nf3 Nc6\n3. O-O exd5+\n" },
        { "english", "Hello there, friend." },
        { "japanese", "\xe3\x81\x93\xe3\x82\x93\xe3\x81\xab\xe3\x81\xa1\xe3\x81\xaf" },
        { "c", "int main(){return  1;}" },
    };
    (void)state;
    if (test_shared_dir() == NULL)
        skip();
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char path[1024], source[8192];
        struct text_grammar *g = NULL;
        struct err err;
        snprintf(path, sizeof path, "%s/oracles/gbnf/%s.gbnf", test_shared_dir(), rows[i].name);
        FILE *f = fopen(path, "rb");
        assert_non_null(f);
        source[fread(source, 1, sizeof source - 1, f)] = '\0';
        fclose(f);
        if (make_grammar(&g, no_vocab(), TEXT_GRAMMAR_GBNF, source, &err) < 0)
            fail_msg("%s: %s", rows[i].name, err.text);
        if (!matches(g, rows[i].text, strlen(rows[i].text)))
            fail_msg("%s.gbnf does not take %s", rows[i].name, rows[i].text);
        assert_false(matches(g, "\x01", 1));
        text_grammar_unref(g);
    }
}

/* --- regular expressions against PCRE2 ---------------------------------------------------------- */

static void random_regex(struct rng *rng, struct buf *out, int depth)
{
    static const char *const atoms[] = { "a", "b", "[ab]", "[^a]", ".", "\\d", "\\w", "1", "-",
                                         "[a-c1]", "\\.", "\xed\x95\x9c", "[\xea\xb0\x80-\xed\x9e\xa3]",
                                         "\\p{Lu}", "[^\\d\xed\x95\x9c]", "\\x61" };
    static const char *const marks[] = { "*", "+", "?", "{2}", "{1,3}", "{2,}", "*?", "{0}" };
    uint32_t n = 1 + rng_below(rng, 3);
    for (uint32_t i = 0; i < n; i++) {
        if (depth > 0 && rng_below(rng, 3) == 0) {
            buf_puts(out, rng_below(rng, 2) ? "(" : "(?:");
            random_regex(rng, out, depth - 1);
            buf_puts(out, "|");
            random_regex(rng, out, depth - 1);
            buf_puts(out, ")");
        } else {
            buf_puts(out, atoms[rng_below(rng, COUNT_OF(atoms))]);
        }
        if (rng_below(rng, 3) == 0)
            buf_puts(out, marks[rng_below(rng, COUNT_OF(marks))]);
    }
}

static void random_text(struct rng *rng, struct buf *out)
{
    static const char *const chars[] = { "a", "b", "c", "1", "2", "-", ".", "A", "\xed\x95\x9c",
                                         "\xea\xb0\x80", "_" };
    for (uint32_t n = rng_below(rng, 7); n > 0; n--)
        buf_puts(out, chars[rng_below(rng, COUNT_OF(chars))]);
}

static bool pcre_matches(const char *regex, const struct buf *text, bool whole)
{
    int code = 0;
    PCRE2_SIZE at = 0;
    uint32_t flags = PCRE2_UTF | PCRE2_DOLLAR_ENDONLY;
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)regex, PCRE2_ZERO_TERMINATED,
                                   whole ? flags | PCRE2_ANCHORED | PCRE2_ENDANCHORED : flags,
                                   &code, &at, NULL);
    assert_non_null(re);
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    code = pcre2_match(re, (PCRE2_SPTR)buf_str(text), text->len, 0, 0, data, NULL);
    pcre2_match_data_free(data);
    pcre2_code_free(re);
    assert_true(code >= 0 || code == PCRE2_ERROR_NOMATCH);
    return code >= 0;
}

/* As a whole, and as a schema's pattern: anywhere, in a string of JSON. */
static void check_regex(struct rng *rng, const char *regex)
{
    struct text_grammar *g = NULL, *pattern = NULL;
    struct err err;
    struct buf schema, text, quoted;
    struct json_writer w;
    buf_init(&schema, 1 << 16);
    buf_init(&text, 1 << 16);
    buf_init(&quoted, 1 << 16);
    json_writer_init(&w, &schema);
    buf_puts(&schema, "{\"type\":\"string\",\"pattern\":");
    json_write_str(&w, regex);
    buf_puts(&schema, "}");
    if (make_grammar(&g, no_vocab(), TEXT_GRAMMAR_REGEX, regex, &err) < 0 ||
        make_grammar(&pattern, no_vocab(), TEXT_GRAMMAR_SCHEMA, buf_str(&schema), &err) < 0)
        fail_msg("%s: %s", regex, err.text);
    for (int i = 0; i < 40; i++) {
        buf_clear(&text);
        buf_clear(&quoted);
        random_text(rng, &text);
        json_writer_init(&w, &quoted);
        json_write_text(&w, buf_str(&text), text.len);
        if (matches(g, buf_str(&text), text.len) != pcre_matches(regex, &text, true))
            fail_msg("%s differs from PCRE2 on \"%s\"", regex, buf_str(&text));
        if (matches(pattern, buf_str(&quoted), quoted.len) != pcre_matches(regex, &text, false))
            fail_msg("pattern %s differs from PCRE2 on \"%s\"", regex, buf_str(&text));
    }
    text_grammar_unref(g);
    text_grammar_unref(pattern);
    buf_fini(&schema);
    buf_fini(&text);
    buf_fini(&quoted);
}

static void regexes(void **state)
{
    static const char *const given[] = { "^a|b$", "^$", "$", "^", "(^a|b)1", "a(b|c$)", "^(a|b)$|1+",
                                         "(?<x>a)b", "\\Aa\\z", "a{,2}", "{", "[a\\-]+", "[]a]" };
    struct rng rng;
    struct buf regex;
    (void)state;
    rng_seed(&rng, 7);
    buf_init(&regex, 4096);
    for (size_t i = 0; i < COUNT_OF(given) - 1; i++) /* the last is an empty class to ECMA-262 */
        check_regex(&rng, given[i]);
    for (int i = 0; i < 250; i++) {
        buf_clear(&regex);
        if (rng_below(&rng, 4) == 0)
            buf_puts(&regex, "^");
        random_regex(&rng, &regex, 2);
        if (rng_below(&rng, 4) == 0)
            buf_puts(&regex, "$");
        check_regex(&rng, buf_str(&regex));
    }
    buf_fini(&regex);
}

/* --- what is refused --------------------------------------------------------------------------- */

static void refused(void **state)
{
    static const struct {
        enum text_grammar_kind kind;
        int code;
        const char *source, *field, *says;
    } rows[] = {
        { TEXT_GRAMMAR_GBNF, E_UNSUPPORTED, "root ::= root \"a\" | \"b\"", "", "\"root\"" },
        { TEXT_GRAMMAR_GBNF, E_UNSUPPORTED, "root ::= x* root | \"b\"\nx ::= \"\"", "", "left-recursive" },
        { TEXT_GRAMMAR_GBNF, E_FORMAT, "root ::= a", "", "\"a\" is not defined" },
        { TEXT_GRAMMAR_GBNF, E_FORMAT, "root ::= \"a", "", "ends early" },
        { TEXT_GRAMMAR_GBNF, E_FORMAT, "root ::= [b-a]", "", "line 1" },
        { TEXT_GRAMMAR_GBNF, E_FORMAT, "", "", "\"root\" is not defined" },
        { TEXT_GRAMMAR_GBNF, E_FORMAT, "root ::= \"a\" x\nx ::= \"b\" x", "", "no text" },
        { TEXT_GRAMMAR_GBNF, E_UNSUPPORTED, "root ::= <think>", "", "tokens by name" },
        { TEXT_GRAMMAR_GBNF, E_LIMIT, "root ::= \"a\"{30000} \"b\"{30000}", "", "states" },
        { TEXT_GRAMMAR_REGEX, E_UNSUPPORTED, "(a)\\1", "", "back reference" },
        { TEXT_GRAMMAR_REGEX, E_UNSUPPORTED, "a(?=b)", "", "group" },
        { TEXT_GRAMMAR_REGEX, E_UNSUPPORTED, "a\\bb", "", "\\b" },
        { TEXT_GRAMMAR_REGEX, E_FORMAT, "a**", "", "nothing to repeat" },
        { TEXT_GRAMMAR_REGEX, E_FORMAT, "(a", "", ") was expected" },
        { TEXT_GRAMMAR_REGEX, E_FORMAT, "[^\\s\\S]", "", "no text" },
        { TEXT_GRAMMAR_REGEX, E_LIMIT, "((a{1,100}){1,100}){1,100}[^x]{60000}", "", "" },
        { TEXT_GRAMMAR_CHOICE, E_FORMAT, "[]", "", "at least one" },
        { TEXT_GRAMMAR_CHOICE, E_FORMAT, "[\"a\",1]", "", "choice 1" },
        { TEXT_GRAMMAR_SCHEMA, E_UNSUPPORTED,
          "{\"properties\":{\"a\":{\"type\":\"array\",\"uniqueItems\":true}}}",
          "properties.a.uniqueItems", "not supported" },
        { TEXT_GRAMMAR_SCHEMA, E_UNSUPPORTED, "{\"not\":{}}", "not", "not supported" },
        { TEXT_GRAMMAR_SCHEMA, E_UNSUPPORTED, "{\"items\":{\"$ref\":\"http://x/y\"}}",
          "items.$ref", "same schema" },
        { TEXT_GRAMMAR_SCHEMA, E_UNSUPPORTED,
          "{\"oneOf\":[{\"type\":\"number\"},{\"type\":\"integer\"}]}", "oneOf", "anyOf" },
        { TEXT_GRAMMAR_SCHEMA, E_FORMAT, "{\"$ref\":\"#/a/b\"}", "$ref", "nowhere" },
        { TEXT_GRAMMAR_SCHEMA, E_FORMAT, "{\"type\":\"text\"}", "type", "not a type" },
        { TEXT_GRAMMAR_SCHEMA, E_FORMAT, "{\"minimum\":3,\"maximum\":2}", "", "no text" },
        { TEXT_GRAMMAR_SCHEMA, E_FORMAT, "{\"allOf\":[{\"type\":\"null\"},false]}", "", "no text" },
        { TEXT_GRAMMAR_SCHEMA, E_UNSUPPORTED, "{\"properties\":{\"p\":{\"pattern\":\"a(?!b)\"}}}",
          "properties.p.pattern", "group" },
        { TEXT_GRAMMAR_CALLS, E_FORMAT, "[]", "", "at least one" },
        { TEXT_GRAMMAR_CALLS, E_FORMAT, "[{\"begin\":\"a\",\"schema\":{}}]", "", "begin and end" },
        { TEXT_GRAMMAR_CALLS, E_UNSUPPORTED,
          "[{\"begin\":\"a\",\"end\":\"b\",\"path\":\"[3].p\",\"schema\":{\"not\":{}}}]", "[3].p.not",
          "not supported" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct text_grammar *g = NULL;
        struct err err;
        int rc = make_grammar(&g, no_vocab(), rows[i].kind, rows[i].source, &err);
        if (rc != rows[i].code || strcmp(err.field, rows[i].field) != 0 ||
            strstr(err.text, rows[i].says) == NULL)
            fail_msg("%s: %s, \"%s\": %s", rows[i].source, err_name(rc), err.field, err.text);
    }
}

/* One of several calls, each with a schema whose references stay its own. */
static void calls(void **state)
{
    static const char source[] =
        "[{\"begin\":\"<f>\",\"end\":\"</f>\",\"schema\":{\"$ref\":\"#/$defs/x\",\"$defs\":{\"x\":"
        "{\"const\":1}}}},{\"begin\":\"<fg>\",\"end\":\"\",\"schema\":{\"$ref\":\"#/$defs/x\","
        "\"$defs\":{\"x\":{\"const\":2}}}}]";
    static const struct { const char *text; bool in; } rows[] = {
        { "<f>1</f>", true }, { "<fg>2", true }, { "<f>2</f>", false }, { "<fg>1", false },
        { "<f>1", false }, { "1", false }, { "<f>1</f><fg>2", false },
    };
    struct text_grammar *g = NULL;
    struct err err;
    (void)state;
    assert_int_equal(make_grammar(&g, no_vocab(), TEXT_GRAMMAR_CALLS, source, &err), 0);
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        assert_int_equal(matches(g, rows[i].text, strlen(rows[i].text)), rows[i].in);
    text_grammar_unref(g);
}

/* F-43: each ends in an error, and soon. */
static void bombs(void **state)
{
    struct text_grammar *g = NULL;
    struct err err;
    struct buf b;
    (void)state;
    buf_init(&b, 1 << 20);
    for (int i = 0; i < 60000; i++)
        buf_putc(&b, '(');
    assert_int_equal(make_grammar(&g, no_vocab(), TEXT_GRAMMAR_REGEX, buf_str(&b), &err), E_LIMIT);
    buf_clear(&b);
    buf_puts(&b, "root ::= ");
    for (int i = 0; i < 60000; i++)
        buf_putc(&b, '(');
    assert_int_equal(make_grammar(&g, no_vocab(), TEXT_GRAMMAR_GBNF, buf_str(&b), &err), E_LIMIT);
    buf_clear(&b);
    buf_puts(&b, "{\"enum\":[");
    for (int i = 0; i < 30000; i++)
        buf_printf(&b, "%s\"%d\"", i > 0 ? "," : "", i * 7919);
    buf_puts(&b, "]}");
    assert_int_equal(make_grammar(&g, no_vocab(), TEXT_GRAMMAR_SCHEMA, buf_str(&b), &err), E_LIMIT);
    /* (a|a)*b(.{12})...: exponentially many states if they were all made at once */
    assert_int_equal(make_grammar(&g, no_vocab(), TEXT_GRAMMAR_SCHEMA,
                                  "{\"type\":\"string\",\"pattern\":\"^(a|b)*a(a|b){30}$\","
                                  "\"maxLength\":2000}", &err), E_LIMIT);
    assert_int_equal(make_grammar(&g, no_vocab(), TEXT_GRAMMAR_REGEX, "((a*)*)*b", &err), 0);
    buf_clear(&b);
    for (int i = 0; i < 3000; i++)
        buf_putc(&b, 'a');
    assert_false(matches(g, buf_str(&b), b.len));
    text_grammar_unref(g);
    /* cycles of references say nothing, or recur */
    assert_int_equal(make_grammar(&g, no_vocab(), TEXT_GRAMMAR_SCHEMA,
                                  "{\"$ref\":\"#/$defs/a\",\"$defs\":{\"a\":{\"$ref\":\"#/$defs/b\"},"
                                  "\"b\":{\"$ref\":\"#/$defs/a\"}}}", &err), 0);
    assert_true(matches(g, "[1]", 3));
    text_grammar_unref(g);
    assert_int_equal(make_grammar(&g, no_vocab(), TEXT_GRAMMAR_SCHEMA,
                                  "{\"type\":\"array\",\"minItems\":1,\"items\":{\"$ref\":\"#\"}}",
                                  &err), E_FORMAT);
    buf_fini(&b);
}

int grammar_test(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(gbnf_cases),
                                        cmocka_unit_test(gbnf_examples), cmocka_unit_test(regexes),
                                        cmocka_unit_test(refused), cmocka_unit_test(calls),
        cmocka_unit_test(bombs) };
    return cmocka_run_group_tests_name("grammar", tests, NULL, NULL);
}
