/* What the three fuzzers of constraints share. Property: whatever compiles can be walked: in every
 * state some byte may come or the text may end, a text so made is accepted again from the start, and
 * forgetting all states in between changes nothing. Limits hold by construction (a hang or a large
 * allocation is a finding of the fuzzer). */
#ifndef TESTS_FUZZ_GRAMMAR_H
#define TESTS_FUZZ_GRAMMAR_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "text/grammar_run.h"

static struct text_grammar_vocab *fuzz_vocab(void)
{
    static struct text_grammar_vocab *v;
    static char bytes[256];
    struct text_str pieces[256];
    for (int i = 0; i < 256; i++) {
        bytes[i] = (char)i;
        pieces[i] = (struct text_str){ bytes + i, 1 };
    }
    if (v == NULL && text_grammar_vocab_create(&v, pieces, 256, NULL, 0) < 0)
        abort();
    return v;
}

/* A random byte that may come, or -1. */
static int fuzz_choose(struct text_matcher *m, struct rng *rng)
{
    uint64_t bits[4];
    int chosen = -1;
    uint32_t n = 0;
    text_matcher_bits(m, bits, 256);
    for (int i = 0; i < 256; i++)
        if ((bits[i / 64] >> (i % 64) & 1) != 0 && rng_below(rng, ++n) == 0)
            chosen = i;
    return chosen;
}

static void fuzz_walk(struct text_grammar *g, uint64_t seed)
{
    struct text_matcher *m, *again;
    struct rng rng;
    char text[64];
    size_t len = 0;
    rng_seed(&rng, seed);
    CHECK(text_matcher_create(&m, g) == 0);
    CHECK(text_matcher_create(&again, g) == 0);
    for (; len < sizeof text; len++) {
        int byte = fuzz_choose(m, &rng);
        CHECK(byte >= 0 || text_matcher_may_end(m));
        if (byte < 0)
            break;
        text[len] = (char)byte;
        CHECK(text_matcher_accept(m, byte));
        if (len % 16 == 7)
            gstate_flush(g, true);
    }
    CHECK(text_matcher_bytes(again, text, len) == len);
    CHECK(text_matcher_may_end(again) == text_matcher_may_end(m));
    text_matcher_destroy(m);
    text_matcher_destroy(again);
}

static void fuzz_params(const struct text_grammar_params *p, uint64_t seed)
{
    struct text_grammar *g = NULL;
    struct err err = { 0 };
    int rc = text_grammar_create(&g, fuzz_vocab(), p, &err);
    if (rc < 0) {
        CHECK(err.code == rc && err.text[0] != '\0');
        return;
    }
    fuzz_walk(g, seed);
    text_grammar_unref(g);
}

#endif
