/* Jinja's lexer is a set of regular expressions (jinja2 3.1, lexer.py); here the same language
 * by hand. */
#include "text/template_lex.h"

#include <string.h>

#include "base/utf8.h"

int tpl_lex_init(struct tpl_lexer *x, struct tpl *r, const char *source, size_t len)
{
    *x = (struct tpl_lexer){ .r = r, .line = 1, .line_starting = true };
    if (!utf8_valid(source, len))
        return tpl_fail(r, "the source is not UTF-8");
    if (memchr(source, '\0', len) != NULL)
        return tpl_fail(r, "the source holds a NUL byte");
    char *s = tpl_bytes(r, len + 1);
    if (s == NULL)
        return tpl_nomem(r);
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (source[i] == '\r' && i + 1 < len && source[i + 1] == '\n')
            continue;
        s[n++] = source[i] == '\r' ? '\n' : source[i];
    }
    if (n > 0 && s[n - 1] == '\n')
        n--;
    s[n] = '\0'; /* looking one or two bytes ahead needs no check */
    x->s = s;
    x->n = n;
    return 0;
}

static bool ahead(const struct tpl_lexer *x, size_t at, const char *what)
{
    size_t len = strlen(what);
    return x->n - at >= len && memcmp(x->s + at, what, len) == 0;
}

/* Bytes of white space from `at` on. */
static size_t space_from(const struct tpl_lexer *x, size_t at)
{
    size_t from = at;
    while (at < x->n) {
        uint32_t cp;
        size_t len = utf8_next(x->s + at, x->n - at, &cp);
        if (!tpl_is_space(cp))
            break;
        at += len;
    }
    return at - from;
}

/* End of text[from..to) without the white space at its end. */
static size_t rstrip(const char *s, size_t from, size_t to)
{
    while (to > from) {
        size_t at = to - 1;
        while (at > from && ((unsigned char)s[at] & 0xc0) == 0x80)
            at--;
        uint32_t cp;
        utf8_next(s + at, to - at, &cp);
        if (!tpl_is_space(cp))
            break;
        to = at;
    }
    return to;
}

static void advance(struct tpl_lexer *x, size_t to)
{
    ASSERT(to >= x->at && to <= x->n);
    for (size_t i = x->at; i < to; i++)
        x->line += x->s[i] == '\n';
    if (to > x->at)
        x->line_starting = x->s[to - 1] == '\n';
    x->at = to;
}

static int lex_fail(struct tpl_lexer *x, const char *what)
{
    x->r->line = x->line;
    return tpl_fail(x->r, "%s", what);
}

/* End of the data before a tag at `tag` with the given sign, after `-` or lstrip_blocks. */
static size_t data_end(const struct tpl_lexer *x, size_t tag, char sign, bool is_var)
{
    if (sign == '-')
        return rstrip(x->s, x->at, tag);
    if (sign == '+' || is_var)
        return tag;
    size_t from = tag;
    while (from > x->at && x->s[from - 1] != '\n')
        from--;
    if (from == x->at && !x->line_starting)
        return tag;
    return from + space_from(x, from) >= tag ? from : tag;
}

/* If a block tag that begins at `at` (behind its sign) is `word` and closes at once: the position
 * behind its closing "%}", with sign (may be '\0') telling how it closed; else 0. */
static size_t word_tag(const struct tpl_lexer *x, size_t at, const char *word, char *sign)
{
    at += space_from(x, at);
    if (!ahead(x, at, word))
        return 0;
    at += strlen(word);
    at += space_from(x, at);
    *sign = x->s[at] == '-' || x->s[at] == '+' ? x->s[at] : '\0';
    if (*sign != '\0')
        at++;
    return ahead(x, at, "%}") ? at + 2 : 0;
}

/* Behind a closing tag: what `-` or trim_blocks eats. */
static size_t behind_tag(const struct tpl_lexer *x, size_t at, char sign)
{
    if (sign == '-')
        return at + space_from(x, at);
    return sign != '+' && x->s[at] == '\n' && at < x->n ? at + 1 : at;
}

static int skip_comment(struct tpl_lexer *x)
{
    const char *end = memmem(x->s + x->at, x->n - x->at, "#}", 2);
    if (end == NULL)
        return lex_fail(x, "missing end of comment tag '#}'");
    size_t at = (size_t)(end - x->s);
    char sign = at > x->at ? x->s[at - 1] : '\0';
    advance(x, behind_tag(x, at + 2, sign));
    return 0;
}

