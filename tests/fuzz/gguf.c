/* Property: any bytes either open as a GGUF file, whose every key, item and tensor can then be read and
 * whose facts print as text and as valid JSON, or are refused with one line that says why. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "model/inspect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int cond)
{
    if (!cond)
        abort();
}

static void print_facts(const struct model_file *f)
{
    struct buf text;
    struct err err = { 0 };
    json_value *v;
    struct json_limits limits = JSON_LIMITS_FILE;
    buf_init(&text, 64u << 20);
    must(model_inspect(f, false, &text, &err) >= 0);
    must(text.len > 0);
    buf_clear(&text);
    must(model_inspect(f, true, &text, &err) >= 0);
    /* Two keys that differ only in a NUL byte print alike: a doubled member is no fault here. */
    if (memchr(buf_str(&text), '?', text.len) == NULL) {
        must(json_parse(&v, text.data, text.len, &limits, &err) >= 0);
        json_free(v);
    }
    buf_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct model_file *f;
    struct err err = { 0 };
    unsigned sum = 0;
    if (model_file_open_bytes(&f, data, size, &err) < 0) {
        must(err.text[0] != '\0' && strchr(err.text, '\n') == NULL);
        return 0;
    }
    for (uint32_t i = 0; i < model_file_n_tensors(f); i++) {
        const struct model_tensor *t = model_file_tensor_at(f, i);
        must(t->data >= data && t->data + t->bytes <= data + size);
        sum += t->data[0] + t->data[t->bytes - 1];
    }
    print_facts(f);
    model_file_close(f);
    return sum == UINT32_MAX;
}
