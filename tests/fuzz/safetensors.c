/* Property: any bytes read as a safetensors file give tensors that lie inside them, apart from each other,
 * or one line that says why not. Bytes that begin with '{' are read as config.json instead: they become
 * keys, or a reason. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/hf.h"
#include "model/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int cond)
{
    if (!cond)
        abort();
}

static void read_config(const uint8_t *data, size_t size)
{
    json_value *root;
    struct err err = { 0 };
    if (json_parse(&root, (const char *)data, size, &JSON_LIMITS_REQUEST, &err) < 0) {
        must(err.text[0] != '\0');
        return;
    }
    struct model_file *f = mem_alloc(1, sizeof *f);
    must(f != NULL);
    arena_init(&f->arena, MODEL_ARENA_MAX);
    must(map_init(&f->meta_map, 0) >= 0 && map_init(&f->tensor_map, 0) >= 0);
    const char *type = hf_get_text(root, "model_type");
    struct hf h = { .f = f, .root = root, .config = root, .err = &err };
    h.family = type != NULL ? hf_family_find(type) : NULL;
    if (h.family != NULL) {
        memcpy(f->arch, h.family->arch, strlen(h.family->arch) + 1);
        must(hf_config_translate(&h) >= 0 || err.text[0] != '\0');
    }
    model_file_close(f);
    json_free(root);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct model_tensor *list;
    struct err err = { 0 };
    uint32_t n;
    size_t total = 0;
    struct os_map map = { .data = data, .size = size, .fd = -1 };
    if (size > 0 && data[0] == '{') {
        read_config(data, size);
        return 0;
    }
    if (model_safetensors_read(&map, &list, &n, &err) < 0) {
        must(err.text[0] != '\0' && strchr(err.text, '\n') == NULL);
        return 0;
    }
    for (uint32_t i = 0; i < n; i++) {
        must(list[i].data >= data && list[i].data + list[i].bytes <= data + size);
        must(i == 0 || list[i].data == list[i - 1].data + list[i - 1].bytes);
        total += list[i].bytes;
    }
    must(total < size);
    mem_free(list);
    return 0;
}
