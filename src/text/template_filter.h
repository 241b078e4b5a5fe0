/* text/template_filter.h - the built-in filters, tests and methods, by name.
 *
 * Idea: flat tables of struct tpl_fn, searched once, when a template is parsed (methods: when
 * called).
 * Files: template_filter.c (sequences), template_filter_map.c (map, select, ...),
 * template_filter_text.c (strings), template_filter_num.c (numbers), template_is.c (tests),
 * template_method.c (methods of str, dict, ...), template_str.c (what those share),
 * template_format*.c (%, str.format, strftime).
 * Missing on purpose: random (a prompt must be reproducible), urlize, pprint, wordwrap. */
#ifndef TEXT_TEMPLATE_FILTER_H
#define TEXT_TEMPLATE_FILTER_H

#include "text/template_value.h"

const struct tpl_fn *tpl_filter_find(const char *name, size_t len);
const struct tpl_fn *tpl_test_find(const char *name, size_t len);
/* The method `name` of v's type. *known: the type has an attribute of that name in Python, and the
 * result is NULL where the sandbox forbids it or we do not have it. */
const struct tpl_fn *tpl_method_find(struct tpl_val v, const struct tpl_str *name, bool *known);

extern const struct tpl_fn TPL_FILTERS_SEQ[], TPL_FILTERS_MAP[], TPL_FILTERS_TEXT[],
    TPL_FILTERS_NUM[], TPL_TESTS[];

/* Applies the filter or test called `name` to v (map, select): an error if there is none. */
NODISCARD int tpl_filter_apply(struct tpl *r, struct tpl_val name, struct tpl_val v,
                               const struct tpl_args *args, struct tpl_val *out);
NODISCARD int tpl_test_apply(struct tpl *r, struct tpl_val name, struct tpl_val v,
                             const struct tpl_args *args, bool *out);

/* item.a.0.b for the path "a.0.b"; `otherwise` (or MISSING) stands in for undefined parts. */
NODISCARD int tpl_follow(struct tpl *r, struct tpl_val item, struct tpl_val path,
                         struct tpl_val otherwise, struct tpl_val *out);

/* --- shared by filters and methods ------------------------------------------------------------ */
enum tpl_case { TPL_LOWER, TPL_UPPER, TPL_CAPITALIZE, TPL_TITLE, TPL_SWAPCASE, TPL_CASEFOLD };
NODISCARD int tpl_str_case(struct tpl *r, const struct tpl_str *s, enum tpl_case how,
                           struct tpl_val *out);
/* Strips white space, or the characters in chars, on the sides (1 left, 2 right, 3 both). */
NODISCARD int tpl_str_strip(struct tpl *r, const struct tpl_str *s, const struct tpl_str *chars,
                            int sides, struct tpl_val *out);
NODISCARD int tpl_str_replace(struct tpl *r, const struct tpl_str *s, const struct tpl_str *from,
                              const struct tpl_str *to, int64_t max, struct tpl_val *out);
NODISCARD int tpl_str_lines(struct tpl *r, const struct tpl_str *s, bool keep_ends,
                            struct tpl_val *out);
/* Pads with fill to `width` characters: left of the text by `left` of the room (0 none, 1 half,
 * 2 all). */
NODISCARD int tpl_str_pad(struct tpl *r, struct tpl_str *s, int64_t width, uint32_t fill, int left,
                          struct tpl_val *out);
NODISCARD int tpl_str_reverse(struct tpl *r, const struct tpl_str *s, struct tpl_val *out);
NODISCARD int tpl_join(struct tpl *r, const struct tpl_str *sep, struct tpl_val *items, uint32_t n,
                       bool strict, struct tpl_val *out);
/* Python's str.islower and str.isupper. */
bool tpl_str_has_case(const struct tpl_str *s, bool upper);
/* A byte position where needle is, at or behind `from`; SIZE_MAX if nowhere. */
size_t tpl_str_find(const struct tpl_str *s, const struct tpl_str *needle, size_t from);

/* Sorts in place, stable, by (keys[i], items[i]). */
NODISCARD int tpl_sort(struct tpl *r, struct tpl_val *keys, struct tpl_val *items, uint32_t n,
                       bool reverse);

/* --- formatting ------------------------------------------------------------------------------- */
/* fmt % args */
NODISCARD int tpl_format_percent(struct tpl *r, const struct tpl_str *fmt, struct tpl_val args,
                                 struct tpl_val *out);
/* fmt.format(...) */
NODISCARD int tpl_format_braces(struct tpl *r, const struct tpl_str *fmt,
                                const struct tpl_args *args,
                                struct tpl_val *out);
/* Formats r->now, in UTC. */
NODISCARD int tpl_strftime(struct tpl *r, const struct tpl_str *fmt, struct tpl_val *out);

#endif
