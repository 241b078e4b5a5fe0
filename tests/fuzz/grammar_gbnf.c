/* Any text as a GBNF grammar: see grammar.h for the property. */
#include "grammar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text_grammar_params p = { .kind = TEXT_GRAMMAR_GBNF, .source = (const char *)data,
                                     .source_len = size };
    fuzz_params(&p, size);
    return 0;
}
