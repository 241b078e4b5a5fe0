/* Any JSON as a schema: see grammar.h for the property. The first byte says how to read it. */
#include "grammar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text_grammar_params p = { .kind = TEXT_GRAMMAR_SCHEMA };
    json_value *v = NULL;
    struct err err;
    if (size == 0 || json_parse(&v, (const char *)data + 1, size - 1, &JSON_LIMITS_REQUEST, &err) < 0)
        return 0;
    p.json = v;
    p.open = (data[0] & 1) != 0;
    p.compact = (data[0] & 2) != 0;
    p.one_of_as_any = (data[0] & 4) != 0;
    fuzz_params(&p, size);
    json_free(v);
    return 0;
}
