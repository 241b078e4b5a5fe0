/* api/tools.h - the tools of a request, what they ask of the answer, and the calls a model wrote.
 *
 * Idea: tools are checked once and handed to the template as they came. tool_choice "required" or
 * a function's name becomes a constraint: the marks of the format the model writes calls in, and
 * between them arguments as the tool's schema describes them (TEXT_GRAMMAR_CALLS).
 *
 *     tools, tool_choice --read--> struct api_tools --force--> [{"begin","schema","end","path"}]
 *     what the model writes --text/toolcall.h--> struct api_call_list
 *
 * Ownership: api_tools points into the request's tree; a list owns its texts.
 * Threads: none.   Cost: linear. */
#ifndef API_TOOLS_H
#define API_TOOLS_H

#include "api/field.h"
#include "base/buf.h"
#include "text/toolcall.h"

#define API_TOOLS_MAX 128
#define API_TOOL_NAME_MAX 64

enum api_tool_choice { API_TOOL_AUTO, API_TOOL_REQUIRED, API_TOOL_NAMED };

struct api_tools {
    const json_value *list;      /* NULL: none are offered */
    enum api_tool_choice choice;
    uint32_t named;              /* index of the one that must be called */
    bool one;                    /* the answer ends after its first call */
};

/* Checks the three members (NULL: absent). E_FORMAT, E_RANGE, E_UNSUPPORTED, E_LIMIT naming the
 * path. choice "none": nothing is offered, tools are not looked at. */
NODISCARD int api_tools_read(struct api_tools *t, const json_value *tools,
                             const json_value *choice, const json_value *parallel,
                             struct err *err);
/* The calls an answer must be one of, as JSON for TEXT_GRAMMAR_CALLS; json_free it. E_UNSUPPORTED
 * for a format whose marks are control tokens, E_NOMEM. */
NODISCARD int api_tools_force(const struct api_tools *t, enum text_tool_format format,
                              json_value **out, struct err *err);

/* A call, or the piece of it that has come. */
struct api_call_part {
    uint32_t index;
    bool begins;                 /* name and id are told */
    char id[40];
    struct engine_str name, args;
};

/* Calls of a whole answer. */
struct api_call_list {
    struct api_call_part *parts;
    uint32_t n, cap;
    struct buf text;             /* name, arguments, name ... */
};
void api_call_list_init(struct api_call_list *l, size_t max);
void api_call_list_fini(struct api_call_list *l);
NODISCARD int api_call_list_add(struct api_call_list *l, const struct api_call_part *part);
/* Points the parts at their texts; nothing may be added afterwards. */
void api_call_list_finish(struct api_call_list *l);

#endif
