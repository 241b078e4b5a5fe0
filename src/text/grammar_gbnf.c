/* GBNF, the grammar notation of llama.cpp:
 *
 *     rule   name ::= alternates              names: letters, digits, - (and _)
 *     alternates   sequence ( | sequence )*   a sequence may be empty
 *     symbol   "text"  [a-z] [^a-z]  name  ( alternates )  .      then  *  +  ?  {m}  {m,}  {m,n}
 *     escapes  \n \r \t \\ \" \[ \] \xHH \uHHHH \UHHHHHHHH      comments  # to the end of the line
 *
 * Within parentheses a line may end anywhere; outside, a line that ends after a sequence ends the
 * rule unless the next one begins with |. Characters are Unicode's. Tokens by name (<name>,
 * <[id]>, with or without !) are refused by name: here text is bytes. */
#include <stdio.h>
#include <string.h>

#include "base/map.h"
#include "base/utf8.h"
#include "text/grammar_ast.h"
#include "text/grammar_compile.h"

struct gbnf {
    const char *s;
    size_t n, at;
    struct gram_source *out;
    struct map by_name;
    struct gast **bodies;  /* (GRAM_RULES_MAX) by rule; NULL: used and not defined */
    uint32_t depth;
};

static int bad(struct gbnf *p, const char *what)
{
    size_t line = 1;
    for (size_t i = 0; i < p->at && i < p->n; i++)
        line += p->s[i] == '\n';
    return err_set(p->out->err, E_FORMAT, "grammar: %s in line %zu, at byte %zu", what, line,
                   p->at);
}

static int full(struct gbnf *p)
{
    return err_set(p->out->err, E_LIMIT,
                   "grammar: too large, or nested deeper than %d levels", GAST_GROUPS_MAX);
}

static bool peek(const struct gbnf *p, char c) { return p->at < p->n && p->s[p->at] == c; }

static bool take(struct gbnf *p, char c)
{
    if (!peek(p, c))
        return false;
    p->at++;
    return true;
}

/* Blanks and comments; lines too where they may end. */
static void skip(struct gbnf *p, bool lines)
{
    while (p->at < p->n) {
        char c = p->s[p->at];
        if (c == '#')
            while (p->at < p->n && p->s[p->at] != '\n' && p->s[p->at] != '\r')
                p->at++;
        else if (c == ' ' || c == '\t' || (lines && (c == '\n' || c == '\r')))
            p->at++;
        else
            return;
    }
}

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '-' || c == '_';
}

