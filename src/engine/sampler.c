/* Passes over a whole vocabulary are kernels; what they leave is small, as a rule. Top-k takes the
 * maxima of some more than k blocks of the vocabulary: the k-th of them is a floor that at least k
 * logits reach, and only those that do become candidates. Top-p and min-p take the weights and a
 * floor on them. So usually some hundreds of candidates go through the filters; if the logits are
 * flat, all do.
 *
 * No sorting: every filter is "the shortest run of best tokens whose mass reaches a target", and
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
    const struct kernel_table *k;
    float *edited;                /* (n_vocab) */
    float *weights;               /* (n_vocab) exp((logit - best) / temperature) */
    uint32_t *ids;                /* (n_vocab + 16) */
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

int engine_sampler_create(struct engine_sampler **out, uint32_t n_vocab,
                          const struct kernel_table *k)
{
    if (n_vocab == 0 || n_vocab > INT32_MAX)
        return E_RANGE;
    struct engine_sampler *s = mem_alloc(1, sizeof *s);
    if (s == NULL)
        return E_NOMEM;
    s->n_vocab = n_vocab;
    s->k = k;
    s->weights = mem_alloc(n_vocab, sizeof *s->weights);
    s->ids = mem_alloc((size_t)n_vocab + 16, sizeof *s->ids);
    s->edited = mem_alloc(n_vocab, sizeof *s->edited);
    s->candidates = mem_alloc(n_vocab, sizeof *s->candidates);
    s->seen = mem_alloc(n_vocab, sizeof *s->seen);
    if (s->edited == NULL || s->candidates == NULL || s->seen == NULL || s->weights == NULL ||
        s->ids == NULL) {
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
    mem_free(s->weights);
    mem_free(s->ids);
    mem_free(s->candidates);
    mem_free(s->seen);
    mem_free(s);
}

/* --- edits of the logits --- */

/* The lowest id with the largest logit. E_NONFINITE for NaN, +infinity or nothing but -infinity. */
static int find_best(const struct engine_sampler *s, const float *logits, uint32_t *best)
{
    uint32_t at = s->k->argmax(logits, s->n_vocab);
    if (!isfinite(logits[at]) || s->k->any_nan(logits, s->n_vocab))
        return E_NONFINITE;
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

static uint32_t keep_top_p(struct engine_sampler *s, uint32_t n, double mass)
{
    for (uint32_t i = 0; i < n; i++)
        s->candidates[i].key = ~ordered_bits(s->candidates[i].logit);
    return keep_until(s, n, mass);
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

/* --- from a vocabulary to candidates --- */

/* Candidates from the ids found; those that may not come (-inf) are left out. */
static uint32_t gather(struct engine_sampler *s, const float *logits, size_t n_found)
{
    uint32_t n = 0;
    for (size_t i = 0; i < n_found; i++) {
        uint32_t id = s->ids[i];
        if (logits[id] > -INFINITY)
            s->candidates[n++] = (struct candidate){
                .logit = logits[id], .weight = s->weights[id], .id = (int32_t)id
            };
    }
    return n;
}

/* A number that at least k logits reach: the k-th largest of the maxima of more than k blocks.
 * -INFINITY if k is too large for that to help. */
static float floor_of(struct engine_sampler *s, const float *logits, uint32_t k)
{
    uint32_t len = 256, n = 0;
    while (len > 32 && s->n_vocab / len < 4 * k)
        len /= 2;
    if (s->n_vocab / len < 4 * k)
        return -INFINITY;
    for (uint32_t i = 0; i + len <= s->n_vocab; i += len, n++) {
        float max = logits[i + s->k->argmax(logits + i, len)];
        s->candidates[n] = (struct candidate){ .logit = max };
    }
    float least = INFINITY;
    n = keep_top_k(s, n, k);
    for (uint32_t i = 0; i < n; i++)
        least = s->candidates[i].logit < least ? s->candidates[i].logit : least;
    return least;
}

/* Candidates among which the shortest run of best tokens with that mass lies. Weights and their
 * order are known: floors go down by a factor of 16 until the mass is above them; if that leaves
 * too many, the floor is found to the last bit. */
static uint32_t gather_mass(struct engine_sampler *s, const float *logits, double mass)
{
    enum { FEW = 16384 };
    uint32_t low = 0, high = 0x3f800001; /* bits of weights: of 0, above 1 */
    float floor = 1.0f / 16;
    while (floor > 1e-30f && s->k->sum_from(s->weights, floor, s->n_vocab) < mass)
        floor /= 16;
    if (floor <= 1e-30f)
        floor = 0.0f;
    size_t n = s->k->find_from(s->weights, floor, s->n_vocab, s->ids);
    if (n <= FEW)
        return gather(s, logits, n);
    memcpy(&low, &floor, sizeof low);
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;
        memcpy(&floor, &mid, sizeof floor);
        if (s->k->sum_from(s->weights, floor, s->n_vocab) < mass)
            high = mid;
        else
            low = mid;
    }
    memcpy(&floor, &low, sizeof floor);
    return gather(s, logits, s->k->find_from(s->weights, floor, s->n_vocab, s->ids));
}

/* A draw from all weights: by stretches, then inside of one. */
static int32_t draw_any(const struct engine_sampler *s, double total, double unit)
{
    enum { STRETCH = 1024 };
    double target = unit * total, sum = 0.0;
    uint32_t from = 0;
    int32_t id = -1;
    for (; from + STRETCH < s->n_vocab; from += STRETCH) {
        double more = s->k->sum_from(s->weights + from, 0.0f, STRETCH);
        if (sum + more > target)
            break;
        sum += more;
    }
    for (uint32_t i = from; i < s->n_vocab && (id < 0 || sum <= target); i++) {
        if (s->weights[i] <= 0.0f)
            continue;
        id = (int32_t)i; /* the last possible one, should rounding run past the end */
        sum += (double)s->weights[i];
    }
    for (uint32_t i = from; id < 0 && i-- > 0;)
        id = s->weights[i] > 0.0f ? (int32_t)i : -1;
    ASSERT(id >= 0); /* the best one has weight 1 */
    return id;
}

/* With top-k or typical: the candidates are made first, then weighed. */
static int32_t sample_few(struct engine_sampler *s, const struct engine_sampler_params *p,
                          const float *logits, uint32_t best, uint32_t position)
{
    float floor = p->top_k != 0 && p->top_k < s->n_vocab ? floor_of(s, logits, p->top_k)
                                                         : -INFINITY;
    uint32_t n = gather(s, logits, s->k->find_from(logits, floor, s->n_vocab, s->ids));
    ASSERT(n > 0);
    n = keep_top_k(s, n, p->top_k);
    weigh(s, n, logits[best], p->temperature);
    n = keep_typical(s, n, p->typical_p);
    if (p->top_p < 1.0f)
        n = keep_top_p(s, n, (double)p->top_p * total_weight(s->candidates, n));
    n = keep_min_p(s, n, p->min_p);
    return draw(s->candidates, n, unit_at(p->seed, position));
}

static int32_t sample(struct engine_sampler *s, const struct engine_sampler_params *p,
                      const float *logits, uint32_t best, uint32_t position)
{
    if ((p->top_k != 0 && p->top_k < s->n_vocab) || p->typical_p < 1.0f)
        return sample_few(s, p, logits, best, position);
    /* not infinite: 0 times it must be 0 */
    float scale = fminf(1.0f / p->temperature, 1e30f);
    double unit = unit_at(p->seed, position);
    double total = s->k->exp_sum(logits, logits[best], scale, s->weights, s->n_vocab);
    if (p->top_p >= 1.0f && p->min_p <= 0.0f)
        return draw_any(s, total, unit);
    uint32_t n;
    if (p->top_p < 1.0f) {
        double mass = (double)p->top_p * total;
        n = keep_top_p(s, gather_mass(s, logits, mass), mass);
    } else {
        n = gather(s, logits, s->k->find_from(s->weights, p->min_p, s->n_vocab, s->ids));
    }
    n = keep_min_p(s, n, p->min_p);
    return draw(s->candidates, n, unit);
}

/* --- log probabilities of the model --- */

/* The n_top best among the ids found, by insertion: after the first few hardly one gets in. */
static uint32_t find_top(const struct engine_sampler *s, const float *logits, size_t n_found,
                         struct engine_top *top, uint32_t n_top)
{
    uint32_t have = 0;
    for (size_t i = 0; i < n_found && n_top > 0; i++) {
        float logit = logits[s->ids[i]];
        if (have == n_top && !(logit > top[have - 1].logprob))
            continue;
        uint32_t at = have < n_top ? have++ : have - 1;
        for (; at > 0 && logit > top[at - 1].logprob; at--)
            top[at] = top[at - 1];
        top[at] = (struct engine_top){ .id = (int32_t)s->ids[i], .logprob = logit };
    }
    return have;
}

static void report(struct engine_sampler *s, const struct engine_sampler_input *in, float best,
                   struct engine_sampled *out)
{
    ASSERT(in->n_top <= ENGINE_TOP_MAX);
    double sum = s->k->exp_sum(in->logits, best, 1.0f, s->weights, s->n_vocab);
    double total = (double)best + log(sum);
    out->logprob = (float)((double)in->logits[out->id] - total);
    if (in->n_top == 0)
        return;
    float floor = floor_of(s, in->logits, in->n_top);
    size_t n = s->k->find_from(in->logits, floor, s->n_vocab, s->ids);
    out->n_top = find_top(s, in->logits, n, out->top, in->n_top);
    for (uint32_t i = 0; i < out->n_top; i++)
        out->top[i].logprob = (float)((double)out->top[i].logprob - total);
}

int engine_sampler_pick(struct engine_sampler *s, const struct engine_sampler_params *p,
                        const struct engine_sampler_input *in, struct engine_sampled *out)
{
    ASSERT(in->n_prompt <= in->n_ids);
    uint32_t raw_best = 0, best = 0;
    TRY(find_best(s, in->logits, &raw_best));
    const float *logits = edit(s, p, in);
    best = raw_best;
    if (logits != in->logits)
        TRY(find_best(s, logits, &best));
    out->id = p->temperature <= 0.0f ? (int32_t)best : sample(s, p, logits, best, in->n_ids);
    out->logprob = 0.0f;
    out->n_top = 0;
    if (in->logprobs)
        report(s, in, in->logits[raw_best], out);
    if (in->mask != NULL && in->mask->accept != NULL)
        in->mask->accept(in->mask->ctx, out->id);
    return 0;
}
