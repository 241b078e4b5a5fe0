/* One thread looks after all connections: hang-ups by epoll, deadlines once a second. The library's
 * own timeout measures silence only, so a client that sends a byte now and then would hold its
 * connection for ever; here the deadlines are of the head and of the body's rate.
 *
 * A connection that is late is told 408 past the library, on its socket: while a request is still
 * coming in the library writes nothing, and afterwards the socket is shut, which makes the library
 * close it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/http_impl.h"

#define TICK_MS 1000
#define EVENTS_MAX 64
#define STOP_KEY UINT64_MAX

static uint64_t key_of(const struct net_conn *conn)
{
    return (uint64_t)conn->serial << 32 | conn->slot;
}

struct net_conn *net_watch_add(struct net_http *h, struct MHD_Connection *mhd, int fd)
{
    struct net_conn *conn = mem_alloc(1, sizeof *conn);
    if (conn == NULL)
        return NULL;
    pthread_mutex_lock(&h->lock);
    bool room = h->n_free > 0;
    if (room) {
        /* The serial never reaches 2^32 - 1, so that no key is STOP_KEY. */
        h->next_serial = (h->next_serial + 1) & INT32_MAX;
        *conn = (struct net_conn){ .mhd = mhd,
                                   .fd = fd,
                                   .slot = h->free_slots[--h->n_free],
                                   .serial = h->next_serial,
                                   .phase = NET_FRESH,
                                   .since_ns = net_now(h) };
        h->slots[conn->slot] = conn;
    }
    pthread_mutex_unlock(&h->lock);
    if (room)
        return conn;
    mem_free(conn);
    return NULL;
}

static void unwatch(struct net_http *h, struct net_conn *conn)
{
    if (conn->watched)
        epoll_ctl(h->epoll_fd, EPOLL_CTL_DEL, conn->fd, NULL);
    conn->watched = false;
}

void net_watch_remove(struct net_http *h, struct net_conn *conn)
{
    pthread_mutex_lock(&h->lock);
    ASSERT(h->slots[conn->slot] == conn);
    ASSERT(conn->call == NULL);
    unwatch(h, conn);
    h->slots[conn->slot] = NULL;
    h->free_slots[h->n_free++] = conn->slot;
    pthread_mutex_unlock(&h->lock);
    mem_free(conn);
}

/* Once armed it tells of one hang-up; the library misses some of idle connections. */
static void arm(struct net_http *h, struct net_conn *conn)
{
    struct epoll_event ev = { .events = EPOLLRDHUP | EPOLLONESHOT, .data.u64 = key_of(conn) };
    int op = conn->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    conn->watched = epoll_ctl(h->epoll_fd, op, conn->fd, &ev) == 0;
}

void net_watch_phase(struct net_http *h, struct net_conn *conn, enum net_phase phase,
                     struct net_call *call)
{
    pthread_mutex_lock(&h->lock);
    if (conn->phase != NET_LATE)
        conn->phase = phase;
    conn->since_ns = net_now(h);
    conn->body_bytes = 0;
    conn->call = call;
    conn->waits = false;
    if (conn->phase == NET_IDLE)
        arm(h, conn);
    pthread_mutex_unlock(&h->lock);
}

bool net_watch_body(struct net_http *h, struct net_conn *conn, size_t bytes)
{
    pthread_mutex_lock(&h->lock);
    conn->body_bytes += bytes;
    bool in_time = conn->phase != NET_LATE;
    pthread_mutex_unlock(&h->lock);
    return in_time;
}

void net_watch_hangup(struct net_http *h, struct net_conn *conn)
{
    pthread_mutex_lock(&h->lock);
    if (!conn->waits)
        arm(h, conn);
    conn->waits = true;
    pthread_mutex_unlock(&h->lock);
}

/* --- the thread: everything below runs with h->lock held -------------------------------------- */

static void call_gone(struct net_conn *conn)
{
    struct net_call *c = conn->call;
    if (c == NULL)
        return;
    pthread_mutex_lock(&c->lock);
    c->gone = true;
    pthread_mutex_unlock(&c->lock);
    net_call_kick(c);
}

void net_watch_end_all(struct net_http *h)
{
    pthread_mutex_lock(&h->lock);
    for (uint32_t i = 0; i < h->n_slots; i++)
        if (h->slots[i] != NULL)
            call_gone(h->slots[i]);
    pthread_mutex_unlock(&h->lock);
}

static void hung_up(struct net_http *h, uint64_t key)
{
    uint32_t slot = (uint32_t)key;
    struct net_conn *conn = slot < h->n_slots ? h->slots[slot] : NULL;
    if (conn == NULL || key_of(conn) != key)
        return;
    if (conn->waits)
        call_gone(conn);
    else if (conn->phase == NET_IDLE)
        shutdown(conn->fd, SHUT_RDWR);
}

