/* Goal: calls are answered now, later or in pieces; a client that leaves ends its call; malformed and
 * oversized requests get an error and nothing else; deadlines hold. Raw sockets on loopback. */
#include "unit/test.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/http.h"

#define WAIT_MS 20000 /* nothing waits so long unless it is broken */

/* What the handler sees, and the call that waits for the test. */
struct seen {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct net_call *waiting; /* of /wait or /stream */
    int requests, done, complete, faults;
    int to_send;              /* events /stream may send */
    bool finish;
    char body[64];
};

static struct seen seen;
static struct net_http *server;

/* --- handler ----------------------------------------------------------------------------------- */

static void reply(struct net_call *c, int status, const char *text)
{
    struct buf b;
    buf_init(&b, 1u << 20);
    buf_puts(&b, text);
    net_call_reply(c, status, "text/plain", &b);
}

static void on_request(UNUSED void *ctx, struct net_call *c)
{
    const char *path = net_call_path(c);
    size_t len;
    const char *body = net_call_body(c, &len);
    pthread_mutex_lock(&seen.lock);
    seen.requests++;
    if (strcmp(path, "/wait") == 0 || strcmp(path, "/stream") == 0) {
        seen.waiting = c;
        if (strcmp(path, "/stream") == 0)
            net_call_stream(c, 200, "text/event-stream");
    } else if (strcmp(path, "/echo") == 0) {
        reply(c, 200, body);
    } else {
        net_call_put_header(c, "x-bad", "a\r\nforged: 1");
        net_call_put_header(c, "x-good", "yes");
        reply(c, 404, path);
    }
    pthread_cond_broadcast(&seen.changed);
    pthread_mutex_unlock(&seen.lock);
}

static void on_ready(UNUSED void *ctx, struct net_call *c)
{
    pthread_mutex_lock(&seen.lock);
    if (strcmp(net_call_path(c), "/wait") == 0) {
        if (seen.finish)
            reply(c, 200, "waited");
    } else {
        for (; seen.to_send > 0; seen.to_send--)
            buf_puts(net_call_outbox(c), "data: x\n\n");
        if (seen.finish)
            net_call_end(c);
    }
    pthread_mutex_unlock(&seen.lock);
}

static void on_done(UNUSED void *ctx, UNUSED struct net_call *c, bool complete)
{
    pthread_mutex_lock(&seen.lock);
    seen.done++;
    seen.complete += complete;
    if (seen.waiting == c)
        seen.waiting = NULL;
    pthread_cond_broadcast(&seen.changed);
    pthread_mutex_unlock(&seen.lock);
}

static void on_fault(UNUSED void *ctx, struct net_call *c, int status, const char *text)
{
    pthread_mutex_lock(&seen.lock);
    seen.faults++;
    pthread_mutex_unlock(&seen.lock);
    reply(c, status, text);
}

/* Runs under the lock until the condition holds. */
#define AWAIT(condition)                                                                            \
    do {                                                                                            \
        pthread_mutex_lock(&seen.lock);                                                             \
        struct timespec until;                                                                      \
        clock_gettime(CLOCK_REALTIME, &until);                                                      \
        until.tv_sec += WAIT_MS / 1000;                                                             \
        int rc_ = 0;                                                                                \
        while (!(condition) && rc_ == 0)                                                            \
            rc_ = pthread_cond_timedwait(&seen.changed, &seen.lock, &until);                        \
        bool ok_ = (condition);                                                                     \
        pthread_mutex_unlock(&seen.lock);                                                           \
        assert_true(ok_);                                                                           \
    } while (0)

/* Lets the waiting call go on: more events, and perhaps the end. */
static void let_go(int events, bool finish)
{
    pthread_mutex_lock(&seen.lock);
    seen.to_send += events;
    seen.finish = finish;
    if (seen.waiting != NULL)
        net_call_wake(seen.waiting);
    pthread_mutex_unlock(&seen.lock);
}

/* --- client ------------------------------------------------------------------------------------ */

