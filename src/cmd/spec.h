/* cmd/spec.h - options of speculative decoding (engine/spec.h) for the verbs that generate.
 *
 * Ownership: cmd_spec_close after the engine is gone and before the model is, whose device the
 * draft model uses; fine for one that is all zero. Threads: the main thread. */
#ifndef CMD_SPEC_H
#define CMD_SPEC_H

#include "cmd/cmd.h"
#include "engine/engine.h"

struct cmd_spec {
    const char *mode;  /* "off", "lookup", "draft"; NULL: draft if there is one, else lookup */
    const char *draft; /* file */
    uint32_t len;      /* 0: ENGINE_SPEC_DEFAULT */
};

/* ARGS has `struct cmd_spec spec`. */
#define CMD_SPEC(ARGS)                                                                             \
    { "spec", 0, OPT_TEXT, offsetof(ARGS, spec.mode), "HOW",                                       \
      "guess coming tokens and verify them in one pass, which never changes the answer: off, "     \
      "lookup (phrases seen before), draft (a small model) (default: lookup, or draft with "       \
      "--draft)", 0, 0 },                                                                          \
    { "draft", 0, OPT_TEXT, offsetof(ARGS, spec.draft), "FILE",                                    \
      "draft model: small, and with the same vocabulary", 0, 0 },                                  \
    { "spec-len", 0, OPT_U32, offsetof(ARGS, spec.len), "N",                                       \
      "most guesses a step; fewer are run where they do not pay (default: 16)", 1,                 \
      ENGINE_SPEC_MAX }

struct cmd_draft {
    struct model_file *file;
    struct model *model;
    struct text_tokenizer *tokenizer;
};

/* Fills spec, n_spec and draft of the engine's parameters; loads the draft model, if any. On
 * failure too cmd_spec_close is due. E_USAGE, E_UNSUPPORTED for another vocabulary. */
NODISCARD int cmd_spec_open(struct cmd_draft *d, const struct cmd_spec *a,
                            const struct cmd_model *m, struct engine_params *p, struct err *err);
void cmd_spec_close(struct cmd_draft *d);

#endif
