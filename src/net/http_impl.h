/* net/http_impl.h - shared by http.c (the daemon and its calls) and watch.c (hang-ups, deadlines).
 *
 * Idea: a conn is one TCP connection, for as long as the library has it; a call is one request on
 * it. Conns lie in slots, so that the watcher can name them by number: a number that is no longer
 * in use is ignored, a pointer would be freed memory.
 *
 *     slots [ conn 3 | - | conn 9 | ... ]      epoll data = serial << 32 | slot
 *
 * Locks: net_http.lock, then net_call.lock, then the library's own. */
#ifndef NET_HTTP_IMPL_H
#define NET_HTTP_IMPL_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#include "net/http.h"

/* What a connection is waiting for; each has its deadline (L9). */
enum net_phase {
    NET_FRESH, /* connected, no request line yet */
    NET_HEAD,  /* request line seen */
    NET_BODY,
    NET_BUSY,  /* a call is being answered */
    NET_IDLE,  /* between requests */
    NET_LATE   /* a deadline passed; the socket is shut */
};

struct net_conn {
    struct MHD_Connection *mhd;
    struct net_call *call; /* NULL between requests */
    int fd;
    uint32_t slot, serial;
    enum net_phase phase;
    uint64_t since_ns;     /* of the phase */
    uint64_t body_bytes;   /* come so far, of this request */
    bool watched;          /* the socket is in the watcher's epoll set */
    bool waits;            /* its call waits or streams: a hang-up ends it */
};

enum net_call_state { NET_CALL_NEW, NET_CALL_BODY, NET_CALL_WAIT, NET_CALL_REPLY, NET_CALL_STREAM };

#define NET_CALL_HEADERS_MAX 16
struct net_call_header {
    char name[64], value[256];
};

struct net_call {
    struct net_http *h;
    struct net_conn *conn;
    enum net_call_state state;
    char method[16];
    char *path;
    struct buf body;
    size_t body_reserved;  /* of net_http_params.bodies_bytes_max */
    bool bad_uri;
    uintptr_t uri_at;      /* where it stood, as a number, and how long it was */
    size_t uri_len;
    bool ran;              /* request or fault was called: done is due */
    int fault_status;      /* 0: none; then why */
    const char *fault_text;
    void *user;
    uint64_t began_ns;

    int status;
    bool close, ended;
    char type[64];
    struct buf reply, outbox;
    size_t outbox_sent;
    uint32_t n_headers;
    struct net_call_header headers[NET_CALL_HEADERS_MAX];
    _Atomic uint64_t last_ns; /* of the last bytes of a stream */

    pthread_mutex_t lock;  /* guards the next four */
    bool suspended, woken, gone, ping_due;
};

struct net_http {
    struct net_http_params p;
    struct MHD_Daemon *daemon;
    uint16_t port;
    bool in_place;         /* this library parses a head where it lies (http.c, see_gap) */
    bool bound;            /* p.unix_path is this server's */
    _Atomic size_t bodies_bytes;
    _Atomic uint32_t n_calls;
    _Atomic bool stopping;

    pthread_mutex_t lock;  /* guards slots and conns */
    pthread_cond_t idle;   /* a call ended */
    struct net_conn **slots;
    uint32_t *free_slots;
    uint32_t n_slots, n_free, next_serial;

    int epoll_fd, stop_fd;
    pthread_t watcher;
    bool watching;
};

static inline uint64_t net_now(const struct net_http *h) { return clock_now_ns(&h->p.clock); }

/* --- http.c ----------------------------------------------------------------------------------- */
/* Resumes a suspended call, or remembers that it was woken. */
void net_call_kick(struct net_call *c);

/* --- watch.c ---------------------------------------------------------------------------------- */
NODISCARD int net_watch_start(struct net_http *h, struct err *err);
void net_watch_stop(struct net_http *h);
/* A new connection; NULL if there is no room. */
struct net_conn *net_watch_add(struct net_http *h, struct MHD_Connection *mhd, int fd);
void net_watch_remove(struct net_http *h, struct net_conn *conn);
void net_watch_phase(struct net_http *h, struct net_conn *conn, enum net_phase phase,
                     struct net_call *call);
/* Body bytes came. False if the deadline passed. */
bool net_watch_body(struct net_http *h, struct net_conn *conn, size_t bytes);
/* The call waits or streams: a hang-up ends it from now on. */
void net_watch_hangup(struct net_http *h, struct net_conn *conn);
/* Ends all calls: they are gone. */
void net_watch_end_all(struct net_http *h);

#endif
