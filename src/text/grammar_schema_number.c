/* Numbers: a bound is a comparison of digit strings, which is regular: as long as the digits so far
 * are those of the bound the text is `tight`; once a digit differs it is free or out. Several
 * bounds, the form of an integer and a multiple are parts of one product. With any of them a
 * number is written without exponent. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/grammar_schema.h"

#define DIGITS_MAX 400
#define MULTIPLE_MAX 2000 /* of the number without its point */

/* The magnitude of a bound: digits without leading zeros (but one), fraction without trailing. */
struct decimal {
    char whole[DIGITS_MAX + 2], fraction[DIGITS_MAX + 2];
    bool negative;
};

struct bounds {
    struct decimal low, high;
    bool has_low, has_high, low_open, high_open; /* open: the bound itself is out */
    double low_value, high_value;
};

/* --- reading bounds --------------------------------------------------------------------------- */

/* digits d1 d2 ... with the point after `point` of them (may lie outside) */
static bool place_point(struct decimal *d, const char *digits, int point)
{
    int n = (int)strlen(digits), w = 0, f = 0;
    if (abs(point) > DIGITS_MAX || n > 64)
        return false;
    for (int i = 0; i < point; i++)
        if (w > 0 || i + 1 == point || (i < n && digits[i] != '0') || i >= n)
            d->whole[w++] = i < n ? digits[i] : '0';
    if (point <= 0)
        d->whole[w++] = '0';
    for (int i = point; i < n; i++)
        d->fraction[f++] = i < 0 ? '0' : digits[i];
    while (f > 0 && d->fraction[f - 1] == '0')
        f--;
    d->whole[w] = d->fraction[f] = '\0';
    return true;
}

static bool read_decimal(const json_value *v, struct decimal *d)
{
    char text[64], digits[64];
    int point = 0, n = 0;
    memset(d, 0, sizeof *d);
    if (json_kind_of(v) == JSON_INT) {
        snprintf(text, sizeof text, "%" PRId64, json_as_int(v));
    } else {
        int precision = 1;
        double x = json_as_double(v);
        do /* the shortest form that reads back */
            snprintf(text, sizeof text, "%.*e", precision, x);
        while (precision++ < 17 && strtod(text, NULL) != x);
    }
    const char *exponent = strchr(text, 'e');
    bool after = false;
    for (const char *c = text; *c != '\0' && *c != 'e'; c++) {
        if (*c == '-')
            d->negative = true;
        else if (*c == '.')
            after = true;
        else {
            digits[n++] = *c;
            point += !after;
        }
    }
    digits[n] = '\0';
    if (exponent != NULL)
        point += (int)strtol(exponent + 1, NULL, 10);
    return place_point(d, digits, point);
}

static int read_bound(struct schema *s, const struct schema_item *item, const char *word,
                      struct bounds *b)
{
    const json_value *v = json_get(item->v, word);
    const bool low = strstr(word, "inimum") != NULL;
    const bool open = word[0] == 'e';
    double x = json_as_double(v);
    struct decimal d;
    if (!json_has(item->v, word))
        return 0;
    if (json_kind_of(v) != JSON_INT && json_kind_of(v) != JSON_DOUBLE)
        return schema_wrong(s, E_FORMAT, item->path, word, "must be a number");
    bool tighter = low ? !b->has_low || x > b->low_value || (x == b->low_value && open)
                       : !b->has_high || x < b->high_value || (x == b->high_value && open);
    if (!tighter)
        return 0;
    if (!read_decimal(v, &d))
        return schema_wrong(s, E_UNSUPPORTED, item->path, word, "has too many digits");
    if (low) {
        b->low = d;
        b->has_low = true;
        b->low_open = open;
        b->low_value = x;
    } else {
        b->high = d;
        b->has_high = true;
        b->high_open = open;
        b->high_value = x;
    }
    return 0;
}

/* --- digit strings ---------------------------------------------------------------------------- */

static uint32_t digit(struct gram *g, int lo, int hi, uint32_t next)
{
    return lo <= hi ? gram_range(g, (uint8_t)('0' + lo), (uint8_t)('0' + hi), next) : GRAM_NONE;
}

