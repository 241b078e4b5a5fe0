/* The matchers. Each finds the leftmost match its regex would find, without a regex engine: the
 * alternatives are tried in the regex's order, and where the regex would backtrack the one place it
 * could end is computed. Checked against PCRE2 in tests/unit/text/pretok_test.c.
 *
 * Why no automaton: the hot loop is "how far does this class run", which a table and a compare do
 * at memory speed; and the look-ahead \s+(?!\S) is one step back from the end of a run. */
#include <string.h>

#include "base/utf8.h"
#include "text/pretok.h"
#include "text/unicode.h"

/* The text a match may look at: a piece, as if nothing stood around it. */
struct view {
    const uint8_t *s;
    uint32_t end;
};

static unsigned class_at(const struct view *v, uint32_t at, uint32_t *len)
{
    *len = 0;
    return at < v->end ? uni_class(v->s + at, v->end - at, len) : 0;
}

/* End of the run of characters that have one of `any` and none of `none`. */
static uint32_t run_of(const struct view *v, uint32_t at, unsigned any, unsigned none)
{
    while (at < v->end) {
        uint32_t len;
        unsigned f = uni_class(v->s + at, v->end - at, &len);
        if ((f & any) == 0 || (f & none) != 0)
            break;
        at += len;
    }
    return at;
}

static uint32_t run_without(const struct view *v, uint32_t at, unsigned none)
{
    while (at < v->end) {
        uint32_t len;
        if ((uni_class(v->s + at, v->end - at, &len) & none) != 0)
            break;
        at += len;
    }
    return at;
}

static uint32_t cp_at(const struct view *v, uint32_t at)
{
    uint32_t cp;
    utf8_next((const char *)v->s + at, v->end - at, &cp);
    return cp;
}

static bool han_at(const struct view *v, uint32_t at)
{
    return at < v->end && v->s[at] >= 0xe2 && uni_is_han(cp_at(v, at));
}

/* --- contractions ------------------------------------------------------------------------------
 */

/* The ASCII letter at `at` (lower-cased if any case will do), 0 if there is none. U+017F, the long
 * s, is an s to (?i:). */
static char letter_at(const struct view *v, uint32_t at, bool any_case, uint32_t *len)
{
    *len = 1;
    if (at >= v->end)
        return 0;
    uint8_t c = v->s[at];
    if (any_case && c >= 'A' && c <= 'Z')
        return (char)(c - 'A' + 'a');
    if (any_case && c == 0xc5 && v->end - at >= 2 && v->s[at + 1] == 0xbf) {
        *len = 2;
        return 's';
    }
    return c >= 'a' && c <= 'z' ? (char)c : 0;
}

/* End of 's 't 're 've 'm 'll 'd at `at`; `at` if there is none. */
static uint32_t contraction(const struct view *v, uint32_t at, bool any_case)
{
    if (at >= v->end || v->s[at] != '\'')
        return at;
    uint32_t n1, n2;
    char a = letter_at(v, at + 1, any_case, &n1);
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return at + 1 + n1;
    char b = a == 'r' || a == 'v' || a == 'l' ? letter_at(v, at + 1 + n1, any_case, &n2) : 0;
    bool two = (a == 'l' && b == 'l') || (a != 'l' && b == 'e');
    return b != 0 && two ? at + 1 + n1 + n2 : at;
}

/* --- words -------------------------------------------------------------------------------------
 */

static uint32_t case_run(const struct view *v, uint32_t at, unsigned flag, bool no_han)
{
    if (!no_han)
        return run_of(v, at, flag, 0);
    while (at < v->end) {
        uint32_t len;
        if ((uni_class(v->s + at, v->end - at, &len) & flag) == 0 || han_at(v, at))
            break;
        at += len;
    }
    return at;
}

/* Start of the character before `at`. */
static uint32_t step_back(const struct view *v, uint32_t from, uint32_t at)
{
    uint32_t back = at - 1;
    while (back > from && at - back < 4 && (v->s[back] & 0xc0) == 0x80)
        back--;
    return back;
}

/* U*L+ from `at`: U* takes all it can; if no L follows, it gives back up to the last character that
 * is both. 0 if there is no match. */
static uint32_t upper_then_lower(const struct view *v, uint32_t at, bool no_han)
{
    uint32_t upper = case_run(v, at, UNI_UP, no_han);
    uint32_t lower = case_run(v, upper, UNI_LOW, no_han);
    if (lower > upper)
        return lower;
    for (uint32_t k = upper; k > at;) {
        uint32_t len, before = step_back(v, at, k);
        if ((class_at(v, before, &len) & UNI_LOW) != 0)
            return k;
        k = before;
    }
    return 0;
}

