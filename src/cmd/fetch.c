/* The sum is taken while bytes arrive, and over the old part first when one is taken up: reading a
 * disk is faster than a network, and a part that rotted must not be trusted. */
#include "cmd/fetch.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "cmd/curl.h"
#include "os/file.h"

#define CONNECT_S 30L
#define SILENCE_S 60L
#define REDIRECTS_MAX 10L
enum { CHUNK = 1 << 16, VALIDATOR_MAX = 256, PATH_LEN_MAX = 4096, URL_MAX = 8192 };

struct fetch {
    const struct cmd_fetch_params *p;
    struct cmd_curl curl;
    CURL *h;
    int fd;
    EVP_MD_CTX *sum;
    char part[PATH_LEN_MAX], from[PATH_LEN_MAX];
    uint64_t have;         /* bytes in the part */
    uint64_t total;        /* 0: not known */
    char validator[VALIDATOR_MAX]; /* strong ETag or Last-Modified of the part; "": none */
    char named_sum[65];    /* by the server */
    /* of the answer that is coming in */
    long status;
    bool body_checked, stopped;
    char etag[VALIDATOR_MAX], modified[VALIDATOR_MAX];
    uint64_t range_from, range_total;
    bool has_range;
    struct err *err;
};

/* --- small parts --- */

static bool is_sum(const char *s)
{
    return strspn(s, "0123456789abcdefABCDEF") == 64 && s[64] == '\0';
}

static int io_fail(struct fetch *f, const char *what, const char *path)
{
    f->stopped = true;
    return err_set(f->err, E_IO, "%s %s: %s", what, path, strerror(errno));
}

static int sum_begin(struct fetch *f)
{
    if (EVP_DigestInit_ex(f->sum, EVP_sha256(), NULL) != 1)
        return err_set(f->err, E_NOMEM, "SHA-256 does not start");
    return 0;
}

static void sum_hex(EVP_MD_CTX *sum, char hex[65])
{
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    CHECK(EVP_DigestFinal_ex(sum, md, &n) == 1 && n == 32);
    for (unsigned i = 0; i < n; i++)
        snprintf(hex + 2 * i, 3, "%02x", md[i]);
}

/* Adds the file from its beginning to the sum; returns its length or -1. */
static int64_t sum_file(EVP_MD_CTX *sum, int fd)
{
    unsigned char buf[CHUNK];
    int64_t at = 0;
    for (;;) {
        ssize_t n = pread(fd, buf, sizeof buf, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -1 : at;
        CHECK(EVP_DigestUpdate(sum, buf, (size_t)n) == 1);
        at += n;
    }
}

int cmd_file_sha256(const char *path, char hex[65], struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, errno == ENOENT ? E_NOT_FOUND : E_IO, "%s: %s", path, strerror(errno));
    EVP_MD_CTX *sum = EVP_MD_CTX_new();
    int rc = sum == NULL || EVP_DigestInit_ex(sum, EVP_sha256(), NULL) != 1
                 ? err_set(err, E_NOMEM, "out of memory")
                 : 0;
    if (rc == 0 && sum_file(sum, fd) < 0)
        rc = err_set(err, E_IO, "%s: %s", path, strerror(errno));
    if (rc == 0)
        sum_hex(sum, hex);
    EVP_MD_CTX_free(sum);
    close(fd);
    return rc;
}

/* --- the part and where it came from --- */

/* Empties the part: what comes is the file from its first byte. */
static int restart(struct fetch *f)
{
    f->have = 0;
    if (ftruncate(f->fd, 0) != 0)
        return io_fail(f, "emptying", f->part);
    return sum_begin(f);
}

