/* SPDX-License-Identifier: MIT */
/*
 * OpenCL: what the worker's backend and the compile helper share
 */
#ifndef VCS_OPENCL_H
#define VCS_OPENCL_H

/* 1.2 is what every driver of today implements. */
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#include "vcs_backend.h"

/**
 * struct vcs_opencl - a device, opened
 * @platform: its platform
 * @device: the device
 * @context: a context with this device only
 */
struct vcs_opencl {
	cl_platform_id platform;
	cl_device_id device;
	cl_context context;
};

/*
 * Open device number @index of those whose "platform: device" contains @match
 * (any case; NULL for all). Numbers start at 0 and count GPUs and accelerators
 * first, CPUs last. -ENODEV: there are no more; -EIO: its driver fails.
 */
int vcs_opencl_open(struct vcs_opencl *cl, const char *match,
		    unsigned int index);
void vcs_opencl_close(struct vcs_opencl *cl);

int vcs_opencl_info(const struct vcs_opencl *cl, struct vcs_device_info *info);

/* The negative errno that says the same as an OpenCL error. */
int vcs_opencl_errno(cl_int err);

#endif /* VCS_OPENCL_H */
