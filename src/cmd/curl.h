/* cmd/curl.h - libcurl, loaded when it is needed.
 *
 * Idea: dlopen instead of a link, so that `naru serve` cannot call out even by mistake.
 * Threads: main.   Cost: a few milliseconds, once. */
#ifndef CMD_CURL_H
#define CMD_CURL_H

#include <curl/curl.h>

#include "base/err.h"

struct cmd_curl {
    void *library;
    CURLcode (*global_init)(long flags);
    void (*global_cleanup)(void);
    CURL *(*easy_init)(void);
    CURLcode (*easy_setopt)(CURL *h, CURLoption option, ...);
    CURLcode (*easy_perform)(CURL *h);
    CURLcode (*easy_getinfo)(CURL *h, CURLINFO info, ...);
    void (*easy_cleanup)(CURL *h);
    const char *(*easy_strerror)(CURLcode code);
    struct curl_slist *(*slist_append)(struct curl_slist *list, const char *text);
    void (*slist_free_all)(struct curl_slist *list);
};

/* E_UNSUPPORTED if libcurl is not installed. */
NODISCARD int cmd_curl_open(struct cmd_curl *c, struct err *err);
void cmd_curl_close(struct cmd_curl *c);

#endif
