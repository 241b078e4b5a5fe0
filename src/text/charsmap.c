/* SentencePiece's precompiled_charsmap: a double-array trie (Aoe 1989, in the layout of
 * Darts-clone) from byte strings to places in a block of NUL-terminated replacements.
 *
 *     0      4   bytes of the trie, n
 *     4      n   units, 32 bits each, little-endian
 *     4 + n  ..  replacements
 *
 * A unit: bits 0-7 label (bit 31 too: no label, a value), bit 8 has a leaf, bit 9 the offset is
 * counted in 256 units, bits 10-30 offset; a leaf's unit is 1 << 31 | value. */
#include <string.h>

#include "base/num.h"
#include "text/normal.h"

struct charsmap {
    const uint8_t *units, *text;
    uint32_t n_units;
    size_t n_text;
};

static struct charsmap open_map(const uint8_t *map, size_t bytes)
{
    uint32_t n = load_le32(map);
    return (struct charsmap){ map + 4, map + 4 + n, n / 4, bytes - 4 - n };
}

int normal_charsmap_check(const uint8_t *map, size_t bytes, struct err *err)
{
    const char *field = "precompiled_charsmap";
    if (bytes < 8)
        return err_set_field(err, E_FORMAT, field,
                             "%s: %zu bytes are too few; convert the model again", field, bytes);
    uint32_t n = load_le32(map);
    if (n > bytes - 4 || n % 4 != 0 || n == 0)
        return err_set_field(err, E_FORMAT, field,
                             "%s: a trie of %u bytes in %zu bytes; convert the model again", field,
                             n, bytes);
    if (n < bytes - 4 && map[bytes - 1] != 0)
        return err_set_field(err, E_FORMAT, field,
                             "%s: the last replacement does not end; convert the model again",
                             field);
    return 0;
}

static uint32_t unit_offset(uint32_t u) { return (u >> 10) << ((u & (1u << 9)) >> 6); }

size_t normal_charsmap_find(const struct normal_step *step, const char *s, size_t len,
                            struct text_span *replacement)
{
    struct charsmap m = open_map(step->charsmap, step->charsmap_bytes);
    size_t found = 0;
    uint32_t at = unit_offset(load_le32(m.units));
    for (size_t i = 0; i < len; i++) {
        uint8_t c = (uint8_t)s[i];
        at ^= c;
        if (c == 0 || at >= m.n_units)
            break;
        uint32_t u = load_le32(m.units + (size_t)at * 4);
        if ((u & (1u << 31 | 0xff)) != c)
            break;
        at ^= unit_offset(u);
        if ((u >> 8 & 1) == 0)
            continue;
        if (at >= m.n_units)
            break;
        uint32_t value = load_le32(m.units + (size_t)at * 4) & 0x7fffffff;
        if (value >= m.n_text)
            continue; /* points past the table: no entry */
        found = i + 1;
        uint32_t begin = (uint32_t)(m.text - step->charsmap) + value;
        replacement->begin = begin;
        replacement->end = begin + (uint32_t)strlen((const char *)step->charsmap + begin);
    }
    return found;
}
