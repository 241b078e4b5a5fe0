/* model/mla.h - binding latent attention, for the families that have it (architectures 3).
 *
 * Idea: DeepSeek V2/V3 and Kimi Linear share the layer (block_mla.c) and the way experts follow it;
 * they differ in where lengths come from and whether the rope channels are rotated. Defined in
 * deepseek2.c. */
#ifndef MODEL_MLA_H
#define MODEL_MLA_H

#include "model/bind.h"

/* Lengths that all layers share. */
struct mla_lengths {
    uint32_t q_rank, rank, nope, rope, v;
    float scale; /* of the logits, YaRN's magnitude included */
};

/* rope: channels of a cache row behind the latent. E_FORMAT, E_LIMIT. */
NODISCARD int bind_mla_lengths(struct bind *b, uint32_t rope, struct mla_lengths *n);
/* Latent attention of layer l, with its stream. */
NODISCARD int bind_mla(struct bind *b, uint32_t l, const struct mla_lengths *n);
/* Feed-forward of all layers: plain up to leading_dense_block_count, experts from there on. A file
 * of one "expert" is a plain one. normalise: the family's weights always sum to one. */
NODISCARD int bind_mla_feed_forward(struct bind *b, bool normalise);

#endif
