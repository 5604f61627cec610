/* SPDX-License-Identifier: MIT */
/*
 * Where guest memory is: runs of the files that the VMM has mapped for its guest
 */

#ifndef COMPUTE_MEMORY_H
#define COMPUTE_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

struct iovec;
struct virgl_renderer_compute_mem;

struct compute_run {
   uint32_t fd; /* index in compute_memory::fds */
   uint64_t offset;
   uint64_t length;
};

struct compute_memory {
   uint64_t size;
   bool rdonly;

   struct compute_run *runs;
   uint32_t nr_runs;
   uint32_t max_runs;

   /* duplicates: the VMM's own descriptors may be closed any time */
   int *fds;
   uint32_t nr_fds;
};

typedef int (*compute_resolve_func)(uint32_t res_id,
                                    uint32_t blob_flags,
                                    const struct iovec *iov,
                                    struct virgl_renderer_compute_mem *mem);

/**
 * Find the files behind iovecs, which must add up to size exactly.  The iovecs are not
 * needed any more afterwards.  blob_flags are those of the resource, which say whether the
 * memory is read-only.
 *
 * Returns 0 or a negative errno: -EINVAL if the memory cannot be handed over page by page
 * with the descriptors that resolve gives, or what resolve returns.
 */
int
compute_memory_from_iov(struct compute_memory **out_mem,
                        uint32_t res_id,
                        uint32_t blob_flags,
                        const struct iovec *iov,
                        int iov_count,
                        uint64_t size,
                        compute_resolve_func resolve);

/**
 * Take a file as a whole; fd is duplicated.
 */
int
compute_memory_from_fd(struct compute_memory **out_mem, int fd, uint64_t size);

void
compute_memory_destroy(struct compute_memory *mem);

#endif /* COMPUTE_MEMORY_H */
