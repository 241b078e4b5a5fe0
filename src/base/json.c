/* json-c builds the tree, but even its strict mode takes NaN, leading zeros and doubled keys, and
 * it has no cap on nodes. So the text first passes a scanner of the RFC 8259 grammar that also
 * counts; what it lets through, json-c parses. Doubled keys show as members that are in the text
 * but not in the tree. The scanner is iterative: its stack is one bit a level. */
#include "base/json.h"

#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

#define DEPTH_CAP 1024

#define NUMBER_BYTES_MAX 1024 /* digits of one number; more is nobody's number */

const struct json_limits JSON_LIMITS_REQUEST = {
    .bytes_max = 8u << 20, .depth_max = 64, .nodes_max = 100000, .string_max = 4u << 20
};
const struct json_limits JSON_LIMITS_FILE = {
    .bytes_max = 256u << 20, .depth_max = 128, .nodes_max = 8000000, .string_max = 64u << 20
};

/* --- scanner ------------------------------------------------------------------------------------
 * */

struct scan {
    const char *s;
    size_t n, at;
    const struct json_limits *limits;
    struct err *err;
    uint32_t depth, n_nodes, n_members;
    uint8_t is_object[DEPTH_CAP / 8];
};

static int bad(struct scan *c, const char *what)
{
    return err_set(c->err, E_FORMAT, "JSON: %s at byte %zu", what, c->at);
}

static void skip_space(struct scan *c)
{
    while (c->at < c->n && memchr(" \t\n\r", c->s[c->at], 4) != NULL)
        c->at++;
}

static bool is_digit(const struct scan *c)
{
    return c->at < c->n && c->s[c->at] >= '0' && c->s[c->at] <= '9';
}

static bool take(struct scan *c, char ch)
{
    if (c->at >= c->n || c->s[c->at] != ch)
        return false;
    c->at++;
    return true;
}

static int scan_digits(struct scan *c)
{
    if (!is_digit(c))
        return bad(c, "a digit is missing");
    while (is_digit(c))
        c->at++;
    return 0;
}

static int scan_number(struct scan *c)
{
    size_t from = c->at;
    take(c, '-');
    if (!take(c, '0'))
        TRY(scan_digits(c));
    if (take(c, '.'))
        TRY(scan_digits(c));
    if (take(c, 'e') || take(c, 'E')) {
        if (!take(c, '+'))
            take(c, '-');
        TRY(scan_digits(c));
    }
    char text[NUMBER_BYTES_MAX + 1];
    size_t len = c->at - from;
    if (len >= sizeof text)
        return bad(c, "a number has more than 1024 characters");
    memcpy(text, c->s + from, len);
    text[len] = '\0';
    if (!isfinite(strtod(text, NULL)))
        return bad(c, "a number is too large");
    return 0;
}

static int scan_hex4(struct scan *c, uint32_t *out)
{
    uint32_t x = 0;
    for (int i = 0; i < 4; i++, c->at++) {
        const char *digits = "0123456789abcdefABCDEF";
        const char *d = c->at < c->n ? memchr(digits, c->s[c->at], 22) : NULL;
        if (d == NULL)
            return bad(c, "\\u needs four hexadecimal digits");
        size_t v = (size_t)(d - digits);
        x = x << 4 | (uint32_t)(v < 16 ? v : v - 6);
    }
    *out = x;
    return 0;
}

static int scan_escape(struct scan *c)
{
    if (c->at < c->n && c->s[c->at] != '\0' && strchr("\"\\/bfnrt", c->s[c->at]) != NULL) {
        c->at++;
        return 0;
    }
    if (!take(c, 'u'))
        return bad(c, "unknown escape");
    uint32_t unit;
    TRY(scan_hex4(c, &unit));
    if (unit >= 0xdc00 && unit <= 0xdfff)
        return bad(c, "lone surrogate");
    if (unit < 0xd800 || unit > 0xdbff)
        return 0;
    if (!take(c, '\\') || !take(c, 'u'))
        return bad(c, "lone surrogate");
    TRY(scan_hex4(c, &unit));
    return unit >= 0xdc00 && unit <= 0xdfff ? 0 : bad(c, "lone surrogate");
}