static uint32_t emit_digit(void *ctx, uint32_t next) { return digit(ctx, 0, 9, next); }

static uint32_t digits(struct gram *g, uint32_t min, uint32_t max, uint32_t next)
{
    struct gram_repeat r = { .emit = emit_digit, .ctx = g, .min = min, .max = max };
    return max == GRAM_NONE || min <= max ? gram_repeat(g, &r, next) : GRAM_NONE;
}

static uint32_t any_fraction(struct gram *g, uint32_t max, uint32_t next)
{
    return gram_split(g, gram_byte(g, '.', digits(g, 1, max, next)), next);
}

/* 0 | [1-9] and so many digits more */
static uint32_t any_whole(struct gram *g, uint32_t more, uint32_t next)
{
    return gram_split(g, gram_byte(g, '0', next), digit(g, 1, 9, digits(g, 0, more, next)));
}

static uint32_t zeros(struct gram *g, uint32_t next)
{
    uint32_t loop = gram_loop_open(g);
    gram_loop_close(g, loop, gram_byte(g, '0', loop), next);
    return loop;
}

/* Where all digits were those of the bound, and some more may come (after the point). */
static uint32_t tight_end(struct gram *g, bool above, bool open, uint32_t mark)
{
    uint32_t more = digits(g, 0, GRAM_NONE, mark);
    if (above)
        return open ? zeros(g, digit(g, 1, 9, more)) : more;
    return open ? GRAM_NONE : zeros(g, mark);
}

/* Fractions above (or below) that of the bound; the point was read. */
static uint32_t tight_fraction(struct gram *g, const char *f, bool above, bool open, uint32_t mark)
{
    uint32_t more = digits(g, 0, GRAM_NONE, mark);
    uint32_t next = tight_end(g, above, open, mark);
    for (size_t i = strlen(f); i-- > 0;) {
        int d = f[i] - '0';
        uint32_t here = gram_split(g, digit(g, d, d, next),
                                   above ? digit(g, d + 1, 9, more) : digit(g, 0, d - 1, more));
        /* a number that ends here has only zeros left: below, unless the bound is above it */
        next = !above && i > 0 ? gram_split(g, here, mark) : here;
    }
    return next;
}

/* The whole part was that of the bound. */
static uint32_t tight_point(struct gram *g, const struct decimal *d, bool above, bool open,
                            uint32_t mark)
{
    bool none = d->fraction[0] == '\0';
    uint32_t end = none ? (open ? GRAM_NONE : mark) : (above ? GRAM_NONE : mark);
    uint32_t fraction = tight_fraction(g, d->fraction, above, open, mark);
    if (none && above && !open)
        fraction = digits(g, 1, GRAM_NONE, mark);
    if (none && !above && !open)
        fraction = gram_byte(g, '0', zeros(g, mark));
    return gram_split(g, gram_byte(g, '.', fraction), end);
}

/* Magnitudes above or below a bound, without sign. */
static uint32_t compare(struct gram *g, const struct decimal *d, bool above, bool open,
                        uint32_t mark)
{
    const uint32_t len = (uint32_t)strlen(d->whole);
    uint32_t fraction = any_fraction(g, GRAM_NONE, mark);
    uint32_t next = tight_point(g, d, above, open, mark), longer, shorter = GRAM_NONE;
    for (uint32_t i = len; i-- > 0;) {
        int x = d->whole[i] - '0', least = i == 0 && len > 1 ? 1 : 0;
        uint32_t free = digits(g, len - 1 - i, len - 1 - i, fraction);
        next = gram_split(g, digit(g, x, x, next),
                          above ? digit(g, x + 1, 9, free) : digit(g, least, x - 1, free));
    }
    longer = digit(g, 1, 9, digits(g, len, GRAM_NONE, fraction));
    if (len > 1)
        shorter = any_whole(g, len - 2, fraction);
    return gram_split(g, next, above ? longer : shorter);
}

/* --- multiples -------------------------------------------------------------------------------- */

struct multiple {
    uint32_t m, places;         /* the number is m / 10^places */
};

