/* Regular expressions in what ECMA-262, PCRE2 and Python's re have in common:
 *
 *     characters  .  [a-z] [^...]  \d \D \w \W \s \S  \n \r \t \f \v \0  \xHH \uHHHH \u{H...}
 *     \p{L} \P{Lu} ... by general category    groups ( ) (?: ) (?<name> ) (?P<name> )
 *     alternatives |    * + ? {m} {m,} {m,n}, also lazy: a set of texts is the same either way
 *     ^ $ at the beginning and end of an alternative
 *
 * \d and \w are ASCII; . is all but line ends. Refused by name, as no finite automaton (or not a
 * small one) has them: back references, look-around, \b, flags, atomic groups.
 *
 * The tree is read by descent of at most GAST_GROUPS_MAX levels; anchors are then resolved: where a
 * part at the edge has none, "any text" is put beside it. */
#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

#include "base/utf8.h"
#include "text/grammar_ast.h"
#include "text/grammar_compile.h"

struct regex {
    const char *s;
    size_t n, at;
    struct arena *arena;
    struct err *err;
    bool any_end;
    uint32_t depth;
};

static int bad(struct regex *p, const char *what)
{
    return err_set(p->err, E_FORMAT, "regular expression: %s at byte %zu", what, p->at);
}

static int refuse(struct regex *p, const char *what)
{
    return err_set(p->err, E_UNSUPPORTED, "regular expression: %s at byte %zu %s", what, p->at,
                   "cannot be used to constrain output");
}

static int full(struct regex *p)
{
    return err_set(p->err, E_LIMIT,
                   "regular expression: too large, or nested deeper than %d levels",
                   GAST_GROUPS_MAX);
}

static bool peek(const struct regex *p, char c) { return p->at < p->n && p->s[p->at] == c; }

static bool take(struct regex *p, char c)
{
    if (!peek(p, c))
        return false;
    p->at++;
    return true;
}

static bool take_word(struct regex *p, const char *word)
{
    size_t len = strlen(word);
    if (p->n - p->at < len || memcmp(p->s + p->at, word, len) != 0)
        return false;
    p->at += len;
    return true;
}

/* --- characters and classes ------------------------------------------------------------------- */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int read_hex(struct regex *p, uint32_t digits, uint32_t *cp)
{
    uint32_t x = 0, n = 0;
    for (; n < digits && p->at < p->n && hex_value(p->s[p->at]) >= 0; n++)
        x = x << 4 | (uint32_t)hex_value(p->s[p->at++]);
    if (n < digits)
        return bad(p, "hexadecimal digits were expected");
    *cp = x;
    return 0;
}

/* \u: four digits, two such for a pair of surrogates, or digits in braces. */
static int read_unicode(struct regex *p, uint32_t *cp)
{
    if (take(p, '{')) {
        uint32_t x = 0;
        while (p->at < p->n && hex_value(p->s[p->at]) >= 0 && x <= GRAM_CHAR_MAX)
            x = x << 4 | (uint32_t)hex_value(p->s[p->at++]);
        *cp = x;
        if (!take(p, '}'))
            return bad(p, "} was expected");
    } else {
        TRY(read_hex(p, 4, cp));
        if (*cp >= 0xd800 && *cp < 0xdc00 && take_word(p, "\\u")) {
            uint32_t low = 0;
            TRY(read_hex(p, 4, &low));
            if (low < 0xdc00 || low > 0xdfff)
                return bad(p, "half a surrogate pair");
            *cp = 0x10000 + ((*cp - 0xd800) << 10) + (low - 0xdc00);
        }
    }
    return *cp <= GRAM_CHAR_MAX && (*cp < 0xd800 || *cp > 0xdfff)
               ? 0
               : bad(p, "there is no such character");
}

static int add_spans(struct gram_set *set, const struct gram_span *spans, size_t n)
{
    for (size_t i = 0; i < n; i++)
        TRY(gram_set_add(set, spans[i].lo, spans[i].hi));
    return 0;
}

