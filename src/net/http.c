/* The library calls back on its own threads; one connection stays on one of them, so a call needs a
 * lock only for what other threads do to it: wake it and tell it that the client has gone.
 *
 * Suspending races with waking: the producer may wake a call between "nothing there" and the
 * suspension. `woken` remembers that, and both are decided under the call's lock. */
#include "net/http.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include "base/mem.h"
#include "base/num.h"
#include "net/http_impl.h"
#include "net/listen.h"
#include "net/sse.h"

#define BLOCK_BYTES (16u << 10)    /* of a stream, handed to the library at a time */
#define DISCARD_BYTES_MAX (64u << 20) /* of a body too large, read so that its sender hears 413 */
#define FILES_KEPT 64              /* descriptors the rest of the process needs */

/* --- answering -------------------------------------------------------------------------------- */

static void add_headers(const struct net_call *c, struct MHD_Response *r)
{
    if (c->type[0] != '\0')
        MHD_add_response_header(r, "content-type", c->type);
    for (uint32_t i = 0; i < c->n_headers; i++)
        MHD_add_response_header(r, c->headers[i].name, c->headers[i].value);
    if (c->close)
        MHD_add_response_header(r, "connection", "close");
}

static enum MHD_Result queue(struct net_call *c, struct MHD_Response *r)
{
    if (r == NULL)
        return MHD_NO;
    add_headers(c, r);
    enum MHD_Result ok = MHD_queue_response(c->conn->mhd, (unsigned)c->status, r);
    MHD_destroy_response(r);
    return ok;
}

static enum MHD_Result queue_reply(struct net_call *c)
{
    size_t len = 0;
    char *data = buf_take(&c->reply, &len);
    struct MHD_Response *r =
        data != NULL ? MHD_create_response_from_buffer_with_free_callback(len, data, mem_free)
                     : MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    if (r == NULL)
        mem_free(data);
    return queue(c, r);
}

/* True if the call now sleeps; false if there is something to do. */
static bool suspend(struct net_call *c)
{
    pthread_mutex_lock(&c->lock);
    bool sleep = !c->woken && !c->gone && !c->ping_due && !atomic_load(&c->h->stopping);
    c->woken = false;
    if (sleep) {
        c->suspended = true;
        MHD_suspend_connection(c->conn->mhd);
    }
    pthread_mutex_unlock(&c->lock);
    return sleep;
}

void net_call_kick(struct net_call *c)
{
    pthread_mutex_lock(&c->lock);
    if (c->suspended) {
        c->suspended = false;
        MHD_resume_connection(c->conn->mhd);
    } else {
        c->woken = true;
    }
    pthread_mutex_unlock(&c->lock);
}

void net_call_wake(struct net_call *c) { net_call_kick(c); }

static bool is_gone(struct net_call *c)
{
    pthread_mutex_lock(&c->lock);
    bool gone = c->gone || atomic_load(&c->h->stopping);
    pthread_mutex_unlock(&c->lock);
    return gone;
}

static bool take_ping(struct net_call *c)
{
    pthread_mutex_lock(&c->lock);
    bool due = c->ping_due;
    c->ping_due = false;
    pthread_mutex_unlock(&c->lock);
    return due;
}

static ssize_t take_outbox(struct net_call *c, char *out, size_t max)
{
    size_t n = num_min(max, c->outbox.len - c->outbox_sent);
    memcpy(out, c->outbox.data + c->outbox_sent, n);
    c->outbox_sent += n;
    if (c->outbox_sent == c->outbox.len) {
        buf_clear(&c->outbox);
        c->outbox_sent = 0;
    }
    atomic_store(&c->last_ns, net_now(c->h));
    return (ssize_t)n;
}

