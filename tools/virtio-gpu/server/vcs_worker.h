/* SPDX-License-Identifier: MIT */
/*
 * Worker: one context's connection with QEMU
 */
#ifndef VCS_WORKER_H
#define VCS_WORKER_H

#include "vcs_backend.h"

/*
 * Serve the connection until QEMU closes it. Returns 0 then, or an error that
 * leaves no other way than to end the process.
 */
int vcs_worker_serve(int sock, struct vcs_backend *be);

#endif /* VCS_WORKER_H */
