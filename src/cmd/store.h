/* cmd/store.h - the options of a KV store, and opening one, for serve, run and kv. */
#ifndef CMD_STORE_H
#define CMD_STORE_H

#include "cmd/cmd.h"
#include "engine/engine.h"
#include "kv/store.h"
#include "os/volume.h"

struct cmd_store_args {
    const char *dir, *key_file;
    uint64_t bytes;
};

#define CMD_STORE_BYTES ((uint64_t)16 << 30)

/* ARGS has `struct cmd_store_args store`. */
#define CMD_STORE(ARGS)                                                                            \
    { "kv-dir", 0, OPT_TEXT, offsetof(ARGS, store.dir), "DIR",                                     \
      "keep the state of prompts in DIR, so that prefixes computed once are found again, also "    \
      "after a restart; one process a folder (default: nowhere)", 0, 0 },                          \
    { "kv-disk", 0, OPT_BYTES, offsetof(ARGS, store.bytes), "SIZE",                                \
      "most bytes the files in --kv-dir may take together (default: 16G)", 1 << 20, 0x1p62 },      \
    { "kv-key-file", 0, OPT_TEXT, offsetof(ARGS, store.key_file), "FILE",                          \
      "encrypt what is written to --kv-dir (AES-256-GCM) with the key in FILE: 32 bytes, or 64 "   \
      "hexadecimal digits (default: not encrypted)", 0, 0 }

struct cmd_store {
    struct os_volume *volume;
    struct kv_store *store; /* NULL: no --kv-dir */
};

/* Opens the store the options name, if they name one; look: for inspection only. */
NODISCARD int cmd_store_open(struct cmd_store *s, const struct cmd_store_args *a,
                             const struct cmd_common *c, bool look, struct err *err);
/* After the engine. */
void cmd_store_close(struct cmd_store *s);
/* Fills store, store_identity and store_name: what the model's state depends on, read from its
 * file (with a progress bar). */
NODISCARD int cmd_store_bind(struct engine_params *p, const struct cmd_store *s,
                             const struct cmd_model *m, const struct cmd_common *c,
                             struct err *err);
/* Ends the engine, which writes what is queued, and tells what the store did; then closes it.
 * Either may be missing. */
void cmd_store_finish(struct cmd_store *s, struct engine *e, const struct cmd_common *c);

#endif
