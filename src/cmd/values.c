/* Values that several verbs read from their options. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "cmd/cmd.h"
#include "kv/policy.h"

int cmd_kv_type(const char *name, uint32_t *type, struct err *err)
{
    static const struct {
        const char *name;
        uint32_t type;
    } known[] = {
        { "f16", KERNEL_F16 },
        { "f32", KERNEL_F32 },
        { "bf16", KERNEL_BF16 },
        { "q8_0", KERNEL_Q8_0 },
        { "q8", KERNEL_Q8_0 },
    };
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (name == NULL || strcmp(name, known[i].name) == 0) {
            *type = known[i].type;
            return 0;
        }
    return err_set_field(err, E_USAGE, "kv", "--kv %s: must be f16, f32, bf16 or q8_0 (q8)", name);
}

int cmd_kv_policy(const char *name, struct err *err)
{
    if (name == NULL || kv_policy_leaves(name))
        return 0;
    return err_set_field(err, E_USAGE, "kv-policy", "--kv-policy %.32s: must be naru, lru, lfu or "
                         "gdsf", name);
}

int cmd_parse_ids(const char *text, uint32_t n_vocab, struct text_ids *ids, struct err *err)
{
    const char *between = " ,;[]\t\r\n";
    for (const char *s = text + strspn(text, between); *s != '\0'; s += strspn(s, between)) {
        char *end;
        errno = 0;
        long id = strtol(s, &end, 10);
        if (end == s || errno != 0 || id < 0 || id >= (long)n_vocab)
            return err_set_field(err, E_USAGE, "ids", "not a token id (0..%u): %.20s", n_vocab - 1,
                                 s);
        int rc = text_ids_put(ids, (int32_t)id);
        if (rc < 0)
            return err_set_field(err, rc, "ids", "too many ids");
        s = end;
    }
    return 0;
}

struct engine_sampler_params cmd_sampler_defaults(void)
{
    struct engine_sampler_params p = engine_sampler_defaults();
    p.temperature = 0.5f;
    p.top_k = 40;
    p.top_p = 0.95f;
    p.min_p = 0.05f;
    return p;
}

uint64_t cmd_seed(const struct cmd_common *c)
{
    uint64_t seed = c->seed;
    if (seed == CMD_SEED_RANDOM && getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
        seed = 0; /* no entropy: a fixed seed is as good as any other then */
    return seed;
}
