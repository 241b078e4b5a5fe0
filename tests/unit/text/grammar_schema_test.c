/* Goal: against the JSON-Schema-Test-Suite (draft 2020-12) every valid instance of a supported
 * schema is accepted, in some order of its members, and no invalid one in any; written compactly
 * and with spaces. Schemas with a keyword that is refused are counted by that keyword. */
#include "unit/test.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>

#include "unit/text/grammar_help.h"

int grammar_schema_test(void);

#define ORDERS_MAX 6000u

/* --- instances as text: one order of members for each number ------------------------------------- */

struct writer {
    struct buf out;
    uint64_t order;  /* digits in factorial bases */
    uint64_t n_orders;
    bool spaced;
};

static void write_value(struct writer *w, const json_value *v);

struct members {
    const char *keys[64];
    const json_value *values[64];
    uint32_t n;
};

static int list_member(void *ctx, const char *key, json_value *v)
{
    struct members *m = ctx;
    assert_true(m->n < 64);
    m->keys[m->n] = key;
    m->values[m->n++] = v;
    return 0;
}

static void write_object(struct writer *w, const json_value *v)
{
    struct members m = { .n = 0 };
    json_each(v, list_member, &m);
    buf_puts(&w->out, "{");
    for (uint32_t left = m.n; left > 0; left--) {
        uint32_t pick = (uint32_t)(w->order % left);
        w->order /= left;
        w->n_orders = w->n_orders > ORDERS_MAX ? w->n_orders : w->n_orders * left;
        struct json_writer jw;
        json_writer_init(&jw, &w->out);
        if (left < m.n)
            buf_puts(&w->out, w->spaced ? ", " : ",");
        json_write_str(&jw, m.keys[pick]);
        buf_puts(&w->out, w->spaced ? ": " : ":");
        write_value(w, m.values[pick]);
        memmove(m.keys + pick, m.keys + pick + 1, (left - pick - 1) * sizeof *m.keys);
        memmove(m.values + pick, m.values + pick + 1, (left - pick - 1) * sizeof *m.values);
    }
    buf_puts(&w->out, "}");
}

static void write_value(struct writer *w, const json_value *v)
{
    struct json_writer jw;
    double x = json_as_double(v);
    json_writer_init(&jw, &w->out);
    switch (json_kind_of(v)) {
    case JSON_OBJECT: write_object(w, v); return;
    case JSON_ARRAY:
        buf_puts(&w->out, "[");
        for (size_t i = 0; i < json_len(v); i++) {
            if (i > 0)
                buf_puts(&w->out, w->spaced ? ", " : ",");
            write_value(w, json_at(v, i));
        }
        buf_puts(&w->out, "]");
        return;
    case JSON_DOUBLE:
        if (x == floor(x)) /* 1.0 is written 1, as by JavaScript */
            buf_printf(&w->out, "%.0f", x == 0 ? 0.0 : x);
        else if (fabs(x) > 1e-12 && fabs(x) < 1e-4) /* 7.5e-05 with all its zeros */
            buf_printf(&w->out, "%.*f", 8, x);
        else
            json_write_double(&jw, x);
        return;
    default: json_write_value(&jw, v);
    }
}

/* Accepted in any order of members? */
static bool accepts(struct text_grammar *g, const json_value *v, bool spaced)
{
    struct writer w = { .n_orders = 1, .spaced = spaced };
    bool yes = false;
    buf_init(&w.out, 1 << 22);
    for (uint64_t i = 0, n = 1; i < n && i < ORDERS_MAX && !yes; i++) {
        buf_clear(&w.out);
        w.order = i;
        w.n_orders = 1;
        write_value(&w, v);
        n = w.n_orders;
        yes = matches(g, buf_str(&w.out), w.out.len);
    }
    buf_fini(&w.out);
    return yes;
}

/* --- the suite -------------------------------------------------------------------------------- */

struct counts {
    uint32_t groups, refused, valid, invalid, wrong;
    char refusals[64][64];
    uint32_t times[64], n_refusals;
};

/* Groups that say something Naru does not claim; each with the reason. */
static const struct {
    const char *file, *group, *reason;
} not_claimed[] = {
    { "format.json", "", "formats are held, not only noted" },
};