/* The rule's number; new ones are made. */
static int read_name(struct gbnf *p, uint32_t *rule)
{
    size_t begin = p->at;
    while (p->at < p->n && is_name_char(p->s[p->at]))
        p->at++;
    if (p->at == begin)
        return bad(p, "a name was expected");
    if (map_get(&p->by_name, p->s + begin, p->at - begin, rule))
        return 0;
    *rule = gram_rule(p->out->g);
    if (*rule == GRAM_NONE)
        return p->out->g->status;
    p->out->names[*rule] = arena_strndup(p->out->arena, p->s + begin, p->at - begin);
    return map_put(&p->by_name, p->s + begin, p->at - begin, *rule, NULL);
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int read_hex(struct gbnf *p, uint32_t digits, uint32_t *cp)
{
    *cp = 0;
    for (uint32_t i = 0; i < digits; i++) {
        int v = p->at < p->n ? hex_value(p->s[p->at]) : -1;
        if (v < 0)
            return bad(p, "a hexadecimal digit was expected");
        *cp = *cp << 4 | (uint32_t)v;
        p->at++;
    }
    return *cp > GRAM_CHAR_MAX || (*cp >= 0xd800 && *cp <= 0xdfff)
               ? bad(p, "there is no such character")
               : 0;
}

/* One character of a text or class. */
static int read_char(struct gbnf *p, uint32_t *cp)
{
    static const char from[] = "nrt\\\"[]-^", to[] = "\n\r\t\\\"[]-^";
    if (p->at >= p->n)
        return bad(p, "the grammar ends early");
    if (!take(p, '\\')) {
        size_t len = utf8_next(p->s + p->at, p->n - p->at, cp);
        if (*cp == UTF8_INVALID)
            return bad(p, "bytes are no UTF-8");
        p->at += len;
        return 0;
    }
    char c = p->at < p->n ? p->s[p->at] : '\0';
    const char *known = c != '\0' ? strchr(from, c) : NULL;
    p->at++;
    if (known != NULL)
        *cp = (uint8_t)to[known - from];
    else if (c == 'x' || c == 'u' || c == 'U')
        return read_hex(p, c == 'x' ? 2 : c == 'u' ? 4 : 8, cp);
    else
        return bad(p, "an escape is unknown");
    return 0;
}

static int read_text(struct gbnf *p, struct gast **out)
{
    struct buf text;
    struct gast *a = gast_new(p->out->arena, GAST_TEXT);
    buf_init(&text, TEXT_GRAMMAR_BYTES_MAX);
    int rc = a != NULL ? 0 : full(p);
    while (rc == 0 && !take(p, '"')) {
        uint32_t cp = 0;
        char bytes[4];
        rc = read_char(p, &cp);
        if (rc == 0)
            buf_put(&text, bytes, utf8_put(bytes, cp));
    }
    if (rc == 0) {
        a->text = arena_strndup(p->out->arena, buf_str(&text), text.len);
        a->len = text.len;
        rc = a->text != NULL && buf_status(&text) == 0 ? 0 : full(p);
    }
    buf_fini(&text);
    *out = a;
    return rc;
}

static int read_class(struct gbnf *p, struct gast **out)
{
    struct gast *a = gast_new(p->out->arena, GAST_SET);
    bool inverted = take(p, '^');
    if (a == NULL)
        return full(p);
    while (!take(p, ']')) {
        uint32_t lo = 0, hi = 0;
        TRY(read_char(p, &lo));
        hi = lo;
        if (peek(p, '-') && p->at + 1 < p->n && p->s[p->at + 1] != ']') {
            p->at++;
            TRY(read_char(p, &hi));
        }
        if (hi < lo)
            return bad(p, "a range ends before it begins");
        if (gram_set_add(&a->set, lo, hi) < 0)
            return full(p);
    }
    gram_set_tidy(&a->set);
    if (inverted && gram_set_invert(&a->set) < 0)
        return full(p);
    *out = a;
    return 0;
}

static int read_number(struct gbnf *p, uint32_t *x)
{
    size_t begin = p->at;
    for (*x = 0; p->at < p->n && p->s[p->at] >= '0' && p->s[p->at] <= '9'; p->at++) {
        *x = *x * 10 + (uint32_t)(p->s[p->at] - '0');
        if (*x > GRAM_NODES_MAX)
            return bad(p, "a repeat counts further than 50000");
    }
    return p->at > begin ? 0 : bad(p, "a number was expected");
}

/* {m} {m,} {m,n}; the brace is taken. */
static int read_counts(struct gbnf *p, uint32_t *min, uint32_t *max)
{
    skip(p, true);
    TRY(read_number(p, min));
    *max = *min;
    skip(p, true);
    if (take(p, ',')) {
        skip(p, true);
        *max = GRAM_NONE;
        if (!peek(p, '}'))
            TRY(read_number(p, max));
        skip(p, true);
    }
    if (!take(p, '}'))
        return bad(p, "} was expected");
    return *min <= *max ? 0 : bad(p, "a repeat ends before it begins");
}

static int read_repeats(struct gbnf *p, struct gast **a, bool nested)
{
    for (;;) {
        uint32_t min = 0, max = GRAM_NONE;
        skip(p, nested);
        if (take(p, '+'))
            min = 1;
        else if (take(p, '?'))
            max = 1;
        else if (take(p, '{'))
            TRY(read_counts(p, &min, &max));
        else if (!take(p, '*'))
            return 0;
        struct gast *r = gast_new(p->out->arena, GAST_REPEAT);
        if (r == NULL || gast_add(p->out->arena, r, *a) < 0)
            return full(p);
        r->min = min;
        r->max = max;
        *a = r;
    }
}

static int read_alternates(struct gbnf *p, bool nested, struct gast **out);

static int read_group(struct gbnf *p, struct gast **out)
{
    if (++p->depth > GAST_GROUPS_MAX)
        return full(p);
    skip(p, true);
    TRY(read_alternates(p, true, out));
    p->depth--;
    return take(p, ')') ? 0 : bad(p, ") was expected");
}

/* One symbol; *out NULL where the sequence ends. */
static int read_symbol(struct gbnf *p, struct gast **out)
{
    *out = NULL;
    if (take(p, '"'))
        return read_text(p, out);
    if (take(p, '['))
        return read_class(p, out);
    if (take(p, '('))
        return read_group(p, out);
    if (peek(p, '<') || peek(p, '!'))
        return err_set(p->out->err, E_UNSUPPORTED,
                       "grammar: tokens by name (<...>) are not supported, at byte %zu", p->at);
    if (take(p, '.')) {
        *out = gast_new(p->out->arena, GAST_SET);
        return *out != NULL && gram_set_add(&(*out)->set, 0, GRAM_CHAR_MAX) == 0 ? 0 : full(p);
    }
    if (p->at >= p->n || !is_name_char(p->s[p->at]))
        return 0;
    *out = gast_new(p->out->arena, GAST_RULE);
    return *out != NULL ? read_name(p, &(*out)->rule) : full(p);
}

static int read_sequence(struct gbnf *p, bool nested, struct gast **out)
{
    struct gast *cat = gast_new(p->out->arena, GAST_CAT);
    if (cat == NULL)
        return full(p);
    for (;;) {
        struct gast *a = NULL;
        skip(p, nested);
        TRY(read_symbol(p, &a));
        if (a == NULL)
            break;
        TRY(read_repeats(p, &a, nested));
        if (gast_add(p->out->arena, cat, a) < 0)
            return full(p);
    }
    *out = cat;
    return 0;
}

static int read_alternates(struct gbnf *p, bool nested, struct gast **out)
{
    struct gast *alt = gast_new(p->out->arena, GAST_ALT);
    if (alt == NULL)
        return full(p);
    do {
        struct gast *a = NULL;
        skip(p, true); /* after | or ::= the line may end */
        TRY(read_sequence(p, nested, &a));
        if (gast_add(p->out->arena, alt, a) < 0)
            return full(p);
        if (!nested) { /* a | may begin the next line */
            size_t end = p->at;
            skip(p, true);
            if (!peek(p, '|'))
                p->at = end;
        }
    } while (take(p, '|'));
    *out = alt;
    return 0;
}

static int read_rule(struct gbnf *p)
{
    uint32_t rule = 0;
    TRY(read_name(p, &rule));
    skip(p, false);
    if (p->n - p->at < 3 || memcmp(p->s + p->at, "::=", 3) != 0)
        return bad(p, "::= was expected");
    p->at += 3;
    TRY(read_alternates(p, false, &p->bodies[rule]));
    if (p->at < p->n && p->s[p->at] != '\n' && p->s[p->at] != '\r')
        return bad(p, "a character is out of place");
    return 0;
}

static int read_all(struct gbnf *p)
{
    uint32_t root = 0;
    TRY(map_put(&p->by_name, "root", 4, gram_rule(p->out->g), NULL));
    p->out->names[0] = "root";
    for (skip(p, true); p->at < p->n; skip(p, true))
        TRY(read_rule(p));
    TRY(p->out->g->status);
    CHECK(map_get(&p->by_name, "root", 4, &root));
    const uint32_t n = p->out->g->ir.n_rules;
    for (uint32_t r = 0; r < n; r++) {
        if (p->bodies[r] == NULL)
            return err_set(p->out->err, E_FORMAT, "grammar: rule \"%s\" is not defined",
                           p->out->names[r]);
        gram_rule_body(p->out->g, r, gast_emit(p->out->g, p->bodies[r], GRAM_RAW, GRAM_END));
    }
    return p->out->g->status;
}

int gram_from_gbnf(struct gram_source *s)
{
    struct gbnf p = { .s = s->p->source, .n = s->p->source_len, .out = s };
    p.bodies = mem_alloc(GRAM_RULES_MAX, sizeof *p.bodies);
    s->names = arena_alloc(s->arena, GRAM_RULES_MAX, sizeof *s->names);
    if (p.bodies == NULL || s->names == NULL || map_init(&p.by_name, 64) < 0) {
        mem_free(p.bodies);
        return err_set(s->err, E_NOMEM, "out of memory");
    }
    int rc = read_all(&p);
    map_fini(&p.by_name);
    mem_free(p.bodies);
    return rc;
}