/* Whether r, with so many zeros more, is a multiple. */
static bool divides(uint32_t r, uint32_t zeros_more, uint32_t m)
{
    for (uint32_t i = 0; i < zeros_more; i++)
        r = r * 10 % m;
    return r == 0;
}

/* Fractions, from the last digit back: row[r] begins the digits left when the remainder is r; in
 * the end what may follow the whole part. */
static void multiple_fraction(struct gram *g, const struct multiple *x, uint32_t *row,
                              uint32_t mark)
{
    const uint32_t m = x->m;
    uint32_t *before = row + m;
    for (uint32_t r = 0; r < m; r++)
        row[r] = r == 0 ? zeros(g, mark) : GRAM_NONE;
    for (uint32_t place = x->places; place-- > 0;) {
        for (uint32_t r = 0; r < m; r++) {
            before[r] = place > 0 && divides(r, x->places - place, m) ? mark : GRAM_NONE;
            for (uint32_t d = 0; d < 10 && gram_work(g, 1); d++)
                before[r] = gram_split(g, digit(g, (int)d, (int)d, row[(r * 10 + d) % m]),
                                       before[r]);
        }
        memcpy(row, before, m * sizeof *row);
    }
    for (uint32_t r = 0; r < m; r++) {
        uint32_t point = row[r] != GRAM_NONE ? gram_byte(g, '.', row[r]) : GRAM_NONE;
        row[r] = gram_split(g, point, divides(r, x->places, m) ? mark : GRAM_NONE);
    }
}

static uint32_t multiple_part(struct gram *g, const struct multiple *x, uint32_t mark)
{
    const uint32_t m = x->m;
    uint32_t *after = mem_alloc((size_t)m * 2, sizeof *after), *row = after + m;
    if (after == NULL)
        return gram_fail(g, E_NOMEM, "out of memory");
    multiple_fraction(g, x, after, mark);
    for (uint32_t r = 0; r < m; r++)
        row[r] = gram_loop_open(g);
    for (uint32_t r = 0; r < m && g->status == 0; r++) {
        uint32_t all = GRAM_NONE;
        for (uint32_t d = 0; d < 10; d++)
            all = gram_split(g, digit(g, (int)d, (int)d, row[(r * 10 + d) % m]), all);
        gram_loop_close(g, row[r], all, after[r]);
    }
    uint32_t start = row[0];
    mem_free(after);
    return start;
}

static int read_multiple(struct schema *s, const struct schema_item *item, struct multiple *out)
{
    const json_value *v = json_get(item->v, "multipleOf");
    struct decimal d;
    if (json_kind_of(v) != JSON_INT && json_kind_of(v) != JSON_DOUBLE)
        return schema_wrong(s, E_FORMAT, item->path, "multipleOf", "must be a number");
    if (!(json_as_double(v) > 0))
        return schema_wrong(s, E_FORMAT, item->path, "multipleOf", "must be above 0");
    uint64_t m = UINT64_MAX;
    if (read_decimal(v, &d) && strlen(d.whole) + strlen(d.fraction) < 18) {
        char text[2 * DIGITS_MAX + 4];
        snprintf(text, sizeof text, "%s%s", d.whole, d.fraction);
        m = strtoull(text, NULL, 10);
    }
    if (m > MULTIPLE_MAX)
        return schema_wrong(s, E_UNSUPPORTED, item->path, "multipleOf",
                            "has too many digits (at most 2000 without the point)");
    *out = (struct multiple){ .m = (uint32_t)m, .places = (uint32_t)strlen(d.fraction) };
    return 0;
}

/* --- the whole -------------------------------------------------------------------------------- */

struct number {
    struct schema *s;
    struct bounds b;
    struct multiple multiples[SCHEMA_ITEMS_MAX];
    uint32_t n_multiples;
    bool integer;
};

static uint32_t end_number(void *ctx, uint32_t satisfied)
{
    (void)ctx;
    (void)satisfied;
    return GRAM_END;
}