static int open_part(struct fetch *f)
{
    f->fd = open(f->part, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (f->fd < 0)
        return io_fail(f, "opening", f->part);
    if (flock(f->fd, LOCK_EX | LOCK_NB) != 0)
        return err_set(f->err, E_BUSY, "%s: another pull is writing it", f->part);
    return 0;
}

/* Takes up a part that an earlier run left, if it is of this url and can be continued safely. */
static int take_up(struct fetch *f)
{
    char *text = NULL;
    size_t len;
    struct err ignored = { 0 };
    TRY(sum_begin(f));
    if (os_read_file(f->from, URL_MAX + VALIDATOR_MAX, &text, &len, &ignored) < 0)
        return restart(f);
    char *second = strchr(text, '\n');
    if (second != NULL)
        *second++ = '\0';
    bool same = second != NULL && strcmp(text, f->p->url) == 0;
    if (same)
        snprintf(f->validator, sizeof f->validator, "%.*s", (int)strcspn(second, "\n"), second);
    mem_free(text);
    if (!same || f->validator[0] == '\0')
        return restart(f);
    int64_t n = sum_file(f->sum, f->fd);
    if (n < 0)
        return io_fail(f, "reading", f->part);
    f->have = (uint64_t)n;
    return 0;
}

static int note_origin(struct fetch *f)
{
    char text[URL_MAX + VALIDATOR_MAX];
    int n = snprintf(text, sizeof text, "%s\n%s\n", f->p->url, f->validator);
    return os_write_file(f->from, text, (size_t)n, f->err);
}

/* --- what comes in --- */

static void copy_value(char *to, size_t size, const char *from, size_t n)
{
    while (n > 0 && isspace((unsigned char)from[n - 1]))
        n--;
    while (n > 0 && isspace((unsigned char)*from))
        from++, n--;
    if (n < size)
        snprintf(to, size, "%.*s", (int)n, from);
}

static bool header_is(const char *line, size_t n, const char *name)
{
    size_t len = strlen(name);
    return n > len && line[len] == ':' && strncasecmp(line, name, len) == 0;
}

static size_t on_header(char *line, size_t size, size_t n, void *ctx)
{
    struct fetch *f = ctx;
    char value[VALIDATOR_MAX] = "";
    const char *colon = memchr(line, ':', n);
    if (n > 5 && strncmp(line, "HTTP/", 5) == 0) { /* a new answer: of a redirection, or the last */
        f->etag[0] = f->modified[0] = '\0';
        f->has_range = false;
        return size * n;
    }
    if (colon != NULL)
        copy_value(value, sizeof value, colon + 1, n - (size_t)(colon + 1 - line));
    if (header_is(line, n, "etag"))
        memcpy(f->etag, value, sizeof value);
    else if (header_is(line, n, "last-modified"))
        memcpy(f->modified, value, sizeof value);
    else if (header_is(line, n, "content-range"))
        f->has_range = sscanf(value, "bytes %" SCNu64 "-%*u/%" SCNu64, &f->range_from,
                              &f->range_total) == 2;
    else if (header_is(line, n, "x-linked-etag") && strlen(value) == 66 && value[0] == '"') {
        value[65] = '\0';
        if (is_sum(value + 1))
            memcpy(f->named_sum, value + 1, 65);
    }
    return size * n;
}

/* Before the first byte: does it continue the part, or replace it? */
static int begin_body(struct fetch *f)
{
    curl_off_t length = -1;
    f->curl.easy_getinfo(f->h, CURLINFO_RESPONSE_CODE, &f->status);
    f->curl.easy_getinfo(f->h, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    f->body_checked = true;
    if (f->status == 206 && f->has_range && f->range_from == f->have) {
        f->total = f->range_total;
        return 0;
    }
    TRY(restart(f));
    if (f->status != 200) /* another range than asked for: the next try asks for all of it */
        return err_set(f->err, E_IO, "the server sent another range than asked for");
    f->total = length > 0 ? (uint64_t)length : 0;
    bool strong = f->etag[0] == '"';
    memcpy(f->validator, strong ? f->etag : f->modified, sizeof f->validator);
    return note_origin(f);
}

static size_t on_body(char *data, size_t size, size_t n, void *ctx)
{
    struct fetch *f = ctx;
    f->curl.easy_getinfo(f->h, CURLINFO_RESPONSE_CODE, &f->status);
    if (f->status >= 300) /* the words of an error: not for the file */
        return size * n;
    if (!f->body_checked && begin_body(f) < 0)
        return 0;
    for (size_t done = 0; done < size * n;) {
        ssize_t w = pwrite(f->fd, data + done, size * n - done, (off_t)f->have);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0) {
            io_fail(f, "writing", f->part);
            return 0;
        }
        CHECK(EVP_DigestUpdate(f->sum, data + done, (size_t)w) == 1);
        done += (size_t)w;
        f->have += (uint64_t)w;
    }
    if (f->p->progress != NULL)
        f->p->progress(f->p->ctx, f->have, f->total);
    return size * n;
}

/* --- one connection --- */

static void set_options(struct fetch *f, struct curl_slist *headers)
{
    const struct cmd_curl *c = &f->curl;
    bool tls = strncasecmp(f->p->url, "https:", 6) == 0;
    c->easy_setopt(f->h, CURLOPT_URL, f->p->url);
    c->easy_setopt(f->h, CURLOPT_PROTOCOLS_STR, "http,https");
    c->easy_setopt(f->h, CURLOPT_REDIR_PROTOCOLS_STR, tls ? "https" : "http,https");
    c->easy_setopt(f->h, CURLOPT_FOLLOWLOCATION, 1L);
    c->easy_setopt(f->h, CURLOPT_MAXREDIRS, REDIRECTS_MAX);
    c->easy_setopt(f->h, CURLOPT_CONNECTTIMEOUT, CONNECT_S);
    c->easy_setopt(f->h, CURLOPT_LOW_SPEED_LIMIT, 1L);
    c->easy_setopt(f->h, CURLOPT_LOW_SPEED_TIME, SILENCE_S);
    c->easy_setopt(f->h, CURLOPT_NOSIGNAL, 1L);
    c->easy_setopt(f->h, CURLOPT_USERAGENT, "naru");
    c->easy_setopt(f->h, CURLOPT_HTTPHEADER, headers);
    c->easy_setopt(f->h, CURLOPT_HEADERFUNCTION, on_header);
    c->easy_setopt(f->h, CURLOPT_HEADERDATA, f);
    c->easy_setopt(f->h, CURLOPT_WRITEFUNCTION, on_body);
    c->easy_setopt(f->h, CURLOPT_WRITEDATA, f);
}

static struct curl_slist *make_headers(struct fetch *f)
{
    struct curl_slist *list = NULL;
    char line[URL_MAX];
    if (f->p->token != NULL) {
        snprintf(line, sizeof line, "Authorization: Bearer %s", f->p->token);
        list = f->curl.slist_append(list, line);
    }
    if (f->have > 0) {
        snprintf(line, sizeof line, "Range: bytes=%" PRIu64 "-", f->have);
        list = f->curl.slist_append(list, line);
        snprintf(line, sizeof line, "If-Range: %s", f->validator);
        list = f->curl.slist_append(list, line);
    }
    return list;
}

static int status_fail(struct fetch *f)
{
    f->stopped = f->status < 500 && f->status != 408 && f->status != 429;
    const char *hint = f->status == 404 ? ": no such file there"
                       : f->status == 401 || f->status == 403
                           ? ": it wants a token (NARU_HUB_TOKEN), or yours may not read it"
                           : "";
    return err_set(f->err, E_IO, "%s: the server answered %ld%s", f->p->url, f->status, hint);
}

/* The last answer is in; is the file whole? */
static int end_of_answer(struct fetch *f, CURLcode code)
{
    f->curl.easy_getinfo(f->h, CURLINFO_RESPONSE_CODE, &f->status);
    if (f->status == 416 && f->have > 0) { /* the part is as long as the file, or longer */
        TRY(restart(f));
        return err_set(f->err, E_IO, "the part does not fit the file; starting again");
    }
    if (f->status >= 300)
        return status_fail(f);
    if (f->err->code < 0)
        return f->err->code;
    if (code != CURLE_OK)
        return err_set(f->err, E_IO, "%s: %s", f->p->url, f->curl.easy_strerror(code));
    if (!f->body_checked) /* an empty file */
        TRY(begin_body(f));
    if (f->total != 0 && f->have != f->total)
        return err_set(f->err, E_IO, "%s: %" PRIu64 " of %" PRIu64 " bytes came", f->p->url,
                       f->have, f->total);
    return 0;
}

static int connect_once(struct fetch *f)
{
    f->status = 0;
    f->body_checked = false;
    *f->err = (struct err){ 0 };
    f->h = f->curl.easy_init();
    if (f->h == NULL)
        return err_set(f->err, E_NOMEM, "out of memory");
    struct curl_slist *headers = make_headers(f);
    set_options(f, headers);
    CURLcode code = f->curl.easy_perform(f->h);
    int rc = end_of_answer(f, code);
    if (code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_URL_MALFORMAT ||
        code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_TOO_MANY_REDIRECTS)
        f->stopped = true;
    f->curl.easy_cleanup(f->h);
    f->curl.slist_free_all(headers);
    return rc;
}

static void pause_s(double s)
{
    struct timespec t = { .tv_sec = (time_t)s, .tv_nsec = (long)((s - (double)(time_t)s) * 1e9) };
    while (nanosleep(&t, &t) != 0 && errno == EINTR)
        continue;
}

static int transfer(struct fetch *f)
{
    double wait_s = f->p->pause_s;
    for (uint32_t idle = 0;;) {
        uint64_t before = f->have;
        int rc = connect_once(f);
        if (rc == 0 || f->stopped)
            return rc;
        if (f->have > before) { /* something came: it is worth going on */
            idle = 0;
            wait_s = f->p->pause_s;
        }
        if (++idle >= f->p->tries)
            return rc;
        if (f->have > 0 && f->validator[0] == '\0')
            TRY(restart(f));
        if (f->p->retry != NULL)
            f->p->retry(f->p->ctx, f->err->text);
        pause_s(wait_s);
        wait_s *= 2;
    }
}

/* --- the end --- */

static int sync_folder(struct fetch *f)
{
    char copy[PATH_LEN_MAX];
    snprintf(copy, sizeof copy, "%s", f->p->path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd >= 0 ? fsync(fd) : -1;
    if (fd >= 0)
        close(fd);
    return rc == 0 ? 0 : io_fail(f, "syncing the folder of", f->p->path);
}

static int publish(struct fetch *f, struct cmd_fetch_result *out)
{
    const char *want = f->p->sha256 != NULL         ? f->p->sha256
                       : f->named_sum[0] != '\0' ? f->named_sum
                                                 : NULL;
    sum_hex(f->sum, out->sha256);
    out->bytes = f->have;
    out->verified = want != NULL;
    if (want != NULL && strcasecmp(want, out->sha256) != 0) {
        unlink(f->part);
        unlink(f->from);
        return err_set(f->err, E_FORMAT, "%s: SHA-256 is %s, expected %s; nothing was kept",
                       f->p->url, out->sha256, want);
    }
    if (fsync(f->fd) != 0)
        return io_fail(f, "syncing", f->part);
    if (rename(f->part, f->p->path) != 0)
        return io_fail(f, "renaming", f->part);
    unlink(f->from);
    return sync_folder(f);
}

static int check(const struct cmd_fetch_params *p, struct err *err)
{
    if (strncasecmp(p->url, "http://", 7) != 0 && strncasecmp(p->url, "https://", 8) != 0)
        return err_set(err, E_USAGE, "%.100s: must begin with http:// or https://", p->url);
    if (strlen(p->url) >= URL_MAX || strchr(p->url, '\n') != NULL)
        return err_set(err, E_USAGE, "the url is too long or no url");
    if (p->sha256 != NULL && !is_sum(p->sha256))
        return err_set_field(err, E_USAGE, "sha256", "--sha256: must be 64 hexadecimal digits");
    if (p->token != NULL && (strlen(p->token) > VALIDATOR_MAX || strpbrk(p->token, "\r\n") != NULL))
        return err_set(err, E_USAGE, "the token is too long or has line breaks");
    if (strlen(p->path) + sizeof ".part.from" > PATH_LEN_MAX)
        return err_set(err, E_USAGE, "the path is too long");
    return 0;
}

int cmd_fetch(const struct cmd_fetch_params *p, struct cmd_fetch_result *out, struct err *err)
{
    struct fetch f = { .p = p, .fd = -1, .err = err };
    struct cmd_fetch_result r = { 0 };
    TRY(check(p, err));
    snprintf(f.part, sizeof f.part, "%s.part", p->path);
    snprintf(f.from, sizeof f.from, "%s.part.from", p->path);
    TRY(cmd_curl_open(&f.curl, err));
    f.sum = EVP_MD_CTX_new();
    int rc = f.sum == NULL ? err_set(err, E_NOMEM, "out of memory") : open_part(&f);
    if (rc == 0)
        rc = take_up(&f);
    r.resumed_at = f.have;
    if (rc == 0)
        rc = transfer(&f);
    if (rc == 0)
        rc = publish(&f, &r);
    if (f.fd >= 0 && rc < 0 && rc != E_BUSY && f.have == 0) { /* an empty part is of no use */
        unlink(f.part);
        unlink(f.from);
    }
    if (f.fd >= 0)
        close(f.fd);
    EVP_MD_CTX_free(f.sum);
    cmd_curl_close(&f.curl);
    if (rc == 0)
        *out = r;
    return rc;
}
