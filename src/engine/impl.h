/* engine/impl.h - the inside of struct engine and struct engine_stream, for this folder only.
 *
 * Who touches what: fields under a heading belong to that owner; `lock` guards what says so. Locks
 * in order: stream.lock, then engine.lock; the engine thread holds neither while it computes,
 * except stream.lock around a caller's mask hook and notify, so that close can promise silence. */
#ifndef ENGINE_IMPL_H
#define ENGINE_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/mem.h"
#include "cost/step.h"
#include "engine/engine.h"
#include "engine/lane.h"
#include "engine/ring.h"
#include "engine/stop.h"
#include "kv/seq.h"
#include "model/model.h"
#include "sched/sched.h"
#include "text/tokenizer.h"

#define ENGINE_PIECE_MAX 65536 /* longest text of one token; a model with longer ones is refused */
#define ENGINE_SEQS_LIMIT 4096
#define ENGINE_ROWS_LIMIT 65536
#define ENGINE_NO_PLACE UINT32_MAX
#define ENGINE_LANES 4 /* sequences that a draft model follows at a time */

struct engine_done {
    enum engine_finish finish;
    int code;
    char message[ERR_TEXT_MAX];
    int stop_index;
    int32_t stop_id;
    struct engine_usage usage;
    struct buf text;             /* tail: room reserved at submit */
};

struct engine_stream {
    struct engine *engine;
    struct arena arena;          /* everything the request needs, from submit to the last unref */
    struct engine_request r;     /* its pointers lead into the arena */
    uint32_t n_limit;            /* prompt and output together */
    size_t event_max;            /* bytes of the largest record */

    /* shared */
    struct engine_ring ring;     /* engine writes, reader reads */
    atomic_uint refs;            /* engine and caller */
    atomic_bool cancelled, paused;
    atomic_bool ended;           /* released after `done` is written */
    atomic_uint phase, prefill_done, generated;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool closed;                 /* by lock */

    /* reader's */
    uint8_t *event;              /* (event_max) */
    bool done_read;

    /* engine thread's; done is the reader's once ended */
    struct engine_done done;
    struct engine_stream *prev, *next; /* live list; inbox uses next, by engine.lock */
    uint32_t sched_id;
    uint32_t place;              /* ENGINE_NO_PLACE: not running */
    struct kv_seq seq;
    struct kv_key root;
    /* the store's names; keys NULL: there is none */
    struct kv_digest store_root, *keys; /* (n_limit / B) */
    struct engine_str salt;
    uint32_t n_keys, n_offered;  /* blocks named; of them known to the store or queued for it */
    uint32_t n_found, n_loaded;  /* blocks not computed by this request; of them read */
    bool rooted, asked_store, fetching;
    int32_t *ids;                /* (n_limit) prompt and output */
    uint32_t n_ids;
    int32_t *forbid;             /* end tokens and stop ids, until min_tokens */
    uint32_t n_forbid;
    struct engine_spec spec;
    struct text_detok detok;
    struct engine_stop stop;
    uint64_t submit_ns, admit_ns, first_ns, last_ns, stall_ns; /* 0: not yet */
    uint64_t number;             /* of the request in the engine's life, from 1; by engine.lock */
    size_t room;                 /* of the ring when last looked at */
};

struct engine {
    struct engine_params params; /* with defaults filled in */
    struct engine_info info;
    uint32_t n_vocab, n_requests_max, n_text;
    size_t piece_max;
    int32_t *end_ids;            /* ids that end an answer */
    uint32_t n_end_ids;
    pthread_t thread;

    pthread_mutex_t lock;
    pthread_cond_t wake;         /* engine waits: poked */
    pthread_cond_t idle;         /* drain waits: n_live == 0 */
    /* by lock */
    struct engine_stream *inbox_first, *inbox_last;
    uint32_t n_live;             /* in inbox or schedule */
    uint32_t n_inbox;
    struct engine_embedding *embed_first, *embed_last; /* embed.c; counted in n_live */
    bool poked, closing, cancel_all, forget, quit;
    struct engine_stats shown;
    uint64_t n_submitted;

    struct engine_meter meter;   /* by its own lock */