static int add_all(struct gram_set *to, const struct gram_set *from, bool inverted)
{
    struct gram_set copy;
    gram_set_init(&copy, to->arena);
    TRY(add_spans(&copy, from->spans, from->n));
    if (inverted)
        TRY(gram_set_invert(&copy));
    return add_spans(to, copy.spans, copy.n);
}

/* \d \w \s and their opposites; the letter is taken. */
static int add_shorthand(struct gram_set *set, char letter)
{
    static const struct gram_span digits[] = { { '0', '9' } };
    static const struct gram_span words[] = { { '0', '9' }, { 'A', 'Z' }, { '_', '_' },
                                              { 'a', 'z' } };
    static const struct gram_span spaces[] = { { 9, 13 },           { ' ', ' ' },
                                               { 0xa0, 0xa0 },      { 0x1680, 0x1680 },
                                               { 0x2000, 0x200a },  { 0x2028, 0x2029 },
                                               { 0x202f, 0x202f },  { 0x205f, 0x205f },
                                               { 0x3000, 0x3000 },  { 0xfeff, 0xfeff } };
    struct gram_set part;
    char lower = (char)(letter | 0x20);
    gram_set_init(&part, set->arena);
    if (lower == 'd')
        TRY(add_spans(&part, digits, COUNT_OF(digits)));
    else if (lower == 'w')
        TRY(add_spans(&part, words, COUNT_OF(words)));
    else
        TRY(add_spans(&part, spaces, COUNT_OF(spaces)));
    gram_set_tidy(&part);
    return add_all(set, &part, letter != lower);
}

static const char *const categories[] = {
    "Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps",
    "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co",
}; /* in the order of utf8proc_category_t */

/* Which categories a name means: "L", "Lu", "Letter"; 0: not known. */
static uint32_t category_bits(const char *name, size_t len)
{
    static const char *const longs[][2] = { { "Letter", "L" },      { "Mark", "M" },
                                            { "Number", "N" },      { "Punctuation", "P" },
                                            { "Symbol", "S" },      { "Separator", "Z" },
                                            { "Other", "C" },       { "digit", "Nd" },
                                            { "Uppercase_Letter", "Lu" },
                                            { "Lowercase_Letter", "Ll" },
                                            { "Decimal_Number", "Nd" } };
    uint32_t bits = 0;
    for (size_t i = 0; i < COUNT_OF(longs); i++)
        if (strlen(longs[i][0]) == len && memcmp(longs[i][0], name, len) == 0) {
            name = longs[i][1];
            len = strlen(name);
        }
    for (uint32_t i = 0; i < COUNT_OF(categories); i++)
        if (len > 0 && len <= 2 && memcmp(categories[i], name, len) == 0)
            bits |= 1u << i;
    return bits;
}

/* \p{...}; the p is taken. */
static int add_property(struct regex *p, struct gram_set *set, bool inverted)
{
    struct gram_set part;
    gram_set_init(&part, set->arena);
    if (!take(p, '{'))
        return bad(p, "{ was expected after \\p");
    size_t begin = p->at;
    while (p->at < p->n && p->s[p->at] != '}')
        p->at++;
    uint32_t bits = category_bits(p->s + begin, p->at - begin);
    if (bits == 0 || !take(p, '}'))
        return refuse(p, "\\p{...} other than a general category");
    for (uint32_t cp = 0, lo = 0; cp <= GRAM_CHAR_MAX + 1; cp++) {
        bool in = cp <= GRAM_CHAR_MAX && (bits >> utf8proc_category((int32_t)cp) & 1) != 0;
        if (in)
            continue;
        if (lo < cp && gram_set_add(&part, lo, cp - 1) < 0)
            return full(p);
        lo = cp + 1;
    }
    return add_all(set, &part, inverted) < 0 ? full(p) : 0;
}

/* An escape that stands for itself, or is not known. */
static int read_plain_escape(struct regex *p, uint32_t *cp)
{
    char c = p->s[p->at];
    if (c >= '1' && c <= '9')
        return refuse(p, "a back reference");
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
        return refuse(p, "this escape");
    p->at += utf8_next(p->s + p->at, p->n - p->at, cp);
    return *cp != UTF8_INVALID ? 0 : bad(p, "bytes are no UTF-8");
}