static uint32_t case_word(const struct pretok_rule *r, const struct view *v, uint32_t at)
{
    bool no_han = r->letters == LETTERS_CASE_NO_HAN;
    uint32_t len, end = 0;
    unsigned f = class_at(v, at, &len);
    bool prefix = (f & (UNI_L | UNI_N | UNI_NL)) == 0;
    if (prefix)
        end = upper_then_lower(v, at + len, no_han);
    if (end == 0)
        end = upper_then_lower(v, at, no_han);
    for (int i = prefix ? 0 : 1; i < 2 && end == 0; i++) { /* U+L*, with the prefix, then without */
        uint32_t from = i == 0 ? at + len : at;
        uint32_t upper = case_run(v, from, UNI_UP, no_han);
        if (upper > from)
            end = case_run(v, upper, UNI_LOW, no_han);
    }
    if (end != 0 && r->contraction == CONTRACTION_SUFFIX)
        end = contraction(v, end, true);
    return end;
}

/* prefix?letters+; 0 if there is none at `at`. */
static uint32_t plain_word(const struct pretok_rule *r, const struct view *v, uint32_t at)
{
    unsigned letters = r->letters == LETTERS_LM ? UNI_L | UNI_M : UNI_L;
    uint32_t len;
    unsigned f = class_at(v, at, &len);
    bool prefix;
    if (r->prefix == PREFIX_SPACE)
        prefix = v->s[at] == ' ';
    else if (r->prefix == PREFIX_ANY)
        prefix = (f & (UNI_L | UNI_N | UNI_NL)) == 0;
    else
        prefix = (f & (UNI_L | UNI_P | UNI_S | UNI_NL)) == 0;
    if (prefix) {
        uint32_t end = run_of(v, at + len, letters, 0);
        if (end > at + len)
            return end;
    }
    return (f & letters) != 0 ? run_of(v, at + len, letters, 0) : 0;
}

static uint32_t digit_word(const struct pretok_rule *r, const struct view *v, uint32_t at)
{
    if (r->digits == 0)
        return 0;
    uint32_t from = at + (r->digits == 255 && v->s[at] == ' '), len;
    uint32_t end = from;
    for (unsigned n = 0; n < r->digits || r->digits == 255; n++) {
        if ((class_at(v, end, &len) & UNI_N) == 0)
            break;
        end += len;
    }
    return end > from ? end : 0;
}

static uint32_t punct_word(const struct pretok_rule *r, const struct view *v, uint32_t at)
{
    uint32_t from = at + (v->s[at] == ' ');
    unsigned not = UNI_SPACE | UNI_L | UNI_N | (r->letters == LETTERS_LM ? UNI_M : 0);
    uint32_t end = r->punct_only ? run_of(v, from, UNI_P | UNI_S, 0) : run_without(v, from, not );
    if (end == from)
        return 0;
    while (end < v->end && v->s[end] != 0 && strchr(r->tail, v->s[end]) != NULL)
        end++;
    return end;
}

/* \s*[\r\n]+ | \s+(?!\S) | \s+ */
static uint32_t space_word(const struct pretok_rule *r, const struct view *v, uint32_t at)
{
    uint32_t end = at, last = at, newline = 0, len;
    while (end < v->end) {
        unsigned f = class_at(v, end, &len);
        if ((f & UNI_SPACE) == 0)
            break;
        last = end;
        end += len;
        if ((f & UNI_NL) != 0)
            newline = end;
    }
    if (r->newlines && newline != 0)
        return newline;
    return end == v->end || last == at ? end : last;
}

/* [ASCII punctuation][A-Za-z]+ */
static uint32_t ascii_word(const struct view *v, uint32_t at)
{
    if (v->s[at] >= 0x80 || (UNI_ASCII[v->s[at]] & (UNI_P | UNI_S)) == 0)
        return 0;
    uint32_t end = at + 1;
    while (end < v->end && v->s[end] < 0x80 && (UNI_ASCII[v->s[end]] & UNI_L) != 0)
        end++;
    return end > at + 1 ? end : 0;
}

static uint32_t han_word(const struct view *v, uint32_t at)
{
    uint32_t end = at, len;
    while (han_at(v, end)) {
        class_at(v, end, &len);
        end += len;
    }
    return end > at ? end : 0;
}

/* End of the match that begins at `at`, 0 if none does. */
static uint32_t word_at(const struct pretok_rule *r, const struct view *v, uint32_t at)
{
    uint32_t end = 0;
    if (r->contraction == CONTRACTION_LOWER || r->contraction == CONTRACTION_ANY) {
        end = contraction(v, at, r->contraction == CONTRACTION_ANY);
        if (end > at)
            return end;
        end = 0;
    }
    if (r->ascii_words)
        end = ascii_word(v, at);
    if (r->han_runs)
        end = han_word(v, at);
    if (end == 0)
        end = r->letters >= LETTERS_CASE ? case_word(r, v, at) : plain_word(r, v, at);
    if (end == 0)
        end = digit_word(r, v, at);
    if (end == 0)
        end = punct_word(r, v, at);
    if (end == 0)
        end = space_word(r, v, at);
    return end;
}