static int scan_string(struct scan *c)
{
    size_t from = c->at;
    if (!take(c, '"'))
        return bad(c, "a string must begin");
    while (c->at < c->n && c->s[c->at] != '"') {
        uint32_t cp;
        size_t len = utf8_next(c->s + c->at, c->n - c->at, &cp);
        if (cp == UTF8_INVALID)
            return bad(c, "invalid UTF-8");
        if (cp < 0x20)
            return bad(c, "control character in a string");
        c->at += len;
        if (cp == '\\')
            TRY(scan_escape(c));
    }
    if (c->at - from > c->limits->string_max)
        return err_set(c->err, E_LIMIT, "JSON: a string is longer than %zu bytes at byte %zu",
                       c->limits->string_max, from);
    return take(c, '"') ? 0 : bad(c, "a string does not end");
}

static int scan_word(struct scan *c, const char *word)
{
    size_t len = strlen(word);
    if (c->n - c->at < len || memcmp(c->s + c->at, word, len) != 0)
        return bad(c, "a value is missing or misspelt");
    c->at += len;
    return 0;
}

static int scan_scalar(struct scan *c)
{
    if (c->at >= c->n)
        return bad(c, "the text ends early");
    switch (c->s[c->at]) {
    case '"': return scan_string(c);
    case 't': return scan_word(c, "true");
    case 'f': return scan_word(c, "false");
    case 'n': return scan_word(c, "null");
    default: return scan_number(c);
    }
}

static bool in_object(const struct scan *c)
{
    uint32_t level = c->depth - 1;
    return (c->is_object[level / 8] >> level % 8 & 1) != 0;
}

static int scan_key(struct scan *c)
{
    skip_space(c);
    TRY(scan_string(c));
    skip_space(c);
    c->n_members++;
    return take(c, ':') ? 0 : bad(c, "a colon is missing");
}

static int open_level(struct scan *c, bool object)
{
    if (c->depth >= c->limits->depth_max || c->depth >= DEPTH_CAP)
        return err_set(c->err, E_LIMIT, "JSON: nested deeper than %u levels at byte %zu",
                       c->limits->depth_max, c->at);
    uint8_t bit = (uint8_t)(1u << c->depth % 8);
    c->is_object[c->depth / 8] = (uint8_t)(object ? c->is_object[c->depth / 8] | bit
                                                  : c->is_object[c->depth / 8] & ~bit);
    c->depth++;
    return 0;
}

/* A value begins: opens a level (*opened) or passes a scalar. */
static int scan_value(struct scan *c, bool *opened)
{
    *opened = false;
    skip_space(c);
    if (++c->n_nodes > c->limits->nodes_max)
        return err_set(c->err, E_LIMIT, "JSON: more than %u values", c->limits->nodes_max);
    bool object = take(c, '{');
    if (!object && !take(c, '['))
        return scan_scalar(c);
    TRY(open_level(c, object));
    skip_space(c);
    if (take(c, object ? '}' : ']')) {
        c->depth--;
        return 0;
    }
    *opened = true;
    return object ? scan_key(c) : 0;
}

/* Behind a value: closes levels until a comma asks for the next one or all are closed (*more
 * false). */
static int scan_after(struct scan *c, bool *more)
{
    while (c->depth > 0) {
        skip_space(c);
        if (take(c, ',')) {
            *more = true;
            return in_object(c) ? scan_key(c) : 0;
        }
        if (!take(c, in_object(c) ? '}' : ']'))
            return bad(c, "a comma or closing bracket is missing");
        c->depth--;
    }
    *more = false;
    return 0;
}

static int scan_text(struct scan *c)
{
    bool opened;
    bool more = true;
    while (more) {
        TRY(scan_value(c, &opened));
        if (!opened)
            TRY(scan_after(c, &more));
    }
    skip_space(c);
    return c->at == c->n ? 0 : bad(c, "something follows the value");
}

/* --- tree ---------------------------------------------------------------------------------------
 * */

static uint64_t count_members(json_value *v)
{
    uint64_t n = 0;
    if (json_object_is_type(v, json_type_object)) {
        json_object_object_foreach(v, key, member) {
            (void)key;
            n += 1 + count_members(member);
        }
    } else if (json_object_is_type(v, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(v); i++)
            n += count_members(json_object_array_get_idx(v, i));
    }
    return n;
}