/* After a backslash: one character in *cp, or (UTF8_INVALID) some added to the set. */
static int read_escape(struct regex *p, struct gram_set *set, uint32_t *cp)
{
    static const char from[] = "nrtfv0", to[] = "\n\r\t\f\v\0";
    *cp = UTF8_INVALID;
    if (p->at >= p->n)
        return bad(p, "the expression ends after \\");
    char c = p->s[p->at];
    const char *known = memchr(from, c, sizeof from - 1);
    p->at++;
    if (memchr("dDwWsS", c, 6) != NULL)
        return add_shorthand(set, c) < 0 ? full(p) : 0;
    if (c == 'p' || c == 'P')
        return add_property(p, set, c == 'P');
    if (c == 'x')
        return read_hex(p, 2, cp);
    if (c == 'u')
        return read_unicode(p, cp);
    p->at -= known == NULL;
    if (known == NULL)
        return read_plain_escape(p, cp);
    *cp = (uint8_t)to[known - from];
    return 0;
}

/* A character of a class, or several; then *cp is UTF8_INVALID. */
static int read_member(struct regex *p, struct gram_set *set, uint32_t *cp)
{
    if (p->at >= p->n)
        return bad(p, "a class does not end");
    if (take_word(p, "\\b")) {
        *cp = '\b';
        return 0;
    }
    if (take(p, '\\'))
        return read_escape(p, set, cp);
    if (peek(p, '[') && p->at + 1 < p->n && memchr(":.=", p->s[p->at + 1], 3) != NULL)
        return refuse(p, "a class by name ([:...:])");
    p->at += utf8_next(p->s + p->at, p->n - p->at, cp);
    return *cp != UTF8_INVALID ? 0 : bad(p, "bytes are no UTF-8");
}

