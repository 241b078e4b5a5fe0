/* Character classes. The ASCII table holds what libutf8proc would say; a test compares them. */
#include "text/unicode.h"

#include <utf8proc.h>

#include "base/attr.h"
#include "base/utf8.h"

const uint16_t UNI_ASCII[128] = {
    512,  512, 512, 512, 512, 512, 512, 512, 512, 544, 800, 544, 544, 800, 512, 512, 512, 512, 512,
    512,  512, 512, 512, 512, 512, 512, 512, 512, 512, 512, 512, 512, 32,  4,   4,   4,   8,   4,
    4,    4,   4,   4,   4,   8,   4,   4,   4,   4,   2,   2,   2,   2,   2,   2,   2,   2,   2,
    2,    4,   4,   8,   8,   8,   4,   4,   65,  65,  65,  65,  65,  65,  65,  65,  65,  65,  65,
    65,   65,  65,  65,  65,  65,  65,  65,  65,  65,  65,  65,  65,  65,  65,  4,   4,   4,   8,
    2052, 8,   129, 129, 129, 129, 129, 129, 129, 129, 129, 129, 129, 129, 129, 129, 129, 129, 129,
    129,  129, 129, 129, 129, 129, 129, 129, 129, 4,   8,   4,   8,   512,
};

static const uint16_t BY_CATEGORY[] = {
    [UTF8PROC_CATEGORY_CN] = 0,
    [UTF8PROC_CATEGORY_LU] = UNI_L | UNI_UP,
    [UTF8PROC_CATEGORY_LL] = UNI_L | UNI_LOW,
    [UTF8PROC_CATEGORY_LT] = UNI_L | UNI_UP,
    [UTF8PROC_CATEGORY_LM] = UNI_L | UNI_UP | UNI_LOW,
    [UTF8PROC_CATEGORY_LO] = UNI_L | UNI_UP | UNI_LOW,
    [UTF8PROC_CATEGORY_MN] = UNI_M | UNI_UP | UNI_LOW | UNI_MN,
    [UTF8PROC_CATEGORY_MC] = UNI_M | UNI_UP | UNI_LOW,
    [UTF8PROC_CATEGORY_ME] = UNI_M | UNI_UP | UNI_LOW,
    [UTF8PROC_CATEGORY_ND] = UNI_N,
    [UTF8PROC_CATEGORY_NL] = UNI_N,
    [UTF8PROC_CATEGORY_NO] = UNI_N,
    [UTF8PROC_CATEGORY_PC] = UNI_P | UNI_CONN,
    [UTF8PROC_CATEGORY_PD] = UNI_P,
    [UTF8PROC_CATEGORY_PS] = UNI_P,
    [UTF8PROC_CATEGORY_PE] = UNI_P,
    [UTF8PROC_CATEGORY_PI] = UNI_P,
    [UTF8PROC_CATEGORY_PF] = UNI_P,
    [UTF8PROC_CATEGORY_PO] = UNI_P,
    [UTF8PROC_CATEGORY_SM] = UNI_S,
    [UTF8PROC_CATEGORY_SC] = UNI_S,
    [UTF8PROC_CATEGORY_SK] = UNI_S,
    [UTF8PROC_CATEGORY_SO] = UNI_S,
    [UTF8PROC_CATEGORY_ZS] = UNI_SPACE,
    [UTF8PROC_CATEGORY_ZL] = UNI_SPACE,
    [UTF8PROC_CATEGORY_ZP] = UNI_SPACE,
    [UTF8PROC_CATEGORY_CC] = UNI_CTRL,
    [UTF8PROC_CATEGORY_CF] = UNI_CTRL,
    [UTF8PROC_CATEGORY_CS] = UNI_CTRL,
    [UTF8PROC_CATEGORY_CO] = UNI_CTRL,
};

unsigned uni_flags(uint32_t cp)
{
    if (cp < 0x80)
        return UNI_ASCII[cp];
    if (cp == 0x85) /* the one White_Space that is neither ASCII nor Z* */
        return UNI_SPACE | UNI_CTRL;
    if (cp > 0x10ffff)
        return UNI_S;
    unsigned category = (unsigned)utf8proc_category((utf8proc_int32_t)cp);
    return category < COUNT_OF(BY_CATEGORY) ? BY_CATEGORY[category] : 0;
}

unsigned uni_flags_multi(const uint8_t *s, size_t n, uint32_t *len)
{
    uint32_t cp;
    *len = (uint32_t)utf8_next((const char *)s, n, &cp);
    return uni_flags(cp);
}

bool uni_in_ranges(const struct uni_range *ranges, size_t n, uint32_t cp)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (cp > ranges[mid].last)
            low = mid + 1;
        else
            high = mid;
    }
    return low < n && cp >= ranges[low].first;
}

bool uni_is_han(uint32_t cp)
{
    static const struct uni_range han[] = {
        { 0x2e80, 0x2e99 },   { 0x2e9b, 0x2ef3 },   { 0x2f00, 0x2fd5 },   { 0x3005, 0x3005 },
        { 0x3007, 0x3007 },   { 0x3021, 0x3029 },   { 0x3038, 0x303b },   { 0x3400, 0x4dbf },
        { 0x4e00, 0x9fff },   { 0xf900, 0xfa6d },   { 0xfa70, 0xfad9 },   { 0x16fe2, 0x16fe3 },
        { 0x16ff0, 0x16ff1 }, { 0x20000, 0x2a6df }, { 0x2a700, 0x2b739 }, { 0x2b740, 0x2b81d },
        { 0x2b820, 0x2cea1 }, { 0x2ceb0, 0x2ebe0 }, { 0x2f800, 0x2fa1d }, { 0x30000, 0x3134a },
        { 0x31350, 0x323af },
    };
    return cp >= 0x2e80 && uni_in_ranges(han, COUNT_OF(han), cp);
}

bool uni_is_cjk_ideograph(uint32_t cp)
{
    static const struct uni_range blocks[] = {
        { 0x3400, 0x4dbf },   { 0x4e00, 0x9fff },   { 0xf900, 0xfaff },   { 0x20000, 0x2a6df },
        { 0x2a700, 0x2b73f }, { 0x2b740, 0x2b81f }, { 0x2b820, 0x2ceaf }, { 0x2f800, 0x2fa1f },
    };
    return cp >= 0x3400 && uni_in_ranges(blocks, COUNT_OF(blocks), cp);
}
