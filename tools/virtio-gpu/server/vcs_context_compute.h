/* SPDX-License-Identifier: MIT */
/*
 * COMPUTE context: executes the requests of virtio_gpu_compute.h
 */
#ifndef VCS_CONTEXT_COMPUTE_H
#define VCS_CONTEXT_COMPUTE_H

#include <stddef.h>
#include <stdint.h>

#include "vcs_backend.h"
#include "vcs_limits.h"
#include "vcs_stats.h"
#include "vcs_window.h"

struct vcs_compute;

/* Counts in @stats. NULL when out of memory or the backend does not answer. */
struct vcs_compute *vcs_compute_create(struct vcs_backend *be,
				       const struct vcs_limits *limits,
				       struct vcs_stats *stats);

/* Drops every resource and program. */
void vcs_compute_destroy(struct vcs_compute *ctx, struct vcs_map_budget *budget);

/* May this resource be added? 0, -EINVAL, -EEXIST or -E2BIG. */
int vcs_compute_check_resource(struct vcs_compute *ctx, uint32_t res_id,
			       uint32_t flags, uint64_t blob_id, uint64_t size);

/*
 * Add the resource that vcs_compute_check_resource() has allowed, and register
 * its window with the backend; the window is the context's if it returns 0.
 */
int vcs_compute_add_resource(struct vcs_compute *ctx, uint32_t res_id,
			     uint32_t flags, const struct vcs_window *win);

/*
 * Take a resource from the backend and unmap it: nothing of this process can
 * access its memory when this returns. -ENOENT: there is none.
 */
int vcs_compute_remove_resource(struct vcs_compute *ctx, uint32_t res_id,
				struct vcs_map_budget *budget);

/*
 * Execute a submission. What is wrong with it is told in the shared blob; the
 * return value is -EINVAL when there is no such blob yet, else 0. @payload is
 * the process's own memory, aligned to 8.
 */
int vcs_compute_submit(struct vcs_compute *ctx, const uint8_t *payload,
		       size_t len);

#endif /* VCS_CONTEXT_COMPUTE_H */
