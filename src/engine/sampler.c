/* No sorting: every filter is "the shortest run of best tokens whose mass reaches a target", and
 * the border of such a run is found by radix selection over the float's bits (three passes of 11,
 * 11 and 10 bits), in linear time whatever the logits are. A quickselect would be as fast on
 * average, but hostile logits could make it quadratic; a heap would be slow for the 10,000s of
 * tokens of a flat top-p. Candidates stay in order of id throughout, so ties fall to the lower id
 * and the draw is a walk in id order: a function of the distribution alone. */
#include "engine/sampler.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

#define RADIX_MAX 2048

struct candidate {
    uint32_t key;   /* of the filter at work: smaller is better */
    float logit;
    float weight;   /* exp((logit - best) / temperature) */
    int32_t id;
};

struct seen {
    uint32_t n_generated;
    bool any;
};

struct engine_sampler {
    uint32_t n_vocab;
    float *edited;                /* (n_vocab) */
    struct candidate *candidates; /* (n_vocab) */
    struct seen *seen;            /* (n_vocab), all zero between calls */
    double mass[RADIX_MAX];
};

struct engine_sampler_params engine_sampler_defaults(void)
{
    return (struct engine_sampler_params){ .temperature = 1.0f, .top_p = 1.0f, .typical_p = 1.0f,
                                           .repetition_penalty = 1.0f };
}

/* NaN compares false with everything, so "inside" is what is asked for. */
static int check_range(const char *field, float x, float low, float high, struct err *err)
{
    if (x >= low && x <= high)
        return 0;
    return err_set_field(err, E_RANGE, field, "%s is %g, must be from %g to %g", field, (double)x,
                         (double)low, (double)high);
}

int engine_sampler_check(const struct engine_sampler_params *p, struct err *err)
{
    const float tiny = 1e-6f; /* "above 0" for a float that a person writes */
    TRY(check_range("temperature", p->temperature, 0.0f, 100.0f, err));
    TRY(check_range("top_p", p->top_p, tiny, 1.0f, err));
    TRY(check_range("min_p", p->min_p, 0.0f, 1.0f, err));
    TRY(check_range("typical_p", p->typical_p, tiny, 1.0f, err));
    TRY(check_range("repetition_penalty", p->repetition_penalty, tiny, 100.0f, err));
    TRY(check_range("presence_penalty", p->presence_penalty, -100.0f, 100.0f, err));
    TRY(check_range("frequency_penalty", p->frequency_penalty, -100.0f, 100.0f, err));
    return 0;
}

int engine_sampler_create(struct engine_sampler **out, uint32_t n_vocab)
{
    if (n_vocab == 0 || n_vocab > INT32_MAX)
        return E_RANGE;
    struct engine_sampler *s = mem_alloc(1, sizeof *s);
    if (s == NULL)
        return E_NOMEM;
    s->n_vocab = n_vocab;
    s->edited = mem_alloc(n_vocab, sizeof *s->edited);
    s->candidates = mem_alloc(n_vocab, sizeof *s->candidates);
    s->seen = mem_alloc(n_vocab, sizeof *s->seen);
    if (s->edited == NULL || s->candidates == NULL || s->seen == NULL) {
        engine_sampler_destroy(s);
        return E_NOMEM;
    }
    *out = s;
    return 0;
}

void engine_sampler_destroy(struct engine_sampler *s)
{
    if (s == NULL)
        return;
    mem_free(s->edited);
    mem_free(s->candidates);
    mem_free(s->seen);
    mem_free(s);
}

/* --- edits of the logits --- */

/* The largest of n values, -INFINITY for none; *bad if one is NaN or +infinity. Eight running
 * maxima: one alone would wait for itself at every value. */
static float find_max(const float *x, uint32_t n, bool *bad)
{
    enum { LANES = 8 };
    float max[LANES];
    unsigned n_bad = 0;
    uint32_t i = 0;
    for (int j = 0; j < LANES; j++)
        max[j] = -INFINITY;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) {
            n_bad |= !(x[i + (uint32_t)j] < INFINITY);
            max[j] = x[i + (uint32_t)j] > max[j] ? x[i + (uint32_t)j] : max[j];
        }
    for (; i < n; i++) {
        n_bad |= !(x[i] < INFINITY);
        max[0] = x[i] > max[0] ? x[i] : max[0];
    }
    for (int j = 1; j < LANES; j++)
        max[0] = max[j] > max[0] ? max[j] : max[0];
    *bad = n_bad != 0;
    return max[0];
}

