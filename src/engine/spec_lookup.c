/* A plain scan backwards: sixteen thousand ids are compared in a few microseconds, less than the
 * upkeep of an index would take, and there is nothing to roll back. */
#include "base/num.h"
#include "engine/spec.h"

uint32_t engine_lookup(const int32_t *ids, uint32_t n, int32_t *out, uint32_t n_max,
                       uint32_t *match)
{
    uint32_t best = 0, at = 0;
    *match = 0;
    if (n < 2 || n_max == 0)
        return 0;
    int32_t last = ids[n - 1];
    for (uint32_t j = n - 1; j-- > 0 && best < LOOKUP_LONG;) {
        if (ids[j] != last)
            continue;
        uint32_t len = 1;
        while (len < LOOKUP_LONG && len <= j && ids[j - len] == ids[n - 1 - len])
            len++;
        if (len > best) {
            best = len;
            at = j + 1;
        }
    }
    if (best < LOOKUP_SHORT)
        return 0;
    for (uint32_t i = 0; i < n_max; i++)
        out[i] = at + i < n ? ids[at + i] : out[at + i - n];
    *match = best;
    return n_max;
}
