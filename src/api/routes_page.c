/* GET /: the web page of web/, made into one text and part of this program (tools/embed-page). The
 * policy lets it run its own script and style, known by their digests, and talk to this server:
 * nothing else is loaded, and a message that smuggles in markup finds nothing that would run it. */
#include <string.h>

#include "api/call.h"
#include "api/page_data.h"
#include "base/num.h"

/* The page itself adds require-trusted-types-for (its <meta>): no string ever becomes markup. */
#define PAGE_POLICY                                                                                \
    "default-src 'none';script-src '" PAGE_SCRIPT_DIGEST "';style-src '" PAGE_STYLE_DIGEST         \
    "';connect-src 'self';img-src data:;base-uri 'none';form-action 'none';frame-ancestors 'none'"

_Static_assert(sizeof PAGE_POLICY <= 256, "fits a header of net/http.h");

/* Does the list in a header name the word? Weights are ignored but for a plain ";q=0". */
static bool names(const char *header, const char *word)
{
    const char *at = header != NULL ? strstr(header, word) : NULL;
    return at != NULL && strncmp(at + strlen(word), ";q=0", 4) != 0;
}

void api_route_page(struct api_call *c)
{
    struct net_call *net = c->net;
    struct buf body;
    bool packed = names(net_call_header(net, "accept-encoding"), "gzip");
    const char *have = net_call_header(net, "if-none-match");
    net_call_put_header(net, "etag", PAGE_TAG);
    net_call_put_header(net, "cache-control", "no-cache");
    net_call_put_header(net, "vary", "accept-encoding");
    net_call_put_header(net, "content-security-policy", PAGE_POLICY);
    net_call_put_header(net, "x-content-type-options", "nosniff");
    net_call_put_header(net, "referrer-policy", "no-referrer");
    if (have != NULL && strstr(have, PAGE_TAG) != NULL) {
        buf_init(&body, 1);
        c->status = 304;
        net_call_reply(net, 304, "", &body);
        return;
    }
    const unsigned char *data = packed ? page_gzip : page_plain;
    size_t len = packed ? sizeof page_gzip : sizeof page_plain;
    buf_init(&body, len);
    buf_put(&body, data, len);
    if (buf_status(&body) != 0) {
        struct api_error e = api_error_status(503, "overloaded", "out of memory");
        buf_fini(&body);
        api_call_fail(c, &e);
        return;
    }
    if (packed)
        net_call_put_header(net, "content-encoding", "gzip");
    c->status = 200;
    net_call_reply(net, 200, "text/html; charset=utf-8", &body);
}
