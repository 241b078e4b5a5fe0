/* model/gguf_write.h - writes a GGUF file (version 3), piece by piece.
 *
 * Idea: the head (keys, names, types, shapes, offsets) is known before any number is: it is written
 * first, then the tensors follow in order, as many bytes at a time as the caller likes.
 *
 *     open(plan) -> head        put, put, ...  data of tensor 0, 1, ...        commit -> rename
 *
 * Invariants: tensors' bytes are put in the order of the plan, exactly as many as their types and
 * shapes say (checked at commit); padding is the writer's business. Until commit nothing stands at
 * the path.
 * Ownership: the plan is borrowed for open only. Threads: one. Cost: O(head) memory. Format:
 * docs/formats/gguf.md. */
#ifndef MODEL_GGUF_WRITE_H
#define MODEL_GGUF_WRITE_H

#include "model/file.h"
#include "os/file.h"

#define GGUF_ALIGN 32u

struct gguf_plan {
    const struct model_meta *meta; /* values little-endian, as model_file gives them */
    uint32_t n_meta;
    const struct model_tensor *tensors; /* name, type, shape, bytes; data is not looked at */
    uint32_t n_tensors;
};

struct gguf_writer {
    struct os_out out;
    uint64_t at, end; /* bytes of data put, and what there must be at the end */
};

/* E_IO, E_NOMEM, E_LIMIT for a head beyond what readers take. */
NODISCARD int gguf_write_open(struct gguf_writer *w, const char *path, const struct gguf_plan *plan,
                              struct err *err);
NODISCARD int gguf_write_put(struct gguf_writer *w, const void *data, size_t bytes,
                             struct err *err);
/* After the last byte of each tensor. */
NODISCARD int gguf_write_pad(struct gguf_writer *w, struct err *err);
NODISCARD int gguf_write_commit(struct gguf_writer *w, struct err *err);
void gguf_write_abort(struct gguf_writer *w);

#endif
