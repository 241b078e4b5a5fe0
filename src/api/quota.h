/* api/quota.h - how much in the last minute: a window that slides by the second.
 *
 * Idea: sixty counters, one a second, and their sum. What is older than a minute leaves by itself,
 * so a limit holds for any sixty seconds, not only for those of the clock.
 *
 *     slots  [ 3 | 0 | 1 | ... ]   slot s % 60 counts second s
 *
 * Threads: none; the caller locks.   Cost: at most 60 steps after a silence, else a few. */
#ifndef API_QUOTA_H
#define API_QUOTA_H

#include <stdint.h>

#define API_WINDOW_S 60

struct api_window {
    uint64_t slots[API_WINDOW_S];
    uint64_t sum, second;
};

/* What the minute before second `now` holds. */
uint64_t api_window_sum(struct api_window *w, uint64_t now);
void api_window_add(struct api_window *w, uint64_t now, uint64_t n);
/* Seconds until the sum is at most `most`; 0 if it is now. */
uint32_t api_window_wait(struct api_window *w, uint64_t now, uint64_t most);

#endif
