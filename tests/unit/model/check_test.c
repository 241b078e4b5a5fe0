/* Goal: a file that a family cannot run is refused by model_check and model_create alike, in one
 * line that names the tensor or key; no byte of a header, whatever its value, makes binding or a
 * forward crash. */
#include <stdio.h>

#include "base/num.h"
#include "os/file.h"
#include "unit/model/run.h"

struct image {
    char *data;
    size_t len;
};

static void read_image(struct image *f, const char *name)
{
    char path[512];
    const char *dir = getenv("NARU_GOLDEN");
    struct err err = { 0 };
    snprintf(path, sizeof path, "%s/%s", dir != NULL ? dir : "tests/golden", name);
    if (os_read_file(path, (size_t)16 << 20, &f->data, &f->len, &err) < 0)
        fail_msg("%s: %s", path, err.text);
}

/* Where a name stands in the header; it must. */
static size_t find(const struct image *f, const char *name)
{
    const char *at = memmem(f->data, f->len, name, strlen(name));
    assert_non_null(at);
    return (size_t)(at - f->data);
}

static struct device *device(void)
{
    struct device *d;
    struct err err;
    struct device_params p = { .n_threads = 1 };
    assert_int_equal(0, device_create(&d, &p, &err));
    return d;
}

/* Opens, checks and creates; check and create must agree. */
static int load(const struct image *f, struct device *dev, struct model **m,
                struct model_file **file, struct err *err)
{
    *m = NULL;
    *file = NULL;
    int rc = model_file_open_bytes(file, f->data, f->len, err);
    if (rc < 0)
        return rc;
    rc = model_check(*file, err);
    int made = model_create(m, *file, dev, NULL, err);
    /* Only what lies in the weights themselves may be found later. */
    assert_true(made == rc || (rc == 0 && made == E_FORMAT));
    return made;
}

static void unload(struct model *m, struct model_file *file)
{
    model_destroy(m);
    model_file_close(file);
}

/* Changes a name by its last letter before ".weight", or a value behind a key, and wants a refusal.
 */
static void wants(const struct image *f, int code, const char *word)
{
    struct err err = { 0 };
    struct model *m;
    struct model_file *file;
    struct device *dev = device();
    int rc = load(f, dev, &m, &file, &err);
    unload(m, file);
    device_destroy(dev);
    assert_int_equal(code, rc);
    if (strstr(err.text, word) == NULL)
        fail_msg("\"%s\" does not name %s", err.text, word);
    assert_null(strchr(err.text, '\n'));
}

static void missing_tensors(void **state)
{
    (void)state;
    static const char *const NAMES[] = {
        "token_embd.weight",        "output_norm.weight",    "blk.0.attn_norm.weight",
        "blk.1.attn_q.weight",      "blk.0.attn_k.weight",   "blk.1.attn_v.weight",
        "blk.0.attn_output.weight", "blk.1.ffn_norm.weight", "blk.0.ffn_down.weight",
        "blk.1.ffn_up.weight",
    };
    struct image f;
    read_image(&f, "llama2/model.gguf");
    for (size_t i = 0; i < COUNT_OF(NAMES); i++) {
        size_t at = find(&f, NAMES[i]);
        f.data[at] ^= 1; /* another name of the same length */
        wants(&f, E_FORMAT, NAMES[i]);
        f.data[at] ^= 1;
    }
    mem_free(f.data);
}

/* A tensor that this family has no use for is not left out silently. */
static void tensors_too_many(void **state)
{
    (void)state;
    struct image f;
    read_image(&f, "qwen2/model.gguf");
    size_t at = find(&f, "blk.1.attn_k.bias");
    memcpy(f.data + at, "blk.1.attn_k.bxas", 17);
    wants(&f, E_FORMAT, "blk.1.attn_k.bias");
    mem_free(f.data);
    read_image(&f, "qwen3/model.gguf");
    at = find(&f, "general.architecture");
    size_t value = at + strlen("general.architecture") + 4 + 8;
    assert_memory_equal("qwen3", f.data + value, 5);
    for (size_t i = 0; i + 5 < f.len; i++)
        if (memcmp(f.data + i, "qwen3", 5) == 0)
            memcpy(f.data + i, "llama", 5);
    wants(&f, E_UNSUPPORTED, "attn_q_norm");
    mem_free(f.data);
}

/* Sets the u32 behind a key. */
static void set_u32(struct image *f, const char *key, uint32_t x)
{
    size_t at = find(f, key) + strlen(key);
    assert_int_equal(4, load_le32(f->data + at)); /* kind: u32 */
    store_le32(f->data + at + 4, x);
}

