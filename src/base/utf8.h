/* base/utf8.h - one character at a time, hostile bytes welcome.
 *
 * Idea: decode the next code point of possibly invalid UTF-8. Invalid means overlong, surrogate,
 * above U+10FFFF or cut short (RFC 3629); an invalid byte is reported one by one.
 * Cost: O(1) a character, no table. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UTF8_INVALID UINT32_MAX

/* Length in bytes of the character at s (n bytes left, n > 0) and its code point in *cp; for an
 * invalid byte 1 and UTF8_INVALID. */
size_t utf8_next(const char *s, size_t n, uint32_t *cp);
/* Writes cp to out (4 bytes of room); returns the length, 0 if cp is no scalar value. */
size_t utf8_put(char *out, uint32_t cp);
bool utf8_valid(const char *s, size_t n);
/* Bytes at the end of s that begin a character not yet complete (0..3). */
size_t utf8_tail(const char *s, size_t n);

#endif
