/* model/quantize.h - a GGUF file in, the same model in smaller number formats out.
 *
 * Idea: matrices become blocks of the wanted type, everything small stays as it is. A mix (Q4_K_M)
 * gives the tensors that matter most a better type; a pattern overrides both. Rows are computed a
 * batch at a time on all threads, so memory does not grow with the model.
 *
 *     tensor --kept (1-D, router, convolution)--------------------------> copied
 *            --pattern? mix? base type --row fits its blocks? else next--> quantised
 *
 * Mixes (the names and which tensors they favour are those of the files people exchange;
 * docs/quantize.md): S and M differ in how many layers' attn_v and ffn_down are favoured.
 * Invariants: the output holds the input's keys but general.file_type, general.alignment and
 * split.*; the same tensors in the same order; it appears only when complete.
 * Errors: a number that is not finite names its tensor; nothing is written then.
 * Cost: one read of the input, one write of the output. */
#ifndef MODEL_QUANTIZE_H
#define MODEL_QUANTIZE_H

#include "device/device.h"
#include "model/file.h"

#define QUANTIZE_PATTERNS_MAX 32

struct quantize_params {
    const char *type;                                /* a mix or the name of a number format */
    const char *const *patterns;                     /* "GLOB=TYPE" on tensor names; first wins */
    uint32_t n_patterns;
    bool pure;       /* the base type everywhere, no mix */
    bool requantize; /* the input may be quantised already */
    void (*progress)(void *ctx, uint64_t done, uint64_t total); /* bytes of input; or NULL */
    void *ctx;
};

struct quantize_report {
    uint64_t in_bytes, out_bytes; /* of tensors */
    uint64_t n_values;
    uint32_t n_tensors, n_quantized;
    uint32_t n_fallback; /* rows no multiple of the type's block: the next type that fits */
};

/* Lists every value of `type`, separated by commas. */
void quantize_type_names(char *out, size_t size);
/* E_USAGE (params), E_UNSUPPORTED (safetensors, types), E_RANGE (not finite), E_IO, E_NOMEM. */
NODISCARD int model_quantize(const struct model_file *in, struct device *dev, const char *out_path,
                             const struct quantize_params *params, struct quantize_report *report,
                             struct err *err);

#endif
