/* text/grammar_compile.h - what each kind of constraint offers to text/grammar.c. */
#ifndef TEXT_GRAMMAR_COMPILE_H
#define TEXT_GRAMMAR_COMPILE_H

#include "text/grammar.h"
#include "text/grammar_ir.h"

/* Each fills g, rule 0 being the root; the error is the builder's or *err. names: of rules, from
 * the arena, may stay NULL. */
struct gram_source {
    const struct text_grammar_params *p;
    struct gram *g;
    struct arena *arena;
    const char **names;
    struct err *err;
};
NODISCARD int gram_from_gbnf(struct gram_source *s);
NODISCARD int gram_from_regex(struct gram_source *s);
NODISCARD int gram_from_choices(struct gram_source *s);
NODISCARD int gram_from_schema(struct gram_source *s);
/* The body of a rule: what a schema describes. */
NODISCARD int gram_schema_rule(struct gram_source *s, const json_value *schema, uint32_t rule);

#endif
