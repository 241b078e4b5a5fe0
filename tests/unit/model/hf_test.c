/* Goal: a model directory says the same as a GGUF file of the same model, each family's settings
 * arrive under their keys, and a damaged directory is refused with a line that names the file or
 * field. Uses the small models of tests/golden. */
#include "unit/test.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/num.h"
#include "kernel/type.h"
#include "model/file_impl.h"

int hf_test(void);

#define GOLDEN "tests/golden"

static struct model_file *open_golden(const char *name)
{
    char path[256];
    struct model_file *f;
    struct err err;
    snprintf(path, sizeof path, GOLDEN "/%s", name);
    if (!os_exists(path))
        skip();
    if (model_file_open(&f, path, &err) < 0)
        fail_msg("%s: %s", name, err.text);
    return f;
}

/* Value i of a float tensor. */
static float value(const struct model_tensor *t, uint64_t i)
{
    if (t->type == KERNEL_F32)
        return load_lef32(t->data + i * 4);
    uint16_t half = load_le16(t->data + i * 2);
    assert_true(t->type == KERNEL_F16 || t->type == KERNEL_BF16);
    return t->type == KERNEL_F16 ? kernel_f16_to_f32(half) : kernel_bf16_to_f32(half);
}

/* Row i of the directory's tensor as GGUF stores it: permuted Q and K, norms with 1 added. */
static void compare_tensor(const struct model_file *hf, const struct model_tensor *a,
                           const struct model_tensor *b, uint32_t head_dim)
{
    struct model_conv conv = model_file_conv(hf);
    char name[128];
    assert_true(a->name.len < sizeof name);
    memcpy(name, a->name.data, a->name.len);
    name[a->name.len] = '\0';
    bool permuted = conv.rope_split_half &&
                    (strstr(name, "attn_q.") != NULL || strstr(name, "attn_k.") != NULL);
    float add = conv.norm_without_one && strstr(name, "norm") != NULL ? 1 : 0;
    for (uint64_t r = 0; r < a->ne[1]; r++) {
        uint64_t in_head = r % head_dim, to = r;
        if (permuted)
            to = r - in_head + (in_head < head_dim / 2 ? 2 * in_head : 2 * in_head - head_dim + 1);
        for (uint64_t c = 0; c < a->ne[0]; c++)
            if (value(a, r * a->ne[0] + c) + add != value(b, to * b->ne[0] + c))
                fail_msg("%s: row %d column %d differs", name, (int)r, (int)c);
    }
}

static void both_containers_agree(void **state)
{
    (void)state;
    const char *const names[] = { "llama2", "llama3", "qwen2", "qwen3", "gemma2", "gemma3" };
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        char gguf_name[64];
        uint32_t head_dim = 0;
        struct err err;
        struct model_file *hf = open_golden(names[i]);
        snprintf(gguf_name, sizeof gguf_name, "%s/model.gguf", names[i]);
        struct model_file *gguf = open_golden(gguf_name);
        assert_string_equal(model_file_arch(hf), model_file_arch(gguf));
        assert_int_equal(model_file_n_tensors(hf), model_file_n_tensors(gguf));
        assert_int_equal(model_file_u32(hf, ".attention.key_length", &head_dim, &err), 0);
        for (uint32_t t = 0; t < model_file_n_tensors(gguf); t++) {
            const struct model_tensor *b = model_file_tensor_at(gguf, t);
            char name[128] = "";
            memcpy(name, b->name.data, b->name.len);
            const struct model_tensor *a = model_file_tensor(hf, name);
            if (a == NULL)
                fail_msg("%s: %s is missing", names[i], name);
            for (int d = 0; d < MODEL_DIMS_MAX; d++)
                assert_int_equal(a->ne[d], b->ne[d]);
            if (strcmp(name, "rope_freqs.weight") != 0)
                compare_tensor(hf, a, b, head_dim);
        }
        /* Every number the GGUF file gives about the architecture, the directory gives too. */
        for (uint32_t k = 0; k < model_file_n_meta(gguf); k++) {
            const struct model_meta *b = model_file_meta_at(gguf, k);
            char key[128] = "";
            memcpy(key, b->key.data, b->key.len);
            double x = 0, y = 0;
            const struct model_meta *a = model_file_meta(hf, key);
            if (strncmp(key, model_file_arch(gguf), strlen(model_file_arch(gguf))) != 0)
                continue;
            if (a == NULL)
                fail_msg("%s: %s is missing", names[i], key);
            assert_int_equal(a->n, b->n);
            for (uint64_t n = 0; n < a->n; n++) {
                int64_t p = 0, q = 0;
                if (model_meta_number(b, n, &y) && model_meta_number(a, n, &x))
                    assert_float_equal(x, y, 1e-7 * fabs(y));
                else if (model_meta_integer(b, n, &q) && model_meta_integer(a, n, &p))
                    assert_int_equal(p, q);
            }
        }
        model_file_close(hf);
        model_file_close(gguf);
    }
}

