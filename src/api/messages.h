/* api/messages.h - checks the messages of a conversation and writes them in one form.
 *
 * Idea: clients send content as a string, as parts or as null; templates want a string. This is the
 * one place that knows the difference (rules in api/chat.h). Messages of an error name the path.
 * Ownership: all borrowed for the call.   Threads: none.   Cost: linear. */
#ifndef API_MESSAGES_H
#define API_MESSAGES_H

#include <stdbool.h>

#include "base/err.h"
#include "base/json.h"

/* What a template knows. */
struct api_messages_how {
    bool developer_is_system; /* it does not know "developer" */
    bool args_as_text;        /* it wants arguments of calls as text, not as an object */
    /* It knows no tools: they are described in a system text, calls and results are written into
     * texts in the form of TEXT_TOOL_JSON. */
    bool plain_tools;
    const json_value *tools;  /* of plain_tools; NULL: none */
};

/* Writes the array as one JSON value. E_FORMAT, E_RANGE, E_UNSUPPORTED, E_LIMIT; what was written
 * so far is then of no use. */
NODISCARD int api_messages_write(struct json_writer *w, const json_value *messages,
                                 const struct api_messages_how *how, struct err *err);
bool api_messages_have_calls(const json_value *messages);
/* The text of the last message as api_messages_write writes it, appended to out; the messages were
 * checked before. */
NODISCARD int api_messages_last_text(const json_value *messages, struct buf *out, struct err *err);

#endif