int json_parse(json_value **out, const char *text, size_t len, const struct json_limits *limits,
               struct err *err)
{
    if (len > limits->bytes_max || len > INT32_MAX)
        return err_set(err, E_LIMIT, "JSON: %zu bytes are more than the %zu allowed", len,
                       limits->bytes_max);
    struct scan c = { .s = text, .n = len, .limits = limits, .err = err };
    TRY(scan_text(&c));
    struct json_tokener *tok = json_tokener_new_ex((int)limits->depth_max + 2);
    if (tok == NULL)
        return err_set(err, E_NOMEM, "out of memory");
    json_tokener_set_flags(tok, JSON_TOKENER_STRICT);
    json_value *v = json_tokener_parse_ex(tok, text, (int)len);
    enum json_tokener_error status = json_tokener_get_error(tok);
    if (status == json_tokener_continue) /* a bare number may go on: tell it that the text ended */
        v = json_tokener_parse_ex(tok, "", 1), status = json_tokener_get_error(tok);
    json_tokener_free(tok);
    if (status != json_tokener_success)
        return err_set(err, E_FORMAT, "JSON: %s", json_tokener_error_desc(status));
    if (count_members(v) != c.n_members) {
        json_object_put(v);
        return err_set(err, E_FORMAT, "JSON: an object has the same key twice");
    }
    *out = v;
    return 0;
}

void json_free(json_value *v) { json_object_put(v); }

enum json_kind json_kind_of(const json_value *v)
{
    switch (json_object_get_type(v)) {
    case json_type_boolean: return JSON_BOOL;
    case json_type_int: return JSON_INT;
    case json_type_double: return JSON_DOUBLE;
    case json_type_string: return JSON_STRING;
    case json_type_array: return JSON_ARRAY;
    case json_type_object: return JSON_OBJECT;
    default: return JSON_NULL;
    }
}

const char *json_kind_name(enum json_kind kind)
{
    static const char *const names[] = { "null",   "boolean", "integer", "number",
                                         "string", "array",   "object" };
    return names[kind];
}

json_value *json_get(const json_value *v, const char *key)
{
    json_value *member = NULL;
    if (json_object_is_type(v, json_type_object))
        json_object_object_get_ex(v, key, &member);
    return member;
}

bool json_has(const json_value *v, const char *key)
{
    return json_object_is_type(v, json_type_object) && json_object_object_get_ex(v, key, NULL);
}

size_t json_len(const json_value *v)
{
    if (json_object_is_type(v, json_type_array))
        return json_object_array_length(v);
    return json_object_is_type(v, json_type_object) ? (size_t)json_object_object_length(v) : 0;
}

json_value *json_at(const json_value *v, size_t i)
{
    return json_object_is_type(v, json_type_array) ? json_object_array_get_idx(v, i) : NULL;
}

const char *json_text(const json_value *v, size_t *len)
{
    if (!json_object_is_type(v, json_type_string))
        return NULL;
    if (len != NULL)
        *len = (size_t)json_object_get_string_len(v);
    return json_object_get_string((json_value *)v);
}

bool json_as_bool(const json_value *v) { return json_object_get_boolean(v) != 0; }
int64_t json_as_int(const json_value *v) { return json_object_get_int64(v); }
double json_as_double(const json_value *v) { return json_object_get_double(v); }

int json_each(const json_value *v, json_each_fn fn, void *ctx)
{
    if (!json_object_is_type(v, json_type_object))
        return 0;
    json_object_object_foreach((json_value *)v, key, member)
        TRY(fn(ctx, key, member));
    return 0;
}

/* --- writer -------------------------------------------------------------------------------------
 * */

void json_writer_init(struct json_writer *w, struct buf *out)
{
    *w = (struct json_writer){ .out = out, .need_comma = false };
}

static void before_value(struct json_writer *w)
{
    if (w->need_comma)
        buf_putc(w->out, ',');
    w->need_comma = true;
}

