#include "api/route.h"

#include <stdio.h>
#include <string.h>

#include "api/call.h"

static const struct api_route routes[] = {
    { "/v1/chat/completions", API_ROLE_USER, .post = api_route_chat },
    { "/v1/completions", API_ROLE_USER, .post = api_route_completions },
    { "/v1/embeddings", API_ROLE_USER, .post = api_route_embeddings },
    { "/v1/models", API_ROLE_USER, .get = api_route_models },
    { "/v1/models/", API_ROLE_USER, .get = api_route_model },
    { "/v1/responses", API_ROLE_USER, .post = api_route_responses },
    { "/v1/responses/input_tokens", API_ROLE_USER, .post = api_route_count_input },
    { "/v1/responses/", API_ROLE_USER, .get = api_route_response_get,
      .delete = api_route_response_delete },
    { "/v1/messages", API_ROLE_USER, .post = api_route_messages },
    { "/v1/messages/count_tokens", API_ROLE_USER, .post = api_route_count_messages },
    { "/tokenize", API_ROLE_USER, .post = api_route_tokenize },
    { "/detokenize", API_ROLE_USER, .post = api_route_detokenize },
    { "/apply-template", API_ROLE_USER, .post = api_route_apply_template },
    { "/", API_ROLE_OPEN, .get = api_route_page },
    { "/health", API_ROLE_OPEN, .get = api_route_health },
    { "/ready", API_ROLE_OPEN, .get = api_route_ready },
    { "/version", API_ROLE_METRICS, .get = api_route_version },
    { "/stats", API_ROLE_METRICS, .get = api_route_stats },
    { "/metrics", API_ROLE_METRICS, .get = api_route_metrics },
};

/* Only for who may open the socket; keys are not asked for. */
static const struct api_route admin_routes[] = {
    { "/admin/keys", API_ROLE_OPEN, .get = api_route_admin_keys, .post = api_route_admin_add },
    { "/admin/keys/", API_ROLE_OPEN, .delete = api_route_admin_revoke },
    { "/admin/usage", API_ROLE_OPEN, .get = api_route_admin_usage },
    { "/health", API_ROLE_OPEN, .get = api_route_health },
    { "/ready", API_ROLE_OPEN, .get = api_route_ready },
    { "/version", API_ROLE_OPEN, .get = api_route_version },
    { "/stats", API_ROLE_OPEN, .get = api_route_stats },
    { "/metrics", API_ROLE_OPEN, .get = api_route_metrics },
};

static bool fits(const struct api_route *r, const char *path)
{
    size_t n = strlen(r->path);
    return n > 1 && r->path[n - 1] == '/' ? strncmp(path, r->path, n) == 0 && path[n] != '\0'
                                 : strcmp(path, r->path) == 0;
}

const struct api_route *api_route_find(const char *path, bool admin)
{
    const struct api_route *table = admin ? admin_routes : routes;
    size_t n = admin ? COUNT_OF(admin_routes) : COUNT_OF(routes);
    for (size_t i = 0; i < n; i++)
        if (fits(&table[i], path))
            return &table[i];
    return NULL;
}

int api_route_index(const struct api_route *r)
{
    for (size_t i = 0; i < COUNT_OF(routes); i++)
        if (r == &routes[i])
            return (int)i;
    return -1;
}

const char *api_route_path(uint32_t i) { return i < COUNT_OF(routes) ? routes[i].path : NULL; }

api_route_fn api_route_method(const struct api_route *r, const char *method)
{
    if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0)
        return r->get;
    if (strcmp(method, "POST") == 0)
        return r->post;
    return strcmp(method, "DELETE") == 0 ? r->delete : NULL;
}

void api_route_allow(const struct api_route *r, char allow[API_ALLOW_MAX])
{
    snprintf(allow, API_ALLOW_MAX, "%s%s%sOPTIONS", r->get != NULL ? "GET, HEAD, " : "",
             r->post != NULL ? "POST, " : "", r->delete != NULL ? "DELETE, " : "");
}

bool api_route_is_messages(const char *path)
{
    static const char prefix[] = "/v1/messages";
    return strncmp(path, prefix, sizeof prefix - 1) == 0;
}
