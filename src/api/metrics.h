/* api/metrics.h - what the server counts of HTTP, and the Prometheus text of everything it knows.
 *
 * Idea: the engine meters itself (engine/meter.h); this adds requests by route and status, and
 * writes all of it in the names that existing dashboards look for (`vllm:`...) and in Naru's own.
 *
 *     engine_stats + engine_report + api_meter + os_process --api_metrics_write--> text
 *
 * Text: Prometheus 0.0.4, or OpenMetrics 1.0 when asked for. No label is made of what a client
 * sent: routes are those of the route table, "other" for the rest. A family whose facts this server
 * does not have is left out, never filled with zeros (docs/operations.md lists them).
 *
 * Threads: counting from any, lock-free.   Cost: a request adds to three atomics; writing is linear
 * in the families, some hundred microseconds. */
#ifndef API_METRICS_H
#define API_METRICS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

struct api_server;

#define API_METER_ROUTES 48  /* rows of the route table, at most; beyond: counted as "other" */
#define API_METER_BOUNDS 21
#define API_METER_CLASSES 6  /* [s]: status sXX */

struct api_meter_route {
    _Atomic uint64_t status[API_METER_CLASSES];
    _Atomic uint64_t buckets[API_METER_BOUNDS + 1];
    _Atomic uint64_t sum_us;
};

struct api_meter {
    struct api_meter_route routes[API_METER_ROUTES + 1]; /* the last: other */
    _Atomic uint64_t disconnects; /* clients that left before their answer was complete */
    _Atomic uint64_t retries;     /* requests that say they are repeated */
};

/* One answered request. route: row of the table or -1. */
void api_meter_count(struct api_meter *m, int route, int status, uint64_t ns);

/* open_metrics: that dialect. */
void api_metrics_write(struct api_server *s, bool open_metrics, struct buf *out);

/* The path of row `i` of the route table, NULL beyond it (route.c). */
const char *api_route_path(uint32_t i);

#endif