static bool is_claimed(const char *file, const char *group)
{
    for (size_t i = 0; i < COUNT_OF(not_claimed); i++)
        if (strcmp(file, not_claimed[i].file) == 0 &&
            (not_claimed[i].group[0] == '\0' || strcmp(group, not_claimed[i].group) == 0))
            return false;
    return true;
}

static void count_refusal(struct counts *c, const char *field)
{
    const char *word = strrchr(field, '.') != NULL ? strrchr(field, '.') + 1 : field;
    uint32_t i = 0;
    while (i < c->n_refusals && strncmp(c->refusals[i], word, 63) != 0)
        i++;
    if (i == c->n_refusals && i < 64)
        snprintf(c->refusals[c->n_refusals++], 64, "%.63s", word);
    if (i < 64)
        c->times[i]++;
    c->refused++;
}

static void run_group(struct counts *c, const char *file, const json_value *group)
{
    struct text_grammar_params p = { .kind = TEXT_GRAMMAR_SCHEMA, .open = true,
                                     .json = json_get(group, "schema") };
    const char *name = json_text(json_get(group, "description"), &(size_t){ 0 });
    const json_value *tests = json_get(group, "tests");
    struct text_grammar *g = NULL;
    struct err err = { 0 };
    if (!is_claimed(file, name))
        return;
    c->groups++;
    int rc = text_grammar_create(&g, no_vocab(), &p, &err);
    bool nothing = rc == E_FORMAT && strstr(err.text, "matches no text") != NULL;
    if (rc == E_UNSUPPORTED) {
        if (getenv("NARU_VERBOSE"))
            printf("# refused: %s: %s: %s\n", file, name, err.text);
        count_refusal(c, err.field);
        return;
    }
    if (rc < 0 && !nothing) {
        printf("# %s: %s: %s\n", file, name, err.text);
        c->wrong++;
        return;
    }
    for (size_t i = 0; i < json_len(tests); i++) {
        const json_value *t = json_at(tests, i);
        bool valid = json_as_bool(json_get(t, "valid"));
        for (int spaced = 0; spaced < 2; spaced++) {
            bool yes = !nothing && accepts(g, json_get(t, "data"), spaced != 0);
            if (yes == valid)
                continue;
            printf("# %s: %s: %s: %s although %s\n", file, name,
                   json_text(json_get(t, "description"), &(size_t){ 0 }),
                   yes ? "accepted" : "not accepted", valid ? "valid" : "invalid");
            c->wrong++;
        }
        c->valid += valid;
        c->invalid += !valid;
    }
    text_grammar_unref(g);
}

static int by_name(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

static void run_folder(struct counts *c, const char *dir)
{
    char path[1400], *names[128];
    uint32_t n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d))
        if (strstr(e->d_name, ".json") != NULL && n < 128)
            names[n++] = strdup(e->d_name);
    closedir(d);
    qsort(names, n, sizeof *names, by_name);
    for (uint32_t i = 0; i < n; i++) {
        struct counts before = *c;
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        json_value *groups = read_json(path);
        assert_non_null(groups);
        for (size_t k = 0; k < json_len(groups); k++)
            run_group(c, names[i], json_at(groups, k));
        json_free(groups);
        printf("# %-28s %2u of %2u schemas, %3u valid, %3u invalid, %u wrong\n", names[i],
               c->groups - before.groups - (c->refused - before.refused),
               c->groups - before.groups, c->valid - before.valid, c->invalid - before.invalid,
               c->wrong - before.wrong);
        free(names[i]);
    }
}

static void suite(void **state)
{
    static const char *const folders[] = { "", "/optional", "/optional/format" };
    static struct counts c;
    char path[1024];
    (void)state;
    if (test_shared_dir() == NULL)
        skip();
    for (size_t i = 0; i < COUNT_OF(folders); i++) {
        snprintf(path, sizeof path, "%s/oracles/json-schema/draft2020-12%s", test_shared_dir(),
                 folders[i]);
        run_folder(&c, path);
    }
    printf("# %u schemas, %u refused by name, %u valid and %u invalid instances, %u wrong\n",
           c.groups, c.refused, c.valid, c.invalid, c.wrong);
    for (uint32_t i = 0; i < c.n_refusals; i++)
        printf("#   refused for %s: %u\n", c.refusals[i], c.times[i]);
    assert_int_equal(c.wrong, 0);
}

int grammar_schema_test(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(suite) };
    return cmocka_run_group_tests_name("grammar_schema", tests, NULL, NULL);
}
