/* Any text as a regular expression: see grammar.h for the property. */
#include "grammar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text_grammar_params p = { .kind = TEXT_GRAMMAR_REGEX, .source = (const char *)data,
                                     .source_len = size };
    fuzz_params(&p, size);
    return 0;
}
