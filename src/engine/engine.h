/* engine/engine.h - runs requests: one thread that owns model, KV memory and schedule.
 *
 * Idea: callers hand in requests and read events; nothing else crosses the thread border.
 *
 *     caller                     engine thread                          caller
 *     engine_submit --mailbox--> [ plan | forward | sample | commit ] --ring--> engine_stream_next
 *     engine_stream_cancel --flag-->       one step            --notify--> "there are events"
 *
 * Each request has a stream: a bounded ring of events. When its reader is slow and the ring is
 * nearly full, that request pauses (the others go on), and after stall_s it is aborted (L10). So
 * the engine never waits for a reader, and no reader loses an event.
 *
 * A command line reads with engine_stream_next(s, -1, ...), which waits. A server passes `notify`,
 * which the engine thread calls after a step that made events, and then reads with timeout 0 until
 * it gets 0.
 *
 * Invariants: every submitted stream gets exactly one ENGINE_DONE event, its last, whatever
 *     happens; texts of TOKEN and DONE events concatenated are the answer, never half a character
 *     never a part of a stop string; ids are equal alone or batched, shared or
 *     computed.
 * Ownership: the engine borrows model and tokenizer, which must outlive it; a stream belongs to the
 *     caller until engine_stream_close. Close all streams before engine_destroy.
 * Threads: engine_submit, engine_drain, engine_stats, engine_report, engine_stream_cancel,
 *     engine_stream_progress from any thread; engine_stream_next and _close from one thread at a
 *     time per stream.
 * Cost: submit copies the prompt and allocates all that the request will ever need; a step
 *     allocates nothing. */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "engine/meter.h"
#include "engine/sampler.h"
#include "engine/spec.h"
#include "kv/mover.h"

struct kv_store;
struct model;
struct model_batch;
struct model_work;
struct text_tokenizer;
struct engine;
struct engine_stream;

#define ENGINE_STOPS_MAX 16          /* stop strings a request */
#define ENGINE_STOP_BYTES_MAX 1024   /* of one of them */
#define ENGINE_STOP_IDS_MAX 64
#define ENGINE_CTX_DEFAULT 16384     /* context if n_ctx is 0 and the model was trained for more */
#define ENGINE_KV_DEFAULT ((size_t)1 << 30) /* most KV bytes if kv_bytes is 0 */

struct engine_params {
    const struct model *model;
    const struct text_tokenizer *tokenizer;
    struct clock clock;        /* clock_system() */
    uint32_t n_ctx;            /* longest sequence, prompt and output; 0: the trained context, at
                                * most ENGINE_CTX_DEFAULT. Never more than the KV memory holds. */
    uint32_t n_seqs_max;       /* sequences running at a time; 0: 32; at most 4,096 */
    uint32_t n_waiting_max;    /* requests that may wait; beyond: E_FULL; 0: 1,024 (L11) */
    uint32_t n_rows_step;      /* rows (tokens) of one step; 0: 256; at least n_seqs_max is used */
    size_t kv_bytes;           /* memory for KV blocks; 0: n_seqs_max full contexts, at most
                                * ENGINE_KV_DEFAULT, at least one context */
    size_t stream_bytes;       /* event ring of a stream; 0: 64 KiB; at least four largest events */
    double tpot_s;             /* pace to keep for those that answer: rows of prompts join a step
                                * only as far as it is predicted to take no longer; 0: no pace */
    double queue_s_max;        /* a request waiting longer fails with E_TIMEOUT; 0: never */
    double stall_s_max;        /* a paused reader's request fails with E_TIMEOUT; 0: 60 (L10) */
    uint32_t pooling;          /* enum model_pooling of embeddings; 0: the model's own, else mean */
    const char *kv_policy;     /* which idle block leaves (kv/policy.h); NULL: KV_POLICY_DEFAULT */
    enum engine_spec_mode spec; /* guesses verified in one batch; OFF for models with state that
                                 * cannot be taken back (engine_info says) */
    uint32_t n_spec;           /* guesses a sequence and step at most; 0: ENGINE_SPEC_DEFAULT */
    const struct model *draft; /* ENGINE_SPEC_DRAFT: of the same vocabulary; outlives the engine */
    bool no_sharing;           /* recompute every prefix: for tests and measurements */
    /* A store of blocks on a disk below the memory; NULL: none. Borrowed; one engine a store.
     * identity: a digest of all that state depends on beside salt and tokens (build, processor
     * level, model, KV type, block length). */
    struct kv_store *store;
    uint8_t store_identity[32];
    const char *store_name;    /* of the model, for people */
    uint64_t hash_seed;        /* secret key of the prefix index; random in a server */
    bool check;                /* walk all invariants after every step: tests */
    /* NULL: model_forward. Tests put faults in front of it (F-46). */
    int (*forward)(const struct model *m, struct model_work *w, const struct model_batch *b,
                   const float **logits);
};

