/* Literals: strings with their escapes, and numbers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/template_parse.h"

/* --- literals --------------------------------------------------------------------------------- */

static int hex_escape(struct tpl_parser *p, const char *s, size_t n, size_t digits, uint32_t *cp)
{
    if (n < digits)
        return tpl_fail(p->r, "a string has a cut escape");
    *cp = 0;
    for (size_t i = 0; i < digits; i++) {
        char c = (char)(s[i] | 0x20);
        bool dec = s[i] >= '0' && s[i] <= '9';
        if (!dec && !(c >= 'a' && c <= 'f'))
            return tpl_fail(p->r, "a string has a cut escape");
        *cp = *cp << 4 | (uint32_t)(dec ? s[i] - '0' : c - 'a' + 10);
    }
    if (*cp > 0x10ffff || (*cp >= 0xd800 && *cp <= 0xdfff))
        return tpl_fail(p->r, "a string escape is no character: U+%X", *cp);
    return 0;
}

/* The escape behind a backslash at s[0]; *used tells how many bytes it took, *cp what it means. An
 * unknown escape keeps its backslash, as in Python: *used is 0. */
static int read_escape(struct tpl_parser *p, const char *s, size_t n, size_t *used, uint32_t *cp)
{
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    const char *known = strchr(from, s[0]);
    *used = 1;
    if (known != NULL && s[0] != '\0') {
        *cp = (uint32_t)to[known - from];
        return 0;
    }
    if (s[0] >= '0' && s[0] <= '7') {
        *cp = 0;
        for (*used = 0; *used < 3 && *used < n && s[*used] >= '0' && s[*used] <= '7'; (*used)++)
            *cp = *cp * 8 + (uint32_t)(s[*used] - '0');
        return 0;
    }
    size_t digits = s[0] == 'x' ? 2 : s[0] == 'u' ? 4 : s[0] == 'U' ? 8 : 0;
    *used = digits != 0 ? digits + 1 : 0;
    if (s[0] == 'N')
        return err_set_field(p->r->err, E_UNSUPPORTED, "chat template",
                             "chat template line %u: \\N{...} in a string; write \\u...",
                             p->cur.line);
    return digits != 0 ? hex_escape(p, s + 1, n - 1, digits, cp) : 0;
}

static int put_string(struct tpl_parser *p, struct tpl_sb *b)
{
    const char *s = p->cur.text;
    size_t n = p->cur.len, done = 0;
    p->r->line = p->cur.line;
    for (size_t i = 0; i < n;) {
        if (s[i] != '\\' || i + 1 >= n) {
            i++;
            continue;
        }
        tpl_sb_put(b, s + done, i - done, 0);
        done = i;
        if (s[i + 1] == '\n') { /* a continued line */
            done = i += 2;
            continue;
        }
        size_t used;
        uint32_t cp = 0;
        TRY(read_escape(p, s + i + 1, n - i - 1, &used, &cp));
        i += 1 + used;
        if (used > 0) {
            tpl_sb_char(b, cp, 0);
            done = i;
        }
    }
    tpl_sb_put(b, s + done, n - done, 0);
    return 0;
}

/* Strings side by side are one. */
int tpl_p_string(struct tpl_parser *p, struct tpl_node **out)
{
    struct tpl_sb b;
    tpl_sb_init(&b, p->r);
    TRY(tpl_p_node(p, TPL_N_CONST, out));
    while (p->cur.type == TPL_T_STRING) {
        TRY(put_string(p, &b));
        TRY(tpl_p_next(p));
    }
    TRY(tpl_sb_done(&b, &(*out)->val));
    tpl_str_chars((*out)->val.s); /* counted now: renders share the tree and must not write to it */
    return 0;
}

int tpl_p_number(struct tpl_parser *p, struct tpl_node **out)
{
    char text[64];
    size_t n = 0;
    p->r->line = p->cur.line;
    for (size_t i = 0; i < p->cur.len; i++) {
        if (p->cur.text[i] == '_')
            continue;
        if (n + 1 >= sizeof text)
            return tpl_fail(p->r, "a number has too many digits");
        text[n++] = p->cur.text[i];
    }
    text[n] = '\0';
    TRY(tpl_p_node(p, TPL_N_CONST, out));
    if (p->cur.type == TPL_T_FLOAT) {
        (*out)->val = tpl_float(strtod(text, NULL));
        return tpl_p_next(p);
    }
    char base = n > 1 ? (char)(text[1] | 0x20) : '\0';
    int radix = base == 'x' ? 16 : base == 'o' ? 8 : base == 'b' ? 2 : 10;
    errno = 0;
    long long value = strtoll(text + (radix != 10 ? 2 : 0), NULL, radix);
    if (errno == ERANGE)
        return tpl_fail(p->r, "the integer %s does not fit 64 bits", text);
    (*out)->val = tpl_int(value);
    return tpl_p_next(p);
}