    /* engine thread's */
    struct kv_pool *pool;
    struct kv_prefix *prefix;
    struct sched *sched;
    struct model_work *work;
    struct engine_sampler *sampler;
    struct engine_stream **by_sched; /* (n_requests_max) */
    struct engine_stream *live;
    kv_block *tables;            /* (n_seqs_max, table_cap) */
    uint32_t table_cap;
    uint8_t *slots;              /* (n_seqs_max, slot_bytes) */
    uint32_t *places;            /* stack of free places */
    uint32_t n_places;
    int32_t *batch_ids;          /* (n_rows_step) */
    struct model_span *spans;    /* (n_seqs_max) */
    uint32_t *want;              /* (n_want_max) */
    uint32_t n_want_max;         /* a row a sequence, and guesses */
    struct engine_spec_costs costs;
    struct cost_steps steps;     /* pace.c */
    struct cost_load load;       /* of the step that runs */
    double predicted_s;          /* for it; 0: nothing is known yet */
    struct engine_lane lanes[ENGINE_LANES];
    bool lane_free[ENGINE_LANES];
    uint32_t n_lanes;
    uint32_t step_seqs, step_rows; /* of the coming step, as far as guesses are made */
    struct buf piece, text;      /* scratch, room reserved */
    struct engine_stats stats;
    struct kv_mover *mover;      /* NULL: no store */
    struct engine_fetch *fetches; /* (n_seqs_max) */
    kv_block *fetch_tables;      /* (n_seqs_max, table_cap) */
    uint32_t n_fetches;
    double rows_per_s;           /* of prefill, smoothed; 0: not yet */
    uint64_t rows_ns;            /* when the meter last got the list of requests */
};

/* engine.c */
uint64_t engine_now(const struct engine *e);
void engine_poke(struct engine *e);
/* embed.c: one chunk of one text; false if there is none. */
bool engine_embed_step(struct engine *e, bool cancel_all);
/* step.c */
/* One step: sweeps, decides, runs. False if there was nothing to run. cancel_all ends every
 * request. */
bool engine_step(struct engine *e, bool cancel_all);
void engine_take(struct engine *e, struct engine_stream *s); /* from inbox into the schedule */
bool engine_has_timers(const struct engine *e);              /* paused or impatient requests */
void engine_count(struct engine *e);                         /* the counters that are levels */
/* tier.c: lower tiers. All do nothing without a store. */
struct engine_fetch;
void engine_tier_watch(struct engine *e, struct kv_prefix_params *p);
NODISCARD int engine_tier_open(struct engine *e, struct err *err);
void engine_tier_close(struct engine *e);
/* The request shall be admitted: true if it has to wait for blocks first. */
bool engine_tier_fetch(struct engine *e, struct engine_stream *s);
void engine_tier_poll(struct engine *e);
void engine_tier_leave(struct engine *e, struct engine_stream *s); /* it ends */
void engine_tier_offer(struct engine *e, struct engine_stream *s); /* what it published */
/* What this request computed is suspect: it shall not be found again. */
void engine_tier_distrust(struct engine *e, struct engine_stream *s);
void engine_tier_note_prefill(struct engine *e, uint32_t n_rows, uint64_t ns);
void engine_tier_count(struct engine *e);
void engine_tier_check(const struct engine *e);
/* pace.c */
/* Rows of prompts that the coming step may hold. */
uint32_t engine_pace_rows(const struct engine *e);
void engine_pace_begin(struct engine *e, const struct sched_act *act);
void engine_pace_end(struct engine *e, uint64_t ns);
/* request.c: token by token; end gives everything back. */
/* False: it has ended, and s may be gone. */
bool engine_token(struct engine *e, struct engine_stream *s, const struct engine_sampled *token);
void engine_end(struct engine *e, struct engine_stream *s, enum engine_finish finish, int code,
                const char *message);
/* spec_run.c */
NODISCARD int engine_spec_settle(struct engine *e, struct err *err); /* fills in and checks */
NODISCARD int engine_spec_create(struct engine *e);
void engine_spec_destroy(struct engine *e);
void engine_spec_begin(struct engine_stream *s);
void engine_spec_end(struct engine *e, struct engine_stream *s); /* gives the lane back */
/* Guesses for the next step lie behind the ids; the schedule knows how many. */
void engine_spec_propose(struct engine *e, struct engine_stream *s);
/* Token i of this step's was drawn, before it is added: what the guess was worth. */
void engine_spec_drawn(struct engine *e, struct engine_stream *s, uint32_t i, int32_t id);
/* What was decided about a request, for the meter. */
void engine_note(struct engine *e, const struct engine_stream *s, enum engine_decision_kind kind);
/* stream.c */
void engine_stream_wake(struct engine_stream *s);
void engine_stream_put(struct engine_stream *s, const struct engine_sampled *token,
                       const struct buf *text);
void engine_stream_unref(struct engine_stream *s);
/* A stream for the request, copied and checked. */
NODISCARD int engine_stream_create(struct engine_stream **out, struct engine *e,
                                   const struct engine_request *r, struct err *err);

#endif