/* The lowest id with the largest logit. E_NONFINITE for NaN, +infinity or nothing but -infinity. */
static int find_best(const float *logits, uint32_t n, uint32_t *best)
{
    bool bad = false;
    uint32_t at = 0;
    float max = find_max(logits, n, &bad);
    if (bad || !(max > -INFINITY))
        return E_NONFINITE;
    while (logits[at] != max)
        at++;
    *best = at;
    return 0;
}

static void add_bias(float *logits, uint32_t n_vocab, const struct engine_bias *bias, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (bias[i].id < 0 || (uint32_t)bias[i].id >= n_vocab)
            continue;
        if (bias[i].bias <= -100.0f)
            logits[bias[i].id] = -INFINITY;
        else
            logits[bias[i].id] += bias[i].bias;
    }
}

static void forbid(float *logits, uint32_t n_vocab, const int32_t *ids, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (ids[i] >= 0 && (uint32_t)ids[i] < n_vocab)
            logits[ids[i]] = -INFINITY;
}

static float penalise(float logit, const struct engine_sampler_params *p, uint32_t n_generated)
{
    logit = logit > 0.0f ? logit / p->repetition_penalty : logit * p->repetition_penalty;
    if (n_generated > 0)
        logit -= p->presence_penalty + p->frequency_penalty * (float)n_generated;
    return logit;
}

static bool has_penalties(const struct engine_sampler_params *p)
{
    return p->repetition_penalty != 1.0f || p->presence_penalty != 0.0f ||
           p->frequency_penalty != 0.0f;
}

static void apply_penalties(struct engine_sampler *s, const struct engine_sampler_params *p,
                            const struct engine_sampler_input *in)
{
    uint32_t window = p->penalty_window;
    uint32_t from = window == 0 || window >= in->n_ids ? 0 : in->n_ids - window;
    for (uint32_t i = from; i < in->n_ids; i++) {
        ASSERT(in->ids[i] >= 0 && (uint32_t)in->ids[i] < s->n_vocab);
        s->seen[in->ids[i]].any = true;
        s->seen[in->ids[i]].n_generated += i >= in->n_prompt;
    }
    for (uint32_t i = from; i < in->n_ids; i++) {
        struct seen *seen = &s->seen[in->ids[i]];
        float *logit = &s->edited[in->ids[i]];
        if (seen->any && *logit > -INFINITY)
            *logit = penalise(*logit, p, seen->n_generated);
        *seen = (struct seen){ 0 };
    }
}

/* The logits to sample from: the model's own if nothing edits them. */
static const float *edit(struct engine_sampler *s, const struct engine_sampler_params *p,
                         const struct engine_sampler_input *in)
{
    bool has_mask = in->mask != NULL && in->mask->apply != NULL;
    if (in->n_bias == 0 && in->n_forbid == 0 && !has_mask && !has_penalties(p))
        return in->logits;
    memcpy(s->edited, in->logits, s->n_vocab * sizeof *s->edited);
    add_bias(s->edited, s->n_vocab, in->bias, in->n_bias);
    forbid(s->edited, s->n_vocab, in->forbid, in->n_forbid);
    if (has_mask)
        in->mask->apply(in->mask->ctx, s->edited, s->n_vocab);
    if (has_penalties(p))
        apply_penalties(s, p, in);
    return s->edited;
}

/* --- selection --- */