static bool match_words(const struct pretok_rule *r, const struct view *v, uint32_t at,
                        struct text_span *m)
{
    while (at < v->end) {
        uint32_t end = word_at(r, v, at), len;
        if (end > at) {
            *m = (struct text_span){ at, end };
            return true;
        }
        class_at(v, at, &len);
        at += len;
    }
    return false;
}

/* --- runs --------------------------------------------------------------------------------------
 */

/* [A-Z...] of deepseek-llm: its tokenizer lists the cased letters of an older Unicode. */
static bool is_ds_letter(uint32_t cp)
{
    static const struct uni_range ranges[] = {
        { 0x41, 0x5a },       { 0x61, 0x7a },       { 0xb5, 0xb5 },       { 0xc0, 0xd6 },
        { 0xd8, 0xf6 },       { 0xf8, 0x1ba },      { 0x1bc, 0x1bf },     { 0x1c4, 0x293 },
        { 0x295, 0x2af },     { 0x370, 0x373 },     { 0x376, 0x376 },     { 0x377, 0x377 },
        { 0x37b, 0x37d },     { 0x37f, 0x37f },     { 0x386, 0x386 },     { 0x388, 0x38a },
        { 0x38c, 0x38c },     { 0x38e, 0x3a1 },     { 0x3a3, 0x3f5 },     { 0x3f7, 0x481 },
        { 0x48a, 0x52f },     { 0x531, 0x556 },     { 0x10a0, 0x10c5 },   { 0x13a0, 0x13f5 },
        { 0x13f8, 0x13fd },   { 0x1c90, 0x1cba },   { 0x1cbd, 0x1cbf },   { 0x1d00, 0x1d2b },
        { 0x1d6b, 0x1d77 },   { 0x1d79, 0x1d9a },   { 0x1e00, 0x1f15 },   { 0x1f18, 0x1f1d },
        { 0x1f20, 0x1f45 },   { 0x1f48, 0x1f4d },   { 0x1f50, 0x1f57 },   { 0x1f59, 0x1f59 },
        { 0x1f5b, 0x1f5b },   { 0x1f5d, 0x1f5d },   { 0x1f5f, 0x1f7d },   { 0x1f80, 0x1fb4 },
        { 0x1fb6, 0x1fbc },   { 0x1fbe, 0x1fbe },   { 0x1fc2, 0x1fc4 },   { 0x1fc6, 0x1fcc },
        { 0x1fd0, 0x1fd3 },   { 0x1fd6, 0x1fdb },   { 0x1fe0, 0x1fec },   { 0x1ff2, 0x1ff4 },
        { 0x1ff6, 0x1ffc },   { 0x2102, 0x2102 },   { 0x2107, 0x2107 },   { 0x210a, 0x2113 },
        { 0x2115, 0x2115 },   { 0x2119, 0x211d },   { 0x2124, 0x2124 },   { 0x2126, 0x2126 },
        { 0x2128, 0x2128 },   { 0x212a, 0x212d },   { 0x212f, 0x2134 },   { 0x2139, 0x2139 },
        { 0x213c, 0x213f },   { 0x2145, 0x2149 },   { 0x214e, 0x214e },   { 0x2183, 0x2183 },
        { 0x2184, 0x2184 },   { 0x2c00, 0x2c7b },   { 0x2c7e, 0x2ce4 },   { 0x2ceb, 0x2cee },
        { 0x2cf2, 0x2cf2 },   { 0x2cf3, 0x2cf3 },   { 0xa640, 0xa66d },   { 0xa680, 0xa69b },
        { 0xa722, 0xa76f },   { 0xa771, 0xa787 },   { 0xa78b, 0xa78e },   { 0xab70, 0xabbf },
        { 0xfb00, 0xfb06 },   { 0xfb13, 0xfb17 },   { 0xff21, 0xff3a },   { 0xff41, 0xff5a },
        { 0x10400, 0x1044f }, { 0x104b0, 0x104d3 }, { 0x104d8, 0x104fb }, { 0x10c80, 0x10cb2 },
        { 0x10cc0, 0x10cf2 }, { 0x118a0, 0x118df }, { 0x1e900, 0x1e943 },
    };
    return uni_in_ranges(ranges, sizeof ranges / sizeof ranges[0], cp);
}

static bool is_ds_punct(uint32_t cp)
{
    static const struct uni_range ranges[] = {
        { '!', '/' },       { ':', '~' },       { 0x2018, 0x201f },
        { 0x3000, 0x3002 }, { 0xff01, 0xff0f }, { 0xff1a, 0xff5e },
    };
    return uni_in_ranges(ranges, sizeof ranges / sizeof ranges[0], cp);
}

