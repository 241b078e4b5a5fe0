/* api/call.h - what the routes share: the server, one call, and ways to answer it.
 *
 * Idea: a route is a function of a call. It answers at once (call_reply, call_fail) or makes a job,
 * which is pumped whenever the engine has something.
 * Threads: one a call at a time. */
#ifndef API_CALL_H
#define API_CALL_H

#include <stdatomic.h>

#include "api/chat.h"
#include "api/error.h"
#include "api/job.h"
#include "api/keys.h"
#include "api/metrics.h"
#include "api/route.h"
#include "api/server.h"
#include "api/store.h"
#include "net/http.h"

/* A listener's way into the server. */
struct api_front {
    struct api_server *s;
    bool admin;
};

struct api_server {
    struct api_params p;
    struct api_front front, admin_front;
    struct net_http *admin; /* NULL: no admin socket */
    struct engine_info info;
    struct net_http *net;
    struct api_chat *chat;
    struct api_store *store;
    struct api_constraints *constraints;
    char fingerprint[17];
    _Atomic uint64_t n_requests;
    _Atomic bool draining;
    uint64_t started_ns;
    struct api_meter meter;
};

struct api_call {
    struct api_server *s;
    struct net_call *net;
    const struct api_route *route; /* NULL: none */
    struct api_job *job;    /* a generation; NULL: none */
    struct api_embed *embed; /* embeddings; NULL: none */
    bool streaming;
    char request_id[65];
    bool admin;             /* came through the admin socket */
    char tenant[65];        /* whose request it is; "": nobody's */
    struct api_key *key;    /* NULL: there are no keys, or the route is open */
    bool counted;           /* against the key's limits */
    uint64_t reserved;      /* of the key's tokens */
    struct api_key_rate rate;
    uint64_t number;        /* of the request, in this server's life */
    int status;
    const char *error;      /* code of the error answered, or NULL */
};

/* A call for a request; NULL: no memory. Sets x-request-id. admin: came through that socket. */
struct api_call *api_call_create(struct api_server *s, struct net_call *net, bool admin);
void api_call_destroy(struct api_call *c);
/* Answers where there is no memory for a call. */
void api_call_no_memory(struct net_call *net);
/* A line in the log. complete: all of the answer was sent. */
void api_call_log(const struct api_call *c, bool complete);

struct engine_usage api_call_usage(const struct api_call *c);

/* --- keys (auth.c) ---------------------------------------------------------------------------- */
/* May it go on? Else it was answered. */
bool api_call_authorize(struct api_call *c);
/* Takes tokens from the key's limit, as api_job_params.admit. E_BUSY. */
NODISCARD int api_call_admit(void *call, uint64_t tokens, struct err *err);
/* The call is over: its key is charged. */
void api_call_account(struct api_call *c, bool complete);
void api_call_rate_headers(struct api_call *c);

/* --- answers ---------------------------------------------------------------------------------- */
/* Answers with a JSON text; body is taken. */
void api_call_reply(struct api_call *c, int status, struct buf *body);
/* Answers in the dialect of the route. */
void api_call_fail(struct api_call *c, const struct api_error *e);
/* The same from a failure of a lower layer. */
void api_call_fail_err(struct api_call *c, const struct err *err);
void api_call_fail_status(struct api_call *c, int status, const char *code, const char *message);
/* The body as a JSON object, or a failed call and NULL. json_free it. */
json_value *api_call_json(struct api_call *c);
/* Headers of an answer a model gave. */
void api_call_model_headers(struct api_call *c);
/* E_NOT_FOUND for another model than the one served; data NULL: not named. */
NODISCARD int api_check_model(const struct api_call *c, const struct engine_str *model,
                              struct err *err);
/* Embeddings of a call (routes_embed.c): the engine has something, the call is over. */
void api_embed_pump(struct api_call *c);
void api_embed_destroy(struct api_embed *e);
uint32_t api_embed_tokens(const struct api_embed *e);
/* The job was submitted: a stream begins, or the answer is waited for. */
void api_call_begin(struct api_call *c);
/* The engine (or the compiler of constraints) has something for the call's job. */
void api_call_pump(struct api_call *c);

/* The body as a request of that dialect; mem_free it after api_request_fini. counts: nothing will
 * be generated. Errors as of api_request_read; E_NOT_FOUND for another model than the one served,
 * or an earlier answer that is not kept. */
NODISCARD int api_call_request(struct api_call *c, enum api_dialect dialect, bool counts,
                               struct api_request **out, struct err *err);
/* An answer of the Responses route is complete: keeps it if it was asked for. */
void api_call_keep(const struct api_call *c);

/* --- routes ----------------------------------------------------------------------------------- */
void api_route_chat(struct api_call *c);
void api_route_completions(struct api_call *c);
void api_route_responses(struct api_call *c);
void api_route_response_get(struct api_call *c);
void api_route_response_delete(struct api_call *c);
void api_route_messages(struct api_call *c);
void api_route_count_input(struct api_call *c);
void api_route_count_messages(struct api_call *c);
void api_route_embeddings(struct api_call *c);
void api_route_models(struct api_call *c);
void api_route_model(struct api_call *c);
void api_route_health(struct api_call *c);
void api_route_ready(struct api_call *c);
void api_route_version(struct api_call *c);
void api_route_page(struct api_call *c);
void api_route_stats(struct api_call *c);
void api_route_metrics(struct api_call *c);
void api_route_admin_keys(struct api_call *c);
void api_route_admin_add(struct api_call *c);
void api_route_admin_revoke(struct api_call *c);
void api_route_admin_usage(struct api_call *c);
void api_route_tokenize(struct api_call *c);
void api_route_detokenize(struct api_call *c);
void api_route_apply_template(struct api_call *c);

#endif
