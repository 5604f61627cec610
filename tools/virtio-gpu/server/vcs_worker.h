/* SPDX-License-Identifier: MIT */
/*
 * Worker: one context's connection with QEMU
 */
#ifndef VCS_WORKER_H
#define VCS_WORKER_H

#include "vcs_backend.h"
#include "vcs_limits.h"
#include "vcs_stats.h"

/*
 * Serve the connection until QEMU closes it, and count in @stats. Returns 0 then,
 * or an error that leaves no other way than to end the process.
 */
int vcs_worker_serve(int sock, struct vcs_backend *be,
		     const struct vcs_limits *limits, struct vcs_stats *stats);

#endif /* VCS_WORKER_H */
