/* Property: no body makes the reader of embedding requests crash, leak, or accept an input that is empty or of
 * another kind than it says. */
#include <stdint.h>
#include <stdlib.h>

#include "api/embeddings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct api_embeddings r;
    struct err err = { 0 };
    int rc = api_embeddings_read(&r, (const char *)data, size, 64, &err);
    CHECK(rc == 0 || (rc == err.code && err.text[0] != '\0'));
    if (rc == 0) {
        CHECK(r.n >= 1 && r.n <= API_INPUTS_MAX && r.dimensions <= 64);
        for (uint32_t i = 0; i < r.n; i++) {
            const json_value *v = api_embeddings_input(&r, i);
            size_t len = 0;
            CHECK(json_text(v, &len) != NULL ? len > 0 : json_len(v) > 0);
        }
    }
    api_embeddings_fini(&r);
    return 0;
}
