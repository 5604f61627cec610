/* SPDX-License-Identifier: MIT */
/*
 * ROCM context: answers the requests of virtio_gpu_rocm.h
 */
#ifndef VCS_CONTEXT_ROCM_H
#define VCS_CONTEXT_ROCM_H

#include "vcs_context.h"
#include "vcs_limits.h"
#include "vcs_stats.h"
#include "vcs_thunk.h"

/*
 * Counts in @stats, takes mappings from @budget; @doorbells: QEMU shows them to
 * the guest, without which there are no queues. @thunk stays the caller's and
 * outlives it. There can be one in a process. NULL when out of memory, the
 * arena's addresses are in use, or the thunk does not answer.
 */
struct vcs_context *vcs_rocm_create(struct vcs_thunk *thunk,
				    const struct vcs_limits *limits,
				    bool doorbells, struct vcs_stats *stats,
				    struct vcs_map_budget *budget);

#endif /* VCS_CONTEXT_ROCM_H */