/* The library asks for more of a stream's body. */
static ssize_t pull(void *ctx, UNUSED uint64_t pos, char *out, size_t max)
{
    struct net_call *c = ctx;
    for (;;) {
        if (c->outbox.len > c->outbox_sent)
            return take_outbox(c, out, max);
        if (buf_status(&c->outbox) != 0 || is_gone(c))
            return MHD_CONTENT_READER_END_WITH_ERROR;
        if (c->ended)
            return MHD_CONTENT_READER_END_OF_STREAM;
        c->h->p.handler.ready(c->h->p.handler.ctx, c);
        if (c->outbox.len > 0 || c->ended || buf_status(&c->outbox) != 0)
            continue;
        if (take_ping(c))
            net_sse_comment(&c->outbox, "ping");
        else if (suspend(c))
            return 0;
    }
}

static enum MHD_Result queue_stream(struct net_call *c)
{
    atomic_store(&c->last_ns, net_now(c->h));
    net_watch_hangup(c->h, c->conn);
    return queue(c, MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES, pull, c,
                                                      NULL));
}

/* Goes on with a call until it is answered or sleeps. */
static enum MHD_Result advance(struct net_call *c)
{
    while (!is_gone(c)) {
        if (c->state == NET_CALL_REPLY)
            return queue_reply(c);
        if (c->state == NET_CALL_STREAM)
            return queue_stream(c);
        net_watch_hangup(c->h, c->conn);
        if (suspend(c))
            return MHD_YES;
        if (!is_gone(c))
            c->h->p.handler.ready(c->h->p.handler.ctx, c);
    }
    return MHD_NO;
}

static enum MHD_Result run(struct net_call *c)
{
    const struct net_handler *handler = &c->h->p.handler;
    net_watch_phase(c->h, c->conn, NET_BUSY, c);
    c->state = NET_CALL_WAIT;
    c->ran = true;
    if (c->fault_status != 0) {
        c->close = true;
        handler->fault(handler->ctx, c, c->fault_status, c->fault_text);
    } else {
        handler->request(handler->ctx, c);
    }
    return advance(c);
}

/* --- the head --------------------------------------------------------------------------------- */

static void fault(struct net_call *c, int status, const char *text)
{
    if (c->fault_status == 0) {
        c->fault_status = status;
        c->fault_text = text;
    }
}

struct head {
    struct net_call *c;
    uintptr_t end;     /* where the last thing of the head ends, in the library's buffer */
    bool broken;       /* something lies between two things that is not one CRLF */
    uint32_t n, n_lengths, n_codings, n_hosts;
    bool control, bad_name, bad_coding;
    const char *length;
};

/* RFC 9110 5.6.2: the library lets blanks in a name pass. */
static bool is_token(const char *s)
{
    static const char marks[] = "!#$%&'*+-.^_`|~";
    for (const char *at = s; *at != '\0'; at++) {
        bool letter = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z');
        if (!letter && !(*at >= '0' && *at <= '9') && strchr(marks, *at) == NULL)
            return false;
    }
    return *s != '\0';
}

/* The library takes a head apart where it lies, so its own pointers tell what stands between two
 * headers: CRLF, and nothing else. It would take a bare LF, and joins folded lines, whose
 * value it moves elsewhere; a NUL cuts a line short. Addresses are compared as numbers, none is
 * followed. */
static void see_gap(struct head *head, const char *name, const char *value)
{
    uintptr_t at = (uintptr_t)name, text = (uintptr_t)value;
    head->broken = head->broken || at != head->end + 2 || text < at + strlen(name) + 1;
    head->end = text + strlen(value);
}

/* METHOD SP URI SP VERSION; the last header and the empty line end like the others. */
static bool is_tight(const struct head *head, const char *method, const char *version,
                     size_t header_size)
{
    const struct net_call *c = head->c;
    return !head->broken && c->uri_at == (uintptr_t)method + strlen(method) + 1 &&
           (uintptr_t)version == c->uri_at + c->uri_len + 1 &&
           header_size == head->end + 4 - (uintptr_t)method;
}

static enum MHD_Result see_header(void *ctx, UNUSED enum MHD_ValueKind kind, const char *name,
                                  const char *value)
{
    struct head *head = ctx;
    head->n++;
    if (value != NULL)
        see_gap(head, name, value);
    head->bad_name = head->bad_name || !is_token(name);
    if (strcasecmp(name, "content-length") == 0) {
        head->n_lengths++;
        head->length = value;
    }
    head->n_hosts += strcasecmp(name, "host") == 0;
    if (strcasecmp(name, "transfer-encoding") == 0) {
        head->n_codings++;
        head->bad_coding = value == NULL || strcasecmp(value, "chunked") != 0;
    }
    for (const char *s = value != NULL ? value : ""; *s != '\0'; s++)
        head->control = head->control || ((unsigned char)*s < 0x20 && *s != '\t') || *s == 0x7f;
    return MHD_YES;
}

