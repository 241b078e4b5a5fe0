/* os/volume_impl.h - the two ways of running a batch on a real folder, for os/volume*.c only. */
#ifndef OS_VOLUME_IMPL_H
#define OS_VOLUME_IMPL_H

#include "os/volume.h"

struct os_uring;
/* A ring for batches. E_UNSUPPORTED: the host forbids io_uring, or lacks it. */
NODISCARD int os_uring_create(struct os_uring **out);
void os_uring_destroy(struct os_uring *u);
void os_uring_run(struct os_uring *u, struct os_volume_op *ops, uint32_t n);

/* Books the result r of a transfer (bytes, or -errno). True when the operation is over; false: it
 * has to be started again for what is left. */
bool os_volume_book(struct os_volume_op *op, int64_t r);

#endif
