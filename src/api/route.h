/* api/route.h - the one table of what this server answers (R17).
 *
 * Idea: a row a path: who may, what the body is, and a function for each method there is. What is
 * not in the table is 404; a path that is there with another method 405.
 * Cost: a look-up walks the table. */
#ifndef API_ROUTE_H
#define API_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct api_call;
typedef void (*api_route_fn)(struct api_call *c);

enum api_role { API_ROLE_OPEN, API_ROLE_USER, API_ROLE_METRICS };

struct api_route {
    const char *path; /* one that ends in "/" (but "/" itself) has more behind it */
    enum api_role role;
    api_route_fn get, post, delete; /* NULL: no such method; HEAD goes where GET goes */
};

/* The row of a path, or NULL. admin: of the table of the admin socket, which is another. */
const struct api_route *api_route_find(const char *path, bool admin);
int api_route_index(const struct api_route *r); /* -1 for NULL and rows of the admin socket */
/* What runs for a method, or NULL. */
api_route_fn api_route_method(const struct api_route *r, const char *method);
/* "GET, HEAD, OPTIONS" into allow. */
#define API_ALLOW_MAX 64
void api_route_allow(const struct api_route *r, char allow[API_ALLOW_MAX]);
/* Whether errors at this path are told in the form of the Messages dialect. */
bool api_route_is_messages(const char *path);

#endif