static bool only_digits(const char *s)
{
    return *s != '\0' && s[strspn(s, "0123456789")] == '\0';
}

static void check_lengths(struct net_call *c, const struct head *head, const char *version)
{
    if (head->n_hosts > 1 || (head->n_hosts == 0 && strcmp(version, "HTTP/1.1") == 0))
        fault(c, 400, "the request must have one host header");
    if (head->n_lengths + head->n_codings > 1)
        fault(c, 400, "the length of the body is told twice");
    if (head->bad_coding)
        fault(c, 400, "transfer-encoding must be chunked");
    if (head->n_lengths == 1 && !only_digits(head->length))
        fault(c, 400, "content-length must be a number");
}

/* What the library lets pass and this server does not (A-02, L1, L2). True for a body so large that
 * it is not even read. */
static bool check_head(struct net_call *c, const char *method, const char *version)
{
    const struct net_http_params *p = &c->h->p;
    struct head head = { .c = c, .end = (uintptr_t)version + strlen(version) };
    MHD_get_connection_values(c->conn->mhd, MHD_HEADER_KIND, see_header, &head);
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c->conn->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (c->h->in_place && (info == NULL || !is_tight(&head, method, version, info->header_size)))
        fault(c, 400, "a line of the head is not as it must be: one blank, one CRLF, not folded");
    if (info != NULL && info->header_size > p->head_bytes_max)
        fault(c, 431, "the request line and headers are too large");
    if (head.n > p->headers_max)
        fault(c, 431, "too many headers");
    if (c->bad_uri)
        fault(c, 400, "the path holds a byte that may not be in it");
    if (head.bad_name)
        fault(c, 400, "a header's name holds a byte that may not be in it");
    if (head.control)
        fault(c, 400, "a header holds a control character");
    check_lengths(c, &head, version);
    /* More than 18 digits do not fit; the library has its own limit beyond. */
    size_t length = head.n_lengths == 1 && strlen(head.length) <= 18
                        ? (size_t)strtoull(head.length, NULL, 10)
                        : head.n_lengths == 1 ? SIZE_MAX : 0;
    if (length > p->body_bytes_max)
        fault(c, 413, "the body is too large");
    return length > DISCARD_BYTES_MAX;
}

/* The head is complete, the body not yet asked for. */
static enum MHD_Result begin(struct net_call *c, const char *url, const char *method,
                             const char *version)
{
    if (strlen(method) >= sizeof c->method || !is_token(method))
        fault(c, 400, "the method is unknown");
    else
        memcpy(c->method, method, strlen(method) + 1);
    c->path = mem_strndup(url, strlen(url));
    if (c->path == NULL)
        return MHD_NO;
    bool hopeless = check_head(c, method, version) || net_call_header(c, "expect") != NULL;
    c->state = NET_CALL_BODY;
    /* A client that waits for permission to send its body is told no at once; from others the body
     * is read first: an answer followed by a reset would be lost. */
    if (c->fault_status != 0 && (c->fault_status != 413 || hopeless))
        return run(c);
    net_watch_phase(c->h, c->conn, NET_BODY, c);
    return MHD_YES;
}

/* --- the body --------------------------------------------------------------------------------- */

/* Counts bytes against the memory for all bodies. */
static bool reserve(struct net_call *c, size_t bytes)
{
    size_t before = atomic_fetch_add(&c->h->bodies_bytes, bytes);
    c->body_reserved += bytes;
    return before + bytes <= c->h->p.bodies_bytes_max;
}

static void release(struct net_call *c)
{
    atomic_fetch_sub(&c->h->bodies_bytes, c->body_reserved);
    c->body_reserved = 0;
    buf_fini(&c->body);
}