/* llama3 factors against those of an independent implementation (in the GGUF file, float32 there).
 */
static void rope_factors(void **state)
{
    (void)state;
    struct model_file *hf = open_golden("llama3"), *gguf = open_golden("llama3/model.gguf");
    const struct model_tensor *a = model_file_tensor(hf, "rope_freqs.weight");
    const struct model_tensor *b = model_file_tensor(gguf, "rope_freqs.weight");
    assert_non_null(a);
    assert_non_null(b);
    float largest = 0;
    for (uint64_t i = 0; i < a->ne[0]; i++) {
        assert_float_equal(value(a, i), value(b, i), 2e-6 * value(b, i));
        largest = fmaxf(largest, value(a, i));
    }
    assert_float_equal(largest, 8, 1e-6); /* the longest waves are slowed by the whole factor */
    assert_null(model_file_meta(hf, ".rope.scaling.type"));
    model_file_close(hf);
    model_file_close(gguf);
}

/* What each directory must say: numbers as doubles, strings by name. */
static void settings(void **state)
{
    (void)state;
    const struct {
        const char *model, *key;
        double value;
        const char *text;
    } cases[] = {
        { "llama2", "general.architecture", 0, "llama" },
        { "llama2", ".attention.head_count_kv", 4, NULL },
        { "mistral", ".attention.sliding_window", 8, NULL },
        { "mistral", "general.architecture", 0, "llama" },
        { "qwen3", ".attention.key_length", 24, NULL },
        { "gemma2", ".attention.scale", 0.20412414523193154, NULL },
        { "gemma2", ".attn_logit_softcapping", 5, NULL },
        { "gemma2", ".final_logit_softcapping", 3, NULL },
        { "gemma3", ".rope.freq_base", 1e6, NULL },
        { "gemma3", ".rope.freq_base_swa", 1e4, NULL },
        { "gemma3", ".rope.scaling.type", 0, "linear" },
        { "gemma3", ".rope.scaling.factor", 8, NULL },
        { "phi3-partial", ".rope.dimension_count", 12, NULL },
        { "phi3-window", ".attention.sliding_window", 8, NULL },
        { "phi3-long", ".rope.scaling.type", 0, "longrope" },
        { "phi3-long", ".rope.scaling.original_context_length", 16, NULL },
        { "phi3-long", ".rope.scaling.factor", 8, NULL },
        { "phi3-long", ".rope.scaling.attn_factor", 1.3228756555322954, NULL }, /* sqrt(1 + 3/4) */
        { "rope-linear", ".rope.scaling.factor", 4, NULL },
        { "rope-dynamic", ".rope.scaling.type", 0, "dynamic" },
        { "rope-yarn", ".rope.scaling.attn_factor", 1, NULL },
        { "rope-yarn", ".rope.scaling.original_context_length", 32, NULL },
        { "rope-yarn", ".rope.scaling.yarn_beta_fast", 32, NULL },
        { "deepseek2", "general.architecture", 0, "deepseek2" },
        { "deepseek2", ".attention.kv_lora_rank", 24, NULL },
        { "deepseek2", ".attention.key_length", 32, NULL },
        { "deepseek2", ".attention.key_length_mla", 24, NULL },
        { "deepseek2", ".attention.value_length_mla", 12, NULL },
        { "deepseek2", ".rope.dimension_count", 8, NULL },
        { "deepseek3", ".attention.q_lora_rank", 20, NULL },
        { "deepseek3", ".rope.scaling.yarn_log_multiplier", 0.1, NULL },
        { "deepseek3", ".rope.scaling.attn_factor", 1, NULL },
        { "smollm", "tokenizer.ggml.eos_token_id", 2, NULL },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct model_file *f = open_golden(cases[i].model);
        const struct model_meta *m = model_file_meta(f, cases[i].key);
        double x = 0;
        if (m == NULL)
            fail_msg("%s: %s is missing", cases[i].model, cases[i].key);
        if (cases[i].text != NULL) {
            assert_int_equal(m->bytes, strlen(cases[i].text));
            assert_memory_equal(m->data, cases[i].text, m->bytes);
        } else if (!model_meta_number(m, 0, &x) ||
                   fabs(x - cases[i].value) > 1e-6 * cases[i].value) {
            fail_msg("%s: %s is %g, not %g", cases[i].model, cases[i].key, x, cases[i].value);
        }
        model_file_close(f);
    }
}

