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
#include "api/metrics.h"
#include "api/server.h"
#include "net/http.h"

struct api_server {
    struct api_params p;
    struct engine_info info;
    struct net_http *net;
    struct api_chat *chat;
    char fingerprint[17];
    _Atomic uint64_t n_requests;
    _Atomic bool draining;
    uint64_t started_ns;
    struct api_meter meter;
};

struct api_call {
    struct api_server *s;
    struct net_call *net;
    struct api_job *job;    /* NULL: answered at once */
    bool streaming;
    char request_id[65];
    uint64_t number;        /* of the request, in this server's life */
    int route;              /* row of the route table; -1: none */
    int status;
    const char *error;      /* code of the error answered, or NULL */
};

/* Answers with a JSON text; body is taken. */
void api_call_reply(struct api_call *c, int status, struct buf *body);
void api_call_fail(struct api_call *c, const struct api_error *e);
/* The same from a failure of a lower layer. */
void api_call_fail_err(struct api_call *c, const struct err *err);
/* The body as a JSON object, or a failed call and NULL. json_free it. */
json_value *api_call_json(struct api_call *c);

/* --- routes ----------------------------------------------------------------------------------- */
void api_route_chat(struct api_call *c);
void api_route_completions(struct api_call *c);
void api_route_models(struct api_call *c);
void api_route_model(struct api_call *c);
void api_route_health(struct api_call *c);
void api_route_ready(struct api_call *c);
void api_route_version(struct api_call *c);
void api_route_stats(struct api_call *c);
void api_route_metrics(struct api_call *c);
void api_route_tokenize(struct api_call *c);
void api_route_detokenize(struct api_call *c);
void api_route_apply_template(struct api_call *c);

#endif
