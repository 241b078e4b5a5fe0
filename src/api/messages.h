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

/* Writes the array as one JSON value. developer_is_system: templates that do not know "developer".
 * E_FORMAT, E_RANGE, E_UNSUPPORTED, E_LIMIT; what was written so far is then of no use. */
NODISCARD int api_messages_write(struct json_writer *w, const json_value *messages,
                                 bool developer_is_system, struct err *err);
/* The text of the last message as api_messages_write writes it, appended to out; the messages were
 * checked before. */
NODISCARD int api_messages_last_text(const json_value *messages, struct buf *out, struct err *err);

#endif