static void put_data(struct tpl_lexer *x, size_t to, struct tpl_token *out)
{
    *out = (struct tpl_token){ .type = TPL_T_DATA, .text = x->s + x->at, .len = to - x->at,
                               .line = x->line };
}

/* The position of the next tag's "{", or the end. */
static size_t next_tag(const struct tpl_lexer *x)
{
    for (size_t at = x->at; at + 1 < x->n; at++)
        if (x->s[at] == '{' && strchr("%{#", x->s[at + 1]) != NULL)
            return at;
    return x->n;
}

/* Data up to the next tag, which is entered; the tag's token waits in the queue. */
static int lex_data(struct tpl_lexer *x, struct tpl_token *out)
{
    size_t tag = next_tag(x);
    if (tag == x->n) {
        put_data(x, x->n, out);
        advance(x, x->n);
        return 0;
    }
    char kind = x->s[tag + 1];
    size_t behind = tag + 2;
    char sign = x->s[behind] == '-' || x->s[behind] == '+' ? x->s[behind] : '\0';
    behind += sign != '\0';
    put_data(x, data_end(x, tag, sign, kind == '{'), out);
    char close = '\0';
    size_t raw = kind == '%' ? word_tag(x, behind, "raw", &close) : 0;
    if (raw != 0 && close != '+') {
        advance(x, close == '-' ? raw + space_from(x, raw) : raw);
        x->mode = TPL_LEX_RAW;
        return 0;
    }
    advance(x, behind);
    if (kind == '#')
        return skip_comment(x);
    x->mode = kind == '{' ? TPL_LEX_VAR : TPL_LEX_BLOCK;
    x->queued = (struct tpl_token){
        .type = kind == '{' ? TPL_T_VAR_BEGIN : TPL_T_BLOCK_BEGIN, .line = x->line
    };
    x->has_queued = true;
    return 0;
}

