/* Who calls, and may they (A-05, A-12, A-13, R17, R19). Without keys everything is open. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "api/call.h"

/* The key a client sent: `Authorization: Bearer KEY` or `x-api-key: KEY`; NULL: none. */
static const char *sent_key(const struct api_call *c)
{
    static const char scheme[] = "bearer ";
    const char *auth = net_call_header(c->net, "authorization");
    if (auth != NULL && strncasecmp(auth, scheme, sizeof scheme - 1) == 0)
        return auth + sizeof scheme - 1 + strspn(auth + sizeof scheme - 1, " ");
    return net_call_header(c->net, "x-api-key");
}

/* Which roles a route is for. */
static bool may(enum api_key_role role, enum api_role route)
{
    switch (route) {
    case API_ROLE_OPEN: return true;
    case API_ROLE_USER:
        return role == API_KEY_USER || role == API_KEY_OPERATOR || role == API_KEY_ADMIN;
    case API_ROLE_METRICS: return role != API_KEY_USER;
    }
    return false;
}

static void refuse(struct api_call *c, const struct api_error *e)
{
    if (e->status == 401)
        net_call_put_header(c->net, "www-authenticate", "Bearer");
    api_call_fail(c, e);
}

static bool begin(struct api_call *c)
{
    struct err err = { 0 };
    if (api_key_begin(c->s->p.keys, c->key, &c->rate, &err) < 0) {
        api_call_fail_err(c, &err);
        return false;
    }
    c->counted = true;
    return true;
}

bool api_call_authorize(struct api_call *c)
{
    static const struct api_error none = { 401, "authentication_error", "missing_api_key", NULL,
                                           "this server wants a key: Authorization: Bearer KEY, "
                                           "or x-api-key: KEY" };
    static const struct api_error bad = { 401, "authentication_error", "invalid_api_key", NULL,
                                          "this key is not known here, or it is over" };
    static const struct api_error denied = { 403, "permission_error", "role_not_allowed", NULL,
                                             "the role of this key does not allow this route" };
    if (c->admin || c->s->p.keys == NULL || c->route->role == API_ROLE_OPEN)
        return true;
    const char *text = sent_key(c);
    c->key = text != NULL ? api_keys_find(c->s->p.keys, text, strlen(text)) : NULL;
    if (c->key == NULL || !may(api_key_role(c->key), c->route->role)) {
        refuse(c, text == NULL ? &none : c->key == NULL ? &bad : &denied);
        return false;
    }
    snprintf(c->tenant, sizeof c->tenant, "%s", api_key_tenant(c->key));
    return c->route->role != API_ROLE_USER || begin(c);
}

int api_call_admit(void *call, uint64_t tokens, struct err *err)
{
    struct api_call *c = call;
    if (c->key == NULL || !c->counted)
        return 0;
    TRY(api_key_reserve(c->s->p.keys, c->key, tokens, &c->rate, err));
    c->reserved = tokens;
    return 0;
}

void api_call_account(struct api_call *c, bool complete)
{
    if (!c->counted)
        return;
    struct engine_usage u = api_call_usage(c);
    struct api_key_usage used = { .requests = 1,
                                  .failed = !complete || c->status >= 400 || c->error != NULL,
                                  .prompt = u.prompt_tokens,
                                  .cached = u.cached_tokens,
                                  .completion = u.completion_tokens };
    api_key_end(c->s->p.keys, c->key, c->reserved, &used);
    c->counted = false;
}

static void put_number(struct api_call *c, const char *name, uint64_t x, const char *unit)
{
    char text[32];
    snprintf(text, sizeof text, "%llu%s", (unsigned long long)x, unit);
    net_call_put_header(c->net, name, text);
}

void api_call_rate_headers(struct api_call *c)
{
    const struct api_key_rate *r = &c->rate;
    if (r->limit_requests > 0) {
        put_number(c, "x-ratelimit-limit-requests", r->limit_requests, "");
        put_number(c, "x-ratelimit-remaining-requests", r->left_requests, "");
        put_number(c, "x-ratelimit-reset-requests", r->reset_requests_s, "s");
    }
    if (r->limit_tokens > 0) {
        put_number(c, "x-ratelimit-limit-tokens", r->limit_tokens, "");
        put_number(c, "x-ratelimit-remaining-tokens", r->left_tokens, "");
        put_number(c, "x-ratelimit-reset-tokens", r->reset_tokens_s, "s");
    }
}
