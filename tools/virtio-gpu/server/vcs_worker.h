/* SPDX-License-Identifier: MIT */
/*
 * Worker: one context's connection with QEMU
 */
#ifndef VCS_WORKER_H
#define VCS_WORKER_H

#include "vcs_context.h"
#include "vcs_window.h"

/*
 * Serve the connection until QEMU closes it. @budget is what the context's
 * windows are charged to. Returns 0 then, or an error that leaves no other way
 * than to end the process.
 */
int vcs_worker_serve(int sock, struct vcs_context *ctx,
		     struct vcs_map_budget *budget);

#endif /* VCS_WORKER_H */
