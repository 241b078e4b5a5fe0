/* io_uring (Axboe 2019) through liburing: one system call starts a batch and waits for it. */
#include <errno.h>
#include <liburing.h>

#include "base/mem.h"
#include "base/num.h"
#include "os/volume_impl.h"

#define DEPTH 32

struct os_uring {
    struct io_uring ring;
};

int os_uring_create(struct os_uring **out)
{
    struct os_uring *u = mem_alloc(1, sizeof *u);
    if (u == NULL)
        return E_NOMEM;
    if (io_uring_queue_init(DEPTH, &u->ring, 0) < 0) {
        mem_free(u);
        return E_UNSUPPORTED;
    }
    *out = u;
    return 0;
}

void os_uring_destroy(struct os_uring *u)
{
    if (u == NULL)
        return;
    io_uring_queue_exit(&u->ring);
    mem_free(u);
}

static void start(struct os_uring *u, struct os_volume_op *op)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    CHECK(sqe != NULL); /* never more than DEPTH are under way */
    void *data = op->done == 0 ? op->data : (uint8_t *)op->data + op->done;
    unsigned n = (unsigned)num_min(op->bytes - op->done, 1u << 30);
    uint64_t at = op->offset + op->done;
    if (op->kind == OS_VOLUME_READ)
        io_uring_prep_read(sqe, op->file, data, n, at);
    else if (op->kind == OS_VOLUME_WRITE)
        io_uring_prep_write(sqe, op->file, data, n, at);
    else
        io_uring_prep_fsync(sqe, op->file, IORING_FSYNC_DATASYNC);
    io_uring_sqe_set_data(sqe, op);
}

void os_uring_run(struct os_uring *u, struct os_volume_op *ops, uint32_t n)
{
    uint32_t n_started = 0, n_over = 0, n_under_way = 0;
    while (n_over < n) {
        while (n_started < n && n_under_way < DEPTH) {
            start(u, &ops[n_started++]);
            n_under_way++;
        }
        int rc = io_uring_submit_and_wait(&u->ring, 1);
        CHECK(rc >= 0 || rc == -EINTR || rc == -EAGAIN || rc == -EBUSY);
        struct io_uring_cqe *cqe;
        while (io_uring_peek_cqe(&u->ring, &cqe) == 0) {
            struct os_volume_op *op = io_uring_cqe_get_data(cqe);
            int r = cqe->res;
            io_uring_cqe_seen(&u->ring, cqe);
            if (os_volume_book(op, r)) {
                n_over++;
                n_under_way--;
            } else {
                start(u, op);
            }
        }
    }
}