static void windows_by_layer(void **state)
{
    (void)state;
    struct err err;
    struct model_file *f = open_golden("gemma3");
    for (uint32_t i = 0; i < 6; i++) {
        uint32_t windowed = 9;
        assert_int_equal(
            model_file_item_u32(f, ".attention.sliding_window_pattern", i, &windowed, &err), 0);
        assert_int_equal(windowed, (i + 1) % 3 != 0);
    }
    model_file_close(f);
    f = open_golden("mistral"); /* all layers: no pattern */
    assert_null(model_file_meta(f, ".attention.sliding_window_pattern"));
    model_file_close(f);
    f = open_golden("qwen3"); /* not in use: no window */
    assert_null(model_file_meta(f, ".attention.sliding_window"));
    model_file_close(f);
}

static void text_parts(void **state)
{
    (void)state;
    struct model_file *f = open_golden("smollm");
    struct text_str t = model_file_chat_template(f);
    assert_true(t.len > 100);
    assert_memory_equal(t.data, "{% for m in", 11);
    assert_int_equal(t.data[t.len], 0);
    assert_non_null(f->tokenizer_json);
    assert_null(model_file_tensor(f, "output.weight")); /* tied */
    model_file_close(f);
    f = open_golden("llama2");
    assert_null(model_file_chat_template(f).data);
    struct text_tokenizer *tok;
    struct err err;
    assert_int_equal(model_file_tokenizer(f, &tok, &err), E_NOT_FOUND);
    assert_non_null(strstr(err.text, "tokenizer.json"));
    model_file_close(f);
}

/* --- damaged directories --- */

static char DIR_NAME[64];

static void write_text(const char *name, const char *text, size_t len)
{
    char path[192];
    snprintf(path, sizeof path, "%s/%s", DIR_NAME, name);
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(text, 1, len, out), len);
    assert_int_equal(fclose(out), 0);
}

static void remove_text(const char *name)
{
    char path[192];
    snprintf(path, sizeof path, "%s/%s", DIR_NAME, name);
    unlink(path);
}

static char *read_golden(const char *name, size_t *len)
{
    char path[192], *text;
    struct err err;
    snprintf(path, sizeof path, GOLDEN "/%s", name);
    if (!os_exists(path))
        skip();
    assert_int_equal(os_read_file(path, 1u << 22, &text, len, &err), 0);
    return text;
}

static void begin_dir(void)
{
    snprintf(DIR_NAME, sizeof DIR_NAME, "/tmp/naru-hf-XXXXXX");
    assert_non_null(mkdtemp(DIR_NAME));
}

static void end_dir(void)
{
    const char *const names[] = { "config.json",
                                  "model.safetensors",
                                  "model.safetensors.index.json",
                                  "a.safetensors",
                                  "b.safetensors",
                                  "tokenizer_config.json",
                                  "generation_config.json",
                                  "pytorch_model.bin" };
    for (size_t i = 0; i < COUNT_OF(names); i++)
        remove_text(names[i]);
    assert_int_equal(rmdir(DIR_NAME), 0);
}

static void dir_refuses(int code, const char *says)
{
    struct model_file *f;
    struct err err = { 0 };
    int rc = model_file_open(&f, DIR_NAME, &err);
    if (rc >= 0)
        model_file_close(f);
    if (rc != code || strstr(err.text, says) == NULL)
        fail_msg("%s: %s; expected %s with \"%s\"", rc < 0 ? err_name(rc) : "opened", err.text,
                 err_name(code), says);
}

/* A copy of the config with one piece of text replaced must be refused so. */
static void config_refuses(const char *config, const char *from, const char *to, int code,
                           const char *says)
{
    const char *at = strstr(config, from);
    struct buf b;
    if (at == NULL)
        fail_msg("%s is not in the config", from);
    buf_init(&b, 1u << 20);
    buf_put(&b, config, (size_t)(at - config));
    buf_puts(&b, to);
    buf_puts(&b, at + strlen(from));
    write_text("config.json", b.data, b.len);
    buf_fini(&b);
    dir_refuses(code, says);
}

