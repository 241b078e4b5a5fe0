/* text/toolcall.h - tool calls and thoughts in what a model writes, recognised while it writes.
 *
 * Idea: each model family marks calls in its own way. A parser takes the bytes as they come, cut
 * anywhere, and says what they are: text for the reader, a thought, the name of a call, a piece of
 * its arguments. Held back is only what may still become a mark.
 *
 *     bytes --put--> [held] --marks of the format--> TEXT | THOUGHT | BEGIN name | ARGS piece | END
 *
 *     TEXT_TOOL_JSON      <tool_call>{"name","arguments"}</tool_call>  (Hermes, Qwen), or inside
 *                         <function=name><parameter=key>value</parameter></function> (Qwen coder)
 *     TEXT_TOOL_LLAMA     the answer is {"name","parameters"}, more behind ";"; <|python_tag|>
 *     TEXT_TOOL_MISTRAL   [TOOL_CALLS][{"name","arguments"},...] or [TOOL_CALLS]name[ARGS]{...}
 *     TEXT_TOOL_DEEPSEEK  V3 (function, name, ```json) and V3.1 (name, separator, arguments)
 *     TEXT_TOOL_KIMI      sections with functions.name:0
 *     TEXT_TOOL_HARMONY   channels: analysis is thought, final is text, to=functions.name a call
 *
 * A thought stands between <think> and </think> in all but harmony.
 * Invariants: how the bytes were cut changes only how pieces are cut; texts, thoughts and arguments
 *     of a call joined are the same. Arguments are the model's own bytes (of the XML form: JSON
 *     written from its parameters). What looks like a call and is none comes out as text.
 * Ownership: events point into the parser, for the call of fn.   Threads: one at a time.
 * Cost: linear in all but the marks that are looked for; held are at most one mark, a name, or a
 * call until its name and the beginning of its arguments are known (the XML form: to its end). */
#ifndef TEXT_TOOLCALL_H
#define TEXT_TOOLCALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum text_tool_format {
    TEXT_TOOL_NONE, /* thoughts only */
    TEXT_TOOL_JSON,
    TEXT_TOOL_LLAMA,
    TEXT_TOOL_MISTRAL,
    TEXT_TOOL_DEEPSEEK,
    TEXT_TOOL_KIMI,
    TEXT_TOOL_HARMONY,
};

enum text_tool_kind { TEXT_TOOL_TEXT, TEXT_TOOL_THOUGHT, TEXT_TOOL_BEGIN, TEXT_TOOL_ARGS,
                      TEXT_TOOL_END };

struct text_tool_event {
    enum text_tool_kind kind;
    const char *text;      /* text, thought, name or piece of arguments */
    size_t len;
    uint32_t call;         /* 0, 1 ...: which call; of BEGIN, ARGS, END */
};
typedef void (*text_tool_fn)(void *ctx, const struct text_tool_event *ev);

/* "json", "llama", "mistral", "deepseek", "kimi", "harmony", "none"; E_NOT_FOUND. */
NODISCARD int text_tool_format_named(const char *name, enum text_tool_format *out);
const char *text_tool_format_name(enum text_tool_format format);
/* The format a chat template speaks, by the marks in its source; NONE if it has none of them. */
enum text_tool_format text_tool_format_of(const char *source, size_t len);

struct text_toolcall;
/* thinks: the prompt ended inside a thought (the template wrote <think>). E_NOMEM. */
NODISCARD int text_toolcall_create(struct text_toolcall **out, enum text_tool_format format,
                                   bool thinks, text_tool_fn fn, void *ctx);
void text_toolcall_destroy(struct text_toolcall *p); /* NULL is fine */
/* E_NOMEM, E_LIMIT (a call's head of more than 1 MiB). */
NODISCARD int text_toolcall_put(struct text_toolcall *p, const char *bytes, size_t len);
/* The answer is over: what is held comes out; a call that is open ends. */
NODISCARD int text_toolcall_end(struct text_toolcall *p);

#endif