static enum MHD_Result take_body(struct net_call *c, const char *data, size_t len, uint64_t *seen)
{
    if (!net_watch_body(c->h, c->conn, len))
        return MHD_NO;
    *seen = c->conn->body_bytes;
    if (c->fault_status == 0 && len > c->h->p.body_bytes_max - c->body.len)
        fault(c, 413, "the body is too large");
    if (c->fault_status == 0 && !reserve(c, len))
        fault(c, 503, "too many request bodies at a time");
    if (c->fault_status == 0) {
        buf_put(&c->body, data, len);
        if (buf_status(&c->body) != 0)
            fault(c, 503, "out of memory");
    }
    if (c->fault_status != 0)
        release(c);
    return MHD_YES;
}

static enum MHD_Result access_call(UNUSED void *ctx, UNUSED struct MHD_Connection *mhd,
                                   const char *url, const char *method, const char *version,
                                   const char *data, size_t *size, void **call)
{
    struct net_call *c = *call;
    if (c == NULL || atomic_load(&c->h->stopping))
        return MHD_NO;
    if (c->state == NET_CALL_NEW)
        return begin(c, url, method, version);
    if (c->state == NET_CALL_BODY && *size > 0) {
        uint64_t seen = 0;
        enum MHD_Result ok = take_body(c, data, *size, &seen);
        *size = 0;
        return seen <= DISCARD_BYTES_MAX ? ok : MHD_NO;
    }
    if (c->state == NET_CALL_BODY)
        return run(c);
    if (c->state == NET_CALL_WAIT && !is_gone(c))
        c->h->p.handler.ready(c->h->p.handler.ctx, c);
    return advance(c);
}

/* --- life of connections and calls ------------------------------------------------------------ */

static void keep_alive(int fd)
{
    int on = 1, idle_s = 30, every_s = 10, probes = 3;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof every_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

static void see_connection(void *ctx, struct MHD_Connection *mhd, void **socket_context,
                           enum MHD_ConnectionNotificationCode what)
{
    struct net_http *h = ctx;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
        keep_alive(info->connect_fd);
        *socket_context = net_watch_add(h, mhd, info->connect_fd);
    } else if (*socket_context != NULL) {
        net_watch_remove(h, *socket_context);
        *socket_context = NULL;
    }
}

/* Blanks, control characters and bytes beyond ASCII; a coded NUL would cut the path short. */
static bool is_bad_uri(const char *uri)
{
    for (const char *s = uri; *s != '\0'; s++)
        if ((unsigned char)*s <= 0x20 || (unsigned char)*s >= 0x7f)
            return true;
    return strstr(uri, "%00") != NULL;
}

/* A request line has come; what it returns becomes the call of the request. */
static void *see_uri(void *ctx, const char *uri, struct MHD_Connection *mhd)
{
    struct net_http *h = ctx;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct net_conn *conn = info != NULL ? info->socket_context : NULL;
    struct net_call *c = conn != NULL ? mem_alloc(1, sizeof *c) : NULL;
    if (c == NULL)
        return NULL;
    c->h = h;
    c->conn = conn;
    c->began_ns = net_now(h);
    c->bad_uri = is_bad_uri(uri);
    c->uri_at = (uintptr_t)uri;
    c->uri_len = strlen(uri);
    buf_init(&c->body, h->p.body_bytes_max);
    buf_init(&c->reply, SIZE_MAX / 4);
    buf_init(&c->outbox, SIZE_MAX / 4);
    pthread_mutex_init(&c->lock, NULL);
    atomic_fetch_add(&h->n_calls, 1);
    net_watch_phase(h, conn, NET_HEAD, c);
    return c;
}