static int dial(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(net_http_port(server)) };
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Reads until `mark` was seen or the other side closed; appends to out. */
static void hear(int fd, const char *mark, char *out, size_t max)
{
    size_t n = strlen(out);
    while (n + 1 < max && (mark == NULL || strstr(out, mark) == NULL)) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        assert_int_equal(poll(&p, 1, WAIT_MS), 1);
        ssize_t got = recv(fd, out + n, max - 1 - n, 0);
        if (got <= 0)
            break;
        n += (size_t)got;
        out[n] = '\0';
    }
    if (mark != NULL)
        assert_non_null(strstr(out, mark));
}

/* One request on a connection of its own, to its end. */
static void ask(const char *request, char *out, size_t max)
{
    int fd = dial();
    out[0] = '\0';
    say(fd, request);
    hear(fd, NULL, out, max);
    close(fd);
}

static void expect(const char *request, const char *status_line)
{
    char out[8192];
    ask(request, out, sizeof out);
    if (strncmp(out, status_line, strlen(status_line)) != 0)
        fail_msg("wanted %s, got %.200s", status_line, out);
}

#define CLOSE "Host: x\r\nConnection: close\r\n"

/* --- tests -------------------------------------------------------------------------------------- */

static void start(const struct net_http_params *more)
{
    memset(&seen, 0, sizeof seen);
    pthread_mutex_init(&seen.lock, NULL);
    pthread_cond_init(&seen.changed, NULL);
    struct net_http_params p = *more;
    p.handler = (struct net_handler){ on_request, on_ready, on_done, on_fault, NULL };
    p.clock = clock_system();
    p.n_threads = 2;
    struct err err = { 0 };
    assert_int_equal(net_http_create(&server, &p, &err), 0);
    assert_true(net_http_port(server) > 0);
}

static int set_up(UNUSED void **state)
{
    struct net_http_params p = { .body_bytes_max = 1000, .head_bytes_max = 4096 };
    start(&p);
    return 0;
}

static int tear_down(UNUSED void **state)
{
    net_http_destroy(server);
    server = NULL;
    assert_int_equal(seen.done, seen.requests + seen.faults);
    return 0;
}

static void answers_at_once(UNUSED void **state)
{
    char out[4096];
    ask("POST /echo HTTP/1.1\r\n" CLOSE "Content-Length: 5\r\n\r\nhello", out, sizeof out);
    assert_non_null(strstr(out, "HTTP/1.1 200"));
    assert_non_null(strstr(out, "\r\n\r\nhello"));
    ask("POST /echo HTTP/1.1\r\n" CLOSE "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;e=f\r\nde\r\n0\r\n\r\n",
        out, sizeof out);
    assert_non_null(strstr(out, "\r\n\r\nabcde"));
    ask("GET /a%20b?q=1 HTTP/1.1\r\n" CLOSE "\r\n", out, sizeof out);
    assert_non_null(strstr(out, "HTTP/1.1 404"));
    assert_non_null(strstr(out, "\r\n\r\n/a b"));
    assert_non_null(strcasestr(out, "\r\nx-good: yes"));
    assert_null(strstr(out, "forged"));
}

static void http_1_0_and_head(UNUSED void **state)
{
    char out[4096];
    ask("GET /x HTTP/1.0\r\n\r\n", out, sizeof out);
    assert_non_null(strstr(out, " 404 "));
    ask("HEAD /x HTTP/1.1\r\n" CLOSE "\r\n", out, sizeof out);
    assert_non_null(strcasestr(out, "content-length: 2"));
    assert_string_equal(strstr(out, "\r\n\r\n"), "\r\n\r\n");
}

static void pipelined_requests_are_answered_in_order(UNUSED void **state)
{
    char out[8192];
    ask("GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\nGET /3 HTTP/1.1\r\n" CLOSE "\r\n",
        out, sizeof out);
    const char *one = strstr(out, "\r\n\r\n/1");
    const char *two = strstr(out, "\r\n\r\n/2");
    const char *three = strstr(out, "\r\n\r\n/3");
    assert_true(one != NULL && two > one && three > two);
}

