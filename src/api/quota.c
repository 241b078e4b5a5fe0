#include "api/quota.h"

#include <string.h>

uint64_t api_window_sum(struct api_window *w, uint64_t now)
{
    if (now >= w->second + API_WINDOW_S) {
        memset(w, 0, sizeof *w);
        w->second = now;
    }
    while (w->second < now) {
        uint64_t *slot = &w->slots[++w->second % API_WINDOW_S];
        w->sum -= *slot;
        *slot = 0;
    }
    return w->sum;
}

void api_window_add(struct api_window *w, uint64_t now, uint64_t n)
{
    (void)api_window_sum(w, now);
    w->slots[w->second % API_WINDOW_S] += n;
    w->sum += n;
}

uint32_t api_window_wait(struct api_window *w, uint64_t now, uint64_t most)
{
    uint64_t sum = api_window_sum(w, now);
    uint32_t wait = 0;
    while (sum > most && wait < API_WINDOW_S)
        sum -= w->slots[(w->second + ++wait) % API_WINDOW_S];
    return wait;
}