static int lex_raw(struct tpl_lexer *x, struct tpl_token *out)
{
    for (size_t tag = x->at; tag + 1 < x->n; tag++) {
        if (x->s[tag] != '{' || x->s[tag + 1] != '%')
            continue;
        size_t behind = tag + 2;
        char sign = x->s[behind] == '-' || x->s[behind] == '+' ? x->s[behind] : '\0';
        char close;
        size_t end = word_tag(x, behind + (sign != '\0'), "endraw", &close);
        if (end == 0)
            continue;
        put_data(x, data_end(x, tag, sign, false), out);
        advance(x, behind_tag(x, end, close));
        x->mode = TPL_LEX_DATA;
        return 0;
    }
    return lex_fail(x, "missing end of raw directive");
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool is_word(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (unsigned char)c >= 0x80;
}

/* Digits with single underscores between them, from `at`; the position behind. */
static size_t digits_from(const struct tpl_lexer *x, size_t at, const char *set)
{
    while (at < x->n && (strchr(set, x->s[at]) != NULL ||
                         (x->s[at] == '_' && x->s[at + 1] != '\0' &&
                          strchr(set, x->s[at + 1]) != NULL)))
        at++;
    return at;
}

#define DIGITS "0123456789"

/* The position behind a float at x->at, or 0: it needs a fraction or an exponent. */
static size_t float_end(const struct tpl_lexer *x)
{
    if (x->at > 0 && x->s[x->at - 1] == '.')
        return 0;
    size_t at = digits_from(x, x->at, DIGITS), whole = at;
    if (x->s[at] == '.' && is_digit(x->s[at + 1]))
        at = digits_from(x, at + 1, DIGITS);
    if (x->s[at] == 'e' || x->s[at] == 'E') {
        size_t exp = at + 1 + (x->s[at + 1] == '+' || x->s[at + 1] == '-');
        if (is_digit(x->s[exp]))
            at = digits_from(x, exp, DIGITS);
    }
    return at > whole ? at : 0;
}

static size_t int_end(const struct tpl_lexer *x)
{
    const char *s = x->s + x->at;
    if (s[0] != '0')
        return digits_from(x, x->at, DIGITS);
    char base = (char)(s[1] | 0x20);
    const char *set = base == 'x' ? "0123456789abcdefABCDEF" : base == 'o' ? "01234567"
                    : base == 'b' ? "01" : NULL;
    if (set != NULL) {
        size_t end = digits_from(x, x->at + 2, set);
        if (end > x->at + 2)
            return end;
    }
    return digits_from(x, x->at, "0");
}

static int lex_string(struct tpl_lexer *x, struct tpl_token *out)
{
    char quote = x->s[x->at];
    size_t at = x->at + 1;
    while (at < x->n && x->s[at] != quote)
        at += x->s[at] == '\\' ? 2 : 1;
    if (at >= x->n)
        return lex_fail(x, "a string does not end");
    *out = (struct tpl_token){ .type = TPL_T_STRING, .text = x->s + x->at + 1,
                               .len = at - x->at - 1, .line = x->line };
    advance(x, at + 1);
    return 0;
}

static int balance(struct tpl_lexer *x, char c)
{
    char text[64] = "unexpected ' '";
    text[12] = c;
    if (strchr("([{", c) != NULL) {
        if (x->n_brackets >= TPL_BRACKETS_MAX) {
            x->r->line = x->line;
            return tpl_limit(x->r, "brackets are nested deeper than allowed");
        }
        x->brackets[x->n_brackets++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (strchr(")]}", c) != NULL) {
        if (x->n_brackets == 0 || x->brackets[x->n_brackets - 1] != c)
            return lex_fail(x, text);
        x->n_brackets--;
    }
    return 0;
}

static int lex_op(struct tpl_lexer *x, struct tpl_token *out)
{
    static const char *const two[] = { "//", "**", "==", "!=", ">=", "<=" };
    for (size_t i = 0; i < COUNT_OF(two); i++) {
        if (!ahead(x, x->at, two[i]))
            continue;
        *out = (struct tpl_token){ .type = TPL_T_OP, .op = TPL_OP2(two[i][0], two[i][1]),
                                   .text = x->s + x->at, .len = 2, .line = x->line };
        advance(x, x->at + 2);
        return 0;
    }
    char c = x->s[x->at];
    if (c == '\0' || strchr("+-/*%~[](){}><=.:|,;", c) == NULL) {
        char text[] = "unexpected character '?'";
        text[22] = c > ' ' && c < 0x7f ? c : '?';
        return lex_fail(x, text);
    }
    TRY(balance(x, c));
    *out = (struct tpl_token){ .type = TPL_T_OP, .op = (uint32_t)c, .text = x->s + x->at, .len = 1,
                               .line = x->line };
    advance(x, x->at + 1);
    return 0;
}

/* The end of the tag at x->at, if it is there and no bracket is open. */
static bool lex_end(struct tpl_lexer *x, struct tpl_token *out)
{
    bool var = x->mode == TPL_LEX_VAR;
    if (x->n_brackets > 0)
        return false;
    char sign = x->s[x->at] == '-' || (!var && x->s[x->at] == '+') ? x->s[x->at] : '\0';
    size_t at = x->at + (sign != '\0');
    if (!ahead(x, at, var ? "}}" : "%}"))
        return false;
    *out = (struct tpl_token){ .type = var ? TPL_T_VAR_END : TPL_T_BLOCK_END, .line = x->line };
    advance(x, behind_tag(x, at + 2, var && sign == '\0' ? '+' : sign));
    x->mode = TPL_LEX_DATA;
    return true;
}

static int lex_tag(struct tpl_lexer *x, struct tpl_token *out)
{
    if (lex_end(x, out))
        return 0;
    size_t space = space_from(x, x->at);
    if (space > 0) {
        advance(x, x->at + space);
        if (lex_end(x, out))
            return 0;
    }
    if (x->at >= x->n) {
        *out = (struct tpl_token){ .type = TPL_T_EOF, .line = x->line };
        return 0;
    }
    char c = x->s[x->at];
    size_t end;
    enum tpl_token_type type;
    if (is_digit(c)) {
        end = float_end(x);
        type = end != 0 ? TPL_T_FLOAT : TPL_T_INT;
        end = end != 0 ? end : int_end(x);
    } else if (is_word(c)) {
        type = TPL_T_NAME;
        for (end = x->at; end < x->n && is_word(x->s[end]);)
            end++;
    } else if (c == '"' || c == '\'') {
        return lex_string(x, out);
    } else {
        return lex_op(x, out);
    }
    *out = (struct tpl_token){ .type = type, .text = x->s + x->at, .len = end - x->at,
                               .line = x->line };
    advance(x, end);
    return 0;
}

int tpl_lex_next(struct tpl_lexer *x, struct tpl_token *out)
{
    if (x->has_queued) {
        *out = x->queued;
        x->has_queued = false;
        return 0;
    }
    *out = (struct tpl_token){ .type = TPL_T_EOF, .line = x->line };
    if (x->mode == TPL_LEX_RAW)
        return lex_raw(x, out);
    if (x->mode != TPL_LEX_DATA)
        return lex_tag(x, out);
    return x->at < x->n ? lex_data(x, out) : 0;
}
