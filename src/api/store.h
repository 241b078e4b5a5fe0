/* api/store.h - answers of the Responses route, kept for a while.
 *
 * Idea: a client may go on from an answer by its id instead of sending the conversation again
 * (previous_response_id), read it again, or delete it. They are kept in memory only, up to a number
 * and a size; the oldest goes first. Each belongs to a tenant, and no other finds it.
 *
 *     ring  [ resp_3 | resp_4 | resp_5 | ... ]     oldest first
 *
 * Ownership: put copies; get appends copies.   Threads: any; one lock.
 * Cost: a look-up walks the ring: at most n_max comparisons of short texts. */
#ifndef API_STORE_H
#define API_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct api_store;

/* n_max 0: keeps nothing. E_NOMEM. */
NODISCARD int api_store_create(struct api_store **out, uint32_t n_max, size_t bytes_max);
void api_store_destroy(struct api_store *s); /* NULL is fine */

/* What is kept of one answer; each a JSON text. */
enum api_stored {
    API_STORED_RESPONSE,
    API_STORED_CONVERSATION,
    API_STORED_INPUT,
    API_STORED_COUNT
};
struct api_store_entry {
    const char *id, *tenant;
    struct {
        const char *data;
        size_t len;
    } texts[API_STORED_COUNT];
};

/* Keeps an answer; one too large for the whole store, or for which there is no memory, is not kept:
 * false. */
bool api_store_put(struct api_store *s, const struct api_store_entry *e);
/* E_NOT_FOUND, E_NOMEM. */
NODISCARD int api_store_get(struct api_store *s, const char *id, const char *tenant,
                            enum api_stored what, struct buf *out);
/* E_NOT_FOUND. */
NODISCARD int api_store_delete(struct api_store *s, const char *id, const char *tenant);

#endif