static int read_class(struct regex *p, struct gast **out)
{
    struct gast *a = gast_new(p->arena, GAST_SET);
    bool inverted = take(p, '^');
    if (a == NULL)
        return full(p);
    if (peek(p, ']'))
        return bad(p, "a class is empty");
    while (!take(p, ']')) {
        uint32_t lo = 0, hi = 0;
        TRY(read_member(p, &a->set, &lo));
        if (lo == UTF8_INVALID)
            continue;
        hi = lo;
        if (peek(p, '-') && p->at + 1 < p->n && p->s[p->at + 1] != ']') {
            p->at++;
            TRY(read_member(p, &a->set, &hi));
            if (hi == UTF8_INVALID)
                return bad(p, "a range ends in a set");
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

/* --- the tree --------------------------------------------------------------------------------- */

static int read_alternatives(struct regex *p, struct gast **out);

static int read_group(struct regex *p, struct gast **out)
{
    if (++p->depth > GAST_GROUPS_MAX)
        return full(p);
    if (peek(p, '?') && !take_word(p, "?:")) {
        bool named = take_word(p, "?P<");
        if (!named && p->n - p->at > 2 && p->s[p->at + 2] != '=' && p->s[p->at + 2] != '!')
            named = take_word(p, "?<");
        if (!named)
            return refuse(p, "a group with (?...)");
        while (p->at < p->n && p->s[p->at] != '>')
            p->at++;
        if (!take(p, '>'))
            return bad(p, "the name of a group does not end");
    }
    TRY(read_alternatives(p, out));
    p->depth--;
    return take(p, ')') ? 0 : bad(p, ") was expected");
}

static int read_one(struct regex *p, struct gast **out)
{
    struct gast *a = gast_new(p->arena, GAST_SET);
    uint32_t cp = 0;
    int rc = 0;
    if (a == NULL)
        return full(p);
    *out = a;
    if (take(p, '.')) {
        if (gram_set_add(&a->set, '\n', '\n') < 0 || gram_set_add(&a->set, '\r', '\r') < 0 ||
            gram_set_add(&a->set, 0x2028, 0x2029) < 0 || gram_set_invert(&a->set) < 0)
            return full(p);
        return 0;
    }
    if (take(p, '\\')) {
        if (peek(p, 'b') || peek(p, 'B'))
            return refuse(p, "\\b");
        TRY(read_escape(p, &a->set, &cp));
    } else {
        p->at += utf8_next(p->s + p->at, p->n - p->at, &cp);
        rc = cp != UTF8_INVALID ? 0 : bad(p, "bytes are no UTF-8");
    }
    if (rc == 0 && cp != UTF8_INVALID && gram_set_add(&a->set, cp, cp) < 0)
        return full(p);
    gram_set_tidy(&a->set);
    return rc;
}

static int read_atom(struct regex *p, struct gast **out)
{
    if (take(p, '('))
        return read_group(p, out);
    if (take(p, '['))
        return read_class(p, out);
    bool start = take(p, '^') || take_word(p, "\\A");
    if (start || take(p, '$') || take_word(p, "\\z") || take_word(p, "\\Z")) {
        *out = gast_new(p->arena, start ? GAST_START : GAST_STOP);
        return *out != NULL ? 0 : full(p);
    }
    if (peek(p, '*') || peek(p, '+') || peek(p, '?'))
        return bad(p, "there is nothing to repeat");
    return read_one(p, out);
}

/* {m} {m,} {m,n}. False, and nothing taken: the brace is an ordinary character. */
static bool read_counts(struct regex *p, uint32_t *min, uint32_t *max)
{
    size_t begin = p->at;
    uint32_t x[2] = { 0, GRAM_NONE }, n = 0;
    bool digits = false, comma = false;
    for (p->at++; p->at < p->n; p->at++) {
        char c = p->s[p->at];
        if (c >= '0' && c <= '9') {
            x[n] = (!digits ? 0 : x[n]) * 10 + (uint32_t)(c - '0');
            x[n] = x[n] > GRAM_NODES_MAX ? GRAM_NODES_MAX : x[n];
            digits = true;
        } else if (c == ',' && !comma && digits) {
            comma = true;
            digits = false;
            n = 1;
        } else {
            break;
        }
    }
    if ((!digits && !comma) || !take(p, '}')) {
        p->at = begin;
        return false;
    }
    *min = x[0];
    *max = comma ? x[1] : x[0];
    return true;
}

static int read_quantifier(struct regex *p, struct gast **a)
{
    uint32_t min = 0, max = GRAM_NONE;
    if (take(p, '+'))
        min = 1;
    else if (take(p, '?'))
        max = 1;
    else if (!take(p, '*') && !(peek(p, '{') && read_counts(p, &min, &max)))
        return 0;
    if (max < min)
        return bad(p, "a repeat ends before it begins");
    if (take(p, '+'))
        return refuse(p, "a possessive repeat");
    (void)take(p, '?');
    if (peek(p, '*') || peek(p, '+') || peek(p, '?'))
        return bad(p, "there is nothing to repeat");
    struct gast *r = gast_new(p->arena, GAST_REPEAT);
    if (r == NULL || gast_add(p->arena, r, *a) < 0)
        return full(p);
    r->min = min;
    r->max = max;
    *a = r;
    return 0;
}

static int read_sequence(struct regex *p, struct gast **out)
{
    struct gast *cat = gast_new(p->arena, GAST_CAT);
    if (cat == NULL)
        return full(p);
    while (p->at < p->n && !peek(p, '|') && !peek(p, ')')) {
        struct gast *a = NULL;
        TRY(read_atom(p, &a));
        TRY(read_quantifier(p, &a));
        if (gast_add(p->arena, cat, a) < 0)
            return full(p);
    }
    *out = cat;
    return 0;
}

static int read_alternatives(struct regex *p, struct gast **out)
{
    struct gast *alt = gast_new(p->arena, GAST_ALT);
    if (alt == NULL)
        return full(p);
    do {
        struct gast *a = NULL;
        TRY(read_sequence(p, &a));
        if (gast_add(p->arena, alt, a) < 0)
            return full(p);
    } while (take(p, '|'));
    *out = alt;
    return 0;
}

/* --- anchors ---------------------------------------------------------------------------------- */

/* What lies on one side of a part: other parts, the edge with any text before it, or the edge. */
enum side { INNER, OPEN, CLOSED };

static struct gast *any_text(struct arena *arena)
{
    struct gast *set = gast_new(arena, GAST_SET), *r = gast_new(arena, GAST_REPEAT);
    if (set == NULL || r == NULL || gram_set_add(&set->set, 0, GRAM_CHAR_MAX) < 0 ||
        gast_add(arena, r, set) < 0)
        return NULL;
    r->max = GRAM_NONE;
    return r;
}

static int resolve(struct regex *p, struct gast *a, enum side left, enum side right,
                   struct gast **out);

static int odd_anchor(struct regex *p)
{
    return err_set(p->err, E_UNSUPPORTED, "regular expression: an anchor (^ or $) that is not at "
                                          "the edge cannot be used to constrain output");
}

/* A part without anchors, or nothing, between its edges. */
static int pad(struct regex *p, struct gast *a, enum side left, enum side right, struct gast **out)
{
    struct gast *cat = gast_new(p->arena, GAST_CAT);
    if (cat == NULL || (left == OPEN && gast_add(p->arena, cat, any_text(p->arena)) < 0) ||
        (a != NULL && gast_add(p->arena, cat, a) < 0) ||
        (right == OPEN && (a != NULL || left != OPEN) &&
         gast_add(p->arena, cat, any_text(p->arena)) < 0))
        return full(p);
    *out = cat;
    return 0;
}

static int resolve_sequence(struct regex *p, struct gast *a, enum side left, enum side right,
                            struct gast **out)
{
    uint32_t begin = 0, end = a->n_kids;
    for (; begin < end && a->kids[begin]->kind == GAST_START; begin++, left = CLOSED)
        if (left == INNER)
            return odd_anchor(p);
    for (; end > begin && a->kids[end - 1]->kind == GAST_STOP; end--, right = CLOSED)
        if (right == INNER)
            return odd_anchor(p);
    if (begin == end)
        return pad(p, NULL, left, right, out);
    struct gast *cat = gast_new(p->arena, GAST_CAT);
    if (cat == NULL)
        return full(p);
    for (uint32_t i = begin; i < end; i++) {
        struct gast *kid = NULL;
        TRY(resolve(p, a->kids[i], i == begin ? left : INNER, i + 1 == end ? right : INNER, &kid));
        if (gast_add(p->arena, cat, kid) < 0)
            return full(p);
    }
    *out = cat;
    return 0;
}

static int resolve(struct regex *p, struct gast *a, enum side left, enum side right,
                   struct gast **out)
{
    bool anchors = gast_has_anchor(a);
    if (!anchors && a->kind != GAST_ALT && a->kind != GAST_CAT)
        return pad(p, a, left, right, out);
    if (a->kind == GAST_CAT)
        return resolve_sequence(p, a, left, right, out);
    if (a->kind != GAST_ALT)
        return odd_anchor(p);
    struct gast *alt = gast_new(p->arena, GAST_ALT);
    if (alt == NULL)
        return full(p);
    for (uint32_t i = 0; i < a->n_kids; i++) {
        struct gast *kid = NULL;
        TRY(resolve(p, a->kids[i], left, right, &kid));
        if (gast_add(p->arena, alt, kid) < 0)
            return full(p);
    }
    *out = alt;
    return 0;
}

int gast_regex(struct gast **out, struct arena *arena, const char *s, size_t len, bool any_end,
               struct err *err)
{
    struct regex p = { .s = s, .n = len, .arena = arena, .err = err, .any_end = any_end };
    struct gast *a = NULL;
    enum side edge = any_end ? OPEN : CLOSED;
    TRY(read_alternatives(&p, &a));
    if (p.at < p.n)
        return bad(&p, ") is out of place");
    return resolve(&p, a, edge, edge, out);
}

int gram_from_regex(struct gram_source *s)
{
    struct gast *a = NULL;
    uint32_t root = gram_rule(s->g);
    TRY(gast_regex(&a, s->arena, s->p->source, s->p->source_len, false, s->err));
    gram_rule_body(s->g, root, gast_emit(s->g, a, GRAM_RAW, GRAM_END));
    return s->g->status;
}
