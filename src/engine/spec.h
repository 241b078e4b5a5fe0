/* engine/spec.h - several tokens a step without changing any: guess, verify in one batch, keep what
 * holds (architectures 4; Leviathan 2023, Chen 2023; prompt lookup: Saxena 2023).
 *
 * Idea: a step of one row reads all weights for one token. Guessed tokens ride along as further
 * rows of the same sequence, and the logits behind each tell whether the next guess was right:
 *
 *     known   ... the cat | sat        guess: on the mat
 *     rows                  sat  on  the  mat
 *     drawn                 on   the  rug               two guesses hold, "rug" is drawn anyway
 *
 * Exactness: every token is drawn from the model's own logits by engine_sampler_pick, a function of
 * (seed, position, distribution) as without guesses; a guess is accepted if it is what was drawn.
 * For a guess x that is accepted with probability p(x), and otherwise replaced by a draw from p
 * without x: the rejection rule for a one-hot draft. So ids are those of plain decode, sampled ones
 * too, and the distribution is untouched. A draft model draws with the same seed and position, so
 * that its guesses coincide with the model's draws as often as the two distributions let them.
 *
 * Guesses come from the text itself (the latest place where its last tokens, as many as possible,
 * stood before) or from a draft model with the same vocabulary.
 *
 * How many: the rate (tokens expected) / (seconds expected) is largest. Acceptance is measured a
 * request and a class of guess, also of guesses that were not run; seconds by the number of rows of
 * the step, as they were. No guess is run unless it promises GAIN_MIN; so text that does not repeat
 * itself costs the search alone.
 *
 * Ownership: plain data in stream and engine. Threads: the engine's.
 * Cost: a search of the sequence a token; nothing is allocated. */
#ifndef ENGINE_SPEC_H
#define ENGINE_SPEC_H

#include <stdbool.h>
#include <stdint.h>

#define ENGINE_SPEC_MAX 64  /* guesses a sequence and step at most */
#define ENGINE_SPEC_ROWS 64 /* guesses a step, of all sequences */
#define ENGINE_SPEC_DEFAULT 16

enum engine_spec_mode { ENGINE_SPEC_OFF, ENGINE_SPEC_LOOKUP, ENGINE_SPEC_DRAFT };

/* The longest run of tokens at the end of ids (at most LOOKUP_LONG) that also stands earlier, the
 * latest such place; up to n_max tokens that follow there go to out. A run that reaches its own
 * copy goes on with it. Returns how many, 0 if not even LOOKUP_SHORT tokens repeat; *match: the
 * length of the run. */
#define LOOKUP_SHORT 2u
#define LOOKUP_LONG 24u
uint32_t engine_lookup(const int32_t *ids, uint32_t n, int32_t *out, uint32_t n_max,
                       uint32_t *match);

/* Guesses are alike within a class: by the length of the run, or by the draft model. */
enum engine_spec_class {
    SPEC_RUN_2, SPEC_RUN_4, SPEC_RUN_8, SPEC_RUN_16, SPEC_MODEL, SPEC_CLASSES
};
enum engine_spec_class engine_spec_class_of(uint32_t match);

struct engine_spec_odds {
    float hits[SPEC_CLASSES], tries[SPEC_CLASSES]; /* fading counts */
};
/* How likely the next guess of the class holds. */
double engine_spec_chance(const struct engine_spec_odds *o, enum engine_spec_class c);
void engine_spec_learn(struct engine_spec_odds *o, enum engine_spec_class c, uint32_t hits,
                       uint32_t tries);

/* Seconds of a step by its rows, for steps that only decode. */
#define SPEC_ROWS_SEEN 256
struct engine_spec_costs {
    float s[SPEC_ROWS_SEEN];       /* [rows - 1]; 0: never */
    uint32_t seen[SPEC_ROWS_SEEN]; /* the count when it was last seen */
    uint8_t times[SPEC_ROWS_SEEN]; /* how often, up to 8: what was seen once is soon forgotten */
    uint32_t count, largest;
    float draft_s;                 /* of one guess of the draft model; 0: never */
};
void engine_spec_timed(struct engine_spec_costs *c, uint32_t rows, double seconds);
/* Estimate for any number of rows; only ratios mean something before the first measurement. */
double engine_spec_cost(const struct engine_spec_costs *c, uint32_t rows);

struct engine_spec_choice {
    uint32_t n;  /* guesses to run */
    double gain; /* tokens a second, relative to none */
};
/* The best number of guesses, up to n_max, for one of n_seqs sequences of a step that has n_rows
 * rows without them. a_guess_s: seconds that a guess costs beforehand. */
struct engine_spec_choice engine_spec_choose(const struct engine_spec_costs *c, double chance,
                                             uint32_t n_seqs, uint32_t n_rows, uint32_t n_max,
                                             double a_guess_s);

/* A stream's part. */
struct engine_spec {
    bool on;
    struct engine_spec_odds odds;
    int32_t guess[ENGINE_SPEC_MAX];
    uint32_t n_guess;              /* known guesses; the first n_run of them lie behind its ids */
    uint32_t n_run;
    enum engine_spec_class class;  /* of the guesses */
    uint32_t lane;                 /* of the draft model; ENGINE_NO_LANE: none */
    uint32_t lane_rows;            /* rows of the lane that agree with the ids */
    uint32_t since;                /* tokens since the draft model was asked */
};
#define ENGINE_NO_LANE UINT32_MAX

#endif