static void bad_keys(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        uint32_t x;
        int code;
        const char *word;
    } CASES[] = {
        { "llama.block_count", 0, E_FORMAT, "block_count" },
        { "llama.block_count", 3, E_FORMAT, "blk.2." },
        { "llama.block_count", 1, E_UNSUPPORTED, "blk.1." },
        { "llama.block_count", UINT32_MAX, E_FORMAT, "block_count" },
        { "llama.embedding_length", 0, E_FORMAT, "embedding_length" },
        { "llama.embedding_length", 65, E_FORMAT, "token_embd.weight" },
        { "llama.embedding_length", UINT32_MAX, E_FORMAT, "embedding_length" },
        { "llama.feed_forward_length", 95, E_FORMAT, "ffn_gate" },
        { "llama.attention.head_count", 0, E_FORMAT, "head_count" },
        { "llama.attention.head_count", 65536, E_FORMAT, "attn_q" },
        { "llama.attention.head_count_kv", 3, E_FORMAT, "head_count_kv" },
        { "llama.attention.head_count_kv", 5, E_FORMAT, "head_count_kv" },
        { "llama.attention.key_length", 0, E_FORMAT, "key_length" },
        { "llama.attention.key_length", 1u << 20, E_LIMIT, "key_length" },
        { "llama.attention.value_length", 17, E_FORMAT, "attn_v" },
        { "llama.rope.dimension_count", 15, E_FORMAT, "rope" },
        { "llama.rope.dimension_count", 18, E_FORMAT, "rope.dimension_count" },
        { "llama.context_length", 0, E_FORMAT, "context_length" },
    };
    struct image f;
    for (size_t i = 0; i < COUNT_OF(CASES); i++) {
        read_image(&f, "llama2/model.gguf");
        set_u32(&f, CASES[i].key, CASES[i].x);
        wants(&f, CASES[i].code, CASES[i].word);
        mem_free(f.data);
    }
}

static void unknown_architecture(void **state)
{
    (void)state;
    struct image f;
    read_image(&f, "llama2/model.gguf");
    for (size_t i = 0; i + 5 < f.len; i++)
        if (memcmp(f.data + i, "llama", 5) == 0)
            memcpy(f.data + i, "mamba", 5);
    wants(&f, E_UNSUPPORTED, "mamba");
    mem_free(f.data);
}

/* NaN in the last norm: the file loads, a forward says that no number is left. */
static void not_finite(void **state)
{
    (void)state;
    struct image f;
    struct model *m;
    struct model_file *file;
    struct model_work *w;
    struct err err = { 0 };
    struct device *dev = device();
    read_image(&f, "llama2/model.gguf");
    assert_int_equal(0, model_file_open_bytes(&file, f.data, f.len, &err));
    const struct model_tensor *t = model_file_tensor(file, "output_norm.weight");
    size_t at = (size_t)((const char *)t->data - f.data);
    model_file_close(file);
    memset(f.data + at, 0xff, 64 * sizeof(float));
    assert_int_equal(0, load(&f, dev, &m, &file, &err));
    assert_int_equal(0, model_work_create(&w, m, 1, 1, 16));
    uint8_t *slab = mem_alloc(1, model_layout(m)->block_bytes);
    const uint32_t zero = 0;
    const int32_t id = 1;
    const float *logits;
    struct model_span span = { .n_rows = 1, .blocks = &zero };
    struct model_batch b = { .ids = &id,
                             .n_rows = 1,
                             .spans = &span,
                             .n_spans = 1,
                             .slab = slab,
                             .want = &zero,
                             .n_want = 1 };
    assert_int_equal(E_NONFINITE, model_forward(m, w, &b, &logits));
    mem_free(slab);
    model_work_destroy(w);
    unload(m, file);
    device_destroy(dev);
    mem_free(f.data);
}

/* One forward, whatever it gives. */
static void try_forward(const struct model *m)
{
    struct model_work *w;
    const struct model_layout *l = model_layout(m);
    if (l->block_bytes > (1u << 24) || model_work_create(&w, m, 2, 1, 16) < 0)
        return;
    uint8_t *slab = mem_alloc(1, l->block_bytes);
    const uint32_t block = 0, want = 1;
    const int32_t ids[2] = { 0, 1 };
    const float *logits;
    struct model_span span = { .n_rows = 2, .blocks = &block };
    struct model_batch b = { .ids = ids,
                             .n_rows = 2,
                             .spans = &span,
                             .n_spans = 1,
                             .slab = slab,
                             .want = &want,
                             .n_want = 1 };
    int rc = model_forward(m, w, &b, &logits);
    assert_true(rc == 0 || rc == E_NONFINITE || rc == E_RANGE);
    mem_free(slab);
    model_work_destroy(w);
}

static void mutate(const char *name)
{
    static const uint8_t VALUES[] = { 0x00, 0x01, 0x7f, 0xff };
    struct image f;
    struct model *m;
    struct model_file *file;
    struct err err = { 0 };
    struct device *dev = device();
    read_image(&f, name);
    assert_int_equal(0, model_file_open_bytes(&file, f.data, f.len, &err));
    size_t head = f.len;
    for (uint32_t i = 0; i < model_file_n_tensors(file); i++)
        head = num_min(head, (size_t)((const char *)model_file_tensor_at(file, i)->data - f.data));
    model_file_close(file);
    for (size_t at = 0; at < head; at++) {
        char was = f.data[at];
        f.data[at] = (char)VALUES[at % COUNT_OF(VALUES)];
        if (load(&f, dev, &m, &file, &err) == 0)
            try_forward(m);
        unload(m, file);
        f.data[at] = was;
    }
    device_destroy(dev);
    mem_free(f.data);
}

static void mutations(void **state)
{
    (void)state;
    mutate("llama3/model.gguf");
    mutate("gemma3/model.gguf");
}

int check_test(void);
int check_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missing_tensors), cmocka_unit_test(tensors_too_many),
        cmocka_unit_test(bad_keys),        cmocka_unit_test(unknown_architecture),
        cmocka_unit_test(not_finite),      cmocka_unit_test(mutations),
    };
    return cmocka_run_group_tests_name("model/check", tests, NULL, NULL);
}