static void waits_until_woken(UNUSED void **state)
{
    char out[4096] = "";
    int fd = dial();
    say(fd, "GET /wait HTTP/1.1\r\n" CLOSE "\r\n");
    AWAIT(seen.waiting != NULL);
    let_go(0, false); /* a wake-up for nothing */
    let_go(0, true);
    hear(fd, NULL, out, sizeof out);
    assert_non_null(strstr(out, "waited"));
    close(fd);
    AWAIT(seen.done == 1);
    assert_int_equal(seen.complete, 1);
}

static void streams_as_it_comes(UNUSED void **state)
{
    char out[65536] = "";
    int fd = dial();
    say(fd, "GET /stream HTTP/1.1\r\n" CLOSE "\r\n");
    hear(fd, "\r\n\r\n", out, sizeof out); /* the head is there before the first event */
    assert_null(strstr(out, "data:"));
    for (int i = 0; i < 50; i++) {
        out[0] = '\0';
        let_go(1, false);
        hear(fd, "data: x\n\n", out, sizeof out); /* and each event before the next */
    }
    let_go(0, true);
    out[0] = '\0';
    hear(fd, NULL, out, sizeof out);
    assert_non_null(strstr(out, "0\r\n\r\n")); /* the last chunk */
    close(fd);
    AWAIT(seen.done == 1);
    assert_int_equal(seen.complete, 1);
}