static void see_end(void *ctx, UNUSED struct MHD_Connection *mhd, void **call,
                    enum MHD_RequestTerminationCode why)
{
    struct net_http *h = ctx;
    struct net_call *c = *call;
    if (c == NULL)
        return;
    *call = NULL;
    net_watch_phase(h, c->conn, NET_IDLE, NULL);
    if (c->ran)
        h->p.handler.done(h->p.handler.ctx, c, why == MHD_REQUEST_TERMINATED_COMPLETED_OK);
    release(c);
    buf_fini(&c->reply);
    buf_fini(&c->outbox);
    mem_free(c->path);
    pthread_mutex_destroy(&c->lock);
    mem_free(c);
    pthread_mutex_lock(&h->lock);
    atomic_fetch_sub(&h->n_calls, 1);
    pthread_cond_broadcast(&h->idle);
    pthread_mutex_unlock(&h->lock);
}

/* --- the server ------------------------------------------------------------------------------- */

static void fill_times(struct net_http_params *p)
{
    p->idle_s = p->idle_s > 0 ? p->idle_s : 60;
    p->head_s = p->head_s > 0 ? p->head_s : 10;
    p->body_bytes_per_s_min = p->body_bytes_per_s_min > 0 ? p->body_bytes_per_s_min : 1024;
    p->ping_s = p->ping_s > 0 ? p->ping_s : 15;
}

static void fill_limits(struct net_http_params *p)
{
    if (p->host == NULL)
        p->host = "127.0.0.1";
    p->n_threads = p->n_threads != 0 ? p->n_threads : 4;
    p->head_bytes_max = p->head_bytes_max != 0 ? p->head_bytes_max : 16u << 10;
    p->headers_max = p->headers_max != 0 ? p->headers_max : 64;
    p->body_bytes_max = p->body_bytes_max != 0 ? p->body_bytes_max : (size_t)8 << 20;
    p->bodies_bytes_max = p->bodies_bytes_max != 0 ? p->bodies_bytes_max : (size_t)512 << 20;
    p->connections_max = p->connections_max != 0 ? p->connections_max : 10000;
    if (p->connections_per_address_max == 0)
        p->connections_per_address_max = 512;
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY) {
        size_t room = files.rlim_cur > 2 * FILES_KEPT ? files.rlim_cur - FILES_KEPT : FILES_KEPT;
        p->connections_max = (uint32_t)num_min(p->connections_max, room);
    }
}

/* The library splits its limit over its threads and would refuse fewer than one each. */
static int start_library(struct net_http *h, int fd, struct err *err)
{
    const struct net_http_params *p = &h->p;
    /* Room for a head twice the limit, so that 431 is our answer and not the library's. */
    size_t memory = (size_t)p->head_bytes_max * 4;
    h->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, access_call, h,
        MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_THREAD_POOL_SIZE, p->n_threads,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)num_max(p->connections_max, p->n_threads),
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, p->connections_per_address_max,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)(p->idle_s < 1 ? 1 : p->idle_s),
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, memory,
        MHD_OPTION_STRICT_FOR_CLIENT, 0, /* check_head is stricter, and answers in JSON */
        MHD_OPTION_NOTIFY_CONNECTION, see_connection, h,
        MHD_OPTION_URI_LOG_CALLBACK, see_uri, h,
        MHD_OPTION_NOTIFY_COMPLETED, see_end, h,
        MHD_OPTION_END);
    return h->daemon != NULL ? 0 : err_set(err, E_IO, "cannot start the HTTP server: %s",
                                           strerror(errno));
}

static void init_sync(struct net_http *h)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&h->idle, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&h->lock, NULL);
}

int net_http_create(struct net_http **out, const struct net_http_params *p, struct err *err)
{
    struct net_http *h = mem_alloc(1, sizeof *h);
    if (h == NULL)
        return err_set(err, E_NOMEM, "out of memory");
    h->p = *p;
    h->epoll_fd = h->stop_fd = -1;
    fill_limits(&h->p);
    fill_times(&h->p);
    h->n_slots = h->p.connections_max;
    h->in_place = strncmp(MHD_get_version(), "0.9.", 4) == 0;
    init_sync(h);
    int fd = -1;
    int rc = p->unix_path != NULL ? net_listen_unix(p->unix_path, &fd, err)
                                  : net_listen(h->p.host, p->port, &fd, &h->port, err);
    h->bound = rc == 0 && p->unix_path != NULL;
    if (rc == 0)
        rc = net_watch_start(h, err);
    if (rc < 0 && fd >= 0)
        close(fd);
    if (rc == 0)
        rc = start_library(h, fd, err); /* closes fd if it fails */
    if (rc < 0) {
        net_http_destroy(h);
        return rc;
    }
    *out = h;
    return 0;
}

