/* text/template_lex.h - a template's source cut into tokens, in Jinja's way.
 *
 * Idea: outside of tags the source is data; inside it is names, numbers, strings and operators.
 * All of Jinja's whitespace rules live here: `-` strips on its side; trim_blocks eats the
 * newline behind a block or comment tag; lstrip_blocks eats blanks between the line's start and
 * such a tag; `+` switches that off; a last newline of the source is dropped; \r\n and \r are
 * \n.
 *
 *     "  {% if x %}\n a"   ->   BLOCK_BEGIN NAME(if) NAME(x) BLOCK_END DATA(" a")
 *
 * Ownership: tokens point into the normalised source, which is the caller's arena's.
 * Cost: linear, one token ahead. */
#ifndef TEXT_TEMPLATE_LEX_H
#define TEXT_TEMPLATE_LEX_H

#include "text/template_value.h"

enum tpl_token_type {
    TPL_T_EOF,
    TPL_T_DATA,
    TPL_T_VAR_BEGIN,
    TPL_T_VAR_END,
    TPL_T_BLOCK_BEGIN,
    TPL_T_BLOCK_END,
    TPL_T_NAME,
    TPL_T_STRING, /* text: between the quotes, escapes not yet resolved */
    TPL_T_INT,
    TPL_T_FLOAT,
    TPL_T_OP, /* op: the characters, e.g. '+', or two of them as in TPL_OP2('/', '/') */
};

#define TPL_OP2(a, b) ((uint32_t)(a) << 8 | (uint32_t)(b))

struct tpl_token {
    enum tpl_token_type type;
    uint32_t op;
    const char *text;
    size_t len;
    uint32_t line;
};

#define TPL_BRACKETS_MAX 256

struct tpl_lexer {
    struct tpl *r; /* errors */
    const char *s;
    size_t n, at;
    uint32_t line;
    enum { TPL_LEX_DATA, TPL_LEX_VAR, TPL_LEX_BLOCK, TPL_LEX_RAW } mode;
    bool line_starting;      /* the last thing matched ended with a newline */
    struct tpl_token queued; /* a tag's begin, behind its data */
    bool has_queued;
    uint32_t n_brackets;
    char brackets[TPL_BRACKETS_MAX];
};

/* Normalises the source into r's arena. E_FORMAT (not UTF-8), E_NOMEM. */
NODISCARD int tpl_lex_init(struct tpl_lexer *x, struct tpl *r, const char *source, size_t len);
NODISCARD int tpl_lex_next(struct tpl_lexer *x, struct tpl_token *out);

#endif
