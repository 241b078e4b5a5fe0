/* text/template_format.h - one value, formatted: what "%5.1f" and "{:>5}" have in common.
 *
 * Idea: both syntaxes are read into a struct tpl_spec (template_format_percent.c,
 * template_format_braces.c); one routine here obeys it.   Cost: linear in the text made. */
#ifndef TEXT_TEMPLATE_FORMAT_H
#define TEXT_TEMPLATE_FORMAT_H

#include "text/template_value.h"

struct tpl_spec {
    uint32_t fill;
    char align;    /* '<' '>' '^', '=' (between sign and digits) or NUL: by the value */
    char sign;     /* '+', ' ' or '-' */
    bool alt;      /* "#" */
    bool zero;
    char comma;    /* ',' '_' or NUL */
    int64_t width;
    int precision; /* -1: none */
    char type;     /* NUL: by the value */
};

/* Appends str(v), cut to the precision and padded; `align` is used where the spec has none. */
NODISCARD int tpl_put_padded(struct tpl_sb *b, struct tpl_val v, const struct tpl_spec *f,
                             char align);
/* Appends v by the type of the spec; fails where they do not fit. */
NODISCARD int tpl_put_formatted(struct tpl_sb *b, struct tpl_val v, const struct tpl_spec *f);

#endif