/* Bits of x in the order of its values: larger x, larger number. */
static uint32_t ordered_bits(float x)
{
    uint32_t bits;
    x += 0.0f; /* -0 and 0 are one value */
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* Where the running mass reaches the target: over the candidates whose key agrees with `key` above
 * `shift + bits`, looks at the next `bits` bits, extends `key` by them and returns the mass
 * before. */
static double narrow(struct engine_sampler *s, uint32_t n, double target, uint32_t *key,
                     const int shift_bits[2])
{
    uint32_t shift = (uint32_t)shift_bits[0], n_buckets = 1u << shift_bits[1], b = 0;
    uint64_t above = ~(((uint64_t)n_buckets << shift) - 1); /* the bits decided so far */
    double before = 0.0;
    memset(s->mass, 0, n_buckets * sizeof *s->mass);
    for (uint32_t i = 0; i < n; i++) {
        const struct candidate *c = &s->candidates[i];
        if ((c->key & above) < *key)
            before += (double)c->weight;
        else if ((c->key & above) == *key)
            s->mass[c->key >> shift & (n_buckets - 1)] += (double)c->weight;
    }
    uint32_t last = 0; /* the last bucket with mass: where rounding lets us miss the target */
    for (uint32_t i = 0; i < n_buckets; i++)
        last = s->mass[i] > 0.0 ? i : last;
    while (b < last && before + s->mass[b] < target)
        before += s->mass[b++];
    *key |= b << shift;
    return before;
}

/* Keeps the candidates with the smallest keys, as few as have `target` of the mass (target > 0;
 * weights are the mass). Of equal keys the lower ids stay. Returns how many. */
static uint32_t keep_until(struct engine_sampler *s, uint32_t n, double target)
{
    static const int LEVELS[3][2] = { { 21, 11 }, { 10, 11 }, { 0, 10 } };
    ASSERT(n > 0);
    ASSERT(target > 0.0);
    uint32_t key = 0, kept = 0;
    double mass = 0.0;
    for (int i = 0; i < 3; i++)
        mass = narrow(s, n, target, &key, LEVELS[i]);
    for (uint32_t i = 0; i < n; i++) {
        struct candidate c = s->candidates[i];
        if (c.key > key || (c.key == key && mass >= target))
            continue;
        if (c.key == key)
            mass += (double)c.weight;
        s->candidates[kept++] = c;
    }
    ASSERT(kept > 0);
    return kept;
}

static double total_weight(const struct candidate *c, uint32_t n)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++)
        sum += (double)c[i].weight;
    return sum;
}

/* --- the filters --- */

static uint32_t keep_top_k(struct engine_sampler *s, uint32_t n, uint32_t k)
{
    if (k == 0 || k >= n)
        return n;
    for (uint32_t i = 0; i < n; i++) {
        s->candidates[i].key = ~ordered_bits(s->candidates[i].logit);
        s->candidates[i].weight = 1.0f;
    }
    return keep_until(s, n, (double)k);
}

static void weigh(struct engine_sampler *s, uint32_t n, float best, float temperature)
{
    for (uint32_t i = 0; i < n; i++)
        s->candidates[i].weight = expf((s->candidates[i].logit - best) / temperature);
}

static uint32_t keep_typical(struct engine_sampler *s, uint32_t n, float p)
{
    if (p >= 1.0f)
        return n;
    double total = total_weight(s->candidates, n), entropy = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        double q = (double)s->candidates[i].weight / total;
        entropy -= q > 0.0 ? q * log(q) : 0.0;
    }
    for (uint32_t i = 0; i < n; i++) {
        double q = (double)s->candidates[i].weight / total;
        float distance = q > 0.0 ? (float)fabs(-log(q) - entropy) : INFINITY;
        s->candidates[i].key = ordered_bits(distance);
    }
    return keep_until(s, n, (double)p * total);
}

static uint32_t keep_top_p(struct engine_sampler *s, uint32_t n, float p)
{
    if (p >= 1.0f)
        return n;
    for (uint32_t i = 0; i < n; i++)
        s->candidates[i].key = ~ordered_bits(s->candidates[i].logit);
    return keep_until(s, n, (double)p * total_weight(s->candidates, n));
}

static uint32_t keep_min_p(struct engine_sampler *s, uint32_t n, float p)
{
    float best = 0.0f;
    uint32_t kept = 0;
    if (p <= 0.0f)
        return n;
    for (uint32_t i = 0; i < n; i++)
        best = s->candidates[i].weight > best ? s->candidates[i].weight : best;
    for (uint32_t i = 0; i < n; i++)
        if (s->candidates[i].weight >= p * best)
            s->candidates[kept++] = s->candidates[i];
    ASSERT(kept > 0);
    return kept;
}