/* What the engine made of the parameters. */
struct engine_info {
    uint32_t n_ctx;
    uint32_t n_seqs_max, n_rows_step;
    uint32_t n_blocks, block_len;
    size_t kv_bytes;
    uint32_t n_embd;           /* values of an embedding (engine/embed.h) */
    uint32_t pooling;          /* enum model_pooling */
    bool encoder;              /* the model makes embeddings only */
    enum engine_spec_mode spec;
    bool sharing;              /* false: no_sharing, or the model keeps window or recurrent state,
                                * which cannot be shared by prefix without checkpoints */
};

struct engine_str {
    const char *data;
    size_t len;
};

/* One request. All pointers are borrowed for the call of engine_submit, except mask and notify's
 * ctx. */
struct engine_request {
    const int32_t *prompt;     /* (n_prompt) token ids, at least one */
    uint32_t n_prompt;
    uint32_t max_tokens;       /* output tokens; 0: up to the context */
    uint32_t min_tokens;       /* end tokens and stop_ids cannot come before */
    struct engine_sampler_params sampler;
    const struct engine_bias *bias;
    uint32_t n_bias;           /* at most ENGINE_BIAS_MAX */
    const struct engine_str *stops; /* stop strings; empty ones are refused */
    uint32_t n_stops;
    bool include_stop;         /* the stop string itself is part of the text */
    const int32_t *stop_ids;   /* end the answer, like the model's own end tokens */
    uint32_t n_stop_ids;
    bool ignore_eos;           /* the model's end tokens do not end it; stop_ids still do */
    bool special;              /* print control tokens */
    bool no_spec;              /* one token a step, whatever the engine does for others */
    bool logprobs;
    uint32_t n_top;            /* alternatives reported a token, at most ENGINE_TOP_MAX */
    struct engine_mask mask;   /* mask.apply NULL: none */
    struct engine_str salt;    /* prefixes are shared between equal salts only (tenant ...) */
    /* NULL: none. Runs on the engine thread; must not block nor call engine functions. Not called
     * after engine_stream_close returned. */
    void (*notify)(void *ctx, struct engine_stream *s);
    void *notify_ctx;
};

/* Fills everything but the prompt with what "no option given" means. */
struct engine_request engine_request_defaults(const int32_t *prompt, uint32_t n_prompt);

enum engine_event_kind { ENGINE_TOKEN, ENGINE_DONE };
enum engine_finish { ENGINE_STOP, ENGINE_LENGTH, ENGINE_CANCELLED, ENGINE_ERROR };
const char *engine_finish_name(enum engine_finish f); /* "stop", "length", "cancelled", "error" */

struct engine_usage {
    uint32_t prompt_tokens;
    uint32_t cached_tokens;    /* of the prompt, not computed again */
    uint32_t loaded_tokens;    /* of these, read from the store */
    uint32_t completion_tokens;/* TOKEN events; an end token or stop id is not one */
    uint32_t drafted_tokens;   /* guesses run beside the answer's own tokens */
    uint32_t accepted_tokens;  /* of them */
    uint32_t preemptions;
    uint64_t queue_ns;         /* submit to first admission */
    uint64_t prefill_ns;       /* admission to first token */
    uint64_t decode_ns;        /* first token to the end */
};

