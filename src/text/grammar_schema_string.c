/* Strings: patterns, formats and lengths are regular, so that several of them at once are their
 * product. Formats are expressions like a user's own. */
#include <stdio.h>
#include <string.h>

#include "text/grammar_schema.h"

/* RFC 3339: days of the months, leap years; leap seconds at the end of a day in UTC. */
#define DATE                                                                                     \
    "(?:\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|"  \
    "30)|02-(?:0[1-9]|1\\d|2[0-8]))"                                                             \
    "|(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)"
#define TIME                                                                                     \
    "(?:(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d+)?(?:[Zz]|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)" \
    "|23:59:60(?:\\.\\d+)?(?:[Zz]|[+-]00:00))"
#define OCTET "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define IPV4 "(?:" OCTET "\\." OCTET "\\." OCTET "\\." OCTET ")"
#define H16 "[0-9A-Fa-f]{1,4}"
#define LS32 "(?:" H16 ":" H16 "|" IPV4 ")"
/* RFC 3986, section 3.2.2 */
#define IPV6                                                                                     \
    "(?:(?:" H16 ":){6}" LS32 "|::(?:" H16 ":){5}" LS32 "|(?:" H16 ")?::(?:" H16 ":){4}" LS32    \
    "|(?:(?:" H16 ":)?" H16 ")?::(?:" H16 ":){3}" LS32                                           \
    "|(?:(?:" H16 ":){0,2}" H16 ")?::(?:" H16 ":){2}" LS32                                       \
    "|(?:(?:" H16 ":){0,3}" H16 ")?::" H16 ":" LS32 "|(?:(?:" H16 ":){0,4}" H16 ")?::" LS32      \
    "|(?:(?:" H16 ":){0,5}" H16 ")?::" H16 "|(?:(?:" H16 ":){0,6}" H16 ")?::)"
#define LABEL "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
/* RFC 5321: a dotted or quoted name, at a domain or an address in brackets */
#define EMAIL                                                                                    \
    "(?:[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"                  \
    "|\"(?:[ !#-\\[\\]-~]|\\\\[ -~])*\")@(?:" LABEL "(?:\\." LABEL ")*"                          \
    "|\\[(?:" IPV4 "|IPv6:" IPV6 ")\\])"
#define UNITS                                                                                    \
    "T(?:\\d+H(?:\\d+M(?:\\d+S)?)?|\\d+M(?:\\d+S)?|\\d+S)"
#define DURATION                                                                                 \
    "P(?:\\d+W|(?:\\d+Y(?:\\d+M(?:\\d+D)?)?|\\d+M(?:\\d+D)?|\\d+D)(?:" UNITS ")?|" UNITS ")"
/* RFC 3986, appendix A */
#define UCHAR "(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})"
#define PCHAR "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
#define AUTHORITY                                                                                \
    "(?:(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*@)?(?:\\[(?:" IPV6                       \
    "|[vV][0-9A-Fa-f]+\\.[A-Za-z0-9._~!$&'()*+,;=:-]+)\\]|" UCHAR "*)(?::\\d*)?"
#define AFTER "(?:\\?(?:" PCHAR "|[/?])*)?(?:#(?:" PCHAR "|[/?])*)?"
#define ABSOLUTE "/(?:" PCHAR "+(?:/" PCHAR "*)*)?"
#define URI                                                                                      \
    "[A-Za-z][A-Za-z0-9+.-]*:(?://" AUTHORITY "(?:/" PCHAR "*)*|" ABSOLUTE "|" PCHAR "+(?:/" PCHAR \
    "*)*)?" AFTER
#define RELATIVE                                                                                 \
    "(?://" AUTHORITY "(?:/" PCHAR "*)*|" ABSOLUTE                                               \
    "|(?:[A-Za-z0-9._~!$&'()*+,;=@-]|%[0-9A-Fa-f]{2})+(?:/" PCHAR "*)*)?" AFTER
#define POINTER "(?:/(?:[^/~]|~[01])*)*"