static void hang_up_ends_a_waiting_call(UNUSED void **state)
{
    int fd = dial();
    say(fd, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    AWAIT(seen.waiting != NULL);
    close(fd);
    AWAIT(seen.done == 1);
    assert_int_equal(seen.complete, 0);
}

static void hang_up_ends_a_stream(UNUSED void **state)
{
    char out[4096] = "";
    int fd = dial();
    say(fd, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    AWAIT(seen.waiting != NULL);
    let_go(1, false);
    hear(fd, "data: x", out, sizeof out);
    close(fd);
    AWAIT(seen.done == 1);
    assert_int_equal(seen.complete, 0);
}

static void reset_in_the_middle_of_a_body(UNUSED void **state)
{
    int fd = dial();
    say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc");
    close(fd);
    expect("GET /x HTTP/1.1\r\n" CLOSE "\r\n", "HTTP/1.1 404");
    assert_true(net_http_wait_idle(server, 20));
    assert_int_equal(seen.requests, 1); /* the half request never reached the handler */
}

static void malformed_heads_are_refused(UNUSED void **state)
{
    static const char *const heads[] = {
        "GET / HTTP/1.1\r\n\r\n",                                            /* no host */
        "GET / HTTP/1.1\r\nHost: x\r\nBad Name: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nName : 1\r\n\r\n",                     /* space before colon */
        "GET / HTTP/1.1\r\nHost: x\r\nA: \001\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nnocolon\r\n\r\n",
        "GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1x\r\n\r\na",
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        "GET /a\tb HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        "GARBAGE\r\n\r\n",
    };
    for (size_t i = 0; i < COUNT_OF(heads); i++) {
        char out[8192];
        ask(heads[i], out, sizeof out); /* returns because the connection was closed */
        bool refused = strncmp(out, "HTTP/1.1 4", 10) == 0 || strncmp(out, "HTTP/1.1 505", 12) == 0 ||
                       out[0] == '\0';
        if (!refused)
            fail_msg("head %zu was not refused: %.200s", i, out);
    }
    assert_int_equal(seen.requests, 0);
}

static void too_large_is_refused(UNUSED void **state)
{
    char request[16384];
    char out[8192];
    int n = snprintf(request, sizeof request,
                     "POST /echo HTTP/1.1\r\n" CLOSE "Content-Length: 3000\r\n\r\n");
    memset(request + n, 'a', 3000);
    request[n + 3000] = '\0';
    expect(request, "HTTP/1.1 413");
    expect("POST /echo HTTP/1.1\r\n" CLOSE "Expect: 100-continue\r\nContent-Length: 99999\r\n\r\n",
           "HTTP/1.1 413");
    n = snprintf(request, sizeof request, "GET / HTTP/1.1\r\n" CLOSE "A: ");
    memset(request + n, 'a', 5000);
    memcpy(request + n + 5000, "\r\n\r\n", 5);
    expect(request, "HTTP/1.1 431");
    n = snprintf(request, sizeof request, "GET / HTTP/1.1\r\n" CLOSE);
    for (int i = 0; i < 70; i++)
        n += snprintf(request + n, sizeof request - (size_t)n, "A%d: b\r\n", i);
    memcpy(request + n, "\r\n", 3);
    expect(request, "HTTP/1.1 431");
    ask("POST /echo HTTP/1.1\r\n" CLOSE "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nab", out,
        sizeof out);
    assert_non_null(strstr(out, "100 Continue"));
    assert_non_null(strstr(out, "\r\n\r\nab"));
}

static void busy_port_is_named(UNUSED void **state)
{
    struct net_http_params p = { .port = net_http_port(server), .clock = clock_system() };
    struct net_http *other = NULL;
    struct err err = { 0 };
    char port[16];
    snprintf(port, sizeof port, "%u", net_http_port(server));
    assert_int_equal(net_http_create(&other, &p, &err), E_BUSY);
    assert_non_null(strstr(err.text, port));
    assert_non_null(strstr(err.text, "--port"));
    assert_null(other);
    p = (struct net_http_params){ .host = "no.such.host", .clock = clock_system() };
    assert_int_equal(net_http_create(&other, &p, &err), E_USAGE);
    assert_string_equal(err.field, "host");
}

static void destroy_ends_what_waits(UNUSED void **state)
{
    char out[4096] = "";
    int one = dial(), two = dial();
    say(one, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    AWAIT(seen.waiting != NULL);
    say(two, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    hear(two, "\r\n\r\n", out, sizeof out);
    assert_false(net_http_wait_idle(server, 0.01));
    net_http_destroy(server);
    server = NULL;
    assert_int_equal(seen.done, 2);
    assert_int_equal(seen.complete, 0);
    close(one);
    close(two);
}

/* Deadlines and pings, with short ones; the clock is real because the watcher sleeps on it. */
static void deadlines_hold(UNUSED void **state)
{
    struct net_http_params p = { .head_s = 4, .idle_s = 5, .ping_s = 0.3 };
    start(&p);
    char out[4096] = "";
    int slow = dial(), half = dial(), idle = dial(), quiet = dial();
    say(quiet, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    say(slow, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\na");
    say(half, "GET / HTTP/1.1\r\nHost:");
    say(idle, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n");
    hear(slow, NULL, out, sizeof out);
    assert_non_null(strstr(out, "HTTP/1.1 408"));
    out[0] = '\0';
    hear(half, NULL, out, sizeof out);
    assert_non_null(strstr(out, "HTTP/1.1 408"));
    out[0] = '\0';
    hear(quiet, ": ping\n\n", out, sizeof out);
    out[0] = '\0';
    hear(idle, NULL, out, sizeof out); /* closed after its answer and a while */
    assert_non_null(strstr(out, "HTTP/1.1 404"));
    close(slow);
    close(half);
    close(idle);
    close(quiet);
    net_http_destroy(server);
    server = NULL;
}

int http_test(void);
int http_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(answers_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(http_1_0_and_head, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pipelined_requests_are_answered_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(waits_until_woken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(streams_as_it_comes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hang_up_ends_a_waiting_call, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hang_up_ends_a_stream, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reset_in_the_middle_of_a_body, set_up, tear_down),
        cmocka_unit_test_setup_teardown(malformed_heads_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(too_large_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(busy_port_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(destroy_ends_what_waits, set_up, tear_down),
        cmocka_unit_test(deadlines_hold),
    };
    return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
