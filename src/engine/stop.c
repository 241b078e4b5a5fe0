#include "engine/stop.h"

#include <string.h>

void engine_stop_prepare(const char *text, uint16_t len, uint16_t *fall)
{
    ASSERT(len >= 1);
    uint16_t k = 0;
    fall[0] = 0;
    for (uint16_t i = 1; i < len; i++) {
        while (k > 0 && text[i] != text[k])
            k = fall[k - 1];
        k = (uint16_t)(k + (text[i] == text[k]));
        fall[i] = k;
    }
}

static void feed(struct engine_stop_string *s, char c)
{
    ASSERT(s->matched < s->len);
    uint16_t k = s->matched;
    while (k > 0 && s->text[k] != c)
        k = s->fall[k - 1];
    s->matched = (uint16_t)(k + (s->text[k] == c));
}

/* Lets go of all held bytes but the last `keep`. */
static void release(struct engine_stop *s, uint32_t keep, struct buf *out)
{
    ASSERT(keep <= s->n_held);
    buf_put(out, s->held, s->n_held - keep);
    memmove(s->held, s->held + (s->n_held - keep), keep);
    s->n_held = keep;
}

int engine_stop_put(struct engine_stop *s, const char *piece, size_t len, bool include,
                    struct buf *out)
{
    if (s->n == 0) {
        buf_put(out, piece, len);
        return -1;
    }
    for (size_t at = 0; at < len; at++) {
        int complete = -1;
        uint32_t keep = 0;
        s->held[s->n_held++] = piece[at];
        for (uint32_t i = 0; i < s->n; i++) {
            struct engine_stop_string *string = &s->strings[i];
            feed(string, piece[at]);
            if (string->matched == string->len &&
                (complete < 0 || string->len > s->strings[complete].len))
                complete = (int)i;
            keep = string->matched > keep ? string->matched : keep;
        }
        if (complete >= 0) {
            release(s, include ? 0 : s->strings[complete].len, out);
            s->n_held = 0;
            return complete;
        }
        release(s, keep, out);
    }
    return -1;
}

void engine_stop_end(struct engine_stop *s, struct buf *out) { release(s, 0, out); }