static void open_bracket(struct json_writer *w, char c)
{
    before_value(w);
    buf_putc(w->out, c);
    w->need_comma = false;
}

static void close_bracket(struct json_writer *w, char c)
{
    buf_putc(w->out, c);
    w->need_comma = true;
}

void json_begin_object(struct json_writer *w) { open_bracket(w, '{'); }
void json_end_object(struct json_writer *w) { close_bracket(w, '}'); }
void json_begin_array(struct json_writer *w) { open_bracket(w, '['); }
void json_end_array(struct json_writer *w) { close_bracket(w, ']'); }

static void put_char(struct buf *out, uint32_t cp, const char *bytes, size_t len)
{
    switch (cp) {
    case '"': buf_puts(out, "\\\""); break;
    case '\\': buf_puts(out, "\\\\"); break;
    case '\n': buf_puts(out, "\\n"); break;
    case '\r': buf_puts(out, "\\r"); break;
    case '\t': buf_puts(out, "\\t"); break;
    case UTF8_INVALID: buf_puts(out, "\xef\xbf\xbd"); break;
    default:
        if (cp < 0x20 || cp == 0x7f)
            buf_printf(out, "\\u%04x", cp);
        else
            buf_put(out, bytes, len);
    }
}

static void put_text(struct buf *out, const char *s, size_t len)
{
    buf_putc(out, '"');
    for (size_t i = 0; i < len;) {
        uint32_t cp;
        size_t n = utf8_next(s + i, len - i, &cp);
        put_char(out, cp, s + i, n);
        i += n;
    }
    buf_putc(out, '"');
}

void json_key(struct json_writer *w, const char *key)
{
    before_value(w);
    put_text(w->out, key, strlen(key));
    buf_putc(w->out, ':');
    w->need_comma = false;
}

void json_write_text(struct json_writer *w, const char *s, size_t len)
{
    before_value(w);
    put_text(w->out, s, len);
}

void json_write_str(struct json_writer *w, const char *s) { json_write_text(w, s, strlen(s)); }

void json_write_int(struct json_writer *w, int64_t x)
{
    before_value(w);
    buf_printf(w->out, "%lld", (long long)x);
}

void json_write_uint(struct json_writer *w, uint64_t x)
{
    before_value(w);
    buf_printf(w->out, "%llu", (unsigned long long)x);
}

/* The fewest digits from `from` to `to` that read back as the same number. */
static void put_number(struct json_writer *w, double x, int from, int to, bool as_float)
{
    before_value(w);
    if (!isfinite(x)) {
        buf_puts(w->out, "null");
        return;
    }
    char text[40];
    for (int digits = from; digits <= to; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (as_float ? strtof(text, NULL) == (float)x : strtod(text, NULL) == x)
            break;
    }
    buf_puts(w->out, text);
}

void json_write_double(struct json_writer *w, double x) { put_number(w, x, 6, 17, false); }
void json_write_float(struct json_writer *w, float x) { put_number(w, (double)x, 6, 9, true); }

void json_write_bool(struct json_writer *w, bool x)
{
    before_value(w);
    buf_puts(w->out, x ? "true" : "false");
}

void json_write_null(struct json_writer *w)
{
    before_value(w);
    buf_puts(w->out, "null");
}

void json_write_value(struct json_writer *w, const json_value *v)
{
    size_t len = 0;
    switch (json_kind_of(v)) {
    case JSON_NULL: json_write_null(w); break;
    case JSON_BOOL: json_write_bool(w, json_as_bool(v)); break;
    case JSON_INT: json_write_int(w, json_as_int(v)); break;
    case JSON_DOUBLE: json_write_double(w, json_as_double(v)); break;
    case JSON_STRING: {
        const char *text = json_text(v, &len);
        json_write_text(w, text, len);
        break;
    }
    case JSON_ARRAY:
        json_begin_array(w);
        for (size_t i = 0; i < json_len(v); i++)
            json_write_value(w, json_at(v, i));
        json_end_array(w);
        break;
    case JSON_OBJECT:
        json_begin_object(w);
        json_object_object_foreach((json_value *)v, key, member) {
            json_key(w, key);
            json_write_value(w, member);
        }
        json_end_object(w);
        break;
    }
}