struct engine_event {
    enum engine_event_kind kind;
    const char *text;          /* released by this event; may be empty; not NUL-terminated */
    size_t text_len;
    /* ENGINE_TOKEN */
    int32_t id;
    float logprob;             /* if asked for */
    const struct engine_top *top;
    uint32_t n_top;
    /* ENGINE_DONE */
    enum engine_finish finish;
    int code;                  /* E_* for ENGINE_ERROR, else 0 */
    const char *message;       /* one line for a person for ENGINE_ERROR, else "" */
    int stop_index;            /* which stop string ended it; -1: none */
    int32_t stop_id;           /* which end token or stop id ended it; -1: none */
    struct engine_usage usage;
};

NODISCARD int engine_create(struct engine **out, const struct engine_params *params,
                            struct err *err);
/* Stops the thread after its step; all requests end as cancelled. All streams must be closed. */
void engine_destroy(struct engine *e);
void engine_info(const struct engine *e, struct engine_info *out);

/* Hands in a request. E_RANGE (err->field names the parameter), E_UNSUPPORTED
 * (the model makes embeddings only), E_LIMIT when the prompt does not
 * fit into the context (field "prompt", both numbers in the text: A-33), E_FULL when too many
 * wait, E_CLOSED after drain, E_NOMEM. */
NODISCARD int engine_submit(struct engine *e, const struct engine_request *r,
                            struct engine_stream **out, struct err *err);

/* Takes no more requests and waits until the running ones are done; after timeout_s (0: at once)
 * the rest is cancelled. 0, or E_TIMEOUT if some had to be cancelled. */
int engine_drain(struct engine *e, double timeout_s);
/* Forgets all shared prefixes that nobody uses now. Takes effect before the next step. */
void engine_forget(struct engine *e);

/* Next event: 1 and *ev filled (its pointers live until the next call on this stream), 0 if none
 * came within timeout_s (0: do not wait, negative: for ever), E_CLOSED after ENGINE_DONE. */
NODISCARD int engine_stream_next(struct engine_stream *s, double timeout_s,
                                 struct engine_event *ev);
void engine_stream_cancel(struct engine_stream *s);
/* Cancels what still runs and gives the stream back. NULL is fine. */
void engine_stream_close(struct engine_stream *s);

/* FETCH: waits for stored blocks of its prefix. */
enum engine_phase { ENGINE_QUEUED, ENGINE_FETCH, ENGINE_PREFILL, ENGINE_DECODE, ENGINE_ENDED };
struct engine_progress {
    enum engine_phase phase;
    uint32_t prefill_done, prefill_total; /* prompt rows; done includes cached ones */
    uint32_t generated;
};
void engine_stream_progress(const struct engine_stream *s, struct engine_progress *out);

struct engine_stats {
    uint32_t n_waiting, n_running;
    uint32_t blocks, blocks_used;    /* used: held by running sequences */
    uint32_t blocks_cached;          /* idle prefixes kept for reuse */
    uint64_t steps, prefill_rows, decode_rows;
    uint64_t requests, requests_failed, requests_cancelled;
    uint64_t prompt_tokens, cached_tokens, completion_tokens;
    uint64_t drafted_tokens, accepted_tokens; /* speculation: guesses run, and of them right */
    uint64_t preemptions, evictions;
    uint64_t busy_ns;                /* inside steps */
    uint64_t steps_predicted;        /* steps whose time was predicted before they ran */
    uint64_t steps_near;             /* of them, within 15 % */
    double step_error;               /* mean of |predicted - taken| / taken of recent steps */
    /* The store, in blocks. hits: stored and not resident when a request came; loaded: of these,
     * read, verified and published; bypassed: computing was thought quicker; late: requests that
     * stopped waiting. */
    uint64_t store_hits, store_loaded, store_bypassed, store_late;
    struct kv_mover_stats store;     /* all zero: none */
};
void engine_stats(const struct engine *e, struct engine_stats *out);
/* Latencies, the last steps and decisions, the requests at work (engine/meter.h). */
void engine_report(const struct engine *e, struct engine_report *out);

#endif
