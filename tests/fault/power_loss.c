/* power_loss IMAGES SEED: a store on a disk in memory (memdisk.h) writes, cleans, forgets and is opened again;
 * again and again its power is cut: any subset of the sectors and names that were not synced is there. Every image
 * must open, and every block its index names must verify; a wrong block or a failed start ends it. */
#include <stdio.h>
#include <stdlib.h>

#include "fault/chain.h"
#include "fault/memdisk.h"

enum { CHAINS = 60, LENGTH = 4, BYTES = 3000, LIFE = 160 };

static struct kv_store *open_on(struct memdisk *m, const uint8_t *key)
{
    struct kv_store *s = NULL;
    struct err err = { 0 };
    struct kv_store_params p = { .disk = &m->disk, .max_bytes = 1 << 20, .key = key };
    if (kv_store_open(&s, &p, &err) < 0) {
        fprintf(stderr, "FAILED START: %s\n", err.text);
        exit(1);
    }
    return s;
}

static uint64_t n_blocks, n_images;

static void look_at(struct memdisk *m, struct rng *rng, const uint8_t *key)
{
    struct memdisk *after = md_crash(m, rng, rng_below(rng, 8) == 0 ? 256 * rng_below(rng, 2) : rng_below(rng, 257));
    struct kv_store *s = open_on(after, key);
    struct kv_store_stats st;
    struct chain c;
    kv_store_check(s);
    for (int i = 0; i < 6; i++) {
        chain_make(&c, s, rng_below(rng, CHAINS), LENGTH);
        n_blocks += chain_read(s, &c, LENGTH, BYTES);
    }
    uint64_t bad = kv_store_verify(s, NULL, NULL);
    kv_store_stats(s, &st);
    if (bad != 0 || st.failed != 0) {
        fprintf(stderr, "%llu published blocks do not verify after image %llu\n", (unsigned long long)st.failed,
                (unsigned long long)n_images);
        exit(1);
    }
    kv_store_close(s);
    os_volume_close(&after->disk);
    n_images++;
}

static void live(struct rng *rng, uint64_t n_wanted)
{
    static const uint8_t secret[32] = { 1, 2, 3 };
    const uint8_t *key = rng_below(rng, 4) == 0 ? secret : NULL;
    struct memdisk *m = md_new(true);
    struct kv_store *s = open_on(m, key);
    struct chain c;
    for (int i = 0; i < LIFE && n_images < n_wanted; i++) {
        chain_make(&c, s, rng_below(rng, CHAINS), LENGTH);
        (void)chain_write(s, &c, 0, 1 + rng_below(rng, LENGTH), BYTES);
        int rc = rng_below(rng, 3) != 0 ? kv_store_commit(s) : 0;
        if (rng_below(rng, 2) == 0)
            rc = rc < 0 ? rc : kv_store_collect(s);
        if (rng_below(rng, 8) == 0)
            kv_store_flush(s);
        if (rc < 0) {
            fprintf(stderr, "writing failed: %d\n", rc);
            exit(1);
        }
        if (rng_below(rng, 30) == 0) { /* an orderly restart in between */
            kv_store_close(s);
            s = open_on(m, key);
        }
        for (uint32_t k = rng_below(rng, 3); k > 0; k--)
            look_at(m, rng, key);
    }
    kv_store_close(s);
    os_volume_close(&m->disk);
}

int main(int argc, char **argv)
{
    uint64_t n = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000, seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    struct rng rng;
    rng_seed(&rng, seed);
    while (n_images < n)
        live(&rng, n);
    printf("ok - %llu images of a power loss, seed %llu: %llu blocks asked for, there and right, every block an index "
           "named verified, 0 wrong, 0 failed starts\n", (unsigned long long)n_images, (unsigned long long)seed,
           (unsigned long long)n_blocks);
    return n_blocks < n;
}
