/* text/grammar_schema.h - JSON schema (draft 2020-12) to the common form (grammar_schema*.c only).
 *
 * Idea: a place in the answer must satisfy several schemas at once: the one written there, what it
 * refers to, all of its allOf. Such a set is a *conjunction*; it becomes one rule, made once for
 * equal sets, which is also how recursion ends. anyOf and oneOf split a conjunction into one for
 * each branch. What is left speaks of types, and each type has its own file.
 *
 *     { "$ref": "#/$defs/a", "maxLength": 3 }  ->  { that schema, #/$defs/a, its allOf ... }
 *         -> { ... , branch 0 } | { ... , branch 1 }  ->  string | number | array | object | ...
 *
 * Nothing recurses by the depth of a schema: rules wait in a list until their body is made.
 * docs/constrained.md lists the keywords. A keyword that cannot be held is refused by name, with
 * the path to it; a schema is never held in part.
 *
 * Not decided here but said: the members of an object come in the order they are declared in, then
 * those that are required and not declared, then others; names of others may repeat. */
#ifndef TEXT_GRAMMAR_SCHEMA_H
#define TEXT_GRAMMAR_SCHEMA_H

#include "base/map.h"
#include "text/grammar_ast.h"
#include "text/grammar_compile.h"

#define SCHEMA_ITEMS_MAX 64      /* schemas in one conjunction */
#define SCHEMA_PATH_MAX 120
#define SCHEMA_DEPTH_MAX 32      /* L7 */
#define SCHEMA_DIGITS_MAX 16     /* of a number, and of its fraction, unless open */

enum {
    TYPE_NULL = 1, TYPE_BOOL = 2, TYPE_NUMBER = 4, TYPE_STRING = 8, TYPE_ARRAY = 16,
    TYPE_OBJECT = 32, TYPE_ANY = 63,
};

struct schema_item {
    const json_value *v;         /* an object */
    const char *path;
};

struct conj {
    struct schema_item items[SCHEMA_ITEMS_MAX];
    const json_value *resolved[SCHEMA_ITEMS_MAX]; /* anyOf and oneOf a branch was chosen of */
    uint32_t n, n_resolved;
    bool never;                  /* false is among them */
    uint32_t rule, depth;
};

struct schema {
    struct gram_source *src;
    struct gram *g;
    struct arena *arena;
    struct err *err;
    const json_value *root;
    bool open, compact, one_of_as_any;
    struct map rules;            /* by items and resolved */
    struct conj **todo;
    uint32_t n_todo, cap_todo;
    uint32_t ws, string, chr, value; /* shared rules; GRAM_NONE until asked for */
};

/* --- conjunctions (grammar_schema.c) --- */
struct conj *conj_new(struct schema *s, uint32_t depth);
/* Adds a schema (object or boolean). path: of it. E_FORMAT, E_LIMIT. */
NODISCARD int conj_add(struct schema *s, struct conj *c, const json_value *v, const char *path);
/* The rule of a conjunction, made later if it is new; GRAM_NONE if nothing satisfies it. */
NODISCARD int conj_rule(struct schema *s, struct conj *c, uint32_t *rule);
/* "path.key" or "path[i]", in the arena. */
const char *schema_path(struct schema *s, const char *path, const char *key);
const char *schema_path_at(struct schema *s, const char *path, size_t i);
int schema_wrong(struct schema *s, int code, const char *path, const char *key,
                 const char *what);
/* A count such as minItems: *out untouched if absent. */
NODISCARD int schema_count(struct schema *s, const struct schema_item *item, const char *key,
                           uint32_t *out);
/* The strictest of all: the largest least or smallest most value. */
NODISCARD int conj_counts(struct schema *s, const struct conj *c, const char *least,
                          const char *most, uint32_t range[2]);
uint32_t schema_ws(struct schema *s, uint32_t next);      /* white space as the policy has it */
uint32_t schema_char(struct gram *g, uint32_t next);      /* a character, written in any way */
uint32_t schema_string(struct schema *s, uint32_t next);  /* any string */
uint32_t schema_value(struct schema *s);                  /* the rule of any value */
/* A value spelt out. */
uint32_t schema_literal(struct schema *s, const json_value *v, uint32_t next);

/* --- one type each: the node that begins a value, ending in GRAM_END --- */
NODISCARD int schema_emit_string(struct schema *s, const struct conj *c, uint32_t *out);
NODISCARD int schema_emit_number(struct schema *s, const struct conj *c, bool integer,
                                 uint32_t *out);
NODISCARD int schema_emit_array(struct schema *s, const struct conj *c, uint32_t *out);
NODISCARD int schema_emit_object(struct schema *s, const struct conj *c, uint32_t *out);
NODISCARD int schema_emit_values(struct schema *s, const struct conj *c, unsigned types,
                                 bool integer, uint32_t *out); /* enum and const */

/* --- regular parts --- */
/* The parts of a string's conjunction: patterns, formats, lengths, each ending in its mark (with
 * g->flat), or in `end` if that is a node. */
#define SCHEMA_PARTS_MAX 30
struct schema_parts {
    uint32_t starts[SCHEMA_PARTS_MAX + 2], n, end;
};
NODISCARD int schema_string_parts(struct schema *s, const struct conj *c, struct schema_parts *p);
/* Whether the flat graph that begins at start matches the whole text. */
bool schema_flat_match(const struct gram *g, uint32_t start, const char *text, size_t len);

/* --- keywords (grammar_schema_words.c) --- */
/* E_UNSUPPORTED, E_FORMAT with the path of the keyword. */
NODISCARD int schema_check_words(struct schema *s, const struct schema_item *item);
unsigned schema_implied_types(const json_value *v);
NODISCARD int schema_types(struct schema *s, const struct schema_item *item, unsigned *types,
                           bool *integer);
/* The schema a $ref points to, and its path. */
NODISCARD int schema_resolve(struct schema *s, const struct schema_item *item,
                             struct schema_item *out);
/* Whether no value can satisfy both branches of a oneOf. */
bool schema_disjoint(struct schema *s, const struct schema_item *a, const struct schema_item *b);
bool schema_equal(const json_value *a, const json_value *b);

#endif
