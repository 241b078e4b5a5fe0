/* Property: no body makes the request reader crash, leak or accept a value outside its table; the first byte
 * chooses the dialect; what a Responses request goes on from is put before it. What is accepted is rendered as a prompt's messages as well. */
#include <stdint.h>
#include <stdlib.h>

#include "api/messages.h"
#include "api/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define N_VOCAB 512

static void check(const struct api_request *r)
{
    CHECK(r->n >= 1 && r->n <= API_N_MAX);
    CHECK(r->temperature >= 0 && r->temperature <= 2);
    CHECK(r->top_p > 0 && r->top_p <= 1);
    CHECK(r->min_p >= 0 && r->min_p <= 1 && r->typical_p > 0 && r->typical_p <= 1);
    CHECK(r->n_stops <= API_STOPS_MAX && r->n_bias <= ENGINE_BIAS_MAX);
    CHECK(r->n_top <= ENGINE_TOP_MAX && r->n_stop_ids <= ENGINE_STOP_IDS_MAX);
    for (uint32_t i = 0; i < r->n_bias; i++)
        CHECK(r->bias[i].id >= 0 && r->bias[i].id < N_VOCAB && r->bias[i].bias >= -100);
    for (uint32_t i = 0; i < r->n_stops; i++)
        CHECK(r->stops[i].len >= 1 && r->stops[i].len <= API_STOP_BYTES_MAX);
    CHECK(r->dialect != API_COMPLETION ? r->messages != NULL : r->n_prompts > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    static const enum api_dialect dialects[] = { API_COMPLETION, API_CHAT, API_RESPONSES,
                                                 API_MESSAGES };
    static struct api_request r;
    struct engine_sampler_params defaults = engine_sampler_defaults();
    struct err err = { 0 };
    api_request_init(&r, dialects[data[0] % 4], &defaults);
    int rc = api_request_read(&r, (const char *)data + 1, size - 1, N_VOCAB, &err);
    CHECK(rc == 0 || (rc == err.code && err.text[0] != '\0'));
    if (rc == 0)
        check(&r);
    static const char before[] = "[{\"role\":\"user\",\"content\":\"a\"}]";
    if (rc == 0 && r.dialect == API_RESPONSES)
        CHECK(api_request_continue(&r, before, sizeof before - 1, &err) == 0);
    if (rc == 0 && r.dialect != API_COMPLETION) {
        struct buf out;
        struct json_writer w;
        buf_init(&out, (size_t)64 << 20);
        json_writer_init(&w, &out);
        const struct api_messages_how how = { .developer_is_system = data[0] & 4,
                                              .args_as_text = data[0] & 8,
                                              .plain_tools = data[0] & 16,
                                              .tools = r.tools };
        rc = api_messages_write(&w, r.messages, &how, &err);
        CHECK(rc <= 0);
        buf_fini(&out);
    }
    api_request_fini(&r);
    return 0;
}
