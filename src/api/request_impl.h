/* api/request_impl.h - what the readers of the dialects share; for the request*.c files only.
 *
 * Idea: Responses and Messages write a conversation, its tools and the form of the answer in their
 * own way. Their readers check that way, and write it again in the form of a chat completion; from
 * there on there is one reader. Plain values (temperature ...) go straight into the struct.
 *
 *     body --fields of the dialect--> struct api_request
 *       \--conversation--> {"messages","tools","tool_choice",...} --rows of chat--> struct */
#ifndef API_REQUEST_IMPL_H
#define API_REQUEST_IMPL_H

#include "api/request.h"

#define API_TOKENS_MAX 2147483647.0

bool api_is_word(const json_value *v, const char *word);
NODISCARD int api_read_rows(const struct api_field *rows, size_t n, const json_value *object,
                            struct api_request *r, struct err *err);
/* Parse functions of rows. */
int api_parse_stop(void *target, const json_value *v, const char *path, struct err *err);
int api_parse_top_k(void *target, const json_value *v, const char *path, struct err *err);
int api_parse_seed(void *target, const json_value *v, const char *path, struct err *err);

/* "LIST[i]", and in it "content[part]" if part >= 0. */
struct api_place {
    const char *list;
    size_t i;
    int part;
};
/* E_* with the path of a place, or of a member of it. */
int api_item_wrong(struct err *err, int code, struct api_place at, const char *name,
                   const char *text);
/* The string at a member, or NULL. */
const char *api_member_text(const json_value *v, const char *name, size_t *len);

/* Each reads r->tree and writes the members of a chat body. */
NODISCARD int api_read_messages(struct api_request *r, struct json_writer *w, struct err *err);
NODISCARD int api_read_responses(struct api_request *r, struct json_writer *w, struct err *err);

#endif
