#include "net/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 1024

static socklen_t parse_address(const char *host, uint16_t port, struct sockaddr_storage *out)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    memset(out, 0, sizeof *out);
    if (strcmp(host, "localhost") == 0)
        host = "127.0.0.1";
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        return sizeof *v4;
    }
    if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        return sizeof *v6;
    }
    return 0;
}

static int tell(int error, const char *host, uint16_t port, struct err *err)
{
    switch (error) {
    case EADDRINUSE:
        return err_set_field(err, E_BUSY, "port",
                             "%s:%u is in use by another program; choose another port with "
                             "--port N (0: any free one) or stop that program", host, port);
    case EACCES:
    case EPERM:
        return err_set_field(err, E_DENIED, "port",
                             "%s:%u may not be used by this user; choose a port above 1023 with "
                             "--port N", host, port);
    case EADDRNOTAVAIL:
        return err_set_field(err, E_USAGE, "host",
                             "%s is no address of this machine; choose one with --host ADDRESS "
                             "(127.0.0.1: this machine only, 0.0.0.0: every interface)", host);
    default:
        return err_set_field(err, E_IO, "port", "cannot listen on %s:%u: %s", host, port,
                             strerror(error));
    }
}

int net_listen(const char *host, uint16_t port, int *fd, uint16_t *bound, struct err *err)
{
    struct sockaddr_storage address;
    socklen_t len = parse_address(host, port, &address);
    if (len == 0)
        return err_set_field(err, E_USAGE, "host",
                             "%s is no numeric address; give for example --host 127.0.0.1 (this "
                             "machine only) or 0.0.0.0 (every interface)", host);
    int s = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s < 0)
        return tell(errno, host, port, err);
    int on = 1; /* a restart need not wait for old connections to time out */
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(s, (struct sockaddr *)&address, len) != 0 || listen(s, BACKLOG) != 0 ||
        getsockname(s, (struct sockaddr *)&address, &len) != 0) {
        int error = errno;
        close(s);
        return tell(error, host, port, err);
    }
    *bound = ntohs(address.ss_family == AF_INET ? ((struct sockaddr_in *)&address)->sin_port
                                                : ((struct sockaddr_in6 *)&address)->sin6_port);
    *fd = s;
    return 0;
}

/* Does somebody answer there? */
static bool is_alive(const struct sockaddr_un *a)
{
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool alive = s >= 0 && connect(s, (const struct sockaddr *)a, sizeof *a) == 0;
    if (s >= 0)
        close(s);
    return alive;
}

static int bind_unix(int s, const struct sockaddr_un *a, struct err *err)
{
    struct stat st;
    if (is_alive(a))
        return err_set_field(err, E_BUSY, "socket", "%s: another server listens there",
                             a->sun_path);
    if (lstat(a->sun_path, &st) == 0 && !S_ISSOCK(st.st_mode))
        return err_set_field(err, E_USAGE, "socket", "%s is there and is no socket", a->sun_path);
    unlink(a->sun_path);
    /* The mode is set on the descriptor before the name exists: at no moment may others open it. */
    if (fchmod(s, 0600) != 0 || bind(s, (const struct sockaddr *)a, sizeof *a) != 0 ||
        chmod(a->sun_path, 0600) != 0 || listen(s, BACKLOG) != 0)
        return err_set_field(err, E_IO, "socket", "cannot listen on %s: %s", a->sun_path,
                             strerror(errno));
    return 0;
}

int net_listen_unix(const char *path, int *fd, struct err *err)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof a.sun_path || path[0] == '\0')
        return err_set_field(err, E_USAGE, "socket", "%s: the path of a socket has 1 to %zu bytes",
                             path, sizeof a.sun_path - 1);
    memcpy(a.sun_path, path, strlen(path) + 1);
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s < 0)
        return err_set_field(err, E_IO, "socket", "no socket: %s", strerror(errno));
    int rc = bind_unix(s, &a, err);
    if (rc < 0) {
        close(s);
        return rc;
    }
    *fd = s;
    return 0;
}