static void bad_configs(void **state)
{
    (void)state;
    size_t len, weights_len;
    char *config = read_golden("deepseek3/config.json", &len);
    char *weights = read_golden("deepseek3/model.safetensors", &weights_len);
    begin_dir();
    dir_refuses(E_NOT_FOUND, "config.json");
    write_text("config.json", config, len);
    dir_refuses(E_NOT_FOUND, "model.safetensors");
    write_text("pytorch_model.bin", "x", 1);
    dir_refuses(E_UNSUPPORTED, "pickles");
    write_text("model.safetensors", weights, weights_len);
    const struct {
        const char *from, *to;
        int code;
        const char *says;
    } cases[] = {
        { "\"hidden_size\": 64", "\"hidden_size\": -64", E_FORMAT, "hidden_size" },
        { "\"hidden_size\": 64", "\"hidden_size\": 64.5", E_FORMAT, "hidden_size" },
        { "\"hidden_size\": 64", "\"hidden_size\": \"64\"", E_FORMAT, "hidden_size" },
        { "\"hidden_size\": 64", "\"hidden_size\": null", E_FORMAT, "hidden_size is missing" },
        { "\"hidden_size\": 64", "\"hidden_size\": 9223372036854775807", E_FORMAT, "hidden_size" },
        { "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 4294967295", E_FORMAT, "too large" },
        { "\"num_attention_heads\": 4", "\"num_attention_heads\": 0", E_FORMAT, "missing or 0" },
        { "\"kv_lora_rank\": 24", "\"kv_lora_rank\": 0", E_FORMAT, "kv_lora_rank" },
        { "\"rope_theta\": 10000.0", "\"rope_theta\": 0", E_FORMAT, "rope_theta" },
        { "\"rope_theta\": 10000.0", "\"rope_theta\": 1e999", E_FORMAT, "config.json" },
        { "\"factor\": 4.0", "\"factor\": -1", E_FORMAT, "factor" },
        { "\"rope_type\": \"yarn\"", "\"rope_type\": \"spiral\"", E_UNSUPPORTED, "spiral" },
        { "\"hidden_act\": \"silu\"", "\"hidden_act\": \"relu\"", E_UNSUPPORTED, "relu" },
        { "\"model_type\": \"deepseek_v3\"", "\"model_type\": 3", E_FORMAT, "model_type" },
        { "\"vocab_size\": 160", "\"vocab_size\": 160, \"quantization_config\": {}", E_UNSUPPORTED,
          "quantization_config" },
        { "\"vocab_size\": 160", "\"vocab_size\": 160, \"vocab_size\": 160", E_FORMAT,
          "config.json" },
        { "{", "[", E_FORMAT, "config.json" },
        { "{", "{{", E_FORMAT, "config.json" },
        { "\"eos_token_id\": 2", "\"eos_token_id\": -2", E_FORMAT, "eos_token_id" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        config_refuses(config, cases[i].from, cases[i].to, cases[i].code, cases[i].says);
    mem_free(config);
    mem_free(weights);
    end_dir();
}

/* Each byte of the config changed: opened or refused with a reason, never worse. */
static void config_mutations(void **state)
{
    (void)state;
    const char *const models[] = { "gemma3", "phi3-long" };
    for (size_t m = 0; m < COUNT_OF(models); m++) {
        char name[64];
        size_t len, weights_len;
        unsigned n_refused = 0;
        snprintf(name, sizeof name, "%s/config.json", models[m]);
        char *config = read_golden(name, &len);
        snprintf(name, sizeof name, "%s/model.safetensors", models[m]);
        char *weights = read_golden(name, &weights_len);
        begin_dir();
        write_text("model.safetensors", weights, weights_len);
        for (size_t i = 0; i < len; i += 1 + 2 * m) {
            const char values[] = { '-', '0', '9', '"', (char)0xff };
            char old = config[i];
            struct model_file *f;
            struct err err = { 0 };
            config[i] = values[i % COUNT_OF(values)];
            write_text("config.json", config, len);
            if (model_file_open(&f, DIR_NAME, &err) >= 0)
                model_file_close(f);
            else
                n_refused += err.text[0] != '\0';
            config[i] = old;
            if (i % 16 == 0) { /* and cut there */
                write_text("config.json", config, i);
                assert_true(model_file_open(&f, DIR_NAME, &err) < 0);
            }
        }
        assert_true(n_refused > 100);
        mem_free(config);
        mem_free(weights);
        end_dir();
    }
}

#define TENSOR(name) "{\"" name "\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}"

static void write_shard(const char *file, const char *header)
{
    char bytes[512] = { 0 };
    size_t len = strlen(header), padded = (len + 7) / 8 * 8;
    memset(bytes, ' ', sizeof bytes);
    store_le64(bytes, padded);
    memcpy(bytes + 8, header, len);
    memset(bytes + 8 + padded, 0, 8);
    write_text(file, bytes, 8 + padded + 8);
}

static void shards(void **state)
{
    (void)state;
    const struct {
        const char *map;
        int code;
        const char *says;
    } cases[] = {
        { "{\"x.a\":\"a.safetensors\",\"x.b\":\"b.safetensors\"}", 0, NULL },
        { "{\"x.a\":\"a.safetensors\"}", 0, NULL },
        { "{\"x.a\":\"b.safetensors\"}", E_FORMAT, "x.b is in b.safetensors" },
        { "{\"x.a\":\"a.safetensors\",\"x.c\":\"a.safetensors\"}", E_FORMAT, "names 2 tensors" },
        { "{\"x.a\":\"../a.safetensors\"}", E_FORMAT, "not the name" },
        { "{\"x.a\":\"/etc/passwd\"}", E_FORMAT, "not the name" },
        { "{\"x.a\":\".a.safetensors\"}", E_FORMAT, "not the name" },
        { "{\"x.a\":\"config.json\"}", E_FORMAT, "not the name" },
        { "{\"x.a\":\"a.safetensors\\u0000.safetensors\"}", E_FORMAT, "not the name" },
        { "{\"x.a\":7}", E_FORMAT, "not the name" },
        { "{\"x.a\":\"none.safetensors\"}", E_NOT_FOUND, "none.safetensors" },
        { "[]", E_FORMAT, "weight_map" },
        { "{\"x.a\":\"a.safetensors\",\"x.a\":\"b.safetensors\"}", E_FORMAT, "index.json" },
    };
    begin_dir();
    write_text("config.json", "{\"model_type\":\"unheard_of\"}", 27);
    write_shard("a.safetensors", TENSOR("x.a"));
    write_shard("b.safetensors", TENSOR("x.b"));
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char index[256];
        snprintf(index, sizeof index, "{\"weight_map\":%s}", cases[i].map);
        write_text("model.safetensors.index.json", index, strlen(index));
        if (cases[i].says != NULL) {
            dir_refuses(cases[i].code, cases[i].says);
            continue;
        }
        struct model_file *f;
        struct err err;
        assert_int_equal(model_file_open(&f, DIR_NAME, &err), 0);
        assert_string_equal(model_file_arch(f), "unheard_of");
        assert_non_null(model_file_tensor(f, "x.a"));
        model_file_close(f);
    }
    /* the same tensor in both */
    write_shard("b.safetensors", TENSOR("x.a"));
    const char both[] = "{\"weight_map\":{\"x.a\":\"a.safetensors\",\"x.b\":\"b.safetensors\"}}";
    write_text("model.safetensors.index.json", both, strlen(both));
    dir_refuses(E_FORMAT, "x.a is in b.safetensors");
    end_dir();
}

static void foreign_tensors(void **state)
{
    (void)state;
    size_t len;
    char *config = read_golden("llama2/config.json", &len);
    begin_dir();
    write_text("config.json", config, len);
    write_shard("model.safetensors", TENSOR("model.layers.0.self_attn.q_proj.lora_A.weight"));
    dir_refuses(E_UNSUPPORTED, "lora_A");
    write_shard("model.safetensors", TENSOR("model.layers.99999.input_layernorm.weight"));
    dir_refuses(E_UNSUPPORTED, "99999");
    write_shard("model.safetensors", TENSOR("model.norm.weight"));
    dir_refuses(E_FORMAT, "lm_head.weight is missing");
    mem_free(config);
    end_dir();
}

int hf_test(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_containers_agree),
        cmocka_unit_test(rope_factors),
        cmocka_unit_test(settings),
        cmocka_unit_test(windows_by_layer),
        cmocka_unit_test(text_parts),
        cmocka_unit_test(bad_configs),
        cmocka_unit_test(config_mutations),
        cmocka_unit_test(shards),
        cmocka_unit_test(foreign_tensors),
    };
    return cmocka_run_group_tests_name("model/hf", tests, NULL, NULL);
}