static const struct {
    const char *name, *regex; /* NULL: refused */
} formats[] = {
    { "date", DATE },
    { "time", TIME },
    { "date-time", DATE "[Tt]" TIME },
    { "duration", DURATION },
    { "uuid", "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}" },
    { "ipv4", IPV4 },
    { "ipv6", IPV6 },
    { "email", EMAIL },
    { "uri", URI },
    { "uri-reference", "(?:" URI "|" RELATIVE ")" },
    { "json-pointer", POINTER },
    { "relative-json-pointer", "(?:0|[1-9]\\d*)(?:#|" POINTER ")" },
    { "hostname", NULL },
    { "idn-hostname", NULL },
    { "idn-email", NULL },
    { "iri", NULL },
    { "iri-reference", NULL },
    { "uri-template", NULL },
    { "regex", NULL },
};

static void put_start(struct schema *s, const struct gast *a, struct schema_parts *p)
{
    uint32_t end = p->end != GRAM_NONE ? p->end : gram_mark(s->g, p->n);
    p->starts[p->n++] = gast_emit(s->g, a, GRAM_JSON, end);
}

static int put_part(struct schema *s, const char *regex, size_t len, bool any_end,
                    struct schema_parts *p)
{
    struct gast *a = NULL;
    if (p->n == SCHEMA_PARTS_MAX)
        return err_set(s->err, E_LIMIT, "schema: more than %d patterns for one string",
                       SCHEMA_PARTS_MAX);
    TRY(gast_regex(&a, s->arena, regex, len, any_end, s->err));
    put_start(s, a, p);
    return s->g->status;
}

static int put_format(struct schema *s, const struct schema_item *item, struct schema_parts *p)
{
    size_t len = 0;
    const char *name = json_text(json_get(item->v, "format"), &len);
    for (size_t i = 0; name != NULL && i < COUNT_OF(formats); i++) {
        if (strlen(formats[i].name) != len || memcmp(formats[i].name, name, len) != 0)
            continue;
        if (formats[i].regex == NULL)
            return schema_wrong(s, E_UNSUPPORTED, item->path, "format",
                                "is one that is not supported");
        return put_part(s, formats[i].regex, strlen(formats[i].regex), false, p);
    }
    return 0; /* others say nothing, as the standard has it */
}

static int put_pattern(struct schema *s, const struct schema_item *item, struct schema_parts *p)
{
    size_t len = 0;
    const char *pattern = json_text(json_get(item->v, "pattern"), &len);
    int rc = pattern != NULL ? put_part(s, pattern, len, true, p) : 0;
    if (rc < 0)
        (void)snprintf(s->err->field, sizeof s->err->field, "%s",
                       schema_path(s, item->path, "pattern"));
    return rc;
}

static int put_length(struct schema *s, const uint32_t range[2], struct schema_parts *p)
{
    struct gast *set = gast_new(s->arena, GAST_SET), *r = gast_new(s->arena, GAST_REPEAT);
    if (set == NULL || r == NULL || p->n == SCHEMA_PARTS_MAX ||
        gram_set_add(&set->set, 0, GRAM_CHAR_MAX) < 0 || gast_add(s->arena, r, set) < 0)
        return err_set(s->err, E_LIMIT, "schema: it needs too much memory to compile");
    r->min = range[0];
    r->max = range[1];
    put_start(s, r, p);
    return s->g->status;
}

int schema_string_parts(struct schema *s, const struct conj *c, struct schema_parts *p)
{
    uint32_t range[2] = { 0, GRAM_NONE };
    ASSERT(s->g->flat || p->end != GRAM_NONE);
    TRY(conj_counts(s, c, "minLength", "maxLength", range));
    for (uint32_t i = 0; i < c->n; i++) {
        TRY(put_pattern(s, &c->items[i], p));
        TRY(put_format(s, &c->items[i], p));
    }
    if (range[0] > range[1])
        p->starts[p->n++] = GRAM_NONE;
    else if (range[0] > 0 || range[1] != GRAM_NONE)
        return put_length(s, range, p);
    return 0;
}

/* Only lengths: characters in any of the ways they can be written. */
static uint32_t any_char(void *ctx, uint32_t next)
{
    struct schema *s = ctx;
    if (s->chr == GRAM_NONE) {
        s->chr = gram_rule(s->g);
        gram_rule_body(s->g, s->chr, schema_char(s->g, GRAM_END));
    }
    return gram_call(s->g, s->chr, next);
}

