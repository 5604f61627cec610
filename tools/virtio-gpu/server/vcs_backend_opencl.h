/* SPDX-License-Identifier: MIT */
#ifndef VCS_BACKEND_OPENCL_H
#define VCS_BACKEND_OPENCL_H

#include "vcs_backend.h"
#include "vcs_config.h"

/*
 * Open the configured device. @compiler is the worker's end of the helper's
 * pair and stays the caller's. Returns 0, -ENODEV for no such device, -ENOMEM
 * or -EIO.
 */
int vcs_backend_opencl_open(const struct vcs_config *cfg, int compiler,
			    struct vcs_backend **be);
void vcs_backend_opencl_close(struct vcs_backend *be);

#endif /* VCS_BACKEND_OPENCL_H */