/* Magnitudes that lie between two bounds (each may be NULL) and satisfy all else. */
static uint32_t magnitudes(struct number *x, const struct decimal *low, bool low_open,
                           const struct decimal *high, bool high_open)
{
    struct gram *g = x->s->g;
    const uint32_t max = x->s->open ? GRAM_NONE : SCHEMA_DIGITS_MAX;
    uint32_t starts[SCHEMA_PARTS_MAX], n = 0;
    g->flat = true;
    uint32_t mark = gram_mark(g, n);
    starts[n++] = any_whole(g, max == GRAM_NONE ? GRAM_NONE : max - 1,
                            x->integer ? mark : any_fraction(g, max, mark));
    if (low != NULL) {
        starts[n] = compare(g, low, true, low_open, gram_mark(g, n));
        n++;
    }
    if (high != NULL) {
        starts[n] = compare(g, high, false, high_open, gram_mark(g, n));
        n++;
    }
    for (uint32_t i = 0; i < x->n_multiples && n < SCHEMA_PARTS_MAX; i++, n++)
        starts[n] = multiple_part(g, &x->multiples[i], gram_mark(g, n));
    g->flat = false;
    struct gram_product p = { .starts = starts, .n_parts = n, .must = (1u << n) - 1,
                              .exit = end_number };
    return gram_product(g, &p);
}

static uint32_t bounded(struct number *x)
{
    static const struct decimal zero = { .whole = "0" };
    const struct bounds *b = &x->b;
    const bool low_below = !b->has_low || b->low.negative;   /* numbers below 0 are possible */
    const bool high_below = b->has_high && b->high.negative; /* all are below 0 */
    uint32_t above = GRAM_NONE, below = GRAM_NONE;
    if (!high_below)
        above = magnitudes(x, b->has_low && !b->low.negative ? &b->low : NULL, b->low_open,
                           b->has_high ? &b->high : NULL, b->high_open);
    if (low_below) { /* -0 is written 0 */
        const struct decimal *least = high_below ? &b->high : &zero;
        below = magnitudes(x, least, high_below ? b->high_open : true,
                           b->has_low ? &b->low : NULL, b->low_open);
        below = below != GRAM_NONE ? gram_byte(x->s->g, '-', below) : GRAM_NONE;
    }
    return gram_split(x->s->g, above, below);
}

static uint32_t plain(struct number *x)
{
    struct gram *g = x->s->g;
    const bool open = x->s->open;
    uint32_t max = open ? GRAM_NONE : SCHEMA_DIGITS_MAX, tail = GRAM_END;
    if (!x->integer) {
        uint32_t power = digits(g, 1, open ? GRAM_NONE : 3, GRAM_END);
        power = gram_split(g, power, gram_split(g, gram_byte(g, '+', power),
                                                gram_byte(g, '-', power)));
        power = gram_split(g, gram_byte(g, 'e', power), gram_byte(g, 'E', power));
        tail = any_fraction(g, max, gram_split(g, power, GRAM_END));
    }
    uint32_t start = any_whole(g, open ? GRAM_NONE : max - 1, tail);
    return gram_split(g, start, gram_byte(g, '-', start));
}

int schema_emit_number(struct schema *s, const struct conj *c, bool integer, uint32_t *out)
{
    static const char *const words[] = { "minimum", "maximum", "exclusiveMinimum",
                                         "exclusiveMaximum" };
    struct number *x = arena_alloc(s->arena, 1, sizeof *x);
    if (x == NULL)
        return err_set(s->err, E_LIMIT, "schema: it needs too much memory to compile");
    x->s = s;
    x->integer = integer;
    for (uint32_t i = 0; i < c->n; i++) {
        for (size_t w = 0; w < COUNT_OF(words); w++)
            TRY(read_bound(s, &c->items[i], words[w], &x->b));
        if (json_has(c->items[i].v, "multipleOf"))
            TRY(read_multiple(s, &c->items[i], &x->multiples[x->n_multiples++]));
    }
    if (x->n_multiples > SCHEMA_PARTS_MAX - 4)
        return err_set(s->err, E_LIMIT, "schema: too many multipleOf for one number");
    bool free = !x->b.has_low && !x->b.has_high && x->n_multiples == 0;
    *out = free ? plain(x) : bounded(x);
    return s->g->status;
}
