/* The service manager's protocol: datagrams arrive at a path and at an abstract name; without a
 * manager nothing happens. */
#include "unit/test.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "os/notify.h"

static int listen_at(const char *name, size_t len)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    memcpy(at.sun_path, name, len);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    assert_int_equal(bind(fd, (const struct sockaddr *)&at, size), 0);
    return fd;
}

static void expect(int fd, const char *text)
{
    char got[128] = "";
    ssize_t n = recv(fd, got, sizeof got - 1, 0);
    assert_true(n > 0);
    assert_string_equal(got, text);
}

static void lines_arrive(void **state)
{
    (void)state;
    char path[64], abstract[64];
    snprintf(path, sizeof path, "/tmp/naru-notify-%d", (int)getpid());
    snprintf(abstract, sizeof abstract, "@naru-notify-%d", (int)getpid());
    int fd = listen_at(path, strlen(path));
    setenv("NOTIFY_SOCKET", path, 1);
    os_notify("READY=1");
    expect(fd, "READY=1");
    os_notify_reloading(5000000);
    expect(fd, "RELOADING=1\nMONOTONIC_USEC=5000");
    close(fd);
    unlink(path);
    setenv("NOTIFY_SOCKET", abstract, 1);
    char name[64] = { 0 };
    memcpy(name + 1, abstract + 1, strlen(abstract) - 1);
    fd = listen_at(name, strlen(abstract));
    os_notify("STOPPING=1");
    expect(fd, "STOPPING=1");
    close(fd);
    unsetenv("NOTIFY_SOCKET");
    os_notify("nobody is there");
}

int notify_test(void);
int notify_test(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(lines_arrive) };
    return cmocka_run_group_tests_name("os/notify", tests, NULL, NULL);
}
