/* api/server.h - the OpenAI-compatible server: one engine, one model, one port.
 *
 * Idea: net brings whole requests, a table of routes names who answers, jobs carry generations. A
 * call that generates waits suspended; the engine's notify wakes it.
 *
 *     net thread: request -> route -> request struct -> job (engine streams) -> wait or stream
 *     engine thread: notify -> net_call_wake          net thread: ready -> pump -> bytes
 *
 * Invariants: every answer has x-request-id and, but for a streamed one, is JSON; what no route
 *     names is 404, a route with another method 405 (R17); no prompt reaches the log.
 * Ownership: borrows engine, tokenizer and all texts of the parameters; they must outlive it. The
 *     server must be destroyed before the engine: it closes the streams.
 * Threads: create, drain and destroy by the owner; the rest inside.
 * Cost: see net/http.h and api/job.h. */
#ifndef API_SERVER_H
#define API_SERVER_H

#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "engine/engine.h"

struct text_tokenizer;
struct api_keys;
struct api_server;

struct api_params {
    const char *host;              /* NULL: 127.0.0.1 */
    uint16_t port;                 /* 0: any free one; api_server_port tells */
    struct engine *engine;
    const struct text_tokenizer *tokenizer;
    const char *template_source; /* of the model file; NULL: the plain one of api/chat.h */
    size_t template_len;
    const char *tool_parser;       /* how the model writes calls (text/toolcall.h); NULL: as the
                                    * template tells */
    const char *model_id;          /* what clients call it */
    const char *model_digest;      /* sent with answers as naru-model-digest; NULL: not known */
    const char *version, *commit;  /* for /version and system_fingerprint; NULL: "unknown" */
    int64_t created;               /* Unix time for /v1/models; 0: now */
    struct clock clock;
    uint64_t seed;                 /* of ids and of sampling without a seed; 0: from the clock */
    /* Where a request says nothing; all zero: engine_sampler_defaults(). */
    struct engine_sampler_params sampler;
    struct api_keys *keys;         /* who may call (api/keys.h); NULL: everybody */
    const char *admin_path;        /* Unix socket of the admin routes; NULL: none */
    uint32_t n_threads;            /* that parse and render; 0: 4 */
    uint32_t n_responses;          /* answers of /v1/responses kept, at most 64 MiB; 0: none */
    /* One line a request: id, method, path, status, tokens, time. NULL: none. From any thread. */
    void (*log)(void *ctx, const char *line);
    void *log_ctx;
};

/* Compiles the template, binds the port and serves. Errors as of net_http_create and
 * api_chat_create; E_USAGE for an unknown tool_parser. */
NODISCARD int api_server_create(struct api_server **out, const struct api_params *p,
                                struct err *err);
uint16_t api_server_port(const struct api_server *s);
/* Not ready any more: new generations get 503, running ones may end within timeout_s; what is left
 * then gets an error. Returns when all answers were sent or the clients are too slow for it
 * (5 s). 0, or E_TIMEOUT if some were cut short. */
int api_server_drain(struct api_server *s, double timeout_s);
/* Ends at once: connections are closed. NULL is fine. */
void api_server_destroy(struct api_server *s);

#endif