static void shut_late(struct net_http *h, struct net_conn *conn, bool tell)
{
    const char *body = h->p.late_body != NULL ? h->p.late_body : "{}";
    char head[256];
    int n = snprintf(head, sizeof head,
                     "HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\n"
                     "Content-Length: %zu\r\nConnection: close\r\n\r\n", strlen(body));
    /* Best effort: a socket that does not take some hundred bytes at once is not waited for. */
    if (tell && send(conn->fd, head, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE) == n)
        (void)!send(conn->fd, body, strlen(body), MSG_DONTWAIT | MSG_NOSIGNAL);
    shutdown(conn->fd, SHUT_RDWR);
    conn->phase = NET_LATE;
}

static void ping_if_silent(const struct net_http *h, struct net_call *c, uint64_t now)
{
    if (c == NULL || (double)(now - atomic_load(&c->last_ns)) < h->p.ping_s * 1e9)
        return;
    pthread_mutex_lock(&c->lock);
    bool kick = c->suspended && c->state == NET_CALL_STREAM && !c->ping_due;
    c->ping_due = c->ping_due || kick;
    pthread_mutex_unlock(&c->lock);
    if (kick)
        net_call_kick(c);
}

static void check_deadline(struct net_http *h, struct net_conn *conn, uint64_t now)
{
    double s = now > conn->since_ns ? (double)(now - conn->since_ns) * 1e-9 : 0;
    switch (conn->phase) {
    case NET_FRESH:
        if (s > h->p.head_s)
            shut_late(h, conn, false);
        break;
    case NET_HEAD:
        if (s > h->p.head_s)
            shut_late(h, conn, true);
        break;
    case NET_BODY:
        if (s > h->p.head_s && (double)conn->body_bytes < s * h->p.body_bytes_per_s_min)
            shut_late(h, conn, true);
        break;
    case NET_IDLE:
        if (s > h->p.idle_s)
            shut_late(h, conn, false);
        break;
    case NET_BUSY:
        ping_if_silent(h, conn->call, now);
        break;
    case NET_LATE:
        break;
    }
}

static void tick(struct net_http *h)
{
    uint64_t now = net_now(h);
    for (uint32_t i = 0; i < h->n_slots; i++)
        if (h->slots[i] != NULL)
            check_deadline(h, h->slots[i], now);
}

static uint64_t real_ms(void)
{
    struct clock clock = clock_system();
    return clock_now_ns(&clock) / 1000000;
}

static void *watch(void *arg)
{
    struct net_http *h = arg;
    struct epoll_event events[EVENTS_MAX];
    uint64_t ticked = real_ms();
    for (;;) {
        int n = epoll_wait(h->epoll_fd, events, EVENTS_MAX, TICK_MS);
        pthread_mutex_lock(&h->lock);
        bool stop = false;
        for (int i = 0; i < n; i++) {
            if (events[i].data.u64 == STOP_KEY)
                stop = true;
            else
                hung_up(h, events[i].data.u64);
        }
        if (real_ms() - ticked >= TICK_MS) {
            ticked = real_ms();
            tick(h);
        }
        pthread_mutex_unlock(&h->lock);
        if (stop)
            return NULL;
    }
}

int net_watch_start(struct net_http *h, struct err *err)
{
    h->slots = mem_alloc(h->n_slots, sizeof(struct net_conn *));
    h->free_slots = mem_alloc(h->n_slots, sizeof *h->free_slots);
    if (h->slots == NULL || h->free_slots == NULL)
        return err_set(err, E_NOMEM, "out of memory");
    for (h->n_free = 0; h->n_free < h->n_slots; h->n_free++)
        h->free_slots[h->n_free] = h->n_slots - 1 - h->n_free;
    h->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    h->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event ev = { .events = EPOLLIN, .data.u64 = STOP_KEY };
    if (h->epoll_fd < 0 || h->stop_fd < 0 ||
        epoll_ctl(h->epoll_fd, EPOLL_CTL_ADD, h->stop_fd, &ev) != 0)
        return err_set(err, E_IO, "cannot watch connections: %s", strerror(errno));
    h->watching = pthread_create(&h->watcher, NULL, watch, h) == 0;
    return h->watching ? 0 : err_set(err, E_NOMEM, "cannot start the thread of connections");
}

void net_watch_stop(struct net_http *h)
{
    if (h->watching) {
        uint64_t one = 1;
        CHECK(write(h->stop_fd, &one, sizeof one) == sizeof one);
        pthread_join(h->watcher, NULL);
    }
    h->watching = false;
    if (h->epoll_fd >= 0)
        close(h->epoll_fd);
    if (h->stop_fd >= 0)
        close(h->stop_fd);
    mem_free(h->slots);
    mem_free(h->free_slots);
}
