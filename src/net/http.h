/* net/http.h - an HTTP/1.1 server that waits cheaply and notices when a client goes away.
 *
 * Idea: libmicrohttpd reads and writes; this layer turns a request into one object, a call, and
 * lets the handler answer it now, later, or piece by piece. A call that waits is suspended: it
 * costs no thread, and any thread may wake it. The library does not watch the socket of a suspended
 * connection, so a watcher of our own does (EPOLLRDHUP): a client that hangs up ends its call at
 * once, also while it waits in a queue.
 *
 *     bytes --library thread--> head checked -> body -> handler.request +- net_call_reply
 *                                                                     +- net_call_stream -> ready*
 *     any thread: net_call_wake -----------------> handler.ready -----+- (nothing: wait)
 *     watcher: hang-up, deadlines, 15 s of silence ^
 *
 * In handler.request and handler.ready a call is replied to, or becomes a stream, or is left
 * waiting. A stream's bytes are put into its outbox in ready, which runs only when the outbox was
 * sent: what the client does not take stays with the producer, whose bounded ring pauses it (L10).
 * What one ready call wrote is flushed before the next. A stream silent for ping_s gets an SSE
 * comment ": ping".
 *
 * Invariants: request runs once a call; ready never runs twice at a time for a call nor after done;
 *     done runs exactly once for each call whose request ran, also when the client vanished.
 * Ownership: a call belongs to the server; handlers may use it until done returned. Header and body
 *     texts live until done.
 * Threads: request, ready and done run on a library thread (several; one a call at a time).
 *     net_call_wake from any thread until done returned, holding no mutex of rank "call" or above.
 * Limits (L1, L2, L9): see struct net_http_params; each is enforced with a JSON answer made by
 *     params.fault, except what the library refuses by itself (README, "what is the library's").
 * A client that shuts down only its sending half is taken for gone once its call waits.
 * Cost: a waiting call is some hundred bytes and a library buffer; a wake-up is one write. */
#ifndef NET_HTTP_H
#define NET_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"

struct net_http;
struct net_call;

struct net_handler {
    void (*request)(void *ctx, struct net_call *c);
    void (*ready)(void *ctx, struct net_call *c);
    void (*done)(void *ctx, struct net_call *c, bool complete); /* complete: all of it was sent */
    /* Answers a request that broke a rule of this layer, with net_call_reply: status 400, 408, 413,
     * 431 or 503 and one line for a person. The connection closes afterwards. request does not run;
     * done does. */
    void (*fault)(void *ctx, struct net_call *c, int status, const char *text);
    void *ctx;
};

/* Zero means the default in brackets. */
struct net_http_params {
    const char *host;             /* numeric address or "localhost" ["127.0.0.1"] */
    uint16_t port;                /* 0: any free one */
    const char *unix_path;        /* a Unix socket instead, for its owner only; NULL: none */
    struct net_handler handler;
    struct clock clock;
    uint32_t n_threads;           /* library threads [4] */
    uint32_t head_bytes_max;      /* request line and headers [16 KiB] */
    uint32_t headers_max;         /* their number [64] */
    size_t body_bytes_max;        /* of one request [8 MiB] */
    size_t bodies_bytes_max;      /* of all requests at a time; beyond: 503 [512 MiB] */
    uint32_t connections_max;     /* [10,000]; lowered to what the process may open */
    uint32_t connections_per_address_max; /* [512] */
    double idle_s, head_s;        /* [60, 10] without a request; with half a head */
    double body_bytes_per_s_min;  /* [1024] measured after head_s */
    double ping_s;                /* [15] */
    /* What 408 says when it must be written past the library: a JSON text ["{}"]. */
    const char *late_body;
};

/* Binds and serves. E_BUSY (port or path are taken), E_DENIED (a port or address not allowed),
 * E_USAGE (no address), E_IO, E_NOMEM; err names host:port and the mend. */
NODISCARD int net_http_create(struct net_http **out, const struct net_http_params *p,
                              struct err *err);
uint16_t net_http_port(const struct net_http *h);
uint32_t net_http_connections(const struct net_http *h);
/* Calls whose request ran and done did not. */
uint32_t net_http_calls(const struct net_http *h);
/* Waits until no call is left or timeout_s passed; true if none is left. */
bool net_http_wait_idle(struct net_http *h, double timeout_s);
/* Stops accepting, ends every call that is left without an answer, joins all threads. Nothing may
 * wake calls of this server afterwards. NULL is fine. */
void net_http_destroy(struct net_http *h);

/* --- the request ------------------------------------------------------------------------------ */
const char *net_call_method(const struct net_call *c);
const char *net_call_path(const struct net_call *c);   /* decoded, without the query */
const char *net_call_header(const struct net_call *c, const char *name); /* NULL if absent */
const char *net_call_body(const struct net_call *c, size_t *len);        /* never NULL */
void net_call_set_user(struct net_call *c, void *user);
void *net_call_user(const struct net_call *c);
uint64_t net_call_began_ns(const struct net_call *c);

/* --- the answer ------------------------------------------------------------------------------- */
/* Adds a header to the answer; before reply or stream. Both texts are copied; at most 16 headers of
 * 256 bytes, and a value with control characters is dropped: it may quote a request. */
void net_call_put_header(struct net_call *c, const char *name, const char *value);
/* The whole answer; body is taken (emptied). */
void net_call_reply(struct net_call *c, int status, const char *type, struct buf *body);
/* Headers go out now; the body comes from ready calls, the first of which follows at once. */
void net_call_stream(struct net_call *c, int status, const char *type);
/* What is to be sent next; in ready, for a stream only. */
struct buf *net_call_outbox(struct net_call *c);
/* The stream ends when the outbox is sent. */
void net_call_end(struct net_call *c);
/* The connection is not kept for another request. */
void net_call_close(struct net_call *c);
/* Lets ready run soon. */
void net_call_wake(struct net_call *c);

#endif
