/* text/template_print.h - values to text and back: str(), repr(), JSON.
 *
 * Idea: what a template prints must be what Python would print, byte for byte: floats in their
 * shortest form, containers as repr, None and True by name; tojson as json.dumps with
 * ensure_ascii off. The contents of strings keep their origin through all of it; punctuation is
 * the template's.
 * Cost: linear in the text made; nesting is bounded by the render's levels. */
#ifndef TEXT_TEMPLATE_PRINT_H
#define TEXT_TEMPLATE_PRINT_H

#include "base/json.h"
#include "text/template_value.h"

#define TPL_FLOAT_TEXT 40
/* Python's repr of a float: "1.0", "1e-05", "inf". */
void tpl_float_text(double f, char out[TPL_FLOAT_TEXT]);

/* Appends str(v): strings as they are, undefined as nothing. */
NODISCARD int tpl_put_str(struct tpl_sb *b, struct tpl_val v);
/* Appends repr(v). */
NODISCARD int tpl_put_repr(struct tpl_sb *b, struct tpl_val v);
/* v as a string value; a string stays itself. */
NODISCARD int tpl_to_str(struct tpl *r, struct tpl_val v, struct tpl_val *out);
/* Appends s with & < > ' " escaped for HTML. */
void tpl_put_escaped(struct tpl_sb *b, const struct tpl_str *s);

/* json.dumps(v, ensure_ascii, indent, separators, sort_keys). */
struct tpl_json_style {
    bool ascii, sort_keys;
    const struct tpl_str *indent; /* one level; NULL: all on one line */
    const struct tpl_str *item_sep, *key_sep; /* NULL: Python's defaults */
};
NODISCARD int tpl_put_json(struct tpl_sb *b, struct tpl_val v, const struct tpl_json_style *style);

/* A parsed JSON value as a template value; its strings carry `origin`. Borrows the text of j. */
NODISCARD int tpl_from_json(struct tpl *r, const json_value *j, uint8_t origin,
                            struct tpl_val *out);

#endif
