/* model/kda.h - Kimi Delta Attention: a layer whose memory of a sequence has a fixed size.
 *
 * Idea (Kimi Linear, arXiv 2510.26692, section 3; architectures 5): instead of a row a token, each
 * head keeps one matrix S, keys to values, that fades key channel by key channel and is corrected
 * where it told the new key wrongly (the delta rule, kernel.h). Query, key and value pass a short
 * causal convolution before.
 *
 *     h --q,k,v--> conv, SiLU, unit length --+                     slot of a sequence
 *     h --f_a,f_b--> e^(a softplus(. + dt)) -+-> S, out per head   [ S of each head | last rows ]
 *     h --beta--> sigmoid -------------------+          |
 *     h --g_a,g_b--> sigmoid ----------------- x -- norm(out) --o--> y
 *
 * State: two recurrent streams, both F32: S as the kernel keeps it (panels of 16 columns), and the
 * n_taps - 1 last inputs of the three convolutions, oldest first: (3, n_taps - 1, H D).
 * Invariants: a row's result depends on the slot and the rows before it alone, bit for bit,
 * wherever a prompt is cut and whatever else is in the batch.
 * Cost: 4 D D multiply-adds a head and row beside the products; S is read and written once a row
 * (from the first-level cache within a call). */
#ifndef MODEL_KDA_H
#define MODEL_KDA_H

#include "model/bind.h"

#define KDA_DIM_MAX 256u
#define KDA_TAPS_MAX 8u

struct block_kda {
    struct block_linear q, k, v, f_a, f_b, g_a, g_b, beta, o;
    const float *conv[3];   /* of q, k, v: (n_taps, H D), the oldest tap first */
    const float *dt;        /* (H D) */
    const float *a;         /* (H) -exp(A_log) */
    struct block_norm norm; /* (D) of each head's output */
    uint32_t n_heads, dim, n_taps;
    uint32_t state_stream, conv_stream;
};

/* The layer's parts and its streams. E_FORMAT, E_LIMIT, E_UNSUPPORTED. */
NODISCARD int bind_kda(struct bind *b, uint32_t l);
/* h -> y */
void block_kda(struct model_work *w, const struct block_kda *a);

#endif
