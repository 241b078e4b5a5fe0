/* Property: any bytes read as a trace give requests whose blocks can be expanded, or one line that says why
 * not. Bytes that begin with '=' are read as a configuration file instead: they become options, or a line. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/opt.h"
#include "sim/trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct args {
    bool flag;
    const char *text;
    uint32_t number;
    uint64_t bytes;
    double real;
    struct opt_list list;
};

static const struct opt opts[] = {
    { "flag", 0, OPT_FLAG, offsetof(struct args, flag), NULL, "", 0, 0 },
    { "text", 0, OPT_TEXT, offsetof(struct args, text), "T", "", 0, 0 },
    { "number", 0, OPT_U32, offsetof(struct args, number), "N", "", 1, 9 },
    { "bytes", 0, OPT_BYTES, offsetof(struct args, bytes), "SIZE", "", 0, 0 },
    { "real", 0, OPT_NUMBER, offsetof(struct args, real), "X", "", 0, 2 },
    { "list", 0, OPT_LIST, offsetof(struct args, list), "L", "", 0, 0 },
};
static const struct opt_table table = { opts, COUNT_OF(opts) };

static void must(int cond)
{
    if (!cond)
        abort();
}

static void read_config(const uint8_t *data, size_t size)
{
    struct args a = { .number = 1 };
    struct err err = { 0 };
    char *text = mem_strndup((const char *)data, size);
    must(text != NULL);
    int rc = opt_parse_config(&table, text, NULL, &a, &err);
    must(rc == 0 || err.text[0] != '\0');
    must(a.number >= 1 && a.number <= 9);
    must(a.real >= 0 && a.real <= 2);
    must(a.list.n <= OPT_LIST_MAX);
    mem_free(text);
}

static void read_trace(const uint8_t *data, size_t size)
{
    struct sim_trace t;
    struct err err = { 0 };
    if (sim_trace_parse(&t, (const char *)data, size, 60, &err) < 0) {
        must(err.text[0] != '\0');
        must(t.requests == NULL && t.runs == NULL);
        return;
    }
    must(t.n_requests > 0);
    uint64_t n_blocks = 0, last_ms = 0;
    for (size_t i = 0; i < t.n_requests; i++) {
        must(t.requests[i].time_ms >= last_ms);
        must(t.requests[i].n_blocks <= t.n_blocks_max);
        last_ms = t.requests[i].time_ms;
        n_blocks += t.requests[i].n_blocks;
    }
    must(n_blocks == t.n_blocks);
    uint64_t *keys = mem_alloc((size_t)t.requests[0].n_blocks + 1, sizeof *keys);
    must(keys != NULL);
    sim_trace_keys(&t, &t.requests[0], keys);
    mem_free(keys);
    sim_trace_free(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0 && data[0] == '=')
        read_config(data + 1, size - 1);
    else
        read_trace(data, size);
    return 0;
}