uint16_t net_http_port(const struct net_http *h) { return h->port; }
uint32_t net_http_calls(const struct net_http *h) { return atomic_load(&h->n_calls); }

uint32_t net_http_connections(const struct net_http *h)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
    return info != NULL ? info->num_connections : 0;
}

bool net_http_wait_idle(struct net_http *h, double timeout_s)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + (uint64_t)(timeout_s * 1e9);
    until.tv_sec += (time_t)(ns / 1000000000u);
    until.tv_nsec = (long)(ns % 1000000000u);
    pthread_mutex_lock(&h->lock);
    int rc = 0;
    while (rc == 0 && atomic_load(&h->n_calls) > 0)
        rc = pthread_cond_timedwait(&h->idle, &h->lock, &until);
    bool idle = atomic_load(&h->n_calls) == 0;
    pthread_mutex_unlock(&h->lock);
    return idle;
}

void net_http_destroy(struct net_http *h)
{
    if (h == NULL)
        return;
    int fd = h->daemon != NULL ? MHD_quiesce_daemon(h->daemon) : -1;
    atomic_store(&h->stopping, true);
    if (h->daemon != NULL) {
        /* No call may sleep when the library stops: with `stopping` set none falls asleep again. */
        net_watch_end_all(h);
        MHD_stop_daemon(h->daemon);
    }
    if (fd >= 0)
        close(fd);
    if (h->bound)
        unlink(h->p.unix_path);
    net_watch_stop(h);
    pthread_cond_destroy(&h->idle);
    pthread_mutex_destroy(&h->lock);
    mem_free(h);
}

/* --- what handlers use ------------------------------------------------------------------------ */

const char *net_call_method(const struct net_call *c) { return c->method; }
const char *net_call_path(const struct net_call *c) { return c->path; }

const char *net_call_header(const struct net_call *c, const char *name)
{
    return MHD_lookup_connection_value(c->conn->mhd, MHD_HEADER_KIND, name);
}

const char *net_call_body(const struct net_call *c, size_t *len)
{
    *len = c->body.len;
    return buf_str(&c->body);
}

void net_call_set_user(struct net_call *c, void *user) { c->user = user; }
void *net_call_user(const struct net_call *c) { return c->user; }
uint64_t net_call_began_ns(const struct net_call *c) { return c->began_ns; }

static bool is_clean(const char *s)
{
    for (; *s != '\0'; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            return false;
    return true;
}

void net_call_put_header(struct net_call *c, const char *name, const char *value)
{
    struct net_call_header *slot = &c->headers[c->n_headers];
    bool fits = c->n_headers < NET_CALL_HEADERS_MAX && strlen(name) < sizeof slot->name &&
                strlen(value) < sizeof slot->value && is_clean(value);
    if (!fits)
        return;
    memcpy(slot->name, name, strlen(name) + 1);
    memcpy(slot->value, value, strlen(value) + 1);
    c->n_headers++;
}

static void set_answer(struct net_call *c, enum net_call_state state, int status, const char *type)
{
    ASSERT(c->state == NET_CALL_WAIT);
    ASSERT(strlen(type) < sizeof c->type);
    c->status = status;
    memcpy(c->type, type, strlen(type) + 1);
    c->state = state;
}

void net_call_reply(struct net_call *c, int status, const char *type, struct buf *body)
{
    set_answer(c, NET_CALL_REPLY, status, type);
    c->reply = *body;
    buf_init(body, body->max_bytes);
}

void net_call_stream(struct net_call *c, int status, const char *type)
{
    set_answer(c, NET_CALL_STREAM, status, type);
}

struct buf *net_call_outbox(struct net_call *c)
{
    ASSERT(c->state == NET_CALL_STREAM);
    return &c->outbox;
}

void net_call_end(struct net_call *c) { c->ended = true; }
void net_call_close(struct net_call *c) { c->close = true; }
