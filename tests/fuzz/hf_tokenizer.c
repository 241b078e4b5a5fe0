/* Property: any bytes either are a tokenizer.json, which then encodes text to ids of its vocabulary
 * and decodes every id, or are refused with one line. */
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int cond)
{
    if (!cond)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = "Hello  hello 123 \xc3\x89\xea\xb0\x80\xe4\xb8\xad "
                               "a\xcc\x81\r\n<s>ab</s> \xff\xf0\x9f\xa6\x99'll";
    static const char config[] =
        "{\"bos_token\":\"<s>\",\"eos_token\":\"</s>\",\"add_bos_token\":true}";
    struct text_tokenizer *t;
    struct err err = { 0 };
    if (text_tokenizer_create_hf(&t, (const char *)data, size, config, sizeof config - 1, &err) <
        0) {
        must(err.code != 0 && strchr(err.text, '\n') == NULL);
        return 0;
    }
    struct text_ids l;
    struct buf out;
    text_ids_init(&l, 100000);
    buf_init(&out, 16u << 20);
    int rc = text_encode(t, text, sizeof text - 1, NULL, TEXT_ADD_SPECIAL | TEXT_PARSE_SPECIAL, &l);
    must(rc == 0 || rc == E_LIMIT); /* a regex of the file may take too long */
    for (uint32_t i = 0; i < l.n; i++)
        must(l.ids[i] >= 0 && (uint32_t)l.ids[i] < text_vocab_size(t));
    rc = text_decode(t, l.ids, l.n, true, &out);
    must(rc == 0 || rc == E_LIMIT);
    for (uint32_t i = 0; i < text_vocab_size(t) && i < 300; i++) {
        buf_clear(&out);
        text_piece(t, (int32_t)i, true, &out);
        text_is_end(t, (int32_t)i);
    }
    buf_fini(&out);
    text_ids_fini(&l);
    text_tokenizer_destroy(t);
    return 0;
}
