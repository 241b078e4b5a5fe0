/* cmd/fetch.h - one file over HTTP, whole or not at all.
 *
 * Idea: bytes go to PATH.part beside their place, are checked, synced, and renamed. What a cut
 * connection left is taken up again with a range request, if the server can promise (If-Range) that
 * it is still the same file.
 *
 *     GET -> PATH.part (+ PATH.part.from: url, validator) -> SHA-256 -> fsync -> rename to PATH
 *              ^-- cut: again from where it is, `tries` times, and in the next run
 *
 * Rules: 1. PATH appears only complete and, where a sum is known, verified; 2. a wrong sum deletes
 *     the part; 3. http and https only, and never from https down to http; 4. one fetch a PATH
 *     (flock); 5. libcurl is loaded here when needed and nowhere else: a process that serves has no
 *     HTTP client in it (G-19, R20).
 * Threads: the caller's.   Cost: a pass of SHA-256 over the file. */
#ifndef CMD_FETCH_H
#define CMD_FETCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct cmd_fetch_params {
    const char *url, *path;
    const char *sha256;    /* 64 hex digits; NULL: what the server names, if anything */
    const char *token;     /* sent as a bearer token, to the first host only; NULL: none */
    uint32_t tries;        /* connections in a row that bring nothing new */
    double pause_s;        /* before the second; doubles */
    void (*progress)(void *ctx, uint64_t done, uint64_t total); /* total 0: not known */
    void (*retry)(void *ctx, const char *why);
    void *ctx;
};

struct cmd_fetch_result {
    uint64_t bytes, resumed_at;
    char sha256[65];
    bool verified;         /* against a sum that was given or named */
};

/* E_IO (network, disk, status), E_FORMAT (wrong sum), E_BUSY (another fetch), E_UNSUPPORTED (no
 * libcurl), E_USAGE (scheme, sum), E_NOMEM. */
NODISCARD int cmd_fetch(const struct cmd_fetch_params *p, struct cmd_fetch_result *out,
                        struct err *err);
/* SHA-256 of a file as 64 hex digits. E_NOT_FOUND, E_IO. */
NODISCARD int cmd_file_sha256(const char *path, char hex[65], struct err *err);

#endif