/* A number in [0, 1) that depends on seed and position alone, so no state need survive preemption.
 * */
static double unit_at(uint64_t seed, uint64_t position)
{
    struct rng rng;
    rng_seed(&rng, seed);
    rng_seed(&rng, rng_u64(&rng) ^ (position + 1) * 0x9e3779b97f4a7c15);
    return rng_unit(&rng);
}

static int32_t draw(const struct candidate *c, uint32_t n, double unit)
{
    ASSERT(unit >= 0.0 && unit < 1.0);
    double target = unit * total_weight(c, n), sum = 0.0;
    int32_t id = -1;
    for (uint32_t i = 0; i < n; i++) {
        if (c[i].weight <= 0.0f)
            continue;
        id = c[i].id; /* the last possible one, should rounding run past the end */
        sum += (double)c[i].weight;
        if (sum > target)
            break;
    }
    ASSERT(id >= 0); /* the best one has weight 1, or a filter kept one that has some */
    return id;
}

static int32_t sample(struct engine_sampler *s, const struct engine_sampler_params *p,
                      const float *logits, uint32_t best, uint32_t position)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_vocab; i++)
        if (logits[i] > -INFINITY)
            s->candidates[n++] = (struct candidate){ .logit = logits[i], .id = (int32_t)i };
    ASSERT(n > 0);
    n = keep_top_k(s, n, p->top_k);
    weigh(s, n, logits[best], p->temperature);
    n = keep_typical(s, n, p->typical_p);
    n = keep_top_p(s, n, p->top_p);
    n = keep_min_p(s, n, p->min_p);
    return draw(s->candidates, n, unit_at(p->seed, position));
}

/* --- log probabilities of the model --- */

static double log_total(const float *logits, uint32_t n, float best)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++)
        sum += (double)expf(logits[i] - best);
    return (double)best + log(sum);
}

/* The n_top best, by insertion: after the first few hundred tokens hardly one gets in. */
static uint32_t find_top(const float *logits, uint32_t n, struct engine_top *top, uint32_t n_top)
{
    uint32_t have = 0;
    for (uint32_t i = 0; i < n && n_top > 0; i++) {
        if (have == n_top && !(logits[i] > top[have - 1].logprob))
            continue;
        uint32_t at = have < n_top ? have++ : have - 1;
        for (; at > 0 && logits[i] > top[at - 1].logprob; at--)
            top[at] = top[at - 1];
        top[at] = (struct engine_top){ .id = (int32_t)i, .logprob = logits[i] };
    }
    return have;
}

static void report(const struct engine_sampler *s, const struct engine_sampler_input *in,
                   float best, struct engine_sampled *out)
{
    ASSERT(in->n_top <= ENGINE_TOP_MAX);
    double total = log_total(in->logits, s->n_vocab, best);
    out->logprob = (float)((double)in->logits[out->id] - total);
    out->n_top = find_top(in->logits, s->n_vocab, out->top, in->n_top);
    for (uint32_t i = 0; i < out->n_top; i++)
        out->top[i].logprob = (float)((double)out->top[i].logprob - total);
}

int engine_sampler_pick(struct engine_sampler *s, const struct engine_sampler_params *p,
                        const struct engine_sampler_input *in, struct engine_sampled *out)
{
    ASSERT(in->n_prompt <= in->n_ids);
    uint32_t raw_best = 0, best = 0;
    TRY(find_best(in->logits, s->n_vocab, &raw_best));
    const float *logits = edit(s, p, in);
    best = raw_best;
    if (logits != in->logits)
        TRY(find_best(logits, s->n_vocab, &best));
    out->id = p->temperature <= 0.0f ? (int32_t)best : sample(s, p, logits, best, in->n_ids);
    out->logprob = 0.0f;
    out->n_top = 0;
    if (in->logprobs)
        report(s, in, in->logits[raw_best], out);
    if (in->mask != NULL && in->mask->accept != NULL)
        in->mask->accept(in->mask->ctx, out->id);
    return 0;
}
