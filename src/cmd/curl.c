#include "cmd/curl.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

/* A function out of the library; POSIX lets a data pointer carry it. */
static bool load(void *library, const char *name, void *function, size_t bytes)
{
    void *symbol = dlsym(library, name);
    ASSERT(bytes == sizeof symbol);
    memcpy(function, &symbol, bytes);
    return symbol != NULL;
}

int cmd_curl_open(struct cmd_curl *c, struct err *err)
{
    *c = (struct cmd_curl){ .library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL) };
    if (c->library == NULL)
        return err_set(err, E_UNSUPPORTED, "libcurl is not installed (Debian: libcurl4)");
#define LOAD(NAME) load(c->library, "curl_" #NAME, &c->NAME, sizeof c->NAME)
    bool all = LOAD(global_init) && LOAD(global_cleanup) && LOAD(easy_init) &&
               LOAD(easy_setopt) && LOAD(easy_perform) && LOAD(easy_getinfo) &&
               LOAD(easy_cleanup) && LOAD(easy_strerror) && LOAD(slist_append) &&
               LOAD(slist_free_all);
#undef LOAD
    if (!all || c->global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        dlclose(c->library);
        c->library = NULL;
        return err_set(err, E_UNSUPPORTED, "the libcurl here is too old or does not start");
    }
    return 0;
}

void cmd_curl_close(struct cmd_curl *c)
{
    if (c->library != NULL)
        c->global_cleanup();
    c->library = NULL; /* stays mapped: its TLS library registers exit handlers */
}