static uint32_t close_string(void *ctx, uint32_t satisfied)
{
    struct schema *s = ctx;
    (void)satisfied;
    return gram_byte(s->g, '"', GRAM_END);
}

/* How many parts there will be, at least. */
static uint32_t count_parts(const struct conj *c, const uint32_t range[2])
{
    uint32_t n = range[0] > 0 || range[1] != GRAM_NONE;
    for (uint32_t i = 0; i < c->n; i++)
        n += json_has(c->items[i].v, "pattern") + json_has(c->items[i].v, "format");
    return n;
}

static uint32_t emit_lengths(struct schema *s, const uint32_t range[2])
{
    struct gram_repeat r = { .emit = any_char, .ctx = s, .min = range[0], .max = range[1] };
    if (range[0] == 0 && range[1] == GRAM_NONE)
        return schema_string(s, GRAM_END);
    uint32_t end = gram_byte(s->g, '"', GRAM_END);
    return gram_byte(s->g, '"', gram_repeat(s->g, &r, end));
}

int schema_emit_string(struct schema *s, const struct conj *c, uint32_t *out)
{
    uint32_t range[2] = { 0, GRAM_NONE };
    struct schema_parts p = { .n = 0, .end = GRAM_NONE };
    *out = GRAM_NONE;
    TRY(conj_counts(s, c, "minLength", "maxLength", range));
    if (range[0] > range[1])
        return 0;
    const uint32_t n = count_parts(c, range);
    const bool lengths = range[0] > 0 || range[1] != GRAM_NONE;
    if (n == (lengths ? 1 : 0)) {
        *out = emit_lengths(s, range);
        return s->g->status;
    }
    if (n == 1) /* one alone need not be determined beforehand */
        p.end = gram_byte(s->g, '"', GRAM_END);
    s->g->flat = n > 1;
    int rc = schema_string_parts(s, c, &p);
    s->g->flat = false;
    TRY(rc);
    struct gram_product product = { .starts = p.starts, .n_parts = p.n, .must = (1u << p.n) - 1,
                                    .exit = close_string, .ctx = s };
    if (p.n == 0) /* a format that says nothing */
        *out = schema_string(s, GRAM_END);
    else if (n == 1)
        *out = p.starts[0] != GRAM_NONE ? gram_byte(s->g, '"', p.starts[0]) : GRAM_NONE;
    else
        *out = gram_byte(s->g, '"', gram_product(s->g, &product));
    return s->g->status;
}

/* --- matching at once ------------------------------------------------------------------------- */

#define MATCH_PLACES 2048

static void put_once(uint32_t node, uint32_t *set, uint32_t *n)
{
    for (uint32_t i = 0; i < *n; i++)
        if (set[i] == node)
            return;
    if (*n < MATCH_PLACES)
        set[(*n)++] = node;
}

/* Adds a node and all that splits lead to. */
static void put_place(const struct gram *g, uint32_t node, uint32_t *set, uint32_t *n)
{
    uint32_t begin = *n;
    put_once(node, set, n);
    for (uint32_t i = begin; i < *n; i++) {
        const struct gram_node *at = &g->ir.nodes[set[i]];
        if (at->kind != GRAM_SPLIT)
            continue;
        put_once(at->next, set, n);
        put_once(at->arg, set, n);
    }
}

bool schema_flat_match(const struct gram *g, uint32_t start, const char *text, size_t len)
{
    uint32_t sets[2][MATCH_PLACES], n[2] = { 0, 0 };
    if (start == GRAM_NONE)
        return false;
    put_place(g, start, sets[0], &n[0]);
    for (size_t i = 0; i < len; i++) {
        const uint32_t from = i % 2, to = 1 - from;
        n[to] = 0;
        for (uint32_t k = 0; k < n[from]; k++) {
            const struct gram_node *at = &g->ir.nodes[sets[from][k]];
            if (at->kind == GRAM_RANGE && at->lo <= (uint8_t)text[i] &&
                (uint8_t)text[i] <= at->hi)
                put_place(g, at->next, sets[to], &n[to]);
        }
    }
    for (uint32_t k = 0; k < n[len % 2]; k++)
        if (g->ir.nodes[sets[len % 2][k]].kind == GRAM_MARK)
            return true;
    return false;
}