/* [(\s|.,!?...)] of bloom and its kin; the brackets and the bar are literal there. */
static bool is_poro_stop(uint32_t cp, unsigned flags)
{
    static const uint32_t stops[] = { '(',    '|',    '.',    ',',    '!',   '?',   ')',
                                      0x2026, 0x3002, 0xff0c, 0x3001, 0x964, 0x6d4, 0x60c };
    for (size_t i = 0; i < sizeof stops / sizeof stops[0]; i++)
        if (cp == stops[i])
            return true;
    return (flags & UNI_SPACE) != 0;
}

static bool is_ascii_of(uint32_t cp, const char *set)
{
    return cp > 0 && cp < 0x80 && strchr(set, (int)cp) != NULL;
}

static bool in_range(uint32_t cp, uint32_t first, uint32_t last)
{
    return cp - first <= last - first;
}

static bool in_class(enum pretok_class c, uint32_t cp, unsigned flags)
{
    switch (c) {
    case CLASS_N: return flags & UNI_N;
    case CLASS_L: return flags & UNI_L;
    case CLASS_P: return flags & UNI_P;
    case CLASS_NL: return flags & UNI_NL;
    case CLASS_CJK: return in_range(cp, 0x800, 0x9fa5) || in_range(cp, 0xac00, 0xd7ff);
    case CLASS_CJK_KANA: return in_range(cp, 0x4e00, 0x9fa5) || in_range(cp, 0x3040, 0x30ff);
    case CLASS_DS_LETTER: return is_ds_letter(cp);
    case CLASS_DS_PUNCT: return is_ds_punct(cp);
    case CLASS_FALCON: return (flags & UNI_P) | is_ascii_of(cp, "$+<=>^~|`");
    case CLASS_DEFAULT: return (flags & UNI_P) | is_ascii_of(cp, "$+<=>^~|");
    case CLASS_NOT_PORO: return !is_poro_stop(cp, flags);
    }
    return false;
}

static bool char_in(const struct pretok_rule *r, const struct view *v, uint32_t at, uint32_t *len)
{
    unsigned flags = class_at(v, at, len);
    if (*len == 0)
        return false;
    return in_class(r->cls, v->s[at] < 0x80 ? v->s[at] : cp_at(v, at), flags);
}

static bool match_run(const struct pretok_rule *r, const struct view *v, uint32_t at,
                      struct text_span *m)
{
    uint32_t begin = at, len,
             lead_at = UINT32_MAX; /* lead_at: a lead character right before begin */
    while (begin < v->end && !char_in(r, v, begin, &len)) {
        bool lead = r->lead == 's'
                        ? (uni_class(v->s + begin, v->end - begin, &len) & UNI_SPACE) != 0
                        : r->lead != 0 && v->s[begin] == (uint8_t)r->lead;
        lead_at = lead ? begin : UINT32_MAX;
        begin += len;
    }
    if (begin == v->end)
        return false;
    uint32_t end = begin;
    for (uint32_t n = 0; (r->max == 0 || n < r->max) && char_in(r, v, end, &len); n++)
        end += len;
    *m = (struct text_span){ lead_at != UINT32_MAX ? lead_at : begin, end };
    return true;
}

/* \s+$: $ also matches before a newline that ends the text, so the run may stop there; the
 * characters are the same piece either way since \s+ takes that newline first. */
static bool match_trailing(const struct view *v, uint32_t at, struct text_span *m)
{
    while (at < v->end) {
        at = run_without(v, at, UNI_SPACE);
        uint32_t end = run_of(v, at, UNI_SPACE, 0);
        if (end == v->end && end > at) {
            *m = (struct text_span){ at, end };
            return true;
        }
        at = end;
    }
    return false;
}

static bool match_ascii3(const struct view *v, uint32_t at, struct text_span *m)
{
    for (uint32_t n = 0; at < v->end; at++) {
        n = v->s[at] >= '0' && v->s[at] <= '9' ? n + 1 : 0;
        if (n == 3) {
            *m = (struct text_span){ at - 2, at + 1 };
            return true;
        }
    }
    return false;
}

bool pretok_match(const struct pretok_rule *rule, const uint8_t *s, uint32_t at, uint32_t end,
                  struct text_span *m)
{
    struct view v = { s, end };
    switch (rule->kind) {
    case PRETOK_WORDS: return match_words(rule, &v, at, m);
    case PRETOK_RUN: return match_run(rule, &v, at, m);
    case PRETOK_TRAILING: return match_trailing(&v, at, m);
    case PRETOK_ASCII3: return match_ascii3(&v, at, m);
    }
    return false;
}
