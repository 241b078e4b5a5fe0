/* model/safetensors.h - the table of one *.safetensors file (docs/formats/safetensors.md).
 *
 * Idea: the header is JSON of one fixed form, so it is read by a scanner for that form alone,
 * straight from the mapping: no tree, no recursion, memory only for tensors that are really listed.
 *
 *     [ u64 N | N bytes of JSON: {"name":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},...}
 * | data ]
 *
 * Invariants of what is returned: names are unique within the file; tensors cover the data exactly,
 * without overlap or gap; sizes fit shape and type; data is aligned to its numbers.
 * Cost: linear in the header. */
#ifndef MODEL_SAFETENSORS_H
#define MODEL_SAFETENSORS_H

#include "model/file.h"
#include "os/file.h"

/* L14 */
#define SAFETENSORS_HEADER_MAX ((size_t)100 << 20)

/* Reads and checks the header. *out (mem_free it) has *n tensors whose names and data point into
 * the mapping. E_FORMAT, E_LIMIT, E_UNSUPPORTED for a type Naru does not read, E_NOMEM. */
NODISCARD int model_safetensors_read(const struct os_map *map, struct model_tensor **out,
                                     uint32_t *n, struct err *err);

#endif
