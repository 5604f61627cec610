/* SPDX-License-Identifier: MIT */
/*
 * COMPUTE context: executes the requests of virtio_gpu_compute.h
 */
#ifndef VCS_CONTEXT_COMPUTE_H
#define VCS_CONTEXT_COMPUTE_H

#include "vcs_backend.h"
#include "vcs_context.h"
#include "vcs_limits.h"
#include "vcs_stats.h"

/*
 * Counts in @stats, takes mappings from @budget. NULL when out of memory or the
 * backend does not answer.
 */
struct vcs_context *vcs_compute_create(struct vcs_backend *be,
				       const struct vcs_limits *limits,
				       struct vcs_stats *stats,
				       struct vcs_map_budget *budget);

#endif /* VCS_CONTEXT_COMPUTE_H */
