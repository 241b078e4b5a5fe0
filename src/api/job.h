/* api/job.h - one request to generate, on its way through the engine: several streams, one answer.
 *
 * Idea: n choices of p prompts are n x p engine streams. Their events become deltas at once, or one
 * answer when all have ended. No HTTP here: bytes go to a buf, and the caller is told what state
 * the answer is in.
 *
 *     request --start--> streams [0] [1] ... --pump (whenever the engine has notified)--> text
 *
 * Invariants: chunks of a choice come in order, choices interleave by index; log
 *     probabilities and ids of tokens whose text is held back are held back too, so that no stop
 *     string leaks through them; after a failure nothing but the error is written.
 * Tools and thoughts (chat, messages): what an engine stream says goes through text/toolcall.h;
 *     texts, thoughts and calls come out, each in deltas of its own.
 * Ownership: the job takes the request; it borrows engine and tokenizer.
 * Threads: one at a time; notify runs on the engine's thread.
 * Cost: a buffer a choice; a token costs its own JSON. */
#ifndef API_JOB_H
#define API_JOB_H

#include "api/answer.h"
#include "api/chat.h"
#include "api/request.h"

struct api_job;

#define API_CHOICES_MAX 128 /* prompts x n of one request */

/* The prompt of a request with messages. in_thought: it ends in one; may be NULL. Errors as of
 * api_chat_text. */
NODISCARD int api_job_prompt(const struct api_chat *chat, const struct api_request *r,
                             struct text_ids *ids, bool *in_thought, struct err *err);

struct api_job_params {
    struct engine *engine;
    const struct text_tokenizer *tokenizer;
    const struct api_chat *chat;
    struct api_constraints *constraints;
    const char *model, *fingerprint;
    const char *request_id;    /* for errors in a stream; NULL: none */
    const char *tenant;        /* prefixes are shared within one only; NULL or "": nobody's */
    /* Before anything is handed to the engine: so many tokens the request may take at most; where
     * it sets no bound, those of its prompts. A failure ends it. NULL: none. */
    int (*admit)(void *ctx, uint64_t tokens, struct err *err);
    void *admit_ctx;
    int64_t created;
    uint64_t seed;             /* where the request gives none */
    uint64_t id;               /* becomes the answer's id */
    /* The engine has something: pump soon. May run on any thread, also before start returned. */
    void (*notify)(void *ctx);
    void *notify_ctx;
};

/* Renders, encodes and submits. Takes the request (heap, from mem_alloc) in any case. Errors as of
 * api_chat_text and engine_submit, err->field the path in the request. */
NODISCARD int api_job_start(struct api_job **out, const struct api_job_params *p,
                            struct api_request *request, struct err *err);
/* The constraint of the answer is being compiled: nothing was submitted yet. notify tells when to
 * resume; then again errors as of start (the job stays, to be destroyed). */
bool api_job_waits(const struct api_job *job);
NODISCARD int api_job_resume(struct api_job *job, struct err *err);
/* Cancels what runs. NULL is fine. */
void api_job_destroy(struct api_job *job);
bool api_job_streams(const struct api_job *job); /* the request asked for a stream */

enum api_job_state {
    API_JOB_RUNS,
    API_JOB_DONE,  /* the answer, or the end of the stream, was written */
    API_JOB_FAILED /* err tells; nothing of the failure was written */
};

/* Takes events until there are none, or, for a stream, out holds out_bytes. Streams are written as
 * SSE events, whole answers as JSON when all is there. */
enum api_job_state api_job_pump(struct api_job *job, struct buf *out, size_t out_bytes,
                                struct err *err);
/* The failure of a stream, in its dialect; nothing may be written afterwards. */
void api_job_fail_stream(struct api_job *job, const struct api_error *e, struct buf *out);
/* What was answered and asked; both live as long as the job. */
const struct api_answer *api_job_answer(const struct api_job *job);
const struct api_request *api_job_request(const struct api_job *job);
/* Sums over all choices; prompts count once. */
struct engine_usage api_job_usage(const struct api_job *job);

#endif
