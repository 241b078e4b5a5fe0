/* api/chat.h - a conversation becomes the token ids the model was trained to continue.
 *
 * Idea: a model file carries a template that writes messages as text. It is compiled once. For each
 * request the messages are checked and written in one form (content always a string), rendered, and
 * encoded; each byte remembers whether the template or a stranger wrote it, and control tokens are
 * recognised only in the template's own bytes. No HTTP here: the command line uses it too.
 *
 *     messages --check, flatten--> vars --template--> text + origin --tokenizer--> ids
 *
 * Messages: an array of objects with `role` (system, developer, user, assistant, tool,
 * function) and `content`: a string, or an array of parts {"type":"text","text"} (and for the
 * assistant {"type":"refusal","refusal"}), which are joined by newlines. Other parts are refused by
 * name. The assistant's `tool_calls` reach the template with the content ("" if there is none),
 * their arguments as an object or as the text they came as, whichever it handles. For a template
 * that knows no tools they are described in a system text (messages.c), in the form of Hermes.
 * `name`, `tool_call_id` and `reasoning_content` reach the template when they are strings.
 * "developer" becomes "system" unless the template knows the word.
 *
 * A model without a template gets this one: the system text and an empty line, then "User: ..." and
 * "Assistant: ..." lines; api_chat_stop is then "\nUser:", since such a model knows no end of turn.
 *
 * Ownership: the chat owns the compiled template and borrows tokenizer and clock, which must
 * outlive it.   Threads: immutable after create, shared freely.
 * Cost: linear, within L4 and L8. */
#ifndef API_CHAT_H
#define API_CHAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "text/template.h"
#include "text/tokenizer.h"
#include "text/toolcall.h"

#define API_MESSAGES_MAX 1024 /* L4 */

struct api_chat;

/* source: the template of the model file; NULL or len 0: the plain one above. E_FORMAT,
 * E_UNSUPPORTED, E_LIMIT with err naming line and construct, E_NOMEM. */
NODISCARD int api_chat_create(struct api_chat **out, const struct text_tokenizer *tokenizer,
                              const char *source, size_t len, const struct clock *clock,
                              struct err *err);
void api_chat_destroy(struct api_chat *c); /* NULL is fine */
/* Text that must end an answer although the model may go on, or NULL. Lives for ever. */
const char *api_chat_stop(const struct api_chat *c);
bool api_chat_has_template(const struct api_chat *c); /* the model brought its own */
/* The form in which the model writes calls: as its template tells, unless it was set. Setting is
 * for before the chat is shared. NONE: calls are not read. */
enum text_tool_format api_chat_tools(const struct api_chat *c);
void api_chat_set_tools(struct api_chat *c, enum text_tool_format format);
/* The model writes thoughts apart from its answer. */
bool api_chat_thinks(const struct api_chat *c);
/* The prompt ends inside a thought. */
bool api_chat_in_thought(const struct text_rendered *prompt);

/* What a conversation is rendered with. */
struct api_chat_input {
    const json_value *messages;
    bool add_generation_prompt;  /* the text ends where the assistant begins to speak */
    bool continue_final;         /* ... or in the middle of the last message, to be continued */
    const json_value *kwargs;    /* object of scalars the template may read, or NULL */
    const char *reasoning_effort; /* or NULL */
    const json_value *tools;     /* array, checked (api/tools.h), or NULL */
};

/* The prompt as text. err->field is the path of what is at fault ("messages[2].content").
 * E_FORMAT, E_RANGE, E_UNSUPPORTED, E_LIMIT, E_NOMEM. `out` is untouched on failure. */
NODISCARD int api_chat_text(const struct api_chat *c, const struct api_chat_input *in,
                            struct text_rendered *out, struct err *err);
/* Appends the ids of a rendered prompt. */
NODISCARD int api_chat_encode(const struct api_chat *c, const struct text_rendered *text,
                              struct text_ids *out, struct err *err);
/* Both in one, with nothing special asked for. */
NODISCARD int api_chat_render(const struct api_chat *c, const json_value *messages,
                              bool add_generation_prompt, struct text_ids *out, struct err *err);

#endif
