/* text/template.h - chat templates: a small, bounded Jinja.
 *
 * Idea: a model file carries a Jinja2 template that turns messages into the prompt text it was
 * trained on. Templates are somebody's input: the interpreter has no host objects, no attribute
 * of anything but its own values, and counts its steps, depth and output (specs/operations.md
 * R7, L8). Every byte of output knows its origin: the template's own text, or a stranger's (a
 * string that came in through the variables), through concatenation, slices, filters and tojson;
 * text/tokenizer.h uses that so that a message cannot forge a control token.
 *
 *     source --compile--> syntax tree (arena) --render(vars as JSON)--> text + origin bytes
 *
 * Ownership: the compiled template owns its tree. The variables are borrowed for the call.
 * Threads: a compiled template is immutable and may be shared; a render is one thread's.
 * Cost: linear in the steps taken, at most fuel. */
#ifndef TEXT_TEMPLATE_H
#define TEXT_TEMPLATE_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

struct text_template_limits {
    uint32_t source_max;  /* bytes of template */
    uint32_t fuel;        /* evaluation steps */
    uint32_t depth;       /* nesting of expressions and blocks; a render may run 4 x as deep */
    uint32_t output_max;  /* bytes rendered */
    uint32_t memory_max;  /* bytes of values alive during a render */
};
extern const struct text_template_limits TEXT_TEMPLATE_LIMITS; /* L8: 1 M steps, 64, 4 MiB */

struct text_template;

/* Parses a template the way Hugging Face does (trim_blocks, lstrip_blocks, loop controls).
 * E_FORMAT with the line number, E_UNSUPPORTED names the construct, E_LIMIT, E_NOMEM. */
NODISCARD int text_template_compile(struct text_template **out, const char *source, size_t len,
                                    const struct text_template_limits *limits, struct err *err);
void text_template_destroy(struct text_template *t);

struct text_rendered {
    struct buf text;
    struct buf origin; /* one byte a byte of text: 0 the template's, 1 a stranger's */
};

/* Renders with the members of the object `vars` as global variables (messages, tools,
 * add_generation_prompt, bos_token, eos_token, ...). Strings named in `trusted` (a
 * NULL-terminated list of top-level names such as "bos_token") count as the template's own. now:
 * Unix time for strftime_now (local zone UTC). `out` is initialised here and cleared on failure.
 * E_FORMAT (raise_exception: its message; type errors), E_LIMIT, E_NOMEM. */
NODISCARD int text_template_render(const struct text_template *t, const json_value *vars,
                                   const char *const *trusted, int64_t now,
                                   struct text_rendered *out, struct err *err);
void text_rendered_fini(struct text_rendered *r);

#endif
