/* SPDX-License-Identifier: MIT */
/*
 * What the services with ROCM contexts have in common
 */
#ifndef VCS_SERVICE_ROCM_H
#define VCS_SERVICE_ROCM_H

#include <stdint.h>

#include "vcs_config.h"
#include "vcs_stats.h"
#include "vcs_thunk.h"

struct vgpu_msg_capset;

/* struct vcs_service's get_capset and cmd_name. */
void vcs_service_rocm_get_capset(const struct vcs_config *cfg,
				 struct vgpu_msg_capset *capset);
const char *vcs_service_rocm_cmd_name(uint64_t cmd);

/*
 * Serve a context on @thunk, which stays the caller's, until QEMU ends it.
 * Returns what the worker returns.
 */
int vcs_service_rocm_serve(int sock, struct vcs_thunk *thunk,
			   const struct vcs_config *cfg, struct vcs_stats *stats);

#endif /* VCS_SERVICE_ROCM_H */
