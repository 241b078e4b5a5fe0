/* Goal: the server and a real engine under many clients that stream, wait, leave and are cut off; run with the
 * thread sanitizer this is the test of who may touch what. */
#include "unit/test.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/server.h"
#include "base/rng.h"
#include "device/device.h"
#include "model/model.h"

#define N_CLIENTS 6
#define N_REQUESTS 12
#define WAIT_MS 60000

static struct {
    struct model_file *file;
    struct device *device;
    struct model *model;
    struct text_tokenizer *tokenizer;
    struct engine *engine;
    struct api_server *server;
} all;

static int open_all(UNUSED void **state)
{
    memset(&all, 0, sizeof all);
    if (test_shared_dir() == NULL)
        return 0;
    char path[1024];
    snprintf(path, sizeof path, "%s/models/stories260k-f32.gguf", test_shared_dir());
    struct err err = { 0 };
    struct device_params dp = { .n_threads = 2 };
    struct model_params mp = { 0 };
    if (model_file_open(&all.file, path, &err) < 0 || device_create(&all.device, &dp, &err) < 0 ||
        model_create(&all.model, all.file, all.device, &mp, &err) < 0 ||
        model_file_tokenizer(all.file, &all.tokenizer, &err) < 0)
        return -1;
    struct engine_params ep = { .model = all.model, .tokenizer = all.tokenizer,
                                .clock = clock_system(), .n_seqs_max = 4, .check = true };
    if (engine_create(&all.engine, &ep, &err) < 0)
        return -1;
    struct api_params ap = { .engine = all.engine, .tokenizer = all.tokenizer, .model_id = "m",
                             .clock = clock_system(), .seed = 1 };
    return api_server_create(&all.server, &ap, &err);
}

static int close_all(UNUSED void **state)
{
    api_server_destroy(all.server);
    engine_destroy(all.engine);
    text_tokenizer_destroy(all.tokenizer);
    model_destroy(all.model);
    device_destroy(all.device);
    model_file_close(all.file);
    return 0;
}

static int dial(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(api_server_port(all.server)) };
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void ask(int fd, bool stream, int tokens)
{
    char body[256], head[256];
    int n = snprintf(body, sizeof body, "{\"prompt\":\"Once upon a time\",\"max_tokens\":%d,\"n\":2,"
                                        "\"temperature\":0,\"ignore_eos\":true,\"stream\":%s}",
                     tokens, stream ? "true" : "false");
    int h = snprintf(head, sizeof head, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close"
                                        "\r\nContent-Length: %d\r\n\r\n", n);
    (void)!send(fd, head, (size_t)h, MSG_NOSIGNAL);
    (void)!send(fd, body, (size_t)n, MSG_NOSIGNAL);
}

/* Reads at most max bytes or to the end; -1 if nothing came for too long. */
static ssize_t hear(int fd, char *out, size_t max)
{
    size_t n = 0;
    while (n < max) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        if (poll(&p, 1, WAIT_MS) != 1)
            return -1;
        ssize_t got = recv(fd, out + n, max - n, 0);
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    return (ssize_t)n;
}

/* One client: whole and streamed answers, some left in the middle. Returns the number of failures. */
static void *client(void *arg)
{
    struct rng rng;
    rng_seed(&rng, (uint64_t)(uintptr_t)arg);
    static _Thread_local char out[1 << 18];
    uintptr_t failed = 0;
    for (int i = 0; i < N_REQUESTS; i++) {
        bool stream = rng_below(&rng, 2) == 0;
        bool leaves = rng_below(&rng, 3) == 0;
        int fd = dial();
        if (fd < 0)
            return (void *)(failed + 1);
        ask(fd, stream, leaves ? 400 : 1 + (int)rng_below(&rng, 20));
        ssize_t n = leaves && !stream ? 0 : hear(fd, out, leaves ? 100 : sizeof out - 1);
        close(fd);
        out[n > 0 ? n : 0] = '\0';
        const char *end = stream ? "data: [DONE]" : "\"finish_reason\":\"length\"";
        failed += n < 0 || (!leaves && strstr(out, end) == NULL);
    }
    return (void *)failed;
}

static void many_clients(UNUSED void **state)
{
    if (all.server == NULL)
        skip();
    pthread_t threads[N_CLIENTS];
    for (uintptr_t i = 0; i < N_CLIENTS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, client, (void *)(i + 1)), 0);
    for (int i = 0; i < N_CLIENTS; i++) {
        void *failed = NULL;
        pthread_join(threads[i], &failed);
        assert_int_equal((uintptr_t)failed, 0);
    }
    /* All that the clients who left had asked for is given back. */
    struct engine_stats stats;
    int fd = dial();
    char out[4096];
    ask(fd, false, 1);
    assert_true(hear(fd, out, sizeof out) > 0);
    close(fd);
    assert_int_equal(engine_drain(all.engine, 60), 0);
    engine_stats(all.engine, &stats);
    assert_int_equal(stats.n_running + stats.n_waiting, 0);
    assert_int_equal(stats.blocks_used, 0);
}

/* What runs when the server is told to end gets an error event, no [DONE] and no reset. */
static void drain_tells(UNUSED void **state)
{
    if (all.server == NULL)
        skip();
    static char out[1 << 20];
    int fd = dial();
    ask(fd, true, 100000);
    ssize_t n = hear(fd, out, 200);
    assert_true(n > 0);
    int rc = api_server_drain(all.server, 0);
    ssize_t more = hear(fd, out + n, sizeof out - 1 - (size_t)n);
    assert_true(more >= 0);
    out[n + more] = '\0';
    close(fd);
    bool cut = strstr(out, "shutting_down") != NULL;
    assert_true(rc == 0 || rc == E_TIMEOUT);
    assert_true(cut == (strstr(out, "[DONE]") == NULL));
    assert_string_equal(out + n + more - 5, "0\r\n\r\n"); /* a clean end either way */
    fd = dial();
    ask(fd, true, 1);
    n = hear(fd, out, sizeof out - 1);
    assert_true(n > 0);
    out[n] = '\0';
    assert_non_null(strstr(out, "HTTP/1.1 503"));
    assert_non_null(strcasestr(out, "retry-after-ms:"));
    close(fd);
}

int server_test(void);
int server_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(many_clients, open_all, close_all),
        cmocka_unit_test_setup_teardown(drain_tells, open_all, close_all),
    };
    return cmocka_run_group_tests_name("server", tests, NULL, NULL);
}
